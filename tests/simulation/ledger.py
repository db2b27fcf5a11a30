"""Which captures were noted: what was not may rightly be captured again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.clock import SimClock, Task
from tests.simulation.linkrunner import Captured
from tests.simulation.table import FakeTable


@dataclass
class Ledger:
    """How often each fact was captured without a note of it: so often it may rightly be captured again.

    Kept by looking at what happened, not at what the code believes: which task holds which leases when its
    event is taken, and whether it then notes every one of these keys.
    """

    clock: SimClock
    table: FakeTable
    unnoted: Counter[tuple[str, str]] = field(default_factory=Counter)
    _leases: dict[Task | None, tuple[str, set[str]]] = field(default_factory=dict)
    _open: dict[Task | None, tuple[tuple[str, str], set[str]]] = field(default_factory=dict)

    def taken(self, captured: Captured) -> None:
        task, fact = self.clock.running, captured.fact
        self.unnoted[fact] += 1
        self._open[task] = (fact, self._leases.pop(task)[1])

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        answer = self.table.update_item(**arguments)
        values, task = arguments["ExpressionAttributeValues"], self.clock.running
        if ":claimed" in values:
            key, owner = arguments["Key"]["key"]["S"], values[":owner"]["S"]
            known, keys = self._leases.get(task, ("", set()))
            self._leases[task] = (owner, {key} | (keys if known == owner else set()))
        if values.get(":state") == {"S": "done"} and task in self._open:
            self._noted(task, arguments["Key"]["key"]["S"])
        return answer

    def __getattr__(self, method: str) -> Any:
        return getattr(self.table, method)

    def _noted(self, task: Task | None, key: str) -> None:
        fact, missing = self._open[task]
        missing.discard(key)
        if not missing:
            self.unnoted[fact] -= 1
            del self._open[task]
