"""Google Play's real-time developer notifications. https://developer.android.com/google/play/billing/rtdn-reference

Cloud Pub/Sub pushes them. A notification says which purchase has changed and how, without a price or a user:
the purchase and its orders are asked of the Play Developer API. Amounts are those of the order, which are
what the customer paid, with tax and after discounts; the price of the subscription is neither.

Which type reports the money: SUBSCRIPTION_PURCHASED, _RENEWED and _RECOVERED, and _ITEMS_CHANGED where it
charges; ONE_TIME_PRODUCT_PURCHASED. Every charge has an order of its own. Refunds stand in the history of
their order, each with its time, so whoever reads an order reports them; voidedPurchaseNotification comes for
nearly every one of them.

The API shows how things are now, also to a notification of last week. So what happened is what the type says,
and what is read of an answer stays: ids, users, totals, and refunds with times of their own. The order of a
notification is the one that was paid at its time. The first order has the number of the subscription and each
renewal a count behind it, so earlier ones are asked for until one fits. Where none does, the webhook is
parked: the newest order would count for two, and another one never. Only without money is something of today
told: which plan it is, whether it is in its trial, and that another purchase has replaced it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.lookups import Answers, Lookup, Perhaps
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider, Role, unless
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    Lines,
    OptionalId,
    Part,
    Payload,
    Pieces,
    epoch_ms,
    first,
    iso_time,
    known,
    name,
    parse,
    present,
)
from linkrunner_webhooks.service_accounts import ServiceAccount
from linkrunner_webhooks.signatures.pubsub import PubSubPush

_SUBSCRIPTION: Final = {
    1: "SUBSCRIPTION_RECOVERED",
    2: "SUBSCRIPTION_RENEWED",
    3: "SUBSCRIPTION_CANCELED",
    4: "SUBSCRIPTION_PURCHASED",
    5: "SUBSCRIPTION_ON_HOLD",
    6: "SUBSCRIPTION_IN_GRACE_PERIOD",
    7: "SUBSCRIPTION_RESTARTED",
    8: "SUBSCRIPTION_PRICE_CHANGE_CONFIRMED",
    9: "SUBSCRIPTION_DEFERRED",
    10: "SUBSCRIPTION_PAUSED",
    11: "SUBSCRIPTION_PAUSE_SCHEDULE_CHANGED",
    12: "SUBSCRIPTION_REVOKED",
    13: "SUBSCRIPTION_EXPIRED",
    17: "SUBSCRIPTION_ITEMS_CHANGED",
    18: "SUBSCRIPTION_CANCELLATION_SCHEDULED",
    19: "SUBSCRIPTION_PRICE_CHANGE_UPDATED",
    20: "SUBSCRIPTION_PENDING_PURCHASE_CANCELED",
    22: "SUBSCRIPTION_PRICE_STEP_UP_CONSENT_UPDATED",
}
_ONE_TIME: Final = {1: "ONE_TIME_PRODUCT_PURCHASED", 2: "ONE_TIME_PRODUCT_CANCELED"}
_VOIDED: Final = "voidedPurchaseNotification"

# An order is of a notification if it was paid so long before it at most, or so little after it. The shortest
# period is a week, and the clocks of Google's systems are not one.
_BEFORE: Final = timedelta(days=5)
_AFTER: Final = timedelta(hours=12)


class _Google(Payload):
    model_config = ConfigDict(alias_generator=to_camel)


class Nothing(_Google):
    """An object that says something by being there."""


# Notifications


class Notification(_Google):
    notification_type: int | None = None
    # A capability: it is asked with, and goes nowhere else.
    purchase_token: str | None = None
    order_id: OptionalId = None
    product_type: int | None = None


class Named(_Google):
    """A notification has exactly one of these members."""

    event_time_millis: object = None
    subscription_notification: Notification | None = None
    one_time_product_notification: Notification | None = None
    voided_purchase_notification: Notification | None = None

    @property
    def at(self) -> datetime | None:
        return epoch_ms(self.event_time_millis)

    @property
    def type(self) -> str | None:
        if told := self.subscription_notification:
            number = told.notification_type
            return _SUBSCRIPTION.get(number or 0, f"SUBSCRIPTION_{number}")
        if told := self.one_time_product_notification:
            number = told.notification_type
            return _ONE_TIME.get(number or 0, f"ONE_TIME_PRODUCT_{number}")
        return _VOIDED if self.voided_purchase_notification else None


class Answered(_Google):
    """A purchase has one of these objects, mostly empty, if it is a test."""

    test_purchase: object = None
    test_purchase_context: object = None

    @property
    def test(self) -> bool:
        return self.test_purchase is not None or self.test_purchase_context is not None


class Head(Named):
    message_id: str | None = None
    pending_refund_review_notification: Nothing | None = None
    test_notification: Nothing | None = None
    lookup: Lines[Answered]

    @property
    def type(self) -> str | None:
        if self.test_notification:
            return "testNotification"
        if self.pending_refund_review_notification:
            return "pendingRefundReviewNotification"
        return super().type


def identify(webhook: Webhook) -> Identity:
    """Pub/Sub repeats a message under its id. That a purchase is a test is only said by the API."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.message_id, "message id"),
        event_type=name(head.type, "notification"),
        occurred_at=head.at,
        test=any(each.test for each in head.lookup),
    )


