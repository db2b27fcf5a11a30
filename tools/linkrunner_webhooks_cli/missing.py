"""What happened at a provider and never arrived here: what its API lists, held against the ledger.

The same functions read a listed webhook that read one from the queue, and the ledger's own rules say whether
its facts are captured. Nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Envelope, Opened
from linkrunner_webhooks.errors import Parked, Reason, Rejected, TooLarge
from linkrunner_webhooks.held import plan_in
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Identity, Kind, Outcome, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.once import KEPT, LEASE, Claims
from linkrunner_webhooks.receive import ignored
from linkrunner_webhooks.rows import Item, number, text, texts
from linkrunner_webhooks.translation import Decision, Plan, Planned, decide, parked, plan_of
from linkrunner_webhooks_cli.clients.client import Happened, Window
from linkrunner_webhooks_cli.records import Snapshot

# Who put a message into the queue that is filled in.
ORIGIN: Final = "reconcile"
# A delivery that failed so many seconds ago is tried again; the longest wait is an hour.
_TRIED_AGAIN: Final = 7200


class Standing(StrEnum):
    """What became of a webhook here.

    MISSING never arrived. What is LEFT did not either, and would be parked if it did. NOTHING reports
    nothing, and WAITING is in delivery, backs off, or is held until its user signs up.
    """

    MISSING = "missing"
    LEFT = "left"
    ARRIVED = "arrived"
    WAITING = "waiting"
    PARKED = "parked"
    IGNORED = "ignored"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Found:
    """One webhook that the provider sent, or would have sent.

    `planned` are its events that are not captured; a webhook that only teaches has none. `message` is what
    brings it, if it is missing.
    """

    standing: Standing
    identity: Identity
    at: datetime
    reason: str = ""
    detail: str = ""
    planned: tuple[Planned, ...] = ()
    message: str = field(default="", repr=False)

    @property
    def money(self) -> Iterator[tuple[str, Money]]:
        """How much would move, and which way."""
        for each in self.planned:
            flow = Kind(each.sent["kind"]).flow
            if each.money and flow:
                yield flow.value, each.money


class Letters(NamedTuple):
    """What is parked of a source: the reasons by the keys of its facts, and by the provider's events."""

    keys: Mapping[str, str]
    events: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, letters: Iterable[Letter], source: Source, config: Config) -> Letters:
        keys, events = dict[str, str](), dict[tuple[str, str], str]()
        for each in letters:
            if each.source != source.name:
                continue
            events[each.event_type, each.event_id] = each.reason
            try:
                planned = plan_in(each.text, config).planned
            except Parked:
                continue
            keys |= {key: each.reason for fact in planned for key in fact.keys}
        return cls(keys, events)

    def reason_of(self, found: Found) -> str | None:
        """Why a webhook or a fact of it is parked, if it is."""
        reasons = (self.keys.get(key) for each in found.planned for key in each.keys)
        event = found.identity.event_type, found.identity.event_id
        return next(filter(None, reasons), self.events.get(event))


class _Read(NamedTuple):
    """A listed webhook, with what it would become, or why that is not known."""

    opened: Opened
    at: datetime
    ignored: Reason
    plan: Plan | Parked


