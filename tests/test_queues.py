"""Queues: storing, delaying and parking, against the embedded AWS and against failing clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.embedded import embedded_stack, empty

from linkrunner_webhooks.envelope import MAX_BYTES
from linkrunner_webhooks.errors import NotStored, Reason, Unavailable
from linkrunner_webhooks.queues import DeliveryQueue, Message, WebhookQueue, typed, untyped
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.poller import sqs_event

NOW = 1_800_000_000.75
ATTRIBUTES = {"source": "stripe", "event_type": "charge.refunded", "event_id": "evt_1"}
SQS_LIMIT = 1024 * 1024


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedStack]:
    """An embedded AWS for this module."""
    with embedded_stack() as created:
        yield created


@pytest.fixture(scope="module")
def sqs(running: EmbeddedStack) -> Any:
    """A client of its queues."""
    return running.aws.client("sqs")


@pytest.fixture
def stack(running: EmbeddedStack) -> EmbeddedStack:
    """The embedded AWS with empty queues."""
    empty(running)
    return running


def url(stack: EmbeddedStack) -> str:
    """Where the webhooks' queue is."""
    return stack.outputs["WebhookQueueUrl"]


def dead_letter_url(stack: EmbeddedStack) -> str:
    """Where the dead-letter queue is."""
    return stack.outputs["DeadLetterQueueUrl"]


def received(sqs: Any, address: str) -> list[dict[str, Any]]:
    """Up to ten messages of a queue, with all that is known of them."""
    messages: list[dict[str, Any]] = sqs.receive_message(
        QueueUrl=address,
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["All"],
    ).get("Messages", [])
    return messages


def counted(sqs: Any, address: str) -> tuple[int, int]:
    """How many messages can be received now, and how many only later."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=address, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def as_message(found: Mapping[str, Any]) -> Message:
    """A received message as the delivering function gets it."""
    return Message(
        id=found["MessageId"],
        handle=found["ReceiptHandle"],
        text=found["Body"],
        attributes=untyped(found.get("MessageAttributes", {})),
        receives=int(found["Attributes"]["ApproximateReceiveCount"]),
        sent_at=int(found["Attributes"]["SentTimestamp"]) / 1000,
    )


def delivery_queue(sqs: Any, stack: EmbeddedStack) -> DeliveryQueue:
    """The queue as deliver sees it."""
    return DeliveryQueue(
        sqs,
        url(stack),
        dead_letter_url(stack),
        clock=lambda: NOW,
        code_version=lambda: "0.1.0 1a2b3c",
    )


# ------------------------------------------------------------------------- storing


def test_what_is_stored_is_received(stack: EmbeddedStack, sqs: Any) -> None:
    """Text and attributes come out of the queue as they were put in."""
    WebhookQueue(sqs, url(stack)).store('{"body":"\\u20ac"}', ATTRIBUTES)
    [found] = received(sqs, url(stack))
    message = as_message(found)
    assert message.text == '{"body":"\\u20ac"}'
    assert message.attributes == ATTRIBUTES
    assert message.receives == 1


def test_lambda_sees_the_same(stack: EmbeddedStack, sqs: Any) -> None:
    """Attributes are read from Lambda's event just as from SQS's answer."""
    WebhookQueue(sqs, url(stack)).store("text", ATTRIBUTES)
    messages = received(sqs, url(stack))
    [record] = sqs_event(messages, "arn", "us-east-1")["Records"]
    assert untyped(record["messageAttributes"]) == ATTRIBUTES


def test_the_largest_envelope_can_be_stored_and_parked(stack: EmbeddedStack, sqs: Any) -> None:
    """What receive lets in also fits with the story that a parked message carries."""
    largest = dict.fromkeys(ATTRIBUTES, "x" * 256)
    WebhookQueue(sqs, url(stack)).store("x" * MAX_BYTES, largest)
    [found] = received(sqs, url(stack))
    delivery_queue(sqs, stack).park(as_message(found), Reason.UNTRANSLATABLE, "\u20ac" * 10_000)
    [parked] = received(sqs, dead_letter_url(stack))
    size = len(parked["Body"]) + sum(
        len(name.encode()) + len(value["DataType"]) + len(value["StringValue"].encode())
        for name, value in parked["MessageAttributes"].items()
    )
    assert size <= SQS_LIMIT


# ------------------------------------------------------------------------- attributes


def test_empty_attributes_are_left_out() -> None:
    """SQS stores no empty values."""
    assert typed({"a": "x", "b": ""}) == {"a": {"DataType": "String", "StringValue": "x"}}


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1)))
def test_attributes_survive_the_round_trip(attributes: Mapping[str, str]) -> None:
    """What was written is read, whichever of the two spells it."""
    stored = typed(attributes)
    in_lambda = {
        name: {"dataType": value["DataType"], "stringValue": value["StringValue"]}
        for name, value in stored.items()
    }
    assert untyped(stored) == untyped(in_lambda) == attributes


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ({"dataType": "Number", "stringValue": "7"}, "7"),
        ({"dataType": "Binary", "binaryValue": "AAE="}, ""),
        ({"DataType": "Binary", "BinaryValue": b"\x00"}, ""),
        ({"dataType": "String", "stringValue": None}, ""),
        ({}, ""),
    ],
)
def test_attributes_of_other_kinds(attribute: Mapping[str, Any], value: str) -> None:
    """What somebody else attached to a message does not get in the way."""
    assert untyped({"a": attribute}) == {"a": value}


# ------------------------------------------------------------------------- delaying


def test_a_delayed_message_stays_away(stack: EmbeddedStack, sqs: Any) -> None:
    """The delay replaces the queue's own, longer or shorter."""
    WebhookQueue(sqs, url(stack)).store("text", ATTRIBUTES)
    [found] = received(sqs, url(stack))
    queue = delivery_queue(sqs, stack)
    queue.delay(as_message(found), 3600.4)
    assert counted(sqs, url(stack)) == (0, 1)
    queue.delay(as_message(found), 0)
    assert counted(sqs, url(stack)) == (1, 0)
    [again] = received(sqs, url(stack))
    assert as_message(again).receives == 2
    assert as_message(again).sent_at == as_message(found).sent_at