_PUSH = PubSubPush()


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """The notification in the message, with the message's id."""
    return (_PUSH.unpack(webhook),)


class GooglePlayOptions(Options):
    """`package_name`: the app. Nothing is reported of other apps that share its topic."""

    package_name: str = Field(
        pattern=r"^[A-Za-z]\w*(\.[A-Za-z]\w*)+$", examples=["com.example.app"]
    )


def is_meant(payload: Any, options: GooglePlayOptions) -> bool:
    """Whether a notification is about the configured app, as far as it says."""
    app = payload.get("packageName") if isinstance(payload, dict) else None
    return app is None or app == options.package_name


# Orders


class Amount(_Google):
    """Whole units, as text, and billionths. Zero is left out."""

    currency_code: str | None = None
    units: int | None = None
    nanos: int | None = None

    @property
    def number(self) -> Decimal:
        return Decimal(self.units or 0) + Decimal(self.nanos or 0).scaleb(-9)


class OfferPhaseDetails(_Google):
    free_trial_details: Nothing | None = None


class SubscriptionDetails(_Google):
    offer_id: OptionalId = None
    # Deprecated, and the only one in older answers.
    offer_phase: str | None = None
    offer_phase_details: Part[OfferPhaseDetails]

    @property
    def trial(self) -> bool:
        details = self.offer_phase_details
        return details.free_trial_details is not None or self.offer_phase == "FREE_TRIAL"


class OneTimePurchaseDetails(_Google):
    offer_id: OptionalId = None
    quantity: Pieces = None


class Line(_Google):
    product_id: OptionalId = None
    subscription_details: SubscriptionDetails | None = None
    one_time_purchase_details: Part[OneTimePurchaseDetails]

    @property
    def trial(self) -> bool:
        return self.subscription_details is not None and self.subscription_details.trial

    @property
    def offer_id(self) -> str | None:
        details = self.subscription_details or self.one_time_purchase_details
        return details.offer_id


class RefundDetails(_Google):
    total: Amount | None = None


class PartialRefund(_Google):
    create_time: str | None = None
    process_time: object = None
    refund_details: Part[RefundDetails]

    @property
    def number(self) -> Decimal:
        return present(self.refund_details.total, "how much was refunded").number


class FullRefund(_Google):
    event_time: object = None
    refund_reason: str | None = None
    refund_details: Part[RefundDetails]


class Processed(_Google):
    event_time: object = None


class History(_Google):
    processed_event: Part[Processed]
    partial_refund_events: tuple[PartialRefund, ...] | None = None
    refund_event: FullRefund | None = None


# The count of a renewal stands behind the number of its subscription.
_COUNTED: Final = re.compile(r"(.+)\.\.(\d{1,6})", re.ASCII)


def _first_of(order_id: str) -> str:
    """The first order of a subscription, whose number names it."""
    counted = _COUNTED.fullmatch(order_id)
    return counted[1] if counted else order_id


def _one_before(order_id: str) -> str | None:
    counted = _COUNTED.fullmatch(order_id)
    if counted is None:
        return None
    return f"{counted[1]}..{int(counted[2]) - 1}" if int(counted[2]) else counted[1]


