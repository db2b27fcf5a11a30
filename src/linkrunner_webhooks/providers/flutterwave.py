"""Flutterwave webhooks, v3 and v4. https://developer.flutterwave.com/docs/webhooks

Two generations with different bodies and different proofs: v3 sends the secret hash itself in `verif-hash`
and names its type `event`; v4 signs the body in `flutterwave-signature` and names it `type`. Amounts are
numbers in major units. Nothing in a body tells test mode from live.

Which type reports the money: `charge.completed`, but only with a status of success. Failed and pending
charges are called completed, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

from pydantic import AliasChoices, Field

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import (
    Id,
    OptionalId,
    Payload,
    epoch_ms,
    iso_time,
    known,
    name,
    parse,
)
from linkrunner_webhooks.signatures.hmacs import HmacBody
from linkrunner_webhooks.signatures.tokens import FirstPresent, StaticToken


class Named(Payload):
    id: OptionalId = None
    status: str | None = None
    created_at: object = Field(
        default=None, validation_alias=AliasChoices("created_datetime", "created_at", "createdAt")
    )


class Head(Payload):
    """v3 says `event`, v4 `type`; the flat bodies of v2 say neither and are refused."""

    event: str | None = None
    type: str | None = None
    webhook_id: OptionalId = None
    timestamp: object = None
    data: Named = Named()

    @property
    def occurred_at(self) -> datetime | None:
        """Whatever is written there (the form is unconfirmed), no payment is turned away for its time."""
        sent = self.timestamp if isinstance(self.timestamp, int) else None
        return (
            epoch_ms(sent) or iso_time(self.timestamp, UTC) or iso_time(self.data.created_at, UTC)
        )


def identify(webhook: Webhook) -> Identity:
    """The object in its present state; v4 has an id for the webhook, too (unconfirmed)."""
    head = parse(Head, webhook)
    object_id = head.data.id
    # What has no id of its own is known by what it says.
    return Identity(
        event_id=name(head.webhook_id or object_id or webhook.digest, "event id"),
        event_type=name(head.type or head.event, "event type of v3 or v4"),
        resource_id=name(f"{object_id}:{head.data.status}", "state") if object_id else None,
        occurred_at=head.occurred_at,
    )


class FlutterwaveOptions(Options):
    """`refund_currency`: of refunds that do not name theirs, where you charge in one currency only.

    Without it such a refund is reported without an amount.
    """

    refund_currency: str = ""


provider = Provider(
    name="flutterwave",
    title="Flutterwave",
    docs="https://developer.flutterwave.com/docs/webhooks",
    signature=FirstPresent(
        (
            # Receivers agree on this form; the vendor's own wording is unconfirmed.
            HmacBody(headers=("flutterwave-signature",), encoding="base64"),
            StaticToken("verif-hash"),
        )
    ),
    identify=identify,
    user_id=(
        # Beside `data` in v3, within it in v4.
        "meta_data.linkrunner_user_id",
        "meta_data.user_id",
        "data.meta.linkrunner_user_id",
        "data.meta.user_id",
        "data.customer.id",
    ),
    options=FlutterwaveOptions,
    never={
        "transfer.completed": "it is your own money that goes out",
    },
)


class Method(Payload):
    type: str | None = None


class Charge(Payload):
    """`tx_ref` (v3) or `reference` (v4) is the merchant's; `charged_amount` would include fees passed on."""

    id: Id
    status: str
    amount: Decimal
    currency: str
    tx_ref: OptionalId = None
    reference: OptionalId = None
    payment_type: str | None = None
    payment_method: Method | None = None
    # Either may hold the plan of a recurring payment, as its id or whole (unconfirmed).
    plan: OptionalId = None
    payment_plan: OptionalId = None

    @property
    def plan_id(self) -> str | None:
        return self.plan or self.payment_plan

    def event(self, kind: Kind, *transactions: str) -> CommerceEvent:
        method = self.payment_method.type if self.payment_method else None
        return CommerceEvent(
            kind=kind,
            money=Money.of(self.amount, self.currency),
            transactions=transactions,
            order_id=self.tx_ref or self.reference or self.id,
            plan_id=self.plan_id,
            payment_method=self.payment_type or method,
        )


class Charged(Payload):
    data: Charge


@provider.on(
    "charge.completed",
    Kind.PURCHASE_COMPLETED,
    Kind.SUBSCRIPTION_RENEWED,
    besides={Kind.PAYMENT_FAILED: True, Kind.PURCHASE_INITIATED: False},
)
def charge_completed(charged: Charged, context: Context) -> Iterator[CommerceEvent]:
    charge = charged.data
    match charge.status:
        case "successful" | "succeeded":
            kind = Kind.SUBSCRIPTION_RENEWED if charge.plan_id else Kind.PURCHASE_COMPLETED
            yield charge.event(kind, charge.id)
        case "failed":
            # Not final: the customer can try again.
            yield charge.event(Kind.PAYMENT_FAILED)
        case "pending":
            yield charge.event(Kind.PURCHASE_INITIATED, charge.id)
        case _:
            raise Untranslatable("a charge is in a state that is not known")


class Refund(Payload):
    """v4 names are in snake case, and some of v3 are not; the official page has neither (unconfirmed)."""

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
        # Some states say how: completed-bank-transfer (unconfirmed).
        return (self.status or "").startswith(("completed", "succeeded", "successful"))

    def money(self, context: Context) -> Money | None:
        """Most refunds do not name their currency, and it is not guessed."""
        currency = self.currency or context.options.refund_currency
        known = self.amount is not None and currency
        return Money.of(self.amount or 0, currency) if known else None


class Refunded(Payload):
    data: Refund


@provider.on("refund.completed", Kind.PURCHASE_REFUNDED)
def refund_completed(refunded: Refunded, context: Context) -> Iterator[CommerceEvent]:
    refund = refunded.data
    if refund.done:
        yield CommerceEvent(
            kind=Kind.PURCHASE_REFUNDED,
            money=refund.money(context),
            transactions=known(refund.id),
            follows=known(refund.charge_id),
            order_id=refund.charge_id,
        )


class Subscription(Payload):
    id: OptionalId = None
    plan: OptionalId = None


class Cancelled(Payload):
    data: Subscription


@provider.on("subscription.cancelled", Kind.SUBSCRIPTION_CANCELLED)
def subscription_cancelled(cancelled: Cancelled, context: Context) -> Iterator[CommerceEvent]:
    # Its amount is the plan's, and nobody pays it now.
    yield CommerceEvent(
        kind=Kind.SUBSCRIPTION_CANCELLED,
        subscription_id=cancelled.data.id,
        plan_id=cancelled.data.plan,
    )
