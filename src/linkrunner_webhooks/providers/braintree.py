"""Braintree webhooks. https://developer.paypal.com/braintree/docs/guides/webhooks/overview

A notification is a form with a signature and a payload, and the payload is base64 of XML; `unpack` makes JSON
of it, with underscores in its names. It has a kind and a time and no id. Amounts are texts in major units.
One about a subscription carries all its transactions, the newest first. Nothing tells sandbox from production
but the keys. Sales by card that are not of a subscription have no webhook when they are made, and refunds
have none at all.

Which type reports the money: `subscription_charged_successfully`, and for single payments (bank accounts and
local methods) `transaction_settled` and `local_payment_*`. What repeats a transaction shares its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from linkrunner_webhooks.errors import Malformed
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
    Pieces,
    Price,
    dispute_kind,
    first,
    homes,
    iso_time,
    known,
    lately,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.form_payload import FormPayload

_SIGNED_BY_BRAINTREE = FormPayload(
    signature="bt_signature", payload="bt_payload", root="notification"
)


class Named(Payload):
    id: OptionalId = None
    # Of a local payment.
    payment_id: OptionalId = None


class Head(Payload):
    kind: str
    timestamp: object = None
    subject: object = None

    @property
    def about(self) -> str | None:
        """The id of what the notification is about, whatever that is."""
        subjects = self.subject.values() if isinstance(self.subject, dict) else ()
        found = (Named.model_validate(each) for each in subjects if isinstance(each, dict))
        return next((id for each in found if (id := first(each.id, each.payment_id))), None)


def identify(webhook: Webhook) -> Identity:
    """That a retry keeps the time is unconfirmed, so no money is known by it."""
    head = parse(Head, webhook)
    id = f"{head.about}:{head.timestamp}" if head.about and head.timestamp else webhook.digest
    return Identity(
        event_id=name(id, "id"),
        event_type=name(head.kind, "kind"),
        occurred_at=iso_time(head.timestamp, UTC),
    )


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """The payload as JSON."""
    try:
        return (replace(webhook, body=_SIGNED_BY_BRAINTREE.unpack(webhook.body)),)
    except ValueError:
        raise Malformed("the payload cannot be read") from None


_PAYOUT = "it is your own money that goes out"
_UNDECIDED = "it changes nothing that is reported"

provider = Provider(
    name="braintree",
    title="Braintree",
    docs="https://developer.paypal.com/braintree/docs/guides/webhooks/overview",
    signature=_SIGNED_BY_BRAINTREE,
    identify=identify,
    unpack=unpack,
    user_id=homes(
        "subject.transaction.custom_fields.{}",
        "subject.subscription.transactions[].custom_fields.{}",
        "subject.local_payment.transaction.custom_fields.{}",
        "subject.local_payment_funded.transaction.custom_fields.{}",
    ),
    # Merchants may choose them, and may leave it to Braintree.
    customer_ids=(
        "subject.transaction.customer.id",
        "subject.subscription.transactions[0].customer.id",
        "subject.local_payment.transaction.customer.id",
        "subject.local_payment_funded.transaction.customer.id",
    ),
    never={
        "check": "it tries the URL",
        "subscription_trial_ended": "nothing is paid yet; subscription_charged_successfully reports "
        "the first payment",
        "subscription_billing_skipped": "nothing was charged",
        "dispute_disputed": _UNDECIDED,
        "dispute_under_review": _UNDECIDED,
        "transaction_reviewed": _UNDECIDED,
        "disbursement": _PAYOUT,
        "disbursement_exception": _PAYOUT,
    },
    caution="""\
