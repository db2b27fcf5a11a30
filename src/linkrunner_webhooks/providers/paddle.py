"""Paddle Billing notifications. https://developer.paddle.com/webhooks/overview

Paddle Classic is another product, whose alerts are form-encoded. Amounts are texts in the smallest unit, and
nearly every field can be null. Adjustments (refunds, chargebacks) have no custom_data: their user is the one
who paid the transaction. A trial starts with a free transaction, which is completed like any other.

Which type reports the money: `transaction.completed`, whatever made the transaction. `transaction.paid` is
the same transaction before Paddle has finished with it, and often before it names its subscription.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Generic, TypeVar

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money, major
from linkrunner_webhooks.provider import Context, Provider, Role
from linkrunner_webhooks.reading import (
    EACH_TIME,
    USER_KEYS,
    Detail,
    Id,
    Lines,
    OptionalId,
    Payload,
    Pieces,
    first,
    homes,
    iso_time,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import TimestampedHmac

_CLASSIC = re.compile(rb"(?:^|&)alert_name=")
_SIMULATED = "ntfsimevt_"


class Head(Payload):
    event_id: str
    event_type: str
    occurred_at: object = None


def identify(webhook: Webhook) -> Identity:
    """Nothing tells sandbox from live, but the simulator's events have ids of their own."""
    if _CLASSIC.search(webhook.body):
        raise Malformed("this is an alert of Paddle Classic; only Paddle Billing is understood")
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.event_id, "event id"),
        event_type=name(head.event_type, "event type"),
        occurred_at=iso_time(head.occurred_at),
        test=head.event_id.startswith(_SIMULATED),
    )


provider = Provider(
    name="paddle",
    title="Paddle",
    docs="https://developer.paddle.com/webhooks/overview",
    role=Role.SELLER,
    signature=TimestampedHmac(
        header="paddle-signature",
        timestamp="ts",
        signature="h1",
        separator=";",
        joiner=":",
        begins="pdl_ntfset_",
    ),
    identify=identify,
    # Not data.customer_id: adjustments have nothing else, and it would hide the user who paid.
    user_id=homes("data.custom_data.{}", keys=(*USER_KEYS, "customer_id")),
    customer_ids=("starts_with(event_type, 'customer.') && data.id", "data.customer_id"),
    unique_ids=True,
    never={
        "transaction.updated": "it repeats the whole transaction at every change of it",
        "transaction.revised": "it corrects the customer's details and moves no money",
        "invoice.paid": "transaction.completed reports the same money",
        "subscription.imported": "it reports a migration and nothing that a customer did",
        "customer.imported": "it reports a migration and nothing that a customer did",
    },
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    data: T


class Period(Payload):
    # It becomes part of a key, so it is bounded like an id.
    starts_at: OptionalId = None


def _due(subscription_id: str | None, period: Period | None) -> tuple[str, ...]:
    """An id for the payment of one period; the subscription and the transaction both lead to it."""
    starts_at = period.starts_at if period else None
    return (f"{subscription_id}:{starts_at}",) if subscription_id and starts_at else ()


# Payments


class Totals(Payload):
    """`grand_total` is what was paid, taxes included, after credit; `subtotal` is before discounts."""

    subtotal: int | None = None
    total: int | None = None
    grand_total: int | None = None
    currency_code: str | None = None


class Product(Payload):
    id: OptionalId = None


class Line(Payload):
    product: Product | None = None
    price_id: OptionalId = None
    quantity: Pieces = None
    unit_totals: Detail[Totals] = None

    def item(self, currency: str) -> Item:
        product_id = self.product.id if self.product else None
        return Item.product(product_id, self.quantity, self.unit_price(currency))

    def unit_price(self, currency: str) -> Decimal | None:
        total = self.unit_totals.total if self.unit_totals else None
        return None if total is None else major(total, currency)


class Details(Payload):
    totals: Totals | None = None
    line_items: Lines[Line]


class Method(Payload):
    type: str | None = None


class Payment(Payload):
    status: str | None = None
    method_details: Method | None = None


class Transaction(Payload):
    id: Id
    origin: str | None = None
    currency_code: str | None = None
    subscription_id: OptionalId = None
    billing_period: Period | None = None
    details: Details | None = None
    payments: tuple[Payment, ...] | None = None

    @property
    def of_a_checkout(self) -> bool:
        return not (self.origin or "").startswith("subscription_")

    @property
    def totals(self) -> Totals:
        return (self.details and self.details.totals) or Totals()

    @property
    def starts_trial(self) -> bool:
        """Whether the first period costs nothing by itself. A discount leaves the subtotal."""
        started = self.subscription_id is not None and self.of_a_checkout
        return started and not self.totals.grand_total and not self.totals.subtotal

    @property
    def money(self) -> Money:
        totals = self.totals
        return Money.from_minor(totals.grand_total, self.currency_code or totals.currency_code)

    @property
    def method(self) -> str | None:
        """The method of the attempt that was captured, else of the newest one, which comes first."""
        attempts = self.payments or ()
        captured = [attempt for attempt in attempts if attempt.status == "captured"]
        method = next(iter(captured or attempts), Payment()).method_details
        return method.type if method else None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        money, lines = self.money, self.details.line_items if self.details else ()
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=self.id,
            subscription_id=self.subscription_id,
            plan_id=first(*(line.price_id for line in lines)) if self.subscription_id else None,
            items=tuple(line.item(money.currency) for line in lines),
            payment_method=self.method,
        )


