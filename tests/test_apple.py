"""App Store notifications whose shape says too little to report them."""

from __future__ import annotations

from typing import Any

import pytest
from tests import samples

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.translation import Planned


def planned(event_type: str, place: tuple[str, ...], value: Any) -> tuple[Planned, ...]:
    """The sample of a type with another value at one place."""
    sample = samples.load("apple", event_type)
    return samples.planned(sample.changed({place: value}).webhook())


TRANSACTION = ("data", "signedTransactionInfo")


@pytest.mark.parametrize("event_type", [name for of, name in samples.registered() if of == "apple"])
@pytest.mark.parametrize("place", [("data",), TRANSACTION, (*TRANSACTION, "transactionId")])
def test_without_its_transaction_it_is_parked(event_type: str, place: tuple[str, ...]) -> None:
    """Every type is about a transaction."""
    with pytest.raises(Untranslatable):
        planned(event_type, place, None)


@pytest.mark.parametrize(
    ("event_type", "key", "value"),
    [
        ("ONE_TIME_CHARGE", "currency", None),
        ("ONE_TIME_CHARGE", "price", "9.99"),
        ("ONE_TIME_CHARGE", "price", 9.99),
        ("ONE_TIME_CHARGE", "price", 10**16 + 1),
        ("REFUND", "currency", None),
        ("REFUND", "revocationPercentage", -1),
        ("REFUND", "revocationPercentage", 100_001),
    ],
)
def test_money_is_not_guessed(event_type: str, key: str, value: Any) -> None:
    """An amount without its currency, or more than all of it, parks the webhook."""
    with pytest.raises(Untranslatable):
        planned(event_type, (*TRANSACTION, key), value)


def test_nothing_refunded_is_no_amount() -> None:
    """A refund of no part of the price is no refund."""
    assert planned("REFUND", (*TRANSACTION, "revocationPercentage"), 0) == ()


@pytest.mark.parametrize("key", ["purchaseDate", "revocationDate"])
@pytest.mark.parametrize("value", [10**30, -(10**30), None])
def test_a_time_that_is_none_is_left_out(key: str, value: Any) -> None:
    """What happened is reported all the same, at the time of the notification."""
    assert planned("ONE_TIME_CHARGE", (*TRANSACTION, key), value)
    assert planned("OFFER_REDEEMED", (*TRANSACTION, key), value)
    if value is None:
        (event,) = planned("REFUND", (*TRANSACTION, key), value)
        assert event.event_data["occurred_at"]
