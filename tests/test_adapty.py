"""What Adapty posts when its webhook is saved: an empty object, perhaps without the text that proves it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests import samples
from tests.samples import live_secret

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.providers import load

ADAPTY = load("adapty")
RIGHT = {"authorization": live_secret(ADAPTY)}
WRONG = {"authorization": f"Bearer {live_secret(ADAPTY)}"}


@pytest.mark.parametrize(
    ("headers", "status", "outcome", "reason"),
    [
        ({}, 200, "ignored", "handshake"),
        (RIGHT, 200, "ignored", "unwanted"),
        (WRONG, 409, "rejected", "bad_signature"),
    ],
    ids=["without the text", "with it", "with another"],
)
def test_a_verification_is_answered_and_means_nothing(
    headers: Mapping[str, str], status: int, outcome: str, reason: str
) -> None:
    """A wrong text is refused while somebody looks: later its events would be lost."""
    desk = samples.desk(ADAPTY)
    assert desk.receive(Webhook("adapty", headers, b"{}"))[0] == status
    assert desk.stored == []
    assert [(each.outcome, each.reason) for each in desk.reports] == [(outcome, reason)]


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"event_type":"subscription_started"}'])
def test_other_bodies_are_no_verification(body: bytes) -> None:
    """Without the text they are refused like any other."""
    assert samples.desk(ADAPTY).receive(Webhook("adapty", {}, body))[0] == 409
