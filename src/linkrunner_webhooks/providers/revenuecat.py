"""RevenueCat webhooks. https://www.revenuecat.com/docs/integrations/webhooks

One event per request, under `event`; times are in milliseconds. Amounts are in major units of the currency
paid in, with their worth in US dollars beside them, and null when RevenueCat does not know them.

Which type reports the money: the one that names the purchase (INITIAL_PURCHASE, RENEWAL,
NON_RENEWING_PURCHASE); no other type repeats it. A refund is a CANCELLATION by customer support. The stores
behind RevenueCat report the same purchases themselves: one source per app.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import OptionalId, Payload, epoch_ms, name, parse
from linkrunner_webhooks.signatures.hmacs import TimestampedHmac
from linkrunner_webhooks.signatures.tokens import FirstPresent, StaticToken


class Named(Payload):
    id: str
    type: str
    event_timestamp_ms: int | None = None
    environment: str | None = None
    store: str | None = None


class Head(Payload):
    event: Named


def identify(webhook: Webhook) -> Identity:
    """Purchases in the Test Store cost nothing either, whatever their environment."""
    event = parse(Head, webhook).event
    return Identity(
        event_id=name(event.id, "event id"),
        event_type=name(event.type, "event type"),
        occurred_at=epoch_ms(event.event_timestamp_ms),
        test=event.environment == "SANDBOX" or event.store == "TEST_STORE",
    )


# Ids that RevenueCat makes up for somebody your app has not signed in yet.
_OWN = "?!starts_with(@, '$RCAnonymousID:')"

provider = Provider(
    name="revenuecat",
    title="RevenueCat",
    docs="https://www.revenuecat.com/docs/integrations/webhooks",
    # The HMAC is consistent among public receivers, its official wording is unconfirmed.
    signature=FirstPresent(
        (TimestampedHmac(header="x-revenuecat-webhook-signature"), StaticToken("authorization"))
    ),
    identify=identify,
    user_id=(
        f"event.[app_user_id][{_OWN}] | [0]",
        f"event.aliases[{_OWN}] | [0]",
        f"event.[original_app_user_id][{_OWN}] | [0]",
        "event.subscriber_attributes.linkrunner_user_id.value",
    ),
    never={
        "INVOICE_ISSUANCE": "nothing is paid yet; INITIAL_PURCHASE or RENEWAL reports the payment",
        "TEMPORARY_ENTITLEMENT_GRANT": "the store has not confirmed it; INITIAL_PURCHASE follows",
        "VIRTUAL_CURRENCY_TRANSACTION": "NON_RENEWING_PURCHASE reports what was paid for it",
        "PURCHASE_REDEEMED": "it gives a purchase that was reported to somebody else",
        "SUBSCRIBER_ALIAS": "it changes who somebody is and reports no purchase",
        "TRANSFER": "it changes who somebody is and reports no purchase",
        "TEST": "it is only sent to see whether the webhook arrives",
    },
    caution="""\
