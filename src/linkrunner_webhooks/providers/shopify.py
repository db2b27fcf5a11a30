"""Shopify webhooks. https://shopify.dev/docs/apps/build/webhooks

The body is the bare REST resource. Topic, shop and ids come in headers, which the signature does not cover,
so the ids of facts are taken from the body. Amounts are text in major units.

Which topic reports the money: `orders/paid`. `orders/create` is the same order before (or without) payment,
for shops that live on cash on delivery; call it `purchase_completed` there and the two count once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Id,
    OptionalId,
    Payload,
    first,
    iso_time,
    known,
    name,
    parse,
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
    test: bool | None = None


class Edited(Payload):
    id: OptionalId = None


class Head(Payload):
    id: OptionalId = None
    admin_graphql_api_id: OptionalId = None
    test: bool | None = None
    processed_at: str | None = None
    created_at: str | None = None
    transactions: tuple[Test, ...] | None = None
    order_edit: Edited | None = None

    @property
    def resource_id(self) -> str | None:
        edit = self.order_edit.id if self.order_edit else None
        return first(self.admin_graphql_api_id, self.id, edit)

    @property
    def is_test(self) -> bool:
        return bool(self.test) or any(part.test for part in self.transactions or ())


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
    signature=HmacBody(
        headers=tuple(f"{family}hmac-sha256" for family in _FAMILIES), encoding="base64"
    ),
    identify=identify,
    headers=tuple(family + key for family in _FAMILIES for key in _HEADERS),
    user_id=(
        # Cart attributes end up as note attributes of the order.
        "note_attributes[?name=='linkrunner_user_id'].value | [0]",
        "line_items[].properties[] | [?name=='linkrunner_user_id'].value | [0]",
        # In a cart the properties are an object.
        "line_items[].properties.linkrunner_user_id | [0]",
        "customer.multipass_identifier",
        "customer.id",
        "customer.admin_graphql_api_id",
        "customer_id",
        # customers/create: the body is the customer.
        "starts_with(admin_graphql_api_id || '', 'gid://shopify/Customer/') && (multipass_identifier || id)",
    ),
    options=ShopifyOptions,
    overlaps=dict.fromkeys(
        ("adyen", "cashfree", "flutterwave", "paypal", "paystack", "razorpay", "square", "stripe"),
        "the shop charges in your own account there",
    ),
    unique_ids=True,
    never={
        "app/uninstalled": "it is about your app, not about a shopper",
        "app_subscriptions/update": "it is about your app, not about a shopper",
        "customers/data_request": "privacy requests are answered and never forwarded",
        "customers/redact": "privacy requests are answered and never forwarded",
        "shop/redact": "privacy requests are answered and never forwarded",
        "orders/updated": "orders/paid, orders/cancelled and refunds/create report what changed",
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
    quantity: int = 1
    price: Decimal | None = None
    price_set: AmountSet | None = None

    def item(
        self, currency: str | None, shop_currency: str | None, quantity: int | None = None
    ) -> Item:
        """Priced in `currency`; the bare price is in the shop's."""
        bare = self.bare_price if currency == shop_currency else None
        return Item(
            # Catalogues fed by Shopify key on the variant.
            content_id=self.variant_id,
            product_id=self.product_id,
            quantity=self.quantity if quantity is None else quantity,
            unit_price=self.prices.within(currency) if self.prices and currency else bare,
        )

    @property
    def bare_price(self) -> Decimal | None:
        return self.price

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
    line_items: tuple[Line, ...] | None = None
    discount_codes: tuple[Discount, ...] | None = None

    def money(self, context: Context) -> Money:
        """Amount and currency, both in shop money or both in presentment money."""
        picked = self.total_price_set and self.total_price_set.pick(context)
        if picked:
            return Money.of(picked.amount, picked.currency_code)
        same = (self.presentment_currency or self.currency) == self.currency
        if context.options.money == "shop" or same:
            return Money.of(self.total_price, self.currency)
        raise Untranslatable('the body has no presentment amount; set money = "shop"')

    def items(self, money: Money) -> tuple[Item, ...]:
        return tuple(line.item(money.currency, self.currency) for line in self.line_items or ())

    @property
    def coupon(self) -> str | None:
        return ",".join(code.code for code in self.discount_codes or () if code.code) or None

    def event(self, context: Context, transactions: tuple[str, ...]) -> CommerceEvent:
        money = self.money(context)
        return CommerceEvent(
            kind=context.kind,
            money=money,
            transactions=transactions,
            items=self.items(money),
            coupon=self.coupon,
        )


