"""Shopify webhooks. https://shopify.dev/docs/apps/build/webhooks

The body is the bare REST resource. Topic, shop and ids come in headers, which the signature does not cover,
so the ids of facts are taken from the body. Amounts are text in major units.

Which topic reports the money: `orders/paid`, and `orders/create` for orders that are paid when they are
created. Other created orders are not paid yet, and cash on delivery may never be; where a shop lives on it,
call them `purchase_completed`, and every order counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import (
    CommerceEvent,
    Identity,
    Item,
    Kind,
    SamePerson,
    Webhook,
)
from linkrunner_webhooks.money import Money, rounded
from linkrunner_webhooks.provider import Context, Options, Provider, Role
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    Lines,
    OptionalId,
    Payload,
    Pieces,
    Price,
    dispute_kind,
    first,
    iso_time,
    known,
    name,
    parse,
    price,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody

# Two header families: today's, and that of the newer "Events" product.
_FAMILIES = ("x-shopify-", "shopify-")
_HEADERS = (
    "topic",
    "shop-domain",
    "api-version",
    "webhook-id",
    "event-id",
    "triggered-at",
    "test",
)


class Test(Payload):
    test: Detail[bool] = None


class Edited(Payload):
    id: OptionalId = None


class Head(Payload):
    id: OptionalId = None
    admin_graphql_api_id: OptionalId = None
    test: Detail[bool] = None
    processed_at: object = None
    created_at: object = None
    transactions: Lines[Test]
    order_edit: Detail[Edited] = None

    @property
    def resource_id(self) -> str | None:
        edit = self.order_edit.id if self.order_edit else None
        return first(self.admin_graphql_api_id, self.id, edit)

    @property
    def is_test(self) -> bool:
        # Only the samples of "Send test notification" have an id of null.
        sample = "id" in self.model_fields_set and self.id is None
        return sample or bool(self.test) or any(part.test for part in self.transactions)


def identify(webhook: Webhook) -> Identity:
    """The official SDK refuses requests without topic, shop, version or webhook id; so do we."""
    headers = _shopify_headers(webhook.headers)
    head = parse(Head, webhook)
    for required in ("shop-domain", "api-version", "webhook-id"):
        name(headers.get(required), f"header X-Shopify-{required.title()}")
    return Identity(
        # Shared by all deliveries of one merchant action, over topics and subscriptions.
        event_id=name(headers.get("event-id") or headers.get("webhook-id"), "event id"),
        event_type=name(headers.get("topic"), "header X-Shopify-Topic"),
        resource_id=head.resource_id,
        occurred_at=iso_time(headers.get("triggered-at") or head.processed_at or head.created_at),
        test=headers.get("test") == "true" or head.is_test,
        signed=False,
    )


def _shopify_headers(headers: Mapping[str, str]) -> dict[str, str]:
    family = next((family for family in _FAMILIES if f"{family}topic" in headers), _FAMILIES[0])
    return {key: headers[family + key] for key in _HEADERS if family + key in headers}


class ShopifyOptions(Options):
    """`money`: report the shop's currency (`shop`) or the currency the customer paid in (`presentment`)."""

    money: Literal["shop", "presentment"] = "shop"


