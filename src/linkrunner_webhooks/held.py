"""An event that waited for its user, as a message of its own: rendered, and nothing of the webhook besides.

It goes the way of every message then: it is claimed, captured once, retried, parked and redriven.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import open_message
from linkrunner_webhooks.errors import Unroutable
from linkrunner_webhooks.event_body import LinkrunnerEvent, UserFrom
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.paying import PlannedPayment, PlannedReturn
from linkrunner_webhooks.payments import Returned, Terms
from linkrunner_webhooks.translation import Plan, Planned, plan_of

# What of a Planned is settled when it is held: whose it is, and what it is called.
SETTLED = frozenset({"trial", "conversion", "people", "awaits_link"})
_BEGINS = '{"v":1,"held":'


class _Amount(BaseModel):
    amount: Decimal
    currency: str

    @classmethod
    def of(cls, money: Money | None) -> Self | None:
        return cls(amount=money.amount, currency=money.currency) if money else None

    @staticmethod
    def money(written: _Amount | None) -> Money | None:
        return Money(written.amount, written.currency) if written else None


class _Payment(BaseModel):
    terms: Terms
    event_data: Mapping[str, Any]
    status: str
    own_id: str
    told_as: tuple[str, ...]


class _Return(BaseModel):
    keys: tuple[str, ...]
    returned: str


class Held(BaseModel):
    """What a Planned event is, for its user. `received_at` is unix seconds."""

    model_config = ConfigDict(frozen=True)

    source: str
    event_name: str
    event_data: Mapping[str, Any]
    user_id: str
    user_from: UserFrom
    keys: tuple[str, ...]
    follows: tuple[str, ...]
    marks: tuple[str, ...]
    shared: tuple[str, ...]
    sent: Mapping[str, str]
    money: _Amount | None
    worth: _Amount | None
    told_as: tuple[str, ...]
    payment: _Payment | None
    announced: bool
    returned: _Return | None
    through: tuple[str, ...]
    known_as: str
    received_at: float
    waited: bool = False

    @classmethod
    def of(cls, planned: Planned, event: LinkrunnerEvent, received_at: float) -> Self:
        """The event as it waits for its user."""
        payment, returned = planned.payment, planned.returned
        whose = planned._replace(user_id=event.user_id, user_from=event.user_from)
        return cls(
            **{name: getattr(whose, name) for name in _ALIKE},
            source=planned.source.name,
            money=_Amount.of(planned.money),
            worth=_Amount.of(planned.worth),
            payment=payment and _Payment(**payment._asdict()),
            returned=returned and _Return(keys=returned.keys, returned=returned.returned.text()),
            received_at=received_at,
        )

    def text(self) -> str:
        """The message."""
        # ASCII, because SQS does not take every character.
        written = json.dumps(self.model_dump(mode="json"), separators=(",", ":"))
        return f"{_BEGINS}{written}}}"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The event in a message, or None where that is a webhook."""
        if not text.startswith(_BEGINS):
            return None
        try:
            return cls.model_validate_json(text[len(_BEGINS) : -1])
        except ValidationError:
            return None

    def after(self) -> Self:
        """The same when it has waited for long enough."""
        return self.model_copy(update={"waited": True})

    @property
    def attributes(self) -> dict[str, str]:
        """Those of its message, like those of a webhook's."""
        told = {name: self.sent.get(name, "") for name in ("event_type", "event_id")}
        return {"source": self.source, **told}

    def plan(self, config: Config) -> Plan:
        """What it becomes. Raises Unroutable when its source is gone."""
        source = config.source(self.source)
        if source is None:
            raise Unroutable(f"webhooks.toml has no table [{self.source}] any more")
        payment, returned = self.payment, self.returned
        planned = Planned(
            **{name: getattr(self, name) for name in _ALIKE},
            source=source,
            money=_Amount.money(self.money),
            worth=_Amount.money(self.worth),
            payment=PlannedPayment(**dict(payment)) if payment else None,
            returned=PlannedReturn(returned.keys, Returned.of(returned.returned))
            if returned
            else None,
        )
        return Plan(source, (planned,), self.received_at, waited=self.waited)


# What both have in the same form.
_ALIKE = Held.model_fields.keys() & {*Planned._fields} - {
    "source",
    "money",
    "worth",
    "payment",
    "returned",
}


def plan_in(text: str, config: Config) -> Plan:
    """What a message of either queue becomes. Raises Parked."""
    held = Held.read(text)
    return held.plan(config) if held else plan_of(open_message(text, config))
