"""Encrypted hashes of forms and of JSON: what they prove, and what they cannot."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.samples import NOW, accepts

from linkrunner_webhooks import forms
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.encrypted_hash import EncryptedHash

SCHEME = EncryptedHash(member="CHECKSUMHASH", values=("TXNID", "TXNAMOUNT"))
KEY = "LRmerchantKey016"
# Made with the vendor's libraries, paytmchecksum 1.7.0 of PyPI and 1.5.1 of npm.
CHECKSUM = (
    "BTG/boCXMdgcW4BG3lxE/QkTPaV6dykytUlF2tONpl7/IDj6FoPwt3iTJGvhSpsW"
    "XAijiJkAVoWavIx55i+wnL/S78EPTZ5xN29hvFYTypU="
)
FORM = {
    "CURRENCY": "INR", "GATEWAYNAME": "WALLET", "RESPMSG": "Txn Success", "BANKNAME": "WALLET",
    "PAYMENTMODE": "UPI", "CUSTID": "user_42", "MID": "LRTEST00000000000001", "MERC_UNQ_REF": "user_42",
    "RESPCODE": "01", "TXNID": "202603041112128001LR0001", "TXNAMOUNT": "259.90",
    "ORDERID": "ORDER_LR_0001", "STATUS": "TXN_SUCCESS", "BANKTXNID": "606300000001",
    "TXNDATETIME": "2026-03-04 14:46:14.0", "TXNDATE": "2026-03-04", "CHECKSUMHASH": CHECKSUM,
}  # fmt: skip
JSON = {"head": {"version": "v1"}, "body": {"refundId": "1", "refundAmount": "1.00", "note": "Zoë"}}


def form(**fields: str) -> Webhook:
    """The vendor's report, with other fields."""
    return Webhook("acme", {}, forms.write(FORM | fields))


def written(text: str) -> Webhook:
    """A request with this text."""
    return Webhook("acme", {}, text.encode())


def signed(body: object, secret: str = KEY) -> Webhook:
    """A request with this JSON, or the form of it."""
    return SCHEME.sign(written(json.dumps(body)), secret, NOW)


def test_the_vendors_checksum_is_accepted() -> None:
    """With its key, in any order of the fields, with null for nothing; and no other amount."""
    assert accepts(SCHEME, form(), KEY)
    assert accepts(SCHEME, Webhook("acme", {}, forms.write(dict(reversed(FORM.items())))), KEY)
    assert not accepts(SCHEME, form(TXNAMOUNT="259.9"), KEY)
    assert not accepts(SCHEME, form(), "LRmerchantKey017")
    assert SCHEME.proof(form()) == CHECKSUM
    for nothing in ("", "null", "NULL"):
        with_nothing = signed({"A": nothing, "B": "1"}).body.replace(
            b"A=" + nothing.encode(), b"A=null"
        )
        assert accepts(SCHEME, Webhook("acme", {}, with_nothing), KEY)


@given(
    st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=8),
    st.text(min_size=1, max_size=8),
)
def test_what_is_signed_verifies(fields: dict[str, str], text: str) -> None:
    """Whatever the fields hold; and one value more, or another one, is not what was signed."""
    fields.pop("body", None)
    report = signed(fields)
    if not SCHEME.is_signed(report):
        # A name in capitals that is the signature's own, or half a pair of surrogates.
        return
    assert accepts(SCHEME, report, KEY)
    read = forms.read(report.body)
    name = next(iter(read))
    for changed in ({**read, name: read[name] + text}, {**read, name + "x" + text: text}):
        if changed.keys() != {"CHECKSUMHASH"}:
            assert not accepts(SCHEME, Webhook("acme", {}, forms.write(changed)), KEY)


def test_names_are_not_signed() -> None:
    """Which a provider has to know: a value keeps its place among the names, and may get another."""
    renamed = {
        ("TXNAMOUNT2" if name == "TXNAMOUNT" else name): value for name, value in FORM.items()
    }
    assert accepts(SCHEME, Webhook("acme", {}, forms.write(renamed)), KEY)
    assert SCHEME.proof(Webhook("acme", {}, forms.write(renamed))) == CHECKSUM


