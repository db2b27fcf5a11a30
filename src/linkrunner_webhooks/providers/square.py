"""Square webhooks. https://developer.squareup.com/docs/webhooks/overview

The signature covers the URL as it is registered with Square. No request states that URL for sure, so it is
configured. The object lies under its own name in `data.object`. Almost all of its fields can be missing or
null. Amounts are integers in the smallest unit.

Which type reports the money: `payment.updated`, again at every later change of the payment. Every body is
read as the present state, so a later body, or one of `payment.created`, repeats facts and is a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from pydantic import Field

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Id,
    OptionalId,
    Payload,
    dispute_kind,
    iso_time,
    known,
    lately,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody

# Unconfirmed. Without this header a webhook counts as live.
_ENVIRONMENT = "square-environment"


class Head(Payload):
    event_id: str
    type: str
    created_at: object = None


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
    ),
    customer_ids=(
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

T = TypeVar("T")


class Data(Payload, Generic[T]):
    object: T


class Event(Payload, Generic[T]):
    """`object` holds one member, which is named after what it is."""

    data: Data[T]
    created_at: str | None = None


class MoneyObject(Payload):
    amount: int | None = None
    currency: str | None = None

    @property
    def money(self) -> Money | None:
        return Money.maybe_minor(self.amount, self.currency)


def _money(*amounts: MoneyObject | None) -> Money | None:
    """The first amount there is."""
    return next((amount.money for amount in amounts if amount and amount.money), None)


def _moved(kind: Kind, *amounts: MoneyObject | None) -> Money | None:
    """The first amount there is; an event that reports money moved must have one."""
    money = _money(*amounts)
    return present(money, "its amount") if kind.flow else money


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

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            # The total includes the tip.
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
    # payment.created reports the approval.
    besides=_NOT_COMPLETED | {Kind.PURCHASE_INITIATED: False},
)
@provider.on(
    "payment.created",
    Kind.PURCHASE_COMPLETED,
    besides=_NOT_COMPLETED | {Kind.PURCHASE_INITIATED: True},
)
def payment_changed(event: Event[PaymentObject], context: Context) -> Iterator[CommerceEvent]:
    payment = event.data.object.payment
    kind = _PAYMENT_STATES.get(payment.status or "")
    recent = lately(iso_time(payment.created_at), iso_time(event.created_at))
    # A refunded payment stays completed. Its payment was reported, and refund.updated reports the refund.
    if kind and not payment.refunded and recent:
        yield payment.event(kind)


# Refunds and disputes


class Refund(Payload):
    id: Id
    status: str | None = None
    payment_id: OptionalId = None
    order_id: OptionalId = None
    amount_money: MoneyObject | None = None


class RefundObject(Payload):
    refund: Refund


@provider.on("refund.updated", Kind.PURCHASE_REFUNDED)
def refund_updated(event: Event[RefundObject], context: Context) -> Iterator[CommerceEvent]:
    refund = event.data.object.refund
    if refund.status == "COMPLETED":
        yield CommerceEvent(
            kind=context.kind,
            money=_moved(context.kind, refund.amount_money),
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
        dispute_id = present(self.id or self.dispute_id, "the id of its dispute")
        paid_by = self.disputed_payment.payment_id if self.disputed_payment else None
        return CommerceEvent(
            kind=kind,
            money=_money(self.amount_money),
            transactions=(dispute_id,),
            follows=known(paid_by),
            order_id=paid_by,
        )


class DisputeObject(Payload):
    dispute: Dispute


@provider.on("dispute.created", Kind.DISPUTE_OPENED, besides={Kind.DISPUTE_WARNING: True})
def dispute_created(event: Event[DisputeObject], context: Context) -> Iterator[CommerceEvent]:
    dispute = event.data.object.dispute
    inquiry = (dispute.state or "").startswith("INQUIRY")
    yield dispute.event(dispute_kind(context.kind, inquiry=inquiry))


_OUTCOMES = {
    "WON": Kind.DISPUTE_WON,
    "LOST": Kind.DISPUTE_LOST,
    # The seller has accepted it.
    "ACCEPTED": Kind.DISPUTE_LOST,
    "INQUIRY_CLOSED": Kind.DISPUTE_CLOSED,
    # An inquiry has become a dispute.
    "EVIDENCE_REQUIRED": Kind.DISPUTE_OPENED,
}
_DECIDED = tuple(dict.fromkeys(_OUTCOMES.values()))


@provider.on("dispute.state.updated", *_DECIDED)
# The older name of the type (unconfirmed).
@provider.off("dispute.state.changed", *_DECIDED)
def dispute_decided(event: Event[DisputeObject], context: Context) -> Iterator[CommerceEvent]:
    dispute = event.data.object.dispute
    if dispute.state in _OUTCOMES:
        yield dispute.event(_OUTCOMES[dispute.state])


# Invoices


class PaymentRequest(Payload):
    computed_amount_money: MoneyObject | None = None


class Invoice(Payload):
    id: Id
    order_id: OptionalId = None
    subscription_id: OptionalId = None
    payment_requests: tuple[PaymentRequest, ...] | None = None

    @property
    def due(self) -> Money | None:
        """None for several requests: the body does not say which one could not be charged."""
        requests = self.payment_requests or ()
        return _money(requests[0].computed_amount_money) if len(requests) == 1 else None


class InvoiceObject(Payload):
    invoice: Invoice


# Like all events of subscriptions it names nobody but Square's own customer.
@provider.off("invoice.scheduled_charge_failed", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def scheduled_charge_failed(
    event: Event[InvoiceObject], context: Context
) -> Iterator[CommerceEvent]:
    invoice = event.data.object.invoice
    yield CommerceEvent(
        kind=context.kind,
        money=invoice.due,
        # Square sends one event for each attempt to collect.
        transactions=EACH_TIME,
        order_id=invoice.order_id or invoice.id,
        subscription_id=invoice.subscription_id,
    )


# Subscriptions


class Subscription(Payload):
    id: Id
    status: str | None = None
    plan_variation_id: OptionalId = None
    created_at: str | None = None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan_variation_id,
        )


class SubscriptionObject(Payload):
    subscription: Subscription


@provider.off("subscription.created", Kind.SUBSCRIPTION_STARTED)
def subscription_created(
    event: Event[SubscriptionObject], context: Context
) -> Iterator[CommerceEvent]:
    # No amount: payment.updated brings it. One that begins later becomes active with an update.
    subscription = event.data.object.subscription
    if subscription.status != "PENDING":
        yield subscription.event(context.kind, (subscription.id,))


_SUBSCRIPTION_STATES = {
    "CANCELED": Kind.SUBSCRIPTION_CANCELLED,
    "PAUSED": Kind.SUBSCRIPTION_PAUSED,
    "DEACTIVATED": Kind.SUBSCRIPTION_HALTED,
}


@provider.off(
    "subscription.updated",
    Kind.SUBSCRIPTION_STARTED,
    *_SUBSCRIPTION_STATES.values(),
    # Every payment of the subscription changes it as well.
    besides={Kind.SUBSCRIPTION_UPDATED: False},
)
def subscription_updated(
    event: Event[SubscriptionObject], context: Context
) -> Iterator[CommerceEvent]:
    subscription = event.data.object.subscription
    kind = _SUBSCRIPTION_STATES.get(subscription.status or "")
    created_at = iso_time(subscription.created_at)
    # Every payment leaves it active, for years after it started.
    recent = created_at and lately(created_at, iso_time(event.created_at))
    if kind is None and subscription.status == "ACTIVE" and recent:
        kind = Kind.SUBSCRIPTION_STARTED
    if kind:
        # Each state once: the body is sent again at every change.
        yield subscription.event(kind, (subscription.id,))
    if kind in (None, Kind.SUBSCRIPTION_STARTED):
        yield subscription.event(Kind.SUBSCRIPTION_UPDATED, EACH_TIME)


# Customers


class Customer(Payload):
    id: Id


class CustomerObject(Payload):
    customer: Customer


@provider.off("customer.created", Kind.CUSTOMER_CREATED)
def customer_created(event: Event[CustomerObject], context: Context) -> Iterator[CommerceEvent]:
    customer = event.data.object.customer
    yield CommerceEvent(kind=context.kind, transactions=(customer.id,))
