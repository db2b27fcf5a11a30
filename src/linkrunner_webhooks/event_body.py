"""The body of Linkrunner's capture-event. https://docs.linkrunner.io/api-reference/event-capture

`event_data` is an allow-list: a field that is not declared here cannot be sent, whatever a provider adds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, ClassVar, Final, Literal, NotRequired, TypedDict

from linkrunner_webhooks.money import Number, Rate
from linkrunner_webhooks.payments import CapturePayment


class Content(TypedDict):
    """One line, as Meta's catalogue ads read it."""

    id: str
    quantity: int
    item_price: NotRequired[Number]


# Who named the user of an event.
UserFrom = Literal["body", "payment", "link"]


# Not frozen: a frozen one takes twice as long to make, and nobody keeps it.
@dataclass(slots=True, kw_only=True)
class EventData:
    """All fields that can be sent about an event, besides the operator's own."""

    amount: Number | None = None
    currency: str | None = None
    value: Number | None = None
    refund_amount: Number | None = None
    disputed_amount: Number | None = None
    attempted_amount: Number | None = None
    paid_amount: Number | None = None
    paid_currency: str | None = None
    order_id: str | None = None
    product_ids: tuple[str, ...] | None = None
    content_ids: tuple[str, ...] | None = None
    contents: tuple[Content, ...] | None = None
    content_type: str | None = None
    num_items: int | None = None
    payment_method: str | None = None
    coupon: str | None = None
    subscription_id: str | None = None
    plan_id: str | None = None
    provider: str
    source: str
    provider_event_id: str
    provider_event_type: str
    occurred_at: str | None = None
    test: bool | None = None

    def present(self, targets: Mapping[str, str | None]) -> dict[str, Any]:
        """The known fields under their names, or those of `targets`, where None drops one.

        An unknown field is absent from the request, never null.
        """
        return {
            target: value
            for name in FIELDS
            if (value := getattr(self, name)) is not None
            and (target := targets.get(name, name)) is not None
        }


FIELDS: Final = tuple(field.name for field in fields(EventData))
# The fields of money that moved or was to move; an event has one of them at most.
AMOUNTS: Final = ("amount", "refund_amount", "disputed_amount", "attempted_amount")


@dataclass(frozen=True, slots=True)
class LinkrunnerEvent:
    """An event as Linkrunner is told it: the body of a capture-event request, unless it is not `announced`.

    `payment` is the capture-payment request of what counts as a payment. `rate` is what its amounts were
    converted at; what is not `priced` has none, and no amount. `user_from` says who named the user: the
    "body", the "payment" that it follows, or a "link" of its ids.
    `event_id` is the same in every request of one event, and another for each event: Linkrunner takes it "for
    deduplication", and says neither among what nor for how long.
    """

    event_name: str
    event_data: Mapping[str, Any]
    user_id: str
    user_from: UserFrom = "body"
    event_id: str | None = None
    payment: CapturePayment | None = None
    announced: bool = True
    rate: Rate | None = None
    priced: bool = True

    path: ClassVar[str] = "/capture-event"

    @property
    def requests(self) -> tuple[LinkrunnerEvent | CapturePayment, ...]:
        """What Linkrunner is asked, one after the other."""
        paid = (self.payment,) if self.payment else ()
        return (*paid, self) if self.announced else paid

    def body(self) -> dict[str, Any]:
        return self._event() | ({"event_id": self.event_id} if self.event_id else {})

    def told(self) -> dict[str, Any]:
        """What it says, whichever request says it."""
        return self._event() | ({"payment": self.payment.body()} if self.payment else {})

    def _event(self) -> dict[str, Any]:
        return {
            "event_name": self.event_name,
            "event_data": dict(self.event_data),
            "user_id": self.user_id,
        }


def event_id(key: str, event_name: str) -> str:
    """The `event_id` of what the ledger knows by that key: a digest, because ids of providers can repeat.

    The name is in it, because one fact can be reported under two, and neither may swallow the other.
    """
    return sha256(f"{key}\n{event_name}".encode()).hexdigest()[:32]


def fingerprint(events: Iterable[LinkrunnerEvent]) -> str:
    """A short text that is the same for events that say the same, and tells nothing of them."""
    bodies = json.dumps([event.told() for event in events], sort_keys=True)
    return sha256(bodies.encode()).hexdigest()[:32]
