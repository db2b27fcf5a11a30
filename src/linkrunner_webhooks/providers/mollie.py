"""Mollie next-gen webhooks. https://docs.mollie.com/reference/webhooks-new

A webhook has one event; the payment, refund or chargeback as it was then is at `_embedded.entity`. The simple
payload has only its id. Amounts are texts in major units. Metadata is an object, a text, or a text with JSON
in it. Classic webhooks (a form with an id, to the `webhookUrl` of a payment) are not signed, and are refused.

Which type reports the money: `payment.paid`, whatever was paid, also by a payment link, for an invoice or for
a subscription. A refund is reported when it goes to the bank, so that one that fails there comes back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import (
    USER_KEYS,
    Detail,
    Id,
    Lines,
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
from linkrunner_webhooks.signatures.hmacs import HmacBody


class _Mollie(Payload):
    model_config = ConfigDict(alias_generator=to_camel)


class Snapshot(_Mollie):
    mode: Detail[str] = None


class Contained(_Mollie):
    entity: Detail[Snapshot] = None


class Head(_Mollie):
    id: str
    type: str
    created_at: object = None
    embedded: Part[Contained] = Field(alias="_embedded")


def identify(webhook: Webhook) -> Identity:
    """Nothing in a chargeback tells test from live. Test webhooks have secrets of their own."""
    head = parse(Head, webhook)
    entity = head.embedded.entity
    return Identity(
        event_id=name(head.id, "event id"),
        event_type=name(head.type, "event type"),
        occurred_at=iso_time(head.created_at),
        test=entity is not None and entity.mode == "test",
        # Other types may be complete without it.
        thin=entity is None and head.type in provider.types,
    )


def with_readable_metadata(webhook: Webhook) -> tuple[Webhook, ...]:
    """The webhook with JSON in the text of its metadata as an object, so that a path finds the user id."""
    try:
        body = json.loads(webhook.body)
        entity = body["_embedded"]["entity"]
        found = json.loads(entity["metadata"])
    except (KeyError, TypeError, ValueError, RecursionError):
        # The metadata is an object already, another text, or not there.
        return (webhook,)
    if not isinstance(found, dict):
        return (webhook,)
    entity["metadata"] = found
    return (replace(webhook, body=json.dumps(body).encode()),)


_LATER = "refund.processing reports the refund when it goes to the bank"
_DISPUTED = "chargeback.received reports the money that is taken back"

provider = Provider(
    name="mollie",
    title="Mollie",
    docs="https://docs.mollie.com/reference/webhooks-new",
    signature=HmacBody(headers=("x-mollie-signature",), encoding="hex", label="sha256="),
    identify=identify,
    unpack=with_readable_metadata,
    user_id=homes("_embedded.entity.metadata.{}", keys=(*USER_KEYS, "customer_id")),
    customer_ids=("_embedded.entity.customerId",),
    unique_ids=True,
    never={
        # A link is paid by a payment like any other, with an event of its own (unconfirmed).
        "payment-link.paid": "payment.paid reports the same payment, and the link does not name it",
        "capture.succeeded": "payment.paid reports all that was captured",
        "balance-transaction.created": "it is what a payment or a refund did to your balance",
        "refund.queued": _LATER,
        "refund.pending": _LATER,
        "refund.canceled": _LATER,
        "dispute.created": _DISPUTED,
        "dispute.updated": _DISPUTED,
        "dispute.resolved": "chargeback.reversed reports the money that comes back",
        # Its name is unconfirmed.
        "hook.ping": "it is only sent to see whether the webhook arrives",
    },
)

T = TypeVar("T", bound=Payload)


class Embedded(Payload, Generic[T]):
    entity: T


class Event(Payload, Generic[T]):
    embedded: Embedded[T] = Field(alias="_embedded")

    @property
    def entity(self) -> T:
        return self.embedded.entity


class Amount(Payload):
    value: Decimal
    currency: str

    @property
    def money(self) -> Money:
        return Money.of(self.value, self.currency)


class Metadata(Payload):
    """Whatever the merchant wrote."""

    order_id: OptionalId = None


# Payments


class Line(_Mollie):
    """Shipping, discounts and fees are lines, too."""

    type: Detail[str] = None
    sku: OptionalId = None
    quantity: Pieces = None
    unit_price: Detail[Amount] = None

    @property
    def sold(self) -> bool:
        return bool(self.sku) and self.type in (None, "physical", "digital")

    @property
    def item(self) -> Item:
        price = self.unit_price.value if self.unit_price else None
        return Item.product(self.sku, self.quantity, price)


class Payment(_Mollie):
    id: Id
    amount: Amount
    # The total of what was captured of an authorisation.
    amount_captured: Amount | None = None
    method: Detail[str] = None
    sequence_type: Detail[str] = None
    subscription_id: OptionalId = None
    order_id: OptionalId = None
    authorized_at: Detail[str] = None
    metadata: Part[Metadata]
    lines: Lines[Line]

    @property
    def renews(self) -> bool:
        return bool(self.subscription_id) or self.sequence_type == "recurring"

    @property
    def kind(self) -> Kind:
        """The kind of a payment that is made."""
        if self.renews:
            return Kind.SUBSCRIPTION_RENEWED
        started = self.sequence_type == "first"
        return Kind.SUBSCRIPTION_STARTED if started else Kind.PURCHASE_COMPLETED

    @property
    def paid(self) -> Money:
        """A payment is paid when all is captured, or what is left is released."""
        captured = self.amount_captured
        return captured.money if captured and captured.value > 0 else self.amount.money

    def event(self, kind: Kind, money: Money) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=(self.id,),
            order_id=first(self.metadata.order_id, self.order_id, self.id),
            subscription_id=self.subscription_id,
            items=tuple(line.item for line in self.lines if line.sold),
            payment_method=self.method or None,
        )


_PAID = (Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_STARTED, Kind.SUBSCRIPTION_RENEWED)


@provider.on("payment.paid", *_PAID)
def payment_paid(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    # A first payment of nothing only asks for the customer's consent: it starts without revenue.
    payment = event.entity
    yield payment.event(payment.kind, payment.paid)


@provider.on("payment.failed", Kind.PAYMENT_FAILED, Kind.SUBSCRIPTION_PAYMENT_FAILED)
def payment_failed(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    # Each attempt is a payment of its own.
    payment = event.entity
    kind = Kind.SUBSCRIPTION_PAYMENT_FAILED if payment.renews else Kind.PAYMENT_FAILED
    yield payment.event(kind, payment.amount.money)


@provider.off("payment.authorized", Kind.PURCHASE_INITIATED)
@provider.off("payment.pending", Kind.PURCHASE_INITIATED)
def payment_initiated(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    yield event.entity.event(context.kind, event.entity.amount.money)


@provider.on("payment.canceled", Kind.CHECKOUT_CANCELLED, besides={Kind.PURCHASE_CANCELLED: True})
def payment_canceled(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    payment = event.entity
    kind = Kind.PURCHASE_CANCELLED if payment.authorized_at else Kind.CHECKOUT_CANCELLED
    yield payment.event(kind, payment.amount.money)


@provider.on("payment.expired", Kind.CHECKOUT_ABANDONED, besides={Kind.PAYMENT_EXPIRED: True})
def payment_expired(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    payment = event.entity
    kind = Kind.PAYMENT_EXPIRED if payment.authorized_at else Kind.CHECKOUT_ABANDONED
    yield payment.event(kind, payment.amount.money)


# Refunds and chargebacks


class Returned(_Mollie):
    """A refund or a chargeback."""

    id: Id
    amount: Amount
    payment_id: OptionalId = None
    metadata: Part[Metadata]


# Whether every refund is in processing first is unconfirmed, so both types report it.
@provider.on("refund.processing", Kind.PURCHASE_REFUNDED)
@provider.on("refund.refunded", Kind.PURCHASE_REFUNDED)
# The bank sent it back. refund.processing has reported it.
@provider.on("refund.failed", Kind.REFUND_FAILED)
# A chargeback takes the money at once: Mollie warns of none.
@provider.on("chargeback.received", Kind.DISPUTE_OPENED)
@provider.on("chargeback.reversed", Kind.DISPUTE_WON)
def returned(event: Event[Returned], context: Context) -> Iterator[CommerceEvent]:
    went_back = event.entity
    yield CommerceEvent(
        kind=context.kind,
        money=went_back.amount.money,
        transactions=(went_back.id,),
        follows=known(went_back.payment_id),
        order_id=first(went_back.metadata.order_id, went_back.payment_id),
    )


# Invoices to customers


class PaidWith(_Mollie):
    source: Detail[str] = None


class Invoice(_Mollie):
    id: Id
    total_amount: Amount
    metadata: Part[Metadata]
    payment_details: Lines[PaidWith]

    @property
    def noted_by_hand(self) -> bool:
        """Whether it was paid elsewhere, and the merchant said so."""
        sources = {paid.source for paid in self.payment_details}
        return sources == {"manual"}

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=self.total_amount.money,
            transactions=(self.id,),
            order_id=first(self.metadata.order_id, self.id),
        )


@provider.off("sales-invoice.issued", Kind.INVOICE_ISSUED)
def invoice_issued(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    yield event.entity.event(context.kind)


@provider.off("sales-invoice.paid", Kind.INVOICE_PAID)
def invoice_paid(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    # payment.paid reports what is paid through Mollie.
    if event.entity.noted_by_hand:
        yield event.entity.event(context.kind)
