"""Square: the events of 28 days while their search is on, and webhook subscriptions.

https://developer.squareup.com/docs/events-api/overview,
https://developer.squareup.com/reference/square/events-api/search-events,
https://developer.squareup.com/reference/square/webhook-subscriptions-api
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from linkrunner_webhooks_cli.clients.api import Answer, Request
from linkrunner_webhooks_cli.clients.client import (
    Connects,
    Credential,
    Endpoint,
    Happened,
    Lists,
    Origin,
    Wanted,
    Window,
    iso,
    moment,
)

_SUBSCRIPTIONS = "/v2/webhooks/subscriptions"
_PAGE = 100
_LONGEST_NAME = 64
# Whether the ends of a range of times belong to it is not documented.
_MARGIN = timedelta(seconds=1)


class Square(Lists, Connects):
    provider = "square"
    home = "https://connect.squareup.com"
    credentials = (Credential("API_KEY", "personal access token of the application"),)
    rights = "the application's own token: those of OAuth may not see events"
    # The limit is not documented.
    per_second = 5.0
    kept = timedelta(days=28)
    hint = (
        "Square finds only what happens while its event search is on: "
        "`linkrunner-webhooks connect square` switches it on."
    )
    origin = Origin.AGAIN
    path = _SUBSCRIPTIONS
    version = "2025-08-20"

    def headers(self) -> Mapping[str, str]:
        return {
            "Authorization": f"Bearer {self.given['API_KEY']}",
            "Square-Version": self.version,
        }

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        # A body does not say that it is of the sandbox.
        headers = {"square-environment": "Sandbox" if self.is_sandbox else "Production"}
        search = Request("POST", "/v2/events", json=_search(window, types), repeatable=True)
        for event in self._listed(search, "events"):
            at = moment(event["created_at"])
            if event["type"] in types and window.since <= at < window.until:
                # In the documentation's example it has no zone, which mappers take for no time.
                body = {**event, "created_at": iso(at)}
                yield Happened(at, (self.webhook(body, headers),))

    def _listed(self, first: Request, name: str) -> Iterator[Any]:
        def following(_: Request, answer: Answer) -> Request | None:
            cursor = answer.value.get("cursor")
            return _page(first, cursor) if cursor else None

        for answer in self.api.pages(first, following):
            yield from _items(answer, name)

    def _endpoints(self) -> Iterable[Endpoint]:
        query = (("limit", str(_PAGE)), ("include_disabled", "true"))
        for each in self._listed(Request("GET", _SUBSCRIPTIONS, query), "subscriptions"):
            yield Endpoint(
                each["id"],
                each["notification_url"],
                frozenset(each["event_types"]),
                enabled=each.get("enabled", False),
                version=each.get("api_version", ""),
            )

    def creation(self, wanted: Wanted) -> Request:
        body = {"idempotency_key": str(uuid4()), "subscription": self._settings(wanted)}
        return Request("POST", _SUBSCRIPTIONS, json=body, repeatable=True)

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        body = {"subscription": self._settings(wanted)}
        return Request("PUT", f"{_SUBSCRIPTIONS}/{endpoint.id}", json=body)

    def objection(self, wanted: Wanted) -> str:
        """The URL is signed with the body, and no request states it: it has to be the same text."""
        known = getattr(self.source.options, "notification_url", "")
        if known == wanted.url:
            return ""
        name = self.source.name
        return f'set notification_url = "{wanted.url}" in [{name}] of webhooks.toml, and deploy it first'

    def switches(self) -> tuple[Request, ...]:
        return (Request("PUT", "/v2/events/enable"),)

    def _id(self, answer: Answer) -> str:
        return str(answer.value["subscription"]["id"])

    def _secret(self, answer: Answer) -> str:
        return str(answer.value["subscription"]["signature_key"])

    def secret_of(self, endpoint: Endpoint) -> str:
        answer = self.api.ask(Request("GET", f"{_SUBSCRIPTIONS}/{endpoint.id}"))
        with self._reading():
            return self._secret(answer)

    def _settings(self, wanted: Wanted) -> dict[str, object]:
        return {
            "name": wanted.name[:_LONGEST_NAME],
            "enabled": True,
            "event_types": list(wanted.types),
            "notification_url": wanted.url,
            "api_version": self.version,
        }


def _search(window: Window, types: Sequence[str]) -> dict[str, object]:
    created = {
        "start_at": iso(window.since - _MARGIN),
        "end_at": iso(window.until + _MARGIN),
    }
    query = {
        "filter": {"event_types": list(types), "created_at": created},
        # What is new comes last.
        "sort": {"field": "DEFAULT", "order": "ASC"},
    }
    return {"limit": _PAGE, "query": query}


def _items(answer: Answer, name: str) -> Sequence[Any]:
    """A list without items is left out, as it is after an error. Raises ValueError for that."""
    if "errors" in answer.value:
        raise ValueError(name)
    items: Sequence[Any] = answer.value.get(name, ())
    return items


def _page(first: Request, cursor: str) -> Request:
    """The original query with a cursor: in the body of a search, else in the query."""
    if first.json is None:
        return replace(first, query=(*first.query, ("cursor", cursor)))
    return replace(first, json={**first.json, "cursor": cursor})
