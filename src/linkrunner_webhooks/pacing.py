"""When a request may go to Linkrunner: not faster than its limit, and one at a time while it is silent."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from linkrunner_webhooks.errors import Reason, Unavailable

# So many of those in a row, and the server is taken for gone.
_GONE = 5
# While Linkrunner is silent one request at a time asks whether it still is: after this pause, then after
# twice as long each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 600.0
# Of so many questions without an answer, one is an event.
_UNASKED = 12
# Seconds that another request waits at least.
_SOON = 10.0


class Pace:
    """Spaces calls evenly, so that all workers together stay below Linkrunner's limit."""

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self._lock = Lock()

    def wait(self) -> None:
        """Return when it is this caller's turn, at the earliest one interval after the last call."""
        with self._lock:
            early = self._next - self._clock()
            if early > 0:
                self._sleep(early)
            self._next = self._clock() + self._interval

    def rest(self, seconds: float) -> None:
        """No call is let through for so many seconds."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


class Silence:
    """Whether Linkrunner answers at all. After a request without an answer the others wait: each may count.

    One request at a time finds out whether it is over, after longer and longer pauses. It captures nothing.
    """

    def __init__(self, was_away: Callable[[], bool]) -> None:
        self._was_away: Callable[[], bool] | None = was_away
        self._unanswered = self._gateways = 0
        self._since = self._until = float("-inf")
        self._asking = Lock()

    def respect(self, answers: Callable[[], bool]) -> None:
        """Raises Unavailable unless Linkrunner `answers` again, where it did not. Others wait for that."""
        if self._was_away is None and not self._unanswered:
            return
        with self._asking:
            # A new process knows only what others have noted.
            if self._was_away is not None:
                self._unanswered = max(self._unanswered, int(self._was_away()))
                self._was_away = None
            if not self._unanswered:
                return
            pause = self._until - time.monotonic()
            if pause > 0:
                raise _silent(pause)
            # Now and then an event goes all the same: it may be the question alone that is not answered.
            if self._unanswered % _UNASKED and not answers():
                raise _silent(self._until - time.monotonic())

    def begin(self, sent_at: float) -> None:
        """A request that was sent then is not answered. Requests that were under way with it count as one."""
        if sent_at >= self._since:
            self._unanswered += 1
            self._since = time.monotonic()
            pause = min(_FIRST_PAUSE * 2.0 ** (self._unanswered - 1), _LONGEST_PAUSE)
            self._until = self._since + pause

    def suspect(self, sent_at: float) -> None:
        """A proxy answered for the server. Now and then that happens; again and again it is gone."""
        self._gateways += 1
        if self._unanswered or self._gateways >= _GONE:
            self.begin(sent_at)

    def end(self) -> None:
        """Linkrunner answered, whatever it said."""
        self._unanswered = self._gateways = 0


def _silent(pause: float) -> Unavailable:
    message = "Linkrunner did not answer another request; this one waits"
    return Unavailable(message, reason=Reason.SILENT, retry_after=max(pause, _SOON))
