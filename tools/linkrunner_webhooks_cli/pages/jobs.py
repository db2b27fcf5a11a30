"""What takes longer than a page: one job at a time, whose progress can be seen and which can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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


class Busy(Failure):
    """A job runs, and reads the queue."""


@dataclass(slots=True)
class Jobs:
    """The job that runs, or the last one that did. Who reads letters hides them from others, so one does."""

    last: Job | None = None
    _queue: threading.Lock = field(default_factory=threading.Lock)
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
            self._thread = threading.Thread(target=self._run, args=(job, work), name="job")
            self._thread.start()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Alone at the queue while the block runs. Raises Busy while a job is."""
        if self.is_running:
            raise Busy("letters are being moved or deleted")
        with self._queue:
            yield

    def _run(self, job: Job, work: Callable[[Job], str]) -> None:
        try:
            with self._queue, in_sentences():
                said = work(job)
            job.said = f"Stopped: {said}" if job.stopping else said
        except Failure as error:
            job.failed, job.said = True, error.message
        finally:
            # Nobody waits for ever, whatever happened.
            if not job.said:
                job.failed = True
                job.said = "it ended by a fault of ours; nothing is lost, look again"

    def stop(self) -> None:
        """End what runs, after what it is about."""
        if self.last is not None:
            self.last.stopping = True

    def wait(self) -> None:
        """Until nothing runs any more."""
        if self._thread is not None:
            self._thread.join()
