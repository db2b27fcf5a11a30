"""What workers tell each other: trouble that delays payments, how often something happened, what came first.

Notes about one message or one signature are kept as long as those can come again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from linkrunner_webhooks.errors import Unavailable
from linkrunner_webhooks.rows import DAY, InTheWay, Rows, number

# Longer than a message lives in the queue.
QUEUED = 15 * DAY
# Seconds after a failure in which a payment can still be on its way: longer than the longest delay.
TROUBLE = 2 * 3600
_NOTE_EVERY = 60
_PREFIX = "@note|"
_TROUBLE = f"{_PREFIX}trouble"
_SILENCE = f"{_PREFIX}silence"
TALLY = f"{_PREFIX}tally|"
SOURCES = f"{_PREFIX}sources"


class Notes:
    """Every method raises Unavailable when DynamoDB does not answer.

    What is bound is kept for `kept` seconds.
    """

    def __init__(self, rows: Rows, clock: Callable[[], float], kept: int) -> None:
        self._rows = rows
        self._clock = clock
        self._kept = kept
        self._noted_at: dict[str, int] = {}
        self._told_at = float("-inf")
        self._sources: set[str] = set()
        rows.returned = self._returned

    def note_trouble(self) -> None:
        """Note for all workers, once a minute, that payments come late: something was out of reach."""
        self._note(_TROUBLE)

    def note_silence(self) -> None:
        """Note for all workers, once a minute, that Linkrunner does not answer."""
        self._note(_SILENCE)

    def _note(self, what: str) -> None:
        now = int(self._clock())
        if now - self._noted_at.get(what, 0) >= _NOTE_EVERY:
            self._rows.update(
                what,
                "SET #state = :noted, #until = :until, #expires_at = :until",
                noted="noted",
                until=now + TROUBLE,
            )
            self._noted_at[what] = now

    def in_trouble(self) -> bool:
        """Whether an unknown payment may still wait in the queue."""
        # While the table was away nobody could write anything into it.
        away = self._clock() - self._rows.away_at < TROUBLE
        return self._holds(_TROUBLE) or away

    def was_silent(self) -> bool:
        """Whether Linkrunner did not answer in the last two hours."""
        return self._holds(_SILENCE)

    def _holds(self, what: str) -> bool:
        return (number(self._rows.get(what), "until") or 0) > self._clock()

    def _returned(self) -> None:
        """Tell the others that the table was away: payments that it held up come late."""
        if self._clock() - self._told_at >= _NOTE_EVERY:
            self._told_at = self._clock()
            with suppress(Unavailable):
                self.note_trouble()

    def count(self, what: str) -> int:
        """Count a thing that happens to one message, and return how often it has happened by now."""
        answer = self._rows.update(
            _PREFIX + what,
            "SET #state = :noted, #expires_at = :expires_at ADD #times :one",
            returns="ALL_NEW",
            noted="noted",
            one=1,
            expires_at=int(self._clock()) + QUEUED,
        )
        return int(number(answer, "times") or 0)

    def forget(self, what: str) -> None:
        """Begin to count anew."""
        self._rows.update(
            _PREFIX + what,
            "SET #times = :zero, #state = :noted, #expires_at = :expires_at",
            zero=0,
            noted="noted",
            expires_at=int(self._clock()) + QUEUED,
        )

    def tally(self, source: str, counts: Mapping[str, int]) -> None:
        """Add to how many webhooks of a source ended how, today."""
        if source not in self._sources:
            # A source that is gone from webhooks.toml has a past all the same.
            self._rows.update(
                SOURCES, "SET #state = :noted ADD #names :names", noted="noted", names={source}
            )
            self._sources.add(source)
        day = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
        added = ", ".join(f"#{name} :{name}" for name in counts)
        numbers: dict[str, Any] = dict(counts)
        self._rows.update(
            f"{TALLY}{source}|{day}",
            f"SET #state = :noted, #expires_at = :expires_at ADD {added}",
            noted="noted",
            expires_at=int(self._clock()) + self._kept,
            **numbers,
        )

    def bound_to(self, name: str) -> str | None:
        """The digest that the name is bound to, if it is."""
        return self._rows.get(_PREFIX + name).get("digest", {}).get("S")

    def bind(self, name: str, digest: str) -> bool:
        """Whether this is the only thing that was ever bound to the name."""
        until = int(self._clock()) + self._kept
        try:
            self._rows.update(
                _PREFIX + name,
                "SET #state = :noted, #digest = :digest, #expires_at = :expires_at",
                "attribute_not_exists(#key) OR #digest = :digest",
                noted="noted",
                digest=digest,
                expires_at=until,
            )
        except InTheWay:
            return False
        return True
