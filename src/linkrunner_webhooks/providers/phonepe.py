"""PhonePe webhooks. https://developer.phonepe.com/payment-gateway/autopay/standard-checkout/webhook-handling

Amounts are integers in paise. There is no event id. The names of the types are not enough: `payload.state`
decides. Older bodies have the type under `type` as well, in capitals. A hash of a user name and a password
authenticates the sender, and nothing is signed.

Which type reports the money: `checkout.order.completed`, `pg.order.completed` or `paylink.order.completed`,
as the order was made, also where it sets up a subscription. Its later payments come as
`subscription.redemption.order.completed`. A refund names only the merchant's id of the order.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    Lines,
    OptionalId,
    Part,
    Payload,
    epoch_ms,
    first,
    known,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.tokens import HashedCredentials


class Camel(Payload):
    model_config = ConfigDict(alias_generator=to_camel)


class Attempt(Camel):
    """A try to pay, or to pay back. Only its mode and time are read: the rest is about people's accounts."""

    state: Detail[str] = None
    payment_mode: Detail[str] = None
    timestamp: object = None


class Happening(Camel):
    """What most payloads have; a change of a subscription has no time."""

    state: Detail[str] = None
    timestamp: object = None
    payment_details: Lines[Attempt]

    def is_in(self, state: str) -> bool:
        """Whether it is in this state, as far as the body says."""
        return self.state in (None, state)

    @property
    def happened_at(self) -> datetime | None:
        """The time of the last attempt, where the payload has none."""
        times = filter(None, (epoch_ms(attempt.timestamp) for attempt in self.payment_details))
        return epoch_ms(self.timestamp) or max(times, default=None)

    @property
    def mode(self) -> str | None:
        """How it was paid, or last tried."""
        completed = [each for each in self.payment_details if each.state == "COMPLETED"]
        return next((each.payment_mode for each in (*completed, *self.payment_details[-1:])), None)


class Named(Happening):
    """The ids of all kinds of objects; each kind has some of them."""

    refund_id: OptionalId = None
    merchant_refund_id: OptionalId = None
    dispute_id: OptionalId = None
    order_id: OptionalId = None
    merchant_order_id: OptionalId = None
    subscription_id: OptionalId = None
    merchant_subscription_id: OptionalId = None

    @property
    def id(self) -> str | None:
        return first(
            self.refund_id,
            self.merchant_refund_id,
            self.dispute_id,
            self.order_id,
            self.merchant_order_id,
            self.subscription_id,
            self.merchant_subscription_id,
        )


class Head(Payload):
    event: OptionalId = None
    type: OptionalId = None
    payload: Part[Named]

    @property
    def named(self) -> str | None:
        """PG_ORDER_COMPLETED is what pg.order.completed was called."""
        return self.event or (self.type and self.type.lower().replace("_", "."))


def identify(webhook: Webhook) -> Identity:
    """The sandbox has webhooks of its own. The body's digest tells states of a subscription apart."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.payload.id or webhook.digest, "id"),
        event_type=name(head.named, "event"),
        resource_id=webhook.digest,
        occurred_at=head.payload.happened_at,
    )


_ELSEWHERE = "an attempt is not the order; subscription.redemption.order.* report what became of it"
_ATTEMPT = (
    "the order can still be paid; the type that ends with order.failed reports when it is not"
)
_ANNOUNCED = "it announces a charge; subscription.redemption.order.* report what became of it"
_NO_CHANGE = "it changes nothing that is reported"

provider = Provider(
    name="phonepe",
    title="PhonePe",
    docs="https://developer.phonepe.com/payment-gateway/autopay/standard-checkout/webhook-handling",
    signature=HashedCredentials(),
    identify=identify,
    # Of the fifteen free texts the one that is used least. In another a merchant may have anything.
    user_id=("payload.metaInfo.udf15",),
    never={
        "subscription.redemption.transaction.completed": _ELSEWHERE,
        "subscription.redemption.transaction.failed": _ELSEWHERE,
        "pg.transaction.failed": _ATTEMPT,
        "pg.transaction.attempt.failed": _ATTEMPT,
        "checkout.transaction.attempt.failed": _ATTEMPT,
        "subscription.notification.completed": _ANNOUNCED,
        "subscription.notification.failed": _ANNOUNCED,
        "pg.refund.accepted": "pg.refund.completed reports the refund when it is one",
        "payment.dispute.under_review": _NO_CHANGE,
        "payment.dispute.action_required": _NO_CHANGE,
    },
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    payload: T


def _ids(theirs: str | None, **own: str | None) -> tuple[str, ...]:
    """PhonePe's id, and the merchant's own with a prefix: it may equal another id of PhonePe's."""
    return known(theirs, *(f"{what}:{id}" for what, id in own.items() if id))


# Orders


class Flow(Camel):
    """What an order has to do with a subscription, and which."""

    type: Detail[str] = None
    auth_workflow_type: Detail[str] = None
    merchant_subscription_id: OptionalId = None
    subscription_id: OptionalId = None

    @property
    def sets_up(self) -> bool:
        # SUBSCRIPTION_SETUP, SUBSCRIPTION_CHECKOUT_SETUP, SUBSCRIPTION_PAYLINK_SETUP.
        return "SETUP" in (self.type or "")

    @property
    def only_authorises(self) -> bool:
        """Two rupees for a mandate are given back (unconfirmed). A redemption may repeat how it was made."""
        return self.sets_up and self.auth_workflow_type == "PENNY_DROP"

    @property
    def id(self) -> str | None:
        """The merchant's own id, because a redemption names no other."""
        return first(self.merchant_subscription_id, self.subscription_id)


