"""Xendit webhooks. https://docs.xendit.co/docs/handling-webhooks

One account has two families. The Payments API (v3) writes `event` and `data`. The callback of an invoice or
a payment link is flat and has a status instead of a type: here it is `invoice.paid` and so on. Disputes are
flat, too, and refunds have their `data` twice. Amounts are in major units, as numbers or as texts. There is
no event id, and `created` beside `data` is the time of the delivery. A token authenticates the sender, and
nothing is signed.

Which type reports the money: `payment.capture`, `invoice.paid` for invoices and payment links, and
`recurring.cycle.succeeded` for subscriptions. Two of them can report one payment, whose id they share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import AliasChoices, Field, model_validator

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import (
    Detail,
    Id,
    OptionalId,
    Part,
    Payload,
    Pieces,
    first,
    homes,
    iso_time,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.tokens import StaticToken

T = TypeVar("T", bound=Payload)


def _innermost(value: object) -> object:
    while isinstance(value, Mapping) and isinstance(value.get("data"), Mapping):
        value = value["data"]
    return value


class Event(Payload, Generic[T]):
    """`data` is what a body is about: a flat body as a whole, and of a nested one the inner part."""

    data: T

    @model_validator(mode="before")
    @classmethod
    def unwrapped(cls, value: object) -> object:
        return {"data": _innermost(value)}


class Head(Payload):
    event: OptionalId = None
    # Of an invoice, instead of an event.
    status: Detail[str] = None


class Named(Payload):
    """The ids and times of all kinds of objects; each kind has some of them."""

    id: OptionalId = None
    payment_session_id: OptionalId = None
    payment_id: OptionalId = None
    paid_at: object = None
    updated: object = None
    updated_at: object = None
    created: object = None
    created_at: object = None

    @property
    def changed_at(self) -> datetime | None:
        times = (self.paid_at, self.updated, self.updated_at, self.created, self.created_at)
        return next(filter(None, map(iso_time, times)), None)


def identify(webhook: Webhook) -> Identity:
    """Test mode has a token and URLs of its own, and bodies that look the same."""
    head, subject = parse(Head, webhook), parse(Event[Named], webhook).data
    of_an_invoice = f"invoice.{head.status.lower()}" if head.status else None
    named = first(subject.id, subject.payment_session_id, subject.payment_id)
    return Identity(
        event_id=name(named or webhook.digest, "id"),
        event_type=name(head.event or of_an_invoice, "event type"),
        occurred_at=subject.changed_at,
    )


provider = Provider(
    name="xendit",
    title="Xendit",
    docs="https://docs.xendit.co/docs/handling-webhooks",
    signature=StaticToken("x-callback-token"),
    identify=identify,
    # `user_id` of a flat body is the merchant's own account.
    user_id=homes("data.metadata.{}", "metadata.{}", "data.data.metadata.{}"),
    customer_ids=("data.customer_id",),
    unique_ids=True,
    never={
        "payment_session.completed": "it may only be authorised; payment.capture reports what is paid",
        "recurring.cycle.created": "it announces a charge; recurring.cycle.succeeded reports it",
        "dispute.under_review": "it changes nothing that is reported",
        "dispute.due_date_approaching": "it changes nothing that is reported",
    },
    caution="""\
