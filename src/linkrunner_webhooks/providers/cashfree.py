"""Cashfree Payment Gateway webhooks. https://www.cashfree.com/docs/api-reference/payments/latest/payments/webhooks

Amounts are JSON numbers in major units. The event id is a header, and only since version 2025-01-01. The
places of a subscription's fields are unconfirmed, so its parts are read wherever they stand.

Which type reports the money: `PAYMENT_SUCCESS_WEBHOOK`, and `SUBSCRIPTION_PAYMENT_SUCCESS` for subscriptions.
An order can have several payment attempts, of which one succeeds. A refund may name only the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import model_validator

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    OptionalId,
    Part,
    Payload,
    dispute_kind,
    first,
    homes,
    iso_time,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.hmacs import HmacWithHeaders

_EVENT_ID = "x-idempotency-key"


class Names(Payload):
    cf_payment_id: OptionalId = None
    payment_status: OptionalId = None
    cf_refund_id: OptionalId = None
    refund_status: OptionalId = None


class Subject(Payload):
    payment: Part[Names]
    refund: Part[Names]

    @property
    def named(self) -> tuple[str | None, ...]:
        """The ids and the status that identify an event, as the documentation says."""
        payment, refund = self.payment, self.refund
        if refund.cf_refund_id:
            return refund.cf_refund_id, refund.refund_status
        return (payment.cf_payment_id, payment.payment_status) if payment.cf_payment_id else ()


class Head(Payload):
    """Cashfree tests a new endpoint with any JSON."""

    type: OptionalId = None
    event_time: object = None
    data: Part[Subject]

    @model_validator(mode="before")
    @classmethod
    def any_json(cls, value: object) -> object:
        return value if isinstance(value, Mapping) else {}


def identify(webhook: Webhook) -> Identity:
    """The test of a new endpoint has no known type and is ignored."""
    head = parse(Head, webhook)
    named = ":".join(part for part in (head.type, *head.data.named) if part)
    composed = named if head.data.named else webhook.digest
    return Identity(
        event_id=name(webhook.headers.get(_EVENT_ID) or composed, "event id"),
        event_type=name(head.type or "untyped", "event type"),
        occurred_at=iso_time(head.event_time),
        signed=False,
    )


provider = Provider(
    name="cashfree",
    title="Cashfree",
    docs="https://www.cashfree.com/docs/api-reference/payments/latest/payments/webhooks",
    signature=HmacWithHeaders(
        header="x-webhook-signature",
        signed=("x-webhook-timestamp",),
        per_second=1000,
        # Retries can be configured to come hours later, perhaps with the first timestamp (unconfirmed).
        tolerance=24 * 3600,
    ),
    identify=identify,
    headers=(_EVENT_ID,),
    user_id=(
        *homes("data.order.order_tags.{}"),
        "data.customer_details.customer_id",
        *homes(
            "data.link_notes.{}",
            "data.subscription_details.subscription_tags.{}",
            "data.subscription_tags.{}",
        ),
    ),
    never={
        "PAYMENT_CHARGES_WEBHOOK": "it reports the fees of a payment that PAYMENT_SUCCESS_WEBHOOK reports",
        "PAYMENT_LINK_EVENT": "PAYMENT_SUCCESS_WEBHOOK reports the same money",
        "AUTO_REFUND_STATUS_WEBHOOK": "it refunds a payment that never succeeded",
        "DISPUTE_UPDATED": "it changes nothing that is reported",
        "SUBSCRIPTION_CONTROLLED_EXECUTION_STATUS": "SUBSCRIPTION_PAYMENT_* report what was paid",
    },
    caution="It signs with the client secret of your API keys, which can refund and pay out.",
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    data: T


def _ids(cf_id: str | None, **own: str | None) -> tuple[str, ...]:
    """Cashfree's id, and the merchant's own with a prefix: they may equal another id of Cashfree's."""
    named = (f"{what}:{id}" for what, id in own.items() if id)
    return (cf_id, *named) if cf_id else tuple(named)


