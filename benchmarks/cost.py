"""What a month costs by the number of orders, and a million webhooks by the memory: amounts times prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from benchmarks import cold
from benchmarks.tables import Progress, Row, Section, ratio
from benchmarks.usage import Build, Load, Model, Stack, Usage, model, of_month, of_webhooks, stack

# Dollars by part.
Bill = Mapping[str, float]

ORDERS: Final = (0, 150, 1_000, 10_000, 100_000, 1_000_000)
MEMORIES: Final = (128, 256, 512, 1024)
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "requests": (
        *("api_request", "lambda_request", "lambda_gb_second", "sqs_request"),
        *("dynamodb_write", "dynamodb_read", "transfer_gb"),
    ),
    "logs, traces": ("log_gb", "log_gb_month", "xray_trace"),
    "metrics": ("metric_month", "metric_request"),
    "alarms": ("alarm_month", "composite_alarm_month"),
    "secrets, dashboard, key": ("secret_month", "secret_request", "dashboard_month", "key_month"),
    "ledger": ("ledger_gb_month", "backup_gb_month"),
}
_MILLION = 1_000_000


def month(orders: float, model: Model, stack: Stack, *, free: bool = False) -> Bill:
    """Dollars for a month with so many orders, with or without what AWS gives for free."""
    return bill(of_month(orders, model, stack), model, free=free)


def million(build: Build, model: Model, stack: Stack) -> float:
    """Dollars for the requests, logs and traces of a million webhooks in a month, each of them one event."""
    load = Load(_MILLION, _MILLION, _MILLION)
    return sum(bill(of_webhooks(load, build, model["shop"], stack), model).values())


def bill(usage: Usage, model: Model, *, free: bool = False) -> Bill:
    """Dollars for what was used."""
    given = model["free"] if free else {}
    dollars = {
        name: max(0.0, amount - given.get(name, 0)) * model["prices"][name]
        for name, amount in usage.items()
    }
    return {part: sum(dollars.get(name, 0.0) for name in names) for part, names in PARTS.items()}


def table(model: Model, stack: Stack) -> str:
    """The months of ORDERS, in Markdown."""
    head = ("orders a month", *PARTS, "total", "with the free tier")
    return "\n".join([_line(head), _line(["---:"] * len(head)), *_lines(model, stack)])


def _lines(model: Model, stack: Stack) -> Iterator[str]:
    for orders in ORDERS:
        parts, reduced = (month(orders, model, stack, free=free) for free in (False, True))
        dollars = (*parts.values(), sum(parts.values()), sum(reduced.values()))
        yield _line([f"{orders:,}", *(f"{each:,.2f}" for each in dollars)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def measure(_: int, progress: Progress) -> Section:
    """Ours against the naive build, which differ in what they compute and not in what they call."""
    assumed, deployed = model(), stack()
    times = cold.medians(3, progress, only=("ours", "naive build"))
    ours, naive = (
        Build(times[f"receive, {name}"], times[f"deliver, {name}"])
        for name in ("ours", "naive build")
    )
    rows = [
        Row(f"{orders:,} orders a month", f"${sum(month(orders, assumed, deployed).values()):,.2f}")
        for orders in ORDERS
    ]
    for memory in MEMORIES:
        sized = replace(deployed, memory=memory)
        own, other = million(ours, assumed, sized), million(naive, assumed, sized)
        rows.append(Row(f"a million at {memory} MB: ours", f"${own:.2f}"))
        rows.append(
            Row(f"a million at {memory} MB: naive build", f"${other:.2f}", ratio(own / other), 1.0)
        )
    note = (
        "Prices and assumptions: benchmarks/prices.toml. Months with assumed times; a million webhooks"
        " (requests, logs, traces) with those measured here."
    )
    return Section("Cost", ("", "US dollars", "ours / it"), tuple(rows), note)
