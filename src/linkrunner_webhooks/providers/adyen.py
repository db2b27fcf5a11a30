"""Adyen standard webhooks. https://docs.adyen.com/development-resources/webhooks

A request may hold several items. Each item has a signature of its own, over eight of its values; `unpack`
makes one webhook of each. Adyen sends nothing else until a request is accepted, so every authentic request
is accepted. Values are texts, also `success` and `live`. Amounts are integers in the smallest unit. Keys of
additionalData contain dots.

Which type reports the money: AUTHORISATION, because most merchants capture automatically. CAPTURE is for
merchants who capture by hand. It shares the payment's reference, unless payments are captured in parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    Id,
    OptionalId,
    Part,
    Payload,
    homes,
    iso_time,
    known,
    name,
)
from linkrunner_webhooks.signatures.signed_items import SignedItems

_ITEMS, _ITEM = "notificationItems", "NotificationRequestItem"
# The currencies for which Adyen's table differs from ISO 4217; CLP and CVE are unconfirmed.
_EXPONENTS = {"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}


def identify(webhook: Webhook) -> Identity:
    """Several events of a payment share its reference. In some types it is a file name, or missing."""
    try:
        body = json.loads(webhook.body)
        item = dict(body[_ITEMS][0][_ITEM])
    except (LookupError, RecursionError, TypeError, ValueError):
        raise Malformed("there is no item in the body") from None
    return Identity(
        event_id=_name(item.get("pspReference")) or webhook.digest,
        event_type=_name(item.get("eventCode")) or "unknown",
        resource_id=_name(item.get("originalReference")),
        occurred_at=iso_time(item.get("eventDate")),
        test=str(body.get("live")).lower() == "false",
    )


def _name(value: object) -> str | None:
    try:
        return name(str(value or ""), "reference")
    except Malformed:
        return None


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """One webhook for each item. A request with a single item stays as it was sent."""
    try:
        body = json.loads(webhook.body)
        items = body[_ITEMS]
        if len(items) == 1:
            return (webhook,)
        bodies = [json.dumps(body | {_ITEMS: [item]}).encode() for item in items]
    except (KeyError, RecursionError, TypeError, ValueError):
        raise Malformed("there are no items in the body") from None
    return tuple(replace(webhook, body=each) for each in bodies)


class AdyenOptions(Options):
    """`partial_captures`: payments are captured in parts, and CAPTURE reports the money of each part.

    AUTHORISATION then reports no money.
    """

    partial_captures: bool = False


_ADDITIONAL = f"{_ITEMS}[0].{_ITEM}.additionalData"

provider = Provider(
    name="adyen",
    title="Adyen",
    docs="https://docs.adyen.com/development-resources/webhooks",
    signature=SignedItems(
        items=_ITEMS,
        item=_ITEM,
        values=(
            "pspReference",
            "originalReference",
            "merchantAccountCode",
            "merchantReference",
            "amount.value",
            "amount.currency",
            "eventCode",
            "success",
        ),
        signature="additionalData.hmacSignature",
    ),
    identify=identify,
    unpack=unpack,
    acknowledgement="[accepted]",
    options=AdyenOptions,
    user_id=(
        # Metadata comes back under flat keys (unconfirmed naming).
        *homes(f'{_ADDITIONAL}."metadata.{{}}"'),
        f"{_ADDITIONAL}.shopperReference",
        f'{_ADDITIONAL}."recurring.shopperReference"',
        f'{_ADDITIONAL}."tokenization.shopperReference"',
    ),
    unique_ids=True,
    never={
        "RECURRING_CONTRACT": "a token was stored, and no money moved",
        "ORDER_OPENED": "nothing is paid yet; AUTHORISATION or ORDER_CLOSED report what is",
        "REPORT_AVAILABLE": "it is about a file, and links to it",
        "PAYOUT_THIRDPARTY": "the money goes out to somebody, and nobody bought anything",
        "AUTHORISATION_ADJUSTMENT": "it changes what was authorised; CAPTURE reports what is paid",
        "MANUAL_REVIEW_ACCEPT": "AUTHORISATION has reported the payment",
        "MANUAL_REVIEW_REJECT": "CANCELLATION or REFUND report what became of the payment",
    },
    caution="""\
