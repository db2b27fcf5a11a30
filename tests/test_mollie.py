"""What is peculiar to Mollie: two kinds of webhooks, and two payloads of one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests import samples
from tests.samples import Json

from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.model import Outcome, Webhook
from linkrunner_webhooks.providers import load

MOLLIE = load("mollie")
PAID = samples.load("mollie", "payment.paid")


def told(webhook: Webhook) -> tuple[int, Outcome, Reason]:
    """How the webhook is answered, and what became of it."""
    desk = samples.desk(MOLLIE)
    status, _answer = desk.receive(webhook)
    (report,) = desk.reports
    return status, report.outcome, report.reason


def simple(event_type: str) -> Webhook:
    """The payload that has only ids."""
    body = {key: value for key, value in PAID.body.items() if key != "_embedded"}
    return replace(PAID, body=body | {"type": event_type}).signed()


def test_a_classic_webhook_is_not_signed() -> None:
    """A form with an id, which anybody can send."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    webhook = Webhook("mollie", headers, b"id=tr_7Kd2mWq9XvB4nPz6RtYcHs")
    assert told(webhook) == (401, Outcome.REJECTED, Reason.UNSIGNED)


@pytest.mark.parametrize(
    ("event_type", "reason"),
    [
        ("payment.paid", Reason.THIN),
        ("refund.refunded", Reason.THIN),
        ("payment-link.paid", Reason.UNWANTED),
        ("profile.created", Reason.UNWANTED),
        ("hook.ping", Reason.UNWANTED),
    ],
)
def test_a_simple_payload_is_thin(event_type: str, reason: Reason) -> None:
    """Where something would be read of it; nobody has to be told of other types."""
    assert told(simple(event_type)) == (200, Outcome.IGNORED, reason)


@pytest.mark.parametrize("seeds", [("a new one", samples.SEED), (samples.SEED, "a new one")])
def test_while_a_secret_changes_there_are_two_signatures(seeds: tuple[str, str]) -> None:
    """Mollie sends the header twice, and the gateway joins both."""
    name = "x-mollie-signature"
    both = ",".join(PAID.signed(secret=seed).headers[name] for seed in seeds)
    webhook = replace(PAID.webhook(), headers={**PAID.headers, name: both})
    assert told(webhook) == (200, Outcome.QUEUED, Reason.NONE)


@pytest.mark.parametrize("metadata", ["{", "[1]", "user_42", "", "1" * 5000, "[" * 9999, 7, None])
def test_other_metadata_stays_as_it_is(metadata: Json) -> None:
    """Only an object in the text is read."""
    webhook = PAID.changed({("_embedded", "entity", "metadata"): metadata}).webhook()
    assert MOLLIE.unpack(webhook) == (webhook,)
