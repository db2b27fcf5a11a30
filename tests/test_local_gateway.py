"""The gateway makes of a request what API Gateway makes of it, and survives every client."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from linkrunner_webhooks_local.gateway import event, gateway, response
from linkrunner_webhooks_local.loopback import MAX_BODY, Request, listen, serving

JSON = (("Content-Type", "application/json"),)
OK = {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": "{}"}


def post(body: bytes = b"{}", **changes: Any) -> Request:
    """A POST of JSON to Stripe's URL."""
    settings: dict[str, Any] = {"target": "/webhooks/stripe", "headers": JSON} | changes
    return Request("POST", body=body, **settings)


def ignore(error: Exception) -> None:
    """What the gateway does with an error of the function."""
    del error


@contextmanager
def running(receive: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Iterator[int]:
    """A gateway in front of this function; its port."""
    listener = listen()
    with serving(listener, gateway(receive, ignore)):
        yield listener.getsockname()[1]


def exchange(port: int, sent: bytes) -> bytes:
    """Everything a client hears that sends these bytes and nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_event_has_the_documented_shape() -> None:
    """A request becomes a payload of format 2.0."""
    request = Request(
        "POST",
        "/webhooks/stripe%20eu?a=1&b=x%20y&a=2&c=",
        (
            ("Host", "127.0.0.1:8000"),
            ("Content-Type", "application/json"),
            ("X-Seen", "1"),
            ("x-seen", "2"),
            ("Cookie", "one=1; two=2"),
            ("User-Agent", "test"),
        ),
        b'{"id": "evt_1"}',
    )
    made = event(request, "stripe eu", now=1_795_532_365.25)
    context = made.pop("requestContext")
    assert made == {
        "version": "2.0",
        "routeKey": "POST /webhooks/{source}",
        "rawPath": "/webhooks/stripe%20eu",
        "rawQueryString": "a=1&b=x%20y&a=2&c=",
        "cookies": ["one=1", "two=2"],
        "headers": {
            "host": "127.0.0.1:8000",
            "content-type": "application/json",
            "x-seen": "1,2",
            "user-agent": "test",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-proto": "http",
        },
        "queryStringParameters": {"a": "1,2", "b": "x y", "c": ""},
        "pathParameters": {"source": "stripe eu"},
        "body": '{"id": "evt_1"}',
        "isBase64Encoded": False,
    }
    assert context.pop("requestId")
    assert context == {
        "accountId": "000000000000",
        "apiId": "local",
        "domainName": "127.0.0.1:8000",
        "domainPrefix": "127",
        "http": {
            "method": "POST",
            "path": "/webhooks/stripe%20eu",
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": "test",
        },
        "routeKey": "POST /webhooks/{source}",
        "stage": "$default",
        "time": "24/Nov/2026:14:59:25 +0000",
        "timeEpoch": 1_795_532_365_250,
    }


def test_event_leaves_out_what_is_not_there() -> None:
    """Cookies, query and body are absent rather than empty."""
    made = event(post(b""), "stripe")
    assert not {"cookies", "queryStringParameters", "body"} & made.keys()
    assert made["isBase64Encoded"] is False


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64"),
    [
        ("application/json", b'{"a": "\xc3\xa9"}', False),
        ("application/vnd.api+json; charset=utf-8", b"{}", False),
        ("text/plain", b"hello", False),
        ("application/json", b"\xff\xfe", True),
        ("application/x-www-form-urlencoded", b"a=1", True),
        ("application/octet-stream", b"{}", True),
        ("", b"{}", True),
    ],
)
def test_any_body_reaches_the_function_unchanged(
    content_type: str, body: bytes, is_base64: bool
) -> None:
    """Whatever the content type and bytes, the function can get the exact body back."""
    made = event(post(body, headers=(("content-type", content_type),)), "stripe")
    assert made["isBase64Encoded"] is is_base64
    text = made["body"]
    assert (base64.b64decode(text) if is_base64 else text.encode()) == body


def test_response_is_taken_over() -> None:
    """Status, headers and body are the function's; base64 is decoded."""
    assert response(OK).body == b"{}"
    encoded = response({"statusCode": 201, "body": "/w==", "isBase64Encoded": True})
    assert (encoded.status, encoded.body) == (201, b"\xff")
    assert encoded.headers == {"Content-Type": "text/plain;charset=UTF-8"}


@pytest.mark.parametrize("result", [None, "ok", {}, {"statusCode": "200"}, {"statusCode": 99}])
def test_malformed_result_is_a_500(result: Any) -> None:
    """A function that does not answer in the agreed form has failed, and says so to nobody."""
    failures: list[Exception] = []
    answered = gateway(lambda _: result, failures.append)(post())
    assert answered is not None
    assert (answered.status, answered.body) == (500, b'{"message": "Internal Server Error"}')
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/webhooks"),
        ("POST", "/webhooks/"),
        ("POST", "/webhooks/stripe/more"),
        ("POST", "/other/stripe"),
        ("GET", "/webhooks/stripe"),
        ("POST", "/healthz"),
    ],
)
def test_other_routes_are_not_found(method: str, target: str) -> None:
    """Only POST /webhooks/{source} and GET /healthz exist."""
    answered = gateway(lambda _: OK, ignore)(Request(method, target))
    assert answered is not None
    assert (answered.status, answered.body) == (404, b'{"message": "Not Found"}')


