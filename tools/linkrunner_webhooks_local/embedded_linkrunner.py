"""The embedded Linkrunner: events and payments as documented, and every way it can go wrong on request.

with EmbeddedLinkrunner(key="...") as linkrunner:
    linkrunner.play([busy(retry_after=1), answer_lost()])  # one answer for each next request
    linkrunner.play(itertools.repeat(failing()))           # down until further notice
    linkrunner.play([])                                    # well again
    linkrunner.events                                      # the events it captured, in order
    linkrunner.book.totals()                               # the revenue of its payments, by currency
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qs

from linkrunner_webhooks.payments import Type
from linkrunner_webhooks_local.development import LINKRUNNER_KEY
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of
from linkrunner_webhooks_local.payment_book import COMPLETED, PaymentBook

CAPTURE_PATH: Final = "/api/v1/capture-event"
PAYMENT_PATH: Final = "/api/v1/capture-payment"
REMOVAL_PATH: Final = "/api/v1/remove-payment"
_CAPTURED: Final = {"msg": "Event capture request received!", "status": 200, "data": None}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request and what became of it. No `status`: the connection was reset.

    `captured` says that it changed something: a payment that was known, and one that is not there, do not.
    """

    at: float
    body: Mapping[str, Any]
    status: int | None
    captured: bool
    path: str = CAPTURE_PATH

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
    """The status and message that the documentation gives for this request."""
    if request.header("linkrunner-key") != key:
        return 401, "Invalid linkrunner-key"
    wrong = _WRONG[request.path](_body(request))
    return (400, wrong) if wrong else (201, str(_CAPTURED["msg"]))


def _wrong_event(body: Mapping[str, Any]) -> str:
    for name in ("event_name", "user_id"):
        if not _is_text(body.get(name)):
            return f"{name} is required"
    return "" if isinstance(body.get("event_id", ""), str) else "event_id must be a string"


def _wrong_payment(body: Mapping[str, Any]) -> str:
    for name in ("user_id", "payment_id"):
        if not _is_text(body.get(name)):
            return f"{name} is required"
    amount = body.get("amount")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
        return "amount must be a number"
    if body.get("type", "DEFAULT") not in set(Type):
        return "type is not known"
    known = body.get("status", COMPLETED) in _STATES
    return "" if known else "status is not known"


def _wrong_removal(body: Mapping[str, Any]) -> str:
    named = any(_is_text(body.get(name)) for name in ("payment_id", "user_id"))
    return "" if named else "payment_id or user_id is required"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_STATES: Final = {COMPLETED, "PAYMENT_INITIATED", "PAYMENT_FAILED", "PAYMENT_CANCELLED"}
_WRONG: Final = {
    CAPTURE_PATH: _wrong_event,
    PAYMENT_PATH: _wrong_payment,
    REMOVAL_PATH: _wrong_removal,
}


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
    says "for deduplication" and no more, so by default it is not. `users` are those whom it knows, None
    everybody.
    """

    def __init__(
        self,
        key: str = LINKRUNNER_KEY,
        port: int = 0,
        *,
        honours_event_id: bool = False,
        users: Collection[str] | None = None,
    ) -> None:
        self.key = key
        self._users = users
        self._honours_event_id = honours_event_id
        self.url = ""
        self._port = port
        self.book = PaymentBook()
        self._arrivals: list[Arrival] = []
        self._lookups: list[str] = []
        self._script: Iterator[Answer] = iter(())
        self._script_lock = threading.Lock()
        self._book_lock = threading.Lock()
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
        return tuple(each for each in self.arrivals if each.captured and each.path == CAPTURE_PATH)

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Every request about an event or a payment, whatever became of it, in order of answering."""
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
        self.book = PaymentBook()

    def answer(self, request: Request) -> Response | None:
        match request.method, request.path:
            case "POST", path if path in _WRONG:
                return self._capture(request)
            case "GET", "/api/v1/get-attribution-result":
                return self._looked_up(request)
            case "GET", "/events":
                return Response.of(200, [_as_json(arrival) for arrival in self.events])
            case "GET", "/payments":
                return Response.of(200, self._payments())
        return Response.of(404, {"msg": "Not found", "status": 404})

    def _looked_up(self, request: Request) -> Response:
        """What the script says with a status, or else whether the user is known."""
        answer, user = self._next(), _user(request)
        status = documented_lookup(request, self.key) if answer.status is None else answer.status
        if status == 200 and not (self._users is None or user in self._users):
            status = 204
        self._lookups.append(user)
        return Response.of(status, {"msg": "", "status": status, "data": None}, answer.headers)

    def _capture(self, request: Request) -> Response | None:
        at = time.time()
        answer = self._next()
        self._stopping.wait(answer.delay)
        status, message = documented(request, self.key)
        with self._book_lock:
            takes = answer.records and status == 201
            captured = takes and self._takes(request.path, _body(request))
        if request.path == REMOVAL_PATH and status == 201:
            status, message = (200, "Payment removed") if captured else (400, "No payment found")
        if answer.status is not None:
            status, message = answer.status, answer.message
        given = None if answer.resets else status
        self._record(Arrival(at, _body(request), given, captured, request.path))
        return None if answer.resets else _response(status, message, answer.headers)

    def _takes(self, path: str, body: Mapping[str, Any]) -> bool:
        """Whether the request changes what is held."""
        if path == PAYMENT_PATH:
            return self.book.capture(body)
        return self.book.remove(body) > 0 if path == REMOVAL_PATH else not self._is_known(body)

    def _payments(self) -> dict[str, Any]:
        totals = {currency: float(total) for currency, total in self.book.totals().items()}
        repeated = [
            {"type": key[0], "payment_id": key[1], "ignored": times}
            for key, times in self.book.repeated.items()
        ]
        held = list(self.book.payments.values())
        return {"totals": totals, "payments": held, "repeated": repeated}

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
