"""WooCommerce webhooks. https://woocommerce.com/document/webhooks/ and class WC_Webhook in its source

The sender is the merchant's own site. There is no event id.

Which type reports the money: `order.updated`, as everything else that happens to an order, again at every
later change of it. So every body is read as the present state: each happening that it lists is reported, and
one that was reported before is a duplicate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider, Role
from linkrunner_webhooks.reading import (
    Detail,
    Id,
    Lines,
    OptionalId,
    Payload,
    Pieces,
    Price,
    gateway,
    iso_time,
    lately,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody

_TOPIC = "x-wc-webhook-topic"
_DELIVERY = "x-wc-webhook-delivery-id"
_SIGNATURE = "x-wc-webhook-signature"
_PING = re.compile(rb"webhook_id=[0-9]{1,20}")


class Head(Payload):
    date_modified_gmt: object = None


def identify(webhook: Webhook) -> Identity:
    """The delivery id finds a delivery in the shop's log. Deliveries of one second share it."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(webhook.headers.get(_DELIVERY) or webhook.digest, "delivery id"),
        event_type=name(webhook.headers.get(_TOPIC), "header X-WC-Webhook-Topic"),
        occurred_at=iso_time(head.date_modified_gmt, UTC),
        signed=False,
    )


def pinged(webhook: Webhook) -> bool:
    """WooCommerce posts the id of a saved webhook as an unsigned form, and the admin page needs a 200."""
    return _SIGNATURE not in webhook.headers and bool(_PING.fullmatch(webhook.body.strip()))


def wordpress_key(secret: str) -> bytes:
    """WordPress decodes these five entities, and only these, before it signs."""
    entities = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#039;", "'"), ("&amp;", "&"))
    for entity, character in entities:
        secret = secret.replace(entity, character)
    return secret.encode()


class WooCommerceOptions(Options):
    """`processing_is_paid`: for cash on delivery, an order in work counts as paid.

    `content_id`: what the product catalogue keys on, the id of the variation or product, or the SKU.
    """

    processing_is_paid: bool = False
    content_id: Literal["id", "sku"] = "id"


provider = Provider(
    name="woocommerce",
    title="WooCommerce",
    docs="https://woocommerce.com/document/webhooks/",
    role=Role.SHOP,
    signature=HmacBody(headers=(_SIGNATURE,), encoding="base64", key=wordpress_key),
    identify=identify,
    handshake=pinged,
    headers=(_TOPIC, _DELIVERY),
    user_id=(
        "meta_data[?key=='linkrunner_user_id'].value",
        # Some sites send an object in place of the list.
        "values(meta_data)[?key=='linkrunner_user_id'].value",
        "line_items[].meta_data[] | [?key=='linkrunner_user_id'].value",
    ),
    customer_ids=("customer_id", "username && id"),
    options=WooCommerceOptions,
    names_gateway="the order's transaction_id",
    caution="""\
Orders list their refunds without dates. One that is edited more than `LedgerDays` (400) after a refund was
reported reports it again, and so does an old order that is edited first after this source was switched on.
""",
)


# Orders


def _listed(value: object) -> object:
    return tuple(value.values()) if isinstance(value, dict) else value or ()


class Meta(Payload):
    key: Detail[str] = None
    value: object = None


Metas = Annotated[tuple[Meta, ...] | None, BeforeValidator(_listed)]


class Line(Payload):
    product_id: OptionalId = None
    variation_id: OptionalId = None
    sku: OptionalId = None
    quantity: Pieces = None
    price: Price = None

    def item(self, context: Context) -> Item:
        variation = self.variation_id if self.variation_id != "0" else None
        by_id = variation or self.product_id
        return Item.variant(
            content_id=self.sku if context.options.content_id == "sku" else by_id,
            product_id=self.product_id,
            quantity=self.quantity,
            # PHP writes floats in full: 0.30000000000000004.
            unit_price=self.price and round(self.price, 6),
        )


class Coupon(Payload):
    code: str | None = None


class Refund(Payload):
    id: Id
    total: Decimal


class Order(Payload):
    id: Id
    status: str
    currency: str
    total: Decimal
    date_created_gmt: str | None = None
    date_modified_gmt: str | None = None
    date_paid_gmt: str | None = None
    date_completed_gmt: str | None = None
    payment_method: Detail[str] = None
    transaction_id: Detail[str] = None
    meta_data: Metas = None
    line_items: Lines[Line]
    coupon_lines: Lines[Coupon]
    refunds: tuple[Refund, ...] | None = None

    @property
    def renewed(self) -> str | None:
        """The subscription this order renews, as the Subscriptions plugin notes it."""
        found = [meta.value for meta in self.meta_data or () if meta.key == "_subscription_renewal"]
        id = found[0] if found else None
        return str(id) if isinstance(id, str | int) and not isinstance(id, bool) else None

    @property
    def of_version_1(self) -> bool:
        """Whether the webhook has the first version of the REST API, in which times are in no known zone."""
        return not self.model_fields_set.intersection(
            ("date_created_gmt", "date_modified_gmt", "date_paid_gmt", "date_completed_gmt")
        )

    def paid(self, context: Context) -> bool:
        """Plugins add statuses of their own, like "shipped", so those are listed that are not paid."""
        by_date = bool(self.date_paid_gmt) or context.options.processing_is_paid
        return by_date and self.status not in _NOT_PAID

    def lately(self, date: str | None) -> bool:
        """Whether it happened, at that date or else with the order, not long before this change.

        An order is reported again at every change, for years.
        """
        happened = iso_time(date or self.date_created_gmt, UTC)
        return lately(happened, iso_time(self.date_modified_gmt, UTC))

    def event(self, kind: Kind, context: Context, at: str | None = None) -> CommerceEvent:
        coupons = (line.code for line in self.coupon_lines)
        return CommerceEvent(
            kind=kind,
            money=Money.of(self.total, self.currency),
            transactions=(self.id,),
            occurred_at=iso_time(at, UTC),
            order_id=self.id,
            subscription_id=self.renewed,
            items=tuple(line.item(context) for line in self.line_items),
            payment_method=self.payment_method or None,
            gateway=gateway(self.transaction_id),
            coupon=",".join(code for code in coupons if code) or None,
        )

    def refunded(self, refund: Refund) -> CommerceEvent:
        return CommerceEvent(
            kind=Kind.PURCHASE_REFUNDED,
            # Refunds are written as negative amounts.
            money=Money.of(abs(refund.total), self.currency),
            transactions=(refund.id,),
            follows=(self.id,),
            order_id=self.id,
            gateway=gateway(self.transaction_id),
        )


