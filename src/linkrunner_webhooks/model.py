"""The types of the domain: a webhook, its meaning, its outcome.

Values only. Nothing here reads the environment, the clock or the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any, Self

from pydantic_core import from_json

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.money import Money, carried_exactly
from linkrunner_webhooks.screening import phones_in


@dataclass(frozen=True)
class Webhook:
    """A request as received: lower-cased header names, the exact body bytes. Untrusted until verified."""

    source: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @cached_property
    def payload(self) -> Any:
        """The body as JSON values, read once. Raises Malformed.

        Text that is no Unicode is repaired: a signed webhook is not lost for half an emoji in a note.
        """
        try:
            return from_json(self.body)
        except ValueError:
            return _repaired(self.body)

    def phones(self) -> frozenset[str]:
        """The digits of the phone numbers in the body."""
        return self._phones

    @cached_property
    def _phones(self) -> frozenset[str]:
        return phones_in(self.body)

    @cached_property
    def digest(self) -> str:
        """Identifies a delivery whose provider gives it no id: a retry repeats the body."""
        return sha256(self.body).hexdigest()


def _repaired(body: bytes) -> Any:
    try:
        # Half a surrogate pair, a byte order mark, bytes of another encoding.
        value = json.loads(body.decode("utf-8-sig", "replace"))
        text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass")
        return json.loads(text.decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise Malformed("the body is not JSON") from None


# The type of a webhook that does not say what it is.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Identity:
    """Enough of a verified webhook to deduplicate, filter and log it; no customer data.

    `event_id` is the id a merchant can look up at the provider. `resource_id` names the object it is about,
    for providers whose event ids are shared by several objects. `occurred_at` is aware. `test` says the
    provider marked it as test traffic. `thin` says that the body only refers to what happened. `signed` says
    that the signature covers the event id; where it does not, the body stands in for it.
    """

    event_id: str
    event_type: str
    resource_id: str | None = None
    occurred_at: datetime | None = None
    test: bool = False
    thin: bool = False
    signed: bool = True


class Flow(StrEnum):
    """The kinds of money. Reports of one payment share a flow and a transaction, whatever they are called."""

    PAYMENT = "payment"
    REFUND = "refund"
    REFUND_REVERSAL = "refund_reversal"
    DISPUTE = "dispute"
    DISPUTE_REVERSAL = "dispute_reversal"


# Where the amount stands of money that nobody earned.
WORTH = ("value",)
_REFUND = ("refund_amount",)
_DISPUTED = ("disputed_amount",)
_ATTEMPTED = ("attempted_amount",)


class Kind(StrEnum):
    """A kind of happening. The value is the default Linkrunner event name.

    `flow` says which way money moved when the kind reports an amount, None when no money moved. `told_as` are
    the fields of `event_data` that carry the amount: `amount` is revenue to Linkrunner and `value` is what ad
    networks read, whatever an event is called, so only money received has both and money back has neither.
    """

    flow: Flow | None
    told_as: tuple[str, ...]

    def __new__(cls, name: str, flow: Flow | None = None, told_as: tuple[str, ...] = WORTH) -> Self:
        """A member is its name; the rest comes along."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.flow = flow
        member.told_as = ("amount", "value") if flow is Flow.PAYMENT else told_as
        return member

    # Kinds are dictionary keys on the hot path, and Enum's own hash is slow.
    __hash__ = str.__hash__

    PURCHASE_INITIATED = "purchase_initiated"
    PURCHASE_COMPLETED = "purchase_completed", Flow.PAYMENT
    PURCHASE_PARTIALLY_PAID = "purchase_partially_paid"
    PURCHASE_CANCELLED = "purchase_cancelled"
    PURCHASE_REFUNDED = "purchase_refunded", Flow.REFUND, _REFUND
    PURCHASE_REVERSED = "purchase_reversed", Flow.REFUND, _REFUND
    PAYMENT_CAPTURED = "payment_captured"
    PAYMENT_FAILED = "payment_failed", None, _ATTEMPTED
    PAYMENT_EXPIRED = "payment_expired", None, _ATTEMPTED
    REFUND_FAILED = "refund_failed", Flow.REFUND_REVERSAL, _REFUND
    REFUND_REVERSED = "refund_reversed", Flow.REFUND_REVERSAL, _REFUND
    INVOICE_ISSUED = "invoice_issued"
    INVOICE_PAID = "invoice_paid", Flow.PAYMENT
    CART_ADDED = "cart_added"
    CHECKOUT_STARTED = "checkout_started"
    CHECKOUT_UPDATED = "checkout_updated"
    CHECKOUT_ABANDONED = "checkout_abandoned"
    CHECKOUT_CANCELLED = "checkout_cancelled"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_FULFILLED = "order_fulfilled"
    ORDER_PARTIALLY_FULFILLED = "order_partially_fulfilled"
    ORDER_EDITED = "order_edited"
    CUSTOMER_CREATED = "customer_created"
    TRIAL_STARTED = "trial_started"
    TRIAL_CONVERTED = "trial_converted", Flow.PAYMENT
    TRIAL_ENDING = "trial_ending"
    TRIAL_CANCELLED = "trial_cancelled"
    SUBSCRIPTION_CREATED = "subscription_created"
    SUBSCRIPTION_AUTHENTICATED = "subscription_authenticated"
    SUBSCRIPTION_GRANTED = "subscription_granted"
    SUBSCRIPTION_STARTED = "subscription_started", Flow.PAYMENT
    SUBSCRIPTION_RENEWED = "subscription_renewed", Flow.PAYMENT
    SUBSCRIPTION_UPDATED = "subscription_updated", Flow.PAYMENT
    SUBSCRIPTION_PRODUCT_CHANGED = "subscription_product_changed", Flow.PAYMENT
    SUBSCRIPTION_OFFER_REDEEMED = "subscription_offer_redeemed", Flow.PAYMENT
    SUBSCRIPTION_EXTENDED = "subscription_extended"
    SUBSCRIPTION_PAYMENT_FAILED = "subscription_payment_failed", None, _ATTEMPTED
    SUBSCRIPTION_BILLING_ISSUE = "subscription_billing_issue", None, _ATTEMPTED
    SUBSCRIPTION_CANCEL_SCHEDULED = "subscription_cancel_scheduled"
    SUBSCRIPTION_CANCELLED = "subscription_cancelled"
    SUBSCRIPTION_REACTIVATED = "subscription_reactivated"
    SUBSCRIPTION_REVOKED = "subscription_revoked"
    SUBSCRIPTION_PAUSE_SCHEDULED = "subscription_pause_scheduled"
    SUBSCRIPTION_PAUSED = "subscription_paused"
    SUBSCRIPTION_RESUMED = "subscription_resumed"
    SUBSCRIPTION_HALTED = "subscription_halted", None, _ATTEMPTED
    SUBSCRIPTION_COMPLETED = "subscription_completed"
    SUBSCRIPTION_EXPIRED = "subscription_expired"
    SUBSCRIPTION_FAILED = "subscription_failed", None, _ATTEMPTED
    DISPUTE_WARNING = "dispute_warning", None, _DISPUTED
    DISPUTE_OPENED = "dispute_opened", Flow.DISPUTE, _DISPUTED
    DISPUTE_WON = "dispute_won", Flow.DISPUTE_REVERSAL, _DISPUTED
    DISPUTE_LOST = "dispute_lost", None, _DISPUTED
    DISPUTE_CLOSED = "dispute_closed", None, _DISPUTED


