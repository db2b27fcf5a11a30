"""Stripe snapshot events. https://docs.stripe.com/webhooks and https://docs.stripe.com/api/events/types

The endpoint's pinned API version decides the shape of a body, so fields that moved in 2025-03-31 are read in
both places. Amounts are integers in the smallest unit. Any id may arrive as the expanded object.

Which type reports the money: Checkout sessions in mode `payment`, `charge.captured` for payments that are
captured by hand, and `invoice.paid` for everything that is invoiced. The other reports of the same money are
off. They share its transaction ids where the body has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import Field

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, SamePayment, Webhook
from linkrunner_webhooks.money import Money, major
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    Lines,
    MinorPrice,
    OptionalId,
    Payload,
    Pieces,
    dispute_kind,
    first,
    homes,
    iso_time,
    known,
    name,
    parse,
    unix_time,
)
from linkrunner_webhooks.signatures.hmacs import TimestampedHmac

# https://docs.stripe.com/currencies: ISK keeps two decimals for compatibility, MGA is listed as having none.
_EXPONENTS = {"ISK": 2, "MGA": 0}


class Head(Payload):
    id: str
    type: str
    form: str | None = Field(default=None, validation_alias="object")
    created: object = None
    livemode: Detail[bool] = None


def identify(webhook: Webhook) -> Identity:
    """Thin events (`v2.core.event`) have an id and a type, too, but no object: nothing can be read from them.

    A thin event writes its time in ISO 8601, a snapshot event in unix seconds.
    """
    head = parse(Head, webhook)
    created = head.created
    return Identity(
        event_id=name(head.id, "event id"),
        event_type=name(head.type, "event type"),
        occurred_at=unix_time(created) if isinstance(created, int) else iso_time(created),
        test=head.livemode is False,
        thin=head.form == "v2.core.event",
    )


class StripeOptions(Options):
    """`minor_units`: decimals of currencies your account sends otherwise than documented, e.g. UGX = 2.

    `out_of_band`: report invoices that were paid outside Stripe. Off, because most of them are receipts of
    payments that something else reports.

    Stripe's list of zero-decimal currencies and its special cases disagree about UGX (unconfirmed).
    """

    minor_units: dict[str, int] = Field(default_factory=dict)
    out_of_band: bool = False


provider = Provider(
    name="stripe",
    title="Stripe",
    docs="https://docs.stripe.com/webhooks",
    signature=TimestampedHmac(header="stripe-signature", begins="whsec_"),
    identify=identify,
    user_id=(
        "data.object.client_reference_id",
        *homes(
            "data.object.metadata.{}",
            "data.object.parent.subscription_details.metadata.{}",
            "data.object.subscription_details.metadata.{}",
            "data.object.lines.data[].metadata.{}",
        ),
    ),
    # Expanded or not.
    customer_ids=("data.object.customer.id", "data.object.customer"),
    options=StripeOptions,
    unique_ids=True,
    never={
        "charge.refund.updated": "charge.refunded reports the same refund",
        "refund.created": "charge.refunded reports the same refund",
        "refund.updated": "charge.refunded reports the same refund",
    },
)

T = TypeVar("T", bound=Payload)


class Price(Payload):
    id: OptionalId = None
    product: OptionalId = None
    unit_amount: MinorPrice = None


class SubscriptionItem(Payload):
    """`plan` is the older name of `price`."""

    id: OptionalId = None
    price: Price | None = None
    plan: Price | None = None
    quantity: Pieces = None

    @property
    def price_id(self) -> str | None:
        price = self.price or self.plan
        return price.id if price else None

    def differs(self, old: SubscriptionItem) -> bool:
        return (old.price_id or self.price_id, old.quantity or self.quantity) != (
            self.price_id,
            self.quantity,
        )


class SubscriptionItems(Payload):
    data: tuple[SubscriptionItem, ...] = ()


class Previous(Payload):
    """`previous_attributes`: only the keys that changed, with their old values."""

    amount_refunded: int | None = None
    captured: bool | None = None
    cancel_at: object = None
    cancel_at_period_end: bool | None = None
    pause_collection: object = None
    items: SubscriptionItems | None = None

    def was(self, *keys: str) -> bool | None:
        """Whether any of the keys had a value before; None when none of them changed."""
        changed = self.model_fields_set.intersection(keys)
        return any(getattr(self, key) for key in changed) if changed else None


class Data(Payload, Generic[T]):
    object: T
    previous_attributes: Previous | None = None

    @property
    def previous(self) -> Previous:
        return self.previous_attributes or Previous()


class Event(Payload, Generic[T]):
    data: Data[T]


class Metadata(Payload):
    order_id: OptionalId = None


def _money(amount: int | None, currency: str | None, context: Context) -> Money:
    return Money.from_minor(amount, currency, _exponents(context))


def _exponents(context: Context) -> dict[str, int]:
    minor_units: dict[str, int] = context.options.minor_units
    return _EXPONENTS | minor_units


def _order(metadata: Metadata | None, *ids: str | None) -> str | None:
    """The merchant's own order id where the metadata has one, else the first of Stripe's."""
    return first(metadata.order_id if metadata else None, *ids)


def _only(methods: tuple[str, ...] | None) -> str | None:
    """The list names allowed methods; with one entry, it is the method used."""
    return methods[0] if methods and len(methods) == 1 else None


# Checkouts


class Session(Payload):
    id: Id
    mode: str | None = None
    payment_status: str | None = None
    amount_total: int | None = None
    currency: str | None = None
    payment_intent: OptionalId = None
    invoice: OptionalId = None
    subscription: OptionalId = None
    metadata: Metadata | None = None
    payment_method_types: tuple[str, ...] | None = None

    def event(
        self, kind: Kind, transactions: tuple[str, ...], money: Money | None
    ) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=_order(self.metadata, self.payment_intent, self.id),
            subscription_id=self.subscription,
            payment_method=_only(self.payment_method_types),
        )

    def purchase(self, context: Context) -> CommerceEvent:
        # invoice.paid reports the same payment when the session makes an invoice, and no longer names the
        # payment intent. So the session claims both ids.
        paid_by = known(self.payment_intent, self.invoice)
        money = _money(self.amount_total, self.currency, context)
        return self.event(Kind.PURCHASE_COMPLETED, paid_by or (self.id,), money)


@provider.on(
    "checkout.session.completed",
    Kind.PURCHASE_COMPLETED,
    besides={Kind.PURCHASE_INITIATED: True, Kind.SUBSCRIPTION_CREATED: False},
    # In the mode `subscription` it names whose subscription and customer that are.
    teaches=True,
)
def session_completed(event: Event[Session], context: Context) -> Iterator[CommerceEvent]:
    session = event.data.object
    if session.mode == "setup":
        return
    if session.mode == "subscription":
        # Not its start: invoice.paid reports that, with the money of the first period.
        created = (session.subscription or session.id,)
        yield session.event(Kind.SUBSCRIPTION_CREATED, created, None)
    elif session.payment_status == "unpaid":
        money = _money(session.amount_total, session.currency, context)
        # payment_intent.processing reports the same by the intent.
        initiated = known(session.id, session.payment_intent)
        yield session.event(Kind.PURCHASE_INITIATED, initiated, money)
    else:
        yield session.purchase(context)


@provider.on("checkout.session.async_payment_succeeded", Kind.PURCHASE_COMPLETED)
def session_paid_later(event: Event[Session], context: Context) -> Iterator[CommerceEvent]:
    session = event.data.object
    if session.mode != "subscription":
        yield session.purchase(context)


@provider.on("checkout.session.async_payment_failed", Kind.PAYMENT_FAILED)
def session_payment_failed(event: Event[Session], context: Context) -> Iterator[CommerceEvent]:
    session = event.data.object
    # invoice.payment_failed reports the first payment of a subscription.
    if session.mode != "subscription":
        money = _money(session.amount_total, session.currency, context)
        yield session.event(context.kind, (session.id,), money)


@provider.on("checkout.session.expired", Kind.CHECKOUT_ABANDONED)
def session_expired(event: Event[Session], context: Context) -> Iterator[CommerceEvent]:
    session = event.data.object
    # A session that only saves a card is no purchase.
    if session.mode != "setup":
        exponents = _exponents(context)
        money = Money.maybe_minor(session.amount_total, session.currency, exponents)
        yield session.event(context.kind, (session.id,), money)


# Payments outside Checkout and Invoicing


class PaymentDetails(Payload):
    order_reference: str | None = None


def _also_as(paid: Payload) -> str | None:
    """Since 2025-03-31 payments do not say whether they paid an invoice."""
    return None if "invoice" in paid.model_fields_set else "invoice.paid"


class PaymentIntent(Payload):
    id: Id
    amount: int | None = None
    amount_received: int | None = None
    currency: str | None = None
    invoice: OptionalId = None
    payment_details: PaymentDetails | None = None
    metadata: Metadata | None = None
    payment_method_types: tuple[str, ...] | None = None

    @property
    def order_reference(self) -> str | None:
        return self.payment_details.order_reference if self.payment_details else None

    @property
    def invoiced(self) -> bool:
        # Since 2025-03-31 there is no `invoice`; some bodies name it as the order reference (unconfirmed).
        return bool(self.invoice) or (self.order_reference or "").startswith("in_")

    def event(self, kind: Kind, transactions: tuple[str, ...], money: Money) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=first(self.order_reference, _order(self.metadata, self.id)),
            payment_method=_only(self.payment_method_types),
        )


@provider.off("payment_intent.succeeded", Kind.PURCHASE_COMPLETED)
def payment_succeeded(event: Event[PaymentIntent], context: Context) -> Iterator[CommerceEvent]:
    intent = event.data.object
    if not intent.invoiced:
        money = _money(intent.amount_received, intent.currency, context)
        paid = intent.event(context.kind, (intent.id,), money)
        yield replace(paid, also_as=_also_as(intent))


@provider.on("payment_intent.payment_failed", Kind.PAYMENT_FAILED)
def payment_failed(event: Event[PaymentIntent], context: Context) -> Iterator[CommerceEvent]:
    intent = event.data.object
    # invoice.payment_failed reports an attempt to pay an invoice.
    if not intent.invoiced:
        # Stripe sends one event for each attempt to pay, so the intent is not the fact.
        money = _money(intent.amount, intent.currency, context)
        yield intent.event(context.kind, EACH_TIME, money)


@provider.off("payment_intent.created", Kind.PURCHASE_INITIATED)
@provider.off("payment_intent.processing", Kind.PURCHASE_INITIATED)
@provider.off("payment_intent.canceled", Kind.PURCHASE_CANCELLED)
def payment_not_paid(event: Event[PaymentIntent], context: Context) -> Iterator[CommerceEvent]:
    intent = event.data.object
    if not intent.invoiced:
        money = _money(intent.amount, intent.currency, context)
        yield intent.event(context.kind, (intent.id,), money)


class PaymentMethodDetails(Payload):
    type: str | None = None


class Charge(Payload):
    id: Id
    amount: int | None = None
    amount_captured: int | None = None
    amount_refunded: int = 0
    captured: bool = True
    currency: str | None = None
    invoice: OptionalId = None
    payment_intent: OptionalId = None
    payment_method_details: PaymentMethodDetails | None = None
    metadata: Metadata | None = None

    @property
    def amount_paid(self) -> int | None:
        return self.amount if self.amount_captured is None else self.amount_captured

    @property
    def paid_by(self) -> tuple[str, ...]:
        return known(self.payment_intent, self.invoice, self.id)

    def event(self, kind: Kind, transactions: tuple[str, ...], money: Money) -> CommerceEvent:
        method = self.payment_method_details
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=_order(self.metadata, self.payment_intent, self.id),
            payment_method=method.type if method else None,
        )


@provider.off("charge.succeeded", Kind.PURCHASE_COMPLETED)
def charge_succeeded(event: Event[Charge], context: Context) -> Iterator[CommerceEvent]:
    charge = event.data.object
    # An authorisation that is not captured succeeds as well, and moves no money.
    if charge.captured and not charge.invoice:
        money = _money(charge.amount_paid, charge.currency, context)
        paid = charge.event(context.kind, charge.paid_by, money)
        yield replace(paid, also_as=_also_as(charge))


# Only what was authorised before is captured.
@provider.on("charge.captured", Kind.PURCHASE_COMPLETED)
def charge_captured(event: Event[Charge], context: Context) -> Iterator[CommerceEvent]:
    for paid in charge_succeeded(event, context):
        # The session that authorised the charge has named the user, and the charge may not.
        yield replace(paid, follows=event.data.object.paid_by, also_as=None)


# Refunds and disputes


@provider.on("charge.refunded", Kind.PURCHASE_REFUNDED)
def charge_refunded(event: Event[Charge], context: Context) -> Iterator[CommerceEvent]:
    charge = event.data.object
    # `amount_refunded` is the total of all refunds of the charge so far. Each event adds one refund.
    refunded = charge.amount_refunded - (event.data.previous.amount_refunded or 0)
    # A released authorisation is refunded as well, and so is, before 2025-03-31, the rest of one that was
    # captured in part. No money had moved.
    if refunded > 0 and charge.captured and event.data.previous.captured is not False:
        # Old API versions embed the refunds, new ones do not. The running total is in both.
        transaction = f"{charge.id}:{charge.amount_refunded}"
        money = _money(refunded, charge.currency, context)
        refund = charge.event(context.kind, (transaction,), money)
        yield replace(refund, follows=charge.paid_by)


class Refund(Payload):
    id: Id
    amount: int | None = None
    currency: str | None = None
    charge: OptionalId = None
    payment_intent: OptionalId = None
    metadata: Metadata | None = None

    def event(self, kind: Kind, context: Context) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=_money(self.amount, self.currency, context),
            transactions=(self.id,),
            follows=known(self.payment_intent, self.charge),
            order_id=_order(self.metadata, self.payment_intent, self.charge),
        )


# charge.refunded has reported the refund when it began.
@provider.on("refund.failed", Kind.REFUND_FAILED)
def refund_failed(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.object.event(context.kind, context)


class Dispute(Refund):
    status: str | None = None


@provider.on("charge.dispute.created", Kind.DISPUTE_OPENED, besides={Kind.DISPUTE_WARNING: True})
def dispute_opened(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    # charge.dispute.funds_withdrawn follows when an inquiry becomes a dispute.
    dispute = event.data.object
    inquiry = (dispute.status or "").startswith("warning_")
    yield dispute.event(dispute_kind(context.kind, inquiry=inquiry), context)


@provider.on("charge.dispute.funds_withdrawn", Kind.DISPUTE_OPENED)
@provider.on("charge.dispute.funds_reinstated", Kind.DISPUTE_WON)
def dispute_moved_money(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.object.event(context.kind, context)


@provider.on("charge.dispute.closed", Kind.DISPUTE_WON, Kind.DISPUTE_LOST, Kind.DISPUTE_CLOSED)
def dispute_closed(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    outcomes = {"won": Kind.DISPUTE_WON, "lost": Kind.DISPUTE_LOST}
    dispute = event.data.object
    yield dispute.event(outcomes.get(dispute.status or "", Kind.DISPUTE_CLOSED), context)


# Invoices


class PriceDetails(Payload):
    id: OptionalId = Field(default=None, validation_alias="price")
    product: OptionalId = None


class Pricing(Payload):
    price_details: PriceDetails | None = None
    unit_amount_decimal: Detail[Decimal] = None


class Line(Payload):
    """`pricing` since 2025-03-31, `price` and `plan` before. `amount` is the total of the line."""

    amount: MinorPrice = None
    quantity: Pieces = None
    pricing: Pricing | None = None
    price: Price | None = None
    plan: Price | None = None

    @property
    def prices(self) -> tuple[Price | PriceDetails, ...]:
        """Wherever the API version writes the price, the newest place first."""
        details = self.pricing.price_details if self.pricing else None
        return tuple(price for price in (details, self.price, self.plan) if price)

    @property
    def in_trial(self) -> bool:
        """Whether what has a price costs nothing for now."""
        price = self.price or self.plan
        priced = (self.pricing and self.pricing.unit_amount_decimal) or (
            price and price.unit_amount
        )
        return self.amount == 0 and bool(priced)

    @property
    def product_id(self) -> str | None:
        return first(*(price.product for price in self.prices))

    @property
    def plan_id(self) -> str | None:
        return first(*(price.id for price in self.prices))

    def item(self, product_id: str, currency: str | None, context: Context) -> Item:
        return Item.product(product_id, self.quantity, self.unit_price(currency, context))

    def unit_price(self, currency: str | None, context: Context) -> Decimal | None:
        if self.amount is None or not currency:
            return None
        # In whole smallest units: a rounded quotient times the quantity can be the total again.
        price, rest = divmod(self.amount, self.quantity or 1)
        # A line total that does not divide evenly says nothing exact about one piece.
        return None if rest else major(price, currency, _exponents(context))


class InvoiceLines(Payload):
    data: Lines[Line]


class SubscriptionDetails(Payload):
    subscription: OptionalId = None


class Parent(Payload):
    subscription_details: SubscriptionDetails | None = None


class InvoicedPayment(Payload):
    type: str | None = None
    payment_intent: OptionalId = None
    charge: OptionalId = None


class InvoicePayment(Payload):
    payment: InvoicedPayment | None = None


class InvoicePayments(Payload):
    data: tuple[InvoicePayment, ...] = ()

    @property
    def payments(self) -> tuple[InvoicedPayment, ...]:
        return tuple(paid.payment for paid in self.data if paid.payment)


class Invoice(Payload):
    id: Id
    amount_paid: int | None = None
    amount_due: int | None = None
    currency: str | None = None
    billing_reason: str | None = None
    attempt_count: int | None = None
    paid_out_of_band: bool | None = None
    subtotal: MinorPrice = None
    lines: InvoiceLines | None = None
    parent: Parent | None = None
    subscription: OptionalId = None
    payment_intent: OptionalId = None
    charge: OptionalId = None
    payments: InvoicePayments | None = None

    @property
    def subscription_id(self) -> str | None:
        details = self.parent.subscription_details if self.parent else None
        return first(details.subscription if details else None, self.subscription)

    @property
    def transactions(self) -> tuple[str, ...]:
        """The invoice and, where the API version names it, its payment: a dispute may name nothing else."""
        ids = (id for paid in self._paid for id in (paid.payment_intent, paid.charge))
        return known(self.id, self.payment_intent, self.charge, *ids)

    @property
    def _paid(self) -> tuple[InvoicedPayment, ...]:
        return self.payments.payments if self.payments else ()

    @property
    def collected(self) -> bool:
        """Whether Stripe collected it: a receipt for a payment elsewhere is an invoice without an attempt."""
        recorded = any(paid.type == "payment_record" for paid in self._paid)
        receipt = self.billing_reason == "manual" and self.attempt_count == 0
        return not (self.paid_out_of_band or recorded or receipt)

    @property
    def kind(self) -> Kind:
        # A set-up fee at the beginning of a trial is no period of the subscription.
        if self.billing_reason == "subscription_create" and any(
            line.in_trial for line in self.charged
        ):
            return Kind.INVOICE_PAID
        return _BILLING_REASONS.get(self.billing_reason or "", Kind.INVOICE_PAID)

    @property
    def starts_trial(self) -> bool:
        """Whether the period costs nothing by itself. A coupon or credit leaves its lines their prices."""
        return self.amount_paid == 0 and not (
            self.subtotal or any(line.amount for line in self.charged)
        )

    def event(
        self, kind: Kind, transactions: tuple[str, ...], amount: int | None, context: Context
    ) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=_money(amount, self.currency, context),
            transactions=transactions,
            order_id=self.id,
            subscription_id=self.subscription_id,
            plan_id=first(*(line.plan_id for line in self.charged)),
            items=tuple(
                line.item(line.product_id, self.currency, context)
                for line in self.charged
                if line.product_id
            ),
        )

    @property
    def charged(self) -> tuple[Line, ...]:
        """The lines without credits: prorations list credits, often first, and those are no contents."""
        lines = self.lines.data if self.lines else ()
        return tuple(line for line in lines if (line.amount or 0) >= 0)


_BILLING_REASONS = {
    "subscription_create": Kind.SUBSCRIPTION_STARTED,
    "subscription_cycle": Kind.SUBSCRIPTION_RENEWED,
    # The usage of a running subscription.
    "subscription_threshold": Kind.SUBSCRIPTION_RENEWED,
    "subscription_update": Kind.SUBSCRIPTION_UPDATED,
}
_INVOICE_KINDS = (
    *dict.fromkeys(_BILLING_REASONS.values()),
    Kind.TRIAL_CONVERTED,
    Kind.INVOICE_PAID,
)


@provider.on("invoice.paid", *_INVOICE_KINDS)
@provider.off("invoice.payment_succeeded", *_INVOICE_KINDS)
def invoice_paid(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    invoice = event.data.object
    # customer.subscription.created reports a trial.
    if (invoice.collected or context.options.out_of_band) and not invoice.starts_trial:
        yield invoice.event(invoice.kind, invoice.transactions, invoice.amount_paid, context)


@provider.on("invoice.payment_failed", Kind.SUBSCRIPTION_PAYMENT_FAILED, Kind.PAYMENT_FAILED)
def invoice_payment_failed(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    invoice = event.data.object
    subscribed = invoice.subscription_id or invoice.billing_reason in _BILLING_REASONS
    kind = Kind.SUBSCRIPTION_PAYMENT_FAILED if subscribed else Kind.PAYMENT_FAILED
    # Stripe sends one event for each attempt to collect.
    yield invoice.event(kind, EACH_TIME, invoice.amount_due, context)


# Subscriptions


class Subscription(Payload):
    id: Id
    status: str | None = None
    # Either says that it ends: flexible billing, the default of new accounts, writes only the first.
    cancel_at: object = None
    cancel_at_period_end: bool | None = None
    pause_collection: object = None
    items: SubscriptionItems | None = None

    @property
    def ending(self) -> bool:
        return bool(self.cancel_at or self.cancel_at_period_end)

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=first(*(item.price_id for item in self.listed)),
        )

    @property
    def listed(self) -> tuple[SubscriptionItem, ...]:
        return self.items.data if self.items else ()

    def repriced(self, old: SubscriptionItems) -> bool:
        """Since 2025-03-31 the items carry the period, so a plain renewal lists them as changed too."""
        before, now = _by_id(old.data), _by_id(self.listed)
        return len(before) != len(now) or any(
            new.differs(item) for new, item in zip(now, before, strict=True)
        )


def _by_id(items: Iterable[SubscriptionItem]) -> list[SubscriptionItem]:
    """In an order that does not depend on the order Stripe lists them in."""
    return sorted(items, key=lambda item: item.id or "")


@provider.on(
    "customer.subscription.created", Kind.TRIAL_STARTED, besides={Kind.SUBSCRIPTION_CREATED: False}
)
def subscription_created(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    subscription = event.data.object
    trialing = subscription.status == "trialing"
    kind = Kind.TRIAL_STARTED if trialing else Kind.SUBSCRIPTION_CREATED
    yield subscription.event(kind, (subscription.id,))


@provider.on(
    "customer.subscription.updated",
    Kind.SUBSCRIPTION_CANCEL_SCHEDULED,
    Kind.SUBSCRIPTION_REACTIVATED,
    Kind.SUBSCRIPTION_PAUSED,
    Kind.SUBSCRIPTION_RESUMED,
    Kind.SUBSCRIPTION_UPDATED,
)
def subscription_updated(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # Not the end of a trial: whether anybody pays shows with invoice.paid.
    subscription, previous = event.data.object, event.data.previous
    changes = (
        (
            previous.was("cancel_at", "cancel_at_period_end"),
            subscription.ending,
            (Kind.SUBSCRIPTION_CANCEL_SCHEDULED, Kind.SUBSCRIPTION_REACTIVATED),
        ),
        (
            previous.was("pause_collection"),
            bool(subscription.pause_collection),
            (Kind.SUBSCRIPTION_PAUSED, Kind.SUBSCRIPTION_RESUMED),
        ),
    )
    for before, now, (begun, withdrawn) in changes:
        if before not in (None, now):
            yield subscription.event(begun if now else withdrawn, EACH_TIME)
    if previous.items is not None and subscription.repriced(previous.items):
        yield subscription.event(Kind.SUBSCRIPTION_UPDATED, EACH_TIME)


@provider.off("customer.subscription.trial_will_end", Kind.TRIAL_ENDING)
@provider.on("customer.subscription.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("customer.subscription.resumed", Kind.SUBSCRIPTION_RESUMED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.object.event(context.kind, EACH_TIME)


@provider.on("customer.subscription.deleted", Kind.SUBSCRIPTION_CANCELLED)
def subscription_deleted(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    subscription = event.data.object
    yield subscription.event(context.kind, (subscription.id,))


class PaidInvoice(InvoicePayment):
    """`is_default` is false for a payment of a part, which is not the payment that invoice.paid reports."""

    invoice: OptionalId = None
    is_default: Detail[bool] = None

    @property
    def ids(self) -> tuple[str, ...]:
        paid = self.payment
        return known(self.invoice, *((paid.payment_intent, paid.charge) if paid else ()))


@provider.lesson("invoice_payment.paid")
def invoice_was_paid_by(event: Event[PaidInvoice], context: Context) -> Iterator[SamePayment]:
    # Since 2025-03-31 nothing else names both. invoice.paid reports the money.
    paid = event.data.object
    if paid.is_default is not False:
        yield SamePayment(paid.ids)


# Customers


class Customer(Payload):
    id: Id


@provider.off("customer.created", Kind.CUSTOMER_CREATED)
def customer_created(event: Event[Customer], context: Context) -> Iterator[CommerceEvent]:
    yield CommerceEvent(kind=context.kind, transactions=(event.data.object.id,))
