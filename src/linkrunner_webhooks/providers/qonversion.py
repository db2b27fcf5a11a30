"""Qonversion webhooks. https://documentation.qonversion.io/docs/webhooks

A request has one event, without an id of its own. Amounts are in major units. `revenue` is what the event
brought; with `is_proceed` it is what the store left of that, and `price` is what the customer paid. Empty
texts stand for what there is not. Nothing is signed: a text that the merchant chooses authenticates the
sender, as it is, behind the word Basic. Merchants can rename the types, and nobody knows a renamed one.

Which type reports the money: the one that names the purchase (subscription_started, subscription_renewed,
trial_converted, in_app_purchase), and subscription_upgraded where the store charges or pays back the
difference. All types about one payment share its transaction. The stores behind Qonversion report the same
purchases, too: use one source per app.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, Role
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    OptionalId,
    Part,
    Payload,
    Price,
    first,
    homes,
    known,
    name,
    parse,
    present,
    unix_time,
)
from linkrunner_webhooks.signatures.tokens import StaticToken

_HEADER = "authorization"
# Our name of what Qonversion posts when the webhook is saved.
_VERIFICATION = "verification"


class Transaction(Payload):
    """What the store calls it: a number at Apple, a text at Google."""

    transaction_id: OptionalId = None
    original_transaction_id: OptionalId = None


class Head(Payload):
    event_name: str
    user_id: OptionalId = None
    time: OptionalId = None
    transaction: Part[Transaction]
    environment: Detail[str] = None

    @property
    def event_id(self) -> str | None:
        """What tells an event from others. Without its time nothing does."""
        about = known(self.event_name, self.transaction.transaction_id, self.user_id, self.time)
        return ":".join(about) if self.time else None


def identify(webhook: Webhook) -> Identity:
    if verifies(webhook):
        return Identity(event_id=webhook.digest, event_type=_VERIFICATION)
    head = parse(Head, webhook)
    return Identity(
        event_id=name(head.event_id or webhook.digest, "event id"),
        event_type=name(head.event_name, "event name"),
        occurred_at=unix_time(head.time),
        test=head.environment == "sandbox",
    )


def verifies(webhook: Webhook) -> bool:
    """The webhook is switched on if this is answered 200. What stands in its body is unconfirmed."""
    return webhook.body.strip() in (b"", b"{}", b"[]")


def greets(webhook: Webhook) -> bool:
    """Whether it has the text is unconfirmed. A wrong one is refused, so that it is noticed."""
    return _HEADER not in webhook.headers and verifies(webhook)


provider = Provider(
    name="qonversion",
    title="Qonversion",
    docs="https://documentation.qonversion.io/docs/webhooks",
    role=Role.REPEATER,
    overlaps={"stripe": "it repeats what happens there"},
    # Not BasicAuth: the text is not encoded.
    signature=StaticToken(_HEADER),
    identify=identify,
    handshake=greets,
    user_id=(
        "identity_id",
        "custom_user_id",
        "properties._q_custom_user_id",
        *homes("properties.{}"),
    ),
    # Qonversion makes one up for every installation.
    customer_ids=("user_id",),
    never={
        "trial_still_active": "nothing happened: a trial was not cancelled in its first days",
        _VERIFICATION: "it is only sent to see whether the webhook answers",
    },
    caution="""\
