"""The embedded AWS and Linkrunner for tests: plain context managers, and how to wait for things."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from linkrunner_webhooks_local.cloudformation import EmbeddedStack, create
from linkrunner_webhooks_local.embedded_aws import embedded_aws
from linkrunner_webhooks_local.state import LocalStack

Value = TypeVar("Value")


@contextmanager
def embedded_stack(linkrunner_url: str = "http://127.0.0.1:9") -> Iterator[EmbeddedStack]:
    """An AWS of one's own with the queues, table and secrets of template.yaml. Takes a second."""
    with embedded_aws() as aws:
        yield create(aws, {"LinkrunnerBaseUrl": linkrunner_url})


def published(
    stack: EmbeddedStack, *, linkrunner_url: str = "http://127.0.0.1:9", outcomes: str = ""
) -> LocalStack:
    """The stack as commands find the local one, with a receiver that nobody asks."""
    return LocalStack(
        endpoint_url=stack.aws.endpoint_url,
        region=stack.aws.region,
        stack_name=stack.name,
        url="http://127.0.0.1:9",
        linkrunner_url=linkrunner_url,
        pid=0,
        outcomes=outcomes,
    )


def put(stack: EmbeddedStack, output: str, value: str) -> None:
    """Store the value of a secret."""
    stack.aws.client("secretsmanager").put_secret_value(
        SecretId=stack.outputs[output], SecretString=value
    )


def empty(stack: EmbeddedStack) -> None:
    """Remove every message and claim, so that tests can share a stack."""
    sqs = stack.aws.client("sqs")
    for output in ("WebhookQueueUrl", "DeadLetterQueueUrl"):
        sqs.purge_queue(QueueUrl=stack.outputs[output])
    _empty_table(stack, stack.environment("DeliverFunction")["LEDGER_TABLE"])


def _empty_table(stack: EmbeddedStack, name: str) -> None:
    dynamodb = stack.aws.client("dynamodb")
    schema = dynamodb.describe_table(TableName=name)["Table"]["KeySchema"]
    for item in dynamodb.scan(TableName=name)["Items"]:
        key = {part["AttributeName"]: item[part["AttributeName"]] for part in schema}
        dynamodb.delete_item(TableName=name, Key=key)


def eventually(probe: Callable[[], Value], seconds: float = 10.0) -> Value:
    """The first truthy value of `probe`, polled until a deadline."""
    deadline = time.monotonic() + seconds
    while not (value := probe()):
        assert time.monotonic() < deadline, f"nothing came within {seconds} s"
        time.sleep(0.01)
    return value