class Order(_Google):
    order_id: Id
    state: str | None = None
    create_time: object = None
    total: Amount | None = None
    line_items: tuple[Line, ...] | None = None
    order_history: Part[History]

    @property
    def paid_at(self) -> datetime | None:
        """What could not be charged at first is processed much later than its order is created."""
        processed = iso_time(self.order_history.processed_event.event_time)
        return processed or iso_time(self.create_time)

    def is_after(self, moment: datetime | None) -> bool:
        paid_at = self.paid_at
        return paid_at is not None and moment is not None and paid_at > moment + _AFTER

    def is_of(self, moment: datetime | None) -> bool:
        """Whether it is the order of what happened then, as far as times are known."""
        paid_at = self.paid_at
        if paid_at is not None and moment is not None and paid_at < moment - _BEFORE:
            return False
        return not self.is_after(moment)

    @property
    def lines(self) -> tuple[Line, ...]:
        return self.line_items or ()

    @property
    def money(self) -> Money:
        total = present(self.total, "what its order costs")
        return Money.of(total.number, total.currency_code)

    @property
    def subscription_id(self) -> str | None:
        renewable = any(each.subscription_details for each in self.lines)
        return _first_of(self.order_id) if renewable else None

    @property
    def starts_trial(self) -> bool:
        """A trial beside something that costs money is a sale."""
        return not self.money.amount and any(each.trial for each in self.lines)

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        product_id = first(*(each.product_id for each in self.lines))
        items = (
            Item.product(each.product_id, each.one_time_purchase_details.quantity)
            for each in self.lines
        )
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            order_id=self.order_id,
            subscription_id=self.subscription_id,
            plan_id=product_id if self.subscription_id else None,
            items=tuple(items),
        )

    def paid(self, kind: Kind) -> Iterator[CommerceEvent]:
        """The payment, and what has gone back of it since."""
        if self.state == "PENDING":
            raise Untranslatable("its order is not paid yet: redrive it when it is")
        # It was cancelled before it was paid.
        if self.state == "CANCELED":
            return
        free = kind is Kind.TRIAL_STARTED or not self.money.amount
        # Something free is a start or a change all the same, and no payment.
        money = None if free and kind in _FREE else self.money
        yield replace(
            self.event(kind, (self.order_id,)),
            money=money,
            occurred_at=self.paid_at,
            coupon=first(*(each.offer_id for each in self.lines)),
        )
        yield from self.refunds()

    def refunds(self) -> Iterator[CommerceEvent]:
        """Refunds of parts, also those that Google still works at, and what was left for that of all."""
        history = self.order_history
        left = self.money.amount
        for number, refund in enumerate(history.partial_refund_events or ()):
            left -= refund.number
            yield self._went_back(
                Kind.PURCHASE_REFUNDED,
                f"{self.order_id}:{refund.create_time or number}",
                refund.number,
                iso_time(refund.process_time) or iso_time(refund.create_time),
            )
        whole = history.refund_event
        if whole is None and self.state != "REFUNDED":
            return
        whole = whole or FullRefund.model_validate({})
        told = whole.refund_details.total
        back = min(left, told.number) if told else left
        reversed_ = whole.refund_reason == "CHARGEBACK"
        if back > 0:
            yield self._went_back(
                Kind.PURCHASE_REVERSED if reversed_ else Kind.PURCHASE_REFUNDED,
                self.order_id,
                back,
                iso_time(whole.event_time),
            )

    def _went_back(
        self, kind: Kind, transaction: str, number: Decimal, at: datetime | None
    ) -> CommerceEvent:
        return replace(
            self.event(kind, (transaction,)),
            money=Money.of(number, self.money.currency),
            # The first charge of a subscription has the same user as the refunded charge.
            follows=known(self.order_id, _first_of(self.order_id)),
            returns=(self.order_id,),
            occurred_at=at,
        )


# Purchases


class OfferPhase(_Google):
    free_trial: Nothing | None = None


class OfferDetails(_Google):
    base_plan_id: OptionalId = None


class ItemReplacement(_Google):
    product_id: OptionalId = None
    base_plan_id: OptionalId = None


class DeferredReplacement(_Google):
    product_id: OptionalId = None


class Plan(_Google):
    product_id: OptionalId = None
    latest_successful_order_id: OptionalId = None
    offer_phase: Part[OfferPhase]
    offer_details: Part[OfferDetails]
    prepaid_plan: Nothing | None = None
    item_replacement: ItemReplacement | None = None
    deferred_item_replacement: Part[DeferredReplacement]

    @property
    def chosen(self) -> str | None:
        """The product of the next period."""
        return first(self.deferred_item_replacement.product_id, self.product_id)

    @property
    def goes_on(self) -> bool:
        """Whether it is the same plan again, of a purchase that goes on from another one."""
        before = self.item_replacement
        if before is None:
            # A prepaid plan is topped up by buying it again.
            return self.prepaid_plan is not None
        same = before.base_plan_id == self.offer_details.base_plan_id
        return same and before.product_id == self.product_id


