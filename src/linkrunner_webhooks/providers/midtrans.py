"""Midtrans notifications. https://docs.midtrans.com/docs/https-notification-webhooks

The body is flat, and its values are texts. `signature_key` is a hash of the order id, the status code, the
gross amount and the server key. Nothing else is signed: not the state, the transaction id, the currency or
what a refund is of. A pending payment has another code than a success, but settlement, refund and
cancellation of one order have the same hash. The hashed values stand without anything between, so that
another order with another amount can have the same hash, too. So their text is a key as well as the order id
is: one hash is one payment.

Which type reports the money: `capture` for cards and `settlement` for the rest. The settlement of a card
follows days later, and is of the same order. `refund` gives everything back, also after refunds of parts: its
amount is the gross amount. `partial_refund` is reported without an amount and once for each order, because
neither the amounts nor the number of such refunds are signed. Chargebacks are reported in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Annotated

from pydantic import AfterValidator

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    Detail,
    Id,
    Payload,
    homes,
    iso_time,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hashed_values import HashedValues, joined

_JAKARTA = timezone(timedelta(hours=7))
_RUPIAH = "IDR"
# A payment that is pending has 201, one that was denied 202, and one that expired 407.
_SUCCESS = "200"
# The dashboard's own button sends a settlement of such an order.
_TRIAL = "payment_notif_test"


class Head(Payload):
    order_id: Id
    transaction_status: str
    transaction_time: object = None
    settlement_time: object = None

    @property
    def occurred_at(self) -> datetime | None:
        """The two times are those of the payment; when it ended or went back is not told."""
        if self.transaction_status == "settlement":
            return iso_time(self.settlement_time or self.transaction_time, _JAKARTA)
        tried = self.transaction_status in ("capture", "authorize", "pending", "deny", "failure")
        return iso_time(self.transaction_time, _JAKARTA) if tried else None


def identify(webhook: Webhook) -> Identity:
    """Nothing in a notification tells sandbox from production. Each has a server key of its own."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.order_id, "order id"),
        event_type=name(head.transaction_status, "transaction status"),
        occurred_at=head.occurred_at,
        test=head.order_id.startswith(_TRIAL),
    )


class MidtransOptions(Options):
    """`subscriptions`: the names of your subscriptions, or how they begin.

    Midtrans makes the order ids of their payments of these names. Such a payment is a renewal: nothing says
    which one is the first.
    """

    subscriptions: tuple[Id, ...] = ()


provider = Provider(
    name="midtrans",
    title="Midtrans",
    docs="https://docs.midtrans.com/docs/https-notification-webhooks",
    signature=HashedValues(
        values=("order_id", "status_code", "gross_amount"),
        texts=lambda values, secret: (joined("", *values.values(), secret),),
        algorithm="sha512",
        member="signature_key",
        apart=("transaction_status",),
    ),
    identify=identify,
    user_id=homes("metadata.{}"),
    options=MidtransOptions,
    # After a 500 it tries once more, and after a 503 four times.
    statuses={500: 503},
    caution="""\
Midtrans signs order id, status code and gross amount, and not the user id. Nor does it sign the state: who
has the notification of a settlement can make one of its refund. Refunds of a part are reported without their
amounts, which are not signed. It signs with the server key of your account, which can refund.
""",
)

_AMOUNT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


def _as_hashed(amount: str) -> str:
    """With zeros before it, an amount could have taken the end of an order id, and be read as another."""
    if not _AMOUNT.fullmatch(amount):
        raise ValueError("an amount is not written as amounts are")
    return amount


