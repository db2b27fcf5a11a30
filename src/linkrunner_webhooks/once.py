"""Every economic fact once: claims in a DynamoDB table.

A claim is a lease with an owner. It is released when the work fails, runs out when the worker dies, and is
kept as done for 35 days when it succeeded: longer than a message can live in the queues (14 days each) and
longer than any provider repeats itself.

A done claim stores the user: a refund often names no user, but its payment did.

A fact can have several keys, because no single report of it names all its ids. If one key is done, the event
is a duplicate; its other keys are stored as done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from linkrunner_webhooks.errors import Reason, Unavailable

# Seconds: longer than the slowest capture. A killed worker delays another report of its fact for so long.
LEASE = 120
KEPT = 35 * 24 * 3600
# Seconds after a failure in which a payment can still be on its way: longer than the longest delay.
TROUBLE = 2 * 3600
_TROUBLE_KEY = "trouble"
_NOTE_EVERY = 60


_OWN_FAULT = ("ValidationException", "SerializationException")


class Standing(Enum):
    """The result of a claim."""

    OURS = "ours"
    DONE = "done"
    BUSY = "busy"


class _InTheWay(Exception):
    """Another record holds the key; `state` is the state of that record."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


class Claims:
    """The table. Every method raises Unavailable when DynamoDB does not answer."""

    def __init__(
        self,
        client: Any,
        table: str,
        *,
        clock: Callable[[], float] = time.time,
        lease: int = LEASE,
    ) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._lease = lease
        self._noted_at = 0
        self._away_at = float("-inf")

    def claim(self, keys: Iterable[str], owner: str) -> Standing:
        """Take every key, or none: OURS to work on, DONE before, or BUSY in another worker's hands."""
        # The same order everywhere, so that two workers never hold half of the keys each.
        ordered = sorted(set(keys))
        taken: list[str] = []
        try:
            for key in ordered:
                standing = self._take(key, owner)
                if standing is Standing.DONE:
                    return self._learn(key, ordered, taken, owner)
                if standing is Standing.BUSY:
                    self.release(taken, owner)
                    return standing
                taken.append(key)
        except Unavailable:
            with suppress(Unavailable):
                self.release(taken, owner)
            raise
        return Standing.OURS

    def complete(self, keys: Iterable[str], user_id: str) -> None:
        """The fact is captured for that user, even if another worker holds a lease on it by now."""
        expires_at = int(self._clock()) + KEPT
        for key in keys:
            done = _item(key, "done", "", expires_at, expires_at) | {"user_id": {"S": user_id}}
            self._call("put_item", Item=done)

    def user_of(self, keys: Iterable[str]) -> str | None:
        """The user of a captured fact with any of these keys: for a refund, the user who paid."""
        found = (self._get(key).get("user_id", {}).get("S") for key in keys)
        return next((user_id for user_id in found if user_id), None)

    def note_trouble(self) -> None:
        """Note for all workers, once a minute, that Linkrunner is out of reach and payments come late."""
        now = int(self._clock())
        if now - self._noted_at >= _NOTE_EVERY:
            until = now + TROUBLE
            self._call("put_item", Item=_item(_TROUBLE_KEY, "noted", "", until, until))
            self._noted_at = now

    def in_trouble(self) -> bool:
        """Whether an unknown payment may still wait in the queue."""
        noted = self._get(_TROUBLE_KEY)
        # While the table was away nobody could write anything into it.
        away = self._clock() - self._away_at < TROUBLE
        return away or int(noted.get("until", {}).get("N", 0)) > self._clock()

    def release(self, keys: Iterable[str], owner: str) -> None:
        """Release the keys, except those that another worker has taken over."""
        for key in keys:
            with suppress(_InTheWay):
                self._call(
                    "delete_item",
                    Key={"key": {"S": key}},
                    ConditionExpression="#owner = :owner",
                    ExpressionAttributeNames={"#owner": "owner"},
                    ExpressionAttributeValues={":owner": {"S": owner}},
                )

    def _learn(self, done: str, keys: list[str], taken: list[str], owner: str) -> Standing:
        """Store the other keys of a done fact as done, so that later reports by those keys are duplicates.

        BUSY while another worker holds one of them: then the message is tried again.
        """
        user_id = self.user_of([done]) or ""
        others = [key for key in keys if key != done]
        found = {key: Standing.OURS if key in taken else self._take(key, owner) for key in others}
        self.complete((key for key in others if found[key] is Standing.OURS), user_id)
        return Standing.BUSY if Standing.BUSY in found.values() else Standing.DONE

    def _take(self, key: str, owner: str) -> Standing:
        now = int(self._clock())
        try:
            self._call(
                "put_item",
                Item=_item(key, "claimed", owner, now + self._lease, now + self._lease + 3600),
                # TTL deletes late, so a record past its time counts as gone.
                # Our own lease is there already when botocore repeats a request whose answer was lost.
                ConditionExpression=(
                    "attribute_not_exists(#key) OR #until <= :now OR #owner = :owner"
                ),
                ExpressionAttributeNames={"#key": "key", "#until": "until", "#owner": "owner"},
                ExpressionAttributeValues={":now": {"N": str(now)}, ":owner": {"S": owner}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except _InTheWay as error:
            return Standing.DONE if error.state == "done" else Standing.BUSY
        return Standing.OURS

    def _get(self, key: str) -> dict[str, Any]:
        answer = self._call("get_item", Key={"key": {"S": key}}, ConsistentRead=True)
        return dict(answer.get("Item", {}))

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Raises _InTheWay when its condition was refused, Unavailable for everything else."""
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(
                TableName=self._table, **arguments
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "ConditionalCheckFailedException":
                item = error.response.get("Item", {})
                raise _InTheWay(item.get("state", {}).get("S", "")) from None
            message = f"the claims table answered {code}"
            # What is wrong with one request is no trouble that the next message shares.
            if code in _OWN_FAULT:
                raise Unavailable(message, reason=Reason.INTERNAL) from None
            raise self._away(message) from None
        except BotoCoreError as error:
            message = f"the claims table did not answer: {type(error).__name__}"
            raise self._away(message) from None
        return answer

    def _away(self, message: str) -> Unavailable:
        self._away_at = self._clock()
        return Unavailable(message, reason=Reason.CLAIMS)


def _item(key: str, state: str, owner: str, until: int, expires_at: int) -> dict[str, Any]:
    return {
        "key": {"S": key},
        "state": {"S": state},
        "owner": {"S": owner},
        "until": {"N": str(until)},
        "expires_at": {"N": str(expires_at)},
    }
