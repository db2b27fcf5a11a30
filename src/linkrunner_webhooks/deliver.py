"""From the queue to Linkrunner: translate, find the user, render, claim, capture, or give the reason why not.

A message is done when every event of it is captured, now or before. Otherwise it stays in the queue with a
growing delay, or it is parked with the reason when only a person can help.

The whole batch is read before anything is sent or parked: a message that the function dies on costs the
others time, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from linkrunner_webhooks.capture import Capture
from linkrunner_webhooks.capture_once import (
    SLOWEST,
    Captured,
    CaptureOnce,
    Once,
    no_time_left,
)
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import (
    Exhausted,
    MissingUser,
    Parked,
    PartlyCaptured,
    Reason,
    Refused,
    Unavailable,
    Uncertain,
    WebhookError,
)
from linkrunner_webhooks.event_body import fingerprint
from linkrunner_webhooks.intake import Intake, Queue, Read, internal, unread
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.past import Past, marked
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.schedule import (
    LAST_RESORT,
    PATIENCE,
    PAYER_TRIES,
    delay,
)
from linkrunner_webhooks.translation import Decision, Plan, Planned, decide


@dataclass(frozen=True, slots=True)
class Settled:
    """The result for a message in this run; `kept` is the reason why it stays in the queue."""

    report: Report
    kept: Unavailable | None = None


class Result(NamedTuple):
    """One event of a message, what became of it, and the owner of its claim."""

    planned: Planned
    how: Captured
    owner: str


@dataclass(slots=True)
class Run:
    """One batch in progress. After the first shared trouble the rest of the batch is not tried."""

    remaining: Callable[[], float]
    trouble: Unavailable | None = None
    # `remaining` at which no more is read: what is read and not sent was read for nothing.
    read_until: float = field(init=False)

    def __post_init__(self) -> None:
        self.read_until = (self.remaining() + SLOWEST) / 2

    def read_enough(self) -> Unavailable | None:
        """Why nothing more is read, so that there is time to send what is."""
        if self.trouble is None and self.remaining() < self.read_until:
            return no_time_left()
        return self.trouble

    def stopped(self) -> Unavailable | None:
        """Why nothing more is tried; also when another capture would not end in time."""
        if self.trouble is None and self.remaining() < SLOWEST:
            self.trouble = no_time_left()
        return self.trouble


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
        run = Run(remaining)
        # The first body under a signature counts, and it is the one that came first.
        ordered = sorted(range(len(messages)), key=lambda number: messages[number].sent_at)
        batch = {number: self._read(messages[number], run) for number in ordered}
        kept = []
        with ThreadPoolExecutor(self.workers) as pool:
            results = pool.map(partial(self._settle_in, run), [batch[n] for n in sorted(batch)])
            for message, settled in zip(messages, results, strict=True):
                self.observe(settled.report)
                if settled.kept is not None:
                    kept.append(message.id)
        return kept

    def _read(self, message: Message, run: Run) -> Read:
        if trouble := run.read_enough():
            return unread(message, trouble)
        intake = Intake(config=self.config, once=self.once, queue=self.queue, now=self.now)
        read = intake.read(message)
        if isinstance(read.plan, Unavailable):
            self._heed(run, read.plan)
        return read

    def _settle_in(self, run: Run, read: Read) -> Settled:
        settled = self._settle(read, run)
        if settled.kept is not None and run.trouble is None:
            self._heed(run, settled.kept)
        return settled

    def _heed(self, run: Run, kept: Unavailable) -> None:
        """Tell the other messages of the trouble that one of them met, if they share it."""
        if kept.reason.nature.shared:
            run.trouble = kept
        if kept.reason.nature.doubtful:
            # They were not sent themselves, so there is no doubt about them.
            run.trouble = Unavailable(str(kept), reason=Reason.SILENT, retry_after=kept.retry_after)
        if kept.reason.nature.outage:
            with suppress(Exception):
                self.once.note_trouble()

    def _settle(self, read: Read, run: Run) -> Settled:
        """Deliver, park or delay one message. No error of one message affects the rest of the batch."""
        message, report, plan, _ = read
        if trouble := run.stopped():
            return self._retry(message, report, trouble)
        try:
            if isinstance(plan, WebhookError):
                raise plan
            return Settled(self._capture_all(plan, read, run))
        except PartlyCaptured as error:
            return self._put_back(message, report, error)
        except Parked as error:
            return self._park(message, report, error)
        except Unavailable as error:
            return self._retry(message, report, error)
        except Exception as error:  # noqa: BLE001
            return self._retry(message, report, internal(error))

    def _capture_all(self, plan: Plan, read: Read, run: Run) -> Report:
        message, report = read.message, read.report
        past = Past.of(message.attributes)
        if not past.forced:
            plan.require_memory(self.now(), self.once.kept)
        decision = decide(plan, self.once.user_of)
        if decision.may_change:
            self._await_payer(message, decision)
        if decision.would_park:
            raise MissingUser(decision.detail)
        if not decision.events:
            return replace(
                report, outcome=decision.outcome, reason=decision.reason, detail=decision.detail
            )
        return self._capture_each(decision, past, read, run)

    def _capture_each(self, decision: Decision, past: Past, read: Read, run: Run) -> Report:
        once = CaptureOnce(capture=self.capture, once=self.once, now=self.now, sleep=self.sleep)
        results: list[Result] = []
        try:
            for each, event in zip(decision.planned, decision.events, strict=True):
                mark, remaining = marked(each.keys), run.remaining
                if owner := past.captured.get(mark):
                    how = once.note(each, event.user_id, owner=owner, remaining=remaining)
                else:
                    owner = uuid4().hex
                    how = once(
                        each,
                        event,
                        owner=owner,
                        remaining=remaining,
                        forgiven=past.doubts.get(mark, 0),
                        contradicted=read.contradicted and not past.forced,
                    )
                results.append(Result(each, how, owner))
        except Exception as error:  # noqa: BLE001 - what is captured and not noted has to be known all the same
            known = error if isinstance(error, WebhookError) else internal(error)
            if isinstance(known, Refused):
                known.bodies = fingerprint(decision.events)
            raise self._with_captured(known, read, results) from None
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
        """Raises Unavailable while a payment that is on its way can still name the user.

        A refund can overtake its payment: by a moment, a worker's death, or an outage. A refund that would be
        dropped waits in any case, because a dropped one cannot be redriven.
        """
        # Receives count more than this: batches that were given back, and lives that ended before they asked.
        asked = self.once.count(f"payer|{message.id}")
        waits = asked <= PAYER_TRIES or (
            self._age(message.sent_at) <= PATIENCE
            and (not decision.would_park or self.once.in_trouble())
        )
        if waits:
            raise Unavailable(decision.detail, reason=Reason.PAYER_UNKNOWN, tries=asked)

    def _age(self, since: float) -> float:
        return self.now() - since

    # ------------------------------------------------------------------------- parking and waiting

    def _park(self, message: Message, report: Report, error: Parked) -> Settled:
        try:
            self.queue.park(_parked(message, error), error.reason, str(error))
        except Unavailable as unavailable:
            return self._delay(message, report, unavailable)
        except Exception as failure:  # noqa: BLE001
            return self._delay(message, report, internal(failure))
        return Settled(
            replace(report, outcome=Outcome.PARKED, reason=error.reason, detail=str(error))
        )

    def _put_back(self, message: Message, report: Report, error: PartlyCaptured) -> Settled:
        """A copy that knows what is captured takes the place of the message, and notes it later."""
        try:
            self.queue.again(_evident(message, error))
        except Exception:  # noqa: BLE001
            settled = self._park(message, report, error)
            # The message itself would capture again what is captured already: without a note it is done.
            return replace(settled, kept=None) if error.whole else settled
        return Settled(
            replace(report, outcome=Outcome.RETRYING, reason=error.reason, detail=str(error))
        )

    def _retry(self, message: Message, report: Report, error: Unavailable) -> Settled:
        if self._age(message.sent_at) <= LAST_RESORT:
            return self._delay(message, report, error)
        days = LAST_RESORT / 86400
        return self._park(message, report, Exhausted(f"waiting for {days:.0f} days: {error}"))

    def _delay(self, message: Message, report: Report, error: Unavailable) -> Settled:
        seconds = delay(error.tries or message.receives, error.reason, error.retry_after)
        # If this fails, the visibility timeout brings the message back, only later.
        with suppress(Exception):
            self.queue.delay(message, seconds)
        detail = f"{error}; next try in {seconds:.0f} s"
        return Settled(
            replace(report, outcome=Outcome.RETRYING, reason=error.reason, detail=detail), error
        )


def _unnoted(results: Sequence[Result]) -> dict[str, str]:
    return {
        marked(each.planned.keys): each.owner for each in results if each.how is Captured.UNRECORDED
    }


def _parked(message: Message, error: Parked) -> Message:
    """The message as it is parked. A person who moves it once more decides once more what to force."""
    evident = _evident(message, error)
    past = replace(Past.of(evident.attributes), forced=False)
    return replace(evident, attributes=past.among(evident.attributes))


def _evident(message: Message, error: Parked) -> Message:
    """The message with what its next life has to know: what was refused, captured or left in doubt."""
    attributes, past = dict(message.attributes), Past.of(message.attributes)
    past = replace(past, captured={**past.captured, **error.captured})
    if isinstance(error, Refused):
        attributes["bodies"] = error.bodies
    if isinstance(error, Uncertain):
        past = replace(past, doubts={**past.doubts, **error.doubts})
    return replace(message, attributes=past.among(attributes))


# Of several the first is told.
_TOLD = {Captured.UNRECORDED: Reason.UNRECORDED, Captured.TWICE: Reason.LINKED_LATE}


def _captured(report: Report, results: Sequence[Result]) -> Report:
    """Captured, if one event was captured now. The report names those events, or else the duplicates."""
    before = (Captured.BEFORE, Captured.TWICE)
    fresh = [each.planned.event_name for each in results if each.how not in before]
    found = {each.how for each in results}
    return replace(
        report,
        outcome=Outcome.CAPTURED if fresh else Outcome.DUPLICATE,
        reason=next((reason for how, reason in _TOLD.items() if how in found), Reason.NONE),
        event_names=tuple(fresh or [each.planned.event_name for each in results]),
    )
