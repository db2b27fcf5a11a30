"""From the queue to Linkrunner: translate, find the user, render, claim, capture - or say why not.

A message is done when every event of it is captured, now or before. Otherwise it stays in the queue with a
growing delay, or is parked with its reason when only a person can help.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Protocol
from uuid import uuid4

from linkrunner_webhooks.capture import Capture
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import ConfigError, Exhausted, MissingUser, Parked, Unavailable
from linkrunner_webhooks.linkrunner import LinkrunnerEvent
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.once import LEASE, Standing
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.translation import Opened, Planned, open_message, plan

# The retry schedule: 5 s, 10 s, 20 s ... an hour, until the message is this old.
FIRST_DELAY = 5.0
LAST_DELAY = 3600.0
PATIENCE = 60 * 3600.0

# So often a refund asks for its payer while nothing is wrong: for three quarters of an hour, which is longer
# than the payment of a worker that died takes, and shorter than what the alarm for late webhooks waits.
PAYER_TRIES = 9

# What was received so often may be killing its workers; it comes back apart, not before its run is over.
SUSPICIOUS = 20
APART = (720.0, 1440.0)

# Seconds between the tries to note what was captured.
RECORD_PAUSES = (0.2, 1.0, 3.0)

# One capture at its slowest: two tries of connect and read, and the claim around them.
SLOWEST = 30.0

# What says nothing about the message at hand: the next one would meet the same.
_EVERYBODYS = frozenset({"rate_limited", "timeout", "network", "unauthorized", "no_key", "claims"})
# What holds up payments, so that a refund may be here before its own.
_OUTAGES = frozenset(
    {"timeout", "network", "unavailable", "rate_limited", "unauthorized", "no_key"}
)
# What passes sooner than an outage: the next run has all its time, a lease runs out, a rush is over.
_LONGEST = {"out_of_time": 0.0, "busy": float(LEASE), "rate_limited": 900.0}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the queue. `sent_at` is unix seconds; `receives` counts this time too."""

    id: str
    handle: str
    text: str
    attributes: Mapping[str, str]
    receives: int
    sent_at: float


class Once(Protocol):
    """Claims on economic facts; see once.Claims."""

    def claim(self, keys: Sequence[str], owner: str) -> Standing: ...
    def complete(self, keys: Sequence[str], user_id: str) -> None: ...
    def release(self, keys: Sequence[str], owner: str) -> None: ...
    def user_of(self, keys: Sequence[str]) -> str | None: ...
    def note_trouble(self) -> None: ...
    def in_trouble(self) -> bool: ...


class Queue(Protocol):
    """What happens to messages. Every method raises Unavailable."""

    def park(self, message: Message, reason: str, error: str) -> None: ...
    def delay(self, message: Message, seconds: float) -> None: ...


