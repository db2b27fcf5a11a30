"""App Store Server Notifications, version 2. https://developer.apple.com/documentation/appstoreservernotifications

The body is one signed payload (JWS). Inside it the transaction and the renewal are signed again; `unpack`
replaces all three by their plain JSON before the webhook is stored. Some types mean different things with
different subtypes. Prices are thousandths of every currency, also of currencies without decimals. Apple says
that they are not for accounting.

Which type reports the money: SUBSCRIBED, DID_RENEW and ONE_TIME_CHARGE, and two others where they charge:
DID_CHANGE_RENEWAL_PREF and OFFER_REDEEMED. Every charge has a `transactionId` of its own and is reported by
one notification. `originalTransactionId` is the first transaction of a subscription and identifies it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money, rounded
from linkrunner_webhooks.provider import Context, Provider, Role, unless
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    OptionalId,
    Part,
    Payload,
    Pieces,
    epoch_ms,
    first,
    known,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.compact import Claims
from linkrunner_webhooks.signatures.jws import SignedPayload

# In other environments the developer's machine signs, with a key of its own.
_ENVIRONMENTS = ("Production", "Sandbox")


def part_of(payload: Claims) -> Claims:
    """The part that is there, of the four that a notification can have. Raises ValueError without one."""
    for member in ("data", "appData", "summary", "externalPurchaseToken"):
        if isinstance(part := payload.get(member), dict):
            return part
    raise ValueError("a notification about nothing")


def is_meant(part: Claims, app: str) -> bool:
    """Whether a part is about the configured app, `<bundle id>` or `<bundle id>/<app id>`.

    Only production notifications name the app id.
    """
    bundle_id, _, app_id = app.partition("/")
    environment = part.get("environment") or _implied_environment(part)
    if part["bundleId"] != bundle_id or not bundle_id or environment not in _ENVIRONMENTS:
        return False
    return not app_id or environment == "Sandbox" or str(part["appAppleId"]) == app_id


def _implied_environment(part: Claims) -> str:
    """Tokens of external purchases have no environment; the ids of sandbox tokens begin with SANDBOX."""
    sandbox = str(part.get("externalPurchaseId") or "").startswith("SANDBOX")
    return "Sandbox" if sandbox else "Production"


_SIGNED_BY_APPLE = SignedPayload(
    member="signedPayload",
    # Apple Root CA - G3
    root="63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179",
    leaf_extension="1.2.840.113635.100.6.11.1",
    intermediate_extension="1.2.840.113635.100.6.2.1",
    part=part_of,
    nested=("signedTransactionInfo", "signedRenewalInfo"),
    # The renewal does not name the app.
    agreeing=("bundleId", "environment"),
    meant=is_meant,
)
# A charge this much older than the notification was reported by an earlier one.
_NEW = timedelta(days=1)


class _Apple(Payload):
    model_config = ConfigDict(alias_generator=to_camel)


class Surroundings(_Apple):
    environment: Detail[str] = None


class Head(_Apple):
    """A notification has exactly one of the four parts."""

    notification_type: str | None = None
    notification_uuid: str | None = Field(default=None, alias="notificationUUID")
    signed_date: object = None
    data: Surroundings | None = None
    app_data: Surroundings | None = None
    summary: Surroundings | None = None
    external_purchase_token: Surroundings | None = None

    @property
    def environment(self) -> str | None:
        part = self.data or self.app_data or self.summary or self.external_purchase_token
        return part.environment if part else None


def identify(webhook: Webhook) -> Identity:
    """A retry keeps the UUID and the date of the notification."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.notification_uuid, "notification UUID"),
        event_type=name(head.notification_type, "notification type"),
        occurred_at=epoch_ms(head.signed_date),
        test=head.environment not in (None, "Production"),
    )


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """The signed payload as plain JSON."""
    try:
        return (replace(webhook, body=_SIGNED_BY_APPLE.unpack(webhook.body)),)
    except ValueError:
        raise Malformed("the signed payload cannot be read") from None


provider = Provider(
    name="apple",
    title="Apple App Store",
    docs="https://developer.apple.com/documentation/appstoreservernotifications",
    role=Role.STORE,
    signature=_SIGNED_BY_APPLE,
    identify=identify,
    unpack=unpack,
    user_id=(
        "data.signedTransactionInfo.appAccountToken",
        "data.signedRenewalInfo.appAccountToken",
    ),
    never={
        "CONSUMPTION_REQUEST": "it is Apple's question about a refund, which REFUND reports",
        "REFUND_DECLINED": "no money moved",
        "PRICE_INCREASE": "nobody has paid the new price; DID_RENEW reports who does",
        "PRICE_CHANGE": "nobody has paid the new price; DID_RENEW reports who does",
        "RENEWAL_EXTENSION": "it sums up many customers; RENEWAL_EXTENDED reports each of them",
        "EXTERNAL_PURCHASE_TOKEN": "it is about a purchase elsewhere, and says nothing about its money",
    },
    caution="""\
The same charges are reported by RevenueCat, Adapty and Superwall: switch on one of them only, or revenue
counts twice. Prices are those that Apple sends; Apple says that they are not for accounting.
""",
)