def test_the_text_of_a_json_body_is_signed() -> None:
    """As it is written, whatever stands around it; the head is not signed."""
    report = signed(JSON)
    signature = json.loads(report.body)["head"]["signature"]
    text = '{"refundId":"1","refundAmount":"1.00","note":"Zoë"}'
    for around in (
        f'{{"head":{{"signature":"{signature}"}},"body":{text}}}',
        f' {{ "body" : {text} ,\r\n\t"head" : {{"version": "v2", "signature": "{signature}"}} }} ',
        f'{{"body":{text},"head":{{"signature":"{signature}"}},"TXNID":"1"}}',
    ):
        assert accepts(SCHEME, written(around), KEY)
        assert SCHEME.proof(written(around)) == signature
    for other in (
        f'{{"head":{{"signature":"{signature}"}},"body":{text.replace("1.00", "9.00")}}}',
        f'{{"head":{{"signature":"{signature}"}},"body": {text.replace(":", ": ")}}}',
        f'{{"head":{{"signature":"{signature}"}},"body":{text},"body":{{"refundId":"2"}}}}',
        f'{{"head":{{"signature":"{signature}"}},"body":{{"refundId":"2"}},"body":{text}}}',
        f'{{"head":{{"signature":"{signature}"}},"body":{text}}}x',
        f'{{"head":{{"signature":"{signature}"}},"body":{text}}},{{}}',
        f'{{"head":{{"signature":"{signature}"}},"body":{text},}}',
        f'{{1:2,"head":{{"signature":"{signature}"}},"body":{text}}}',
        f'[{{"head":{{"signature":"{signature}"}},"body":{text}}}]',
        f'{{"head":{{"signature":"{signature}"}}}}',
        f'{{"body":{text}}}', f'{{"head":[],"body":{text}}}', '{"body":', "{", "{}", '{"head":{}}',
    ):  # fmt: skip
        assert not accepts(SCHEME, written(other), KEY)


def test_a_form_and_json_are_not_taken_for_each_other() -> None:
    """A JSON object of the fields is not the form that was signed."""
    assert not accepts(SCHEME, written(json.dumps(FORM)), KEY)
    nested = json.dumps({"head": {"signature": CHECKSUM}, "body": FORM})
    assert not accepts(SCHEME, written(nested), KEY)


@pytest.mark.parametrize(
    "checksum",
    [
        "", "x", "=", "A" * 107, "A" * 108, "A" * 108 + "=", CHECKSUM[:-1], CHECKSUM + "\n", " " + CHECKSUM,
        # Other writings of the same bytes, of which the proof would be another.
        CHECKSUM[:-2] + "V=", CHECKSUM.replace("+", "-").replace("/", "_"), CHECKSUM + "AAAA",
        "é" * 108, CHECKSUM.lower(), b64encode(b"").decode(), b64encode(b"\x00" * 80).decode(),
        b64encode(b64decode(CHECKSUM)[:64]).decode(), b64encode(b64decode(CHECKSUM) * 2).decode(),
        b64encode(b64decode(CHECKSUM)[:79]).decode(), "A" * 1_000_000,
    ],
)  # fmt: skip
def test_no_other_checksum_is_accepted(checksum: str) -> None:
    """Not base64, no whole blocks, too short, too long: none of it raises anything else."""
    assert not accepts(SCHEME, form(CHECKSUMHASH=checksum), KEY)


@given(st.integers(0, 79), st.integers(1, 255))
def test_no_byte_of_a_checksum_can_be_changed(at: int, bits: int) -> None:
    """Neither of the hash, nor of the salt, nor of the padding behind it."""
    changed = bytearray(b64decode(CHECKSUM))
    changed[at] ^= bits
    assert not accepts(SCHEME, form(CHECKSUMHASH=b64encode(changed).decode()), KEY)


@pytest.mark.parametrize(
    "body",
    [
        b"TXNID=1&TXNID=1&CHECKSUMHASH=x", b"TXNID=%ff&CHECKSUMHASH=x", b"[1]", b"", b"=", b"a=1&" * 1000,
        b"{" * 10_000, b'{"body":' * 10_000, b"\xff", b"null", b"TXNID=1",
        b'{"head":{"signature":5},"body":1}',
        b'{"body":{},"head":{"signature":"' + CHECKSUM.encode() + b'"}}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    """Or can be read in two ways; none of it raises anything else."""
    assert not accepts(SCHEME, Webhook("acme", {}, body), KEY)
    assert SCHEME.is_signed(Webhook("acme", {}, body)) in (True, False)


def test_what_is_no_report_is_not_signed() -> None:
    """There is nothing to sign."""
    for body in (b"", b"[]", b"5", b"{"):
        assert SCHEME.sign(Webhook("acme", {}, body), KEY, NOW).body == body


@pytest.mark.parametrize("secret", ["", "another", KEY[1:], "x" + KEY, "é" * 16])
def test_a_key_has_sixteen_characters(secret: str) -> None:
    """Or thirty-two. Others are refused, and said to be none."""
    assert not accepts(SCHEME, form(), secret)
    assert "16 characters" in (SCHEME.complaint(secret) or "") or secret == "é" * 16


def test_a_key_of_thirty_two_characters_can_be_one() -> None:
    """AES-256, which is unconfirmed."""
    assert SCHEME.complaint(KEY) is None
    assert SCHEME.complaint(KEY * 2) is None
    assert accepts(SCHEME, signed({"A": "1"}, KEY * 2), KEY * 2)
