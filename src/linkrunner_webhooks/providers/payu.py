"""PayU (India) webhooks. https://docs.payu.in/docs/webhook-events-and-sample-payloads

A body is a form, or JSON, with the fields of one payment. What it is stands in `status`. A hash proves the
status, the amount, the merchant's id of the transaction and `udf1` to `udf5`, and nothing else: PayU's own id
of the payment is not among them. Amounts are texts in rupees, and there is no currency.

Which type reports the money: `success`. Refunds and disputes are not reported: the hash covers no amount of
theirs, and most of them have none.
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

_REFUND = "refund"


class Head(Payload):
    txnid: Id
    status: Id
    action: object = None
    # By the clock of India.
    addedon: object = None


def identify(webhook: Webhook) -> Identity:
    """The id is made of what is hashed. Nothing tells test mode, which has a key and a salt of its own."""
    head = parse(Head, webhook)
    # Refunds have a status as well.
    event_type = _REFUND if head.action == _REFUND else head.status
    return Identity(
        event_id=name(f"{head.txnid}:{head.status}", "transaction"),
        event_type=name(event_type, "status"),
        occurred_at=iso_time(head.addedon, INDIA),
    )


# The end of what is hashed, in this order.
_PAYMENT = (
    *(f"udf{number}" for number in (5, 4, 3, 2, 1)),
    "email",
    "firstname",
    "productinfo",
    "amount",
    "txnid",
    "key",
)
# Charges for the buyer are hashed under whichever name they come.
_HASHED = ("additionalCharges", "additional_charges", "status", "splitInfo", *_PAYMENT)


def _texts(values: Values, salt: str) -> Iterator[str]:
    """Every text that PayU's libraries hash. They disagree about empty charges and about a split."""
    charges = values["additionalCharges"] or values["additional_charges"]
    payment = joined("|", *[""] * 5, *(values[name] for name in _PAYMENT))
    # An empty split is none. With a place for it values could be moved, although none holds the joiner.
    for split in dict.fromkeys(("", values["splitInfo"])):
        status = joined("|", values["status"], split) if split else values["status"]
        text = joined("|", salt, status, payment)
        if not charges:
            yield text
        yield joined("|", charges, text)


provider = Provider(
    name="payu",
    title="PayU",
    docs="https://docs.payu.in/docs/webhook-events-and-sample-payloads",
    signature=HashedValues(
        values=_HASHED, texts=_texts, algorithm="sha512", member="hash", form=True
    ),
    identify=identify,
    unpack=forms.unpack,
    # Not the others as well: PayU writes words of its own into udf4 and udf5 of payments by QR code.
    user_id=("udf1",),
    never={
        "pending": "it is not decided; success or failure report how it ended",
        _REFUND: "its amount is not hashed, so anybody who saw the payment could make one",
    },
    caution="""\
The user id is udf1. If your checkout writes something else there, set `user_id`. No refund and no dispute is
reported, because PayU does not sign their amounts.
""",
)


# Payments


class Payment(Unambiguous):
    hashed = _HASHED

    txnid: Id
    # Without what the buyer paid for the service besides.
    amount: Decimal | None = None
    mode: Detail[str] = None
    # Not hashed: it may decide what a failure is called, and nothing else.
    unmappedstatus: object = None

    @property
    def abandoned(self) -> bool:
        """Whether the buyer left. What has been dropped or has failed was tried."""
        return self.unmappedstatus in ("userCancelled", "bounced")

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            # The webhooks of payments in other currencies are unconfirmed.
            money=Money.of(self.amount, "INR"),
            transactions=(self.txnid,),
            order_id=self.txnid,
            payment_method=self.mode or None,
        )


@provider.on("success", Kind.PURCHASE_COMPLETED)
def paid(payment: Payment, context: Context) -> Iterator[CommerceEvent]:
    # Also what was only authorised: PayU takes the money then, and captures it later.
    yield payment.event(context.kind)


@provider.on("failure", Kind.PAYMENT_FAILED, besides={Kind.CHECKOUT_ABANDONED: False})
def failed(payment: Payment, context: Context) -> Iterator[CommerceEvent]:
    yield payment.event(Kind.CHECKOUT_ABANDONED if payment.abandoned else context.kind)
