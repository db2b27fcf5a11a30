"""Apple: the notifications of 180 days that it tried to send. In the sandbox, of 30 days.

https://developer.apple.com/documentation/appstoreserverapi/get-notification-history,
https://developer.apple.com/documentation/appstoreserverapi/generating-json-web-tokens-for-api-requests,
https://developer.apple.com/documentation/appstoreserverapi/identifying-rate-limits
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks_cli.clients.api import Answer, ApiError, Denied, Request
from linkrunner_webhooks_cli.clients.client import Credential, Happened, Lists, Window, iso
from linkrunner_webhooks_cli.output import say

_HISTORY = "/inApps/v1/notifications/history"
# Seconds. Apple takes up to 60 minutes.
_TOKEN_LIFE = 20 * 60
# What Apple says of a start that is too far back: error 4000012, StartDateTooFarInPastError.
_TOO_EARLY = "start date is earlier"
# It happened ten days before the documented edge: https://developer.apple.com/forums/thread/766328
_STEP = timedelta(hours=6)


class Apple(Lists):
    provider = "apple"
    home = "https://api.storekit.itunes.apple.com"
    credentials = (
        Credential("ISSUER_ID", "issuer id of the In-App Purchase keys", hidden=False),
        Credential("KEY_ID", "id of the key", hidden=False),
        Credential(
            "PRIVATE_KEY",
            r"text of the key's .p8 file; a new line may be written as \n",
            lines=True,
        ),
        Credential("BUNDLE_ID", "bundle id of the app", hidden=False),
    )
    rights = "an In-App Purchase key of App Store Connect, and the app's own bundle id"
    # Of the 5 that the sandbox takes. Production takes 50.
    per_second = 4.0
    listed = "notifications"
    kept = timedelta(days=180)
    hint = (
        "Apple lists what it tried to send: nothing of the time before App Store Connect had a URL "
        "for version 2 notifications."
    )
    signed = True

    def headers(self) -> Mapping[str, str]:
        # Apple wants a new token with each request.
        now = int(time.time())
        claims = {
            "iss": self.given["ISSUER_ID"],
            "iat": now,
            "exp": now + _TOKEN_LIFE,
            "aud": "appstoreconnect-v1",
            "bid": self.given["BUNDLE_ID"],
        }
        header = {"alg": "ES256", "kid": self.given["KEY_ID"], "typ": "JWT"}
        return {"Authorization": f"Bearer {_token(header, claims, self._key())}"}

    def _key(self) -> EllipticCurvePrivateKey:
        text = self.given["PRIVATE_KEY"].replace("\\n", "\n")
        try:
            key = load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Denied("PRIVATE_KEY is not the text of a .p8 file") from None
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise Denied("PRIVATE_KEY is a key of another kind than Apple's")
        return key

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        for answer in self._pages(window):
            for item in answer.value["notificationHistory"]:
                yield from self._told(item["signedPayload"], types, window.since)

    def _pages(self, window: Window) -> Iterator[Answer]:
        """Every page of what Apple still lists of a window."""
        since = window.since
        while since < window.until:
            try:
                yield from self.api.pages(_asking(since, window.until), _following)
            except ApiError as error:
                if _TOO_EARLY not in str(error):
                    raise
                since += _STEP
            else:
                break
        if since != window.since:
            edge = iso(min(since, window.until))
            say(f"What happened before {edge} is left out: Apple does not list it any more.")

    def _told(self, payload: str, types: Sequence[str], since: datetime) -> Iterator[Happened]:
        webhook = self.webhook({"signedPayload": payload})
        provider = self.source.provider
        try:
            (plain,) = provider.unpack(webhook)
        except Malformed:
            # It is about something new at Apple, and refused as a webhook, too.
            return
        identity = provider.identity(plain)
        if identity.event_type in types:
            yield Happened(identity.occurred_at or since, (webhook,))


def _asking(since: datetime, until: datetime) -> Request:
    # Of all types, as a request can name one at most. Whether it includes its end is not documented.
    window = {"startDate": _milliseconds(since), "endDate": _milliseconds(until)}
    return Request("POST", _HISTORY, json=window, repeatable=True)


def _following(request: Request, answer: Answer) -> Request | None:
    if not answer.value["hasMore"]:
        return None
    return replace(request, query=(("paginationToken", answer.value["paginationToken"]),))


def _milliseconds(moment: datetime) -> int:
    return ceil(moment.timestamp() * 1000)


def _token(
    header: Mapping[str, Any], claims: Mapping[str, Any], key: EllipticCurvePrivateKey
) -> str:
    """A JSON Web Token (ES256): its signature is the two numbers, and not DER."""
    signed = ".".join(_base64url(json.dumps(each).encode()) for each in (header, claims))
    r, s = decode_dss_signature(key.sign(signed.encode(), ECDSA(SHA256())))
    return f"{signed}.{_base64url(r.to_bytes(32) + s.to_bytes(32))}"


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
