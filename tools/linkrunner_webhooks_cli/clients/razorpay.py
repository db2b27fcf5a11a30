"""Razorpay: payments, their refunds and their orders, as they are today.

https://razorpay.com/docs/api/payments/fetch-all-payments, https://razorpay.com/docs/api/refunds/fetch-all,
https://razorpay.com/docs/api/orders/fetch-all-expanded-payments
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import ceil
from typing import Any

from urllib3.util import make_headers

from linkrunner_webhooks_cli.clients.api import Answer, Pairs, Request
from linkrunner_webhooks_cli.clients.client import Credential, Happened, Lists, Window, at

_PAYMENTS, _REFUNDS, _ORDERS = "/v1/payments", "/v1/refunds", "/v1/orders"


class Razorpay(Lists):
    provider = "razorpay"
    home = "https://api.razorpay.com"
    credentials = (
        Credential("KEY_ID", "key id (rzp_live_...)", hidden=False),
        Credential("KEY_SECRET", "key secret, which is not the secret of the webhook"),
    )
    rights = "a live key of the account; every key has all rights"
    # The limit is not documented.
    per_second = 4.0
    listed = "payments and refunds"
    hint = "Razorpay lists payments by when they were made: begin earlier for those captured days later."
    tells = frozenset({"order.paid", "payment.captured", "payment.failed", "refund.processed"})

    def headers(self) -> Mapping[str, str]:
        return make_headers(basic_auth=f"{self.given['KEY_ID']}:{self.given['KEY_SECRET']}")

    @cached_property
    def is_sandbox(self) -> bool:
        """By the key: the host is the same, and no payment says which mode it is of."""
        return self.given["KEY_ID"].startswith("rzp_test_")

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        wanted = self.tells.intersection(types)
        if not wanted:
            return
        payments = {each["id"]: each for each in self._made_in(window, _PAYMENTS)}
        refunds = self._refunds(window, payments) if "refund.processed" in wanted else {}
        orders = self._orders(window, payments.values()) if "order.paid" in wanted else {}
        for id, payment in payments.items():
            told = [
                *_sales(payment, orders.get(id)),
                *(_event("refund.processed", each, payment) for each in refunds.get(id, ())),
            ]
            bodies = [each for each in told if each["event"] in wanted]
            if bodies:
                yield Happened(at(payment["created_at"]), tuple(map(self.webhook, bodies)))

    def _refunds(self, window: Window, payments: dict[str, Any]) -> dict[str, list[Any]]:
        """The refunds by their payments; a payment that was made before the window is put to the others."""
        found = defaultdict[str, list[Any]](list)
        for each in self._made_in(window, _REFUNDS):
            found[each["payment_id"]].append(each)
        for id in found.keys() - payments.keys():
            payments[id] = self.api.ask(Request("GET", f"{_PAYMENTS}/{id}")).value
        for id, payment in payments.items():
            if sum(each["amount"] for each in found[id]) != (payment["amount_refunded"] or 0):
                # Others were made before the window or after it.
                found[id] = list(self._listed(f"{_PAYMENTS}/{id}/refunds"))
        return {
            id: [each for each in refunds if each["status"] == "processed"]
            for id, refunds in found.items()
        }

    def _orders(self, window: Window, payments: Iterable[Any]) -> dict[str, Any]:
        """The paid orders by the payment that paid the last part of them."""
        listed = self._made_in(window, _ORDERS, (("expand[]", "payments"),))
        orders = {each["id"]: each for each in listed}
        for id in {each.get("order_id") for each in payments if _is_captured(each)} - {None}:
            if id not in orders:
                # It was made before the window.
                orders[id] = self._order(id)
        return {
            payment["id"]: {name: order[name] for name in order if name != "payments"}
            for order in orders.values()
            if order["status"] == "paid" and (payment := _last_captured(order))
        }

    def _order(self, id: str) -> dict[str, Any]:
        order = self.api.ask(Request("GET", f"{_ORDERS}/{id}")).value
        payments = self.api.ask(Request("GET", f"{_ORDERS}/{id}/payments")).value
        return {**order, "payments": payments}

    def _made_in(self, window: Window, path: str, query: Pairs = ()) -> Iterator[Any]:
        since, until = ceil(window.since.timestamp()), ceil(window.until.timestamp())
        # Whether `to` itself belongs to it is not documented.
        bounds = (("from", str(since)), ("to", str(until)))
        for each in self._listed(path, (*bounds, *query)):
            if since <= each["created_at"] < until:
                yield each

    def _listed(self, path: str, query: Pairs = ()) -> Iterator[Any]:
        """Every item, the newest first: those that come in the meantime make others come twice."""

        def page(skip: int) -> Request:
            return Request("GET", path, (*query, ("count", "100"), ("skip", str(skip))))

        def following(request: Request, answer: Answer) -> Request | None:
            count = len(answer.value["items"])
            return page(int(dict(request.query)["skip"]) + count) if count else None

        seen = set[str]()
        for answer in self.api.pages(page(0), following):
            yield from (each for each in answer.value["items"] if each["id"] not in seen)
            seen.update(each["id"] for each in answer.value["items"])


def _is_captured(payment: Any) -> bool:
    # One that was never captured is paid back as well; that it says so then is unconfirmed.
    refunded = payment["status"] == "refunded" and payment.get("captured") is not False
    return refunded or payment["status"] == "captured"


def _last_captured(order: Any) -> Any:
    captured = (each for each in order["payments"]["items"] if _is_captured(each))
    return max(captured, key=lambda each: each["created_at"], default=None)


def _sales(payment: Any, order: Any) -> Iterator[dict[str, Any]]:
    """What was told of a payment before its refunds."""
    if payment["status"] == "failed":
        yield _event("payment.failed", payment)
    if _is_captured(payment):
        then = {**payment, "status": "captured", "amount_refunded": 0, "refund_status": None}
        yield _event("payment.captured", then)
        if order:
            yield _event("order.paid", then, order)


def _event(name: str, *entities: Any) -> dict[str, Any]:
    """The body about some entities, at the time when the first of them was made."""
    return {
        "entity": "event",
        "event": name,
        "contains": [each["entity"] for each in entities],
        "payload": {each["entity"]: {"entity": each} for each in entities},
        "created_at": entities[0]["created_at"],
    }
