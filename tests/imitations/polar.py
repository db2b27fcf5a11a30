"""Polar's API: deliveries of webhooks and their endpoints, orders, refunds.

Polar overlooks parameters that it does not know. Here they are refused the way it refuses wrong ones.

https://polar.sh/docs/api-reference/webhooks/deliveries/list,
https://polar.sh/docs/api-reference/webhooks/endpoints/create,
https://polar.sh/docs/api-reference/orders/list, https://polar.sh/docs/api-reference/refunds/list,
https://polar.sh/docs/integrate/webhooks/delivery
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from math import ceil
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
)
from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

KEY = "polar_oat_imitated"
_PAYLOADS_KEPT = timedelta(days=90)
_FROM_ORDER_TO_PAYMENT = timedelta(seconds=4)
_VERSION = "2026-04"
_ORGANIZATION = "01a90c4e-5a16-7b22-8c4d-2e6f8a0b1c3d"
_OURS = providers.load("polar")
_TYPES = {
    *_OURS.types,
    *_OURS.never,
    # Types that Polar has and no mapper of ours knows.
    "benefit_grant.created",
    "customer.state_changed",
    "customer.updated",
    "organization.updated",
    "product.updated",
}

T = TypeVar("T")


def _known(type: str) -> str:
    if type not in _TYPES:
        raise ValueError(f"{type} is no type of event")
    return type


def _public(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("The URL must be https")
    if parts.hostname in {"localhost", "127.0.0.1", "::1"}:
        raise ValueError("Webhook URLs cannot point to localhost")
    return url


# A filter can be given several times.
Several = Annotated[list[T], BeforeValidator(lambda v: v if isinstance(v, list) else [v])]
Type = Annotated[str, AfterValidator(_known)]
Url = Annotated[str, Field(max_length=2083), AfterValidator(_public)]


class Listed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    page: PositiveInt = 1
    limit: PositiveInt = 10
    organization_id: Several[UUID] = []


class Deliveries(Listed):
    endpoint_id: Several[UUID] = []
    start_timestamp: AwareDatetime = datetime.min.replace(tzinfo=UTC)
    end_timestamp: AwareDatetime = datetime.max.replace(tzinfo=UTC)
    succeeded: bool | None = None
    http_code_class: Literal["2xx", "3xx", "4xx", "5xx"] | None = None
    event_type: Several[Type] = []


class Orders(Listed):
    sorting: Several[Literal["created_at", "-created_at"]] = ["-created_at"]
    created_after: AwareDatetime = datetime.min.replace(tzinfo=UTC)
    created_before: AwareDatetime = datetime.max.replace(tzinfo=UTC)
    status: Several[Literal["pending", "paid", "refunded", "partially_refunded", "void"]] = []


class Refunds(Listed):
    sorting: Several[Literal["created_at", "-created_at"]] = ["-created_at"]
    order_id: Several[UUID] = []
    succeeded: bool | None = None


class Change(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    url: Url | None = None
    name: str | None = None
    api_version: Literal["2026-04"] | None = None
    format: Literal["raw", "discord", "slack"] | None = None
    events: list[Type] | None = None
    enabled: bool | None = None


class Creation(BaseModel):
    """`organization_id` is missing: a token of an organization must not send it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    url: Url
    name: str | None = None
    api_version: Literal["2026-04"] = "2026-04"
    format: Literal["raw", "discord", "slack"]
    events: list[Type]


@dataclass
class Event:
    """What is to be sent to one endpoint. `id` is its webhook-id."""

    id: str
    type: str
    payload: str
    at: datetime
    hook: Hook


@dataclass
class Delivery:
    """One try to deliver an event."""

    id: str
    at: datetime
    code: int
    event: Event

    @property
    def succeeded(self) -> bool:
        return self.code < 300


