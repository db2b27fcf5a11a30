"""Lambda's event source between a queue and a function: poll, invoke, delete the messages that succeeded.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from linkrunner_webhooks_local.cloudformation import EventSource

Deliver = Callable[[dict[str, Any], Callable[[], float]], Mapping[str, Any] | None]

# Short, so that stopping is quick; the queue answers sooner when it has something.
_WAIT_SECONDS: Final = 1
_MAX_RECEIVE: Final = 10
_PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Poller:
    """Feeds one queue to a function. `lent` gives a copy of the function for one invocation."""

    sqs: Any
    source: EventSource
    region: str
    timeout: float
    lent: Callable[[], AbstractContextManager[Deliver]]
    failed: Callable[[Exception], None]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Poll while the block runs; then let running invocations finish."""
        stopping = threading.Event()
        # Daemons: an invocation that does not finish in time must not hold up the exit.
        threads = [
            threading.Thread(target=self._poll, args=(stopping,), name="poller", daemon=True)
            for _ in range(self.source.maximum_concurrency)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopping.set()
            deadline = time.monotonic() + _PATIENCE
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def poll_once(self) -> None:
        """Receive at most one batch and invoke the function with it."""
        messages = self._receive()
        if messages:
            failed = self._invoke(messages)
            self._delete([message for message in messages if message["MessageId"] not in failed])

    def _poll(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self.poll_once()
            except Exception as error:  # noqa: BLE001 - the queue is away; it may come back
                self.failed(error)
                stopping.wait(_WAIT_SECONDS)

    def _receive(self) -> list[dict[str, Any]]:
        """A batch: as many receives as it takes, until one brings less than it could.

        Lambda waits out its batching window for more; a person at a console would only wait.
        """
        batch: list[dict[str, Any]] = []
        wait = _WAIT_SECONDS
        while (wanted := min(self.source.batch_size - len(batch), _MAX_RECEIVE)) > 0:
            messages = self._receive_some(wanted, wait)
            batch += messages
            if len(messages) < wanted:
                break
            wait = 0
        return batch

    def _receive_some(self, wanted: int, wait: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.sqs.receive_message(
            QueueUrl=self.source.queue_url,
            MaxNumberOfMessages=wanted,
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        return messages

    def _invoke(self, messages: list[dict[str, Any]]) -> set[str]:
        event = sqs_event(messages, self.source.queue_arn, self.region)
        deadline = time.monotonic() + self.timeout
        ids = {message["MessageId"] for message in messages}
        try:
            with self.lent() as deliver:
                response = deliver(event, lambda: deadline - time.monotonic())
        except Exception as error:  # noqa: BLE001 - whatever a function raises fails its batch
            self.failed(error)
            return ids
        return failed_ids(response, ids)

    def _delete(self, messages: list[dict[str, Any]]) -> None:
        for start in range(0, len(messages), _MAX_RECEIVE):
            self.sqs.delete_message_batch(
                QueueUrl=self.source.queue_url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                    for index, message in enumerate(messages[start : start + _MAX_RECEIVE])
                ],
            )


def sqs_event(messages: Iterable[Mapping[str, Any]], arn: str, region: str) -> dict[str, Any]:
    """The event that Lambda invokes a function with for these messages."""
    return {"Records": [_record(message, arn, region) for message in messages]}


def failed_ids(response: object, ids: set[str]) -> set[str]:
    """Which messages stay in the queue. An answer that is not understood fails the whole batch."""
    match response:
        case None | {"batchItemFailures": None | []}:
            return set()
        case {"batchItemFailures": [*items]}:
            failed = {_identifier(item) for item in items}
            return failed if failed.issubset(ids) else ids
        case dict() if not response:
            return set()
    return ids


def _identifier(item: object) -> str:
    identifier = item.get("itemIdentifier") if isinstance(item, dict) else None
    return identifier if isinstance(identifier, str) else ""


def _record(message: Mapping[str, Any], arn: str, region: str) -> dict[str, Any]:
    attributes = message.get("MessageAttributes", {})
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {name: _attribute(value) for name, value in attributes.items()},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": region,
    }


def _attribute(attribute: Mapping[str, Any]) -> dict[str, Any]:
    kind = {"dataType": attribute["DataType"], "stringListValues": [], "binaryListValues": []}
    if "BinaryValue" in attribute:
        return kind | {"binaryValue": base64.b64encode(attribute["BinaryValue"]).decode()}
    return kind | {"stringValue": attribute["StringValue"]}
