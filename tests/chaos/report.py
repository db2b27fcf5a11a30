"""A run's result for people and for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.chaos.faults import HELD
from tests.chaos.judge import EXCUSES, UNEXPLAINED
from tests.chaos.run import Result

_SHOWN = 10

Row = tuple[str, str]


def as_json(result: Result) -> dict[str, Any]:
    """Everything a script could ask for."""
    verdict, options = result.verdict, result.options
    return {
        "passed": result.passed,
        "seed": options.seed,
        "events": options.events,
        "seconds": options.seconds,
        "workers": options.workers,
        "webhooks": result.plan.webhooks,
        "copies": len(result.plan.sendings),
        "facts": len(result.plan.facts),
        "captured_once": verdict.once,
        "captured_more_than_once": {excuse: verdict.doubled[excuse] for excuse in EXCUSES},
        "parked": {"expected": dict(verdict.expected_parked), "found": dict(verdict.parked)},
        "lost": verdict.lost,
        "unexplained": verdict.unexplained,
        "wrong": verdict.wrong,
        "parked_in_error": verdict.misplaced,
        "uncertain_and_redriven": result.redriven,
        "troubles": list(result.troubles),
        "sends": dict(result.sends),
        "faults": dict(result.faults),
        "answers": dict(result.answers),
        "outcomes": dict(result.outcomes),
        "kills": result.kills,
        "deaths": result.deaths,
        "busiest_second": result.busiest,
        "limit_per_second": result.limit,
        "longest_claim": result.longest_claim,
        "drained_after": result.drained,
        "duration": round(result.duration, 1),
    }


def show(result: Result, console: Console) -> None:
    """A table on a terminal, plain lines elsewhere, and what went wrong by name."""
    told = ", revenue as payments" if result.options.payments else ""
    title = f"chaos, seed {result.options.seed}{told}: {'passed' if result.passed else 'FAILED'}"
    if console.is_terminal:
        table = Table(title=title, show_header=False)
        for name, value in rows(result):
            table.add_row(name, value)
        console.print(table)
    else:
        console.print(title)
        for name, value in rows(result):
            console.print(f"  {name:<52} {value}", highlight=False, soft_wrap=True, markup=False)
    for problem in (*result.verdict.guilty, *result.troubles)[:_SHOWN]:
        console.print(f"! {problem}", highlight=False, soft_wrap=True, markup=False)


def rows(result: Result) -> Iterator[Row]:
    """What the table says."""
    verdict = result.verdict
    yield "facts", str(len(result.plan.facts))
    yield "webhooks about them", str(result.plan.webhooks)
    yield "copies sent", str(len(result.plan.sendings))
    yield "answers to them", _list(result.sends)
    yield "captured once", str(verdict.once)
    yield "captured more than once", str(sum(verdict.doubled.values()))
    for excuse in reversed(EXCUSES):
        yield f"  {excuse}", _zero(verdict.doubled[excuse], excuse == UNEXPLAINED)
    for reason in sorted({*verdict.expected_parked, *verdict.parked}):
        found, expected = verdict.parked[reason], verdict.expected_parked[reason]
        yield f"parked: {reason}", f"{found} of {expected}"
    yield "parked as uncertain and redriven", str(result.redriven)
    yield "parked in error", _zero(len(verdict.misplaced))
    yield "wrong amount, currency, user or name", _zero(len(verdict.wrong))
    yield "lost", _zero(len(verdict.lost))
    yield "other troubles", _zero(len(result.troubles))
    yield from _weather(result)


def _weather(result: Result) -> Iterator[Row]:
    total = sum(result.answers.values())
    limited = result.answers.get("429", 0)
    yield "faults injected", str(sum(result.faults.values()))
    for kind, count in _by_kind(result.faults):
        yield f"  {kind}", str(count)
    yield "workers killed / died in all", f"{result.kills} / {result.deaths}"
    yield "requests to Linkrunner", f"{total} ({_list(result.answers)})"
    yield "  answered 429", f"{limited / total:.0%}" if total else "none"
    yield "  most in any second", f"{result.busiest} (limit {result.limit:.0f})"
    drained = "never" if result.drained is None else f"{result.drained:.1f} s"
    yield "drained after everything had healed", drained
    yield "longest time a fact was in hand", f"{result.longest_claim:.1f} s (lease {HELD} s)"
    yield "duration", f"{result.duration:.0f} s"


def _by_kind(faults: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    kinds: dict[str, int] = {}
    for name, count in faults.items():
        kind = name.partition(": ")[2]
        kinds[kind] = kinds.get(kind, 0) + count
    return sorted(kinds.items())


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))


def _zero(count: int, must: bool = True) -> str:
    return f"{count} (must be 0)" if must else str(count)
