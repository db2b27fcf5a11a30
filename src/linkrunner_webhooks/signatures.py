"""Every way a provider proves that a webhook is its own, and the one place that judges it.

A scheme is a value that a provider declares. `verify` fails closed: whatever goes wrong inside a scheme,
for whatever header or body, is a BadSignature and nothing else.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

from linkrunner_webhooks.errors import BadSignature, Unavailable
from linkrunner_webhooks.model import Webhook

Encoding = Literal["hex", "base64"]
Algorithm = Literal["sha256", "sha512"]
Covers = Literal["body", "values", "sender"]

_ENCODERS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda digest: b64encode(digest).decode("ascii"),
}


class Scheme(Protocol):
    """How one provider proves itself."""

    @property
    def title(self) -> str:
        """The scheme in a few words, for the documentation."""

    @property
    def covers(self) -> Covers:
        """What is proved: every byte of the body, only the values that count, or the sender alone."""

    @property
    def tolerance(self) -> int | None:
        """How many seconds old a signature may be; None when it does not say when it was made."""

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        """Whether `secret` signed this very webhook, recently enough at `now` (unix seconds)."""

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        """The webhook as the provider would send it; for samples and tests."""

    def example_secret(self, seed: str) -> str:
        """A secret of the right form, always the same for a seed; for samples and tests."""


def verify(scheme: Scheme, webhook: Webhook, secrets: Sequence[str], now: float) -> None:
    """Raise BadSignature unless one of the live secrets signed the webhook.

    Raises Unavailable when that cannot be told now, because a certificate cannot be fetched.
    """
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
    except Unavailable:
        raise
    except Exception:  # noqa: BLE001 - a hostile header must not become a 500, a retry and an alarm
        return False


def digest(key: bytes, message: bytes, encoding: Encoding, algorithm: Algorithm = "sha256") -> str:
    """The HMAC of a message as text."""
    return _ENCODERS[encoding](hmac.digest(key, message, algorithm))


def text_key(secret: str) -> bytes:
    """The secret as it is written is the key."""
    return secret.encode()


def wordpress_key(secret: str) -> bytes:
    """WordPress decodes these five entities, and only these, before it signs."""
    entities = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#039;", "'"), ("&amp;", "&"))
    for entity, character in entities:
        secret = secret.replace(entity, character)
    return secret.encode()


def standard_webhooks_keys(secret: str) -> tuple[bytes, ...]:
    """Senders disagree on whether the secret is the key, or is the key in base64 (after `whsec_`)."""
    encoded = secret.removeprefix("whsec_")
    if encoded != secret and not encoded.strip():
        # Nothing but the prefix, which everybody knows.
        return ()
    try:
        decoded = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        decoded = b""
    # Nothing decodes to the empty key, which anybody can sign with.
    return (text_key(secret), decoded) if decoded else (text_key(secret),)


def equal(expected: str, received: str) -> bool:
    """Constant-time; never raises on text that is not ASCII."""
    return hmac.compare_digest(expected.encode(), received.encode("utf-8", "replace"))


def hex_key(secret: str) -> bytes:
    """The secret is the key in hexadecimal. Raises ValueError."""
    return bytes.fromhex(secret)


def with_headers(webhook: Webhook, headers: Mapping[str, str]) -> Webhook:
    """The webhook with some headers more."""
    return replace(webhook, headers={**webhook.headers, **headers})


@dataclass(frozen=True, slots=True)
class HmacBody:
    """HMAC of the raw body in one header. No timestamp: deduplication is the replay defence.

    `headers` are the names it may come under, lower case, the first one used for signing. `prefix` is signed
    before the body.
    """

    headers: tuple[str, ...]
    encoding: Encoding
    key: Callable[[str], bytes] = field(default=text_key, repr=False)
    algorithm: Algorithm = "sha256"
    prefix: str = ""

    covers: ClassVar[Covers] = "body"
    tolerance: ClassVar[int | None] = None

    @property
    def title(self) -> str:
        signed = "the registered URL and the body" if self.prefix else "the body"
        return f"HMAC-{self.algorithm.upper()} of {signed} ({self.encoding})"

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        received = next(
            (webhook.headers[name] for name in self.headers if name in webhook.headers),
            "",
        )
        # No provider delivers an empty body; a signature over nothing says nothing.
        return bool(webhook.body) and equal(self._signature(webhook, secret), received.strip())

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        return with_headers(webhook, {self.headers[0]: self._signature(webhook, secret)})

    def example_secret(self, seed: str) -> str:
        return seed

    def _signature(self, webhook: Webhook, secret: str) -> str:
        message = self.prefix.encode() + webhook.body
        return digest(self.key(secret), message, self.encoding, self.algorithm)


# At most 14 digits: an unbounded number is an attack on int(), not a time.
_TIMESTAMP = re.compile(r"[0-9]{1,14}", re.ASCII)


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

    title: ClassVar[str] = "HMAC-SHA256 of timestamp and body"
    covers: ClassVar[Covers] = "body"

    @property
    def headers(self) -> tuple[str, ...]:
        return (self.header,)

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
        expected = digest(text_key(secret), self._signed(stamp, webhook.body), "hex")
        return any(equal(expected, value) for name, value in fields if name == self.signature)

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        stamp = str(int(now))
        signature = digest(text_key(secret), self._signed(stamp, webhook.body), "hex")
        fields = f"{self.timestamp}={stamp}{self.separator}{self.signature}={signature}"
        return with_headers(webhook, {self.header: fields})

    def example_secret(self, seed: str) -> str:
        return seed

    def _signed(self, stamp: str, body: bytes) -> bytes:
        return f"{stamp}{self.joiner}".encode() + body


@dataclass(frozen=True, slots=True)
class HmacWithHeaders:
    """HMAC-SHA256, base64, over the values of the headers `signed` and the body, each joined to the next.

    The last of `signed` is the time, in units of which `per_second` are a second. With a `version` the
    signature header is a list like `v1,<base64> v1,<base64>`, one match is enough, and other versions are
    passed over. `keys` are what a secret may mean.
    """

    header: str
    signed: tuple[str, ...]
    joiner: str = ""
    version: str = ""
    per_second: int = 1
    tolerance: int = 300
    keys: Callable[[str], Sequence[bytes]] = field(default=lambda it: (text_key(it),), repr=False)

    title: ClassVar[str] = "HMAC-SHA256 of headers and body (base64)"
    covers: ClassVar[Covers] = "body"

    @property
    def headers(self) -> tuple[str, ...]:
        return (self.header,)

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        stamp = webhook.headers[self.signed[-1]]
        if not _TIMESTAMP.fullmatch(stamp):
            return False
        if abs(now - int(stamp) / self.per_second) > self.tolerance:
            return False
        received = self._received(webhook.headers[self.header])
        message = self._message(webhook)
        # Computed once: the header has room for thousands of signatures, and the body for megabytes.
        expected = [digest(key, message, "base64") for key in self.keys(secret)]
        return any(equal(each, signature) for each in expected for signature in received)

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        known = dict.fromkeys(self.signed, "msg_0001") | dict(webhook.headers)
        stamped = with_headers(webhook, known | {self.signed[-1]: str(int(now * self.per_second))})
        signature = digest(self.keys(secret)[0], self._message(stamped), "base64")
        prefix = f"{self.version}," if self.version else ""
        return with_headers(stamped, {self.header: prefix + signature})

    def example_secret(self, seed: str) -> str:
        return seed

    def _received(self, header: str) -> list[str]:
        if not self.version:
            return [header.strip()]
        pairs = (part.partition(",") for part in header.split())
        return [value for version, _, value in pairs if version == self.version]

    def _message(self, webhook: Webhook) -> bytes:
        values = [webhook.headers[name].encode() for name in self.signed]
        return self.joiner.encode().join([*values, webhook.body])
