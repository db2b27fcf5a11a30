"""Paddle's API: events, notifications, and their destinations, which it calls notification settings.

Here parameters that are not documented are refused the way Paddle refuses wrong ones.

https://developer.paddle.com/api-reference/events/list-events,
https://developer.paddle.com/api-reference/notifications/list-notifications,
https://developer.paddle.com/api-reference/notifications/replay-notification,
https://developer.paddle.com/api-reference/notification-settings/create-notification-setting,
https://developer.paddle.com/api-reference/about/errors
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urlencode

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

KEY = "pdl_live_apikey_imitated"
_KEPT = timedelta(days=90)
_RETRIED = timedelta(days=3)
_MOST_ACTIVE = 10
_OURS = providers.load("paddle")
_TYPES = {
    *_OURS.types,
    *_OURS.never,
    # Types that Paddle has and no mapper of ours knows.
    "address.created",
    "customer.updated",
    "payout.paid",
    "product.updated",
}

T = TypeVar("T")


def _known(type: str) -> str:
    if type not in _TYPES:
        raise ValueError(f"{type} is no type of event")
    return type


# A list in a query is one text with commas.
Several = Annotated[list[T], BeforeValidator(lambda text: text.split(","))]
Type = Annotated[str, AfterValidator(_known)]
Types = Annotated[list[Type], Field(min_length=1)]
Description = Annotated[str, Field(min_length=1, max_length=500)]
Destination = Annotated[str, Field(min_length=1, max_length=2048)]
Traffic = Literal["platform", "simulation", "all"]


class Listed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    after: str | None = None
    per_page: PositiveInt = 50
    order_by: Literal["id[ASC]", "id[DESC]"] = "id[DESC]"


class Window(Listed):
    """`from` and `to` are read as inclusive; the documentation does not say."""

    since: Annotated[AwareDatetime, Field(alias="from")] = datetime.min.replace(tzinfo=UTC)
    to: AwareDatetime = datetime.max.replace(tzinfo=UTC)
    filter: str = ""


class Events(Window):
    event_type: Several[Type] = []


class Notifications(Window):
    search: Annotated[str, Field(max_length=100)] = ""
    status: Several[Literal["not_attempted", "needs_retry", "delivered", "failed"]] = []
    notification_setting_id: Several[str] = []


class Settings(Listed):
    per_page: PositiveInt = 200
    active: bool | None = None
    traffic_source: Traffic | None = None


class Setting(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    api_version: Literal[1] = 1
    include_sensitive_fields: bool = False
    traffic_source: Traffic = "platform"


class Change(Setting):
    """What is left out stays as it is."""

    description: Description = ""
    destination: Destination = ""
    active: bool = True
    subscribed_events: Types = []


class Creation(Setting):
    description: Description
    type: Literal["url", "email"]
    destination: Destination
    subscribed_events: Types


@dataclass
class Notification:
    """An event on its way to one destination."""

    id: str
    event: dict[str, Any]
    at: datetime
    origin: Literal["event", "replay"]
    hook: Hook
    code: int

    @property
    def payload(self) -> dict[str, Any]:
        return {**self.event, "notification_id": self.id}

    def status(self, now: datetime) -> str:
        if self.code == 200:
            return "delivered"
        return "needs_retry" if now - self.at < _RETRIED else "failed"


@dataclass
class Paddle(Vendor):
    """`events` and `notifications` are the newest first. Paddle's ids grow with time: that is its order.

    `answered` is the status that the merchant's endpoints answer notifications with.
    """

    name: ClassVar[str] = "paddle"
    environment: ClassVar[Mapping[str, str]] = {"PADDLE_API_BASE": "{url}", "PADDLE_API_KEY": KEY}
    types: ClassVar[tuple[str, ...]] = tuple(_OURS.types)
    page: ClassVar[int] = 200

    answered: int = 200
    events: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    _number: Any = field(default_factory=lambda: count(1))

    def prepare(self) -> None:
        """Notifications are made for active destinations only. Events need none."""
        more = {"description": "shop", "type": "url", "api_version": 1}
        more |= {"include_sensitive_fields": False, "traffic_source": "platform"}
        self._hook("https://shop.example.com/paddle", self.types, more)

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        body = {**json.loads(webhook.body), "occurred_at": _time(at)}
        id = body.pop("notification_id", None) or self._id("ntf_")
        self._record(body, id, at)
        if body["event_type"] == "customer.created":
            self._record(self._address(body["data"]["id"], at), self._id("ntf_"), at)
        sent = {**body, "notification_id": id}
        return replace(webhook, body=json.dumps(sent).encode())

    def unauthorized(self) -> Response:
        return _error(403, "invalid_token", "Invalid or revoked API key.")

    def too_many(self, seconds: int) -> Response:
        response = _error(429, "too_many_requests", "IP address exceeded the allowed rate limit.")
        return replace(response, headers={**response.headers, "Retry-After": str(seconds)})

    def respond(self, call: Call) -> Response:
        if call.header("authorization") is None:
            return _error(403, "authentication_missing", "Authentication header missing.")
        if call.bearer != KEY:
            return self.unauthorized()
        match call.method, *call.path.split("/"):
            case ["GET", "", "events"]:
                answer = self._events(call)
            case ["GET", "", "notifications"]:
                answer = self._notifications(call)
            case ["POST", "", "notifications", id, "replay"]:
                answer = self._replay(id)
            case [_, "", "notification-settings", *rest] if len(rest) < 2:
                answer = self._settings(call, *rest)
            case _:
                answer = _error(404, "invalid_url", "The URL is invalid.")
        return answer

    # What happened

    def _id(self, prefix: str) -> str:
        return f"{prefix}01{next(self._number):024d}"

    def _record(self, event: dict[str, Any], id: str, at: datetime) -> None:
        self.events.append(event)
        self.events.sort(key=_occurred_at, reverse=True)
        for hook in self.hooks:
            if hook.enabled and event["event_type"] in hook.types and _takes_platform(hook):
                self._notify(Notification(id, event, at, "event", hook, self.answered))
                id = self._id("ntf_")

    def _notify(self, notification: Notification) -> None:
        self.notifications.append(notification)
        self.notifications.sort(key=lambda each: each.at, reverse=True)

    def _address(self, customer: str, at: datetime) -> dict[str, Any]:
        """What comes with a customer. Nearly everything in it can be null."""
        unknown = dict.fromkeys(("description", "first_line", "city", "custom_data", "import_meta"))
        return {
            "event_id": self._id("evt_"),
            "event_type": "address.created",
            "occurred_at": _time(at),
            "data": {"id": self._id("add_"), "customer_id": customer, **unknown},
        }

    def _events(self, call: Call) -> Response:
        asked = _read(Events, dict(call.query))
        oldest = max(asked.since, self.now() - _KEPT)
        found = [
            event
            for event in self.events
            if oldest <= _occurred_at(event) <= asked.to
            and asked.filter in json.dumps(event["data"])
            and (not asked.event_type or event["event_type"] in asked.event_type)
        ]
        ids = [event["event_id"] for event in self.events]
        return self._page(call, asked, found, ids, "event_id")

    def _notifications(self, call: Call) -> Response:
        asked = _read(Notifications, dict(call.query))
        oldest = max(asked.since, self.now() - _KEPT)
        found = [
            self._notification(each)
            for each in self.notifications
            if oldest <= each.at <= asked.to
            and asked.filter in json.dumps(each.event["data"])
            and asked.search in f"{each.id} {each.event['event_type']}"
            and (not asked.status or each.status(self.now()) in asked.status)
            and (not asked.notification_setting_id or each.hook.id in asked.notification_setting_id)
        ]
        return self._page(call, asked, found, [each.id for each in self.notifications])

    def _notification(self, notification: Notification) -> dict[str, Any]:
        status, at = notification.status(self.now()), _time(notification.at)
        return {
            "id": notification.id,
            "type": notification.event["event_type"],
            "status": status,
            "payload": notification.payload,
            "occurred_at": notification.event["occurred_at"],
            "delivered_at": at if status == "delivered" else None,
            "replayed_at": None,
            "origin": notification.origin,
            "last_attempt_at": at,
            "retry_at": _time(self.now()) if status == "needs_retry" else None,
            "times_attempted": 1,
            "notification_setting_id": notification.hook.id,
        }

    def _replay(self, id: str) -> Response:
        found = next((each for each in self.notifications if each.id == id), None)
        if found is None or found.at < self.now() - _KEPT:
            return _not_found(id)
        if found.origin == "replay":
            code = "notification_replay_invalid_origin_type"
            return _error(400, code, "Only notifications with the origin `event` can be replayed.")
        if found.status(self.now()) == "needs_retry":
            return _error(400, "notification_cannot_replay", f"Notification {id} can't be replayed")
        again = replace(found, id=self._id("ntf_"), at=self.now(), origin="replay")
        self._notify(replace(again, code=self.answered))
        return _answer(202, {"notification_id": again.id})

    def _page(
        self,
        call: Call,
        asked: Listed,
        found: list[dict[str, Any]],
        ids: list[str],
        key: str = "id",
    ) -> Response:
        """A page of what was found; `ids` are those of the whole list, in the order of both."""
        # More than the maximum is not refused: the answer tells how many it is.
        size = min(asked.per_page, self.page)
        if asked.order_by == "id[ASC]":
            found.reverse()
            ids.reverse()
        behind = _behind(asked.after, ids)
        left = [each for each in found if each[key] in behind]
        shown = left[:size]
        after = {"after": shown[-1][key]} if shown else {}
        query = urlencode({**dict(call.query), "per_page": size, **after})
        pagination = {
            "per_page": size,
            # There on the last page as well: only `has_more` tells.
            "next": f"http://{call.header('host')}{call.path}?{query}",
            "has_more": len(left) > size,
            "estimated_total": len(found),
        }
        answer = _answer(200, shown, pagination=pagination)
        self.meanwhile()
        return answer

    # Notification settings

    def _settings(self, call: Call, id: str = "") -> Response:
        if id:
            hook = self.found(id)
            return self._one(call, hook) if hook else _not_found(id)
        match call.method:
            case "POST":
                return self._create(call)
            case "GET":
                return self._list(call)
        return _error(405, "method_not_allowed", "This method isn't supported.")

    def _list(self, call: Call) -> Response:
        asked = _read(Settings, dict(call.query))
        found = [
            _shown(hook)
            for hook in self.hooks[::-1]
            if asked.active in {None, hook.enabled}
            and asked.traffic_source in {None, hook.more["traffic_source"]}
        ]
        return self._page(call, asked, found, [hook.id for hook in self.hooks[::-1]])

    def _one(self, call: Call, hook: Hook) -> Response:
        match call.method:
            case "DELETE":
                self.hooks.remove(hook)
                return Response(204)
            case "PATCH":
                self._change(call, hook)
            case "GET":
                pass
            case _:
                return _error(405, "method_not_allowed", "This method isn't supported.")
        return _answer(200, _shown(hook))

    def _create(self, call: Call) -> Response:
        given = _read(Creation, _body(call)).model_dump()
        _check(given["type"], given["destination"])
        self._check_number()
        url, types = given.pop("destination"), given.pop("subscribed_events")
        return _answer(201, _shown(self._hook(url, types, given)))

    def _hook(self, url: str, types: Iterable[str], more: dict[str, Any]) -> Hook:
        id = self._id("ntfset_")
        hook = Hook(id, url, set(types), f"pdl_{id}_{next(self._number):032d}", more=more)
        self.hooks.append(hook)
        return hook

    def _change(self, call: Call, hook: Hook) -> None:
        given = _read(Change, _body(call)).model_dump(exclude_unset=True)
        _check(hook.more["type"], given.get("destination", hook.url))
        if given.get("active") and not hook.enabled:
            self._check_number()
        hook.url = given.pop("destination", hook.url)
        hook.enabled = given.pop("active", hook.enabled)
        hook.types = set(given.pop("subscribed_events", hook.types))
        hook.more.update(given)

    def _check_number(self) -> None:
        if sum(hook.enabled for hook in self.hooks) >= _MOST_ACTIVE:
            code = "notification_maximum_active_settings_reached"
            raise Refusal(_error(400, code, "Maximum number of active settings reached."))


M = TypeVar("M", bound=BaseModel)


def _read(model: type[M], given: object) -> M:
    """A query or a body, if it is one that the documentation allows."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        wrong = [
            {"field": ".".join(map(str, each["loc"])), "message": each["msg"]}
            for each in error.errors()
        ]
        raise Refusal(_invalid(wrong)) from None


