"""What processes that may die at any moment have done, in one append-only file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Journal:
    """One write per line, straight to the kernel: what was noted survives the process that noted it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, **details: object) -> None:
        """Add one line."""
        os.write(self._descriptor, json.dumps({"what": what, **details}).encode() + b"\n")

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)


def entries(path: Path) -> Iterator[Entry]:
    """Every line, in the order of writing."""
    with path.open("rb") as lines:
        yield from map(json.loads, lines)
