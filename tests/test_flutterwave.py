"""Flutterwave's two generations: each with its own proof, and neither excuses the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import cases, samples
from tests.samples import Sample

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import Identity, Webhook
from linkrunner_webhooks.translation import Planned

CASES = Path(__file__).parent / "providers" / "flutterwave"
VECTOR = json.loads((CASES / "signature.json").read_text("utf-8"))
SECRET = VECTOR["secret"]
PROVIDER = providers.load("flutterwave")
V4 = Webhook("flutterwave", VECTOR["headers"], VECTOR["body"].encode())


def told(case: str, **data: Any) -> Webhook:
    """The webhook of a golden case, with some other values under `data`."""
    body = cases.load("flutterwave", case).body
    return Sample(PROVIDER, {}, {**body, "data": {**body["data"], **data}}).webhook()


def accepted(webhook: Webhook, *secrets: str) -> bool:
    """Whether the webhook verifies with one of these secrets."""
    return samples.accepts(samples.scheme_of(PROVIDER), webhook, *secrets)


def with_headers(webhook: Webhook, headers: dict[str, str]) -> Webhook:
    """The webhook with these headers alone."""
    return replace(webhook, headers=headers)


def identity(webhook: Webhook) -> Identity:
    """How the provider identifies the webhook."""
    return PROVIDER.identify(webhook)


def planned(webhook: Webhook, **options: str) -> tuple[Planned, ...]:
    """What the webhook becomes when everything is on."""
    return samples.planned(webhook, samples.everything_on(PROVIDER, **options))


def test_v4_is_signed() -> None:
    """The vector passes with the secret hash among several, and with no other."""
    assert accepted(V4, SECRET)
    assert accepted(V4, "another", SECRET)
    assert not accepted(V4, "another")
    assert not accepted(replace(V4, body=V4.body.replace(b"25.99", b"99.99")), SECRET)


def test_v3_sends_the_secret_hash() -> None:
    """It has to be the whole of it."""
    webhook = told("v3_charge_completed")
    assert accepted(with_headers(webhook, {"verif-hash": "flw_secret_hash_0001"}), SECRET)
    for wrong in ("flw_secret_hash_0002", SECRET.upper(), SECRET[:-1], f"{SECRET} ", ""):
        assert not accepted(with_headers(webhook, {"verif-hash": wrong}), SECRET)
    assert not accepted(webhook, SECRET)


def test_a_good_hash_does_not_excuse_a_bad_signature() -> None:
    """Some v4 webhooks carry both; the signature alone is judged."""
    both = {**V4.headers, "verif-hash": SECRET}
    assert accepted(with_headers(V4, {**both, "verif-hash": "another"}), SECRET)
    assert not accepted(with_headers(V4, {**both, "flutterwave-signature": "bm8="}), SECRET)
    assert not accepted(replace(with_headers(V4, both), body=V4.body + b" "), SECRET)


def test_v3_is_known_by_its_object_and_state() -> None:
    """The retry of a webhook is the same event; the next state of a charge is another one."""
    paid = identity(told("v3_charge_completed"))
    assert paid == identity(told("v3_charge_completed"))
    assert (paid.event_id, paid.event_type) == ("8841207", "charge.completed")
    failed = identity(told("v3_charge_completed", status="failed"))
    assert (paid.event_id, paid.resource_id) != (failed.event_id, failed.resource_id)


def test_v4_does_not_depend_on_what_its_id_is_of() -> None:
    """Should `webhook_id` name the endpoint and not the event, two failed charges are still two."""
    first, second = (told("v4_charge_failed", id=id) for id in ("chg_1", "chg_2"))
    assert identity(first).event_id == identity(second).event_id
    assert {each.keys for each in planned(first)}.isdisjoint(each.keys for each in planned(second))


@pytest.mark.parametrize(
    "body",
    [
        {"txRef": "order-1042", "status": "successful", "event.type": "CARD_TRANSACTION"},
        {"data": {"id": 1, "status": "successful"}},
        {"event": None, "type": "", "data": {"id": 1}},
    ],
    ids=["v2", "no type", "empty type"],
)
def test_a_body_without_a_type_is_refused(body: dict[str, Any]) -> None:
    """The flat bodies of v2, whose only type has a dot in its key, are not taken for v3."""
    with pytest.raises(Malformed):
        identity(Sample(PROVIDER, {}, body).webhook())


@pytest.mark.parametrize("case", ["v3_charge_completed", "v4_charge_completed"])
@pytest.mark.parametrize("change", [{"status": "new"}, {"status": None}, {"amount": None}])
def test_a_charge_that_is_not_understood_is_parked(case: str, change: dict[str, Any]) -> None:
    """The type says completed whatever happened, so an unknown status is not guessed at."""
    with pytest.raises(Untranslatable):
        planned(told(case, **change))


def test_the_currency_of_refunds_is_the_operators() -> None:
    """It fills in where the body names none, and never overrides one that does."""
    (bare,) = planned(told("v3_refund_without_currency"))
    (filled,) = planned(told("v3_refund_without_currency"), refund_currency="ngn")
    (named,) = planned(told("v3_refund_with_currency"), refund_currency="USD")
    assert bare.money is None
    assert filled.money is not None
    assert named.money is not None
    assert (filled.money.currency, named.money.currency) == ("NGN", "NGN")