Adyen signs amounts and references, and not the user id. With gift cards one order is paid in several
AUTHORISATIONs, each reported with its part; ORDER_CLOSED reports the whole, so switch on one of them only.
""",
)


def _unambiguous(reference: str | None) -> str | None:
    """The signed values are joined by colons: with a colon inside, other values have the same signature."""
    if reference and ":" in reference:
        raise ValueError("a reference holds a colon")
    return reference


class _Adyen(Payload):
    model_config = ConfigDict(alias_generator=to_camel)


class Amount(_Adyen):
    value: int | None = None
    currency: str | None = None


class AdditionalData(_Adyen):
    """Nothing in it is signed: it may decide the kind of an event, but not an amount."""

    action: str | None = Field(default=None, alias="modification.action")
    recurring_processing_model: str | None = None
    shopper_interaction: str | None = None


class Item(_Adyen):
    psp_reference: Annotated[Id, AfterValidator(_unambiguous)]
    original_reference: Annotated[OptionalId, AfterValidator(_unambiguous)] = None
    merchant_reference: OptionalId = None
    payment_method: str | None = None
    amount: Part[Amount]
    success: str | None = None
    additional_data: Part[AdditionalData]

    @property
    def failed(self) -> bool:
        return self.success == "false"

    @property
    def succeeded(self) -> bool:
        return self.success == "true"

    @property
    def payment(self) -> str:
        """The reference of the payment, which later events call the original reference."""
        return self.original_reference or self.psp_reference

    @property
    def money(self) -> Money:
        return Money.from_minor(self.amount.value, self.amount.currency, _EXPONENTS)

    @property
    def worth(self) -> Money | None:
        """The amount in events that move no money; it is often zero there."""
        return self.money if self.amount.value else None

    @property
    def payment_kind(self) -> Kind:
        """A payment of a subscription is a renewal, unless the body says that the shopper was there."""
        data = self.additional_data
        shopper_there = data.shopper_interaction not in (None, "ContAuth")
        renewal = data.recurring_processing_model == "Subscription" and not shopper_there
        return Kind.SUBSCRIPTION_RENEWED if renewal else Kind.PURCHASE_COMPLETED

    def event(
        self,
        kind: Kind,
        transactions: tuple[str, ...],
        money: Money | None,
        follows: tuple[str, ...] = (),
    ) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            follows=follows,
            order_id=self.merchant_reference or self.payment,
            payment_method=self.payment_method,
        )

    def modification(
        self, kind: Kind, transactions: tuple[str, ...], money: Money | None
    ) -> CommerceEvent:
        """A change of a payment. Its merchant reference is its own, so the payment's stands for the order."""
        # A partial capture is a payment of its own; CAPTURE_FAILED has the reference of that capture.
        paid_by = known(self.payment, self.psp_reference)
        event = self.event(kind, transactions, money, paid_by)
        return replace(event, order_id=self.original_reference or event.order_id)

    def went_back(self, kind: Kind) -> CommerceEvent:
        return self.modification(kind, (self.psp_reference,), self.money)

    def ended(self, kind: Kind) -> CommerceEvent:
        return self.modification(kind, (self.payment,), self.worth)


class HeldItem(Payload):
    item: Item = Field(alias="NotificationRequestItem")


class Event(_Adyen):
    notification_items: tuple[HeldItem]

    @property
    def item(self) -> Item:
        return self.notification_items[0].item


# Payments


