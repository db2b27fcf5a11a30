"""PayPal REST webhooks. https://developer.paypal.com/api/rest/webhooks/ (the older IPN is another product)

Signed with PayPal's own key over an id that only the merchant knows, and a checksum of the body. Amounts are
text in major units. The payments of Orders v2 are `captures`, those of subscriptions v1 `sales`; both shapes
come under either name, so both are read everywhere. The type is in capitals.

Which type reports the money: `PAYMENT.CAPTURE.COMPLETED`, and `PAYMENT.SALE.COMPLETED` for subscriptions.
A completed order is the same captures again, and shares their ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Generic, TypeVar

from linkrunner_webhooks.certificates import CertificateSignature
from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import (
    CommerceEvent,
    Id,
    Identity,
    Item,
    Kind,
    Money,
    OptionalId,
    Payload,
    Pieces,
    Webhook,
    known,
)
from linkrunner_webhooks.provider import Context, Provider, iso_time, name, parse

_CERTIFICATE = "paypal-cert-url"
# The hosts with `-m` are unconfirmed; they are PayPal's as well.
_HOSTS = r"https://api(?:-m)?(?:\.sandbox)?\.paypal\.com"
_SANDBOX = re.compile(r"https://api(?:-m)?\.sandbox\.paypal\.com/", re.IGNORECASE)


class Head(Payload):
    id: str
    event_type: str
    create_time: str | None = None


def identify(webhook: Webhook) -> Identity:
    """Nothing in a body says sandbox for sure, but a sandbox's certificate lies with the sandbox."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.id, "event id"),
        event_type=name(head.event_type, "event type"),
        occurred_at=iso_time(head.create_time),
        test=bool(_SANDBOX.match(webhook.headers.get(_CERTIFICATE, ""))),
    )


