"""`report`: money and counts of what was reported, and what became of the rest."""

from __future__ import annotations

import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import click

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Parked
from linkrunner_webhooks.held import plan_in
from linkrunner_webhooks.model import Flow
from linkrunner_webhooks.once import Claims
from linkrunner_webhooks.rows import text
from linkrunner_webhooks_cli.currencies import in_one_currency
from linkrunner_webhooks_cli.output import (
    progress,
    say,
    write_json,
    write_table,
    write_text,
)
from linkrunner_webhooks_cli.periods import since_option, until_option
from linkrunner_webhooks_cli.records import Fact, days_since
from linkrunner_webhooks_cli.sources import config_of, config_option, json_option
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option

_BY = ("source", "currency", "day", "event")
# What a column sums up.
_COLUMNS = {
    "revenue": Flow.PAYMENT,
    "refunded": Flow.REFUND,
    "disputed": Flow.DISPUTE,
    "refunds taken back": Flow.REFUND_REVERSAL,
    "disputes won": Flow.DISPUTE_REVERSAL,
}


def _grouping(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in _BY:
            raise click.BadParameter(f'there is no "{name}"; valid are: {", ".join(_BY)}')
    # Amounts of two currencies have no sum.
    return names if "currency" in names else (*names, "currency")


@click.command()
@since_option("7d", "The first day.")
@until_option("The last day.")
@click.option(
    "--by",
    default="source,currency",
    show_default=True,
    callback=_grouping,
    help="What a line is about: source, currency, day, event, separated by commas.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated lines on stdout.")
@json_option
@config_option
@stack_option
def report(
    *,
    since: datetime,
    until: datetime | None,
    by: tuple[str, ...],
    as_csv: bool,
    as_json: bool,
    config_path: Path | None,
    stack: str | None,
) -> None:
    """Sum up what was reported to Linkrunner, by whole days in UTC, and what became of the rest.

    Amounts are exact. What is parked and what waits is counted as it is now, whatever the period.

    \b
    Examples:
      linkrunner-webhooks report
      linkrunner-webhooks report --since 2026-11-01 --until 2026-11-30 --by day,currency --csv
      linkrunner-webhooks report --stack linkrunner-webhooks --by event --json
    """
    if as_csv and as_json:
        raise click.UsageError("--csv or --json, not both")
    days = days_since(since, until)
    if not days:
        raise click.UsageError("the period ends before it begins; compare --since and --until")
    found, config = find(stack), config_of(stack, config_path)
    summary = Summary(by)
    for fact in progress("Adding up", captured(found, config, days), None):
        summary.add(fact)
    others = rest(found, config, days)
    if as_json:
        period = {"since": days[-1].isoformat(), "until": days[0].isoformat()}
        told = {currency: f"{amount:f}" for currency, amount in sorted(summary.told.items())}
        moved = {"captured": summary.rows(), "told": told}
        write_json({**period, "by": list(by), **moved, **others.told()})
    elif as_csv:
        _write_csv(by, summary)
    else:
        say(f"{days[-1]} to {days[0]}, whole days in UTC")
        summary.write()
        others.write()
        for warning in in_one_currency(config.linkrunner, summary.currencies):
            say(f"Warning: {warning}")


# ------------------------------------------------------------------------- what was captured


def captured(stack: Stack, config: Config, days: Sequence[date]) -> Iterator[Fact]:
    """What was captured on these days, in no order."""
    return stack.records().on(_names(stack, config), days)


def _names(stack: Stack, config: Config) -> list[str]:
    return sorted({source.name for source in config.sources()} | stack.records().sources())


@dataclass(slots=True)
class Line:
    """The sums of one group. `events` counts all captured events, also those without money."""

    events: int = 0
    money: dict[Flow, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


@dataclass(slots=True)
class Summary:
    """Facts, added up in groups."""

    by: tuple[str, ...]
    lines: dict[tuple[str, ...], Line] = field(default_factory=lambda: defaultdict(Line))
    told: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    currencies: set[str] = field(default_factory=set)
    revenue: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def add(self, fact: Fact) -> None:
        """Count one fact in its group."""
        told = {
            "source": fact.source,
            "currency": fact.currency,
            "day": fact.day,
            "event": fact.event_name,
        }
        line = self.lines[tuple(told[name] for name in self.by)]
        line.events += 1
        if fact.amount is not None and fact.flow:
            line.money[fact.flow] += fact.amount
            self.currencies.add(fact.currency)
        if fact.amount is not None and fact.flow is Flow.PAYMENT:
            self.revenue[fact.currency] += fact.amount
        if fact.flow is Flow.PAYMENT and fact.told:
            self.told[fact.told.currency] += fact.told.amount

    def rows(self) -> list[dict[str, Any]]:
        """For programs; amounts are texts, because a float is not exact."""
        return [
            dict(zip(self.by, group, strict=True))
            | {"events": line.events}
            | {name.replace(" ", "_"): _text(line, flow) for name, flow in _COLUMNS.items()}
            for group, line in sorted(self.lines.items())
        ]

    def write(self) -> None:
        """For people: only the columns that say something."""
        if not self.lines:
            say("Nothing was captured in this period.")
            return
        used = {
            name: flow
            for name, flow in _COLUMNS.items()
            if any(flow in line.money for line in self.lines.values())
        }
        write_table(
            (*self.by, "events", *used),
            [
                (*group, str(line.events), *(_text(line, flow) or "" for flow in used.values()))
                for group, line in sorted(self.lines.items())
            ],
        )
        revenue = {name: amount for name, amount in self.revenue.items() if amount}
        if revenue != {name: amount for name, amount in self.told.items() if amount}:
            for currency, amount in sorted(self.told.items()):
                write_text(f"Linkrunner was told {amount:f} {currency} of revenue")


def _plain(amount: Decimal) -> Decimal:
    """Without the zeros that some providers write behind an amount, as far as two decimals."""
    cents = amount.quantize(Decimal("0.01"))
    return cents if cents == amount else amount.normalize()


def _text(line: Line, flow: Flow) -> str | None:
    return f"{_plain(line.money[flow]):f}" if flow in line.money else None


def _write_csv(by: Sequence[str], summary: Summary) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = [name.replace(" ", "_") for name in _COLUMNS]
    writer.writerow([*by, "events", *names])
    for row in summary.rows():
        writer.writerow(
            [row[name] if row[name] is not None else "" for name in (*by, "events", *names)]
        )


# ------------------------------------------------------------------------- the rest


@dataclass(frozen=True, slots=True)
class Rest:
    """How webhooks ended in the period, and what is parked, waiting and held now."""

    ends: Counter[str]
    parked: Counter[str]
    parked_money: dict[tuple[str, str], Decimal]
    waiting: int
    held: int
    held_money: dict[str, Decimal]

    @property
    def received(self) -> int:
        """All that are known of."""
        ended = sum(count for name, count in self.ends.items() if not name.startswith("parked"))
        return ended + self.parked.total() + self.waiting + self.held

    @property
    def ignored(self) -> Counter[str]:
        return Counter(
            {
                name.removeprefix("ignored_"): count
                for name, count in self.ends.items()
                if name.startswith("ignored_")
            }
        )

    def told(self) -> dict[str, Any]:
        """For programs."""
        return {
            "webhooks": {
                "received": self.received,
                "captured": self.ends["captured"],
                "duplicates": self.ends["duplicate"],
                "ignored": dict(self.ignored),
                "discarded": self.ends["discarded"],
                "parked": dict(self.parked),
                "waiting": self.waiting,
                "held": self.held,
            },
            "parked_money": [
                {"reason": reason, "currency": currency, "amount": f"{amount:f}"}
                for (reason, currency), amount in sorted(self.parked_money.items())
            ],
            "held_money": [
                {"currency": currency, "amount": f"{amount:f}"}
                for currency, amount in sorted(self.held_money.items())
            ],
        }

    def write(self) -> None:
        """For people."""
        parts = [f"{self.ends['captured']} captured", f"{self.ends['duplicate']} duplicates"]
        parts += [f"{count} ignored ({name})" for name, count in sorted(self.ignored.items())]
        parts += [f"{self.ends['discarded']} discarded"] if self.ends["discarded"] else []
        parts += [f"{count} parked ({name})" for name, count in sorted(self.parked.items())]
        parts += [f"{self.held} held until a signup"] if self.held else []
        parts.append(f"{self.waiting} waiting")
        write_text(f"\n{self.received} webhooks = {' + '.join(parts)}")
        for (reason, currency), amount in sorted(self.parked_money.items()):
            write_text(f"{amount:f} {currency} of payments is parked ({reason})")
        for currency, amount in sorted(self.held_money.items()):
            write_text(f"{amount:f} {currency} of payments is held until a signup")


def rest(stack: Stack, config: Config, days: Sequence[date], most: int | None = None) -> Rest:
    """What is not captured, and how webhooks ended on these days. At most so many letters are looked into."""
    parked, money, seen = Counter[str](), dict[tuple[str, str], Decimal](), set[str]()
    facts, records = stack.ledger().facts, stack.records()
    if stack.parked():
        with stack.dead_letters().reading() as reading:
            for letter in islice(reading, most):
                parked[letter.reason] += 1
                for currency, amount in _payments(letter.text, config, facts, seen):
                    at = letter.reason, currency
                    money[at] = money.get(at, Decimal(0)) + amount
    held, held_money = 0, dict[str, Decimal]()
    for row in records.waiting():
        held += 1
        for currency, amount in _payments(text(row, "message") or "", config, facts, seen):
            held_money[currency] = held_money.get(currency, Decimal(0)) + amount
    return Rest(
        ends=records.tally(_names(stack, config), days),
        parked=parked,
        parked_money=money,
        waiting=stack.backlog(),
        held=held,
        held_money=held_money,
    )


def _payments(
    message: str, config: Config, facts: Claims, seen: set[str]
) -> Iterable[tuple[str, Decimal]]:
    """The payments that a message reports and nobody has captured; two reports of one payment are one."""
    try:
        planned = plan_in(message, config).planned
    except Parked:
        return
    for each in planned:
        money = each.money if f"|{Flow.PAYMENT}|" in each.keys[0] else None
        keys = (*each.keys, *each.shared)
        if money and seen.isdisjoint(keys) and not facts.is_done(each.keys, each.shared):
            yield money.currency, money.amount
        seen.update(keys)
