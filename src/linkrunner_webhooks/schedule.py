"""When a message is tried again, and for how long."""

from __future__ import annotations

import random

from linkrunner_webhooks.errors import Reason

# 5 s, 10 s, 20 s ... an hour, until it has been failing for so many seconds.
FIRST_DELAY = 5.0
PATIENCE = 60 * 3600.0

# A message is parked when it is so old, whatever it waits for: SQS drops it after 14 days.
LAST_RESORT = 10 * 24 * 3600.0

# A refund asks this often who paid while nothing is wrong: for about 45 minutes. That is longer than the
# lease of a worker that died over the payment, and shorter than the alarm for late webhooks waits.
PAYER_TRIES = 9

# What another report may have counted under other ids waits for the news of that: for two to three minutes.
LINK_TRIES = 5

# An event of which three requests went unanswered is parked: each of them may have counted. (once.Claim says
# what else raises doubts.)
DOUBTS = 12

# Seconds in which receive and deliver can be of two versions. What deliver's own configuration would not have
# stored is decided after that.
DEPLOYMENT = 900.0

# A message received more often than this is opened with care: it may be what the function dies on.
SUSPICIOUS = 3
# So many deaths, and it is parked. Until then it comes back apart from its neighbours, after longer than a
# run takes.
DEATHS = 3
_SEPARATE = (720.0, 1440.0)


def wait(tries: int, reason: Reason, retry_after: float | None = None) -> float:
    """The shortest time until the next try, in seconds: doubling within the bounds of the reason."""
    nature = reason.nature
    doubled = max(FIRST_DELAY, nature.shortest_wait) * 2.0 ** min(max(tries, 1) - 1, 20)
    return max(min(doubled, nature.longest_wait), retry_after or 0.0)


def delay(tries: int, reason: Reason, retry_after: float | None = None) -> float:
    """Seconds until the next try."""
    # Upwards only: a Retry-After is a promise, and spread keeps a backlog from coming back as one wave.
    return wait(tries, reason, retry_after) * random.uniform(1.0, 1.25)  # noqa: S311


def separate_delay() -> float:
    """Seconds that move a message away from the neighbours it came with."""
    return random.uniform(*_SEPARATE)  # noqa: S311