def test_path_parameter_is_decoded() -> None:
    """The function gets the source as a person would write it."""
    echo = gateway(lambda made: {"statusCode": 200, "body": json.dumps(made)}, ignore)
    answered = echo(post(target="/webhooks/a%2Fb?x=1"))
    assert answered is not None
    assert json.loads(answered.body)["pathParameters"] == {"source": "a/b"}


def test_serves_requests_on_one_connection() -> None:
    """Connections stay open between requests, failed ones included."""

    def receive(made: dict[str, Any]) -> Mapping[str, Any]:
        return OK | {"body": json.dumps({"got": made["body"]})} if made["body"] != "bad" else {}

    with running(receive) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        answers = []
        for body in ("1", "bad", "3"):
            connection.request("POST", "/webhooks/s", body, dict(JSON))
            answered = connection.getresponse()
            answers.append((answered.status, json.loads(answered.read())))
        connection.close()
    assert answers == [
        (200, {"got": "1"}),
        (500, {"message": "Internal Server Error"}),
        (200, {"got": "3"}),
    ]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", 200),
        (b"POST /webhooks/s HTTP/1.1\r\n\r\n", 411),
        (b"POST /webhooks/s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /webhooks/s HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /webhooks/s HTTP/1.1\r\nContent-Length: ten\r\n\r\n", 400),
        (b"POST /webhooks/s HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"BREW /webhooks/s HTTP/1.1\r\n\r\n", 501),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_malformed_requests_are_answered(sent: bytes, status: int) -> None:
    """What is no proper request gets an error, and the server goes on."""
    with running(lambda _: OK) as port:
        assert f" {status} ".encode() in exchange(port, sent).splitlines()[0]
        assert b'{"status": "ok"}' in exchange(port, b"GET /healthz HTTP/1.1\r\n\r\n")


def test_a_client_that_leaves_is_no_trouble() -> None:
    """A connection that ends within a request, or before its answer, harms nobody else."""
    with running(lambda _: OK) as port:
        for sent in (b"", b"POST /web", b"POST /webhooks/s HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(sent)
        assert b"200 OK" in exchange(port, b"GET /healthz HTTP/1.1\r\n\r\n")


def test_too_long_a_body_is_refused() -> None:
    """API Gateway takes 10 MB; one byte more is answered 413, and the client gets to read it."""
    with running(lambda _: OK) as port:
        statuses = []
        for length in (MAX_BODY, MAX_BODY + 1):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", "/webhooks/s", b"x" * length)
            answered = connection.getresponse()
            statuses.append((answered.status, answered.read()))
            connection.close()
    assert statuses == [(200, b"{}"), (413, b'{"message": "Request Too Long"}')]


def test_stopping_finishes_what_runs() -> None:
    """A request in flight gets its answer although the server is being stopped."""
    started, release = threading.Event(), threading.Event()
    answers: list[bytes] = []

    def receive(made: dict[str, Any]) -> Mapping[str, Any]:
        del made
        started.set()
        assert release.wait(5)
        return OK

    with running(receive) as port:
        sent = b"POST /webhooks/s HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
        client = threading.Thread(target=lambda: answers.append(exchange(port, sent)))
        client.start()
        assert started.wait(5)
        threading.Timer(0.1, release.set).start()
    client.join(5)
    assert answers[0].startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answers[0]


def test_stopping_closes_idle_connections() -> None:
    """A connection that waits for its next request does not delay the end."""
    with running(lambda _: OK) as port:
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert connection.recv(65_536)
    with connection:
        assert connection.recv(1) == b""
