"""Juspay webhooks. https://juspay.io/in/docs/payv3/web/base-integration/webhooks

Banks resell it under names of their own, HDFC SmartGateway for one; the bodies are the same. A body has the
whole order as it is by then, so its status can be that of another moment than the event's. Amounts are JSON
numbers in major units. Values can be the texts "FILTERED", "NA" and "null". Nothing is signed: a user name
and a password authenticate the sender.

Which type reports the money: `ORDER_SUCCEEDED`, whatever was paid, and `ORDER_REFUNDED`, which repeats all
refunds of the order each time. An order is paid once, in one of several attempts, so that its id identifies
the payment. The gateway behind Juspay can report the same payment, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, Role, unless
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Lines,
    OptionalId,
    Part,
    Payload,
    Price,
    first,
    homes,
    iso_time,
    known,
    lately,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.tokens import BasicAuth

_UNSAID = ("NA", "null", "FILTERED")


def _said(value: object) -> object:
    return None if value in _UNSAID else value


# One that all orders share would make them one payment.
OwnId = Annotated[OptionalId, BeforeValidator(_said)]


class Route(Payload):
    gateway: OptionalId = None


class Named(Payload):
    order_id: OwnId = None
    txn_id: OwnId = None
    gateway: OptionalId = None
    txn_detail: Part[Route]

    @property
    def simulated(self) -> bool:
        return "DUMMY" in (self.gateway, self.txn_detail.gateway)


class Subject(Payload):
    order: Part[Named]


class Head(Payload):
    id: OptionalId = None
    event_name: str
    date_created: object = None
    content: Part[Subject]

    @property
    def named(self) -> str | None:
        """What identifies an event without an id, as some are sent."""
        order = self.content.order
        parts = known(self.event_name, order.order_id, order.txn_id)
        return ":".join(parts) if order.order_id else None


def identify(webhook: Webhook) -> Identity:
    """Only the gateway that Juspay simulates tells sandbox from production."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.id or head.named or webhook.digest, "event id"),
        event_type=name(head.event_name, "event name"),
        occurred_at=iso_time(head.date_created),
        test=head.content.order.simulated,
    )


# Those of guests are nobody's, and those that Juspay makes up are not the merchant's.
_OURS = "!starts_with(to_string(@), 'guest') && !starts_with(to_string(@), 'cst_')"
_UNPAID = "it gives back a payment that never was a sale"
_UNDECIDED = "it changes nothing that is reported"

provider = Provider(
    name="juspay",
    title="Juspay",
    docs="https://juspay.io/in/docs/payv3/web/base-integration/webhooks",
    role=Role.BILLING,
    signature=BasicAuth(),
    identify=identify,
    user_id=(
        *homes("content.order.metadata.{}"),
        f"content.*.customer_id | [?{_OURS}]",
    ),
    customer_ids=("content.*.customer_id | [?starts_with(to_string(@), 'cst_')]",),
    never={
        "ORDER_UPDATED": "it repeats the whole order at every change of it",
        "ORDER_CAPTURE_FAILED": "nothing is paid, and the capture can be tried again",
        "INVOICE_PAYMENT_SUCCEEDED": "ORDER_SUCCEEDED reports the same debit",
        "INVOICE_PAYMENT_FAILED": "ORDER_FAILED reports the same debit",
        "AUTO_REFUND_SUCCEEDED": _UNPAID,
        "ORDER_AUTO_REFUNDED": _UNPAID,
        "REFUND_INITIATED": "ORDER_REFUNDED reports the refund when it is one",
        "REFUND_ARN_CAPTURED": "ORDER_REFUNDED reports the same refund",
        "REFUND_MANUAL_REVIEW_NEEDED": "ORDER_REFUNDED reports the refund when it is one",
        "CHARGEBACK_UNDER_REVIEW": _UNDECIDED,
        "CHARGEBACK_EVIDENCE_REQUIRED": _UNDECIDED,
    },
    caution="""\
Juspay charges through gateways like Razorpay, PayU and Paytm, which send webhooks of their own. With a
source of such a gateway beside this one every payment counts twice: choose one.
""",
)


