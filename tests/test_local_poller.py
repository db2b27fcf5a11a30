"""The poller does between queue and function what Lambda's event source does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from tests.embedded import eventually

from linkrunner_webhooks_local.cloudformation import EventSource
from linkrunner_webhooks_local.poller import Deliver, Poller, failed_ids, sqs_event
from linkrunner_webhooks_local.sandboxes import Sandboxes

ARN = "arn:aws:sqs:us-east-1:000000000000:webhooks"
MESSAGE: dict[str, Any] = {
    "MessageId": "m1",
    "ReceiptHandle": "r1",
    "Body": "hello",
    "MD5OfBody": "5d41402abc4b2a76b9719d911017c592",
    "Attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1795532365000"},
    "MessageAttributes": {
        "source": {"DataType": "String", "StringValue": "stripe"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\xff"},
    },
}


class FakeSqs:
    """An SQS client for one queue of messages that come back when they are not deleted."""

    def __init__(self, *ids: str) -> None:
        self.messages = [MESSAGE | {"MessageId": id_, "ReceiptHandle": f"r-{id_}"} for id_ in ids]
        self.hidden: list[dict[str, Any]] = []
        self.asked: list[int] = []

    def receive_message(self, **arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments["MaxNumberOfMessages"])
        seen = self.messages[: arguments["MaxNumberOfMessages"]]
        self.messages = self.messages[len(seen) :]
        self.hidden += seen
        return {"Messages": seen} if seen else {}

    def delete_message_batch(self, **arguments: Any) -> None:
        gone = {entry["ReceiptHandle"] for entry in arguments["Entries"]}
        self.hidden = [each for each in self.hidden if each["ReceiptHandle"] not in gone]

    @property
    def ids(self) -> list[str]:
        """What is still there, in anybody's hands or in nobody's."""
        return [message["MessageId"] for message in (*self.hidden, *self.messages)]


def poller(
    queue: FakeSqs,
    deliver: Deliver,
    *,
    batch_size: int = 10,
    failed: Callable[[Exception], None] = lambda _: None,
) -> Poller:
    """A poller of this queue with one copy of this function."""
    return Poller(
        sqs=queue,
        source=EventSource("url", ARN, batch_size=batch_size, maximum_concurrency=2),
        region="us-east-1",
        timeout=20,
        lent=Sandboxes(lambda: deliver).lent,
        failed=failed,
    )


def answering(response: Any) -> Deliver:
    """A function that answers every batch with this response."""

    def deliver(event: dict[str, Any], remaining: Callable[[], float]) -> Any:
        return response

    return deliver


def failing(*ids: object) -> dict[str, Any]:
    """The response that names these messages as failed."""
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in ids]}


def test_event_has_lambdas_shape() -> None:
    """A received message becomes a record as Lambda spells it."""
    assert sqs_event([MESSAGE], ARN, "us-east-1") == {
        "Records": [
            {
                "messageId": "m1",
                "receiptHandle": "r1",
                "body": "hello",
                "attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1795532365000"},
                "messageAttributes": {
                    "source": {
                        "stringValue": "stripe",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "String",
                    },
                    "raw": {
                        "binaryValue": "/w==",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "Binary",
                    },
                },
                "md5OfBody": "5d41402abc4b2a76b9719d911017c592",
                "eventSource": "aws:sqs",
                "eventSourceARN": ARN,
                "awsRegion": "us-east-1",
            }
        ]
    }


@pytest.mark.parametrize(
    ("response", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": []}, set()),
        (failing("a"), {"a"}),
        (failing("a", "a"), {"a"}),
        (failing("a", "b"), {"a", "b"}),
        (failing("unknown"), {"a", "b"}),
        (failing("a", ""), {"a", "b"}),
        (failing(None), {"a", "b"}),
        ({"batchItemFailures": [{"id": "a"}]}, {"a", "b"}),
        ({"batchItemFailures": ["a"]}, {"a", "b"}),
        ({"batchItemFailures": "a"}, {"a", "b"}),
        ({"other": []}, {"a", "b"}),
        ("done", {"a", "b"}),
        ([], {"a", "b"}),
    ],
)
def test_an_answer_names_the_messages_that_stay(response: object, failed: set[str]) -> None:
    """Named messages stay; an answer that cannot be understood keeps the whole batch."""
    assert failed_ids(response, {"a", "b"}) == failed


@pytest.mark.parametrize(
    ("response", "left"), [(None, []), (failing("b"), ["b"]), (failing("x"), ["a", "b", "c"])]
)
def test_deletes_what_worked(response: Mapping[str, Any] | None, left: list[str]) -> None:
    """Messages that were not reported as failed are deleted, the others are not touched."""
    queue = FakeSqs("a", "b", "c")
    poller(queue, answering(response)).poll_once()
    assert queue.ids == left


def test_an_exception_keeps_the_batch() -> None:
    """A function that raises has failed every message, and what it raised is shown."""
    failures: list[Exception] = []
    queue = FakeSqs("a", "b")

    def deliver(event: dict[str, Any], remaining: Callable[[], float]) -> None:
        raise ValueError("boom")

    poller(queue, deliver, failed=failures.append).poll_once()
    assert queue.ids == ["a", "b"]
    assert [str(error) for error in failures] == ["boom"]


@pytest.mark.parametrize(
    ("batch_size", "asked"), [(3, [3]), (10, [10]), (30, [10, 10, 10]), (24, [10, 10, 4])]
)
def test_batches_as_the_template_says(batch_size: int, asked: list[int]) -> None:
    """The batch size is the template's, however many receives of SQS it takes."""
    queue = FakeSqs(*map(str, range(100)))
    sizes: list[int] = []
    poller(
        queue, lambda event, _: sizes.append(len(event["Records"])), batch_size=batch_size
    ).poll_once()
    assert queue.asked == asked
    assert sizes == [batch_size]
    assert len(queue.ids) == 100 - batch_size


