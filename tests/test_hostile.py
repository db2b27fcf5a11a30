"""Hostile input: whatever a request holds, every provider refuses it, parks it or understands it.

A wrong signature is a BadSignature, and a signed body is at worst malformed or parked. No header, body or
field is worth an exception that is not the project's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import pytest
from tests import samples
from tests.samples import NOW, bodies, every_provider, every_type, refused, source_of

from linkrunner_webhooks import providers
from linkrunner_webhooks.envelope import Opened, open_message
from linkrunner_webhooks.errors import Malformed, Parked, Untranslatable
from linkrunner_webhooks.model import Identity, Webhook
from linkrunner_webhooks.translation import plan_of


def judge(webhook: Webhook) -> None:
    """A verified webhook is Malformed, or parked, or becomes JSON bodies; nothing else can happen."""
    source = source_of(webhook.source)
    try:
        identity = source.provider.identify(webhook)
    except Malformed:
        return
    assert isinstance(identity, Identity)
    try:
        source.provider.translate(webhook, identity, source.options)
        events = plan_of(Opened(webhook, source, identity)).planned
    except Untranslatable:
        return
    assert all(each.keys for each in events)
    bodies(events)


def judge_end_to_end(webhook: Webhook) -> None:
    """The same through receive, the queue and back: never a 500, never more than Parked."""
    desk = samples.desk(providers.load(webhook.source))
    status, _ = desk.receive(webhook)
    needed = providers.load(webhook.source).statuses
    assert status in {needed.get(each, each) for each in (200, 400, 401, 413)}
    assert len(desk.reports) == 1
    for text, _attributes in desk.stored:
        try:
            opened = open_message(text, desk.config)
            bodies(plan_of(opened).planned)
        except Parked:
            continue


# ------------------------------------------------------------------------------- headers

HOSTILE: Final[Mapping[str, str]] = {
    "empty": "",
    "space": " ",
    "spaces": " " * 300,
    "non-ascii": "ünïcödé",
    "full-width digits": "t=\uff11\uff12\uff13,v1=\uff10",
    "emoji": "\U0001f4b8" * 40,
    "lone surrogate": "\ud800",
    "wrong base64": "not*base64=",
    "unpadded base64": "g+TVk9hqoKBI9zxsoqm78Zd0X65lhAPGj4YehGUV1eo",
    "odd hex": "abc",
    "zeros": "0" * 64,
    "repeated fields": f"t=1,t=2,t={int(NOW)},v1=a,v1=b,v1={'0' * 64}",
    "no signature field": f"t={int(NOW)}",
    "no timestamp field": f"v1={'0' * 64}",
    "5,000 digits": "9" * 5000,
    "5,000 digit timestamp": f"t={'9' * 5000},v1={'0' * 64}",
    "negative": f"t=-{int(NOW)},v1={'0' * 64}",
    "fraction": f"t={NOW},v1={'0' * 64}",
    "not a number": f"t=nan,v1={'0' * 64}",
    "NUL": f"t={int(NOW)}\x00,v1={'0' * 64}\x00",
    "1 MB": "a" * 1_000_000,
    "commas": "," * 1000,
    "equal signs": "=" * 1000,
    "commas and equal signs": ",=" * 1000,
    "line breaks": "\r\nx-injected: 1\r\n",
    "first moment": "0001-01-01T00:00:00+14:00",
    "last moment": "9999-12-31T23:59:59-14:00",
    "no moment": "2026-02-30T00:00:00Z",
}


@contextmanager
def about(title: str) -> Iterator[None]:
    """What is raised meanwhile says which value led to it."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"of {title}")
        raise


@every_provider
def test_hostile_signatures_are_refused(name: str) -> None:
    """Whatever stands in a header of the scheme, the verdict is BadSignature and nothing else."""
    sample = samples.any_sample(name)
    webhook = sample.signed()
    for title, value in HOSTILE.items():
        with about(title):
            for header in sample.signature_headers:
                assert refused(Webhook(name, {**webhook.headers, header: value}, webhook.body))


@every_provider
def test_hostile_headers_are_judged_first(name: str) -> None:
    """Other headers cannot make an unsigned request anything but a BadSignature."""
    sample = samples.any_sample(name)
    for title, value in HOSTILE.items():
        with about(title):
            for header in (*sample.provider.headers, "content-type", "x-forwarded-for"):
                assert refused(Webhook(name, {**sample.headers, header: value}, sample.raw()))


