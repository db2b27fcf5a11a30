"""Superwall webhooks. https://superwall.com/docs/integrations/webhooks

A request has one event, under `data`, sent through Svix. Times are in milliseconds. Amounts are in major
units of the currency of the purchase, with their worth in US dollars beside them. The user id is the first
one that Superwall saw with the subscription.

Which type reports the money: the one that names the purchase (initial_purchase, renewal,
non_renewing_purchase). The prices of all events add up to what was earned, so that no event repeats another's
price, and a price below zero is a refund whatever the type is. The stores behind Superwall report the same
purchases, too: use one source per app.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, Role, unless
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    OptionalId,
    Part,
    Payload,
    epoch_ms,
    first,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import HmacWithHeaders, standard_webhooks_keys
from linkrunner_webhooks.signatures.tokens import FirstPresent


class Named(Payload):
    id: OptionalId = None
    ts: object = None
    environment: Detail[str] = None


class Head(Payload):
    type: str
    timestamp: object = None
    data: Part[Named]


def identify(webhook: Webhook) -> Identity:
    """`timestamp` is when the webhook was made. A test of the endpoint may lack an id (unconfirmed)."""
    head = parse(Head, webhook)
    event = head.data
    return Identity(
        event_id=name(event.id or webhook.digest, "event id"),
        event_type=name(head.type, "event type"),
        occurred_at=epoch_ms(event.ts) or epoch_ms(head.timestamp),
        test=event.environment == "SANDBOX",
    )


def _signed_as(brand: str) -> HmacWithHeaders:
    return HmacWithHeaders(
        header=f"{brand}-signature",
        signed=(f"{brand}-id", f"{brand}-timestamp"),
        joiner=".",
        version="v1",
        keys=standard_webhooks_keys,
    )


provider = Provider(
    name="superwall",
    title="Superwall",
    docs="https://superwall.com/docs/integrations/webhooks",
    role=Role.REPEATER,
    overlaps=dict.fromkeys(("paddle", "stripe"), "it repeats what happens there"),
    # Svix can leave its brand out of the names of the headers.
    signature=FirstPresent((_signed_as("svix"), _signed_as("webhook"))),
    identify=identify,
    # Superwall makes up an id for a customer who has not signed in, which is nobody's.
    user_id=("data.originalAppUserId",),
    never={"test": "it is only sent to see whether the webhook arrives"},
    caution="""\
The stores behind Superwall send webhooks, too, and so does RevenueCat. With any of them beside this source
(apple, googleplay, stripe or revenuecat sources of the same app) every purchase counts twice: choose one.
""",
)


class Purchase(Payload):
    model_config = ConfigDict(alias_generator=to_camel)

    product_id: OptionalId = None
    new_product_id: OptionalId = None
    # One for each charge.
    transaction_id: OptionalId = None
    # The subscription, at every store.
    original_transaction_id: OptionalId = None
    purchased_at: object = None
    expiration_at: object = None
    period_type: str | None = None
    price: Decimal | None = None
    price_in_purchased_currency: Decimal | None = None
    currency_code: str | None = None
    offer_code: OptionalId = None
    store: OptionalId = None
    cancel_reason: str | None = None
    is_trial_conversion: bool | None = None
    is_family_share: bool | None = None

    @property
    def money(self) -> Money | None:
        # `price` is the worth in US dollars, whatever `currencyCode` says.
        paid = Money.converted(self.price_in_purchased_currency, self.currency_code)
        return paid or Money.converted(self.price, "USD")

    @property
    def _prices(self) -> tuple[Decimal, ...]:
        both = (self.price, self.price_in_purchased_currency)
        return tuple(each for each in both if each is not None)

    @property
    def free(self) -> bool:
        return not (self._prices and all(self._prices))

    @property
    def refunded(self) -> bool:
        return any(each < 0 for each in self._prices)

    @property
    def of_a_trial(self) -> bool:
        return self.period_type == "TRIAL"

    @property
    def product(self) -> str | None:
        """What is paid for from now on."""
        return first(self.new_product_id, self.product_id)

    @property
    def renewable(self) -> bool:
        """A purchase that is no subscription never expires."""
        return self.expiration_at is not None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        chain = first(self.original_transaction_id, self.transaction_id)
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            order_id=self.transaction_id,
            subscription_id=chain if self.renewable else None,
            plan_id=self.product if self.renewable else None,
            payment_method=self.store,
        )

    def bought(self, kind: Kind) -> CommerceEvent:
        return replace(
            self.event(kind, known(self.transaction_id)),
            money=self.money,
            occurred_at=epoch_ms(self.purchased_at),
            items=(Item.product(self.product),),
            coupon=self.offer_code,
        )

    def tried(self) -> CommerceEvent:
        # Not the subscription's id, which would make its next payment a conversion: Superwall says which is.
        ids = known(self.transaction_id and f"trial:{self.transaction_id}")
        return replace(self.bought(Kind.TRIAL_STARTED), money=None, transactions=ids)

    def went_back(self) -> CommerceEvent:
        money = self.money
        return replace(
            # A purchase can be refunded in parts.
            self.event(Kind.PURCHASE_REFUNDED, EACH_TIME),
            money=money and Money.of(abs(money.amount), money.currency),
            # The first charge of a subscription has the same user as the refunded charge.
            follows=known(self.transaction_id, self.original_transaction_id),
            returns=known(self.transaction_id),
        )

    def changed(self, kind: Kind) -> CommerceEvent:
        return self.went_back() if self.refunded else self.event(kind, EACH_TIME)


class Event(Payload):
    purchase: Purchase = Field(alias="data")


def _shared(event: Event) -> bool:
    """A family member's purchase. The member who shares has a price."""
    return bool(event.purchase.is_family_share) and event.purchase.free


