"""What is peculiar to Qonversion: a greeting that may be empty, and amounts that are not what was paid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests import samples
from tests.samples import live_secret, planned

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.providers import load

QONVERSION = load("qonversion")
RIGHT = {"authorization": live_secret(QONVERSION)}
WRONG = {"authorization": f"Basic {live_secret(QONVERSION)}"}
AFTER_THE_STORE = {"value": 424.15, "currency": "INR", "is_proceed": 1}
OLDER = {"value": 424.15, "currency": "INR"}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b" {}\n"])
@pytest.mark.parametrize(
    ("headers", "status", "outcome", "reason"),
    [
        ({}, 200, "ignored", "handshake"),
        (RIGHT, 200, "ignored", "unwanted"),
        (WRONG, 401, "rejected", "bad_signature"),
    ],
    ids=["without the text", "with it", "with another"],
)
def test_a_verification_is_answered_and_means_nothing(
    headers: Mapping[str, str], status: int, outcome: str, reason: str, body: bytes
) -> None:
    """A wrong text is refused while somebody looks."""
    desk = samples.desk(QONVERSION)
    assert desk.receive(Webhook("qonversion", headers, body))[0] == status
    assert desk.stored == []
    assert [(each.outcome, each.reason) for each in desk.reports] == [(outcome, reason)]


def test_other_bodies_are_no_verification() -> None:
    """Without the text they are refused like any other."""
    body = b'{"event_name":"subscription_started"}'
    assert samples.desk(QONVERSION).receive(Webhook("qonversion", {}, body))[0] == 401


@pytest.mark.parametrize(
    "event_type",
    ["subscription_started", "trial_converted", "in_app_purchase", "subscription_refunded"],
)
@pytest.mark.parametrize("revenue", [AFTER_THE_STORE, OLDER, "", None])
def test_what_was_paid_is_not_guessed(event_type: str, revenue: Any) -> None:
    """Without a price only a revenue that is all of it will do; anything else is parked."""
    sample = samples.load("qonversion", event_type).changed({("price",): "", ("revenue",): revenue})
    with pytest.raises(Untranslatable, match="its price"):
        planned(sample.webhook())
