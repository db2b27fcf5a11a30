"""Whom Linkrunner knows, and what waits for somebody whom it does not know yet.

A user has one row. It says whether the user is known and names what waits, so that a signup and an event that
meet cannot miss each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.rows import DAY, Item, Rows, text, texts

USER = "@user|"
EVENT = "@waiting|"
# In the index by day, sorted by when it is due.
DUE = "@waiting"
# What waits for one user is bounded: nobody buys that often before a first login.
MOST = 500
# DynamoDB takes rows of 400 KB. Messages are ASCII.
_LONGEST = 200_000
# Rows stay for so many seconds after they were due.
_LATE = 60 * DAY


class Waits(NamedTuple):
    """An event that waits: its name here, whose it is, and the message that it becomes again."""

    mark: str
    user_id: str
    message: str


class Waiting:
    """Every method raises Unavailable when DynamoDB does not answer. Users are known for `kept` seconds."""

    def __init__(self, rows: Rows, clock: Callable[[], float], kept: int) -> None:
        self._rows = rows
        self._clock = clock
        self._kept = kept

    def is_known(self, user_id: str) -> bool:
        """Whether Linkrunner is known to know this user."""
        return text(self._rows.get(USER + user_id), "state") == "known"

    def know(self, user_id: str) -> tuple[Waits, ...]:
        """Linkrunner knows this user. Returns what has waited for that, in the order in which it came."""
        row = self._rows.update(
            USER + user_id,
            "SET #state = :known, #user_id = :user_id, #expires_at = :expires_at",
            returns="ALL_NEW",
            known="known",
            user_id=user_id,
            expires_at=int(self._clock()) + self._kept,
        )
        found = [self._rows.get(EVENT + mark) for mark in texts(row, "waiting")]
        waiting = sorted(
            (each for each in found if "message" in each), key=lambda each: text(each, "at") or ""
        )
        return tuple(_waits(each) for each in waiting)

    def hold(self, mark: str, user_id: str, message: str, keys: Iterable[str], days: int) -> bool:
        """Keep an event until its user is known, for so many days. False: send it, it cannot wait.

        Its `keys` tell others whose it is meanwhile: a refund that names nobody.
        """
        if len(message) > _LONGEST:
            return False
        moment = datetime.fromtimestamp(self._clock(), UTC)
        now = int(moment.timestamp())
        due = moment + timedelta(days=days)
        self._rows.update(
            EVENT + mark,
            # Another report of it does not begin anew.
            "SET #state = :waits, #user_id = :user_id, #day = :day,"
            " #message = if_not_exists(#message, :message), #at = if_not_exists(#at, :at),"
            " #until = if_not_exists(#until, :until), #who = if_not_exists(#who, :who),"
            " #expires_at = if_not_exists(#expires_at, :expires_at)",
            waits="waits",
            message=message,
            user_id=user_id,
            at=utc(moment, "microseconds"),
            until=int(due.timestamp()),
            day=DUE,
            who=f"{utc(due)}|{mark}",
            expires_at=int(due.timestamp()) + _LATE,
        )
        row = self._rows.update(
            USER + user_id,
            "SET #state = if_not_exists(#state, :unknown), #user_id = :user_id,"
            " #expires_at = :expires_at ADD #waiting :waiting",
            returns="ALL_NEW",
            unknown="unknown",
            user_id=user_id,
            expires_at=now + self._kept,
            waiting={mark},
        )
        if text(row, "state") == "known" or len(texts(row, "waiting")) > MOST:
            self.release(Waits(mark, user_id, message))
            return False
        for key in keys:
            self._rows.note(
                key,
                ", #user_id = if_not_exists(#user_id, :user_id) ADD #waits :waits",
                expires_at=now + self._kept,
                user_id=user_id,
                waits={mark},
            )
        return True

    def release(self, event: Waits) -> None:
        """It waits no more."""
        self._rows.update(
            EVENT + event.mark,
            "SET #state = :gone, #expires_at = :now REMOVE #message, #day, #who, #user_id, #at, #until",
            gone="gone",
            now=int(self._clock()),
        )
        self._rows.update(USER + event.user_id, "DELETE #waiting :waiting", waiting={event.mark})

    def due(self) -> Iterator[Waits]:
        """What has waited for long enough, the longest first."""
        now = utc(datetime.fromtimestamp(self._clock(), UTC))
        for row in self._rows.of_day(DUE, until=now):
            if "message" in row:
                yield _waits(row)


def _waits(row: Item) -> Waits:
    mark = row["key"]["S"].removeprefix(EVENT)
    return Waits(mark, row["user_id"]["S"], row["message"]["S"])