provider = Provider(
    name="shopify",
    title="Shopify",
    docs="https://shopify.dev/docs/apps/build/webhooks",
    role=Role.SHOP,
    signature=HmacBody(
        headers=tuple(f"{family}hmac-sha256" for family in _FAMILIES), encoding="base64"
    ),
    identify=identify,
    headers=tuple(family + key for family in _FAMILIES for key in _HEADERS),
    user_id=(
        # Cart attributes end up as note attributes of the order.
        "note_attributes[?name=='linkrunner_user_id'].value",
        "line_items[].properties[] | [?name=='linkrunner_user_id'].value",
        # In a cart the properties are an object.
        "line_items[].properties.linkrunner_user_id",
        "customer.multipass_identifier",
        # customers/create: the body is the customer.
        "starts_with(admin_graphql_api_id || '', 'gid://shopify/Customer/') && multipass_identifier",
    ),
    customer_ids=(
        "customer.id",
        "customer_id",
        "starts_with(admin_graphql_api_id || '', 'gid://shopify/Customer/') && id",
    ),
    options=ShopifyOptions,
    unique_ids=True,
    never={
        "app/uninstalled": "it is about your app, not about a shopper",
        "app_subscriptions/update": "it is about your app, not about a shopper",
        "customers/data_request": "privacy requests are answered and never forwarded",
        "customers/redact": "privacy requests are answered and never forwarded",
        "shop/redact": "privacy requests are answered and never forwarded",
        "orders/updated": "orders/paid, orders/cancelled and refunds/create report what changed",
        "draft_orders/create": "a completed draft becomes an order, which orders/* report",
        "draft_orders/update": "a completed draft becomes an order, which orders/* report",
        "draft_orders/delete": "a completed draft becomes an order, which orders/* report",
        "returns/request": "a return moves no money; refunds/create reports what is paid back",
        "returns/approve": "a return moves no money; refunds/create reports what is paid back",
        "returns/decline": "a return moves no money; refunds/create reports what is paid back",
        "returns/cancel": "a return moves no money; refunds/create reports what is paid back",
        "returns/close": "a return moves no money; refunds/create reports what is paid back",
        "returns/reopen": "a return moves no money; refunds/create reports what is paid back",
        "returns/update": "a return moves no money; refunds/create reports what is paid back",
    },
)


def _exact(id: str, graphql_id: str | None) -> str:
    """The number in the GraphQL id is exact where JavaScript on the way has rounded `id`."""
    number = (graphql_id or "").rpartition("/")[2]
    return number if number.isdigit() else id


class Resource(Payload):
    """A REST resource. Topics are not signed, so its GraphQL id must name the resource of the topic."""

    resource: ClassVar[str]

    id: Id
    admin_graphql_api_id: OptionalId = None

    @model_validator(mode="after")
    def _fits_the_topic(self) -> Self:
        graphql_id = self.admin_graphql_api_id or ""
        if graphql_id and not graphql_id.startswith(f"gid://shopify/{self.resource}/"):
            raise ValueError("another resource")
        return self

    @property
    def exact_id(self) -> str:
        return _exact(self.id, self.admin_graphql_api_id)


# Amounts and lines


class Amount(Payload):
    amount: Decimal
    currency_code: str


class AmountSet(Payload):
    """An amount on both sides: in the shop's currency, and in the one the customer paid in."""

    shop_money: Amount | None = None
    presentment_money: Amount | None = None

    def pick(self, context: Context) -> Amount | None:
        presentment = context.options.money == "presentment"
        return self.presentment_money if presentment else self.shop_money

    def within(self, currency: str) -> Decimal | None:
        """The amount in that currency. One event never mixes shop and presentment money."""
        for side in (self.shop_money, self.presentment_money):
            if side and side.currency_code == currency:
                return side.amount
        return None


class Line(Payload):
    """A line of an order, a checkout or a cart; `price` is per piece and before discounts."""

    variant_id: OptionalId = None
    product_id: OptionalId = None
    quantity: Pieces = None
    # After edits and refunds.
    current_quantity: Pieces = None
    # Read by `bare_price`, and only where it is asked for: hardly a line lacks its set.
    price: object = None
    price_set: Detail[AmountSet] = None

    def item(
        self, currency: str | None, shop_currency: str | None, quantity: int | None = None
    ) -> Item:
        """Priced in `currency`; the bare price is in the shop's."""
        if currency and self.prices:
            unit_price = self.prices.within(currency)
        else:
            unit_price = self.bare_price if currency == shop_currency else None
        return Item.variant(
            # Catalogues fed by Shopify key on the variant.
            content_id=self.variant_id,
            product_id=self.product_id,
            quantity=self.quantity if quantity is None else quantity,
            unit_price=unit_price,
        )

    @property
    def bare_price(self) -> Decimal | None:
        return price(self.price)

    @property
    def prices(self) -> AmountSet | None:
        return self.price_set