_ORIGINS = {
    "subscription_recurring": Kind.SUBSCRIPTION_RENEWED,
    "subscription_update": Kind.SUBSCRIPTION_UPDATED,
    "subscription_charge": Kind.SUBSCRIPTION_UPDATED,
}
_PAID = (
    Kind.PURCHASE_COMPLETED,
    Kind.SUBSCRIPTION_STARTED,
    *dict.fromkeys(_ORIGINS.values()),
    Kind.TRIAL_CONVERTED,
)


def _kind(transaction: Transaction) -> Kind:
    other = Kind.SUBSCRIPTION_STARTED if transaction.subscription_id else Kind.PURCHASE_COMPLETED
    return _ORIGINS.get(transaction.origin or "", other)


@provider.on("transaction.completed", *_PAID)
@provider.off("transaction.paid", *_PAID)
def transaction_paid(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    transaction, kind = event.data, _kind(event.data)
    # subscription.trialing reports a trial.
    changes_card = transaction.origin == "subscription_payment_method_change"
    if not (changes_card or transaction.starts_trial):
        yield transaction.event(kind, (transaction.id,))


@provider.on("transaction.payment_failed", Kind.PAYMENT_FAILED)
def payment_failed(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    # One event per attempt: the transaction can fail several times.
    yield event.data.event(context.kind, EACH_TIME)


@provider.off("transaction.past_due", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def transaction_past_due(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    # subscription.past_due reports the same, under the same id.
    transaction = event.data
    due = _due(transaction.subscription_id, transaction.billing_period)
    yield transaction.event(context.kind, due or (transaction.id,))


@provider.off("transaction.billed", Kind.INVOICE_ISSUED)
def transaction_billed(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, (event.data.id,))


# Refunds and disputes


class Adjustment(Payload):
    id: Id
    action: str
    status: str | None = None
    currency_code: str | None = None
    transaction_id: OptionalId = None
    subscription_id: OptionalId = None
    totals: Totals | None = None

    @property
    def money(self) -> Money:
        totals = self.totals or Totals()
        return Money.from_minor(totals.total, self.currency_code or totals.currency_code)

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=self.money,
            transactions=(self.id,),
            follows=known(self.transaction_id),
            order_id=self.transaction_id,
            subscription_id=self.subscription_id,
        )


_ACTIONS = {
    "refund": Kind.PURCHASE_REFUNDED,
    "chargeback": Kind.DISPUTE_OPENED,
    "chargeback_reverse": Kind.DISPUTE_WON,
    "chargeback_warning": Kind.DISPUTE_WARNING,
}


@provider.on("adjustment.created", *_ACTIONS.values())
@provider.on("adjustment.updated", *_ACTIONS.values())
def adjusted(event: Event[Adjustment], context: Context) -> Iterator[CommerceEvent]:
    adjustment = event.data
    # A refund is created pending, and an update approves it (unconfirmed); a small one is created approved.
    # A credit pays no money back.
    if adjustment.status == "approved" and adjustment.action in _ACTIONS:
        yield adjustment.event(_ACTIONS[adjustment.action])


# Checkouts


@provider.off("transaction.created", Kind.CHECKOUT_STARTED)
@provider.off("transaction.ready", Kind.CHECKOUT_STARTED)
@provider.off("transaction.canceled", Kind.CHECKOUT_ABANDONED)
def checkout_changed(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    # A transaction that a subscription makes has no checkout.
    if event.data.of_a_checkout:
        yield event.data.event(context.kind, (event.data.id,))


# Subscriptions


class Price(Payload):
    id: OptionalId = None


class SubscriptionItem(Payload):
    price: Price | None = None


class Scheduled(Payload):
    action: str | None = None
    effective_at: OptionalId = None


class Subscription(Payload):
    id: Id
    status: str | None = None
    transaction_id: OptionalId = None
    scheduled_change: Scheduled | None = None
    current_billing_period: Period | None = None
    items: tuple[SubscriptionItem, ...] | None = None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            follows=known(self.transaction_id),
            subscription_id=self.id,
            plan_id=first(*(item.price.id for item in self.items or () if item.price)),
        )


@provider.off("subscription.created", Kind.SUBSCRIPTION_CREATED, Kind.TRIAL_STARTED)
@provider.off("subscription.activated", Kind.SUBSCRIPTION_CREATED)
def subscription_created(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # Not its start, nor the end of a trial: transaction.completed reports those, with their money.
    trialing = event.data.status == "trialing"
    kind = Kind.TRIAL_STARTED if trialing else Kind.SUBSCRIPTION_CREATED
    yield event.data.event(kind, (event.data.id,))


@provider.on("subscription.trialing", Kind.TRIAL_STARTED)
@provider.on("subscription.canceled", Kind.SUBSCRIPTION_CANCELLED)
def subscription_began_or_ended(
    event: Event[Subscription], context: Context
) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, (event.data.id,))


@provider.on("subscription.past_due", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def subscription_past_due(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    due = _due(event.data.id, event.data.current_billing_period)
    yield event.data.event(context.kind, due)


@provider.on("subscription.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription.resumed", Kind.SUBSCRIPTION_RESUMED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, EACH_TIME)


_SCHEDULED = {
    "cancel": Kind.SUBSCRIPTION_CANCEL_SCHEDULED,
    "pause": Kind.SUBSCRIPTION_PAUSE_SCHEDULED,
}


@provider.off("subscription.updated", Kind.SUBSCRIPTION_UPDATED, *_SCHEDULED.values())
def subscription_updated(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # Never money: a renewal that fails sends an update to "active" first.
    subscription, change = event.data, event.data.scheduled_change or Scheduled()
    kind = _SCHEDULED.get(change.action or "")
    if kind is None:
        yield subscription.event(Kind.SUBSCRIPTION_UPDATED, EACH_TIME)
    else:
        # Every update until effective_at repeats the scheduled change.
        yield subscription.event(kind, (f"{subscription.id}:{change.effective_at or kind}",))


# Customers


class Customer(Payload):
    id: Id


@provider.off("customer.created", Kind.CUSTOMER_CREATED)
def customer_created(event: Event[Customer], context: Context) -> Iterator[CommerceEvent]:
    yield CommerceEvent(kind=context.kind, transactions=(event.data.id,))
