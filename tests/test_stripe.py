"""Stripe's traps that a golden case cannot show."""

from __future__ import annotations

from typing import Any

import pytest
from tests import samples
from tests.samples import planned

from linkrunner_webhooks.errors import Untranslatable

PAID = "checkout.session.completed"


@pytest.mark.parametrize(
    ("event_type", "key", "value"),
    [
        (PAID, "currency", None),
        (PAID, "amount_total", None),
        (PAID, "amount_total", "25.99"),
        (PAID, "amount_total", 12345678901234567),
        (PAID, "currency", "us dollars"),
        ("charge.refunded", "currency", None),
        ("invoice.paid", "amount_paid", None),
        ("charge.dispute.created", "amount", None),
    ],
)
def test_a_shape_without_its_money_is_parked(event_type: str, key: str, value: Any) -> None:
    """No amount is invented where a documented one is missing or no amount."""
    sample = samples.load("stripe", event_type)
    with pytest.raises(Untranslatable):
        planned(sample.changed({("data", "object", key): value}).webhook())


def test_an_event_without_its_object_is_parked() -> None:
    """`data.object` is what every mapper reads."""
    sample = samples.load("stripe", PAID)
    with pytest.raises(Untranslatable):
        planned(sample.changed({("data", "object"): None}).webhook())
