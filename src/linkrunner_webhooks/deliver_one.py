"""One message that was read: find the users, claim, capture, and learn; or the reason why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import inf
from typing import NamedTuple, Protocol
from uuid import uuid4

from linkrunner_webhooks import past
from linkrunner_webhooks.accounts import Accounts
from linkrunner_webhooks.capture import Capture, Knows
from linkrunner_webhooks.capture_once import Captured, CaptureOnce, Ended, Facts
from linkrunner_webhooks.errors import (
    MissingUser,
    Parked,
    PartlyCaptured,
    Reason,
    Refused,
    Unavailable,
    WebhookError,
)
from linkrunner_webhooks.event_body import LinkrunnerEvent, fingerprint
from linkrunner_webhooks.held import Held
from linkrunner_webhooks.intake import Notes, Read, internal
from linkrunner_webhooks.model import Kind, Outcome
from linkrunner_webhooks.once import Standing
from linkrunner_webhooks.past import Past, marked
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.reports import Moved, Report
from linkrunner_webhooks.schedule import LINK_TRIES, PATIENCE, PAYER_TRIES
from linkrunner_webhooks.settle import Settle
from linkrunner_webhooks.time_left import require_time
from linkrunner_webhooks.translation import Decision, Plan, Planned, decide
from linkrunner_webhooks.waiting import Waits

Remaining = Callable[[], float]
# Puts a message with these attributes into the queue.
Send = Callable[[str, Mapping[str, str]], None]


class Links(Protocol):
    """Whose the providers' ids are; see links.Links."""

    def learn(self, key: str, user_id: str, at: float) -> bool: ...
    def merge(self, people: Iterable[str]) -> None: ...


class Waiting(Protocol):
    """Whom Linkrunner knows, and what waits for the others; see waiting.Waiting."""

    def is_known(self, user_id: str) -> bool: ...
    def know(self, user_id: str) -> tuple[Waits, ...]: ...
    def hold(
        self, mark: str, user_id: str, message: str, keys: Iterable[str], days: int
    ) -> bool: ...
    def release(self, event: Waits) -> None: ...
    def due(self) -> Iterator[Waits]: ...


class Ledger(Protocol):
    """What was reported, whose what is, and what workers tell each other; see ledger.Ledger."""

    @property
    def facts(self) -> Facts: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def links(self) -> Links: ...
    @property
    def waiting(self) -> Waiting: ...
    @property
    def notes(self) -> Notes: ...


