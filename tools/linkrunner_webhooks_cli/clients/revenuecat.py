"""RevenueCat: the webhook integrations of a project. It has no list of events.

https://www.revenuecat.com/docs/api-v2#tag/Integration, #tag/Pagination and #tag/Rate-Limit of the same page
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from linkrunner_webhooks_cli.clients.api import Answer, Request
from linkrunner_webhooks_cli.clients.client import (
    Connects,
    Credential,
    Endpoint,
    Origin,
    Wanted,
)


class RevenueCat(Connects):
    provider = "revenuecat"
    home = "https://api.revenuecat.com"
    credentials = (
        Credential("API_KEY", "secret API key of version 2 (sk_...)"),
        Credential("PROJECT", "project id (proj...)", hidden=False),
    )
    rights = "read and write on the integrations of the project configuration"
    # Of the 60 a minute that the project configuration takes.
    per_second = 0.9
    origin = Origin.OURS

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.given['API_KEY']}"}

    @property
    def _path(self) -> str:
        return f"/v2/projects/{self.given['PROJECT']}/integrations/webhooks"

    def _endpoints(self) -> Iterable[Endpoint]:
        for each in self._listed():
            yield Endpoint(each["id"], each["url"], _types(each), faults=tuple(_faults(each)))

    def _listed(self) -> Iterator[Any]:
        def following(request: Request, answer: Answer) -> Request | None:
            link = answer.value.get("next_page")
            return request.following(link) if link else None

        for answer in self.api.pages(Request("GET", self._path, (("limit", "100"),)), following):
            yield from answer.value["items"]

    def creation(self, wanted: Wanted) -> Request:
        return Request("POST", self._path, json=_integration(wanted))

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        path = f"{self._path}/{endpoint.id}"
        return Request("POST", path, json=_integration(wanted), repeatable=True)

    def removal(self, endpoint: Endpoint) -> Request:
        return Request("DELETE", f"{self._path}/{endpoint.id}")


def _integration(wanted: Wanted) -> Mapping[str, Any]:
    """The body of a request. It has no app, so that a new one is told of all apps of the project."""
    return {
        "name": wanted.name,
        "url": wanted.url,
        "authorization_header": wanted.secret,
        "environment": "production",
        # In lower case here, and in capitals in the webhooks.
        "event_types": [each.lower() for each in wanted.types],
    }


def _types(integration: Mapping[str, Any]) -> frozenset[str]:
    # One without types is sent all of them.
    return frozenset(each.upper() for each in integration.get("event_types") or ["*"])


def _faults(integration: Mapping[str, Any]) -> Iterator[str]:
    if integration.get("environment") == "sandbox":
        yield "it is sent nothing but purchases in the sandbox"