@provider.on("checkouts/create", Kind.CHECKOUT_STARTED)
def checkout_created(checkout: Checkout, context: Context) -> Iterator[CommerceEvent]:
    yield checkout.event(context, (checkout.id,))


@provider.off("checkouts/update", Kind.CHECKOUT_UPDATED)
def checkout_updated(checkout: Checkout, context: Context) -> Iterator[CommerceEvent]:
    yield checkout.event(context, (f"{checkout.id}:{checkout.updated_at}",))


# Orders


class Order(Checkout):
    resource = "Order"

    payment_gateway_names: tuple[str, ...] | None = None
    gateway: str | None = None
    # Only a checkout has one, and a checkout may come without a GraphQL id.
    abandoned_checkout_url: None = None

    def event(self, context: Context, transactions: tuple[str, ...]) -> CommerceEvent:
        return replace(
            super().event(context, transactions),
            order_id=self.exact_id,
            payment_method=",".join(self.payment_gateway_names or ()) or self.gateway,
        )


@provider.on("orders/paid", Kind.PURCHASE_COMPLETED)
@provider.off("orders/create", Kind.PURCHASE_INITIATED)
@provider.on("orders/cancelled", Kind.ORDER_CANCELLED)
@provider.on("orders/fulfilled", Kind.ORDER_FULFILLED)
def order_changed(order: Order, context: Context) -> Iterator[CommerceEvent]:
    # The topic says that an order is paid. financial_status is not read: test deliveries have wrong values.
    yield order.event(context, (order.exact_id,))


@provider.off("orders/partially_fulfilled", Kind.ORDER_PARTIALLY_FULFILLED)
def order_partially_fulfilled(order: Order, context: Context) -> Iterator[CommerceEvent]:
    yield order.event(context, (f"{order.exact_id}:{order.updated_at}",))


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


# Payments


class Transaction(Resource):
    resource = "OrderTransaction"

    order_id: OptionalId = None
    kind: str | None = None
    status: str | None = None
    gateway: str | None = None
    amount: Decimal
    currency: str


@provider.off("order_transactions/create", Kind.PAYMENT_CAPTURED)
def payment_captured(paid: Transaction, context: Context) -> Iterator[CommerceEvent]:
    # Authorisations, voids and refunds are transactions too.
    if paid.kind in ("capture", "sale") and paid.status == "success":
        yield CommerceEvent(
            kind=context.kind,
            money=Money.of(paid.amount, paid.currency),
            # One order can be captured in parts, so the order is not the fact.
            transactions=(paid.id,),
            follows=known(paid.order_id),
            order_id=paid.order_id,
            payment_method=paid.gateway,
        )


# Refunds


class RefundLine(Payload):
    quantity: int = 1
    line_item: Line | None = None
    subtotal_set: AmountSet | None = None


class Refund(Resource):
    resource = "Refund"

    order_id: Id
    transactions: tuple[Transaction, ...] | None = None
    refund_line_items: tuple[RefundLine, ...] | None = None

    def money(self, context: Context) -> Money | None:
        """The amount paid back. A restock without a transaction paid nothing back."""
        paid = [
            part
            for part in self.transactions or ()
            if (part.kind, part.status) == ("refund", "success")
        ]
        currencies = {part.currency for part in paid} or self._line_currencies(context)
        if len(currencies) > 1:
            raise Untranslatable("one refund in several currencies")
        total = sum((part.amount for part in paid), Decimal(0))
        return Money.of(total, *currencies) if currencies else None

    def _line_currencies(self, context: Context) -> set[str]:
        sets = (line.subtotal_set for line in self.refund_line_items or ())
        picked = (each.pick(context) for each in sets if each)
        return {amount.currency_code for amount in picked if amount}