@dataclass
class Polar(Vendor):
    """`answered` is the status that the merchant's endpoints answer deliveries with.

    `orders` and `refunds` are what they are today. Neither keeps what it was when it was sent.
    """

    name: ClassVar[str] = "polar"
    exact: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = {"POLAR_API_BASE": "{url}", "POLAR_API_KEY": KEY}
    types: ClassVar[tuple[str, ...]] = tuple(_OURS.types)

    answered: int = 200
    deliveries: list[Delivery] = field(default_factory=list)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    _number: Any = field(default_factory=lambda: count(1))

    def prepare(self) -> None:
        """Deliveries are made for enabled endpoints only."""
        self._hook("https://shop.example.com/polar", self.types)

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        body = {**json.loads(webhook.body), "timestamp": _time(at)}
        self._keep(body["type"], body["data"], at)
        sent = replace(webhook, body=json.dumps(body).encode())
        id = sent.headers["webhook-id"]
        for hook in self.hooks:
            if hook.enabled and body["type"] in hook.types:
                self._deliver(Event(id, body["type"], sent.body.decode(), at, hook), at)
                # The next endpoint gets an event of its own.
                id = self._id()
        return sent

    def unauthorized(self) -> Response:
        told = "The access token provided is expired, revoked, malformed, or invalid."
        value = {"error": "invalid_token", "error_description": told}
        return Response.of(401, value, {"WWW-Authenticate": "Bearer"})

    def too_many(self, seconds: int) -> Response:
        return Response(429, b"", {"Retry-After": str(seconds)})

    def respond(self, call: Call) -> Response:
        if call.bearer != KEY:
            return self.unauthorized()
        match call.method, *call.path.split("/"):
            case ["GET", "", "v1", "webhooks", "deliveries"]:
                answer = self._deliveries(call)
            case ["GET", "", "v1", "orders", ""]:
                answer = self._orders(call)
            case ["GET", "", "v1", "refunds", ""]:
                answer = self._refunds(call)
            case ["POST", "", "v1", "webhooks", "events", id, "redeliver"]:
                answer = self._redeliver(id)
            case [_, "", "v1", "webhooks", "endpoints", *rest]:
                answer = self._endpoints(call, *rest)
            case _:
                answer = Response.of(404, {"detail": "Not Found"})
        return answer

    # What happened

    def _id(self) -> str:
        return f"01a90c4e-7000-4000-8000-{next(self._number):012d}"

    def _deliver(self, event: Event, at: datetime) -> None:
        self.deliveries.append(Delivery(self._id(), at, self.answered, event))
        self.deliveries.sort(key=lambda each: each.at, reverse=True)

    def _keep(self, type: str, data: dict[str, Any], at: datetime) -> None:
        if type == "order.paid":
            data.update(created_at=_time(at - _FROM_ORDER_TO_PAYMENT), modified_at=_time(at))
            self.orders[data["id"]] = dict(data)
        elif type == "subscription.past_due":
            self._owe(data["id"], at)
        elif type in {"refund.created", "refund.updated"}:
            created_at = self.refunds.get(data["id"], {}).get("created_at", _time(at))
            changed_at = _time(at) if type == "refund.updated" else None
            data.update(created_at=created_at, modified_at=changed_at)
            self.refunds[data["id"]] = dict(data)
            self._pay_back(data["order_id"], at)

    def _owe(self, subscription: str, at: datetime) -> None:
        """Keep the order of a renewal that could not be paid."""
        id = self._id()
        unknown = dict.fromkeys(("modified_at", "product", "product_id", "checkout_id"))
        state = {"status": "pending", "paid": False, "subscription_id": subscription}
        self.orders[id] = {"id": id, "created_at": _time(at), **state, **unknown}

    def _pay_back(self, id: str, at: datetime) -> None:
        """Bring an order up to date with its refunds."""
        refunds = [
            each
            for each in self.refunds.values()
            if each["order_id"] == id and each["status"] == "succeeded"
        ]
        if id in self.orders and refunds:
            order = self.orders[id]
            amount = sum(each["amount"] for each in refunds)
            tax = sum(each["tax_amount"] for each in refunds)
            order.update(
                status="refunded" if amount >= order["net_amount"] else "partially_refunded",
                refunded_amount=amount,
                refunded_tax_amount=tax,
                refundable_amount=order["net_amount"] - amount,
                refundable_tax_amount=order["tax_amount"] - tax,
                modified_at=_time(at),
            )

    def _deliveries(self, call: Call) -> Response:
        asked = _read(Deliveries, "query", _values(call))
        found = [each for each in self.deliveries if _matches(each, asked)]
        return self._page(asked, found, self._delivery)

    def _delivery(self, delivery: Delivery) -> dict[str, Any]:
        return {
            "id": delivery.id,
            "created_at": _time(delivery.at),
            "modified_at": None,
            "succeeded": delivery.succeeded,
            "http_code": delivery.code,
            "response": None,
            "webhook_event": self._event(delivery.event),
        }

    def _event(self, event: Event) -> dict[str, Any]:
        archived = event.at < self.now() - _PAYLOADS_KEPT
        latest = next(each for each in self.deliveries if each.event is event)
        return {
            "id": event.id,
            "created_at": _time(event.at),
            "modified_at": _time(latest.at),
            "last_http_code": latest.code,
            # Unknown while tries are left.
            "succeeded": latest.succeeded or None,
            "skipped": False,
            "api_version": _VERSION,
            "payload": None if archived else event.payload,
            "type": event.type,
            "is_archived": archived,
        }

    def _redeliver(self, id: str) -> Response:
        event = next((each.event for each in self.deliveries if each.event.id == id), None)
        if event is None:
            return _not_found()
        if event.hook.enabled and event.at >= self.now() - _PAYLOADS_KEPT:
            self._deliver(event, self.now())
        return Response.of(202, None)

    def _orders(self, call: Call) -> Response:
        asked = _read(Orders, "query", _values(call))
        found = [
            order
            for order in _sorted(self.orders.values(), asked.sorting)
            if asked.created_after < _at(order) < asked.created_before
            and (not asked.status or order["status"] in asked.status)
        ]
        return self._page(asked, found)

    def _refunds(self, call: Call) -> Response:
        asked = _read(Refunds, "query", _values(call))
        found = [
            refund
            for refund in _sorted(self.refunds.values(), asked.sorting)
            if (not asked.order_id or UUID(refund["order_id"]) in asked.order_id)
            and asked.succeeded in {None, refund["status"] == "succeeded"}
        ]
        return self._page(asked, found)

    def _page(
        self, asked: Listed, found: list[Any], show: Callable[[Any], Any] = lambda item: item
    ) -> Response:
        # More than the maximum is not refused.
        limit = min(asked.limit, self.page)
        shown = found[(asked.page - 1) * limit : asked.page * limit]
        # Polar counts along with the items: a page behind the last one says that there are none at all.
        total = len(found) if shown else 0
        pages = {"total_count": total, "max_page": ceil(total / limit)}
        answer = Response.of(200, {"items": [show(each) for each in shown], "pagination": pages})
        self.meanwhile()
        return answer

    # Endpoints

    def _endpoints(self, call: Call, *rest: str) -> Response:
        if rest:
            hook = self.found(rest[0])
            return self._one(call, hook, *rest[1:]) if hook else _not_found()
        match call.method:
            case "POST":
                return self._create(call)
            case "GET":
                asked = _read(Listed, "query", _values(call))
                return self._page(asked, self.hooks[::-1], _shown)
        return Response.of(405, {"detail": "Method Not Allowed"})

    def _one(self, call: Call, hook: Hook, *rest: str) -> Response:
        match call.method, *rest:
            case ["DELETE"]:
                self.hooks.remove(hook)
                return Response(204)
            case ["PATCH"]:
                self._change(call, hook)
            case ["PATCH", "secret"]:
                hook.secret = _secret(next(self._number))
            case ["GET"]:
                pass
            case _:
                return Response.of(405, {"detail": "Method Not Allowed"})
        return Response.of(200, _shown(hook))

    def _hook(self, url: str, types: Iterable[str], **more: Any) -> Hook:
        id = self._id()
        more = {"name": None, "format": "raw", "api_version": _VERSION, **more}
        hook = Hook(id, url, set(types), _secret(next(self._number)), more=more)
        hook.more["created_at"] = _time(self.now())
        self.hooks.append(hook)
        return hook

    def _create(self, call: Call) -> Response:
        asked = _read(Creation, "body", call.json)
        more = asked.model_dump(exclude={"url", "events"})
        return Response.of(201, _shown(self._hook(asked.url, asked.events, **more)))

    def _change(self, call: Call, hook: Hook) -> None:
        # What is null stays as it is.
        asked = _read(Change, "body", call.json).model_dump(exclude_none=True)
        hook.url = asked.pop("url", hook.url)
        hook.types = set(asked.pop("events", hook.types))
        hook.enabled = asked.pop("enabled", hook.enabled)
        hook.more.update(asked)


