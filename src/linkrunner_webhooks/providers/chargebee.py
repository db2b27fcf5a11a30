"""Chargebee webhooks. https://apidocs.chargebee.com/docs/api/events

One action makes five events and more, each with the full resources it touched under `content`; which ones
depends on the type, and optional fields are absent. Amounts are integers in the smallest unit. Plans are
`plan_id` in product catalog 1.0, and the price of an item in 2.0. Nothing is signed: the sender only knows
a password.

Which type reports the money: `payment_succeeded`, whatever was paid, and `payment_refunded`. The types about
transactions share their ids; an invoice says what is owed, and a credit note what is conceded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import Id, OptionalId, Payload, name, parse, unix_time
from linkrunner_webhooks.signatures.tokens import BasicAuth


class Head(Payload):
    id: str
    event_type: str
    occurred_at: int | None = None


def identify(webhook: Webhook) -> Identity:
    """Test sites have webhooks of their own; a body does not say which site it comes from."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.id, "event id"),
        event_type=name(head.event_type, "event type"),
        occurred_at=unix_time(head.occurred_at),
    )


_KEYS = ("linkrunner_user_id", "user_id")
_HOMES = (
    "content.subscription.meta_data.{}",
    "content.customer.meta_data.{}",
    # Custom fields of the site.
    "content.customer.cf_{}",
    "content.subscription.cf_{}",
)
_OWED = "an invoice is what is owed; payment_succeeded reports what is paid"
_CONCEDED = "a credit note pays nothing back; payment_refunded reports what is"
_ELSEWHERE = "it is imported from an app store, whose own source reports it"

provider = Provider(
    name="chargebee",
    title="Chargebee",
    docs="https://apidocs.chargebee.com/docs/api/events",
    signature=BasicAuth(),
    identify=identify,
    user_id=(*(home.format(key) for home in _HOMES for key in _KEYS), "content.customer.id"),
    never={
        "invoice_generated": _OWED,
        "invoice_generated_with_backdating": _OWED,
        "invoice_updated": _OWED,
        "credit_note_created": _CONCEDED,
        "credit_note_created_with_backdating": _CONCEDED,
        "omnichannel_subscription_created": _ELSEWHERE,
        "omnichannel_transaction_created": _ELSEWHERE,
    },
)

T = TypeVar("T")


class Transaction(Payload):
    id: Id
    type: str | None = None
    status: str | None = None
    amount: int
    currency_code: str
    payment_method: str | None = None
    subscription_id: OptionalId = None
    # The payment a refund or a chargeback comes after, under either name (unconfirmed).
    refunded_txn_id: OptionalId = None
    reference_transaction_id: OptionalId = None

    @property
    def money(self) -> Money:
        return Money.from_minor(self.amount, self.currency_code)

    @property
    def follows(self) -> tuple[str, ...]:
        both = (self.refunded_txn_id, self.reference_transaction_id)
        return tuple(dict.fromkeys(id for id in both if id))


class Line(Payload):
    """A plan, an addon or an item price; what is charged ad hoc has no id."""

    entity_id: OptionalId = None
    quantity: int | None = None
    unit_amount: int | None = None
    # Sites with more decimals than the currency has; in major units (unconfirmed).
    unit_amount_in_decimal: Decimal | None = None

    def item(self, currency: str) -> Item:
        return Item(
            content_id=self.entity_id,
            product_id=self.entity_id,
            quantity=1 if self.quantity is None else self.quantity,
            unit_price=self._price(currency),
        )

    def _price(self, currency: str) -> Decimal | None:
        if self.unit_amount_in_decimal is not None or self.unit_amount is None:
            return self.unit_amount_in_decimal
        return Money.from_minor(self.unit_amount, currency).amount


class Invoice(Payload):
    id: Id
    subscription_id: OptionalId = None
    first_invoice: bool | None = None
    recurring: bool | None = None
    line_items: tuple[Line, ...] | None = None


class SubscriptionItem(Payload):
    item_price_id: OptionalId = None
    item_type: str | None = None


class Subscription(Payload):
    id: Id
    status: str | None = None
    plan_id: OptionalId = None
    subscription_items: tuple[SubscriptionItem, ...] | None = None

    @property
    def plan(self) -> str | None:
        """Catalog 1.0 has plans; in 2.0 one of the items is the plan, and others are addons."""
        items = sorted(self.subscription_items or (), key=lambda item: item.item_type != "plan")
        return self.plan_id or next((item.item_price_id for item in items), None)


class CreditNote(Payload):
    reference_invoice_id: OptionalId = None


class Customer(Payload):
    id: Id


class Content(Payload):
    transaction: Transaction | None = None
    invoice: Invoice | None = None
    subscription: Subscription | None = None
    credit_note: CreditNote | None = None
    customer: Customer | None = None

    @property
    def subscription_id(self) -> str | None:
        named = (
            self.subscription and self.subscription.id,
            self.invoice and self.invoice.subscription_id,
            self.transaction and self.transaction.subscription_id,
        )
        return next((id for id in named if id), None)

    @property
    def order_id(self) -> str | None:
        if self.invoice:
            return self.invoice.id
        return self.credit_note.reference_invoice_id if self.credit_note else None

    def paid_for(self) -> Kind:
        """What a payment was for, as its invoice says."""
        if self.invoice and self.subscription_id:
            # The first invoice recurs, too.
            if self.invoice.first_invoice:
                return Kind.SUBSCRIPTION_STARTED
            if self.invoice.recurring:
                return Kind.SUBSCRIPTION_RENEWED
        return Kind.PURCHASE_COMPLETED


