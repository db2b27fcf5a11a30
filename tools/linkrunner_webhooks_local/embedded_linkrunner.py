"""The embedded Linkrunner: capture-event as documented, and every way it can go wrong on request.

with EmbeddedLinkrunner(key="...") as linkrunner:
    linkrunner.play([busy(retry_after=1), answer_lost()])  # one answer for each next request
    linkrunner.play(itertools.repeat(failing()))           # down until further notice
    linkrunner.play([])                                    # well again
    linkrunner.events                                      # what it captured, in order
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qs

from linkrunner_webhooks_local.development import LINKRUNNER_KEY
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of

CAPTURE_PATH: Final = "/api/v1/capture-event"
_CAPTURED: Final = {"msg": "Event capture request received!", "status": 200, "data": None}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to capture-event and what became of it. No `status`: the connection was reset."""

    at: float
    body: Mapping[str, Any]
    status: int | None
    captured: bool

    @property
    def event_name(self) -> str:
        return str(self.body.get("event_name", ""))

    @property
    def user_id(self) -> str:
        return str(self.body.get("user_id", ""))

    @property
    def event_data(self) -> Mapping[str, Any]:
        data = self.body.get("event_data")
        return data if isinstance(data, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A scripted answer. Without a `status` it is the documented one.

    `records` says whether Linkrunner takes a valid event all the same; a documented answer does.
    """

    status: int | None = None
    message: str = "scripted"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    records: bool = False
    resets: bool = False


def busy(retry_after: str | int | None = None) -> Answer:
    """429, with or without a hint when to come back."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(status=429, message="Too many requests", headers=headers)


def failing(status: int = 500) -> Answer:
    """An error answer; the event is not taken."""
    return Answer(status=status, message="Something went wrong")


def slow(seconds: float) -> Answer:
    """The documented answer, late: a client that gave up does not know that the event was taken."""
    return Answer(delay=seconds, records=True)


def hang(seconds: float) -> Answer:
    """No answer, then a reset; the event is not taken."""
    return Answer(delay=seconds, resets=True)


def reset() -> Answer:
    """The connection is reset and the event is not taken."""
    return Answer(resets=True)


def answer_lost() -> Answer:
    """The event is taken, and the connection is reset before the answer."""
    return Answer(resets=True, records=True)


def redirect(location: str, status: int = 302) -> Answer:
    """A redirect; the event is not taken here."""
    return Answer(status=status, message="Moved", headers={"Location": location})


def documented(request: Request, key: str) -> tuple[int, str]:
    """The status and message that the documentation gives for this request to capture-event."""
    if request.header("linkrunner-key") != key:
        return 401, "Invalid linkrunner-key"
    body = _body(request)
    for name in ("event_name", "user_id"):
        if not (isinstance(body.get(name), str) and body[name].strip()):
            return 400, f"{name} is required"
    if not isinstance(body.get("event_id", ""), str):
        return 400, "event_id must be a string"
    return 201, str(_CAPTURED["msg"])


def documented_lookup(request: Request, key: str) -> int:
    """The status that the documentation gives for this request to get-attribution-result."""
    if request.header("linkrunner-key") != key:
        return 401
    return 200 if _user(request) else 400


def _user(request: Request) -> str:
    return parse_qs(request.query).get("user_id", [""])[0]


class EmbeddedLinkrunner:
    """Linkrunner on loopback while the block runs.

    `honours_event_id` says whether an event under a known `event_id` is the same event. The documentation
    says "for deduplication" and no more, so by default it is not.
    """

    def __init__(
        self, key: str = LINKRUNNER_KEY, port: int = 0, *, honours_event_id: bool = False
    ) -> None:
        self.key = key
        self._honours_event_id = honours_event_id
        self.url = ""
        self._port = port
        self._arrivals: list[Arrival] = []
        self._lookups: list[str] = []
        self._script: Iterator[Answer] = iter(())
        self._script_lock = threading.Lock()
        self._stopping = threading.Event()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        listener = listen(self._port)
        self.url = url_of(listener)
        self._running.enter_context(serving(listener, self.answer))
        # Entered last to be left first: a hanging answer must not delay the end.
        self._running.callback(self._stopping.set)
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()

    @property
    def events(self) -> tuple[Arrival, ...]:
        """The captured events, in order of arrival."""
        return tuple(arrival for arrival in self.arrivals if arrival.captured)

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Every request to capture-event, captured or not, in order of answering."""
        return tuple(self._arrivals)

    @property
    def lookups(self) -> tuple[str, ...]:
        """The users that were looked up."""
        return tuple(self._lookups)

    def play(self, answers: Iterable[Answer]) -> None:
        """Give the next requests these answers, then the documented ones again."""
        with self._script_lock:
            self._script = iter(answers)

    def clear(self) -> None:
        """Forget every arrival and the rest of the script."""
        self.play([])
        self._arrivals.clear()

    def answer(self, request: Request) -> Response | None:
        match request.method, request.path:
            case "POST", path if path == CAPTURE_PATH:
                return self._capture(request)
            case "GET", "/api/v1/get-attribution-result":
                return self._looked_up(request)
            case "GET", "/events":
                return Response.of(200, [_as_json(arrival) for arrival in self.events])
        return Response.of(404, {"msg": "Not found", "status": 404})

    def _looked_up(self, request: Request) -> Response:
        """Every user is known, unless the script says otherwise with a status."""
        answer = self._next()
        status = documented_lookup(request, self.key) if answer.status is None else answer.status
        self._lookups.append(_user(request))
        return Response.of(status, {"msg": "", "status": status, "data": None})

    def _capture(self, request: Request) -> Response | None:
        at = time.time()
        answer = self._next()
        self._stopping.wait(answer.delay)
        status, message = documented(request, self.key)
        captured = answer.records and status == 201 and not self._is_known(_body(request))
        if answer.status is not None:
            status, message = answer.status, answer.message
        given = None if answer.resets else status
        self._record(Arrival(at, _body(request), given, captured))
        return None if answer.resets else _response(status, message, answer.headers)

    def _is_known(self, body: Mapping[str, Any]) -> bool:
        id = body.get("event_id")
        return self._honours_event_id and any(
            id == each.body.get("event_id") for each in self.events
        )

    def _next(self) -> Answer:
        with self._script_lock:
            return next(self._script, Answer(records=True))

    def _record(self, arrival: Arrival) -> None:
        self._arrivals.append(arrival)


def _body(request: Request) -> Mapping[str, Any]:
    try:
        body = json.loads(request.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _response(status: int, message: str, headers: Mapping[str, str]) -> Response:
    # The documentation's own sample: 201 on the wire, 200 in the body.
    body = _CAPTURED if status == 201 else {"msg": message, "status": status, "data": None}
    return Response.of(status, body, headers)


def _as_json(arrival: Arrival) -> dict[str, Any]:
    return {"received_at": arrival.at, **arrival.body}
