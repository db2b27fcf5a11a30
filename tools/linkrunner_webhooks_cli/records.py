"""What the ledger remembers, as values: captured facts by id, by user and by day.

Nothing here scans the table. Facts in time come from the index by source and day, many days at once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count, islice
from typing import Any

from linkrunner_webhooks.accounts import account_of
from linkrunner_webhooks.config import Source
from linkrunner_webhooks.fact_keys import PERSON
from linkrunner_webhooks.model import Flow, Kind
from linkrunner_webhooks.money import Money, Rate
from linkrunner_webhooks.notes import SOURCES, TALLY
from linkrunner_webhooks.payments import NO_ACCOUNT, Account
from linkrunner_webhooks.rows import INDEX, Rows
from linkrunner_webhooks.waiting import DUE, USER

# DynamoDB reads so many records by their keys in one request.
_MOST_KEYS = 100
# Queries at once: each waits for an answer most of the time. The SDK keeps ten connections.
_READERS = 10
# Seconds, more each time, until DynamoDB is asked for what it was too busy for.
_PAUSE = 0.05
# Every name that the first part of a fact's key can have besides its source's.
_CATEGORIES = (*Flow, *(kind for kind in Kind if kind.flow is None), Kind.SUBSCRIPTION_STARTED)
_PEOPLE = ("subscription", "customer")

_NAMED_BY = {"body": "the body", "payment": "who paid", "link": "a link"}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fact:
    """One captured event, as the ledger remembers it. Times are ISO 8601 in UTC."""

    key: str
    source: str
    kind: str
    event_name: str
    captured_at: str
    user_id: str = ""
    user_from: str = "body"
    user_path: str = ""
    amount: Decimal | None = None
    currency: str = ""
    order_id: str = ""
    subscription_id: str = ""
    event_id: str = ""
    event_type: str = ""
    occurred_at: str = ""
    version: str = ""
    rate: str = ""
    origin: str = ""
    account: Account = NO_ACCOUNT

    @classmethod
    def of(cls, row: Row) -> Fact:
        """From a record that has a day."""
        texts = {name: row[name]["S"] for name in cls.__slots__ if "S" in row.get(name, {})}
        amount = texts.pop("amount", None)
        money = Decimal(amount) if amount else None
        return cls(**texts, amount=money, account=account_of((row,)))

    @property
    def flow(self) -> Flow | None:
        """Which way its money moved."""
        return Kind(self.kind).flow if self.kind in set(Kind) else None

    @property
    def named_by(self) -> str:
        """Who or what named the user."""
        return self.user_path or _NAMED_BY.get(self.user_from, self.user_from)

    @property
    def money(self) -> Money | None:
        return None if self.amount is None else Money(self.amount, self.currency)

    @property
    def told(self) -> Money | None:
        """The amount that Linkrunner was told; of a payment what it holds of it now."""
        rate, now, terms = Rate.read(self.rate), self.account.current, self.account.terms
        money = Money(now.left, terms.currency) if terms and now else self.money
        if money is None or rate is None:
            return money
        return Money(rate.convert(money.amount), rate.into)

    @property
    def day(self) -> str:
        """The day it was captured on, in UTC."""
        return self.captured_at[:10]


class Records:
    """The ledger of a stack, to be read. Errors are the SDK's."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def at(self, keys: Iterable[str]) -> dict[str, Row]:
        """The records with these keys, as far as they are there."""
        rest, batches = iter(dict.fromkeys(keys)), []
        while batch := list(islice(rest, _MOST_KEYS)):
            batches.append(batch)
        found: dict[str, Row] = {}
        with ThreadPoolExecutor(_READERS) as pool:
            for rows in pool.map(self._batch, batches):
                found |= {row["key"]["S"]: row for row in rows}
        return found

    def _batch(self, keys: Sequence[str]) -> list[Row]:
        wanted: dict[str, Any] = {self._table: {"Keys": [{"key": {"S": key}} for key in keys]}}
        rows: list[Row] = []
        # What DynamoDB was too busy for comes back as unprocessed.
        for pause in count(1):
            answer = self._client.batch_get_item(RequestItems=wanted)
            rows += answer["Responses"].get(self._table, [])
            if not (wanted := answer.get("UnprocessedKeys", {})):
                break
            time.sleep(min(pause * _PAUSE, 1.0))
        return rows

    def of_user(self, user: str) -> Iterator[Row]:
        """Every record that names a user, wherever it is. It reads the whole table."""
        asked: dict[str, Any] = {
            "TableName": self._table,
            "FilterExpression": "#user = :user OR begins_with(#who, :who) OR contains(#key, :last)",
            "ExpressionAttributeNames": {"#user": "user_id", "#who": "who", "#key": "key"},
            "ExpressionAttributeValues": {
                ":user": {"S": user},
                ":who": {"S": f"{user}|"},
                ":last": {"S": f"|{user}"},
            },
        }
        return (row for row in _pages(self._client.scan, asked) if _names(row, user))

    def waiting(self) -> Iterator[Row]:
        """What waits for its user to sign up, in the order in which it is due."""
        return _pages(self._client.query, self._listed(DUE))

    def _listed(self, day: str) -> dict[str, Any]:
        """A query for what the index lists under a day, or another name."""
        return {
            "TableName": self._table,
            "IndexName": INDEX,
            "KeyConditionExpression": "#day = :day",
            "ExpressionAttributeNames": {"#day": "day"},
            "ExpressionAttributeValues": {":day": {"S": day}},
        }

    def delete(self, key: str) -> None:
        """Delete one record."""
        self._client.delete_item(TableName=self._table, Key={"key": {"S": key}})

    def erase(self, row: Row) -> None:
        """Take the user and what leads to them from a fact. That it was captured, and how much, stays."""
        gone = "user_id, order_id, subscription_id, event_id, user_from, user_path, #data"
        asked: dict[str, Any] = {
            "TableName": self._table,
            "Key": {"key": row["key"]},
            # A reserved word.
            "ExpressionAttributeNames": {"#data": "data"},
            "UpdateExpression": f"REMOVE {gone}",
        }
        if "who" in row:
            asked["UpdateExpression"] += " SET who = :who"
            at = row.get("captured_at", {}).get("S", "")
            asked["ExpressionAttributeValues"] = {":who": {"S": f"|{at}"}}
        self._client.update_item(**asked)

    def sources(self) -> set[str]:
        """Every source of which a webhook ended here."""
        rows = self.at([SOURCES])
        return set(rows[SOURCES].get("names", {}).get("SS", ())) if rows else set()

    def tally(self, sources: Iterable[str], days: Iterable[date]) -> Counter[str]:
        """How many webhooks ended how, of these sources on these days."""
        keys = [f"{TALLY}{source}|{day.isoformat()}" for day in days for source in sources]
        ends = Counter[str]()
        for row in self.at(keys).values():
            counts = {name: value["N"] for name, value in row.items() if "N" in value}
            ends.update({name: int(n) for name, n in counts.items() if name != "expires_at"})
        return ends

    def on(
        self,
        sources: Iterable[str],
        days: Iterable[date],
        *,
        user: str | None = None,
        about: str | None = None,
    ) -> Iterator[Fact]:
        """What was captured of these sources on these days, in no order.

        `user` reads that user's facts alone. `about` keeps what has it as user, order, subscription or event.
        """
        partitions = [f"{source}|{day.isoformat()}" for day in days for source in sources]
        with ThreadPoolExecutor(_READERS) as pool:
            for facts in pool.map(partial(self._day, user=user, about=about), partitions):
                yield from facts

    def _day(self, partition: str, *, user: str | None, about: str | None) -> list[Fact]:
        asked = self._listed(partition)
        names, values = asked["ExpressionAttributeNames"], asked["ExpressionAttributeValues"]
        if user is not None:
            asked["KeyConditionExpression"] += " AND begins_with(#who, :who)"
            names["#who"], values[":who"] = "who", {"S": f"{user}|"}
        if about is not None:
            asked["FilterExpression"] = (
                "#user = :id OR #order = :id OR #subscription = :id OR #event = :id"
            )
            names |= {"#user": "user_id", "#order": "order_id"}
            names |= {"#subscription": "subscription_id", "#event": "event_id"}
            values[":id"] = {"S": about}
        facts = map(Fact.of, _pages(self._client.query, asked))
        return [each for each in facts if user in (None, each.user_id)]


