"""Dodo Payments webhooks. https://docs.dodopayments.com/developer-resources/webhooks

Standard Webhooks. The event id is only in a header, which is signed. A body shows its object as it is at the
delivery, not at the event, so that the type says what happened and a status does not. Amounts are integers in
the smallest unit, except those of disputes.

Which type reports the money: `payment.succeeded`, for one-time payments and for every charge of a
subscription. `subscription.renewed` comes beside each of these and names no payment. `refund.succeeded`
reports each refund.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BeforeValidator

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, Role, unless
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    Lines,
    MinorPrice,
    OptionalId,
    Part,
    Payload,
    Pieces,
    homes,
    iso_time,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import HmacWithHeaders, standard_webhooks_keys

_EVENT_ID = "webhook-id"
# The hosts of test mode are test.dodopayments.com and test.checkout.dodopayments.com.
_TEST_HOST = "https://test."


class Links(Payload):
    payment_link: Detail[str] = None
    invoice_url: Detail[str] = None


class Head(Payload):
    type: str
    timestamp: object = None
    data: Part[Links]


def identify(webhook: Webhook) -> Identity:
    """Only the links in a payment tell test mode, which has webhooks and secrets of its own."""
    head = parse(Head, webhook)
    links = (head.data.payment_link or "", head.data.invoice_url or "")
    return Identity(
        event_id=name(webhook.headers.get(_EVENT_ID), "header webhook-id"),
        event_type=name(head.type, "event type"),
        occurred_at=iso_time(head.timestamp),
        test=any(link.startswith(_TEST_HOST) for link in links),
    )


_PAID_ELSEWHERE = "payment.succeeded reports what is paid"

provider = Provider(
    name="dodopayments",
    title="Dodo Payments",
    docs="https://docs.dodopayments.com/developer-resources/webhooks",
    role=Role.SELLER,
    overlaps=dict.fromkeys(
        ("adyen", "stripe"), "Dodo Payments charges in your own account there, if you connect it"
    ),
    signature=HmacWithHeaders(
        header="webhook-signature",
        signed=(_EVENT_ID, "webhook-timestamp"),
        joiner=".",
        version="v1",
        keys=standard_webhooks_keys,
    ),
    identify=identify,
    headers=(_EVENT_ID,),
    user_id=homes("data.metadata.{}", "data.customer.metadata.{}"),
    customer_ids=(
        # Not for refunds and disputes: it would hide the user who paid.
        "!(data.refund_id || data.dispute_id) && data.customer.customer_id",
        "data.customer_id",  # abandoned checkouts
    ),
    unique_ids=True,
    never={
        "subscription.renewed": "payment.succeeded reports the same charge, with its money",
        "subscription.updated": "it comes with every other event of a subscription",
        "subscription.past_due": "payment.failed reports each attempt to charge",
        "dispute.challenged": "it changes nothing that is reported",
        "abandoned_checkout.recovered": _PAID_ELSEWHERE,
        "dunning.recovered": _PAID_ELSEWHERE,
        "credit.overage_charged": _PAID_ELSEWHERE,
        "payout.success": "it is money that Dodo Payments pays out to you",
    },
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    data: T


# Payments


class CartItem(Payload):
    product_id: OptionalId = None
    quantity: Pieces = None


class Discount(Payload):
    code: OptionalId = None


class Payment(Payload):
    """`settlement_amount` is not read: it is what reaches the merchant, in a currency of its own."""

    payment_id: Id
    # With taxes.
    total_amount: int
    currency: str
    payment_method: str | None = None
    # The next three fields are newer than bodies of early 2026.
    charge_type: str | None = None
    subscription_ids: Lines[OptionalId]
    is_update_payment_method: bool | None = None
    # Null where one payment starts several subscriptions.
    subscription_id: OptionalId = None
    # Null for subscriptions.
    product_cart: Lines[CartItem]
    discount_id: OptionalId = None
    discounts: Lines[Discount]
    checkout_session_id: OptionalId = None
    payment_link: Detail[str] = None

    @property
    def of_a_subscription(self) -> bool:
        return bool(self.subscription_id or self.subscription_ids)

    @property
    def starts_for_nothing(self) -> bool:
        """Whether it only begins a trial or authorises later charges. A discount on everything is a start."""
        discounted = bool(self.discount_id or self.discounts)
        return self.of_a_subscription and not self.total_amount and not discounted

    @property
    def kind(self) -> Kind:
        if not self.of_a_subscription:
            return Kind.PURCHASE_COMPLETED
        if self.charge_type:
            return _CHARGES.get(self.charge_type, Kind.SUBSCRIPTION_RENEWED)
        # The buyer is at a checkout for the first payment only (unconfirmed).
        at_checkout = self.checkout_session_id or self.payment_link
        return Kind.SUBSCRIPTION_STARTED if at_checkout else Kind.SUBSCRIPTION_RENEWED

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=Money.from_minor(self.total_amount, self.currency),
            transactions=transactions,
            order_id=self.payment_id,
            subscription_id=self.subscription_id,
            items=tuple(Item.product(it.product_id, it.quantity) for it in self.product_cart),
            payment_method=self.payment_method,
            coupon=",".join(it.code for it in self.discounts if it.code) or None,
        )


_CHARGES = {
    # The merchant charges what they like, whenever they like.
    "on_demand": Kind.PURCHASE_COMPLETED,
    "new": Kind.SUBSCRIPTION_STARTED,
    "renewal": Kind.SUBSCRIPTION_RENEWED,
    "plan_change": Kind.SUBSCRIPTION_UPDATED,
}


def _sets_up(event: Event[Payment]) -> bool:
    """A charge that only shows that a new card works."""
    return bool(event.data.is_update_payment_method)


@provider.on("payment.succeeded", *_CHARGES.values(), Kind.TRIAL_CONVERTED)
@unless(_sets_up)
def payment_succeeded(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    payment = event.data
    # subscription.active reports a trial.
    if not payment.starts_for_nothing:
        yield payment.event(payment.kind, (payment.payment_id,))


@provider.on("payment.failed", Kind.PAYMENT_FAILED, Kind.SUBSCRIPTION_PAYMENT_FAILED)
@unless(_sets_up)
def payment_failed(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    # Not final: Dodo Payments tries again, and a buyer can.
    payment = event.data
    charge = Kind.SUBSCRIPTION_PAYMENT_FAILED if payment.of_a_subscription else Kind.PAYMENT_FAILED
    yield payment.event(charge, EACH_TIME)


@provider.off("payment.processing", Kind.PURCHASE_INITIATED)
@provider.off("payment.cancelled", Kind.CHECKOUT_CANCELLED)
@unless(_sets_up)
def payment_changed(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, (event.data.payment_id,))


class Checkout(Payload):
    """It names no price and no product."""

    payment_id: Id


@provider.off("abandoned_checkout.detected", Kind.CHECKOUT_ABANDONED)
def checkout_abandoned(event: Event[Checkout], context: Context) -> Iterator[CommerceEvent]:
    payment = event.data.payment_id
    yield CommerceEvent(
        kind=context.kind,
        transactions=(payment,),
        follows=(payment,),
        order_id=payment,
    )


# Refunds and disputes


class Refund(Payload):
    refund_id: Id
    payment_id: OptionalId = None
    amount: int | None = None
    currency: str | None = None


@provider.on("refund.succeeded", Kind.PURCHASE_REFUNDED)
@provider.off("refund.failed", Kind.REFUND_FAILED)
def refunded(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    refund = event.data
    # A refund that fails was never reported: refund.succeeded comes when it is done.
    failed = context.kind is Kind.REFUND_FAILED
    yield CommerceEvent(
        kind=context.kind,
        money=None if failed else Money.from_minor(refund.amount, refund.currency),
        transactions=(refund.refund_id,),
        follows=known(refund.payment_id),
        order_id=refund.payment_id,
    )


def _smallest_units(value: object) -> object:
    """A whole number in digits. "4.00" is not one: it would be read as four cents."""
    return value if isinstance(value, int) or str(value).isdecimal() else None


class Dispute(Payload):
    """Its amount is a text. That it is in the smallest unit, as in the vendor's examples, is unconfirmed."""

    dispute_id: Id
    payment_id: OptionalId = None
    amount: Annotated[MinorPrice, BeforeValidator(_smallest_units)] = None
    currency: str | None = None


