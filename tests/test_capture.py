"""Capturing: what is sent to Linkrunner, and what each of its answers means for the event."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.clock import Clock
from tests.embedded import eventually
from tests.secrets_manager import SecretsManager
from tests.simulation.deployment import TIMEOUT
from urllib3.connection import HTTPConnection

from linkrunner_webhooks import __version__, capture, connections, time_left
from linkrunner_webhooks.capture import LinkrunnerClient, api, judge, seconds
from linkrunner_webhooks.errors import Refused, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.pacing import Pace, Silence
from linkrunner_webhooks.secrets import MIN_AGE, Secret, ServerKey
from linkrunner_webhooks_local.embedded_linkrunner import (
    CAPTURE_PATH,
    Answer,
    EmbeddedLinkrunner,
    answer_lost,
    busy,
    failing,
    hang,
    redirect,
    reset,
    slow,
)
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of

EVENT = LinkrunnerEvent("purchase_completed", {"amount": 25.99, "currency": "USD"}, "user_42")


@dataclass
class Client:
    """Our side of the API, with what it rests on within reach."""

    linkrunner: LinkrunnerClient
    secret: SecretsManager
    clock: Clock

    def __call__(self, event: LinkrunnerEvent = EVENT) -> None:
        self.linkrunner(event)

    def unavailable(self) -> Unavailable:
        """How capturing fails."""
        with pytest.raises(Unavailable) as raised:
            self.linkrunner(EVENT)
        return raised.value


@contextmanager
def client(url: str, key: str = "key") -> Iterator[Client]:
    """Our client of a Linkrunner at this URL, with a clock of its own."""
    secret, clock = SecretsManager(key), Clock()
    keys = ServerKey(Secret(secret, "arn", clock=clock))
    linkrunner = LinkrunnerClient(url, keys, Pace(1e6, clock=clock, sleep=clock.sleep))
    try:
        yield Client(linkrunner, secret, clock)
    finally:
        linkrunner._pool.clear()


@pytest.fixture
def embedded() -> Iterator[EmbeddedLinkrunner]:
    """The embedded Linkrunner, listening."""
    with EmbeddedLinkrunner(key="key") as running:
        yield running


@pytest.fixture
def ours(embedded: EmbeddedLinkrunner) -> Iterator[Client]:
    """Our client of the embedded Linkrunner."""
    with client(embedded.url) as connected:
        yield connected


@contextmanager
def recorded() -> Iterator[tuple[str, list[Request]]]:
    """A server that takes everything, and the requests it saw."""
    requests: list[Request] = []

    def answer(request: Request) -> Response:
        requests.append(request)
        return Response.of(201, {"msg": "Event capture request received!"})

    listener = listen()
    with serving(listener, answer):
        yield url_of(listener), requests


@dataclass
class Raw:
    """A server that says exactly these bytes, one answer a request; closes after `closes` of them."""

    answers: Sequence[bytes]
    closes: int = 1
    connections: int = 0
    requests: int = 0

    @contextmanager
    def running(self) -> Iterator[str]:
        with listen() as listener:
            thread = threading.Thread(target=self._serve, args=(listener,))
            thread.start()
            try:
                yield url_of(listener)
            finally:
                # Wakes an accept that nobody came for.
                with socket.create_connection(listener.getsockname()):
                    thread.join(10)

    def _serve(self, listener: socket.socket) -> None:
        answers = iter(self.answers)
        while self.requests < len(self.answers):
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                self.connections += 1
                for _ in range(self.closes):
                    if not _read_request(stream):
                        return
                    self.requests += 1
                    connection.sendall(next(answers))


def _read_request(stream: Any) -> bool:
    headers = list(iter(stream.readline, b"\r\n")) if stream.peek(1) else []
    length = next((h for h in headers if h.lower().startswith(b"content-length:")), b":0")
    stream.read(int(length.split(b":")[1]))
    return bool(headers)


# ------------------------------------------------------------------------- what is sent


def test_sends_the_documented_body(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """The body has the three documented fields, with amounts as numbers."""
    ours()
    [event] = embedded.events
    assert event.body == {
        "event_name": "purchase_completed",
        "event_data": {"amount": 25.99, "currency": "USD"},
        "user_id": "user_42",
    }


def test_sends_the_documented_request() -> None:
    """A POST of JSON with the key in its header, and a user agent that names us."""
    with recorded() as (url, requests), client(url, " key\n") as ours:
        ours()
    [request] = requests
    assert (request.method, request.target) == ("POST", "/api/v1/capture-event")
    assert request.header("linkrunner-key") == "key"
    assert request.header("content-type") == "application/json"
    assert request.header("user-agent") == f"linkrunner-webhooks/{__version__}"
    assert request.header("content-length") == str(len(request.body))
    assert [name.lower() for name, _ in request.headers].count("linkrunner-key") == 1


def test_every_text_arrives() -> None:
    """Characters of any script, and those that JSON has to escape, arrive as they were."""
    texts = {"coupon": 'späti 🛒 "10%" \\ \n', "plan_id": "\x00\ud7ff\ue000"}
    with recorded() as (url, requests), client(url) as ours:
        ours(LinkrunnerEvent("purchase_completed", texts, "üser"))
    body = json.loads(requests[0].body)
    assert body["event_data"] == texts
    assert body["user_id"] == "üser"


def test_what_is_not_json_is_not_sent(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """An amount that is not a number never leaves."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        ours(LinkrunnerEvent("purchase_completed", {"amount": float("nan")}, "user_42"))
    assert embedded.arrivals == ()


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", CAPTURE_PATH),
        ("/", CAPTURE_PATH),
        ("//", CAPTURE_PATH),
        ("/api/v1", CAPTURE_PATH),
        ("/api/v1/", CAPTURE_PATH),
        ("/api/v1/capture-event", CAPTURE_PATH),
        ("/api/v1/capture-event/", CAPTURE_PATH),
        ("/proxy", "/proxy" + CAPTURE_PATH),
        ("/proxy/api/v1/", "/proxy" + CAPTURE_PATH),
    ],
)
def test_the_base_url_may_hold_the_documented_path(suffix: str, path: str) -> None:
    """The address may be written with and without the documented path, and with a slash at its end."""
    with recorded() as (url, requests), client(url + suffix) as ours:
        ours()
        assert api(url + suffix) + EVENT.path == url + path
    assert [request.target for request in requests] == [path]


