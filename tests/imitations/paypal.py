"""PayPal's API: the events that it notifies of, and webhooks.

https://developer.paypal.com/docs/api/webhooks/v1/, https://developer.paypal.com/api/rest/authentication/,
https://developer.paypal.com/api/rest/responses/. The largest page, the order of the list and how far back
it goes are not documented: here 100, the newest first, and the 30 days that the dashboard shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar, NoReturn
from urllib.parse import urlencode, urlsplit

from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

CLIENT_ID = "imitated-client"
CLIENT_SECRET = "imitated-secret"
_SCOPE = "https://uri.paypal.com/services/applications/webhooks"
_KEPT = timedelta(days=30)
_TOKEN_LIVES = timedelta(hours=9)
_MOST_WEBHOOKS = 10
_MOST_EVENT_TYPES = 500
_LONGEST_URL = 2048
_ROOT = "/v1/notifications/"
_FILTERS = {"page_size", "start_time", "end_time", "transaction_id", "event_type"}
# Not documented as parameters: they stand in the links to other pages.
_POSITION = {"move_to", "index_time", "index_id"}
_QUERIES = {"webhooks-events": _FILTERS | _POSITION, "webhooks": {"anchor_type"}}
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TIMES = ("create_time", "update_time", "status_update_time")


@dataclass
class PayPal(Vendor):
    """`events` are all that happened, in any order."""

    name: ClassVar[str] = "paypal"
    pauses: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = {
        "PAYPAL_API_BASE": "{url}",
        "PAYPAL_CLIENT_ID": CLIENT_ID,
        "PAYPAL_CLIENT_SECRET": CLIENT_SECRET,
    }
    types: ClassVar[tuple[str, ...]] = tuple(providers.load("paypal").types)
    # Types that PayPal has and no mapper of ours reads.
    others: ClassVar[tuple[str, ...]] = (
        *providers.load("paypal").never,
        "INVOICING.INVOICE.PAID",
        "VAULT.PAYMENT-TOKEN.CREATED",
    )

    events: list[dict[str, Any]] = field(default_factory=list)
    _tokens: dict[str, datetime] = field(default_factory=dict)
    _number: Any = field(default_factory=lambda: count(1))

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        event = _dated(json.loads(webhook.body), _written(at))
        self.events.append(event)
        return replace(webhook, body=json.dumps(event, separators=(",", ":")).encode())

    def stray(self, at: datetime) -> None:
        """Something happens that nobody here reads, told in the fewest fields."""
        id, kind = f"WH-{next(self._number):017d}", "VAULT.PAYMENT-TOKEN.CREATED"
        told = {"id": id, "create_time": _written(at), "event_type": kind, "resource": {}}
        self.events.append(told)

    def unauthorized(self) -> Response:
        told = {"error": "invalid_client", "error_description": "Client Authentication failed"}
        return Response.of(401, told)

    def too_many(self, seconds: int) -> Response:
        # PayPal does not say when to come back.
        del seconds
        return _error(429, "RATE_LIMIT_REACHED")

    def respond(self, call: Call) -> Response:
        if call.path == "/v1/oauth2/token" and call.method == "POST":
            return self._token(call)
        if self._tokens.get(call.bearer or "", self.now()) <= self.now():
            return _error(401, "AUTHENTICATION_FAILURE")
        path = call.path.removeprefix(_ROOT).rstrip("/")
        _only(call, _QUERIES.get(path, set()))
        collection, _, rest = path.partition("/")
        if collection == "webhooks":
            return self._webhooks(call, rest)
        if collection == "webhooks-events":
            return self._events(call, rest)
        if path == "webhooks-event-types":
            return Response.of(200, {"event_types": _types({*self.types, *self.others})})
        return _error(404, "RESOURCE_NOT_FOUND")

    def _token(self, call: Call) -> Response:
        if call.basic != (CLIENT_ID, CLIENT_SECRET):
            return self.unauthorized()
        if call.form != [("grant_type", "client_credentials")]:
            told = {"error": "unsupported_grant_type", "error_description": "Grant Type is NULL"}
            return Response.of(400, told)
        token = f"A21AA{next(self._number):059d}"
        self._tokens[token] = self.now() + _TOKEN_LIVES
        told = {"access_token": token, "token_type": "Bearer", "scope": _SCOPE}
        return Response.of(200, told | {"expires_in": int(_TOKEN_LIVES.total_seconds())})

    def _events(self, call: Call, rest: str) -> Response:
        if not rest and call.method == "GET":
            answer = self._list(call)
            self.meanwhile()
            return answer
        id, _, action = rest.partition("/")
        event = next((each for each in self.events if each["id"] == id), None)
        if not event or (call.method, action) not in (("GET", ""), ("POST", "resend")):
            return _error(404, "RESOURCE_NOT_FOUND")
        if action:
            self._check_resend(call)
        return Response.of(202 if action else 200, event)

    def _check_resend(self, call: Call) -> None:
        ids = _fields(_body(call), {"webhook_ids"}).get("webhook_ids", [])
        if not isinstance(ids, list) or not all(self.found(id) for id in ids):
            _refuse("VALIDATION_ERROR", "webhook_ids", "Not webhooks of this app")

    def _list(self, call: Call) -> Response:
        size = _size(call, self.page)
        found = self._after(call, self._within(call))
        # A page may hold fewer than were asked for, without being the last one.
        shown = found if len(found) <= size else found[: max(1, size - 1)]
        links = [] if shown == found else [_next(call, shown[-1])]
        return Response.of(200, {"events": shown, "count": len(shown), "links": links})

    def _within(self, call: Call) -> list[dict[str, Any]]:
        """What the filters let through, the newest first. Both bounds of the time are inclusive."""
        now = self.now()
        start, end = _time(call, "start_time", now - _KEPT), _time(call, "end_time", now)
        kind, resource = call.one("event_type"), call.one("transaction_id")
        if start > end:
            _refuse("VALIDATION_ERROR", "start_time", "Later than end_time", "query")
        if kind and kind not in (*self.types, *self.others):
            _refuse("VALIDATION_ERROR", "event_type", "Not a valid event type", "query")
        found = [
            each
            for each in self.events
            if max(start, now - _KEPT) <= datetime.fromisoformat(each["create_time"]) <= end
            and kind in ("", each["event_type"])
            and resource in ("", each["resource"].get("id"))
        ]
        return sorted(found, key=_place, reverse=True)

    def _after(self, call: Call, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What comes after the place that a link leads to."""
        if not any(name in _POSITION for name, _ in call.query):
            return found
        place = (call.one("index_time"), call.one("index_id"))
        if call.one("move_to") != "next" or place not in map(_place, self.events):
            _refuse("VALIDATION_ERROR", "index_id", "Not a place in the list", "query")
        return [each for each in found if _place(each) < place]

    def _webhooks(self, call: Call, id: str) -> Response:
        if id or call.method not in ("GET", "POST"):
            hook = self.found(id)
            return self._one(call, hook) if hook else _error(404, "RESOURCE_NOT_FOUND")
        if call.method == "POST":
            return self._create(call)
        if call.one("anchor_type", "APPLICATION") != "APPLICATION":
            _refuse("VALIDATION_ERROR", "anchor_type", "Not an anchor type of this app", "query")
        return Response.of(200, {"webhooks": [_shown(each) for each in self.hooks]})

    def _one(self, call: Call, hook: Hook) -> Response:
        if call.method == "PATCH":
            return self._change(call, hook)
        if call.method == "DELETE":
            self.hooks.remove(hook)
            return Response(204)
        return Response.of(200, _shown(hook))

    def _create(self, call: Call) -> Response:
        given = _fields(_body(call), {"url", "event_types"})
        types, url = self._subscribed(given.get("event_types")), self._url(given.get("url"))
        if len(self.hooks) >= _MOST_WEBHOOKS:
            _refuse("WEBHOOK_NUMBER_LIMIT_EXCEEDED")
        id = f"{next(self._number):016d}P"
        hook = Hook(id=id, url=url, types=types, secret=id)
        self.hooks.append(hook)
        return Response.of(201, _shown(hook))

    def _change(self, call: Call, hook: Hook) -> Response:
        asked = {"/url": hook.url, "/event_types": _types(hook.types)}
        for patch in _patches(call):
            asked[patch["path"]] = patch["value"]
        types = self._subscribed(asked["/event_types"])
        if (asked["/url"], types) == (hook.url, hook.types):
            _refuse("WEBHOOK_PATCH_REQUEST_NO_CHANGE")
        hook.url = self._url(asked["/url"], hook)
        hook.types = types
        return Response.of(200, _shown(hook))

    def _url(self, url: Any, hook: Hook | None = None) -> str:
        if not isinstance(url, str) or len(url) > _LONGEST_URL or not _reachable(url):
            _refuse("VALIDATION_ERROR", "url", "Not a valid webhook URL")
        if any(each.url == url for each in self.hooks if each is not hook):
            _refuse("WEBHOOK_URL_ALREADY_EXISTS")
        return url

    def _subscribed(self, listed: Any) -> set[str]:
        if not isinstance(listed, list) or not 1 <= len(listed) <= _MOST_EVENT_TYPES:
            _refuse("VALIDATION_ERROR", "event_types", "1 to 500 event types")
        names = {str(_fields(each, {"name"}).get("name")) for each in listed}
        if unknown := names - {*self.types, *self.others, "*"}:
            _refuse("VALIDATION_ERROR", "event_types", f"Not valid event types: {unknown}")
        return names


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dated(value: Any, at: str) -> Any:
    if isinstance(value, list):
        return [_dated(each, at) for each in value]
    if isinstance(value, dict):
        return {name: at if name in _TIMES else _dated(each, at) for name, each in value.items()}
    return value