# The amount is held from the beginning, whatever the stage (unconfirmed for `pre_dispute`).
@provider.on("dispute.opened", Kind.DISPUTE_OPENED)
@provider.on("dispute.won", Kind.DISPUTE_WON)
@provider.on("dispute.lost", Kind.DISPUTE_LOST)
# The merchant gave in; dispute.lost may follow.
@provider.on("dispute.accepted", Kind.DISPUTE_LOST)
@provider.on("dispute.cancelled", Kind.DISPUTE_CLOSED)
@provider.on("dispute.expired", Kind.DISPUTE_CLOSED)
def disputed(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    dispute = event.data
    yield CommerceEvent(
        kind=context.kind,
        money=Money.maybe_minor(dispute.amount, dispute.currency),
        transactions=(dispute.dispute_id,),
        follows=known(dispute.payment_id),
        order_id=dispute.payment_id,
    )


# Subscriptions


class Subscription(Payload):
    subscription_id: Id
    status: str | None = None
    product_id: OptionalId = None
    created_at: object = None
    trial_period_days: Pieces = None
    # The price of a trial that is paid for.
    trial_amount: MinorPrice = None
    cancel_at_next_billing_date: bool | None = None

    def on_trial(self, now: datetime | None) -> bool:
        """Whether nothing is paid yet. After its trial one that was on hold can become active again."""
        days, began = self.trial_period_days or 0, iso_time(self.created_at)
        over = began and now and (now - began).days > days
        return bool(days) and not self.trial_amount and not over

    @property
    def runs_out(self) -> bool:
        """Whether it was cancelled and goes on until the end of the paid period."""
        return bool(self.cancel_at_next_billing_date) and self.status == "active"

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.subscription_id,
            plan_id=self.product_id,
        )


