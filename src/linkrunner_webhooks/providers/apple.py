"""App Store Server Notifications, version 2. https://developer.apple.com/documentation/appstoreservernotifications

The body is one signed payload (JWS), in which the transaction and the renewal are signed again; `unpack`
turns it into what it says before it is stored. A type's meaning is completed by its subtype. Prices are
thousandths of every currency, also of those without decimals; Apple says that they are not for accounting.

Every charge has a `transactionId` of its own and is reported by one notification; `originalTransactionId` is
the first one of a subscription and stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import Id, OptionalId, Payload, epoch_ms, name, parse
from linkrunner_webhooks.signatures.jws import Claims, SignedPayload

# Others are a developer's own machine, which signs with a key of its own.
_ENVIRONMENTS = ("Production", "Sandbox")


def part_of(payload: Claims) -> Claims:
    """The one part of four that says what a notification is about. Raises ValueError when there is none."""
    for member in ("data", "appData", "summary", "externalPurchaseToken"):
        if isinstance(part := payload.get(member), dict):
            return part
    raise ValueError("a notification about nothing")


def is_meant(part: Claims, app: str) -> bool:
    """Whether a part is about the configured `<bundle id>` or `<bundle id>/<app id>`.

    The app id is named in production only.
    """
    bundle_id, _, app_id = app.partition("/")
    environment = part.get("environment") or _implied_environment(part)
    if part["bundleId"] != bundle_id or not bundle_id or environment not in _ENVIRONMENTS:
        return False
    return not app_id or environment == "Sandbox" or str(part["appAppleId"]) == app_id


def _implied_environment(part: Claims) -> str:
    """Tokens of external purchases say it in their id."""
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
    # Renewals do not name the app.
    agreeing=("bundleId", "environment"),
    meant=is_meant,
)
# A transaction this much older than its notification was reported by another one.
_NEW = timedelta(days=1)


class _Apple(Payload):
    model_config = ConfigDict(alias_generator=to_camel)


class Surroundings(_Apple):
    environment: str | None = None


class Head(_Apple):
    """Exactly one of the four parts is there."""

    notification_type: str | None = None
    notification_uuid: str | None = Field(default=None, alias="notificationUUID")
    signed_date: int | None = None
    data: Surroundings | None = None
    app_data: Surroundings | None = None
    summary: Surroundings | None = None
    external_purchase_token: Surroundings | None = None

    @property
    def environment(self) -> str | None:
        part = self.data or self.app_data or self.summary or self.external_purchase_token
        return part.environment if part else None


def identify(webhook: Webhook) -> Identity:
    """A notification that is sent again keeps its UUID and its date."""
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.notification_uuid, "notification UUID"),
        event_type=name(head.notification_type, "notification type"),
        occurred_at=epoch_ms(head.signed_date),
        test=head.environment not in (None, "Production"),
    )


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """What was signed, as plain JSON."""
    try:
        return (replace(webhook, body=_SIGNED_BY_APPLE.unpack(webhook.body)),)
    except ValueError:
        raise Malformed("the signed payload cannot be read") from None


provider = Provider(
    name="apple",
    title="Apple App Store",
    docs="https://developer.apple.com/documentation/appstoreservernotifications",
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
counts twice. Prices are what Apple names, which it says are not for accounting.
""",
)


