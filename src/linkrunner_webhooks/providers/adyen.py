"""Adyen standard webhooks. https://docs.adyen.com/development-resources/webhooks

A request may hold several items, each signed by itself over eight of its values; `unpack` makes a webhook of
each. Adyen holds everything back until a request is accepted, so whatever is authentic is. Values are texts,
also `success` and `live`; amounts are integers in the smallest unit. Keys of additionalData contain dots.

Which type reports the money: AUTHORISATION, because most merchants capture automatically. CAPTURE is for who
captures by hand, and shares the payment's reference, unless payments are captured in parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import Id, OptionalId, Payload, iso_time, name
from linkrunner_webhooks.signatures.signed_items import SignedItems

_ITEMS, _ITEM = "notificationItems", "NotificationRequestItem"
# Where Adyen's own table differs from ISO 4217; the ones of CLP and CVE are unconfirmed.
_EXPONENTS = {"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}


def identify(webhook: Webhook) -> Identity:
    """Several events of a payment share its reference; some have a file name or nothing at all for one."""
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
    """A webhook for each item; a single one stays as it was sent."""
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
    """`partial_captures`: payments are captured in parts, so CAPTURE reports money and AUTHORISATION none."""

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
        f'{_ADDITIONAL}."metadata.linkrunner_user_id"',
        f'{_ADDITIONAL}."metadata.user_id"',
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
        "MANUAL_REVIEW_ACCEPT": "AUTHORISATION has reported the payment",
        "MANUAL_REVIEW_REJECT": "CANCELLATION or REFUND report what became of the payment",
    },
    caution="""\
