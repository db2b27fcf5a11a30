"""Records of the DynamoDB table: read, written, and changed under a condition, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from linkrunner_webhooks.errors import Reason, Unavailable

Item = Mapping[str, Mapping[str, Any]]

DAY = 24 * 3600
# What was captured, by source and day, and what waits, by when it is due.
INDEX = "by_day"

_OWN_FAULT = ("ValidationException", "SerializationException")


class InTheWay(Exception):
    """The condition of a change is not met; `item` is the record as it is."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item


class Rows:
    """The table. Every method raises Unavailable when DynamoDB does not answer.

    `away_at` is when it last did not; `returned` is called when it answers again.
    """

    def __init__(self, client: Any, table: str, clock: Callable[[], float]) -> None:
        self.away_at = float("-inf")
        self.returned: Callable[[], None] = lambda: None
        self._client = client
        self._table = table
        self._clock = clock
        self._is_away = False

    def get(self, key: str, *, consistent: bool = True) -> Item:
        """One record as it is now, or was a moment ago; empty when there is none."""
        answer = self._call("get_item", Key={"key": {"S": key}}, ConsistentRead=consistent)
        item: Item = answer.get("Item", {})
        return item

    def of_day(self, day: str, *, until: str) -> Iterator[Item]:
        """The records of a day in the index, as they were a moment ago, in the order of `who`."""
        asked: dict[str, Any] = {
            "IndexName": INDEX,
            "KeyConditionExpression": "#day = :day AND #who <= :until",
            "ExpressionAttributeNames": {"#day": "day", "#who": "who"},
            "ExpressionAttributeValues": {":day": {"S": day}, ":until": {"S": until}},
        }
        while True:
            answer = self._call("query", **asked)
            yield from answer["Items"]
            if not (more := answer.get("LastEvaluatedKey")):
                return
            asked["ExclusiveStartKey"] = more

    def update(
        self,
        key: str,
        expression: str,
        condition: str = "",
        returns: str = "ALL_OLD",
        **values: str | int | set[str],
    ) -> Item:
        """Change one record; `#name` is the attribute of that name. Raises InTheWay."""
        words = f"{expression} {condition}".replace("(", " ").replace(")", " ").replace(",", " ")
        names = {word: word[1:] for word in words.split() if word.startswith("#")}
        conditional = {
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        answer = self._call(
            "update_item",
            Key={"key": {"S": key}},
            UpdateExpression=expression,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={f":{name}": _typed(value) for name, value in values.items()},
            ReturnValues=returns,
            **(conditional if condition else {}),
        )
        item: Item = answer.get("Attributes", {})
        return item

    def note(self, key: str, more: str, *, expires_at: int, **values: str | int | set[str]) -> Item:
        """Note something, though the record may not be there yet: then nobody has it in hand.

        Returns it as it is now. `more` goes on from a SET.
        """
        return self.update(
            key,
            "SET #state = if_not_exists(#state, :free), #until = if_not_exists(#until, :now),"
            f" #expires_at = :expires_at{more}",
            # Named, because `values` could be it.
            condition="",
            returns="ALL_NEW",
            free="free",
            now=int(self._clock()),
            expires_at=expires_at,
            **values,
        )

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Raises InTheWay when its condition was refused, Unavailable for everything else."""
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(
                TableName=self._table, **arguments
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "ConditionalCheckFailedException":
                raise InTheWay(error.response.get("Item", {})) from None
            message = f"the ledger answered {code}"
            # What is wrong with one request is no trouble that the next message shares.
            if code in _OWN_FAULT:
                raise Unavailable(message, reason=Reason.INTERNAL) from None
            raise self._away(message) from None
        except BotoCoreError as error:
            message = f"the ledger did not answer: {type(error).__name__}"
            raise self._away(message) from None
        if self._is_away:
            self._is_away = False
            self.returned()
        return answer

    def _away(self, message: str) -> Unavailable:
        self.away_at = self._clock()
        self._is_away = True
        return Unavailable(message, reason=Reason.LEDGER)


def _typed(value: str | int | set[str]) -> dict[str, Any]:
    if isinstance(value, set):
        return {"SS": sorted(value)}
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def is_done(item: Item) -> bool:
    """Whether the record is of something captured."""
    return text(item, "state") == "done"


def fact_of(item: Item) -> str:
    """The key that remembers what was sent."""
    return text(item, "fact") or str(item["key"]["S"])


def number(item: Item, name: str) -> float | None:
    """The number of that name, where the record has it."""
    found = item.get(name, {}).get("N")
    return None if found is None else float(found)


def text(item: Item, name: str) -> str | None:
    """The text of that name, where the record has it."""
    found: str | None = item.get(name, {}).get("S")
    return found


def texts(item: Item, name: str) -> set[str]:
    """The texts of that name, or none."""
    return set(item.get(name, {}).get("SS", ()))