@dataclass
class FakeSqs:
    """Remembers what it was asked, or fails."""

    error: Exception | None = None
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def answer(**arguments: Any) -> dict[str, Any]:
            self.asked.append((operation, arguments))
            if self.error is not None:
                raise self.error
            return {}

        return answer


MESSAGE = Message("m1", "r1", "text", ATTRIBUTES, receives=7, sent_at=NOW - 60)


@pytest.mark.parametrize(
    ("seconds", "timeout"),
    [(0, 0), (0.4, 0), (5.6, 6), (4500.0, 4500), (43_200.0, 43_200), (1e9, 43_200)],
)
def test_delays_are_whole_seconds_within_bounds(seconds: float, timeout: int) -> None:
    """SQS takes whole seconds, twelve hours at most."""
    fake = FakeSqs()
    DeliveryQueue(fake, "queue", "dead letters").delay(MESSAGE, seconds)
    [(operation, arguments)] = fake.asked
    assert operation == "change_message_visibility"
    assert arguments == {
        "QueueUrl": "queue",
        "ReceiptHandle": "r1",
        "VisibilityTimeout": timeout,
    }
    assert isinstance(arguments["VisibilityTimeout"], int)


# ------------------------------------------------------------------------- parking


def test_a_parked_message_tells_its_story(stack: EmbeddedStack, sqs: Any) -> None:
    """The dead-letter queue has the text untouched, what was known before, and why it is there."""
    WebhookQueue(sqs, url(stack)).store("text", ATTRIBUTES)
    [found] = received(sqs, url(stack))
    delivery_queue(sqs, stack).park(as_message(found), Reason.MISSING_USER, "no user id")
    [parked] = received(sqs, dead_letter_url(stack))
    assert parked["Body"] == "text"
    assert untyped(parked["MessageAttributes"]) == ATTRIBUTES | {
        "reason": "missing_user",
        "error": "no user id",
        "attempts": "1",
        "code_version": "0.1.0 1a2b3c",
        "parked_at": "1800000000",
    }


