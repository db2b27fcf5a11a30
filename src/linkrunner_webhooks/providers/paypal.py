"""PayPal REST webhooks. https://developer.paypal.com/api/rest/webhooks/ (the older IPN is another product)

PayPal signs, with its own key, an id that only the merchant knows and a checksum of the body. Amounts are
text in major units. The payments of Orders v2 are `captures`, those of subscriptions v1 `sales`. Both shapes
come under either name, so both are read everywhere. The type is in capitals.

Which type reports the money: `PAYMENT.CAPTURE.COMPLETED`, and `PAYMENT.SALE.COMPLETED` for subscriptions.
A completed order repeats its captures and shares their ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Generic, TypeVar

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    Lines,
    OptionalId,
    Payload,
    Pieces,
    first,
    iso_time,
    known,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.certificates import CertificateSignature

_CERTIFICATE = "paypal-cert-url"
# Signed, and of one body: deliver knows by it a body that was made of another.
_TRANSMISSION = "paypal-transmission-id"
# The hosts with `-m` are unconfirmed; they are PayPal's as well.
_HOSTS = r"https://api(?:-m)?(?:\.sandbox)?\.paypal\.com"
_SANDBOX = re.compile(r"https://api(?:-m)?\.sandbox\.paypal\.com/", re.IGNORECASE)


class Head(Payload):
    id: str
    event_type: str
    create_time: object = None


def identify(webhook: Webhook) -> Identity:
    """No body says sandbox for sure, but the certificate of the sandbox lies on a sandbox host."""
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
    headers=(_CERTIFICATE, _TRANSMISSION),
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
    caution="PayPal signs a checksum of the body (CRC-32) and not the body itself, so who sees one delivery "
    "can make other bodies that fit. Only the first body of a transmission counts. Treat the webhook id like "
    "a secret.",
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
        amount = present(self.total if self.value is None else self.value, "its amount")
        return Money.of(amount, self.currency_code or self.currency)


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
    # The status of a sale.
    state: str | None = None
    amount: Amount | None = None
    # In a refund. It also has the total of all refunds so far, which is not read.
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
    def done(self) -> bool:
        """Whether money has moved. A payment from a bank account completes before it is cleared."""
        return (self.status or self.state or "").upper() not in _NOT_DONE

    @property
    def paid_by(self) -> tuple[str, ...]:
        """The payment a refund is of. That v1 refunds link it, and v2 ones relate it, is unconfirmed."""
        named = (self.sale_id, self.capture_id, self.related.capture_id)
        return known(*named, self.linked(_PAYMENTS))

    @property
    def order_id(self) -> str | None:
        orders = (self.related.order_id, self.linked(_ORDERS), self.parent_payment)
        return first(*orders, self.invoice_id, self.invoice_number)

    def linked(self, kinds: tuple[str, ...]) -> str | None:
        """The id at the end of a link to a resource of these kinds."""
        found = (_LINKED.fullmatch(link.href or "") for link in self.links or ())
        return next((match[2] for match in found if match and match[1] in kinds), None)

    def event(self, kind: Kind, follows: tuple[str, ...] = ()) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=self.money,
            transactions=(self.id,),
            follows=follows,
            occurred_at=iso_time(self.update_time or self.create_time),
            order_id=first(self.order_id, *follows, self.id),
            subscription_id=self.billing_agreement_id,
        )


_NOT_DONE = ("PENDING", "DECLINED", "DENIED", "FAILED", "CANCELLED")


@provider.on("PAYMENT.CAPTURE.COMPLETED", Kind.PURCHASE_COMPLETED)
def captured(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    if event.resource.done:
        yield event.resource.event(context.kind)


@provider.on("PAYMENT.CAPTURE.DENIED", Kind.PAYMENT_FAILED)
@provider.on("PAYMENT.CAPTURE.DECLINED", Kind.PAYMENT_FAILED)
@provider.on("PAYMENT.SALE.DENIED", Kind.PAYMENT_FAILED)
def payment_failed(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    # Another attempt is another capture, so a failure that comes under both names is one failure.
    yield event.resource.event(context.kind)


@provider.off("PAYMENT.CAPTURE.PENDING", Kind.PURCHASE_INITIATED)
@provider.off("PAYMENT.SALE.PENDING", Kind.PURCHASE_INITIATED)
def capture_pending(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    capture = event.resource
    # CHECKOUT.ORDER.APPROVED has initiated the same order already.
    initiated = known(capture.related.order_id or capture.linked(_ORDERS), capture.id)
    yield replace(capture.event(context.kind), transactions=initiated)


@provider.on("PAYMENT.CAPTURE.REFUNDED", Kind.PURCHASE_REFUNDED)
@provider.on("PAYMENT.SALE.REFUNDED", Kind.PURCHASE_REFUNDED)
@provider.on("PAYMENT.CAPTURE.REVERSED", Kind.PURCHASE_REVERSED)
@provider.on("PAYMENT.SALE.REVERSED", Kind.PURCHASE_REVERSED)
def refunded(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    refund = event.resource
    # A reversal may contain the sale itself, which names no other payment.
    itself = refund.id if context.kind is Kind.PURCHASE_REVERSED else None
    event_back = refund.event(context.kind, known(*refund.paid_by, itself))
    # Some v1 shapes write a refund as a negative amount (unconfirmed).
    money = Money.of(abs(refund.money.amount), refund.money.currency)
    if refund.done:
        yield replace(event_back, money=money)


@provider.on(
    "PAYMENT.SALE.COMPLETED",
    Kind.SUBSCRIPTION_RENEWED,
    Kind.TRIAL_CONVERTED,
    Kind.PURCHASE_COMPLETED,
)
def sold(event: Event[Transaction], context: Context) -> Iterator[CommerceEvent]:
    sale = event.resource
    if not sale.done:
        return
    # A sale does not say which payment of the subscription it is. BILLING.SUBSCRIPTION.ACTIVATED reports the
    # start.
    subscribed = sale.billing_agreement_id is not None
    yield sale.event(Kind.SUBSCRIPTION_RENEWED if subscribed else Kind.PURCHASE_COMPLETED)


# Orders


class OrderItem(Payload):
    sku: OptionalId = None
    quantity: Pieces = None
    unit_amount: Detail[Amount] = None

    @property
    def item(self) -> Item:
        price = self.unit_amount.value if self.unit_amount else None
        return Item.product(self.sku, self.quantity, price)


class Payments(Payload):
    captures: tuple[Transaction, ...] | None = None


class PurchaseUnit(Payload):
    amount: Amount | None = None
    items: Lines[OrderItem]
    payments: Payments | None = None

    @property
    def captures(self) -> tuple[Transaction, ...]:
        return (self.payments and self.payments.captures) or ()

    @property
    def contents(self) -> tuple[Item, ...]:
        return tuple(each.item for each in self.items)

    @property
    def paid(self) -> Iterator[CommerceEvent]:
        for capture in self.captures:
            if capture.status not in _UNPAID:
                event = capture.event(Kind.PURCHASE_COMPLETED)
                # With several captures, none says which items it paid.
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


@provider.off("CHECKOUT.ORDER.APPROVED", Kind.PURCHASE_INITIATED)
def order_approved(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    order = event.resource
    yield CommerceEvent(
        kind=context.kind,
        money=order.money,
        transactions=(order.id,),
        occurred_at=iso_time(order.update_time or order.create_time),
        order_id=order.id,
        items=tuple(item for unit in order.units for item in unit.contents),
    )


@provider.off("CHECKOUT.ORDER.COMPLETED", Kind.PURCHASE_COMPLETED)
def order_completed(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    order = event.resource
    # One event for each capture, as the captures' own events report them. A sum would count a second time.
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

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan_id,
        )


@provider.on("BILLING.SUBSCRIPTION.ACTIVATED", Kind.SUBSCRIPTION_STARTED, Kind.TRIAL_STARTED)
def subscription_activated(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    subscription = event.resource
    # No amount: PAYMENT.SALE.COMPLETED brings it. The type comes again when a subscription is resumed
    # (unconfirmed).
    kind = Kind.TRIAL_STARTED if subscription.has_trial else Kind.SUBSCRIPTION_STARTED
    yield subscription.event(kind, (subscription.id,))


@provider.on("BILLING.SUBSCRIPTION.CANCELLED", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("BILLING.SUBSCRIPTION.EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
def subscription_ended(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.resource.event(context.kind, (event.resource.id,))


@provider.on("BILLING.SUBSCRIPTION.SUSPENDED", Kind.SUBSCRIPTION_PAUSED)
@provider.on("BILLING.SUBSCRIPTION.RE-ACTIVATED", Kind.SUBSCRIPTION_RESUMED)
@provider.off("BILLING.SUBSCRIPTION.UPDATED", Kind.SUBSCRIPTION_UPDATED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.resource.event(context.kind, EACH_TIME)


@provider.on("BILLING.SUBSCRIPTION.PAYMENT.FAILED", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def subscription_payment_failed(
    event: Event[Subscription], context: Context
) -> Iterator[CommerceEvent]:
    # PayPal sends one event for each attempt to collect. That the body has the amount is unconfirmed.
    failed = event.resource.billing.last_failed_payment
    money = failed.amount.money if failed and failed.amount else None
    yield replace(event.resource.event(context.kind, EACH_TIME), money=money)


# Disputes


class DisputeOutcome(Payload):
    outcome_code: str | None = None


class Disputed(Payload):
    seller_transaction_id: OptionalId = None


class Dispute(Payload):
    """The field names are unconfirmed, so only the id is required."""

    dispute_id: Id
    dispute_amount: Amount | None = None
    dispute_outcome: Detail[DisputeOutcome] = None
    disputed_transactions: tuple[Disputed, ...] | None = None

    @property
    def outcome(self) -> Kind:
        code = self.dispute_outcome.outcome_code if self.dispute_outcome else None
        return _OUTCOMES.get(code or "", Kind.DISPUTE_CLOSED)

    def event(self, kind: Kind) -> CommerceEvent:
        paid_by = known(*(each.seller_transaction_id for each in self.disputed_transactions or ()))
        return CommerceEvent(
            kind=kind,
            money=self.dispute_amount.money if self.dispute_amount else None,
            transactions=(self.dispute_id,),
            follows=paid_by,
            # How much of each was disputed is not said.
            returns=paid_by if len(paid_by) == 1 else (),
            order_id=first(*paid_by),
        )


# With a payout PayPal pays the buyer out of its own pocket.
_OUTCOMES = {
    "RESOLVED_SELLER_FAVOUR": Kind.DISPUTE_WON,
    "RESOLVED_SELLER_FAVOR": Kind.DISPUTE_WON,
    "RESOLVED_WITH_PAYOUT": Kind.DISPUTE_WON,
    "CANCELED_BY_BUYER": Kind.DISPUTE_WON,
    "RESOLVED_BUYER_FAVOUR": Kind.DISPUTE_LOST,
    "RESOLVED_BUYER_FAVOR": Kind.DISPUTE_LOST,
    "ACCEPTED": Kind.DISPUTE_LOST,
}


@provider.on("CUSTOMER.DISPUTE.CREATED", Kind.DISPUTE_OPENED)
def dispute_opened(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    yield event.resource.event(context.kind)


@provider.on("CUSTOMER.DISPUTE.RESOLVED", Kind.DISPUTE_CLOSED, *dict.fromkeys(_OUTCOMES.values()))
def dispute_resolved(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    yield event.resource.event(event.resource.outcome)