class Cancellation(_Google):
    replacement_cancellation: Nothing | None = None


class Subscription(_Google):
    line_items: tuple[Plan, ...] | None = None
    linked_purchase_token: Detail[str] = None
    canceled_state_context: Part[Cancellation]

    @property
    def plans(self) -> tuple[Plan, ...]:
        return self.line_items or ()

    @property
    def order_ids(self) -> tuple[str, ...]:
        """The newest order of each plan; plans that renew together share them."""
        return known(*(each.latest_successful_order_id for each in self.plans))

    @property
    def id(self) -> str | None:
        return first(*map(_first_of, self.order_ids))

    @property
    def replaced(self) -> bool:
        """Another purchase took its place, which reports the change."""
        return self.canceled_state_context.replacement_cancellation is not None

    @property
    def on_trial(self) -> bool:
        return any(each.offer_phase.free_trial for each in self.plans)

    @property
    def begins_as(self) -> Kind:
        """What its first payment is. Who changes the plan, or buys it again, is no new subscriber."""
        if not self.linked_purchase_token:
            return Kind.SUBSCRIPTION_STARTED
        same = any(each.goes_on for each in self.plans)
        return Kind.SUBSCRIPTION_RENEWED if same else Kind.SUBSCRIPTION_PRODUCT_CHANGED


class Product(_Google):
    order_id: OptionalId = None


# What is asked for


class Event(Named):
    package_name: str
    lookup: tuple[Any, ...] = ()

    @property
    def subscription(self) -> Subscription:
        return Subscription.model_validate(self.lookup[0])

    @property
    def orders(self) -> tuple[Order, ...]:
        """What was answered after the purchase."""
        return tuple(map(Order.model_validate, self.lookup[1:]))

    def path(self, *parts: str | None) -> str:
        app = ("applications", self.package_name)
        return "".join(f"/{_part(part)}" for part in (*app, *parts))

    def order(self, id: str | None) -> str:
        return self.path("orders", present(id, "the number of its order"))

    def next(self) -> str | None:
        if told := self.subscription_notification:
            return self._next_of_subscription(told)
        if told := self.one_time_product_notification:
            return self._next_of_product(told)
        if told := self.voided_purchase_notification:
            return self._next_of_voided(told)
        return None

    def _next_of_subscription(self, told: Notification) -> str | None:
        if not self.lookup:
            return self.path("purchases", "subscriptionsv2", "tokens", told.purchase_token)
        if self.type not in _WITH_ORDERS:
            return None
        ids = self.subscription.order_ids
        if self.type == _PURCHASED:
            ids = known(*map(_first_of, ids))
        id = next(_not_asked(ids, self.orders, self.at), None)
        return self.order(id) if id else None

    def _next_of_product(self, told: Notification) -> str | None:
        if not self.lookup:
            return self.path("purchases", "productsv2", "tokens", told.purchase_token)
        order_id = Product.model_validate(self.lookup[0]).order_id
        if len(self.lookup) > 1 or self.type != _ONE_TIME[1] or order_id is None:
            return None
        return self.order(order_id)

    def _next_of_voided(self, told: Notification) -> str | None:
        # Only the purchase says whose it is, and that it is a test. It may be too old to be told.
        kind = _PURCHASES.get(told.product_type or 0)
        if kind and not self.lookup:
            return Perhaps(self.path("purchases", kind, "tokens", told.purchase_token))
        return self.order(told.order_id) if len(self.lookup) <= bool(kind) else None


_PURCHASES: Final = {1: "subscriptionsv2", 2: "productsv2"}


def _part(text: str | None) -> str:
    """One part of a path. Raises Malformed for what is none."""
    if not text or not text.strip("."):
        raise Malformed("a part of what it is about is missing")
    return quote(text, safe="")


def _not_asked(
    ids: Sequence[str], orders: Iterable[Order], moment: datetime | None
) -> Iterator[str]:
    """The orders that are still to be asked for: of one that was paid later, the one before it."""
    left = list(ids)
    for order in orders:
        id = left.pop(0) if left else order.order_id
        before = _one_before(id) if order.is_after(moment) else None
        left[:0] = [before] if before else []
    yield from left


