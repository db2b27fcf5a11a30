"""Creem webhooks. https://docs.creem.io/code/webhooks

Creem is the merchant of record. The type is in `eventType`, the object of the event in `object`. Objects
inside it are written out, or as their ids. Amounts are integers in the smallest unit; events have their time
in milliseconds, and subscriptions theirs as text.

Which type reports the money: `checkout.completed` for what is bought once, and `subscription.paid` for every
payment of a subscription. The checkout of a subscription comes before its payment: it can say that nothing
was paid. The price of a product is no payment either, because taxes and discounts change it. So a
subscription.paid without its transaction is parked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from pydantic import Field

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, Role
from linkrunner_webhooks.reading import (
    EACH_TIME,
    USER_KEYS,
    Detail,
    Id,
    OptionalId,
    Part,
    Payload,
    Pieces,
    epoch_ms,
    first,
    homes,
    iso_time,
    known,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody


class Subject(Payload):
    mode: Detail[str] = None


class Head(Payload):
    id: str
    type: str = Field(alias="eventType")
    created_at: object = None
    object: Part[Subject]


def identify(webhook: Webhook) -> Identity:
    """Live events say `prod`. Events about credits do not say their mode."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.id, "event id"),
        event_type=name(head.type, "event type"),
        occurred_at=epoch_ms(head.created_at),
        test=head.object.mode in ("test", "sandbox", "local"),
    )


provider = Provider(
    name="creem",
    title="Creem",
    docs="https://docs.creem.io/code/webhooks",
    role=Role.SELLER,
    signature=HmacBody(headers=("creem-signature",), encoding="hex"),
    identify=identify,
    user_id=homes(
        "object.metadata.{}",
        "object.subscription.metadata.{}",
        "object.checkout.metadata.{}",
        # `referenceId` is written by Creem's own adapters.
        keys=(*USER_KEYS, "referenceId", "internal_customer_id"),
    ),
    # Not for refunds and disputes, which name the payment: its user is the one who paid.
    customer_ids=("!(object.transaction) && (object.customer.id || object.customer)",),
    unique_ids=True,
    never={
        "credits.granted": "it adds credits to an account, and says nothing of what was paid",
        "credits.auto_recharged": "it says how many credits were bought, and not what was paid",
        "credits.consumed": "it spends credits that were paid for before",
        "customer_credits.exhausted": "nobody paid",
    },
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    object: T


# Checkouts


class Order(Payload):
    id: Id
    status: str | None = None
    type: str | None = None
    product: OptionalId = None
    transaction: OptionalId = None
    # Without taxes, unless the price includes them.
    amount: int | None = None
    # What was asked for and what was paid, with taxes; older bodies have neither.
    amount_due: int | None = None
    amount_paid: int | None = None
    currency: str | None = None


class Product(Payload):
    tax_mode: str | None = None


class Checkout(Payload):
    id: Id
    order: Order | None = None
    subscription: OptionalId = None
    product: Part[Product]
    units: Pieces = None

    def paid(self, order: Order) -> int | None:
        """The amount of a paid order; None where taxes may have been added to what the body says."""
        if order.amount_paid is None and order.amount_due is None:
            return order.amount if self.product.tax_mode == "inclusive" else None
        # Some orders are paid before they say how much of them is.
        return order.amount_paid or order.amount_due or 0


@provider.on(
    "checkout.completed",
    Kind.PURCHASE_COMPLETED,
    besides={Kind.SUBSCRIPTION_CREATED: False},
    # A renewal may not name the user whom the checkout names.
    teaches=True,
)
def checkout_completed(event: Event[Checkout], context: Context) -> Iterator[CommerceEvent]:
    checkout = event.object
    order = present(checkout.order, "its order")
    if checkout.subscription or order.type == "recurring":
        # Not its start: subscription.paid reports that, with its money.
        yield CommerceEvent(
            kind=Kind.SUBSCRIPTION_CREATED,
            transactions=(checkout.subscription or checkout.id,),
            subscription_id=checkout.subscription,
            plan_id=order.product,
        )
    elif order.status in (None, "paid"):
        yield CommerceEvent(
            kind=Kind.PURCHASE_COMPLETED,
            # That yen have no decimals is unconfirmed: Creem documents cents.
            money=Money.from_minor(checkout.paid(order), order.currency),
            transactions=known(order.transaction, order.id),
            order_id=order.id,
            items=(Item.product(order.product, checkout.units),) if order.product else (),
        )


# Refunds and disputes


class Returned(Payload):
    """A refund or a dispute."""

    id: Id
    transaction: OptionalId = None
    order: OptionalId = None
    subscription: OptionalId = None

    def event(self, kind: Kind, money: Money) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=(self.id,),
            follows=known(self.transaction, self.order),
            order_id=first(self.order, self.transaction),
            subscription_id=self.subscription,
        )


