"""GoCardless sends batches, and is asked for what its events only name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests import cases, samples
from tests.samples import live_secret, scheme_of
from tests.stories import Pipeline

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.provider import Options

PROVIDER = providers.load("gocardless")
PAYMENT, SUBSCRIPTION = "/payments/PM01LR7QPM001", "/subscriptions/SB01LR7QSB001"
EARLIER = "/payments?subscription=SB01LR7QSB001&sort_field=charge_date&sort_direction=asc&limit=10"
CONFIRMED = "/events?payment=PM01LR7QPM001&resource_type=payments&action=confirmed"


def batch(*types: str) -> Webhook:
    """One request with an event of each sample, signed."""
    events = [event for each in types for event in samples.load("gocardless", each).body["events"]]
    body = json.dumps({"events": events, "meta": {"webhook_id": "WB01LR7Q00900"}}).encode()
    headers = samples.load("gocardless", types[0]).headers
    webhook = Webhook("gocardless", headers, body)
    return scheme_of(PROVIDER).sign(webhook, live_secret(PROVIDER), samples.NOW)


def test_each_event_of_a_batch_is_a_webhook() -> None:
    """Each is asked for and reported by itself, and once, however often the batch comes."""
    pipeline = Pipeline(PROVIDER, Config({"gocardless": {}}))
    sent = batch("refunds.paid", "payments.confirmed")
    pipeline.work(pipeline.received([sent, sent]))
    assert pipeline.money() == {"payment": ["25.99 GBP"], "refund": ["10 GBP"]}
    assert pipeline.parked == []


@pytest.mark.parametrize("body", ["{}", "[]", '{"events": []}', '{"events": 5}'])
def test_a_batch_of_nothing_is_refused(body: str) -> None:
    """It is no webhook, whoever signed it."""
    webhook = Webhook("gocardless", {}, body.encode())
    desk = samples.desk(PROVIDER)
    signed = scheme_of(PROVIDER).sign(webhook, live_secret(PROVIDER), samples.NOW)
    assert desk.receive(signed)[0] == 400
    assert desk.stored == []


@pytest.mark.parametrize(
    ("case", "asked"),
    [
        ("payments_confirmed", [PAYMENT]),
        ("payments_confirmed_named_in_the_event", [PAYMENT]),
        ("payments_confirmed_first_of_a_subscription", [PAYMENT, EARLIER, SUBSCRIPTION]),
        ("payments_failed", [PAYMENT, CONFIRMED]),
        ("payments_failed_of_a_subscription", [PAYMENT, CONFIRMED, SUBSCRIPTION]),
        ("payments_charged_back", [PAYMENT]),
        ("refunds_paid", ["/refunds/RF01LR7QRF001"]),
        ("subscriptions_cancelled", [SUBSCRIPTION]),
        ("subscriptions_paused", []),
    ],
)
def test_little_is_asked_for(case: str, asked: list[str]) -> None:
    """Only what the event reports, and who pays only where nothing else may say it."""
    found = cases.load("gocardless", case)
    assert list(found.answers()) == asked


@pytest.mark.parametrize(
    ("table", "host"),
    [({}, "https://api.gocardless.com"), ({"sandbox": True}, "https://api-sandbox.gocardless.com")],
)
def test_the_sandbox_is_another_host(table: dict[str, Any], host: str) -> None:
    """As the source says: the header that tells the sandbox is not signed."""
    options: Options = PROVIDER.options(**table)
    assert PROVIDER.lookup is not None
    assert PROVIDER.lookup.base(options) == host
