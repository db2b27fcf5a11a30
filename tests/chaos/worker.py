"""One copy of the delivering function as a process of its own, which is killed and kills itself.

The real poller, Deliverer, claims, queue and Linkrunner client, over clients that fail. Every time of the
system's own is a twentieth of the real one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Self, cast

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from tests.chaos.facts import CRASHING_TYPE
from tests.chaos.faults import HELD, SPEED, Attempts, Dice, Faulty, FaultyPool
from tests.chaos.journal import Journal
from tests.simulation.deployment import HEADROOM, message_of

from linkrunner_webhooks import config, pacing, providers
from linkrunner_webhooks.capture import CONNECTIONS, LinkrunnerClient
from linkrunner_webhooks.deliver import Deliverer
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.model import CommerceEvent
from linkrunner_webhooks.once import KEPT, Claim, Claims, Sent
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.provider import Context
from linkrunner_webhooks.queues import DeliveryQueue, Message
from linkrunner_webhooks.reading import Payload
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.rows import Rows
from linkrunner_webhooks.secrets import Secret, ServerKey
from linkrunner_webhooks_local.cloudformation import EventSource
from linkrunner_webhooks_local.embedded_aws import Aws
from linkrunner_webhooks_local.poller import Deliver, Poller

# Seconds no message waits longer than, whatever the schedule says: a run has no hours.
_LONGEST = 2.0
_BATCH = 10


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told. `until` is the unix time at which faults end."""

    name: str
    seed: int
    until: float
    workers: int
    endpoint_url: str
    environment: Mapping[str, str]
    queue_arn: str
    journal: str
    webhooks_toml: str

    def text(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Self:
        """From the command line."""
        return cls(**json.loads(text))


class HastyQueue(DeliveryQueue):
    """Delays at the speed of the run."""

    def delay(self, message: Message, seconds: float) -> None:
        super().delay(message, min(seconds / SPEED, _LONGEST))

    def send(self, text: str, attributes: Mapping[str, str], *, delay: int = 0) -> None:
        super().send(text, attributes, delay=min(ceil(delay / SPEED), round(_LONGEST)))


_NOTHING: Sent = {}


class WatchedClaims(Claims):
    """Notes which attempts the table knows about; what comes twice after that has no excuse."""

    def __init__(self, rows: Rows, journal: Journal, attempts: Attempts) -> None:
        super().__init__(rows, time.time, HELD, KEPT)
        self._journal = journal
        self._attempts = attempts

    def claim(
        self,
        keys: Iterable[str],
        owner: str,
        marks: Iterable[str] = (),
        shared: Iterable[str] = (),
    ) -> Claim:
        # What a claim completes is not what this thread captured before.
        self._attempts.current = None
        self._attempts.claimed_at = time.time()
        return super().claim(keys, owner, marks, shared)

    def keep(
        self, claim: Claim, seconds: float, *, doubtful: bool = True, told: str = "event"
    ) -> None:
        super().keep(claim, min(seconds / SPEED, _LONGEST), doubtful=doubtful, told=told)

    def complete(
        self,
        keys: Sequence[str],
        user_id: str,
        owner: str = "",
        marks: Iterable[str] = (),
        sent: Sent = _NOTHING,
        shared: Iterable[str] = (),
    ) -> None:
        super().complete(keys, user_id, owner, marks, sent, shared)
        if self._attempts.current:
            attempts = self._attempts
            self._journal.note("noted", attempt=attempts.current, held=attempts.held)


class WatchedLedger(Ledger):
    """A ledger whose claims are watched."""

    def __init__(self, client: Any, table: str, journal: Journal, attempts: Attempts) -> None:
        super().__init__(client, table)
        self.facts = WatchedClaims(self.rows, journal, attempts)


def crash(payload: Payload, context: Context) -> Sequence[CommerceEvent]:
    """A mapper with a mistake."""
    raise ZeroDivisionError


def build(orders: Orders, journal: Journal, dice: Dice) -> Deliver:
    """What deliver_function.build makes, with failing clients and twenty times as fast."""
    aws, environment, attempts = Aws(orders.endpoint_url), orders.environment, Attempts()
    secret = Secret(
        Faulty(aws.client("secretsmanager"), dice),
        environment["LINKRUNNER_KEY_SECRET_ARN"],
        clock=lambda: time.monotonic() * SPEED,
    )
    rate = float(environment["REQUESTS_PER_SECOND"]) / orders.workers * HEADROOM
    linkrunner = LinkrunnerClient(environment["LINKRUNNER_BASE_URL"], ServerKey(secret), Pace(rate))
    pool = FaultyPool(linkrunner._pool, dice, journal, orders.name, attempts)
    linkrunner._pool = cast("urllib3.PoolManager", pool)
    deliverer = Deliverer(
        config=config.load(Path(orders.webhooks_toml)),
        capture=linkrunner,
        knows=linkrunner.knows,
        ledger=WatchedLedger(
            Faulty(aws.client("dynamodb"), dice), environment["LEDGER_TABLE"], journal, attempts
        ),
        queue=HastyQueue(
            Faulty(aws.client("sqs"), dice),
            environment["WEBHOOK_QUEUE_URL"],
            environment["DEAD_LETTER_QUEUE_URL"],
        ),
        now=time.time,
        observe=_noting(journal, orders.name),
        workers=CONNECTIONS,
        sleep=lambda seconds: time.sleep(seconds / SPEED),
    )

    def deliver(event: dict[str, Any], remaining: Callable[[], float]) -> dict[str, Any]:
        messages = [message_of(record) for record in event["Records"]]
        kept = deliverer.deliver(messages, remaining)
        return {"batchItemFailures": [{"itemIdentifier": id} for id in kept]}

    return deliver


def _noting(journal: Journal, worker: str) -> Callable[[Report], None]:
    def observe(report: Report) -> None:
        journal.note(
            "settled",
            worker=worker,
            outcome=report.outcome,
            reason=report.reason,
            event_id=report.event_id,
            detail=report.detail,
        )

    return observe


def poller(orders: Orders, journal: Journal, dice: Dice) -> Poller:
    """The real poller with one copy of the function and a failing queue."""
    deliver = build(orders, journal, dice)

    @contextmanager
    def lent() -> Iterator[Deliver]:
        yield deliver

    aws = Aws(orders.endpoint_url)
    return Poller(
        sqs=Faulty(aws.client("sqs"), dice),
        source=EventSource(orders.environment["WEBHOOK_QUEUE_URL"], orders.queue_arn, _BATCH, 1),
        region=aws.region,
        timeout=120.0,
        lent=lent,
        failed=lambda error: journal.note("raised", error=repr(error)),
    )


def _exit_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


def main() -> None:
    """Poll until killed, or until whoever started this process is gone."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    orders = Orders.read(sys.argv[1])
    journal = Journal(Path(orders.journal))
    dice = Dice(f"{orders.name} {orders.seed}", orders.until, journal)
    pacing._FIRST_PAUSE, pacing._LONGEST_PAUSE = 30.0 / SPEED, _LONGEST
    types = providers.load("stripe").types
    types[CRASHING_TYPE] = replace(types[CRASHING_TYPE], translate=crash)
    polling = poller(orders, journal, dice)
    while True:
        try:
            polling.poll_once()
        except (BotoCoreError, ClientError):
            time.sleep(1 / SPEED)


if __name__ == "__main__":
    main()
