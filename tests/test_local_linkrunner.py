"""The embedded Linkrunner answers as documented, and misbehaves on request."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest

from linkrunner_webhooks_local.embedded_linkrunner import (
    CAPTURE_PATH,
    PAYMENT_PATH,
    REMOVAL_PATH,
    Answer,
    EmbeddedLinkrunner,
    answer_lost,
    busy,
    documented,
    failing,
    hang,
    redirect,
    reset,
    slow,
)
from linkrunner_webhooks_local.loopback import Request

EVENT = {"event_name": "purchase_completed", "user_id": "user_42", "event_data": {"amount": 25.99}}


@pytest.fixture
def linkrunner() -> Iterator[EmbeddedLinkrunner]:
    """The embedded Linkrunner, listening."""
    with EmbeddedLinkrunner(key="key") as embedded:
        yield embedded


def call(
    url: str,
    body: object = EVENT,
    *,
    method: str = "POST",
    path: str = CAPTURE_PATH,
    key: str = "key",
    timeout: float = 5,
) -> tuple[int, http.client.HTTPMessage, Any]:
    """Status, headers and JSON of its answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        connection.request(method, path, json.dumps(body), {"linkrunner-key": key})
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())
    finally:
        connection.close()


def capture(body: bytes, key: str = "key") -> Request:
    """A request to capture an event."""
    return Request("POST", CAPTURE_PATH, (("Linkrunner-Key", key),), body)


def test_captures_an_event(linkrunner: EmbeddedLinkrunner) -> None:
    """A valid event is answered with the documented sample and remembered with its arrival."""
    status, _, body = call(linkrunner.url)
    assert status == 201
    assert body == {"msg": "Event capture request received!", "status": 200, "data": None}
    [event] = linkrunner.events
    assert event.body == EVENT
    assert (event.event_name, event.user_id) == ("purchase_completed", "user_42")
    assert event.event_data == {"amount": 25.99}
    assert abs(time.time() - event.at) < 5


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (capture(json.dumps(EVENT).encode()), 201),
        (capture(json.dumps(EVENT).encode(), key="other"), 401),
        (Request("POST", CAPTURE_PATH, (), b"{}"), 401),
        (capture(b'{"event_name": "x"}'), 400),
        (capture(b'{"event_name": "x", "user_id": ""}'), 400),
        (capture(b'{"event_name": "x", "user_id": 42}'), 400),
        (capture(b'{"user_id": "u"}'), 400),
        (capture(b"[]"), 400),
        (capture(b"not json"), 400),
        (capture(b"\xff"), 400),
    ],
)
def test_a_request_gets_its_documented_status(request_: Request, status: int) -> None:
    """The key is checked before the event, and both ids must be text that is not empty."""
    assert documented(request_, "key")[0] == status


def test_refused_requests_are_arrivals_but_not_events(linkrunner: EmbeddedLinkrunner) -> None:
    """What was answered 400 or 401 was not captured."""
    call(linkrunner.url, {"event_name": "x"})
    call(linkrunner.url, key="wrong")
    assert linkrunner.events == ()
    assert [arrival.status for arrival in linkrunner.arrivals] == [400, 401]


PAYMENT = {
    "user_id": "user_42",
    "payment_id": "pi_1",
    "amount": 25.99,
    "event_data": {"currency": "USD"},
}


def pay(linkrunner: EmbeddedLinkrunner, **changes: Any) -> int:
    """The status of a payment."""
    return call(linkrunner.url, PAYMENT | changes, path=PAYMENT_PATH)[0]


def remove(linkrunner: EmbeddedLinkrunner, **named: str) -> int:
    """The status of a removal."""
    return call(linkrunner.url, named, path=REMOVAL_PATH)[0]


def test_a_payment_counts_once_by_its_type_and_id(linkrunner: EmbeddedLinkrunner) -> None:
    """The first record wins, and a repetition is answered like it."""
    assert [pay(linkrunner), pay(linkrunner, amount=99)] == [201, 201]
    assert linkrunner.book.totals() == {"USD": Decimal("25.99")}
    pay(linkrunner, type="ONE_TIME")
    pay(linkrunner, payment_id="pi_2", status="PAYMENT_FAILED")
    assert linkrunner.book.totals() == {"USD": Decimal("51.98")}
    _, _, listed = call(linkrunner.url, method="GET", path="/payments")
    assert listed["totals"] == {"USD": 51.98}
    assert len(listed["payments"]) == 3


