"""Paystack webhooks. https://paystack.com/docs/payments/webhooks/

There is no event id. Amounts are hundredths of every currency, also of those that have none. Metadata comes
in five shapes; one of them is JSON in a text.

Which type reports the money: `charge.success`, for one-time payments, every payment of a subscription,
payment requests and virtual accounts. The transaction's reference identifies the payment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    USER_KEYS,
    Detail,
    Id,
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
from linkrunner_webhooks.signatures.hmacs import HmacBody


class Domain(Payload):
    domain: Detail[str] = None


class Subject(Payload):
    """The ids of all kinds of objects; each kind has some of them."""

    id: OptionalId = None
    reference: OptionalId = None
    refund_reference: OptionalId = None
    transaction_reference: OptionalId = None
    invoice_code: OptionalId = None
    subscription_code: OptionalId = None
    domain: Detail[str] = None
    transaction: Part[Domain]

    @property
    def named(self) -> str | None:
        return first(
            self.id,
            self.reference,
            self.refund_reference,
            self.transaction_reference,
            self.invoice_code,
            self.subscription_code,
        )


class Head(Payload):
    """`data` is a list in types that are not forwarded."""

    event: str
    data: Part[Subject]


def identify(webhook: Webhook) -> Identity:
    """A merchant can look up the object's id. The body's digest identifies the event: a retry repeats it."""
    head = parse(Head, webhook)
    domain = head.data.domain or head.data.transaction.domain
    return Identity(
        event_id=name(head.data.named or webhook.digest, "id"),
        event_type=name(head.event, "event type"),
        resource_id=webhook.digest,
        test=domain == "test",
    )


def with_readable_metadata(webhook: Webhook) -> tuple[Webhook, ...]:
    """The webhook with each metadata as an object or left out, so that a path finds the user id in it."""
    try:
        body = json.loads(webhook.body)
        data = body["data"]
        changed = [_clear(each) for each in (data, data.get("transaction"), data.get("customer"))]
        text = json.dumps(body).encode() if any(changed) else webhook.body
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        # The body has another shape, and no metadata.
        return (webhook,)
    return (replace(webhook, body=text),)


def _clear(owner: Any) -> bool:
    """Replace metadata that is a text with the object in it; remove any other. True if it was changed."""
    if not isinstance(owner, dict) or isinstance(owner.get("metadata", {}), dict):
        return False
    written = owner.pop("metadata")
    found = _read(written) if isinstance(written, str) else None
    if isinstance(found, dict):
        owner["metadata"] = found
    return True


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_KEYS = (*USER_KEYS, "customer_id")

provider = Provider(
    name="paystack",
    title="Paystack",
    docs="https://paystack.com/docs/payments/webhooks/",
    signature=HmacBody(headers=("x-paystack-signature",), encoding="hex", algorithm="sha512"),
    identify=identify,
    unpack=with_readable_metadata,
    user_id=(
        *homes("data.metadata.{}", keys=_KEYS),
        "data.metadata.custom_fields[?variable_name=='user_id'].value",
        *homes("data.transaction.metadata.{}", "data.customer.metadata.{}", keys=_KEYS),
    ),
    # Not for disputes and refunds: they name the payment, and its user is the one who paid.
    customer_ids=(
        "!(data.transaction.reference || data.transaction_reference) && data.customer.customer_code",
    ),
    never={
        "invoice.create": "it announces a charge; charge.success reports it",
        "invoice.update": "charge.success reports the same money",
        "paymentrequest.success": "charge.success reports the same money",
        "refund.pending": "refund.processed reports the refund when it is one",
        "refund.processing": "refund.processed reports the refund when it is one",
        "refund.needs-attention": "refund.processed reports the refund when it is one",
        "charge.dispute.remind": "it changes nothing that is reported",
        "transfer.success": "it is money that you pay out",
    },
    caution="It signs with the secret key of your account, which can move money.",
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    data: T


Moment = Annotated[datetime | None, BeforeValidator(iso_time)]


class Timed(Payload):
    """Times have an old and a new spelling; a body can have both, and one of them null."""

    created_at: Moment = Field(None, validation_alias=AliasChoices("created_at", "createdAt"))

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {key: found for key, found in value.items() if found is not None}


class Plan(Payload):
    """An object, or only its code."""

    plan_code: OptionalId = None


def _plan(value: object) -> object:
    return {"plan_code": value} if isinstance(value, str) and value else value


AnyPlan = Annotated[Part[Plan], BeforeValidator(_plan)]


def _major(amount: int | None) -> Decimal | None:
    """An amount in major units: it comes in hundredths, whatever the currency (unconfirmed for XOF)."""
    return None if amount is None else Decimal(amount).scaleb(-2)


# Payments


class Charge(Timed):
    reference: Id
    amount: int
    currency: str
    status: Detail[str] = None
    channel: Detail[str] = None
    paid_at: Moment = Field(None, validation_alias=AliasChoices("paid_at", "paidAt"))
    plan: AnyPlan
    metadata: Part[Mapping[str, object]]

    @property
    def kind(self) -> Kind:
        if self.plan.plan_code is None:
            return Kind.PURCHASE_COMPLETED
        # Nothing says which payment is the first. But the merchant starts that one, with metadata, and
        # Paystack the others, with none or with a note of its own (unconfirmed).
        ours = set(self.metadata) - {"invoice_action"}
        return Kind.SUBSCRIPTION_STARTED if ours else Kind.SUBSCRIPTION_RENEWED


_PAID = (
    Kind.PURCHASE_COMPLETED,
    Kind.SUBSCRIPTION_STARTED,
    Kind.SUBSCRIPTION_RENEWED,
)


@provider.on("charge.success", *_PAID)
def charged(event: Event[Charge], context: Context) -> Iterator[CommerceEvent]:
    charge = event.data
    if charge.status not in (None, "success"):
        return
    yield CommerceEvent(
        kind=charge.kind,
        money=Money.of(_major(charge.amount), charge.currency),
        transactions=(charge.reference,),
        occurred_at=charge.paid_at or charge.created_at,
        order_id=charge.reference,
        plan_id=charge.plan.plan_code,
        payment_method=charge.channel or None,
    )


class Preauthorization(Timed):
    """The places of its fields are unconfirmed, so the amount is read wherever it may stand."""

    reference: Id
    captured_amount: int | None = None
    amount: int | None = None
    currency: str
    channel: str | None = None
    captured_at: Moment = Field(None, validation_alias=AliasChoices("captured_at", "capturedAt"))


@provider.on("preauthorization.capture.success", Kind.PURCHASE_COMPLETED)
def preauthorization_captured(
    event: Event[Preauthorization], context: Context
) -> Iterator[CommerceEvent]:
    held = event.data
    captured = held.amount if held.captured_amount is None else held.captured_amount
    yield CommerceEvent(
        kind=context.kind,
        money=Money.of(_major(captured), held.currency),
        transactions=(held.reference,),
        occurred_at=held.captured_at or held.created_at,
        order_id=held.reference,
        payment_method=held.channel or None,
    )


# Refunds and disputes


class Refund(Payload):
    """The amount is sometimes a number and sometimes a text."""

    amount: int
    currency: str
    transaction_reference: OptionalId = None
    refund_reference: OptionalId = None

    @property
    def transactions(self) -> tuple[str, ...]:
        if self.refund_reference is None:
            # Two refunds of one payment can be equal in all other fields.
            return EACH_TIME
        return (f"{self.transaction_reference or ''}:{self.refund_reference}",)


@provider.on("refund.processed", Kind.PURCHASE_REFUNDED)
@provider.off("refund.failed", Kind.REFUND_FAILED)
def refunded(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    refund = event.data
    # A refund that fails was never reported: refund.processed comes when it is done.
    failed = context.kind is Kind.REFUND_FAILED
    yield CommerceEvent(
        kind=context.kind,
        money=None if failed else Money.of(_major(refund.amount), refund.currency),
        transactions=refund.transactions,
        follows=known(refund.transaction_reference),
        order_id=refund.transaction_reference,
    )


class Transaction(Payload):
    reference: OptionalId = None


class Dispute(Timed):
    """`transaction_reference` can be null while `transaction` has a reference."""

    id: Id
    refund_amount: int | None = None
    currency: str | None = None
    resolution: str | None = None
    transaction: Part[Transaction]
    transaction_reference: OptionalId = None
    resolved_at: Moment = Field(None, validation_alias=AliasChoices("resolvedAt", "resolved_at"))

    def event(self, kind: Kind, happened: datetime | None) -> CommerceEvent:
        payment = first(self.transaction.reference, self.transaction_reference)
        return CommerceEvent(
            kind=kind,
            money=Money.maybe(_major(self.refund_amount), self.currency),
            transactions=(self.id,),
            follows=known(payment),
            occurred_at=happened,
            order_id=payment,
        )


@provider.on("charge.dispute.create", Kind.DISPUTE_OPENED)
def dispute_opened(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, event.data.created_at)


# An accepted dispute is paid back (unconfirmed); time accepts it when the merchant does not answer.
_RESOLUTIONS = {
    "merchant-accepted": Kind.DISPUTE_LOST,
    "auto-accepted": Kind.DISPUTE_LOST,
    "declined": Kind.DISPUTE_WON,
}


@provider.on("charge.dispute.resolve", Kind.DISPUTE_CLOSED, Kind.DISPUTE_WON, Kind.DISPUTE_LOST)
def dispute_resolved(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    kind = _RESOLUTIONS.get(event.data.resolution or "", Kind.DISPUTE_CLOSED)
    yield event.data.event(kind, event.data.resolved_at)


# Subscriptions


class Subscription(Timed):
    subscription_code: Id
    status: str | None = None
    plan: AnyPlan

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.subscription_code,
            plan_id=self.plan.plan_code,
        )


@provider.off("subscription.create", Kind.SUBSCRIPTION_CREATED)
def subscription_created(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # Not its start: charge.success reports that, with its money.
    started = event.data.event(context.kind, (event.data.subscription_code,))
    yield replace(started, occurred_at=event.data.created_at)


@provider.on("subscription.not_renew", Kind.SUBSCRIPTION_CANCEL_SCHEDULED)
def cancel_scheduled(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    # No time: the body only has the one at which the subscription was created.
    yield event.data.event(context.kind, EACH_TIME)


@provider.on("subscription.disable", Kind.SUBSCRIPTION_CANCELLED, Kind.SUBSCRIPTION_COMPLETED)
def subscription_ended(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    complete = event.data.status in ("complete", "completed")
    kind = Kind.SUBSCRIPTION_COMPLETED if complete else Kind.SUBSCRIPTION_CANCELLED
    yield event.data.event(kind, (event.data.subscription_code,))


class Invoiced(Payload):
    subscription_code: OptionalId = None
    plan: AnyPlan


class Invoice(Timed):
    """The samples have an amount and no currency."""

    invoice_code: OptionalId = None
    amount: int | None = None
    currency: str | None = None
    subscription: Part[Invoiced]


@provider.on("invoice.payment_failed", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def invoice_payment_failed(event: Event[Invoice], context: Context) -> Iterator[CommerceEvent]:
    invoice = event.data
    yield CommerceEvent(
        kind=context.kind,
        money=Money.maybe(_major(invoice.amount), invoice.currency),
        transactions=EACH_TIME,
        occurred_at=invoice.created_at,
        order_id=invoice.invoice_code,
        subscription_id=invoice.subscription.subscription_code,
        plan_id=invoice.subscription.plan.plan_code,
    )
