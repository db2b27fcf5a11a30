"""Adapty webhooks. https://adapty.io/docs/webhook

A request has one event. What was bought stands under `event_properties`. Prices are in major units of the
currency of the purchase, with their worth in US dollars beside them; both are null where nothing is charged.
Nothing is signed: a text that the merchant chooses authenticates the sender. Merchants can rename the types
in the dashboard, and nobody knows a renamed one.

Which type reports the money: the one that names the purchase (subscription_started, subscription_renewed,
trial_converted, non_subscription_purchase); no other type repeats it. A refund names its transaction and the
price of that, never a part of it. The stores behind Adapty report the same purchases, too: use one source per
app.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from pydantic import Field

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, Role, unless
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    OptionalId,
    Part,
    Payload,
    first,
    homes,
    iso_time,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.tokens import StaticToken

_HEADER = "authorization"
# Our name of what Adapty posts when the webhook is saved.
_VERIFICATION = "verification"


class Named(Payload):
    profile_event_id: OptionalId = None
    transaction_id: OptionalId = None
    environment: Detail[str] = None


class Head(Payload):
    event_type: str
    event_datetime: OptionalId = None
    profile_id: OptionalId = None
    # Some receivers find it here and not among the properties (unconfirmed).
    profile_event_id: OptionalId = None
    event_properties: Part[Named]

    @property
    def event_id(self) -> str | None:
        """Not every event has one. Without it and its time nothing tells an event from others."""
        of = self.event_properties
        about = known(self.event_type, of.transaction_id, self.profile_id, self.event_datetime)
        composed = ":".join(about) if self.event_datetime else None
        return first(of.profile_event_id, self.profile_event_id, composed)


def identify(webhook: Webhook) -> Identity:
    if verifies(webhook):
        return Identity(event_id=webhook.digest, event_type=_VERIFICATION)
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.event_id or webhook.digest, "event id"),
        event_type=name(head.event_type, "event type"),
        occurred_at=iso_time(head.event_datetime),
        test=head.event_properties.environment == "Sandbox",
    )


def verifies(webhook: Webhook) -> bool:
    """Adapty posts an empty object when the webhook is saved, and needs a 200."""
    return webhook.body.strip() == b"{}"


def greets(webhook: Webhook) -> bool:
    """Whether the verification has the text is unconfirmed. A wrong one is refused, so that it is noticed."""
    return _HEADER not in webhook.headers and verifies(webhook)


provider = Provider(
    name="adapty",
    title="Adapty",
    docs="https://adapty.io/docs/webhook",
    role=Role.REPEATER,
    overlaps=dict.fromkeys(("paddle", "stripe"), "it repeats what happens there"),
    signature=StaticToken(_HEADER),
    identify=identify,
    handshake=greets,
    # From 200 to 404 every answer is the last one, and a wrong secret would lose events.
    statuses={400: 409, 401: 409, 404: 409},
    user_id=("customer_user_id", *homes("user_attributes.{}")),
    # Adapty makes one up for every installation.
    customer_ids=("profile_id",),
    never={
        "access_level_updated": "it comes with every other event of a subscription",
        "entered_grace_period": "billing_issue_detected reports the payment that failed",
        _VERIFICATION: "it is only sent to see whether the webhook answers",
    },
    caution="""\
