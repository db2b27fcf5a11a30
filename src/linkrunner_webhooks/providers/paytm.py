"""Paytm Payment Gateway. https://business.paytm.com/docs/callback-and-webhook

Payments and subscriptions are reported as forms, with names in capitals, and refunds as JSON. `unpack` makes
JSON texts of a form. No report has an id or a type: the type is its shape with its status. Amounts are
decimals in rupees, as text. Times are of India and do not say so.

Of a form every value is signed and no name. Who sees a report (the buyer's browser carries one to the
callback URL) can give its values other names, as long as their order stays. So the words of a payment have to
be those of a payment, and its id has to look like one.

Which type reports the money: `payment.TXN_SUCCESS`, also for a payment link, which may be reported once more
with the same TXNID. A payment of a subscription does not say whether it is the first, so each is a renewal
and the start has no money.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from linkrunner_webhooks import forms
from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    INDIA,
    Detail,
    Id,
    OptionalId,
    Part,
    Payload,
    Price,
    first,
    iso_time,
    known,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.encrypted_hash import EncryptedHash, is_null

# The only currency there is. Refunds do not name it.
_RUPEES = "INR"
# The merchant's own reference of a payment, or the id of its link, and how we know (unconfirmed).
_REFERENCE = "MERC_UNQ_REF"
_LINK = "LI_"
_OF_LINKS = ("LINKDESCRIPTION", "PAYMENTFORM", "PAYMENTMOBILENUMBER", "PAYMENTEMAILID")
# Other values that can stand in its place are dates.
_TXN_ID = re.compile(r"[A-Za-z0-9]+", re.ASCII)


def _id_of_a_payment(id: str | None) -> str | None:
    if id and not _TXN_ID.fullmatch(id):
        raise ValueError("not the id of a payment")
    return id


class _Form(Payload):
    """`txn_id` is TXNID."""

    model_config = ConfigDict(alias_generator=lambda field: field.replace("_", "").upper())


class _Json(Payload):
    model_config = ConfigDict(alias_generator=to_camel)


class Result(_Json):
    result_status: Detail[str] = None


class Refund(_Json):
    """The body of a report about a refund.

    `refund_amount` is that of this refund in the report of its success, and the sum of all refunds of the
    payment where a refund is only accepted. The success also has that sum by its own name.
    """

    refund_id: OptionalId = None
    txn_id: OptionalId = None
    order_id: OptionalId = None
    refund_amount: Price = None
    total_refund_amount: Price = None
    result_info: Part[Result]
    accept_refund_timestamp: object = None
    user_credit_initiate_timestamp: object = None

    @property
    def status(self) -> str:
        """`accepted` is not a status of Paytm's: whether such a report has one is unconfirmed."""
        done = self.total_refund_amount is not None or self.user_credit_initiate_timestamp
        if self.accept_refund_timestamp and not done:
            return "accepted"
        return self.result_info.result_status or "unknown"

    @property
    def amount(self) -> Decimal:
        """The amount of this refund. Raises Untranslatable where it may be the sum of several."""
        refunded = present(self.refund_amount, "its amount")
        total = present(
            self.total_refund_amount, "the sum of all refunds, to compare with its amount"
        )
        if refunded > total:
            raise Untranslatable("the refund is more than all refunds together")
        return refunded


class Head(_Form):
    status: Detail[str] = None
    txn_id: OptionalId = None
    resp_code: OptionalId = None
    subs_id: OptionalId = Field(default=None, alias="SUBS_ID")
    notification_status: OptionalId = None
    txn_date_time: object = None
    txn_date: object = None
    updated_date: object = None
    body: object = Field(default=None, alias="body")

    @property
    def occurred_at(self) -> datetime | None:
        times = (self.txn_date_time, self.txn_date, self.updated_date)
        return next((time for each in times if (time := iso_time(each, INDIA))), None)


class RefundHead(Payload):
    body: Refund


# A status that is written in two ways (unconfirmed).
_SPELLINGS = {"CANCELED": "CANCELLED", "REJECTED": "REJECT"}


def identify(webhook: Webhook) -> Identity:
    """Nothing in a report tells staging from production. Staging has merchant ids and keys of its own."""
    head = parse(Head, webhook)
    if head.body is not None:
        return _identity_of_a_refund(parse(RefundHead, webhook).body, webhook)
    status = (head.status or "").upper()
    if head.notification_status:
        shape, id = "pre_notify", webhook.digest
    elif head.txn_id or head.resp_code:
        # A payment that fails early has no id.
        shape, id = f"payment.{status}", head.txn_id or webhook.digest
    elif head.subs_id:
        shape = f"subscription.{_SPELLINGS.get(status, status)}"
        id = f"{head.subs_id}:{head.updated_date or webhook.digest}"
    else:
        raise Malformed("the form is about no payment and no subscription")
    return Identity(
        event_id=name(id, "id"),
        event_type=name(shape, "status"),
        occurred_at=head.occurred_at,
    )


