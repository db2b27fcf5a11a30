"""Stripe: the events of 30 days, and webhook endpoints.

https://docs.stripe.com/api/events/list, https://docs.stripe.com/api/webhook_endpoints,
https://docs.stripe.com/rate-limits
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from http import HTTPStatus
from itertools import islice
from math import ceil
from typing import Any
from uuid import uuid4

from linkrunner_webhooks_cli.clients.api import Answer, ApiError, Pairs, Request
from linkrunner_webhooks_cli.clients.client import (
    Connects,
    Credential,
    Endpoint,
    Happened,
    Lists,
    Origin,
    Wanted,
    Window,
    at,
)

_ENDPOINTS = "/v1/webhook_endpoints"
# A request names so many types at most.
_MOST_TYPES = 20
_THIN = "it sends thin events, which have no amounts: make one with snapshot events"


class Stripe(Lists, Connects):
    provider = "stripe"
    home = "https://api.stripe.com"
    credentials = (Credential("API_KEY", "restricted key (rk_...) or secret key (sk_...)"),)
    rights = "read on Events for reconcile, write on Webhook Endpoints for connect"
    # Of the 25 that one endpoint of the API takes.
    per_second = 15.0
    kept = timedelta(days=30)
    hint = "Stripe lists the events of this account, and none of accounts that are connected to it."
    origin = Origin.ONCE
    path = _ENDPOINTS
    version = "2025-04-30.basil"
    at_most = 16

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.given['API_KEY']}"}

    @cached_property
    def is_sandbox(self) -> bool:
        """By the key: the host is the same."""
        return "_test_" in self.given["API_KEY"]

    def is_busy(self, status: int, value: Any) -> bool:
        """Some limits are answered 400."""
        error = value.get("error") if isinstance(value, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        limited = status == HTTPStatus.BAD_REQUEST and code == "rate_limit"
        return limited or super().is_busy(status, value)

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        # In whole seconds, as `created` is.
        created = (
            ("created[gte]", str(ceil(window.since.timestamp()))),
            ("created[lt]", str(ceil(window.until.timestamp()))),
        )
        rest = iter(types)
        while some := tuple(islice(rest, _MOST_TYPES)):
            wanted = tuple(("types[]", each) for each in some)
            for event in self._listed("/v1/events", (*created, *wanted)):
                yield Happened(at(event["created"]), (self.webhook(event),))

    def _listed(self, path: str, query: Pairs = ()) -> Iterator[Any]:
        first = Request("GET", path, (("limit", "100"), *query))

        def following(_: Request, answer: Answer) -> Request | None:
            if not answer.value["has_more"]:
                return None
            # Newer ones come before it, so that none is missed when the list grows.
            last = answer.value["data"][-1]["id"]
            return Request("GET", path, (*first.query, ("starting_after", last)))

        for answer in self.api.pages(first, following):
            yield from answer.value["data"]

    def _endpoints(self) -> Iterable[Endpoint]:
        for each in self._listed(_ENDPOINTS):
            yield Endpoint(
                each["id"],
                each["url"],
                frozenset(each["enabled_events"]),
                enabled=each["status"] == "enabled",
                version=each.get("api_version") or "",
                # One of a Connect application hears other accounts.
                usable=not each.get("application"),
            )
        # The key need not have the right to see destinations of the newer kind.
        with suppress(ApiError, LookupError, TypeError, AttributeError):
            yield from self._thin()

    def _thin(self) -> Iterator[Endpoint]:
        """Destinations that only say that something happened: nothing can be told from those."""
        query = (("include[0]", "webhook_endpoint.url"), ("limit", "100"))
        headers = {"Stripe-Version": self.version}
        asked = Request("GET", "/v2/core/event_destinations", query, headers=headers)
        for each in self.api.ask(asked, tries=1).value["data"]:
            if each.get("event_payload") == "thin" and (hook := each.get("webhook_endpoint")):
                yield Endpoint(
                    each["id"],
                    hook.get("url") or "",
                    frozenset(each["enabled_events"]),
                    enabled=each["status"] == "enabled",
                    troubles=(_THIN,),
                    usable=False,
                )

    def creation(self, wanted: Wanted) -> Request:
        return Request(
            "POST",
            _ENDPOINTS,
            # With it a repetition makes no second one.
            headers={"Idempotency-Key": str(uuid4())},
            repeatable=True,
            form=(
                *_form(wanted),
                ("api_version", self.version),
                ("metadata[made_by]", "linkrunner-webhooks"),
            ),
        )

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        form = (*_form(wanted), ("disabled", "false"))
        return Request("POST", f"{_ENDPOINTS}/{endpoint.id}", form=form, repeatable=True)

    def _secret(self, answer: Answer) -> str:
        return str(answer.value["secret"])


def _form(wanted: Wanted) -> Pairs:
    types = tuple(("enabled_events[]", each) for each in wanted.types)
    return (("url", wanted.url), ("description", wanted.name), *types)
