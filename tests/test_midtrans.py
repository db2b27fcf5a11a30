"""Midtrans signs three values that stand without anything between: what can be made of them counts once."""

from __future__ import annotations

from hashlib import sha512
from typing import Any, Final

import pytest
from tests import samples
from tests.samples import Sample, planned
from tests.stories import Pipeline

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.fact_keys import key_of

MIDTRANS: Final = providers.load("midtrans")
SETTLEMENT: Final = samples.load("midtrans", "settlement")


def settlement(**values: Any) -> Sample:
    """A settlement with these values."""
    return SETTLEMENT.changed({(name,): value for name, value in values.items()})


def hashed(sample: Sample) -> str:
    """The signature as the documentation says, without our scheme."""
    body, key = sample.body, samples.live_secret(MIDTRANS)
    text = f"{body['order_id']}{body['status_code']}{body['gross_amount']}{key}"
    return sha512(text.encode()).hexdigest()


def test_the_signature_is_the_documented_one() -> None:
    """Of order id, status code, gross amount and server key."""
    assert SETTLEMENT.signed().payload["signature_key"] == hashed(SETTLEMENT)


def test_another_order_with_the_same_signature_is_the_same_payment() -> None:
    """The end of an order id can be read as a code and the beginning of an amount."""
    paid = settlement(order_id="order-7200", gross_amount="5000.00")
    forged = settlement(order_id="order-7", gross_amount="2005000.00", transaction_status="capture")
    assert hashed(paid) == hashed(forged)
    pipeline = Pipeline(MIDTRANS, Config({"midtrans": {}}))
    pipeline.deliver([paid])
    pipeline.deliver([forged])
    assert pipeline.money() == {"payment": ["5000 IDR"]}
    assert pipeline.parked == []


def test_a_payment_has_the_key_of_its_order() -> None:
    """Refunds and chargebacks name nothing else that is signed."""
    (event,) = planned(SETTLEMENT.webhook())
    assert key_of(event.source, "payment", "order-1001") in event.keys


@pytest.mark.parametrize("state", ["settlement", "capture", "refund", "chargeback"])
def test_a_pending_payment_is_no_success(state: str) -> None:
    """Its code is signed, and the state is not."""
    with pytest.raises(Untranslatable):
        planned(settlement(transaction_status=state, status_code="201").webhook())


@pytest.mark.parametrize(
    "values",
    [
        {"currency": "USD"},
        {"gross_amount": "0149000.00"},
        {"gross_amount": "1.49e5"},
        {"gross_amount": " 149000.00"},
        {"gross_amount": "149_000.00"},
        {"gross_amount": "-149000.00"},
        {"gross_amount": 149000.5},
        {"gross_amount": None},
        {"status_code": "0200"},
    ],
)
def test_money_is_not_guessed(values: dict[str, Any]) -> None:
    """An amount that is written in another way could be a part of another one."""
    with pytest.raises(Untranslatable):
        planned(settlement(**values).webhook())


def test_what_is_said_of_a_refund_does_not_count() -> None:
    """Neither its amount nor how many there were; only that all of the order went back."""
    refund = samples.load("midtrans", "refund")
    changed = refund.changed({("refund_amount",): "1.00", ("refunds",): []})
    assert [each.money for each in planned(changed.webhook())] == [
        each.money for each in planned(refund.webhook())
    ]