provider = Provider(
    name="paypal",
    title="PayPal",
    docs="https://developer.paypal.com/api/rest/webhooks/",
    signature=CertificateSignature(
        prefix="paypal",
        url=re.compile(rf"{_HOSTS}/v1/notifications/certs/[A-Za-z0-9_-]{{1,200}}"),
        domain=".paypal.com",
        issuers=re.compile(r"https?://cacerts\.digicert\.com/[A-Za-z0-9_-]{1,200}\.crt"),
    ),
    identify=identify,
    headers=(_CERTIFICATE,),
    user_id=("resource.custom_id", "resource.purchase_units[0].custom_id", "resource.custom"),
    unique_ids=True,
    never={
        "BILLING.SUBSCRIPTION.CREATED": "the buyer has not approved it: "
        "BILLING.SUBSCRIPTION.ACTIVATED reports the start",
        "PAYMENT.AUTHORIZATION.CREATED": "nothing is paid yet: "
        "PAYMENT.CAPTURE.COMPLETED reports the payment",
        "PAYMENT.AUTHORIZATION.VOIDED": "no money has moved that could come back",
        "CUSTOMER.DISPUTE.UPDATED": "it changes nothing that is reported",
    },
    caution="PayPal signs a checksum of the body (CRC-32) and not the body itself, so what protects the "
    "amounts is that the webhook id is known to nobody else: treat it like a secret.",
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    resource: T


class Amount(Payload):
    """`value` and `currency_code` in v2, `total` and `currency` in v1."""

    value: Decimal | None = None
    total: Decimal | None = None
    currency_code: str | None = None
    currency: str | None = None

    @property
    def money(self) -> Money:
        amount = self.total if self.value is None else self.value
        currency = self.currency_code or self.currency
        if amount is None or currency is None:
            raise Untranslatable("the resource has no amount or no currency")
        # What goes back is negative in some v1 shapes (unconfirmed).
        return Money.of(abs(amount), currency)


def _money(*amounts: Amount | None) -> Money:
    """The first amount there is."""
    return next((amount for amount in amounts if amount), Amount()).money


# Payments and refunds

_LINKED = re.compile(r"https?://[^?#]*/(captures?|sale|orders?)/([A-Za-z0-9-]{1,64})")
_PAYMENTS = ("capture", "captures", "sale")
_ORDERS = ("order", "orders")


class Link(Payload):
    href: str | None = None


class RelatedIds(Payload):
    order_id: OptionalId = None
    capture_id: OptionalId = None


class SupplementaryData(Payload):
    related_ids: RelatedIds | None = None


class Breakdown(Payload):
    gross_amount: Amount | None = None


class Transaction(Payload):
    """A capture (v2), a sale (v1), or the refund of either."""

    id: Id
    status: str | None = None
    amount: Amount | None = None
    # Of a refund; beside this refund's own amount it has the total of all so far, which is not read.
    seller_payable_breakdown: Breakdown | None = None
    billing_agreement_id: OptionalId = None
    parent_payment: OptionalId = None
    invoice_id: OptionalId = None
    invoice_number: OptionalId = None
    sale_id: OptionalId = None
    capture_id: OptionalId = None
    supplementary_data: SupplementaryData | None = None
    links: tuple[Link, ...] | None = None
    create_time: str | None = None
    update_time: str | None = None

    @property
    def related(self) -> RelatedIds:
        return (self.supplementary_data and self.supplementary_data.related_ids) or RelatedIds()

    @property
    def money(self) -> Money:
        breakdown = self.seller_payable_breakdown or Breakdown()
        return _money(self.amount, breakdown.gross_amount)

    @property
    def paid_by(self) -> tuple[str, ...]:
        """The payment a refund is of. That v1 refunds link it, and v2 ones relate it, is unconfirmed."""
        named = (self.sale_id, self.capture_id, self.related.capture_id)
        return known(*named, self.linked(_PAYMENTS))

    @property
    def order_id(self) -> str | None:
        orders = (self.related.order_id, self.linked(_ORDERS), self.parent_payment)
        return next(iter(known(*orders, self.invoice_id, self.invoice_number)), None)

    def linked(self, kinds: tuple[str, ...]) -> str | None:
        """The id at the end of a link to a resource of these kinds."""
        found = (_LINKED.fullmatch(link.href or "") for link in self.links or ())
        return next((match[2] for match in found if match and match[1] in kinds), None)

    def event(self, kind: Kind, *follows: str) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=self.money,
            transactions=(self.id,),
            follows=follows,
            occurred_at=iso_time(self.update_time or self.create_time),
            order_id=self.order_id or next(iter(follows), self.id),
            subscription_id=self.billing_agreement_id,
        )


