"""How long ago that happened which is sent now. Linkrunner takes no time: it counts on the day it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.output import ago

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)


def happened_at(letter: Letter, forecast: Decision) -> datetime:
    """When the first of its events happened, or else when it was parked."""
    told = (each.sent.get("occurred_at") for each in forecast.planned)
    return min(map(datetime.fromisoformat, filter(None, told)), default=letter.parked_at)


class Ages:
    """The ages of what would be sent now."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)
        self._oldest = timedelta(0)
        self._over_a_day = self._over_a_week = 0

    def add(self, happened: datetime) -> None:
        age = self._now - happened
        self._oldest = max(self._oldest, age)
        self._over_a_day += age > _DAY
        self._over_a_week += age > _WEEK

    def summary(self) -> dict[str, Any]:
        """For programs."""
        return {
            "over_a_day": self._over_a_day,
            "over_a_week": self._over_a_week,
            "oldest_seconds": int(self._oldest.total_seconds()),
        }

    def lines(self, otherwise: str) -> Iterator[str]:
        """For people, and only where it makes a difference; `otherwise` says how to leave what is older."""
        if self._over_a_day:
            weeks = f", {self._over_a_week} over a week" if self._over_a_week else ""
            oldest = ago(self._oldest)
            yield (
                f"{self._over_a_day} happened over a day ago{weeks} (the oldest {oldest}): Linkrunner counts "
                f"them on the day they are sent. {otherwise}"
            )
