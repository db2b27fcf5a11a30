"""What the ledger remembers of payments at Linkrunner: how much went back, and what Linkrunner holds of each.

It stands on the rows of the payment's fact: what goes back on every key that the refund names, so that a
payment which comes later finds it, and everything else on the first key. To a payment that a shop's gateway
knows, too, a row of its own leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.payments import NO_ACCOUNT, NOTHING, Account, Returned, Terms, Version
from linkrunner_webhooks.rows import InTheWay, Item, Rows, fact_of, is_done, number, text, texts

# A name by which a shop and its gateway know one payment.
PAID = "@paid|"
# What says whose id a payment has, where an operator's expression found it.
BOUND = "@payment|"
# A fact can have turned out to be another one, which had turned out to be a third.
_MOST_HOPS = 3


class Payment(NamedTuple):
    """A captured payment: the key that remembers it, its row and account, and other keys that did so, too."""

    key: str
    row: Item
    account: Account
    twins: tuple[str, ...] = ()


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

    # ------------------------------------------------------------------------- a payment

    def lead(self, through: Iterable[str], key: str) -> Account:
        """Others may know the payment by these names. Returns what they have told of it."""
        rows = [
            self._rows.update(
                name,
                "SET #state = :paid, #expires_at = :expires_at ADD #facts :facts",
                returns="ALL_NEW",
                paid="paid",
                expires_at=self._until,
                facts={key},
            )
            for name in through
        ]
        # Of a payment for several orders nobody knows which of them went back.
        return account_of(row for row in rows if texts(row, "facts") == {key})

    def bind(self, payment_id: str, key: str) -> bool:
        """Whether this payment is the only one that was ever given that id."""
        try:
            self._rows.update(
                BOUND + payment_id,
                "SET #state = :bound, #fact = :fact, #expires_at = :expires_at",
                "attribute_not_exists(#fact) OR #fact = :fact",
                bound="bound",
                fact=key,
                expires_at=self._until,
            )
        except InTheWay:
            return False
        return True

    def intend(
        self,
        key: str,
        account: Account,
        leaving: Iterable[str],
        version: Version,
        data: str = "",
        shared: Iterable[str] = (),
    ) -> None:
        """Remember what is about to be taken away and captured, before the first request of it.

        `data` is what is told besides, for when a part of it has to be told again. Whoever claims one of the
        `shared` keys has to know of it, too: a shop's gateway must not tell the payment under another id.
        """
        assert account.terms is not None
        new = set() if version == NOTHING else {version.payment_id}
        returned = {each.text() for each in account.returned}
        sets = {"leaving": set(leaving), "versions": new, "returned": returned}
        told = {"payment": account.terms.text()} | ({"data": data} if data else {})
        self._note(key, told, sets)
        for each in shared:
            by = {"payment": account.terms.text(), "payment_of": key}
            self._note(each, by, {"versions": new})

    def _note(self, key: str, told: Mapping[str, str], sets: Mapping[str, set[str]]) -> None:
        present: dict[str, Any] = {name: texts for name, texts in sets.items() if texts}
        added = ", ".join(f"#{name} :{name}" for name in present)
        set_ = ", ".join(f"#{name} = :{name}" for name in told)
        self._rows.update(key, f"SET {set_}{f' ADD {added}' if added else ''}", **told, **present)

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

    # ------------------------------------------------------------------------- what went back

    def mark(self, keys: Sequence[str], mark: str) -> str:
        """The one name of what went back, whichever report of it tells."""
        known = filter(None, (text(self._rows.get(key), "mark") for key in keys))
        if found := next(known, None):
            return found
        row = self._rows.note(
            min(keys),
            ", #mark = if_not_exists(#mark, :mark)",
            expires_at=self._until,
            mark=mark,
        )
        return text(row, "mark") or mark

    def note_returned(
        self, keys: Iterable[str], returned: Returned, *, expected: bool = True
    ) -> tuple[str, ...]:
        """Note what went back of the payment with these keys. Returns the first key of it, if it is captured.

        Otherwise it is not captured here, or not yet, or the keys are those of several payments; then nothing
        is known of what to take away. Where no payment is `expected`, one that was captured as an event is
        left alone. Raises Unavailable while a worker has the payment in hand.
        """
        own = [key for key in keys if not key.startswith(PAID)]
        wanted = self._led(keys)
        # Its own id says more than a name by which others know it.
        facts = self._facts(own) or self._facts(wanted)
        if len(facts) > 1:
            return ()
        if facts and not expected and not self._is_payment(*facts):
            return ()
        now = int(self._clock())
        for key in facts or wanted:
            row = self._rows.note(
                key,
                " ADD #returned :returned",
                expires_at=self._until,
                returned={returned.text()},
            )
            # What was captured meanwhile may not have seen it.
            meanwhile = is_done(row) or (number(row, "until") or 0) > now or "facts" in row
            if not facts and meanwhile and not self._is_alone(key, row, wanted):
                raise _busy()
        return tuple(facts)

    def _led(self, keys: Iterable[str]) -> list[str]:
        """These keys, with those of payments that they lead to."""
        rows = {key: self._rows.get(key) for key in keys}
        led = [fact for row in rows.values() if not is_done(row) for fact in texts(row, "facts")]
        return list(dict.fromkeys((*rows, *led)))

    def _is_alone(self, key: str, row: Item, wanted: Sequence[str]) -> bool:
        """Whether a name leads to nothing that was not looked at."""
        return key.startswith(PAID) and texts(row, "facts") <= set(wanted)

    def _facts(self, keys: Iterable[str]) -> list[str]:
        """The first keys of what is captured of these."""
        found = (self._first(self._rows.get(key)) for key in keys)
        return sorted({fact for fact in found if fact})

    def _first(self, row: Item) -> str | None:
        if not is_done(row):
            return None
        for _ in range(_MOST_HOPS):
            first = fact_of(row)
            if first == row["key"]["S"]:
                break
            row = self._rows.get(first)
            if not row:
                break
        return first

    def _is_payment(self, fact: str) -> bool:
        row = self._rows.get(fact)
        rows = (row, *(self._rows.get(each) for each in texts(row, "others")))
        return account_of(rows).terms is not None

    # ------------------------------------------------------------------------- in hand

    def look(self, keys: Iterable[str]) -> Payment | None:
        """The captured payment with any of these keys; None where it was captured as an event, or not yet."""
        rows = [self._rows.get(key) for key in keys]
        facts = sorted({fact for row in rows if (fact := self._first(row))})
        if not facts:
            return None
        known = {row["key"]["S"]: row for row in rows if row}
        firsts = [known.get(fact) or self._rows.get(fact) for fact in facts]
        linked = {key for row in firsts for key in texts(row, "others")} - known.keys()
        rows = [*firsts, *rows, *(self._rows.get(key) for key in sorted(linked))]
        account = account_of(row for row in rows if row)
        if account.terms is None:
            return None
        return Payment(facts[0], firsts[0], account, tuple(facts[1:]))

    def take(self, keys: Iterable[str], owner: str) -> Payment | None:
        """The same, taken in hand. Raises Unavailable while another worker has it."""
        payment = self.look(keys)
        if payment is None:
            return None
        now = int(self._clock())
        try:
            self._rows.update(
                payment.key,
                "SET #turn = :owner, #turn_until = :turn_until",
                "attribute_not_exists(#turn_until) OR #turn_until <= :now OR #turn = :owner",
                owner=owner,
                turn_until=now + self._lease,
                now=now,
            )
        except InTheWay:
            raise _busy() from None
        # It may have been another worker's until now.
        return self.look((*keys, payment.key))

    def gather(self, payment: Payment) -> None:
        """What other keys of it know is noted where everybody looks."""
        noted = _account(payment.row)
        more = payment.account.returned - noted.returned
        if more:
            told = {each.text() for each in more}
            self._rows.update(payment.key, "ADD #returned :returned", returned=told)
        for twin in payment.twins:
            # Reported as captured once more, which it is not any longer.
            self._rows.update(twin, "SET #fact = :fact REMOVE #day, #who", fact=payment.key)

    def let_go(self, key: str, owner: str) -> None:
        """Nobody has it in hand any more, unless another worker took it over."""
        try:
            self._rows.update(key, "SET #turn_until = :over", "#turn = :owner", over=0, owner=owner)
        except InTheWay:
            return

    @property
    def _until(self) -> int:
        return int(self._clock()) + self._kept


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
        Version.of(text(row, "current")),
    )


def _busy() -> Unavailable:
    return Unavailable("another worker has its payment in hand", reason=Reason.BUSY)
