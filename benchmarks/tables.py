"""How results are shown: a table on the terminal, the same as Markdown, and a bar while one waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One line; the ratio is ours to the alternative, and the goal is its upper limit."""

    title: str
    value: str
    ratio: str = ""
    goal: float | None = None

    @property
    def verdict(self) -> str:
        if self.goal is None or not self.ratio:
            return ""
        reached = float(self.ratio) <= self.goal
        return f"{'yes' if reached else 'NO'} (<= {self.goal:.2f})"

    @property
    def cells(self) -> tuple[str, ...]:
        return self.title, self.value, self.ratio, self.verdict


@dataclass(frozen=True, slots=True)
class Section:
    """One measurement: a heading, three column titles and its rows."""

    title: str
    columns: tuple[str, str, str]
    rows: tuple[Row, ...]
    note: str = ""

    def show(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left", caption=self.note or None)
        for column in (*self.columns, "goal"):
            table.add_column(column, justify="left" if column == "" else "right")
        for row in self.rows:
            table.add_row(*row.cells)
        console.print(table)

    def markdown(self) -> str:
        head = [f"| {' | '.join((*self.columns, 'goal'))} |", "| --- | ---: | ---: | --- |"]
        rows = [f"| {' | '.join(row.cells)} |" for row in self.rows]
        note = ["", self.note] if self.note else []
        return "\n".join([f"### {self.title}", "", *head, *rows, *note, ""])


@dataclass(frozen=True, slots=True)
class Progress:
    console: Console

    def over(self, values: Sequence[T] | Iterable[T], title: str) -> Iterator[T]:
        """The values, with a bar."""
        yield from track(list(values), title, console=self.console, transient=True)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def us(seconds: float) -> str:
    return f"{1_000_000 * seconds:.0f} us"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
