"""Shopify: the orders of 60 days as they are today, and webhook subscriptions.

https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/client-credentials-grant,
https://shopify.dev/docs/api/admin-rest/latest/resources/order, https://shopify.dev/docs/api/usage/pagination-rest,
https://shopify.dev/docs/api/admin-graphql/latest/queries/webhookSubscriptions
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_cli.clients.api import Answer, ApiError, Away, Denied, Request
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

_VERSION = "2026-07"
_API = f"/admin/api/{_VERSION}"
_REBUILT = frozenset({"orders/create", "orders/paid", "refunds/create", "orders/cancelled"})
_PAID = frozenset({"paid", "partially_refunded", "refunded"})
_SHOP = re.compile(r"[a-z0-9-]+\.myshopify\.com")
_NEXT = re.compile(r'<([^>]+)>; *rel="?next"?')
_LIST = """\
query ($after: String) {
  webhookSubscriptions(first: 250, after: $after) {
    nodes { id topic uri format filter includeFields apiVersion { handle } }
    pageInfo { hasNextPage endCursor }
  }
}"""
_CREATE = """\
mutation ($topic: WebhookSubscriptionTopic!, $settings: WebhookSubscriptionInput!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: $settings) {
    webhookSubscription { id } userErrors { message }
  }
}"""
_UPDATE = """\
mutation ($id: ID!, $settings: WebhookSubscriptionInput!) {
  webhookSubscriptionUpdate(id: $id, webhookSubscription: $settings) { userErrors { message } }
}"""
_DELETE = "mutation ($id: ID!) { webhookSubscriptionDelete(id: $id) { userErrors { message } } }"


class _Change(NamedTuple):
    """What a webhook told: its topic, when that happened, and its body."""

    topic: str
    at: str
    body: Any


class Shopify(Lists, Connects):
    provider = "shopify"
    home = "https://{SHOP}"
    credentials = (
        Credential("SHOP", "domain of the shop, like my-shop.myshopify.com", hidden=False),
        Credential("CLIENT_ID", "client id of the app", hidden=False),
        Credential("CLIENT_SECRET", "client secret of the app"),
    )
    rights = (
        "an app of the shop's own organization that is installed there, with the scope read_orders, "
        "and for connect the scopes of the other topics"
    )
    # Of the 2 that the REST API takes on most plans.
    per_second = 1.5
    # More needs the scope read_all_orders; without it, older orders are left out silently.
    kept = timedelta(days=60)
    listed = "orders"
    by_change = True
    hint = (
        "Shopify lists orders of the last 60 days: what happened to older ones, to checkouts, disputes "
        "and subscriptions is not looked up."
    )
    origin = Origin.GIVEN
    one_each = True
    version = _VERSION

    @classmethod
    def checked(cls, given: Mapping[str, str]) -> Mapping[str, str]:
        """The domain, however it was copied."""
        shop = given["SHOP"].removeprefix("https://").partition("/")[0].lower()
        shop = shop if "." in shop else f"{shop}.myshopify.com"
        if not _SHOP.fullmatch(shop):
            raise ValueError("a domain like my-shop.myshopify.com, where the admin is")
        return {**given, "SHOP": shop}

    def headers(self) -> Mapping[str, str]:
        return {"X-Shopify-Access-Token": self._token}

    @cached_property
    def _token(self) -> str:
        """It lasts 24 hours."""
        given = {
            "client_id": self.given["CLIENT_ID"],
            "client_secret": self.given["CLIENT_SECRET"],
            "grant_type": "client_credentials",
        }
        asked = Request("POST", "/admin/oauth/access_token", json=given, repeatable=True)
        try:
            answer = self.api.ask(asked, {})
        except Away:
            raise
        except ApiError as error:
            # An app that is not installed in the shop is answered 400.
            raise Denied(str(error), error.status) from None
        with self._reading():
            return str(answer.value["access_token"])

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        if not _REBUILT.intersection(types):
            return
        for order in self._orders(window.since):
            changes = [each for each in self._changes(order, window, types) if each.topic in types]
            if changes:
                told = tuple(self._sent(each, order) for each in changes)
                yield Happened(moment(_made_at(order)), told)

    def _orders(self, since: datetime) -> Iterator[Any]:
        # Without a status the closed and the cancelled ones are left out. The order of the list is not
        # documented; it is taken for that of their creation, which no change moves (unconfirmed).
        query = (("status", "any"), ("limit", "250"), ("updated_at_min", iso(since)))
        for answer in self.api.pages(Request("GET", f"{_API}/orders.json", query), _next):
            yield from answer.value["orders"]

    def _changes(self, order: Any, window: Window, types: Sequence[str]) -> Iterator[_Change]:
        is_paid = order["financial_status"] in _PAID
        before = _before_refunds(order) if is_paid else order
        yield _Change("orders/create", order["created_at"], before)
        if is_paid and "orders/paid" in types:
            yield _Change("orders/paid", self._paid_at(order, window), before)
        for refund in order["refunds"]:
            body = {**refund, "order_id": order["id"]}
            yield _Change("refunds/create", refund["created_at"], body)
        if order["cancelled_at"]:
            yield _Change("orders/cancelled", order["cancelled_at"], order)

    def _paid_at(self, order: Any, window: Window) -> str:
        """When it was paid: mostly at once, and only of an order before the window the difference matters."""
        made = _made_at(order)
        if moment(made) >= window.since:
            return made
        asked = Request("GET", f"{_API}/orders/{order['id']}/transactions.json")
        paid = [
            str(each["processed_at"])
            for each in self.api.ask(asked).value["transactions"]
            if each["kind"] in ("sale", "capture") and each["status"] == "success"
        ]
        return max(paid, key=moment, default=made)

    def _sent(self, change: _Change, order: Any) -> Webhook:
        headers = {
            "topic": change.topic,
            "shop-domain": self.given["SHOP"],
            "api-version": _VERSION,
            "webhook-id": f"fill:{change.body['id']}:{change.topic}",
            "triggered-at": change.at,
        }
        if order["test"]:
            headers["test"] = "true"
        return self.webhook(
            change.body, {f"x-shopify-{name}": value for name, value in headers.items()}
        )

    def _endpoints(self) -> Iterable[Endpoint]:
        topics = {_topic(each): each for each in self.source.provider.types}
        for answer in self.api.pages(_asking(_LIST, {"after": None}), _next_endpoints):
            for each in _result(answer)["nodes"]:
                yield Endpoint(
                    each["id"],
                    each["uri"],
                    frozenset([topics.get(each["topic"], each["topic"].lower())]),
                    version=each["apiVersion"]["handle"],
                    faults=tuple(_faults(each)),
                )

    def creation(self, wanted: Wanted) -> Request:
        variables = {"topic": _topic(wanted.types[0]), "settings": _settings(wanted)}
        return _asking(_CREATE, variables, repeatable=False)

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        return _asking(_UPDATE, {"id": endpoint.id, "settings": _settings(wanted)})

    def removal(self, endpoint: Endpoint) -> Request:
        return _asking(_DELETE, {"id": endpoint.id})

    def _done(self, answer: Answer) -> None:
        _result(answer)

    def _id(self, answer: Answer) -> str:
        return str(_result(answer)["webhookSubscription"]["id"])

    def _secret(self, answer: Answer) -> str:
        del answer
        return self.given["CLIENT_SECRET"]

    def secret_of(self, endpoint: Endpoint) -> str:
        del endpoint
        return self.given["CLIENT_SECRET"]


def _made_at(order: Any) -> str:
    return str(order["processed_at"] or order["created_at"])


def _before_refunds(order: Any) -> dict[str, Any]:
    """The order as it was when it was paid, for what our mapper reads.

    Current values are after edits and refunds. An edit may have been before the payment: they stay then.
    """
    then = {**order, "financial_status": "paid", "cancelled_at": None}
    if not any(refund["transactions"] for refund in order["refunds"]):
        return then
    originals = {
        name: order[original]
        for name in order
        if (original := name.removeprefix("current_")) != name and original in order
    }
    if "total_shipping_price_set" in order:
        originals["current_shipping_price_set"] = order["total_shipping_price_set"]
    lines = [{**each, "current_quantity": each["quantity"]} for each in order["line_items"]]
    return {**then, **originals, "line_items": lines, "refunds": []}


def _next(request: Request, answer: Answer) -> Request | None:
    link = _NEXT.search(answer.headers.get("Link") or "")
    return request.following(link[1]) if link else None


def _next_endpoints(request: Request, answer: Answer) -> Request | None:
    page = _result(answer)["pageInfo"]
    return _asking(_LIST, {"after": page["endCursor"]}) if page["hasNextPage"] else None


def _asking(query: str, variables: Mapping[str, Any], *, repeatable: bool = True) -> Request:
    body = {"query": query, "variables": variables}
    return Request("POST", f"{_API}/graphql.json", json=body, repeatable=repeatable)


def _result(answer: Answer) -> Any:
    """The answer to what was asked. Raises ApiError: what was refused is told with status 200, too."""
    told = answer.value
    errors = told.get("errors")
    if not errors:
        (result,) = told["data"].values()
        errors = result.get("userErrors")
    if errors:
        first = errors[0]
        denied = first.get("extensions", {}).get("code") == "ACCESS_DENIED"
        raise (Denied if denied else ApiError)(
            f"Shopify refused: {first['message']}", answer.status
        )
    return result


def _settings(wanted: Wanted) -> dict[str, object]:
    # No name: it has to be unique in the shop, and each topic is an endpoint.
    return {"uri": wanted.url, "format": "JSON", "filter": "", "includeFields": []}


def _faults(subscription: Any) -> Iterator[str]:
    if subscription["format"] != "JSON":
        yield f"it sends {subscription['format']}, and only JSON is read"
    if subscription["filter"]:
        yield f"it leaves out what does not match {subscription['filter']}"
    if subscription["includeFields"]:
        yield "it leaves out fields"


def _topic(kind: str) -> str:
    return kind.replace("/", "_").upper()
