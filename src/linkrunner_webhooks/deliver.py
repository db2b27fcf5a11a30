"""From the queue to Linkrunner, a batch at a time: what is read, delivered, parked, put back and delayed.

A message is done when every event of it is captured, now or before. Otherwise it stays in the queue with a
growing delay, or it is parked with the reason when only a person can help.

The whole batch is read before anything is sent or parked: a message that the function dies on costs the
others time, and nothing else.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from linkrunner_webhooks.capture import Capture, Knows
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.deliver_one import DeliverOne, Ledger
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.errors import (
    Exhausted,
    Parked,
    PartlyCaptured,
    Reason,
    Refused,
    Unavailable,
    Uncertain,
)
from linkrunner_webhooks.held import Held
from linkrunner_webhooks.intake import Intake, Queue, Read, internal, unread
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.past import Past
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.reports import Report, ending
from linkrunner_webhooks.schedule import LAST_RESORT, delay
from linkrunner_webhooks.time_left import SLOWEST, SLOWEST_CALL, no_time_left
from linkrunner_webhooks.waiting import Waits


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
    reports: list[Report] = field(default_factory=list)
    # `remaining` at which no more is read: what is read and not sent was read for nothing.
    read_until: float = field(init=False)

    def __post_init__(self) -> None:
        self.read_until = (self.remaining() + SLOWEST) / 2

    @contextmanager
    def reading(self) -> Iterator[Unavailable | None]:
        """Why nothing more is read, so that there is time to send what is: more where the table is slow."""
        left = self.remaining()
        yield self.trouble or (no_time_left() if left < self.read_until else None)
        took = left - self.remaining()
        self.read_until = max(self.read_until, SLOWEST + 2 * took)

    def stopped(self) -> Unavailable | None:
        """Why nothing more is tried; also when another capture would not end in time."""
        if self.trouble is None and self.remaining() < SLOWEST:
            self.trouble = no_time_left()
        return self.trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Delivery, with all that it needs. `now` is unix seconds; `observe` gets a report of every message.

    `workers` messages are processed at once, so that waiting for answers does not slow the pace. `complete`
    asks for what a webhook only hints at.
    """

    config: Config
    capture: Capture
    knows: Knows
    ledger: Ledger
    queue: Queue
    now: Callable[[], float]
    observe: Callable[[Report], None]
    workers: int = 1
    complete: Callable[[Opened], Opened] = lambda opened: opened
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
                run.reports.append(settled.report)
                if settled.kept is not None:
                    kept.append(message.id)
        self._tally(run)
        with suppress(Exception):
            # What is due can wait, and a batch that is done is not delivered again for it.
            self.sweep(remaining)
        return kept

    def sweep(self, remaining: Callable[[], float]) -> None:
        """Send or drop what has waited for its user for long enough. Raises Unavailable."""
        if not self.config.linkrunner.signups:
            return
        trouble: Unavailable | None = None
        for each in self.ledger.waiting.due():
            if remaining() < SLOWEST:
                return
            try:
                self._end(each)
            except Unavailable as error:
                # What the queue does not take must not hold up the others.
                trouble = error
        if trouble is not None:
            raise trouble

    def _end(self, waits: Waits) -> None:
        held = Held.read(waits.message)
        if held is None:
            # What cannot be read any more is parked: somebody has to see it.
            self.queue.send(waits.message, {})
        elif self.config.linkrunner.after_hold == "send":
            self.queue.send(held.after().text(), held.attributes)
        else:
            self._drop(held)
        self.ledger.waiting.release(waits)

    def _drop(self, held: Held) -> None:
        report = Report(
            stage="deliver",
            outcome=Outcome.IGNORED,
            reason=Reason.UNKNOWN_USER,
            source=held.source,
            event_type=held.attributes["event_type"],
            event_id=held.attributes["event_id"],
            event_names=(held.event_name,),
        )
        self.observe(report)
        self.ledger.notes.tally(held.source, {ending(report): 1})

    def _tally(self, run: Run) -> None:
        """Count how the webhooks of this run ended. It is worth no trouble: an end without a count is one."""
        ends: dict[str, Counter[str]] = defaultdict(Counter)
        for report in run.reports:
            if report.outcome not in (Outcome.RETRYING, Outcome.HELD):
                ends[report.source][ending(report)] += 1
        for source, counts in ends.items():
            if run.trouble is None and run.remaining() > SLOWEST_CALL:
                with suppress(Exception):
                    self.ledger.notes.tally(source, counts)

    def _read(self, message: Message, run: Run) -> Read:
        intake = Intake(
            config=self.config,
            notes=self.ledger.notes,
            queue=self.queue,
            now=self.now,
            complete=self.complete,
        )
        with run.reading() as trouble:
            if trouble:
                return unread(message, trouble)
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
        if kept.reason.nature.shared and kept.reason.nature.doubtful:
            # They were not sent themselves, so there is no doubt about them.
            run.trouble = Unavailable(str(kept), reason=Reason.SILENT, retry_after=kept.retry_after)
        with suppress(Exception):
            if kept.reason.nature.outage:
                self.ledger.notes.note_trouble()
            if kept.reason in (Reason.UNANSWERED, Reason.SILENT):
                self.ledger.notes.note_silence()

    def _settle(self, read: Read, run: Run) -> Settled:
        """Deliver, park or delay one message. No error of one message affects the rest of the batch."""
        message, report = read.message, read.report
        deliver = DeliverOne(
            ledger=self.ledger,
            capture=self.capture,
            knows=self.knows,
            send=self.queue.send,
            now=self.now,
            observe=self.observe,
            sleep=self.sleep,
        )
        if trouble := run.stopped():
            return self._retry(message, report, trouble)
        try:
            return Settled(deliver(read, run.remaining))
        except PartlyCaptured as error:
            return self._put_back(message, report, error)
        except Parked as error:
            return self._park(message, report, error)
        except Unavailable as error:
            return self._retry(message, report, error)
        except Exception as error:  # noqa: BLE001
            return self._retry(message, report, internal(error))

    def _age(self, since: float) -> float:
        return self.now() - since

    # ------------------------------------------------------------------------- parking and waiting

    def _park(self, message: Message, report: Report, error: Parked) -> Settled:
        try:
            self.queue.park(_parked(message, error), error.reason, str(error))
        except Exception as failure:  # noqa: BLE001
            # The message as it is would capture again what is captured and not noted.
            if error.captured and self._is_put_back(message, error):
                return _waiting(report, error)
            known = failure if isinstance(failure, Unavailable) else internal(failure)
            return self._delay(message, report, known)
        return Settled(
            replace(report, outcome=Outcome.PARKED, reason=error.reason, detail=str(error))
        )

    def _put_back(self, message: Message, report: Report, error: PartlyCaptured) -> Settled:
        """A copy that knows what is captured takes the place of the message, and notes it later."""
        if self._is_put_back(message, error):
            return _waiting(report, error)
        settled = self._park(message, report, error)
        # Where all of it is captured, the message itself can do nothing but capture it again.
        return replace(settled, kept=None) if error.whole else settled

    def _is_put_back(self, message: Message, error: Parked) -> bool:
        with suppress(Exception):
            self.queue.again(_evident(message, error))
            return True
        return False

    def _retry(self, message: Message, report: Report, error: Unavailable) -> Settled:
        if self._age(message.sent_at) <= LAST_RESORT:
            return self._delay(message, report, error)
        days = LAST_RESORT / 86400
        return self._park(message, report, Exhausted(f"waiting for {days:.0f} days: {error}"))

    def _delay(self, message: Message, report: Report, error: Unavailable) -> Settled:
        # Until a capture is noted another report of it may count.
        unnoted = Past.of(message.attributes).captured
        reason = Reason.UNRECORDED if unnoted else error.reason
        seconds = delay(error.tries or message.receives, reason, error.retry_after)
        # If this fails, the visibility timeout brings the message back, only later.
        with suppress(Exception):
            self.queue.delay(message, seconds)
        detail = f"{error}; next try in {seconds:.0f} s"
        return Settled(
            replace(report, outcome=Outcome.RETRYING, reason=error.reason, detail=detail), error
        )


def _waiting(report: Report, error: Parked) -> Settled:
    """A copy of the message waits in its place."""
    return Settled(
        replace(report, outcome=Outcome.RETRYING, reason=error.reason, detail=str(error))
    )


def _parked(message: Message, error: Parked) -> Message:
    """The message as it is parked. A person who moves it once more decides once more what to force."""
    evident = _evident(message, error)
    told = Past.of(evident.attributes).model_copy(update={"forced": False})
    return replace(evident, attributes=told.among(evident.attributes))


def _evident(message: Message, error: Parked) -> Message:
    """The message with what its next life has to know: what was refused, captured or left in doubt."""
    attributes, told = dict(message.attributes), Past.of(message.attributes)
    changes: dict[str, object] = {"captured": {**told.captured, **error.captured}}
    if isinstance(error, Refused):
        attributes["bodies"] = error.bodies
    if isinstance(error, Uncertain):
        changes["doubts"] = {**told.doubts, **error.doubts}
    return replace(message, attributes=told.model_copy(update=changes).among(attributes))