Linkrunner has an integration with RevenueCat of its own, and the stores send webhooks, too. With either of
them beside this source (the native integration, or apple, google or stripe sources of the same app) every
purchase counts twice: choose one.
""",
)


def _money(amount: Decimal, currency: str) -> Money:
    # Converted prices are floats as they come: 5.690000000000001.
    return Money.of(round(amount, 6), currency)


class Event(Payload):
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

    @property
    def money(self) -> Money | None:
        if self.price_in_purchased_currency is not None and self.currency:
            return _money(self.price_in_purchased_currency, self.currency)
        # `price` is the worth in US dollars, whatever `currency` says.
        return None if self.price is None else _money(self.price, "USD")

    @property
    def money_back(self) -> Money | None:
        """Refunds are written as negative amounts, mostly."""
        money = self.money
        return money and Money.of(abs(money.amount), money.currency)

    @property
    def granted(self) -> bool:
        return self.period_type == "PROMOTIONAL"

    @property
    def on_trial(self) -> bool:
        return self.period_type == "TRIAL"

    @property
    def transactions(self) -> tuple[str, ...]:
        """Not by its id alone: at Stripe and Amazon every charge has its subscription's (unconfirmed).

        A change of the product at Stripe repeats the time as well.
        """
        parts = (self.transaction_id, self.purchased_at_ms, self.product_id)
        return (":".join(str(part) for part in parts if part),) if self.transaction_id else ()

    @property
    def subscription_id(self) -> str | None:
        """The first transaction of the chain; what is bought once never expires."""
        chain = self.original_transaction_id or self.transaction_id
        return None if self.expiration_at_ms is None else chain

    @property
    def plan_id(self) -> str | None:
        # A change of the product takes effect later; its money comes with INITIAL_PURCHASE or RENEWAL.
        product_id = self.new_product_id or self.product_id
        return None if self.expiration_at_ms is None else product_id

    def bought(self, kind: Kind) -> CommerceEvent:
        # Trials and grants are free: there is an amount of 0, and nobody paid it.
        free = kind in (Kind.TRIAL_STARTED, Kind.SUBSCRIPTION_GRANTED)
        return replace(
            self.happened(kind),
            money=None if free else self.money,
            transactions=self.transactions,
            occurred_at=epoch_ms(self.purchased_at_ms),
            items=(Item(content_id=self.product_id, product_id=self.product_id),),
            coupon=self.offer_code,
        )

    def went_back(self, kind: Kind) -> CommerceEvent:
        return replace(
            self.happened(kind),
            money=self.money_back,
            transactions=self.transactions,
            follows=self.transactions,
        )

    def happened(self, kind: Kind) -> CommerceEvent:
        """A fact of its own: most things happen more than once to one transaction."""
        return CommerceEvent(
            kind=kind,
            order_id=self.transaction_id,
            subscription_id=self.subscription_id,
            plan_id=self.plan_id,
            payment_method=self.store,
        )


class Body(Payload):
    event: Event


@provider.on(
    "INITIAL_PURCHASE",
    Kind.SUBSCRIPTION_STARTED,
    besides={Kind.TRIAL_STARTED: True, Kind.SUBSCRIPTION_GRANTED: False},
)
def initial_purchase(body: Body, context: Context) -> Iterator[CommerceEvent]:
    free = {"TRIAL": Kind.TRIAL_STARTED, "PROMOTIONAL": Kind.SUBSCRIPTION_GRANTED}
    kind = free.get(body.event.period_type or "", Kind.SUBSCRIPTION_STARTED)
    yield body.event.bought(kind)


@provider.on("RENEWAL", Kind.SUBSCRIPTION_RENEWED, Kind.TRIAL_CONVERTED)
def renewal(body: Body, context: Context) -> Iterator[CommerceEvent]:
    converted = body.event.is_trial_conversion
    kind = Kind.TRIAL_CONVERTED if converted else Kind.SUBSCRIPTION_RENEWED
    yield body.event.bought(kind)


@provider.on(
    "NON_RENEWING_PURCHASE", Kind.PURCHASE_COMPLETED, besides={Kind.SUBSCRIPTION_GRANTED: False}
)
def non_renewing_purchase(body: Body, context: Context) -> Iterator[CommerceEvent]:
    # What you grant to a customer may come as a purchase of its own (unconfirmed).
    granted = body.event.granted
    yield body.event.bought(Kind.SUBSCRIPTION_GRANTED if granted else Kind.PURCHASE_COMPLETED)


@provider.on(
    "CANCELLATION",
    Kind.SUBSCRIPTION_CANCELLED,
    besides={Kind.TRIAL_CANCELLED: True, Kind.PURCHASE_REFUNDED: True},
)
def cancellation(body: Body, context: Context) -> Iterator[CommerceEvent]:
    event = body.event
    # BILLING_ISSUE reports the same.
    if event.cancel_reason == "BILLING_ERROR":
        return
    if event.on_trial:
        yield event.happened(Kind.TRIAL_CANCELLED)
    elif event.cancel_reason == "CUSTOMER_SUPPORT":
        yield event.went_back(Kind.PURCHASE_REFUNDED)
    else:
        yield event.happened(Kind.SUBSCRIPTION_CANCELLED)


@provider.on("REFUND_REVERSED", Kind.REFUND_REVERSED)
def refund_reversed(body: Body, context: Context) -> Iterator[CommerceEvent]:
    yield body.event.went_back(Kind.REFUND_REVERSED)


@provider.on("BILLING_ISSUE", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("UNCANCELLATION", Kind.SUBSCRIPTION_REACTIVATED)
@provider.on("EXPIRATION", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("PRODUCT_CHANGE", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
@provider.on("SUBSCRIPTION_PAUSED", Kind.SUBSCRIPTION_PAUSED)
@provider.on("SUBSCRIPTION_EXTENDED", Kind.SUBSCRIPTION_EXTENDED)
def subscription_changed(body: Body, context: Context) -> Iterator[CommerceEvent]:
    yield body.event.happened(context.kind)
