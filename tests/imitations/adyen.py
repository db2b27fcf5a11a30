"""Adyen's Management API: the standard webhooks of a merchant account. Adyen lists no events.

https://docs.adyen.com/api-explorer/Management/3/overview,
https://docs.adyen.com/development-resources/webhooks/configure-and-manage,
https://docs.adyen.com/development-resources/webhooks/additional-settings. The answer to the id of no webhook
is not documented: here it is one of the documented statuses, 422.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from typing import Any, ClassVar, NoReturn

from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks import providers
from linkrunner_webhooks_local.loopback import Response

KEY = "AQE-imitated"
MERCHANT = "LinkrunnerTestECOM"
_PATH = f"/v3/merchants/{MERCHANT}/webhooks"
_READ = providers.load("adyen")
# All that can be included, and codes that Adyen has and our provider does not name.
_CODES = {*_READ.types, *_READ.never, "PENDING", "PAIDOUT_REVERSED", "VOID_PENDING_REFUND"}
# Those that there are test notifications of.
_TESTED = {
    "AUTHORISATION",
    "CHARGEBACK_REVERSED",
    "ORDER_CLOSED",
    "ORDER_OPENED",
    "PAIDOUT_REVERSED",
    "PAYOUT_THIRDPARTY",
    "REFUNDED_REVERSED",
    "REFUND_WITH_DATA",
    "REPORT_AVAILABLE",
}
_UNSET = dict.fromkeys(
    (
        "acceptsExpiredCertificate",
        "acceptsSelfSignedCertificate",
        "acceptsUntrustedRootCertificate",
        "populateSoapActionHeader",
    ),
    False,
)
_SETTINGS: dict[str, type] = {
    **dict.fromkeys(_UNSET, bool),
    "active": bool,
    "additionalSettings": dict,
    "communicationFormat": str,
    "description": str,
    "encryptionProtocol": str,
    "networkType": str,
    "password": str,
    "url": str,
    "username": str,
}
_REQUIRED = ("type", "url", "active", "communicationFormat")
_ONE_OF = {
    "type": {"standard", "report-notification", "pending-notification", "rreq-notification"},
    "communicationFormat": {"json", "http", "soap"},
    "encryptionProtocol": {"TLSv1.2", "TLSv1.3"},
    "networkType": {"public", "local"},
}
# Of the some sixty things that can be added to notifications, those that a payment's reader may ask for.
_PROPERTIES = (
    "addCaptureReferenceToDisputeNotification",
    "includeCaptureDelayHours",
    "includeMetadataIn3DSecurePaymentNotification",
    "includeOriginalMerchantReferenceCancelOrRefundNotification",
    "includeOriginalReferenceForChargebackReversed",
    "includePaymentResultInOrderClosedNotification",
    "includeShopperDetail",
    "includeShopperInteraction",
    "includeSubvariant",
    "includeTokenisedPaymentMetaData",
    "includeZeroAuthFlag",
)


@dataclass
class Adyen(Vendor):
    """`status`: what the merchant's endpoint answers to a test notification."""

    name: ClassVar[str] = "adyen"
    environment: ClassVar[Mapping[str, str]] = {
        "ADYEN_API_BASE": "{url}",
        "ADYEN_API_KEY": KEY,
        "ADYEN_MERCHANT_ACCOUNT": MERCHANT,
    }

    status: int = 200
    _number: Any = field(default_factory=lambda: count(1))

    def unauthorized(self) -> Response:
        return _error(401, "security/unauthorized", "Unauthorized", "Invalid API key.")

    def too_many(self, seconds: int) -> Response:
        # Adyen does not say when to come back.
        del seconds
        return _error(429, "general/too-many-requests", "Too many requests", "Try again later.")

    def respond(self, call: Call) -> Response:
        if call.header("x-api-key") != KEY:
            return self.unauthorized()
        if not f"{call.path}/".startswith(f"{_PATH}/"):
            return _error(403, "security/unauthorized", "Forbidden", "Not the right permission.")
        id, _, action = call.path.removeprefix(_PATH).strip("/").partition("/")
        if (call.method, id) == ("GET", ""):
            answer = self._list(call)
            self.meanwhile()
            return answer
        _read(dict(call.query), {})
        if (call.method, id) == ("POST", ""):
            return self._create(call)
        hook = self.found(id) or _invalid("webhookId", "There is no such webhook")
        return self._act(call, hook, action) if action else self._one(call, hook)

    def _one(self, call: Call, hook: Hook) -> Response:
        if call.method == "PATCH":
            _set(hook, _checked(call, _SETTINGS))
        if call.method == "DELETE":
            self.hooks.remove(hook)
            return Response(204)
        return Response.of(200, _shown(call, hook))

    def _act(self, call: Call, hook: Hook, action: str) -> Response:
        if (call.method, action) == ("POST", "generateHmac"):
            # In capitals, as all of its keys.
            hook.secret = sha256(f"{hook.id} {next(self._number)}".encode()).hexdigest().upper()
            return Response.of(200, {"hmacKey": hook.secret})
        if (call.method, action) == ("POST", "test"):
            return self._test(call, hook)
        return _error(404, "general/not-found", "Not found", "There is no such resource.")

    def _list(self, call: Call) -> Response:
        given = _read(dict(call.query), {"pageNumber": str, "pageSize": str})
        number, size = _whole(given, "pageNumber", 1), _whole(given, "pageSize", 10)
        if size > self.page:
            _invalid("pageSize", "At most 100")
        pages = max(1, -(-len(self.hooks) // size))
        shown = self.hooks[(number - 1) * size : number * size]
        to = {"first": 1, "last": pages, "self": number, "prev": number - 1, "next": number + 1}
        links = {
            name: {"href": f"{_url(call)}?pageNumber={page}&pageSize={size}"}
            for name, page in to.items()
            if 1 <= page <= pages
        }
        found = {"itemsTotal": len(self.hooks), "pagesTotal": pages, "accountReference": MERCHANT}
        return Response.of(
            200, {"_links": links, **found, "data": [_shown(call, each) for each in shown]}
        )

    def _create(self, call: Call) -> Response:
        given = _checked(call, {"type": str, **_SETTINGS})
        for name in _REQUIRED:
            if name not in given:
                _invalid(name, "Must be there")
        # Nothing is signed before a key is generated.
        hook = Hook(id=f"S2-{next(self._number):012X}", url="", types=set(), secret="")
        _set(hook, given)
        self.hooks.append(hook)
        return Response.of(200, _shown(call, hook))

    def _test(self, call: Call, hook: Hook) -> Response:
        codes = _read(_body(call), {"types": list}).get("types")
        if not codes or not _TESTED.issuperset(codes):
            _invalid("types", "Not event codes that can be tested")
        if not hook.types.issuperset(codes):
            _invalid("types", "Not event codes that are included")
        return Response.of(200, {"data": [self._tested(code) for code in codes]})

    def _tested(self, code: str) -> dict[str, str]:
        item = {"eventCode": code, "merchantAccountCode": MERCHANT, "success": "true"}
        sent = {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}
        return {
            "merchantId": MERCHANT,
            "output": "[accepted]" if self.status == 200 else "",
            "requestSent": json.dumps(sent),
            "responseCode": str(self.status),
            "responseTime": "262 ms",
            "status": "success" if self.status == 200 else "failed",
        }


def _checked(call: Call, fields: Mapping[str, type]) -> dict[str, Any]:
    """The settings of a webhook in a request, as far as they are there."""
    given = _read(_body(call), fields)
    for name in _ONE_OF.keys() & given:
        if given[name] not in _ONE_OF[name]:
            _invalid(name, f"Must be one of {sorted(_ONE_OF[name])}")
    if not given.get("url", "https://").startswith("https://"):
        _invalid("url", "Must be a public https URL")
    more = _read(
        given.get("additionalSettings", {}), {"includeEventCodes": list, "properties": dict}
    )
    if not _CODES.issuperset(more.get("includeEventCodes", [])):
        _invalid("includeEventCodes", "Not all are event codes")
    _read(more.get("properties", {}), dict.fromkeys(_PROPERTIES, bool))
    return given


def _set(hook: Hook, given: dict[str, Any]) -> None:
    rest = dict(given)
    added = rest.pop("additionalSettings", {})
    hook.url = rest.pop("url", hook.url)
    hook.enabled = rest.pop("active", hook.enabled)
    hook.types = set(added.get("includeEventCodes", hook.types))
    rest["properties"] = hook.more.get("properties", {}) | added.get("properties", {})
    hook.more |= rest


def _shown(call: Call, hook: Hook) -> dict[str, Any]:
    """Neither the password nor the key is ever shown."""
    rest = dict(hook.more)
    properties = dict.fromkeys(_PROPERTIES, False) | rest.pop("properties")
    secret: dict[str, Any] = {"hasPassword": rest.pop("password", None) is not None}
    if hook.secret:
        secret["hmacKeyCheckValue"] = sha256(bytes.fromhex(hook.secret)).hexdigest()[:6].upper()
    links = {"self": "", "generateHmac": "/generateHmac", "testWebhook": "/test"}
    return {
        "id": hook.id,
        "url": hook.url,
        "active": hook.enabled,
        "hasError": False,
        **_UNSET,
        **rest,
        **secret,
        "additionalSettings": {
            "includeEventCodes": sorted(hook.types),
            "properties": properties,
        },
        "_links": {name: {"href": f"{_url(call)}/{hook.id}{to}"} for name, to in links.items()},
    }


def _url(call: Call) -> str:
    return f"http://{call.header('host')}{_PATH}"


def _whole(given: dict[str, Any], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdigit() and int(text)):
        _invalid(name, "Must be a number, 1 or more")
    return int(text)


def _body(call: Call) -> Any:
    if call.json is None:
        raise Refusal(_error(400, "general/bad-request", "Bad request", "The body is not JSON."))
    return call.json


def _read(given: Any, fields: Mapping[str, type]) -> dict[str, Any]:
    """An object, checked: fields that it may have, and their types."""
    if not isinstance(given, dict):
        _invalid("", "Must be an object")
    for name, value in given.items():
        if name not in fields:
            _invalid(name, "Unknown field")
        if type(value) is not fields[name]:
            _invalid(name, f"Must be of type {fields[name].__name__}")
    return given


def _invalid(name: str, message: str) -> NoReturn:
    fields = [{"name": name, "message": message}]
    raise Refusal(_error(422, "validation", "Validation failed", message, invalidFields=fields))


def _error(status: int, kind: str, title: str, detail: str, **more: Any) -> Response:
    told = {
        "type": f"https://docs.adyen.com/errors/{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "requestId": "imitated",
        "errorCode": f"00_{status}",
    }
    return Response.of(status, told | more)