class Discount(Payload):
    code: str | None = None


# Checkouts


class Checkout(Resource):
    """Also what an order and a checkout have in common."""

    resource = "Checkout"

    updated_at: str | None = None
    total_price: Decimal
    currency: str
    presentment_currency: str | None = None
    total_price_set: AmountSet | None = None
    line_items: Lines[Line]
    discount_codes: Lines[Discount]

    def money(self, context: Context) -> Money:
        """Amount and currency, both in shop money or both in presentment money."""
        return self.total(self.total_price, self.total_price_set, context)

    def total(self, bare: Decimal, both: AmountSet | None, context: Context) -> Money:
        picked = both and both.pick(context)
        if picked:
            return Money.of(picked.amount, picked.currency_code)
        same = (self.presentment_currency or self.currency) == self.currency
        if context.options.money == "shop" or same:
            return Money.of(bare, self.currency)
        raise Untranslatable('the body has no presentment amount; set money = "shop"')

    def items(self, money: Money) -> tuple[Item, ...]:
        return tuple(line.item(money.currency, self.currency) for line in self.line_items)

    @property
    def coupon(self) -> str | None:
        return ",".join(code.code for code in self.discount_codes if code.code) or None

    # What only an order has.
    @property
    def order_id(self) -> str | None:
        return None

    @property
    def payment_method(self) -> str | None:
        return None

    def event(self, kind: Kind, context: Context, transactions: tuple[str, ...]) -> CommerceEvent:
        money = self.money(context)
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=self.order_id,
            items=self.items(money),
            payment_method=self.payment_method,
            coupon=self.coupon,
        )


# It comes before the customer has said who they are, so that only a cart attribute names a user.
@provider.off("checkouts/create", Kind.CHECKOUT_STARTED)
def checkout_created(checkout: Checkout, context: Context) -> Iterator[CommerceEvent]:
    yield checkout.event(context.kind, context, (checkout.id,))


@provider.off("checkouts/update", Kind.CHECKOUT_UPDATED)
def checkout_updated(checkout: Checkout, context: Context) -> Iterator[CommerceEvent]:
    yield checkout.event(context.kind, context, (f"{checkout.id}:{checkout.updated_at}",))


# Orders


class Refunded(Payload):
    transactions: tuple[object, ...] | None = None


class Order(Checkout):
    resource = "Order"

    financial_status: str | None = None
    # `current_*` are values after edits and refunds.
    current_total_price: Decimal | None = None
    current_total_price_set: AmountSet | None = None
    subtotal_price: Price = None
    current_subtotal_price: Price = None
    total_discounts: Price = None
    current_total_discounts: Price = None
    total_tax: Price = None
    current_total_tax: Price = None
    total_shipping_price_set: Detail[AmountSet] = None
    current_shipping_price_set: Detail[AmountSet] = None
    refunds: tuple[Refunded, ...] | None = None
    payment_gateway_names: Lines[str]
    gateway: str | None = None
    # Only a checkout has one, and a checkout may come without a GraphQL id.
    abandoned_checkout_url: None = None

    @cached_property
    def edited(self) -> bool:
        """Whether it was edited before it was paid, so that the current values are what was owed."""
        # After a refund they are not: they leave out money that was paid.
        if any(refund.transactions for refund in self.refunds or ()):
            return False
        return (
            _changed(self.subtotal_price, self.current_subtotal_price)
            or _changed(self.total_discounts, self.current_total_discounts)
            or _changed(self.total_tax, self.current_total_tax)
            or any(_changed(line.quantity, line.current_quantity) for line in self.line_items)
            or _changed(self.total_shipping_price_set, self.current_shipping_price_set)
        )

    def money(self, context: Context) -> Money:
        if self.current_total_price is None or not self.edited:
            return super().money(context)
        return self.total(self.current_total_price, self.current_total_price_set, context)

    def items(self, money: Money) -> tuple[Item, ...]:
        if not self.edited:
            return super().items(money)
        return tuple(
            line.item(money.currency, self.currency, line.current_quantity)
            for line in self.line_items
            if line.current_quantity != 0
        )

    @property
    def order_id(self) -> str | None:
        return self.exact_id

    @property
    def payment_method(self) -> str | None:
        return ",".join(self.payment_gateway_names) or self.gateway