_PURCHASED: Final = _SUBSCRIPTION[4]
_REVOKED: Final = _SUBSCRIPTION[12]
_WITH_ORDERS: Final = frozenset(_SUBSCRIPTION[each] for each in (1, 2, 4, 12, 17))


def next_path(payload: Any, answers: Answers) -> str | None:
    """The purchase, then its order."""
    return Event.model_validate({**payload, "lookup": answers}).next()


_SCOPE: Final = "https://www.googleapis.com/auth/androidpublisher"

provider = Provider(
    name="googleplay",
    title="Google Play",
    docs="https://developer.android.com/google/play/billing/rtdn-reference",
    role=Role.STORE,
    signature=_PUSH,
    identify=identify,
    unpack=unpack,
    options=GooglePlayOptions,
    lookup=Lookup(
        next=next_path,
        meant=is_meant,
        base=lambda _: "https://androidpublisher.googleapis.com/androidpublisher/v3",
        access=ServiceAccount(_SCOPE),
        # Google lets 3,000 a minute pass of each kind.
        per_second=30,
        needs="View financial data, orders, and cancellation survey responses",
    ),
    user_id=(
        "lookup[].externalAccountIdentifiers.obfuscatedExternalAccountId",
        "lookup[].obfuscatedExternalAccountId",
        # Who comes back in the Play Store, and not in the app, had it before.
        "lookup[].outOfAppPurchaseContext.expiredExternalAccountIdentifiers.obfuscatedExternalAccountId",
        "lookup[].externalAccountIdentifiers.obfuscatedExternalProfileId",
        "lookup[].obfuscatedExternalProfileId",
    ),
    never={
        "testNotification": "the Play Console sends it to see whether notifications arrive",
        "pendingRefundReviewNotification": (
            "it is Google's question about a refund; voidedPurchaseNotification reports it"
        ),
        "SUBSCRIPTION_PRICE_CHANGE_CONFIRMED": (
            "nobody has paid the new price; SUBSCRIPTION_RENEWED reports who does"
        ),
        "SUBSCRIPTION_PRICE_CHANGE_UPDATED": (
            "nobody has paid the new price; SUBSCRIPTION_RENEWED reports who does"
        ),
        "SUBSCRIPTION_PRICE_STEP_UP_CONSENT_UPDATED": (
            "nobody has paid the new price; SUBSCRIPTION_RENEWED reports who does"
        ),
        "SUBSCRIPTION_PAUSE_SCHEDULE_CHANGED": (
            "it does not say whether a pause was set or taken back; SUBSCRIPTION_PAUSED reports one"
        ),
        "SUBSCRIPTION_PENDING_PURCHASE_CANCELED": "nothing was paid, and no subscription began",
    },
    caution="""\
The same charges are reported by RevenueCat, Adapty, Superwall, Purchasely and Qonversion: switch on one of
them only, or revenue counts twice. Pub/Sub does not sign the body; what is paid, and by whom, is asked of
Google.
""",
)


# Payments

# What goes back is read wherever an order is.
_BACK = {Kind.PURCHASE_REFUNDED: True, Kind.PURCHASE_REVERSED: True}
# What happens though nobody pays.
_FREE = (Kind.TRIAL_STARTED, Kind.SUBSCRIPTION_PRODUCT_CHANGED, Kind.PURCHASE_COMPLETED)


def _changed(event: Event, kind: Kind) -> CommerceEvent:
    """Something that happened to a subscription, without money. Google may publish it twice."""
    subscription = event.subscription
    id, at = subscription.id, event.at
    return CommerceEvent(
        kind=kind,
        transactions=(f"{id}:{utc(at, 'milliseconds')}",) if id and at else EACH_TIME,
        subscription_id=id,
        plan_id=first(*(each.chosen for each in subscription.plans)),
    )


def _charges(event: Event) -> tuple[Order, ...]:
    """The orders that were paid when it happened."""
    return tuple(each for each in event.orders if each.is_of(event.at))


