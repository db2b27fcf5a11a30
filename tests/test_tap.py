"""Tap hashes amounts with all decimals of their currency, and other values of a charge than of an invoice."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from typing import Any, Final

import pytest
from tests import samples
from tests.samples import Sample, planned

from linkrunner_webhooks import providers

TAP: Final = providers.load("tap")
REFERENCES: Final = "x_gateway_reference{}x_payment_reference{}"


def sample(event_type: str, **values: Any) -> Sample:
    """A sample with these values."""
    return samples.load("tap", event_type).changed({(key,): each for key, each in values.items()})


def hashed(webhook: Sample, amount: str) -> str:
    """The hash as the documentation says, without our scheme."""
    body, reference = webhook.body, webhook.body["reference"]
    references = REFERENCES.format(reference.get("gateway", ""), reference.get("payment", ""))
    if body["object"] == "invoice":
        references = f"x_updated{body['updated']}"
    created = body["created"] if "created" in body else body["transaction"]["created"]
    text = (
        f"x_id{body['id']}x_amount{amount}x_currency{body['currency']}{references}"
        f"x_status{body['status']}x_created{created}"
    )
    return hmac.digest(samples.live_secret(TAP).encode(), text.encode(), "sha256").hex()


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (0.5, "KWD", "0.500"),
        (12, "BHD", "12.000"),
        ("0.1", "OMR", "0.100"),
        (50, "SAR", "50.00"),
        (25.9, "AED", "25.90"),
        (25.904, "AED", "25.90"),
        (1500, "JPY", "1500"),
    ],
)
@pytest.mark.parametrize(
    "event_type", ["charge.CAPTURED", "authorize.CAPTURED", "refund.REFUNDED", "invoice.PAID"]
)
def test_the_hash_is_the_documented_one(
    event_type: str, amount: Any, currency: str, written: str
) -> None:
    """And what is reported is what is hashed, however many digits the body has."""
    webhook = sample(event_type, amount=amount, currency=currency)
    assert webhook.signed().headers["hashstring"] == hashed(webhook, written)
    (event,) = planned(webhook.webhook())
    assert event.money is not None
    assert f"{event.money.amount:f}" == written


@pytest.mark.parametrize(
    "text",
    ["12.50049999999999999999", "12.49950000000000000001", "1e999", '"12.5x"', "null", "-12.5"],
)
def test_another_amount_is_refused(text: str) -> None:
    """Also one that only a careless reader takes for the same."""
    signed = sample("charge.CAPTURED").signed()
    body = json.dumps(json.loads(signed.body) | {"amount": "?"}).replace('"?"', text)
    assert samples.refused(replace(signed, body=body.encode()))


def test_the_id_says_what_it_is() -> None:
    """It is hashed, and `object` is not: a refund cannot be made a charge."""
    for event_type in TAP.types:
        for what in ("charge", "refund", None):
            webhook = samples.load("tap", event_type).changed({("object",): what}).webhook()
            assert TAP.identity(webhook).event_type == event_type


def test_what_is_not_known_is_kept() -> None:
    """It may be money: a person looks at it."""
    desk = samples.desk(TAP)
    status, _ = desk.receive(sample("charge.CAPTURED", id="pay_LV05A4120260736x9K2181").signed())
    assert status == 200
    assert [attributes["event_type"] for _, attributes in desk.stored] == ["unknown"]