def _changed(before: object, now: object) -> bool:
    """Whether both are known and differ."""
    return before is not None and now is not None and before != now


@provider.on("orders/paid", Kind.PURCHASE_COMPLETED)
@provider.on("orders/cancelled", Kind.ORDER_CANCELLED)
@provider.on("orders/fulfilled", Kind.ORDER_FULFILLED)
def order_changed(order: Order, context: Context) -> Iterator[CommerceEvent]:
    # The topic says that an order is paid. financial_status is not read: test deliveries have wrong values.
    yield order.event(context.kind, context, (order.exact_id,))


@provider.off("orders/create", Kind.PURCHASE_INITIATED, besides={Kind.PURCHASE_COMPLETED: True})
def order_created(order: Order, context: Context) -> Iterator[CommerceEvent]:
    yield order.event(Kind.PURCHASE_INITIATED, context, (order.exact_id,))
    # Orders that an app creates as paid may never raise orders/paid (unconfirmed).
    if order.financial_status == "paid":
        yield order.event(Kind.PURCHASE_COMPLETED, context, (order.exact_id,))


@provider.off("orders/partially_fulfilled", Kind.ORDER_PARTIALLY_FULFILLED)
def order_partially_fulfilled(order: Order, context: Context) -> Iterator[CommerceEvent]:
    yield order.event(context.kind, context, (f"{order.exact_id}:{order.updated_at}",))


class OrderEdit(Payload):
    id: Id
    order_id: Id


class OrderEdited(Payload):
    order_edit: OrderEdit


@provider.off("orders/edited", Kind.ORDER_EDITED)
def order_edited(edited: OrderEdited, context: Context) -> Iterator[CommerceEvent]:
    edit = edited.order_edit
    yield CommerceEvent(
        kind=context.kind,
        transactions=(edit.id,),
        follows=(edit.order_id,),
        order_id=edit.order_id,
    )


# Payments and refunds


class Transaction(Resource):
    resource = "OrderTransaction"

    order_id: OptionalId = None
    kind: str | None = None
    status: str | None = None
    gateway: str | None = None
    amount: Decimal
    currency: str
    created_at: str | None = None
    # Names both currencies; its amounts are another matter.
    total_unsettled_set: Detail[AmountSet] = None

    @property
    def refunds(self) -> bool:
        """Whether it pays money back: Shopify Payments announces a refund as pending, and never again."""
        return self.kind == "refund" and self.status in ("success", "pending")

    @property
    def refund_key(self) -> str | None:
        """The transaction in itself and in its refund; with a prefix, for a refund may have an equal id."""
        created_at = iso_time(self.created_at)
        what = f"transaction:{self.exact_id}:{self.amount.normalize():f}"
        return f"{what}:{created_at.isoformat()}" if created_at else None

    def event(
        self, kind: Kind, transactions: tuple[str, ...], money: Money | None
    ) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            follows=known(self.order_id),
            order_id=self.order_id,
            payment_method=self.gateway,
        )


@provider.off(
    "order_transactions/create",
    Kind.PAYMENT_CAPTURED,
    besides={
        Kind.PURCHASE_REFUNDED: True,
        Kind.REFUND_FAILED: True,
        # The order is not paid, so nothing says whose attempt it was.
        Kind.PAYMENT_FAILED: False,
    },
)
def transaction_created(made: Transaction, context: Context) -> Iterator[CommerceEvent]:
    money, failed = Money.of(made.amount, made.currency), made.status in ("failure", "error")
    if made.refunds and _on_our_side(made, context):
        yield made.event(Kind.PURCHASE_REFUNDED, known(made.refund_key), money)
    elif made.kind == "refund" and failed:
        # No amount: whether the refund was counted before it failed is unconfirmed.
        yield made.event(Kind.REFUND_FAILED, (made.exact_id,), None)
    elif made.kind in ("capture", "sale") and made.status == "success":
        # One order can be captured in parts, so the order is not the fact.
        yield made.event(Kind.PAYMENT_CAPTURED, (made.exact_id,), money)
    elif made.kind in ("authorization", "sale", "capture") and failed:
        yield made.event(Kind.PAYMENT_FAILED, (made.exact_id,), money)


