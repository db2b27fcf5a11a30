"""Lemon Squeezy webhooks. https://docs.lemonsqueezy.com/help/webhooks/event-types

Bodies are JSON:API documents. The type and the checkout's custom data are in the signed `meta`. There is no
event id: the object and the time of its change replace it. Amounts are integers in the smallest unit.

Which type reports the money: `order_created`, and `subscription_payment_success` for the later payments of a
subscription. Both report the first payment of a subscription, and they share no id. So the order reports it,
until `subscription_variants` says which orders are subscriptions; then the subscription reports it. The same
holds for refunds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Generic, TypeVar

from pydantic import BeforeValidator

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider, Role
from linkrunner_webhooks.reading import (
    EACH_TIME,
    USER_KEYS,
    Detail,
    Id,
    MinorPrice,
    OptionalId,
    Payload,
    Pieces,
    homes,
    iso_time,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody


class Meta(Payload):
    event_name: str
    test_mode: Detail[bool] = None


class Change(Payload):
    updated_at: object = None
    created_at: object = None
    test_mode: Detail[bool] = None


class Changed(Payload):
    type: Detail[str] = None
    id: OptionalId = None
    attributes: Detail[Change] = None


class Head(Payload):
    meta: Meta
    data: Detail[Changed] = None


def identify(webhook: Webhook) -> Identity:
    """`meta.webhook_id` is not read: it may be the endpoint's id (unconfirmed). A retry repeats the body."""
    head = parse(Head, webhook)
    data = head.data or Changed()
    change = data.attributes or Change()
    changed_at = iso_time(change.updated_at or change.created_at)
    about = f"{data.type}:{data.id}:{changed_at.isoformat()}" if data.id and changed_at else None
    test = change.test_mode if head.meta.test_mode is None else head.meta.test_mode
    return Identity(
        event_id=name(about or webhook.digest, "id or time of the object"),
        event_type=name(head.meta.event_name, "event name"),
        occurred_at=changed_at,
        test=bool(test),
    )


class LemonSqueezyOptions(Options):
    """`subscription_variants`: the ids of all variants that are subscriptions, or none of them.

    When they are listed, an order of such a variant is left to the subscription. When they are not, the first
    payment of a subscription is left to the order.
    """

    subscription_variants: tuple[Id, ...] = ()


provider = Provider(
    name="lemonsqueezy",
    title="Lemon Squeezy",
    docs="https://docs.lemonsqueezy.com/help/webhooks/event-types",
    role=Role.SELLER,
    signature=HmacBody(headers=("x-signature",), encoding="hex"),
    identify=identify,
    user_id=(*homes("meta.custom_data.{}", keys=(*USER_KEYS, "customer_id")),),
    # In a refund it would hide the user who paid.
    customer_ids=("!contains(meta.event_name, 'refunded') && data.attributes.customer_id",),
    options=LemonSqueezyOptions,
    never={
        "subscription_payment_recovered": "subscription_payment_success reports the same payment",
    },
    caution=(
        "Of several refunds of one payment only the first is reported:"
        " Lemon Squeezy tells how much was refunded in all, not how much each time."
    ),
)

T = TypeVar("T", bound=Payload)


def _flat(value: object) -> object:
    """A JSON:API resource as one object: its attributes and its id."""
    if not isinstance(value, dict):
        return value
    attributes = value.get("attributes")
    return {**attributes, "id": value.get("id")} if isinstance(attributes, dict) else attributes


class Event(Payload, Generic[T]):
    data: Annotated[T, BeforeValidator(_flat)]


class Paid(Payload):
    """What an order and a subscription's invoice share; `total` includes taxes, `subtotal` no discounts."""

    id: Id
    subtotal: MinorPrice = None
    total: int | None = None
    currency: str | None = None
    refunded: bool | None = None
    # The total of all refunds so far. Older bodies have only `refunded`.
    refunded_amount: int | None = None
    refunded_at: str | None = None

    def money(self, amount: int | None) -> Money:
        # Unconfirmed for currencies without decimals.
        return Money.from_minor(amount, self.currency)

    @property
    def returned(self) -> int | None:
        """The refunded total: 0 when the body denies a refund, None when it does not say."""
        if self.refunded_amount:
            return self.refunded_amount
        if self.refunded:
            return self.total
        return 0 if self.refunded is False else self.refunded_amount

    def refund(self, transaction: str, subscription_id: str | None = None) -> CommerceEvent:
        # Once for each payment: after a second refund the body has only the sum of both.
        return CommerceEvent(
            kind=Kind.PURCHASE_REFUNDED,
            money=self.money(self.returned),
            transactions=(transaction,),
            follows=(transaction,),
            occurred_at=iso_time(self.refunded_at),
            order_id=self.id,
            subscription_id=subscription_id,
        )


# Orders


class OrderItem(Payload):
    """The body contains only the order's first item. The currency of its price is unconfirmed."""

    product_id: OptionalId = None
    variant_id: OptionalId = None
    quantity: Pieces = None


