"""The REST API of a WooCommerce shop, version 3: orders as they are today, their refunds, and webhooks.

https://woocommerce.github.io/woocommerce-rest-api-docs/, and class WC_REST_CRUD_Controller for the filters.
The shop passes over a parameter that it does not know; here it is refused, because it is a mistake.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, ClassVar, TypeAlias
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

Item: TypeAlias = dict[str, Any]

KEY = "ck_imitated"
SECRET = "cs_imitated"
_SHOP_TIME = ZoneInfo("Europe/Berlin")
_ROOT = "/wp-json/wc/v3"
_ROUTE = re.compile(rf"{_ROOT}/(orders|webhooks)(?:/(\d+)(/refunds)?)?")
_DATES = ("date_created", "date_modified", "date_paid", "date_completed")
_BOUNDS: Mapping[str, tuple[str, Callable[[str, str], bool]]] = {
    # Both ends are outside.
    "after": ("date_created", operator.gt),
    "before": ("date_created", operator.lt),
    "modified_after": ("date_modified", operator.gt),
    "modified_before": ("date_modified", operator.lt),
}
_DATE = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d(?::\d\d)?)?"
_ORDER_STATUS = (
    "(?:any|trash|pending|processing|on-hold|completed|cancelled|refunded|failed|checkout-draft)"
)
_PAGED = {"page": r"[1-9]\d*", "per_page": r"[1-9]\d?|100"}
_SORTED = {**_PAGED, "order": "asc|desc"}
_ORDERS = {
    **_SORTED,
    **dict.fromkeys(_BOUNDS, _DATE),
    "dates_are_gmt": "true|false|1|0",
    "orderby": "date|modified|id",
    "status": f"{_ORDER_STATUS}(?:,{_ORDER_STATUS})*",
}
_WEBHOOKS = {**_SORTED, "orderby": "date|id", "status": "all|active|paused|disabled"}
# What the Subscriptions plugin adds is among them.
_TOPIC = re.compile(
    r"(?:coupon|customer|order|product|subscription)\.(?:created|updated|deleted|restored)"
    r"|subscription\.switched|action\.\w+"
)
_WRITTEN = ("name", "topic", "delivery_url", "secret", "status")


@dataclass
class WooCommerce(Vendor):
    """Orders by their ids, and the refunds of each order."""

    name: ClassVar[str] = "woocommerce"
    exact: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = {
        "WOOCOMMERCE_API_BASE": "{url}",
        "WOOCOMMERCE_CONSUMER_KEY": KEY,
        "WOOCOMMERCE_CONSUMER_SECRET": SECRET,
    }
    types: ClassVar[tuple[str, ...]] = ("order.created", "order.updated")

    orders: dict[int, Item] = field(default_factory=dict)
    refunds: dict[int, list[Item]] = field(default_factory=dict)
    _number: Any = field(default_factory=lambda: count(1))

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        told = json.loads(webhook.body)
        modified = datetime.fromisoformat(told["date_modified_gmt"]).replace(tzinfo=UTC)
        order = self._keep(told | _moved(told, at - modified))
        self._pay_back(order, at)
        # PHP escapes slashes.
        return replace(webhook, body=json.dumps(order).replace("/", "\\/").encode())

    def stray(self, at: datetime) -> None:
        """A shopper looks at the checkout, which makes a draft of an order."""
        id = 90000 + next(self._number)
        self.orders[id] = {
            "id": id,
            "status": "checkout-draft",
            "currency": "EUR",
            "total": "0.00",
            "customer_id": 0,
            "line_items": [],
            "refunds": [],
            **dict.fromkeys(each for name in _DATES for each in (name, f"{name}_gmt")),
            **_clocks("date_created", at),
            **_clocks("date_modified", at),
        }

    def unauthorized(self) -> Response:
        return _error(401, "woocommerce_rest_authentication_error", "Consumer key is invalid.")

    def too_many(self, seconds: int) -> Response:
        # It is not the shop that answers but its host, which does not say how long to wait.
        del seconds
        page = b"<html><head><title>429 Too Many Requests</title></head></html>"
        return Response(429, page, {"Content-Type": "text/html"})

    def respond(self, call: Call) -> Response:
        if call.basic != (KEY, SECRET):
            return self.unauthorized()
        route = _ROUTE.fullmatch(call.path)
        match (call.method, *(route.groups() if route else ())):
            case "GET", "orders", None, None:
                answer = self._orders(call)
            case "GET", "orders", str(id), "/refunds":
                answer = self._refunds(call, int(id))
            case "GET", "webhooks", None, None:
                return self._webhooks(call)
            case "POST", "webhooks", None, None:
                return self._create(call)
            case _, "webhooks", str(id), None:
                return self._webhook(call, id)
            case _:
                message = "No route was found matching the URL and request method."
                raise Refusal(_error(404, "rest_no_route", message))
        self.meanwhile()
        return answer

    def _keep(self, order: Item) -> Item:
        before = self.orders.get(order["id"], {})
        lasting = ("date_created", "date_paid", "date_completed")
        kept = {name: each for name, each in before.items() if each and name.startswith(lasting)}
        refunds = {each["id"]: each for each in (*before.get("refunds", ()), *order["refunds"])}
        shown = [
            {name: each[name] for name in ("id", "reason", "total")} for each in refunds.values()
        ]
        self.orders[order["id"]] = {**before, **order, **kept, "refunds": shown}
        return self.orders[order["id"]]

    def _pay_back(self, order: Item, at: datetime) -> None:
        kept = self.refunds.setdefault(order["id"], [])
        known = {each["id"] for each in kept}
        kept.extend(_refund(each, at) for each in order["refunds"] if each["id"] not in known)
        if kept and sum(Decimal(each["amount"]) for each in kept) >= Decimal(order["total"]):
            order["status"] = "refunded"

    def _orders(self, call: Call) -> Response:
        _only(call, _ORDERS)
        wanted = call.one("status", "any").split(",")
        found = [
            each
            for each in self.orders.values()
            if each["status"] in wanted or ("any" in wanted and each["status"] != "trash")
        ]
        gmt = "_gmt" if call.one("dates_are_gmt") in ("true", "1") else ""
        for name, (column, holds) in _BOUNDS.items():
            if bound := call.one(name):
                found = [each for each in found if holds(each[column + gmt], _bound(bound))]
        by = {"date": "date_created_gmt", "modified": "date_modified_gmt", "id": "id"}
        key = by[call.one("orderby", "date")]
        found.sort(key=lambda each: (each[key], each["id"]))
        return _page(call, found)

    def _refunds(self, call: Call, id: int) -> Response:
        _only(call, _PAGED)
        if id not in self.orders:
            raise Refusal(_error(404, "woocommerce_rest_order_invalid_id", "Invalid order ID."))
        return _page(call, self.refunds.get(id, []))

    def _webhooks(self, call: Call) -> Response:
        _only(call, _WEBHOOKS)
        found = [_shown(each) for each in self.hooks]
        status = call.one("status", "all")
        return _page(call, [each for each in found if status in ("all", each["status"])])

    def _webhook(self, call: Call, id: str) -> Response:
        hook = self.found(id)
        if call.method == "DELETE":
            return self._delete(call, hook)
        if hook is None:
            raise Refusal(_error(400, "woocommerce_rest_shop_webhook_invalid_id", "ID is invalid."))
        return Response.of(200, _shown(hook)) if call.method == "GET" else _change(call, hook)

    def _create(self, call: Call) -> Response:
        given = _written(call)
        if missing := [name for name in ("topic", "delivery_url") if name not in given]:
            message = f"Missing parameter(s): {', '.join(missing)}"
            raise Refusal(_error(400, "rest_missing_callback_param", message, params=missing))
        number = next(self._number)
        hook = Hook(
            id=str(number),
            url=given["delivery_url"],
            types={given["topic"]},
            # Where none is given the shop makes one up, and shows it to nobody.
            secret=given.get("secret") or f"made up {number}",
            # Active, whatever status is asked for.
            more={"name": given.get("name") or "Webhook created on Nov 18, 2026 @ 12:20 PM"},
        )
        self.hooks.append(hook)
        location = f"http://{call.header('host')}{_ROOT}/webhooks/{hook.id}"
        return Response.of(201, _shown(hook), {"Location": location})

    def _delete(self, call: Call, hook: Hook | None) -> Response:
        _only(call, {"force": "true|false|1|0"})
        if call.one("force") not in ("true", "1"):
            message = "Webhooks do not support trashing."
            raise Refusal(_error(501, "woocommerce_rest_trash_not_supported", message))
        if hook is None:
            raise Refusal(_error(404, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID."))
        self.hooks.remove(hook)
        return Response.of(200, _shown(hook))


def _clocks(name: str, moment: datetime) -> Item:
    """A date as an order has it: on the shop's clock and in UTC, without saying so."""
    shop, utc = (
        moment.astimezone(zone).replace(tzinfo=None).isoformat(timespec="seconds")
        for zone in (_SHOP_TIME, UTC)
    )
    return {name: shop, f"{name}_gmt": utc}


