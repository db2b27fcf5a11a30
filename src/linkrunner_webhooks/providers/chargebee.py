"""Chargebee webhooks. https://apidocs.chargebee.com/docs/api/events

One action sends five events or more. Each event has the full resources that it touched under `content`; its
type decides which ones. Optional fields are absent, not null. Amounts are integers in the smallest unit. A
plan is a `plan_id` in product catalog 1.0, and an `item_price_id` in 2.0. Nothing is signed: a user name and
a password authenticate the sender.

Which type reports the money: `payment_succeeded`, whatever was paid, and `payment_refunded`. All types about
one transaction share its id. Invoices say how much is owed, and credit notes how much is conceded: neither
moves money.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money, major
from linkrunner_webhooks.provider import Context, Provider, Role
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Id,
    Lines,
    MinorPrice,
    OptionalId,
    Payload,
    Pieces,
    Price,
    first,
    homes,
    known,
    name,
    parse,
    present,
    unix_time,
)
from linkrunner_webhooks.signatures.tokens import BasicAuth


class Head(Payload):
    id: str
    event_type: str
    occurred_at: object = None


def identify(webhook: Webhook) -> Identity:
    """A test site has webhooks of its own; the body does not name its site."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.id, "event id"),
        event_type=name(head.event_type, "event type"),
        occurred_at=unix_time(head.occurred_at),
    )


_OWED = "an invoice is what is owed; payment_succeeded reports what is paid"
_CONCEDED = "a credit note pays nothing back; payment_refunded reports what is"
_ELSEWHERE = "it is imported from an app store, whose own source reports it"

provider = Provider(
    name="chargebee",
    title="Chargebee",
    docs="https://apidocs.chargebee.com/docs/api/events",
    role=Role.BILLING,
    signature=BasicAuth(),
    identify=identify,
    user_id=(
        *homes(
            "content.subscription.meta_data.{}",
            "content.customer.meta_data.{}",
            # Custom fields of the site.
            "content.customer.cf_{}",
            "content.subscription.cf_{}",
        ),
    ),
    # Chargebee makes it up, unless the merchant gave one of their own.
    customer_ids=("content.customer.id",),
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


class Transaction(Payload):
    id: Id
    type: str | None = None
    status: str | None = None
    amount: int
    currency_code: str
    payment_method: str | None = None
    subscription_id: OptionalId = None
    # A refund or a chargeback names its payment under one of these (unconfirmed).
    refunded_txn_id: OptionalId = None
    reference_transaction_id: OptionalId = None

    @property
    def paid(self) -> bool:
        """Whether it is a payment that succeeded, as far as the body says."""
        return self.type in (None, "payment") and self.status in (None, "success")

    @property
    def failed(self) -> bool:
        return self.status in ("failure", "timeout", "voided")

    @property
    def follows(self) -> tuple[str, ...]:
        return known(self.refunded_txn_id, self.reference_transaction_id)


class Line(Payload):
    """A plan, an addon or an item price; an ad-hoc charge has no id."""

    entity_id: OptionalId = None
    quantity: Pieces = None
    unit_amount: MinorPrice = None
    # In major units (unconfirmed), on sites with more decimals than the currency has.
    unit_amount_in_decimal: Price = None

    def item(self, currency: str) -> Item:
        return Item.product(self.entity_id, self.quantity, self.price(currency))

    def price(self, currency: str) -> Decimal | None:
        if self.unit_amount_in_decimal is not None or self.unit_amount is None:
            return self.unit_amount_in_decimal
        return major(self.unit_amount, currency)


class Invoice(Payload):
    id: Id
    subscription_id: OptionalId = None
    first_invoice: bool | None = None
    recurring: bool | None = None
    sub_total: MinorPrice = None
    total: MinorPrice = None
    line_items: Lines[Line]

    @property
    def free(self) -> bool:
        """Whether a discount made it free. A trial has no invoice, or one of nothing."""
        return self.total == 0 and bool(self.sub_total)


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
        """In catalog 2.0 one of the items is the plan; the others are addons."""
        items = sorted(self.subscription_items or (), key=lambda item: item.item_type != "plan")
        return self.plan_id or next((item.item_price_id for item in items), None)

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan,
        )


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


class Event(Payload):
    content: Content

    @property
    def transaction(self) -> Transaction:
        return present(self.content.transaction, "its transaction")

    @property
    def subscription(self) -> Subscription:
        return present(self.content.subscription, "its subscription")

    @property
    def subscription_id(self) -> str | None:
        content = self.content
        return first(
            content.subscription.id if content.subscription else None,
            content.invoice.subscription_id if content.invoice else None,
            content.transaction.subscription_id if content.transaction else None,
        )

    @property
    def order_id(self) -> str | None:
        invoice, credit_note = self.content.invoice, self.content.credit_note
        if invoice:
            return invoice.id
        return credit_note.reference_invoice_id if credit_note else None

    @property
    def items(self) -> tuple[Item, ...]:
        lines = self.content.invoice.line_items if self.content.invoice else ()
        return tuple(line.item(self.transaction.currency_code) for line in lines)

    def event(self, kind: Kind) -> CommerceEvent:
        transaction, subscription = self.transaction, self.content.subscription
        return CommerceEvent(
            kind=kind,
            money=Money.from_minor(transaction.amount, transaction.currency_code),
            transactions=(transaction.id,),
            order_id=self.order_id or transaction.id,
            subscription_id=self.subscription_id,
            plan_id=subscription.plan if subscription else None,
            payment_method=transaction.payment_method,
        )


