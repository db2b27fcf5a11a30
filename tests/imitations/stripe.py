"""Stripe's API: events, and webhook endpoints.

https://docs.stripe.com/api/events/list, https://docs.stripe.com/api/webhook_endpoints,
https://docs.stripe.com/api/pagination, https://docs.stripe.com/api/errors
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, ClassVar

from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

KEY = "rk_live_imitated"
_KEPT = timedelta(days=30)
_MOST_TYPES = 20
_MOST_ENDPOINTS = 16
_LISTED = re.compile(
    r"limit|starting_after|ending_before|type|types\[\d*\]|created\[(?:gte?|lte?)\]"
)
_MADE = re.compile(r"url|enabled_events\[\d*\]|api_version|description|connect|metadata\[\w+\]")
_CHANGED = re.compile(r"url|enabled_events\[\d*\]|disabled|description|metadata\[\w+\]")
# Types that Stripe has and no mapper of ours reads.
_OTHERS = ("account.updated", "payout.paid", "product.created", "refund.created")


@dataclass
class Stripe(Vendor):
    """`events` are the newest first, as listed; `thin` are the URLs of destinations for thin events."""

    name: ClassVar[str] = "stripe"
    environment: ClassVar[Mapping[str, str]] = {
        "STRIPE_API_BASE": "{url}",
        "STRIPE_API_KEY": KEY,
    }
    types: ClassVar[tuple[str, ...]] = tuple(providers.load("stripe").types)

    events: list[dict[str, Any]] = field(default_factory=list)
    thin: list[str] = field(default_factory=list)
    _number: Any = field(default_factory=lambda: count(1))

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        event = {**json.loads(webhook.body), "created": int(at.timestamp())}
        self.events.append(event)
        self.events.sort(key=lambda each: each["created"], reverse=True)
        # What is delivered is printed over several lines; what is listed need not be.
        return replace(webhook, body=json.dumps(event, indent=2).encode())

    def unauthorized(self) -> Response:
        return _error(401, "invalid_request_error", "Invalid API Key provided: rk_live_****ated")

    def too_many(self, seconds: int) -> Response:
        response = _error(
            429, "invalid_request_error", "Request rate limit exceeded.", "rate_limit"
        )
        return replace(response, headers={**response.headers, "Retry-After": str(seconds)})

    def respond(self, call: Call) -> Response:
        user = call.bearer or (call.basic or ("", ""))[0]
        if user != KEY:
            return self.unauthorized()
        if call.path == "/v1/events" and call.method == "GET":
            answer = self._events(call)
            self.meanwhile()
            return answer
        if call.path == "/v2/core/event_destinations" and call.method == "GET":
            return self._destinations(call)
        if call.path == "/v1/webhook_endpoints":
            return self._list(call) if call.method == "GET" else self._create(call)
        prefix, _, id = call.path.rpartition("/")
        hook = self.found(id)
        if prefix != "/v1/webhook_endpoints" or hook is None:
            return _error(404, "invalid_request_error", f"Unrecognized request URL ({call.method})")
        return self._one(call, hook)

    def _one(self, call: Call, hook: Hook) -> Response:
        if call.method == "POST":
            return self._change(call, hook)
        if call.method == "DELETE":
            self.hooks.remove(hook)
            return Response.of(200, {"id": hook.id, "object": "webhook_endpoint", "deleted": True})
        return Response.of(200, _shown(hook))

    def _events(self, call: Call) -> Response:
        _only(call.query, _LISTED)
        types = [value for name, value in call.query if name.startswith("type")]
        if len(types) > _MOST_TYPES:
            raise Refusal(_error(400, "invalid_request_error", "types: at most 20"))
        for each in types:
            if each not in (*self.types, *_OTHERS):
                raise Refusal(_error(400, "invalid_request_error", "Invalid event type"))
        oldest = (self.now() - _KEPT).timestamp()
        found = [each for each in self.events if each["created"] >= oldest]
        found = [each for each in found if not types or each["type"] in types]
        for name, value in call.query:
            if name.startswith("created["):
                found = [each for each in found if _holds(each["created"], name, int(value))]
        return Response.of(200, self._page(call, found, "/v1/events"))

    def _destinations(self, call: Call) -> Response:
        """https://docs.stripe.com/api/v2/core/event-destinations/list"""
        _only(call.query, re.compile(r"limit|page|include\[\d\]|object_ids\[\d\]"))
        if not call.header("stripe-version"):
            raise Refusal(_error(400, "invalid_request_error", "Stripe-Version is required"))
        shows = "webhook_endpoint.url" in dict(call.query).values()
        found = [
            {
                "id": f"ed_{number}",
                "object": "v2.core.event_destination",
                "enabled_events": ["v1.charge.refunded"],
                "event_payload": "thin",
                "status": "enabled",
                "type": "webhook_endpoint",
                "webhook_endpoint": {"url": url if shows else None},
            }
            for number, url in enumerate(self.thin)
        ]
        return Response.of(200, {"data": found, "next_page_url": None, "previous_page_url": None})

    def _page(self, call: Call, found: list[dict[str, Any]], url: str) -> dict[str, Any]:
        limit = int(call.one("limit", "10"))
        if not 1 <= limit <= self.page:
            raise Refusal(_error(400, "invalid_request_error", "limit: 1 to 100"))
        if after := call.one("starting_after"):
            ids = [each["id"] for each in found]
            if after not in ids:
                raise Refusal(_error(400, "invalid_request_error", f"No such object: '{after}'"))
            found = found[ids.index(after) + 1 :]
        return {
            "object": "list",
            "url": url,
            "has_more": len(found) > limit,
            "data": found[:limit],
        }

    def _list(self, call: Call) -> Response:
        _only(call.query, re.compile(r"limit|starting_after|ending_before"))
        found = [_shown(hook) for hook in reversed(self.hooks)]
        return Response.of(200, self._page(call, found, "/v1/webhook_endpoints"))

    def _create(self, call: Call) -> Response:
        _only(call.form, _MADE)
        given = dict(call.form)
        if len(self.hooks) >= _MOST_ENDPOINTS:
            message = "You have reached the maximum of 16 test webhook endpoints."
            raise Refusal(_error(400, "invalid_request_error", message))
        number = next(self._number)
        hook = Hook(
            id=f"we_{number:024d}",
            url=_url(given),
            types=self._enabled(call) or _missing("enabled_events"),
            secret=f"whsec_{number:032d}",
            more={
                "api_version": given.get("api_version"),
                "description": given.get("description"),
                "metadata": {
                    name[9:-1]: value for name, value in given.items() if name.startswith("meta")
                },
            },
        )
        self.hooks.append(hook)
        return Response.of(200, {**_shown(hook), "secret": hook.secret})

    def _change(self, call: Call, hook: Hook) -> Response:
        _only(call.form, _CHANGED)
        given = dict(call.form)
        hook.url = _url(given) if "url" in given else hook.url
        hook.types = self._enabled(call) or hook.types
        hook.enabled = given.get("disabled", str(not hook.enabled).lower()) != "true"
        return Response.of(200, _shown(hook))

    def _enabled(self, call: Call) -> set[str]:
        types = {value for name, value in call.form if name.startswith("enabled_events[")}
        for each in types - {"*"}:
            if each not in (*self.types, *_OTHERS):
                message = f"Invalid enabled_events[0]: must be one of ..., not {each}"
                raise Refusal(_error(400, "invalid_request_error", message))
        return types