Adyen signs amounts and references, and not the user id. With gift cards one order is paid in several
AUTHORISATIONs, each reported with its part; ORDER_CLOSED reports the whole, so switch on one of them only.
""",
)


def _unambiguous(reference: str | None) -> str | None:
    """Values are signed joined by colons: with one inside, the same signature would fit other values."""
    if reference and ":" in reference:
        raise ValueError("a reference holds a colon")
    return reference


class _Adyen(Payload):
    model_config = ConfigDict(alias_generator=to_camel)


class Amount(_Adyen):
    value: int
    currency: str


class AdditionalData(_Adyen):
    """None of it is signed: it may say what happened, and not how much."""

    action: str | None = Field(default=None, alias="modification.action")
    recurring_processing_model: str | None = None
    shopper_interaction: str | None = None


class Item(_Adyen):
    psp_reference: Annotated[Id, AfterValidator(_unambiguous)]
    original_reference: Annotated[OptionalId, AfterValidator(_unambiguous)] = None
    merchant_reference: OptionalId = None
    payment_method: str | None = None
    amount: Amount | None = None
    success: str | None = None
    additional_data: AdditionalData | None = None

    @property
    def failed(self) -> bool:
        return self.success == "false"

    @property
    def succeeded(self) -> bool:
        return self.success == "true"

    @property
    def payment(self) -> str:
        """The reference of the payment, which later events call the original one."""
        return self.original_reference or self.psp_reference

    @property
    def money(self) -> Money:
        if self.amount is None:
            raise Untranslatable("the item has no amount")
        return Money.from_minor(self.amount.value, self.amount.currency, _EXPONENTS)

    @property
    def worth(self) -> Money | None:
        """The amount where it is not the point, and often zero."""
        return self.money if self.amount and self.amount.value else None

    @property
    def renews(self) -> bool:
        """A payment of a subscription without the shopper; not everybody has Adyen say who was there."""
        data = self.additional_data or AdditionalData()
        present = data.shopper_interaction not in (None, "ContAuth")
        return data.recurring_processing_model == "Subscription" and not present


class HeldItem(Payload):
    item: Item = Field(alias="NotificationRequestItem")


class Notification(_Adyen):
    notification_items: tuple[HeldItem]

    @property
    def item(self) -> Item:
        return self.notification_items[0].item


def _event(
    item: Item, kind: Kind, money: Money | None, transaction: str, *follows: str
) -> CommerceEvent:
    return CommerceEvent(
        kind=kind,
        money=money,
        transactions=(transaction,),
        follows=follows,
        order_id=item.merchant_reference or item.payment,
        payment_method=item.payment_method,
    )


@provider.on(
    "AUTHORISATION",
    Kind.PURCHASE_COMPLETED,
    Kind.SUBSCRIPTION_RENEWED,
    besides={Kind.PAYMENT_FAILED: True, Kind.PURCHASE_INITIATED: False},
)
def authorised(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    item = event.item
    # Nothing is authorised to check a card or to store it.
    if item.succeeded and item.money.amount:
        kind = Kind.SUBSCRIPTION_RENEWED if item.renews else Kind.PURCHASE_COMPLETED
        if context.options.partial_captures:
            kind = Kind.PURCHASE_INITIATED
        yield _event(item, kind, item.money, item.psp_reference)
    elif item.failed:
        yield _event(item, Kind.PAYMENT_FAILED, item.worth, item.psp_reference)


@provider.off("CAPTURE", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_RENEWED)
def captured(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    item = event.item
    if item.succeeded:
        kind = Kind.SUBSCRIPTION_RENEWED if item.renews else Kind.PURCHASE_COMPLETED
        # AUTHORISATION reports the same money, unless this is only a part of it.
        fact = item.psp_reference if context.options.partial_captures else item.payment
        yield _event(item, kind, item.money, fact, item.payment)


@provider.off("ORDER_CLOSED", Kind.PURCHASE_COMPLETED)
def order_closed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    if event.item.succeeded:
        yield _event(event.item, context.kind, event.item.money, event.item.psp_reference)


@provider.on("CAPTURE_FAILED", Kind.PURCHASE_REVERSED)
def capture_failed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    if event.item.succeeded:
        yield _returned(event.item, context.kind)


@provider.on("REFUND", Kind.PURCHASE_REFUNDED, Kind.REFUND_FAILED)
@provider.on("REFUND_WITH_DATA", Kind.PURCHASE_REFUNDED, Kind.REFUND_FAILED)
def refunded(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    # Each refund has a reference and an amount of its own. It may still fail days after its success.
    item = event.item
    if item.succeeded or item.failed:
        yield _returned(item, Kind.REFUND_FAILED if item.failed else Kind.PURCHASE_REFUNDED)


@provider.on("REFUND_FAILED", Kind.REFUND_FAILED)
@provider.on("REFUNDED_REVERSED", Kind.REFUND_FAILED)
def refund_failed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    yield _returned(event.item, context.kind)


def _returned(item: Item, kind: Kind) -> CommerceEvent:
    # A capture of a part is a payment of its own, and what fails has its reference.
    paid_by = dict.fromkeys((item.payment, item.psp_reference))
    return _event(item, kind, item.money, item.psp_reference, *paid_by)


@provider.on("CANCELLATION", Kind.PURCHASE_CANCELLED)
@provider.on("TECHNICAL_CANCEL", Kind.PURCHASE_CANCELLED)
def cancelled(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    if event.item.succeeded:
        yield _cancelled(event.item)


@provider.on("CANCEL_OR_REFUND", Kind.PURCHASE_CANCELLED, Kind.PURCHASE_REFUNDED)
def cancelled_or_refunded(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    item = event.item
    if item.succeeded:
        refund = item.additional_data is not None and item.additional_data.action == "refund"
        yield _returned(item, Kind.PURCHASE_REFUNDED) if refund else _cancelled(item)


def _cancelled(item: Item) -> CommerceEvent:
    return _event(item, Kind.PURCHASE_CANCELLED, item.worth, item.payment, item.payment)


@provider.on("CHARGEBACK", Kind.DISPUTE_OPENED)
@provider.off("NOTIFICATION_OF_CHARGEBACK", Kind.DISPUTE_OPENED)
@provider.off("REQUEST_FOR_INFORMATION", Kind.DISPUTE_OPENED)
@provider.on("CHARGEBACK_REVERSED", Kind.DISPUTE_WON)
@provider.on("SECOND_CHARGEBACK", Kind.DISPUTE_LOST)
@provider.on("PREARBITRATION_LOST", Kind.DISPUTE_LOST)
def disputed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    # All reports of a dispute have the dispute's reference. A payment can have several: one for each capture.
    item = event.item
    if not item.failed:
        yield _event(item, context.kind, item.money, item.psp_reference, item.payment)


@provider.off("OFFER_CLOSED", Kind.CHECKOUT_ABANDONED)
@provider.off("EXPIRE", Kind.PAYMENT_EXPIRED)
def ended(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    item = event.item
    if not item.failed:
        yield _event(item, context.kind, item.worth, item.payment, item.payment)
