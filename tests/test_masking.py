"""What the console shows of a request: nobody until somebody asks, and a secret never."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest
from tests import samples
from tests.samples import every_provider

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Envelope
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_cli.pages.masking import shown_body, shown_headers, shown_message
from linkrunner_webhooks_cli.pages.secrecy import is_secret, without_secrets

CONFIG = Config({"stripe": {"user_id": ["data.ref", "data.people[].id"]}})
SECRET = "s3cr3t-Value"
WHOSE = "walter_42"


def stripe() -> Source:
    """Whose users stand at paths of its own."""
    found = CONFIG.source("stripe")
    assert found is not None
    return found


def body(value: Any, *, whole: bool = False, source: Source | None = None) -> str:
    """A body as it is shown; JSON, where it is no bytes."""
    written = value if isinstance(value, bytes) else json.dumps(value).encode()
    return shown_body(Webhook("stripe", {}, written), source, whole=whole)


# ------------------------------------------------------------------------- people


@pytest.mark.parametrize(
    "value",
    [
        {"client_reference_id": WHOSE},
        {"metadata": {"linkrunner_user_id": WHOSE}},
        {"metadata": {"id": WHOSE}},
        {"notes": {"deep": {"order_id": WHOSE}}},
        {"user": {"id": WHOSE}},
        {"customer": {"default": {"ids": [WHOSE]}}},
        *({f"{name}_id": WHOSE} for name in ("user", "app_user", "account", "player", "member")),
        *({f"{name}_id": WHOSE} for name in ("profile", "external", "customer", "shopper", "uid")),
        *({name: WHOSE} for name in ("custom_id", "userId", "uid", "reference_id", "device_id")),
    ],
    ids=str,
)
def test_ids_of_people_are_masked_by_their_names(value: Any) -> None:
    """Wherever merchants write them; and shown to who asks."""
    assert WHOSE not in body(value)
    assert WHOSE in body(value, whole=True)


def test_users_of_a_source_are_masked_wherever_they_stand() -> None:
    """By their value: where the source looks for them, and anywhere else in the body."""
    value = {
        "data": {"ref": WHOSE, "people": [{"id": "rosa_77"}, {"id": 81234}]},
        "id": f"order-{WHOSE}",
        "order_id": "rosa_77",
        "status": WHOSE,
        "quantity": 81234,
        WHOSE: {"type": "sale"},
    }
    shown = body(value, source=stripe())
    assert not [each for each in (WHOSE, "rosa_77", "81234") if each in shown]
    assert '"type": "sale"' in shown
    assert WHOSE in body(value, source=stripe(), whole=True)


@pytest.mark.parametrize(
    "value",
    [
        {"order_id": 919876543210},
        {"order_id": "919876543210"},
        {"order_id": "98765-43210"},
        {"id": [5550101234]},
        {"order_id": 15550101234.0},
        {"phone": "+1 555 010 1234", "amount": 15550101234},
        {"phone": 15550101234, "version": "order-15550101234"},
    ],
    ids=str,
)
def test_numbers_that_may_be_phones_are_masked(value: Any) -> None:
    """Under an id's name each that is as long as one, elsewhere those that the body calls phones."""
    shown = body(value)
    digits = "".join(filter(str.isdigit, shown))
    assert not any(each in digits for each in ("876543", "55010"))


def test_what_is_nobodys_is_shown() -> None:
    """Amounts, times, states, and ids that only the provider can read."""
    value = {
        "id": "evt_16PDjqiRxT4wK2pL",
        "order_id": 1001,
        "created": 1795000000,
        "created_at": "2026-11-18T11:06:40Z",
        "amount_total": 2599,
        "status": "paid",
        "currency": "usd",
    }
    assert json.loads(body(value, source=stripe())) == value


def test_headers_are_masked_by_the_same_rules() -> None:
    """An app's own headers have its users, too."""
    headers = {"x-user-id": WHOSE, "x-request-id": "req_1", "x-customer": WHOSE, "x-order-id": "7"}
    shown = shown_headers(headers, (), whole=False)
    assert WHOSE not in shown.values()
    assert (shown["x-request-id"], shown["x-order-id"]) == ("req_1", "7")
    assert shown_headers(headers, (), whole=True) == headers


