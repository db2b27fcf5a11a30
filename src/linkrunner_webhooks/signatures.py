"""Every way a provider proves that a webhook is its own, and the one place that judges it.

A scheme is a value that a provider declares. `verify` fails closed: whatever goes wrong inside a scheme,
for whatever header or body, is a BadSignature and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from linkrunner_webhooks.errors import BadSignature
from linkrunner_webhooks.model import Webhook

Encoding = Literal["hex", "base64"]

_ENCODERS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda digest: b64encode(digest).decode("ascii"),
}


class Scheme(Protocol):
    """How one provider signs. `title` says it in a few words, for the documentation."""

    @property
    def title(self) -> str: ...

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        """Whether `secret` signed these exact bytes, recently enough at `now` (unix seconds)."""

    def sign(self, body: bytes, secret: str, now: float) -> Mapping[str, str]:
        """The headers a provider would send with `body`; for samples and tests."""


def verify(scheme: Scheme, webhook: Webhook, secrets: Sequence[str], now: float) -> None:
    """Raise BadSignature unless one of the live secrets signed the webhook."""
    for secret in secrets:
        if _matches(scheme, webhook, secret, now):
            return
    raise BadSignature("no live signing secret of this source matches the request")


def _matches(scheme: Scheme, webhook: Webhook, secret: str, now: float) -> bool:
    # An empty key would make a signature that anybody can compute.
    if not secret.strip():
        return False
    try:
        return scheme.matches(webhook, secret, now)
    except Exception:  # noqa: BLE001 - a hostile header must not become a 500, a retry and an alarm
        return False


def _digest(key: bytes, message: bytes, encoding: Encoding) -> str:
    return _ENCODERS[encoding](hmac.digest(key, message, hashlib.sha256))


def text_key(secret: str) -> bytes:
    """The secret as it is written is the key."""
    return secret.encode()


def wordpress_key(secret: str) -> bytes:
    """WordPress decodes these five entities, and only these, before it signs."""
    entities = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#039;", "'"), ("&amp;", "&"))
    for entity, character in entities:
        secret = secret.replace(entity, character)
    return secret.encode()


def _equal(expected: str, received: str) -> bool:
    """Constant-time; never raises on text that is not ASCII."""
    return hmac.compare_digest(expected.encode(), received.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class HmacBody:
    """HMAC-SHA256 of the raw body in one header. No timestamp: deduplication is the replay defence.

    `headers` are the names it may come under, lower case, the first one used for signing.
    """

    headers: tuple[str, ...]
    encoding: Encoding
    key: Callable[[str], bytes] = field(default=text_key, repr=False)

    @property
    def title(self) -> str:
        return f"HMAC-SHA256 of the body ({self.encoding})"

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        received = next(
            (webhook.headers[name] for name in self.headers if name in webhook.headers),
            "",
        )
        # No provider delivers an empty body; a signature over nothing says nothing.
        return bool(webhook.body) and _equal(
            _digest(self.key(secret), webhook.body, self.encoding), received.strip()
        )

    def sign(self, body: bytes, secret: str, now: float) -> Mapping[str, str]:
        del now
        return {self.headers[0]: _digest(self.key(secret), body, self.encoding)}


# At most 12 digits: an unbounded number is an attack on int(), not a time.
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimestampedHmac:
    """HMAC-SHA256 over `<timestamp><joiner><body>`, hex, in one header of `name=value` fields.

    Several signature fields may be present while a secret is being rolled; one match is enough.
    `tolerance` bounds the age in seconds in both directions.
    """

    header: str
    timestamp: str = "t"
    signature: str = "v1"
    separator: str = ","
    joiner: str = "."
    tolerance: int = 300

    @property
    def title(self) -> str:
        return "HMAC-SHA256 of timestamp and body"

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        fields = [
            (name.strip(), value.strip())
            for name, _, value in (
                part.partition("=") for part in webhook.headers[self.header].split(self.separator)
            )
        ]
        # Two different timestamps would leave it open which one was checked and which one was signed.
        (stamp,) = {value for name, value in fields if name == self.timestamp}
        if not _TIMESTAMP.fullmatch(stamp) or abs(now - int(stamp)) > self.tolerance:
            return False
        expected = _digest(text_key(secret), self._signed(stamp, webhook.body), "hex")
        return any(_equal(expected, value) for name, value in fields if name == self.signature)

    def sign(self, body: bytes, secret: str, now: float) -> Mapping[str, str]:
        stamp = str(int(now))
        digest = _digest(text_key(secret), self._signed(stamp, body), "hex")
        return {self.header: f"{self.timestamp}={stamp}{self.separator}{self.signature}={digest}"}

    def _signed(self, stamp: str, body: bytes) -> bytes:
        return f"{stamp}{self.joiner}".encode() + body