The stores send webhooks, too, and so do RevenueCat and Adapty. With one of them beside this source (apple,
googleplay, stripe, revenuecat or adapty sources of the same app) every purchase counts twice: choose one.
""",
)


class Amount(Payload):
    value: Price = None
    currency: str | None = None
    # 1 where `value` is what the store left.
    is_proceed: object = None

    @property
    def money(self) -> Money | None:
        return Money.converted(self.value, self.currency)


class Event(Payload):
    time: OptionalId = None
    product_id: OptionalId = None
    new_product_id: OptionalId = None
    revenue: Part[Amount]
    price: Part[Amount]
    transaction: Part[Transaction]

    @property
    def charged(self) -> Money | None:
        """The revenue, where it is known to be all that moved. Older webhooks do not say what it is."""
        if self.revenue.value == 0:
            # 0 is 0 in each currency.
            return Money.of(0, self.revenue.currency or "XXX")
        return self.revenue.money if self.revenue.is_proceed in (0, "0") else None

    @property
    def money(self) -> Money:
        return present(self.charged or self.price.money, "its price")

    @property
    def money_back(self) -> Money:
        """Refunds are written as negative amounts; whether their prices are, too, is unconfirmed."""
        return Money.of(abs(self.money.amount), self.money.currency)

    @property
    def transactions(self) -> tuple[str, ...]:
        return known(self.transaction.transaction_id)

    @property
    def refund_ids(self) -> tuple[str, ...]:
        """The transaction with the time: parts of it are refunded at different times. Its price only once."""
        id, part = self.transaction.transaction_id, self.time if self.charged else None
        return (":".join(known(id, part)),) if id else ()

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        # The first transaction of a subscription identifies it.
        ids = self.transaction
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            order_id=ids.transaction_id,
            subscription_id=first(ids.original_transaction_id, ids.transaction_id),
            plan_id=self.product_id,
        )

    def bought(self, kind: Kind) -> CommerceEvent:
        return replace(
            self.event(kind, self.transactions),
            # Nobody pays for a trial, whatever its product costs later.
            money=None if kind is Kind.TRIAL_STARTED else self.money,
            items=(Item.product(self.product_id),),
        )

    def went_back(self, kind: Kind) -> CommerceEvent:
        ids = self.transaction
        return replace(
            self.event(kind, self.refund_ids),
            money=self.money_back,
            # The first payment of a subscription has the same user as the refunded one.
            follows=known(ids.transaction_id, ids.original_transaction_id),
            returns=self.transactions,
        )

    def changed(self, kind: Kind) -> CommerceEvent:
        plan_id = first(self.new_product_id, self.product_id)
        return replace(self.event(kind, EACH_TIME), plan_id=plan_id)


def _single(event: CommerceEvent) -> CommerceEvent:
    """Of a purchase that is no subscription."""
    return replace(event, subscription_id=None, plan_id=None)


# Payments


@provider.on("subscription_started", Kind.SUBSCRIPTION_STARTED)
@provider.on("subscription_renewed", Kind.SUBSCRIPTION_RENEWED)
# The first payment after a trial; subscription_started is not sent as well.
@provider.on("trial_converted", Kind.TRIAL_CONVERTED)
@provider.on("trial_started", Kind.TRIAL_STARTED)
def subscribed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.bought(context.kind)


@provider.on("in_app_purchase", Kind.PURCHASE_COMPLETED)
def purchased(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _single(event.bought(context.kind))


# Refunds


@provider.on("subscription_refunded", Kind.PURCHASE_REFUNDED)
def subscription_refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.went_back(context.kind)


@provider.on("in_app_refunded", Kind.PURCHASE_REFUNDED)
def purchase_refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield _single(event.went_back(context.kind))


# Subscriptions


@provider.on(
    "subscription_upgraded",
    Kind.SUBSCRIPTION_PRODUCT_CHANGED,
    besides={Kind.PURCHASE_REFUNDED: True},
)
def subscription_upgraded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # Some stores pay the old product back and charge the new one, others charge the difference. The price is
    # that of the whole product, and neither of these.
    changed, moved = event.changed(Kind.SUBSCRIPTION_PRODUCT_CHANGED), event.charged
    if moved and moved.amount > 0:
        items = (Item.product(changed.plan_id),)
        changed = replace(changed, money=moved, transactions=event.transactions, items=items)
    yield changed
    if moved and moved.amount < 0:
        yield event.went_back(Kind.PURCHASE_REFUNDED)


@provider.on("subscription_downgraded", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
# It comes with the other two as well.
@provider.off("subscription_product_changed", Kind.SUBSCRIPTION_PRODUCT_CHANGED)
def product_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.changed(context.kind)


@provider.on("trial_canceled", Kind.TRIAL_CANCELLED)
@provider.on("trial_cancelled", Kind.TRIAL_CANCELLED)
@provider.on("trial_expired", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("trial_billing_retry_entered", Kind.SUBSCRIPTION_BILLING_ISSUE)
@provider.on("subscription_canceled", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription_expired", Kind.SUBSCRIPTION_EXPIRED)
@provider.on("subscription_billing_retry_entered", Kind.SUBSCRIPTION_BILLING_ISSUE)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.event(context.kind, EACH_TIME)
