"""What an operator should hear of although nothing failed, as the hours behind tell it.

A metric by itself does not know a shop with five orders a day from one with five a second. These rules
compare a source with itself: with what it accepts meanwhile, and with its own habit of two months.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

HOUR: Final = 3600
# How far back the rules look, in hours: two months, for what comes once a month.
SPAN: Final = 63 * 24
# This hour has just begun, so the one before counts as now, too.
_NOW: Final = 2
# Of so many webhooks of a source one that is signed wrongly may be a stranger's guess.
_STRANGERS: Final = 10
_WEEK: Final = 7 * 24
# A habit needs so many days, in so many weeks, on which something came; a pause of less is none.
_HABIT_DAYS: Final = 7
_HABIT_WEEKS: Final = 3
_SHORTEST_PAUSE: Final = 3
# Who is quiet for longer was switched off.
_SWITCHED_OFF: Final = 28 * 24
# So often comes who was given no secret; a stranger comes once or twice.
_UNSIGNED: Final = 3
_STALLED: Final = 2
_NEW_AFTER: Final = 14 * 24
# A reason that was parked before is news when it parks so many, and so many times more than ever.
_FLOOD: Final = 5
_MORE: Final = 3
# A dead letter lives for 14 days; three are left to act.
_OLD: Final = 11 * 24
# Some figures may be missing.
_SEEN: Final = 0.75

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
    # Beside what is on already
    ANOTHER = "another"
    # Nobody could look
    UNSEEN = "unseen"


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
    return list(_concerns(history, int(now // HOUR)))


def joined(history: History, now: float) -> list[Concern]:
    """Sources that are new beside one whose alarm is on already, and says nothing of them."""
    hour = int(now // HOUR)
    # Of two hours before, because the hour before is complete only now.
    earlier = [
        {(each.worry, each.about) for each in _of_sources(history, before)}
        for before in (hour - 1, hour - 2)
    ]
    return [
        Concern(Worry.ANOTHER, each.about, each.detail)
        for each in _of_sources(history, hour)
        if any(_joins(each, before) for before in earlier)
    ]


def _joins(concern: Concern, before: Collection[tuple[Worry, str]]) -> bool:
    is_on = any(worry is concern.worry for worry, _ in before)
    return is_on and (concern.worry, concern.about) not in before


def _of_sources(history: History, hour: int) -> Iterator[Concern]:
    for name, heard in history.sources.items():
        yield from refused(name, heard, hour)
        yield from silent(name, heard, hour)


def _concerns(history: History, hour: int) -> Iterator[Concern]:
    yield from _of_sources(history, hour)
    yield from new_reasons(history, hour)
    yield from expiring(history.dead_letters, hour)
    yield from stalled(history.failing, history.captured, hour)
    yield from no_signups(history.held, history.signups, hour)


def refused(name: str, heard: Heard, hour: int) -> Iterator[Concern]:
    """A source that is turned away because of its secret, and not a stranger who tries."""
    recent = range(hour - _NOW + 1, hour + 1)
    wrong = _sum(heard.bad_signature, recent)
    accepted = _sum(heard.queued, recent) + _sum(heard.ignored, recent)
    unsigned = _sum(heard.unsigned, range(hour - 23, hour + 1))
    taken = _sum(heard.queued, range(hour - _WEEK, hour + 1))
    if _sum(heard.no_secret, recent):
        detail = "its webhooks are turned away: there is no signing secret for it"
    elif wrong * _STRANGERS > accepted:
        detail = f"{wrong:.0f} signed with another secret, {accepted:.0f} accepted, in two hours"
    elif unsigned >= _UNSIGNED and not taken:
        detail = f"{unsigned:.0f} came without a signature in a day, and none was taken for a week"
    else:
        return
    yield Concern(Worry.REFUSED, name, detail)


def silent(name: str, heard: Heard, hour: int) -> Iterator[Concern]:
    """A source that is quiet for twice as long as it ever is. Who never sends has no habit."""
    active = _active(heard.queued, hour)
    if (longest := _longest_pause(active)) is None:
        return
    quiet = hour - active[-1]
    if max(_SHORTEST_PAUSE, 2 * longest) < quiet <= _SWITCHED_OFF:
        detail = f"nothing came for {quiet} hours; its pauses are of {longest} hours at most"
        yield Concern(Worry.SILENT, name, detail)


def _active(hours: Hours, hour: int) -> list[int]:
    """The hours until this one in which there was something."""
    return sorted(each for each, count in hours.items() if count and each <= hour)


def _longest_pause(active: Sequence[int]) -> int | None:
    """The longest pause between these hours, as a habit; None without one.

    Where something comes on most days one single pause is taken for an outage, and the next longest counts.
    """
    days = {each // 24 for each in active}
    weeks = {(active[-1] - each) // _WEEK for each in active}
    if len(days) < _HABIT_DAYS or len(weeks) < _HABIT_WEEKS:
        return None
    pauses = sorted((after - before for before, after in pairwise(active)), reverse=True)
    daily = 2 * len(days) >= active[-1] // 24 - active[0] // 24 + 1
    return pauses[1] if daily else pauses[0]


def new_reasons(history: History, hour: int) -> Iterator[Concern]:
    """Reasons that park more than ever within two weeks, while older dead letters keep their alarm on."""
    recent = range(hour - _NOW + 1, hour + 1)
    if not history.dead_letters.get(recent[0] - 1):
        return
    for reason, hours in history.parked.items():
        count = _sum(hours, recent)
        most = max(
            _sum(hours, range(each, each + _NOW)) for each in range(hour - _NEW_AFTER, hour - _NOW)
        )
        if (count and not most) or (count >= _FLOOD and count > _MORE * most):
            detail = (
                f"{count:.0f} parked for this reason within two hours, {most:.0f} at most before"
            )
            yield Concern(Worry.NEW_REASON, reason, detail)


def expiring(dead_letters: Hours, hour: int) -> Iterator[Concern]:
    """Dead letters that may be gone in three days: for eleven the queue was never empty.

    The age that SQS tells leaves out what was looked at more than three times, as `dlq list` does.
    """
    # The latest figures come some minutes late, and single ones are missing.
    seen = {
        each: dead_letters[each] for each in range(hour - _OLD, hour - 1) if each in dead_letters
    }
    begun = any(each < hour - _OLD + 24 for each in seen)
    if begun and len(seen) >= _SEEN * (_OLD - 1) and all(seen.values()):
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
    """Events wait for users to sign up, and nobody tells of signups: none ever, or none as long as never."""
    count = _sum(held, range(hour - 23, hour + 1))
    told = _active(signups, hour)
    patience = max(24, 2 * (_longest_pause(told) or _SWITCHED_OFF)) if told else 0
    if count and (not told or hour - told[-1] > patience):
        detail = (
            f"{count:.0f} events began to wait for a signup within a day, and no signup is told"
        )
        yield Concern(Worry.NO_SIGNUPS, "", detail)


def _sum(hours: Hours, among: Sequence[int]) -> float:
    return sum(hours.get(each, 0.0) for each in among)
