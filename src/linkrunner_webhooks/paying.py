"""What an event is as a payment at Linkrunner, and what it takes from another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.fact_keys import key_of, shared, through
from linkrunner_webhooks.model import CommerceEvent, Flow, Kind
from linkrunner_webhooks.money import Money, Rate, number
from linkrunner_webhooks.past import marked
from linkrunner_webhooks.payments import DISPUTE, CapturePayment, Returned, Status, Terms, Version
from linkrunner_webhooks.rendering import event_data, occurred_at, priced, without
from linkrunner_webhooks.screening import screened, unnamed
from linkrunner_webhooks.users import values


class PlannedPayment(NamedTuple):
    """What counts as a payment at Linkrunner, and what is told about it, as it was paid.

    `own_id` is the payment's id where the operator's expression finds none of its own; `told_as` are the
    fields of `event_data` that repeat the amount.
    """

    terms: Terms
    event_data: Mapping[str, Any]
    status: str
    own_id: str
    told_as: tuple[str, ...] = ("value",)

    def at(self, rate: Rate | None) -> Terms:
        """The terms at that rate."""
        return self.terms.model_copy(update={"rate": rate.text()}) if rate else self.terms

    def of(self, type: str) -> PlannedPayment:
        """The same as another type."""
        return self._replace(terms=self.terms.model_copy(update={"type": type}))


class PlannedReturn(NamedTuple):
    """What went back of the payment with these keys."""

    keys: tuple[str, ...]
    returned: Returned


# The fields of money received in an event.
EARNED = Kind.PURCHASE_COMPLETED.told_as
# How the amount of a payment is told beside it; Linkrunner takes its currency from here, too.
_PAID_AS = ("value",)


def request_of(
    terms: Terms, version: Version, user_id: str, payment: PlannedPayment, source: Source
) -> CapturePayment:
    """The request that captures this version of a payment. Its `event_data` is as it was paid."""
    money, rate = Money(version.left, terms.currency), terms.conversion
    data = priced(payment.event_data, source, payment.told_as, money, rate)
    currency = rate.into if rate else money.currency
    return CapturePayment(
        payment_id=version.payment_id,
        user_id=user_id,
        amount=number(rate.convert(money.amount) if rate else money.amount),
        # Whatever the operator calls it in events: Linkrunner reads a payment's currency here.
        event_data={**data, "currency": currency},
        type=terms.type,
        status=payment.status,
    )


# What nobody paid, and what was to be paid.
FAILED = frozenset(kind for kind in Kind if kind.told_as == ("attempted_amount",))


def payment_of(event: CommerceEvent, kind: Kind, key: str, opened: Opened) -> PlannedPayment | None:
    """The payment that an event is at Linkrunner, where the operator wants payments."""
    source, money = opened.source, event.money
    settings = source.linkrunner
    failed = kind in FAILED and settings.failed_payments
    if settings.revenue == "event" or money is None or not (failed or kind.flow is Flow.PAYMENT):
        return None
    own = unnamed(key.replace("|", ":"), opened.webhook.phones)
    # A state never changes at Linkrunner: what failed must not have the id of what is paid after it.
    told = None if failed else _told_id(source, opened)
    terms = Terms(
        payment_id=told or own,
        type=settings.type_of(kind),
        paid=money.amount,
        currency=money.currency,
    )
    status = Status.FAILED if failed else Status.COMPLETED
    fields = kind.told_as if failed else _PAID_AS
    data = without(event_data(event, fields, opened), {"amount"})
    return PlannedPayment(terms, data, status, own, fields)


def _told_id(source: Source, opened: Opened) -> str | None:
    """The id that the operator's expression finds for a payment."""
    if source.payment_id is None:
        return None
    for value in values(source.payment_id, opened.webhook.payload):
        told = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(told, str) and told.strip():
            return screened(told.strip(), opened.webhook.phones)
    return None


# What went back, and what came again. What is disputed is gone when the dispute is lost, until it is won.
_RETURNS = {
    Kind.PURCHASE_REFUNDED: 1,
    Kind.PURCHASE_REVERSED: 1,
    Kind.REFUND_FAILED: -1,
    Kind.REFUND_REVERSED: -1,
    Kind.DISPUTE_LOST: 1,
    Kind.DISPUTE_WON: 0,
    # Nothing was to be captured any more of what counted when it was authorised.
    Kind.PURCHASE_CANCELLED: 1,
}
_STEPS = (Kind.DISPUTE_LOST, Kind.DISPUTE_WON)


def return_of(
    event: CommerceEvent, kind: Kind, own: tuple[str, ...], opened: Opened
) -> PlannedReturn | None:
    """What an event takes from a payment at Linkrunner."""
    source = opened.source
    if event.money is None or kind not in _RETURNS:
        return None
    ids = event.follows if event.returns is None else event.returns
    paid = tuple(key_of(source, Flow.PAYMENT, id) for id in ids) + through(event, ids, source)
    if kind in _STEPS:
        # The same under every name of a step: what a dispute is about.
        about = marked(tuple(key_of(source, "dispute", id) for id in event.transactions))
        group, side = f"{DISPUTE}{about}", occurred_at(event, opened.identity) or ""
    else:
        told = shared(event, Flow.REFUND, source) if kind.flow is Flow.REFUND else ()
        group, side = ",".join(marked((each,)) for each in told), source.scope if told else ""
    amount = _RETURNS[kind] * event.money.amount
    returned = Returned(marked(own), amount, event.money.currency, group, side)
    return PlannedReturn(paid, returned) if paid else None