@provider.on(
    "AUTHORISATION",
    Kind.PURCHASE_COMPLETED,
    Kind.SUBSCRIPTION_RENEWED,
    besides={Kind.PAYMENT_FAILED: True, Kind.PURCHASE_INITIATED: False},
)
def authorised(event: Event, context: Context) -> Iterator[CommerceEvent]:
    item = event.item
    # An amount of zero only checks a card or stores it.
    if item.succeeded and item.money.amount:
        kind = Kind.PURCHASE_INITIATED if context.options.partial_captures else item.payment_kind
        yield item.event(kind, (item.psp_reference,), item.money)
    elif item.failed:
        yield item.event(Kind.PAYMENT_FAILED, (item.psp_reference,), item.worth)


@provider.off("CAPTURE", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_RENEWED)
def captured(event: Event, context: Context) -> Iterator[CommerceEvent]:
    item = event.item
    if item.succeeded:
        # AUTHORISATION reports the same money, unless the capture is only a part of it.
        fact = item.psp_reference if context.options.partial_captures else item.payment
        yield item.modification(item.payment_kind, (fact,), item.money)


@provider.on("CANCELLATION", Kind.PURCHASE_CANCELLED)
@provider.on("TECHNICAL_CANCEL", Kind.PURCHASE_CANCELLED)
def cancelled(event: Event, context: Context) -> Iterator[CommerceEvent]:
    if event.item.succeeded:
        yield event.item.ended(context.kind)


@provider.off("OFFER_CLOSED", Kind.CHECKOUT_ABANDONED)
@provider.off("EXPIRE", Kind.PAYMENT_EXPIRED)
def expired(event: Event, context: Context) -> Iterator[CommerceEvent]:
    if not event.item.failed:
        yield event.item.ended(context.kind)


# Refunds and disputes


@provider.on("REFUND", Kind.PURCHASE_REFUNDED, Kind.REFUND_FAILED)
@provider.on("REFUND_WITH_DATA", Kind.PURCHASE_REFUNDED, Kind.REFUND_FAILED)
def refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Each refund has a reference and an amount of its own. It can still fail days after its success.
    item = event.item
    if item.succeeded:
        yield item.went_back(Kind.PURCHASE_REFUNDED)
    elif item.failed:
        # Without an amount: nothing was paid back that could come back.
        yield item.modification(Kind.REFUND_FAILED, (item.psp_reference,), None)


@provider.on("REFUND_FAILED", Kind.REFUND_REVERSED)
@provider.on("REFUNDED_REVERSED", Kind.REFUND_REVERSED)
def refund_reversed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.item.went_back(context.kind)


@provider.on("CAPTURE_FAILED", Kind.PURCHASE_REVERSED)
def capture_failed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    if event.item.succeeded:
        yield event.item.went_back(context.kind)


@provider.on("CANCEL_OR_REFUND", Kind.PURCHASE_CANCELLED, Kind.PURCHASE_REFUNDED)
def cancelled_or_refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    item = event.item
    if item.succeeded and item.additional_data.action == "refund":
        yield item.went_back(Kind.PURCHASE_REFUNDED)
    elif item.succeeded:
        yield item.ended(Kind.PURCHASE_CANCELLED)


@provider.on("CHARGEBACK", Kind.DISPUTE_OPENED)
@provider.off("NOTIFICATION_OF_CHARGEBACK", Kind.DISPUTE_OPENED)
@provider.off("REQUEST_FOR_INFORMATION", Kind.DISPUTE_WARNING)
@provider.on("CHARGEBACK_REVERSED", Kind.DISPUTE_WON)
@provider.on("PREARBITRATION_WON", Kind.DISPUTE_WON)
@provider.on("SECOND_CHARGEBACK", Kind.DISPUTE_LOST)
@provider.on("PREARBITRATION_LOST", Kind.DISPUTE_LOST)
def disputed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # All events of a dispute have its reference. A payment can have several disputes: one for each capture.
    item = event.item
    if not item.failed:
        yield item.event(context.kind, (item.psp_reference,), item.money, (item.payment,))


# Orders


@provider.off("ORDER_CLOSED", Kind.PURCHASE_COMPLETED)
def order_closed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    item = event.item
    if item.succeeded:
        yield item.event(context.kind, (item.psp_reference,), item.money)