An invoice or a payment link has a callback of its own, and its payment may come as payment.capture as well.
It counts once where the callback names its payment_id. If yours do not, enter the URL for only one of them.
""",
)


# Payments


class Capture(Payload):
    capture_amount: Decimal


class Method(Payload):
    type: Detail[str] = None


class Payment(Payload):
    """Version 2 of the API has other names for the id and the amount, and a method instead of a channel."""

    id: Id = Field(validation_alias=AliasChoices("payment_id", "id"))
    type: Detail[str] = None
    status: Detail[str] = None
    amount: Decimal | None = Field(
        default=None, validation_alias=AliasChoices("request_amount", "amount")
    )
    currency: str | None = None
    captures: tuple[Capture, ...] | None = None
    payment_request_id: OptionalId = None
    payment_token_id: OptionalId = None
    reference_id: OptionalId = None
    channel_code: Detail[str] = None
    payment_method: Part[Method]

    @property
    def money(self) -> Money:
        """Less than what was authorised can be captured, and only once."""
        captured = [capture.capture_amount for capture in self.captures or ()]
        return Money.of(sum(captured) if captured else self.amount, self.currency)

    @property
    def ids(self) -> tuple[str, ...]:
        """With the request, which a refund may name instead. A code that is used again has many payments."""
        return known(self.id, self.payment_request_id if self.type in _PAID_ONCE else None)

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=self.money,
            transactions=transactions,
            order_id=first(self.reference_id, self.id),
            payment_method=self.channel_code or self.payment_method.type,
        )


# The last is how samples of the documentation write it.
_PAID_ONCE = ("PAY", "PAY_AND_SAVE", "SINGLE_PAYMENT")
_UNPAID = ("AUTHORIZED", "CANCELED", "EXPIRED", "FAILED", "PENDING")


@provider.on("payment.capture", Kind.PURCHASE_COMPLETED)
# Of version 2. Nothing says whether it shares ids with the subscriptions of that time.
@provider.off("payment.succeeded", Kind.PURCHASE_COMPLETED)
def payment_captured(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    payment = event.data
    if payment.status not in _UNPAID:
        # A subscription charges what was saved, and its own report has the better name.
        of_a_subscription = "recurring.cycle.succeeded" if payment.payment_token_id else None
        yield replace(payment.event(context.kind, payment.ids), also_as=of_a_subscription)


@provider.off("payment.authorization", Kind.PURCHASE_INITIATED)
# Not final: the customer can try again, with a payment of another id.
@provider.on("payment.failure", Kind.PAYMENT_FAILED)
@provider.off("payment.failed", Kind.PAYMENT_FAILED)
def payment_changed(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, (event.data.id,))


# Invoices, payment links and sessions


class Invoice(Payload):
    """`adjusted_received_amount` is not read: it is what is left after fees."""

    id: Id
    external_id: OptionalId = None
    amount: Decimal | None = None
    paid_amount: Decimal | None = None
    currency: str | None = None
    payment_id: OptionalId = None
    payment_channel: Detail[str] = None
    payment_method: Detail[str] = None
    recurring_payment_id: OptionalId = None

    @property
    def paid(self) -> Money:
        return Money.of(
            self.amount if self.paid_amount is None else self.paid_amount, self.currency
        )

    def event(
        self, kind: Kind, money: Money | None, transactions: tuple[str, ...]
    ) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=first(self.external_id, self.id),
            subscription_id=self.recurring_payment_id,
            payment_method=self.payment_channel or self.payment_method,
        )


@provider.on("invoice.paid", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_RENEWED)
# The same money days later, when the merchant gets it.
@provider.on("invoice.settled", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_RENEWED)
def invoice_paid(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    invoice = event.data
    # Of an old recurring payment. Nothing says which invoice is the first.
    recurring = Kind.SUBSCRIPTION_RENEWED if invoice.recurring_payment_id else context.kind
    yield invoice.event(recurring, invoice.paid, known(invoice.payment_id, invoice.id))


@provider.on("invoice.expired", Kind.CHECKOUT_ABANDONED)
def invoice_expired(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    invoice = event.data
    worth = Money.maybe(invoice.amount, invoice.currency)
    yield invoice.event(context.kind, worth, (invoice.id,))


class Session(Payload):
    payment_session_id: Id
    amount: Decimal | None = None
    currency: str | None = None
    reference_id: OptionalId = None


# It names no user, except by the customer.
@provider.off("payment_session.expired", Kind.CHECKOUT_ABANDONED)
def session_expired(event: Event[Session], context: Context) -> Iterator[CommerceEvent]:
    session = event.data
    yield CommerceEvent(
        kind=context.kind,
        money=Money.maybe(session.amount, session.currency),
        transactions=(session.payment_session_id,),
        order_id=first(session.reference_id, session.payment_session_id),
    )


# Refunds and disputes


class Refund(Payload):
    """`reference_id` is the merchant's id of the refund, and not of the order."""

    id: Id
    amount: Decimal | None = None
    currency: str | None = None
    payment_id: OptionalId = None
    payment_request_id: OptionalId = None
    invoice_id: OptionalId = None

    @property
    def paid_by(self) -> tuple[str, ...]:
        """Any of them can be missing."""
        return known(self.payment_id, self.payment_request_id, self.invoice_id)


