"""From the queue to Linkrunner: translate, find the user, render, claim, capture, or give the reason why not.

A message is done when every event of it is captured, now or before. Otherwise it stays in the queue with a
growing delay, or it is parked with the reason when only a person can help.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from hashlib import sha256
from typing import Protocol
from uuid import uuid4

from linkrunner_webhooks.capture import Capture
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import Opened, open_message
from linkrunner_webhooks.errors import (
    ConfigError,
    Exhausted,
    MissingUser,
    Parked,
    PartlyCaptured,
    Reason,
    Refused,
    Unavailable,
    Unroutable,
)
from linkrunner_webhooks.event_body import LinkrunnerEvent, fingerprint
from linkrunner_webhooks.model import UNKNOWN, Outcome
from linkrunner_webhooks.once import Standing
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.schedule import (
    DEPLOYMENT,
    PATIENCE,
    PAYER_TRIES,
    SUSPICIOUS,
    delay,
    separate_delay,
)
from linkrunner_webhooks.translation import Decision, decide

# Seconds between the tries to record a capture.
RECORD_PAUSES = (0.2, 1.0, 3.0)

# One capture at its slowest, in seconds: two tries of connect and read, and the claim around them.
SLOWEST = 30.0


class Once(Protocol):
    """Claims on economic facts; see once.Claims."""

    def claim(self, keys: Sequence[str], owner: str) -> Standing: ...
    def complete(self, keys: Sequence[str], user_id: str) -> None: ...
    def release(self, keys: Sequence[str], owner: str) -> None: ...
    def user_of(self, keys: Sequence[str]) -> str | None: ...
    def note_trouble(self) -> None: ...
    def in_trouble(self) -> bool: ...


class Queue(Protocol):
    """The operations on messages. Every method raises Unavailable."""

    def park(self, message: Message, reason: Reason, error: str) -> None: ...
    def delay(self, message: Message, seconds: float) -> None: ...


# The message attribute that tells which of its events were captured and could not be noted.
CAPTURED = "captured"


def marked(keys: Sequence[str]) -> str:
    """A short name of an event, from the keys of its fact."""
    return sha256("\n".join(keys).encode()).hexdigest()[:16]


def before(message: Message) -> frozenset[str]:
    """The events of a message that were captured in an earlier life of it."""
    return frozenset(filter(None, message.attributes.get(CAPTURED, "").split(",")))


class Captured(Enum):
    """The result of one capture."""

    NOW = "now"
    BEFORE = "before"
    UNRECORDED = "unrecorded"


@dataclass(frozen=True, slots=True)
class Settled:
    """The result for a message in this run; `kept` is the reason why it stays in the queue."""

    report: Report
    kept: Unavailable | None = None


@dataclass(slots=True)
class Run:
    """One batch in progress. After the first shared trouble the rest of the batch is not tried."""

    remaining: Callable[[], float]
    trouble: Unavailable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Delivery, with all that it needs. `now` is unix seconds; `observe` gets a report of every message.

    `workers` messages are processed at once, so that waiting for answers does not slow the pace.
    """

    config: Config
    capture: Capture
    once: Once
    queue: Queue
    now: Callable[[], float]
    observe: Callable[[Report], None]
    workers: int = 1
    sleep: Callable[[float], None] = time.sleep

    def deliver(self, messages: Sequence[Message], remaining: Callable[[], float]) -> list[str]:
        """Deliver a batch within `remaining()` seconds; returns the ids that stay in the queue."""
        self._separate(messages)
        run = Run(remaining)
        kept = []
        with ThreadPoolExecutor(self.workers) as pool:
            results = pool.map(partial(self._settle_in, run), messages)
            for message, settled in zip(messages, results, strict=True):
                self.observe(settled.report)
                if settled.kept is not None:
                    kept.append(message.id)
        return kept

    def _separate(self, messages: Sequence[Message]) -> None:
        """A message that crashes the function must not come back with the same neighbours every time."""
        for message in messages:
            if message.receives > SUSPICIOUS:
                with suppress(Exception):
                    self.queue.delay(message, separate_delay())

    def _settle_in(self, run: Run, message: Message) -> Settled:
        if run.trouble is None and run.remaining() < SLOWEST:
            run.trouble = _no_time_left()
        settled = self._settle(message, run)
        if settled.kept is not None and run.trouble is None:
            self._heed(run, settled.kept)
        return settled

    def _heed(self, run: Run, kept: Unavailable) -> None:
        """Tell the other messages of the trouble that one of them met, if they share it."""
        if kept.reason.nature.shared:
            run.trouble = kept
        if kept.reason.nature.outage:
            with suppress(Exception):
                self.once.note_trouble()

    def _settle(self, message: Message, run: Run) -> Settled:
        """Deliver, park or delay one message. No error of one message affects the rest of the batch."""
        report, trouble = _report(message), run.trouble
        if trouble is not None:
            return self._delay(message, report, trouble)
        try:
            opened = self._opened(message)
            report = _identified(report, opened)
            return Settled(self._capture_all(opened, message, report, run))
        except Parked as error:
            return self._park(message, report, error)
        except Unavailable as error:
            return self._retry(message, report, error)
        except Exception as error:  # noqa: BLE001
            detail = str(error) if isinstance(error, ConfigError) else type(error).__name__
            return self._retry(message, report, Unavailable(detail, reason=Reason.INTERNAL))

    def _opened(self, message: Message) -> Opened:
        """The webhook in a message. Raises Parked, or Unavailable while a deployment may be going on.

        Receive stored it, so a source or a type that is not wanted here may belong to the other version.
        """
        try:
            opened = open_message(message.text, self.config)
        except Unroutable as error:
            self._await_deployment(error.received_at)
            raise
        event_type = opened.identity.event_type
        if event_type != UNKNOWN and not opened.source.wants(event_type):
            self._await_deployment(opened.received_at)
        return opened

    def _await_deployment(self, received_at: float) -> None:
        if self.now() - received_at < DEPLOYMENT:
            message = "receive and deliver are of two versions; a deployment ends within minutes"
            raise Unavailable(message, reason=Reason.DEPLOYING)

    def _capture_all(self, opened: Opened, message: Message, report: Report, run: Run) -> Report:
        decision = decide(opened, self.once.user_of)
        if decision.may_change and self._may_still_learn(message, decision):
            raise Unavailable(decision.detail, reason=Reason.PAYER_UNKNOWN)
        if decision.would_park:
            raise MissingUser(decision.detail)
        if not decision.events:
            return replace(
                report, outcome=decision.outcome, reason=decision.reason, detail=decision.detail
            )
        known = before(message)
        results: list[tuple[LinkrunnerEvent, Captured]] = []
        noted: list[str] = []
        try:
            for each, event in zip(decision.planned, decision.events, strict=True):
                mark = marked(each.keys)
                if mark in known:
                    # Captured in an earlier life of the message, which could not note it.
                    self._record(each.keys, event.user_id)
                    how = Captured.BEFORE
                else:
                    how = self._capture_once(each.keys, event, run)
                results.append((event, how))
                noted += [mark] if how is Captured.UNRECORDED or mark in known else []
        except Refused as error:
            raise Refused(str(error), fingerprint(decision.events)) from None
        except Unavailable as error:
            if noted:
                # Its message is not tried again by itself: it would capture them once more.
                self.observe(_captured(report, results))
                raise PartlyCaptured(f"captured in part: {error}", ",".join(noted)) from None
            raise
        return _captured(report, results)

    def _may_still_learn(self, message: Message, decision: Decision) -> bool:
        """A refund can overtake its payment: by a moment, a worker's death, or an outage of Linkrunner.

        A refund that would be dropped waits in any case, because a dropped one cannot be redriven.
        """
        if message.receives <= PAYER_TRIES:
            return True
        return self._in_time(message) and (not decision.would_park or self.once.in_trouble())

    def _capture_once(self, keys: Sequence[str], event: LinkrunnerEvent, run: Run) -> Captured:
        """Capture an event unless its fact was captured before. Raises Refused or Unavailable."""
        _require_time(run)
        owner = uuid4().hex
        standing = self.once.claim(keys, owner)
        if standing is Standing.BUSY:
            raise Unavailable("another worker has this fact in hand", reason=Reason.BUSY)
        if standing is Standing.DONE:
            return Captured.BEFORE
        with self._released_on_failure(keys, owner):
            # The claim may have been slow, and a capture that is cut off is captured again.
            _require_time(run)
            self.capture(event)
        return Captured.NOW if self._record(keys, event.user_id) else Captured.UNRECORDED

    def _record(self, keys: Sequence[str], user_id: str) -> bool:
        """Record the capture, with retries: another report of an unrecorded fact would be captured again.

        The message itself is done in any case: another try would capture the event twice for certain.
        """
        for pause in (*RECORD_PAUSES, None):
            try:
                self.once.complete(keys, user_id)
            except Exception:  # noqa: BLE001
                if pause is not None:
                    self.sleep(pause)
            else:
                return True
        return False

    @contextmanager
    def _released_on_failure(self, keys: Sequence[str], owner: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # The lease runs out by itself, and the error of the capture is the one to report.
            with suppress(Exception):
                self.once.release(keys, owner)
            raise

    def _park(self, message: Message, report: Report, error: Parked) -> Settled:
        try:
            self.queue.park(_evident(message, error), error.reason, str(error))
        except Unavailable as unavailable:
            return self._delay(message, report, unavailable)
        except Exception as failure:  # noqa: BLE001
            internal = Unavailable(type(failure).__name__, reason=Reason.INTERNAL)
            return self._delay(message, report, internal)
        return Settled(
            replace(report, outcome=Outcome.PARKED, reason=error.reason, detail=str(error))
        )

    def _retry(self, message: Message, report: Report, error: Unavailable) -> Settled:
        if error.reason is Reason.BUSY or self._in_time(message):
            return self._delay(message, report, error)
        exhausted = Exhausted(f"still failing after {PATIENCE / 3600:.0f} hours: {error}")
        return self._park(message, report, exhausted)

    def _in_time(self, message: Message) -> bool:
        return self.now() - message.sent_at <= PATIENCE

    def _delay(self, message: Message, report: Report, error: Unavailable) -> Settled:
        seconds = delay(message.receives, error.reason, error.retry_after)
        # If this fails, the visibility timeout brings the message back, only later.
        with suppress(Exception):
            self.queue.delay(message, seconds)
        detail = f"{error}; next try in {seconds:.0f} s"
        return Settled(
            replace(report, outcome=Outcome.RETRYING, reason=error.reason, detail=detail), error
        )


def _evident(message: Message, error: Parked) -> Message:
    """The message with what its next life has to know: what was refused, or what was captured already."""
    more: dict[str, str] = {}
    if isinstance(error, Refused):
        more = {"bodies": error.bodies}
    elif isinstance(error, PartlyCaptured):
        more = {CAPTURED: error.captured}
    return replace(message, attributes={**message.attributes, **more})


def _no_time_left() -> Unavailable:
    return Unavailable("no time left", reason=Reason.OUT_OF_TIME)


def _require_time(run: Run) -> None:
    """Raises Unavailable when the slowest capture would not end in time."""
    if run.remaining() < SLOWEST:
        raise _no_time_left()


def _report(message: Message) -> Report:
    known = message.attributes
    return Report(
        stage="deliver",
        outcome=Outcome.RETRYING,
        source=known.get("source") or "unknown",
        event_type=known.get("event_type", ""),
        event_id=known.get("event_id", ""),
    )


def _identified(report: Report, opened: Opened) -> Report:
    return replace(
        report,
        source=opened.source.name,
        provider=opened.source.provider.name,
        event_type=opened.identity.event_type,
        event_id=opened.identity.event_id,
        test=opened.identity.test,
    )


def _captured(report: Report, results: Sequence[tuple[LinkrunnerEvent, Captured]]) -> Report:
    """Captured, if one event was captured now. The report names those events, or else the duplicates."""
    fresh = [event.event_name for event, how in results if how is not Captured.BEFORE]
    unrecorded = any(how is Captured.UNRECORDED for _, how in results)
    return replace(
        report,
        outcome=Outcome.CAPTURED if fresh else Outcome.DUPLICATE,
        reason=Reason.UNRECORDED if unrecorded else Reason.NONE,
        event_names=tuple(fresh or [event.event_name for event, _ in results]),
    )
