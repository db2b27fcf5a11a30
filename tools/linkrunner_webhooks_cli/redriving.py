"""Putting parked messages back into the queue: which go, which would only park again, how old they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.ages import Ages, happened_at


@dataclass(slots=True)
class Redriven:
    """What was moved, what was left by the reason for which it would park again, and what was too old."""

    moved: int = 0
    left: Counter[str] = field(default_factory=Counter)
    older: int = 0
    ages: Ages = field(default_factory=Ages)

    def summary(self, *, dry_run: bool) -> dict[str, Any]:
        """For programs."""
        return {
            "moved": self.moved,
            "dry_run": dry_run,
            "left": dict(self.left),
            "older": self.older,
            "ages": self.ages.summary(),
        }


def redriven(
    letters: Iterable[Letter],
    foretell: Callable[[Letter], Decision],
    move: Callable[[Letter, bool], None],
    *,
    force: bool = False,
    not_before: datetime | None = None,
) -> Redriven:
    """Move what would not park again; with `force` that, too, which `move` is told."""
    done = Redriven()
    for letter in letters:
        forecast = foretell(letter)
        if forecast.would_park and not force:
            done.left[forecast.reason] += 1
            continue
        happened = happened_at(letter, forecast)
        if not_before and happened < not_before:
            done.older += 1
            continue
        if forecast.outcome is not Outcome.DUPLICATE:
            done.ages.add(happened)
        move(letter, forecast.would_park)
        done.moved += 1
    return done
