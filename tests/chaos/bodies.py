"""Webhooks about one thing, from the samples in events/: only what the mappers read differs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.samples import Sample, load

# Stripe


def stripe(event_type: str, **fields: Any) -> Sample:
    """The sample of a type with other values in its object."""
    sample = load("stripe", event_type)
    sample.body["data"]["object"] |= fields
    return sample


def payment_reports(number: int, minor: int, currency: str, user: str | None) -> list[Sample]:
    """The three reports of one payment."""
    metadata = {"linkrunner_user_id": user} if user else {}
    # What names neither user nor customer is parked at once.
    payment, customer = f"pi_{number}", f"cus_{number}" if user else None
    common = {"currency": currency, "metadata": metadata, "customer": customer, "invoice": None}
    return [
        stripe(
            "checkout.session.completed",
            id=f"cs_{number}",
            payment_intent=payment,
            amount_total=minor,
            client_reference_id=user,
            currency=currency,
            customer=customer,
        ),
        stripe("payment_intent.succeeded", id=payment, amount_received=minor, **common),
        stripe(
            "charge.succeeded",
            id=f"ch_{number}",
            payment_intent=payment,
            amount=minor,
            amount_captured=minor,
            **common,
        ),
    ]


def charge_refunded(number: int, minor: int, before: int, amount: int, user: str | None) -> Sample:
    """A refund of `amount` after `before` was refunded already; the body says only the sum."""
    sample = stripe(
        "charge.refunded",
        id=f"ch_{number}",
        payment_intent=f"pi_{number}",
        amount=minor,
        amount_captured=minor,
        amount_refunded=before + amount,
        currency="usd",
        customer=f"cus_{number}",
        metadata={"linkrunner_user_id": user} if user else {},
    )
    sample.body["data"]["previous_attributes"] = {"amount_refunded": before}
    return sample


def refund_failed(number: int, amount: int) -> Sample:
    """The bank did not take a refund."""
    return stripe(
        "refund.failed",
        id=f"re_{number}_{amount}",
        payment_intent=f"pi_{number}",
        charge=f"ch_{number}",
        amount=amount,
        currency="usd",
        metadata={},
    )


def subscribed(number: int, user: str) -> Sample:
    """The checkout of a subscription, which alone says whose it is."""
    return stripe(
        "checkout.session.completed",
        id=f"cs_{number}",
        mode="subscription",
        payment_intent=None,
        subscription=f"sub_{number}",
        customer=f"cus_{number}",
        client_reference_id=user,
    )


def period_paid(number: int, subscription: int, minor: int) -> Sample:
    """One period of that subscription, which names nobody."""
    sample = invoice_paid("invoice.paid", number, minor, "usd", "", old=False)
    invoice = sample.body["data"]["object"] | {"customer": f"cus_{subscription}"}
    invoice["parent"]["subscription_details"] |= {
        "subscription": f"sub_{subscription}",
        "metadata": {},
    }
    sample.body["data"]["object"] = invoice
    return sample


def invoice_paid(
    event_type: str, number: int, minor: int, currency: str, user: str, *, old: bool
) -> Sample:
    """The invoice of one period of a subscription; `old` is its shape before Stripe's basil version."""
    sample = stripe(event_type, id=f"in_{number}", amount_paid=minor, currency=currency)
    invoice = sample.body["data"]["object"]
    details = {"subscription": f"sub_{number}", "metadata": {"linkrunner_user_id": user}}
    line = {"amount": minor, "currency": currency, "quantity": 1, "metadata": {}}
    product = {"price": "price_1", "product": "prod_1"}
    invoice["billing_reason"] = "subscription_cycle"
    if old:
        del invoice["parent"]
        invoice |= {
            "subscription": details["subscription"],
            "subscription_details": {"metadata": details["metadata"]},
            "payment_intent": f"pi_{number}",
        }
        line["price"] = {"id": product["price"], "product": product["product"]}
    else:
        invoice["parent"] = {"type": "subscription_details", "subscription_details": details}
        line["pricing"] = {"type": "price_details", "price_details": product}
    invoice["lines"]["data"] = [line]
    return sample


# Shopify


def order(event_type: str, id: int, amount: Decimal, currency: str, user: str) -> Sample:
    """An order of this amount, which names its user in a note attribute."""
    sample = load("shopify", event_type)
    money = {"amount": str(amount), "currency_code": currency}
    sample.body.update(
        id=id,
        admin_graphql_api_id=f"gid://shopify/Order/{id}",
        total_price=str(amount),
        total_price_set={"shop_money": money, "presentment_money": money},
        currency=currency,
        presentment_currency=currency,
        note_attributes=[{"name": "linkrunner_user_id", "value": user}],
    )
    return sample


def order_paid_back(order_id: int, amount: Decimal, currency: str) -> Sample:
    """A refund of an order, which names no user."""
    sample = load("shopify", "refunds/create")
    id = order_id + 1_000_000_000
    sample.body.update(id=id, admin_graphql_api_id=f"gid://shopify/Refund/{id}", order_id=order_id)
    sample.body["transactions"][0] |= {"amount": str(amount), "currency": currency}
    return sample


# WooCommerce


def delivered(id: int, amount: Decimal, currency: str, user: str) -> Sample:
    """An order that is paid and delivered: one webhook, two events."""
    sample = load("woocommerce", "order.updated")
    sample.body.update(
        id=id,
        total=str(amount),
        currency=currency,
        transaction_id=f"woo_{id}",
        meta_data=[{"key": "linkrunner_user_id", "value": user}],
    )
    return sample


def named(sample: Sample, number: str) -> tuple[str, Sample]:
    """The webhook with an event id of its own."""
    if sample.provider.name == "woocommerce":
        key = f"woo-{number}"
        ids = {"x-wc-webhook-delivery-id": key}
        return key, replace(sample, headers={**sample.headers, **ids})
    if sample.provider.name == "stripe":
        key = f"evt_{number}"
        return key, replace(sample, body=sample.body | {"id": key})
    key = f"shopify-{number}"
    ids = {"x-shopify-event-id": key, "x-shopify-webhook-id": key}
    return key, replace(sample, headers={**sample.headers, **ids})
