"""PayPal: the events of one REST app, and its webhooks.

https://developer.paypal.com/docs/api/webhooks/v1/, https://developer.paypal.com/api/rest/authentication/,
https://developer.paypal.com/api/rest/responses/#link-hateoaslinks
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from urllib3.util import make_headers

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

_WEBHOOKS = "/v1/notifications/webhooks"
_EVENTS = "/v1/notifications/webhooks-events"
# The largest page is not documented.
_PAGE = 100
# Seconds. A token has to last until its request arrives.
_SPARE = 60.0
# A body does not say that it is of the sandbox: the host of the certificate that signs it does.
_OF_SANDBOX = {"paypal-cert-url": "https://api.sandbox.paypal.com/"}


class PayPal(Lists, Connects):
    provider = "paypal"
    home = "https://api-m.paypal.com"
    credentials = (
        Credential("CLIENT_ID", "client id of the REST app", hidden=False),
        Credential("CLIENT_SECRET", "secret of the REST app"),
    )
    rights = "both of the REST app that takes the payments"
    # The limit is not documented.
    per_second = 5.0
    # Unconfirmed: what the dashboard shows.
    kept = timedelta(days=30)
    hint = "PayPal lists what happens through this REST app alone."
    origin = Origin.GIVEN
    path = _WEBHOOKS
    at_most = 10

    _token = ""
    _good_until = 0.0

    def headers(self) -> Mapping[str, str]:
        if time.monotonic() >= self._good_until:
            self._renew()
        return {"Authorization": f"Bearer {self._token}"}

    def _renew(self) -> None:
        form = (("grant_type", "client_credentials"),)
        asked = Request("POST", "/v1/oauth2/token", form=form, repeatable=True)
        user, password = self.given["CLIENT_ID"], self.given["CLIENT_SECRET"]
        answer = self.api.ask(asked, make_headers(basic_auth=f"{user}:{password}"))
        with self._reading():
            self._token = answer.value["access_token"]
            self.api.hide(self._token)
            # PayPal gives the same one until it expires, which can be soon.
            self._good_until = time.monotonic() + float(answer.value["expires_in"]) - _SPARE

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        headers = _OF_SANDBOX if self.is_sandbox else {}
        for event in self._events(window):
            at = moment(event["create_time"])
            # A request names one type at most, and its end is inclusive.
            if event["event_type"] in types and window.since <= at < window.until:
                yield Happened(at, (self.webhook(event, headers),))

    def _events(self, window: Window) -> Iterator[Any]:
        query = (
            ("page_size", str(_PAGE)),
            ("start_time", iso(window.since)),
            ("end_time", iso(window.until)),
        )
        for answer in self.api.pages(Request("GET", _EVENTS, query), _next):
            yield from answer.value["events"]

    def _endpoints(self) -> Iterable[Endpoint]:
        for each in self.api.ask(Request("GET", _WEBHOOKS)).value["webhooks"]:
            types = frozenset(kind["name"] for kind in each["event_types"])
            yield Endpoint(each["id"], each["url"], types)

    def creation(self, wanted: Wanted) -> Request:
        return Request(
            "POST", _WEBHOOKS, json={"url": wanted.url, "event_types": _named(wanted.types)}
        )

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        patches = [_replacing("/event_types", _named(wanted.types))]
        # No two webhooks may have one URL, and whether that counts the webhook itself is not documented.
        if endpoint.url != wanted.url:
            patches.append(_replacing("/url", wanted.url))
        return Request("PATCH", f"{_WEBHOOKS}/{endpoint.id}", json=patches)

    def _secret(self, answer: Answer) -> str:
        return self._id(answer)

    def secret_of(self, endpoint: Endpoint) -> str:
        return endpoint.id


def _next(request: Request, answer: Answer) -> Request | None:
    """The links alone tell the last page: any page can be shorter than asked."""
    for link in answer.value.get("links", ()):
        if link["rel"] == "next":
            # So it is written in the documentation's example.
            return request.following(link["href"].replace("&amp;", "&"))
    return None


def _named(types: Sequence[str]) -> list[dict[str, str]]:
    return [{"name": each} for each in types]


def _replacing(path: str, value: object) -> dict[str, object]:
    return {"op": "replace", "path": path, "value": value}