@provider.on(
    "SUBSCRIPTION_PURCHASED",
    Kind.SUBSCRIPTION_STARTED,
    besides={
        Kind.TRIAL_STARTED: True,
        Kind.SUBSCRIPTION_PRODUCT_CHANGED: True,
        Kind.SUBSCRIPTION_RENEWED: True,
        **_BACK,
    },
)
def subscribed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    subscription, charges = event.subscription, _charges(event)
    if not charges and subscription.begins_as is Kind.SUBSCRIPTION_STARTED:
        raise Untranslatable("the order of this purchase is not there")
    # A change that takes effect with the next period costs nothing now.
    if not charges:
        yield _changed(event, Kind.SUBSCRIPTION_PRODUCT_CHANGED)
    for order in charges:
        kind = Kind.TRIAL_STARTED if order.starts_trial else subscription.begins_as
        yield from order.paid(kind)


def _renewals(event: Event) -> Iterator[CommerceEvent]:
    charges = _charges(event)
    if not charges:
        raise Untranslatable("no order of this subscription was paid when it was renewed")
    for order in charges:
        yield from order.paid(Kind.SUBSCRIPTION_RENEWED)


@provider.on("SUBSCRIPTION_RENEWED", Kind.SUBSCRIPTION_RENEWED, Kind.TRIAL_CONVERTED, besides=_BACK)
def renewed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield from _renewals(event)


@provider.on(
    "SUBSCRIPTION_RECOVERED",
    Kind.SUBSCRIPTION_RENEWED,
    Kind.TRIAL_CONVERTED,
    besides={Kind.SUBSCRIPTION_RESUMED: True, **_BACK},
)
def recovered(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # It was on hold, or paused.
    yield _changed(event, Kind.SUBSCRIPTION_RESUMED)
    yield from _renewals(event)


@provider.on("SUBSCRIPTION_ITEMS_CHANGED", Kind.SUBSCRIPTION_PRODUCT_CHANGED, besides=_BACK)
def items_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    charges = _charges(event)
    if not charges:
        yield _changed(event, context.kind)
    for order in charges:
        yield from order.paid(context.kind)


@provider.on("ONE_TIME_PRODUCT_PURCHASED", Kind.PURCHASE_COMPLETED, besides=_BACK)
def purchased(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # What a promotion code paid for may have no order.
    if not event.orders:
        yield CommerceEvent(kind=context.kind, transactions=EACH_TIME)
    for order in event.orders:
        yield from order.paid(context.kind)


@provider.on("ONE_TIME_PRODUCT_CANCELED", Kind.PURCHASE_CANCELLED)
def purchase_cancelled(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Somebody was to pay in cash, and did not.
    order_id = Product.model_validate(event.lookup[0]).order_id
    yield CommerceEvent(kind=context.kind, transactions=known(order_id), order_id=order_id)


# Refunds


@provider.on(_VOIDED, Kind.PURCHASE_REFUNDED, Kind.PURCHASE_REVERSED)
def voided(event: Event, context: Context) -> Iterator[CommerceEvent]:
    order = Order.model_validate(event.lookup[-1])
    refunds = tuple(order.refunds())
    if not refunds and order.money.amount:
        raise Untranslatable("its order does not show the refund yet: redrive it when it does")
    yield from refunds


# Subscriptions


@provider.on(_REVOKED, Kind.SUBSCRIPTION_REVOKED, besides=_BACK)
def revoked(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _changed(event, context.kind)
    for order in event.orders:
        yield from order.refunds()


def _replaced(event: Event) -> bool:
    return event.subscription.replaced


@provider.on(
    "SUBSCRIPTION_CANCELED", Kind.SUBSCRIPTION_CANCELLED, besides={Kind.TRIAL_CANCELLED: True}
)
@unless(_replaced)
def cancelled(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Whoever has cancelled stays in the phase that they were in.
    on_trial = event.subscription.on_trial
    yield _changed(event, Kind.TRIAL_CANCELLED if on_trial else context.kind)


@provider.on("SUBSCRIPTION_EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
@unless(_replaced)
def expired(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _changed(event, context.kind)


@provider.on("SUBSCRIPTION_RESTARTED", Kind.SUBSCRIPTION_REACTIVATED)
@provider.on("SUBSCRIPTION_IN_GRACE_PERIOD", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("SUBSCRIPTION_ON_HOLD", Kind.SUBSCRIPTION_HALTED)
@provider.on("SUBSCRIPTION_PAUSED", Kind.SUBSCRIPTION_PAUSED)
@provider.on("SUBSCRIPTION_DEFERRED", Kind.SUBSCRIPTION_EXTENDED)
@provider.on("SUBSCRIPTION_CANCELLATION_SCHEDULED", Kind.SUBSCRIPTION_CANCEL_SCHEDULED)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _changed(event, context.kind)
