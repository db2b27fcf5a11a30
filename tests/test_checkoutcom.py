"""Checkout.com's events that are no JSON, and captures by the ids that they share."""

from __future__ import annotations

import pytest
from tests import cases, samples

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import UNKNOWN, Webhook

PROVIDER = providers.load("checkoutcom")
# An object without a name, where "data" belongs.
BROKEN = b'{"id":"evt_1","type":"authentication_failed",{"amount":"2599","note":"\xef\xbf\xbd"}}'


@pytest.mark.parametrize("body", [BROKEN, b"{", b"\xff\xfe"])
def test_what_is_no_json_is_accepted(body: bytes) -> None:
    """It is stored as what nobody knows, so that a person sees it and Checkout.com does not send it again."""
    desk = samples.desk(PROVIDER)
    secret = samples.live_secret(PROVIDER)
    signed = samples.scheme_of(PROVIDER).sign(Webhook("checkoutcom", {}, body), secret, samples.NOW)
    status, _answer = desk.receive(signed)
    assert status == 200
    assert [attributes["event_type"] for _text, attributes in desk.stored] == [UNKNOWN]


@pytest.mark.parametrize(
    ("case", "names_its_payment"),
    [
        ("payment_captured", True),
        ("payment_captured_in_the_first_part", True),
        ("payment_captured_in_the_second_part", False),
        ("payment_captured_without_balances", False),
    ],
)
def test_only_the_first_capture_is_the_payment(case: str, *, names_its_payment: bool) -> None:
    """A later part, and what may be one, is a fact of its own; the payment's id would make it a twin."""
    (planned,) = samples.planned(cases.load("checkoutcom", case).webhook())
    assert any("|pay_" in key for key in planned.keys) is names_its_payment
    assert any("|act_" in key for key in planned.keys)