def test_the_original_is_left_to_the_caller(stack: EmbeddedStack, sqs: Any) -> None:
    """Parking copies; Lambda deletes the original when the batch is answered."""
    WebhookQueue(sqs, url(stack)).store("text", ATTRIBUTES)
    [found] = received(sqs, url(stack))
    delivery_queue(sqs, stack).park(as_message(found), Reason.REFUSED, "no")
    assert counted(sqs, url(stack)) == (0, 1)


def test_a_message_parked_again_tells_its_last_story() -> None:
    """A redriven message that fails again does not keep the reason of the first time."""
    fake = FakeSqs()
    before = {**ATTRIBUTES, "reason": "missing_user", "error": "old", "attempts": "1"}
    message = Message("m1", "r1", "text", before, receives=3, sent_at=NOW)
    DeliveryQueue(fake, "queue", "dead letters", clock=lambda: NOW).park(
        message, Reason.REFUSED, "new"
    )
    [(_, arguments)] = fake.asked
    assert arguments["QueueUrl"] == "dead letters"
    story = untyped(arguments["MessageAttributes"])
    assert (story["reason"], story["error"], story["attempts"]) == ("refused", "new", "3")
    # SQS takes ten attributes.
    assert len(story) <= 10


def test_a_long_error_is_cut() -> None:
    """An error that goes on and on does not cost the message its place."""
    fake = FakeSqs()
    DeliveryQueue(fake, "queue", "dead letters").park(MESSAGE, Reason.UNTRANSLATABLE, "x" * 5000)
    [(_, arguments)] = fake.asked
    assert len(untyped(arguments["MessageAttributes"])["error"]) == 512


# ------------------------------------------------------------------------- when SQS is away

ERRORS: list[Exception] = [
    ClientError({"Error": {"Code": "KMS.Disabled", "Message": "s3cret"}}, "SendMessage"),
    ClientError({}, "SendMessage"),
    EndpointConnectionError(endpoint_url="https://s3cret"),
    ReadTimeoutError(endpoint_url="https://s3cret"),
    ParamValidationError(report="s3cret"),
    BotoCoreError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_webhook_that_cannot_be_stored(error: Exception) -> None:
    """The provider is told to send it again, whatever the reason, in our own words."""
    with pytest.raises(NotStored) as raised:
        WebhookQueue(FakeSqs(error), "queue").store("text", ATTRIBUTES)
    assert raised.value.status == 503
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "use",
    [
        lambda queue: queue.park(MESSAGE, Reason.REFUSED, "no"),
        lambda queue: queue.delay(MESSAGE, 5),
    ],
    ids=["park", "delay"],
)
def test_a_message_that_cannot_be_moved(
    error: Exception, use: Callable[[DeliveryQueue], None]
) -> None:
    """The deliverer is told, so that it keeps the message."""
    with pytest.raises(Unavailable) as raised:
        use(DeliveryQueue(FakeSqs(error), "queue", "dead letters"))
    assert raised.value.reason == "queue"
    assert "s3cret" not in str(raised.value)


def test_a_missing_queue_is_told(stack: EmbeddedStack, sqs: Any) -> None:
    """The real client's errors are among those."""
    nowhere = url(stack) + "-gone"
    with pytest.raises(NotStored, match=r"NonExistentQueue|QueueDoesNotExist"):
        WebhookQueue(sqs, nowhere).store("text", ATTRIBUTES)
    with pytest.raises(Unavailable, match=r"NonExistentQueue|QueueDoesNotExist"):
        DeliveryQueue(sqs, nowhere, nowhere).park(MESSAGE, Reason.REFUSED, "no")