# Payments


def _kind(event: Event) -> Kind:
    """The kind of a payment, as its invoice says."""
    invoice = event.content.invoice
    if invoice is None or event.subscription_id is None:
        return Kind.PURCHASE_COMPLETED
    # The first invoice is recurring, too.
    if invoice.first_invoice:
        return Kind.SUBSCRIPTION_STARTED
    return Kind.SUBSCRIPTION_RENEWED if invoice.recurring else Kind.PURCHASE_COMPLETED


_PAID = (
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
    Kind.TRIAL_CONVERTED,
    Kind.PURCHASE_COMPLETED,
)


@provider.on("payment_succeeded", *_PAID)
def payment_succeeded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    if event.transaction.paid:
        yield replace(event.event(_kind(event)), items=event.items)


@provider.off("transaction_created", Kind.PURCHASE_COMPLETED)
@provider.off("transaction_updated", Kind.PURCHASE_COMPLETED)
def transaction_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Authorisations, refunds and failures are transactions, too (their names are unconfirmed).
    if (event.transaction.type, event.transaction.status) == ("payment", "success"):
        yield replace(event.event(context.kind), items=event.items)


@provider.on("payment_failed", Kind.SUBSCRIPTION_PAYMENT_FAILED, Kind.PAYMENT_FAILED)
def payment_failed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Not final: each attempt is a transaction of its own.
    kind = Kind.SUBSCRIPTION_PAYMENT_FAILED if event.subscription_id else Kind.PAYMENT_FAILED
    yield replace(event.event(kind), items=event.items)


# Refunds and disputes


@provider.on("payment_refunded", Kind.PURCHASE_REFUNDED)
@provider.off("refund_initiated", Kind.PURCHASE_REFUNDED)
def payment_refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # A chargeback comes as this type too: it has no type of its own (unconfirmed).
    if not event.transaction.failed:
        yield replace(event.event(context.kind), follows=event.transaction.follows)


# Subscriptions


_BEGAN = (Kind.TRIAL_STARTED, Kind.SUBSCRIPTION_STARTED)
_UNPAID = {Kind.SUBSCRIPTION_CREATED: False}


@provider.on("subscription_created", *_BEGAN, besides=_UNPAID)
@provider.on("subscription_created_with_backdating", *_BEGAN, besides=_UNPAID)
@provider.on("subscription_started", *_BEGAN, besides=_UNPAID)
def subscription_began(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # A future subscription sends subscription_started later.
    subscription, invoice = event.subscription, event.content.invoice
    if subscription.status == "future":
        return
    # Not its start: payment_succeeded reports that, with its money, unless there is nothing to pay.
    kind = Kind.SUBSCRIPTION_STARTED if invoice and invoice.free else Kind.SUBSCRIPTION_CREATED
    on_trial = subscription.status == "in_trial"
    yield subscription.event(Kind.TRIAL_STARTED if on_trial else kind, (subscription.id,))


# Not the end of a trial: payment_succeeded reports whether anybody pays.
@provider.off("subscription_activated", Kind.SUBSCRIPTION_CREATED)
@provider.off("subscription_activated_with_backdating", Kind.SUBSCRIPTION_CREATED)
def subscription_activated(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.subscription.event(context.kind, (event.subscription.id,))


# A renewal's amount comes with payment_succeeded; a payment outside Chargebee sends the renewal only.
@provider.off("subscription_renewed", Kind.SUBSCRIPTION_RENEWED)
@provider.off("subscription_changed", Kind.SUBSCRIPTION_UPDATED)
@provider.off("subscription_changed_with_backdating", Kind.SUBSCRIPTION_UPDATED)
@provider.on("subscription_paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription_resumed", Kind.SUBSCRIPTION_RESUMED)
@provider.on("subscription_cancellation_scheduled", Kind.SUBSCRIPTION_CANCEL_SCHEDULED)
@provider.on("subscription_scheduled_cancellation_removed", Kind.SUBSCRIPTION_REACTIVATED)
@provider.on("subscription_cancelled", Kind.SUBSCRIPTION_CANCELLED)
# Spelt with one l, only here.
@provider.on("subscription_canceled_with_backdating", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription_reactivated", Kind.SUBSCRIPTION_RESUMED)
@provider.on("subscription_reactivated_with_backdating", Kind.SUBSCRIPTION_RESUMED)
@provider.off("subscription_trial_end_reminder", Kind.TRIAL_ENDING)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.subscription.event(context.kind, EACH_TIME)


# Customers


@provider.off("customer_created", Kind.CUSTOMER_CREATED)
def customer_created(event: Event, context: Context) -> Iterator[CommerceEvent]:
    customer = present(event.content.customer, "its customer")
    yield CommerceEvent(kind=context.kind, transactions=(customer.id,))
