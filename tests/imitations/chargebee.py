"""Chargebee's API, version 2: events, and webhook endpoints.

https://apidocs.chargebee.com/docs/api/events/list-events,
https://apidocs.chargebee.com/docs/api/webhook_endpoints,
https://apidocs.chargebee.com/docs/api/error-handling
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any, ClassVar, NoReturn, TypeAlias

from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

# Where an item stands in its list, which is what an offset names; and the item.
Row: TypeAlias = tuple[tuple[int, int], dict[str, Any]]
Test: TypeAlias = Callable[[Mapping[str, Any]], bool]

KEY = "test_imitatedkey"
_ENDPOINTS = "/api/v2/webhook_endpoints"
# What Chargebee's console shows. How long the API lists events is not documented.
_KEPT = timedelta(days=90)
# A filter by webhook status alone looks no further back.
_STATUSES_KEPT = timedelta(days=6)
_MOST_ENDPOINTS = 5
# Types that Chargebee has and no mapper of ours reads.
_OTHERS = ("invoice_generated", "invoice_updated", "customer_changed", "mrr_updated")
_TYPES = (*providers.load("chargebee").types, *_OTHERS)
_EVENT_FILTERS = {
    "id": r"\w+",
    "event_type": "|".join(_TYPES),
    "source": "admin_console|api|bulk_operation|scheduled_job|hosted_page|portal|system|none|js_api"
    "|migration|external_service",
    "webhook_status": "not_configured|scheduled|succeeded|re_scheduled|failed|skipped"
    "|not_applicable|disabled|rate_limited",
}
_LISTED = re.compile(
    r"limit|offset|sort_by\[(?:asc|desc)\]|occurred_at\[(?:after|before|on|between)\]"
    rf"|(?:{'|'.join(_EVENT_FILTERS)})\[(?:is|is_not|in|not_in)\]"
)
_WINDOWED = {"webhook_status", "occurred_at"}
# Chargebee's library for Python writes lists with single quotes.
_LISTED_VALUE = r"""(?:"\w+"|'\w+'|\d+)"""
_BOOLEAN = "true|false"
_CHANGED = {
    "name": ".{1,50}",
    "url": r"(?=.{1,512}$)https://[^/:]+(?::(?:80|443|8080|8443))?(?:/.*)?",
    "api_version": "v1|v2",
    "primary_url": _BOOLEAN,
    "disabled": _BOOLEAN,
    "send_card_resource": _BOOLEAN,
    "basic_auth_username": ".{0,250}",
    "basic_auth_password": ".{0,250}",
    "enabled_events": "|".join(_TYPES),
}
_TEXTS = ("name", "api_version", "chargebee_response_schema_type")
_FLAGS = ("primary_url", "send_card_resource")
_MADE = {**_CHANGED, "chargebee_response_schema_type": "plans_addons|items|compat"}


@dataclass
class Chargebee(Vendor):
    """`events` are in the order in which they happened, which may not be that of their times."""

    name: ClassVar[str] = "chargebee"
    environment: ClassVar[Mapping[str, str]] = {
        "CHARGEBEE_API_BASE": "{url}",
        "CHARGEBEE_SITE": "imitated-shop",
        "CHARGEBEE_API_KEY": KEY,
    }
    types: ClassVar[tuple[str, ...]] = tuple(providers.load("chargebee").types)

    events: list[dict[str, Any]] = field(default_factory=list)
    _number: Any = field(default_factory=lambda: count(1))

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        event = {**json.loads(webhook.body), "occurred_at": int(at.timestamp())}
        self.events.append(event)
        return replace(webhook, body=json.dumps(event).encode())

    def unauthorized(self) -> Response:
        return _error(401, "api_authentication_failed", "Sorry, authentication failed.")

    def too_many(self, seconds: int) -> Response:
        message = "Sorry, the API request limit is exceeded."
        response = _error(429, "api_request_limit_exceeded", message, kind="operation_failed")
        return replace(response, headers={**response.headers, "Retry-After": str(seconds)})

    def respond(self, call: Call) -> Response:
        if call.basic != (KEY, ""):
            return self.unauthorized()
        if call.request.body and not call.form:
            raise Refusal(_error(400, "invalid_request", "The body is not form-encoded."))
        match call.method, call.path:
            case "GET", "/api/v2/events":
                return self._events(call)
            case "GET", "/api/v2/webhook_endpoints":
                return self._list(call)
            case "POST", "/api/v2/webhook_endpoints":
                return self._create(call)
        return self._one(call)

    def _one(self, call: Call) -> Response:
        endpoints, _, rest = call.path.partition(f"{_ENDPOINTS}/")
        id, _, action = rest.partition("/")
        hook = self.found(id)
        if endpoints or hook is None or action not in ("", "delete"):
            raise Refusal(_error(404, "resource_not_found", f"{call.path} is not present"))
        match call.method, action:
            case "GET", "":
                return _shown(hook)
            case "POST", "":
                return self._change(call, hook)
            case "POST", "delete":
                self.hooks.remove(hook)
                return _shown(hook)
        raise Refusal(_error(405, "http_method_not_supported", f"{call.method} is not supported"))

    def _events(self, call: Call) -> Response:
        _only(call.query, _LISTED)
        oldest = (self.now() - _reach(call)).timestamp()
        tests = [_test(name, value) for name, value in call.query if _is_filter(name)]
        rows = [
            ((event["occurred_at"], number), event)
            for number, event in enumerate(self.events)
            if event["occurred_at"] >= oldest and all(test(event) for test in tests)
        ]
        answer = _page(call, rows, "event", self.page)
        self.meanwhile()
        return answer

    def _list(self, call: Call) -> Response:
        _only(call.query, re.compile("limit|offset"))
        rows = [((0, number), _resource(hook)) for number, hook in enumerate(self.hooks)]
        answer = _page(call, rows, "webhook_endpoint", self.page)
        self.meanwhile()
        return answer

    def _create(self, call: Call) -> Response:
        given = _given(call, _MADE)
        for name in ("name", "url"):
            if name not in given:
                message = f"{name} : cannot be blank"
                raise Refusal(_error(400, "invalid_request", message, name))
        if len(self.hooks) >= _MOST_ENDPOINTS:
            message = "You can create up to five webhook endpoints."
            raise Refusal(_error(400, "invalid_request", message))
        # Without types it is sent all of them.
        hook = Hook(id=f"whv2_{next(self._number):016d}", url="", types=set(_TYPES), secret=":")
        hook.more = {
            "primary_url": not self.hooks,
            "send_card_resource": False,
            "api_version": "v2",
        }
        _apply(hook, given)
        self.hooks.append(hook)
        return _shown(hook)

    def _change(self, call: Call, hook: Hook) -> Response:
        _apply(hook, _given(call, _CHANGED))
        return _shown(hook)


def _reach(call: Call) -> timedelta:
    names = {name.partition("[")[0] for name, _ in call.query}
    return _STATUSES_KEPT if names & _WINDOWED == {"webhook_status"} else _KEPT


def _is_filter(name: str) -> bool:
    return "[" in name and not name.startswith("sort_by")


def _test(parameter: str, value: str) -> Test:
    """Whether an event is one that the parameter asks for."""
    name, _, operator = parameter.rstrip("]").partition("[")
    if name == "occurred_at":
        return _dated(operator, value)
    wanted = _several(parameter, value) if operator.endswith("in") else [value]
    for each in wanted:
        _check(parameter, each, _EVENT_FILTERS[name])
    return lambda event: any(each in wanted for each in _held(event, name)) != ("not" in operator)


def _held(event: Mapping[str, Any], name: str) -> Iterable[str]:
    """The values of an attribute. An event has one status in all, and one at each endpoint."""
    yield event[name]
    if name == "webhook_status":
        yield from (webhook[name] for webhook in event["webhooks"])


def _dated(operator: str, value: str) -> Test:
    parameter = f"occurred_at[{operator}]"
    values = _several(parameter, value) if operator == "between" else [value, value]
    if len(values) != 2:
        _wrong(parameter)
    first, last = (_whole(parameter, each) for each in values)
    tests: Mapping[str, Callable[[int], bool]] = {
        "after": lambda at: at > first,
        "before": lambda at: at < first,
        "on": lambda at: _day(at) == _day(first),
        "between": lambda at: first <= at <= last,
    }
    return lambda event: tests[operator](event["occurred_at"])


def _day(seconds: int) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()


def _several(parameter: str, value: str) -> list[str]:
    _check(parameter, value, rf"\[{_LISTED_VALUE}(?:, ?{_LISTED_VALUE})*\]")
    return re.findall(r"\w+", value)


def _whole(parameter: str, value: str) -> int:
    _check(parameter, value, r"\d{1,10}")
    return int(value)


def _page(call: Call, rows: list[Row], name: str, most: int) -> Response:
    limit = _whole("limit", call.one("limit", "10"))
    if not 1 <= limit <= most:
        _wrong("limit")
    ascending = _is_ascending(call)
    rows = sorted(rows, key=lambda row: row[0], reverse=not ascending)
    if offset := call.one("offset"):
        last = _place(offset)
        rows = [row for row in rows if (row[0] > last if ascending else row[0] < last)]
    told: dict[str, Any] = {"list": [{name: item} for _, item in rows[:limit]]}
    if len(rows) > limit:
        told["next_offset"] = _offset(rows[limit - 1][0])
    return Response.of(200, told)


def _is_ascending(call: Call) -> bool:
    """The newest come first unless asked otherwise."""
    for parameter in ("sort_by[asc]", "sort_by[desc]"):
        _check(parameter, call.one(parameter, "occurred_at"), "occurred_at")
    return bool(call.one("sort_by[asc]"))


def _offset(place: tuple[int, int]) -> str:
    return json.dumps([str(each) for each in place])


def _place(offset: str) -> tuple[int, int]:
    _check("offset", offset, r'\["\d+", "\d+"\]')
    time, number = json.loads(offset)
    return int(time), int(number)


def _only(given: Iterable[tuple[str, str]], allowed: re.Pattern[str]) -> None:
    for name, _ in given:
        if not allowed.fullmatch(name):
            _wrong(name)


def _given(call: Call, allowed: Mapping[str, str]) -> dict[str, str]:
    """What a form has. It is refused where it is wrong."""
    for parameter, value in (*call.form, *call.query):
        name = re.sub(r"(?<=^enabled_events)\[\d+\]$", "", parameter)
        _check(parameter, value, allowed.get(name, "(?!)"))
    return dict(call.form)


def _apply(hook: Hook, given: Mapping[str, str]) -> None:
    hook.url = given.get("url", hook.url)
    hook.enabled = given.get("disabled", str(not hook.enabled).lower()) == "false"
    hook.types = {given[name] for name in given if name.startswith("enabled")} or hook.types
    user, _, password = hook.secret.partition(":")
    user = given.get("basic_auth_username", user)
    hook.secret = f"{user}:{given.get('basic_auth_password', password)}"
    hook.more |= {name: given[name] for name in _TEXTS if name in given}
    hook.more |= {name: given[name] == "true" for name in _FLAGS if name in given}


def _resource(hook: Hook) -> dict[str, Any]:
    """An endpoint as it is shown, without its user name and its password."""
    return {
        "id": hook.id,
        "url": hook.url,
        "disabled": not hook.enabled,
        "enabled_events": sorted(hook.types),
        "object": "webhook_endpoint",
        **hook.more,
    }


def _shown(hook: Hook) -> Response:
    return Response.of(200, {"webhook_endpoint": _resource(hook)})


def _check(parameter: str, value: str, pattern: str) -> None:
    if not re.fullmatch(pattern, value):
        _wrong(parameter)


def _wrong(parameter: str) -> NoReturn:
    raise Refusal(_error(400, "param_wrong_value", f"{parameter} : invalid value", parameter))


def _error(
    status: int, code: str, message: str, parameter: str = "", kind: str = "invalid_request"
) -> Response:
    told = {"message": message, "type": kind, "api_error_code": code, "http_status_code": status}
    return Response.of(status, told | ({"param": parameter} if parameter else {}))