class Notification(Payload):
    order_id: Id
    status_code: Id
    gross_amount: Annotated[Id, AfterValidator(_as_hashed)]
    # Nothing from here on is signed. It may decide the kind of an event, but not an amount.
    currency: Detail[str] = None
    fraud_status: Detail[str] = None
    payment_type: Detail[str] = None

    @property
    def accepted(self) -> bool:
        """Whether no fraud is suspected. Some methods are not looked at."""
        return (self.fraud_status or "accept").lower() == "accept"

    @property
    def worth(self) -> Money:
        if self.currency not in (None, _RUPIAH):
            raise Untranslatable("the currency is not rupiah, and no other one is signed")
        return Money.of(self.gross_amount, _RUPIAH)

    @property
    def paid(self) -> Money:
        """What was paid, in states that only a success can have. Raises Untranslatable for another code."""
        if self.status_code != _SUCCESS:
            raise Untranslatable("the status code is not that of a success")
        return self.worth

    def plan(self, context: Context) -> str | None:
        """The name of the subscription that it is a payment of."""
        names: tuple[str, ...] = context.options.subscriptions
        return next((name for name in names if self.order_id.startswith(name)), None)

    def event(self, kind: Kind, money: Money | None) -> CommerceEvent:
        hashed = joined("", self.order_id, self.status_code, self.gross_amount)
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=(self.order_id, f"signed:{hashed}"),
            order_id=self.order_id,
            payment_method=self.payment_type or None,
        )

    def after_payment(self, kind: Kind, money: Money | None) -> CommerceEvent:
        return replace(self.event(kind, money), follows=(self.order_id,))


# Payments


@provider.on("capture", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_RENEWED)
@provider.on("settlement", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_RENEWED)
def paid(notification: Notification, context: Context) -> Iterator[CommerceEvent]:
    # A suspicious card is captured before a person has decided, and again after that.
    if notification.accepted:
        plan = notification.plan(context)
        kind = Kind.SUBSCRIPTION_RENEWED if plan else Kind.PURCHASE_COMPLETED
        yield replace(notification.event(kind, notification.paid), plan_id=plan)


@provider.off("authorize", Kind.PURCHASE_INITIATED)
@provider.off("pending", Kind.PURCHASE_INITIATED)
@provider.on("expire", Kind.CHECKOUT_ABANDONED)
def not_paid(notification: Notification, context: Context) -> Iterator[CommerceEvent]:
    yield notification.event(context.kind, notification.worth)


@provider.on("deny", Kind.PAYMENT_FAILED, Kind.SUBSCRIPTION_PAYMENT_FAILED)
@provider.on("failure", Kind.PAYMENT_FAILED, Kind.SUBSCRIPTION_PAYMENT_FAILED)
def payment_failed(notification: Notification, context: Context) -> Iterator[CommerceEvent]:
    # Not final: the customer can try again. Nothing that is signed tells two attempts apart.
    plan = notification.plan(context)
    kind = Kind.SUBSCRIPTION_PAYMENT_FAILED if plan else Kind.PAYMENT_FAILED
    yield replace(notification.event(kind, notification.worth), plan_id=plan)


@provider.on("cancel", Kind.PURCHASE_CANCELLED, Kind.CHECKOUT_CANCELLED)
def cancelled(notification: Notification, context: Context) -> Iterator[CommerceEvent]:
    # A card counted when it was captured, and was not settled yet; what else is cancelled was pending.
    card = notification.payment_type == "credit_card"
    kind = Kind.PURCHASE_CANCELLED if card else Kind.CHECKOUT_CANCELLED
    yield notification.after_payment(kind, notification.worth)


# Refunds and disputes


@provider.on("refund", Kind.PURCHASE_REFUNDED)
# That notifications of chargebacks are sent is unconfirmed.
@provider.off("chargeback", Kind.DISPUTE_OPENED)
def went_back(notification: Notification, context: Context) -> Iterator[CommerceEvent]:
    yield notification.after_payment(context.kind, notification.paid)


@provider.on("partial_refund", Kind.PURCHASE_REFUNDED)
@provider.off("partial_chargeback", Kind.DISPUTE_OPENED)
def went_back_in_part(notification: Notification, context: Context) -> Iterator[CommerceEvent]:
    yield notification.after_payment(context.kind, None)
