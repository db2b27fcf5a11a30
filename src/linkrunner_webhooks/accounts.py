"""What the ledger remembers of payments at Linkrunner: how much went back, and what Linkrunner holds of each.

It stands on the rows of the payment's fact. What goes back is noted on every key that the refund names, so
that a payment which comes later finds it; everything else stands on the fact's first key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, NamedTuple

from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.payments import NO_ACCOUNT, NOTHING, Account, Returned, Terms, Version
from linkrunner_webhooks.rows import InTheWay, Item, Rows, number, text, texts


class Payment(NamedTuple):
    """A captured payment: the key that remembers it, its row, and its account."""

    key: str
    row: Item
    account: Account


class Accounts:
    """Every method raises Unavailable when DynamoDB does not answer.

    `kept` is for how many seconds something is remembered, `lease` for how many a payment is in one worker's
    hands.
    """

    def __init__(self, rows: Rows, clock: Callable[[], float], lease: int, kept: int) -> None:
        self._rows = rows
        self._clock = clock
        self._lease = lease
        self._kept = kept

    def note_returned(
        self, keys: Iterable[str], returned: Returned, *, expected: bool = True
    ) -> str | None:
        """Note what went back of the payment with these keys. Returns the first key of a captured one.

        None: it is not captured here, or not yet, or the keys are those of several; then nothing is known of
        what to take away. Where no payment is `expected`, only one that is captured as such counts. Raises
        Unavailable while a worker has the payment in hand.
        """
        rows = [self._rows.get(key) for key in keys]
        facts = {_fact(row) for row in rows if _is_done(row)}
        if len(facts) > 1:
            return None
        if not expected and not any("payment" in self._rows.get(fact) for fact in facts):
            return None
        now = int(self._clock())
        for key in facts or keys:
            row = self._rows.update(
                key,
                "SET #state = if_not_exists(#state, :free), #until = if_not_exists(#until, :now),"
                " #expires_at = :expires_at ADD #returned :returned",
                returns="ALL_NEW",
                free="free",
                now=now,
                expires_at=now + self._kept,
                returned={returned.text()},
            )
            # What was captured meanwhile may not have seen it.
            if not facts and (_is_done(row) or (number(row, "until") or 0) > now):
                raise _busy()
        return next(iter(facts), None)

    def take(self, key: str, owner: str) -> Payment:
        """Take a captured payment in hand. Raises Unavailable while another worker has it."""
        now = int(self._clock())
        try:
            row = self._rows.update(
                key,
                "SET #turn = :owner, #turn_until = :turn_until",
                "attribute_not_exists(#turn_until) OR #turn_until <= :now OR #turn = :owner",
                returns="ALL_NEW",
                owner=owner,
                turn_until=now + self._lease,
                now=now,
            )
        except InTheWay:
            raise _busy() from None
        others = (self._rows.get(each) for each in texts(row, "others"))
        return Payment(key, row, account_of((row, *others)))

    def let_go(self, key: str, owner: str) -> None:
        """Nobody has it in hand any more, unless another worker took it over."""
        try:
            self._rows.update(key, "SET #turn_until = :over", "#turn = :owner", over=0, owner=owner)
        except InTheWay:
            return

    def intend(self, key: str, terms: Terms, leaving: Iterable[str], version: Version) -> None:
        """Remember what is about to be taken away and captured, before the first request of it."""
        new = set() if version == NOTHING else {version.payment_id}
        sets: dict[str, Any] = {"leaving": set(leaving), "versions": new}
        present = {name: ids for name, ids in sets.items() if ids}
        added = ", ".join(f"#{name} :{name}" for name in present)
        self._rows.update(
            key,
            f"SET #payment = :payment{f' ADD {added}' if added else ''}",
            payment=terms.text(),
            **present,
        )

    def note_held(self, key: str, gone: Iterable[str], version: Version) -> None:
        """Remember that this is what Linkrunner holds now, and what it does not hold any more."""
        ids = set(gone)
        added: dict[str, Any] = {"gone": ids} if ids else {}
        self._rows.update(
            key,
            f"SET #current = :current{' ADD #gone :gone' if ids else ''}",
            current=version.text(),
            **added,
        )


def account_of(rows: Iterable[Item]) -> Account:
    """What the rows of one payment's keys know of it together."""
    return reduce(Account.among, map(_account, rows), NO_ACCOUNT)


def _account(row: Item) -> Account:
    return Account(
        Terms.of(text(row, "payment")),
        frozenset(map(Returned.of, texts(row, "returned"))),
        frozenset(texts(row, "versions")),
        frozenset(texts(row, "leaving")),
        frozenset(texts(row, "gone")),
        Version.of(current) if (current := text(row, "current")) else None,
    )


def _is_done(row: Item) -> bool:
    return text(row, "state") == "done"


def _fact(row: Item) -> str:
    return text(row, "fact") or row["key"]["S"]


def _busy() -> Unavailable:
    return Unavailable("another worker has its payment in hand", reason=Reason.BUSY)
