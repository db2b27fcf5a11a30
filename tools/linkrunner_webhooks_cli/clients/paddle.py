"""Paddle Billing: the events of 90 days, and notification settings, which are its endpoints.

https://developer.paddle.com/api-reference/events/list-events,
https://developer.paddle.com/api-reference/notification-settings,
https://developer.paddle.com/api-reference/about/pagination,
https://developer.paddle.com/api-reference/about/rate-limiting
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

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
    iso,
    moment,
)

_SETTINGS = "/notification-settings"
_VERSION = 1
# Whether the bounds of a list belong to it is not documented: it is asked for more, and cut here.
_SLACK = timedelta(seconds=1)
_SIMULATED = "it is only sent simulations"


class Paddle(Lists, Connects):
    provider = "paddle"
    # A sandbox account has https://sandbox-api.paddle.com.
    home = "https://api.paddle.com"
    credentials = (Credential("API_KEY", "API key (pdl_live_apikey_...)"),)
    # The name of the first one is unconfirmed.
    rights = (
        "event.read for reconcile, notification_setting.read and notification_setting.write"
        " for connect"
    )
    # Of the 240 a minute that it takes from one IP address.
    per_second = 3.0
    kept = timedelta(days=90)
    origin = Origin.AGAIN
    path = _SETTINGS
    version = str(_VERSION)
    # So many active ones; those that are switched off do not count.
    at_most = 10

    def headers(self) -> Mapping[str, str]:
        return {
            "Authorization": f"Bearer {self.given['API_KEY']}",
            "Paddle-Version": self.version,
        }

    def _happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        query = (
            ("event_type", ",".join(types)),
            ("from", iso(window.since - _SLACK)),
            ("to", iso(window.until + _SLACK)),
        )
        for event in self._listed("/events", query):
            at = moment(event["occurred_at"])
            if window.since <= at < window.until:
                yield Happened(at, (self.webhook(event),))

    def _listed(self, path: str, query: Pairs = ()) -> Iterator[Any]:
        # Ids grow with time: new ones come last, so that none is missed when the list grows.
        order = (("per_page", "200"), ("order_by", "id[ASC]"))

        def following(request: Request, answer: Answer) -> Request | None:
            # There is a next one on the last page, too.
            page = answer.value["meta"]["pagination"]
            return request.following(page["next"]) if page["has_more"] else None

        for answer in self.api.pages(Request("GET", path, (*order, *query)), following):
            yield from answer.value["data"]

    def _endpoints(self) -> Iterable[Endpoint]:
        for each in self._listed(_SETTINGS):
            yield Endpoint(
                each["id"],
                each["destination"],
                frozenset(event["name"] for event in each["subscribed_events"]),
                enabled=each["active"],
                version=str(each["api_version"]),
                faults=tuple(_faults(each)),
                # The others are e-mail addresses.
                usable=each["type"] == "url",
            )

    def creation(self, wanted: Wanted) -> Request:
        return Request("POST", _SETTINGS, json={"type": "url", **_setting(wanted)})

    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        setting = {**_setting(wanted), "active": True}
        return Request("PATCH", f"{_SETTINGS}/{endpoint.id}", json=setting)

    def _id(self, answer: Answer) -> str:
        return str(answer.value["data"]["id"])

    def _secret(self, answer: Answer) -> str:
        return str(answer.value["data"]["endpoint_secret_key"])

    def secret_of(self, endpoint: Endpoint) -> str:
        answer = self.api.ask(Request("GET", f"{_SETTINGS}/{endpoint.id}"))
        with self._reading():
            return self._secret(answer)


def _setting(wanted: Wanted) -> dict[str, Any]:
    return {
        "description": wanted.name,
        "destination": wanted.url,
        "subscribed_events": [*wanted.types],
        "api_version": _VERSION,
        # Nothing that we read is among them.
        "include_sensitive_fields": False,
        "traffic_source": "platform",
    }


def _faults(setting: Any) -> Iterator[str]:
    if setting["traffic_source"] == "simulation":
        yield _SIMULATED
    if setting["include_sensitive_fields"]:
        yield "it sends sensitive fields, which nobody reads"