class ItemRefund(_Apple):
    refund_amount: int | None = None
    refund_date: int | None = None


class CommerceItem(_Apple):
    refunds: tuple[ItemRefund, ...] | None = None


class AdvancedCommerceInfo(_Apple):
    items: tuple[CommerceItem, ...] | None = None


class Transaction(_Apple):
    """A charge, or the free start of a trial."""

    transaction_id: Id
    original_transaction_id: OptionalId = None
    product_id: OptionalId = None
    type: str | None = None
    in_app_ownership_type: str | None = None
    quantity: Pieces = None
    price: int | None = None
    currency: str | None = None
    purchase_date: int | None = None
    offer_type: int | None = None
    offer_identifier: OptionalId = None
    offer_discount_type: str | None = None
    revocation_date: int | None = None
    revocation_percentage: int | None = None
    advanced_commerce_info: Part[AdvancedCommerceInfo]

    @property
    def trial(self) -> bool:
        introductory = self.offer_type == 1
        return self.offer_discount_type == "FREE_TRIAL" or (introductory and self.price == 0)

    @property
    def money(self) -> Money | None:
        """The price of the whole quantity (unconfirmed). Old transactions have none."""
        if self.price is None:
            return None
        # A free transaction may lack its currency, and 0 is 0 in each.
        return _money(Decimal(self.price), self.currency or ("XXX" if self.price == 0 else None))

    @property
    def refunded(self) -> Money | None:
        """The refunded part of the price, or all of it. The percentage is in thousandths of a percent."""
        if self.revocation_date is None and self._item_refunds:
            # The list repeats earlier refunds.
            last = max(refund.refund_date or 0 for refund in self._item_refunds)
            now = [each for each in self._item_refunds if (each.refund_date or 0) == last]
            amounts = (Decimal(each.refund_amount or 0) for each in now)
            return _money(sum(amounts, Decimal(0)), self.currency)
        percentage = 100_000 if self.revocation_percentage is None else self.revocation_percentage
        if not 0 <= percentage <= 100_000:
            raise Untranslatable("the refunded percentage is not between 0 and 100")
        paid = self.money
        if paid is None:
            return None
        part = paid.amount * percentage / 100_000
        # Apple refunds what the currency has: the half of 10.99 is 5.50.
        return Money.of(
            rounded(part, paid.currency) if part != paid.amount else part, paid.currency
        )

    @property
    def _item_refunds(self) -> tuple[ItemRefund, ...]:
        """Refunds of single items of an Advanced Commerce transaction (unconfirmed)."""
        items = self.advanced_commerce_info.items or ()
        return tuple(refund for item in items for refund in item.refunds or ())

    @property
    def refund_ids(self) -> tuple[str, ...]:
        """The id with the date: after a reversal a transaction can be refunded again, at another date."""
        dates = (self.revocation_date, *(refund.refund_date for refund in self._item_refunds))
        last = max((date for date in dates if date is not None), default=None)
        return (f"{self.transaction_id}:{last}" if last is not None else self.transaction_id,)

    @property
    def subscription_id(self) -> str | None:
        renewable = self.type == "Auto-Renewable Subscription"
        return self.original_transaction_id if renewable else None

    def event(
        self, kind: Kind, transactions: tuple[str, ...], plan_id: str | None = None
    ) -> CommerceEvent:
        # Without money: the price is that of the period that is paid already.
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.subscription_id,
            plan_id=first(plan_id, self.product_id),
        )

    def bought(self, kind: Kind) -> CommerceEvent:
        return replace(
            self._order(kind, (self.transaction_id,)),
            money=None if kind is Kind.TRIAL_STARTED else self.money,
            occurred_at=epoch_ms(self.purchase_date),
            coupon=self.offer_identifier,
        )

    def went_back(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return replace(
            self._order(kind, transactions),
            money=self.refunded,
            # The first charge of a subscription has the same user as the refunded charge.
            follows=known(self.transaction_id, self.original_transaction_id),
            returns=(self.transaction_id,),
        )

    def _order(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            order_id=self.transaction_id,
            subscription_id=self.subscription_id,
            plan_id=self.product_id if self.subscription_id else None,
            items=(Item.product(self.product_id, self.quantity),),
        )


def _money(thousandths: Decimal, currency: str | None) -> Money:
    whole = thousandths.quantize(Decimal(1), ROUND_HALF_UP)
    return Money.of(whole.scaleb(-3), currency)


class Renewal(_Apple):
    auto_renew_product_id: OptionalId = None


class Data(_Apple):
    transaction: Transaction | None = Field(default=None, alias="signedTransactionInfo")
    renewal: Part[Renewal] = Field(alias="signedRenewalInfo")


class Event(_Apple):
    subtype: str | None = None
    data: Part[Data]

    @property
    def transaction(self) -> Transaction:
        return present(self.data.transaction, "its transaction")

    def next_period(self, kind: Kind) -> CommerceEvent:
        """A change without a charge: the next period has the new product."""
        return self.transaction.event(kind, EACH_TIME, self.data.renewal.auto_renew_product_id)


def _shared(event: Event) -> bool:
    """A family member's transaction. Its price was paid by the member who shares."""
    return event.transaction.in_app_ownership_type == "FAMILY_SHARED"


# Payments


@provider.on("SUBSCRIBED", Kind.SUBSCRIPTION_STARTED, Kind.TRIAL_STARTED)
@unless(_shared)
def subscribed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    trial = event.transaction.trial
    yield event.transaction.bought(Kind.TRIAL_STARTED if trial else Kind.SUBSCRIPTION_STARTED)


@provider.on("DID_RENEW", Kind.SUBSCRIPTION_RENEWED, Kind.TRIAL_CONVERTED)
@provider.on("ONE_TIME_CHARGE", Kind.PURCHASE_COMPLETED)
@unless(_shared)
def charged(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.transaction.bought(context.kind)


# Refunds


@provider.on("REFUND", Kind.PURCHASE_REFUNDED)
@unless(_shared)
def refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    transaction = event.transaction
    yield replace(
        transaction.went_back(context.kind, transaction.refund_ids),
        occurred_at=epoch_ms(transaction.revocation_date),
    )


@provider.on("REFUND_REVERSED", Kind.REFUND_REVERSED)
@unless(_shared)
def refund_reversed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # A reversal has no date, and a second one can follow a second refund.
    yield event.transaction.went_back(context.kind, EACH_TIME)


# Subscriptions


@provider.on("DID_CHANGE_RENEWAL_PREF", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
@unless(_shared)
def product_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # An upgrade is charged at once; every other change begins with the next period.
    charged = event.subtype == "UPGRADE" and event.transaction.price != 0
    yield event.transaction.bought(context.kind) if charged else event.next_period(context.kind)


@provider.on("OFFER_REDEEMED", Kind.SUBSCRIPTION_OFFER_REDEEMED)
@unless(_shared)
def offer_redeemed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    transaction = event.transaction
    # An offer can be free; then it is redeemed all the same.
    charged = event.subtype != "DOWNGRADE" and _is_new(transaction, context)
    if charged and transaction.price != 0:
        yield transaction.bought(context.kind)
    else:
        yield event.next_period(context.kind)


def _is_new(transaction: Transaction, context: Context) -> bool:
    """Whether the notification reports this charge, and does not only name it as the latest charge."""
    purchased, now = epoch_ms(transaction.purchase_date), context.identity.occurred_at
    return purchased is not None and now is not None and abs(now - purchased) <= _NEW


_STATUSES = {
    "AUTO_RENEW_DISABLED": Kind.SUBSCRIPTION_CANCELLED,
    "AUTO_RENEW_ENABLED": Kind.SUBSCRIPTION_REACTIVATED,
}


@provider.on("DID_CHANGE_RENEWAL_STATUS", *_STATUSES.values())
@unless(_shared)
def renewal_status_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    kind = _STATUSES.get(event.subtype or "")
    if kind:
        yield event.transaction.event(kind, EACH_TIME)


@provider.on("DID_FAIL_TO_RENEW", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("RENEWAL_EXTENDED", Kind.SUBSCRIPTION_EXTENDED)
@unless(_shared)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.transaction.event(context.kind, EACH_TIME)


@provider.on("EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("GRACE_PERIOD_EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
@unless(_shared)
def subscription_expired(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # After a grace period both types are sent. They name the same last transaction.
    yield event.transaction.event(context.kind, (event.transaction.transaction_id,))


@provider.on("REVOKE", Kind.SUBSCRIPTION_REVOKED)
def revoked(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Only this type is about a family member: a purchase is no longer shared with them.
    yield event.transaction.event(context.kind, (event.transaction.transaction_id,))
