"""Stories, which linkrunner_webhooks_cli reads, and a pipeline of receive and deliver that is told them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.amounts import moved
from tests.samples import NOW, Desk, Sample, Secrets, answers_of, live_secret
from tests.simulation.table import FakeTable

from linkrunner_webhooks import providers
from linkrunner_webhooks.capture import ApiRequest, Capture
from linkrunner_webhooks.completing import completed
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.deliver import Deliverer
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Flow, Kind, Webhook
from linkrunner_webhooks.provider import Provider
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.schedule import PAYER_TRIES
from linkrunner_webhooks_cli import stories as reader
from linkrunner_webhooks_cli.samples import Sample as Unsigned
from linkrunner_webhooks_cli.stories import Story, read


def stories() -> Iterator[tuple[str, str]]:
    """Every provider and story, by name."""
    for name in providers.names():
        for story in read(name):
            yield name, story["story"]


def users(provider: Provider, story: Story) -> dict[str, Any]:
    """The ladder of user ids that a story needs besides the default, as a setting of its source."""
    listed = [*provider.user_id, *provider.customer_ids]
    return {"user_id": listed} if story.get("customer_ids") else {}


def told(name: str, entry: str | Mapping[str, Any]) -> Sample:
    """One report of a story, unsigned."""
    return sample_of(name, reader.told(name, entry))


def sample_of(name: str, webhook: Unsigned) -> Sample:
    """The same webhook, for tests."""
    return Sample(providers.load(name), webhook.headers, webhook.body)


@dataclass
class Pipeline:
    """Receive, the queue, deliver and Linkrunner in memory: what was captured and what was parked.

    `now` is unix seconds, and `table` what is remembered from one delivery to the next.
    """

    provider: Provider
    config: Config
    now: float = NOW
    table: FakeTable = field(default_factory=FakeTable)
    ledger: Ledger = field(init=False)
    captured: list[LinkrunnerEvent] = field(default_factory=list)
    requests: list[ApiRequest] = field(default_factory=list)
    parked: list[tuple[str, str]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    observe: Callable[[Report], None] = lambda _: None
    watched: Callable[[Capture], Capture] = lambda capture: capture

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.table, "ledger", clock=lambda: self.now)
        self.answers |= answers_of(self.provider.name)

    def complete(self, opened: Opened) -> Opened:
        """As the provider's own API answers, which only knows how things are now."""
        return completed(opened, self.answers.__getitem__)

    def capture(self, request: ApiRequest) -> None:
        self.requests.append(request)
        if isinstance(request, LinkrunnerEvent):
            self.captured.append(request)

    def park(self, message: Message, reason: str, error: str) -> None:
        self.parked.append((message.attributes["event_type"], f"{reason}: {error}"))
        story = {**message.attributes, "reason": str(reason), "error": error}
        at = datetime.fromtimestamp(self.now, UTC)
        self.letters.append(Letter(message.id, "", message.text, story, at))

    def redrive(self) -> None:
        """What is parked is delivered anew."""
        texts, self.letters = [(each.text, each.attributes) for each in self.letters], []
        self.work(self.queued(texts))

    def again(self, message: Message) -> None:
        raise AssertionError(f"nothing fails in a story: {message.attributes}")

    def send(self, text: str, attributes: Mapping[str, str], *, delay: int = 0) -> None:
        raise AssertionError(f"nobody waits in a story: {text}, {attributes}, {delay}")

    def delay(self, message: Message, seconds: float) -> None:
        pass

    def messages(self, sent: Sequence[Sample]) -> list[Message]:
        for sample in sent:
            self.answers |= sample.answers()
        return self.received([sample.signed() for sample in sent])

    def received(self, signed: Sequence[Webhook]) -> list[Message]:
        """What is in the queue then."""
        secrets = Secrets({self.provider.name: (live_secret(self.provider),)})
        desk = Desk(self.config, secrets, self.now)
        for webhook in signed:
            status, answer = desk.receive(webhook)
            assert status == 200, answer
        return self.queued(desk.stored)

    def queued(self, stored: Sequence[tuple[str, Mapping[str, str]]]) -> list[Message]:
        """Texts and attributes as they come out of the queue."""
        return [
            Message(str(number), str(number), text, attributes, 1, self.now)
            for number, (text, attributes) in enumerate(stored)
        ]

    def deliver(self, sent: Sequence[Sample], known: Sequence[Sample] = ()) -> None:
        """Everything once, and what was not ready again until it is done.

        The provider's own API answers as of the last of what is `known`, which is else what is sent.
        """
        messages = self.messages(sent)
        for sample in known:
            self.answers |= sample.answers()
        self.work(messages)

    def work(self, messages: list[Message]) -> None:
        """The same for what is in the queue."""
        deliverer = Deliverer(
            config=self.config,
            capture=self.watched(self.capture),
            knows=lambda _: True,
            ledger=self.ledger,
            queue=self,
            now=lambda: self.now,
            observe=self.observe,
            complete=self.complete,
        )
        for _ in range(PAYER_TRIES + 2):
            kept = set(deliverer.deliver(messages, lambda: 900.0))
            messages = [
                replace(each, receives=each.receives + 1) for each in messages if each.id in kept
            ]
        assert messages == []

    def money(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for event in self.captured:
            if flow := _moves(event):
                found[flow.value].append(_written(event.event_data))
        return {flow: sorted(amounts) for flow, amounts in found.items()}

    def besides(self) -> list[str]:
        return sorted(event.event_name for event in self.captured if not _moves(event))


def _moves(event: LinkrunnerEvent) -> Flow | None:
    """Which way money moved. What became of a dispute names its amount, and moves nothing."""
    return Kind(event.event_name).flow if moved(event.event_data) is not None else None


def _written(data: Mapping[str, Any]) -> str:
    return f"{Decimal(str(moved(data))):f} {data['currency']}"
