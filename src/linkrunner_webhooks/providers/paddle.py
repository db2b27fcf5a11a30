"""Paddle Billing notifications. https://developer.paddle.com/webhooks/overview

Not Paddle Classic, whose form-encoded alerts are another product. Amounts are texts in the smallest unit, and
nearly every field can be null. Adjustments (refunds, chargebacks) carry no custom_data: their user is the one
who paid the transaction. The free first transaction of a trial is completed, too, with nothing to pay.

Which type reports the money: `transaction.completed`, whatever made the transaction. `transaction.paid` is
the same one before Paddle has finished with it, and often before it names its subscription.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import Id, OptionalId, Payload, iso_time, known, name, parse
from linkrunner_webhooks.signatures.hmacs import TimestampedHmac

_CLASSIC = re.compile(rb"(?:^|&)alert_name=")
_SIMULATED = "ntfsimevt_"


class Head(Payload):
    event_id: str
    event_type: str
    occurred_at: str | None = None


def identify(webhook: Webhook) -> Identity:
    """Sandbox and live cannot be told apart, but the simulator's events have ids of their own."""
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
    signature=TimestampedHmac(
        header="paddle-signature", timestamp="ts", signature="h1", separator=";", joiner=":"
    ),
    identify=identify,
    # Not data.customer_id: adjustments have nothing else, and it would hide the user who paid.
    user_id=(
        "data.custom_data.linkrunner_user_id",
        "data.custom_data.user_id",
        "data.custom_data.userId",
        "data.custom_data.customer_id",
    ),
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
    # Part of a key, and bounded like one.
    starts_at: OptionalId = None


def _due(subscription_id: str | None, period: Period | None) -> tuple[str, ...]:
    """What a subscription owes for one period, as both the subscription and the transaction name it."""
    starts_at = period.starts_at if period else None
    return (f"{subscription_id}:{starts_at}",) if subscription_id and starts_at else ()


# Transactions


class Totals(Payload):
    """`grand_total` is what was paid, taxes included, after credit; `total` is before credit."""

    total: int | None = None
    grand_total: int | None = None
    currency_code: str | None = None


class Product(Payload):
    id: OptionalId = None


class Line(Payload):
    product: Product | None = None
    price_id: OptionalId = None
    quantity: int | None = None
    unit_totals: Totals | None = None

    def item(self, currency: str) -> Item:
        product_id = self.product.id if self.product else None
        price = self.unit_totals.total if self.unit_totals else None
        return Item(
            content_id=product_id,
            product_id=product_id,
            quantity=1 if self.quantity is None else self.quantity,
            unit_price=None if price is None else Money.from_minor(price, currency).amount,
        )


class Details(Payload):
    totals: Totals | None = None
    line_items: tuple[Line, ...] | None = None


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
    def money(self) -> Money:
        totals = (self.details and self.details.totals) or Totals()
        currency = self.currency_code or totals.currency_code
        if totals.grand_total is None or currency is None:
            raise Untranslatable("the transaction has no total or no currency")
        return Money.from_minor(totals.grand_total, currency)

    @property
    def method(self) -> str | None:
        """The newest attempt comes first; what paid is the one that was captured."""
        attempts = self.payments or ()
        captured = [attempt for attempt in attempts if attempt.status == "captured"]
        method = next(iter(captured or attempts), Payment()).method_details
        return method.type if method else None

    def event(self, kind: Kind, *transactions: str) -> CommerceEvent:
        money, lines = self.money, (self.details and self.details.line_items) or ()
        prices = (line.price_id for line in lines if line.price_id)
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=self.id,
            subscription_id=self.subscription_id,
            plan_id=next(prices, None) if self.subscription_id else None,
            items=tuple(line.item(money.currency) for line in lines),
            payment_method=self.method,
        )


_ORIGINS = {
    "subscription_recurring": Kind.SUBSCRIPTION_RENEWED,
    "subscription_update": Kind.SUBSCRIPTION_UPDATED,
    "subscription_charge": Kind.SUBSCRIPTION_UPDATED,
}
_PAID = (Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_STARTED, *dict.fromkeys(_ORIGINS.values()))


