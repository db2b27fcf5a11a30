"""The SQS side: store verified webhooks, delay messages, park them with the reason as attributes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from linkrunner_webhooks import __version__
from linkrunner_webhooks.aws import failure
from linkrunner_webhooks.errors import NotStored, Reason, Unavailable

_MAX_ERROR = 512
# Seconds in which a table that was away may be back.
_WHILE = 30
# SQS refuses a longer wait than this from the moment of receipt.
_MAX_VISIBILITY = 12 * 3600


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the queue. `sent_at` is unix seconds; `receives` counts this time too."""

    id: str
    handle: str
    text: str
    attributes: Mapping[str, str]
    receives: int
    sent_at: float


class WebhookQueue:
    """Where verified webhooks wait for delivery."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def store(self, text: str, attributes: Mapping[str, str]) -> None:
        """Raises NotStored, so that the provider sends the webhook again."""
        try:
            self._client.send_message(
                QueueUrl=self._url,
                MessageBody=text,
                MessageAttributes=typed(attributes),
            )
        except (BotoCoreError, ClientError) as error:
            raise NotStored(f"the queue did not take the webhook: {failure(error)}") from None


class DeliveryQueue:
    """The operations of deliver on its messages."""

    def __init__(
        self,
        client: Any,
        url: str,
        dead_letter_url: str,
        *,
        clock: Callable[[], float] = time.time,
        code_version: Callable[[], str] = lambda: __version__,
    ) -> None:
        self._client = client
        self._url = url
        self._dead_letter_url = dead_letter_url
        self._clock = clock
        self._code_version = code_version

    def delay(self, message: Message, seconds: float) -> None:
        with _unavailable():
            self._client.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=message.handle,
                VisibilityTimeout=min(round(seconds), _MAX_VISIBILITY),
            )

    def again(self, message: Message) -> None:
        """Send a copy with these attributes, to be had in a while. The caller then deletes the original."""
        self.send(message.text, message.attributes, delay=_WHILE)

    def send(self, text: str, attributes: Mapping[str, str], *, delay: int = 0) -> None:
        """Send another message, to be had in so many seconds."""
        with _unavailable():
            self._client.send_message(
                QueueUrl=self._url,
                MessageBody=text,
                MessageAttributes=typed(attributes),
                DelaySeconds=delay,
            )

    def park(self, message: Message, reason: Reason, error: str) -> None:
        """Send a copy with the reason to the dead-letter queue. The caller then deletes the original."""
        story = {
            "reason": reason.value,
            "error": error[:_MAX_ERROR],
            "attempts": str(message.receives),
            # In place of that of the edge: SQS takes ten attributes.
            "code_version": self._code_version(),
            "parked_at": str(int(self._clock())),
        }
        with _unavailable():
            self._client.send_message(
                QueueUrl=self._dead_letter_url,
                MessageBody=message.text,
                MessageAttributes=typed({**message.attributes, **story}),
            )


def typed(attributes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """SQS message attributes; empty values cannot be stored and say nothing."""
    return {
        key: {"DataType": "String", "StringValue": value}
        for key, value in attributes.items()
        if value
    }


def untyped(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The values of message attributes, as SQS (`StringValue`) or Lambda (`stringValue`) spell them."""
    return {
        key: str(value.get("StringValue") or value.get("stringValue") or "")
        for key, value in attributes.items()
    }


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"SQS did not answer: {failure(error)}", reason=Reason.QUEUE) from None
