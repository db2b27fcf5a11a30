"""Whose the providers' ids are: what signed webhooks said about subscriptions, contracts and customers.

A link is learned from a user that the ladder found in a body, and never from another link. The newest word
wins: a person logs out, and another buys under the same customer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from linkrunner_webhooks.rows import InTheWay, Item, Rows, number


class Links:
    """Every method raises Unavailable when DynamoDB does not answer. Links are kept for `kept` seconds."""

    def __init__(self, rows: Rows, clock: Callable[[], float], kept: int) -> None:
        self._rows = rows
        self._clock = clock
        self._kept = kept

    def learn(self, key: str, user_id: str, at: float) -> bool:
        """This id is that user's since `at`, in unix seconds. Returns whether it was another user's."""
        known = self._rows.get(key, consistent=False)
        same = known.get("same", {}).get("SS", ())
        moved = [self._link(each, user_id, int(at), known) for each in (key, *same)]
        return any(moved)

    def merge(self, people: Iterable[str]) -> None:
        """These ids are one person's: the newest link of any of them is that of all, now and later."""
        keys = set(people)
        for key in keys:
            self._rows.update(
                key,
                "SET #state = :linked, #expires_at = :expires_at ADD #same :others",
                linked="linked",
                others=keys - {key},
                expires_at=int(self._clock()) + self._kept,
            )
        found = [self._rows.get(key) for key in keys]
        linked = [
            (number(row, "at") or 0, row["user_id"]["S"]) for row in found if "user_id" in row
        ]
        if linked:
            at, user_id = max(linked)
            for key in keys:
                self.learn(key, user_id, at)

    def _link(self, key: str, user_id: str, at: int, known: Item) -> bool:
        theirs, since = known.get("user_id", {}).get("S"), number(known, "at") or 0
        # A read costs a tenth of a write, and repetitions say nothing new.
        if theirs == user_id and since >= at and known["key"]["S"] == key:
            return False
        moved = theirs not in (None, user_id)
        try:
            self._rows.update(
                key,
                "SET #state = :linked, #user_id = :user_id, #at = :at, #expires_at = :expires_at"
                " ADD #relinked :times",
                "attribute_not_exists(#at) OR #at <= :at",
                linked="linked",
                user_id=user_id,
                at=at,
                expires_at=int(self._clock()) + self._kept,
                times=int(moved),
            )
        except InTheWay:
            return False
        return moved
