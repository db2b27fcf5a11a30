"""Shopify's traps that a golden case cannot show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests import samples
from tests.samples import Place, planned

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import Webhook

SHOPIFY = providers.load("shopify")


@pytest.mark.parametrize(
    ("topic", "place", "value"),
    [
        ("orders/paid", ("total_price",), "a lot"),
        ("orders/paid", ("total_price",), "NaN"),
        ("orders/paid", ("currency",), None),
        ("orders/paid", ("id",), None),
        ("refunds/create", ("order_id",), None),
        ("refunds/create", ("transactions", 0, "currency"), "dollars"),
        ("refunds/create", ("transactions", 0, "amount"), None),
    ],
)
def test_a_shape_without_its_money_is_parked(topic: str, place: Place, value: Any) -> None:
    """No amount is invented where a documented one is missing or no amount."""
    sample = samples.load("shopify", topic)
    with pytest.raises(Untranslatable):
        planned(sample.changed({place: value}).webhook())


def test_a_refund_in_two_currencies_is_parked() -> None:
    """It has no sum."""
    sample = samples.load("shopify", "refunds/create")
    (transaction,) = sample.body["transactions"]
    transactions = [transaction, {**transaction, "id": 7, "currency": "EUR"}]
    with pytest.raises(Untranslatable):
        planned(sample.changed({("transactions",): transactions}).webhook())


def test_presentment_money_needs_a_presentment_amount() -> None:
    """Without the shopper's amount there is nothing to report in the shopper's currency."""
    sample = samples.load("shopify", "orders/paid")
    source = samples.everything_on(SHOPIFY, money="presentment")
    in_euros = sample.changed({("presentment_currency",): "EUR", ("total_price_set",): None})
    with pytest.raises(Untranslatable):
        planned(in_euros.webhook(), source)


# ------------------------------------------------------------------------------- topics are not signed

ORDER_TOPICS = (
    "orders/paid",
    "orders/create",
    "orders/cancelled",
    "orders/fulfilled",
    "orders/partially_fulfilled",
)
OTHER_TOPICS = tuple(topic for topic in SHOPIFY.types if topic not in ORDER_TOPICS)


def under(topic: str, signed_for: str) -> Webhook:
    """A body as it was signed for one topic, replayed under another."""
    sample = samples.load("shopify", signed_for)
    return replace(sample, headers={**sample.headers, "x-shopify-topic": topic}).webhook()


@pytest.mark.parametrize("signed_for", OTHER_TOPICS)
@pytest.mark.parametrize("topic", ORDER_TOPICS)
def test_another_topics_body_is_no_order(topic: str, signed_for: str) -> None:
    """A body of another topic that is replayed as an order is parked."""
    with pytest.raises(Untranslatable):
        planned(under(topic, signed_for))


@pytest.mark.parametrize("topic", OTHER_TOPICS)
def test_an_orders_body_is_nothing_else(topic: str) -> None:
    """An order that is replayed under another topic is parked."""
    with pytest.raises(Untranslatable):
        planned(under(topic, "orders/paid"))