def test_connections_are_reused() -> None:
    """One connection carries one event after the other."""
    ok = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
    raw = Raw([ok] * 5, closes=5)
    with raw.running() as url, client(url) as ours:
        for _ in range(5):
            ours()
    assert (raw.connections, raw.requests) == (1, 5)


def test_refused_events_do_not_cost_the_connection() -> None:
    """Answers that are errors leave the connection as usable as others."""
    answers = [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ]
    raw = Raw(answers, closes=3)
    with raw.running() as url, client(url) as ours:
        with pytest.raises(Refused):
            ours()
        assert ours.unavailable().reason == "unavailable"
        ours()
    assert raw.connections == 1


def test_a_closed_connection_is_replaced() -> None:
    """A connection that Linkrunner closed while nobody used it costs no event."""
    ok = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
    raw = Raw([ok] * 3)
    with raw.running() as url, client(url) as ours:
        for number in range(3):
            ours()
            eventually(lambda served=number + 1: raw.requests == served)  # type: ignore[misc]
            assert eventually(lambda: _is_dropped(ours))
    assert raw.connections == 3


def test_an_idle_connection_is_not_used_again(
    ours: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other end may be gone without a word, and then nobody would know whether the event counts."""
    made = []

    def connect(connection: Any) -> None:
        made.append(connection)
        HTTPConnection.connect(connection)

    monkeypatch.setattr(connections._Prompt, "connect", connect)
    for idle, expected in ((connections.IDLE, 1), (-1.0, 3)):
        monkeypatch.setattr(connections, "IDLE", idle)
        ours()
        ours()
        assert len(made) == expected


def _is_dropped(ours: Client) -> bool:
    """Whether the closing of the other side has arrived here."""
    pool: Any = ours.linkrunner._pool.connection_from_url(ours.linkrunner._api)
    connection = pool._get_conn()
    pool._put_conn(connection)
    return connection.sock is None or not connection.is_connected


# ------------------------------------------------------------------------- what answers mean

REFUSED = (400, 413, 422)
REASONS = {
    401: "unauthorized",
    429: "rate_limited",
    502: "bad_gateway",
    504: "unanswered",
    520: "bad_gateway",
    524: "unanswered",
}


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_success_is_a_captured_event(
    ours: Client, embedded: EmbeddedLinkrunner, status: int
) -> None:
    """Every 2xx takes the event."""
    embedded.play([Answer(status=status, records=True)])
    ours()
    assert len(embedded.arrivals) == 1


@pytest.mark.parametrize("status", REFUSED)
def test_an_answer_about_the_event_itself_refuses_it(
    ours: Client, embedded: EmbeddedLinkrunner, status: int
) -> None:
    """Only an answer that is about the event itself parks it."""
    embedded.play([failing(status)])
    with pytest.raises(Refused, match=str(status)):
        ours()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (301, "unavailable"),
        (304, "unavailable"),
        (401, "unauthorized"),
        (403, "unavailable"),
        (404, "unavailable"),
        (405, "unavailable"),
        (408, "unavailable"),
        (402, "unavailable"),
        (409, "unavailable"),
        (410, "unavailable"),
        (429, "rate_limited"),
        (500, "unavailable"),
        (502, "bad_gateway"),
        (503, "unavailable"),
        (504, "unanswered"),
        (524, "unanswered"),
        (520, "bad_gateway"),
        (599, "unavailable"),
    ],
)
def test_an_answer_that_may_change(
    ours: Client, embedded: EmbeddedLinkrunner, status: int, reason: str
) -> None:
    """Everything that may be different tomorrow keeps the event, and one request was made."""
    embedded.play([failing(status)])
    error = ours.unavailable()
    assert (error.reason, error.retry_after) == (reason, None)
    assert len(embedded.arrivals) == 1
    assert embedded.events == ()


def test_no_status_is_forgotten() -> None:
    """Each status there can be is a capture, a refusal or another try."""
    for status in range(100, 600):
        if 200 <= status < 300:
            judge(status)
        else:
            expected = Refused if status in REFUSED else Unavailable
            with pytest.raises(expected) as raised:
                judge(status)
            if isinstance(raised.value, Unavailable):
                assert raised.value.reason == REASONS.get(status, "unavailable")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 ",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 " + b"9" * 70_000,
        b"\x16\x03\x01\x02\x00\x01",
    ],
    ids=lambda answer: repr(answer[:20]),
)
def test_garbage_is_no_answer(answer: bytes) -> None:
    """What is not HTTP keeps the event for another try."""
    with Raw([answer]).running() as url, client(url) as ours:
        assert ours.unavailable().reason == "unanswered"


BROKEN_BODIES = [
    b"Content-Length: 100\r\n\r\n{",
    b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
]


@pytest.mark.parametrize("body", BROKEN_BODIES)
def test_an_answer_counts_whatever_its_body(body: bytes) -> None:
    """The status says that the event was taken; a body that breaks off must not make us send it again."""
    with Raw([b"HTTP/1.1 201 Created\r\n" + body]).running() as url, client(url) as ours:
        ours()


@pytest.mark.parametrize("body", BROKEN_BODIES)
def test_a_refusal_counts_whatever_its_body(body: bytes) -> None:
    """The status says that the event is wrong, also when the explanation breaks off."""
    answer = b"HTTP/1.1 400 Bad Request\r\n" + body
    with Raw([answer]).running() as url, client(url) as ours, pytest.raises(Refused):
        ours()


def test_a_refusal_keeps_linkrunners_words(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """Whoever reads the parked message learns what is wrong, and neither the user's id nor the key."""
    said = f"user_42 of key {embedded.key} is unknown to app 7; write to help@linkrunner.io"
    embedded.play([Answer(status=400, message=said)])
    with pytest.raises(Refused, match="unknown to app 7") as raised:
        ours()
    assert str(raised.value) == (
        'Linkrunner answered 400: "[...] of [...] [...] is unknown to app 7; write to [...]"'
    )
    embedded.play([Answer(status=403, message="This account is closed")])
    assert str(ours.unavailable()) == 'Linkrunner answered 403: "This account is closed"'


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"<html></html>", b"\xff\xfe", b"null", b"x" * 1_000_000]
)
def test_the_words_of_an_answer_do_not_matter(body: bytes) -> None:
    """What Linkrunner says besides the status changes nothing."""
    length = f"Content-Length: {len(body)}\r\n\r\n".encode()
    with Raw([b"HTTP/1.1 201 Created\r\n" + length + body]).running() as url, client(url) as ours:
        ours()


