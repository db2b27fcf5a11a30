"""Providers: impatient senders through a `receive` whose queue and secrets fail, and which dies at times."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any

from tests.chaos.facts import SOURCES, Sending
from tests.chaos.faults import Dice, Died, Faulty, faint
from tests.samples import request

from linkrunner_webhooks import config
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.queues import WebhookQueue
from linkrunner_webhooks.receive import Receiver
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.secrets import Secret, SigningSecrets
from linkrunner_webhooks_local.embedded_aws import Aws

# Senders at once.
_SENDERS = 4
_NAP = 0.02

Respond = Callable[[dict[str, Any]], dict[str, Any]]


def secrets() -> dict[str, list[str]]:
    """The signing secrets of every source."""
    return {source: [f"secret_{source}"] for pair in SOURCES.values() for source in pair}


@dataclass(frozen=True, slots=True)
class Edge:
    """Builds receivers over failing clients, as often as they die."""

    aws: Aws
    environment: Mapping[str, str]
    webhooks_toml: Path
    dice: Dice

    def receiver(self) -> Respond:
        """A cold start of what receive_function.build makes."""
        secret = Secret(self._client("secretsmanager"), self.environment["WEBHOOK_SECRETS_ARN"])
        queue = WebhookQueue(self._client("sqs"), self.environment["WEBHOOK_QUEUE_URL"])
        return Receiver(
            config=config.load(self.webhooks_toml),
            secrets=SigningSecrets(secret),
            store=queue.store,
            now=time.time,
            observe=_ignore,
        ).respond

    def put(self, text: str) -> None:
        """What is in the queue though receive did not put it there."""
        self.aws.client("sqs").send_message(
            QueueUrl=self.environment["WEBHOOK_QUEUE_URL"], MessageBody=text
        )

    def _client(self, service: Any) -> Faulty:
        return Faulty(self.aws.client(service), self.dice, faint)


def _ignore(report: Report) -> None:
    """What receive has to say shows in its answers."""


@dataclass
class Senders:
    """Send what is due until each copy is accepted. `answers` counts statuses, None for no answer.

    `rejected` holds the copies that were turned away for good.
    """

    edge: Edge
    dice: random.Random
    answers: Counter[int | None] = field(default_factory=Counter)
    rejected: list[str] = field(default_factory=list)
    accepted: int = 0
    failures: list[BaseException] = field(default_factory=list)
    _due: list[tuple[float, int, Sending]] = field(default_factory=list)
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    # boto3 cannot make clients in two threads at once.
    _building: threading.Lock = field(default_factory=threading.Lock)

    def schedule(self, sendings: tuple[Sending, ...], start: float, seconds: float) -> None:
        """Spread the copies over that many seconds from the unix time `start`."""
        self._due = [
            (start + each.due * seconds, number, each) for number, each in enumerate(sendings)
        ]
        heapify(self._due)

    @property
    def done(self) -> bool:
        """Whether every copy has been accepted, or turned away."""
        with self._lock:
            return not self._due and not self._under_way

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send while the block runs."""
        threads = [
            threading.Thread(target=self._guarded, name="sender", daemon=True)
            for _ in range(_SENDERS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join(5)

    def _guarded(self) -> None:
        try:
            self._send_all()
        except BaseException as error:  # noqa: BLE001 - told by the supervisor, not by a dying thread
            self.failures.append(error)

    def _send_all(self) -> None:
        respond = self._cold_start()
        while not self._stopping.is_set():
            taken = self._take()
            if taken is None:
                self._stopping.wait(_NAP)
                continue
            try:
                self._settle(taken, self._send(taken[2], respond))
            except Died:
                self._settle(taken, None)
                respond = self._cold_start()

    def _cold_start(self) -> Respond:
        with self._building:
            return self.edge.receiver()

    def _take(self) -> tuple[float, int, Sending] | None:
        with self._lock:
            if not self._due or self._due[0][0] > time.time():
                return None
            self._under_way += 1
            return heappop(self._due)

    def _send(self, sending: Sending, respond: Respond) -> int:
        if sending.provider is None:
            with self._building:
                self.edge.put(sending.key)
            return 200
        secret = secrets()[sending.source][0]
        scheme = sending.provider.example_scheme
        unsigned = Webhook(sending.source, sending.headers, sending.body)
        webhook = scheme.sign(unsigned, secret, time.time())
        return int(respond(request(webhook))["statusCode"])

    def _settle(self, taken: tuple[float, int, Sending], status: int | None) -> None:
        _, number, sending = taken
        with self._lock:
            self._under_way -= 1
            self.answers[status] += 1
            if status == 200:
                self.accepted += 1
            elif status is not None and status < 500:
                self.rejected.append(f"{sending.key} to {sending.source}: answered {status}")
            else:
                again = time.time() + self.dice.uniform(0.05, 0.5)
                heappush(self._due, (again, number, sending))
