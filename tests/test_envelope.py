"""A webhook in the queue and back: the same bytes, or a clear word."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import MAX_BYTES, Envelope, open_message, unseal
from linkrunner_webhooks.errors import Parked, TooLarge, Unreadable
from linkrunner_webhooks.model import Webhook

SHOPIFY = providers.load("shopify")
STRIPE = providers.load("stripe")
MIB = 1024 * 1024


def seal(body: bytes, headers: Mapping[str, str] | None = None, received_at: float = 1.5) -> str:
    """The message of a Shopify webhook."""
    return Envelope(Webhook("shopify", headers or {}, body), received_at).seal(SHOPIFY)


@given(body=st.binary(max_size=2000))
def test_any_bytes_come_back(body: bytes) -> None:
    """Whatever bytes were signed are the bytes that are translated."""
    text = seal(body)
    assert text.isascii()
    assert unseal(text) == Envelope(Webhook("shopify", {}, body), 1.5)


@given(body=st.text(max_size=2000))
def test_readable_bodies_stay_readable(body: str) -> None:
    """A body in UTF-8 can be read in the SQS console."""
    text = seal(body.encode("utf-8", "surrogatepass"))
    assert unseal(text).webhook.body == body.encode("utf-8", "surrogatepass")
    if body.isascii() and body.isalnum():
        assert body in text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"note":"Cr\xc3\xa8me"}',
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b"\xed\xa0\x80",
        "🫖".encode() * 1000,
        b'"\\\x01\x1f\x7f' * 500,
        b"a" * (6 * MIB),
        b'{"line_items":[' + b'{"id":1234567890},' * 330_000 + b"{}]}",
        Random(1).randbytes(700_000),
        Random(2).randbytes(350_000).hex().encode(),
        Random(3).randbytes(500_000).hex().encode(),
    ],
    ids=lambda body: f"{len(body)}-{body[:8]!r}",
)
def test_sizes_up_to_the_limit(body: bytes) -> None:
    """Compressible up to 6 MB, incompressible up to what fits: it comes back, and fits SQS."""
    text = seal(body)
    assert len(text) <= MAX_BYTES
    assert unseal(text).webhook.body == body


@pytest.mark.parametrize("size", [MAX_BYTES, 2 * MIB, 6 * MIB])
def test_what_does_not_fit_is_too_large(size: int) -> None:
    """Incompressible bodies beyond the queue's limit are refused, never truncated."""
    with pytest.raises(TooLarge):
        seal(Random(4).randbytes(size))


def test_headers_that_do_not_fit_are_too_large() -> None:
    """The limit counts everything that is stored."""
    with pytest.raises(TooLarge):
        seal(b"{}", {"x-shopify-topic": "a" * MIB})


def test_only_identity_headers_travel() -> None:
    """Signatures, cookies and addresses of the sender stay at the edge."""
    headers = {
        "x-shopify-topic": "orders/paid",
        "shopify-event-id": "é\ud800",
        "x-shopify-hmac-sha256": "secret-ish",
        "x-forwarded-for": "203.0.113.42",
        "cookie": "a=b",
    }
    opened = unseal(seal(b"{}", headers)).webhook
    assert opened.headers == {"x-shopify-topic": "orders/paid", "shopify-event-id": "é\ud800"}
    assert unseal(Envelope(Webhook("stripe", headers, b"{}"), 0).seal(STRIPE)).webhook.headers == {}


@given(received_at=st.floats(0, 4e9))
def test_the_time_of_receipt_is_kept(received_at: float) -> None:
    """To the millisecond."""
    assert abs(unseal(seal(b"{}", received_at=received_at)).received_at - received_at) <= 0.001


# ------------------------------------------------------------------------------- unreadable


@given(text=st.text())
def test_arbitrary_text_is_unreadable(text: str) -> None:
    """Anything that seal did not write is Unreadable and nothing else."""
    with pytest.raises(Unreadable):
        unseal(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    content=st.fixed_dictionaries(
        {},
        optional={
            "v": st.just(1) | json_values,
            "source": st.just("shopify") | json_values,
            "received_at": json_values,
            "headers": json_values,
            "body": json_values,
            "body_zlib": json_values,
        },
    )
)
def test_a_text_that_is_almost_an_envelope_is_read_or_unreadable(content: dict[str, Any]) -> None:
    """JSON in nearly the right shape is read, or it is Unreadable and nothing else."""
    try:
        envelope = unseal(json.dumps(content))
    except Unreadable:
        return
    assert isinstance(envelope.webhook.body, bytes)


def message(**change: object) -> str:
    """A message with some of its keys changed."""
    content = {"v": 1, "source": "shopify", "received_at": 1.0, "headers": {}, "body": "{}"}
    return json.dumps(content | change)


def zipped(body: bytes) -> str:
    """The body as an envelope compresses it."""
    return b64encode(zlib.compress(body)).decode("ascii")


UNREADABLE = {
    "empty": "",
    "null": "null",
    "list": "[]",
    "number": "1",
    "text": '"x"',
    "cut short": message()[:-5],
    "deep": "[" * 100_000,
    "no version": json.dumps({"source": "shopify"}),
    "newer version": message(v=2),
    "version as text": message(v="1"),
    "headers as list": message(headers=[1]),
    "headers as text": message(headers="abc"),
    "null headers": message(headers=None),
    "header values that are no text": message(headers={"x-shopify-topic": 5}),
    "null header": message(headers={"x-shopify-topic": None}),
    "time as text": message(received_at="yesterday"),
    "no time": message(received_at=None),
    "huge time": message().replace("1.0", "1" + "0" * 400),
    "5,000 digit time": message().replace("1.0", "1" * 5000),
    "surrogate": message(body="\ud800"),
    "neither body": json.dumps({"v": 1, "source": "s", "received_at": 1, "headers": {}}),
}
NOT_ZLIB = {
    "not base64": "*",
    "not ASCII": "é",
    "not zlib": b64encode(b"plain").decode("ascii"),
    "truncated": b64encode(zlib.compress(b"a" * 1000)[:-4]).decode("ascii"),
    "null": None,
    "number": 5,
    "a bomb": zipped(b"\x00" * (64 * MIB)),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_text_that_is_no_envelope_is_unreadable(text: str) -> None:
    """A text in the queue that we did not write is Unreadable, whatever is wrong with it."""
    with pytest.raises(Unreadable):
        unseal(text)


@pytest.mark.parametrize("content", NOT_ZLIB.values(), ids=NOT_ZLIB.keys())
def test_a_broken_compressed_body_is_unreadable(content: object) -> None:
    """A compressed body that is broken or inflates beyond reason is Unreadable."""
    written = {"v": 1, "source": "s", "received_at": 1, "headers": {}, "body_zlib": content}
    with pytest.raises(Unreadable):
        unseal(json.dumps(written))


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable_messages_are_parked(text: str) -> None:
    """Opening such a message parks it; the worker goes on."""
    with pytest.raises(Parked):
        open_message(text, Config({"shopify": {}}))


def test_the_reason_quotes_nothing() -> None:
    """The message of an Unreadable says nothing of what it could not read."""
    with pytest.raises(Unreadable) as caught:
        unseal('{"email": "jane.appleseed@example.com"}')
    assert "jane" not in str(caught.value)
    assert caught.value.__suppress_context__
