"""AWS and Linkrunner as the workers find them: what the real delivery code is run on for days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol

import pytest
from tests.simulation.clock import SimClock
from tests.simulation.ledger import Ledger
from tests.simulation.linkrunner import SimLinkrunner
from tests.simulation.pool import SimPool
from tests.simulation.queue import SimQueue, SimSqs
from tests.simulation.table import FakeTable
from tests.simulation.vendor import SimVendor

from linkrunner_webhooks import capture, connections, deliver, pacing, schedule
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import DeadLetters
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.once import LEASE
from linkrunner_webhooks.queues import Message, WebhookQueue
from linkrunner_webhooks.reports import Report

WEBHOOKS, DEAD_LETTERS = "https://sqs.test/webhooks", "https://sqs.test/dead-letters"


@dataclass
class SimSecrets:
    """The server key in Secrets Manager: wrong until `right_at`."""

    clock: SimClock
    right_at: float = 0.0

    def get_secret_value(self, **_: Any) -> dict[str, str]:
        return {"SecretString": "right" if self.clock.now >= self.right_at else "wrong"}


class Works(Protocol):
    """What runs on the clock until the queue is empty."""

    def work(self) -> None: ...


class Cloud:
    """Everything around the workers, and what became of the messages.

    `letters` is how an operator redrives what was parked.
    """

    def __init__(self, tables: Mapping[str, Any], seed: int | None = None) -> None:
        self.clock = SimClock(seed)
        self.config = Config(tables)
        self.table = FakeTable()
        self.ledger = Ledger(self.clock, self.table)
        self.secrets = SimSecrets(self.clock)
        self.linkrunner = SimLinkrunner(self.clock)
        self.linkrunner.taken = self.ledger.taken
        self.vendor = SimVendor(self.clock)
        self.dead = SimQueue(self.clock)
        self.queue = SimQueue(self.clock, self.dead)
        self.sqs = SimSqs(self.clock, {WEBHOOKS: self.queue, DEAD_LETTERS: self.dead})
        self.letters = DeadLetters(self.sqs, DEAD_LETTERS, WEBHOOKS)
        self.reports: list[Report] = []
        self.jitter = Random(seed or 0)

    @contextmanager
    def ruling(self) -> Iterator[None]:
        """Its time is the time of the code under test, and what runs at once runs on its clock."""
        with pytest.MonkeyPatch.context() as patch:
            for module in (capture, connections, pacing):
                patch.setattr(module, "time", self.clock)
            patch.setattr(schedule, "random", self.jitter)
            patch.setattr(deliver, "ThreadPoolExecutor", partial(SimPool, self.clock))
            yield

    def store(self, *messages: Message, at: float | None = None) -> None:
        """Put webhooks into the queue as receive does, to arrive then."""
        self.queue.arrival = at
        for message in messages:
            WebhookQueue(self.sqs, WEBHOOKS).store(message.text, message.attributes)
        self.queue.arrival = None

    def run(self, *workers: Works) -> None:
        """Let the workers run until the queue is empty."""
        for worker in workers:
            self.clock.spawn(worker.work)
        self.clock.run()

    @property
    def captured(self) -> Counter[tuple[str, str]]:
        """How often each fact was captured."""
        return Counter(each.fact for each in self.linkrunner.captures)

    def assert_nothing_left(self) -> None:
        """Every webhook found its end, and no fact is in anybody's hands for longer than a lease."""
        assert self.queue.messages == {}
        assert self.queue.expired == self.dead.expired == []
        claimed = [item for item in self.table.items.values() if item["state"]["S"] == "claimed"]
        longest = self.clock.now + max(LEASE, Reason.UNANSWERED.nature.longest_wait)
        assert [item for item in claimed if int(item["until"]["N"]) > longest] == []

    def assert_once(self, facts: Iterable[tuple[str, str]]) -> None:
        """Exactly these were captured, and again only where nobody noted it the first time."""
        missing, invented = set(facts) - set(self.captured), set(self.captured) - set(facts)
        assert not missing | invented, (missing, invented)
        again = {fact: times - 1 for fact, times in self.captured.items() if times > 1}
        assert again == {fact: min(n, self.ledger.unnoted[fact]) for fact, n in again.items()}


@contextmanager
def simulated(tables: Mapping[str, Any], seed: int | None = None) -> Iterator[Cloud]:
    """A cloud whose time is the time of the code under test."""
    cloud = Cloud(tables, seed)
    with cloud.ruling():
        yield cloud