Sales by card that are not of a subscription have no webhook, nor have refunds: report those yourself. It
signs with the private key of your API keys, which can move money.
""",
    overlaps={"paypal": "Braintree charges in your own account there"},
)

# What did not become a payment, or is none any more.
_FAILED = frozenset(
    {
        "authorization_expired",
        "failed",
        "gateway_rejected",
        "processor_declined",
        "settlement_declined",
        "unrecognized",
        "voided",
    }
)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Period(Payload):
    billing_period_start_date: Detail[str] = None


class Transaction(Payload):
    """A payment, or money that goes back (`credit`)."""

    id: OptionalId = None
    type: Detail[str] = None
    status: Detail[str] = None
    amount: Price = None
    currency_iso_code: Detail[str] = None
    order_id: OptionalId = None
    created_at: object = None
    payment_instrument_type: Detail[str] = None
    subscription_id: OptionalId = None
    plan_id: OptionalId = None
    subscription: Part[Period]
    refunded_transaction_id: OptionalId = None

    @property
    def is_credit(self) -> bool:
        return self.type == "credit"

    @property
    def has_failed(self) -> bool:
        return self.status in _FAILED

    @property
    def money(self) -> Money:
        return Money.of(self.amount, self.currency_iso_code)

    @property
    def was_reported(self) -> bool:
        """Whether it was reported before it settled."""
        return bool(self.subscription_id) or self.payment_instrument_type == "local_payment"

    def event(self, kind: Kind, *also: str | None) -> CommerceEvent:
        attempted = Money.maybe(self.amount, self.currency_iso_code)
        return CommerceEvent(
            kind=kind,
            # What somebody failed to pay may be unknown, and what was paid may not.
            money=self.money if kind.flow else attempted,
            transactions=known(present(self.id, "the id of its transaction"), *also),
            order_id=first(self.order_id, self.id),
            subscription_id=self.subscription_id,
            plan_id=self.plan_id,
            payment_method=self.payment_instrument_type,
        )

    def went_back(self, kind: Kind, payment: str | None) -> CommerceEvent:
        return replace(self.event(kind), follows=known(payment), order_id=self.order_id or payment)


def _newest(transactions: Iterable[Transaction]) -> Transaction | None:
    """Of several without a time the first, because the newest come first."""
    return max(
        transactions,
        key=lambda each: iso_time(each.created_at, UTC) or _LONG_AGO,
        default=None,
    )


# Subscriptions


class Subscription(Payload):
    id: Id
    plan_id: OptionalId = None
    current_billing_cycle: Pieces = None
    transactions: Lines[Transaction]

    @property
    def payments(self) -> list[Transaction]:
        return [each for each in self.transactions if not (each.is_credit or each.has_failed)]

    @property
    def attempt(self) -> Transaction | None:
        """The newest payment that failed."""
        return _newest(each for each in self.transactions if each.has_failed)

    def kind_of(self, payment: Transaction) -> Kind:
        """A second payment of a period is for a change of the subscription."""
        period = payment.subscription.billing_period_start_date
        others = (each for each in self.payments if each.id != payment.id)
        if period and any(each.subscription.billing_period_start_date == period for each in others):
            return Kind.SUBSCRIPTION_UPDATED
        first_time = self.current_billing_cycle == 1
        return Kind.SUBSCRIPTION_STARTED if first_time else Kind.SUBSCRIPTION_RENEWED

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan_id,
        )

    def paid(self, event: CommerceEvent) -> CommerceEvent:
        """The payment as one of this subscription."""
        return replace(event, subscription_id=self.id, plan_id=self.plan_id)


class OfSubscription(Payload):
    subscription: Subscription


class SubscriptionEvent(Payload):
    subject: OfSubscription


@provider.on(
    "subscription_charged_successfully",
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
    Kind.SUBSCRIPTION_UPDATED,
)
# It comes with the first payment, and with one that ends a debt.
@provider.off(
    "subscription_went_active",
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
    Kind.SUBSCRIPTION_UPDATED,
)
def charged(event: SubscriptionEvent, context: Context) -> Iterator[CommerceEvent]:
    subscription = event.subject.subscription
    payment = _newest(subscription.payments)
    if payment is None:
        # A period that costs nothing, or that the balance covers.
        if subscription.current_billing_cycle == 1:
            yield subscription.event(Kind.SUBSCRIPTION_STARTED, (subscription.id,))
    elif lately(iso_time(payment.created_at, UTC), context.identity.occurred_at):
        yield subscription.paid(payment.event(subscription.kind_of(payment)))


@provider.on("subscription_charged_unsuccessfully", Kind.SUBSCRIPTION_PAYMENT_FAILED)
# Of the same attempt, where it is the first of a period.
@provider.off("subscription_went_past_due", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def not_charged(event: SubscriptionEvent, context: Context) -> Iterator[CommerceEvent]:
    subscription, attempt = event.subject.subscription, event.subject.subscription.attempt
    if attempt is None:
        yield subscription.event(context.kind, EACH_TIME)
    else:
        yield subscription.paid(attempt.event(context.kind))


@provider.on("subscription_canceled", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription_expired", Kind.SUBSCRIPTION_EXPIRED)
def ended(event: SubscriptionEvent, context: Context) -> Iterator[CommerceEvent]:
    subscription = event.subject.subscription
    yield subscription.event(context.kind, (subscription.id,))


# Single payments


class OfTransaction(Payload):
    transaction: Transaction


class TransactionEvent(Payload):
    subject: OfTransaction


@provider.on("transaction_settled", Kind.PURCHASE_COMPLETED, Kind.PURCHASE_REFUNDED)
# Days later, and for some merchants also of cards.
@provider.off("transaction_disbursed", Kind.PURCHASE_COMPLETED, Kind.PURCHASE_REFUNDED)
@provider.off("transaction_retried", Kind.PURCHASE_COMPLETED, Kind.PURCHASE_REFUNDED)
def settled(event: TransactionEvent, context: Context) -> Iterator[CommerceEvent]:
    transaction = event.subject.transaction
    if transaction.is_credit:
        # Without a payment that it is of, it is money that you sent somebody.
        if transaction.refunded_transaction_id:
            yield transaction.went_back(Kind.PURCHASE_REFUNDED, transaction.refunded_transaction_id)
    # subscription_charged_successfully reports the payments of subscriptions.
    elif not (transaction.subscription_id or transaction.has_failed):
        yield transaction.event(Kind.PURCHASE_COMPLETED)


@provider.on(
    "transaction_settlement_declined",
    Kind.PAYMENT_FAILED,
    Kind.PURCHASE_REVERSED,
    besides={Kind.REFUND_FAILED: False},
)
def settlement_declined(event: TransactionEvent, context: Context) -> Iterator[CommerceEvent]:
    transaction = event.subject.transaction
    if transaction.is_credit:
        yield _not_refunded(transaction)
    elif transaction.was_reported:
        yield transaction.went_back(Kind.PURCHASE_REVERSED, transaction.id)
    else:
        yield transaction.event(Kind.PAYMENT_FAILED)


@provider.off("refund_failed", Kind.REFUND_FAILED)
def refund_failed(event: TransactionEvent, context: Context) -> Iterator[CommerceEvent]:
    yield _not_refunded(event.subject.transaction)


def _not_refunded(refund: Transaction) -> CommerceEvent:
    """Without an amount: a refund is reported when it has settled, if at all."""
    payment = refund.refunded_transaction_id
    return CommerceEvent(
        kind=Kind.REFUND_FAILED,
        transactions=known(refund.id),
        follows=known(payment),
        order_id=refund.order_id or payment,
    )


# Local payments: bank transfers and wallets of a country


class LocalPayment(Payload):
    payment_id: OptionalId = None
    transaction: Part[Transaction]


class OfLocalPayment(Payload):
    local_payment: LocalPayment | None = None
    local_payment_funded: LocalPayment | None = None
    local_payment_reversed: LocalPayment | None = None
    local_payment_expired: LocalPayment | None = None


class LocalPaymentEvent(Payload):
    subject: OfLocalPayment

    @property
    def payment(self) -> LocalPayment:
        subject = self.subject
        return present(
            subject.local_payment
            or subject.local_payment_funded
            or subject.local_payment_reversed
            or subject.local_payment_expired,
            "its local payment",
        )


@provider.on("local_payment_completed", Kind.PURCHASE_COMPLETED)
# Of methods that are paid by invoice.
@provider.on("local_payment_funded", Kind.PURCHASE_COMPLETED)
def local_payment_made(event: LocalPaymentEvent, context: Context) -> Iterator[CommerceEvent]:
    payment = event.payment
    # Without a transaction the buyer has agreed, and you still have to make the sale.
    if payment.transaction.id and not payment.transaction.has_failed:
        yield payment.transaction.event(context.kind, payment.payment_id)


@provider.on("local_payment_reversed", Kind.PURCHASE_REVERSED)
@provider.off("local_payment_expired", Kind.CHECKOUT_ABANDONED)
def local_payment_ended(event: LocalPaymentEvent, context: Context) -> Iterator[CommerceEvent]:
    # Nothing is there but the id. The payment that it was of has the amount.
    id = present(event.payment.payment_id, "the id of its payment")
    paid_back = context.kind is Kind.PURCHASE_REVERSED
    yield CommerceEvent(
        kind=context.kind,
        transactions=(id,),
        follows=(id,) if paid_back else (),
        order_id=id,
    )


# Disputes


class Dispute(Payload):
    id: Id
    kind: Detail[str] = None
    amount: Price = None
    amount_disputed: Price = None
    amount_won: Price = None
    currency_iso_code: Detail[str] = None
    transaction: Part[Transaction]

    def amount_of(self, kind: Kind) -> Money:
        """What was won may be less than what was disputed."""
        won = self.amount_won if kind is Kind.DISPUTE_WON else None
        disputed = self.amount if self.amount_disputed is None else self.amount_disputed
        return Money.of(won or disputed, self.currency_iso_code)


class OfDispute(Payload):
    dispute: Dispute


class DisputeEvent(Payload):
    subject: OfDispute


@provider.on("dispute_opened", Kind.DISPUTE_OPENED, besides={Kind.DISPUTE_WARNING: True})
@provider.on("dispute_won", Kind.DISPUTE_WON, besides={Kind.DISPUTE_CLOSED: True})
@provider.on("dispute_lost", Kind.DISPUTE_LOST)
# You gave in, or Braintree did for you.
@provider.on("dispute_accepted", Kind.DISPUTE_LOST)
@provider.on("dispute_auto_accepted", Kind.DISPUTE_LOST)
# Nobody answered in time. It can still be decided.
@provider.on("dispute_expired", Kind.DISPUTE_CLOSED)
def disputed(event: DisputeEvent, context: Context) -> Iterator[CommerceEvent]:
    dispute = event.subject.dispute
    payment = dispute.transaction
    yield CommerceEvent(
        # A retrieval only asks for the papers.
        kind=dispute_kind(context.kind, inquiry=dispute.kind == "retrieval"),
        money=dispute.amount_of(context.kind),
        transactions=(dispute.id,),
        follows=known(payment.id),
        order_id=first(payment.order_id, payment.id),
    )
