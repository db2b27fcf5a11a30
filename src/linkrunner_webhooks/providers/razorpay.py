"""Razorpay webhooks. https://razorpay.com/docs/webhooks/

`contains` lists the names of the objects under `payload`; each object is at `payload.<name>.entity`. The
event id is only in a header. Amounts are integers in the smallest unit. `notes` is an object, `[]` when
empty, or null.

Which type reports the money: `order.paid`, and `subscription.charged` for subscriptions. One payment is
reported by up to five types, which share the payment's id. An order.paid whose payment has an invoice belongs
to a subscription or an invoice, whose own type reports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, TypeVar

from pydantic import BeforeValidator

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    USER_KEYS,
    Id,
    OptionalId,
    Payload,
    dispute_kind,
    first,
    homes,
    known,
    name,
    parse,
    present,
    unix_time,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody

_EVENT_ID = "x-razorpay-event-id"


class Head(Payload):
    event: str
    created_at: object = None


def identify(webhook: Webhook) -> Identity:
    """The body's digest is the event id when a proxy has dropped the header with the event id."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(webhook.headers.get(_EVENT_ID) or webhook.digest, "event id"),
        event_type=name(head.event, "event type"),
        occurred_at=unix_time(head.created_at),
        signed=False,
    )


provider = Provider(
    name="razorpay",
    title="Razorpay",
    docs="https://razorpay.com/docs/webhooks/",
    signature=HmacBody(headers=("x-razorpay-signature",), encoding="hex"),
    identify=identify,
    headers=(_EVENT_ID,),
    user_id=homes(
        *(
            f"payload.{entity}.entity.notes.{{}}"
            for entity in ("payment", "order", "subscription", "payment_link")
        ),
        # Or of an invoice, a QR code, a virtual account, a mandate.
        "values(payload)[].entity.notes.{}",
        keys=(*USER_KEYS, "customer_id"),
    ),
    customer_ids=(
        "payload.payment.entity.customer_id",
        "payload.subscription.entity.customer_id",
        "payload.token.entity.customer_id",
    ),
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

T = TypeVar("T")


def _entity(value: object) -> object:
    return value.get("entity") if isinstance(value, dict) else value


# Each part of the payload is an object with one member, `entity`.
Held = Annotated[T | None, BeforeValidator(_entity)]


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

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan_id,
        )


class Returned(Payload):
    """A refund or a dispute."""

    id: Id
    amount: int
    currency: str
    payment_id: OptionalId = None
    # Of a dispute. Only from a chargeback on is money taken.
    phase: str | None = None

    @property
    def inquiry(self) -> bool:
        return self.phase in ("fraud", "retrieval")


class Request(Payload):
    """A payment link or an invoice."""

    id: Id
    amount: int | None = None
    currency: str | None = None


class Mandate(Payload):
    """The token of a card or an account that may be charged again."""

    id: Id


class Entities(Payload):
    payment: Held[Payment] = None
    order: Held[Order] = None
    subscription: Held[Subscription] = None
    refund: Held[Returned] = None
    dispute: Held[Returned] = None
    payment_link: Held[Request] = None
    invoice: Held[Request] = None
    token: Held[Mandate] = None


class Event(Payload):
    payload: Entities

    @property
    def payment(self) -> Payment:
        return present(self.payload.payment, "its payment")

    @property
    def subscription(self) -> Subscription:
        return present(self.payload.subscription, "its subscription")

    @property
    def order_id(self) -> str | None:
        payment, order = self.payload.payment, self.payload.order
        # The payment has the complete id; some orders have theirs without its prefix.
        return first(payment.order_id if payment else None, order.id if order else None)

    @property
    def total(self) -> Money:
        """The amount paid for the order. If it was paid in parts, the payment is the last part only."""
        payment, order = self.payment, self.payload.order
        if order is None or order.amount_paid is None:
            return payment.money
        return Money.from_minor(order.amount_paid, order.currency or payment.currency)

    def event(self, kind: Kind, money: Money) -> CommerceEvent:
        payment = self.payment
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=(payment.id,),
            order_id=self.order_id or payment.id,
            payment_method=payment.method,
        )


# Payments


@provider.on("order.paid", Kind.PURCHASE_COMPLETED)
def order_paid(event: Event, context: Context) -> Iterator[CommerceEvent]:
    if not event.payment.invoice_id:
        yield event.event(context.kind, event.total)


