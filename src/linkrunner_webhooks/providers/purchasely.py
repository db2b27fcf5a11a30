"""Purchasely webhooks. https://docs.purchasely.com/docs/server-events

One purchase sends three webhooks or more. Amounts are floats in major units, with taxes. Two signatures can
come along; the deprecated one leaves the body out and is not read.

Which type reports the money: `TRANSACTION_PROCESSED`, which names the event that caused it. Below zero it is
a refund, or the credit for what is left of a period after an upgrade. The other types have the price of the
plan and running totals. The stores behind Purchasely report the same purchases, too: use one source per app.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from pydantic import model_validator

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, Role, unless
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    MinorPrice,
    OptionalId,
    Payload,
    Price,
    epoch_ms,
    first,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import HmacWithHeaders


class Head(Payload):
    event_id: OptionalId = None
    event_name: str
    store_transaction_id: OptionalId = None
    event_created_at_ms: MinorPrice = None
    environment: Detail[str] = None

    @property
    def named(self) -> str | None:
        """What identifies an event without an id: its time is that of the first try."""
        about, created = self.store_transaction_id, self.event_created_at_ms
        return f"{self.event_name}:{about}:{created}" if about and created else None


def identify(webhook: Webhook) -> Identity:
    """Bodies of before 2022 have no event id."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.event_id or head.named or webhook.digest, "event id"),
        event_type=name(head.event_name, "event name"),
        occurred_at=epoch_ms(head.event_created_at_ms),
        test=head.environment == "SANDBOX",
    )


_PAID_ELSEWHERE = "TRANSACTION_PROCESSED reports the same payment, with its money"
_ENDS_ELSEWHERE = "SUBSCRIPTION_TERMINATED reports the same end"

provider = Provider(
    name="purchasely",
    title="Purchasely",
    docs="https://docs.purchasely.com/docs/server-events",
    role=Role.REPEATER,
    overlaps={"stripe": "it repeats what happens there"},
    signature=HmacWithHeaders(
        header="x-purchasely-request-signature",
        signed=("x-purchasely-timestamp",),
        encoding="hex",
        # It tries again for hours, perhaps with the first timestamp (unconfirmed).
        tolerance=24 * 3600,
    ),
    identify=identify,
    user_id=(
        # Of a transfer it is the new owner's, and `user_id` is that of the old one.
        "transferred_to_user_id",
        "user_id",
    ),
    aliases=(
        # Not where one user gives to another: it is that of the one who gives.
        "!(user_id && transferred_to_user_id) && anonymous_user_id",
        "!transferred_from_user_id && transferred_from_anonymous_user_id",
    ),
    never={
        "DEACTIVATE": "it takes access away; the other types say why",
        "SUBSCRIPTION_RENEWED": _PAID_ELSEWHERE,
        "TRIAL_CONVERTED": _PAID_ELSEWHERE,
        "INTRO_OFFER_CONVERTED": _PAID_ELSEWHERE,
        "PROMO_CODE_CONVERTED": _PAID_ELSEWHERE,
        "PROMOTIONAL_OFFER_CONVERTED": _PAID_ELSEWHERE,
        "SUBSCRIPTION_RECOVERED_FROM_GRACE_PERIOD": _PAID_ELSEWHERE,
        "SUBSCRIPTION_RECOVERED_FROM_BILLING_RETRY": _PAID_ELSEWHERE,
        "TRIAL_NOT_CONVERTED": _ENDS_ELSEWHERE,
        "INTRO_OFFER_NOT_CONVERTED": _ENDS_ELSEWHERE,
        "PROMO_CODE_NOT_CONVERTED": _ENDS_ELSEWHERE,
        "SUBSCRIPTION_REFUNDED_REVOKED": "TRANSACTION_PROCESSED reports the refund, with its money",
        "GRACE_PERIOD_TERMINATED": "GRACE_PERIOD_STARTED reports the same unpaid renewal",
        "SUBSCRIPTION_WILL_NOT_PAUSE": "SUBSCRIPTION_PAUSED reports the pauses that begin",
        "RETENTION_MESSAGE_REQUESTED": "somebody looked at how to cancel, and nothing changed",
    },
    caution="""\
The stores send webhooks of their own, and RevenueCat, Adapty, Superwall and Qonversion repeat them as well.
With any of them beside this source every purchase of the app counts twice: choose one.
""",
)


