"""What `reconcile` found: everything that is not here, and how much of the rest, for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

from linkrunner_webhooks.config import Source
from linkrunner_webhooks_cli.ages import Ages
from linkrunner_webhooks_cli.clients.client import Window
from linkrunner_webhooks_cli.missing import Event, Found, Standing
from linkrunner_webhooks_cli.output import write_table, write_text

# Rows that a person reads; --json has them all.
_SHOWN: Final = 40


class _Sum(NamedTuple):
    flow: str
    currency: str


@dataclass(slots=True)
class Gaps:
    """Everything that is not here, and how much of the rest there is."""

    source: Source
    window: Window
    listed: int = 0
    missing: list[Found] = field(default_factory=list)
    left: list[Found] = field(default_factory=list)
    rest: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    ages: Ages = field(default_factory=Ages)

    def add(self, found: Found) -> None:
        self.listed += 1
        if found.standing is Standing.MISSING:
            self.missing.append(found)
            self.ages.add(found.at)
        elif found.standing is Standing.LEFT:
            self.left.append(found)
        else:
            self.rest[found.standing.value] += 1
            if found.reason:
                self.reasons.setdefault(found.standing.value, Counter())[found.reason] += 1

    @property
    def in_order(self) -> list[Found]:
        """What is missing, the oldest first."""
        return sorted(self.missing, key=lambda each: each.at)

    @property
    def money(self) -> dict[_Sum, Decimal]:
        """What would move with what is missing."""
        return _sums(self.missing)

    def told(self) -> dict[str, Any]:
        """For programs."""
        return {
            "source": self.source.name,
            "since": self.window.since.isoformat(timespec="seconds"),
            "until": self.window.until.isoformat(timespec="seconds"),
            "listed": self.listed,
            **{
                each.value: self.rest[each.value]
                for each in Standing
                if each not in (Standing.MISSING, Standing.LEFT)
            },
            "reasons": {name: dict(counts) for name, counts in self.reasons.items()},
            "missing": [_told(each) for each in self.in_order],
            "left": [
                _told(each) | {"reason": each.reason, "detail": each.detail} for each in self.left
            ],
            "money": _money(self.money),
            "left_money": _money(_sums(self.left)),
            "ages": self.ages.summary(),
        }

    def write(self) -> None:
        """For people."""
        rows = [*map(_row, self.in_order), *map(_row, self.left)]
        if rows:
            columns = ("happened (UTC)", "type", "event", "order", "would be", "")
            write_table(columns, rows[:_SHOWN])
        if len(rows) > _SHOWN:
            write_text(f"... and {len(rows) - _SHOWN} more: --json lists them all")
        write_text(self.summary())

    def summary(self) -> str:
        """One line that adds up."""
        parts = [f"{len(self.missing)} missing"]
        if self.left:
            why = ", ".join(sorted({each.reason for each in self.left}))
            parts.append(f"{len(self.left)} left ({why})")
        for standing, count in sorted(self.rest.items()):
            why = ", ".join(sorted(self.reasons.get(standing, ())))
            words = _WORDS[Standing(standing)]
            parts.append(f"{count} {words}{f' ({why})' if why else ''}")
        told = [f"{self.listed} listed = {' + '.join(parts)}"]
        for what, sums in (("missing", self.money), ("left", _sums(self.left))):
            if sums:
                amounts = (f"{amount:f} {at.currency} {at.flow}" for at, amount in sums.items())
                told.append(f"{what}: {', '.join(amounts)}")
        return "\n".join(told)


def _sums(found: Iterable[Found]) -> dict[_Sum, Decimal]:
    sums: dict[_Sum, Decimal] = {}
    for each in (event for one in found for event in one.events):
        if each.money:
            at = _Sum(each.flow, each.money.currency)
            sums[at] = sums.get(at, Decimal(0)) + each.money.amount
    return dict(sorted(sums.items()))


def _money(sums: Mapping[_Sum, Decimal]) -> list[dict[str, str]]:
    return [
        {"flow": at.flow, "currency": at.currency, "amount": f"{amount:f}"}
        for at, amount in sums.items()
    ]


_WORDS: Final = {
    Standing.ARRIVED: "arrived",
    Standing.REPEATED: "that tell the same as those",
    Standing.WAITING: "in delivery",
    Standing.PARKED: "parked",
    Standing.IGNORED: "not forwarded",
    Standing.NOTHING: "with nothing to report",
}


def _told(found: Found) -> dict[str, Any]:
    events = [
        {"event_name": each.name}
        | (
            {"amount": f"{each.money.amount:f}", "currency": each.money.currency}
            if each.money
            else {}
        )
        for each in found.events
    ]
    return {
        "at": found.at.isoformat(timespec="seconds"),
        "event_type": found.identity.event_type,
        "event_id": found.identity.event_id,
        "order_id": _order(found),
        "events": events,
    }


def _row(found: Found) -> tuple[str, ...]:
    would_be = ", ".join(map(_event, found.events)) or "whose ids are whose"
    why = f"left: {found.reason}" if found.standing is Standing.LEFT else ""
    at = f"{found.at:%Y-%m-%d %H:%M}"
    return (at, found.identity.event_type, found.identity.event_id, _order(found), would_be, why)


def _event(event: Event) -> str:
    money = f" {event.money.amount:f} {event.money.currency}" if event.money else ""
    return f"{event.name}{money}"


def _order(found: Found) -> str:
    return next((each.order_id for each in found.events if each.order_id), "")
