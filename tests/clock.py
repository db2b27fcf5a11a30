"""A clock that is set by hand."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds that pass when told to, or when somebody sleeps."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, duration: float) -> None:
        """Let the time pass at once."""
        self.slept.append(duration)
        self.now += duration