# ------------------------------------------------------------------------- secrets

SECRET_NAMES = (
    "api_key", "apiKey", "X-Api-Key", "apikey", "access_key", "private_key", "license_key", "keys_key",
    "authorization", "auth", "authorization_code", "sig", "x_sig", "hash", "verif-hash", "passwd",
    "password", "userPassword", "pwd", "credential", "credentials", "secret", "client_secret", "token",
    "access_token", "signature", "signedPayload", "hmac", "cookie", "jwt", "otp",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize("whole", [True, False])
def test_secrets_are_never_shown(name: str, whole: bool) -> None:
    """By their name, as a text, a number, and all that is below it; in pairs and in headers, too."""
    for value in (
        {name: SECRET},
        {name: {"id": SECRET}},
        {name: [{"type": [SECRET]}]},
        {"data": [{"status": "paid", name: {SECRET: 1}}]},
        {"note_attributes": [{"name": name, "value": SECRET}]},
        {"meta_data": [{"id": 1, "key": name, "value": {"id": SECRET}}]},
    ):
        assert SECRET not in body(value, whole=whole), value
    shown = shown_headers({name.lower(): SECRET}, (), whole=whole)
    assert SECRET not in shown.values()
    assert SECRET not in body(urlencode({"status": "ok", name: SECRET}).encode(), whole=whole)


@pytest.mark.parametrize(
    "name", ["id", "authorized_at", "author", "authorizations", "design", "key_id", "monkey_id"]
)
def test_names_that_only_look_like_secrets_are_none(name: str) -> None:
    """What people look for is shown to who asks."""
    assert not is_secret(name)


def test_a_key_alone_is_a_secret_and_the_name_of_a_pair_is_none() -> None:
    """Lists of pairs call their names so."""
    assert SECRET not in body({"key": SECRET}, whole=True)
    pair = {"key": "colour", "value": "red"}
    assert json.loads(body({"meta_data": [pair]}, whole=True)) == {"meta_data": [pair]}


@every_provider
def test_proofs_are_masked_where_nobody_knows_the_scheme(name: str) -> None:
    """A letter's source may be gone."""
    signed = samples.any_sample(name).signed()
    proofs = getattr(samples.source_of(name).signature, "headers", ())
    for whole in (True, False):
        shown = shown_headers(signed.headers, (), whole=whole)
        assert {shown[each] for each in proofs if each in shown} <= {"…"}
    for header in ("x-cc-webhook-password", "x-cc-webhook-signature", "x-sig-v1", "proxy-auth"):
        assert shown_headers({header: SECRET}, (), whole=True) == {header: "…"}


@pytest.mark.parametrize(
    "text",
    [
        f"token={SECRET}&a=1",
        f"a=1&x_signature={SECRET}",
        f"<secret>{SECRET}</secret>",
        f'{{"token": "{SECRET}"',
        f'"{{\\"api_key\\": \\"{SECRET}\\"}}"',
        f"Authorization: Bearer {SECRET}",
        f"password : '{SECRET}'",
        f"https://shop.example/pay?id=1&key={SECRET}",
        "sk_live_abcdef0123456789",
        "whsec_abcdef0123456789",
    ],
)
def test_texts_are_shown_without_their_secrets(text: str) -> None:
    """Wherever a text says that there is one: in a body that is no JSON, and inside of one that is."""
    for shown in (without_secrets(text), body(text.encode(), whole=True), body([text], whole=True)):
        assert SECRET not in shown
        assert "abcdef0123456789" not in shown


def test_a_long_text_does_not_take_long() -> None:
    """Anybody can send one."""
    for text in ("token" * 100_000, "bearer " * 50_000, "_" * 500_000, "key" + " " * 500_000):
        began = time.monotonic()
        without_secrets(text)
        body({text: text, "id": text})
        body({text: text}, whole=True)
        assert time.monotonic() - began < 5


# ------------------------------------------------------------------------- other bodies


def test_a_form_is_shown_field_by_field() -> None:
    """By the same names, also where they are nested or a field is JSON."""
    fields = [
        ("event", "order_paid"), ("event", "again"), ("user[id]", WHOSE), ("customer.id", WHOSE),
        ("data[status]", "paid"), ("payload", json.dumps({"id": "x_1", "user_id": WHOSE})),
        ("data[api_key]", SECRET), ("text", f"see {WHOSE}"), ("url", f"https://a.example?token={SECRET}"),
    ]  # fmt: skip
    form = urlencode(fields).encode()
    shown, whole = body(form), body(form, whole=True)
    assert "event = order_paid\nevent = again\n" in shown
    assert "data[status] = paid" in shown
    assert '"id": "x_1"' in shown
    assert WHOSE not in shown
    assert whole.count(WHOSE) == 4
    assert SECRET not in shown + whole


@pytest.mark.parametrize(
    "raw",
    [
        f"hello {WHOSE}".encode(),
        f"<id>{WHOSE}</id>".encode(),
        f'<a id="{WHOSE}">'.encode(),
        b"\xff\xfe" + WHOSE.encode(),
        b64encode(WHOSE.encode() + b"12"),
        b'{"id": "' + WHOSE.encode(),
        b"[" * 5_000 + WHOSE.encode(),
    ],
)
def test_of_what_is_no_json_nothing_is_shown(raw: bytes) -> None:
    """Until somebody asks."""
    assert body(raw) == f"{len(raw)} bytes, no JSON"
    assert body(raw, whole=True) != body(raw)


def test_what_cannot_be_written_is_shown_all_the_same() -> None:
    """Numbers of thousands of digits, and JSON of thousands of levels."""
    for whole in (True, False):
        assert json.loads(body(b'{"id": ' + b"9" * 2000 + b"}", whole=whole)) == {"id": "…"}
        assert body(b"[" * 900 + b"]" * 900, whole=whole)


# ------------------------------------------------------------------------- letters

HEADERS = {"stripe-signature": f"t=1,v1={SECRET}", "x-user-id": WHOSE, "host": "shop.example"}


def message(**changes: Any) -> str:
    """An envelope as a message, of another version or broken."""
    content = {"v": 1, "source": "gone", "received_at": 1, "headers": HEADERS}
    written = json.dumps({"user_id": WHOSE, "token": SECRET, "status": "paid"})
    return json.dumps({**content, "body": written, **changes})


@pytest.mark.parametrize(
    "text",
    [
        message(),
        message(source="stripe"),
        message(v=2),
        message(v=2, body={"user_id": WHOSE, "token": SECRET, "status": "paid"}),
        message(received_at="never"),
    ],
)
def test_an_envelope_is_shown_as_a_request_is(text: str) -> None:
    """Whoever cannot read it: its headers are headers, and its body is a body."""
    headers, shown = shown_message(text, CONFIG, whole=False)
    assert WHOSE not in f"{headers}{shown}"
    assert '"status": "paid"' in shown
    headers, whole = shown_message(text, CONFIG, whole=True)
    assert (headers["stripe-signature"], headers["x-user-id"]) == ("…", WHOSE)
    assert WHOSE in whole
    assert SECRET not in whole


@pytest.mark.parametrize(
    "text",
    [
        f"{WHOSE}: token={SECRET}",
        json.dumps({"held": {"user_id": WHOSE}, "token": SECRET}),
        json.dumps({"headers": [WHOSE], "token": SECRET}),
        message(body=None, headers=None),
        "[]",
        "null",
        "\ud800",
    ],
)
def test_a_message_that_is_no_envelope_is_shown_as_a_body_is(text: str) -> None:
    """And nothing raises."""
    headers, shown = shown_message(text, CONFIG, whole=False)
    assert (headers, WHOSE in shown) == ({}, False)
    whole = shown_message(text, CONFIG, whole=True)[1]
    assert (SECRET in whole, WHOSE in whole) == (False, WHOSE in text)


def test_a_compressed_envelope_is_read() -> None:
    """As what it holds."""
    webhook = Webhook("gone", {}, b"\xff" * 9)
    text = Envelope(webhook, 0.0).seal(stripe().provider)
    assert shown_message(text, CONFIG, whole=False) == ({}, "9 bytes, no JSON")