class Purchase(Payload):
    purchase_type: Detail[str] = None
    offer_type: Detail[str] = None
    offer_identifier: OptionalId = None
    store: OptionalId = None
    store_product_id: OptionalId = None
    plan: OptionalId = None
    store_transaction_id: OptionalId = None
    store_original_transaction_id: OptionalId = None
    purchasely_subscription_id: OptionalId = None
    purchasely_one_time_purchase_id: OptionalId = None
    purchased_at_ms: MinorPrice = None
    is_family_shared: Detail[bool] = None
    # The price of the current period, which is 0 in a trial.
    plan_price_in_customer_currency: Price = None
    customer_currency: Detail[str] = None

    @property
    def on_trial(self) -> bool:
        return self.offer_type == "FREE_TRIAL"

    @property
    def free(self) -> bool:
        return self.plan_price_in_customer_currency == 0

    @property
    def renewable(self) -> bool:
        """Only newer bodies have the type. Consumables and passes without a renewal are bought once."""
        if self.purchase_type is None:
            return self.purchasely_one_time_purchase_id is None
        return self.purchase_type == "RENEWING_SUBSCRIPTION"

    @property
    def transactions(self) -> tuple[str, ...]:
        """The id with the time: at Amazon and Stripe each charge may have its subscription's id."""
        parts = (self.store_transaction_id, self.purchased_at_ms)
        return (":".join(str(part) for part in parts if part),) if self.store_transaction_id else ()

    @property
    def subscription_id(self) -> str | None:
        """The first transaction of the subscription."""
        chain = first(self.store_original_transaction_id, self.purchasely_subscription_id)
        return chain if self.renewable else None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            order_id=self.store_transaction_id,
            subscription_id=self.subscription_id,
            plan_id=first(self.plan, self.store_product_id) if self.renewable else None,
            payment_method=self.store,
        )

    def bought(self, kind: Kind, money: Money | None) -> CommerceEvent:
        return replace(
            self.event(kind, self.transactions),
            money=money,
            occurred_at=epoch_ms(self.purchased_at_ms),
            items=(Item.product(self.store_product_id),) if self.store_product_id else (),
            coupon=self.offer_identifier,
        )


def _shared(purchase: Purchase) -> bool:
    """A family member's access. Its price was paid by the member who shares."""
    return bool(purchase.is_family_shared)


# Payments

_APP_CURRENCY = re.compile(r"amount_in_([a-z]{3})", re.IGNORECASE)

# What is caused by anything else is a further period.
_CAUSES = {
    "SUBSCRIPTION_STARTED": Kind.SUBSCRIPTION_STARTED,
    "INTRO_OFFER_STARTED": Kind.SUBSCRIPTION_STARTED,
    "PROMO_CODE_STARTED": Kind.SUBSCRIPTION_STARTED,
    "SUBSCRIPTION_UPGRADED": Kind.SUBSCRIPTION_PRODUCT_CHANGED,
    "SUBSCRIPTION_DOWNGRADED": Kind.SUBSCRIPTION_PRODUCT_CHANGED,
    "SUBSCRIPTION_CROSSGRADED": Kind.SUBSCRIPTION_PRODUCT_CHANGED,
}


class Transaction(Purchase):
    source_event_name: Detail[str] = None
    amount: Decimal
    currency: str

    @model_validator(mode="before")
    @classmethod
    def with_its_amount(cls, value: object) -> object:
        """The amount as it was paid, or in the app's own currency, which stands in the name of the field."""
        if not isinstance(value, Mapping):
            return value
        paid = value.get("amount_in_customer_currency")
        if paid is not None and value.get("customer_currency"):
            return {**value, "amount": paid, "currency": value["customer_currency"]}
        for key, amount in value.items():
            if amount is not None and (found := _APP_CURRENCY.fullmatch(key)):
                return {**value, "amount": amount, "currency": found[1]}
        return value

    @property
    def money(self) -> Money:
        """What moved, whichever way. Converted amounts have the noise of floats."""
        return Money.of(round(abs(self.amount), 6), self.currency)

    @property
    def kind(self) -> Kind:
        if not self.renewable:
            return Kind.PURCHASE_COMPLETED
        if self.source_event_name is None:
            begins = self.store_transaction_id == self.store_original_transaction_id
            return Kind.SUBSCRIPTION_STARTED if begins else Kind.SUBSCRIPTION_RENEWED
        return _CAUSES.get(self.source_event_name, Kind.SUBSCRIPTION_RENEWED)


@provider.on(
    "TRANSACTION_PROCESSED",
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
    Kind.TRIAL_CONVERTED,
    Kind.SUBSCRIPTION_PRODUCT_CHANGED,
    Kind.PURCHASE_COMPLETED,
    besides={Kind.PURCHASE_REFUNDED: True},
)
def transaction_processed(transaction: Transaction, context: Context) -> Iterator[CommerceEvent]:
    if _shared(transaction):
        return
    if transaction.amount < 0:
        # A credit and a refund can be of one transaction.
        yield replace(
            transaction.event(Kind.PURCHASE_REFUNDED, EACH_TIME),
            money=transaction.money,
            follows=transaction.transactions,
        )
    else:
        yield transaction.bought(transaction.kind, transaction.money)


@provider.off("ACTIVATE", Kind.PURCHASE_COMPLETED)
@unless(_shared)
def activated(purchase: Purchase, context: Context) -> Iterator[CommerceEvent]:
    # Access to anything, at every renewal again. The documentation says that TRANSACTION_PROCESSED is only
    # for subscriptions (unconfirmed), so who sells anything else may need this.
    if not purchase.renewable:
        price = purchase.plan_price_in_customer_currency
        yield purchase.bought(context.kind, Money.of(price, purchase.customer_currency))


