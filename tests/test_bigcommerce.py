"""BigCommerce is asked for what its webhooks only name, and only the store that the source is of."""

from __future__ import annotations

import pytest
from tests import cases, samples
from tests.samples import everything_on, planned

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.providers.bigcommerce import BigCommerceOptions

PROVIDER = providers.load("bigcommerce")
ORDER = "/v2/orders/1042"
LINES = f"{ORDER}/products?limit=250"
METAFIELDS = "/v3/orders/1042/metafields?key=linkrunner_user_id"


@pytest.mark.parametrize(
    ("case", "asked"),
    [
        ("status_updated", [ORDER, LINES, METAFIELDS]),
        ("status_updated_with_a_checkout_field", [ORDER, LINES]),
        ("status_updated_to_shipped", [ORDER]),
        ("status_updated_to_awaiting_payment", []),
        ("status_updated_to_awaiting_shipment", []),
        ("status_updated_to_disputed", []),
        ("order_created", [ORDER, LINES, METAFIELDS]),
        ("order_created_unpaid", [ORDER, METAFIELDS]),
        ("status_updated_to_declined", [ORDER, METAFIELDS]),
        ("refund_created", [ORDER, "/v3/orders/payment_actions/refunds/3103"]),
        ("customer_created", []),
    ],
)
def test_little_is_asked_for(case: str, asked: list[str]) -> None:
    """Nothing of what reports nothing, and the lines only of a sale, the user of what no payment precedes."""
    assert list(cases.load("bigcommerce", case).answers()) == asked


def test_only_its_own_store_is_asked() -> None:
    """With the key of a store no other one is: the host comes from the source, and not from a webhook."""
    assert PROVIDER.lookup is not None
    options = BigCommerceOptions(store_hash="xyz12")
    assert PROVIDER.lookup.base(options) == "https://api.bigcommerce.com/stores/xyz12"
    with pytest.raises(ValueError, match="store_hash"):
        BigCommerceOptions(store_hash="abcde/../fghij")


@pytest.mark.parametrize("event_type", PROVIDER.types)
def test_a_webhook_of_another_store_is_parked(event_type: str) -> None:
    """Its order is another one with the same number."""
    sample = samples.load("bigcommerce", event_type)
    other = everything_on(PROVIDER, store_hash="fghij")
    with pytest.raises(Untranslatable, match="another store"):
        planned(sample.webhook(), other)
