"""Square webhooks. https://developer.squareup.com/docs/webhooks/overview

The signature covers the URL as it is registered with Square, which nothing in a request tells for sure: it
is configured. The object lies under its own name in `data.object`, almost all of its fields can be missing
or null, and amounts are integers in the smallest unit.

Which type reports the money: `payment.updated`, again at every later change of the payment. A body is read
as the state that it is, and what was reported before is a duplicate, also of `payment.created`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Generic, TypeVar

from pydantic import Field

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import (
    CommerceEvent,
    Id,
    Identity,
    Kind,
    Money,
    OptionalId,
    Payload,
    Webhook,
    known,
)
from linkrunner_webhooks.provider import Context, Options, Provider, iso_time, name, parse
from linkrunner_webhooks.signatures import HmacBody

# That Square sends it is unconfirmed; without it everything counts as live.
_ENVIRONMENT = "square-environment"
# What was paid longer ago than this was reported then, and the note of that is about to be forgotten.
_FRESH = timedelta(days=30)


class Head(Payload):
    event_id: str
    type: str
    created_at: str | None = None


def identify(webhook: Webhook) -> Identity:
    """Nothing in a body says sandbox."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.event_id, "event id"),
        event_type=name(head.type, "event type"),
        occurred_at=iso_time(head.created_at),
        test=webhook.headers.get(_ENVIRONMENT, "").strip().lower() == "sandbox",
    )


class SquareOptions(Options):
    """`notification_url`: byte for byte the URL registered with Square, which is signed with the body."""

    notification_url: str = Field(
        pattern=r"^https?://",
        examples=["https://hooks.example.com/webhooks/square"],
    )


def _signature(options: SquareOptions) -> HmacBody:
    return HmacBody(
        headers=("x-square-hmacsha256-signature",),
        encoding="base64",
        prefix=options.notification_url,
    )


provider = Provider(
    name="square",
    title="Square",
    docs="https://developer.squareup.com/docs/webhooks/overview",
    signature=_signature,
    identify=identify,
    headers=(_ENVIRONMENT,),
    user_id=(
        "data.object.payment.reference_id",
        "data.object.customer.reference_id",
        # Square's own id of the customer: all there is where a merchant cannot write one.
        "data.object.payment.customer_id",
        "data.object.subscription.customer_id",
        "data.object.invoice.primary_recipient.customer_id",
        "data.object.customer.id",
    ),
    options=SquareOptions,
    unique_ids=True,
    never={
        "order.created": "it has no amount: payment.updated reports the money",
        "order.updated": "it has no amount: payment.updated reports the money",
        "invoice.payment_made": "payment.updated reports the same money, and an invoice does not name "
        "its payment",
        "refund.created": "nothing is refunded yet: refund.updated reports it when it is",
    },
)

T = TypeVar("T", bound=Payload)


class Data(Payload, Generic[T]):
    object: T


class Event(Payload, Generic[T]):
    data: Data[T]
    created_at: str | None = None


class MoneyObject(Payload):
    amount: int | None = None
    currency: str | None = None

    @property
    def money(self) -> Money | None:
        if self.amount is None or not self.currency:
            return None
        return Money.from_minor(self.amount, self.currency)


def _money(*amounts: MoneyObject | None) -> Money | None:
    """The first amount there is."""
    return next((amount.money for amount in amounts if amount and amount.money), None)


def _moved(kind: Kind, *amounts: MoneyObject | None) -> Money | None:
    """The first amount there is; what reports that money moved has to have one."""
    money = _money(*amounts)
    if money is None and kind.flow:
        raise Untranslatable("the object has no amount or no currency")
    return money


# Payments


