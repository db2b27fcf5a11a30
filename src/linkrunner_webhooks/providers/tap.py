"""Tap webhooks. https://developers.tap.company/docs/webhook

The body is the whole charge, authorize, refund or invoice. Tap hashes seven values of it, or six of an
invoice: amounts with all decimals of their currency, and neither the merchant's own references nor metadata.
What kind of object it is stands in `object`, which is not hashed, so the beginning of the id says it. Amounts
are JSON numbers in major units. `transaction.amount` can be in another currency, and is not read.

Which type reports the money: `charge.CAPTURED`, also of renewals and of what was authorised before. A charge
that pays an invoice has an id of its own, and so has one that captures an authorisation: nothing that is
hashed connects them, so `invoice.PAID` and `authorize.CAPTURED` are off. `refund.REFUNDED` reports each
refund with its own amount. The charge that it names is not hashed, and only says whose the refund is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money, carried_exactly, rounded
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    Detail,
    Id,
    OptionalId,
    Part,
    Payload,
    Price,
    epoch_ms,
    homes,
    known,
    name,
    parse,
    present,
    price,
)
from linkrunner_webhooks.signatures.hashed_values import HashedValues, Values

_HASH = "hashstring"
# Charges and what else there is, as their ids begin.
_OBJECTS = {"chg": "charge", "auth": "authorize", "re": "refund", "inv": "invoice"}


def _what(id: str) -> str | None:
    return _OBJECTS.get(id.partition("_")[0])


class Times(Payload):
    created: object = None


class Head(Payload):
    id: Id
    status: str
    live_mode: Detail[bool] = None
    created: object = None
    transaction: Part[Times]

    @property
    def created_at(self) -> datetime | None:
        """The time that is hashed. When a state was reached stands in `activities`, which are not."""
        return epoch_ms(self.created if _created_outside(self.id) else self.transaction.created)


def _created_outside(id: str) -> bool:
    """Whether its time stands beside the transaction, and not in it."""
    return _what(id) in ("refund", "invoice")


def identify(webhook: Webhook) -> Identity:
    """The type is the kind of object and its status, which is written with a space or an underscore."""
    head = parse(Head, webhook)
    what = name(_what(head.id), "kind of object")
    return Identity(
        event_id=name(head.id, "id"),
        event_type=name(f"{what}.{head.status.replace(' ', '_')}", "status"),
        occurred_at=head.created_at,
        test=head.live_mode is False,
    )


def _hashed(values: Values, secret: str) -> tuple[str]:
    """The text that is hashed: each value after a name of its own, so that none can be moved into another."""
    del secret
    references = {
        "x_gateway_reference": values["reference.gateway"],
        "x_payment_reference": values["reference.payment"],
    }
    of_invoice = {"x_updated": values["updated"]}
    outside = _created_outside(values["id"])
    named = {
        "x_id": values["id"],
        "x_amount": _with_decimals(values["amount"], values["currency"]),
        "x_currency": values["currency"],
        **(of_invoice if _what(values["id"]) == "invoice" else references),
        "x_status": values["status"],
        "x_created": values["created" if outside else "transaction.created"],
    }
    return ("".join(part for pair in named.items() for part in pair),)


def _with_decimals(amount: str, currency: str) -> str:
    """0.5 in a body is hashed as 0.500 in dinar."""
    number = price(amount)
    # Of a number with more digits the mapper could read another one.
    if number is None or not carried_exactly(number):
        return amount
    return f"{rounded(number, currency):f}"


class TapOptions(Options):
    """`renewals`: charges that you make without the customer are renewals of a subscription.

    They say `customer_initiated: false`. Without this setting they are purchases.
    """

    renewals: bool = False


_NOT_YET = "nothing is paid yet; CAPTURED reports what is"
_PENDING = "refund.REFUNDED reports the refund when it is one"

provider = Provider(
    name="tap",
    title="Tap",
    docs="https://developers.tap.company/docs/webhook",
    signature=HashedValues(
        values=(
            "id",
            "amount",
            "currency",
            "reference.gateway",
            "reference.payment",
            "updated",
            "status",
            "transaction.created",
            "created",
        ),
        texts=_hashed,
        algorithm="sha256",
        header=_HASH,
        keyed=True,
    ),
    identify=identify,
    headers=(_HASH,),
    user_id=homes("metadata.{}"),
    customer_ids=("customer.id",),
    options=TapOptions,
    unique_ids=True,
    never={
        "charge.INITIATED": _NOT_YET,
        "charge.IN_PROGRESS": _NOT_YET,
        "charge.UNKNOWN": "it does not say whether anything is paid",
        "authorize.INITIATED": _NOT_YET,
        "authorize.IN_PROGRESS": _NOT_YET,
        "refund.PENDING": _PENDING,
        "refund.ACCEPTED": _PENDING,
        "refund.IN_PROGRESS": _PENDING,
    },
    caution="""\