def _on_our_side(made: Transaction, context: Context) -> bool:
    """Whether its currency is the one we report; if not, refunds/create has the amount in that one."""
    ours = made.total_unsettled_set.pick(context) if made.total_unsettled_set else None
    return ours is None or ours.currency_code == made.currency


class RefundLine(Payload):
    quantity: Pieces = None
    line_item: Detail[Line] = None
    subtotal_set: AmountSet | None = None
    total_tax_set: AmountSet | None = None

    @property
    def sets(self) -> tuple[AmountSet | None, ...]:
        return self.subtotal_set, self.total_tax_set


class ShippingLine(Payload):
    subtotal_amount_set: AmountSet | None = None
    total_tax_amount_set: AmountSet | None = None

    @property
    def sets(self) -> tuple[AmountSet | None, ...]:
        return self.subtotal_amount_set, self.total_tax_amount_set


class Adjustment(Payload):
    amount_set: AmountSet | None = None


class Refund(Resource):
    resource = "Refund"

    order_id: Id
    transactions: tuple[Transaction, ...] | None = None
    refund_line_items: Lines[RefundLine]
    refund_shipping_lines: Lines[ShippingLine]
    order_adjustments: Lines[Adjustment]

    @property
    def paid(self) -> tuple[Transaction, ...]:
        return tuple(part for part in self.transactions or () if part.refunds)

    def money(self, paid: Transaction, context: Context) -> Money:
        """The amount of one transaction, on the side that is reported."""
        if len({part.currency for part in self.paid}) > 1:
            raise Untranslatable("one refund in several currencies")
        adjusted = [row.amount_set for row in self.order_adjustments if row.amount_set]
        lines = self._lines or adjusted
        whole = Money.of(sum((part.amount for part in self.paid), Decimal(0)), paid.currency)
        converted = _converted(whole, lines, adjusted, context)
        if len(self.paid) == 1:
            return converted
        if converted.currency == paid.currency:
            return Money.of(paid.amount, paid.currency)
        share = paid.amount * converted.amount / whole.amount
        return Money.of(rounded(share, converted.currency), converted.currency)

    def items(self, money: Money) -> tuple[Item, ...]:
        return tuple(
            line.line_item.item(money.currency, money.currency, line.quantity)
            for line in self.refund_line_items
            if line.line_item
        )

    @property
    def _lines(self) -> list[AmountSet]:
        sets = (
            *(each for line in self.refund_line_items for each in line.sets),
            *(each for line in self.refund_shipping_lines for each in line.sets),
        )
        return [each for each in sets if each]


@dataclass(frozen=True)
class Sides:
    """One amount in the currency of the payment, and on the side that is reported."""

    paid: Decimal = Decimal(0)
    ours: Decimal = Decimal(0)

    def __add__(self, other: Sides) -> Sides:
        return Sides(self.paid + other.paid, self.ours + other.ours)

    def __neg__(self) -> Sides:
        return Sides(-self.paid, -self.ours)


