"""The output of commands: tables for people, JSON for programs, messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

# In the context of a command line: whether it still owes a JSON document.
_OWED = f"{__name__}.owed"

_out = Console()
_err = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """A message for people, on stderr."""
    _err.print(message, markup=False, soft_wrap=True)


def promise_json(context: click.Context, parameter: click.Parameter, wanted: bool) -> bool:
    """The callback of --json: from now on there is one JSON document on stdout, also of a failure."""
    context.meta[_OWED] = wanted
    return wanted


def write_failure(context: click.Context, message: str) -> None:
    """The document of a command that failed before it wrote one, where --json promised one."""
    if context.meta.get(_OWED):
        write_json({"error": message})


def _kept_the_promise() -> None:
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_OWED] = False


def write_json(value: Any) -> None:
    """One JSON document on stdout."""
    _kept_the_promise()
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_json_array(values: Iterable[Any]) -> None:
    """A JSON array on stdout, one line per value, never held in memory whole."""
    before = "[\n"
    for value in values:
        _kept_the_promise()
        sys.stdout.write(before + json.dumps(value, ensure_ascii=False))
        before = ",\n"
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")
    # A pipe that is closed is met here, where click ends quietly, and not when Python shuts down.
    sys.stdout.flush()


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout. Into a pipe it is never cut to the width of a terminal that is not there."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # As text: `[stripe.events]` is no markup.
        table.add_row(*map(Text, row))
    console = _out if _out.is_terminal else Console(width=200)
    console.print(table)


def write_text(text: str) -> None:
    """Plain lines on stdout."""
    sys.stdout.write(text + "\n")


def progress(what: str, values: Iterable[T], total: int | None) -> Iterator[T]:
    """The values, with a bar on stderr while there is a terminal to see it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err, transient=True, disable=not _err.is_terminal) as bar:
        yield from bar.track(values, total=total, description=what)


def confirm(question: str) -> None:
    """Ask a person. Raises Abort unless they say yes."""
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        say("Nothing was changed; --yes does not ask.")
        raise


def counted(number: int, what: str) -> str:
    """`1 webhook`, `2 webhooks`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def ago(span: timedelta) -> str:
    """An age in one unit: `45 s`, `12 min`, `5 h`, `3 d`."""
    seconds = max(int(span.total_seconds()), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