def _only(given: list[tuple[str, str]], allowed: re.Pattern[str]) -> None:
    for name, _ in given:
        if not allowed.fullmatch(name):
            message = f"Received unknown parameter: {name}"
            raise Refusal(_error(400, "invalid_request_error", message, "parameter_unknown"))


def _holds(created: int, name: str, bound: int) -> bool:
    return {
        "created[gt]": created > bound,
        "created[gte]": created >= bound,
        "created[lt]": created < bound,
        "created[lte]": created <= bound,
    }[name]


def _url(given: Mapping[str, str]) -> str:
    url = given.get("url") or _missing("url")
    # In live mode: https alone.
    if not url.startswith("https://"):
        raise Refusal(
            _error(400, "invalid_request_error", "Invalid URL: must be https", "url_invalid")
        )
    return url


def _missing(name: str) -> Any:
    message = f"Missing required param: {name}."
    raise Refusal(_error(400, "invalid_request_error", message, "parameter_missing"))


def _shown(hook: Hook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "object": "webhook_endpoint",
        "application": None,
        "created": 1795000000,
        "enabled_events": sorted(hook.types),
        "livemode": True,
        "status": "enabled" if hook.enabled else "disabled",
        "url": hook.url,
        **hook.more,
    }


def _error(status: int, kind: str, message: str, code: str = "") -> Response:
    told = {"type": kind, "message": message} | ({"code": code} if code else {})
    return Response.of(status, {"error": told}, {"Request-Id": "req_imitated"})
