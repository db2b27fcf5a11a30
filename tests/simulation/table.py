"""The ledger's table in memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

Item = Mapping[str, Mapping[str, Any]]


@dataclass
class FakeTable:
    """The part of DynamoDB that the ledger rests on: conditional writes to single items, one at a time."""

    items: dict[str, Item] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get_item(self, **arguments: Any) -> dict[str, Any]:
        with self._lock:
            self.calls.append("get_item")
            found = self.items.get(arguments["Key"]["key"]["S"])
            return {"Item": dict(found)} if found else {}

    def batch_get_item(self, **arguments: Any) -> dict[str, Any]:
        ((table, asked),) = arguments["RequestItems"].items()
        assert len(asked["Keys"]) <= 100
        found = [self.items.get(each["key"]["S"]) for each in asked["Keys"]]
        return {"Responses": {table: [dict(item) for item in found if item]}}

    def query(self, **arguments: Any) -> dict[str, Any]:
        """One day of the index."""
        assert arguments["IndexName"] == "by_day"
        values = arguments["ExpressionAttributeValues"]
        found = [each for each in self.items.values() if each.get("day") == values[":day"]]
        last = values.get(":until", {"S": "~"})["S"]
        until = [each for each in found if each["who"]["S"] <= last]
        return {"Items": [dict(each) for each in sorted(until, key=lambda each: each["who"]["S"])]}

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        key = arguments["Key"]["key"]["S"]
        with self._lock:
            self.calls.append("update_item")
            before = self.items.get(key, {})
            _check(before, arguments)
            after = {"key": {"S": key}, **before}
            for change in _changes(arguments["UpdateExpression"]):
                _apply(change, after, arguments)
            self.items[key] = after
            returned = after if arguments["ReturnValues"] == "ALL_NEW" else before
            return {"Attributes": dict(returned)} if returned else {}


def _changes(expression: str) -> Iterator[tuple[str, str, str]]:
    """`SET #a = :b, #c = :d ADD #e :f` as (what is done, attribute, value), one after the other."""
    for part in re.split(r"\s*\b(?=(?:SET|ADD|DELETE|REMOVE)\b)", expression.strip()):
        if part:
            action, _, rest = part.partition(" ")
            for change in re.split(r",(?![^(]*\))", rest):
                name, *value = change.replace("=", " ").split()
                yield action, name, " ".join(value)


def _apply(
    change: tuple[str, str, str], item: dict[str, Any], arguments: Mapping[str, Any]
) -> None:
    action, name, value = change
    name = arguments["ExpressionAttributeNames"][name]
    if action == "REMOVE":
        item.pop(name, None)
        return
    if value.startswith("if_not_exists("):
        if name in item:
            return
        value = value.rpartition(" ")[2].removesuffix(")")
    given = arguments["ExpressionAttributeValues"][value]
    if action == "SET":
        item[name] = given
    elif "N" in given:
        item[name] = {"N": str(int(item.get(name, {"N": 0})["N"]) + int(given["N"]))}
    else:
        have, some = set(item.get(name, {}).get("SS", ())), set(given["SS"])
        left = have | some if action == "ADD" else have - some
        item.pop(name, None)
        # DynamoDB has no empty sets.
        item.update({name: {"SS": sorted(left)}} if left else {})


def _check(item: Item, arguments: Mapping[str, Any]) -> None:
    condition = arguments.get("ConditionExpression")
    if condition and not any(_holds(clause, item, arguments) for clause in condition.split(" OR ")):
        answer: dict[str, Any] = {"Error": {"Code": "ConditionalCheckFailedException"}}
        if arguments.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
            answer["Item"] = item
        raise ClientError(answer, "UpdateItem")


def _holds(clause: str, item: Item, arguments: Mapping[str, Any]) -> bool:
    names, values = (
        arguments["ExpressionAttributeNames"],
        arguments.get("ExpressionAttributeValues", {}),
    )
    if clause.startswith("attribute_not_exists("):
        return names[clause.removeprefix("attribute_not_exists(").removesuffix(")")] not in item
    name, operator, value = clause.split()
    have, want = item.get(names[name]), values[value]
    if have is None:
        return False
    return have == want if operator == "=" else int(have["N"]) <= int(want["N"])
