"""Razorpay webhooks. https://razorpay.com/docs/webhooks/

`contains` names what is under `payload`, each as `payload.<name>.entity`. The event id is only in a header;
amounts are integers in the smallest unit. `notes` is an object, `[]` when empty, or null.

Which type reports the money: `order.paid`, and `subscription.charged` for subscriptions. One payment is
reported by up to five types, which share the payment's id. An order.paid whose payment has an invoice belongs
to a subscription or an invoice, and is left to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

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
from linkrunner_webhooks.provider import Context, Provider, name, parse, unix_time
from linkrunner_webhooks.signatures import HmacBody

_EVENT_ID = "x-razorpay-event-id"


class Head(Payload):
    event: str
    created_at: int | None = None


def identify(webhook: Webhook) -> Identity:
    """A proxy may have dropped the header with the event id; then the body's digest stands for it."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(webhook.headers.get(_EVENT_ID) or webhook.digest, "event id"),
        event_type=name(head.event, "event type"),
        occurred_at=unix_time(head.created_at),
    )


_NOTES = ("linkrunner_user_id", "user_id", "userId", "customer_id")
_ENTITIES = ("payment", "order", "subscription", "payment_link")

provider = Provider(
    name="razorpay",
    title="Razorpay",
    docs="https://razorpay.com/docs/webhooks/",
    signature=HmacBody(headers=("x-razorpay-signature",), encoding="hex"),
    identify=identify,
    headers=(_EVENT_ID,),
    user_id=tuple(f"payload.{entity}.entity.notes.{key}" for entity in _ENTITIES for key in _NOTES),
    unique_ids=True,
    never={
        "refund.created": "refund.processed reports the same refund",
        "payment.dispute.under_review": "it changes nothing that is reported",
        "payment.dispute.action_required": "it changes nothing that is reported",
    },
    caution="""\
Payments of an invoice or a subscription are left out of order.paid, because subscription.charged reports the
latter. If you bill with Razorpay Invoices, switch invoice.paid on.
""",
)

T = TypeVar("T", bound=Payload)


class Holder(Payload, Generic[T]):
    entity: T


class Payment(Payload):
    id: Id
    amount: int
    currency: str
    order_id: OptionalId = None
    invoice_id: OptionalId = None
    method: str | None = None

    @property
    def money(self) -> Money:
        return Money.from_minor(self.amount, self.currency)


class Order(Payload):
    id: Id
    amount_paid: int | None = None
    currency: str | None = None


class Subscription(Payload):
    id: Id
    plan_id: OptionalId = None
    paid_count: int | None = None


class Returned(Payload):
    """A refund or a dispute."""

    id: Id
    amount: int
    currency: str
    payment_id: OptionalId = None


class PaymentLink(Payload):
    id: Id
    amount: int | None = None
    currency: str | None = None


class Entities(Payload):
    payment: Holder[Payment] | None = None
    order: Holder[Order] | None = None
    subscription: Holder[Subscription] | None = None
    refund: Holder[Returned] | None = None
    dispute: Holder[Returned] | None = None
    payment_link: Holder[PaymentLink] | None = None


class Event(Payload):
    payload: Entities

    @property
    def paid(self) -> Payment:
        return _held(self.payload.payment)

    @property
    def order_id(self) -> str | None:
        payment = self.payload.payment
        order = self.payload.order
        # The payment's is complete; some orders come without their prefix.
        return (payment and payment.entity.order_id) or (order and order.entity.id) or None

    @property
    def total(self) -> Money:
        """What was paid for the order, perhaps in parts, of which the payment is the last."""
        payment, order = self.paid, self.payload.order
        paid, currency = (
            (order.entity.amount_paid, order.entity.currency) if order else (None, None)
        )
        return Money.from_minor(
            payment.amount if paid is None else paid, currency or payment.currency
        )


def _held(holder: Holder[T] | None) -> T:
    if holder is None:
        raise Untranslatable("the event does not contain what it is about")
    return holder.entity


def _payment(event: Event, kind: Kind, money: Money, *transactions: str) -> CommerceEvent:
    return CommerceEvent(
        kind=kind,
        money=money,
        transactions=transactions,
        order_id=event.order_id or event.paid.id,
        payment_method=event.paid.method,
    )


@provider.on("order.paid", Kind.PURCHASE_COMPLETED, payload=Event)
def order_paid(event: Event, context: Context) -> Iterator[CommerceEvent]:
    if not event.paid.invoice_id:
        yield _payment(event, Kind.PURCHASE_COMPLETED, event.total, event.paid.id)