def _identity_of_a_refund(refund: Refund, webhook: Webhook) -> Identity:
    times = (refund.user_credit_initiate_timestamp, refund.accept_refund_timestamp)
    return Identity(
        event_id=name(refund.refund_id or webhook.digest, "refund id"),
        event_type=name(f"refund.{refund.status}", "status"),
        occurred_at=next((time for each in times if (time := iso_time(each, INDIA))), None),
    )


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """The form as JSON texts, without the values that are "null".

    The reference of a payment link's payment is the id of the link, which is nobody's.
    """
    if forms.is_json(webhook.body):
        return (webhook,)
    (unpacked,) = forms.unpack(webhook)
    fields = {key: value for key, value in unpacked.payload.items() if not is_null(value)}
    reference = fields.get(_REFERENCE, "")
    if reference.startswith(_LINK) or any(key in fields for key in _OF_LINKS):
        fields["LINK_ID"] = fields.pop(_REFERENCE, "")
    return (replace(webhook, body=json.dumps(fields).encode()),)


provider = Provider(
    name="paytm",
    title="Paytm",
    docs="https://business.paytm.com/docs/callback-and-webhook",
    signature=EncryptedHash(
        member="CHECKSUMHASH",
        values=(
            *("TXNID", "ORDERID", "TXNAMOUNT", "CURRENCY", "STATUS", "SUBS_ID"),
            *(_REFERENCE, "CUSTID", "UPDATEDDATE"),
            *("refundId", "txnId", "orderId", "refundAmount", "totalRefundAmount"),
        ),
    ),
    identify=identify,
    unpack=unpack,
    user_id=(_REFERENCE,),
    # The merchant's own id of a customer, or Paytm's of a payer who has signed in there.
    customer_ids=("CUSTID",),
    never={
        "payment.PENDING": "it may never be paid; payment.TXN_SUCCESS reports the money",
        "pre_notify": "it announces a charge; payment.TXN_SUCCESS reports the money",
        "refund.accepted": "refund.TXN_SUCCESS reports the refund, with its own amount",
    },
    caution="""\
It signs with the merchant key of your account, which also signs your requests to Paytm: payments, refunds and
payouts. Of a report the values are signed, and not their names.
""",
)


# Payments


class Payment(_Form):
    txn_id: Annotated[OptionalId, AfterValidator(_id_of_a_payment)] = None
    order_id: OptionalId = None
    txn_amount: Price = None
    currency: str | None = None
    payment_mode: str | None = None
    subs_id: OptionalId = Field(default=None, alias="SUBS_ID")

    def event(
        self, kind: Kind, transactions: tuple[str, ...], money: Money | None
    ) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=money,
            transactions=transactions,
            order_id=first(self.order_id, self.txn_id),
            subscription_id=self.subs_id,
            payment_method=self.payment_mode,
        )


@provider.on("payment.TXN_SUCCESS", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_RENEWED)
def paid(payment: Payment, context: Context) -> Iterator[CommerceEvent]:
    kind = Kind.SUBSCRIPTION_RENEWED if payment.subs_id else Kind.PURCHASE_COMPLETED
    money = Money.of(payment.txn_amount, payment.currency or _RUPEES)
    yield payment.event(kind, (present(payment.txn_id, "its id"),), money)


@provider.on("payment.TXN_FAILURE", Kind.PAYMENT_FAILED, Kind.SUBSCRIPTION_PAYMENT_FAILED)
def failed(payment: Payment, context: Context) -> Iterator[CommerceEvent]:
    kind = Kind.SUBSCRIPTION_PAYMENT_FAILED if payment.subs_id else Kind.PAYMENT_FAILED
    money = Money.maybe(payment.txn_amount, payment.currency or _RUPEES)
    yield payment.event(kind, known(payment.txn_id), money)


# Refunds


class RefundEvent(Payload):
    body: Refund


@provider.on("refund.TXN_SUCCESS", Kind.PURCHASE_REFUNDED)
def refunded(event: RefundEvent, context: Context) -> Iterator[CommerceEvent]:
    refund = event.body
    yield CommerceEvent(
        kind=context.kind,
        money=Money.of(refund.amount, _RUPEES),
        transactions=(present(refund.refund_id, "its id"),),
        follows=known(refund.txn_id),
        order_id=first(refund.order_id, refund.txn_id),
    )


# Subscriptions


class Subscription(_Form):
    subs_id: Id = Field(alias="SUBS_ID")
    order_id: OptionalId = None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            order_id=self.order_id,
            subscription_id=self.subs_id,
        )


# Its start: what is paid then is a payment of its own.
@provider.on("subscription.ACTIVE", Kind.SUBSCRIPTION_STARTED)
@provider.on("subscription.CANCELLED", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscription.EXPIRED", Kind.SUBSCRIPTION_EXPIRED)
# The buyer or the bank did not agree to it, so that it never began.
@provider.off("subscription.REJECT", Kind.SUBSCRIPTION_FAILED)
def began_or_ended(subscription: Subscription, context: Context) -> Iterator[CommerceEvent]:
    yield subscription.event(context.kind, (subscription.subs_id,))


@provider.on("subscription.SUSPENDED", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription.PAUSED", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscription.RESUMED", Kind.SUBSCRIPTION_RESUMED)
def paused_or_resumed(subscription: Subscription, context: Context) -> Iterator[CommerceEvent]:
    yield subscription.event(context.kind, EACH_TIME)
