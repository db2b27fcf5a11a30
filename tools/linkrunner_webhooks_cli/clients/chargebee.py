"""Chargebee: the events of a site, and its webhook endpoints.

https://apidocs.chargebee.com/docs/api/events/list-events,
https://apidocs.chargebee.com/docs/api/webhook_endpoints,
https://apidocs.chargebee.com/docs/api/error-handling
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from math import ceil
from typing import Any

from urllib3.util import make_headers

from linkrunner_webhooks_cli.clients.api import Answer, Pairs, Request
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

_ENDPOINTS = "/api/v2/webhook_endpoints"
_LONGEST_NAME = 50


class Chargebee(Lists, Connects):
    provider = "chargebee"
    home = "https://{SITE}.chargebee.com"
    credentials = (
        Credential("SITE", "site, the first part of its address", hidden=False),
        Credential("API_KEY", "API key"),
    )
    # Whether a read-only key is shown events is unconfirmed.
    rights = "a read-only key for reconcile, a full-access key for connect"
    # Of the 150 a minute of the smallest plan and of test sites.
    per_second = 2.0
    # Those that the dashboard shows; the API may go further back (unconfirmed).
    kept = timedelta(days=90)
    origin = Origin.OURS
    version = "v2"
    at_most = 5

    @cached_property
    def is_sandbox(self) -> bool:
        """Test sites are called so, and their webhooks say nothing of it."""
        return self.given["SITE"].endswith("-test")

    def headers(self) -> Mapping[str, str]:
        return make_headers(basic_auth=f"{self.given['API_KEY']}:")

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        # In whole seconds, as `occurred_at` is.
        since, until = (ceil(end.timestamp()) for end in window)
        query = (
            # Whether it includes its ends is not documented: a second more at each, and a look below.
            ("occurred_at[between]", json.dumps([since - 1, until])),
            ("event_type[in]", json.dumps(list(types))),
            # New ones come last, so that none is missed when the list grows.
            ("sort_by[asc]", "occurred_at"),
        )
        for event in self._listed("/api/v2/events", "event", query):
            if since <= event["occurred_at"] < until:
                yield Happened(at(event["occurred_at"]), (self.webhook(event),))

    def _listed(self, path: str, name: str, query: Pairs = ()) -> Iterator[Any]:
        first = Request("GET", path, (("limit", "100"), *query))

        def following(_: Request, answer: Answer) -> Request | None:
            offset = answer.value.get("next_offset")
            return Request("GET", path, (*first.query, ("offset", offset))) if offset else None

        for answer in self.api.pages(first, following):
            yield from (item[name] for item in answer.value["list"])

    def _endpoints(self) -> Iterable[Endpoint]:
        for each in self._listed(_ENDPOINTS, "webhook_endpoint"):
            yield Endpoint(
                each["id"],
                each["url"],
                # One without types is sent all of them.
                frozenset(each.get("enabled_events") or ["*"]),
                enabled=not each["disabled"],
                version=each["api_version"],
            )

    def choose(self) -> str:
        """Of basic authentication: user and password."""
        return f"linkrunner:{super().choose()}"

    def creation(self, wanted: Wanted) -> Request:
        return Request("POST", _ENDPOINTS, form=self._form(wanted))

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        form = (*self._form(wanted), ("disabled", "false"))
        return Request("POST", f"{_ENDPOINTS}/{endpoint.id}", form=form, repeatable=True)

    def removal(self, endpoint: Endpoint) -> Request:
        return Request("POST", f"{_ENDPOINTS}/{endpoint.id}/delete")

    def _id(self, answer: Answer) -> str:
        return str(answer.value["webhook_endpoint"]["id"])

    def _form(self, wanted: Wanted) -> Pairs:
        user, _, password = wanted.secret.partition(":")
        types = ((f"enabled_events[{n}]", each) for n, each in enumerate(wanted.types))
        return (
            ("name", wanted.name[:_LONGEST_NAME]),
            ("url", wanted.url),
            ("api_version", self.version),
            # Without them anybody could send webhooks.
            ("basic_auth_username", user),
            ("basic_auth_password", password),
            # Nothing is read from it.
            ("send_card_resource", "false"),
            *types,
        )
