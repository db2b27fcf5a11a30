"""How much time a function needs to have left for what it begins."""

from __future__ import annotations

from collections.abc import Callable

from linkrunner_webhooks import capture
from linkrunner_webhooks.errors import Reason, Unavailable

# One call of the table at its slowest, in seconds.
SLOWEST_CALL = 15.0
# The time that a capture needs: a request cut off by the end of the function may count, and a capture that
# cannot be noted is made again.
SLOWEST = capture.SLOWEST + SLOWEST_CALL


def require_time(remaining: Callable[[], float]) -> None:
    """Raises Unavailable when the slowest capture would not end in time."""
    if remaining() < SLOWEST:
        raise no_time_left()


def no_time_left() -> Unavailable:
    return Unavailable("no time left", reason=Reason.OUT_OF_TIME)
