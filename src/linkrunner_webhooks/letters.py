"""One parked message: why it is parked, which filter means it, and what deliver would do with it now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from linkrunner_webhooks.capture_once import is_uncertain
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Contradicted, Incomplete, Parked, Reason, Refused, Uncertain
from linkrunner_webhooks.event_body import fingerprint
from linkrunner_webhooks.held import plan_in
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.money import Rate
from linkrunner_webhooks.past import Past, marked
from linkrunner_webhooks.translation import Decision, Plan, Planned, decide, parked

# No time and no count is longer.
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Letter:
    """One parked message. A message that SQS moved here itself, after crashes, has no reason attribute."""

    id: str
    handle: str
    text: str
    attributes: dict[str, str]
    sent_at: datetime

    @property
    def reason(self) -> str:
        return self.attributes.get("reason", Reason.CRASHED.value)

    @property
    def source(self) -> str:
        return self.attributes.get("source", "unknown")

    @property
    def event_type(self) -> str:
        return self.attributes.get("event_type", "unknown")

    @property
    def event_id(self) -> str:
        return self.attributes.get("event_id", "")

    @property
    def error(self) -> str:
        return self.attributes.get("error", "")

    @property
    def bodies(self) -> str:
        """The fingerprint of the bodies that Linkrunner refused; empty when it is not known."""
        return self.attributes.get("bodies", "")

    def is_called(self, id: str) -> bool:
        """Whether this is its message id or the provider's event id."""
        return id in (self.id, self.event_id)

    @property
    def parked_at(self) -> datetime:
        """The time that parking wrote; where it is none, the time that it was sent."""
        seconds = _number(self.attributes.get("parked_at", ""))
        try:
            return self.sent_at if seconds is None else datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, OSError, ValueError):
            return self.sent_at

    @property
    def attempts(self) -> int:
        """How often it was tried; 0 where that is not known."""
        return _number(self.attributes.get("attempts", "")) or 0


def _number(text: str) -> int | None:
    """A number as parking writes it; None for anything else."""
    # Python takes other digits than ours for some, and raises for thousands of them.
    is_one = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if is_one else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters are meant; None is no restriction. `since` and `until` bound when they were parked."""

    reason: str | None = None
    source: str | None = None
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, letter: Letter) -> bool:
        wanted = (
            (self.reason, letter.reason),
            (self.source, letter.source),
            (self.event_type, letter.event_type),
        )
        return (
            all(want in (None, has) for want, has in wanted)
            and (self.since is None or letter.parked_at >= self.since)
            and (self.until is None or letter.parked_at <= self.until)
        )


class Facts(Protocol):
    """What is captured already; see once.Claims."""

    @property
    def kept(self) -> int: ...
    def user_of(self, keys: Iterable[str]) -> str | None: ...
    def rate_of(self, keys: Iterable[str]) -> Rate | None: ...
    def is_done(self, keys: Sequence[str], shared: Iterable[str] = ()) -> bool: ...
    def doubts_of(self, keys: Iterable[str]) -> int: ...


class Notes(Protocol):
    """Which body came first under a signature; see notes.Notes."""

    def bound_to(self, name: str) -> str | None: ...


class Known(Protocol):
    """What deliver knows besides the letter; see ledger.Ledger."""

    @property
    def facts(self) -> Facts: ...
    @property
    def notes(self) -> Notes: ...


def foresee(letter: Letter, config: Config, known: Known, *, now: float) -> Decision:
    """What deliver would do with a letter, by today's code and today's webhooks.toml. Sends nothing.

    `now` is unix seconds.
    """
    past = Past.of(letter.attributes)
    try:
        plan = plan_in(letter.text, config)
        if not past.forced:
            plan.require_memory(now, known.facts.kept)
        decision = decide(plan, known.facts.user_of, known.facts.rate_of)
    except Incomplete as error:
        # What it becomes is known when its provider has been asked.
        return Decision(Outcome.QUEUED, detail=str(error))
    except Parked as error:
        return parked(error)
    if decision.outcome is not Outcome.CAPTURED:
        return decision
    pairs = zip(decision.planned, decision.events, strict=True)
    fresh = [
        (each, event)
        for each, event in pairs
        if marked(each.keys) not in past.captured
        and not known.facts.is_done(each.keys, each.shared)
    ]
    if not fresh:
        return Decision(Outcome.DUPLICATE)
    planned, events = zip(*fresh, strict=True)
    if why := _refused(letter, decision) or _doubted(plan, planned, past, known):
        return parked(why)
    return decision._replace(planned=planned, events=events)


def _refused(letter: Letter, decision: Decision) -> Parked | None:
    same = letter.bodies in ("", fingerprint(decision.events))
    return _again(letter) if letter.reason == Reason.REFUSED and same else None


def _doubted(plan: Plan, planned: Iterable[Planned], past: Past, known: Known) -> Parked | None:
    """Why deliver does not send what it has not noted as captured."""
    for each in planned:
        forgiven = past.doubts.get(marked(each.keys), 0)
        if is_uncertain(each, known.facts.doubts_of((*each.keys, *each.shared)) - forgiven):
            return Uncertain(f"{each.event_name} may be captured already", {})
    if plan.proof and not past.forced:
        first = known.notes.bound_to(plan.proof)
        return Contradicted() if first not in (None, plan.digest) else None
    return None


def _again(letter: Letter) -> Refused:
    """The refusal that the same event meets a second time, as far as anybody can know here."""
    changed = "Linkrunner" if letter.bodies else "Linkrunner or your configuration"
    words = f" ({letter.error})" if letter.error else ""
    return Refused(f"was refused{words}; will be refused again unless {changed} changed")