class Payment(Payload):
    id: Id
    status: str | None = None
    order_id: OptionalId = None
    source_type: str | None = None
    total_money: MoneyObject | None = None
    amount_money: MoneyObject | None = None
    refunded_money: MoneyObject | None = None
    created_at: str | None = None

    @property
    def refunded(self) -> bool:
        return bool(self.refunded_money and self.refunded_money.amount)

    def lately(self, reported_at: str | None) -> bool:
        """Whether it was made not long before this report of it."""
        made, reported = iso_time(self.created_at), iso_time(reported_at)
        return made is None or reported is None or reported - made <= _FRESH

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            # The total has the tip in it.
            money=_moved(kind, self.total_money, self.amount_money),
            transactions=(self.id,),
            order_id=self.order_id or self.id,
            payment_method=self.source_type or None,
        )


class PaymentObject(Payload):
    payment: Payment


_PAYMENT_STATES = {
    "APPROVED": Kind.PURCHASE_INITIATED,
    "COMPLETED": Kind.PURCHASE_COMPLETED,
    "FAILED": Kind.PAYMENT_FAILED,
    "CANCELED": Kind.CHECKOUT_CANCELLED,
}
_NOT_COMPLETED = {Kind.PAYMENT_FAILED: True, Kind.CHECKOUT_CANCELLED: True}


@provider.on(
    "payment.updated",
    Kind.PURCHASE_COMPLETED,
    payload=Event[PaymentObject],
    besides=_NOT_COMPLETED,
)
@provider.on(
    "payment.created",
    Kind.PURCHASE_COMPLETED,
    payload=Event[PaymentObject],
    besides=_NOT_COMPLETED | {Kind.PURCHASE_INITIATED: True},
)
def payment_changed(event: Event[PaymentObject], context: Context) -> Iterator[CommerceEvent]:
    payment = event.data.object.payment
    kind = _PAYMENT_STATES.get(payment.status or "")
    # A refunded payment stays completed: what it was is reported, and refund.updated reports the refund.
    if kind and not payment.refunded and payment.lately(event.created_at):
        yield payment.event(kind)


class Refund(Payload):
    id: Id
    status: str | None = None
    payment_id: OptionalId = None
    order_id: OptionalId = None
    amount_money: MoneyObject | None = None


class RefundObject(Payload):
    refund: Refund


@provider.on("refund.updated", Kind.PURCHASE_REFUNDED, payload=Event[RefundObject])
def refund_updated(event: Event[RefundObject], context: Context) -> Iterator[CommerceEvent]:
    refund = event.data.object.refund
    if refund.status == "COMPLETED":
        yield CommerceEvent(
            kind=Kind.PURCHASE_REFUNDED,
            money=_moved(Kind.PURCHASE_REFUNDED, refund.amount_money),
            transactions=(refund.id,),
            follows=known(refund.payment_id),
            order_id=refund.order_id or refund.payment_id,
        )


class DisputedPayment(Payload):
    payment_id: OptionalId = None


class Dispute(Payload):
    """`dispute_id` is the older name of `id`."""

    id: OptionalId = None
    dispute_id: OptionalId = None
    state: str | None = None
    amount_money: MoneyObject | None = None
    disputed_payment: DisputedPayment | None = None

    def event(self, kind: Kind) -> CommerceEvent:
        dispute_id = self.id or self.dispute_id
        if dispute_id is None:
            raise Untranslatable("the dispute has no id")
        paid_by = self.disputed_payment.payment_id if self.disputed_payment else None
        return CommerceEvent(
            kind=kind,
            money=_moved(kind, self.amount_money),
            transactions=(dispute_id,),
            follows=known(paid_by),
            order_id=paid_by,
        )


class DisputeObject(Payload):
    dispute: Dispute


