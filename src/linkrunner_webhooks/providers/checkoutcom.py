"""Checkout.com webhooks. https://www.checkout.com/docs/developer-resources/event-notifications

Each event of a payment is about one action: `data.id` is the payment's, `data.action_id` the action's, and
the amount is that of the action. In a dispute `data.id` is the dispute's. Amounts are integers in the
smallest unit. The time is in `created_on` or in `timestamp`. Payouts come as the same types, with a
`destination`.

Which type reports the money: `payment_captured`, also of payments that are captured automatically. A payment
that is captured in parts sends one for each part, and the parts add up. The order of events may vary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Provider, unless
from linkrunner_webhooks.reading import (
    USER_KEYS,
    Detail,
    Id,
    MinorPrice,
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

# The currency for which Checkout.com's table differs from ISO 4217.
_EXPONENTS = {"CLP": 2}
_SANDBOX = ".sandbox.checkout.com/"


class Link(Payload):
    href: Detail[str] = None


class Links(Payload):
    itself: Annotated[Part[Link], Field(alias="self")]


class EventLinks(Payload):
    payment: Detail[str] = None


class Subject(Payload):
    event_links: Part[EventLinks]


class Head(Payload):
    id: str
    type: str
    created_on: object = None
    timestamp: object = None
    links: Annotated[Part[Links], Field(alias="_links")]
    data: Part[Subject]


def identify(webhook: Webhook) -> Identity:
    """Only the links tell the sandbox from the live account, and some events have none (unconfirmed)."""
    head = parse(Head, webhook)
    links = (head.links.itself.href, head.data.event_links.payment)
    return Identity(
        event_id=name(head.id, "event id"),
        event_type=name(head.type, "event type"),
        occurred_at=iso_time(head.created_on) or iso_time(head.timestamp),
        test=any(_SANDBOX in (link or "") for link in links),
    )


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """Some authentication_failed are no JSON. As a text in JSON they are parked, and not sent again."""
    try:
        _ = webhook.payload
    except Malformed:
        text = webhook.body.decode("utf-8", "replace")
        return (replace(webhook, body=json.dumps({"unreadable": text}).encode()),)
    return (webhook,)


provider = Provider(
    name="checkoutcom",
    title="Checkout.com",
    docs="https://www.checkout.com/docs/developer-resources/event-notifications",
    signature=HmacBody(headers=("cko-signature",), encoding="hex"),
    identify=identify,
    unpack=unpack,
    user_id=homes("data.metadata.{}", keys=(*USER_KEYS, "customer_id")),
    # Captures and refunds do not have it.
    customer_ids=("data.customer.id",),
    unique_ids=True,
    never={
        "payment_paid": "it is money that you pay out",
        "payment_refund_pending": "payment_refunded reports the refund when it is one",
        "payment_authorization_incremented": (
            "it changes what was authorised; payment_captured reports what is paid"
        ),
        "card_verified": "a card was checked, and nobody paid",
        "dispute_evidence_submitted": "it changes nothing that is reported",
        "dispute_evidence_acknowledged_by_scheme": "it changes nothing that is reported",
        "dispute_arbitration_sent_to_scheme": "it changes nothing that is reported",
    },
)

T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    data: T


class Source(Payload):
    type: Detail[str] = None


class Balances(Payload):
    total_captured: MinorPrice = None


class Payment(Payload):
    """An action on a payment."""

    id: Id
    action_id: OptionalId = None
    reference: OptionalId = None
    amount: int
    currency: str
    payment_type: Detail[str] = None
    source: Part[Source]
    destination: object = None
    balances: Part[Balances]

    @property
    def capture(self) -> tuple[str, ...]:
        """The ids of a capture. The first one is the payment; what is captured later is a fact of its own."""
        whole = self.balances.total_captured == self.amount
        return known(self.id if whole else None, self.action_id)

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=Money.from_minor(self.amount, self.currency, _EXPONENTS),
            transactions=transactions,
            follows=(self.id,),
            order_id=first(self.reference, self.id),
            payment_method=self.source.type or None,
        )


def _paid_out(event: Event[Payment]) -> bool:
    return bool(event.data.destination)


# Payments


@provider.on("payment_captured", Kind.PURCHASE_COMPLETED)
@unless(_paid_out)
def payment_captured(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, event.data.capture)


@provider.off("payment_approved", Kind.PURCHASE_INITIATED)
@provider.off("payment_pending", Kind.PURCHASE_INITIATED)
@provider.off("payment_capture_pending", Kind.PURCHASE_INITIATED)
@provider.off("payment_canceled", Kind.CHECKOUT_CANCELLED)
@provider.off("payment_expired", Kind.CHECKOUT_ABANDONED)
@unless(_paid_out)
def payment_changed(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    # An amount of zero only checks a card or stores it.
    if event.data.amount:
        yield event.data.event(context.kind, (event.data.id,))


@provider.on("payment_voided", Kind.PURCHASE_CANCELLED)
@unless(_paid_out)
def payment_voided(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    payment = event.data
    # What is left after a capture may be voided, too, and that purchase stands. So nothing went back.
    if not payment.balances.total_captured:
        yield replace(payment.event(context.kind, (payment.id,)), returns=())


@provider.on("payment_declined", Kind.PAYMENT_FAILED, Kind.SUBSCRIPTION_PAYMENT_FAILED)
@unless(_paid_out)
def payment_declined(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    # Not final: each attempt is an action of its own.
    recurring = (event.data.payment_type or "").lower() == "recurring"
    kind = Kind.SUBSCRIPTION_PAYMENT_FAILED if recurring else Kind.PAYMENT_FAILED
    yield event.data.event(kind, known(event.data.action_id))


@provider.off("payment_capture_declined", Kind.PAYMENT_FAILED)
@unless(_paid_out)
def capture_declined(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, known(event.data.action_id))


# Refunds


@provider.on("payment_refunded", Kind.PURCHASE_REFUNDED)
@provider.off("payment_refund_declined", Kind.REFUND_FAILED)
# A bank takes the money back that it had paid: of a direct debit, for instance.
@provider.on("payment_returned", Kind.PURCHASE_REVERSED)
@unless(_paid_out)
def payment_went_back(event: Event[Payment], context: Context) -> Iterator[CommerceEvent]:
    returned = event.data.event(context.kind, known(event.data.action_id))
    # A refund that fails was never reported: payment_refunded comes when it is done.
    failed = context.kind is Kind.REFUND_FAILED
    yield replace(returned, money=None) if failed else returned


# Disputes


class Dispute(Payload):
    """Older bodies have no amount."""

    id: Id
    payment_id: OptionalId = None
    payment_action_id: OptionalId = None
    payment_reference: OptionalId = None
    amount: int | None = None
    currency: str | None = None


# Both are reports of one dispute; some accounts get only the second (unconfirmed).
@provider.on("dispute_received", Kind.DISPUTE_OPENED)
@provider.on("dispute_evidence_required", Kind.DISPUTE_OPENED)
@provider.on("dispute_won", Kind.DISPUTE_WON)
@provider.on("dispute_arbitration_won", Kind.DISPUTE_WON)
# The bank withdraws it, and the money comes back.
@provider.on("dispute_canceled", Kind.DISPUTE_WON)
@provider.on("dispute_lost", Kind.DISPUTE_LOST)
@provider.on("dispute_arbitration_lost", Kind.DISPUTE_LOST)
@provider.on("dispute_accepted", Kind.DISPUTE_LOST)
@provider.on("dispute_expired", Kind.DISPUTE_LOST)
# The payment had been refunded already.
@provider.on("dispute_resolved", Kind.DISPUTE_CLOSED)
def disputed(event: Event[Dispute], context: Context) -> Iterator[CommerceEvent]:
    dispute = event.data
    yield CommerceEvent(
        kind=context.kind,
        money=Money.maybe_minor(dispute.amount, dispute.currency, _EXPONENTS),
        transactions=(dispute.id,),
        # Whether the action is the capture is unconfirmed: it may lead to the user, and to no money.
        follows=known(dispute.payment_id, dispute.payment_action_id),
        returns=known(dispute.payment_id),
        order_id=first(dispute.payment_reference, dispute.payment_id),
    )