def _converted(
    paid: Money, lines: Sequence[AmountSet], adjusted: Sequence[AmountSet], context: Context
) -> Money:
    """An amount of a transaction, which is in the customer's currency, on the side that is reported.

    The body has both sides of the lines and the adjustments, of which the amount is the sum (the sign of an
    adjustment is unconfirmed). Where they do not add up, the largest of them has the rate.
    """
    currency = next((ours.currency_code for each in lines if (ours := each.pick(context))), None)
    if currency in (None, paid.currency):
        return paid
    parts, others = _sides(lines, paid, context), _sides(adjusted, paid, context)
    total, more = sum(parts, Sides()), sum(others, Sides())
    for each in (total, total + more, total + -more, more, -more):
        if each.paid == paid.amount:
            return Money.of(each.ours, currency)
    largest = max((*parts, *others), key=lambda each: abs(each.paid), default=Sides())
    if not largest.paid:
        # The body has the amount on no other side.
        return paid
    return Money.of(rounded(paid.amount * largest.ours / largest.paid, currency), currency)


def _sides(sets: Sequence[AmountSet], paid: Money, context: Context) -> list[Sides]:
    both = ((each.within(paid.currency), each.pick(context)) for each in sets)
    return [Sides(there, ours.amount) for there, ours in both if there is not None and ours]


@provider.on("refunds/create", Kind.PURCHASE_REFUNDED)
def refund_created(refund: Refund, context: Context) -> Iterator[CommerceEvent]:
    # A restock, a void and a refund that failed paid nothing back. One event for each transaction, because
    # order_transactions/create reports each by itself.
    for number, part in enumerate(refund.paid):
        money = refund.money(part, context)
        itself = refund.exact_id if number == 0 else f"{refund.exact_id}:{number}"
        yield CommerceEvent(
            kind=context.kind,
            money=money,
            transactions=known(itself, part.refund_key),
            follows=(refund.order_id,),
            order_id=refund.order_id,
            items=refund.items(money) if number == 0 else (),
        )


# Disputes


class Dispute(Resource):
    """Of Shopify Payments. https://shopify.dev/docs/api/admin-rest/latest/resources/dispute"""

    resource = "ShopifyPaymentsDispute"

    order_id: OptionalId = None
    # No other topic's body has one.
    type: Literal["chargeback", "inquiry"]
    status: str | None = None
    amount: Decimal | None = None
    currency: str | None = None

    @property
    def kind(self) -> Kind:
        kind = _DISPUTE_OUTCOMES.get(self.status or "", Kind.DISPUTE_OPENED)
        return dispute_kind(kind, inquiry=self.type == "inquiry")


_DISPUTE_OUTCOMES = {
    "won": Kind.DISPUTE_WON,
    "lost": Kind.DISPUTE_LOST,
    "accepted": Kind.DISPUTE_LOST,
    "charge_refunded": Kind.DISPUTE_CLOSED,
}
_DISPUTED = (Kind.DISPUTE_OPENED, Kind.DISPUTE_WARNING, *dict.fromkeys(_DISPUTE_OUTCOMES.values()))


@provider.on("disputes/create", *_DISPUTED)
@provider.on("disputes/update", *_DISPUTED)
def disputed(dispute: Dispute, context: Context) -> Iterator[CommerceEvent]:
    # Each body is a state, and an inquiry can become a chargeback.
    yield CommerceEvent(
        kind=dispute.kind,
        money=Money.maybe(dispute.amount, dispute.currency),
        transactions=(dispute.id,),
        follows=known(dispute.order_id),
        order_id=dispute.order_id,
    )


# Carts


class CartLine(Line):
    line_price_set: AmountSet | None = None
    discounted_price: Price = None
    discounted_price_set: AmountSet | None = None

    @property
    def bare_price(self) -> Decimal | None:
        return super().bare_price if self.discounted_price is None else self.discounted_price

    @property
    def prices(self) -> AmountSet | None:
        return self.discounted_price_set


class Cart(Resource):
    resource = "Cart"

    updated_at: str | None = None
    line_items: Lines[CartLine]

    @property
    def state(self) -> str:
        """The cart as it is now. Its id is a token that opens it, so not even our own table gets that."""
        return sha256(f"{self.id}:{self.updated_at}".encode()).hexdigest()

    def money(self, context: Context) -> Money | None:
        """A cart has no total and no currency of its own; its lines have both."""
        sets = [line.line_price_set for line in self.line_items]
        prices = [each and each.pick(context) for each in sets]
        priced = [price for price in prices if price]
        currencies = {price.currency_code for price in priced}
        if len(priced) < len(prices) or len(currencies) != 1:
            return None
        return Money.of(sum((price.amount for price in priced), Decimal(0)), *currencies)


