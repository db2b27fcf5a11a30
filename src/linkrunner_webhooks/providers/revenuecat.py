"""RevenueCat webhooks. https://www.revenuecat.com/docs/integrations/webhooks

A request has one event, under `event`. Times are in milliseconds. Amounts are in major units of the currency
of the purchase, with their worth in US dollars beside them; both are null when RevenueCat does not know them.

Which type reports the money: the one that names the purchase (INITIAL_PURCHASE, RENEWAL,
NON_RENEWING_PURCHASE); no other type repeats it. A refund is a CANCELLATION by customer support. The stores
behind RevenueCat report the same purchases, too: use one source per app.
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
    Payload,
    epoch_ms,
    first,
    homes,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import TimestampedHmac
from linkrunner_webhooks.signatures.tokens import FirstPresent, StaticToken


class Named(Payload):
    id: str
    type: str
    event_timestamp_ms: object = None
    environment: Detail[str] = None
    store: Detail[str] = None


class Head(Payload):
    event: Named


def identify(webhook: Webhook) -> Identity:
    """Purchases in the Test Store are tests as well: they cost nothing, whatever their environment."""
    event = parse(Head, webhook).event
    return Identity(
        event_id=name(event.id, "event id"),
        event_type=name(event.type, "event type"),
        occurred_at=epoch_ms(event.event_timestamp_ms),
        test=event.environment == "SANDBOX" or event.store == "TEST_STORE",
    )


provider = Provider(
    name="revenuecat",
    title="RevenueCat",
    docs="https://www.revenuecat.com/docs/integrations/webhooks",
    role=Role.REPEATER,
    overlaps=dict.fromkeys(("paddle", "stripe"), "it repeats what happens there"),
    # Public receivers agree on the HMAC; RevenueCat's own documentation of it is unconfirmed.
    signature=FirstPresent(
        (TimestampedHmac(header="x-revenuecat-webhook-signature"), StaticToken("authorization"))
    ),
    identify=identify,
    user_id=(
        # RevenueCat makes up an id for a customer who has not signed in, which is nobody's.
        "event.app_user_id",
        "event.aliases[]",
        "event.original_app_user_id",
        "event.transferred_to[]",
        *homes("event.subscriber_attributes.{}.value"),
    ),
    aliases=(
        "event.aliases[]",
        "event.app_user_id",
        "event.original_app_user_id",
        "event.transferred_from[]",
    ),
    never={
        "INVOICE_ISSUANCE": "nothing is paid yet; INITIAL_PURCHASE or RENEWAL reports the payment",
        "TEMPORARY_ENTITLEMENT_GRANT": "the store has not confirmed it; INITIAL_PURCHASE follows",
        "VIRTUAL_CURRENCY_TRANSACTION": "NON_RENEWING_PURCHASE reports what was paid for it",
        "PURCHASE_REDEEMED": "it gives a purchase that was reported to somebody else",
        "SUBSCRIBER_ALIAS": "it changes who somebody is and reports no purchase",
        "TEST": "it is only sent to see whether the webhook arrives",
    },
    caution="""\
Linkrunner has an integration with RevenueCat of its own, and the stores send webhooks, too. With either of
them beside this source (the native integration, or apple, googleplay or stripe sources of the same app) every
purchase counts twice: choose one.
""",
)


class Purchase(Payload):
    product_id: OptionalId = None
    new_product_id: OptionalId = None
    transaction_id: OptionalId = None
    original_transaction_id: OptionalId = None
    purchased_at_ms: int | None = None
    expiration_at_ms: int | None = None
    period_type: str | None = None
    price: Decimal | None = None
    price_in_purchased_currency: Decimal | None = None
    currency: str | None = None
    offer_code: OptionalId = None
    store: OptionalId = None
    cancel_reason: str | None = None
    is_trial_conversion: bool | None = None
    is_family_share: bool | None = None

    @property
    def money(self) -> Money | None:
        # `price` is the worth in US dollars, whatever `currency` says.
        paid = Money.converted(self.price_in_purchased_currency, self.currency)
        return paid or Money.converted(self.price, "USD")

    @property
    def money_back(self) -> Money | None:
        """Most refunds are written as negative amounts."""
        money = self.money
        return money and Money.of(abs(money.amount), money.currency)

    @property
    def free(self) -> bool:
        money = self.money
        return money is not None and not money.amount

    @property
    def on_trial(self) -> bool:
        return self.period_type == "TRIAL"

    @property
    def granted(self) -> bool:
        return self.period_type == "PROMOTIONAL"

    @property
    def transactions(self) -> tuple[str, ...]:
        """The id with the time: at Stripe and Amazon every charge has its subscription's id (unconfirmed).

        The product is added, because a change of the product at Stripe repeats the time as well.
        """
        parts = (self.transaction_id, self.purchased_at_ms, self.product_id)
        return (":".join(str(part) for part in parts if part),) if self.transaction_id else ()

    @property
    def renewable(self) -> bool:
        """A purchase that is no subscription never expires."""
        return self.expiration_at_ms is not None

    @property
    def subscription_id(self) -> str | None:
        """The first transaction of the subscription."""
        chain = first(self.original_transaction_id, self.transaction_id)
        return chain if self.renewable else None

    @property
    def plan_id(self) -> str | None:
        # A change of the product takes effect later; INITIAL_PURCHASE or RENEWAL reports its money.
        return first(self.new_product_id, self.product_id) if self.renewable else None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            order_id=self.transaction_id,
            subscription_id=self.subscription_id,
            plan_id=self.plan_id,
            payment_method=self.store,
        )

    def bought(self, kind: Kind) -> CommerceEvent:
        # Trials and grants are free: their amount is 0, and nobody paid it.
        free = kind in (Kind.TRIAL_STARTED, Kind.SUBSCRIPTION_GRANTED)
        return replace(
            self.event(kind, self.transactions),
            money=None if free else self.money,
            occurred_at=epoch_ms(self.purchased_at_ms),
            items=(Item.product(self.product_id),),
            coupon=self.offer_code,
        )

    def went_back(self, kind: Kind) -> CommerceEvent:
        # A purchase can be refunded again after a reversal.
        event = self.event(kind, EACH_TIME)
        return replace(event, money=self.money_back, follows=self.transactions)


class Event(Payload):
    purchase: Purchase = Field(alias="event")


def _shared(event: Event) -> bool:
    """A family member's purchase. Its price was paid by the member who shares."""
    return bool(event.purchase.is_family_share)


