"""One event, captured unless its fact was captured before. The claims say so, and learn how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, Protocol

from linkrunner_webhooks.capture import Capture
from linkrunner_webhooks.errors import (
    Contradicted,
    Exhausted,
    Reason,
    Unavailable,
    Uncertain,
    WebhookError,
)
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.money import Rate
from linkrunner_webhooks.once import Claim, Sent, Standing
from linkrunner_webhooks.past import marked
from linkrunner_webhooks.payments import NOTHING
from linkrunner_webhooks.schedule import DOUBTS, PATIENCE, wait
from linkrunner_webhooks.settle import Settle
from linkrunner_webhooks.time_left import SLOWEST_CALL, require_time
from linkrunner_webhooks.translation import REVENUE, Planned

# Seconds between the tries to record a capture.
RECORD_PAUSES = (0.2, 1.0, 3.0)


class Facts(Protocol):
    """Claims on economic facts; see once.Claims."""

    @property
    def kept(self) -> int: ...
    def claim(
        self,
        keys: Iterable[str],
        owner: str,
        marks: Iterable[str] = (),
        shared: Iterable[str] = (),
    ) -> Claim: ...
    def complete(
        self,
        keys: Sequence[str],
        user_id: str,
        owner: str = "",
        marks: Iterable[str] = (),
        sent: Sent = ...,
        shared: Iterable[str] = (),
    ) -> None: ...
    def happened_at(self, keys: Iterable[str]) -> float | None: ...
    def link(self, keys: Iterable[str]) -> Standing: ...
    def is_done(self, keys: Sequence[str], shared: Iterable[str] = ()) -> bool: ...
    def release(self, claim: Claim, *, lasting: bool = False) -> None: ...
    def keep(
        self, claim: Claim, seconds: float, *, doubtful: bool = True, told: str = ...
    ) -> None: ...
    def user_of(self, keys: Iterable[str]) -> str | None: ...
    def rate_of(self, keys: Iterable[str]) -> Rate | None: ...
    def named_user_of(self, keys: Iterable[str]) -> str | None: ...
    def is_linked(self, keys: Iterable[str]) -> bool: ...


class Ended(NamedTuple):
    """How it ended, with what a note of it needs where that failed."""

    how: Captured
    keys: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    sent: Sent = MappingProxyType({})


class Captured(Enum):
    """The result of one capture. TWICE is BEFORE, and shows that two captures were one fact.

    HELD is what waits for its user. VOID is a payment that is not captured any more, because all of it went
    back.
    """

    NOW = "now"
    BEFORE = "before"
    TWICE = "twice"
    UNRECORDED = "unrecorded"
    VOID = "void"
    HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOnce:
    """Captures, with all that it needs. `now` is unix seconds."""

    capture: Capture
    facts: Facts
    settle: Settle
    now: Callable[[], float]
    sleep: Callable[[float], None] = time.sleep

    def __call__(
        self,
        planned: Planned,
        event: LinkrunnerEvent,
        *,
        owner: str,
        remaining: Callable[[], float],
        forgiven: int = 0,
        contradicted: bool = False,
    ) -> Ended:
        """Capture within `remaining()` seconds, in the name of `owner`. Raises Parked or Unavailable.

        `forgiven` is the number of doubts after which a person decided to try again. What is `contradicted`
        is a duplicate or nothing.
        """
        require_time(remaining)
        claim = self.facts.claim(planned.keys, owner, planned.marks, planned.shared)
        if claim.standing is Standing.BUSY:
            raise Unavailable("another worker has this fact in hand", reason=Reason.BUSY)
        if claim.standing is not Standing.OURS:
            if not contradicted:
                self._settle_again(planned, owner)
            twice = claim.standing is Standing.TWICE
            return Ended(Captured.TWICE if twice else Captured.BEFORE)
        planned, event = planned.as_before(event, claim)
        try:
            _require_first(contradicted=contradicted)
            _require_certainty(claim, planned, forgiven)
            # The claim may have been slow, and a capture that is cut off is captured again.
            require_time(remaining)
            told, sent = self._tell(claim, planned, event, owner)
        except BaseException as error:
            self._failed(claim, planned, event, error, remaining)
            self._require_patience(claim, error)
            raise
        # The message is done in any case: another try would capture the event twice for certain.
        note = partial(
            self.facts.complete,
            claim.keys,
            event.user_id,
            owner,
            claim.marks,
            sent,
            planned.shared,
        )
        how = Captured.NOW if told else Captured.VOID
        noted = self._insist(note, remaining)
        return Ended(how if noted else Captured.UNRECORDED, claim.keys, claim.marks, sent)

    def _tell(
        self, claim: Claim, planned: Planned, event: LinkrunnerEvent, owner: str
    ) -> tuple[bool, Sent]:
        """Make the requests of an event, first what can be made again.

        Returns whether there was anything to tell, and what the ledger is to remember of it.
        """
        account = self.settle.paid(claim, planned, event) if event.payment else None
        if planned.returned:
            self.settle.returned(planned, owner, claim.keys, event.user_id)
        if event.announced:
            self.capture(event)
        held = account is None or account.current != NOTHING
        rate = account.terms.rate if account and account.terms else ""
        return held or event.announced, planned.told_by(event, rate=rate, told=held)

    def _settle_again(self, planned: Planned, owner: str) -> None:
        """What is known already may be another payment's, or more of it may have gone back meanwhile."""
        if planned.payment:
            self.settle.again(planned.keys, planned.source, owner)
        # Another side of one refund, or another step of one dispute.
        if planned.returned and planned.returned.returned.group:
            self.settle.returned(planned, owner)

    def _insist(self, note: Callable[[], None], remaining: Callable[[], float]) -> bool:
        """Whether the table took the note, of several tries: without it the fact is captured again."""
        for pause in (0.0, *RECORD_PAUSES):
            if pause:
                if remaining() < pause + SLOWEST_CALL:
                    return False
                self.sleep(pause)
            with suppress(Exception):
                note()
                return True
        return False

    def _failed(
        self,
        claim: Claim,
        planned: Planned,
        event: LinkrunnerEvent,
        error: BaseException,
        remaining: Callable[[], float],
    ) -> None:
        """Free the fact if nothing was captured for certain. Otherwise nobody tries again for a while."""
        # If this fails the lease runs out by itself, and the error of the capture is the one to report.
        if isinstance(error, Unavailable) and error.reason.nature.doubtful:
            error.tries = claim.unanswered + 1
            seconds = wait(error.tries, error.reason)
            told = REVENUE if planned.is_revenue(event) else "event"
            self._insist(partial(self.facts.keep, claim, seconds, told=told), remaining)
        elif isinstance(error, Unavailable) and error.settling:
            # It may arrive late, and a removal that came before it would find nothing.
            keep = partial(self.facts.keep, claim, error.settling, doubtful=False)
            self._insist(keep, remaining)
        elif isinstance(error, WebhookError):
            with suppress(Exception):
                lasting = planned.payment is not None or planned.returned is not None
                self.facts.release(claim, lasting=lasting)

    def _require_patience(self, claim: Claim, error: BaseException) -> None:
        """Raises Exhausted when tries have been failing for long enough."""
        since = claim.failing_since
        if not (isinstance(error, Unavailable) and error.reason.nature.outage):
            return
        if since and self.now() - since > PATIENCE:
            message = f"still failing after {PATIENCE / 3600:.0f} hours: {error}"
            raise Exhausted(message) from None


def _require_first(*, contradicted: bool) -> None:
    """Raises Contradicted for what would be captured for the first time."""
    if contradicted:
        raise Contradicted


def is_uncertain(planned: Planned, doubts: int) -> bool:
    """Whether a person decides about an event of which nobody knows if it is captured."""
    doubted = planned.announced and planned.source.uncertain == "park"
    return doubts >= DOUBTS and doubted


def _require_certainty(claim: Claim, planned: Planned, forgiven: int) -> None:
    """Raises Uncertain when so many tries may have captured the event that a person has to look."""
    if is_uncertain(planned, claim.doubts - forgiven):
        tries = f"{claim.unanswered} requests went unanswered and {claim.unended} tries did not end"
        message = f"{tries}: any of them may have captured it"
        raise Uncertain(message, {marked(planned.keys): claim.doubts})
