"""What takes longer than a page: one job at a time, whose progress can be seen and which can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from linkrunner_webhooks_cli.failures import Failure, in_sentences

T = TypeVar("T")


@dataclass(slots=True)
class Job:
    """Something that runs. `total` is about how many there are to go through, `done` how many are behind.

    `said` is what came of it, in words; empty while it runs.
    """

    what: str
    total: int
    done: int = 0
    said: str = ""
    failed: bool = False
    stopping: bool = False

    def each(self, values: Iterable[T]) -> Iterator[T]:
        """The values, counted, until somebody stops it."""
        for value in values:
            if self.stopping:
                return
            yield value
            self.done += 1


@dataclass(slots=True)
class Jobs:
    """The job that runs, or the last one that did."""

    last: Job | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self.last is not None and not self.last.said

    def start(self, job: Job, work: Callable[[Job], str]) -> None:
        """Begin it beside the pages; `work` returns what came of it. Raises Failure while another runs."""
        with self._lock:
            if self.is_running:
                raise Failure("something else is being moved or deleted: wait for it, or stop it")
            self.last = job
            self._thread = threading.Thread(target=_run, args=(job, work), name="job")
            self._thread.start()

    def stop(self) -> None:
        """End what runs, after what it is about."""
        if self.last is not None:
            self.last.stopping = True

    def wait(self) -> None:
        """Until nothing runs any more."""
        if self._thread is not None:
            self._thread.join()


def _run(job: Job, work: Callable[[Job], str]) -> None:
    try:
        with in_sentences():
            said = work(job)
        job.said = f"Stopped: {said}" if job.stopping else said
    except Failure as error:
        job.failed, job.said = True, error.message
    finally:
        # Nobody waits for ever, whatever happened.
        if not job.said:
            job.failed, job.said = True, "it ended by a fault of ours; nothing is lost, look again"