The stores send webhooks, too, and so does RevenueCat. With one of them beside this source (apple, googleplay,
stripe, paddle or revenuecat sources of the same app) every purchase counts twice: choose one.
""",
)

# Products of access that was given away, in the dashboard or by a server.
_GRANTED = ("adapty_server_side_product", "adapty_dashboard_product", "adapty_promotion")
# Why a subscription ends that is "refunded" because another one replaces it.
_REPLACED = ("upgraded", "new_subscription_replace")


class Purchase(Payload):
    transaction_id: OptionalId = None
    original_transaction_id: OptionalId = None
    vendor_product_id: OptionalId = None
    # What was charged, before the store's share; null for trials.
    price_local: Decimal | None = None
    price_usd: Decimal | None = None
    currency: str | None = None
    store: OptionalId = None
    promotional_offer_id: OptionalId = None
    cancellation_reason: str | None = None

    @property
    def money(self) -> Money | None:
        return Money.converted(self.price_local, self.currency) or Money.converted(
            self.price_usd, "USD"
        )

    @property
    def money_back(self) -> Money | None:
        """Whether the prices of refunds are negative is unconfirmed."""
        money = self.money
        return money and Money.of(abs(money.amount), money.currency)

    @property
    def granted(self) -> bool:
        return self.vendor_product_id in _GRANTED

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        # The first transaction of a subscription identifies it.
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            order_id=self.transaction_id,
            subscription_id=first(self.original_transaction_id, self.transaction_id),
            plan_id=self.vendor_product_id,
            payment_method=self.store,
        )

    def bought(self, kind: Kind) -> CommerceEvent:
        # Whether grants come as purchases is unconfirmed. The price of a trial is that of a later period.
        kind = Kind.SUBSCRIPTION_GRANTED if self.granted else kind
        free = kind in (Kind.TRIAL_STARTED, Kind.SUBSCRIPTION_GRANTED)
        return replace(
            self.event(kind, known(self.transaction_id)),
            money=None if free else self.money,
            items=(Item.product(self.vendor_product_id),),
            coupon=self.promotional_offer_id,
        )

    def went_back(self, kind: Kind) -> CommerceEvent:
        # Once for each transaction: Adapty reports no reversal, after which it could be refunded again.
        return replace(
            self.event(kind, known(self.transaction_id)),
            money=self.money_back,
            # The first payment of a subscription has the same user as the refunded one.
            follows=known(self.transaction_id, self.original_transaction_id),
            returns=known(self.transaction_id),
        )


class Event(Payload):
    purchase: Purchase = Field(alias="event_properties")


def _granted(event: Event) -> bool:
    """What was given away can be taken back, but not refunded."""
    return event.purchase.granted


def _single(event: CommerceEvent) -> CommerceEvent:
    """Of a purchase that is no subscription."""
    return replace(event, subscription_id=None, plan_id=None)


# Payments


_GIVEN = {Kind.SUBSCRIPTION_GRANTED: False}


# At Google a start can have no price: another subscription replaces it, or its first phase is free.
@provider.on("subscription_started", Kind.SUBSCRIPTION_STARTED, besides=_GIVEN)
# An older name of the same.
@provider.on("subscription_initial_purchase", Kind.SUBSCRIPTION_STARTED, besides=_GIVEN)
@provider.on("subscription_renewed", Kind.SUBSCRIPTION_RENEWED, besides=_GIVEN)
# The first payment after a trial; subscription_started is not sent as well.
@provider.on("trial_converted", Kind.TRIAL_CONVERTED, besides=_GIVEN)
@provider.on("trial_started", Kind.TRIAL_STARTED, besides=_GIVEN)
def subscribed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.purchase.bought(context.kind)


@provider.on("non_subscription_purchase", Kind.PURCHASE_COMPLETED, besides=_GIVEN)
def purchased(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _single(event.purchase.bought(context.kind))


# Refunds


@provider.on(
    "subscription_refunded",
    Kind.PURCHASE_REFUNDED,
    besides={Kind.SUBSCRIPTION_PRODUCT_CHANGED: True},
)
@unless(_granted)
def subscription_refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    purchase = event.purchase
    if purchase.cancellation_reason in _REPLACED:
        # The store pays back what is left of the period. Adapty does not say how much that is, and
        # subscription_started reports the new product.
        changed = purchase.event(Kind.SUBSCRIPTION_PRODUCT_CHANGED, known(purchase.transaction_id))
        yield replace(changed, plan_id=None)
    else:
        yield purchase.went_back(Kind.PURCHASE_REFUNDED)


@provider.on("non_subscription_purchase_refunded", Kind.PURCHASE_REFUNDED)
@unless(_granted)
def purchase_refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _single(event.purchase.went_back(context.kind))


# Subscriptions


@provider.on("trial_renewal_cancelled", Kind.TRIAL_CANCELLED)
@provider.on("trial_renewal_reactivated", Kind.SUBSCRIPTION_REACTIVATED)
@provider.on("trial_expired", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("billing_issue_detected", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("subscription_renewal_cancelled", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription_renewal_reactivated", Kind.SUBSCRIPTION_REACTIVATED)
@provider.on("subscription_paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription_deferred", Kind.SUBSCRIPTION_EXTENDED)
@provider.on("subscription_expired", Kind.SUBSCRIPTION_EXPIRED)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.purchase.event(context.kind, EACH_TIME)
