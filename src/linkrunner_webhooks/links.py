"""Whose the providers' ids are: what signed webhooks said about subscriptions, contracts and customers.

A link is learned from a user that the ladder found in a body, and never from another link. The newer one
wins: a person logs out, and another buys under the same customer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from linkrunner_webhooks.rows import InTheWay, Rows, number


class Links:
    """Every method raises Unavailable when DynamoDB does not answer. Links are kept for `kept` seconds."""

    def __init__(self, rows: Rows, clock: Callable[[], float], kept: int) -> None:
        self._rows = rows
        self._clock = clock
        self._kept = kept

    def learn(self, people: Iterable[str], user_id: str, at: float) -> int:
        """These ids are that user's since `at`, in unix seconds. Returns how many were another user's."""
        return sum(self._link(key, user_id, int(at)) for key in people)

    def merge(self, people: Iterable[str]) -> None:
        """These ids are one person's: the newest link of any of them is that of all."""
        keys = tuple(people)
        found = [self._rows.get(key) for key in keys]
        linked = [
            (number(row, "at") or 0, row["user_id"]["S"]) for row in found if "user_id" in row
        ]
        if linked:
            at, user_id = max(linked)
            self.learn(keys, user_id, at)

    def _link(self, key: str, user_id: str, at: int) -> bool:
        # A read costs a tenth of a write, and most of what is read is known already.
        known = self._rows.get(key, consistent=False)
        theirs, now = known.get("user_id", {}).get("S"), int(self._clock())
        if theirs == user_id and (number(known, "expires_at") or 0) > now + self._kept / 2:
            return False
        moved = theirs not in (None, user_id)
        try:
            self._rows.update(
                key,
                "SET #state = :linked, #user_id = :user_id, #at = :at, #expires_at = :expires_at"
                " ADD #relinked :times",
                "attribute_not_exists(#key) OR #at <= :at",
                linked="linked",
                user_id=user_id,
                at=at,
                expires_at=now + self._kept,
                times=int(moved),
            )
        except InTheWay:
            return False
        return moved
