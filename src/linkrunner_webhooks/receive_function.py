"""The Lambda function behind the HTTP API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from linkrunner_webhooks import lean_start, wiring  # noqa: F401 - lean_start acts on the imports below
from linkrunner_webhooks.aws import Environment, Patience, SecretsManagerClient, SqsClient
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.queues import WebhookQueue
from linkrunner_webhooks.receive import Receiver
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.secrets import Secret, SigningSecrets
from linkrunner_webhooks.telemetry import observe as observe_in_lambda

Respond = Callable[[dict[str, Any]], dict[str, Any]]


def build(
    environment: Environment, *, observe: Callable[[Report], None], config: Config | None = None
) -> Respond:
    """The receiver over real queues and secrets. Raises ConfigError naming a wrong setting."""
    # The most impatient provider waits 5 seconds in all.
    patience = Patience(connect=1.0, read=1.5, attempts=2)
    secrets = SecretsManagerClient(environment, patience)
    queue_url = wiring.setting(environment, "WEBHOOK_QUEUE_URL")
    return Receiver(
        config=config or wiring.webhooks(environment),
        secrets=SigningSecrets(Secret(secrets, wiring.setting(environment, "WEBHOOK_SECRETS_ARN"))),
        store=WebhookQueue(SqsClient(queue_url, environment, patience), queue_url).store,
        now=time.time,
        observe=observe,
    ).respond


@cache
def _respond() -> Respond:
    return build(os.environ, observe=observe_in_lambda)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Lambda's entry point: an HTTP API request, payload format 2.0."""
    del context
    return _respond()(event)