# Larger quantities are mistakes.
MAX_QUANTITY = 10**9


@dataclass(frozen=True, slots=True)
class Item:
    """One line of an order. `content_id` is what a product catalogue keys on (for shops, the variant).

    A quantity that cannot be one counts as one piece, and a price that cannot be one is left out: no detail
    of a line is worth the payment.
    """

    content_id: str | None
    quantity: int = 1
    product_id: str | None = None
    unit_price: Decimal | None = None

    @classmethod
    def product(
        cls, id: str | None, quantity: int | None = None, unit_price: Decimal | None = None
    ) -> Item:
        """A line of a catalogue without variants: one id is both."""
        return cls.variant(id, id, quantity, unit_price)

    @classmethod
    def variant(
        cls,
        content_id: str | None,
        product_id: str | None,
        quantity: int | None = None,
        unit_price: Decimal | None = None,
    ) -> Item:
        """A quantity that is not said is one."""
        pieces = 1 if quantity is None else quantity
        return cls(content_id, pieces, product_id, unit_price)

    def __post_init__(self) -> None:
        if not 0 <= self.quantity <= MAX_QUANTITY:
            object.__setattr__(self, "quantity", 1)
        if self.unit_price is not None and not carried_exactly(self.unit_price):
            object.__setattr__(self, "unit_price", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommerceEvent:
    """A happening, free of any provider's dialect.

    `money` is what the event is about: revenue when its kind has a flow, otherwise only its worth.
    `transactions` are the provider's ids of the one economic fact behind this event. Two events of the same
    flow (or, without money, of the same kind) that share any of them are one fact; empty means that every
    provider event is a fact of its own. `follows` are transactions of the payment this event comes after (a
    refund's, a dispute's): when the body names no user, the one who paid, or began to, is meant. `returns`
    are those of the one payment that money went back of, if that is not all that it follows.
    `occurred_at` is given where the webhook's own time is not the event's. `also_as` is a type that may
    report the same by other ids: where it is wanted, too, the event waits a moment for news of that.
    `gateway` is the provider that moved a shop's money, and its id of that payment.
    """

    kind: Kind
    money: Money | None = None
    transactions: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    returns: tuple[str, ...] | None = None
    occurred_at: datetime | None = None
    order_id: str | None = None
    subscription_id: str | None = None
    plan_id: str | None = None
    items: tuple[Item, ...] = ()
    payment_method: str | None = None
    coupon: str | None = None
    also_as: str | None = None
    gateway: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class SamePayment:
    """Not an event, but the news that these ids of the provider's name one payment."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SamePerson:
    """Not an event, but the news that these ids of the provider's customers name one person."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownUser:
    """Not an event, but the news that Linkrunner knows this user."""

    id: str


Lesson = SamePayment | SamePerson | KnownUser


class Outcome(StrEnum):
    """The result for a webhook: a value, a metric dimension and a log field."""

    QUEUED = "queued"
    IGNORED = "ignored"
    REJECTED = "rejected"
    CAPTURED = "captured"
    HELD = "held"
    DUPLICATE = "duplicate"
    RETRYING = "retrying"
    PARKED = "parked"
