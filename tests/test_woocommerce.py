"""WooCommerce bodies that say too little to report them."""

from __future__ import annotations

import pytest
from tests import samples
from tests.samples import Sample, planned

from linkrunner_webhooks.errors import Untranslatable


@pytest.mark.parametrize(
    "event_type", ["order.created", "order.updated", "subscription.created", "subscription.updated"]
)
def test_the_first_version_of_the_api_is_named(event_type: str) -> None:
    """Its bodies have no times in UTC: the operator is told which version to choose."""
    sample = samples.load("woocommerce", event_type)
    body = {key: value for key, value in sample.body.items() if not key.endswith("_gmt")}
    with pytest.raises(Untranslatable, match="WP REST API Integration v3"):
        planned(Sample(sample.provider, sample.headers, body).webhook())