M = TypeVar("M", bound=BaseModel)


def _read(model: type[M], place: str, given: object) -> M:
    """A query or a body, if it is one that the documentation allows."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        wrong = [
            {"loc": [place, *each["loc"]], "msg": each["msg"], "type": each["type"]}
            for each in error.errors()
        ]
        raise Refusal(_error(422, "RequestValidationError", wrong)) from None


def _values(call: Call) -> dict[str, str | list[str]]:
    values = {name: call.every(name) for name, _ in call.query}
    return {name: each if len(each) > 1 else each[0] for name, each in values.items()}


def _matches(delivery: Delivery, asked: Deliveries) -> bool:
    # Both bounds are exclusive.
    return (
        asked.start_timestamp < delivery.at < asked.end_timestamp
        and (not asked.endpoint_id or UUID(delivery.event.hook.id) in asked.endpoint_id)
        and asked.succeeded in {None, delivery.succeeded}
        and asked.http_code_class in {None, f"{delivery.code // 100}xx"}
        and (not asked.event_type or delivery.event.type in asked.event_type)
    )


def _sorted(items: Iterable[dict[str, Any]], by: Sequence[str]) -> list[dict[str, Any]]:
    return sorted(items, key=_at, reverse=by[0].startswith("-"))


def _at(item: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(item["created_at"])


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _secret(number: int) -> str:
    return "whsec_" + b64encode(number.to_bytes(32, "big")).decode()


def _shown(hook: Hook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "modified_at": None,
        "url": hook.url,
        "secret": hook.secret,
        "organization_id": _ORGANIZATION,
        "events": sorted(hook.types),
        "enabled": hook.enabled,
        "uses_standard_webhook_signature": True,
        **hook.more,
    }


def _not_found() -> Response:
    return _error(404, "ResourceNotFound", "Not found")


def _error(status: int, error: str, detail: object) -> Response:
    return Response.of(status, {"error": error, "detail": detail})