def _within(parent: str | None, id: str | None) -> str | None:
    """An id that the merchant numbers within an order or a subscription, so that it is unique."""
    return f"{parent}:{id}" if parent and id else id


def _dated(ids: tuple[str, ...], context: Context) -> tuple[str, ...]:
    """The ids with the time of the event, for happenings that repeat at one payment or subscription."""
    at = context.identity.occurred_at
    return tuple(f"{id}:{at.isoformat()}" for id in ids) if at else EACH_TIME


# Payments


class Order(Payload):
    order_id: OptionalId = None
    order_currency: str | None = None


class Payment(Payload):
    """The amount is what was paid, after offers. The order has the price before offers."""

    cf_payment_id: Id
    payment_amount: Decimal | None = None
    payment_currency: str | None = None
    payment_status: Detail[str] = None
    payment_time: Detail[str] = None
    payment_group: Detail[str] = None


class Paid(Payload):
    payment: Payment
    order: Part[Order]

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        payment, order = self.payment, self.order
        currency = payment.payment_currency or order.order_currency
        return CommerceEvent(
            kind=kind,
            money=Money.of(payment.payment_amount, currency),
            transactions=transactions,
            occurred_at=iso_time(payment.payment_time),
            order_id=order.order_id or payment.cf_payment_id,
            payment_method=payment.payment_group or None,
        )


@provider.on("PAYMENT_SUCCESS_WEBHOOK", Kind.PURCHASE_COMPLETED)
def payment_succeeded(event: Event[Paid], context: Context) -> Iterator[CommerceEvent]:
    # The order id as well: an order is paid once, and a refund may name nothing else.
    paid = event.data
    if paid.payment.payment_status in (None, "SUCCESS"):
        yield paid.event(context.kind, _ids(paid.payment.cf_payment_id, order=paid.order.order_id))


@provider.on("PAYMENT_FAILED_WEBHOOK", Kind.PAYMENT_FAILED)
@provider.on("PAYMENT_USER_DROPPED_WEBHOOK", Kind.CHECKOUT_ABANDONED)
def payment_attempt_ended(event: Event[Paid], context: Context) -> Iterator[CommerceEvent]:
    # Each event is one attempt to pay the order, and none is final.
    yield event.data.event(context.kind, (event.data.payment.cf_payment_id,))


# Refunds and disputes


class Refund(Payload):
    cf_refund_id: OptionalId = None
    refund_id: OptionalId = None
    refund_amount: Decimal | None = None
    refund_currency: str | None = None
    refund_status: str | None = None
    cf_payment_id: OptionalId = None
    order_id: OptionalId = None

    @property
    def done(self) -> bool:
        return self.refund_status == "SUCCESS"

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=Money.of(self.refund_amount, self.refund_currency),
            transactions=_ids(self.cf_refund_id, refund=_within(self.order_id, self.refund_id)),
            follows=_ids(self.cf_payment_id, order=self.order_id),
            order_id=first(self.order_id, self.cf_payment_id),
        )


class Refunded(Payload):
    refund: Refund


@provider.on("REFUND_STATUS_WEBHOOK", Kind.PURCHASE_REFUNDED)
def refunded(event: Event[Refunded], context: Context) -> Iterator[CommerceEvent]:
    refund = event.data.refund
    if refund.done:
        yield refund.event(context.kind)


class Dispute(Payload):
    dispute_id: Id
    dispute_type: str | None = None
    dispute_amount: Decimal | None = None
    dispute_status: str | None = None

    @property
    def outcome(self) -> Kind:
        # The names of the statuses are unconfirmed.
        status = self.dispute_status or ""
        if status.endswith("_MERCHANT_WON"):
            return Kind.DISPUTE_WON
        lost = status.endswith(("_MERCHANT_LOST", "_MERCHANT_ACCEPTED"))
        return Kind.DISPUTE_LOST if lost else Kind.DISPUTE_CLOSED


