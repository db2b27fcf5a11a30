"""The table of faults, and how one is planted."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path(__file__).parent / "faults.toml"


@dataclass(frozen=True, slots=True)
class Fault:
    """One change of today's code that brings a fault back. `seen_by` are the tests that must fail then."""

    name: str
    kind: str
    file: str
    old: str
    new: str
    seen_by: tuple[str, ...]

    def planted(self, sound: str) -> str:
        """The text of the file with the fault. Raises ValueError when there is not one place for it."""
        if sound.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: its place is {sound.count(self.old)} times in {self.file}"
            )
        return sound.replace(self.old, self.new)


def faults() -> Iterator[Fault]:
    """All of them, as faults.toml has them."""
    for name, table in tomllib.loads(_TABLE.read_text("utf-8")).items():
        seen_by = tuple(table["seen_by"])
        yield Fault(name, table["kind"], table["file"], table["old"], table["new"], seen_by)


def in_words(tests: Sequence[str]) -> str:
    """Tests as a list for people."""
    return ", ".join(f"`{test}`" for test in tests)