class Refund(Payload):
    """The merchant chooses the request id, and cannot use it again."""

    unique_request_id: OwnId = None
    id: OwnId = None
    created: object = None
    amount: Price = None
    status: OwnId = None


class Mandate(Payload):
    """In an order, or by itself with the order that it was made with."""

    mandate_id: OwnId = None
    order_id: OwnId = None


class Chargeback(Payload):
    """The names of its fields are unconfirmed. An amount that is not found is left out."""

    id: OwnId = None
    order_id: OwnId = None
    amount: Price = None
    currency: OwnId = None


class Order(Payload):
    order_id: OwnId = None
    id: OwnId = None
    txn_uuid: OwnId = None
    txn_id: OwnId = None
    status: OwnId = None
    # Before offers and after them; older bodies have the first only.
    amount: Price = None
    effective_amount: Price = None
    currency: OwnId = None
    payment_method_type: OwnId = None
    mandate: Part[Mandate]
    refunds: Lines[Refund]
    chargebacks: Lines[Chargeback]

    @property
    def unpaid(self) -> bool:
        """Whether no payment succeeded. Other statuses, like NEW, can be older than the event."""
        return self.status in _UNPAID_STATUSES

    @property
    def named(self) -> str | None:
        return first(self.order_id, self.id)

    @property
    def attempt(self) -> tuple[str, ...]:
        return known(first(self.txn_uuid, self.txn_id))

    @property
    def due(self) -> Decimal | None:
        return self.amount if self.effective_amount is None else self.effective_amount

    @property
    def worth(self) -> Money | None:
        return Money.maybe(self.due, self.currency)

    def event(
        self, kind: Kind, transactions: tuple[str, ...], money: Money | None
    ) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=self.named,
            subscription_id=self.mandate.mandate_id,
            payment_method=self.payment_method_type,
        )


_UNPAID_STATUSES = (
    "AUTHENTICATION_FAILED",
    "AUTHORIZATION_FAILED",
    "JUSPAY_DECLINED",
    "AUTO_REFUNDED",
)


class Subscription(Payload):
    """The names of its ids are unconfirmed."""

    subscription_id: OwnId = None
    id: OwnId = None
    plan_id: OwnId = None


class Content(Payload):
    order: Part[Order]
    mandate: Part[Mandate]
    chargeback: Part[Chargeback]
    subscription: Part[Subscription]


class Event(Payload):
    content: Content

    @property
    def order(self) -> Order:
        present(self.content.order.named, "its order")
        return self.content.order

    @property
    def chargeback(self) -> Chargeback:
        """By itself, or in its order where that has only one (unconfirmed)."""
        listed = self.content.order.chargebacks
        return listed[0] if len(listed) == 1 else self.content.chargeback


def _unpaid(event: Event) -> bool:
    return event.content.order.unpaid


# Payments


@provider.on("ORDER_SUCCEEDED", Kind.PURCHASE_COMPLETED)
@provider.off("TXN_CHARGED", Kind.PURCHASE_COMPLETED)
@unless(_unpaid)
def order_succeeded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # A debit of a mandate as well: the body does not say whether it is the first one.
    order = event.order
    yield order.event(context.kind, known(order.named), Money.of(order.due, order.currency))


@provider.off("ORDER_CREATED", Kind.CHECKOUT_STARTED)
@provider.off("TXN_CREATED", Kind.CHECKOUT_STARTED)
@provider.off("ORDER_AUTHORIZED", Kind.PURCHASE_INITIATED)
@provider.off("ORDER_TO_BE_CHARGED", Kind.PURCHASE_INITIATED)
@provider.off("ORDER_COD_INITIATED", Kind.PURCHASE_INITIATED)
@provider.off("ORDER_VOIDED", Kind.PURCHASE_CANCELLED)
def order_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    order = event.order
    yield order.event(context.kind, known(order.named), order.worth)


# Not final: the customer can try again within the same order.
@provider.on("ORDER_FAILED", Kind.PAYMENT_FAILED)
@provider.off("TXN_FAILED", Kind.PAYMENT_FAILED)
@provider.off("ORDER_PARTIAL_CHARGED", Kind.PURCHASE_PARTIALLY_PAID)
def order_attempted(event: Event, context: Context) -> Iterator[CommerceEvent]:
    order = event.order
    yield order.event(context.kind, order.attempt, order.worth)


