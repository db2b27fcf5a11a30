"""Polar: what it sent, the orders and refunds that a switched-off endpoint never heard of, and endpoints.

https://polar.sh/docs/api-reference/webhooks/deliveries/list,
https://polar.sh/docs/api-reference/orders/list, https://polar.sh/docs/api-reference/refunds/list,
https://polar.sh/docs/api-reference/webhooks/endpoints/create,
https://polar.sh/docs/integrate/webhooks/delivery
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_cli.clients.api import Answer, Pairs, Request
from linkrunner_webhooks_cli.clients.client import (
    Connects,
    Credential,
    Endpoint,
    Happened,
    Lists,
    Origin,
    Wanted,
    Window,
    iso,
    moment,
)

_ENDPOINTS = "/v1/webhooks/endpoints"
_SALE = "order.paid"
# Both tell of a refund that has succeeded.
_REFUNDS = ("refund.created", "refund.updated")
# No list has its bounds, so it is asked for more, and cut here.
_SLACK = timedelta(seconds=1)
# Deliveries are found by when they were tried, which is a minute after the event if others are before it.
_FIRST_TRY = timedelta(hours=1)
_FORMATTED = "its format is not raw, which is the only one that is understood"

# A type of webhook, and the order or refund that it is about.
Fact = tuple[str, Any]


class Polar(Lists, Connects):
    provider = "polar"
    # A sandbox account has https://sandbox-api.polar.sh.
    home = "https://api.polar.sh"
    credentials = (Credential("API_KEY", "organization access token (polar_oat_...)"),)
    rights = (
        "webhooks:read, orders:read and refunds:read for reconcile,"
        " webhooks:read and webhooks:write for connect"
    )
    # Of 500 a minute. The sandbox takes 100 (unconfirmed), and then asks for a pause.
    per_second = 5.0
    # Older payloads are emptied.
    kept = timedelta(days=90)
    hint = (
        "Of a time when the endpoint was off or not there, Polar lists paid orders and refunds alone;"
        " a renewal that was paid late is listed when its order was made, up to 21 days before."
    )
    origin = Origin.AGAIN
    path = _ENDPOINTS
    version = "2026-04"

    def headers(self) -> Mapping[str, str]:
        key = self.given["API_KEY"]
        return {"Authorization": f"Bearer {key}", "Polar-Version": self.version}

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        told = set[str]()
        for event in self._sent(window, types):
            told.update(_told(event))
            at = moment(event["created_at"])
            if window.since <= at < window.until:
                webhook = self.webhook(event["payload"], {"webhook-id": event["id"]})
                yield Happened(at, (webhook,))
        yield from self._unsent(window, types, told)

    def _sent(self, window: Window, types: Sequence[str]) -> Iterator[Any]:
        """What our endpoint was sent, also a little later: each event once, whatever became of its tries."""
        ours = self._ours()
        if not ours:
            return
        query = (
            *(("endpoint_id", each) for each in ours),
            *(("event_type", each) for each in types),
            ("start_timestamp", iso(window.since - _SLACK)),
            ("end_timestamp", iso(window.until + _FIRST_TRY)),
        )
        seen = set[str]()
        # The newest come first, so that some come again when the list grows, and none is missed.
        for delivery in self._listed("/v1/webhooks/deliveries", query):
            event = delivery["webhook_event"]
            if event["payload"] and event["id"] not in seen:
                seen.add(event["id"])
                yield event

    def _ours(self) -> list[str]:
        """The endpoint of this source: every other one gets the same events under other ids."""
        end = f"/{self.source.name}"
        raw = [each for each in self._listed(_ENDPOINTS) if each["format"] == "raw"]
        return [each["id"] for each in raw if each["url"].endswith(end)]

    def _unsent(self, window: Window, types: Sequence[str], told: set[str]) -> Iterator[Happened]:
        """Sales that were not told, each with its refunds, and refunds of sales that are older."""
        refunds = self._refunds(window.since, types)
        for order in self._orders(window) if _SALE in types else ():
            facts = [(_SALE, order), *refunds.pop(order["id"], ())]
            yield from self._rebuilt(facts, window, told)
        for facts in refunds.values():
            yield from self._rebuilt(facts, window, told)

    def _orders(self, window: Window) -> Iterator[Any]:
        query = (
            ("created_after", iso(window.since - _SLACK)),
            ("created_before", iso(window.until + _SLACK)),
            # New ones are behind the others, and move none.
            ("sorting", "created_at"),
        )
        return (each for each in self._listed("/v1/orders/", query) if each["paid"])

    def _refunds(self, since: datetime, types: Sequence[str]) -> dict[str, list[Fact]]:
        """Those that have succeeded, by their orders. They cannot be asked for by time."""
        kind = next((each for each in _REFUNDS if each in types), None)
        found = defaultdict[str, list[Fact]](list)
        if kind is None:
            return found
        newest = self._listed("/v1/refunds/", (("sorting", "-created_at"),))
        recent = takewhile(lambda each: moment(each["created_at"]) >= since, newest)
        once = {each["id"]: each for each in recent if each["status"] == "succeeded"}
        for refund in reversed(once.values()):
            found[refund["order_id"]].append((kind, refund))
        return found

    def _rebuilt(self, facts: Sequence[Fact], window: Window, told: set[str]) -> Iterator[Happened]:
        fresh = [(kind, item) for kind, item in facts if item["id"] not in told]
        made = [moment(item["created_at"]) for _, item in fresh]
        if any(window.since <= each < window.until for each in made):
            webhooks = (self._webhook_of(kind, item) for kind, item in fresh)
            yield Happened(min(made), tuple(webhooks))

    def _webhook_of(self, kind: str, item: Any) -> Webhook:
        if kind == _SALE:
            # What refunds change of an order.
            item = {**item, "status": "paid", "refunded_amount": 0, "refunded_tax_amount": 0}
        body = {"type": kind, "timestamp": item["created_at"], "data": item}
        return self.webhook(body, {"webhook-id": f"{kind}:{item['id']}"})

    def _listed(self, path: str, query: Pairs = ()) -> Iterator[Any]:
        first = Request("GET", path, (("limit", "100"), *query))

        def following(request: Request, answer: Answer) -> Request | None:
            page = int(dict(request.query).get("page", "1"))
            if page >= answer.value["pagination"]["max_page"]:
                return None
            return Request("GET", path, (*first.query, ("page", str(page + 1))))

        for answer in self.api.pages(first, following):
            yield from answer.value["items"]

    def _endpoints(self) -> Iterable[Endpoint]:
        for each in self._listed(_ENDPOINTS):
            yield Endpoint(
                each["id"],
                each["url"],
                frozenset(each["events"]),
                enabled=each["enabled"],
                version=each.get("api_version") or "",
                faults=() if each["format"] == "raw" else (_FORMATTED,),
            )

    def creation(self, wanted: Wanted) -> Request:
        return Request("POST", _ENDPOINTS, json=self._endpoint(wanted))

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        changed = {**self._endpoint(wanted), "enabled": True}
        return Request("PATCH", f"{_ENDPOINTS}/{endpoint.id}", json=changed)

    def _endpoint(self, wanted: Wanted) -> dict[str, Any]:
        return {
            "url": wanted.url,
            "name": wanted.name,
            "format": "raw",
            "api_version": self.version,
            "events": [*wanted.types],
        }

    def _secret(self, answer: Answer) -> str:
        return str(answer.value["secret"])

    def secret_of(self, endpoint: Endpoint) -> str:
        answer = self.api.ask(Request("GET", f"{_ENDPOINTS}/{endpoint.id}"))
        with self._reading():
            return self._secret(answer)


def _told(event: Any) -> Iterator[str]:
    """The order or the refund whose money it tells of."""
    kind, data = event["type"], json.loads(event["payload"])["data"]
    if kind == _SALE or (kind in _REFUNDS and data["status"] == "succeeded"):
        yield data["id"]
