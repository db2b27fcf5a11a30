"""Lemon Squeezy's API: webhooks, which are the endpoints. JSON:API in both directions.

It has no list of what it sent.

https://docs.lemonsqueezy.com/api, https://docs.lemonsqueezy.com/api/webhooks/create-webhook,
https://docs.lemonsqueezy.com/api/webhooks/list-all-webhooks,
https://docs.lemonsqueezy.com/help/webhooks/signing-requests, https://jsonapi.org/format/1.0/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from itertools import count
from math import ceil
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from tests.imitations.vendor import Call, Hook, Refusal, Vendor

from linkrunner_webhooks import providers
from linkrunner_webhooks_local.loopback import Response

KEY = "lemonsqueezy_imitated"
STORE = 12044
_JSON_API = "application/vnd.api+json"
_OURS = providers.load("lemonsqueezy")
_TYPES = {
    *_OURS.types,
    *_OURS.never,
    # Types that Lemon Squeezy has and no mapper of ours knows.
    "affiliate_activated",
    "license_key_created",
    "license_key_updated",
}


def _known(type: str) -> str:
    if type not in _TYPES:
        raise ValueError(f"{type} is no type of event")
    return type


Url = Annotated[str, Field(pattern=r"^https://.")]
Types = Annotated[list[Annotated[str, AfterValidator(_known)]], Field(min_length=1)]
Secret = Annotated[str, Field(min_length=6, max_length=40)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class New(Strict):
    url: Url
    events: Types
    secret: Secret
    test_mode: bool = False


class Changed(Strict):
    """What is left out stays as it is."""

    url: Url = ""
    events: Types = []
    secret: Secret = ""


class Store(Strict):
    type: Literal["stores"]
    id: str


class ToStore(Strict):
    data: Store


class Relationships(Strict):
    store: ToStore


class Creation(Strict):
    type: Literal["webhooks"]
    attributes: New
    relationships: Relationships


class Change(Strict):
    type: Literal["webhooks"]
    id: str
    attributes: Changed


class Created(Strict):
    data: Creation


class Updated(Strict):
    data: Change


class Listed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    store: Annotated[int | None, Field(alias="filter[store_id]")] = None
    number: Annotated[int, Field(alias="page[number]", ge=1)] = 1
    size: Annotated[int, Field(alias="page[size]", ge=1, le=100)] = 10
    include: Literal["store"] | None = None


@dataclass
class LemonSqueezy(Vendor):
    """A store's webhooks, seen with a key of live mode."""

    name: ClassVar[str] = "lemonsqueezy"
    pauses: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = {
        "LEMONSQUEEZY_API_BASE": "{url}",
        "LEMONSQUEEZY_API_KEY": KEY,
        "LEMONSQUEEZY_STORE": str(STORE),
    }

    _number: Any = field(default_factory=lambda: count(51001))

    def unauthorized(self) -> Response:
        return _error(401, "Unauthorized", "Unauthenticated.")

    def too_many(self, seconds: int) -> Response:
        response = _error(429, "Too Many Requests", "Too Many Attempts.")
        limit = {"X-Ratelimit-Limit": "300", "X-Ratelimit-Remaining": "0"}
        # Not documented, but what Laravel sends, which it runs on.
        wait = {"Retry-After": str(seconds)}
        return replace(response, headers={**response.headers, **limit, **wait})

    def respond(self, call: Call) -> Response:
        if call.bearer != KEY:
            return self.unauthorized()
        _check_headers(call)
        match call.method, *call.path.split("/"):
            case ["GET", "", "v1", "webhooks"]:
                return self._list(call)
            case ["POST", "", "v1", "webhooks"]:
                return self._create(call)
            case [_, "", "v1", "webhooks", id] if hook := self.found(id):
                return self._one(call, hook)
        return _error(404, "Not Found", "The requested resource was not found.")

    def _list(self, call: Call) -> Response:
        asked = _query(call)
        found = [hook for hook in self.hooks if asked.store in {None, STORE}]
        start = (asked.number - 1) * asked.size
        shown = found[start : start + asked.size]
        page = {
            "currentPage": asked.number,
            "from": start + 1 if shown else None,
            "lastPage": max(1, ceil(len(found) / asked.size)),
            "perPage": asked.size,
            "to": start + len(shown) if shown else None,
            "total": len(found),
        }
        resources = [_resource(hook) for hook in shown]
        answer = _answer(200, meta={"page": page}, links=_links(call, page), data=resources)
        self.meanwhile()
        return answer

    def _one(self, call: Call, hook: Hook) -> Response:
        match call.method:
            case "DELETE":
                self.hooks.remove(hook)
                return Response(204)
            case "PATCH":
                self._change(call, hook)
            case "GET":
                pass
            case _:
                return _error(405, "Method Not Allowed", f"{call.method} is not supported.")
        return _shown(200, hook)

    def _create(self, call: Call) -> Response:
        asked = _body(Created, call).data
        if asked.relationships.store.data.id != str(STORE):
            pointer = {"pointer": "/data/relationships/store"}
            raise Refusal(_error(404, "Not Found", "The related resource does not exist.", pointer))
        given, now = asked.attributes, self._time()
        times = {"last_sent_at": None, "created_at": now, "updated_at": now}
        hook = Hook(
            id=str(next(self._number)),
            url=given.url,
            types=set(given.events),
            secret=given.secret,
            more={**times, "test_mode": given.test_mode},
        )
        self.hooks.append(hook)
        return _shown(201, hook)

    def _change(self, call: Call, hook: Hook) -> None:
        asked = _body(Updated, call).data
        if asked.id != hook.id:
            raise Refusal(_error(409, "Conflict", "The ids of URL and document differ."))
        given = asked.attributes
        hook.url = given.url or hook.url
        hook.types = set(given.events) or hook.types
        hook.secret = given.secret or hook.secret
        hook.more["updated_at"] = self._time()

    def _time(self) -> str:
        now = self.now().astimezone(UTC)
        return now.isoformat(timespec="microseconds").replace("+00:00", "Z")