class DisputedOrder(Payload):
    order_id: OptionalId = None
    order_currency: str | None = None
    cf_payment_id: OptionalId = None
    payment_currency: str | None = None


class Disputed(Payload):
    """The places of the fields are unconfirmed. An amount that is not found is left out."""

    dispute: Dispute
    order_details: Part[DisputedOrder]

    def event(self, kind: Kind) -> CommerceEvent:
        dispute, order = self.dispute, self.order_details
        currency = order.payment_currency or order.order_currency
        return CommerceEvent(
            kind=kind,
            money=Money.maybe(dispute.dispute_amount, currency),
            transactions=(dispute.dispute_id,),
            follows=_ids(order.cf_payment_id, order=order.order_id),
            order_id=first(order.order_id, order.cf_payment_id),
        )


@provider.on("DISPUTE_CREATED", Kind.DISPUTE_OPENED, besides={Kind.DISPUTE_WARNING: True})
def dispute_opened(event: Event[Disputed], context: Context) -> Iterator[CommerceEvent]:
    # A retrieval asks for documents and takes no money (unconfirmed).
    inquiry = event.data.dispute.dispute_type == "RETRIEVAL"
    yield event.data.event(dispute_kind(context.kind, inquiry=inquiry))


@provider.on("DISPUTE_CLOSED", Kind.DISPUTE_CLOSED, Kind.DISPUTE_WON, Kind.DISPUTE_LOST)
def dispute_closed(event: Event[Disputed], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(event.data.dispute.outcome)


# Subscriptions

_OF_THE_MANDATE = ("authorization_status", "authorization_amount_refund")
_PARTS = ("subscription_details", "plan_details", "payment", "refund")


def _said(part: object) -> dict[Any, object]:
    """The fields of a part of the body that are not null."""
    items = part.items() if isinstance(part, Mapping) else ()
    return {key: value for key, value in items if value is not None}


class Subscribed(Payload):
    """A subscription's fields, whichever part of the body they stand in."""

    subscription_id: OptionalId = None
    cf_subscription_id: OptionalId = None
    plan_id: OptionalId = None

    @model_validator(mode="before")
    @classmethod
    def flat(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        # Only what became of the mandate. Its ids name the payment that authorised it.
        mandate = _said(value.get("authorization_details"))
        found: dict[Any, object] = {key: mandate.get(key) for key in _OF_THE_MANDATE}
        for part in _PARTS:
            found |= _said(value.get(part))
        return found | _said(value)

    @property
    def either_id(self) -> str | None:
        return first(self.subscription_id, self.cf_subscription_id)


class Subscription(Subscribed):
    @property
    def id(self) -> str:
        return present(self.either_id, "its subscription")

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan_id,
        )


class Changed(Subscription):
    subscription_status: str
    authorization_amount_refund: Detail[bool] = None

    @property
    def kind(self) -> Kind | None:
        """The meaning of its state. A start that was paid for reports SUBSCRIPTION_PAYMENT_SUCCESS."""
        kind = _STATES.get(self.subscription_status)
        paid = self.authorization_amount_refund is False
        return None if paid and kind is Kind.SUBSCRIPTION_STARTED else kind


_STATES = {
    "ACTIVE": Kind.SUBSCRIPTION_STARTED,
    "ON_HOLD": Kind.SUBSCRIPTION_HALTED,
    "CUSTOMER_PAUSED": Kind.SUBSCRIPTION_PAUSED,
    "CUSTOMER_CANCELLED": Kind.SUBSCRIPTION_CANCELLED,
    "CANCELLED": Kind.SUBSCRIPTION_CANCELLED,
    "COMPLETED": Kind.SUBSCRIPTION_COMPLETED,
    "EXPIRED": Kind.SUBSCRIPTION_EXPIRED,
}
_REPEATED = (Kind.SUBSCRIPTION_HALTED, Kind.SUBSCRIPTION_PAUSED)
_STATE_KINDS = tuple(dict.fromkeys(_STATES.values()))


@provider.on("SUBSCRIPTION_STATUS_CHANGED", *_STATE_KINDS)
@provider.on("SUBSCRIPTION_STATUS_CHANGE", *_STATE_KINDS)
def subscription_changed(event: Event[Changed], context: Context) -> Iterator[CommerceEvent]:
    # No amount: SUBSCRIPTION_PAYMENT_SUCCESS brings it.
    changed, kind = event.data, event.data.kind
    if kind:
        once = (changed.id,)
        yield changed.event(kind, _dated(once, context) if kind in _REPEATED else once)


class Authorised(Subscription):
    payment_status: str | None = None
    authorization_status: str | None = None

    @property
    def done(self) -> bool:
        return self.authorization_status == "ACTIVE" or self.payment_status == "SUCCESS"


@provider.off("SUBSCRIPTION_AUTH_STATUS", Kind.TRIAL_STARTED)
def subscription_authorised(event: Event[Authorised], context: Context) -> Iterator[CommerceEvent]:
    # The body does not say whether a trial follows. The operator who switches the type on knows.
    authorised = event.data
    if authorised.done:
        yield authorised.event(context.kind, (authorised.id,))


class Charge(Subscription):
    payment_type: str | None = None
    payment_status: Detail[str] = None
    authorization_amount_refund: Detail[bool] = None
    cf_payment_id: OptionalId = None
    payment_id: OptionalId = None
    payment_amount: Decimal | None = None
    # Mandates are Indian; the documentation shows no currency for their payments (unconfirmed).
    payment_currency: str = "INR"

    @property
    def ids(self) -> tuple[str, ...]:
        return _ids(self.cf_payment_id, payment=_within(self.subscription_id, self.payment_id))

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return replace(
            super().event(kind, transactions),
            money=Money.of(self.payment_amount, self.payment_currency),
            order_id=first(self.payment_id, self.cf_payment_id),
        )


@provider.on(
    "SUBSCRIPTION_PAYMENT_SUCCESS",
    Kind.SUBSCRIPTION_RENEWED,
    Kind.SUBSCRIPTION_STARTED,
    Kind.TRIAL_CONVERTED,
)
def subscription_charged(event: Event[Charge], context: Context) -> Iterator[CommerceEvent]:
    charge = event.data
    if charge.payment_status not in (None, "SUCCESS"):
        return
    if charge.payment_type != "AUTH":
        yield charge.event(Kind.SUBSCRIPTION_RENEWED, charge.ids)
    elif charge.authorization_amount_refund is False:
        # The mandate's own amount is given back, unless the body says otherwise.
        yield charge.event(Kind.SUBSCRIPTION_STARTED, charge.ids)


@provider.off("CARD_EXPIRED", Kind.SUBSCRIPTION_BILLING_ISSUE)
def card_expired(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, _dated((event.data.id,), context))


@provider.on("SUBSCRIPTION_PAYMENT_FAILED", Kind.SUBSCRIPTION_PAYMENT_FAILED)
@provider.on("SUBSCRIPTION_PAYMENT_CANCELLED", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def subscription_charge_failed(event: Event[Charge], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, _dated(event.data.ids, context))


class SubscriptionRefund(Subscribed, Refund):
    payment_id: OptionalId = None
    refund_currency: str = "INR"

    def event(self, kind: Kind) -> CommerceEvent:
        refund = _within(self.subscription_id, self.refund_id)
        payment = _within(self.subscription_id, self.payment_id)
        return replace(
            super().event(kind),
            transactions=_ids(self.cf_refund_id, refund=refund),
            follows=_ids(self.cf_payment_id, payment=payment),
            order_id=first(self.payment_id, self.cf_payment_id),
            subscription_id=self.either_id,
            plan_id=self.plan_id,
        )


@provider.on("SUBSCRIPTION_REFUND_STATUS", Kind.PURCHASE_REFUNDED)
def subscription_refunded(
    event: Event[SubscriptionRefund], context: Context
) -> Iterator[CommerceEvent]:
    if event.data.done:
        yield event.data.event(context.kind)