# ------------------------------------------------------------------------- when to come back


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 50, 3600.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Fri, 31 Feb 2099 00:00:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600.0),
        ("Wed, 21 Oct 2099 07:28:00", 3600.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, wait: float | None) -> None:
    """Retry-After is seconds or a date, an hour at most; anything else counts as absent."""
    assert seconds(text) == wait


def test_retry_after_as_a_date() -> None:
    """A date is understood as the time until then, in whatever zone it is written."""
    moment = datetime.now(UTC) + timedelta(seconds=90)
    assert seconds(format_datetime(moment, usegmt=True)) == pytest.approx(89.5, abs=1.5)
    elsewhere = moment.astimezone(tz=datetime.strptime("+0530", "%z").tzinfo)
    assert seconds(format_datetime(elsewhere)) == pytest.approx(89.5, abs=1.5)


WORDS = [
    *'Mon,31()\\"<',
    "99",
    "Jan",
    "2026",
    "99999",
    "12:00:00",
    "GMT",
    "EST",
    "+9999",
    "-9999",
    "1e5",
]


@settings(deadline=None)
@example("(")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)))
def test_retry_after_of_any_kind(text: str) -> None:
    """No header makes it fail, wait backwards, or wait for days."""
    wait = seconds(text)
    assert wait is None or 0 <= wait <= 3600


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize(("text", "wait"), [("7", 7.0), ("soon", None), ("99999", 3600.0)])
def test_retry_after_is_passed_on(
    ours: Client, embedded: EmbeddedLinkrunner, status: int, text: str, wait: float | None
) -> None:
    """Whoever cannot take the event now may say when it can."""
    embedded.play([Answer(status=status, headers={"Retry-After": text})])
    assert ours.unavailable().retry_after == wait