@provider.on("dispute.created", Kind.DISPUTE_OPENED, payload=Event[DisputeObject])
def dispute_created(event: Event[DisputeObject], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.object.dispute.event(Kind.DISPUTE_OPENED)


_OUTCOMES = {"WON": Kind.DISPUTE_WON, "LOST": Kind.DISPUTE_LOST}


@provider.on("dispute.state.updated", *_OUTCOMES.values(), payload=Event[DisputeObject])
# The older twin; whether anybody still gets it is unconfirmed.
@provider.on(
    "dispute.state.changed",
    *_OUTCOMES.values(),
    payload=Event[DisputeObject],
    default=False,
)
def dispute_decided(event: Event[DisputeObject], context: Context) -> Iterator[CommerceEvent]:
    dispute = event.data.object.dispute
    if dispute.state in _OUTCOMES:
        yield dispute.event(_OUTCOMES[dispute.state])


# Invoices, subscriptions and customers


class PaymentRequest(Payload):
    computed_amount_money: MoneyObject | None = None


class Invoice(Payload):
    id: Id
    order_id: OptionalId = None
    subscription_id: OptionalId = None
    payment_requests: tuple[PaymentRequest, ...] | None = None

    @property
    def due(self) -> Money | None:
        """Of several requests it is not said which one could not be charged."""
        requests = self.payment_requests or ()
        return _money(requests[0].computed_amount_money) if len(requests) == 1 else None


class InvoiceObject(Payload):
    invoice: Invoice


@provider.on(
    "invoice.scheduled_charge_failed",
    Kind.SUBSCRIPTION_PAYMENT_FAILED,
    payload=Event[InvoiceObject],
)
def scheduled_charge_failed(
    event: Event[InvoiceObject], context: Context
) -> Iterator[CommerceEvent]:
    invoice = event.data.object.invoice
    # One event per attempt to collect.
    yield CommerceEvent(
        kind=Kind.SUBSCRIPTION_PAYMENT_FAILED,
        money=invoice.due,
        order_id=invoice.order_id or invoice.id,
        subscription_id=invoice.subscription_id,
    )


class Subscription(Payload):
    id: Id
    status: str | None = None
    plan_variation_id: OptionalId = None

    def event(self, kind: Kind, *transactions: str) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan_variation_id,
        )


class SubscriptionObject(Payload):
    subscription: Subscription


@provider.on("subscription.created", Kind.SUBSCRIPTION_STARTED, payload=Event[SubscriptionObject])
def subscription_created(
    event: Event[SubscriptionObject], context: Context
) -> Iterator[CommerceEvent]:
    # No amount: payment.updated brings it.
    subscription = event.data.object.subscription
    yield subscription.event(Kind.SUBSCRIPTION_STARTED, subscription.id)


_SUBSCRIPTION_STATES = {
    "CANCELED": Kind.SUBSCRIPTION_CANCELLED,
    "PAUSED": Kind.SUBSCRIPTION_PAUSED,
    "DEACTIVATED": Kind.SUBSCRIPTION_HALTED,
}


@provider.on(
    "subscription.updated",
    *_SUBSCRIPTION_STATES.values(),
    payload=Event[SubscriptionObject],
    # Every payment of the subscription changes it as well.
    besides={Kind.SUBSCRIPTION_UPDATED: False},
)
def subscription_updated(
    event: Event[SubscriptionObject], context: Context
) -> Iterator[CommerceEvent]:
    subscription = event.data.object.subscription
    kind = _SUBSCRIPTION_STATES.get(subscription.status or "")
    if kind:
        # Each state once: the body is sent again at every change.
        yield subscription.event(kind, subscription.id)
    else:
        yield subscription.event(Kind.SUBSCRIPTION_UPDATED)


class Customer(Payload):
    id: Id


class CustomerObject(Payload):
    customer: Customer


@provider.on(
    "customer.created",
    Kind.CUSTOMER_CREATED,
    payload=Event[CustomerObject],
    default=False,
)
def customer_created(event: Event[CustomerObject], context: Context) -> Iterator[CommerceEvent]:
    customer = event.data.object.customer
    yield CommerceEvent(kind=Kind.CUSTOMER_CREATED, transactions=(customer.id,))
