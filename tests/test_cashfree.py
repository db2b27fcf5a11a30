"""Cashfree's numbers as they are written, and the trial of a new endpoint."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests import samples

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook


@pytest.mark.parametrize(
    "written",
    ["259.90", "0.1", "1234567.89", "170.00", "170", "0.07", "99999999999.99", '"200.12"'],
)
def test_numbers_are_read_as_they_are_written(written: str) -> None:
    """Amounts are JSON numbers with two decimals; no float comes near them."""
    body = f"""{{"type": "PAYMENT_SUCCESS_WEBHOOK", "data": {{"payment": {{"cf_payment_id": "1",
        "payment_amount": {written}, "payment_currency": "INR"}}}}}}"""
    provider = providers.load("cashfree")
    webhook = Webhook("cashfree", {}, body.encode())
    (event,) = provider.translate(webhook, provider.identify(webhook), provider.options())
    assert event.money is not None
    assert event.money.amount == Decimal(written.strip('"'))


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'"test"',
        b"1",
        b'{"type":"WEBHOOK","data":{"test_object":{}}}',
        b'{"data":[]}',
    ],
)
def test_the_trial_of_an_endpoint_is_acknowledged(body: bytes) -> None:
    """Any signed JSON: a merchant who adds the endpoint sees it answer."""
    desk = samples.desk(providers.load("cashfree"))
    status, _answer = desk.receive(samples.any_sample("cashfree").signed(body))
    assert status == 200
    assert [report.outcome.value for report in desk.reports] == ["ignored"]
    assert not desk.stored