# Refunds and disputes

_RESULTS = {Kind.PURCHASE_REFUNDED: "SUCCESS", Kind.REFUND_FAILED: "FAILURE"}


@provider.on("ORDER_REFUNDED", Kind.PURCHASE_REFUNDED)
@provider.off("REFUND_SUCCEEDED", Kind.PURCHASE_REFUNDED)
@provider.off("ORDER_REFUND_FAILED", Kind.REFUND_FAILED)
@provider.off("REFUND_FAILED", Kind.REFUND_FAILED)
@unless(_unpaid)
def order_refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    order, reported = event.order, context.identity.occurred_at
    for refund in present(order.refunds or None, "its refunds"):
        # An old refund was reported in its time.
        if refund.status != _RESULTS[context.kind] or not lately(
            iso_time(refund.created), reported
        ):
            continue
        # A refund that fails was never reported: ORDER_REFUNDED comes when it is done.
        failed = context.kind is Kind.REFUND_FAILED
        yield CommerceEvent(
            kind=context.kind,
            money=None if failed else Money.of(refund.amount, order.currency),
            transactions=(present(first(refund.unique_request_id, refund.id), "a refund's id"),),
            follows=known(order.named),
            order_id=order.named,
        )


@provider.on("CHARGEBACK_RECEIVED", Kind.DISPUTE_OPENED)
@provider.on("CHARGEBACK_RESOLVED_IN_MERCHANT_FAVOUR", Kind.DISPUTE_WON)
@provider.on("CHARGEBACK_RESOLVED_IN_CUSTOMER_FAVOUR", Kind.DISPUTE_LOST)
@provider.on("CHARGEBACK_CANCELED", Kind.DISPUTE_CLOSED)
@provider.on("CHARGEBACK_ALREADY_REFUNDED", Kind.DISPUTE_CLOSED)
@provider.on("CHARGEBACK_EXPIRED", Kind.DISPUTE_CLOSED)
def charged_back(event: Event, context: Context) -> Iterator[CommerceEvent]:
    order, chargeback = event.content.order, event.chargeback
    payment = first(order.named, chargeback.order_id)
    yield CommerceEvent(
        kind=context.kind,
        money=Money.maybe(chargeback.amount, first(chargeback.currency, order.currency)),
        transactions=known(first(chargeback.id, payment)),
        follows=known(payment),
        order_id=payment,
    )


# Subscriptions and mandates


# Without money: ORDER_SUCCEEDED reports each debit.
@provider.on("SUBSCRIPTION_ACTIVATED", Kind.SUBSCRIPTION_STARTED)
@provider.on("SUBSCRIPTION_CANCELLED", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("SUBSCRIPTION_EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
def subscription_began_or_ended(event: Event, context: Context) -> Iterator[CommerceEvent]:
    subscription = event.content.subscription
    id = first(subscription.subscription_id, subscription.id)
    yield CommerceEvent(
        kind=context.kind,
        transactions=known(id),
        subscription_id=id,
        plan_id=subscription.plan_id,
    )


def _mandated(event: Event, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
    mandate = event.content.mandate
    return CommerceEvent(
        kind=kind,
        transactions=transactions,
        follows=known(mandate.order_id),
        subscription_id=present(mandate.mandate_id, "its mandate"),
    )


@provider.off("MANDATE_ACTIVATED", Kind.SUBSCRIPTION_AUTHENTICATED)
@provider.off("MANDATE_REVOKED", Kind.SUBSCRIPTION_CANCELLED)
@provider.off("MANDATE_EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
@provider.off("MANDATE_FAILED", Kind.SUBSCRIPTION_FAILED)
def mandate_began_or_ended(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _mandated(event, context.kind, known(event.content.mandate.mandate_id))


@provider.off("MANDATE_PAUSED", Kind.SUBSCRIPTION_PAUSED)
@provider.off("MANDATE_UNPAUSED", Kind.SUBSCRIPTION_RESUMED)
def mandate_paused(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _mandated(event, context.kind, EACH_TIME)