M = TypeVar("M", bound=BaseModel)


def _check_headers(call: Call) -> None:
    if call.header("accept") != _JSON_API:
        raise Refusal(_error(406, "Not Acceptable", f"Accept {_JSON_API}."))
    if call.request.body and call.header("content-type") != _JSON_API:
        raise Refusal(_error(415, "Unsupported Media Type", f"Send {_JSON_API}."))


def _body(model: type[M], call: Call) -> M:
    try:
        return model.model_validate(json.loads(call.request.body))
    except ValidationError as error:
        first = error.errors()[0]
        source = {"pointer": "/" + "/".join(map(str, first["loc"]))}
        # Only a document that is one is asked what its attributes mean.
        if "attributes" in first["loc"] and first["type"] != "extra_forbidden":
            told = _error(422, "Unprocessable Entity", first["msg"], source)
        else:
            told = _error(400, "Non-Compliant JSON:API Document", first["msg"], source)
        raise Refusal(told) from None
    except ValueError:
        raise Refusal(_error(400, "Invalid JSON", "Syntax error")) from None


def _query(call: Call) -> Listed:
    try:
        return Listed.model_validate(dict(call.query))
    except ValidationError as error:
        first = error.errors()[0]
        source = {"parameter": str(first["loc"][0])}
        raise Refusal(_error(400, "Invalid Query Parameter", first["msg"], source)) from None


def _links(call: Call, page: Mapping[str, Any]) -> dict[str, str]:
    last, here = page["lastPage"], page["currentPage"]
    numbers = {"first": 1, "last": last}
    numbers |= {"next": here + 1} if here < last else {}
    numbers |= {"prev": here - 1} if here > 1 else {}
    url = f"http://{call.header('host')}{call.path}"
    query = {**dict(call.query), "page[size]": page["perPage"]}
    return {
        name: f"{url}?{urlencode({**query, 'page[number]': number})}"
        for name, number in numbers.items()
    }


def _resource(hook: Hook) -> dict[str, Any]:
    """The webhook without its secret, which is never shown."""
    here = f"https://api.lemonsqueezy.com/v1/webhooks/{hook.id}"
    return {
        "type": "webhooks",
        "id": hook.id,
        "attributes": {
            "store_id": STORE,
            "url": hook.url,
            "events": sorted(hook.types),
            **hook.more,
        },
        "relationships": {
            "store": {"links": {"related": f"{here}/store", "self": f"{here}/relationships/store"}}
        },
        "links": {"self": here},
    }


def _shown(status: int, hook: Hook) -> Response:
    resource = _resource(hook)
    return _answer(status, links=resource["links"], data=resource)


def _answer(status: int, **document: Any) -> Response:
    limit = {"X-Ratelimit-Limit": "300", "X-Ratelimit-Remaining": "299"}
    value = {"jsonapi": {"version": "1.0"}, **document}
    return Response.of(status, value, {"Content-Type": _JSON_API, **limit})


def _error(
    status: int, title: str, detail: str, source: Mapping[str, str] | None = None
) -> Response:
    told = {"status": str(status), "title": title, "detail": detail}
    errors = [told | ({"source": source} if source else {})]
    value = {"jsonapi": {"version": "1.0"}, "errors": errors}
    return Response.of(status, value, {"Content-Type": _JSON_API})
