"""Apple's App Store Server API: the history of notifications, and test notifications.

https://developer.apple.com/documentation/appstoreserverapi/get-notification-history,
https://developer.apple.com/documentation/appstoreserverapi/request-a-test-notification,
https://developer.apple.com/documentation/appstoreserverapi/generating-json-web-tokens-for-api-requests,
https://developer.apple.com/documentation/appstoreserverapi/error-codes
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar, NoReturn
from uuid import uuid4

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.imitations.vendor import Call, Refusal, Vendor
from tests.samples import live_secret, scheme_of

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

ISSUER = "57246542-96fe-1a63-e053-0824d011072a"
KEY_ID = "2X9R4HXF34"
# The app of the samples.
BUNDLE = "com.example.app"
_PROVIDER = providers.load("apple")
_KEY = generate_private_key(SECP256R1())
_PEM = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
_PATH = "/inApps/v1/notifications"
_LONGEST_TOKEN = timedelta(minutes=60)
_CHANGES = ("UPGRADE", "DOWNGRADE")
_SUBTYPES: Mapping[str, tuple[str, ...]] = {
    "SUBSCRIBED": ("INITIAL_BUY", "RESUBSCRIBE"),
    "DID_CHANGE_RENEWAL_PREF": _CHANGES,
    "DID_CHANGE_RENEWAL_STATUS": ("AUTO_RENEW_ENABLED", "AUTO_RENEW_DISABLED"),
    "OFFER_REDEEMED": _CHANGES,
    "DID_RENEW": ("BILLING_RECOVERY",),
    "EXPIRED": ("VOLUNTARY", "BILLING_RETRY", "PRICE_INCREASE", "PRODUCT_NOT_FOR_SALE"),
    "DID_FAIL_TO_RENEW": ("GRACE_PERIOD",),
    "PRICE_INCREASE": ("PENDING", "ACCEPTED"),
    "RENEWAL_EXTENSION": ("SUMMARY", "FAILURE"),
    "EXTERNAL_PURCHASE_TOKEN": ("UNREPORTED",),
}
_TYPES = {*_SUBTYPES, *_PROVIDER.types, "TEST", "CONSUMPTION_REQUEST", "REFUND_DECLINED"}
_FIELDS: Mapping[str, type] = {
    "startDate": int,
    "endDate": int,
    "notificationType": str,
    "notificationSubtype": str,
    "onlyFailures": bool,
    "transactionId": str,
}
# By the claim of a notification that each of them filters by.
_FILTERS = {"notificationType": "notificationType", "notificationSubtype": "subtype"}


@dataclass(frozen=True)
class Notification:
    """`payload` is what was signed. `result` is what came of its only try to send it."""

    payload: Mapping[str, Any]
    signed: str
    at: int
    result: str

    @property
    def item(self) -> dict[str, Any]:
        attempt = {"attemptDate": self.at, "sendAttemptResult": self.result}
        return {"signedPayload": self.signed, "sendAttempts": [attempt]}

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the history."""
        return self.at, self.payload["notificationUUID"]

    @property
    def transactions(self) -> tuple[object, ...]:
        transaction = self.payload.get("data", {}).get("signedTransactionInfo") or {}
        return transaction.get("transactionId"), transaction.get("originalTransactionId")


