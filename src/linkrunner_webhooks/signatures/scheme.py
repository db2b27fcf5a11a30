"""What a signature scheme is, the one place that judges it, and the pieces schemes are made of.

A scheme is a value that a provider declares. `verify` fails closed: whatever goes wrong inside a scheme,
for whatever header or body, is a BadSignature and nothing else.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol

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


def equal(expected: str, received: str) -> bool:
    """Constant-time; never raises on text that is not ASCII."""
    return hmac.compare_digest(expected.encode(), received.encode("utf-8", "replace"))


def hex_key(secret: str) -> bytes:
    """The secret is the key in hexadecimal. Raises ValueError."""
    return bytes.fromhex(secret)


def with_headers(webhook: Webhook, headers: Mapping[str, str]) -> Webhook:
    """The webhook with some headers more."""
    return replace(webhook, headers={**webhook.headers, **headers})
