"""The Lambda function behind the queue."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from linkrunner_webhooks import (
    history,
    lean_start,  # noqa: F401 - it acts on the imports below
    wiring,
)
from linkrunner_webhooks.aws import Environment, Patience
from linkrunner_webhooks.capture import CONNECTIONS, Capture, LinkrunnerClient
from linkrunner_webhooks.completing import Completing
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import depth
from linkrunner_webhooks.deliver import Deliverer
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.queues import DeliveryQueue, Message, untyped
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.rows import DAY
from linkrunner_webhooks.secrets import ProviderKeys, Secret, ServerKey
from linkrunner_webhooks.telemetry import observe as observe_in_lambda
from linkrunner_webhooks.telemetry import tell, unseen
from linkrunner_webhooks.watch import concerns, joined

# At exactly the limit, a request that is late and the next on time are one too many in a second.
HEADROOM = 0.98

Deliver = Callable[[dict[str, Any], Callable[[], float]], dict[str, Any]]


def build(
    environment: Environment,
    *,
    observe: Callable[[Report], None],
    config: Config | None = None,
    watched: Callable[[Capture], Capture] = lambda capture: capture,
) -> Deliver:
    """The deliverer over real queues, ledger and Linkrunner. Raises ConfigError naming a wrong setting.

    `watched` may look at what is captured; reports do not tell it, because they are logged.
    """
    patience = Patience(connect=2.0, read=5.0, attempts=3)
    secrets = wiring.client("secretsmanager", environment, patience)
    # A capture that is not noted in time is made again, so a note must not take long.
    table = wiring.client("dynamodb", environment, Patience(connect=1.0, read=3.0, attempts=3))
    queue = wiring.client("sqs", environment, patience)
    copies = wiring.positive(environment, "DELIVER_CONCURRENCY")
    ledger = Ledger(
        table,
        wiring.setting(environment, "LEDGER_TABLE"),
        kept=int(wiring.positive(environment, "LEDGER_DAYS") * DAY),
    )
    client = LinkrunnerClient(
        wiring.setting(environment, "LINKRUNNER_BASE_URL"),
        ServerKey(Secret(secrets, wiring.setting(environment, "LINKRUNNER_KEY_SECRET_ARN"))),
        Pace(wiring.positive(environment, "REQUESTS_PER_SECOND") / copies * HEADROOM),
        ledger.notes.was_silent,
    )
    config = config or wiring.webhooks(environment)
    deliverer = Deliverer(
        config=config,
        capture=watched(client),
        knows=client.knows,
        ledger=ledger,
        queue=DeliveryQueue(
            queue,
            wiring.setting(environment, "WEBHOOK_QUEUE_URL"),
            wiring.setting(environment, "DEAD_LETTER_QUEUE_URL"),
            code_version=lambda: config.code_version,
        ),
        now=time.time,
        observe=observe,
        workers=CONNECTIONS,
        complete=Completing(
            ProviderKeys(Secret(secrets, arn))
            if (arn := environment.get("PROVIDER_KEYS_ARN"))
            else None,
            elsewhere=environment.get("PROVIDER_APIS_URL", ""),
            copies=copies,
        ),
    )

    def deliver(event: dict[str, Any], remaining: Callable[[], float]) -> dict[str, Any]:
        if event.get("task") == "look":
            # Built here because hardly any run looks.
            metrics = wiring.client("cloudwatch", environment, patience)
            look(environment, config, metrics, queue, time.time())
            return {}
        if "Records" not in event:
            # The schedule, for a shop of which no webhook comes for a while.
            deliverer.sweep(remaining)
            return {}
        kept = deliverer.deliver([message_of(record) for record in event["Records"]], remaining)
        return {"batchItemFailures": [{"itemIdentifier": id} for id in kept]}

    return deliver


def look(environment: Environment, config: Config, client: Any, queue: Any, now: float) -> None:
    """Tell what an operator should hear of. Raises nothing: the next look is half an hour away."""
    namespace = wiring.setting(environment, "POWERTOOLS_METRICS_NAMESPACE")
    url = wiring.setting(environment, "DEAD_LETTER_QUEUE_URL")
    with suppress(BotoCoreError, ClientError):
        # SQS has no figures of a queue that nobody has asked for six hours.
        depth(queue, url)
    try:
        known = history.read(client, namespace, url.rpartition("/")[2], config.names, now)
    except history.Unseen as error:
        unseen(str(error))
        return
    for each in (*concerns(known, now), *joined(known, now)):
        tell(each)


def message_of(record: dict[str, Any]) -> Message:
    """The message of one record of Lambda's event."""
    system = record["attributes"]
    return Message(
        id=record["messageId"],
        handle=record["receiptHandle"],
        text=record["body"],
        attributes=untyped(record.get("messageAttributes") or {}),
        receives=int(system["ApproximateReceiveCount"]),
        sent_at=int(system["SentTimestamp"]) / 1000,
    )


@cache
def _deliver() -> Deliver:
    return build(os.environ, observe=observe_in_lambda)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Lambda's entry point: a batch of SQS messages, answered with those that stay; or a schedule."""
    return _deliver()(event, lambda: context.get_remaining_time_in_millis() / 1000)
