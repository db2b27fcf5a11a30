"""Razorpay's API: payments, refunds and orders, as they are today. Only partners set webhooks up by API.

https://razorpay.com/docs/api/payments/fetch-all-payments, https://razorpay.com/docs/api/refunds/fetch-all,
https://razorpay.com/docs/api/orders/fetch-all-expanded-payments, https://razorpay.com/docs/errors,
https://razorpay.com/docs/api/payments/fetch-with-id, https://razorpay.com/docs/api/orders/fetch-with-id,
https://razorpay.com/docs/api/refunds/fetch-multiple-refund-payment, https://razorpay.com/docs/api/orders/fetch-payments
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any, ClassVar, TypeAlias

from tests.imitations.vendor import Call, Refusal, Vendor

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

Entity: TypeAlias = dict[str, Any]

KEY_ID = "rzp_live_imitated"
KEY_SECRET = "imitatedkeysecret"
_BOUNDS = {
    "from": (946684800, 4765046400),
    "to": (946684800, 4765046400),
    "count": (1, 100),
    "skip": (0, 4765046400),
}
_ROUTE = re.compile(
    r"/v1/(?:(payment|refund|order)s|(payment|order)s/(\w+)|payments/(\w+)/refunds|orders/(\w+)/payments)"
)


@dataclass
class Razorpay(Vendor):
    """Payments, refunds and orders by their ids, in the order in which they were made."""

    name: ClassVar[str] = "razorpay"
    exact: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = {
        "RAZORPAY_API_BASE": "{url}",
        "RAZORPAY_KEY_ID": KEY_ID,
        "RAZORPAY_KEY_SECRET": KEY_SECRET,
    }
    types: ClassVar[tuple[str, ...]] = (
        "payment.captured",
        "refund.processed",
        "order.paid",
        "payment.failed",
    )

    payments: dict[str, Entity] = field(default_factory=dict)
    refunds: dict[str, Entity] = field(default_factory=dict)
    orders: dict[str, Entity] = field(default_factory=dict)
    _number: Any = field(default_factory=lambda: count(1))

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        event = json.loads(webhook.body)
        # What it is about was created before: a payment half a minute before it was captured.
        later = int(at.timestamp()) - event["created_at"]
        for kind, part in event["payload"].items():
            self._keep(kind, part["entity"], later)
        self._order(event["payload"].get("payment", {}).get("entity", {}))
        self._settle()
        for kind, part in event["payload"].items():
            part["entity"] = self._all(kind)[part["entity"]["id"]]
        event["created_at"] += later
        return replace(webhook, body=json.dumps(event).encode())

    def stray(self, at: datetime) -> None:
        """A payment is authorized and not captured yet; most of its fields are null."""
        id = f"pay_{next(self._number):014d}"
        self.payments[id] = {
            "id": id,
            "entity": "payment",
            "amount": 100,
            "currency": "INR",
            "status": "authorized",
            "method": "netbanking",
            "captured": False,
            "notes": [],
            "created_at": int(at.timestamp()),
        } | dict.fromkeys(
            ("order_id", "invoice_id", "description", "card_id", "fee", "tax", "error_code")
        )
        self._settle()

    def unauthorized(self) -> Response:
        return _error(401, "Authentication failed")

    def too_many(self, seconds: int) -> Response:
        # How long to wait is not said.
        del seconds
        return _error(429, "Request failed. Please try after sometime.")

    def respond(self, call: Call) -> Response:
        if call.basic != (KEY_ID, KEY_SECRET):
            return self.unauthorized()
        route = _ROUTE.fullmatch(call.path)
        if call.method != "GET" or not route:
            raise Refusal(_error(400, "The requested URL was not found on the server."))
        answer = Response.of(200, self._answer(call, *route.groups("")))
        self.meanwhile()
        return answer

    def _answer(self, call: Call, many: str, one: str, id: str, paid: str, ordered: str) -> Entity:
        if many:
            return self._list(call, many)
        if one:
            return self._one(one, id)
        if paid:
            return self._list(call, "refund", payment_id=self._one("payment", paid)["id"])
        payments: Entity = self._with_payments(self._one("order", ordered))["payments"]
        return payments

    def _one(self, kind: str, id: str) -> Entity:
        if id not in self._all(kind):
            raise Refusal(_error(400, "The id provided does not exist"))
        return self._all(kind)[id]

    def _all(self, kind: str) -> dict[str, Entity]:
        return {"payment": self.payments, "refund": self.refunds, "order": self.orders}[kind]

    def _keep(self, kind: str, entity: Entity, later: int) -> None:
        before = self._all(kind).get(entity["id"])
        created = before["created_at"] if before else entity["created_at"] + later
        self._all(kind)[entity["id"]] = {**(before or {}), **entity, "created_at": created}

    def _order(self, payment: Entity) -> None:
        """The order that a payment names, where the webhook does not show it."""
        id = payment.get("order_id")
        if id and id not in self.orders:
            paid = payment["amount"] if payment["captured"] else 0
            self.orders[id] = {
                "id": id,
                "entity": "order",
                "amount": payment["amount"],
                "amount_paid": paid,
                "amount_due": payment["amount"] - paid,
                "currency": payment["currency"],
                "receipt": None,
                "status": "paid" if paid else "attempted",
                "attempts": 1,
                "notes": [],
                "created_at": self.payments[payment["id"]]["created_at"] - 60,
            }

    def _settle(self) -> None:
        for payment in self.payments.values():
            refunds = [
                each["amount"]
                for each in self.refunds.values()
                if each["payment_id"] == payment["id"]
            ]
            payment.update(_refunded(payment, sum(refunds)))

    def _list(self, call: Call, kind: str, **of: str) -> Entity:
        expanded = call.every("expand[]")
        if expanded and (kind != "order" or expanded != ["payments"]):
            raise Refusal(_error(400, "expand.0 is invalid", "expand"))
        given = {name: _whole(name, text) for name, text in call.query if name != "expand[]"}
        found = [
            each
            for each in self._all(kind).values()
            if given.get("from", 0) <= each["created_at"] <= given.get("to", each["created_at"])
            and of.items() <= each.items()
        ]
        # Of those of one second the last one comes first, too.
        newest = sorted(found, key=lambda each: each["created_at"])[::-1]
        skip = given.get("skip", 0)
        page = newest[skip : skip + given.get("count", 10)]
        return _collection([self._with_payments(each) for each in page] if expanded else page)

    def _with_payments(self, order: Entity) -> Entity:
        payments = [each for each in self.payments.values() if each["order_id"] == order["id"]]
        return {**order, "payments": _collection(payments)}


def _refunded(payment: Entity, amount: int) -> Entity:
    whole = amount >= payment["amount"] and amount > 0
    partly = "partial" if amount else None
    return {
        "amount_refunded": amount,
        "refund_status": "full" if whole else partly,
        "status": "refunded" if whole else payment["status"],
    }


def _whole(name: str, text: str) -> int:
    if name not in _BOUNDS:
        raise Refusal(_error(400, f"{name} is/are not required and should not be sent"))
    if not (text.isascii() and text.isdigit()):
        raise Refusal(_error(400, f"The {name} must be an integer.", name))
    lowest, highest = _BOUNDS[name]
    if not lowest <= int(text) <= highest:
        raise Refusal(_error(400, f"{name} must be between {lowest} and {highest}", name))
    return int(text)


def _collection(items: list[Entity]) -> Entity:
    return {"entity": "collection", "count": len(items), "items": items}


def _error(status: int, description: str, field: str | None = None) -> Response:
    told = {"code": "BAD_REQUEST_ERROR", "description": description, "metadata": {}}
    told |= dict.fromkeys(("source", "step", "reason"), "NA")
    return Response.of(status, {"error": told | ({"field": field} if field else {})})
