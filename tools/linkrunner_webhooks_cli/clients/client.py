"""What every client of a vendor's API can do: list what happened, and set up endpoints.

A client knows its vendor's requests and answers, and nothing of ledgers, queues or questions to people.
"""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cached_property
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks_cli.clients.api import Answer, Api, ApiError, Request


class Credential(NamedTuple):
    """One thing that lets us in: the end of its environment variable, and what it is, for people.

    `hidden` says that it is a secret, and `lines` that it may have several.
    """

    name: str
    what: str
    hidden: bool = True
    lines: bool = False


def variable(credential: Credential, owner: str) -> str:
    """The environment variable of a credential of a source, or of a provider."""
    return f"{owner.upper().replace('-', '_')}_{credential.name}"


class Window(NamedTuple):
    """A closed stretch of time, both ends aware: from `since` on, and before `until`."""

    since: datetime
    until: datetime


class Happened(NamedTuple):
    """What happened at a vendor, as the webhooks about it: all of them count, or none.

    `at` is when, or when the first of them happened. With `exact` the webhooks have the right ids, and it
    asks the vendor for all the rest, which is worth it where something is missing. It raises ApiError, and
    what reading an answer of another shape raises.
    """

    at: datetime
    webhooks: tuple[Webhook, ...]
    exact: Callable[[], tuple[Webhook, ...]] | None = None


class Endpoint(NamedTuple):
    """An endpoint as it is set up at the vendor. `types` are those of webhooks.toml, or `*` for all.

    `version` is the API version of its bodies, if it has one. `faults` are settings that a change mends, and
    `troubles` what else the vendor says is wrong. One that is not `usable` is of another sort than ours, and
    is only looked at.
    """

    id: str
    url: str
    types: frozenset[str]
    enabled: bool = True
    version: str = ""
    troubles: tuple[str, ...] = ()
    usable: bool = True
    faults: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """An endpoint as it should be. `secret` is what we choose where the vendor leaves that to us."""

    url: str
    types: tuple[str, ...]
    name: str
    secret: str = ""


class Made(NamedTuple):
    """A new endpoint's id, and the secret that its webhooks are verified with; empty where it is not told."""

    id: str
    secret: str = ""


class Origin(Enum):
    """Where the signing secret of an endpoint comes from.

    ONCE: only when it is made. AGAIN: it can be read later, too. OURS: we choose it, and it can
    not be read. GIVEN: it is one of the credentials, or the endpoint's id.
    """

    ONCE = "once"
    AGAIN = "again"
    OURS = "ours"
    GIVEN = "given"