class Comparison:
    """What a source's provider lists against what this stack knows, the oldest first.

    `parked` reads the dead letters, which is done once, and only where something is not captured. What
    happened outside the window is left out, unless a part of it happened inside. `now` is unix seconds.

    What is found missing counts from then on as if it were filled in: it says whose later events are, and
    another report of the same fact is no second one.
    """

    def __init__(
        self,
        source: Source,
        rows: Snapshot,
        parked: Callable[[], Letters],
        window: Window,
        *,
        now: float,
    ) -> None:
        self._source = source
        self._rows = rows
        self._facts = Claims(rows, lambda: now, LEASE, KEPT)
        self._parked = parked
        self._window = window
        self._letters: Letters | None = None
        self._now = now
        self._users: dict[str, str] = {}
        self._filled: set[str] = set()
        self._same: dict[str, tuple[str, ...]] = {}

    def of(self, happened: Iterable[Happened]) -> Iterator[Found]:
        """What became of each webhook. What happened at once is missing as a whole, or left as a whole."""
        read = ([*self._read(each)] for each in happened)
        bundles = [bundle for bundle in read if any(map(self._is_inside, bundle))]
        plans = [each.plan for bundle in bundles for each in bundle if isinstance(each.plan, Plan)]
        self._rows.read_ahead(key for plan in plans for key in _keys(plan))
        for bundle in bundles:
            yield from self._judged(bundle)

    def _read(self, happened: Happened) -> Iterator[_Read]:
        for webhook in happened.webhooks:
            for each in self._unpacked(webhook):
                identity = self._source.provider.identity(each)
                opened = Opened(each, self._source, identity, self._now, ORIGIN)
                why = ignored(self._source, identity)
                at = identity.occurred_at or happened.at
                yield _Read(opened, at.astimezone(UTC), why, _plan(opened, why))

    def _is_inside(self, read: _Read) -> bool:
        return self._window.since <= read.at < self._window.until

    def _unpacked(self, webhook: Webhook) -> Sequence[Webhook]:
        try:
            return self._source.provider.unpack(webhook)
        except Rejected:
            # It is read as it is, and found to say nothing.
            return (webhook,)

    def _judged(self, bundle: Sequence[_Read]) -> Iterator[Found]:
        unread = next((each.plan for each in bundle if isinstance(each.plan, Parked)), None)
        for each in bundle:
            found = self._judge(each)
            if unread and found.standing is Standing.MISSING:
                # A sale without its refunds would be wrong for good.
                found = _left(found, parked(unread))
            if found.standing is Standing.MISSING and isinstance(each.plan, Plan):
                self._remember(each.plan)
            yield found

    def _judge(self, read: _Read) -> Found:
        plan, found = read.plan, Found(Standing.MISSING, read.opened.identity, read.at)
        if read.ignored is not Reason.NONE:
            return replace(found, standing=Standing.IGNORED, reason=read.ignored.value)
        if isinstance(plan, Parked):
            return self._uncaptured(found, parked(plan), read.opened)
        planned = tuple(each.settled(self._user_of) for each in plan.planned)
        fresh = tuple(each for each in planned if not self._is_captured(each))
        found = replace(found, planned=fresh)
        if not fresh:
            if not planned and self._is_news(plan):
                return _sealed(found, read.opened)
            known = Standing.ARRIVED if planned or plan.lesson else Standing.NOTHING
            return replace(found, standing=known)
        if all(self._is_in_hand(each) for each in fresh):
            return replace(found, standing=Standing.WAITING)
        return self._uncaptured(found, self._decided(plan), read.opened)

    def _uncaptured(self, found: Found, decision: Decision, opened: Opened) -> Found:
        """Parked before, or what it would become."""
        if self._letters is None:
            self._letters = self._parked()
        if reason := self._letters.reason_of(found):
            return replace(found, standing=Standing.PARKED, reason=reason)
        if decision.would_park:
            return _left(found, decision)
        if decision.outcome is Outcome.IGNORED:
            return replace(found, standing=Standing.IGNORED, reason=decision.reason.value)
        return _sealed(found, opened)

    def _decided(self, plan: Plan) -> Decision:
        try:
            return decide(plan, self._user_of, self._facts.rate_of)
        except Parked as error:
            return parked(error)

    def _is_captured(self, planned: Planned) -> bool:
        keys = self._joined(planned.keys)
        if not self._filled.isdisjoint((*keys, *planned.shared)):
            return True
        return self._facts.is_done(keys, planned.shared)

    def _is_in_hand(self, planned: Planned) -> bool:
        rows = [self._rows.get(key) for key in planned.keys]
        return any(_is_delivered(row, self._now) for row in rows)

    def _is_news(self, plan: Plan) -> bool:
        """Whether it teaches what the ledger does not know."""
        known = self._facts.user_of
        people = plan.user_id and any(not known((each.key,)) for each in plan.lessons)
        merged = any("same" not in self._rows.get(key) for key in plan.merged)
        return bool(people or merged or (plan.same and not self._facts.knows(plan.same)))

    def _user_of(self, keys: Sequence[str]) -> str | None:
        joined = self._joined(keys)
        found = (self._users.get(key) for key in joined)
        return self._facts.user_of(joined) or next(filter(None, found), None)

    def _joined(self, keys: Sequence[str]) -> tuple[str, ...]:
        """These keys, and those of the same payment, as the ledger knows or something missing says."""
        told = (other for key in keys for other in self._same.get(key, ()))
        known = (other for key in keys for other in texts(self._rows.get(key), "others"))
        return tuple(dict.fromkeys((*keys, *told, *known)))

    def _remember(self, plan: Plan) -> None:
        together = self._joined(plan.same)
        self._same |= dict.fromkeys(together, together)
        decision = self._decided(plan)
        for planned, event in zip(decision.planned, decision.events, strict=True):
            self._users |= dict.fromkeys((*planned.keys, *planned.shared), event.user_id)
            self._filled.update((*planned.keys, *planned.shared))
        user = plan.user_id or next((each.user_id for each in decision.events), None)
        if user:
            self._users |= {each.key: user for each in plan.lessons}


def _left(found: Found, decision: Decision) -> Found:
    reason, detail = decision.reason.value, decision.detail
    return replace(found, standing=Standing.LEFT, reason=reason, detail=detail)


def _sealed(found: Found, opened: Opened) -> Found:
    envelope = Envelope(opened.webhook, opened.received_at, opened.origin)
    try:
        return replace(found, message=envelope.seal(opened.source.provider))
    except TooLarge as error:
        return _left(found, Decision(Outcome.PARKED, Reason.TOO_LARGE, str(error)))


def _plan(opened: Opened, why: Reason) -> Plan | Parked:
    if why is not Reason.NONE:
        return Plan(opened.source, ())
    try:
        return plan_of(opened)
    except Parked as error:
        return error


def _keys(plan: Plan) -> Iterator[str]:
    """Every key that is asked for to decide on a plan."""
    yield from (*plan.same, *plan.merged, *(each.key for each in plan.lessons))
    for each in plan.planned:
        yield from (*each.keys, *each.shared, *each.follows, *each.people)
        if each.trial:
            yield each.trial
        if each.conversion:
            yield from each.conversion.marks
        if each.returned:
            yield from each.returned.keys


def _is_delivered(row: Item, now: float) -> bool:
    """Whether a fact that is not captured is in somebody's hands, or held until its user signs up."""
    claimed = text(row, "state") == "claimed" and (number(row, "until") or 0) > now
    return claimed or "waits" in row or (number(row, "failed_at") or 0) > now - _TRIED_AGAIN
