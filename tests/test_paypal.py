"""PayPal's traps that a golden case cannot show."""

from __future__ import annotations

from typing import Any

import pytest
from tests import samples

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Webhook
from linkrunner_webhooks.signatures.scheme import verify

PAYPAL = providers.load("paypal")
CERTS = "paypal.com/v1/notifications/certs/CERT-1"


def translated(event_type: str, *changes: tuple[str, Any]) -> tuple[CommerceEvent, ...]:
    """What the sample of a type means with other values at some dotted places."""
    places = {
        tuple(int(key) if key.isdigit() else key for key in path.split(".")): value
        for path, value in changes
    }
    webhook = samples.load("paypal", event_type).changed(places).webhook()
    return PAYPAL.translate(webhook, PAYPAL.identify(webhook), PAYPAL.options())


@pytest.mark.parametrize(
    ("url", "test"),
    [
        (f"https://api.{CERTS}", False),
        (f"https://api-m.{CERTS}", False),
        (f"https://api.sandbox.{CERTS}", True),
        (f"https://api-m.sandbox.{CERTS}", True),
        (None, False),
    ],
)
def test_the_sandbox_is_known_by_its_certificate(url: str | None, test: bool) -> None:
    """Links in the body say api.paypal.com in simulated events too, so they prove nothing."""
    headers = {"paypal-cert-url": url} if url else {}
    sample = samples.load("paypal", "PAYMENT.CAPTURE.COMPLETED")
    assert PAYPAL.identify(Webhook("paypal", headers, sample.raw())).test is test


@pytest.mark.parametrize("key", ["id", "event_type"])
@pytest.mark.parametrize("value", [None, "", 7, "ünïcödé"])
def test_an_event_has_an_id_and_a_type(key: str, value: Any) -> None:
    """A body without either, or with one that is no identifier, is malformed."""
    sample = samples.load("paypal", "PAYMENT.CAPTURE.COMPLETED")
    with pytest.raises(Malformed):
        PAYPAL.identify(sample.changed({(key,): value}).webhook())


@pytest.mark.parametrize(
    ("event_type", "path", "value"),
    [
        ("PAYMENT.CAPTURE.COMPLETED", "resource", None),
        ("PAYMENT.CAPTURE.COMPLETED", "resource.id", None),
        ("PAYMENT.CAPTURE.COMPLETED", "resource.amount", {}),
        ("PAYMENT.CAPTURE.COMPLETED", "resource.amount.value", None),
        ("PAYMENT.CAPTURE.COMPLETED", "resource.amount.currency_code", None),
        ("PAYMENT.SALE.COMPLETED", "resource.amount", None),
        ("CHECKOUT.ORDER.APPROVED", "resource.purchase_units", None),
        ("CHECKOUT.ORDER.COMPLETED", "resource.purchase_units", None),
        ("CHECKOUT.ORDER.COMPLETED", "resource.purchase_units.0.payments", None),
        ("CUSTOMER.DISPUTE.CREATED", "resource.dispute_id", None),
    ],
)
def test_a_shape_without_what_counts_is_parked(event_type: str, path: str, value: Any) -> None:
    """Nothing is invented where the amount or the id of a fact is missing."""
    with pytest.raises(Untranslatable):
        translated(event_type, (path, value))


def test_a_refund_without_any_amount_is_parked() -> None:
    """The running total is no refund's amount."""
    with pytest.raises(Untranslatable):
        translated(
            "PAYMENT.CAPTURE.REFUNDED",
            ("resource.amount", None),
            ("resource.seller_payable_breakdown.gross_amount", None),
        )


def test_an_order_has_one_currency() -> None:
    """An order with units in two currencies has no sum and is parked."""
    units = [{"amount": {"currency_code": each, "value": "5.00"}} for each in ("USD", "EUR")]
    with pytest.raises(Untranslatable):
        translated("CHECKOUT.ORDER.APPROVED", ("resource.purchase_units", units))


@pytest.mark.parametrize("status", ["PENDING", "DECLINED", "FAILED"])
def test_a_completed_order_counts_what_was_captured(status: str) -> None:
    """An order can be completed although its capture is pending or has failed: that is no payment."""
    place = "resource.purchase_units.0.payments.captures.0.status"
    assert translated("CHECKOUT.ORDER.COMPLETED", (place, status)) == ()


@pytest.mark.parametrize(
    ("href", "follows"),
    [
        ("https://api.paypal.com/v2/payments/captures/3JV85642KD718245P", ("3JV85642KD718245P",)),
        ("https://api.paypal.com/v1/payments/capture/3JV85642KD718245P", ("3JV85642KD718245P",)),
        ("https://api.paypal.com/v1/payments/sale/9GH10388UX772460E", ("9GH10388UX772460E",)),
        ("https://api.paypal.com/v2/payments/captures/3JV85642KD718245P/refund", ()),
        ("https://api.paypal.com/v2/payments/refunds/7FR20417CN4456213", ()),
        ("https://api.paypal.com/?next=/captures/3JV85642KD718245P", ()),
        ("", ()),
        (None, ()),
    ],
)
def test_a_refund_links_what_it_refunds(href: str | None, follows: tuple[str, ...]) -> None:
    """The captured payment is known only from the path of a link; other links name none."""
    (event,) = translated("PAYMENT.CAPTURE.REFUNDED", ("resource.links", [{"href": href}]))
    assert event.follows == follows


def test_the_items_of_an_order() -> None:
    """Quantities are text; what has no SKU has no id, whatever it is called."""
    place = "resource.purchase_units.0.items"
    items = [{"name": "Mug", "sku": "MUG-1"}, {"name": "Lid", "quantity": "2"}]
    (event,) = translated("CHECKOUT.ORDER.APPROVED", (place, items))
    assert [(item.content_id, item.quantity, item.unit_price) for item in event.items] == [
        ("MUG-1", 1, None),
        (None, 2, None),
    ]


def test_a_key_signs_for_one_webhook_id() -> None:
    """The same key with the id of another webhook accepts nothing of this one's."""
    webhook = samples.load("paypal", "PAYMENT.CAPTURE.COMPLETED").signed()
    live = samples.live_secret(PAYPAL)
    verify(samples.scheme_of(PAYPAL), webhook, [live], samples.NOW)
    assert not samples.scheme_of(PAYPAL).matches(webhook, f"another {live.split()[1]}", samples.NOW)