@provider.on("PAYMENT.CAPTURE.COMPLETED", Kind.PURCHASE_COMPLETED, payload=Event[Transaction])
@provider.on("PAYMENT.CAPTURE.DENIED", Kind.PAYMENT_FAILED, payload=Event[Transaction])
@provider.on("PAYMENT.CAPTURE.DECLINED", Kind.PAYMENT_FAILED, payload=Event[Transaction])
def captured(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    # Another attempt is another capture, so a refused one that comes under both names is one failure.
    yield event.resource.event(context.kind)


@provider.on(
    "PAYMENT.CAPTURE.PENDING",
    Kind.PURCHASE_INITIATED,
    payload=Event[Transaction],
    default=False,
)
def capture_pending(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    capture = event.resource
    # An approved order was initiated already.
    initiated = known(capture.related.order_id or capture.linked(_ORDERS), capture.id)
    yield replace(capture.event(Kind.PURCHASE_INITIATED), transactions=initiated)


@provider.on("PAYMENT.CAPTURE.REFUNDED", Kind.PURCHASE_REFUNDED, payload=Event[Transaction])
@provider.on("PAYMENT.SALE.REFUNDED", Kind.PURCHASE_REFUNDED, payload=Event[Transaction])
@provider.on("PAYMENT.CAPTURE.REVERSED", Kind.PURCHASE_REVERSED, payload=Event[Transaction])
@provider.on("PAYMENT.SALE.REVERSED", Kind.PURCHASE_REVERSED, payload=Event[Transaction])
def refunded(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    refund = event.resource
    # What a reversal reports may be the sale itself once more, which names no other payment.
    itself = refund.id if context.kind is Kind.PURCHASE_REVERSED else None
    yield refund.event(context.kind, *known(*refund.paid_by, itself))


@provider.on(
    "PAYMENT.SALE.COMPLETED",
    Kind.SUBSCRIPTION_RENEWED,
    Kind.PURCHASE_COMPLETED,
    payload=Event[Transaction],
)
def sold(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    sale = event.resource
    # Nothing in a sale says which of the subscription's payments it is: the start is what
    # BILLING.SUBSCRIPTION.ACTIVATED reports.
    subscribed = sale.billing_agreement_id is not None
    yield sale.event(Kind.SUBSCRIPTION_RENEWED if subscribed else Kind.PURCHASE_COMPLETED)


# Orders


class OrderItem(Payload):
    sku: OptionalId = None
    quantity: Pieces | None = None
    unit_amount: Amount | None = None

    @property
    def item(self) -> Item:
        return Item(
            content_id=self.sku,
            product_id=self.sku,
            quantity=int(self.quantity or 1),
            unit_price=self.unit_amount.value if self.unit_amount else None,
        )


class Payments(Payload):
    captures: tuple[Transaction, ...] | None = None


class PurchaseUnit(Payload):
    amount: Amount | None = None
    items: tuple[OrderItem, ...] | None = None
    payments: Payments | None = None

    @property
    def captures(self) -> tuple[Transaction, ...]:
        return (self.payments and self.payments.captures) or ()

    @property
    def contents(self) -> tuple[Item, ...]:
        return tuple(each.item for each in self.items or ())

    @property
    def paid(self) -> Iterator[CommerceEvent]:
        for capture in self.captures:
            if capture.status not in _UNPAID:
                event = capture.event(Kind.PURCHASE_COMPLETED)
                # Of several captures none says which of the items it paid.
                yield replace(event, items=self.contents if len(self.captures) == 1 else ())


_UNPAID = ("PENDING", "DECLINED", "FAILED")


class Order(Payload):
    id: Id
    gross_amount: Amount | None = None
    purchase_units: tuple[PurchaseUnit, ...] | None = None
    create_time: str | None = None
    update_time: str | None = None

    @property
    def units(self) -> tuple[PurchaseUnit, ...]:
        return self.purchase_units or ()

    @property
    def money(self) -> Money:
        if self.units and all(unit.amount for unit in self.units):
            return _sum(_money(unit.amount) for unit in self.units)
        return _money(self.gross_amount)


def _sum(amounts: Iterable[Money]) -> Money:
    listed = tuple(amounts)
    (currency, *others) = {money.currency for money in listed}
    if others:
        raise Untranslatable("an order in several currencies has no sum")
    return Money.of(sum((money.amount for money in listed), Decimal()), currency)


@provider.on(
    "CHECKOUT.ORDER.APPROVED",
    Kind.PURCHASE_INITIATED,
    payload=Event[Order],
    default=False,
)
def order_approved(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    order = event.resource
    yield CommerceEvent(
        kind=Kind.PURCHASE_INITIATED,
        money=order.money,
        transactions=(order.id,),
        occurred_at=iso_time(order.update_time or order.create_time),
        order_id=order.id,
        items=tuple(item for unit in order.units for item in unit.contents),
    )


@provider.on(
    "CHECKOUT.ORDER.COMPLETED",
    Kind.PURCHASE_COMPLETED,
    payload=Event[Order],
    default=False,
)
def order_completed(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    order = event.resource
    # Each capture for itself: their own events report them so, and one sum could not be told from its parts.
    if not any(unit.captures for unit in order.units):
        raise Untranslatable("the order does not contain its captures")
    for unit in order.units:
        yield from (replace(paid, order_id=order.id) for paid in unit.paid)


# Subscriptions


class Cycle(Payload):
    tenure_type: str | None = None


class FailedPayment(Payload):
    amount: Amount | None = None


class BillingInfo(Payload):
    cycle_executions: tuple[Cycle, ...] | None = None
    last_failed_payment: FailedPayment | None = None


class Subscription(Payload):
    id: Id
    plan_id: OptionalId = None
    billing_info: BillingInfo | None = None

    @property
    def billing(self) -> BillingInfo:
        return self.billing_info or BillingInfo()

    @property
    def has_trial(self) -> bool:
        cycles = self.billing.cycle_executions or ()
        return any(cycle.tenure_type == "TRIAL" for cycle in cycles)

    def event(self, kind: Kind, *transactions: str, money: Money | None = None) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan_id,
        )


@provider.on(
    "BILLING.SUBSCRIPTION.ACTIVATED",
    Kind.SUBSCRIPTION_STARTED,
    Kind.TRIAL_STARTED,
    payload=Event[Subscription],
)
def subscription_activated(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    subscription = event.resource
    # No amount: PAYMENT.SALE.COMPLETED brings it. It comes again when a suspended one goes on (unconfirmed).
    kind = Kind.TRIAL_STARTED if subscription.has_trial else Kind.SUBSCRIPTION_STARTED
    yield subscription.event(kind, subscription.id)


@provider.on(
    "BILLING.SUBSCRIPTION.CANCELLED",
    Kind.SUBSCRIPTION_CANCELLED,
    payload=Event[Subscription],
)
@provider.on(
    "BILLING.SUBSCRIPTION.EXPIRED",
    Kind.SUBSCRIPTION_EXPIRED,
    payload=Event[Subscription],
)
def subscription_ended(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.resource.event(context.kind, event.resource.id)


@provider.on(
    "BILLING.SUBSCRIPTION.SUSPENDED",
    Kind.SUBSCRIPTION_PAUSED,
    payload=Event[Subscription],
)
@provider.on(
    "BILLING.SUBSCRIPTION.UPDATED",
    Kind.SUBSCRIPTION_UPDATED,
    payload=Event[Subscription],
    default=False,
)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # These happen more than once in a subscription's life.
    yield event.resource.event(context.kind)


@provider.on(
    "BILLING.SUBSCRIPTION.PAYMENT.FAILED",
    Kind.SUBSCRIPTION_PAYMENT_FAILED,
    payload=Event[Subscription],
)
def subscription_payment_failed(
    event: Event[Subscription], context: Context
) -> Iterator[CommerceEvent]:
    # One event per attempt to collect. That the body has the amount is unconfirmed.
    failed = event.resource.billing.last_failed_payment
    money = failed.amount.money if failed and failed.amount else None
    yield event.resource.event(Kind.SUBSCRIPTION_PAYMENT_FAILED, money=money)


# Disputes


class Disputed(Payload):
    seller_transaction_id: OptionalId = None


class Dispute(Payload):
    """The names of its fields are unconfirmed, so only its id is insisted on."""

    dispute_id: Id
    dispute_amount: Amount | None = None
    disputed_transactions: tuple[Disputed, ...] | None = None


@provider.on("CUSTOMER.DISPUTE.CREATED", Kind.DISPUTE_OPENED, payload=Event[Dispute])
@provider.on("CUSTOMER.DISPUTE.RESOLVED", Kind.DISPUTE_CLOSED, payload=Event[Dispute])
def disputed(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    dispute = event.resource
    paid_by = known(*(each.seller_transaction_id for each in dispute.disputed_transactions or ()))
    yield CommerceEvent(
        kind=context.kind,
        money=dispute.dispute_amount.money if dispute.dispute_amount else None,
        transactions=(dispute.dispute_id,),
        follows=paid_by,
        order_id=next(iter(paid_by), None),
    )
