"""RevenueCat's API, version 2: webhook integrations. It has no list of events.

https://www.revenuecat.com/docs/api-v2#tag/Integration, #tag/Pagination, #tag/Rate-Limit and
#tag/Error-Handling of the same page
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, ClassVar, NoReturn

from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks import providers
from linkrunner_webhooks_local.loopback import Response

KEY = "sk_imitated"
PROJECT = "proj1ab2c3d4"
_ENDPOINTS = f"/v2/projects/{PROJECT}/integrations/webhooks"
# Types that RevenueCat has and no mapper of ours reads.
_OTHERS = ("INVOICE_ISSUANCE", "TEMPORARY_ENTITLEMENT_GRANT", "VIRTUAL_CURRENCY_TRANSACTION")
_TYPES = (*providers.load("revenuecat").types, *_OTHERS)
_PATTERNS = {
    "name": ".{1,255}",
    "url": r"https://[^/]+(?:/.*)?",
    "authorization_header": ".*",
    "environment": "production|sandbox",
    "app_id": r"\w{1,255}",
}
_NULLABLE = ("authorization_header", "environment", "app_id", "event_types")


@dataclass
class RevenueCat(Vendor):
    name: ClassVar[str] = "revenuecat"
    pauses: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = {
        "REVENUECAT_API_BASE": "{url}",
        "REVENUECAT_API_KEY": KEY,
        "REVENUECAT_PROJECT": PROJECT,
    }

    _number: Any = field(default_factory=lambda: count(1))

    def unauthorized(self) -> Response:
        return _error(401, "authentication_error", "Invalid API key.")

    def too_many(self, seconds: int) -> Response:
        response = _error(429, "rate_limit_error", "Rate limit exceeded", backoff_ms=seconds * 1000)
        return replace(response, headers={**response.headers, "Retry-After": str(seconds)})

    def respond(self, call: Call) -> Response:
        if call.bearer != KEY:
            return self.unauthorized()
        if re.match(rf"/v2/projects/(?!{PROJECT}/)", call.path):
            return _error(403, "authorization_error", "The API key does not belong to the project.")
        match call.method, call.path:
            case "GET", path if path == _ENDPOINTS:
                return self._list(call)
            case "POST", path if path == _ENDPOINTS:
                return self._create(call)
        return self._one(call)

    def _one(self, call: Call) -> Response:
        endpoints, _, id = call.path.rpartition("/")
        hook = self.found(id)
        if endpoints != _ENDPOINTS or hook is None:
            raise Refusal(_error(404, "resource_missing", "Could not find the resource."))
        match call.method:
            case "GET":
                return Response.of(200, _shown(hook))
            case "POST":
                _apply(hook, _given(call))
                return Response.of(200, _shown(hook))
            case "DELETE":
                self.hooks.remove(hook)
                gone = {"object": "webhook_integration", "id": hook.id, "deleted_at": self._ms()}
                return Response.of(200, gone)
        raise Refusal(_error(400, "invalid_request", f"{call.method} is not for this path."))

    def _list(self, call: Call) -> Response:
        for name, _ in call.query:
            if name not in ("limit", "starting_after"):
                _wrong(name, "is unknown")
        limit = self._limit(call.one("limit", "20"))
        hooks = self._after(call.one("starting_after"))
        told: dict[str, Any] = {
            "object": "list",
            "items": [_shown(hook) for hook in hooks[:limit]],
            "url": _ENDPOINTS,
        }
        if len(hooks) > limit:
            told["next_page"] = f"{_ENDPOINTS}?starting_after={hooks[limit - 1].id}"
        self.meanwhile()
        return Response.of(200, told)

    def _ms(self) -> int:
        return int(self.now().timestamp() * 1000)

    def _limit(self, value: str) -> int:
        if not value.isdigit() or not 1 <= int(value) <= self.page:
            _wrong("limit", "must be a number from 1 to 100")
        return int(value)

    def _after(self, id: str) -> list[Hook]:
        if not id:
            return self.hooks
        hook = self.found(id)
        if hook is None:
            _wrong("starting_after", "is not in the list")
        return self.hooks[self.hooks.index(hook) + 1 :]

    def _create(self, call: Call) -> Response:
        given = _given(call)
        for name in ("name", "url"):
            if name not in given:
                _wrong(name, "is required")
        hook = Hook(id=f"whintgr{next(self._number):08d}", url="", types=set(_TYPES), secret="")
        hook.more = dict.fromkeys(("event_types", "environment", "app_id"))
        hook.more["created_at"] = self._ms()
        _apply(hook, given)
        self.hooks.append(hook)
        return Response.of(201, _shown(hook))


def _given(call: Call) -> dict[str, Any]:
    """What a body has. It is refused where it is wrong."""
    for name, _ in call.query:
        _wrong(name, "is unknown")
    if not isinstance(call.json, dict):
        raise Refusal(_error(400, "invalid_request", "Content-Type must be application/json."))
    for name, value in call.json.items():
        _check(name, value)
    return dict(call.json)


def _check(name: str, value: object) -> None:
    if value is None and name in _NULLABLE:
        return
    if name == "event_types":
        _check_types(value)
    elif name not in _PATTERNS:
        _wrong(name, "is unknown")
    elif not isinstance(value, str) or not re.fullmatch(_PATTERNS[name], value):
        _wrong(name, "is invalid")


def _check_types(types: object) -> None:
    known = [each.lower() for each in _TYPES]
    if not isinstance(types, list) or not types or not all(each in known for each in types):
        _wrong("event_types", "is not a list of event types")


def _apply(hook: Hook, given: Mapping[str, Any]) -> None:
    hook.url = given.get("url", hook.url)
    hook.secret = given.get("authorization_header", hook.secret) or ""
    if "event_types" in given:
        # Without types it is sent all of them.
        types = given["event_types"]
        hook.types = {each.upper() for each in types} if types else set(_TYPES)
    hook.more |= {
        name: given[name]
        for name in ("name", "environment", "app_id", "event_types")
        if name in given
    }


def _shown(hook: Hook) -> dict[str, Any]:
    """An integration as it is shown, without its authorization header."""
    return {
        "object": "webhook_integration",
        "id": hook.id,
        "project_id": PROJECT,
        "url": hook.url,
        **hook.more,
    }


def _wrong(parameter: str, reason: str) -> NoReturn:
    raise Refusal(_error(400, "parameter_error", f"{parameter} {reason}", param=parameter))


def _error(status: int, kind: str, message: str, **more: object) -> Response:
    told = {
        "object": "error",
        "type": kind,
        "message": message,
        "retryable": "backoff_ms" in more,
        "doc_url": f"https://errors.rev.cat/{kind.replace('_', '-')}",
        **more,
    }
    return Response.of(status, told)
