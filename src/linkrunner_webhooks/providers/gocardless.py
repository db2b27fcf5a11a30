"""GoCardless webhooks. https://developer.gocardless.com/api-reference/#appendix-webhooks

A request holds up to 250 events, also unrelated ones; `unpack` makes one webhook of each. An event names what
it is about, and nothing else: no amount, no customer. GoCardless is asked for these when it is delivered.

Which type reports the money: `payments.confirmed`, when it was collected. A bank can still return a payment
days later: it fails, or is charged back. `refunds.paid` reports each refund.

The API shows a payment as it is today, whatever the event said. So only what never changes is read of it: its
amount, its currency and its links. What happened, and when, is the event's word. Two things need the past of
others: a payment that failed was reported if GoCardless lists that it was confirmed before, and a payment of
a subscription is the first if none that was to be charged earlier was ever collected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.lookups import Lookup, Token, in_turn, path
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Lines,
    OptionalId,
    Part,
    Payload,
    homes,
    iso_time,
    known,
    name,
    parse,
    present,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody

_EVENTS = "events"
_ORIGIN = "origin"


class Links(Payload):
    payment: OptionalId = None
    refund: OptionalId = None
    subscription: OptionalId = None
    instalment_schedule: OptionalId = None


class Hint(Payload):
    """One event. What it is about has metadata here only where the endpoint says so."""

    id: str
    created_at: object = None
    resource_type: str
    action: str
    links: Part[Links]
    resource_metadata: Part[Mapping[str, object]]


class Head(Payload):
    events: tuple[Hint, ...]


def identify(webhook: Webhook) -> Identity:
    """Only a header tells the sandbox, which has secrets of its own."""
    head = parse(Head, webhook)
    if not head.events:
        raise Malformed("there is no event in the body")
    event = head.events[0]
    return Identity(
        event_id=name(event.id, "event id"),
        event_type=name(f"{event.resource_type}.{event.action}", "event type"),
        occurred_at=iso_time(event.created_at),
        test="sandbox" in webhook.headers.get(_ORIGIN, ""),
    )


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """One webhook for each event. A request with a single event stays as it was sent."""
    try:
        body = json.loads(webhook.body)
        events = body[_EVENTS]
        if len(events) == 1:
            return (webhook,)
        first, *rest = (json.dumps(body | {_EVENTS: [event]}).encode() for event in events)
    except (KeyError, RecursionError, TypeError, ValueError):
        raise Malformed("there are no events in the body") from None
    return tuple(replace(webhook, body=each) for each in (first, *rest))


class GoCardlessOptions(Options):
    """`sandbox`: this source is of the sandbox, whose API is another host."""

    sandbox: bool = False


def _host(options: GoCardlessOptions) -> str:
    return f"https://api{'-sandbox' if options.sandbox else ''}.gocardless.com"


# What leads to a payment of a subscription that was collected, in the order of collection.
_EARLIER = "/payments?subscription={}&sort_field=charge_date&sort_direction=asc&limit=10"
_CONFIRMED = "/events?payment={}&resource_type=payments&action=confirmed"
# These come after a payment that was reported, and are its user's.
_AFTER = ("charged_back", "chargeback_cancelled", "late_failure_settled")


def asked(payload: Any) -> Iterator[str]:
    """What an event lacks. Who pays is asked for only where neither it nor the payment has any metadata."""
    event = Event.model_validate(payload)
    hint = event.hint
    if hint.resource_type == "refunds":
        yield path("/refunds/{}", hint.links.refund)
    elif hint.resource_type == "subscriptions":
        if not hint.resource_metadata:
            yield path("/subscriptions/{}", hint.links.subscription)
    elif hint.resource_type == "payments":
        yield path("/payments/{}", hint.links.payment)
        payment = event.payment
        if hint.action in ("confirmed", "paid_out") and payment.links.subscription:
            yield path(_EARLIER, payment.links.subscription)
        if hint.action == "failed":
            yield path(_CONFIRMED, event.payment_id)
        if hint.action in _AFTER or hint.resource_metadata or payment.metadata:
            return
        if payment.links.subscription:
            yield path("/subscriptions/{}", payment.links.subscription)
        elif payment.links.instalment_schedule:
            yield path("/instalment_schedules/{}", payment.links.instalment_schedule)


_LATER = "payments.confirmed reports the payment when it is collected"

provider = Provider(
    name="gocardless",
    title="GoCardless",
    docs="https://developer.gocardless.com/api-reference/#appendix-webhooks",
    signature=HmacBody(headers=("webhook-signature",), encoding="hex"),
    identify=identify,
    unpack=unpack,
    headers=(_ORIGIN,),
    options=GoCardlessOptions,
    lookup=Lookup(
        next=in_turn(asked),
        base=_host,
        access=Token(others={"gocardless-version": "2015-07-06"}),
        # 1,000 a minute are allowed (unconfirmed).
        per_second=10,
        needs="an access token with read-only access",
    ),
    user_id=homes(
        "events[0].resource_metadata.{}",
        "lookup[].payments.metadata.{}",
        "lookup[].subscriptions.metadata.{}",
        "lookup[].instalment_schedules.metadata.{}",
        "lookup[].refunds.metadata.{}",
    ),
    # The mandate: it is one payer's, and every payment and refund names it.
    customer_ids=(
        "lookup[].payments.links.mandate",
        "lookup[].subscriptions.links.mandate",
        "lookup[].refunds.links.mandate",
    ),
    never={
        "payments.submitted": _LATER,
        "subscriptions.payment_created": _LATER,
        "payments.chargeback_settled": "payments.charged_back reported the same money",
        "refunds.refund_settled": "refunds.paid reports the same money",
        "refunds.funds_returned": "refunds.failed reported the same money",
        "payouts.paid": "it is your own money on its way to you",
    },
)


class Payment(Payload):
    amount: int
    currency: str
    scheme: str | None = None
    links: Part[Links]
    metadata: Part[Mapping[str, object]]


class Sibling(Payload):
    """A payment of the same subscription."""

    id: OptionalId = None
    status: str | None = None


class Refund(Payload):
    """A refund of a mandate has no payment."""

    amount: int
    currency: str
    links: Part[Links]


class Past(Payload):
    created_at: object = None


class Answer(Payload):
    """A single payment, or a list of them."""

    payments: Payment | tuple[Sibling, ...] | None = None
    refunds: Refund | None = None
    events: Lines[Past]


class Event(Payload):
    events: tuple[Hint]
    lookup: tuple[Answer, ...] = ()

    @property
    def hint(self) -> Hint:
        return self.events[0]

    @property
    def payment(self) -> Payment:
        found = (each.payments for each in self.lookup if isinstance(each.payments, Payment))
        return present(next(found, None), "its payment")

    @property
    def payment_id(self) -> str:
        return present(self.hint.links.payment, "its payment")

    @property
    def refund(self) -> Refund:
        return present(next((each.refunds for each in self.lookup), None), "its refund")

    @property
    def is_first(self) -> bool:
        """Whether nothing was collected for the subscription before."""
        listed = next(
            (each.payments for each in self.lookup if isinstance(each.payments, tuple)), ()
        )
        earlier = takewhile(lambda each: each.id != self.payment_id, listed)
        return not any(each.status in _COLLECTED for each in earlier)

    @property
    def was_confirmed(self) -> bool:
        """Whether the payment was collected before this event."""
        now = iso_time(self.hint.created_at)
        past = (iso_time(event.created_at) for each in self.lookup for event in each.events)
        return any(now and then and then < now for then in past)

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        payment = self.payment
        return CommerceEvent(
            kind=kind,
            money=Money.from_minor(payment.amount, payment.currency),
            transactions=transactions,
            order_id=self.payment_id,
            subscription_id=payment.links.subscription,
            payment_method=payment.scheme,
        )

    def went_back(self, kind: Kind) -> CommerceEvent:
        event = self.event(kind, (self.payment_id,))
        return replace(event, follows=event.transactions)


# Also what was collected and went back later, as far as the status tells.
_COLLECTED = ("confirmed", "paid_out", "charged_back")


# Payments

_PAID = (Kind.PURCHASE_COMPLETED, Kind.SUBSCRIPTION_STARTED, Kind.SUBSCRIPTION_RENEWED)


@provider.on("payments.confirmed", *_PAID)
@provider.off("payments.paid_out", *_PAID)
def paid(event: Event, context: Context) -> Iterator[CommerceEvent]:
    # A payment that fails late and is tried again is confirmed twice, and counts once.
    kind = Kind.PURCHASE_COMPLETED
    if event.payment.links.subscription:
        kind = Kind.SUBSCRIPTION_STARTED if event.is_first else Kind.SUBSCRIPTION_RENEWED
    yield event.event(kind, (event.payment_id,))


@provider.off("payments.created", Kind.PURCHASE_INITIATED)
# With a subscription or a mandate all that it was still to collect is cancelled.
@provider.on("payments.cancelled", Kind.PURCHASE_CANCELLED)
def created_or_cancelled(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.event(context.kind, (event.payment_id,))


_FAILED = (Kind.PAYMENT_FAILED, Kind.SUBSCRIPTION_PAYMENT_FAILED)


@provider.on("payments.failed", *_FAILED, besides={Kind.PURCHASE_REVERSED: True})
@provider.on("payments.customer_approval_denied", *_FAILED)
def failed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    if event.was_confirmed:
        yield event.went_back(Kind.PURCHASE_REVERSED)
        return
    # Each attempt is one: it may be tried again.
    about = event.payment.links.subscription
    kind = Kind.SUBSCRIPTION_PAYMENT_FAILED if about else Kind.PAYMENT_FAILED
    yield event.event(kind, EACH_TIME)


# Money back


@provider.on("payments.late_failure_settled", Kind.PURCHASE_REVERSED)
@provider.on("payments.charged_back", Kind.DISPUTE_OPENED)
@provider.on("payments.chargeback_cancelled", Kind.DISPUTE_WON)
def went_back(event: Event, context: Context) -> Iterator[CommerceEvent]:
    yield event.went_back(context.kind)


@provider.on("refunds.paid", Kind.PURCHASE_REFUNDED)
@provider.off("refunds.created", Kind.PURCHASE_REFUNDED)
# It comes after it was paid, when the bank sends it back.
@provider.on("refunds.failed", Kind.REFUND_FAILED)
def refunded(event: Event, context: Context) -> Iterator[CommerceEvent]:
    refund, id = event.refund, present(event.hint.links.refund, "its refund")
    yield CommerceEvent(
        kind=context.kind,
        money=Money.from_minor(refund.amount, refund.currency),
        transactions=(id,),
        follows=known(refund.links.payment),
        order_id=refund.links.payment,
    )


# Subscriptions. They have no trials and no plans.


# Not its start: the first payment reports that, with its money.
@provider.off("subscriptions.created", Kind.SUBSCRIPTION_CREATED)
@provider.on("subscriptions.cancelled", Kind.SUBSCRIPTION_CANCELLED)
@provider.on("subscriptions.finished", Kind.SUBSCRIPTION_COMPLETED)
def subscription_began_or_ended(event: Event, context: Context) -> Iterator[CommerceEvent]:
    id = present(event.hint.links.subscription, "its subscription")
    yield CommerceEvent(kind=context.kind, transactions=(id,), subscription_id=id)


@provider.on("subscriptions.paused", Kind.SUBSCRIPTION_PAUSED)
@provider.on("subscriptions.resumed", Kind.SUBSCRIPTION_RESUMED)
@provider.off("subscriptions.scheduled_pause", Kind.SUBSCRIPTION_PAUSE_SCHEDULED)
@provider.off("subscriptions.amended", Kind.SUBSCRIPTION_UPDATED)
def subscription_changed(event: Event, context: Context) -> Iterator[CommerceEvent]:
    id = present(event.hint.links.subscription, "its subscription")
    yield CommerceEvent(kind=context.kind, transactions=EACH_TIME, subscription_id=id)