class Captured(Enum):
    """How capturing one event went."""

    NOW = "now"
    BEFORE = "before"
    UNRECORDED = "unrecorded"


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a message in this run; `kept` is why it stays in the queue."""

    report: Report
    kept: Unavailable | None = None


@dataclass(slots=True)
class Run:
    """One batch under way. Its first trouble that is everybody's spares the rest of it the attempt."""

    remaining: Callable[[], float]
    trouble: Unavailable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """What delivering needs. `now` is unix seconds; `observe` is told about every message.

    `workers` messages are in hand at once, so that waiting for answers does not hold up the pace.
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
        self._part(messages)
        run = Run(remaining)
        kept = []
        with ThreadPoolExecutor(self.workers) as pool:
            results = pool.map(partial(self._settle_in, run), messages)
            for message, settled in zip(messages, results, strict=True):
                self.observe(settled.report)
                if settled.kept is not None:
                    kept.append(message.id)
        return kept

    def _part(self, messages: Sequence[Message]) -> None:
        """Whichever of them keeps killing us must not come back with the same others every time."""
        for message in messages:
            if message.receives > SUSPICIOUS:
                with suppress(Exception):
                    self.queue.delay(message, random.uniform(*APART))  # noqa: S311

    def _settle_in(self, run: Run, message: Message) -> Settled:
        if run.trouble is None and run.remaining() < SLOWEST:
            run.trouble = Unavailable("no time left", reason="out_of_time")
        settled = self._settle(message, run.trouble)
        if settled.kept is not None and run.trouble is None:
            self._heed(run, settled.kept)
        return settled

    def _heed(self, run: Run, kept: Unavailable) -> None:
        """What one message has met is told to the others, if it concerns them."""
        if kept.reason in _EVERYBODYS:
            run.trouble = kept
        if kept.reason in _OUTAGES:
            with suppress(Exception):
                self.once.note_trouble()

    def _settle(self, message: Message, trouble: Unavailable | None) -> Settled:
        """Deliver, park or delay one message; nothing it does can take the rest of the batch along."""
        report = _report(message)
        if trouble is not None:
            return self._delay(message, report, trouble)
        try:
            opened = open_message(message.text, self.config)
            report = _identified(report, opened)
            return Settled(self._capture_all(opened, message, report))
        except Parked as error:
            return self._park(message, report, error)
        except Unavailable as error:
            return self._retry(message, report, error)
        except Exception as error:  # noqa: BLE001
            detail = str(error) if isinstance(error, ConfigError) else type(error).__name__
            return self._retry(message, report, Unavailable(detail, reason="internal"))

    def _capture_all(self, opened: Opened, message: Message, report: Report) -> Report:
        planned = plan(opened.webhook, opened.identity, opened.source)
        if not planned:
            return replace(report, outcome=Outcome.IGNORED, reason="nothing_to_report")
        try:
            # All bodies before the first capture: a message is parked whole or not at all.
            events = [each.event(opened.source, self._payer(each)) for each in planned]
        except MissingUser as error:
            drop = opened.source.missing_user == "drop"
            if any(each.follows for each in planned) and self._may_still_learn(message, drop=drop):
                raise Unavailable(str(error), reason="payer_unknown") from None
            if not drop:
                raise
            return replace(
                report, outcome=Outcome.IGNORED, reason="missing_user", detail=str(error)
            )
        pairs = zip(planned, events, strict=True)
        return _captured(
            report, [(event, self._capture_once(each.keys, event)) for each, event in pairs]
        )

    def _payer(self, planned: Planned) -> str | None:
        """Whose event it is when it names nobody: whose it was captured for, or who paid what it follows."""
        if planned.user_id is not None:
            return None
        return self.once.user_of((*planned.keys, *planned.follows))

    def _may_still_learn(self, message: Message, *, drop: bool) -> bool:
        """A refund can overtake its payment: by a moment, a worker's death, or an outage of Linkrunner.

        What would be dropped waits in any case: it would be gone. What would be parked can be redriven.
        """
        if message.receives <= PAYER_TRIES:
            return True
        return self._in_time(message) and (drop or self.once.in_trouble())

    def _capture_once(self, keys: Sequence[str], event: LinkrunnerEvent) -> Captured:
        """Capture an event unless its fact was captured before. Raises Refused or Unavailable."""
        owner = uuid4().hex
        standing = self.once.claim(keys, owner)
        if standing is Standing.BUSY:
            raise Unavailable("another worker has this fact in hand", reason="busy")
        if standing is Standing.DONE:
            return Captured.BEFORE
        with self._released_on_failure(keys, owner):
            self.capture(event)
        return Captured.NOW if self._record(keys, event.user_id) else Captured.UNRECORDED

    def _record(self, keys: Sequence[str], user_id: str) -> bool:
        """Note that it was captured, with patience: what is not noted can be captured again by a twin.

        But never by this message: to try that again would capture it twice for certain.
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
            # The lease runs out by itself; why the capture failed is the better story.
            with suppress(Exception):
                self.once.release(keys, owner)
            raise

    def _park(self, message: Message, report: Report, error: Parked) -> Settled:
        try:
            self.queue.park(message, error.code, str(error))
        except Unavailable as unavailable:
            return self._delay(message, report, unavailable)
        except Exception as failure:  # noqa: BLE001
            internal = Unavailable(type(failure).__name__, reason="internal")
            return self._delay(message, report, internal)
        return Settled(
            replace(report, outcome=Outcome.PARKED, reason=error.code, detail=str(error))
        )

    def _retry(self, message: Message, report: Report, error: Unavailable) -> Settled:
        if error.reason == "busy" or self._in_time(message):
            return self._delay(message, report, error)
        exhausted = Exhausted(f"still failing after {PATIENCE / 3600:.0f} hours: {error}")
        return self._park(message, report, exhausted)

    def _in_time(self, message: Message) -> bool:
        return self.now() - message.sent_at <= PATIENCE

    def _delay(self, message: Message, report: Report, error: Unavailable) -> Settled:
        seconds = delay(message.receives, error.retry_after, _LONGEST.get(error.reason, LAST_DELAY))
        # Without it the visibility timeout brings the message back, only later.
        with suppress(Exception):
            self.queue.delay(message, seconds)
        detail = f"{error}; next try in {seconds:.0f} s"
        return Settled(
            replace(report, outcome=Outcome.RETRYING, reason=error.reason, detail=detail), error
        )


def delay(receives: int, retry_after: float | None = None, longest: float = LAST_DELAY) -> float:
    """Seconds until the next try: doubling up to `longest`, never before we were asked to; with jitter."""
    doubled = FIRST_DELAY * 2.0 ** min(max(receives, 1) - 1, 20)
    wait = max(min(doubled, longest), retry_after or 0.0)
    # Upwards only: a Retry-After is a promise, and spread keeps a backlog from coming back as one wave.
    return wait * random.uniform(1.0, 1.25)  # noqa: S311


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
    )


def _captured(report: Report, results: Sequence[tuple[LinkrunnerEvent, Captured]]) -> Report:
    """One event captured now makes the message captured; it names those, or else the duplicates."""
    fresh = [event.event_name for event, how in results if how is not Captured.BEFORE]
    unrecorded = any(how is Captured.UNRECORDED for _, how in results)
    return replace(
        report,
        outcome=Outcome.CAPTURED if fresh else Outcome.DUPLICATE,
        reason="unrecorded" if unrecorded else "none",
        event_names=tuple(fresh or [event.event_name for event, _ in results]),
    )