@dataclass
class Apple(Vendor):
    """`history` is in the order of time, as it is listed. `result` is what comes of sending, from now on."""

    name: ClassVar[str] = "apple"
    environment: ClassVar[Mapping[str, str]] = {
        "APPLE_API_BASE": "{url}",
        "APPLE_ISSUER_ID": ISSUER,
        "APPLE_KEY_ID": KEY_ID,
        "APPLE_PRIVATE_KEY": _PEM,
        "APPLE_BUNDLE_ID": BUNDLE,
    }
    types: ClassVar[tuple[str, ...]] = tuple(_PROVIDER.types)
    page: ClassVar[int] = 20

    history: list[Notification] = field(default_factory=list)
    result: str = "SUCCESS"
    # That of production, as documented; starts after it have been refused, too.
    kept: timedelta = timedelta(days=180)

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        signed = scheme_of(_PROVIDER).sign(webhook, live_secret(_PROVIDER), at.timestamp())
        told = json.loads(signed.body)["signedPayload"]
        notification = Notification(json.loads(webhook.body), told, _ms(at), self.result)
        self.history.append(notification)
        self.history.sort(key=lambda each: each.place)
        return signed

    def unauthorized(self) -> Response:
        body = b"Unauthenticated\n\nRequest ID: IMITATED.0.0\n"
        return Response(401, body, {"Content-Type": "text/plain"})

    def too_many(self, seconds: int) -> Response:
        # A point in time, in milliseconds: not how long to wait.
        response = _error(429, 4290000, "Rate limit exceeded.")
        until = int((time.time() + seconds) * 1000)
        return replace(response, headers={**response.headers, "Retry-After": str(until)})

    def respond(self, call: Call) -> Response:
        if not self._is_current(_claims(call.bearer or "")):
            return self.unauthorized()
        match call.method, call.path.removeprefix(_PATH).split("/"):
            case "POST", ["", "history"]:
                return self._history(call)
            case "POST", ["", "test"]:
                return self._test()
            case "GET", ["", "test", token]:
                return self._tested(token)
        return Response(404)

    def _is_current(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token is of this key's owner and app, and lives neither too long nor any more."""
        owner = {"iss": ISSUER, "aud": "appstoreconnect-v1", "bid": BUNDLE}
        if not owner.items() <= claims.items():
            return False
        issued, expires = (claims.get(name) for name in ("iat", "exp"))
        if not isinstance(issued, int) or not isinstance(expires, int):
            return False
        # By the machine's clock, as the client's: it may be a little ahead.
        now = time.time()
        return issued - 60 <= now < expires <= issued + _LONGEST_TOKEN.total_seconds()

    def _history(self, call: Call) -> Response:
        wanted = _wanted(call)
        self._check(wanted)
        found = [each for each in self.history if _holds(each, wanted)]
        if token := call.one("paginationToken"):
            last = _place(token, wanted)
            found = [each for each in found if each.place > last]
        told = found[: self.page]
        self.meanwhile()
        page = {
            # Every page has one, the last one, too.
            "paginationToken": _token(told[-1].place if told else (0, ""), wanted),
            "hasMore": len(found) > len(told),
            "notificationHistory": [each.item for each in told],
        }
        return Response.of(200, page)

    def _check(self, wanted: Mapping[str, Any]) -> None:
        for name, code in (("startDate", 4000015), ("endDate", 4000016)):
            if name not in wanted:
                _invalid(code, f"The {name} is missing or invalid.")
        if wanted["startDate"] < _ms(self.now() - self.kept):
            _invalid(4000012, "The start date is earlier than the allowed start date.")
        # An end in the future is now.
        if wanted["startDate"] >= min(wanted["endDate"], _ms(self.now())):
            _invalid(4000013, "The start date isn't before the end date.")
        if "transactionId" in wanted and "notificationType" in wanted:
            _invalid(4000019, "Supply either a transaction id or a notification type, not both.")
        _check_type(wanted.get("notificationType"), wanted.get("notificationSubtype"))

    def _test(self) -> Response:
        payload = {
            "notificationType": "TEST",
            "notificationUUID": str(uuid4()),
            "data": {"appAppleId": 1234567890, "bundleId": BUNDLE, "environment": "Production"},
            "version": "2.0",
        }
        webhook = Webhook("apple", {}, json.dumps(payload).encode())
        self.happen(webhook, self.now())
        return Response.of(200, {"testNotificationToken": f"{payload['notificationUUID']}_1"})

    def _tested(self, token: str) -> Response:
        uuid, _, number = token.partition("_")
        if number != "1":
            _invalid(4000020, "The test notification token is invalid.")
        for each in self.history:
            if each.place[1] == uuid:
                return Response.of(200, each.item)
        raise Refusal(_error(404, 4040008, "Test notification not found."))


def _claims(token: str) -> Mapping[str, Any]:
    """The claims of a token that is signed with the key. None of any other."""
    try:
        head, claims, signature = token.split(".")
        raw = _unbase64(signature)
        der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        _KEY.public_key().verify(der, f"{head}.{claims}".encode(), ECDSA(SHA256()))
        header = {"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}
        found = json.loads(_unbase64(claims))
        return found if json.loads(_unbase64(head)) == header else {}
    except (InvalidSignature, ValueError):
        return {}


def _wanted(call: Call) -> dict[str, Any]:
    """The fields of the request; null is as good as none."""
    if any(name != "paginationToken" for name, _ in call.query):
        _invalid(4000000, "Bad request.")
    if not isinstance(call.json, dict) or set(call.json) - set(_FIELDS):
        _invalid(4000000, "Bad request.")
    wanted = {name: value for name, value in call.json.items() if value is not None}
    for name, value in wanted.items():
        if type(value) is not _FIELDS[name]:
            _invalid(4000000, "Bad request.")
    return wanted


def _check_type(kind: str | None, subtype: str | None) -> None:
    known = kind is None or kind in _TYPES
    if not known or (subtype and subtype not in _SUBTYPES.get(kind or "", ())):
        _invalid(4000018, "The notification type or subtype is invalid.")


def _holds(each: Notification, wanted: Mapping[str, Any]) -> bool:
    """Whether a notification is wanted: its time from the start on and before the end."""
    if not wanted["startDate"] <= each.at < wanted["endDate"]:
        return False
    for name, claim in _FILTERS.items():
        if name in wanted and each.payload.get(claim) != wanted[name]:
            return False
    if wanted.get("onlyFailures") and each.result == "SUCCESS":
        return False
    return "transactionId" not in wanted or wanted["transactionId"] in each.transactions


def _token(place: tuple[int, str], wanted: Mapping[str, Any]) -> str:
    told = json.dumps([*place, _digest(wanted)])
    return urlsafe_b64encode(told.encode()).decode()


def _place(token: str, wanted: Mapping[str, Any]) -> tuple[int, str]:
    """Where a page ended. A token is good only with the request that it was given for."""
    try:
        at, uuid, digest = json.loads(_unbase64(token))
    except (TypeError, ValueError):
        _invalid(4000014, "The pagination token is invalid.")
    if digest != _digest(wanted):
        _invalid(4000014, "The pagination token is invalid.")
    return at, uuid


def _digest(wanted: Mapping[str, Any]) -> str:
    return sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _unbase64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _invalid(code: int, reason: str) -> NoReturn:
    raise Refusal(_error(400, code, f"Invalid request. {reason}"))


def _error(status: int, code: int, message: str) -> Response:
    return Response.of(status, {"errorCode": code, "errorMessage": message})
