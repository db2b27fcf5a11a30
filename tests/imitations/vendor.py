"""What the imitations share: a request taken apart, faults on demand, and what tests ask of each of them."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of


class Refusal(Exception):
    """The vendor's answer to a request that is not as documented."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(frozen=True)
class Call:
    """A request as the vendor reads it. `path` is decoded; a parameter can be there several times."""

    request: Request

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        return unquote(self.request.path)

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.request.query, keep_blank_values=True)

    @cached_property
    def form(self) -> list[tuple[str, str]]:
        """The body of a form; empty for every other one."""
        if not (self.header("content-type") or "").startswith("application/x-www-form-urlencoded"):
            return []
        return parse_qsl(self.request.body.decode(), keep_blank_values=True)

    @cached_property
    def json(self) -> Any:
        """The body as JSON; None where it is none, or not called so."""
        if not (self.header("content-type") or "").startswith("application/json"):
            return None
        try:
            return json.loads(self.request.body)
        except ValueError:
            return None

    def header(self, name: str) -> str | None:
        return self.request.header(name)

    def one(self, name: str, default: str = "") -> str:
        """The value of a parameter of the query."""
        return dict(self.query).get(name, default)

    def every(self, name: str) -> list[str]:
        """All values of a parameter of the query."""
        return [value for key, value in self.query if key == name]

    @property
    def bearer(self) -> str | None:
        """The token of `Authorization: Bearer`."""
        kind, _, token = (self.header("authorization") or "").partition(" ")
        return token if kind.lower() == "bearer" else None

    @property
    def basic(self) -> tuple[str, str] | None:
        """User and password of `Authorization: Basic`."""
        kind, _, encoded = (self.header("authorization") or "").partition(" ")
        if kind.lower() != "basic":
            return None
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return user, password


@dataclass
class Hook:
    """An endpoint as it is set up at the vendor, whatever it calls it. `secret` is what it signs with."""

    id: str
    url: str
    types: set[str]
    secret: str
    enabled: bool = True
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Vendor(ABC):
    """One vendor's API. Its state is what has happened there, and which endpoints are set up.

    `environment` is what an operator sets to be let in: the client's own variables by name, with `{url}` for
    where it listens. `types` are the provider's webhook types that its lists can give back (or rebuild).
    `pauses` says that an endpoint can be off and still there, `bare` that an empty list is an empty object.
    What is not `exact` is listed by when it was made or changed, a little before it happened.
    `now` is its clock. `on` may answer a request in the vendor's place. `meanwhile` runs after every list
    that was answered: lists move while they are read.
    """

    name: ClassVar[str] = ""
    environment: ClassVar[Mapping[str, str]] = {}
    types: ClassVar[tuple[str, ...]] = ()
    # Items on a full page, where the caller asks for as many as it may.
    page: ClassVar[int] = 100
    pauses: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    bare: ClassVar[bool] = False

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    hooks: list[Hook] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    faults: list[Response | None] = field(default_factory=list)
    on: Callable[[Call], Response | None] | None = None
    meanwhile: Callable[[], None] = lambda: None
    locked: bool = False

    @abstractmethod
    def respond(self, call: Call) -> Response:
        """The answer of the vendor. Raises Refusal for what the documentation does not allow."""

    @abstractmethod
    def unauthorized(self) -> Response:
        """The answer to wrong credentials."""

    @abstractmethod
    def too_many(self, seconds: int) -> Response:
        """The answer to too many requests: come back in so many seconds."""

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        """Something happens at the vendor. Returns the webhook that it sends, with times and ids of its own.

        From now on its lists show it. `webhook` is a sample of one of `types`.
        """
        raise NotImplementedError(webhook.source, at)

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Set up at the vendor what its lists need to show anything: nothing, for most."""

    def answer(self, request: Request) -> Response | None:
        """One HTTP request. `faults` are answered first: a response, or None for a reset connection."""
        call = Call(request)
        self.calls.append(call)
        if self.faults:
            return self.faults.pop(0)
        if self.locked:
            return self.unauthorized()
        if self.on and (answer := self.on(call)):
            return answer
        try:
            return self.respond(call)
        except Refusal as refusal:
            return refusal.response

    @contextmanager
    def serving(self) -> Iterator[dict[str, str]]:
        """Listen on loopback. Yields the environment of an operator who is let in."""
        listener = listen()
        with serving(listener, self.answer):
            url = url_of(listener)
            yield {
                name: value.format(url=url, host=urlsplit(url).netloc)
                for name, value in self.environment.items()
            }

    def found(self, id: str) -> Hook | None:
        """The endpoint with this id."""
        return next((each for each in self.hooks if each.id == id), None)