@provider.on("subscription.active", Kind.TRIAL_STARTED, besides={Kind.SUBSCRIPTION_CREATED: False})
def subscription_active(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # Not its start: payment.succeeded reports that, with its money.
    subscription = event.data
    trial = subscription.on_trial(context.identity.occurred_at)
    kind = Kind.TRIAL_STARTED if trial else Kind.SUBSCRIPTION_CREATED
    yield subscription.event(kind, (subscription.subscription_id,))


@provider.on(
    "subscription.cancelled", Kind.SUBSCRIPTION_CANCELLED, Kind.SUBSCRIPTION_CANCEL_SCHEDULED
)
def subscription_cancelled(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    subscription = event.data
    if subscription.runs_out:
        yield subscription.event(Kind.SUBSCRIPTION_CANCEL_SCHEDULED, EACH_TIME)
    else:
        yield subscription.event(Kind.SUBSCRIPTION_CANCELLED, (subscription.subscription_id,))


@provider.on("subscription.expired", Kind.SUBSCRIPTION_EXPIRED)
# Its mandate was refused; it never began.
@provider.off("subscription.failed", Kind.SUBSCRIPTION_FAILED)
def subscription_ended(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, (event.data.subscription_id,))


@provider.on("subscription.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription.unpaused", Kind.SUBSCRIPTION_RESUMED)
# payment.failed reports the charge that failed before it.
@provider.off("subscription.on_hold", Kind.SUBSCRIPTION_HALTED)
# payment.succeeded reports what the change costs, if it costs anything.
@provider.off("subscription.plan_changed", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, EACH_TIME)