class Result(NamedTuple):
    """One event of a message, what became of it, and the owner of its claim."""

    planned: Planned
    event: LinkrunnerEvent
    ended: Ended
    owner: str

    @property
    def how(self) -> Captured:
        return self.ended.how

    @property
    def money(self) -> Moved | None:
        """What moved, if it was captured now."""
        told = self.ended.sent
        if self.how in _NOT_NOW or "amount" not in told:
            return None
        flow = Kind(told["kind"]).flow
        return Moved(flow, told["currency"], Decimal(told["amount"])) if flow else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverOne:
    """Delivers messages one by one, with all that it needs. `now` is unix seconds.

    `observe` gets a report of what was captured and could not be noted, before the message itself is done.
    """

    ledger: Ledger
    capture: Capture
    knows: Knows
    send: Send
    now: Callable[[], float]
    observe: Callable[[Report], None]
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, read: Read, remaining: Remaining) -> Report:
        """Deliver it within `remaining()` seconds. Raises Parked, PartlyCaptured or Unavailable."""
        self._note(read.message, remaining)
        if isinstance(read.plan, WebhookError):
            raise read.plan
        return self._deliver(read.plan, read, remaining)

    def _note(self, message: Message, remaining: Remaining) -> None:
        """Note what an earlier life of the message captured, whatever becomes of it today."""
        for each in Past.of(message.attributes).captured.values():
            require_time(remaining)
            try:
                self.ledger.facts.complete(
                    each.keys, each.user_id, each.owner, each.marks, each.sent, each.shared
                )
            except Unavailable as error:
                why = f"captured before, and not noted yet: {error}"
                raise Unavailable(why, reason=Reason.UNRECORDED) from None

    def _deliver(self, plan: Plan, read: Read, remaining: Remaining) -> Report:
        message, report = read.message, read.report
        known = Past.of(message.attributes)
        if not known.forced:
            plan.require_memory(self.now(), self.ledger.facts.kept)
        # What says which ids are one payment needs no user, and others wait for it.
        twice = bool(plan.same) and self.ledger.facts.link(plan.same) is Standing.TWICE
        settle = Settle(capture=self.capture, accounts=self.ledger.accounts, remaining=remaining)
        if plan.same and plan.source.linkrunner.revenue != "event":
            settle.again(plan.same, plan.source, uuid4().hex)
        decision = decide(plan, self.ledger.facts.user_of, self.ledger.facts.rate_of)
        if decision.may_change:
            self._await_payer(message, decision)
        if decision.reason is Reason.MISSING_USER and (known.forced or not read.contradicted):
            self._take_back(plan, settle)
        if decision.would_park:
            raise MissingUser(decision.detail)
        self._await_link(message, decision)
        if decision.events:
            report = self._capture_each(plan, decision, known, read, settle, remaining)
        else:
            report = replace(
                report, outcome=decision.outcome, reason=decision.reason, detail=decision.detail
            )
        if twice:
            report = replace(report, reason=Reason.LINKED_LATE)
        if read.contradicted and not known.forced:
            return report
        return replace(report, relinked=self._learn(plan, report, remaining))

    def _take_back(self, plan: Plan, settle: Settle) -> None:
        """Money is back, whoever it is: a removal names no user."""
        for each in plan.planned:
            if each.returned:
                settle.returned(each, uuid4().hex)

    def _learn(self, plan: Plan, report: Report, remaining: Remaining) -> int:
        """Note what the webhook teaches, after its events. Returns how many ids changed hands."""
        facts, links = self.ledger.facts, self.ledger.links
        if plan.known_user:
            self._welcome(plan.known_user, remaining)
        if plan.merged:
            links.merge(plan.merged)
        user_id = plan.user_id
        if user_id is None and plan.teaches:
            user_id = facts.named_user_of(key for each in plan.planned for key in each.follows)
        if user_id is None or not plan.lessons:
            return 0
        newest = inf
        if report.outcome is Outcome.DUPLICATE:
            # A repetition is no newer word than the capture, and none of somebody who was erased since.
            keys = [key for each in plan.planned for key in each.keys]
            if facts.user_of(keys) != user_id:
                return 0
            newest = facts.happened_at(keys) or inf
        return sum(links.learn(each.key, user_id, min(each.at, newest)) for each in plan.lessons)

    def _welcome(self, user_id: str, remaining: Remaining) -> None:
        """Linkrunner knows somebody: what has waited for that is a message again."""
        for each in self.ledger.waiting.know(user_id):
            require_time(remaining)
            held = Held.read(each.message)
            # What cannot be read any more is parked: somebody has to see it.
            self.send(each.message, held.attributes if held else {})
            self.ledger.waiting.release(each)

    def _is_held(
        self, planned: Planned, event: LinkrunnerEvent, plan: Plan, remaining: Remaining
    ) -> bool:
        """Keep an event for a user whom Linkrunner does not know, where the operator wants that."""
        settings = planned.source.linkrunner
        if settings.unknown_users == "send" or plan.waited:
            return False
        require_time(remaining)
        waiting = self.ledger.waiting
        if waiting.is_known(event.user_id):
            return False
        if self.ledger.facts.is_done(planned.keys, planned.shared):
            # A duplicate waits for nobody.
            return False
        if self.knows(event.user_id):
            self._welcome(event.user_id, remaining)
            return False
        message = Held.of(planned, event, plan.received_at).text()
        # Another report of the fact may name somebody else.
        mark = marked((*planned.keys, event.user_id))
        return waiting.hold(mark, event.user_id, message, planned.keys, settings.hold_days)

    def _capture_each(
        self,
        plan: Plan,
        decision: Decision,
        known: Past,
        read: Read,
        settle: Settle,
        remaining: Remaining,
    ) -> Report:
        once = CaptureOnce(
            capture=self.capture,
            facts=self.ledger.facts,
            settle=settle,
            now=self.now,
            sleep=self.sleep,
        )
        results: list[Result] = []
        try:
            for each, event in zip(decision.planned, decision.events, strict=True):
                mark, owner = marked(each.keys), uuid4().hex
                contradicted = read.contradicted and not known.forced
                # What is a duplicate or nothing waits for nobody.
                if not contradicted and self._is_held(each, event, plan, remaining):
                    if each.returned:
                        # A payment that is there goes now: a removal names no user.
                        settle.returned(each, owner, user_id=event.user_id)
                    results.append(Result(each, event, Ended(Captured.HELD), owner))
                    continue
                ended = once(
                    each,
                    event,
                    owner=owner,
                    remaining=remaining,
                    forgiven=known.doubts.get(mark, 0),
                    contradicted=contradicted,
                )
                results.append(Result(each, event, ended, owner))
        except Exception as error:  # noqa: BLE001 - what is captured and not noted has to be known all the same
            told = error if isinstance(error, WebhookError) else internal(error)
            if isinstance(told, Refused):
                told.bodies = fingerprint(decision.events)
            raise self._with_captured(told, read, results) from None
        if _unnoted(results):
            raise self._with_captured(None, read, results)
        return _captured(read.report, results)

    def _with_captured(
        self, error: WebhookError | None, read: Read, results: Sequence[Result]
    ) -> WebhookError:
        """The error with what the next life of the message has to know: its capture could not be noted.

        The message is not tried again as it is: that would capture the event once more.
        """
        unnoted = _unnoted(results)
        if unnoted:
            self.observe(_captured(read.report, results))
            if error is None or isinstance(error, Unavailable):
                rest = f"; {error}" if error else ""
                error = PartlyCaptured(f"captured and not noted{rest}", whole=not rest)
        assert error is not None
        if isinstance(error, Parked):
            error.captured = unnoted
        return error

    def _await_payer(self, message: Message, decision: Decision) -> None:
        """Raises Unavailable while a webhook that is on its way can still name the user.

        A refund can overtake its payment, and a renewal its checkout: by a moment, a worker's death, or an
        outage. A refund that would be dropped waits in any case, because a dropped one cannot be redriven.
        """
        # Receives count more than this: batches that were given back, and lives that ended before they asked.
        asked = self.ledger.notes.count(f"payer|{message.id}")
        dropped = decision.follows and decision.outcome is Outcome.IGNORED
        waits = asked <= PAYER_TRIES or (
            self._age(message.sent_at) <= PATIENCE and (dropped or self.ledger.notes.in_trouble())
        )
        if waits:
            raise Unavailable(decision.detail, reason=Reason.PAYER_UNKNOWN, tries=asked)

    def _await_link(self, message: Message, decision: Decision) -> None:
        """Raises Unavailable while a report can still tell that this payment counts under other ids."""
        for each in decision.planned:
            if each.awaits_link and not self.ledger.facts.is_linked(each.keys):
                asked = self.ledger.notes.count(f"link|{message.id}")
                if asked <= LINK_TRIES:
                    why = (
                        "another type may report this payment; a link of the two may be on its way"
                    )
                    raise Unavailable(why, reason=Reason.LINK_UNKNOWN, tries=asked)

    def _age(self, since: float) -> float:
        return self.now() - since


