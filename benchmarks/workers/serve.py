"""One receiver behind the local gateway, over an embedded AWS; prints where it is, and ends with its input.

Argument: `ours`, or `minimal` for the hand-written receiver of benchmarks/alternatives.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.stub import SECRET
from linkrunner_webhooks import receive_function
from linkrunner_webhooks_local.cloudformation import create
from linkrunner_webhooks_local.embedded_aws import embedded_aws
from linkrunner_webhooks_local.gateway import Receive, gateway
from linkrunner_webhooks_local.loopback import listen, serving, url_of
from linkrunner_webhooks_local.sandboxes import Sandboxes


def ours(environment: Mapping[str, str]) -> Receive:
    """As the local stack runs it: a copy for every request under way."""
    sandboxes: Sandboxes[Receive] = Sandboxes(
        lambda: receive_function.build(environment, observe=lambda _: None)
    )

    def receive(event: dict[str, Any]) -> Mapping[str, Any]:
        with sandboxes.lent() as handler:
            return handler(event)

    return receive


def minimal(environment: Mapping[str, str]) -> Receive:
    """Its clients are made at import and can serve several threads."""
    os.environ.update({"AWS_DEFAULT_REGION": environment["AWS_REGION"], **environment})
    module = importlib.import_module("benchmarks.alternatives.minimal_receiver")

    def receive(event: dict[str, Any]) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = module.handler(event, None)
        return answer

    return receive


def main() -> None:
    build = {"ours": ours, "minimal": minimal}[sys.argv[1]]
    with embedded_aws() as aws:
        stack = create(aws, {"LinkrunnerBaseUrl": "http://127.0.0.1:9"})
        environment = stack.environment("ReceiveFunction") | dict(aws.environment)
        aws.client("secretsmanager").put_secret_value(
            SecretId=environment["WEBHOOK_SECRETS_ARN"],
            SecretString=json.dumps({"stripe": [SECRET]}),
        )
        listener = listen(0)
        with serving(
            listener, gateway(build(environment), lambda error: print(error, file=sys.stderr))
        ):
            about = {
                "url": url_of(listener),
                "endpoint": aws.endpoint_url,
                "queue_url": environment["WEBHOOK_QUEUE_URL"],
            }
            print(json.dumps(about), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