class Order(Paid):
    status: str | None = None
    first_order_item: OrderItem | None = None

    @property
    def transaction(self) -> str:
        """Orders and invoices have ids of their own, which can be equal."""
        return f"order:{self.id}"

    @property
    def items(self) -> tuple[Item, ...]:
        item = self.first_order_item
        if item is None:
            return ()
        return (Item.variant(item.variant_id, item.product_id, item.quantity),)

    @property
    def paid(self) -> bool:
        return self.status not in {"pending", "failed", "fraudulent", "void"}

    def of_a_subscription(self, context: Context) -> bool:
        item = self.first_order_item or OrderItem()
        return item.variant_id in context.options.subscription_variants

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=self.money(self.total),
            transactions=(self.transaction,),
            order_id=self.id,
            items=self.items,
        )


@provider.on("order_created", Kind.PURCHASE_COMPLETED)
def order_created(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    order = event.data
    if order.paid and not order.of_a_subscription(context):
        yield order.event(context.kind)


@provider.on("order_refunded", Kind.PURCHASE_REFUNDED)
def order_refunded(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    order = event.data
    if order.returned != 0 and not order.of_a_subscription(context):
        yield order.refund(order.transaction)


# Invoices of subscriptions


class Invoice(Paid):
    billing_reason: str | None = None
    subscription_id: OptionalId = None
    card_brand: str | None = None

    @property
    def transaction(self) -> str:
        return f"invoice:{self.id}"

    def of_an_order(self, context: Context) -> bool:
        return self.billing_reason == "initial" and not context.options.subscription_variants

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=self.money(self.total),
            transactions=transactions,
            order_id=self.id,
            subscription_id=self.subscription_id,
            payment_method=self.card_brand or None,
        )


_REASONS = {
    "initial": Kind.SUBSCRIPTION_STARTED,
    "renewal": Kind.SUBSCRIPTION_RENEWED,
    "updated": Kind.SUBSCRIPTION_UPDATED,
}
_PAID = (*_REASONS.values(), Kind.TRIAL_CONVERTED)


@provider.on("subscription_payment_success", *_PAID)
def invoice_paid(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    invoice = event.data
    # subscription_created reports a trial. A discount on everything leaves the subtotal.
    starts_trial = invoice.total == 0 and not invoice.subtotal
    if not starts_trial and not invoice.of_an_order(context):
        kind = _REASONS.get(invoice.billing_reason or "", Kind.SUBSCRIPTION_RENEWED)
        yield invoice.event(kind, (invoice.transaction,))


@provider.on("subscription_payment_failed", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def invoice_payment_failed(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    # Lemon Squeezy sends one event for each attempt, also for a plan change that cannot be paid.
    yield event.data.event(context.kind, EACH_TIME)


@provider.on("subscription_payment_refunded", Kind.PURCHASE_REFUNDED)
def invoice_refunded(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    invoice = event.data
    if invoice.returned != 0 and not invoice.of_an_order(context):
        yield invoice.refund(invoice.transaction, invoice.subscription_id)


# Subscriptions


class Subscription(Payload):
    id: Id
    status: str | None = None
    variant_id: OptionalId = None
    # It becomes part of a key, so it is bounded like an id.
    updated_at: OptionalId = None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.variant_id,
        )


@provider.on(
    "subscription_created",
    Kind.TRIAL_STARTED,
    Kind.SUBSCRIPTION_STARTED,
    besides={Kind.SUBSCRIPTION_CREATED: False},
)
def subscription_created(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    if event.data.status == "on_trial":
        kind = Kind.TRIAL_STARTED
    elif context.options.subscription_variants:
        # Not its start: the first invoice reports that, with its money.
        kind = Kind.SUBSCRIPTION_CREATED
    else:
        # No amount: the order brings it, under another name.
        kind = Kind.SUBSCRIPTION_STARTED
    yield event.data.event(kind, (event.data.id,))


@provider.on("subscription_expired", Kind.SUBSCRIPTION_CANCELLED)
def subscription_expired(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, (event.data.id,))


# A cancelled subscription runs until the end of the paid period.
@provider.on("subscription_cancelled", Kind.SUBSCRIPTION_CANCEL_SCHEDULED)
@provider.on("subscription_resumed", Kind.SUBSCRIPTION_RESUMED)
@provider.on("subscription_paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription_unpaused", Kind.SUBSCRIPTION_RESUMED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, EACH_TIME)


@provider.off("subscription_updated", Kind.SUBSCRIPTION_UPDATED)
@provider.off("subscription_plan_changed", Kind.SUBSCRIPTION_UPDATED)
def subscription_updated(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # A change of plan comes as both types, and both have the time of the change.
    subscription, changed_at = event.data, event.data.updated_at
    change = (f"{subscription.id}:{changed_at}",) if changed_at else EACH_TIME
    yield subscription.event(context.kind, change)