def _unnoted(results: Sequence[Result]) -> dict[str, past.Capture]:
    return {
        marked(each.planned.keys): past.Capture(
            owner=each.owner,
            user_id=each.event.user_id,
            keys=each.ended.keys,
            marks=each.ended.marks,
            shared=each.planned.shared,
            sent=each.ended.sent,
        )
        for each in results
        if each.how is Captured.UNRECORDED
    }


# Of several the first is told.
_TOLD = {
    Captured.UNRECORDED: Reason.UNRECORDED,
    Captured.TWICE: Reason.LINKED_LATE,
    Captured.VOID: Reason.RETURNED,
}
_NOT_NOW = (Captured.BEFORE, Captured.TWICE, Captured.VOID, Captured.HELD)
# What a webhook ends as of which nothing is captured now.
_OTHERWISE = {Captured.HELD: Outcome.HELD, Captured.VOID: Outcome.IGNORED}


def _captured(report: Report, results: Sequence[Result]) -> Report:
    """Captured, if one event was captured now. The report names those events, or else the duplicates."""
    fresh = [each.planned.event_name for each in results if each.how not in _NOT_NOW]
    found = {each.how for each in results}
    ends = (outcome for how, outcome in _OTHERWISE.items() if how in found)
    other = next(ends, Outcome.DUPLICATE)
    return replace(
        report,
        outcome=Outcome.CAPTURED if fresh else other,
        reason=next((reason for how, reason in _TOLD.items() if how in found), Reason.NONE),
        event_names=tuple(fresh or [each.planned.event_name for each in results]),
        money=tuple(moved for each in results if (moved := each.money)),
    )