def test_a_retry_after_is_for_everything_that_is_asked(
    ours: Client, embedded: EmbeddedLinkrunner
) -> None:
    """The limit counts captures and look-ups together: what the one is told the other heeds, either way."""
    embedded.play([Answer(status=429, headers={"Retry-After": "60"})])
    with pytest.raises(Unavailable) as asked:
        ours.linkrunner.knows("user_42")
    assert (asked.value.reason, asked.value.retry_after) == ("rate_limited", 60.0)
    assert ours.unavailable().reason == "rate_limited"
    with pytest.raises(Unavailable, match="Retry-After that is not over"):
        ours.linkrunner.knows("user_43")
    assert (list(embedded.lookups), embedded.arrivals) == (["user_42"], ())


def test_rate_limited_without_a_hint(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """A 429 need not say when to come back."""
    embedded.play([busy(), busy(retry_after=30)])
    assert ours.unavailable().retry_after is None
    assert ours.unavailable().retry_after == 30


@pytest.mark.parametrize("hint", [None, 1, 2])
def test_one_request_too_many_in_a_second_waits(
    ours: Client, embedded: EmbeddedLinkrunner, hint: int | None
) -> None:
    """While Linkrunner takes events, a 429 that asks for a moment costs that moment and one request."""
    ours()
    ours.clock.slept.clear()
    embedded.play([busy(retry_after=hint)])
    ours()
    assert len(embedded.events) == 2
    assert sum(ours.clock.slept) == pytest.approx(hint or 1.0, abs=0.01)


@pytest.mark.parametrize("hint", [3, 600])
def test_a_longer_rest_is_for_the_queue(
    ours: Client, embedded: EmbeddedLinkrunner, hint: int
) -> None:
    """Nobody waits in a running function for what takes longer."""
    ours()
    embedded.play([busy(retry_after=hint)])
    assert ours.unavailable().retry_after == hint
    assert len(embedded.arrivals) == 2


def test_a_lasting_limit_is_not_asked_twice(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """Once more while events were taken a moment ago, and then once for every event."""
    ours()
    embedded.play([busy()] * 4)
    for arrivals in (3, 5):
        assert ours.unavailable().reason == "rate_limited"
        assert len(embedded.arrivals) == arrivals
    ours.linkrunner._took_at -= 6
    embedded.play([busy()])
    assert ours.unavailable().reason == "rate_limited"
    assert len(embedded.arrivals) == 6


# ------------------------------------------------------------------------- when no answer comes


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, embedded: EmbeddedLinkrunner) -> Iterator[Client]:
    """Our client, which waits for an answer for a twentieth of a second only."""
    monkeypatch.setattr(connections, "ANSWER", 0.05)
    with client(embedded.url) as connected:
        yield connected


@contextmanager
def dripping(begins: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Takes one event at once, begins its answer, and then sends a byte of it now and then."""
    over = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with suppress(OSError):
            connection = tls.wrap_socket(connection, server_side=True) if tls else connection
            with connection.makefile("rb") as stream:
                _read_request(stream)
                connection.sendall(begins)
                while not over.wait(0.05):
                    connection.sendall(b"a")
        connection.close()

    with listen() as listener:
        server = threading.Thread(target=drip)
        server.start()
        try:
            yield url_of(listener)
        finally:
            over.set()
            server.join(10)


@pytest.mark.parametrize("follows", [b"x-a: b", b"content-length: 1000\r\n\r\n"])
def test_an_answer_counts_by_its_status(follows: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What drips after the status would outlast the function, and the event would be sent again."""
    monkeypatch.setattr(connections, "ANSWER", 0.5)
    with (
        dripping(b"HTTP/1.1 201 Created\r\n" + follows) as url,
        client(url) as ours,
        deadline(20),
    ):
        ours()


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 20"])
def test_an_answer_that_drips_is_none(begins: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte would start a socket's patience anew, and the function would end before its answer."""
    monkeypatch.setattr(connections, "ANSWER", 0.5)
    with dripping(begins) as url, client(url) as ours, deadline(20):
        assert ours.unavailable().reason == "unanswered"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of this machine with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    began = datetime.now(UTC) - timedelta(days=1)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, began, began + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(private + built.public_bytes(Encoding.PEM))
    return path


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 20"])
def test_over_tls_an_answer_that_drips_is_none_either(
    begins: bytes, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS has errors of its own for what breaks off, which do not mean that nothing was sent."""
    monkeypatch.setattr(connections, "ANSWER", 0.5)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with dripping(begins, tls) as url, client(url.replace("http:", "https:")) as ours:
        ours.linkrunner._pool.connection_pool_kw["ca_certs"] = str(certificate)
        with deadline(20):
            assert ours.unavailable().reason == "unanswered"


def test_a_certificate_that_nobody_trusts_leaves_no_doubt(certificate: Path) -> None:
    """Where no secure connection came about nothing was sent."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with dripping(b"", tls) as url, client(url.replace("http:", "https:")) as ours:
        assert ours.unavailable().reason == "network"


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """What is in it takes less time than that."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.mark.parametrize(("answer", "captured"), [(hang(60), 0), (slow(60), 1)])
def test_a_hang_is_a_timeout(
    impatient: Client, embedded: EmbeddedLinkrunner, answer: Answer, captured: int
) -> None:
    """An answer that does not come in time keeps the event, which may have been taken all the same."""
    embedded.play([answer])
    assert impatient.unavailable().reason == "unanswered"
    embedded._stopping.set()
    eventually(lambda: embedded.arrivals)
    assert len(embedded.events) == captured


def test_after_a_hang_all_is_well(impatient: Client, embedded: EmbeddedLinkrunner) -> None:
    """The late answer to one event is not taken for the answer to the next."""
    embedded.play([Answer(status=400, delay=0.3)])
    assert impatient.unavailable().reason == "unanswered"
    over(impatient)
    impatient()
    assert len(embedded.events) == 1


def test_patience_is_bounded() -> None:
    """A capture and its note fit into half of the function's time, so that a batch gets somewhere."""
    assert connections.CONNECT + connections.ANSWER < capture.SLOWEST < time_left.SLOWEST
    assert time_left.SLOWEST <= TIMEOUT * 0.6


def over(ours: Client) -> None:
    """The pause after a request without an answer has passed."""
    ours.linkrunner._silence._until = 0.0


def test_who_does_not_answer_is_asked_by_one_at_a_time(
    ours: Client, embedded: EmbeddedLinkrunner
) -> None:
    """Every request may count, so the others wait, longer each time, until there is an answer."""
    embedded.play([reset(), reset(), Answer(status=504), Answer(status=500), Answer()])
    assert ours.unavailable().reason == "unanswered"
    pauses = []
    for _ in range(3):
        waiting = ours.unavailable()
        assert waiting.reason == "silent"
        assert waiting.retry_after is not None
        pauses.append(round(waiting.retry_after))
        over(ours)
        if len(pauses) < 3:
            assert ours.unavailable().reason == "silent"
    assert pauses == [30, 60, 120]
    ours()
    # An answer is an answer, whatever it says. Until then nothing was asked that counts.
    asked = [each.body for each in embedded.arrivals]
    assert [bool(each) for each in asked] == [True, False, False, False, True]


def test_a_bad_gateway_is_no_silence_until_it_stays(
    ours: Client, embedded: EmbeddedLinkrunner
) -> None:
    """A proxy that now and then loses its server holds nobody up; one that always does is asked by one."""
    embedded.play([*[failing(502), Answer()] * 6, *[failing(502)] * 5])
    for _ in range(6):
        assert ours.unavailable().reason == "bad_gateway"
        ours()
    for _ in range(5):
        assert ours.unavailable().reason == "bad_gateway"
    assert ours.unavailable().reason == "silent"
    over(ours)
    ours()


def test_a_new_process_asks_first_where_others_had_trouble(
    ours: Client, embedded: EmbeddedLinkrunner
) -> None:
    """It knows of the silence only what was noted, and no event of its own has to find out."""
    ours.linkrunner._silence = Silence(lambda: True)
    embedded.play([reset()])
    assert ours.unavailable().reason == "silent"
    over(ours)
    ours()
    assert len(embedded.events) == 1


def test_a_question_that_nobody_answers_is_not_the_last_word(
    ours: Client, embedded: EmbeddedLinkrunner
) -> None:
    """Where the question alone is refused by a proxy, one of twelve is an event, and all go on."""
    embedded.play([reset(), *[failing(502)] * 11])
    assert ours.unavailable().reason == "unanswered"
    for _ in range(11):
        over(ours)
        assert ours.unavailable().reason == "silent"
    over(ours)
    ours()
    assert [bool(each.body) for each in embedded.arrivals] == [True, *[False] * 11, True]


def test_what_keeps_the_question_from_being_asked_is_told(
    ours: Client, embedded: EmbeddedLinkrunner
) -> None:
    """A closed port is no silence."""
    ours.linkrunner._silence = Silence(lambda: True)
    embedded.__exit__(None, None, None)
    assert ours.unavailable().reason == "network"


def test_a_key_that_is_missing_is_no_silence(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """Whoever asks first after trouble tells of the trouble that there is."""
    ours.linkrunner._silence = Silence(lambda: True)
    ours.secret.value = ""
    assert ours.unavailable().reason == "no_key"
    assert embedded.arrivals == ()


def test_only_one_asks_whether_it_still_is_silent(
    impatient: Client, embedded: EmbeddedLinkrunner
) -> None:
    """While one request is under way the others wait for what becomes of it."""
    embedded.play([hang(0.2)])
    impatient.unavailable()
    over(impatient)
    embedded.play([Answer(status=400, delay=0.02)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: impatient(), range(8)))
    # The others waited for what it said, and nobody was turned away by a Linkrunner that answers.
    assert [bool(each.body) for each in embedded.arrivals].count(False) == 1
    assert len(embedded.events) == 8


def test_a_second_request_has_to_fit(
    ours: Client, embedded: EmbeddedLinkrunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All requests of one capture share its time: a slow 401 is not followed by another request."""
    monkeypatch.setattr(capture, "_SOON", -1.0)
    with pytest.raises(Unavailable, match="took its time"):
        ours()
    assert embedded.arrivals == ()
    answers = iter([True, False])
    monkeypatch.setattr(capture, "_soon", lambda _: next(answers))
    embedded.key = ours.secret.value = "new"
    ours.clock.now += MIN_AGE + 1
    assert ours.unavailable().reason == "unauthorized"
    assert len(embedded.arrivals) == 1


@pytest.mark.parametrize(("answer", "captured"), [(reset(), 0), (answer_lost(), 1)])
def test_a_reset_keeps_the_event(
    ours: Client, embedded: EmbeddedLinkrunner, answer: Answer, captured: int
) -> None:
    """A connection that breaks off before or after the event was read is tried again, later."""
    embedded.play([answer])
    error = ours.unavailable()
    assert (error.reason, error.retry_after) == ("unanswered", None)
    assert len(embedded.arrivals) == 1
    assert len(embedded.events) == captured
    over(ours)
    ours()
    assert len(embedded.events) == captured + 1


def closed_port() -> str:
    """A URL where nobody listens."""
    with listen() as listener:
        return url_of(listener)


def test_nobody_there_is_no_timeout() -> None:
    """A refused connection is told apart from a server that takes its time."""
    with client(closed_port()) as ours:
        assert ours.unavailable().reason == "network"


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1", "http://[::1", "http://a b"])
def test_an_address_that_is_none(url: str) -> None:
    """A wrong LINKRUNNER_BASE_URL loses no event."""
    with client(url) as ours:
        assert ours.unavailable().reason in ("network", "unanswered")


# ------------------------------------------------------------------------- the key


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    ours: Client, embedded: EmbeddedLinkrunner, status: int
) -> None:
    """The key goes to the configured host and to no other, whatever that one says."""
    with EmbeddedLinkrunner(key="key") as other:
        embedded.play([redirect(other.url + CAPTURE_PATH, status)])
        assert ours.unavailable().reason == "unavailable"
        assert other.arrivals == ()
    embedded.play([redirect(CAPTURE_PATH, status)])
    assert ours.unavailable().reason == "unavailable"
    assert len(embedded.arrivals) == 2


def test_a_rotated_key_is_read_again(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """After a 401 the key is read once more, and the event goes out under the new one."""
    ours()
    embedded.key = ours.secret.value = "new"
    ours.clock.now += MIN_AGE + 1
    ours()
    ours()
    assert [arrival.status for arrival in embedded.arrivals] == [201, 401, 201, 201]
    assert len(ours.secret.reads) == 2


def test_an_unchanged_key_is_not_tried_again(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """A key that is wrong and stays wrong costs one request."""
    embedded.key = "other"
    ours.secret.reads.clear()
    assert ours.unavailable().reason == "unauthorized"
    ours.clock.now += MIN_AGE + 1
    assert ours.unavailable().reason == "unauthorized"
    assert [arrival.status for arrival in embedded.arrivals] == [401, 401]
    assert len(ours.secret.reads) == 2


def test_a_wrong_key_does_not_flood_secrets_manager(
    ours: Client, embedded: EmbeddedLinkrunner
) -> None:
    """Within seconds the key is not read again, however many events are refused."""
    embedded.key = "other"
    for _ in range(5):
        assert ours.unavailable().reason == "unauthorized"
    assert len(ours.secret.reads) == 1


def test_a_new_key_that_is_wrong_too(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """The new key is tried once, and then the event waits."""
    ours()
    embedded.key, ours.secret.value = "right", "wrong"
    ours.clock.now += MIN_AGE + 1
    assert ours.unavailable().reason == "unauthorized"
    assert [arrival.status for arrival in embedded.arrivals] == [201, 401, 401]


@pytest.mark.parametrize("answer", [failing(400), failing(500), busy(retry_after=7)])
def test_the_second_answer_decides(
    ours: Client, embedded: EmbeddedLinkrunner, answer: Answer
) -> None:
    """What the new key is answered is what counts."""
    ours()
    ours.secret.value = "new"
    ours.clock.now += MIN_AGE + 1
    embedded.play([failing(401), answer])
    with pytest.raises((Refused, Unavailable), match=str(answer.status)):
        ours()


def test_without_a_key_nothing_is_sent(embedded: EmbeddedLinkrunner) -> None:
    """Before the key was put into its secret, events wait."""
    with client(embedded.url, key=" ") as ours:
        assert ours.unavailable().reason == "no_key"
    assert embedded.arrivals == ()


@pytest.mark.parametrize("key", ["one\ntwo", "schl\u00fcssel\u2028", '{\n"key": "value"\n}'])
def test_a_key_that_no_header_can_carry(embedded: EmbeddedLinkrunner, key: str) -> None:
    """A secret that is not a key counts as none, so that the right alarm names it."""
    with client(embedded.url, key=key) as ours:
        error = ours.unavailable()
    assert error.reason == "no_key"
    assert "one" not in str(error)
    assert embedded.arrivals == ()


def test_errors_do_not_tell_the_key(ours: Client, embedded: EmbeddedLinkrunner) -> None:
    """Messages go to logs, and secrets do not."""
    ours.secret.value = "s3cret"
    embedded.play([failing(401), failing(500), busy(), reset()])
    assert all("s3cret" not in str(ours.unavailable()) for _ in range(4))


# ------------------------------------------------------------------------- pace


def test_both_tries_take_their_turn(embedded: EmbeddedLinkrunner) -> None:
    """The try with a new key counts towards the limit like any other request."""
    clock, secret = Clock(), SecretsManager("old")
    key = ServerKey(Secret(secret, "arn", clock=clock))
    key.current()
    secret.value = "key"
    clock.now += MIN_AGE + 1
    linkrunner = LinkrunnerClient(embedded.url, key, Pace(2, clock=clock, sleep=clock.sleep))
    linkrunner(EVENT)
    linkrunner(EVENT)
    linkrunner._pool.clear()
    assert [arrival.status for arrival in embedded.arrivals] == [401, 201, 201]
    assert clock.slept == [0.5, 0.5]


def called_at(pace: Pace, clock: Clock, gaps: Iterable[float]) -> list[float]:
    """When calls went out that were wanted after these gaps."""
    moments = []
    for gap in gaps:
        clock.now += gap
        pace.wait()
        moments.append(clock.now)
    return moments


@pytest.mark.parametrize(
    ("status", "content_type", "captured"),
    [
        (201, "text/html", True),
        (200, "application/json", True),
        (200, None, True),
        (200, "text/html; charset=utf-8", False),
    ],
)
def test_a_web_page_is_no_capture(status: int, content_type: str | None, *, captured: bool) -> None:
    """A host that is not Linkrunner, and says 200 to everything, takes nothing away from the queue."""
    if captured:
        judge(status, None, content_type)
    else:
        with pytest.raises(Unavailable, match="check LinkrunnerBaseUrl"):
            judge(status, None, content_type)


@given(
    st.floats(0.1, 1000),
    st.lists(st.one_of(st.just(0.0), st.floats(0, 3)), max_size=60),
    st.floats(0, 1e6),
)
def test_pace_is_kept_in_every_window(rate: float, gaps: list[float], start: float) -> None:
    """In any stretch of time there is at most one call more than the rate allows."""
    clock = Clock(start)
    moments = called_at(Pace(rate, clock=clock, sleep=clock.sleep), clock, gaps)
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            window = moments[last] - moments[first]
            assert last - first + 1 <= rate * window + 1 + 1e-4
    assert all(duration > 0 for duration in clock.slept)


@given(st.floats(0.1, 1000), st.integers(1, 30))
def test_pace_holds_up_nobody_who_is_slow(rate: float, calls: int) -> None:
    """Calls that are further apart than the rate asks for do not wait."""
    clock = Clock()
    moments = called_at(Pace(rate, clock=clock, sleep=clock.sleep), clock, [1.001 / rate] * calls)
    assert clock.slept == []
    assert all(later > earlier for earlier, later in pairwise(moments))


def test_idle_time_is_not_saved_up() -> None:
    """After a quiet hour the rate is what it was: no burst makes up for it."""
    clock = Clock()
    pace = Pace(10, clock=clock, sleep=clock.sleep)
    moments = called_at(pace, clock, [0, 3600, 0, 0])
    assert [round(later - earlier, 6) for earlier, later in pairwise(moments)] == [3600, 0.1, 0.1]


def test_what_tls_says_of_an_answer_leaves_the_event_in_doubt(
    embedded: EmbeddedLinkrunner, ours: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that cannot be decrypted comes after the request, and so it may have been captured."""

    def broken(_: object) -> None:
        raise ssl.SSLError("decryption failed or bad record mac")

    monkeypatch.setattr("http.client.HTTPConnection.getresponse", broken)
    assert ours.unavailable().reason == "unanswered"
    eventually(lambda: embedded.events)