class Transaction(_Apple):
    """One charge, or the free start of one."""

    transaction_id: Id
    original_transaction_id: OptionalId = None
    product_id: OptionalId = None
    type: str | None = None
    in_app_ownership_type: str | None = None
    quantity: int | None = None
    price: int | None = None
    currency: str | None = None
    purchase_date: int | None = None
    offer_type: int | None = None
    offer_identifier: OptionalId = None
    offer_discount_type: str | None = None
    revocation_date: int | None = None
    revocation_percentage: int | None = None

    @property
    def shared(self) -> bool:
        """Of a family member: it carries a price that only the one who shares it has paid."""
        return self.in_app_ownership_type == "FAMILY_SHARED"

    @property
    def trial(self) -> bool:
        introductory = self.offer_type == 1
        return self.offer_discount_type == "FREE_TRIAL" or (introductory and self.price == 0)

    @property
    def money(self) -> Money | None:
        """Nothing for what is free, and for old transactions, which come without a price.

        The price is that of the whole quantity (unconfirmed).
        """
        return _money(Decimal(self.price), self.currency) if self.price else None

    @property
    def refunded(self) -> Money | None:
        """A part of the price in thousandths of a percent; without one, all of it."""
        percentage = 100_000 if self.revocation_percentage is None else self.revocation_percentage
        if not 0 <= percentage <= 100_000:
            raise Untranslatable("the refunded part is not a part")
        part = Decimal(self.price or 0) * percentage / 100_000
        return _money(part, self.currency) if part else None

    @property
    def refund_id(self) -> str:
        """A refund can be reversed and then be made again; each time it has another date."""
        parts = (self.transaction_id, self.revocation_date)
        return ":".join(str(part) for part in parts if part is not None)

    @property
    def subscription_id(self) -> str | None:
        renewable = self.type == "Auto-Renewable Subscription"
        return self.original_transaction_id if renewable else None

    @property
    def items(self) -> tuple[Item, ...]:
        quantity = 1 if self.quantity is None else self.quantity
        return (Item(content_id=self.product_id, product_id=self.product_id, quantity=quantity),)


def _money(thousandths: Decimal, currency: str | None) -> Money:
    whole = thousandths.quantize(Decimal(1), ROUND_HALF_UP)
    return Money(whole.scaleb(-3), currency or "")


class Renewal(_Apple):
    auto_renew_product_id: OptionalId = None


class Data(_Apple):
    transaction: Transaction | None = Field(default=None, alias="signedTransactionInfo")
    renewal: Renewal | None = Field(default=None, alias="signedRenewalInfo")


class Notification(_Apple):
    subtype: str | None = None
    data: Data | None = None

    @property
    def transaction(self) -> Transaction:
        if self.data is None or self.data.transaction is None:
            raise Untranslatable("the notification does not contain its transaction")
        return self.data.transaction

    @property
    def next_product_id(self) -> str | None:
        """What the subscription renews to."""
        renewal = self.data and self.data.renewal
        return renewal.auto_renew_product_id if renewal else None


def _charged(kind: Kind, transaction: Transaction) -> CommerceEvent:
    return CommerceEvent(
        kind=kind,
        money=transaction.money,
        transactions=(transaction.transaction_id,),
        occurred_at=epoch_ms(transaction.purchase_date),
        order_id=transaction.transaction_id,
        subscription_id=transaction.subscription_id,
        plan_id=transaction.product_id if transaction.subscription_id else None,
        items=transaction.items,
        coupon=transaction.offer_identifier,
    )


def _changed(
    kind: Kind, transaction: Transaction, *transactions: str, plan_id: str | None = None
) -> CommerceEvent:
    """Without money, although the transaction names the price of the period that is paid."""
    return CommerceEvent(
        kind=kind,
        transactions=transactions,
        subscription_id=transaction.subscription_id,
        plan_id=plan_id or transaction.product_id,
    )


@provider.on("SUBSCRIBED", Kind.SUBSCRIPTION_STARTED, Kind.TRIAL_STARTED)
def subscribed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    transaction = event.transaction
    if not transaction.shared:
        kind = Kind.TRIAL_STARTED if transaction.trial else Kind.SUBSCRIPTION_STARTED
        yield _charged(kind, transaction)