@provider.on("payment_link.paid", Kind.PURCHASE_COMPLETED, payload=Event, default=False)
@provider.on("invoice.paid", Kind.INVOICE_PAID, payload=Event, default=False)
def paid_in_full(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _payment(event, context.kind, event.total, event.paid.id)


@provider.on("payment.captured", Kind.PURCHASE_COMPLETED, payload=Event, default=False)
@provider.on("qr_code.credited", Kind.PURCHASE_COMPLETED, payload=Event, default=False)
@provider.on("virtual_account.credited", Kind.PURCHASE_COMPLETED, payload=Event, default=False)
@provider.on("payment.authorized", Kind.PURCHASE_INITIATED, payload=Event, default=False)
@provider.on(
    "payment_link.partially_paid", Kind.PURCHASE_PARTIALLY_PAID, payload=Event, default=False
)
def payment_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _payment(event, context.kind, event.paid.money, event.paid.id)


@provider.on("payment.failed", Kind.PAYMENT_FAILED, payload=Event)
def payment_failed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Not final: the customer can try again within the same order.
    yield _payment(event, Kind.PAYMENT_FAILED, event.paid.money, event.paid.id)


@provider.on("payment_link.expired", Kind.CHECKOUT_ABANDONED, payload=Event, default=False)
@provider.on("payment_link.cancelled", Kind.CHECKOUT_CANCELLED, payload=Event, default=False)
def payment_link_ended(event: Event, context: Context) -> Iterator[CommerceEvent]:
    link = _held(event.payload.payment_link)
    priced = link.amount is not None and link.currency is not None
    yield CommerceEvent(
        kind=context.kind,
        money=Money.from_minor(link.amount or 0, link.currency or "") if priced else None,
        transactions=(link.id,),
        order_id=event.order_id,
    )


@provider.on("refund.processed", Kind.PURCHASE_REFUNDED, payload=Event)
@provider.on("refund.failed", Kind.REFUND_FAILED, payload=Event, default=False)
@provider.on("payment.dispute.created", Kind.DISPUTE_OPENED, payload=Event)
@provider.on("payment.dispute.won", Kind.DISPUTE_WON, payload=Event)
@provider.on("payment.dispute.lost", Kind.DISPUTE_LOST, payload=Event)
@provider.on("payment.dispute.closed", Kind.DISPUTE_CLOSED, payload=Event)
def refunded_or_disputed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    returned = _held(event.payload.refund or event.payload.dispute)
    yield CommerceEvent(
        kind=context.kind,
        money=Money.from_minor(returned.amount, returned.currency),
        transactions=(returned.id,),
        follows=known(returned.payment_id),
        order_id=event.order_id or returned.payment_id,
    )


@provider.on(
    "subscription.charged",
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
    payload=Event,
)
def subscription_charged(event: Event, context: Context) -> Iterator[CommerceEvent]:
    subscription, payment = _held(event.payload.subscription), event.paid
    first = subscription.paid_count == 1
    yield CommerceEvent(
        kind=Kind.SUBSCRIPTION_STARTED if first else Kind.SUBSCRIPTION_RENEWED,
        money=payment.money,
        transactions=(payment.id,),
        order_id=event.order_id or payment.id,
        subscription_id=subscription.id,
        plan_id=subscription.plan_id,
        payment_method=payment.method,
    )


@provider.on(
    "subscription.authenticated",
    Kind.TRIAL_STARTED,
    Kind.SUBSCRIPTION_AUTHENTICATED,
    payload=Event,
    default=False,
)
def subscription_authenticated(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Without a payment it was only authorised, to be charged when its trial ends.
    trial = event.payload.payment is None
    kind = Kind.TRIAL_STARTED if trial else Kind.SUBSCRIPTION_AUTHENTICATED
    yield _subscription(event, kind, _held(event.payload.subscription).id)


@provider.on("subscription.activated", Kind.SUBSCRIPTION_STARTED, payload=Event)
@provider.on("subscription.cancelled", Kind.SUBSCRIPTION_CANCELLED, payload=Event)
@provider.on("subscription.completed", Kind.SUBSCRIPTION_COMPLETED, payload=Event)
def subscription_began_or_ended(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # No amount at the start: subscription.charged brings it.
    yield _subscription(event, context.kind, _held(event.payload.subscription).id)


@provider.on("subscription.pending", Kind.SUBSCRIPTION_PAYMENT_FAILED, payload=Event)
@provider.on("subscription.halted", Kind.SUBSCRIPTION_HALTED, payload=Event)
@provider.on("subscription.paused", Kind.SUBSCRIPTION_PAUSED, payload=Event)
@provider.on("subscription.resumed", Kind.SUBSCRIPTION_RESUMED, payload=Event)
@provider.on("subscription.updated", Kind.SUBSCRIPTION_UPDATED, payload=Event, default=False)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # These happen more than once in a subscription's life.
    yield _subscription(event, context.kind)


def _subscription(event: Event, kind: Kind, *transactions: str) -> CommerceEvent:
    subscription = _held(event.payload.subscription)
    return CommerceEvent(
        kind=kind,
        transactions=transactions,
        subscription_id=subscription.id,
        plan_id=subscription.plan_id,
    )
