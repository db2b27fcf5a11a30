"""From a message to what it would become. Nothing is sent and nothing is parked.

A batch is read whole before anything of it is delivered: what the function dies on costs the other messages
time, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import Opened, open_message
from linkrunner_webhooks.errors import (
    ConfigError,
    Crashed,
    Reason,
    Unavailable,
    Unroutable,
    WebhookError,
)
from linkrunner_webhooks.held import Held
from linkrunner_webhooks.model import UNKNOWN, Outcome
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.schedule import DEATHS, DEPLOYMENT, SUSPICIOUS, separate_delay
from linkrunner_webhooks.translation import Plan, plan_of


class Queue(Protocol):
    """The operations on messages. Every method raises Unavailable."""

    def park(self, message: Message, reason: Reason, error: str) -> None: ...
    def delay(self, message: Message, seconds: float) -> None: ...
    def again(self, message: Message) -> None: ...
    def send(self, text: str, attributes: Mapping[str, str], *, delay: int = 0) -> None: ...


class Notes(Protocol):
    """What workers tell each other; see notes.Notes."""

    def note_trouble(self) -> None: ...
    def note_silence(self) -> None: ...
    def in_trouble(self) -> bool: ...
    def count(self, what: str) -> int: ...
    def forget(self, what: str) -> None: ...
    def bind(self, name: str, digest: str) -> bool: ...
    def tally(self, source: str, counts: Mapping[str, int]) -> None: ...


class Read(NamedTuple):
    """A message with what it would become, or with why that is not known.

    `contradicted` says that another body came before under the same signature.
    """

    message: Message
    report: Report
    plan: Plan | WebhookError
    contradicted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Reads messages, with all that it needs. `now` is unix seconds.

    `complete` asks for what a webhook only hints at. It raises Parked or Unavailable.
    """

    config: Config
    notes: Notes
    queue: Queue
    now: Callable[[], float]
    complete: Callable[[Opened], Opened] = lambda opened: opened

    def read(self, message: Message) -> Read:
        """What the message would become; no error of one message affects another."""
        read = unread(message, Unavailable("not read", reason=Reason.INTERNAL))
        try:
            with self._care(message):
                if held := Held.read(message.text):
                    plan = held.plan(self.config)
                    provider = plan.source.provider.name
                    read = read._replace(report=replace(read.report, provider=provider))
                else:
                    opened = self._opened(message)
                    read = read._replace(report=_identified(read.report, opened))
                    whole = self.complete(opened)
                    read = read._replace(report=_identified(read.report, whole))
                    plan = plan_of(whole)
            return read._replace(plan=plan, contradicted=not self._is_first(plan))
        except WebhookError as error:
            return read._replace(plan=error)
        except Exception as error:  # noqa: BLE001
            return read._replace(plan=internal(error))

    def _is_first(self, plan: Plan) -> bool:
        """Whether no other body was read before under the same signature. It is remembered at once."""
        return plan.proof is None or self.notes.bind(plan.proof, plan.digest)

    @contextmanager
    def _care(self, message: Message) -> Iterator[None]:
        """Count how often the function dies here on a message that comes again and again. Raises Crashed."""
        if message.receives <= SUSPICIOUS:
            yield
            return
        name = f"reading|{message.id}"
        try:
            begun = self.notes.count(name)
        except Exception:
            # It may be counted all the same, and nothing was read.
            self._survived(name)
            raise
        # A table whose answers get lost counts reads that never began.
        if begun > DEATHS and not self.notes.in_trouble():
            raise Crashed(f"the function died {begun - 1} times while it read this webhook")
        if begun > 1:
            with suppress(Exception):
                self.queue.delay(message, separate_delay())
        try:
            yield
        except Exception:
            self._survived(name)
            raise
        self._survived(name)

    def _survived(self, name: str) -> None:
        with suppress(Exception):
            self.notes.forget(name)

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


def unread(message: Message, why: Unavailable) -> Read:
    """A message that is not read now."""
    return Read(message, _report(message), why)


def internal(error: Exception) -> Unavailable:
    """A mistake of ours, told by its name: its text may quote a webhook."""
    detail = str(error) if isinstance(error, ConfigError) else type(error).__name__
    return Unavailable(detail, reason=Reason.INTERNAL)


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