@provider.on("DID_RENEW", Kind.SUBSCRIPTION_RENEWED)
@provider.on("ONE_TIME_CHARGE", Kind.PURCHASE_COMPLETED)
def charged(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    # Whether the period before was a trial is not said, so its conversion is a renewal like others.
    if not event.transaction.shared:
        yield _charged(context.kind, event.transaction)


@provider.on("DID_CHANGE_RENEWAL_PREF", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
def product_changed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    # An upgrade is charged at once; everything else begins with the next period.
    yield from _changed_or_charged(event, context.kind, charged=event.subtype == "UPGRADE")


@provider.on("OFFER_REDEEMED", Kind.SUBSCRIPTION_OFFER_REDEEMED)
def offer_redeemed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    charged = event.subtype != "DOWNGRADE" and _is_new(event.transaction, context)
    yield from _changed_or_charged(event, context.kind, charged=charged)


def _is_new(transaction: Transaction, context: Context) -> bool:
    """Whether the notification is about this charge, and does not only name it as the latest one."""
    purchased, now = epoch_ms(transaction.purchase_date), context.identity.occurred_at
    return purchased is not None and now is not None and abs(now - purchased) <= _NEW


def _changed_or_charged(
    event: Notification, kind: Kind, *, charged: bool
) -> Iterator[CommerceEvent]:
    transaction = event.transaction
    if not transaction.shared:
        yield (
            _charged(kind, transaction)
            if charged
            else _changed(kind, transaction, plan_id=event.next_product_id)
        )


@provider.on(
    "DID_CHANGE_RENEWAL_STATUS", Kind.SUBSCRIPTION_CANCELLED, Kind.SUBSCRIPTION_REACTIVATED
)
def renewal_status_changed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    kinds = {
        "AUTO_RENEW_DISABLED": Kind.SUBSCRIPTION_CANCELLED,
        "AUTO_RENEW_ENABLED": Kind.SUBSCRIPTION_REACTIVATED,
    }
    kind = kinds.get(event.subtype or "")
    if kind and not event.transaction.shared:
        yield _changed(kind, event.transaction)


@provider.on("DID_FAIL_TO_RENEW", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("RENEWAL_EXTENDED", Kind.SUBSCRIPTION_EXTENDED)
def subscription_changed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    # These happen more than once in a subscription's life.
    if not event.transaction.shared:
        yield _changed(context.kind, event.transaction)


@provider.on("EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("GRACE_PERIOD_EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
def subscription_expired(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    # After a grace period come both; the last transaction is what ended.
    transaction = event.transaction
    if not transaction.shared:
        yield _changed(context.kind, transaction, transaction.transaction_id)


@provider.on("REVOKE", Kind.SUBSCRIPTION_REVOKED)
def revoked(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    # The only one that is about a family member: what was shared with them no longer is.
    yield _changed(context.kind, event.transaction, event.transaction.transaction_id)


@provider.on("REFUND", Kind.PURCHASE_REFUNDED)
def refunded(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    transaction = event.transaction
    if not transaction.shared:
        moment = epoch_ms(transaction.revocation_date)
        yield _returned(context.kind, transaction, transaction.refund_id, moment=moment)


@provider.on("REFUND_REVERSED", Kind.REFUND_REVERSED)
def refund_reversed(event: Notification, context: Context) -> Iterator[CommerceEvent]:
    # It can happen again after another refund, and has no date: each notification is one of its own.
    if not event.transaction.shared:
        yield _returned(context.kind, event.transaction)


def _returned(
    kind: Kind, transaction: Transaction, *transactions: str, moment: datetime | None = None
) -> CommerceEvent:
    # The first charge of a subscription knows its user as well as the one that is refunded.
    paid_by = (transaction.transaction_id, transaction.original_transaction_id)
    return CommerceEvent(
        kind=kind,
        money=transaction.refunded,
        transactions=transactions,
        follows=tuple(dict.fromkeys(each for each in paid_by if each)),
        occurred_at=moment,
        order_id=transaction.transaction_id,
        subscription_id=transaction.subscription_id,
        plan_id=transaction.product_id if transaction.subscription_id else None,
        items=transaction.items,
    )