@provider.on("refund.succeeded", Kind.PURCHASE_REFUNDED)
@provider.off("refund.failed", Kind.REFUND_FAILED)
def refunded(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    refund = event.data
    # A refund that fails was never reported: refund.succeeded comes when it is done.
    failed = context.kind is Kind.REFUND_FAILED
    yield CommerceEvent(
        kind=context.kind,
        money=None if failed else Money.of(refund.amount, refund.currency),
        transactions=(refund.id,),
        follows=refund.paid_by,
        order_id=first(*refund.paid_by),
    )


class Disputed(Payload):
    """What the dispute was first about, and what it came to, which may be a part of that."""

    initial: Decimal | None = None
    terminal: Decimal | None = None


class Dispute(Payload):
    id: Id
    amount: Part[Disputed]
    currency: str | None = None
    payment_id: OptionalId = None
    reference_id: OptionalId = None

    def event(self, kind: Kind, amount: Decimal | None) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=Money.maybe(amount, self.currency),
            transactions=(self.id,),
            follows=known(self.payment_id),
            order_id=first(self.reference_id, self.payment_id),
        )


@provider.on("dispute.action_required", Kind.DISPUTE_OPENED)
@provider.on("dispute.won", Kind.DISPUTE_WON)
def dispute_opened_or_won(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, event.data.amount.initial)


@provider.on("dispute.lost", Kind.DISPUTE_LOST)
def dispute_lost(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    amount = event.data.amount
    yield event.data.event(context.kind, amount.terminal or amount.initial)


# Subscriptions. What Xendit calls a plan is one customer's subscription.


class Schedule(Payload):
    total_recurrence: Pieces = None


class Plan(Payload):
    id: Id
    failure_code: Detail[str] = None
    recurring_cycle_count: Pieces = None
    schedule: Part[Schedule]

    @property
    def complete(self) -> bool:
        agreed = self.schedule.total_recurrence
        return bool(agreed) and (self.recurring_cycle_count or 0) >= (agreed or 0)

    @property
    def ended_as(self) -> Kind:
        # Only a plan that could not begin has a code.
        if self.failure_code:
            return Kind.SUBSCRIPTION_FAILED
        return Kind.SUBSCRIPTION_COMPLETED if self.complete else Kind.SUBSCRIPTION_CANCELLED

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(kind=kind, transactions=(self.id,), subscription_id=self.id)


# Not its start: recurring.cycle.succeeded reports that, with its money. It says whose the subscription is.
@provider.off("recurring.plan.activated", Kind.SUBSCRIPTION_CREATED, teaches=True)
def plan_activated(event: Event[Plan], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind)


@provider.on(
    "recurring.plan.inactivated",
    Kind.SUBSCRIPTION_CANCELLED,
    Kind.SUBSCRIPTION_COMPLETED,
    Kind.SUBSCRIPTION_FAILED,
)
def plan_inactivated(event: Event[Plan], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(event.data.ended_as)


class Attempt(Payload):
    payment_id: OptionalId = None
    status: Detail[str] = None


class Cycle(Payload):
    """One period. `reference_id` is that of the plan."""

    id: Id
    plan_id: OptionalId = None
    cycle_number: Pieces = None
    amount: Decimal | None = None
    currency: str | None = None
    attempt_details: tuple[Attempt, ...] | None = None
    attempt_count: Pieces = None
    forced_attempt_count: Pieces = None

    @property
    def payment_id(self) -> str | None:
        attempts = self.attempt_details or ()
        return first(*(each.payment_id for each in attempts if each.status == "SUCCEEDED"))

    @property
    def attempt(self) -> str:
        """A name of the last attempt: a cycle has several, and some have no payment."""
        return f"{self.id}:{(self.attempt_count or 0) + (self.forced_attempt_count or 0)}"

    def event(
        self, kind: Kind, money: Money | None, transactions: tuple[str, ...]
    ) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=first(self.payment_id, self.id),
            subscription_id=self.plan_id,
        )


@provider.on("recurring.cycle.succeeded", Kind.SUBSCRIPTION_STARTED, Kind.SUBSCRIPTION_RENEWED)
def cycle_succeeded(event: Event[Cycle], context: Context) -> Iterator[CommerceEvent]:
    cycle = event.data
    is_first = cycle.cycle_number == 1
    kind = Kind.SUBSCRIPTION_STARTED if is_first else Kind.SUBSCRIPTION_RENEWED
    paid = Money.of(cycle.amount, cycle.currency)
    yield cycle.event(kind, paid, known(cycle.payment_id, cycle.id))


@provider.off("recurring.cycle.retrying", Kind.SUBSCRIPTION_PAYMENT_FAILED)
@provider.off("recurring.cycle.force_attempt_failed", Kind.SUBSCRIPTION_PAYMENT_FAILED)
@provider.on("recurring.cycle.failed", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def cycle_failed(event: Event[Cycle], context: Context) -> Iterator[CommerceEvent]:
    cycle = event.data
    due = Money.maybe(cycle.amount, cycle.currency)
    yield cycle.event(context.kind, due, (cycle.attempt,))
