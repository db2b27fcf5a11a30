"""The scheme of Google Cloud Pub/Sub, which pushes messages with an OpenID Connect token.

https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, NamedTuple

from pydantic_core import from_json

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.signatures.compact import (
    ES256,
    RS256,
    Claims,
    claims_of,
    header_of,
    issued,
    verified,
)
from linkrunner_webhooks.signatures.key_sets import KeySet
from linkrunner_webhooks.signatures.scheme import Covers, equal, with_headers
from linkrunner_webhooks.signatures.trust import Trust, example_key

_KEYS: Final = "https://www.googleapis.com/oauth2/v3/certs"
_ISSUERS: Final = ("https://accounts.google.com", "accounts.google.com")
_HOUR: Final = 3600
# What is beside the data of a message, and where that is when the data comes alone ("payload unwrapping").
_ID: Final = "messageId"
_ID_HEADER: Final = "x-goog-pubsub-message-id"
_SUBSCRIPTION_HEADER: Final = "x-goog-pubsub-subscription-name"

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_SUBSCRIPTION: Final = re.compile(r"projects/[^/\s]+/subscriptions/[^/\s]+")


class Sender(NamedTuple):
    """Who may send, as configured: `<audience> <e-mail of the service account> <subscription>`.

    The text may end in a key, which is then trusted instead of Google's: see trust.py.
    """

    audience: str
    email: str
    subscription: str
    trust: Trust

    @classmethod
    def read(cls, secret: str) -> Sender:
        """Raises ValueError."""
        audience, email, subscription, *rest = secret.split()
        (key,) = rest or (None,)
        return cls(audience, email, subscription, Trust(subscription, key))

    def is_named(self, claims: Claims, now: float) -> bool:
        """Whether the claims of a token are about this sender.

        Every customer of Google's can have a token for this audience, with the e-mail of another account.
        """
        return (
            claims["iss"] in _ISSUERS
            and equal(self.audience, claims["aud"])
            and equal(self.email, claims["email"])
            and claims["email_verified"] is True
            and abs(now - _seconds(claims["iat"])) <= _HOUR
            and now < _seconds(claims["exp"])
        )


@dataclass(frozen=True, slots=True)
class PubSubPush:
    """A token of Google's (JWT, RS256) that says which service account sends, and to whom.

    Weaker than a signature: the body is not signed, so who sees one request can send others for an hour.

    Google's own library (google-auth 2.63) accepts more than is looked at here: tokens without an e-mail or
    with somebody else's, one that is not verified, and, where only the token is verified, any issuer.
    """

    keys: KeySet = field(default_factory=lambda: KeySet(_KEYS), repr=False)

    headers: ClassVar[tuple[str, ...]] = ("authorization",)
    title: ClassVar[str] = "OpenID Connect token of Google Pub/Sub (weaker: the body is not signed)"
    covers: ClassVar[Covers] = "sender"
    # As long as a token is good.
    tolerance: ClassVar[int | None] = _HOUR

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        # Nobody has signed yet, so whatever costs nothing is looked at before any key is fetched.
        sender = Sender.read(secret)
        scheme, _, written = webhook.headers["authorization"].strip().partition(" ")
        token = written.strip()
        if scheme.lower() != "bearer" or not sender.is_named(claims_of(token), now):
            return False
        if not equal(sender.subscription, _subscription(webhook)):
            return False
        if sender.trust.key:
            verified(token, sender.trust.public_key, RS256, ES256)
        else:
            header = header_of(token)
            if header["alg"] != RS256:
                return False
            verified(token, self.keys.key(header["kid"], now), RS256)
        return True

    def proof(self, webhook: Webhook) -> str | None:
        """None: nothing is proved about any body."""
        del webhook
        return None

    def unpack(self, webhook: Webhook) -> Webhook:
        """The data of a message, which is JSON, with the message's id in it. Raises Malformed."""
        content, id = _content(webhook)
        if not isinstance(content, dict):
            raise Malformed("the message holds no JSON object")
        # Without its id, what it says stands for it.
        told = {**content, _ID: id or content.get(_ID) or webhook.digest}
        return replace(webhook, body=json.dumps(told).encode())

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        sender = Sender.read(secret)
        data, id = _parted(webhook.body)
        message = {
            "data": b64encode(data).decode("ascii"),
            "publishTime": utc(datetime.fromtimestamp(now, UTC)),
            "attributes": {},
            **({_ID: id, "message_id": id} if id else {}),
        }
        body = json.dumps({"message": message, "subscription": sender.subscription}).encode()
        claims = {
            "iss": _ISSUERS[0],
            "aud": sender.audience,
            "azp": sender.email,
            "email": sender.email,
            "email_verified": True,
            "iat": int(now),
            "exp": int(now) + _HOUR,
        }
        token = issued({"typ": "JWT"}, claims, sender.trust.private_key)
        return with_headers(replace(webhook, body=body), {"authorization": f"Bearer {token}"})

    def example_secret(self, seed: str) -> str:
        return (
            "https://hooks.example.com/webhooks/googleplay push@example-project.iam.gserviceaccount.com "
            f"projects/example-project/subscriptions/play {example_key(seed)}"
        )

    def complaint(self, secret: str) -> str | None:
        try:
            sender = Sender.read(secret)
        except ValueError:
            return "it is not three words: the audience, the service account, the subscription"
        if not _EMAIL.fullmatch(sender.email):
            return "its second word is no e-mail address of a service account"
        if not _SUBSCRIPTION.fullmatch(sender.subscription):
            return "its third word is not like projects/<project>/subscriptions/<name>"
        return sender.trust.complaint()


def _seconds(value: object) -> float:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no time")
    return value


def _subscription(webhook: Webhook) -> str:
    if _SUBSCRIPTION_HEADER in webhook.headers:
        return webhook.headers[_SUBSCRIPTION_HEADER]
    return str(webhook.payload["subscription"])


def _content(webhook: Webhook) -> tuple[Any, str]:
    """The data of a message, and the id of the message if it has one. Raises Malformed."""
    body = webhook.payload
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, Mapping):
        return body, webhook.headers.get(_ID_HEADER, "")
    try:
        data = _decoded(message["data"])
    except (LookupError, TypeError, ValueError):
        raise Malformed("the data of the message cannot be decoded") from None
    return replace(webhook, body=data).payload, str(
        message.get(_ID) or message.get("message_id") or ""
    )


def _decoded(text: object) -> bytes:
    """Base64 in either alphabet, padded or not. Raises ValueError, or TypeError for what is no text."""
    if not isinstance(text, str):
        raise TypeError("no text")
    plain = text.translate(str.maketrans("+/", "-_")).rstrip("=")
    return urlsafe_b64decode(plain + "=" * (-len(plain) % 4))


def _parted(body: bytes) -> tuple[bytes, str]:
    """What a message holds, and its id, of what `unpack` makes of it."""
    try:
        told = from_json(body)
    except ValueError:
        return body, ""
    if not isinstance(told, dict) or not isinstance(told.get(_ID), str):
        return body, ""
    return json.dumps({name: value for name, value in told.items() if name != _ID}).encode(), told[
        _ID
    ]
