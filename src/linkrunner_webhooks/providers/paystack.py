"""Paystack webhooks. https://paystack.com/docs/payments/webhooks/

There is no event id; amounts are hundredths of every currency, also of those that have none. Metadata comes
in five shapes, among them JSON written into a text.

Which type reports the money: `charge.success`, for one-time payments, every payment of a subscription,
payment requests and virtual accounts. The fact is the transaction's reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import Id, OptionalId, Payload, iso_time, known, name, parse
from linkrunner_webhooks.signatures.hmacs import HmacBody


def _object(value: object) -> object:
    """What is left out is written as {}, [], null, "" or 0."""
    return value if isinstance(value, Mapping) else {}


class Domain(Payload):
    domain: str | None = None


class Subject(Payload):
    """The ids of all kinds of objects, each of which has some of them."""

    id: OptionalId = None
    reference: OptionalId = None
    refund_reference: OptionalId = None
    transaction_reference: OptionalId = None
    invoice_code: OptionalId = None
    subscription_code: OptionalId = None
    domain: str | None = None
    transaction: Annotated[Domain, BeforeValidator(_object)] = Domain()

    @property
    def named(self) -> str | None:
        return (
            self.id
            or self.reference
            or self.refund_reference
            or self.transaction_reference
            or self.invoice_code
            or self.subscription_code
        )


class Head(Payload):
    """`data` is a list in types that are not forwarded."""

    event: str
    data: Annotated[Subject, BeforeValidator(_object)] = Subject()


def identify(webhook: Webhook) -> Identity:
    """The object's id can be looked up; the body's digest tells its events apart, and a retry repeats it."""
    head = parse(Head, webhook)
    domain = head.data.domain or head.data.transaction.domain
    return Identity(
        event_id=name(head.data.named or webhook.digest, "id"),
        event_type=name(head.event, "event type"),
        resource_id=webhook.digest,
        test=domain == "test",
    )


def with_readable_metadata(webhook: Webhook) -> tuple[Webhook, ...]:
    """Metadata as the object it is, or none, so that a path finds the user id in it."""
    try:
        body = json.loads(webhook.body)
        data = body["data"]
        changed = [_clear(each) for each in (data, data.get("transaction"), data.get("customer"))]
        text = json.dumps(body).encode() if any(changed) else webhook.body
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        # Whatever it is, there is no metadata in it.
        return (webhook,)
    return (replace(webhook, body=text),)


def _clear(owner: Any) -> bool:
    """Whether the owner's metadata was changed: read if it is an object in a text, else taken away."""
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


_KEYS = ("linkrunner_user_id", "user_id", "userId", "customer_id")

