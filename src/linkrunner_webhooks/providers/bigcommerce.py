"""BigCommerce webhooks. https://developer.bigcommerce.com/docs/integrations/webhooks

Standard Webhooks, signed with the client secret as it is written. Hooks that were made before there were
signatures have none, and are refused. A webhook has ids and statuses, and nothing else: no money and no
customer. The store is asked for these when it is delivered.

Which type reports the money: `store/order/statusUpdated`, when an order goes over from an unpaid status to a
paid one. `store/order/created` reports orders that are made as paid ones; both share the order's id.
`store/order/refund/created` reports each refund.

The API shows an order as it is today, whatever the webhook said. So what happened is the webhook's word: an
order that is refunded or cancelled by now was paid all the same, and its refund is a webhook of its own. Of
the order are read its total, its currency and its lines, which refunds do not change; one that was edited
since is reported as it was edited. Only an order that was created is paid if it is today.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pydantic import Field

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.lookups import Lookup, Token, in_turn, path
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider, Role
from linkrunner_webhooks.reading import (
    USER_KEYS,
    Detail,
    Id,
    Lines,
    OptionalId,
    Part,
    Payload,
    Pieces,
    Price,
    gateway,
    name,
    parse,
    present,
    unix_time,
)
from linkrunner_webhooks.signatures.hmacs import HmacWithHeaders

_EVENT_ID = "webhook-id"
_REFUND = "store/order/refund/created"
_CREATED = "store/order/created"


class Head(Payload):
    scope: str
    created_at: object = None


def identify(webhook: Webhook) -> Identity:
    """The hash in the body is no id: it is that of several scopes. Nothing tells a test."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(webhook.headers.get(_EVENT_ID), "header webhook-id"),
        event_type=name(head.scope, "scope"),
        occurred_at=unix_time(head.created_at),
    )


class BigCommerceOptions(Options):
    """`store_hash`: which store it is, as in the address of its API. No other store is asked for."""

    store_hash: str = Field(pattern=r"^[A-Za-z0-9]+$", examples=["abcde"])


def _store(options: BigCommerceOptions) -> str:
    return f"https://api.bigcommerce.com/stores/{options.store_hash}"


def asked(payload: Any) -> Iterator[str]:
    """What a webhook lacks: nothing where it reports nothing, lines only of a sale.

    What follows a payment belongs to its user, and so nobody asks for the user again.
    """
    event = Event.model_validate(payload)
    id = event.data.id
    if event.scope not in (_CREATED, _REFUND) and not event.kinds:
        return
    yield path("/v2/orders/{}", id)
    if event.scope == _REFUND:
        yield path("/v3/orders/payment_actions/refunds/{}", event.data.refund.refund_id)
        return
    if event.is_sale:
        yield path("/v2/orders/{}/products?limit=250", id)
    if not event.was_paid and not event.order.names_user:
        yield path("/v3/orders/{}/metafields?key=linkrunner_user_id", id)


_TWIN = "store/order/statusUpdated reports the order when it is paid"

provider = Provider(
    name="bigcommerce",
    title="BigCommerce",
    docs="https://developer.bigcommerce.com/docs/integrations/webhooks",
    role=Role.SHOP,
    signature=HmacWithHeaders(
        header="webhook-signature",
        signed=(_EVENT_ID, "webhook-timestamp"),
        joiner=".",
        version="v1",
    ),
    identify=identify,
    headers=(_EVENT_ID,),
    options=BigCommerceOptions,
    lookup=Lookup(
        next=in_turn(asked),
        base=_store,
        access=Token(header="x-auth-token", prefix=""),
        # 150 in 30 seconds are allowed, which all apps of the store share.
        per_second=3,
        needs="an API token with the scope Orders: read-only",
    ),
    user_id=(
        f"lookup[0].billing_address.form_fields[?name=='{USER_KEYS[0]}'].value",
        f"lookup[*].data[] | [?key=='{USER_KEYS[0]}'].value",
    ),
    customer_ids=("lookup[0].customer_id", "scope == 'store/customer/created' && data.id"),
    names_gateway="the order's payment_provider_id",
    never={
        "store/order/updated": "it comes with every change of an order",
        "store/order/transaction/created": _TWIN,
        "store/cart/converted": _TWIN,
    },
)


class Status(Payload):
    # 0, an incomplete order, reads as none.
    previous_status_id: OptionalId = None
    new_status_id: OptionalId = None


class Refunded(Payload):
    refund_id: OptionalId = None


class Subject(Payload):
    """The id of an order or a customer, a number or a text."""

    id: Id
    status: Part[Status]
    refund: Part[Refunded]


class FormField(Payload):
    name: Detail[str] = None


class Address(Payload):
    form_fields: Lines[FormField]


class Order(Payload):
    """The currency in which it is paid is called the default one; the other is the one that was shown."""

    total_inc_tax: Decimal
    default_currency_code: str
    status_id: OptionalId = None
    payment_method: Detail[str] = None
    payment_provider_id: OptionalId = None
    billing_address: Part[Address]

    @property
    def names_user(self) -> bool:
        return any(each.name == USER_KEYS[0] for each in self.billing_address.form_fields)

    @property
    def is_test(self) -> bool:
        """Whether it was paid at the gateway that takes no money."""
        return self.payment_method == "Test Payment Gateway"


