"""Creem's bodies that do not say what was paid."""

from __future__ import annotations

import pytest
from tests import cases, samples

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks_cli.cases import without

TRANSACTION = "object.last_transaction"
ORDER = "object.order"


@pytest.mark.parametrize(
    ("case", "removed"),
    [
        ("subscription_paid", [TRANSACTION]),
        ("subscription_paid", [f"{TRANSACTION}.amount_paid"]),
        ("subscription_paid", [f"{TRANSACTION}.amount_paid", f"{TRANSACTION}.amount"]),
        ("subscription_paid", [f"{TRANSACTION}.currency"]),
        ("checkout_completed", [ORDER]),
        ("checkout_completed", [f"{ORDER}.amount_paid", f"{ORDER}.amount_due"]),
        ("checkout_completed", [f"{ORDER}.currency"]),
    ],
)
def test_what_was_paid_is_not_guessed(case: str, removed: list[str]) -> None:
    """The price of the product is there, and neither its taxes nor its discounts: the webhook is parked."""
    sample = cases.load("creem", case)
    body = without(sample.body, removed)
    with pytest.raises(Untranslatable):
        samples.planned(samples.Sample(sample.provider, {}, body).webhook())