provider = Provider(
    name="paystack",
    title="Paystack",
    docs="https://paystack.com/docs/payments/webhooks/",
    signature=HmacBody(headers=("x-paystack-signature",), encoding="hex", algorithm="sha512"),
    identify=identify,
    unpack=with_readable_metadata,
    user_id=(
        *(f"data.metadata.{key}" for key in _KEYS),
        "data.metadata.custom_fields[?variable_name=='user_id'].value | [0]",
        *(f"data.transaction.metadata.{key}" for key in _KEYS),
        "data.customer.metadata.linkrunner_user_id",
        "data.customer.metadata.user_id",
        # Disputes and refunds name the payment: it tells whose they are.
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


Moment = Annotated[datetime | None, BeforeValidator(iso_time)]


class Timed(Payload):
    """Old and new spellings of the times are both in use, and one may be null while the other is not."""

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {key: found for key, found in value.items() if found is not None}


_PAID = AliasChoices("paid_at", "paidAt")
_CREATED = AliasChoices("created_at", "createdAt")


def _money(amount: int, currency: str) -> Money:
    """Hundredths whatever the currency; that XOF is no exception is unconfirmed."""
    return Money.of(Decimal(amount).scaleb(-2), currency)


class Plan(Payload):
    plan_code: OptionalId = None


Planned = Annotated[Plan, BeforeValidator(_object)]


class Charge(Timed):
    reference: Id
    amount: int
    currency: str
    channel: str | None = None
    paid_at: Moment = Field(None, validation_alias=_PAID)
    created_at: Moment = Field(None, validation_alias=_CREATED)
    plan: Planned = Plan()
    metadata: Annotated[Mapping[str, object], BeforeValidator(_object)] = Field(
        default_factory=dict
    )

    @property
    def kind(self) -> Kind:
        if self.plan.plan_code is None:
            return Kind.PURCHASE_COMPLETED
        # Nothing says which payment is the first. But the merchant starts that one, with metadata, and
        # Paystack the others, with none or with a note of its own (unconfirmed).
        ours = set(self.metadata) - {"invoice_action"}
        return Kind.SUBSCRIPTION_STARTED if ours else Kind.SUBSCRIPTION_RENEWED


class ChargeEvent(Payload):
    data: Charge


@provider.on(
    "charge.success", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_STARTED, Kind.SUBSCRIPTION_RENEWED
)
def charged(event: ChargeEvent, context: Context) -> Iterator[CommerceEvent]:
    charge = event.data
    yield CommerceEvent(
        kind=charge.kind,
        money=_money(charge.amount, charge.currency),
        transactions=(charge.reference,),
        occurred_at=charge.paid_at or charge.created_at,
        order_id=charge.reference,
        plan_id=charge.plan.plan_code,
        payment_method=charge.channel or None,
    )


class Subscription(Timed):
    subscription_code: Id
    status: str | None = None
    created_at: Moment = Field(None, validation_alias=_CREATED)
    plan: Planned = Plan()

    def event(self, kind: Kind, *transactions: str) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.subscription_code,
            plan_id=self.plan.plan_code,
        )


class SubscriptionEvent(Payload):
    data: Subscription


@provider.on("subscription.create", Kind.SUBSCRIPTION_STARTED)
def subscription_created(event: SubscriptionEvent, context: Context) -> Iterator[CommerceEvent]:
    # No amount: charge.success brings it.
    started = event.data.event(context.kind, event.data.subscription_code)
    yield replace(started, occurred_at=event.data.created_at)


@provider.on("subscription.not_renew", Kind.SUBSCRIPTION_CANCEL_SCHEDULED)
def cancel_scheduled(event: SubscriptionEvent, context: Context) -> Iterator[CommerceEvent]:
    # It can be withdrawn and come again. The only time in the body is when the subscription was created.
    yield event.data.event(context.kind)


@provider.on("subscription.disable", Kind.SUBSCRIPTION_CANCELLED, Kind.SUBSCRIPTION_COMPLETED)
def subscription_ended(event: SubscriptionEvent, context: Context) -> Iterator[CommerceEvent]:
    complete = event.data.status in ("complete", "completed")
    kind = Kind.SUBSCRIPTION_COMPLETED if complete else Kind.SUBSCRIPTION_CANCELLED
    yield event.data.event(kind, event.data.subscription_code)


class SubscriptionCode(Payload):
    subscription_code: OptionalId = None
    plan: Planned = Plan()


class Invoice(Timed):
    invoice_code: OptionalId = None
    amount: int | None = None
    currency: str | None = None
    subscription: Annotated[SubscriptionCode, BeforeValidator(_object)] = SubscriptionCode()
    created_at: Moment = Field(None, validation_alias=_CREATED)


class InvoiceEvent(Payload):
    data: Invoice


@provider.on("invoice.payment_failed", Kind.SUBSCRIPTION_PAYMENT_FAILED)
def invoice_payment_failed(event: InvoiceEvent, context: Context) -> Iterator[CommerceEvent]:
    invoice = event.data
    # The samples have an amount and no currency.
    priced = invoice.amount is not None and invoice.currency
    yield CommerceEvent(
        kind=context.kind,
        money=_money(invoice.amount or 0, invoice.currency or "") if priced else None,
        occurred_at=invoice.created_at,
        order_id=invoice.invoice_code,
        subscription_id=invoice.subscription.subscription_code,
        plan_id=invoice.subscription.plan.plan_code,
    )


class Refund(Payload):
    """The amount is sometimes a number and sometimes a text."""

    amount: int
    currency: str
    transaction_reference: OptionalId = None
    refund_reference: OptionalId = None

    @property
    def transactions(self) -> tuple[str, ...]:
        if self.refund_reference is None:
            # Two refunds of one payment can be equal in all else.
            return ()
        return (f"{self.transaction_reference or ''}:{self.refund_reference}",)


class RefundEvent(Payload):
    data: Refund


@provider.on("refund.processed", Kind.PURCHASE_REFUNDED)
@provider.off("refund.failed", Kind.REFUND_FAILED)
def refunded(event: RefundEvent, context: Context) -> Iterator[CommerceEvent]:
    refund = event.data
    yield CommerceEvent(
        kind=context.kind,
        money=_money(refund.amount, refund.currency),
        transactions=refund.transactions,
        follows=known(refund.transaction_reference),
        order_id=refund.transaction_reference,
    )


class Transaction(Payload):
    reference: OptionalId = None


class Dispute(Timed):
    """`transaction_reference` is null while the transaction has one."""

    id: Id
    refund_amount: int | None = None
    currency: str | None = None
    resolution: str | None = None
    transaction: Annotated[Transaction, BeforeValidator(_object)] = Transaction()
    transaction_reference: OptionalId = None
    created_at: Moment = Field(None, validation_alias=_CREATED)
    resolved_at: Moment = Field(None, validation_alias=AliasChoices("resolvedAt", "resolved_at"))

    def event(self, kind: Kind, at: datetime | None) -> CommerceEvent:
        priced = self.refund_amount is not None and self.currency
        payment = self.transaction.reference or self.transaction_reference
        return CommerceEvent(
            kind=kind,
            money=_money(self.refund_amount or 0, self.currency or "") if priced else None,
            transactions=(self.id,),
            follows=known(payment),
            occurred_at=at,
            order_id=payment,
        )


class DisputeEvent(Payload):
    data: Dispute


@provider.on("charge.dispute.create", Kind.DISPUTE_OPENED)
def dispute_opened(event: DisputeEvent, context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, event.data.created_at)


# What the merchant, or time, has accepted is paid back (unconfirmed).
_RESOLUTIONS = {
    "merchant-accepted": Kind.DISPUTE_LOST,
    "auto-accepted": Kind.DISPUTE_LOST,
    "declined": Kind.DISPUTE_WON,
}


@provider.on("charge.dispute.resolve", Kind.DISPUTE_CLOSED, Kind.DISPUTE_WON, Kind.DISPUTE_LOST)
def dispute_resolved(event: DisputeEvent, context: Context) -> Iterator[CommerceEvent]:
    kind = _RESOLUTIONS.get(event.data.resolution or "", Kind.DISPUTE_CLOSED)
    yield event.data.event(kind, event.data.resolved_at)