@every_type
def test_identity_headers_can_hold_anything(name: str, event_type: str) -> None:
    """Headers are not signed everywhere: at worst they are malformed, or park the webhook."""
    sample = samples.load(name, event_type)
    for header in sample.provider.headers:
        for value in HOSTILE.values():
            judge(Webhook(name, {**sample.headers, header: value}, sample.raw()))


@every_provider
def test_headers_of_a_signed_webhook_can_hold_anything(name: str) -> None:
    """A good signature lets any header through to the queue and back: it is refused or parked at worst."""
    webhook = samples.any_sample(name).signed()
    for title, value in HOSTILE.items():
        with about(title):
            for header in webhook.headers:
                judge_end_to_end(Webhook(name, {**webhook.headers, header: value}, webhook.body))


# ------------------------------------------------------------------------------- bodies

DIGITS = b"9" * 5000
BODIES: Final[Mapping[str, bytes]] = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "object": b"{}",
    "text": b'"x"',
    "number": b"1",
    "not a number": b"NaN",
    "invalid UTF-8": b'{"id":"\xff\xfe"}',
    "NUL": b"\x00",
    "escaped NUL": b'{"id":"\\u0000","type":"\\u0000"}',
    "lone surrogate": b'{"id":"\\ud800","type":"\\ud800"}',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"data":' * 100_000 + b"1" + b"}" * 100_000,
    "huge integers": b'{"id":'
    + DIGITS
    + b',"created":'
    + DIGITS
    + b',"total_price":'
    + DIGITS
    + b"}",
    "huge text": b'{"id":"' + DIGITS + b'","type":"' + DIGITS + b'"}',
    "wrong types": b'{"id":[],"type":{},"data":0,"created":"x","livemode":"?"}',
    "6 MB": b'{"id":"' + b"a" * 6_000_000 + b'"}',
    "6 MB of nothing": b" " * 6_000_000,
}


@every_provider
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_no_body_is_worth_an_exception(name: str, body: bytes) -> None:
    """No body, however signed, is worth an exception of its own."""
    sample = samples.any_sample(name)
    judge(sample.webhook(body))
    judge_end_to_end(sample.signed(body))


def spoilt(body: bytes) -> Iterator[bytes]:
    """The body truncated, with doubled keys, deep, and large."""
    yield body[: len(body) // 2]
    yield body[:-1]
    yield body[:-1] + b"," + body[1:]
    yield body[:-1] + b',"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield body[:-1] + b',"z":"' + b"a" * 6_000_000 + b'"}'
    yield b"\xef\xbb\xbf" + body
    yield body.decode().encode("utf-16")


@every_provider
def test_no_spoilt_body_is_worth_an_exception(name: str) -> None:
    """A real body made unreadable, ambiguous or enormous is refused, parked or understood."""
    sample = samples.any_sample(name)
    for body in spoilt(sample.raw()):
        judge(sample.webhook(body))
        judge_end_to_end(sample.signed(body))


_LEAF = re.compile(rb'(?<=":)("(?:[^"\\]|\\.)*"|-?[0-9.eE+-]+|null|true|false|\[\])')
LEAVES: Final[Mapping[str, bytes]] = {
    "5,000 digits": DIGITS,
    "5,000 digits as text": b'"' + DIGITS + b'"',
    "huge exponent": b'"1E+999999"',
    "tiny exponent": b'"1E-999999"',
    "NaN": b"NaN",
    "NaN as text": b'"NaN"',
    "infinity": b"-Infinity",
    "null": b"null",
    "negative": b"-1",
    "largest float": b"1e308",
    "list": b"[[]]",
    "object": b"{}",
    "surrogate": b'"\\ud800"',
    "first moment": b'"0001-01-01T00:00:00+14:00"',
    "last second": b"253402300799",
}


@every_type
def test_any_field_can_hold_anything(name: str, event_type: str) -> None:
    """Any single field of a sample can hold anything: the worst is that the webhook is parked."""
    sample = samples.load(name, event_type)
    raw = sample.raw()
    values = list(LEAVES.values())
    for number, leaf in enumerate(_LEAF.finditer(raw)):
        # A fifth of them at each field: over all samples every value meets every kind of field.
        for value in values[number % 5 :: 5]:
            judge(sample.webhook(raw[: leaf.start()] + value + raw[leaf.end() :]))