@provider.off("payment_link.paid", Kind.PURCHASE_COMPLETED)
@provider.off("invoice.paid", Kind.INVOICE_PAID)
def paid_in_full(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.event(context.kind, event.total)


@provider.off("payment.captured", Kind.PURCHASE_COMPLETED)
@provider.off("qr_code.credited", Kind.PURCHASE_COMPLETED)
@provider.off("virtual_account.credited", Kind.PURCHASE_COMPLETED)
@provider.off("payment.authorized", Kind.PURCHASE_INITIATED)
@provider.off("payment_link.partially_paid", Kind.PURCHASE_PARTIALLY_PAID)
@provider.off("invoice.partially_paid", Kind.PURCHASE_PARTIALLY_PAID)
# Not final: the customer can try again within the same order.
@provider.on("payment.failed", Kind.PAYMENT_FAILED)
def payment_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.event(context.kind, event.payment.money)


@provider.off("payment_link.expired", Kind.CHECKOUT_ABANDONED)
@provider.off("payment_link.cancelled", Kind.CHECKOUT_CANCELLED)
@provider.off("invoice.expired", Kind.CHECKOUT_ABANDONED)
def request_ended(event: Event, context: Context) -> Iterator[CommerceEvent]:
    request = present(event.payload.payment_link or event.payload.invoice, "its link or invoice")
    yield CommerceEvent(
        kind=context.kind,
        money=Money.maybe_minor(request.amount, request.currency),
        transactions=(request.id,),
        order_id=event.order_id,
    )


# Refunds and disputes


@provider.on("refund.processed", Kind.PURCHASE_REFUNDED)
@provider.off("refund.failed", Kind.REFUND_FAILED)
@provider.on("payment.dispute.created", Kind.DISPUTE_OPENED, besides={Kind.DISPUTE_WARNING: True})
@provider.on("payment.dispute.won", Kind.DISPUTE_WON, besides={Kind.DISPUTE_CLOSED: True})
@provider.on("payment.dispute.lost", Kind.DISPUTE_LOST)
@provider.on("payment.dispute.closed", Kind.DISPUTE_CLOSED)
def refunded_or_disputed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    returned = present(event.payload.refund or event.payload.dispute, "its refund or dispute")
    # A refund that fails was never reported: refund.processed comes when it is done.
    failed = context.kind is Kind.REFUND_FAILED
    yield CommerceEvent(
        kind=dispute_kind(context.kind, inquiry=returned.inquiry),
        money=None if failed else Money.from_minor(returned.amount, returned.currency),
        transactions=(returned.id,),
        follows=known(returned.payment_id),
        order_id=event.order_id or returned.payment_id,
    )


# Subscriptions


@provider.on(
    "subscription.charged",
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
    Kind.TRIAL_CONVERTED,
)
def subscription_charged(event: Event, context: Context) -> Iterator[CommerceEvent]:
    subscription, first_time = event.subscription, event.subscription.paid_count == 1
    kind = Kind.SUBSCRIPTION_STARTED if first_time else Kind.SUBSCRIPTION_RENEWED
    yield replace(
        event.event(kind, event.payment.money),
        subscription_id=subscription.id,
        plan_id=subscription.plan_id,
    )


@provider.off("subscription.authenticated", Kind.TRIAL_STARTED, Kind.SUBSCRIPTION_AUTHENTICATED)
def subscription_authenticated(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Without a payment, the subscription was only authorised: it is charged when its trial ends.
    trial = event.payload.payment is None
    kind = Kind.TRIAL_STARTED if trial else Kind.SUBSCRIPTION_AUTHENTICATED
    yield event.subscription.event(kind, (event.subscription.id,))


# Not its start: subscription.charged reports that, with its money.
@provider.off("subscription.activated", Kind.SUBSCRIPTION_CREATED)
@provider.on("subscription.cancelled", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription.completed", Kind.SUBSCRIPTION_COMPLETED)
def subscription_began_or_ended(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.subscription.event(context.kind, (event.subscription.id,))


@provider.on("subscription.pending", Kind.SUBSCRIPTION_PAYMENT_FAILED)
@provider.on("subscription.halted", Kind.SUBSCRIPTION_HALTED)
@provider.on("subscription.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription.resumed", Kind.SUBSCRIPTION_RESUMED)
@provider.off("subscription.updated", Kind.SUBSCRIPTION_UPDATED)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.subscription.event(context.kind, EACH_TIME)


# Mandates (e-mandate, UPI Autopay). A subscription has events of its own for the same.


@provider.off("token.confirmed", Kind.SUBSCRIPTION_AUTHENTICATED)
@provider.off("token.cancelled", Kind.SUBSCRIPTION_CANCELLED)
@provider.off("token.rejected", Kind.SUBSCRIPTION_FAILED)
def mandate_began_or_ended(event: Event, context: Context) -> Iterator[CommerceEvent]:
    mandate = present(event.payload.token, "its token")
    yield CommerceEvent(kind=context.kind, transactions=(mandate.id,), subscription_id=mandate.id)


@provider.off("token.paused", Kind.SUBSCRIPTION_PAUSED)
def mandate_paused(event: Event, context: Context) -> Iterator[CommerceEvent]:
    mandate = present(event.payload.token, "its token")
    yield CommerceEvent(kind=context.kind, transactions=EACH_TIME, subscription_id=mandate.id)
