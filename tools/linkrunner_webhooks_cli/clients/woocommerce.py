"""WooCommerce: a shop's orders as they are today, and its webhooks.

https://developer.woocommerce.com/docs/apis/rest-api/v3/orders/,
https://developer.woocommerce.com/docs/apis/rest-api/v3/webhooks/, and class WC_REST_CRUD_Controller
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from urllib3.util import make_headers

from linkrunner_webhooks_cli.clients.api import Answer, Request
from linkrunner_webhooks_cli.clients.client import (
    Connects,
    Credential,
    Endpoint,
    Happened,
    Lists,
    Origin,
    Wanted,
    Window,
    at,
    moment,
)

_ORDERS = "/wp-json/wc/v3/orders"
_WEBHOOKS = "/wp-json/wc/v3/webhooks"
_PAGE = ("per_page", "100")
_SECOND = timedelta(seconds=1)
_GAVE_UP = "the shop switched it off after 5 deliveries in a row had failed"


class WooCommerce(Lists, Connects):
    provider = "woocommerce"
    credentials = (
        Credential("CONSUMER_KEY", "consumer key of the shop's REST API (ck_...)"),
        Credential("CONSUMER_SECRET", "consumer secret of the shop's REST API (cs_...)"),
    )
    rights = "Read for reconcile, Read/Write for connect, and a user who manages the shop"
    # It is the shop's own server, which has customers to serve.
    per_second = 1.0
    listed = "orders"
    by_change = True
    tells = frozenset({"order.created", "order.updated"})
    hint = "WooCommerce lists no orders in the trash. Each renewal of a subscription is an order."
    origin = Origin.OURS
    one_each = True

    def headers(self) -> Mapping[str, str]:
        key, secret = self.given["CONSUMER_KEY"], self.given["CONSUMER_SECRET"]
        return make_headers(basic_auth=f"{key}:{secret}")

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        if not self.tells.intersection(types):
            return
        for order in self._orders(window.since):
            told = tuple(
                self.webhook(body, {"x-wc-webhook-topic": topic})
                for topic, body in _told(order, window.since)
                if topic in types
            )
            if told:
                yield Happened(moment(order["date_modified_gmt"]), told)

    def _orders(self, since: datetime) -> Iterator[Any]:
        """Every order that changed since then, the longest unchanged first."""
        query = (
            _PAGE,
            ("orderby", "modified"),
            ("order", "asc"),
            ("dates_are_gmt", "true"),
            ("modified_after", _before(at(ceil(since.timestamp())))),
            ("page", "1"),
        )
        seen = set[tuple[int, str]]()
        for answer in self.api.pages(Request("GET", _ORDERS, query), _later):
            for order in answer.value:
                state = (order["id"], order["date_modified_gmt"])
                if state not in seen:
                    seen.add(state)
                    yield order

    def _endpoints(self) -> Iterable[Endpoint]:
        query = (_PAGE, ("orderby", "id"), ("order", "asc"), ("page", "1"))
        for answer in self.api.pages(Request("GET", _WEBHOOKS, query), _next_page):
            for each in answer.value:
                yield Endpoint(
                    str(each["id"]),
                    each["delivery_url"],
                    frozenset([each["topic"]]),
                    enabled=each["status"] == "active",
                    troubles=(_GAVE_UP,) if each["status"] == "disabled" else (),
                )

    def creation(self, wanted: Wanted) -> Request:
        return Request("POST", _WEBHOOKS, json=_settings(wanted))

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        return Request("PUT", f"{_WEBHOOKS}/{endpoint.id}", json=_settings(wanted))

    def removal(self, endpoint: Endpoint) -> Request:
        # Webhooks have no trash, and the shop wants to hear that we know.
        return Request("DELETE", f"{_WEBHOOKS}/{endpoint.id}", (("force", "true"),))


def _told(order: Any, since: datetime) -> Iterator[tuple[str, Any]]:
    """The topics and bodies about an order: its creation and its payment since then, and what it is today.

    Today's body alone would not do. Our mapper takes an old payment in it for one that was reported, and
    sees none in an order that was cancelled after it was paid.
    """
    created, paid = order["date_created_gmt"], order["date_paid_gmt"]
    if created and moment(created) >= since:
        yield "order.created", _as_of(order, created)
    if paid and moment(paid) >= since:
        yield "order.updated", _as_of(order, paid) | {"status": "processing"}
    yield "order.updated", order


def _as_of(order: Any, then: str) -> dict[str, Any]:
    # Refunds are listed without their dates; today's body has them.
    return {**order, "date_modified_gmt": then, "refunds": []}


def _before(bound: datetime) -> str:
    """A second earlier, because what changed at the bound itself is left out.

    Without a zone: WordPress turns a time that names one into the shop's, even where it compares with UTC.
    """
    return (bound - _SECOND).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _later(request: Request, answer: Answer) -> Request | None:
    """From the last change seen on: an order that changes in the meantime leaves its page for a later one.

    Only where all of a page changed in one second, the next page is asked for.
    """
    following = _next_page(request, answer)
    if following is None or not answer.value:
        return following
    bound = _before(moment(answer.value[-1]["date_modified_gmt"]))
    if bound == dict(request.query)["modified_after"]:
        return following
    return _changed(request, modified_after=bound, page="1")


def _next_page(request: Request, answer: Answer) -> Request | None:
    """None after the last one; a page can be shorter than asked, without what the user may not see."""
    page = int(dict(request.query)["page"])
    last = int(answer.headers["X-WP-TotalPages"])
    return _changed(request, page=str(page + 1)) if page < last else None


def _changed(request: Request, **values: str) -> Request:
    return replace(request, query=tuple({**dict(request.query), **values}.items()))


def _settings(wanted: Wanted) -> dict[str, str]:
    settings = {
        "name": wanted.name,
        "topic": wanted.types[0],
        "delivery_url": wanted.url,
        "secret": wanted.secret,
        "status": "active",
    }
    # Where none is chosen, a webhook that is there keeps its own.
    return {name: value for name, value in settings.items() if value}
