"""Hashes of named values, in forms and in JSON: what they prove, and what they cannot."""

from __future__ import annotations

import json
from hashlib import sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import samples
from tests.samples import NOW, accepts, planned

from linkrunner_webhooks import forms, providers
from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.hashed_values import (
    HashedValues,
    Unambiguous,
    Values,
    ambiguous,
    joined,
)

VALUES = ("status", "amount", "order.id")
SALT = "salt_0001"


def texts(values: Values, secret: str) -> list[str]:
    """As one provider's own libraries: the second one leaves the status out."""
    return [joined("|", secret, *values.values()), joined("|", secret, *[*values.values()][1:])]


IN_BODY = HashedValues(values=VALUES, texts=texts, algorithm="sha512", member="hash")
IN_HEADER = HashedValues(
    values=VALUES, texts=lambda values, _: ["".join(values.values())], algorithm="sha256",
    header="x-hash", keyed=True,
)  # fmt: skip
FORM = HashedValues(values=VALUES, texts=texts, algorithm="sha512", member="hash", form=True)
BODY = {"status": "paid", "amount": "25.90", "order": {"id": "A 1&2=3"}, "note": "Zoë"}
FLAT = {"status": "paid", "amount": "25.90", "order.id": "", "note": "Zoë & co"}


def webhook(body: object) -> Webhook:
    """A request with this JSON."""
    return Webhook("acme", {}, json.dumps(body).encode())


@pytest.mark.parametrize(("scheme", "body"), [(IN_BODY, BODY), (IN_HEADER, BODY), (FORM, FLAT)])
def test_what_is_signed_verifies(scheme: HashedValues, body: dict[str, object]) -> None:
    """With its secret and no other; in either case of the hash, as some send it."""
    signed = scheme.sign(webhook(body), SALT, NOW)
    assert accepts(scheme, signed, SALT)
    assert not accepts(scheme, signed, "another")
    assert not accepts(scheme, Webhook("acme", {}, json.dumps(body).encode()), SALT)
    assert scheme.proof(signed)


@given(st.sampled_from(["status", "amount"]), st.text(min_size=1, max_size=8))
def test_a_hashed_value_cannot_be_changed(name: str, text: str) -> None:
    """The rest of the body can."""
    signed = json.loads(IN_BODY.sign(webhook(BODY), SALT, NOW).body)
    assert accepts(IN_BODY, webhook({**signed, "note": text}), SALT)
    changed = webhook({**signed, name: text})
    assert accepts(IN_BODY, changed, SALT) == (text == BODY[name])


def test_numbers_are_hashed_as_they_are_written() -> None:
    """25.90 is not 25.9, and null is nothing."""
    hashed = sha512(b"salt_0001|paid|25.90|").hexdigest()
    body = '{"status": "paid", "amount": %s, "order": null, "hash": "%s"}'
    for amount, is_accepted in (("25.90", True), ('"25.90"', True), ("25.9", False)):
        written = Webhook("acme", {}, (body % (amount, hashed)).encode())
        assert accepts(IN_BODY, written, SALT) is is_accepted


def test_either_text_of_two_libraries_is_accepted() -> None:
    """Where the provider's own disagree."""
    hashed = sha512(b"salt_0001|25.90|A").hexdigest().upper()
    body = {"status": "paid", "amount": "25.90", "order": {"id": "A"}, "hash": hashed}
    assert accepts(IN_BODY, webhook(body), SALT)


@pytest.mark.parametrize(
    "body",
    [
        b"status=paid&status=paid&amount=1&hash=x",
        b'{"status": "paid", "status": "paid", "hash": "x"}',
        b"status=%ff&hash=x",
        b"[1]", b"", b"=", b"a=1&" * 1000, b'{"amount": true, "hash": "x"}', b'{"amount": NaN}',
        b"{" * 10_000,
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    """And what cannot be read at all; none of it raises anything else."""
    for scheme in (IN_BODY, FORM, IN_HEADER):
        assert not accepts(scheme, Webhook("acme", {"x-hash": "x"}, body), SALT)
        assert scheme.sign(Webhook("acme", {}, body), SALT, NOW).body == body


def test_what_is_no_unicode_is_not_signed() -> None:
    """As a sample; it raises nothing."""
    half = Webhook("acme", {}, b'{"status": "paid", "note": "\\ud800"}')
    assert IN_BODY.sign(half, SALT, NOW) == half


def test_bodies_with_one_hash_are_told_apart() -> None:
    """Where genuine ones differ in a value that is not hashed; others have the same proof."""
    apart = HashedValues(
        values=("id",), texts=texts, algorithm="sha512", member="hash", apart=("state",)
    )
    first, second, forged = (
        apart.proof(webhook({"id": "1", "hash": "x", "state": state, "user": user}))
        for state, user in (("paid", "a"), ("refunded", "a"), ("paid", "b"))
    )
    assert first != second
    assert first == forged


def test_a_hash_beside_nothing_proves_nothing() -> None:
    """In a header it can stand beside any body."""
    headers = {"x-hash": "x"}
    assert IN_HEADER.proof(Webhook("acme", headers, json.dumps(BODY).encode())) == "x"
    assert IN_HEADER.proof(Webhook("acme", headers, b"{}")) is None


def test_what_holds_the_joiner_is_ambiguous() -> None:
    """`a|b` and `c` have the hash of `a` and `b|c`."""
    assert ambiguous({"status": "paid|1"}, VALUES, "|")
    assert not ambiguous(BODY, VALUES, "|")


def test_what_is_ambiguous_is_not_read() -> None:
    """Nobody can tell which of the readings was signed; a person looks at it."""

    class Payment(Unambiguous):
        hashed = VALUES
        amount: str

    assert Payment.model_validate({**BODY, "note": "a|b"}).amount == "25.90"
    with pytest.raises(Untranslatable):
        Payment.model_validate({**BODY, "order": {"id": "a|b"}})


UNAMBIGUOUS = [
    (name, event_type, value)
    for name, event_type in samples.registered()
    if issubclass(payload := providers.load(name).types[event_type].payload, Unambiguous)
    for value in payload.hashed
]


@pytest.mark.parametrize(("name", "event_type", "value"), UNAMBIGUOUS)
def test_every_hashed_value_is_looked_at(name: str, event_type: str, value: str) -> None:
    """A provider's own model knows all of them, whether it reads them or not."""
    sample = samples.load(name, event_type)
    # With another status it has no mapper, which parks it as well.
    with pytest.raises(Untranslatable):
        planned(sample.changed({(value,): f"{sample.body.get(value)}|1"}).webhook())


def test_a_form_becomes_json() -> None:
    """Whose fields are texts; what is JSON already stays as it was sent."""
    (unpacked,) = forms.unpack(Webhook("acme", {}, forms.write(FLAT)))
    assert unpacked.payload == FLAT
    assert forms.unpack(webhook(BODY)) == (webhook(BODY),)
    with pytest.raises(Malformed):
        forms.unpack(Webhook("acme", {}, b"a=1&a=2"))
    assert forms.write({"a": None, "b": 1, "c": "\ud800"}) == b"a=&b=1&c=%3F"
