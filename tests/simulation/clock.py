"""Time that passes when every task waits. Only one task runs at a time, so every run is the same."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from math import inf
from random import Random

NOW = 1_800_000_000.0
HOUR = 3600.0


class Task:
    """Something that happens on the clock, in a thread of its own that only runs when it is its turn."""

    def __init__(self, clock: SimClock, work: Callable[[], object]) -> None:
        self.done = False
        self.joining: list[Task] = []
        self._clock = clock
        self._work = work
        thread = _IDLE_THREADS.pop() if _IDLE_THREADS else _Thread()
        thread.task = self
        self.baton = thread.baton

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - the test that runs the clock raises it
            self._clock.errors.append(error)
        self.done = True
        for each in self.joining:
            self._clock.wake(each)

    def leave(self) -> None:
        self._clock.hand_over()


class _Thread:
    """Runs one task after the other: there are too many of them to start a thread for each."""

    def __init__(self) -> None:
        self.baton = threading.Lock()
        self.baton.acquire()
        self.task: Task | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self.baton.acquire()
            assert self.task
            task, self.task = self.task, None
            task.run()
            _IDLE_THREADS.append(self)
            task.leave()


_IDLE_THREADS: list[_Thread] = []


class SimClock:
    """Unix time that passes when everybody waits. With a seed, what is due at once comes in random order."""

    def __init__(self, seed: int | None = None) -> None:
        self.now = NOW
        self.running: Task | None = None
        self.errors: list[BaseException] = []
        self._random = None if seed is None else Random(seed)
        self._due: list[tuple[float, float, int, Task]] = []
        self._order = itertools.count()
        self._until = inf
        self._main = threading.Lock()
        self._main.acquire()

    def __call__(self) -> float:
        return self.now

    monotonic = __call__

    def spawn(self, work: Callable[[], object], after: float = 0.0) -> Task:
        task = Task(self, work)
        self.wake(task, after)
        return task

    def sleep(self, seconds: float) -> None:
        """Let time pass for this task. Outside of tasks it just passes."""
        me, wake = self.running, self.now + max(seconds, 0.0)
        if me is None or (wake < self._next_at() and wake <= self._until):
            self.now = wake
            return
        self.wake(me, seconds)
        self._yield(me)

    def park(self) -> None:
        """Wait until somebody wakes this task."""
        assert self.running, "nobody could wake it"
        self._yield(self.running)

    def join(self, tasks: Iterable[Task]) -> None:
        """Wait until the tasks are done."""
        assert self.running, "run the clock instead"
        for task in tasks:
            while not task.done:
                task.joining.append(self.running)
                self.park()

    def wake(self, task: Task, after: float = 0.0) -> None:
        luck = self._random.random() if self._random else 0.0
        due = (self.now + max(after, 0.0), luck, next(self._order), task)
        heappush(self._due, due)

    def run(self, until: float = inf) -> None:
        """Let everything happen that is due until then. Raises what a task raised."""
        self._until = until
        if self._due and self._next_at() <= until:
            self.hand_over()
            self._main.acquire()
        if until < inf:
            self.now = max(self.now, until)
        if self.errors:
            raise self.errors[0]

    def hand_over(self) -> None:
        self.running = self._take()
        (self.running.baton if self.running else self._main).release()

    def _yield(self, me: Task) -> None:
        following = self._take()
        if following is not me:
            self.running = following
            (following.baton if following else self._main).release()
            me.baton.acquire()

    def _take(self) -> Task | None:
        if not self._due or self._next_at() > self._until:
            return None
        at, _, _, task = heappop(self._due)
        self.now = max(self.now, at)
        return task

    def _next_at(self) -> float:
        return self._due[0][0] if self._due else inf