class Client(ABC):
    """One account at a vendor. `given` are the credentials by name, and `base` where the API is.

    `provider` is the name of the provider, `home` the API's own address: with {NAME} where a credential is
    part of it, empty where every merchant has their own. `rights` are what the credentials have to allow.
    """

    provider: ClassVar[str] = ""
    home: ClassVar[str] = ""
    credentials: ClassVar[tuple[Credential, ...]] = ()
    rights: ClassVar[str] = ""
    per_second: ClassVar[float] = 5.0

    def __init__(
        self,
        source: Source,
        given: Mapping[str, str],
        base: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.source = source
        self.given = given
        self.base = base
        names = " and ".join(variable(each, source.name) for each in self.credentials)
        self.api = Api(
            source.provider.title,
            base,
            headers=self.headers,
            keys=f"{names} (needed: {self.rights})",
            per_second=self.per_second,
            is_busy=self.is_busy,
            sleep=sleep,
        )
        self.api.hide(*(given[each.name] for each in self.credentials if each.hidden))

    @classmethod
    def checked(cls, given: Mapping[str, str]) -> Mapping[str, str]:
        """The credentials as they are used. Raises ValueError for one that cannot be, with what to give."""
        return given

    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """The headers that let us in. May ask the vendor for a token first. Raises ApiError."""

    def is_busy(self, status: int, value: Any) -> bool:
        """Whether an answer says that there were too many requests, so that nothing was done."""
        del value
        return status == HTTPStatus.TOO_MANY_REQUESTS

    @cached_property
    def is_sandbox(self) -> bool:
        """Whether the API is the vendor's for tests, by its host: what happens there is no money."""
        return "sandbox" in (urlsplit(self.base).hostname or "")

    def webhook(self, body: Any, headers: Mapping[str, str] | None = None) -> Webhook:
        """The webhook with this body, as JSON values or as text."""
        text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
        return Webhook(self.source.name, dict(headers or {}), text.encode("utf-8", "surrogatepass"))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raises ApiError for an answer of another shape than the documented one."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self.api.not_understood(error) from None


class Lists(Client):
    """A vendor that lists what happened.

    `listed` is what it lists, in the plural. `kept` is how far back, None without a limit. With `by_change`
    it finds by when something last changed, and not by when it happened: then a window has no end, and what
    changes while it is read comes once more. `hint` says why a list can be empty although something happened.
    What is `signed` is verified like a webhook. `tells` are the types that it can tell of, None for all.
    """

    listed: ClassVar[str] = "events"
    kept: ClassVar[timedelta | None] = None
    by_change: ClassVar[bool] = False
    hint: ClassVar[str] = ""
    signed: ClassVar[bool] = False
    tells: ClassVar[frozenset[str] | None] = None

    def happened(self, window: Window, types: Sequence[str]) -> Iterator[Happened]:
        """What happened in a window, in no order, and of these webhook types alone. Raises ApiError."""
        with self._reading():
            yield from self._happened(window, types)

    @abstractmethod
    def _happened(self, window: Window, types: Sequence[str]) -> Iterable[Happened]:
        """The same; it may raise what reading an answer of another shape raises."""


class Connects(Client):
    """A vendor whose endpoints can be set up.

    `origin` is where their secrets come from. With `one_each` an endpoint has one type. `version` is the API
    version that our mappers are tested with, where an endpoint has one. `at_most` endpoints can be set up.
    With `renews` an endpoint can be given a new secret. Below `path` each endpoint is found by its id.
    """

    path: str = ""
    origin: ClassVar[Origin] = Origin.AGAIN
    one_each: ClassVar[bool] = False
    version: ClassVar[str] = ""
    at_most: ClassVar[int | None] = None
    renews: ClassVar[bool] = False

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint that is set up. Raises ApiError."""
        with self._reading():
            return list(self._endpoints())

    @abstractmethod
    def _endpoints(self) -> Iterable[Endpoint]:
        """The same; it may raise what reading an answer of another shape raises."""

    @abstractmethod
    def creation(self, wanted: Wanted) -> Request:
        """The request that sets it up."""

    @abstractmethod
    def change(self, endpoint: Endpoint, wanted: Wanted) -> Request:
        """The request that makes of an endpoint what is wanted, and switches it on."""

    def removal(self, endpoint: Endpoint) -> Request:
        """The request that takes it away."""
        return Request("DELETE", f"{self.path}/{endpoint.id}")

    def objection(self, wanted: Wanted) -> str:
        """Why its webhooks could not be verified, whatever the vendor does; empty where they can."""
        del wanted
        return ""

    def choose(self) -> str:
        """A new secret, where it is ours to choose."""
        return secrets.token_urlsafe(24)

    def switches(self) -> tuple[Request, ...]:
        """What has to be switched on besides, and does no harm when it is on."""
        return ()

    def create(self, wanted: Wanted) -> Made:
        """Set it up. Raises ApiError, and takes it away again where its secret cannot be had."""
        answer = self.api.ask(self.creation(wanted))
        with self._reading():
            id = self._id(answer)
        try:
            with self._reading():
                return Made(id, self._secret(answer))
        except BaseException:
            with suppress(ApiError):
                self.apply(self.removal(Endpoint(id, wanted.url, frozenset(wanted.types))))
            raise

    def _id(self, answer: Answer) -> str:
        """The id of a new endpoint."""
        return str(answer.value["id"])

    def _secret(self, answer: Answer) -> str:
        """The secret of a new endpoint, empty where it is ours. May ask the vendor for it."""
        del answer
        return ""

    def renewed(self, endpoint: Endpoint) -> str:
        """A new secret of an endpoint that stays, where one can be had. Raises ApiError."""
        raise NotImplementedError(endpoint)

    def apply(self, request: Request) -> None:
        """Send a change, a removal or a switch. Raises ApiError."""
        answer = self.api.ask(request)
        with self._reading():
            self._done(answer)

    def _done(self, answer: Answer) -> None:
        """Raises ApiError where a vendor says in a successful answer that nothing was done."""
        del answer

    def secret_of(self, endpoint: Endpoint) -> str:
        """The secret of an endpoint that is there; empty where it cannot be read. Raises ApiError."""
        del endpoint
        return ""


def at(seconds: float) -> datetime:
    """The moment of unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC, with milliseconds: 2026-11-24T10:00:00.000Z."""
    return utc(moment, "milliseconds")


def moment(text: str) -> datetime:
    """The moment of an RFC 3339 text; one without an offset is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
