"""Schemes that prove the sender and not the body, and the choice between several schemes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Protocol

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import Covers, Scheme, equal, with_headers


@dataclass(frozen=True, slots=True)
class StaticToken:
    """The secret itself in a header. It proves that the sender knows the secret, and nothing about the body.

    Weaker than a signature: anybody who sees one request can send others.
    """

    header: str

    title: ClassVar[str] = "static token in a header (weaker: the body is not signed)"
    covers: ClassVar[Covers] = "sender"
    tolerance: ClassVar[int | None] = None

    @property
    def headers(self) -> tuple[str, ...]:
        return (self.header,)

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        return equal(secret, webhook.headers[self.header])

    def proof(self, webhook: Webhook) -> str | None:
        """None: nothing is proved about any body."""
        del webhook
        return None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        return with_headers(webhook, {self.header: secret})

    def example_secret(self, seed: str) -> str:
        return seed

    def complaint(self, secret: str) -> str | None:
        """None: the merchant chooses the secret, or it has no form of its own."""
        del secret
        return None


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """HTTP basic authentication; the secret is `user:password`. Weaker, like StaticToken."""

    headers: ClassVar[tuple[str, ...]] = ("authorization",)
    title: ClassVar[str] = "HTTP basic authentication (weaker: the body is not signed)"
    covers: ClassVar[Covers] = "sender"
    tolerance: ClassVar[int | None] = None

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        scheme, _, credentials = webhook.headers["authorization"].strip().partition(" ")
        if scheme.lower() != "basic" or not _is_pair(secret):
            return False
        return equal(secret, b64decode(credentials.strip(), validate=True).decode("utf-8"))

    def proof(self, webhook: Webhook) -> str | None:
        """None: nothing is proved about any body."""
        del webhook
        return None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        credentials = b64encode(secret.encode()).decode("ascii")
        return with_headers(webhook, {"authorization": f"Basic {credentials}"})

    def example_secret(self, seed: str) -> str:
        return f"linkrunner:{seed}"

    def complaint(self, secret: str) -> str | None:
        user, colon, password = secret.partition(":")
        return None if user and colon and password else "it is not like user:password"


@dataclass(frozen=True, slots=True)
class HashedCredentials:
    """The SHA-256 (hexadecimal) of `user:password` in a header; the secret is `user:password`.

    Weaker, like StaticToken: every request has the same header. The name of the hash may stand before it.
    """

    headers: ClassVar[tuple[str, ...]] = ("authorization",)
    title: ClassVar[str] = "SHA-256 of user:password in a header (weaker: the body is not signed)"
    covers: ClassVar[Covers] = "sender"
    tolerance: ClassVar[int | None] = None

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        *named, received = webhook.headers["authorization"].split()
        if [each.lower() for each in named] not in ([], ["sha256"]) or not _is_pair(secret):
            return False
        return equal(_hashed(secret), received)

    def proof(self, webhook: Webhook) -> str | None:
        """None: nothing is proved about any body."""
        del webhook
        return None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        return with_headers(webhook, {"authorization": _hashed(secret)})

    def example_secret(self, seed: str) -> str:
        return f"linkrunner:{seed}"

    def complaint(self, secret: str) -> str | None:
        user, colon, password = secret.partition(":")
        return None if user and colon and password else "it is not like user:password"


def _hashed(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _is_pair(secret: str) -> bool:
    """A secret without a colon has no password, and a secret of colons alone is empty."""
    return ":" in secret and bool(secret.strip(" :"))


class InHeaders(Scheme, Protocol):
    """A scheme whose signature or token is in headers."""

    @property
    def headers(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class FirstPresent:
    """Several schemes, the strongest first. Only the first scheme whose header is present is checked.

    So a bad signature stays bad when the request has a valid token as well.
    """

    schemes: tuple[InHeaders, ...]

    @property
    def title(self) -> str:
        # Some differ in nothing but the names of their headers.
        return ", or ".join(dict.fromkeys(scheme.title for scheme in self.schemes))

    @property
    def headers(self) -> tuple[str, ...]:
        return tuple(name for scheme in self.schemes for name in scheme.headers)

    @property
    def covers(self) -> Covers:
        return self.schemes[0].covers

    @property
    def tolerance(self) -> int | None:
        return self.schemes[0].tolerance

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        claimed = (
            scheme
            for scheme in self.schemes
            if any(name in webhook.headers for name in scheme.headers)
        )
        return next(claimed).matches(webhook, secret, now)

    def proof(self, webhook: Webhook) -> str | None:
        """None: no scheme that is chosen among others signs a part of the body."""
        del webhook
        return None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        return self.schemes[0].sign(webhook, secret, now)

    def example_secret(self, seed: str) -> str:
        return self.schemes[0].example_secret(seed)

    def complaint(self, secret: str) -> str | None:
        """Those of the strongest, when no other scheme could use the secret either."""
        found = [scheme.complaint(secret) for scheme in self.schemes]
        return found[0] if all(found) else None
