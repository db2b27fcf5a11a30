"""When a message is tried again, and for how long."""

from __future__ import annotations

import random

from linkrunner_webhooks.errors import Reason

# 5 s, 10 s, 20 s ... an hour, until the message is this many seconds old.
FIRST_DELAY = 5.0
PATIENCE = 60 * 3600.0

# A refund asks this often who paid while nothing is wrong: for about 45 minutes. That is longer than the
# lease of a worker that died over the payment, and shorter than the alarm for late webhooks waits.
PAYER_TRIES = 9

# Seconds in which receive and deliver can be of two versions. What deliver's own configuration would not have
# stored is decided after that.
DEPLOYMENT = 900.0

# A message received this often may crash the function: it is delayed separately, for longer than a run takes.
SUSPICIOUS = 20
_SEPARATE = (720.0, 1440.0)


def delay(receives: int, reason: Reason, retry_after: float | None = None) -> float:
    """Seconds until the next try: doubling up to the reason's longest wait, never before `retry_after`."""
    doubled = FIRST_DELAY * 2.0 ** min(max(receives, 1) - 1, 20)
    wait = max(min(doubled, reason.nature.longest_wait), retry_after or 0.0)
    # Upwards only: a Retry-After is a promise, and spread keeps a backlog from coming back as one wave.
    return wait * random.uniform(1.0, 1.25)  # noqa: S311


def separate_delay() -> float:
    """Seconds that move a message away from the neighbours it came with."""
    return random.uniform(*_SEPARATE)  # noqa: S311