def _moved(order: Item, later: timedelta) -> Item:
    """Its dates, all of them so much later."""
    dates: Item = {}
    for name in _DATES:
        if told := order[f"{name}_gmt"]:
            dates |= _clocks(name, datetime.fromisoformat(told).replace(tzinfo=UTC) + later)
    return dates


def _refund(listed: Item, at: datetime) -> Item:
    lines: Item = {f"{kind}_lines": [] for kind in ("shipping", "tax", "fee")}
    return {
        "id": listed["id"],
        **_clocks("date_created", at),
        "amount": f"{abs(Decimal(listed['total'])):.2f}",
        "reason": listed["reason"],
        "refunded_by": 1,
        "refunded_payment": True,
        "meta_data": [],
        "line_items": [],
        **lines,
    }


def _bound(text: str) -> str:
    """A bound as it is compared with the column of dates.

    WordPress turns one that names its zone into the shop's time, even where the column is in UTC.
    """
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo:
        moment = moment.astimezone(_SHOP_TIME).replace(tzinfo=None)
    return moment.isoformat(timespec="seconds")


def _page(call: Call, found: Sequence[Item]) -> Response:
    """One page of what was found, which is the oldest first; it is asked for from the newest on."""
    ordered = found if call.one("order") == "asc" else found[::-1]
    page, size = int(call.one("page", "1")), int(call.one("per_page", "10"))
    pages = -(-len(found) // size)
    links = {"prev": min(page - 1, pages)} if page > 1 else {}
    links |= {"next": page + 1} if page < pages else {}
    headers = {"X-WP-Total": str(len(found)), "X-WP-TotalPages": str(pages)}
    if links:
        headers["Link"] = ", ".join(_link(call, rel, number) for rel, number in links.items())
    return Response.of(200, ordered[(page - 1) * size : page * size], headers)


def _link(call: Call, rel: str, page: int) -> str:
    query = urlencode({**dict(call.query), "page": page})
    return f'<http://{call.header("host")}{call.path}?{query}>; rel="{rel}"'


def _change(call: Call, hook: Hook) -> Response:
    given = _written(call)
    hook.url = given.get("delivery_url", hook.url)
    hook.types = {given["topic"]} if "topic" in given else hook.types
    hook.secret = given.get("secret") or hook.secret
    hook.more["name"] = given.get("name") or hook.more.get("name", "")
    if status := given.get("status"):
        hook.enabled = status == "active"
        hook.more["status"] = "disabled" if hook.enabled else status
    return Response.of(200, _shown(hook))


def _written(call: Call) -> dict[str, str]:
    given = call.json
    if not isinstance(given, dict):
        raise Refusal(_error(400, "rest_invalid_json", "Invalid JSON body passed."))
    for name, value in given.items():
        if name not in _WRITTEN or not isinstance(value, str):
            raise _invalid(name)
    if given.get("status", "active") not in ("active", "paused", "disabled"):
        raise _invalid("status")
    _check(given, "topic", _TOPIC, "Webhook topic must be valid.")
    # The shop takes http as well, but what it would send names its buyers.
    https = re.compile(r"https://[^/\s]+\S*")
    _check(given, "delivery_url", https, "Webhook delivery URL must be a valid URL.")
    return given


def _check(given: Mapping[str, str], name: str, valid: re.Pattern[str], message: str) -> None:
    if name in given and not valid.fullmatch(given[name]):
        raise Refusal(_error(400, f"woocommerce_rest_shop_webhook_invalid_{name}", message))


def _only(call: Call, allowed: Mapping[str, str]) -> None:
    for name, value in call.query:
        if name not in allowed or not re.fullmatch(allowed[name], value):
            raise _invalid(name)


def _invalid(name: str) -> Refusal:
    params = {name: f"{name} is not valid."}
    return Refusal(
        _error(400, "rest_invalid_param", f"Invalid parameter(s): {name}", params=params)
    )


def _shown(hook: Hook) -> Item:
    (topic,) = hook.types
    resource, _, event = topic.partition(".")
    return {
        "id": int(hook.id),
        "name": hook.more.get("name", ""),
        # One that has failed too often is disabled.
        "status": "active" if hook.enabled else hook.more.get("status", "disabled"),
        "topic": topic,
        "resource": resource,
        "event": event,
        "hooks": [],
        "delivery_url": hook.url,
        **_clocks("date_created", datetime(2026, 11, 18, 11, 20, tzinfo=UTC)),
        **_clocks("date_modified", datetime(2026, 11, 18, 11, 20, tzinfo=UTC)),
    }


def _error(status: int, code: str, message: str, **data: Any) -> Response:
    return Response.of(
        status, {"code": code, "message": message, "data": {"status": status, **data}}
    )