def _place(event: dict[str, Any]) -> tuple[str, str]:
    return event["create_time"], event["id"]


def _next(call: Call, last: dict[str, Any]) -> dict[str, str]:
    kept = [(name, value) for name, value in call.query if name not in _POSITION]
    time, id = _place(last)
    query = urlencode([*kept, ("move_to", "next"), ("index_time", time), ("index_id", id)])
    url = f"http://{call.header('host')}{_ROOT}webhooks-events/?{query}"
    return {"href": url, "rel": "next", "method": "GET"}


def _only(call: Call, allowed: set[str]) -> None:
    for name, _ in call.query:
        if name not in allowed or len(call.every(name)) > 1:
            _refuse("VALIDATION_ERROR", name, "Unknown, or given twice", "query")


def _size(call: Call, most: int) -> int:
    text = call.one("page_size", "10")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        _refuse("VALIDATION_ERROR", "page_size", f"1 to {most}", "query")
    return int(text)


def _time(call: Call, name: str, default: datetime) -> datetime:
    text = call.one(name, _written(default))
    if not _RFC_3339.fullmatch(text):
        _refuse("VALIDATION_ERROR", name, "Not in Internet date and time format", "query")
    return datetime.fromisoformat(text)


def _body(call: Call) -> Any:
    if not (call.header("content-type") or "").startswith("application/json"):
        raise Refusal(_error(415, "UNSUPPORTED_MEDIA_TYPE"))
    if call.json is None:
        _refuse("INVALID_REQUEST")
    return call.json


