"""What happened at a provider and never arrived here: what its API lists, held against the ledger.

The same functions read a listed webhook that read one from the queue, and the ledger's own rules say whether
its facts are captured. Nothing is sent.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Envelope, Opened
from linkrunner_webhooks.errors import (
    Parked,
    Reason,
    Rejected,
    TooLarge,
    Untranslatable,
)
from linkrunner_webhooks.held import plan_in
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Flow, Identity, Kind, Outcome, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.once import KEPT, LEASE, Claims
from linkrunner_webhooks.receive import ignored
from linkrunner_webhooks.rows import Item, number, text, texts
from linkrunner_webhooks.translation import Decision, Plan, Planned, decide, parked, plan_of
from linkrunner_webhooks.waiting import EVENT
from linkrunner_webhooks_cli.clients.api import ApiError, Away, Denied
from linkrunner_webhooks_cli.clients.client import Happened, Window
from linkrunner_webhooks_cli.records import Snapshot

# Who put a message into the queue that is filled in.
ORIGIN: Final = "reconcile"
# Why something is left that has no reason to be parked: it, or what it follows, happened before the window.
EARLIER: Final = "earlier"
# A delivery that failed so many seconds ago is tried again; the longest wait is an hour.
_TRIED_AGAIN: Final = 7200


class Standing(StrEnum):
    """What became of a webhook here.

    MISSING never arrived. What is LEFT did not either, and would be parked if it did. REPEATED tells what
    something missing tells. NOTHING reports nothing, and WAITING is in delivery, backs off, or is held until
    its user signs up.
    """

    MISSING = "missing"
    LEFT = "left"
    REPEATED = "repeated"
    ARRIVED = "arrived"
    WAITING = "waiting"
    PARKED = "parked"
    IGNORED = "ignored"
    NOTHING = "nothing"


class Event(NamedTuple):
    """One event that a webhook would become, and how much would move which way."""

    name: str
    flow: str
    money: Money | None
    order_id: str

    @classmethod
    def of(cls, planned: Planned) -> Event:
        flow = Kind(planned.sent["kind"]).flow
        money = planned.money if flow else None
        return cls(planned.event_name, flow or "", money, planned.sent.get("order_id", ""))


@dataclass(frozen=True, slots=True)
class Found:
    """One webhook that the provider sent, or would have sent.

    `events` are those that are not captured; a webhook that only teaches has none. `packed` is the message
    that brings it, if it is missing. Many are held at once.
    """

    standing: Standing
    identity: Identity
    at: datetime
    reason: str = ""
    detail: str = ""
    events: tuple[Event, ...] = ()
    packed: bytes = field(default=b"", repr=False)

    @property
    def message(self) -> str:
        """The text for the queue."""
        return zlib.decompress(self.packed).decode("ascii")


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

    def reason_of(self, identity: Identity, planned: Iterable[Planned]) -> str | None:
        """Why a webhook or a fact of it is parked, if it is."""
        reasons = (self.keys.get(key) for each in planned for key in each.keys)
        return next(
            filter(None, reasons), self.events.get((identity.event_type, identity.event_id))
        )


class _Bundle(NamedTuple):
    """What happened at once, and its webhooks as they were read."""

    happened: Happened
    read: list[_Read]


class _Read(NamedTuple):
    """A listed webhook, with what it would become, or why that is not known."""

    opened: Opened
    at: datetime
    ignored: Reason
    plan: Plan | Parked


@dataclass(slots=True)
class _Memory:
    """What follows from what is missing: whose keys are whose, which facts are told, what is one payment."""

    users: dict[str, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    same: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, other: _Memory) -> None:
        self.users |= other.users
        self.told |= other.told
        self.same |= other.same


class Comparison:
    """What a source's provider lists against what this stack knows.

    `parked` reads the dead letters, which is done once, and only where something is not captured. What
    happened outside the window is left out; where something before it is not captured, so is what followed:
    both or neither. What happened before the stack `remembers` may have been captured. `now` is unix seconds.

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
        remembers: datetime,
        now: float,
    ) -> None:
        self._source = source
        self._rows = rows
        self._facts = Claims(rows, lambda: now, LEASE, KEPT)
        self._parked = parked
        self._window = window
        self._remembers = remembers
        self._now = now
        self._memory = _Memory()
        # Of the bundle that is being judged.
        self._tentative = _Memory()
        self._aside: list[_Bundle] = []

    @cached_property
    def _letters(self) -> Letters:
        return self._parked()

    def of(self, happened: Sequence[Happened]) -> Iterator[Found]:
        """What became of each webhook, but of those whose user something later may name."""
        read = [self._read(each.at, each.webhooks) for each in happened]
        bundles = [_Bundle(each, webhooks) for each, webhooks in zip(happened, read, strict=True)]
        yield from self._concluded(bundles, last=False)

    def rest(self) -> Iterator[Found]:
        """What became of those, now that all is read."""
        while aside := self._aside:
            self._aside = []
            yield from self._concluded(aside, last=False)
            if len(self._aside) == len(aside):
                self._aside = []
                yield from self._concluded(aside, last=True)

    def _concluded(self, bundles: Sequence[_Bundle], *, last: bool) -> Iterator[Found]:
        self._read_ahead(read for bundle in bundles for read in bundle.read)
        for bundle in bundles:
            found, known = self._settled(bundle)
            is_open = any(
                each.standing is Standing.LEFT and each.reason == Reason.MISSING_USER
                for each in found
            )
            if is_open and not last:
                self._aside.append(known)
            elif any(map(self._is_inside, known.read)):
                self._memory.add(self._tentative)
                yield from (each for each in found if each.at < self._window.until)

    def _settled(self, bundle: _Bundle) -> tuple[list[Found], _Bundle]:
        """What became of a bundle, exactly where anything is missing or may be."""
        found = self._judged(bundle.read)
        # What was made before the time that is asked for may have been paid in it.
        is_open = any(each.standing is Standing.MISSING or each.reason == EARLIER for each in found)
        if bundle.happened.exact and is_open:
            bundle = self._exactly(bundle)
            found = self._judged(bundle.read)
        return found, bundle

    def _read(self, at: datetime, webhooks: Iterable[Webhook]) -> list[_Read]:
        found = []
        for each in (one for webhook in webhooks for one in self._unpacked(webhook)):
            identity = self._source.provider.identity(each)
            opened = Opened(each, self._source, identity, self._now, ORIGIN)
            why = ignored(self._source, identity)
            moment = (identity.occurred_at or at).astimezone(UTC)
            found.append(_Read(opened, moment, why, _plan(opened, why)))
        return found

    def _exactly(self, bundle: _Bundle) -> _Bundle:
        """The same with all that the vendor knows of it; or why that is not known."""
        happened = bundle.happened
        assert happened.exact
        try:
            read = self._read(happened.at, happened.exact())
        except (Away, Denied):
            raise
        except (ApiError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            title = self._source.provider.title
            why = Untranslatable(f"{title} tells something else of it than is documented")
            read = [each._replace(plan=why) for each in bundle.read]
        return _Bundle(happened._replace(exact=None), read)

    def _read_ahead(self, read: Iterable[_Read]) -> None:
        plans = [each.plan for each in read if isinstance(each.plan, Plan)]
        self._rows.read_ahead(key for plan in plans for key in _keys(plan))

    def _is_inside(self, read: _Read) -> bool:
        return self._window.since <= read.at < self._window.until

    def _is_before(self, found: Found) -> bool:
        return found.at < self._window.since

    def _unpacked(self, webhook: Webhook) -> Sequence[Webhook]:
        try:
            return self._source.provider.unpack(webhook)
        except Rejected:
            # It is read as it is, and found to say nothing.
            return (webhook,)

    def _judged(self, bundle: Sequence[_Read]) -> list[Found]:
        """What happened at once is missing as a whole, or left as a whole."""
        self._tentative = _Memory()
        unread = next((each.plan for each in bundle if isinstance(each.plan, Parked)), None)
        paid_before, judged = False, []
        for each in bundle:
            found = self._judge(each)
            if found.standing is Standing.MISSING and self._is_before(found):
                paid_before = paid_before or any(one.flow == Flow.PAYMENT for one in found.events)
                found = _left(found, EARLIER)
            elif found.standing is Standing.MISSING and unread:
                # A sale without its refunds would be wrong for good.
                found = _left(found, unread.reason.value, str(unread))
            if paid_before and found.standing in (Standing.MISSING, Standing.LEFT):
                found = _left(found, EARLIER)
            if found.standing is Standing.MISSING and isinstance(each.plan, Plan):
                self._remember(each.plan)
            judged.append(found)
        return judged

    def _judge(self, read: _Read) -> Found:
        plan, found = read.plan, Found(Standing.MISSING, read.opened.identity, read.at)
        if read.ignored is not Reason.NONE:
            return replace(found, standing=Standing.IGNORED, reason=read.ignored.value)
        if isinstance(plan, Parked):
            return self._uncaptured(found, (), parked(plan), read.opened)
        planned = tuple(each.settled(self._user_of) for each in plan.planned)
        untold = tuple(each for each in planned if not self._is_filled(each))
        fresh = tuple(each for each in untold if not self._is_captured(each))
        if not planned:
            return self._lesson(found, plan, read.opened)
        if not fresh:
            known = Standing.ARRIVED if untold else Standing.REPEATED
            return replace(found, standing=known)
        found = replace(found, events=tuple(map(Event.of, fresh)))
        return self._uncaptured(found, fresh, self._decided(plan), read.opened)

    def _lesson(self, found: Found, plan: Plan, opened: Opened) -> Found:
        if self._is_news(plan):
            return _sealed(found, opened)
        known = Standing.ARRIVED if plan.lesson else Standing.NOTHING
        return replace(found, standing=known)

    def _uncaptured(
        self, found: Found, fresh: Sequence[Planned], decision: Decision, opened: Opened
    ) -> Found:
        """Parked before, on its way, or what it would become."""
        if reason := self._letters.reason_of(found.identity, fresh):
            return replace(found, standing=Standing.PARKED, reason=reason)
        if fresh and all(map(self._is_in_hand, fresh)):
            return replace(found, standing=Standing.WAITING)
        if found.at < self._remembers:
            return _left(found, Reason.TOO_OLD.value, "it may have been captured, and be forgotten")
        if decision.would_park:
            return _left(found, decision.reason.value, decision.detail)
        if decision.outcome is Outcome.IGNORED:
            return replace(found, standing=Standing.IGNORED, reason=decision.reason.value)
        return _sealed(found, opened)

    def _decided(self, plan: Plan) -> Decision:
        try:
            return decide(plan, self._user_of, self._facts.rate_of)
        except Parked as error:
            return parked(error)

    def _is_filled(self, planned: Planned) -> bool:
        """Whether something missing tells it, too."""
        keys = {*self._joined(planned.keys), *planned.shared}
        return bool(keys & self._memory.told or keys & self._tentative.told)

    def _is_captured(self, planned: Planned) -> bool:
        return self._facts.is_done(self._joined(planned.keys), planned.shared)

    def _is_in_hand(self, planned: Planned) -> bool:
        """Whether it is being delivered, backs off, or is held until its user signs up."""
        rows = [self._rows.get(key) for key in planned.keys]
        held = (self._rows.get(f"{EVENT}{mark}") for row in rows for mark in texts(row, "waits"))
        return any(_is_delivered(row, self._now) for row in rows) or any(
            "message" in row for row in held
        )

    def _is_news(self, plan: Plan) -> bool:
        """Whether it teaches what the ledger does not know."""
        known = self._user_of
        people = plan.user_id and any(not known((each.key,)) for each in plan.lessons)
        merged = any("same" not in self._rows.get(key) for key in plan.merged)
        return bool(people or merged or (plan.same and not self._facts.knows(plan.same)))

    def _user_of(self, keys: Sequence[str]) -> str | None:
        joined = self._joined(keys)
        memories = (self._memory.users, self._tentative.users)
        found = (users[key] for key in joined for users in memories if key in users)
        return self._facts.user_of(joined) or next(found, None)

    def _joined(self, keys: Sequence[str]) -> tuple[str, ...]:
        """These keys, and those of the same payment, as the ledger knows or something missing says."""
        memories = (self._memory.same, self._tentative.same)
        told = (other for key in keys for same in memories for other in same.get(key, ()))
        known = (other for key in keys for other in texts(self._rows.get(key), "others"))
        return tuple(dict.fromkeys((*keys, *told, *known)))

    def _remember(self, plan: Plan) -> None:
        together, memory = self._joined(plan.same), self._tentative
        memory.same |= dict.fromkeys(together, together)
        decision = self._decided(plan)
        for planned, event in zip(decision.planned, decision.events, strict=True):
            told = (*planned.keys, *planned.shared)
            memory.users |= dict.fromkeys((*told, *planned.marks), event.user_id)
            memory.told.update(told)
        user = plan.user_id or next((each.user_id for each in decision.events), None)
        if user:
            memory.users |= {each.key: user for each in plan.lessons}


def _left(found: Found, reason: str, detail: str = "") -> Found:
    return replace(found, standing=Standing.LEFT, reason=reason, detail=detail, packed=b"")


def _sealed(found: Found, opened: Opened) -> Found:
    envelope = Envelope(opened.webhook, opened.received_at, opened.origin)
    try:
        packed = zlib.compress(envelope.seal(opened.source.provider).encode("ascii"))
        return replace(found, packed=packed)
    except TooLarge as error:
        return _left(found, Reason.TOO_LARGE.value, str(error))


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
    """Whether a worker has a fact in hand, or had it just now and tries it again."""
    claimed = text(row, "state") == "claimed" and (number(row, "until") or 0) > now
    return claimed or (number(row, "failed_at") or 0) > now - _TRIED_AGAIN