class Event(Payload):
    content: Content


def _held(value: T | None) -> T:
    if value is None:
        raise Untranslatable("the event does not contain what it is about")
    return value


def _subscription(content: Content, kind: Kind, *transactions: str) -> CommerceEvent:
    return CommerceEvent(
        kind=kind,
        transactions=transactions,
        subscription_id=content.subscription_id,
        plan_id=content.subscription.plan if content.subscription else None,
    )


def _transaction(content: Content, kind: Kind) -> CommerceEvent:
    transaction = _held(content.transaction)
    return replace(
        _subscription(content, kind, transaction.id),
        money=transaction.money,
        order_id=content.order_id or transaction.id,
        payment_method=transaction.payment_method,
    )


def _payment(content: Content, kind: Kind) -> CommerceEvent:
    lines = content.invoice.line_items if content.invoice else None
    currency = _held(content.transaction).currency_code
    items = tuple(line.item(currency) for line in lines or ())
    return replace(_transaction(content, kind), items=items)


@provider.on(
    "payment_succeeded",
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
    Kind.PURCHASE_COMPLETED,
)
def payment_succeeded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _payment(event.content, event.content.paid_for())


@provider.off("transaction_created", Kind.PURCHASE_COMPLETED)
@provider.off("transaction_updated", Kind.PURCHASE_COMPLETED)
def transaction_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Authorisations, refunds and failures are transactions, too (their names are unconfirmed).
    transaction = _held(event.content.transaction)
    if (transaction.type, transaction.status) == ("payment", "success"):
        yield _payment(event.content, Kind.PURCHASE_COMPLETED)


@provider.on("payment_failed", Kind.SUBSCRIPTION_PAYMENT_FAILED, Kind.PAYMENT_FAILED)
def payment_failed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Not final: each attempt is a transaction of its own.
    of_subscription = event.content.subscription_id is not None
    kind = Kind.SUBSCRIPTION_PAYMENT_FAILED if of_subscription else Kind.PAYMENT_FAILED
    yield _payment(event.content, kind)


@provider.on("payment_refunded", Kind.PURCHASE_REFUNDED)
@provider.off("refund_initiated", Kind.PURCHASE_REFUNDED)
def payment_refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Chargebacks come this way as well, and have no event of their own (unconfirmed).
    refund = _transaction(event.content, Kind.PURCHASE_REFUNDED)
    yield replace(refund, follows=_held(event.content.transaction).follows)


@provider.on("subscription_created", Kind.SUBSCRIPTION_STARTED, Kind.TRIAL_STARTED)
@provider.on("subscription_created_with_backdating", Kind.SUBSCRIPTION_STARTED, Kind.TRIAL_STARTED)
@provider.on("subscription_started", Kind.SUBSCRIPTION_STARTED, Kind.TRIAL_STARTED)
def subscription_began(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # No amount at the start: payment_succeeded brings it. What is to start later will be `started` then.
    subscription = _held(event.content.subscription)
    on_trial = subscription.status == "in_trial"
    if subscription.status != "future":
        kind = Kind.TRIAL_STARTED if on_trial else Kind.SUBSCRIPTION_STARTED
        yield _subscription(event.content, kind, subscription.id)


@provider.on("subscription_activated", Kind.TRIAL_CONVERTED)
@provider.on("subscription_activated_with_backdating", Kind.TRIAL_CONVERTED)
def subscription_activated(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _subscription(event.content, context.kind, _held(event.content.subscription).id)


@provider.off("subscription_renewed", Kind.SUBSCRIPTION_RENEWED)
@provider.off("subscription_changed", Kind.SUBSCRIPTION_UPDATED)
@provider.off("subscription_changed_with_backdating", Kind.SUBSCRIPTION_UPDATED)
@provider.on("subscription_paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription_resumed", Kind.SUBSCRIPTION_RESUMED)
@provider.on("subscription_cancellation_scheduled", Kind.SUBSCRIPTION_CANCEL_SCHEDULED)
@provider.on("subscription_cancelled", Kind.SUBSCRIPTION_CANCELLED)
# Spelt with one l, only here.
@provider.on("subscription_canceled_with_backdating", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription_reactivated", Kind.SUBSCRIPTION_RESUMED)
@provider.on("subscription_reactivated_with_backdating", Kind.SUBSCRIPTION_RESUMED)
@provider.off("subscription_trial_end_reminder", Kind.TRIAL_ENDING)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # These happen more than once in a subscription's life. A renewal's amount comes with its payment; where
    # that is made outside Chargebee, the renewal is all there is.
    _held(event.content.subscription)
    yield _subscription(event.content, context.kind)


@provider.off("customer_created", Kind.CUSTOMER_CREATED)
def customer_created(event: Event, context: Context) -> Iterator[CommerceEvent]:
    customer = _held(event.content.customer)
    yield CommerceEvent(kind=Kind.CUSTOMER_CREATED, transactions=(customer.id,))