class Line(Payload):
    product_id: OptionalId = None
    variant_id: OptionalId = None
    quantity: Pieces = None
    price_inc_tax: Price = None

    @property
    def item(self) -> Item:
        return Item.variant(
            content_id=self.variant_id or self.product_id,
            product_id=self.product_id,
            quantity=self.quantity,
            unit_price=self.price_inc_tax,
        )


class Products(Payload):
    lines: Lines[Line]


class Payment(Payload):
    """What a refund paid back by one way. It is declined later than it is made."""

    amount: Decimal
    is_declined: bool | None = None


class Refund(Payload):
    total_amount: Decimal
    payments: tuple[Payment, ...] | None = None

    @property
    def paid_back(self) -> Decimal:
        declined = (each.amount for each in self.payments or () if each.is_declined)
        return self.total_amount - sum(declined)


class Data(Payload):
    data: Refund


# Statuses that an order has when it is paid, and those that it has after that: refunded, disputed, refunded
# in part. What a dispute is about and how it ends is told by the gateway alone.
_PAID = frozenset({"2", "3", "8", "9", "10", "11"})
_AFTER = frozenset({"4", "13", "14"})
_STATES = {
    "2": Kind.ORDER_FULFILLED,
    "3": Kind.ORDER_PARTIALLY_FULFILLED,
    "5": Kind.ORDER_CANCELLED,
    "6": Kind.PAYMENT_FAILED,
    "10": Kind.ORDER_FULFILLED,
}


class Event(Payload):
    scope: str
    producer: str | None = None
    data: Subject
    lookup: tuple[object, ...] = ()

    @property
    def order(self) -> Order:
        return Order.model_validate(present(next(iter(self.lookup), None), "its order"))

    @property
    def refund(self) -> Refund:
        return Data.model_validate(self.lookup[1]).data

    @property
    def items(self) -> tuple[Item, ...]:
        listed = self.lookup[1] if len(self.lookup) > 1 else None
        return tuple(line.item for line in Products.model_validate({"lines": listed}).lines)

    @property
    def was_paid(self) -> bool:
        return self.data.status.previous_status_id in _PAID | _AFTER

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What a change of status means. Between two paid statuses nothing is paid."""
        status = self.data.status
        paid = status.new_status_id in _PAID and not self.was_paid
        state = _STATES.get(status.new_status_id or "")
        return (*((Kind.PURCHASE_COMPLETED,) if paid else ()), *((state,) if state else ()))

    @property
    def is_sale(self) -> bool:
        if self.scope == _CREATED:
            return self.order.status_id in _PAID | _AFTER
        return Kind.PURCHASE_COMPLETED in self.kinds

    def require_store(self, options: BigCommerceOptions) -> None:
        """Raises Untranslatable for a webhook of another store, whose orders have the same ids."""
        if self.producer != f"stores/{options.store_hash}":
            raise Untranslatable("the webhook is of another store than store_hash names")

    def event(self, kind: Kind, context: Context) -> CommerceEvent:
        self.require_store(context.options)
        order, id = self.order, self.data.id
        return CommerceEvent(
            kind=kind,
            money=Money.of(order.total_inc_tax, order.default_currency_code),
            transactions=(id,),
            order_id=id,
            payment_method=order.payment_method or None,
            gateway=gateway(order.payment_provider_id),
        )


# Orders


@provider.on(
    "store/order/statusUpdated",
    Kind.PURCHASE_COMPLETED,
    besides={
        Kind.ORDER_FULFILLED: True,
        Kind.ORDER_PARTIALLY_FULFILLED: False,
        Kind.ORDER_CANCELLED: True,
        Kind.PAYMENT_FAILED: False,
    },
)
def status_updated(event: Event, context: Context) -> Iterator[CommerceEvent]:
    for kind in event.kinds:
        told = event.event(kind, context)
        if event.order.is_test:
            return
        if kind is Kind.PURCHASE_COMPLETED:
            yield replace(told, items=event.items)
        else:
            yield replace(told, follows=told.transactions)


@provider.on(_CREATED, Kind.PURCHASE_COMPLETED, besides={Kind.PURCHASE_INITIATED: False})
def created(event: Event, context: Context) -> Iterator[CommerceEvent]:
    told = event.event(Kind.PURCHASE_INITIATED, context)
    if not event.order.is_test:
        yield told
        if event.is_sale:
            yield replace(told, kind=Kind.PURCHASE_COMPLETED, items=event.items)


@provider.on(_REFUND, Kind.PURCHASE_REFUNDED)
def refund_created(event: Event, context: Context) -> Iterator[CommerceEvent]:
    told, id = event.event(context.kind, context), event.data.refund.refund_id
    if not event.order.is_test:
        yield replace(
            told,
            # In the currency of the order (unconfirmed).
            money=Money.of(event.refund.paid_back, event.order.default_currency_code),
            transactions=(present(id, "its refund"),),
            follows=told.transactions,
        )


# Customers


@provider.off("store/customer/created", Kind.CUSTOMER_CREATED)
def customer_created(event: Event, context: Context) -> Iterator[CommerceEvent]:
    event.require_store(context.options)
    yield CommerceEvent(kind=context.kind, transactions=(event.data.id,))