# Starts


@provider.on(
    "SUBSCRIPTION_STARTED",
    Kind.TRIAL_STARTED,
    Kind.SUBSCRIPTION_STARTED,
    besides={Kind.SUBSCRIPTION_CREATED: False},
)
@provider.on("TRIAL_STARTED", Kind.TRIAL_STARTED)
@unless(_shared)
def subscription_began(purchase: Purchase, context: Context) -> Iterator[CommerceEvent]:
    # A trial sends both types.
    if purchase.on_trial or context.identity.event_type == "TRIAL_STARTED":
        # The id of the subscription, by which its first payment finds its trial.
        trial = purchase.bought(Kind.TRIAL_STARTED, None)
        yield replace(trial, transactions=known(purchase.subscription_id))
    elif purchase.free:
        # Nobody pays, so TRANSACTION_PROCESSED is not sent.
        yield purchase.bought(Kind.SUBSCRIPTION_STARTED, None)
    else:
        # Not its start: TRANSACTION_PROCESSED reports that, with its money.
        yield purchase.event(Kind.SUBSCRIPTION_CREATED, known(purchase.subscription_id))


@provider.off("INTRO_OFFER_STARTED", Kind.SUBSCRIPTION_OFFER_REDEEMED)
@provider.off("PROMO_CODE_STARTED", Kind.SUBSCRIPTION_OFFER_REDEEMED)
@provider.off("PROMOTIONAL_OFFER_STARTED", Kind.SUBSCRIPTION_OFFER_REDEEMED)
@unless(_shared)
def offer_started(purchase: Purchase, context: Context) -> Iterator[CommerceEvent]:
    redeemed = purchase.event(context.kind, purchase.transactions)
    yield replace(redeemed, coupon=purchase.offer_identifier)


# Changes and ends


@provider.on("RENEWAL_DISABLED", Kind.SUBSCRIPTION_CANCELLED, besides={Kind.TRIAL_CANCELLED: True})
@unless(_shared)
def renewal_disabled(purchase: Purchase, context: Context) -> Iterator[CommerceEvent]:
    kind = Kind.TRIAL_CANCELLED if purchase.on_trial else Kind.SUBSCRIPTION_CANCELLED
    yield purchase.event(kind, EACH_TIME)


@provider.on("RENEWAL_ENABLED", Kind.SUBSCRIPTION_REACTIVATED)
# It had expired. TRANSACTION_PROCESSED reports what is paid for it.
@provider.on("SUBSCRIPTION_REACTIVATED", Kind.SUBSCRIPTION_RESUMED)
@provider.on("SUBSCRIPTION_PAUSED", Kind.SUBSCRIPTION_PAUSED)
@provider.on("SUBSCRIPTION_UNPAUSED", Kind.SUBSCRIPTION_RESUMED)
@provider.off("SUBSCRIPTION_WILL_PAUSE", Kind.SUBSCRIPTION_PAUSE_SCHEDULED)
@provider.on("SUBSCRIPTION_DEFERRED", Kind.SUBSCRIPTION_EXTENDED)
# TRANSACTION_PROCESSED reports a change that is charged, with its money.
@provider.off("SUBSCRIPTION_UPGRADED", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
@provider.off("SUBSCRIPTION_DOWNGRADED", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
@provider.off("SUBSCRIPTION_CROSSGRADED", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
@unless(_shared)
def subscription_changed(purchase: Purchase, context: Context) -> Iterator[CommerceEvent]:
    yield purchase.event(context.kind, EACH_TIME)


@provider.on("GRACE_PERIOD_STARTED", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("ENTERED_BILLING_RETRY", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("SUBSCRIPTION_TERMINATED", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("SUBSCRIPTION_CANCELLED_DURING_GRACE_PERIOD", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("SUBSCRIPTION_CANCELLED_DURING_PAUSE", Kind.SUBSCRIPTION_EXPIRED)
@unless(_shared)
def period_ended(purchase: Purchase, context: Context) -> Iterator[CommerceEvent]:
    # One unpaid renewal, and one end, can send several of these. They name the same last transaction.
    yield purchase.event(context.kind, purchase.transactions)


@provider.on("FAMILY_SHARED_REVOKED", Kind.SUBSCRIPTION_REVOKED)
def sharing_revoked(purchase: Purchase, context: Context) -> Iterator[CommerceEvent]:
    # Only this type is about a family member.
    yield purchase.event(context.kind, EACH_TIME)


# Customers


class Transfer(Payload):
    """What it is about was reported when it was bought."""


# What was bought by somebody who had not signed in is given to who has.
@provider.lesson("SUBSCRIPTION_TRANSFERRED")
@provider.lesson("SUBSCRIPTION_RECEIVED")
@provider.lesson("ONE_TIME_PURCHASE_TRANSFERRED")
@provider.lesson("ONE_TIME_PURCHASE_RECEIVED")
def transferred(transfer: Transfer, context: Context) -> Iterator[CommerceEvent]:
    yield from ()
