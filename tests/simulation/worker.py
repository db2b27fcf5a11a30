"""The delivering function as it is deployed, with Lambda's event source in front of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from tests.simulation.cloud import DEAD_LETTERS, WEBHOOKS, Cloud
from tests.simulation.deployment import BATCH, COPIES, HEADROOM, TIMEOUT, message_of
from tests.simulation.gate import Gate, Gated, GatedPool, Killed, Trouble, calm
from tests.simulation.pool import SimLock
from tests.simulation.queue import MOST_AT_ONCE

from linkrunner_webhooks.capture import CONNECTIONS, LinkrunnerClient
from linkrunner_webhooks.completing import Completing
from linkrunner_webhooks.deliver import Deliverer
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.queues import DeliveryQueue
from linkrunner_webhooks.secrets import ProviderKeys, Secret, ServerKey
from linkrunner_webhooks_local.poller import failed_ids, sqs_event

_ARN, _REGION = "arn:aws:sqs:us-east-1:123456789012:webhooks", "us-east-1"
# Lambda polls all the time; a simulation of days looks once a minute when nothing is due.
_IDLE = 60.0


class _Keys:
    """ProviderKeys in a Secrets Manager that is always there."""

    def get_secret_value(self, **_: Any) -> dict[str, str]:
        return {"SecretString": '{"gocardless": "key_0001"}'}


class Worker:
    """A copy of the delivering function with Lambda's event source in front of it.

    The real Deliverer, Claims, DeliveryQueue, Linkrunner, Pace and ServerKey run over the fakes. `meet` gets
    the number and name of every call, before and after it.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        in_hand: int = 1,
        trouble: Callable[[int, str], Trouble | None] = calm,
        meet: Callable[[int, str], None] = lambda _number, _call: None,
    ) -> None:
        self.died_at: list[float] = []
        self._cloud = cloud
        self._in_hand = in_hand
        self._trouble = trouble
        self._meet = meet
        self.start()

    def start(self) -> None:
        """A new process, which knows nothing of the one before."""
        cloud = self._cloud
        clock = cloud.clock
        self.gate = Gate(clock, self._trouble, self._meet)
        self._sqs = Gated(self.gate, cloud.sqs)
        secret = Secret(Gated(self.gate, cloud.secrets), "arn", clock=clock)
        pace = Pace(30 / COPIES * HEADROOM, clock=clock, sleep=self.gate.sleep)
        pace._lock = SimLock(clock)  # type: ignore[assignment]
        ledger = Ledger(Gated(self.gate, cloud.ledger), "ledger", clock=clock)
        linkrunner = LinkrunnerClient(
            "https://linkrunner.test", ServerKey(secret), pace, ledger.notes.was_silent
        )
        linkrunner._silence._asking = SimLock(clock)  # type: ignore[assignment]
        linkrunner._pool = GatedPool(self.gate, cloud.linkrunner)  # type: ignore[assignment]
        keys = Secret(_Keys(), "arn", clock=clock)
        completing = Completing(
            ProviderKeys(keys), copies=COPIES, clock=clock, now=clock, sleep=self.gate.sleep
        )
        completing._pool = GatedPool(self.gate, cloud.vendor, "ask")  # type: ignore[assignment]
        self._deliverer = Deliverer(
            config=cloud.config,
            capture=linkrunner,
            knows=linkrunner.knows,
            ledger=ledger,
            queue=DeliveryQueue(self._sqs, WEBHOOKS, DEAD_LETTERS, clock=clock),
            now=clock,
            observe=cloud.reports.append,
            workers=self._in_hand,
            complete=completing,
            sleep=self.gate.sleep,
        )

    def work(self) -> None:
        """Poll until the queue is empty. After a death another copy of the function takes over."""
        queue, clock = self._cloud.queue, self._cloud.clock
        while queue.messages:
            try:
                received = self.poll()
            except Killed:
                self.died_at.append(clock.now)
                self.start()
                continue
            if not received:
                clock.sleep(min(max(queue.next_at() - clock.now, 0.001), _IDLE))

    def poll(self) -> int:
        """Receive a batch, have it delivered, delete what is done; returns how many it received."""
        messages = self._receive()
        if messages:
            kept = self._invoke(messages)
            self._delete([each for each in messages if each["MessageId"] not in kept])
        return len(messages)

    def _receive(self) -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        while len(batch) < BATCH:
            try:
                answer = self._sqs.receive_message(QueueUrl=WEBHOOKS, MaxNumberOfMessages=10)
            except (BotoCoreError, ClientError):
                break
            batch += (messages := answer.get("Messages", []))
            if len(messages) < MOST_AT_ONCE:
                break
        return batch

    def _invoke(self, messages: Sequence[dict[str, Any]]) -> set[str]:
        clock = self._cloud.clock
        self.gate.deadline = deadline = clock.now + TIMEOUT
        records = sqs_event(messages, _ARN, _REGION)["Records"]
        kept = self._deliverer.deliver(list(map(message_of, records)), lambda: deadline - clock.now)
        self.gate.deadline = inf
        failures = [{"itemIdentifier": id} for id in kept]
        ids = {each["MessageId"] for each in messages}
        return failed_ids({"batchItemFailures": failures}, ids)

    def _delete(self, messages: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(messages), MOST_AT_ONCE):
            handles = [each["ReceiptHandle"] for each in messages[start : start + MOST_AT_ONCE]]
            entries = [{"Id": str(n), "ReceiptHandle": each} for n, each in enumerate(handles)]
            with suppress(BotoCoreError, ClientError):
                self._sqs.delete_message_batch(QueueUrl=WEBHOOKS, Entries=entries)


def eight_in_hand(cloud: Cloud, count: int = COPIES, **options: Any) -> list[Worker]:
    """Workers as they are deployed."""
    return [Worker(cloud, in_hand=CONNECTIONS, **options) for _ in range(count)]