def _body(call: Call) -> dict[str, Any]:
    if not isinstance(call.json, dict):
        raise Refusal(_error(400, "bad_request", "Invalid request."))
    return call.json


def _check(type: str, destination: str) -> None:
    if type == "url" and not destination.startswith("https://"):
        code = "url_notification_setting_incorrect"
        raise Refusal(_error(400, code, "The destination must be an HTTPS URL."))
    if type == "email" and "@" not in destination:
        code = "email_notification_setting_incorrect"
        raise Refusal(_error(400, code, "The destination must be an email address."))


def _takes_platform(hook: Hook) -> bool:
    return hook.more["traffic_source"] in {"platform", "all"}


def _behind(id: str | None, ids: list[str]) -> set[str]:
    if id is None:
        return set(ids)
    if id not in ids:
        raise Refusal(_invalid([{"field": "after", "message": f"{id} is not in this list"}]))
    return set(ids[ids.index(id) + 1 :])


def _occurred_at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _shown(hook: Hook) -> dict[str, Any]:
    return {
        "id": hook.id,
        **hook.more,
        "destination": hook.url,
        "active": hook.enabled,
        "endpoint_secret_key": hook.secret,
        # They are set by name, and shown in full.
        "subscribed_events": [
            {
                "name": name,
                "description": "",
                "group": name.split(".")[0],
                "available_versions": [1],
            }
            for name in sorted(hook.types)
        ],
    }


def _answer(status: int, data: object, **meta: Any) -> Response:
    return Response.of(status, {"data": data, "meta": {"request_id": "req_imitated", **meta}})


def _not_found(id: str) -> Response:
    return _error(404, "not_found", f"Entity {id} not found")


def _invalid(wrong: list[dict[str, str]]) -> Response:
    return _error(400, "invalid_field", "Request does not pass validation.", errors=wrong)


def _error(status: int, code: str, detail: str, **more: Any) -> Response:
    group = "notifications" if "notification" in code else "shared"
    error = {
        "type": "request_error",
        "code": code,
        "detail": detail,
        "documentation_url": f"https://developer.paddle.com/errors/{group}/{code}",
        **more,
    }
    return Response.of(status, {"error": error, "meta": {"request_id": "req_imitated"}})