class Order(Happening):
    """`payableAmount` is not read: it includes a fee that the customer paid."""

    order_id: OptionalId = None
    merchant_order_id: OptionalId = None
    amount: int | None = None
    # Only newer bodies have one.
    currency: Detail[str] = None
    payment_flow: Part[Flow]

    @property
    def money(self) -> Money:
        return Money.from_minor(self.amount, self.currency or "INR")

    @property
    def ids(self) -> tuple[str, ...]:
        return present(_ids(self.order_id, order=self.merchant_order_id) or None, "its order")

    def event(self, kind: Kind) -> CommerceEvent:
        flow = self.payment_flow
        return CommerceEvent(
            kind=kind,
            money=None if flow.only_authorises else self.money,
            transactions=self.ids,
            order_id=first(self.merchant_order_id, self.order_id),
            subscription_id=flow.id,
            payment_method=self.mode,
        )


_PAID = (Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_STARTED)
# Whether a mandate that is only authorised begins a trial, the operator knows.
_PERHAPS = {Kind.TRIAL_STARTED: False}


@provider.on("checkout.order.completed", *_PAID, besides=_PERHAPS)
@provider.on("pg.order.completed", *_PAID, besides=_PERHAPS)
@provider.on("paylink.order.completed", *_PAID, besides=_PERHAPS)
@provider.on("subscription.setup.order.completed", Kind.SUBSCRIPTION_STARTED, besides=_PERHAPS)
def order_completed(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    order, flow = event.payload, event.payload.payment_flow
    if order.is_in("COMPLETED"):
        yield order.event(Kind.SUBSCRIPTION_STARTED if flow.sets_up else context.kind)
        if flow.only_authorises and flow.id:
            yield CommerceEvent(
                kind=Kind.TRIAL_STARTED, transactions=(flow.id,), subscription_id=flow.id
            )


@provider.on(
    "subscription.redemption.order.completed", Kind.SUBSCRIPTION_RENEWED, Kind.TRIAL_CONVERTED
)
def redeemed(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    if event.payload.is_in("COMPLETED"):
        yield event.payload.event(context.kind)


@provider.on("checkout.order.failed", Kind.PAYMENT_FAILED)
@provider.on("pg.order.failed", Kind.PAYMENT_FAILED)
@provider.on("paylink.order.failed", Kind.PAYMENT_FAILED)
@provider.on("subscription.setup.order.failed", Kind.PAYMENT_FAILED)
@provider.on("subscription.redemption.order.failed", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def order_failed(event: Event[Order], context: Context) -> Iterator[CommerceEvent]:
    yield event.payload.event(context.kind)


# Refunds and disputes


class Refund(Happening):
    """Some bodies have only one of the two ids."""

    refund_id: OptionalId = None
    merchant_refund_id: OptionalId = None
    original_merchant_order_id: OptionalId = None
    amount: int | None = None
    currency: Detail[str] = None

    @property
    def ids(self) -> tuple[str, ...]:
        ids = _ids(self.refund_id, refund=self.merchant_refund_id)
        return present(ids or None, "its refund")


@provider.on("pg.refund.completed", Kind.PURCHASE_REFUNDED)
def refund_completed(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    refund = event.payload
    if refund.is_in("COMPLETED"):
        yield CommerceEvent(
            kind=context.kind,
            money=Money.from_minor(refund.amount, refund.currency or "INR"),
            transactions=refund.ids,
            follows=_ids(None, order=refund.original_merchant_order_id),
            order_id=refund.original_merchant_order_id,
            payment_method=refund.mode,
        )


@provider.off("pg.refund.failed", Kind.REFUND_FAILED)
def refund_failed(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    # No amount: it was never reported, because pg.refund.completed comes when it is done.
    refund = event.payload
    yield CommerceEvent(
        kind=context.kind,
        transactions=refund.ids,
        follows=_ids(None, order=refund.original_merchant_order_id),
        order_id=refund.original_merchant_order_id,
    )


class Dispute(Camel):
    """The places of the fields are unconfirmed. An amount that is not found is left out."""

    dispute_id: Id
    dispute_amount: int | None = None
    currency: Detail[str] = None
    merchant_order_id: OptionalId = None


@provider.on("payment.dispute.created", Kind.DISPUTE_OPENED)
@provider.on("payment.dispute.won", Kind.DISPUTE_WON)
@provider.on("payment.dispute.lost", Kind.DISPUTE_LOST)
def disputed(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    dispute = event.payload
    yield CommerceEvent(
        kind=context.kind,
        money=Money.maybe_minor(dispute.dispute_amount, dispute.currency or "INR"),
        transactions=(dispute.dispute_id,),
        follows=_ids(None, order=dispute.merchant_order_id),
        order_id=dispute.merchant_order_id,
    )


# Subscriptions


class Subscription(Camel):
    state: Detail[str] = None
    merchant_subscription_id: OptionalId = None
    subscription_id: OptionalId = None

    @property
    def id(self) -> str:
        id = first(self.merchant_subscription_id, self.subscription_id)
        return present(id, "its subscription")

    @property
    def changing(self) -> bool:
        """Whether the change is only under way: PAUSE_IN_PROGRESS."""
        return (self.state or "").endswith("IN_PROGRESS")


# The customer revokes a mandate in a UPI app, and the merchant cancels it.
@provider.on("subscription.cancelled", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription.revoked", Kind.SUBSCRIPTION_CANCELLED)
def subscription_ended(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    subscription = event.payload
    if not subscription.changing:
        yield CommerceEvent(
            kind=context.kind, transactions=(subscription.id,), subscription_id=subscription.id
        )


@provider.on("subscription.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription.unpaused", Kind.SUBSCRIPTION_RESUMED)
def subscription_changed(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    subscription = event.payload
    if not subscription.changing:
        yield CommerceEvent(
            kind=context.kind, transactions=EACH_TIME, subscription_id=subscription.id
        )
