"""Polar webhooks. https://polar.sh/docs/integrate/webhooks/events

Standard Webhooks, with one exception: the secret is the key as written, where other senders decode it. The
event id is only in a header, which is signed. Unknown types must be acknowledged as well: ten failures in a
row disable the endpoint.

Which type reports the money: `order.paid`, whatever the order is for. `refund.*` report each refund; they
name the order and no user. `order.refunded` has only the total of all refunds of the order so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, Role
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Id,
    MinorPrice,
    OptionalId,
    Payload,
    Pieces,
    homes,
    iso_time,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import HmacWithHeaders, standard_webhooks_keys

_EVENT_ID = "webhook-id"


class Head(Payload):
    type: str
    timestamp: object = None


def identify(webhook: Webhook) -> Identity:
    """Nothing in a webhook tells sandbox from production. Sandbox is another host, with its own secrets."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(webhook.headers.get(_EVENT_ID), "header webhook-id"),
        event_type=name(head.type, "event type"),
        occurred_at=iso_time(head.timestamp),
    )


provider = Provider(
    name="polar",
    title="Polar",
    docs="https://polar.sh/docs/integrate/webhooks/events",
    role=Role.SELLER,
    signature=HmacWithHeaders(
        header="webhook-signature",
        signed=(_EVENT_ID, "webhook-timestamp"),
        joiner=".",
        version="v1",
        keys=standard_webhooks_keys,
    ),
    identify=identify,
    headers=(_EVENT_ID,),
    user_id=(
        "data.customer.external_id",
        "data.external_customer_id",  # checkouts
        "type == 'customer.created' && data.external_id",
        *homes("data.metadata.{}", "data.customer.metadata.{}"),
    ),
    # Not for refunds, which have no `customer`: it would hide the user who paid.
    customer_ids=("data.customer && data.customer_id",),
    unique_ids=True,
    never={
        "order.created": "it may never be paid; order.paid reports the money",
        "order.updated": "it repeats the whole order at every change of it",
        "order.refunded": "it has the total of all refunds so far; refund.* report each one of them",
        "subscription.cycled": "it comes before the money, also when the payment then fails",
        "subscription.updated": "it comes with every other event of a subscription",
    },
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    data: T


# Orders


class Order(Payload):
    id: Id
    # Before discounts and taxes.
    subtotal_amount: MinorPrice = None
    # After both, and before the customer's balance: credit, or debt, of earlier orders.
    total_amount: int
    applied_balance_amount: int | None = None
    due_amount: int | None = None
    currency: str
    billing_reason: str | None = None
    product_id: OptionalId = None
    subscription_id: OptionalId = None
    seats: Pieces = None
    units: Pieces = None

    @property
    def paid(self) -> int:
        """The amount collected. An order below zero is credit for later ones."""
        if self.due_amount is not None:
            return self.due_amount
        return self.total_amount + (self.applied_balance_amount or 0)

    @property
    def starts_trial(self) -> bool:
        """Whether the first period costs nothing by itself. A discount leaves the subtotal."""
        started = self.billing_reason == "subscription_create"
        return started and not self.total_amount and not self.subtotal_amount

    @property
    def items(self) -> tuple[Item, ...]:
        item = Item.product(self.product_id, self.seats or self.units or 1)
        return (item,) if self.product_id else ()


_REASONS = {
    "purchase": Kind.PURCHASE_COMPLETED,
    "subscription_create": Kind.SUBSCRIPTION_STARTED,
    "subscription_cycle": Kind.SUBSCRIPTION_RENEWED,
    "subscription_update": Kind.SUBSCRIPTION_UPDATED,
}


def _kind(order: Order) -> Kind:
    # Newer reasons, like subscription_meter_cycle, bill the usage of a running subscription.
    other = Kind.SUBSCRIPTION_RENEWED if order.subscription_id else Kind.PURCHASE_COMPLETED
    return _REASONS.get(order.billing_reason or "", other)


@provider.on("order.paid", *_REASONS.values(), Kind.TRIAL_CONVERTED)
def order_paid(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    order, kind = event.data, _kind(event.data)
    # subscription.created reports a trial.
    if not order.starts_trial:
        yield CommerceEvent(
            kind=kind,
            # Polar documents "cents"; that yen have no decimals is unconfirmed.
            money=Money.from_minor(order.paid, order.currency),
            transactions=(order.id,),
            order_id=order.id,
            subscription_id=order.subscription_id,
            plan_id=order.product_id if order.subscription_id else None,
            items=order.items,
        )


class Refund(Payload):
    """`amount` is without taxes."""

    id: Id
    status: str | None = None
    amount: int
    tax_amount: int | None = None
    currency: str
    order_id: OptionalId = None
    subscription_id: OptionalId = None


@provider.on("refund.created", Kind.PURCHASE_REFUNDED)
@provider.on("refund.updated", Kind.PURCHASE_REFUNDED)
def refunded(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    refund = event.data
    # A refund is created as pending and updated when it succeeds, or created as succeeded.
    if refund.status == "succeeded":
        yield CommerceEvent(
            kind=Kind.PURCHASE_REFUNDED,
            money=Money.from_minor(refund.amount + (refund.tax_amount or 0), refund.currency),
            transactions=(refund.id,),
            follows=known(refund.order_id),
            order_id=refund.order_id,
            subscription_id=refund.subscription_id,
        )


# Checkouts


class Checkout(Payload):
    id: Id
    status: str | None = None
    total_amount: int | None = None
    currency: str | None = None
    product_id: OptionalId = None

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=Money.maybe_minor(self.total_amount, self.currency),
            transactions=(self.id,),
            order_id=self.id,
            items=(Item.product(self.product_id),) if self.product_id else (),
        )


@provider.off("checkout.created", Kind.CHECKOUT_STARTED)
@provider.on("checkout.expired", Kind.CHECKOUT_ABANDONED)
def checkout_changed(event: Event[Checkout], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind)


@provider.off("checkout.updated", Kind.PAYMENT_FAILED)
def checkout_updated(event: Event[Checkout], context: Context) -> Iterator[CommerceEvent]:
    # order.paid reports a checkout that succeeded.
    if event.data.status == "failed":
        yield event.data.event(Kind.PAYMENT_FAILED)


# Subscriptions


class Subscription(Payload):
    id: Id
    status: str | None = None
    cancel_at_period_end: bool | None = None
    product_id: OptionalId = None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.product_id,
        )


@provider.on("subscription.created", Kind.TRIAL_STARTED)
def subscription_created(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # Without a trial the subscription waits for its first payment, which order.paid reports.
    if event.data.status == "trialing":
        yield event.data.event(Kind.TRIAL_STARTED, (event.data.id,))


@provider.off("subscription.active", Kind.SUBSCRIPTION_CREATED)
def subscription_active(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # Not its start, nor the end of a trial: order.paid reports those, with their money. Only once: a
    # recovered payment makes it active again.
    yield event.data.event(context.kind, (event.data.id,))


@provider.on("subscription.canceled", Kind.SUBSCRIPTION_CANCEL_SCHEDULED)
def subscription_canceled(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # A subscription that ends at once is revoked in the same moment.
    if event.data.cancel_at_period_end:
        yield event.data.event(Kind.SUBSCRIPTION_CANCEL_SCHEDULED, EACH_TIME)


@provider.on("subscription.revoked", Kind.SUBSCRIPTION_CANCELLED)
def subscription_revoked(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(Kind.SUBSCRIPTION_CANCELLED, (event.data.id,))


@provider.on("subscription.past_due", Kind.SUBSCRIPTION_PAYMENT_FAILED)
@provider.on("subscription.uncanceled", Kind.SUBSCRIPTION_RESUMED)
@provider.on("subscription.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription.resumed", Kind.SUBSCRIPTION_RESUMED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, EACH_TIME)


# Customers


class Customer(Payload):
    id: Id


@provider.off("customer.created", Kind.CUSTOMER_CREATED)
def customer_created(event: Event[Customer], context: Context) -> Iterator[CommerceEvent]:
    yield CommerceEvent(kind=Kind.CUSTOMER_CREATED, transactions=(event.data.id,))
