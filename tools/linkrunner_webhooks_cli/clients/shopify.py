"""Shopify: the orders of 60 days as they are today, and webhook subscriptions.

https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/client-credentials-grant,
https://shopify.dev/docs/api/admin-rest/latest/resources/order, https://shopify.dev/docs/api/usage/pagination-rest,
https://shopify.dev/docs/api/admin-graphql/latest/queries/webhookSubscriptions
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property, partial
from typing import Any, NamedTuple

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.money import rounded
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
_AT_ONCE = timedelta(minutes=1)
# Clocks differ.
_SKEW = timedelta(minutes=2)
# Of what an order costs: cash is rounded.
_ROUNDING = Decimal("0.01")
# The kinds of transactions that pay for an order, and what is given back of cash.
_MOVES = {"sale": 1, "capture": 1, "change": -1}
# That emptying is how to end them is unconfirmed.
_WHOLE = {"filter": "", "includeFields": []}
# One that was added to after it was paid is partially paid.
_MAY_BE_PAID = frozenset({"paid", "partially_paid", "partially_refunded", "refunded"})
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


class _Paid(NamedTuple):
    """When an order was paid, and how much of what it cost when it was made: 1 is all of it.

    `amount` is the same in the shop's currency, where it cost nothing when it was made.
    """

    at: str
    share: Decimal
    amount: Decimal = Decimal(0)


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
    tells = frozenset({"orders/create", "orders/paid", "refunds/create", "orders/cancelled"})
    hint = "Shopify lists orders that were made in the last 60 days."
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
            token = str(answer.value["access_token"])
        self.api.hide(token)
        return token

    def is_busy(self, status: int, value: Any) -> bool:
        """GraphQL says so with status 200."""
        errors = value.get("errors") if isinstance(value, dict) else None
        first = errors[0] if isinstance(errors, list) and errors else {}
        throttled = (
            isinstance(first, dict) and first.get("extensions", {}).get("code") == "THROTTLED"
        )
        return throttled or super().is_busy(status, value)

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        if not self.tells.intersection(types):
            return
        for order in self._orders(window.since):
            draft = self._told(_draft(order), order, types)
            if draft:
                exact = partial(self._exact, order, types)
                yield Happened(moment(_made_at(order)), draft, exact)

    def _exact(self, order: Any, types: Sequence[str]) -> tuple[Webhook, ...]:
        paid = self._paid(order) if order["financial_status"] in _MAY_BE_PAID else None
        return self._told(_changes(order, paid), order, types)

    def _told(
        self, changes: Iterable[_Change], order: Any, types: Sequence[str]
    ) -> tuple[Webhook, ...]:
        return tuple(self._sent(each, order) for each in changes if each.topic in types)

    def _orders(self, since: datetime) -> Iterator[Any]:
        seen = set[tuple[Any, Any]]()
        began = datetime.now(UTC) - _SKEW
        # The order of the list is not documented: what changes while it is read is asked for once more.
        for bound in (since, began):
            for order in self._listed(bound):
                state = (order["id"], order["updated_at"])
                if state not in seen:
                    seen.add(state)
                    yield order

    def _listed(self, since: datetime) -> Iterator[Any]:
        # Without a status the closed and the cancelled ones are left out.
        query = (("status", "any"), ("limit", "250"), ("updated_at_min", iso(since)))
        for answer in self.api.pages(Request("GET", f"{_API}/orders.json", query), _next):
            yield from answer.value["orders"]

    def _paid(self, order: Any) -> _Paid | None:
        """When an order was paid for the first time, and how much of what it cost when it was made."""
        asked = Request("GET", f"{_API}/orders/{order['id']}/transactions.json")
        return _paid(order, self.api.ask(asked).value["transactions"])

    def _sent(self, change: _Change, order: Any) -> Webhook:
        headers = {
            "topic": change.topic,
            "shop-domain": self.given["SHOP"],
            "api-version": _VERSION,
            "webhook-id": f"fill:{change.body['id']}:{change.topic}",
            "triggered-at": change.at,
        }
        if order.get("test"):
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
                    version=(each.get("apiVersion") or {}).get("handle", ""),
                    faults=tuple(_faults(each)),
                )

    def creation(self, wanted: Wanted) -> Request:
        variables = {"topic": _topic(wanted.types[0]), "settings": _settings(wanted)}
        return _asking(_CREATE, variables, repeatable=False)

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        settings = _settings(wanted) | (_WHOLE if endpoint.faults else {})
        return _asking(_UPDATE, {"id": endpoint.id, "settings": settings})

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


def _paid(order: Any, transactions: Iterable[Any]) -> _Paid | None:
    """The first moment at which it was paid for; None where it never was.

    What was added after that moment, and paid later, is no payment to our mapper: an order is one.
    """
    moved = [
        each for each in transactions if each["status"] == "success" and each["kind"] in _MOVES
    ]
    moved.sort(key=lambda each: (moment(_processed(each)), each["kind"] != "change"))
    share = amount = Decimal(0)
    for each in moved:
        part = Decimal(each["amount"]) * _MOVES[each["kind"]]
        whole = _cost(order, each.get("currency") or order["currency"])
        amount += part
        share += part / whole if whole else Decimal(0)
        if whole and share >= 1 - _ROUNDING:
            # Cash is rounded, and what is paid at once for more was edited before.
            exact = Decimal(1) if share <= 1 + _ROUNDING else share
            return _Paid(_processed(each), exact, amount)
    if moved and not _is_owed(order):
        # It was made cheaper, or not for nothing, before it was paid.
        return _Paid(_processed(moved[-1]), share, amount)
    by_hand = not moved and order["financial_status"] == "paid"
    return _Paid(_made_at(order), Decimal(1)) if by_hand else None


def _processed(transaction: Any) -> str:
    return str(transaction.get("processed_at") or transaction["created_at"])


def _is_owed(order: Any) -> bool:
    return Decimal(order.get("total_outstanding") or 0) > 0


def _cost(order: Any, currency: str) -> Decimal:
    """What the order was to cost when it was made, in one of its two currencies."""
    if order.get("currency") == currency:
        return Decimal(order["total_price"])
    sides = (order.get("total_price_set") or {}).values()
    found = (each["amount"] for each in sides if each["currency_code"] == currency)
    return next(map(Decimal, found), Decimal(order["total_price"]))


def _draft(order: Any) -> Iterator[_Change]:
    """All that may have been told of an order: its ids are right, and amounts and times may be others."""
    made = _made_at(order)
    yield _Change("orders/create", made, order)
    if order["financial_status"] in _MAY_BE_PAID:
        yield _Change("orders/paid", made, order)
    yield from _afterwards(order)


def _changes(order: Any, paid: _Paid | None) -> Iterator[_Change]:
    """What was told of an order, as it was then, by what was paid for it."""
    created = order["created_at"]
    # Most are paid before they are made an order. What was edited in between was not.
    at_once = paid and paid.share == 1 and moment(paid.at) <= moment(created) + _AT_ONCE
    status = "paid" if at_once else "pending"
    yield _Change("orders/create", created, {**_originally(order), "financial_status": status})
    if paid:
        yield _Change("orders/paid", paid.at, _when_paid(order, paid))
    yield from _afterwards(order)


def _afterwards(order: Any) -> Iterator[_Change]:
    for refund in order.get("refunds") or ():
        body = {**refund, "order_id": order["id"]}
        yield _Change("refunds/create", refund["created_at"], body)
    if order.get("cancelled_at"):
        yield _Change("orders/cancelled", order["cancelled_at"], order)


def _originally(order: Any) -> dict[str, Any]:
    """The order as it was made, for what our mapper reads: current values are after edits and refunds."""
    originals = {
        name: order[original]
        for name in order
        if (original := name.removeprefix("current_")) != name and original in order
    }
    if "total_shipping_price_set" in order:
        originals["current_shipping_price_set"] = order["total_shipping_price_set"]
    lines = [{**each, "current_quantity": each["quantity"]} for each in order["line_items"]]
    return {**order, **originals, "line_items": lines, "refunds": [], "cancelled_at": None}


def _when_paid(order: Any, paid: _Paid) -> dict[str, Any]:
    """The order as it was when it was paid: with its original values, unless something else was paid.

    Then it was edited before. What its lines were then is not listed: they are as they are today.
    """
    then = {**_originally(order), "financial_status": "paid"}
    if paid.share == 1:
        return then
    total = Decimal(order["total_price"]) * paid.share if paid.share else paid.amount
    sides = {
        side: {
            **money,
            "amount": _rounded(Decimal(money["amount"]) * paid.share, money["currency_code"]),
        }
        for side, money in (order.get("total_price_set") or {}).items()
    }
    owed = _rounded(total, order["currency"])
    lines = [
        {**each, "current_quantity": each.get("current_quantity")} for each in order["line_items"]
    ]
    return {
        **then,
        "line_items": lines,
        # Another one than the original says that it was edited.
        "current_subtotal_price": owed,
        "current_total_price": owed,
        "current_total_price_set": sides if paid.share else None,
    }


def _rounded(amount: Decimal, currency: str) -> str:
    return f"{rounded(amount, currency):f}"


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
    return {"uri": wanted.url, "format": "JSON"}


def _faults(subscription: Any) -> Iterator[str]:
    if (sent := subscription.get("format") or "JSON") != "JSON":
        yield f"it sends {sent}, and only JSON is read"
    if kept := subscription.get("filter"):
        yield f"it leaves out what does not match {kept}"
    if subscription.get("includeFields"):
        yield "it leaves out fields"


def _topic(kind: str) -> str:
    return kind.replace("/", "_").upper()
