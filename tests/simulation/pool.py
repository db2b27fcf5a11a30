"""A lock and a thread pool that wait on the simulated clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Self, TypeVar

from tests.simulation.clock import SimClock, Task

Value = TypeVar("Value")
Result = TypeVar("Result")


class SimLock:
    """A lock that is waited for on the clock."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._held = False
        self._waiting: deque[Task] = deque()

    def __enter__(self) -> None:
        while self._held:
            assert self._clock.running
            self._waiting.append(self._clock.running)
            self._clock.park()
        self._held = True

    def __exit__(self, *_: object) -> None:
        self._held = False
        if self._waiting:
            self._clock.wake(self._waiting.popleft())


class SimPool:
    """ThreadPoolExecutor on the clock: as many tasks as it has workers, each taking what is next."""

    def __init__(self, clock: SimClock, workers: int) -> None:
        self._clock = clock
        self._workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is under way any more."""

    def map(self, function: Callable[[Value], Result], items: Iterable[Value]) -> Iterator[Result]:
        todo = deque(enumerate(items))
        if min(self._workers, len(todo)) == 1 or self._clock.running is None:
            return map(function, [item for _, item in todo])
        results: dict[int, Future[Result]] = {}
        work = partial(_work_off, todo, function, results)
        self._clock.join([self._clock.spawn(work) for _ in range(min(self._workers, len(todo)))])
        return (results[number].result() for number in sorted(results))


def _work_off(
    todo: deque[tuple[int, Value]],
    function: Callable[[Value], Result],
    results: dict[int, Future[Result]],
) -> None:
    while todo:
        number, item = todo.popleft()
        results[number] = Future()
        try:
            results[number].set_result(function(item))
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            results[number].set_exception(error)
            todo.clear()
