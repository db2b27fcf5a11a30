"""Forms with a signed payload: what they prove, and how they are read."""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import samples
from tests.samples import NOW, accepts

from linkrunner_webhooks import forms, providers
from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.form_payload import FormPayload

SCHEME = FormPayload(signature="bt_signature", payload="bt_payload", root="notification")
SECRET = "lr_public_key:lr_private_key"
# Accepted by the vendor's library, braintree 4.48.0 of PyPI.
SIGNATURE = "lr_public_key|1dd937dcee6d8a7a015bcbc96d97ba9346b64687"
PAYLOAD = (
    "PG5vdGlmaWNhdGlvbj48dGltZXN0YW1wIHR5cGU9ImRhdGV0aW1lIj4yMDI1LTA2LTE1VDE1OjA2\n"
    "OjQwWjwvdGltZXN0YW1wPjxraW5kPmNoZWNrPC9raW5kPjxzdWJqZWN0PjxjaGVjayB0eXBlPSJi\n"
    "b29sZWFuIj50cnVlPC9jaGVjaz48L3N1YmplY3Q+PC9ub3RpZmljYXRpb24+\n"
)


def form(signature: str = SIGNATURE, payload: str = PAYLOAD) -> Webhook:
    """A request with these two fields."""
    fields = {"bt_signature": signature, "bt_payload": payload}
    return Webhook("acme", {}, forms.write(fields))


def written(text: bytes) -> Webhook:
    """A request with this text."""
    return Webhook("acme", {}, text)


def test_the_vendors_signature_is_accepted() -> None:
    """With its keys and no others."""
    assert accepts(SCHEME, form(), SECRET)
    assert not accepts(SCHEME, form(), "lr_public_key:another", "another:lr_private_key")
    assert json.loads(SCHEME.unpack(form().body)) == {
        "timestamp": "2025-06-15T15:06:40Z", "kind": "check", "subject": {"check": True}
    }  # fmt: skip


def test_one_of_several_signatures_is_enough() -> None:
    """One for each pair of keys: the one of the configured public key is looked at."""
    other = "another_key|753ade7f448f881ba2dda00c69cf52f2a25aebc3"
    assert accepts(SCHEME, form(f"{other}&{SIGNATURE}"), SECRET)
    assert accepts(SCHEME, form(f"junk&{SIGNATURE}&{other}"), SECRET)
    swapped = SIGNATURE.replace("lr_public_key", "another_key")
    assert not accepts(SCHEME, form(f"{swapped}&lr_public_key|{'0' * 40}"), SECRET)


def test_a_last_end_of_line_may_be_lost() -> None:
    """The vendor's libraries accept it, too; any other one not."""
    assert accepts(SCHEME, form(payload=PAYLOAD.removesuffix("\n")), SECRET)
    for payload in (
        PAYLOAD + "\n",
        PAYLOAD.replace("\n", ""),
        PAYLOAD.replace("\n", "\r\n"),
        f"\n{PAYLOAD}",
    ):
        assert not accepts(SCHEME, form(payload=payload), SECRET)


@pytest.mark.parametrize(
    "signature",
    [
        "", "|", "&", "lr_public_key", "lr_public_key|", "lr_public_key||", SIGNATURE + "0", SIGNATURE[:-1],
        SIGNATURE.upper(), f"{SIGNATURE}|x", SIGNATURE.replace("|", "|é"), "é|é", "&" * 10_000,
    ],
)  # fmt: skip
def test_no_other_signature_is_accepted(signature: str) -> None:
    """None of it raises anything else."""
    assert not accepts(SCHEME, form(signature), SECRET)


@given(st.text(min_size=1, max_size=5))
def test_a_payload_cannot_be_changed(text: str) -> None:
    """Nor begin with more, nor end with more but an end of line."""
    for payload in (text + PAYLOAD, PAYLOAD + text):
        assert not accepts(SCHEME, form(payload=payload), SECRET)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"=", b"{}", b"[]", b"\xff", b"bt_payload=a", b"bt_signature=a", b"bt_signature=&bt_payload=",
        forms.write({"bt_signature": SIGNATURE, "bt_payload": PAYLOAD}) + b"&bt_payload=a",
        # Decoded twice, or not at all: a plus is a space then.
        urlencode({"bt_signature": SIGNATURE}).encode() + b"&bt_payload=" + PAYLOAD.encode(),
        b"a=1&" * 1000, b'{"bt_signature":"a","bt_payload":"b"}',
    ],
)  # fmt: skip
def test_what_is_no_such_form_is_refused(body: bytes) -> None:
    """Or can be read in two ways."""
    assert not accepts(SCHEME, written(body), SECRET)
    assert SCHEME.is_signed(written(body)) is body.startswith(
        (b"bt_signature=lr", b"bt_signature=a")
    ) & (b"&bt_payload=a" not in body)


@pytest.mark.parametrize(
    "document",
    [
        b"", b"x", b"<subscription/>", b"<notification>", b"\xff\xfe",
        b"<!DOCTYPE notification><notification/>",
        b'<!DOCTYPE n [<!ENTITY a "ha">]><notification>&a;</notification>',
    ],
)  # fmt: skip
def test_a_signed_payload_that_cannot_be_read_is_malformed(document: bytes) -> None:
    """It says who sent it, and that is all."""
    body = form(payload=b64encode(document).decode()).body
    with pytest.raises(Malformed):
        providers.load("braintree").unpack(Webhook("braintree", {}, body))
    for payload in ("=", "abc", "é", "a b c d"):
        with pytest.raises(ValueError, match=r".*"):
            SCHEME.unpack(form(payload=payload).body)


@pytest.mark.parametrize("secret", ["", ":", "key", "key:", ":key", " : "])
def test_a_secret_has_two_keys(secret: str) -> None:
    """Nothing is signed or accepted with one of them."""
    assert SCHEME.complaint(secret) == "it is not like public_key:private_key"
    assert not accepts(SCHEME, form(), secret)
    with pytest.raises(ValueError, match="two keys"):
        SCHEME.sign(written(b"{}"), secret, NOW)


def test_what_is_no_notification_is_not_signed() -> None:
    """There is nothing to sign."""
    for body in (
        b"",
        b"[]",
        b"5",
        b"{",
        b'{"a b": 1}',
        b'{"a": "\\u0000"}',
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
    ):
        assert SCHEME.sign(written(body), SECRET, NOW).body == body


def test_a_long_notification_is_read() -> None:
    """With hundreds of transactions it has some hundred kilobytes."""
    sample = samples.load("braintree", "subscription_charged_successfully")
    rows = sample.body["subject"]["subscription"]["transactions"]
    rows.extend(
        [
            rows[0] | {"id": f"old{number}", "created_at": "2020-01-01T00:00:00Z"}
            for number in range(300)
        ]
    )
    webhook = sample.signed()
    assert len(webhook.body) > 300_000
    desk = samples.desk(sample.provider)
    assert desk.receive(webhook)[0] == 200
    (event,) = samples.planned(sample.webhook())
    assert event.event_data["amount"] == 19.99