@provider.on("transaction.completed", *_PAID)
@provider.off("transaction.paid", *_PAID)
def transaction_paid(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    transaction = event.data
    if transaction.origin == "subscription_payment_method_change":
        return
    bought = Kind.SUBSCRIPTION_STARTED if transaction.subscription_id else Kind.PURCHASE_COMPLETED
    kind = _ORIGINS.get(transaction.origin or "", bought)
    # Trials and periods covered by credit cost nothing; subscription.* reports what began.
    if transaction.money.amount or kind is Kind.PURCHASE_COMPLETED:
        yield transaction.event(kind, transaction.id)


@provider.on("transaction.payment_failed", Kind.PAYMENT_FAILED)
def payment_failed(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    # One event per attempt, so the transaction is not the fact.
    yield event.data.event(Kind.PAYMENT_FAILED)


@provider.off("transaction.past_due", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def transaction_past_due(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    # subscription.past_due reports the same, by the subscription and its period.
    transaction = event.data
    due = _due(transaction.subscription_id, transaction.billing_period) or (transaction.id,)
    yield transaction.event(Kind.SUBSCRIPTION_PAYMENT_FAILED, *due)


@provider.off("transaction.billed", Kind.INVOICE_ISSUED)
def transaction_billed(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(Kind.INVOICE_ISSUED, event.data.id)


@provider.off("transaction.created", Kind.CHECKOUT_STARTED)
@provider.off("transaction.ready", Kind.CHECKOUT_STARTED)
@provider.off("transaction.canceled", Kind.CHECKOUT_ABANDONED)
def checkout_changed(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    # Subscriptions make transactions of their own, and nobody stands at a checkout then.
    if event.data.of_a_checkout:
        yield event.data.event(context.kind, event.data.id)


# Subscriptions


class Price(Payload):
    id: OptionalId = None
    trial_period: object = None


class SubscriptionItem(Payload):
    price: Price | None = None
    trial_dates: object = None

    @property
    def tried(self) -> bool:
        # Whether trial_dates outlive the trial is unconfirmed; the price still says that it has one.
        return bool(self.trial_dates or (self.price and self.price.trial_period))


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

    @property
    def tried(self) -> bool:
        return any(item.tried for item in self.items or ())

    def event(self, kind: Kind, *transactions: str) -> CommerceEvent:
        prices = (item.price.id for item in self.items or () if item.price and item.price.id)
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            follows=known(self.transaction_id),
            subscription_id=self.id,
            plan_id=next(prices, None),
        )


@provider.off("subscription.created", Kind.TRIAL_STARTED, Kind.SUBSCRIPTION_STARTED)
def subscription_created(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # The twin of subscription.trialing or subscription.activated, one of which comes with it.
    trialing = event.data.status == "trialing"
    kind = Kind.TRIAL_STARTED if trialing else Kind.SUBSCRIPTION_STARTED
    yield event.data.event(kind, event.data.id)


@provider.on("subscription.trialing", Kind.TRIAL_STARTED)
@provider.on("subscription.canceled", Kind.SUBSCRIPTION_CANCELLED)
def subscription_began_or_ended(
    event: Event[Subscription], context: Context
) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, event.data.id)


@provider.on("subscription.activated", Kind.SUBSCRIPTION_STARTED, Kind.TRIAL_CONVERTED)
def subscription_activated(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # No amount: transaction.completed brings it.
    kind = Kind.TRIAL_CONVERTED if event.data.tried else Kind.SUBSCRIPTION_STARTED
    yield event.data.event(kind, event.data.id)


@provider.on("subscription.past_due", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def subscription_past_due(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    due = _due(event.data.id, event.data.current_billing_period)
    yield event.data.event(Kind.SUBSCRIPTION_PAYMENT_FAILED, *due)


@provider.on("subscription.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription.resumed", Kind.SUBSCRIPTION_RESUMED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # These happen more than once in a subscription's life.
    yield event.data.event(context.kind)


_SCHEDULED = {
    "cancel": Kind.SUBSCRIPTION_CANCEL_SCHEDULED,
    "pause": Kind.SUBSCRIPTION_PAUSE_SCHEDULED,
}


@provider.off("subscription.updated", Kind.SUBSCRIPTION_UPDATED, *_SCHEDULED.values())
def subscription_updated(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # Never money: a renewal that fails is announced with an update to "active" first.
    subscription, change = event.data, event.data.scheduled_change or Scheduled()
    kind = _SCHEDULED.get(change.action or "")
    if kind is None:
        yield subscription.event(Kind.SUBSCRIPTION_UPDATED)
    else:
        # Every update until then repeats what is scheduled.
        yield subscription.event(kind, f"{subscription.id}:{change.effective_at or kind}")


# Adjustments


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
        currency = self.currency_code or totals.currency_code
        if totals.total is None or currency is None:
            raise Untranslatable("the adjustment has no total or no currency")
        return Money.from_minor(totals.total, currency)


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
    # A refund waits for Paddle's approval, so it is created pending and approved by an update (unconfirmed);
    # a small one is approved at once. Credits are no money that comes back.
    if adjustment.status == "approved" and adjustment.action in _ACTIONS:
        yield CommerceEvent(
            kind=_ACTIONS[adjustment.action],
            money=adjustment.money,
            transactions=(adjustment.id,),
            follows=known(adjustment.transaction_id),
            order_id=adjustment.transaction_id,
            subscription_id=adjustment.subscription_id,
        )


class Customer(Payload):
    id: Id


@provider.off("customer.created", Kind.CUSTOMER_CREATED)
def customer_created(event: Event[Customer], context: Context) -> Iterator[CommerceEvent]:
    yield CommerceEvent(kind=Kind.CUSTOMER_CREATED, transactions=(event.data.id,))
