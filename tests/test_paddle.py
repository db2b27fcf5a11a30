"""What is peculiar to Paddle and no golden case can show."""

from __future__ import annotations

import pytest
from tests import samples

from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import verify

TRANSACTION = "transaction.completed"


@pytest.mark.parametrize(
    "body", [b"alert_name=payment_succeeded&alert_id=7", b"p_signature=abc&alert_name=ping"]
)
def test_classic_alerts_are_turned_away_by_name(body: bytes) -> None:
    """Who points Paddle Classic here is told so."""
    sample = samples.load("paddle", TRANSACTION)
    with pytest.raises(Malformed, match="Paddle Classic"):
        sample.provider.identify(Webhook("paddle", {}, body))
    status, answer = samples.desk(sample.provider).receive(sample.signed(body))
    assert status == 400
    assert "Paddle Classic" in str(answer)


@pytest.mark.parametrize(
    "signature", ["{};h2=0000", "h2=0000;{}", "{};h1=0000", "{} ; h1 = 0000", "{};"]
)
def test_signatures_beside_the_good_one(signature: str) -> None:
    """While a secret rotates there are two, and a scheme of tomorrow does not spoil today's."""
    sample = samples.load("paddle", TRANSACTION)
    webhook = sample.signed()
    headers = {"paddle-signature": signature.format(webhook.headers["paddle-signature"])}
    verify(
        samples.scheme_of(sample.provider),
        Webhook("paddle", headers, webhook.body),
        (samples.live_secret(sample.provider),),
        samples.NOW,
    )


@pytest.mark.parametrize(
    ("event_type", "path"),
    [
        (TRANSACTION, ("data", "details")),
        (TRANSACTION, ("data", "details", "totals", "grand_total")),
        ("adjustment.created", ("data", "totals")),
    ],
)
def test_a_shape_without_its_money_is_parked(event_type: str, path: tuple[str, ...]) -> None:
    """No amount is invented."""
    sample = samples.load("paddle", event_type)
    with pytest.raises(Untranslatable):
        samples.planned(sample.changed({path: None}).webhook())
