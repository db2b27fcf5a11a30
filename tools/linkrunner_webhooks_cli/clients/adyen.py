"""Adyen: standard webhooks of a merchant account. What happened there is listed nowhere.

https://docs.adyen.com/api-explorer/Management/3/overview (Webhooks - merchant level),
https://docs.adyen.com/development-resources/webhooks/webhook-types/additional-settings
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from linkrunner_webhooks_cli.clients.api import Answer, Request
from linkrunner_webhooks_cli.clients.client import (
    Connects,
    Credential,
    Endpoint,
    Origin,
    Wanted,
)

_STANDARD = "standard"
_JSON = "json"
_PAGE = 100
_ERRORS = "Adyen says that it has errors: test it in the Customer Area"
# Without the shopper reference and the metadata no webhook names a user. The names stand in examples of
# Adyen's; that metadata are sent unasked except after 3D Secure is unconfirmed.
_SHOWN = {"includeShopperDetail": True, "includeMetadataIn3DSecurePaymentNotification": True}


class Adyen(Connects):
    provider = "adyen"
    home = "https://management-live.adyen.com"
    credentials = (
        Credential("API_KEY", "Management API key"),
        Credential("MERCHANT_ACCOUNT", "merchant account", hidden=False),
    )
    rights = "the role Management API - Webhooks read and write"
    # The limit is not documented.
    per_second = 5.0
    origin = Origin.ONCE
    renews = True

    def headers(self) -> Mapping[str, str]:
        return {"X-API-Key": self.given["API_KEY"]}

    @property
    def _path(self) -> str:
        return f"/v3/merchants/{quote(self.given['MERCHANT_ACCOUNT'], safe='')}/webhooks"

    def _endpoints(self) -> Iterable[Endpoint]:
        for each in self._listed():
            yield Endpoint(
                each["id"],
                each["url"],
                _types(each),
                enabled=each["active"],
                troubles=(_ERRORS,) if each.get("hasError") else (),
                usable=each["type"] == _STANDARD,
                faults=tuple(_faults(each)),
            )

    def _listed(self) -> Iterator[Any]:
        first = Request("GET", self._path, (("pageSize", str(_PAGE)), ("pageNumber", "1")))
        for answer in self.api.pages(first, _next):
            yield from answer.value.get("data", ())

    def creation(self, wanted: Wanted) -> Request:
        return Request("POST", self._path, json={"type": _STANDARD, **_settings(wanted)})

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        return Request("PATCH", f"{self._path}/{endpoint.id}", json=_settings(wanted))

    def removal(self, endpoint: Endpoint) -> Request:
        return Request("DELETE", f"{self._path}/{endpoint.id}")

    def _secret(self, answer: Answer) -> str:
        return self._new_key(self._id(answer))

    def renewed(self, endpoint: Endpoint) -> str:
        with self._reading():
            return self._new_key(endpoint.id)

    def _new_key(self, id: str) -> str:
        # Each time it makes another one, and nobody has the one before.
        asked = Request("POST", f"{self._path}/{id}/generateHmac", repeatable=True)
        return str(self.api.ask(asked).value["hmacKey"])


def _next(request: Request, answer: Answer) -> Request | None:
    query = dict(request.query)
    number = int(query["pageNumber"])
    if number >= answer.value["pagesTotal"]:
        return None
    return replace(request, query=tuple((query | {"pageNumber": str(number + 1)}).items()))


def _settings(wanted: Wanted) -> dict[str, object]:
    return {
        "url": wanted.url,
        "description": wanted.name,
        "active": True,
        "communicationFormat": _JSON,
        "additionalSettings": {
            "includeEventCodes": list(wanted.types),
            "properties": _SHOWN,
        },
    }


def _types(webhook: Mapping[str, Any]) -> frozenset[str]:
    """Empty where it names none: it sends what is the default of Adyen, which can change."""
    settings = webhook.get("additionalSettings") or {}
    return frozenset(settings.get("includeEventCodes") or ())


def _faults(webhook: Mapping[str, Any]) -> Iterator[str]:
    settings = webhook.get("additionalSettings") or {}
    shown = settings.get("properties") or {}
    if webhook["communicationFormat"] != _JSON:
        yield f"it sends {webhook['communicationFormat']}, and only JSON is read"
    if not all(shown.get(name) for name in _SHOWN):
        yield "it does not show who the shopper is"
