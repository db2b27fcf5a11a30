"""Easebuzz webhooks. https://docs.easebuzz.in/docs/payment-gateway/587zy3v064so6-what-are-webhooks

A body is a form, or JSON, with the fields of one payment. What it is stands in `status`. A hash proves the
status, the amount, the merchant's id of the transaction and `udf1` to `udf10`, and nothing else: Easebuzz's
own id of the payment is not among them. The fields are those of PayU, which hashes five of the ten. Amounts
are texts in rupees without padding (`1700.0`), and there is no currency. `NA` stands for nothing.

Which type reports the money: `success`. Refunds are not reported: their hash is another one, and covers no
amount (unconfirmed).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from linkrunner_webhooks import forms
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import INDIA, Detail, Id, Payload, iso_time, name, parse
from linkrunner_webhooks.signatures.hashed_values import (
    HashedValues,
    Unambiguous,
    Values,
    joined,
)

_NOTHING = ("", "NA")


class Head(Payload):
    txnid: Id
    status: Id
    # By the clock of India (unconfirmed).
    addedon: object = None


def identify(webhook: Webhook) -> Identity:
    """The id is made of what is hashed. Nothing tells test mode, which has a key and a salt of its own."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(f"{head.txnid}:{head.status}", "transaction"),
        event_type=name(head.status, "status"),
        occurred_at=iso_time(head.addedon, INDIA),
    )


# In this order, after the salt.
_HASHED = (
    "status",
    *(f"udf{number}" for number in range(10, 0, -1)),
    "email",
    "firstname",
    "productinfo",
    "amount",
    "txnid",
    "key",
)


def _texts(values: Values, salt: str) -> Iterator[str]:
    yield joined("|", salt, *(values[name] for name in _HASHED))


provider = Provider(
    name="easebuzz",
    title="Easebuzz",
    docs="https://docs.easebuzz.in/docs/payment-gateway/587zy3v064so6-what-are-webhooks",
    signature=HashedValues(
        values=_HASHED, texts=_texts, algorithm="sha512", member="hash", form=True
    ),
    identify=identify,
    unpack=forms.unpack,
    # Not the others as well: where one is empty, the next holds something else.
    user_id=("udf1",),
    never={
        "initiated": "nothing is paid yet; success or failure report how it ended",
        "pending": "it is not decided; success or failure report how it ended",
    },
    caution="""\
The user id is udf1. If your checkout writes something else there, set `user_id`. Refunds are not reported,
because Easebuzz does not sign their amounts.
""",
)


# Payments


class Payment(Unambiguous):
    hashed = _HASHED

    txnid: Id
    amount: Decimal | None = None
    mode: Detail[str] = None

    @property
    def method(self) -> str | None:
        return None if self.mode in _NOTHING else self.mode


@provider.on("success", Kind.PURCHASE_COMPLETED)
@provider.on("failure", Kind.PAYMENT_FAILED)
# The buyer cancelled, or left before or after a method was chosen.
@provider.on("userCancelled", Kind.CHECKOUT_ABANDONED)
@provider.on("dropped", Kind.CHECKOUT_ABANDONED)
@provider.on("bounced", Kind.CHECKOUT_ABANDONED)
def payment_ended(payment: Payment, context: Context) -> Iterator[CommerceEvent]:
    yield CommerceEvent(
        kind=context.kind,
        money=Money.of(payment.amount, "INR"),
        transactions=(payment.txnid,),
        order_id=payment.txnid,
        payment_method=payment.method,
    )