def _fields(given: Any, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        _refuse("INVALID_REQUEST")
    for name in given.keys() - allowed:
        _refuse("VALIDATION_ERROR", name, "Unknown field")
    return given


def _patches(call: Call) -> list[dict[str, Any]]:
    given = _body(call)
    if not isinstance(given, list) or not given:
        _refuse("INVALID_REQUEST")
    for each in given:
        patch = _fields(each, {"op", "path", "value"})
        if patch.get("op") != "replace" or "value" not in patch:
            _refuse("VALIDATION_ERROR", "op", "Only replace, with a value, is supported")
        if patch.get("path") not in ("/url", "/event_types"):
            _refuse("VALIDATION_ERROR", "path", "Not a path that can be replaced")
    return given


def _reachable(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and bool(parts.hostname) and parts.port in (None, 443)


def _types(names: set[str]) -> list[dict[str, str]]:
    return [{"name": name} for name in sorted(names)]


def _shown(hook: Hook) -> dict[str, Any]:
    url = f"https://api.paypal.com{_ROOT}webhooks/{hook.id}"
    links = {"self": "GET", "update": "PATCH", "delete": "DELETE"}
    return {
        "id": hook.id,
        "url": hook.url,
        "event_types": [each | {"description": ""} for each in _types(hook.types)],
        "links": [{"href": url, "rel": rel, "method": method} for rel, method in links.items()],
    }


def _refuse(name: str, where: str = "", issue: str = "", location: str = "body") -> NoReturn:
    details = [{"field": where, "location": location, "issue": issue}] if where else []
    raise Refusal(_error(400, name, details))


def _error(status: int, name: str, details: list[dict[str, str]] | None = None) -> Response:
    told = {
        "name": name,
        "message": name.replace("_", " ").capitalize(),
        "debug_id": "imitated",
        "information_link": f"https://developer.paypal.com/docs/api/webhooks/v1/#error-{name}",
        "details": details or [],
    }
    return Response.of(status, told, {"Paypal-Debug-Id": "imitated"})