_REFUND = {Kind.PURCHASE_REFUNDED: True}

# Payments


@provider.on(
    "initial_purchase", Kind.SUBSCRIPTION_STARTED, besides={Kind.TRIAL_STARTED: True, **_REFUND}
)
@unless(_shared)
def subscribed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    purchase = event.purchase
    if purchase.refunded:
        yield purchase.went_back()
    elif purchase.of_a_trial and purchase.free:
        yield purchase.tried()
    else:
        # Also a trial that is paid for.
        yield purchase.bought(context.kind)


@provider.on("renewal", Kind.SUBSCRIPTION_RENEWED, Kind.TRIAL_CONVERTED, besides=_REFUND)
@unless(_shared)
def renewed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    purchase = event.purchase
    # The first renewal can still have the period type of the trial.
    converted = purchase.is_trial_conversion or purchase.of_a_trial
    kind = Kind.TRIAL_CONVERTED if converted else Kind.SUBSCRIPTION_RENEWED
    yield purchase.went_back() if purchase.refunded else purchase.bought(kind)


@provider.on("non_renewing_purchase", Kind.PURCHASE_COMPLETED, besides=_REFUND)
@unless(_shared)
def purchased(event: Event, context: Context) -> Iterator[CommerceEvent]:
    purchase = event.purchase
    yield purchase.went_back() if purchase.refunded else purchase.bought(context.kind)


# Cancellations


@provider.on(
    "cancellation", Kind.SUBSCRIPTION_CANCELLED, besides={Kind.TRIAL_CANCELLED: True, **_REFUND}
)
@unless(_shared)
def cancelled(event: Event, context: Context) -> Iterator[CommerceEvent]:
    purchase = event.purchase
    # billing_issue reports the same (unconfirmed).
    if purchase.cancel_reason == "BILLING_ERROR" and not purchase.refunded:
        return
    kind = Kind.TRIAL_CANCELLED if purchase.of_a_trial else Kind.SUBSCRIPTION_CANCELLED
    yield purchase.changed(kind)


# Subscriptions


@provider.on("product_change", Kind.SUBSCRIPTION_PRODUCT_CHANGED, besides=_REFUND)
@unless(_shared)
def product_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Its price is 0, unless the change is charged by itself (unconfirmed).
    purchase = event.purchase
    charged = not (purchase.free or purchase.refunded)
    yield purchase.bought(context.kind) if charged else purchase.changed(context.kind)


@provider.on("billing_issue", Kind.SUBSCRIPTION_BILLING_ISSUE, besides=_REFUND)
@provider.on("uncancellation", Kind.SUBSCRIPTION_REACTIVATED, besides=_REFUND)
@provider.on("expiration", Kind.SUBSCRIPTION_EXPIRED, besides=_REFUND)
@provider.on("subscription_paused", Kind.SUBSCRIPTION_PAUSED, besides=_REFUND)
@unless(_shared)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.purchase.changed(context.kind)
