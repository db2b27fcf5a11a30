"""A verified webhook as a queue message: the raw body and the headers that carry identity.

The text is ASCII JSON, so that a person can read it in the console and SQS accepts every character. It is
compressed when it would not fit, and never truncated.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.errors import Malformed, TooLarge, Unreadable, Unroutable, Untranslatable
from linkrunner_webhooks.model import Identity, Webhook
from linkrunner_webhooks.provider import Provider

# SQS takes 1 MiB of body and attributes together; the attributes of a parked message need their share.
MAX_BYTES = 1024 * 1024 - 8 * 1024
# API Gateway and Lambda accept less. A message that claims to inflate further is not ours.
_MAX_BODY = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Envelope:
    """`received_at` is unix seconds at the edge.

    `origin` says who put it there if not the edge: nobody verified a signature of that.
    """

    webhook: Webhook
    received_at: float
    origin: str = ""

    def seal(self, provider: Provider) -> str:
        """The text for the queue. Raises TooLarge when it does not fit even compressed."""
        text = self._text(provider, _plain)
        if len(text) > MAX_BYTES:
            text = self._text(provider, _compressed)
        if len(text) > MAX_BYTES:
            raise TooLarge("the webhook does not fit into the queue, even compressed")
        return text

    def _text(self, provider: Provider, encode: Any) -> str:
        headers = self.webhook.headers
        content = {
            "v": 1,
            "source": self.webhook.source,
            "received_at": round(self.received_at, 3),
            "headers": {key: headers[key] for key in provider.headers if key in headers},
            **({"origin": self.origin} if self.origin else {}),
        }
        return json.dumps(content | encode(self.webhook.body), separators=(",", ":"))


class Opened(NamedTuple):
    """A verified webhook, with what today's code and configuration know of it.

    `received_at` is unix seconds, 0 where nobody knows. `origin` is that of its envelope.
    """

    webhook: Webhook
    source: Source
    identity: Identity
    received_at: float = 0.0
    origin: str = ""


def open_message(text: str, config: Config) -> Opened:
    """A message of either queue. Raises Unreadable, Unroutable or Untranslatable."""
    sealed = unseal(text)
    webhook = sealed.webhook
    source = config.source(webhook.source)
    if source is None:
        message = f"webhooks.toml has no table [{webhook.source}] any more"
        raise Unroutable(message, received_at=sealed.received_at)
    try:
        identity = source.provider.identity(webhook)
        return Opened(webhook, source, identity, sealed.received_at, sealed.origin)
    except Malformed as error:
        # The edge identified it, so a mapper of another version is at fault, not the sender.
        raise Untranslatable(str(error)) from None


def _plain(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return _compressed(body)


def _compressed(body: bytes) -> dict[str, str]:
    return {"body_zlib": b64encode(zlib.compress(body)).decode("ascii")}


def unseal(text: str) -> Envelope:
    """Read a message back. Raises Unreadable for anything that `seal` did not write."""
    try:
        content = json.loads(text)
        if content["v"] != 1:
            raise Unreadable("the message was written by a newer version; deploy that version")
        webhook = Webhook(str(content["source"]), _headers(content), _body(content))
        return Envelope(webhook, _seconds(content), str(content.get("origin", "")))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, zlib.error):
        raise Unreadable("the message is not a webhook put there by receive") from None


def _headers(content: dict[str, Any]) -> dict[str, str]:
    headers = dict(content["headers"])
    if not all(isinstance(value, str) for value in headers.values()):
        raise TypeError("a header is text")
    return headers


def _seconds(content: dict[str, Any]) -> float:
    seconds = float(content["received_at"])
    if not isfinite(seconds):
        raise ValueError("not a time")
    return seconds


def _body(content: dict[str, Any]) -> bytes:
    if "body" in content:
        return str(content["body"]).encode("utf-8")
    inflater = zlib.decompressobj()
    body = inflater.decompress(b64decode(content["body_zlib"], validate=True), _MAX_BODY)
    if not inflater.eof:
        raise ValueError("truncated or oversized")
    return body
