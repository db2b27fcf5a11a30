"""Square's API: the search for events, and webhook subscriptions.

https://developer.squareup.com/docs/events-api/overview,
https://developer.squareup.com/reference/square/events-api, .../webhook-subscriptions-api,
https://developer.squareup.com/docs/build-basics/common-api-patterns/pagination. Whether the end of a range
of times is inclusive is not documented: here it is not. How many subscriptions there may be is not, either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any, ClassVar, NoReturn

from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

KEY = "EAAA-imitated"
_KEPT = timedelta(days=28)
_VERSION = "2025-08-20"
_HOOKS = "/v2/webhooks/subscriptions"
_LONGEST_KEY = 45
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TIMES = ("created_at", "updated_at")
_QUERIES = {
    f"GET {_HOOKS}": ("cursor", "include_disabled", "sort_order", "limit"),
    "GET /v2/webhooks/event-types": ("api_version",),
}
_FILTERED = {"event_types": list, "merchant_ids": list, "location_ids": list, "created_at": dict}
_SUBSCRIPTION = {
    "name": str,
    "enabled": bool,
    "event_types": list,
    "notification_url": str,
    "api_version": str,
}
_ALWAYS = {"start_at": "0001-01-01T00:00:00Z", "end_at": "9999-12-31T23:59:59Z"}
_RIGHT = {"name": ".{1,64}", "notification_url": "https://.+", "api_version": r"\d{4}(-\d\d){2}"}
_EXPECTED = {str: "STRING", int: "INTEGER", bool: "BOOLEAN", list: "ARRAY", dict: "OBJECT"}


@dataclass
class Square(Vendor):
    """`events` are those that happened while `searchable`, in any order.

    `zoned`: whether times of found events have their Z. In the documentation's example they have none.
    """

    name: ClassVar[str] = "square"
    bare: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {"SQUARE_API_BASE": "{url}", "SQUARE_API_KEY": KEY}
    types: ClassVar[tuple[str, ...]] = tuple(providers.load("square").types)
    # Types that Square has and no mapper of ours reads.
    others: ClassVar[tuple[str, ...]] = (*providers.load("square").never, "team_member.created")

    events: list[dict[str, Any]] = field(default_factory=list)
    searchable: bool = False
    zoned: bool = True
    _cursors: dict[str, tuple[str, str]] = field(default_factory=dict)
    _created: dict[str, tuple[Any, Response]] = field(default_factory=dict)
    _number: Any = field(default_factory=lambda: count(1))

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        event = _dated(json.loads(webhook.body), _written(at))
        if self.searchable:
            self.events.append(event)
        return replace(webhook, body=json.dumps(event, separators=(",", ":")).encode())

    def prepare(self) -> None:
        self.searchable = True

    def unauthorized(self) -> Response:
        detail = "This request could not be authorized."
        return _error(401, "UNAUTHORIZED", detail, category="AUTHENTICATION_ERROR")

    def too_many(self, seconds: int) -> Response:
        # Square does not say when to come back.
        del seconds
        return _error(429, "RATE_LIMITED", "Too many requests.", category="RATE_LIMIT_ERROR")

    def respond(self, call: Call) -> Response:
        if call.bearer != KEY:
            return self.unauthorized()
        route = f"{call.method} {call.path}"
        _only(dict(call.query), _QUERIES.get(route, ()))
        if route == "POST /v2/events":
            answer = self._search(_body(call))
            self.meanwhile()
            return answer
        if route in ("PUT /v2/events/enable", "PUT /v2/events/disable"):
            self.searchable = route.endswith("/enable")
            return Response.of(200, {})
        if route == "GET /v2/webhooks/event-types":
            return Response.of(200, {"event_types": [*self.types, *self.others]})
        if call.path == _HOOKS and call.method in ("GET", "POST"):
            return self._create(call) if call.method == "POST" else self._list(call)
        return self._subscription(call)

    def _search(self, body: Any) -> Response:
        given = _read(body, {"cursor": str, "limit": int, "query": dict})
        query = _read(given.get("query", {}), {"filter": dict, "sort": dict})
        sort = _read(query.get("sort", {}), {"field": str, "order": str})
        if sort.get("field", "DEFAULT") != "DEFAULT":
            _refuse("INVALID_ENUM_VALUE", "query.sort.field")
        found = sorted(self._wanted(query.get("filter", {})), key=_place)
        if _descending(sort.get("order", "DESC")):
            found.reverse()
        # A cursor belongs to the query that it was given for.
        text = json.dumps(query, sort_keys=True)
        shown, more = self._page(found, "event_id", given, text)
        return Response.of(200, self._events(shown) | more)

    def _wanted(self, filters: Any) -> list[dict[str, Any]]:
        given = _read(filters, _FILTERED)
        self._check_types(given.get("event_types", []))
        created = _read(given.get("created_at", {}), {"start_at": str, "end_at": str})
        oldest = self.now() - _KEPT
        start, end = (_time(created, name, _ALWAYS[name]) for name in _ALWAYS)
        if start > end:
            _refuse("INVALID_TIME_RANGE", "query.filter.created_at")
        return [
            each
            for each in self.events
            if max(start, oldest) <= datetime.fromisoformat(each["created_at"]) < end
            and _among(each, given)
        ]

    def _events(self, shown: list[dict[str, Any]]) -> dict[str, Any]:
        """An empty list is left out. The version is the application's, not a subscription's."""
        if not shown:
            return {}
        events = [
            each if self.zoned else each | {"created_at": each["created_at"].rstrip("Z")}
            for each in shown
        ]
        versions = [{"event_id": each["event_id"], "api_version": _VERSION} for each in shown]
        return {"events": events, "metadata": versions}

    def _page(
        self, found: list[dict[str, Any]], key: str, given: dict[str, Any], query: str
    ) -> tuple[list[dict[str, Any]], dict[str, str]]:
        limit = given.get("limit", self.page)
        if not 1 <= limit <= self.page:
            _refuse("VALUE_TOO_HIGH" if limit > self.page else "VALUE_TOO_LOW", "limit")
        if "cursor" in given:
            of, last = self._cursors.get(given["cursor"], ("", ""))
            ids = [each[key] for each in found]
            if of != query or last not in ids:
                _refuse("INVALID_CURSOR", "cursor")
            found = found[ids.index(last) + 1 :]
        if len(found) <= limit:
            return found, {}
        last = found[limit - 1][key]
        cursor = sha256(f"{query} {last}".encode()).hexdigest()
        self._cursors[cursor] = (query, last)
        return found[:limit], {"cursor": cursor}

    def _check_types(self, listed: list[Any]) -> None:
        for each in listed:
            if each not in (*self.types, *self.others):
                _refuse("INVALID_VALUE", "event_types")

    def _list(self, call: Call) -> Response:
        given: dict[str, Any] = dict(call.query)
        disabled, order = given.get("include_disabled", "false"), given.get("sort_order", "ASC")
        if disabled not in ("true", "false"):
            _refuse("EXPECTED_BOOLEAN", "include_disabled")
        if "limit" in given:
            given["limit"] = _whole(given["limit"])
        found = [_shown(each) for each in self.hooks if each.enabled or disabled == "true"]
        if _descending(order):
            found.reverse()
        shown, more = self._page(found, "id", given, f"{disabled} {order}")
        return Response.of(200, ({"subscriptions": shown} if shown else {}) | more)

    def _create(self, call: Call) -> Response:
        body = _read(_body(call), {"idempotency_key": str, "subscription": dict})
        key = body.get("idempotency_key", "")
        if len(key) > _LONGEST_KEY:
            _refuse("VALUE_TOO_LONG", "idempotency_key")
        if key in self._created:
            before, answer = self._created[key]
            if before != body:
                _refuse("IDEMPOTENCY_KEY_REUSED", "idempotency_key")
            return answer
        answer = self._made(self._settings(body))
        if key:
            self._created[key] = (body, answer)
        return answer

    def _made(self, given: dict[str, Any]) -> Response:
        for name in ("name", "notification_url", "event_types"):
            if name not in given:
                _refuse("MISSING_REQUIRED_PARAMETER", f"subscription.{name}")
        number = next(self._number)
        hook = Hook(
            id=f"wbhk_{number:032x}",
            url=given["notification_url"],
            types=set(given["event_types"]),
            secret=self._key(),
            enabled=given.get("enabled", True),
            more={"name": given["name"], "api_version": given.get("api_version", _VERSION)},
        )
        self.hooks.append(hook)
        return _answer(hook, key=True)

    def _subscription(self, call: Call) -> Response:
        id, _, action = call.path.removeprefix(f"{_HOOKS}/").partition("/")
        hook = self.found(id)
        if hook and (call.method, action) == ("GET", ""):
            return _answer(hook, key=True)
        if hook and (call.method, action) == ("PUT", ""):
            return self._change(call, hook)
        if hook and (call.method, action) == ("DELETE", ""):
            self.hooks.remove(hook)
            return Response.of(200, {})
        if hook and (call.method, action) == ("POST", "signature-key"):
            _read(_body(call), {"idempotency_key": str})
            hook.secret = self._key()
            return Response.of(200, {"signature_key": hook.secret})
        return _error(404, "NOT_FOUND", "Resource not found.")

    def _change(self, call: Call, hook: Hook) -> Response:
        given = self._settings(_read(_body(call), {"subscription": dict}))
        hook.url = given.get("notification_url", hook.url)
        hook.types = set(given.get("event_types", hook.types))
        hook.enabled = given.get("enabled", hook.enabled)
        hook.more |= {name: given[name] for name in hook.more.keys() & given}
        return _answer(hook, key=False)

    def _settings(self, body: dict[str, Any]) -> dict[str, Any]:
        """The settings of a subscription in a request. All of them can be missing."""
        if "subscription" not in body:
            _refuse("MISSING_REQUIRED_PARAMETER", "subscription")
        given = _read(body["subscription"], _SUBSCRIPTION)
        self._check_types(given.get("event_types", []))
        for name, pattern in _RIGHT.items():
            if name in given and not re.fullmatch(pattern, given[name]):
                _refuse("INVALID_VALUE", f"subscription.{name}")
        if given.get("event_types") == []:
            _refuse("ARRAY_LENGTH_TOO_SHORT", "subscription.event_types")
        return given

    def _key(self) -> str:
        return f"imitated{next(self._number):014d}"


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dated(value: Any, at: str) -> Any:
    if isinstance(value, dict):
        return {name: at if name in _TIMES else _dated(each, at) for name, each in value.items()}
    return value


def _place(event: dict[str, Any]) -> tuple[str, str]:
    return event["created_at"], event["event_id"]


def _among(event: dict[str, Any], given: dict[str, Any]) -> bool:
    return all(
        event.get(name) in given.get(f"{name}s", [event.get(name)])
        for name in ("merchant_id", "location_id")
    ) and event["type"] in given.get("event_types", [event["type"]])


def _time(given: dict[str, Any], name: str, default: str) -> datetime:
    text = given.get(name, default)
    if not _RFC_3339.fullmatch(text):
        _refuse("INVALID_TIME", f"query.filter.created_at.{name}")
    return datetime.fromisoformat(text)


def _descending(order: str) -> bool:
    if order not in ("ASC", "DESC"):
        _refuse("INVALID_ENUM_VALUE", "sort_order")
    return order == "DESC"


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else _refuse("EXPECTED_INTEGER", "limit")


def _body(call: Call) -> Any:
    if not (call.header("content-type") or "").startswith("application/json"):
        raise Refusal(_error(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be JSON."))
    return call.json


def _only(given: Mapping[str, Any], allowed: Collection[str]) -> None:
    for name in given.keys() - set(allowed):
        _refuse("BAD_REQUEST", name)


def _read(given: Any, fields: Mapping[str, type]) -> dict[str, Any]:
    """A JSON object, checked: fields that it may have, and their types."""
    if not isinstance(given, dict):
        _refuse("EXPECTED_JSON_BODY", "")
    _only(given, fields)
    for name, value in given.items():
        if type(value) is not fields[name]:
            _refuse(f"EXPECTED_{_EXPECTED[fields[name]]}", name)
    return given


def _answer(hook: Hook, *, key: bool) -> Response:
    shown = _shown(hook) | ({"signature_key": hook.secret} if key else {})
    return Response.of(200, {"subscription": shown})


def _shown(hook: Hook) -> dict[str, Any]:
    """As the list shows it, that is, without its signature key."""
    return {
        "id": hook.id,
        "enabled": hook.enabled,
        "event_types": sorted(hook.types),
        "notification_url": hook.url,
        "created_at": "2026-11-01 08:00:00 +0000 UTC",
        "updated_at": "2026-11-01 08:00:00 +0000 UTC",
        **hook.more,
    }


def _refuse(code: str, field: str) -> NoReturn:
    raise Refusal(_error(400, code, f"{code.replace('_', ' ').capitalize()}: {field}", field))


def _error(
    status: int, code: str, detail: str, field: str = "", category: str = "INVALID_REQUEST_ERROR"
) -> Response:
    told = {"category": category, "code": code, "detail": detail}
    return Response.of(status, {"errors": [told | ({"field": field} if field else {})]})