def test_a_removal_takes_what_it_names(linkrunner: EmbeddedLinkrunner) -> None:
    """One payment, or with a user alone all of that user's; what is not there is refused."""
    for number in range(3):
        pay(linkrunner, payment_id=f"pi_{number}")
    pay(linkrunner, payment_id="pi_9", user_id="user_9")
    assert remove(linkrunner, payment_id="pi_0") == 200
    assert remove(linkrunner, payment_id="pi_0") == 400
    assert [key[1] for key in linkrunner.book.payments] == ["pi_1", "pi_2", "pi_9"]
    assert remove(linkrunner, user_id="user_42") == 200
    assert [key[1] for key in linkrunner.book.payments] == ["pi_9"]
    assert remove(linkrunner) == 400
    # Nothing says that an id may be used again.
    assert pay(linkrunner, payment_id="pi_0") == 201
    assert len(linkrunner.book.payments) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"payment_id": ""},
        {"user_id": None},
        {"amount": "25.99"},
        {"amount": -1},
        {"amount": True},
        {"type": "ONCE"},
        {"status": "PAID"},
    ],
)
def test_a_payment_that_is_none_is_refused(
    linkrunner: EmbeddedLinkrunner, changes: dict[str, Any]
) -> None:
    """Where the documentation is silent it is strict, so that our mistakes are seen."""
    assert pay(linkrunner, **changes) == 400
    assert linkrunner.book.payments == {}


def test_lists_its_events(linkrunner: EmbeddedLinkrunner) -> None:
    """Scripts read what was captured from GET /events."""
    call(linkrunner.url)
    status, _, events = call(linkrunner.url, method="GET", path="/events")
    assert status == 200
    assert events == [{"received_at": linkrunner.events[0].at, **EVENT}]


@pytest.mark.parametrize(("method", "path"), [("GET", CAPTURE_PATH), ("POST", "/other")])
def test_nothing_else_is_there(linkrunner: EmbeddedLinkrunner, method: str, path: str) -> None:
    """Everything but capture-event and the list of events is a 404."""
    assert call(linkrunner.url, method=method, path=path)[0] == 404


@pytest.mark.parametrize(
    ("answer", "status", "header"),
    [
        (busy(), 429, ("Retry-After", None)),
        (busy(retry_after=7), 429, ("Retry-After", "7")),
        (failing(), 500, ("Retry-After", None)),
        (failing(503), 503, ("Retry-After", None)),
        (redirect("https://example.com/"), 302, ("Location", "https://example.com/")),
    ],
)
def test_plays_an_answer_once(
    linkrunner: EmbeddedLinkrunner, answer: Answer, status: int, header: tuple[str, str | None]
) -> None:
    """A scripted answer is given to one request, whose event is not captured."""
    linkrunner.play([answer])
    given, headers, _ = call(linkrunner.url)
    assert (given, headers[header[0]]) == (status, header[1])
    assert linkrunner.events == ()
    assert call(linkrunner.url)[0] == 201


def test_plays_forever_until_told_otherwise(linkrunner: EmbeddedLinkrunner) -> None:
    """An endless script is an outage, and an empty one ends it."""
    linkrunner.play(itertools.repeat(failing()))
    assert {call(linkrunner.url)[0] for _ in range(3)} == {500}
    linkrunner.play([])
    assert call(linkrunner.url)[0] == 201


@pytest.mark.parametrize(("answer", "captured"), [(reset(), 0), (answer_lost(), 1)])
def test_resets_the_connection(
    linkrunner: EmbeddedLinkrunner, answer: Answer, captured: int
) -> None:
    """A reset comes before or after the event is taken, and the client cannot tell which."""
    linkrunner.play([answer])
    with pytest.raises(ConnectionResetError):
        call(linkrunner.url)
    assert len(linkrunner.events) == captured
    assert linkrunner.arrivals[0].status is None


def test_a_late_answer_may_come_too_late(linkrunner: EmbeddedLinkrunner) -> None:
    """A client that gives up on a slow answer has had its event taken; the end does not wait."""
    linkrunner.play([slow(60), hang(60)])
    for _ in range(2):
        with pytest.raises(TimeoutError):
            call(linkrunner.url, timeout=0.05)
    linkrunner.__exit__()
    assert [(arrival.captured, arrival.status) for arrival in linkrunner.arrivals] in (
        [(True, 201), (False, None)],
        [(False, None), (True, 201)],
    )


def test_clear_forgets_everything(linkrunner: EmbeddedLinkrunner) -> None:
    """After `clear` the embedded Linkrunner is as good as new."""
    call(linkrunner.url)
    linkrunner.play([failing()])
    linkrunner.clear()
    assert linkrunner.arrivals == ()
    assert call(linkrunner.url)[0] == 201


def test_answers_without_delay(linkrunner: EmbeddedLinkrunner) -> None:
    """Small requests on one connection do not wait for delayed acknowledgements (40 ms each)."""
    connection = http.client.HTTPConnection(urlsplit(linkrunner.url).netloc, timeout=5)
    start = time.monotonic()
    for _ in range(25):
        connection.request("POST", CAPTURE_PATH, json.dumps(EVENT), {"linkrunner-key": "key"})
        connection.getresponse().read()
    connection.close()
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("honours", [True, False])
def test_an_event_id_may_be_honoured(*, honours: bool) -> None:
    """Which Linkrunner does is not documented, so it can be either; the answer is the same."""
    with EmbeddedLinkrunner(key="key", honours_event_id=honours) as embedded:
        for id in ("one", "one", "two"):
            status, _, _ = call(embedded.url, {**EVENT, "event_id": id})
            assert status == 201
        assert len(embedded.events) == (2 if honours else 3)