Tap signs id, amount, currency and status, and not the user id. It signs with the secret key of your account,
which can move money. The charge that pays an invoice or captures an authorisation has an id of its own: with
invoice.PAID or authorize.CAPTURED switched on, too, such a payment counts twice.
""",
)


class Source(Payload):
    payment_method: Detail[str] = None


class Payment(Payload):
    """A charge, an authorize or an invoice."""

    id: Id
    amount: Price = None
    currency: str | None = None
    # Not hashed: it may decide the kind of an event, but not an amount.
    customer_initiated: Detail[bool] = None
    source: Part[Source]

    @property
    def money(self) -> Money:
        return _money(self.amount, self.currency)

    def is_renewal(self, context: Context) -> bool:
        return context.options.renewals and self.customer_initiated is False

    def event(self, kind: Kind) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=self.money,
            transactions=(self.id,),
            # The merchant's own id of the order is not hashed.
            order_id=self.id,
            payment_method=self.source.payment_method or None,
        )


def _money(amount: Price, currency: str | None) -> Money:
    """What is hashed. Digits past the decimals of the currency are not, and anybody could add some."""
    code = present(currency, "its currency")
    return Money.of(rounded(present(amount, "its amount"), code), code)


# Payments


@provider.on("charge.CAPTURED", Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_RENEWED)
def charge_captured(charge: Payment, context: Context) -> Iterator[CommerceEvent]:
    renewal = charge.is_renewal(context)
    yield charge.event(Kind.SUBSCRIPTION_RENEWED if renewal else Kind.PURCHASE_COMPLETED)


@provider.off("authorize.AUTHORIZED", Kind.PURCHASE_INITIATED)
# For those whose authorisations capture themselves, if Tap sends nothing of their charges (unconfirmed).
@provider.off("authorize.CAPTURED", Kind.PURCHASE_COMPLETED)
# For those whose charges have no webhook, because only their invoices have a URL.
@provider.off("invoice.PAID", Kind.PURCHASE_COMPLETED)
# Cards that are only stored are authorised and voided, too.
@provider.off("authorize.VOID", Kind.PURCHASE_CANCELLED)
@provider.off("charge.CANCELLED", Kind.CHECKOUT_CANCELLED)
@provider.off("charge.VOID", Kind.CHECKOUT_CANCELLED)
@provider.off("authorize.CANCELLED", Kind.CHECKOUT_CANCELLED)
@provider.off("charge.ABANDONED", Kind.CHECKOUT_ABANDONED)
@provider.off("authorize.ABANDONED", Kind.CHECKOUT_ABANDONED)
def payment_changed(payment: Payment, context: Context) -> Iterator[CommerceEvent]:
    yield payment.event(context.kind)


_FAILED = (Kind.PAYMENT_FAILED, Kind.SUBSCRIPTION_PAYMENT_FAILED)


@provider.on("charge.FAILED", *_FAILED)
@provider.on("charge.DECLINED", *_FAILED)
@provider.on("charge.RESTRICTED", *_FAILED)
@provider.on("charge.TIMEDOUT", *_FAILED)
@provider.on("authorize.FAILED", *_FAILED)
@provider.on("authorize.DECLINED", *_FAILED)
@provider.on("authorize.RESTRICTED", *_FAILED)
@provider.on("authorize.TIMEDOUT", *_FAILED)
def payment_failed(payment: Payment, context: Context) -> Iterator[CommerceEvent]:
    # Not final: the customer can try again, with another charge.
    renewal = payment.is_renewal(context)
    yield payment.event(Kind.SUBSCRIPTION_PAYMENT_FAILED if renewal else Kind.PAYMENT_FAILED)


# Refunds


class Refund(Payload):
    id: Id
    amount: Price = None
    currency: str | None = None
    charge_id: OptionalId = None


@provider.on("refund.REFUNDED", Kind.PURCHASE_REFUNDED)
@provider.off("refund.FAILED", Kind.REFUND_FAILED)
@provider.off("refund.DECLINED", Kind.REFUND_FAILED)
@provider.off("refund.RESTRICTED", Kind.REFUND_FAILED)
def refunded(refund: Refund, context: Context) -> Iterator[CommerceEvent]:
    # A refund that fails was never reported: refund.REFUNDED comes when it is done.
    failed = context.kind is Kind.REFUND_FAILED
    yield CommerceEvent(
        kind=context.kind,
        money=None if failed else _money(refund.amount, refund.currency),
        transactions=(refund.id,),
        follows=known(refund.charge_id),
    )