class Snapshot(Rows):
    """Records that were read many at once, as they were then, for rules that ask for one after the other."""

    def __init__(self, client: Any, table: str) -> None:
        super().__init__(client, table, time.time)
        self._records = Records(client, table)
        self._ahead: dict[str, Row] = {}

    def read_ahead(self, keys: Iterable[str]) -> None:
        """Read these, and forget those that were read before. Errors are the SDK's."""
        wanted = list(keys)
        self._ahead = {key: {} for key in wanted} | self._records.at(wanted)

    def get(self, key: str, *, consistent: bool = True) -> Row:
        """One record: as it was when it was read ahead, or else as it is."""
        known = self._ahead.get(key)
        return super().get(key, consistent=consistent) if known is None else known


def _pages(ask: Callable[..., dict[str, Any]], asked: dict[str, Any]) -> Iterator[Row]:
    """The records of every page of an answer."""
    while True:
        answer = ask(**asked)
        yield from answer["Items"]
        if not (more := answer.get("LastEvaluatedKey")):
            return
        asked = {**asked, "ExclusiveStartKey": more}


def _names(row: Row, user: str) -> bool:
    """Whether a record is a user's, or a link of an id that is the user's own."""
    key, who = row["key"]["S"], row.get("who", {}).get("S", "").rpartition("|")[0]
    own = key.startswith((PERSON, USER)) and key.rpartition("|")[2] == user
    return own or user in (who, row.get("user_id", {}).get("S"))


def days_since(since: datetime, until: datetime | None = None) -> list[date]:
    """Every day of a period in UTC, the newest first."""
    last = (until or datetime.now(UTC)).astimezone(UTC).date()
    first = since.astimezone(UTC).date()
    return [last - timedelta(days=back) for back in range((last - first).days + 1)]


def fact_keys(id: str, sources: Iterable[Source]) -> list[str]:
    """Every key that a fact with this id can have."""
    scopes = dict.fromkeys(source.scope for source in sources)
    return [f"{scope}|{category}|{id}" for scope in scopes for category in _CATEGORIES]


def person_keys(id: str, sources: Iterable[Source]) -> list[str]:
    """Every key of a link that this id of a provider's can have."""
    scopes = dict.fromkeys(source.scope for source in sources)
    return [f"{PERSON}{scope}|{what}|{id}" for scope in scopes for what in _PEOPLE]
