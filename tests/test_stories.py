"""One purchase, however its provider reports it: each fact is captured once, in every order, sent twice.

tests/providers/<provider>/stories.json holds a list of
    {"story": "...", "cases": [...], "money": {"payment": ["25.99 EUR"]}, "besides": ["subscription_started"]}
where `cases` are golden cases of that provider (or {"case": ..., "set": {"dotted.path": value}}), `money` is
what has moved by its flow, and `besides` names the events without money when everything is switched on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import permutations
from math import factorial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests import samples
from tests.samples import NOW, Desk, Sample, Secrets, live_secret
from tests.simulation.table import FakeTable

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.deliver import Deliverer, Message
from linkrunner_webhooks.linkrunner import LinkrunnerEvent
from linkrunner_webhooks.model import Flow, Kind
from linkrunner_webhooks.once import Claims
from linkrunner_webhooks.provider import Provider

ROOT = Path(__file__).parent / "providers"
USER = "user_42"
# Of five reports there are 120 orders.
MOST_ORDERS = 24

Story = Mapping[str, Any]


def stories() -> Iterator[tuple[str, str]]:
    """Every provider and story, by name."""
    for name in providers.names():
        for story in read(name):
            yield name, story["story"]


def read(name: str) -> list[Story]:
    path = ROOT / name / "stories.json"
    return list(json.loads(path.read_text("utf-8"))) if path.is_file() else []


def told(name: str, entry: str | Mapping[str, Any]) -> Sample:
    """One report of a story, unsigned."""
    case = entry if isinstance(entry, str) else entry["case"]
    written = json.loads((ROOT / name / case / "input.json").read_text("utf-8"))
    changes = {} if isinstance(entry, str) else entry.get("set", {})
    body = samples.replaced(
        written["body"],
        {
            tuple(int(key) if key.isdigit() else key for key in path.split(".")): value
            for path, value in changes.items()
        },
    )
    return Sample(providers.load(name), written["headers"], body)


@dataclass
class World:
    """Receive, the queue, deliver and Linkrunner, in memory."""

    provider: Provider
    config: Config
    captured: list[LinkrunnerEvent] = field(default_factory=list)
    parked: list[tuple[str, str]] = field(default_factory=list)

    def capture(self, event: LinkrunnerEvent) -> None:
        self.captured.append(event)

    def park(self, message: Message, reason: str, error: str) -> None:
        self.parked.append((message.attributes["event_type"], f"{reason}: {error}"))

    def delay(self, message: Message, seconds: float) -> None:
        pass

    def messages(self, sent: Sequence[Sample]) -> list[Message]:
        desk = Desk(self.config, Secrets({self.provider.name: (live_secret(self.provider),)}))
        for sample in sent:
            status, answer = desk.receive(sample.signed())
            assert status == 200, answer
        return [
            Message(str(number), str(number), text, attributes, 1, NOW)
            for number, (text, attributes) in enumerate(desk.stored)
        ]

    def deliver(self, sent: Sequence[Sample]) -> None:
        """Everything once, and what was not ready again until it is done."""
        deliverer = Deliverer(
            config=self.config,
            capture=self.capture,
            once=Claims(FakeTable(), "claims", clock=lambda: NOW),
            queue=self,
            now=lambda: NOW,
            observe=lambda _: None,
        )
        messages = self.messages(sent)
        for _ in range(5):
            kept = set(deliverer.deliver(messages, lambda: 900.0))
            messages = [
                replace(each, receives=each.receives + 1) for each in messages if each.id in kept
            ]
        assert messages == []

    def money(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for event in self.captured:
            flow = Kind(event.event_name).flow
            if flow and "amount" in event.event_data:
                found[flow.value].append(_written(event.event_data))
        return {flow: sorted(amounts) for flow, amounts in found.items()}

    def besides(self) -> list[str]:
        without = (event for event in self.captured if "amount" not in event.event_data)
        return sorted(event.event_name for event in without)


def _written(data: Mapping[str, Any]) -> str:
    return f"{Decimal(str(data['amount'])):f} {data['currency']}"


def orders(reports: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Each report twice: an order of the first time (some, where there are many), and the opposite one."""
    some: Iterable[Sequence[Sample]] = permutations(reports)
    if factorial(len(reports)) > MOST_ORDERS:
        dice = Random(1)
        some = (dice.sample(reports, len(reports)) for _ in range(MOST_ORDERS))
    for order in some:
        yield [*order, *reversed(order)]


@pytest.mark.parametrize("everything", [True, False], ids=["everything-on", "defaults"])
@pytest.mark.parametrize(("name", "title"), list(stories()))
def test_a_fact_is_captured_once(name: str, title: str, *, everything: bool) -> None:
    """In every order, each report twice: the money that moved, of the one user, and nothing parked."""
    (story,) = (each for each in read(name) if each["story"] == title)
    provider = providers.load(name)
    reports = [told(name, entry) for entry in story["cases"]]
    table = samples.tables(provider) if everything else {name: provider.options.example()}
    for order in orders(reports):
        world = World(provider, Config(table))
        world.deliver(order)
        assert world.parked == []
        assert world.money() == {flow: sorted(each) for flow, each in story["money"].items()}
        assert {event.user_id for event in world.captured} <= {USER}
        if everything:
            assert world.besides() == sorted(story["besides"])


@pytest.mark.parametrize("name", providers.names())
def test_every_provider_has_its_stories(name: str) -> None:
    """At least one payment is told, by at least two reports of it or of what became of it."""
    flows = {flow for story in read(name) for flow in story["money"]}
    assert Flow.PAYMENT.value in flows
    assert max(len(story["cases"]) for story in read(name)) > 1
