"""Schemes that sign with an HMAC of the body, of time and body, or of headers and body."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import (
    Algorithm,
    Covers,
    Encoding,
    digest,
    equal,
    text_key,
    with_headers,
)


def standard_webhooks_keys(secret: str) -> tuple[bytes, ...]:
    """The two keys that a secret can mean: its text, or its base64 (after `whsec_`) decoded."""
    encoded = secret.removeprefix("whsec_")
    if encoded != secret and not encoded.strip():
        # Everybody knows the prefix, so the prefix alone is no secret.
        return ()
    try:
        decoded = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        decoded = b""
    # An empty key is left out: anybody can sign with it.
    return (text_key(secret), decoded) if decoded else (text_key(secret),)


@dataclass(frozen=True, slots=True)
class HmacBody:
    """HMAC of the raw body in one header. It has no timestamp: deduplication is the replay defence.

    `headers` are the possible names of the header, in lower case; `sign` uses the first one. `prefix` is a
    text that is signed before the body. `label` is a text before the signature, as in `sha256=<hex>`; with it
    the header may be a list with commas, and one match is enough.
    """

    headers: tuple[str, ...]
    encoding: Encoding
    key: Callable[[str], bytes] = field(default=text_key, repr=False)
    algorithm: Algorithm = "sha256"
    prefix: str = ""
    label: str = ""

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
        expected = self._signature(webhook, secret)
        # No provider sends an empty body, and a signature of an empty body proves nothing about an event.
        return bool(webhook.body) and any(equal(expected, each) for each in self._listed(received))

    def proof(self, webhook: Webhook) -> str | None:
        """None: every byte is signed."""
        del webhook
        return None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        signature = self.label + self._signature(webhook, secret)
        return with_headers(webhook, {self.headers[0]: signature})

    def example_secret(self, seed: str) -> str:
        return seed

    def complaint(self, secret: str) -> str | None:
        try:
            self.key(secret)
        except ValueError:
            return "it is not in the form that this provider shows"
        return None

    def _listed(self, header: str) -> list[str]:
        parts = header.split(",") if self.label else [header]
        # A signature without its label is as good a proof.
        return [part.strip().removeprefix(self.label) for part in parts]

    def _signature(self, webhook: Webhook, secret: str) -> str:
        message = self.prefix.encode() + webhook.body
        return digest(self.key(secret), message, self.encoding, self.algorithm)


# At most 14 digits: int() takes very long for a number of unbounded length.
_TIMESTAMP = re.compile(r"[0-9]{1,14}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimestampedHmac:
    """HMAC-SHA256 (hex) over `<timestamp><joiner><body>`, in one header of `name=value` fields.

    While a secret is being changed there may be several signature fields; one match is enough. The timestamp
    may be `tolerance` seconds before or after now. `begins` is how every secret of the provider begins.
    """

    header: str
    timestamp: str = "t"
    signature: str = "v1"
    separator: str = ","
    joiner: str = "."
    tolerance: int = 300
    begins: str = ""

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
        # Only one timestamp: with two, the one that is checked may not be the one that is signed.
        (stamp,) = {value for name, value in fields if name == self.timestamp}
        if not _TIMESTAMP.fullmatch(stamp) or abs(now - int(stamp)) > self.tolerance:
            return False
        expected = digest(text_key(secret), self._signed(stamp, webhook.body), "hex")
        return any(equal(expected, value) for name, value in fields if name == self.signature)

    def proof(self, webhook: Webhook) -> str | None:
        """None: every byte is signed."""
        del webhook
        return None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        stamp = str(int(now))
        signature = digest(text_key(secret), self._signed(stamp, webhook.body), "hex")
        fields = f"{self.timestamp}={stamp}{self.separator}{self.signature}={signature}"
        return with_headers(webhook, {self.header: fields})

    def example_secret(self, seed: str) -> str:
        return self.begins + seed

    def complaint(self, secret: str) -> str | None:
        if secret.startswith(self.begins) and secret != self.begins:
            return None
        return (
            f"a signing secret of this provider begins with {self.begins}; "
            "this is an API key, an id or something else"
        )

    def _signed(self, stamp: str, body: bytes) -> bytes:
        return f"{stamp}{self.joiner}".encode() + body


@dataclass(frozen=True, slots=True)
class HmacWithHeaders:
    """HMAC-SHA256 over the values of the headers `signed` and the body, joined by `joiner`.

    The last header of `signed` is the time; `per_second` of its units are a second. With a `version` the
    signature header is a list like `v1,<base64> v1,<base64>`: other versions are ignored, and one match is
    enough. `keys` gives the keys that a secret can mean.
    """

    header: str
    signed: tuple[str, ...]
    joiner: str = ""
    version: str = ""
    per_second: int = 1
    tolerance: int = 300
    keys: Callable[[str], Sequence[bytes]] = field(default=lambda it: (text_key(it),), repr=False)
    encoding: Encoding = "base64"

    covers: ClassVar[Covers] = "body"

    @property
    def title(self) -> str:
        return f"HMAC-SHA256 of headers and body ({self.encoding})"

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
        # Computed once for each key: a header can hold thousands of signatures, and a body megabytes.
        expected = [digest(key, message, self.encoding) for key in self.keys(secret)]
        return any(equal(each, signature) for each in expected for signature in received)

    def proof(self, webhook: Webhook) -> str | None:
        """None: every byte is signed."""
        del webhook
        return None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        known = dict.fromkeys(self.signed, "msg_0001") | dict(webhook.headers)
        stamped = with_headers(webhook, known | {self.signed[-1]: str(int(now * self.per_second))})
        signature = digest(self.keys(secret)[0], self._message(stamped), self.encoding)
        prefix = f"{self.version}," if self.version else ""
        return with_headers(stamped, {self.header: prefix + signature})

    def example_secret(self, seed: str) -> str:
        return seed

    def complaint(self, secret: str) -> str | None:
        """None: the merchant chooses the secret, or it has no form of its own."""
        del secret
        return None

    def _received(self, header: str) -> list[str]:
        if not self.version:
            return [header.strip()]
        pairs = (part.partition(",") for part in header.split())
        return [value for version, _, value in pairs if version == self.version]

    def _message(self, webhook: Webhook) -> bytes:
        values = [webhook.headers[name].encode() for name in self.signed]
        return self.joiner.encode().join([*values, webhook.body])