class Refund(Returned):
    status: str | None = None
    refund_amount: int
    refund_currency: str


@provider.on("refund.created", Kind.PURCHASE_REFUNDED)
def refund_created(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    refund = event.object
    # No event says what became of a refund that is pending. Nearly all of them succeed.
    if refund.status in (None, "succeeded", "pending"):
        money = Money.from_minor(refund.refund_amount, refund.refund_currency)
        yield refund.event(context.kind, money)


class Dispute(Returned):
    amount: int
    currency: str


@provider.on("dispute.created", Kind.DISPUTE_OPENED)
def dispute_created(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    dispute = event.object
    yield dispute.event(context.kind, Money.from_minor(dispute.amount, dispute.currency))


# Subscriptions

# A checkout takes minutes, a trial a day at least, and a period a month.
_AT_ONCE: Final = timedelta(hours=12)


class Transaction(Payload):
    id: Id
    order: OptionalId = None
    # Without taxes, and before discounts.
    amount: int | None = None
    amount_paid: int | None = None
    currency: str | None = None
    created_at: object = None


class Subscription(Payload):
    id: Id
    status: str | None = None
    product: OptionalId = None
    created_at: object = None
    current_period_start_date: object = None
    last_transaction: Transaction | None = None

    def at_once(self, moment: datetime | None) -> bool | None:
        """Whether it is a moment in which the subscription began; None when a time is unknown."""
        created = iso_time(self.created_at)
        return None if moment is None or created is None else moment - created < _AT_ONCE

    def kind(self, paid: Transaction) -> Kind:
        """The kind of a payment. A trial that is not free has a price of its own, and is no period."""
        if self.status == "trialing":
            return Kind.PURCHASE_COMPLETED
        if not self.at_once(iso_time(self.current_period_start_date)):
            return Kind.SUBSCRIPTION_RENEWED
        # A change of the plan is charged within the period, which it does not move (unconfirmed).
        later = self.at_once(epoch_ms(paid.created_at)) is False
        return Kind.SUBSCRIPTION_UPDATED if later else Kind.SUBSCRIPTION_STARTED

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.product,
        )


@provider.on(
    "subscription.paid",
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
    Kind.SUBSCRIPTION_UPDATED,
    Kind.TRIAL_CONVERTED,
    Kind.PURCHASE_COMPLETED,
)
def subscription_paid(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    subscription = event.object
    paid = present(subscription.last_transaction, "its transaction")
    # A trial costs nothing by itself; a discount on everything leaves the amount.
    if paid.amount_paid or paid.amount != 0:
        yield replace(
            subscription.event(subscription.kind(paid), (paid.id,)),
            money=Money.from_minor(paid.amount_paid, paid.currency),
            order_id=first(paid.order, paid.id),
            items=(Item.product(subscription.product),) if subscription.product else (),
        )


@provider.on("subscription.trialing", Kind.TRIAL_STARTED)
# Not its start: subscription.paid reports that, with its money.
@provider.off("subscription.active", Kind.SUBSCRIPTION_CREATED)
@provider.on("subscription.canceled", Kind.SUBSCRIPTION_CANCELLED)
def subscription_began_or_ended(
    event: Event[Subscription], context: Context
) -> Iterator[CommerceEvent]:
    yield event.object.event(context.kind, (event.object.id,))


@provider.on("subscription.past_due", Kind.SUBSCRIPTION_PAYMENT_FAILED)
# It follows on past_due when the payment goes on failing (unconfirmed).
@provider.off("subscription.unpaid", Kind.SUBSCRIPTION_PAYMENT_FAILED)
@provider.on("subscription.scheduled_cancel", Kind.SUBSCRIPTION_CANCEL_SCHEDULED)
# Not final: a later attempt to charge it can succeed.
@provider.on("subscription.expired", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("subscription.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.off("subscription.update", Kind.SUBSCRIPTION_UPDATED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.object.event(context.kind, EACH_TIME)
