"""Flutterwave webhooks, v3 and v4. https://developer.flutterwave.com/docs/webhooks

The two versions differ in body and signature. v3 sends the secret hash itself in `verif-hash` and names its
type `event`. v4 signs the body in `flutterwave-signature` and names its type `type`. Amounts are numbers in
major units. Nothing in a body tells test mode from live mode.

Which type reports the money: `charge.completed`, but only with a status of success. Failed and pending
charges are called completed, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import AliasChoices, Field

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    EACH_TIME,
    Detail,
    Id,
    OptionalId,
    Part,
    Payload,
    epoch_ms,
    first,
    homes,
    iso_time,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody
from linkrunner_webhooks.signatures.tokens import FirstPresent, StaticToken


class Named(Payload):
    id: OptionalId = None
    status: Detail[str] = None
    created_at: object = Field(
        default=None, validation_alias=AliasChoices("created_datetime", "created_at", "createdAt")
    )


class Head(Payload):
    """The type is `event` in v3 and `type` in v4. The flat bodies of v2 have neither and are refused."""

    event: str | None = None
    type: str | None = None
    webhook_id: OptionalId = None
    timestamp: object = None
    data: Named = Named()

    @property
    def occurred_at(self) -> datetime | None:
        """The form is unconfirmed, so an unreadable time is no time: no payment is refused because of it."""
        sent = self.timestamp if isinstance(self.timestamp, int) else None
        return (
            epoch_ms(sent) or iso_time(self.timestamp, UTC) or iso_time(self.data.created_at, UTC)
        )


def identify(webhook: Webhook) -> Identity:
    """Only v4 has an id of the webhook (unconfirmed). The state is the object's id with its status."""
    head = parse(Head, webhook)
    object_id = head.data.id
    return Identity(
        event_id=name(head.webhook_id or object_id or webhook.digest, "event id"),
        event_type=name(head.type or head.event, "event type of v3 or v4"),
        resource_id=name(f"{object_id}:{head.data.status}", "state") if object_id else None,
        occurred_at=head.occurred_at,
    )


class FlutterwaveOptions(Options):
    """`refund_currency`: the currency of refunds that do not name one, if you charge in one currency only.

    Without it such a refund is reported without an amount.
    """

    refund_currency: str = ""


provider = Provider(
    name="flutterwave",
    title="Flutterwave",
    docs="https://developer.flutterwave.com/docs/webhooks",
    signature=FirstPresent(
        (
            # Public receivers agree on this form; Flutterwave's own documentation of it is unconfirmed.
            HmacBody(headers=("flutterwave-signature",), encoding="base64"),
            StaticToken("verif-hash"),
        )
    ),
    identify=identify,
    user_id=(
        # Metadata is beside `data` in v3 and inside `data` in v4.
        *homes("meta_data.{}", "data.meta.{}"),
    ),
    customer_ids=("data.customer.id",),
    options=FlutterwaveOptions,
    never={
        "transfer.completed": "it is your own money that goes out",
    },
)


T = TypeVar("T", bound=Payload)


class Event(Payload, Generic[T]):
    data: T


# Payments


class Method(Payload):
    type: str | None = None


class Charge(Payload):
    """The merchant's own reference is `tx_ref` (v3) or `reference` (v4).

    `charged_amount` is not read: it includes fees that the customer paid.
    """

    id: Id
    status: str
    amount: Decimal
    currency: str
    tx_ref: OptionalId = None
    reference: OptionalId = None
    payment_type: str | None = None
    payment_method: Part[Method]
    # The plan of a recurring payment is in one of the two, as an id or as an object (unconfirmed).
    plan: OptionalId = None
    payment_plan: OptionalId = None

    @property
    def plan_id(self) -> str | None:
        return first(self.plan, self.payment_plan)

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            money=Money.of(self.amount, self.currency),
            transactions=transactions,
            order_id=first(self.tx_ref, self.reference, self.id),
            plan_id=self.plan_id,
            payment_method=self.payment_type or self.payment_method.type,
        )


@provider.on(
    "charge.completed",
    Kind.PURCHASE_COMPLETED,
    Kind.SUBSCRIPTION_RENEWED,
    besides={Kind.PAYMENT_FAILED: True, Kind.PURCHASE_INITIATED: False},
)
def charge_completed(event: Event[Charge], context: Context) -> Iterator[CommerceEvent]:
    charge = event.data
    match charge.status:
        case "successful" | "succeeded":
            kind = Kind.SUBSCRIPTION_RENEWED if charge.plan_id else Kind.PURCHASE_COMPLETED
            yield charge.event(kind, (charge.id,))
        case "failed":
            # Not final: the customer can try again.
            yield charge.event(Kind.PAYMENT_FAILED, EACH_TIME)
        case "pending":
            yield charge.event(Kind.PURCHASE_INITIATED, (charge.id,))
        case _:
            raise Untranslatable("a charge is in a state that is not known")


# Refunds


class Refund(Payload):
    """v4 writes names in snake case, v3 not always. The official page shows neither (unconfirmed)."""

    id: OptionalId = None
    status: str | None = None
    amount: Decimal | None = Field(
        default=None, validation_alias=AliasChoices("amount_refunded", "AmountRefunded", "amount")
    )
    currency: str | None = None
    charge_id: OptionalId = Field(
        default=None, validation_alias=AliasChoices("charge_id", "tx_id", "TransactionId")
    )

    @property
    def done(self) -> bool:
        # Some states have an ending that names the method: completed-bank-transfer (unconfirmed).
        return (self.status or "").lower().startswith(("completed", "succeeded", "successful"))


@provider.on("refund.completed", Kind.PURCHASE_REFUNDED)
def refund_completed(event: Event[Refund], context: Context) -> Iterator[CommerceEvent]:
    refund = event.data
    if refund.done:
        yield CommerceEvent(
            kind=context.kind,
            # Most refunds do not name their currency. It is not guessed.
            money=Money.maybe(refund.amount, refund.currency or context.options.refund_currency),
            transactions=known(refund.id),
            follows=known(refund.charge_id),
            order_id=refund.charge_id,
        )


# Subscriptions


class Subscription(Payload):
    """The amount is not read: it is the plan's price, and a cancellation moves no money."""

    id: OptionalId = None
    plan: OptionalId = None

    def event(self, kind: Kind, transactions: tuple[str, ...]) -> CommerceEvent:
        return CommerceEvent(
            kind=kind,
            transactions=transactions,
            subscription_id=self.id,
            plan_id=self.plan,
        )


@provider.on("subscription.cancelled", Kind.SUBSCRIPTION_CANCELLED)
def subscription_cancelled(event: Event[Subscription], context: Context) -> Iterator[CommerceEvent]:
    yield event.data.event(context.kind, EACH_TIME)
