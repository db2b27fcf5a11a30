"""The interface of signature schemes, the function that verifies, and the helpers that schemes share.

A scheme is a value that a provider declares. `verify` fails closed: any error inside a scheme, for any header
or body, becomes a BadSignature.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

from linkrunner_webhooks.errors import BadSignature, Reason, Unavailable
from linkrunner_webhooks.model import Webhook

Encoding = Literal["hex", "base64"]
Algorithm = Literal["sha256", "sha512"]
# Every byte of the body, all that is read of it, only its checksum, only the values that count, or nothing.
Covers = Literal["body", "payload", "checksum", "values", "sender"]

# Keys of APIs and their ids, which are often pasted and sign no webhook of anybody.
_NEVER_SIGN = (
    *(f"{kind}_{mode}_" for kind in ("pk", "rk", "rzp") for mode in ("live", "test")),
    "shpat_",
)

_ENCODERS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda digest: b64encode(digest).decode("ascii"),
}


class Scheme(Protocol):
    """How one provider signs its webhooks."""

    @property
    def title(self) -> str:
        """The scheme in a few words, for the documentation."""

    @property
    def covers(self) -> Covers:
        """The extent of the proof, from every byte of the body to the sender alone."""

    @property
    def tolerance(self) -> int | None:
        """The greatest age of a signature in seconds; None when signatures have no time."""

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        """Whether `secret` signed this webhook, and not too long before `now` (unix seconds)."""

    def proof(self, webhook: Webhook) -> str | None:
        """A signed text that a verified and unpacked webhook shares with no other body, or None.

        None where the signature says so by itself (it covers all that is read), where it says nothing of the
        body, and where the text is missing. Of two bodies with one proof, one was made of the other.
        """

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        """The webhook with the provider's signature; for samples and tests."""

    def example_secret(self, seed: str) -> str:
        """A secret of the right form, the same for the same seed; for samples and tests."""

    def complaint(self, secret: str) -> str | None:
        """Why a text cannot be a secret of this scheme, without quoting it; None when it may be one."""


@runtime_checkable
class SignsInside(Protocol):
    """A scheme whose signatures are inside the body."""

    def is_signed(self, webhook: Webhook) -> bool:
        """Whether there is one, right or wrong. Raises nothing."""


def complaint(scheme: Scheme, secret: str) -> str | None:
    """What is wrong with the shape of a secret, in words that do not quote it: "it is empty".

    None says only that it may be right. It is for people who store secrets; `verify` never asks.
    """
    # White space around a secret does not count: `SigningSecrets` takes it off.
    secret = secret.strip()
    if not secret:
        return "it is empty"
    if secret.startswith(_NEVER_SIGN):
        return "it is an API key or its id, and no signing secret"
    return scheme.complaint(secret)


def verify(scheme: Scheme, webhook: Webhook, secrets: Sequence[str], now: float) -> None:
    """Raise BadSignature unless one of the live secrets signed the webhook.

    Raises Unavailable when a certificate cannot be fetched now, so that nothing is known yet.
    """
    for secret in secrets:
        if _matches(scheme, webhook, secret, now):
            return
    if unsigned := _without_signature(scheme, webhook):
        raise BadSignature(unsigned, reason=Reason.UNSIGNED)
    raise BadSignature("no live signing secret of this source matches the request")


def _without_signature(scheme: Scheme, webhook: Webhook) -> str:
    """That the request has no signature at all, not even a wrong one; empty where it has.

    A wrong secret makes wrong signatures. Who sends none is a stranger, or was given no secret.
    """
    headers: Sequence[str] = getattr(scheme, "headers", ())
    if headers:
        missing = not set(headers) & set(webhook.headers)
        where = f"no {' or '.join(headers)} header"
    else:
        # Some signatures are inside the body.
        missing = isinstance(scheme, SignsInside) and not scheme.is_signed(webhook)
        where = "no signature in its body"
    return f"the request has {where}, so it is not signed" if missing else ""


def _matches(scheme: Scheme, webhook: Webhook, secret: str, now: float) -> bool:
    # With an empty key anybody can compute the signature.
    if not secret.strip():
        return False
    try:
        return scheme.matches(webhook, secret, now)
    except Unavailable:
        raise
    except Exception:  # noqa: BLE001 - a hostile header must not become a 500, a retry and an alarm
        return False


def digest(key: bytes, message: bytes, encoding: Encoding, algorithm: Algorithm = "sha256") -> str:
    """The HMAC of a message, encoded as text."""
    return _ENCODERS[encoding](hmac.digest(key, message, algorithm))


def text_key(secret: str) -> bytes:
    """The key when the key is the secret as it is written."""
    return secret.encode()


def equal(expected: str, received: str) -> bool:
    """Whether two texts are equal, in constant time. Text that is not ASCII does not raise."""
    return hmac.compare_digest(expected.encode(), received.encode("utf-8", "replace"))


def hex_key(secret: str) -> bytes:
    """The key when the secret is the key in hexadecimal. Raises ValueError."""
    return bytes.fromhex(secret)


def with_headers(webhook: Webhook, headers: Mapping[str, str]) -> Webhook:
    """A copy of the webhook with these headers added."""
    return replace(webhook, headers={**webhook.headers, **headers})
