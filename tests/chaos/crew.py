"""The worker processes: started, killed, found dead, started again, and gone when the block ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos.worker import Orders

from linkrunner_webhooks_local.project import ROOT

# What a worker that was killed, by others or by its own fault, ends with.
_KILLED = frozenset({9, -signal.SIGKILL})


@dataclass
class Crew:
    """`size` workers with the same orders under names of their own. `dead` holds who died how."""

    size: int
    orders: Orders
    log: Path
    dead: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    _started: int = 0
    _alive: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def crashes(self) -> dict[str, int]:
        """Who ended in a way nobody wanted."""
        return {name: code for name, code in self.dead.items() if code not in _KILLED}

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep workers while the block runs; none outlives it, however it ends."""
        try:
            self.tend()
            yield
        finally:
            self._stop()

    def tend(self) -> None:
        """Bury the dead and start others in their place."""
        for name, process in list(self._alive.items()):
            if (code := process.poll()) is not None:
                self._bury(name, code)
        while len(self._alive) < self.size:
            self._start()

    def kill_one(self, dice: random.Random) -> None:
        """SIGKILL, as from a host that goes away."""
        self.kills += 1
        self._alive[dice.choice(sorted(self._alive))].kill()

    def _start(self) -> None:
        self._started += 1
        name = f"w{self._started}"
        with self.log.open("ab") as log:
            self._alive[name] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.chaos.worker",
                    replace(self.orders, name=name).text(),
                ],
                # It ends with this process, however that ends: then its standard input does.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                # A Ctrl-C is the supervisor's to handle.
                start_new_session=True,
                env={key: value for key, value in os.environ.items() if "AWS" not in key},
            )

    def _bury(self, name: str, code: int) -> None:
        self.dead[name] = code
        process = self._alive.pop(name)
        assert process.stdin is not None
        process.stdin.close()

    def _stop(self) -> None:
        for process in self._alive.values():
            process.kill()
        for process in self._alive.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            assert process.stdin is not None
            process.stdin.close()
        self._alive.clear()