@provider.on("refunds/create", Kind.PURCHASE_REFUNDED)
def refund_created(refund: Refund, context: Context) -> Iterator[CommerceEvent]:
    money = refund.money(context)
    currency = money.currency if money else None
    yield CommerceEvent(
        kind=context.kind,
        money=money,
        transactions=(refund.exact_id,),
        follows=(refund.order_id,),
        order_id=refund.order_id,
        items=tuple(
            line.line_item.item(currency, currency, line.quantity)
            for line in refund.refund_line_items or ()
            if line.line_item
        ),
    )


# Carts


class CartLine(Line):
    line_price_set: AmountSet | None = None
    discounted_price: Decimal | None = None
    discounted_price_set: AmountSet | None = None

    @property
    def bare_price(self) -> Decimal | None:
        return self.price if self.discounted_price is None else self.discounted_price

    @property
    def prices(self) -> AmountSet | None:
        return self.discounted_price_set


class Cart(Resource):
    resource = "Cart"

    updated_at: str | None = None
    line_items: tuple[CartLine, ...] | None = None

    @property
    def state(self) -> str:
        """The cart as it is now. Its id is a token that opens it, so not even our own table gets that."""
        return sha256(f"{self.id}:{self.updated_at}".encode()).hexdigest()

    def money(self, context: Context) -> Money | None:
        """A cart has no total and no currency of its own; its lines have both."""
        sets = [line.line_price_set for line in self.line_items or ()]
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


# Subscriptions


class Contract(Resource):
    resource = "SubscriptionContract"

    origin_order_id: OptionalId = None
    admin_graphql_api_origin_order_id: OptionalId = None

    def event(self, context: Context, transactions: tuple[str, ...]) -> CommerceEvent:
        ordered, exact = self.origin_order_id, self.admin_graphql_api_origin_order_id
        return CommerceEvent(
            kind=context.kind,
            transactions=transactions,
            subscription_id=self.exact_id,
            order_id=_exact(ordered, exact) if ordered else None,
        )


@provider.on("subscription_contracts/create", Kind.SUBSCRIPTION_STARTED)
@provider.on("subscription_contracts/cancel", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription_contracts/expire", Kind.SUBSCRIPTION_EXPIRED)
def contract_began_or_ended(contract: Contract, context: Context) -> Iterator[CommerceEvent]:
    # No amount at the start: the order of the first period reports it.
    yield contract.event(context, (contract.exact_id,))


@provider.on("subscription_contracts/pause", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription_contracts/activate", Kind.SUBSCRIPTION_RESUMED)
@provider.on("subscription_contracts/fail", Kind.SUBSCRIPTION_FAILED)
def contract_changed(contract: Contract, context: Context) -> Iterator[CommerceEvent]:
    yield contract.event(context, EACH_TIME)


class BillingAttempt(Resource):
    resource = "SubscriptionBillingAttempt"

    order_id: OptionalId = None
    subscription_contract_id: OptionalId = None


@provider.off("subscription_billing_attempts/success", Kind.SUBSCRIPTION_RENEWED)
@provider.on("subscription_billing_attempts/failure", Kind.SUBSCRIPTION_BILLING_ISSUE)
def billing_attempted(attempt: BillingAttempt, context: Context) -> Iterator[CommerceEvent]:
    # No amount: a successful attempt creates an order, and orders/paid reports that.
    yield CommerceEvent(
        kind=context.kind,
        transactions=(attempt.id,),
        follows=known(attempt.order_id),
        subscription_id=attempt.subscription_contract_id,
        order_id=attempt.order_id,
    )