@provider.off("carts/create", Kind.CART_ADDED)
@provider.off("carts/update", Kind.CART_ADDED)
def cart_changed(cart: Cart, context: Context) -> Iterator[CommerceEvent]:
    # Emptying a cart is an update as well.
    if cart.line_items:
        money = cart.money(context)
        currency = money.currency if money else None
        yield CommerceEvent(
            kind=context.kind,
            money=money,
            transactions=(cart.state,),
            items=tuple(line.item(currency, currency) for line in cart.line_items),
        )


# Customers


class Customer(Resource):
    resource = "Customer"


@provider.off("customers/create", Kind.CUSTOMER_CREATED)
def customer_created(customer: Customer, context: Context) -> Iterator[CommerceEvent]:
    yield CommerceEvent(kind=context.kind, transactions=(customer.id,))


class Merge(Payload):
    admin_graphql_api_customer_kept_id: Id
    admin_graphql_api_customer_deleted_id: Id


@provider.lesson("customers/merge")
def customers_merged(merge: Merge, context: Context) -> Iterator[SamePerson]:
    ids = (merge.admin_graphql_api_customer_kept_id, merge.admin_graphql_api_customer_deleted_id)
    yield SamePerson(tuple(id.rpartition("/")[2] for id in ids))


# Subscriptions


class Contract(Resource):
    resource = "SubscriptionContract"

    origin_order_id: OptionalId = None
    admin_graphql_api_origin_order_id: OptionalId = None

    @property
    def order_id(self) -> str | None:
        """The order that began it."""
        ordered, exact = self.origin_order_id, self.admin_graphql_api_origin_order_id
        return _exact(ordered, exact) if ordered else None

    def event(self, context: Context, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=context.kind,
            transactions=transactions,
            # It names no user but Shopify's own; the order was somebody's.
            follows=known(self.order_id),
            subscription_id=self.exact_id,
            order_id=self.order_id,
        )


# It names the order that began it, and so whose it is.
@provider.on("subscription_contracts/create", Kind.SUBSCRIPTION_STARTED, teaches=True)
@provider.on("subscription_contracts/cancel", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription_contracts/expire", Kind.SUBSCRIPTION_EXPIRED)
def contract_began_or_ended(contract: Contract, context: Context) -> Iterator[CommerceEvent]:
    # No amount at the start: the order of the first period reports it.
    yield contract.event(context, (contract.exact_id,))


@provider.on("subscription_contracts/pause", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription_contracts/activate", Kind.SUBSCRIPTION_RESUMED)
@provider.on("subscription_contracts/fail", Kind.SUBSCRIPTION_FAILED)
@provider.off("subscription_contracts/update", Kind.SUBSCRIPTION_UPDATED)
def contract_changed(contract: Contract, context: Context) -> Iterator[CommerceEvent]:
    yield contract.event(context, EACH_TIME)


class BillingAttempt(Resource):
    resource = "SubscriptionBillingAttempt"

    order_id: OptionalId = None
    subscription_contract_id: OptionalId = None


@provider.off("subscription_billing_attempts/success", Kind.SUBSCRIPTION_RENEWED)
# They name no customer and no order that was paid: whose they are is known from the contract.
@provider.on("subscription_billing_attempts/failure", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.off("subscription_billing_attempts/challenged", Kind.SUBSCRIPTION_BILLING_ISSUE)
def billing_attempted(attempt: BillingAttempt, context: Context) -> Iterator[CommerceEvent]:
    # No amount: a successful attempt creates an order, and orders/paid reports that.
    yield CommerceEvent(
        kind=context.kind,
        transactions=(attempt.id,),
        follows=known(attempt.order_id),
        subscription_id=attempt.subscription_contract_id,
        order_id=attempt.order_id,
    )