# Payments

_FREE = {"TRIAL": Kind.TRIAL_STARTED, "PROMOTIONAL": Kind.SUBSCRIPTION_GRANTED}


@provider.on(
    "INITIAL_PURCHASE",
    Kind.SUBSCRIPTION_STARTED,
    besides={Kind.TRIAL_STARTED: True, Kind.SUBSCRIPTION_GRANTED: False},
)
@unless(_shared)
def subscribed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    kind = _FREE.get(event.purchase.period_type or "", Kind.SUBSCRIPTION_STARTED)
    yield event.purchase.bought(kind)


@provider.on(
    "RENEWAL",
    Kind.SUBSCRIPTION_RENEWED,
    Kind.TRIAL_CONVERTED,
    besides={Kind.TRIAL_STARTED: True, Kind.SUBSCRIPTION_GRANTED: False},
)
@unless(_shared)
def renewed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Somebody who comes back after an expiration can have a trial.
    purchase = event.purchase
    paid = Kind.TRIAL_CONVERTED if purchase.is_trial_conversion else Kind.SUBSCRIPTION_RENEWED
    yield purchase.bought(_FREE.get(purchase.period_type or "", paid))


@provider.on(
    "NON_RENEWING_PURCHASE", Kind.PURCHASE_COMPLETED, besides={Kind.SUBSCRIPTION_GRANTED: False}
)
@unless(_shared)
def purchased(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # A grant to a customer may come as a purchase (unconfirmed).
    granted = event.purchase.granted
    yield event.purchase.bought(Kind.SUBSCRIPTION_GRANTED if granted else Kind.PURCHASE_COMPLETED)


# Refunds and cancellations


@provider.on(
    "CANCELLATION",
    Kind.SUBSCRIPTION_CANCELLED,
    besides={Kind.TRIAL_CANCELLED: True, Kind.PURCHASE_REFUNDED: True},
)
@unless(_shared)
def cancelled(event: Event, context: Context) -> Iterator[CommerceEvent]:
    purchase = event.purchase
    # BILLING_ISSUE reports the same.
    if purchase.cancel_reason == "BILLING_ERROR":
        return
    if purchase.on_trial:
        yield purchase.event(Kind.TRIAL_CANCELLED, EACH_TIME)
    elif purchase.cancel_reason == "CUSTOMER_SUPPORT" and not purchase.free:
        yield purchase.went_back(Kind.PURCHASE_REFUNDED)
    else:
        yield purchase.event(Kind.SUBSCRIPTION_CANCELLED, EACH_TIME)


@provider.on("REFUND_REVERSED", Kind.REFUND_REVERSED)
@unless(_shared)
def refund_reversed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.purchase.went_back(context.kind)


# Subscriptions


@provider.on("BILLING_ISSUE", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("UNCANCELLATION", Kind.SUBSCRIPTION_REACTIVATED)
@provider.on("EXPIRATION", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("PRODUCT_CHANGE", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
@provider.on("SUBSCRIPTION_PAUSED", Kind.SUBSCRIPTION_PAUSED)
@provider.on("SUBSCRIPTION_EXTENDED", Kind.SUBSCRIPTION_EXTENDED)
@unless(_shared)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.purchase.event(context.kind, EACH_TIME)


class Transfer(Payload):
    """It has neither a purchase nor an `app_user_id`."""


# What was bought by somebody who had not signed in is given to who has.
@provider.lesson("TRANSFER")
def transferred(event: Transfer, context: Context) -> Iterator[CommerceEvent]:
    yield from ()
