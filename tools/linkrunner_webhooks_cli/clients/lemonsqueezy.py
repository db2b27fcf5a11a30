"""Lemon Squeezy: the webhooks of one store, which are its endpoints. JSON:API in both directions.

It lists nothing to fill gaps from: its orders do not have the checkout's custom data, which names the user.

https://docs.lemonsqueezy.com/api/webhooks, https://docs.lemonsqueezy.com/api/getting-started/requests
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from linkrunner_webhooks_cli.clients.api import Answer, Request
from linkrunner_webhooks_cli.clients.client import (
    Connects,
    Credential,
    Endpoint,
    Origin,
    Wanted,
)

_WEBHOOKS = "/v1/webhooks"
_JSON_API = "application/vnd.api+json"
_TEST = "it is of test mode, and is sent nothing that is live"


class LemonSqueezy(Connects):
    """A webhook cannot be switched off, and its mode cannot be changed."""

    provider = "lemonsqueezy"
    home = "https://api.lemonsqueezy.com"
    credentials = (
        Credential("API_KEY", "API key of live mode"),
        Credential("STORE", "id of the store", hidden=False),
    )
    # A key has no rights of its own: it may do what its user may.
    rights = "live mode, and a user who may change the store's webhooks"
    # Of 300 a minute.
    per_second = 4.0
    origin = Origin.OURS
    path = _WEBHOOKS

    def headers(self) -> Mapping[str, str]:
        return {
            "Authorization": f"Bearer {self.given['API_KEY']}",
            "Accept": _JSON_API,
            "Content-Type": _JSON_API,
        }

    def _endpoints(self) -> Iterable[Endpoint]:
        query = (("filter[store_id]", self.given["STORE"]), ("page[size]", "100"))

        def following(request: Request, answer: Answer) -> Request | None:
            page = answer.value["meta"]["page"]
            if page["currentPage"] >= page["lastPage"]:
                return None
            number = str(page["currentPage"] + 1)
            return replace(request, query=(*query, ("page[number]", number)))

        for answer in self.api.pages(Request("GET", _WEBHOOKS, query), following):
            yield from map(_endpoint, answer.value["data"])

    def creation(self, wanted: Wanted) -> Request:
        webhook = {
            "type": "webhooks",
            "attributes": {**_attributes(wanted), "test_mode": False},
            "relationships": {"store": {"data": {"type": "stores", "id": self.given["STORE"]}}},
        }
        return Request("POST", _WEBHOOKS, json={"data": webhook})

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        webhook = {"type": "webhooks", "id": endpoint.id, "attributes": _attributes(wanted)}
        return Request("PATCH", f"{_WEBHOOKS}/{endpoint.id}", json={"data": webhook})

    def _id(self, answer: Answer) -> str:
        return str(answer.value["data"]["id"])


def _endpoint(webhook: Any) -> Endpoint:
    told = webhook["attributes"]
    return Endpoint(
        webhook["id"],
        told["url"],
        frozenset(told["events"]),
        troubles=(_TEST,) if told["test_mode"] else (),
        usable=not told["test_mode"],
    )


def _attributes(wanted: Wanted) -> dict[str, Any]:
    # Without a secret, a change leaves the one that there is.
    secret = {"secret": wanted.secret} if wanted.secret else {}
    return {"url": wanted.url, "events": [*wanted.types], **secret}