def test_a_short_receive_is_a_batch() -> None:
    """A batch does not wait for messages that are not there."""
    queue = FakeSqs("a", "b")
    poller(queue, answering(None), batch_size=30).poll_once()
    assert (queue.asked, queue.ids) == ([10], [])


def test_says_how_much_time_is_left() -> None:
    """A function knows the rest of its timeout, and it shrinks."""
    seen: list[float] = []
    queue = FakeSqs("a")
    poller(queue, lambda _, remaining: seen.extend((remaining(), remaining()))).poll_once()
    assert 19 < seen[1] <= seen[0] <= 20


def test_runs_as_many_copies_as_the_template_says() -> None:
    """Two invocations run at a time, each in a copy of the function of its own, and no third."""
    meeting = threading.Barrier(3)
    copies, seen = itertools.count(), set[int]()
    queue = FakeSqs("a", "b", "c")

    def build() -> Deliver:
        number = next(copies)

        def deliver(event: dict[str, Any], remaining: Callable[[], float]) -> dict[str, Any]:
            seen.add(number)
            with suppress(threading.BrokenBarrierError):
                meeting.wait(5)
            return failing(*(record["messageId"] for record in event["Records"]))

        return deliver

    polling = Poller(
        queue, EventSource("url", ARN, 1, 2), "us-east-1", 20, Sandboxes(build).lent, print
    )
    with polling.running():
        meeting.wait(5)
        meeting.abort()
    assert seen == {0, 1}


def test_survives_a_queue_that_is_away() -> None:
    """An error of the queue is shown, and polling goes on once it is back."""
    failures: list[Exception] = []

    class Flaky(FakeSqs):
        def receive_message(self, **arguments: Any) -> dict[str, Any]:
            if not failures:
                raise ConnectionError("away")
            return super().receive_message(**arguments)

    queue = Flaky("a")
    polling = poller(queue, answering(None), failed=failures.append)
    with polling.running():
        eventually(lambda: queue.ids == [])
    assert str(failures[0]) == "away"
