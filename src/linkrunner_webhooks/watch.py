"""What an operator should hear of although nothing failed, as the hours behind tell it.

A metric by itself does not know a shop with five orders a day from one with five a second. These rules
compare a source with itself: with what it accepts meanwhile, and with its own habit of four weeks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

HOUR: Final = 3600
# How far back the rules look, in hours.
SPAN: Final = 28 * 24
# This hour has just begun, so the one before counts as now, too.
_NOW: Final = 2
# Of so many webhooks of a source one that is signed wrongly may be a stranger's guess.
_STRANGERS: Final = 10
# A habit needs so many days on which something came, and a pause of less is none.
_HABIT_DAYS: Final = 7
_SHORTEST_PAUSE: Final = 3
# So often comes who was given no secret; a stranger comes once or twice.
_UNSIGNED: Final = 3
_STALLED: Final = 2
_NEW_AFTER: Final = 14 * 24
# A dead letter lives for 14 days; three are left to act.
_OLD: Final = 11 * 24

# Counts by hours since the epoch. An hour in which there was nothing may be missing.
Hours = Mapping[int, float]


class Worry(StrEnum):
    """What there is to hear of: a metric dimension, and an alarm each."""

    REFUSED = "refused"
    SILENT = "silent"
    NEW_REASON = "new_reason"
    EXPIRING = "expiring"
    STALLED = "stalled"
    NO_SIGNUPS = "no_signups"


class Concern(NamedTuple):
    """One thing to look at. `about` is a source or a reason, or empty; `detail` a sentence for people."""

    worry: Worry
    about: str
    detail: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What came for one source."""

    queued: Hours = field(default_factory=dict)
    ignored: Hours = field(default_factory=dict)
    bad_signature: Hours = field(default_factory=dict)
    unsigned: Hours = field(default_factory=dict)
    no_secret: Hours = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class History:
    """The hours behind: what came by source, was parked by reason, and how many dead letters there were.

    `failing` are deliveries that something outside the message kept from succeeding.
    """

    sources: Mapping[str, Heard] = field(default_factory=dict)
    parked: Mapping[str, Hours] = field(default_factory=dict)
    dead_letters: Hours = field(default_factory=dict)
    failing: Hours = field(default_factory=dict)
    captured: Hours = field(default_factory=dict)
    held: Hours = field(default_factory=dict)
    signups: Hours = field(default_factory=dict)


def concerns(history: History, now: float) -> list[Concern]:
    """All there is to hear of at `now` (unix seconds)."""
    hour = int(now // HOUR)
    return [
        *(
            found
            for name, heard in history.sources.items()
            if (found := refused(name, heard, hour))
        ),
        *(found for name, heard in history.sources.items() if (found := silent(name, heard, hour))),
        *new_reasons(history, hour),
        *expiring(history.dead_letters, hour),
        *stalled(history.failing, history.captured, hour),
        *no_signups(history.held, history.signups, hour),
    ]


def refused(name: str, heard: Heard, hour: int) -> Concern | None:
    """A source that is turned away because of its secret, and not a stranger who tries."""
    recent = range(hour - _NOW + 1, hour + 1)
    if _sum(heard.no_secret, recent):
        detail = "its webhooks are turned away: there is no signing secret for it"
        return Concern(Worry.REFUSED, name, detail)
    wrong = _sum(heard.bad_signature, recent)
    accepted = _sum(heard.queued, recent) + _sum(heard.ignored, recent)
    if wrong * _STRANGERS > accepted:
        detail = (
            f"{wrong:.0f} signed with another secret, {accepted:.0f} accepted, within two hours"
        )
        return Concern(Worry.REFUSED, name, detail)
    unsigned = _sum(heard.unsigned, range(hour - 23, hour + 1))
    if unsigned >= _UNSIGNED and not (any(heard.queued.values()) or any(heard.ignored.values())):
        detail = f"{unsigned:.0f} came without a signature within a day, and none was ever accepted"
        return Concern(Worry.REFUSED, name, detail)
    return None


def silent(name: str, heard: Heard, hour: int) -> Concern | None:
    """A source that is quiet for twice as long as ever within four weeks. Who never sends has no habit."""
    active = sorted(each for each, count in heard.queued.items() if count)
    if len({each // 24 for each in active}) < _HABIT_DAYS:
        return None
    longest = max(after - before for before, after in pairwise(active))
    quiet = hour - active[-1]
    if quiet <= max(_SHORTEST_PAUSE, 2 * longest):
        return None
    detail = f"nothing came for {quiet} hours; its longest pause in four weeks was {longest}"
    return Concern(Worry.SILENT, name, detail)


def new_reasons(history: History, hour: int) -> Iterator[Concern]:
    """Reasons that parked nothing for two weeks, where other dead letters keep the alarm for them on."""
    recent = range(hour - _NOW + 1, hour + 1)
    if not history.dead_letters.get(recent[0] - 1):
        return
    for reason, hours in history.parked.items():
        count = _sum(hours, recent)
        if count and not _sum(hours, range(hour - _NEW_AFTER, recent[0])):
            detail = f"{count:.0f} parked for a reason that is new among the parked"
            yield Concern(Worry.NEW_REASON, reason, detail)


def expiring(dead_letters: Hours, hour: int) -> Iterator[Concern]:
    """Dead letters that may be gone in three days: for eleven the queue was never empty.

    The age that SQS tells leaves out what was looked at more than three times, as `dlq list` does.
    """
    # The latest figures come some minutes late.
    if all(dead_letters.get(each) for each in range(hour - _OLD, hour - 1)):
        yield Concern(Worry.EXPIRING, "", "some of the parked may expire within three days")


def stalled(failing: Hours, captured: Hours, hour: int) -> Iterator[Concern]:
    """More deliveries fail than succeed, in two of three hours.

    A message that waits for its next attempt says nothing for up to an hour, and one failed attempt in a
    quiet shop is no stall.
    """
    last = range(hour - 2, hour + 1)
    bad = [each for each in last if failing.get(each, 0.0) > captured.get(each, 0.0)]
    if len(bad) >= _STALLED:
        failed, succeeded = _sum(failing, last), _sum(captured, last)
        detail = f"{failed:.0f} deliveries failed within three hours, {succeeded:.0f} succeeded"
        yield Concern(Worry.STALLED, "", detail)


def no_signups(held: Hours, signups: Hours, hour: int) -> Iterator[Concern]:
    """Events wait for users to sign up, and nobody tells of signups."""
    day = range(hour - 23, hour + 1)
    if _sum(held, day) and not _sum(signups, day):
        detail = (
            f"{_sum(held, day):.0f} events wait for a signup since a day, and no signup was told"
        )
        yield Concern(Worry.NO_SIGNUPS, "", detail)


def _sum(hours: Hours, among: Sequence[int]) -> float:
    return sum(hours.get(each, 0.0) for each in among)