_NOT_PAID = (
    "pending",
    "failed",
    "cancelled",
    "on-hold",
    "checkout-draft",
    "draft",
    "auto-draft",
    "trash",
)
_ORDER_STATES = {
    Kind.SUBSCRIPTION_RENEWED: True,
    Kind.ORDER_FULFILLED: True,
    Kind.ORDER_CANCELLED: True,
    Kind.PURCHASE_REFUNDED: True,
    Kind.PAYMENT_FAILED: False,
}


@provider.on(
    "order.created",
    Kind.PURCHASE_COMPLETED,
    besides=_ORDER_STATES | {Kind.PURCHASE_INITIATED: False},
)
def order_created(order: Order, context: Context) -> Iterator[CommerceEvent]:
    if order.status != "checkout-draft":
        yield order.event(Kind.PURCHASE_INITIATED, context)
        yield from order_updated(order, context)


def _version_1() -> Untranslatable:
    return Untranslatable("version 1 of the API; set the webhook's to WP REST API Integration v3")


@provider.on("order.updated", Kind.PURCHASE_COMPLETED, besides=_ORDER_STATES)
def order_updated(order: Order, context: Context) -> Iterator[CommerceEvent]:
    if order.of_version_1:
        raise _version_1()
    if order.paid(context) and order.lately(order.date_paid_gmt):
        kind = Kind.SUBSCRIPTION_RENEWED if order.renewed else Kind.PURCHASE_COMPLETED
        yield order.event(kind, context, order.date_paid_gmt)
    states = {
        "completed": Kind.ORDER_FULFILLED,
        "cancelled": Kind.ORDER_CANCELLED,
        "failed": Kind.PAYMENT_FAILED,
    }
    at = order.date_completed_gmt if order.status == "completed" else None
    if order.status in states and order.lately(at):
        yield order.event(states[order.status], context, at)
    for refund in order.refunds or ():
        # Plugins list a refund that is not saved yet as 0, and all orders share that id.
        if refund.id != "0":
            yield order.refunded(refund)


# Subscriptions


class Subscription(Payload):
    """Of the Subscriptions plugin; its topics and states are unconfirmed."""

    id: Id
    status: str
    billing_period: str
    date_created_gmt: str | None = None
    date_modified_gmt: str | None = None

    @property
    def of_version_1(self) -> bool:
        return not self.model_fields_set.intersection(("date_created_gmt", "date_modified_gmt"))

    @property
    def kind(self) -> Kind | None:
        """The meaning of its state. Every renewal leaves it active, for years after it started."""
        kind = _SUBSCRIPTION_STATES.get(self.status)
        started = kind is Kind.SUBSCRIPTION_STARTED
        created, modified = (
            iso_time(date, UTC) for date in (self.date_created_gmt, self.date_modified_gmt)
        )
        return kind if lately(created, modified) or not started else None


_SUBSCRIPTION_STATES = {
    "active": Kind.SUBSCRIPTION_STARTED,
    "on-hold": Kind.SUBSCRIPTION_PAUSED,
    "pending-cancel": Kind.SUBSCRIPTION_CANCEL_SCHEDULED,
    "cancelled": Kind.SUBSCRIPTION_CANCELLED,
    "expired": Kind.SUBSCRIPTION_EXPIRED,
}


# A subscription is on hold for a moment at every renewal, and nothing tells that it goes on.
_ONCE = tuple(kind for kind in _SUBSCRIPTION_STATES.values() if kind != Kind.SUBSCRIPTION_PAUSED)


@provider.on("subscription.created", *_ONCE, besides={Kind.SUBSCRIPTION_PAUSED: False})
@provider.on("subscription.updated", *_ONCE, besides={Kind.SUBSCRIPTION_PAUSED: False})
def subscription_changed(subscription: Subscription, context: Context) -> Iterator[CommerceEvent]:
    if subscription.of_version_1:
        raise _version_1()
    # No amount: the orders report it. Each state once: the body is sent again at every change.
    kind = subscription.kind
    if kind:
        yield CommerceEvent(
            kind=kind,
            transactions=(subscription.id,),
            # The other states have no time of their own.
            occurred_at=iso_time(subscription.date_created_gmt, UTC)
            if kind is Kind.SUBSCRIPTION_STARTED
            else None,
            subscription_id=subscription.id,
        )


# Customers


class Customer(Payload):
    id: Id
    username: str


@provider.off("customer.created", Kind.CUSTOMER_CREATED)
def customer_created(customer: Customer, context: Context) -> Iterator[CommerceEvent]:
    yield CommerceEvent(kind=context.kind, transactions=(customer.id,))
