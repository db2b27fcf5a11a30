"""The claims table in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

Item = Mapping[str, Mapping[str, str]]


@dataclass
class FakeTable:
    """The part of DynamoDB that claims rest on: conditional writes to single items, one at a time."""

    items: dict[str, Item] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get_item(self, **arguments: Any) -> dict[str, Any]:
        assert arguments["ConsistentRead"] is True
        with self._lock:
            self.calls.append("get_item")
            found = self.items.get(arguments["Key"]["key"]["S"])
            return {"Item": dict(found)} if found else {}

    def put_item(self, **arguments: Any) -> dict[str, Any]:
        item = arguments["Item"]
        assert all(len(value) == 1 for value in item.values())
        with self._lock:
            self.calls.append("put_item")
            self._check(item["key"]["S"], arguments)
            self.items[item["key"]["S"]] = item
            return {}

    def delete_item(self, **arguments: Any) -> dict[str, Any]:
        key = arguments["Key"]["key"]["S"]
        with self._lock:
            self.calls.append("delete_item")
            self._check(key, arguments)
            self.items.pop(key, None)
            return {}

    def _check(self, key: str, arguments: Mapping[str, Any]) -> None:
        condition, item = arguments.get("ConditionExpression"), self.items.get(key, {})
        if condition and not any(
            _holds(clause, item, arguments) for clause in condition.split(" OR ")
        ):
            answer: dict[str, Any] = {"Error": {"Code": "ConditionalCheckFailedException"}}
            if arguments.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
                answer["Item"] = item
            raise ClientError(answer, "PutItem")


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
