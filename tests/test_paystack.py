"""Paystack's metadata in its five shapes: what is unpacked, and what stays as it was signed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.provider import Provider


def paystack() -> Provider:
    """The provider."""
    return providers.load("paystack")


def unpacked(body: bytes) -> bytes:
    """The body that is stored."""
    (webhook,) = paystack().unpack(Webhook("paystack", {}, body))
    return webhook.body


def with_metadata(owner: str, metadata: object) -> bytes:
    """A charge whose metadata, at one of its three homes, is this."""
    written: dict[str, Any] = {
        "event": "charge.success",
        "data": {"customer": {}, "transaction": {}},
    }
    home = written["data"] if owner == "data" else written["data"][owner]
    home["metadata"] = metadata
    return json.dumps(written, indent=1).encode()


@pytest.mark.parametrize("owner", ["data", "transaction", "customer"])
@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ('{"user_id": "user_42"}', {"user_id": "user_42"}),
        ("{}", {}),
        ('["user_42"]', None),
        ('"user_42"', None),
        ("{not json", None),
        ("[" * 100_000, None),
        ("", None),
        (0, None),
        (None, None),
        ([], None),
    ],
)
def test_metadata_is_an_object_or_absent(owner: str, metadata: object, expected: object) -> None:
    """JSON in a text is unpacked, and what holds no object is left out."""
    data = json.loads(unpacked(with_metadata(owner, metadata)))["data"]
    home = data if owner == "data" else data[owner]
    assert home.get("metadata") == expected
    assert ("metadata" in home) == (expected is not None)


@pytest.mark.parametrize("metadata", [{}, {"user_id": "user_42", "price": 1.10}])
def test_what_needs_nothing_stays_as_it_was_signed(metadata: object) -> None:
    """A body whose metadata is an object is stored byte for byte."""
    body = with_metadata("data", metadata)
    assert unpacked(body) == body


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"data":[{"metadata":""}]}', b'{"data":1}', b"[" * 100_000]
)
def test_what_is_no_event_stays_as_it_is(body: bytes) -> None:
    """A body of another shape is stored byte for byte, and crashes nothing."""
    assert unpacked(body) == body


def test_a_retry_is_the_same_fact() -> None:
    """The same bytes, unpacked twice, have one identity; another event of the same object has its own."""
    body = with_metadata("data", '{"user_id": "user_42"}')
    first, second = (paystack().unpack(Webhook("paystack", {}, body))[0] for _ in range(2))
    assert paystack().identify(first) == paystack().identify(second)
    other = replace(first, body=first.body + b" ")
    assert paystack().identify(other) != paystack().identify(first)
