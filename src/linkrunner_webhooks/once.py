"""Every economic fact once: claims in a DynamoDB table.

A claim is a lease with an owner. It ends as free when the work failed, runs out when the worker died, and is
kept as done when it succeeded, with the user: a refund often names no user, but its payment did.

A fact can have several keys, because no single report of it names all its ids. Each key knows the others
from the first claim on, whatever becomes of it, so a report by one of them claims them all. If one key is
done, the event is a duplicate, and its other keys are stored as done.

Every try leaves its owner's name in `open` until it is known to have failed: what stays open may have been
captured, as when its worker died. A request without an answer leaves it in `unanswered`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from linkrunner_webhooks.errors import Unavailable
from linkrunner_webhooks.rows import InTheWay, Item, Rows

# Seconds: longer than the slowest capture, the notes of it that fail, and the message that notes it then. It
# delays another report of a fact whose worker was killed; that worker's message comes later still.
LEASE = 600
DAY = 24 * 3600
# Longer than disputes and refunds take, and than messages that are parked and redriven again and again.
KEPT = 400 * DAY
# Longer than a message lives in the queue.
_QUEUED = 15 * DAY
# Seconds after a failure in which a payment can still be on its way: longer than the longest delay.
TROUBLE = 2 * 3600
_TROUBLE_KEY = "trouble"
_NOTE_EVERY = 60

# A request without an answer raises as much doubt as so many tries without an end.
_UNANSWERED = 4


class Standing(Enum):
    """The result of a claim. TWICE is DONE, and the first to say that two captures were one fact."""

    OURS = "ours"
    DONE = "done"
    TWICE = "twice"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim's standing, and what is known of the fact.

    `keys` are all keys that are held for it, first those that name it, then its marks. `unanswered` is the
    number of earlier requests that may have captured it, `unended` that of tries whose end nobody could note.
    `failing_since` is unix seconds of the first try that failed.
    """

    standing: Standing
    owner: str = ""
    keys: tuple[str, ...] = ()
    unanswered: int = 0
    unended: int = 0
    failing_since: float | None = None

    @property
    def doubts(self) -> int:
        """How doubtful it is that nothing was captured. Most tries that do not end never sent a request."""
        return _UNANSWERED * self.unanswered + self.unended


class Claims:
    """The table. Every method raises Unavailable when DynamoDB does not answer.

    `kept` is for how many seconds a captured fact is remembered.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        *,
        clock: Callable[[], float] = time.time,
        lease: int = LEASE,
        kept: int = KEPT,
    ) -> None:
        self._rows = Rows(client, table, clock, self._returned)
        self._clock = clock
        self._lease = lease
        self._noted_at = 0
        self._told_at = float("-inf")
        self.kept = kept

    # ------------------------------------------------------------------------- facts

    def claim(self, keys: Iterable[str], owner: str, marks: Iterable[str] = ()) -> Claim:
        """Take every key, or none: OURS to work on, DONE before, or BUSY in another worker's hands.

        `marks` are taken as well, but do not name the fact. If one is done the claim is BUSY: the caller was
        mistaken about it and decides again.
        """
        # The same order everywhere, so that two workers seldom hold half of the keys each.
        named, marked = set(keys), set(marks)
        waiting, taken = sorted(named | marked), dict[str, Item]()
        try:
            while waiting:
                key = waiting.pop(0)
                beside = named - {key} if key in named else set()
                try:
                    taken[key] = self._take(key, beside, owner)
                except InTheWay as error:
                    if not _is_done(error.item) or key in marked:
                        self._give_back(taken, owner)
                        return Claim(Standing.BUSY)
                    return self._learn(error.item, named, marked, taken, owner)
                news = _set(taken[key], "others") - named - marked if key in named else set()
                named |= news
                waiting = sorted({*waiting, *news})
        except Unavailable:
            # The request that was not answered may have taken its key as well.
            with suppress(Unavailable):
                self._give_back({**taken, key: _UNKNOWN}, owner)
            raise
        # Other facts share the marks, and their doubts are not this one's.
        facts = [taken[key] for key in named]
        return Claim(
            Standing.OURS,
            owner,
            (*sorted(named), *sorted(marked)),
            unanswered=max(len(_set(item, "unanswered")) for item in facts),
            unended=max(len(_set(item, "open") - {owner}) for item in facts),
            failing_since=min(self._failing(facts), default=None),
        )

    def complete(self, keys: Iterable[str], user_id: str, owner: str = "") -> None:
        """The fact is captured for that user, even if another worker holds a lease on it by now.

        `owner` is that of the claim: its keys are one capture. Those that name the fact come first: a mark
        without them would have the fact captured again, under the name that it has without the mark.
        """
        until = int(self._clock()) + self.kept
        for key in keys:
            # No owner: a request of the claim that arrives late must not find its own lease.
            done = _item(key, "done", "", until, until)
            done |= {"user_id": {"S": user_id}, "capture": {"S": owner}}
            self._rows.put(done)

    def note(
        self, keys: Iterable[str], user_id: str, owner: str, marks: Iterable[str] = ()
    ) -> None:
        """Complete what that owner is known to have captured, with the keys that are linked to it by now.

        Whoever has the fact in hand is told as well.
        """
        keys, marks = tuple(keys), tuple(marks)
        claim = self.claim(keys, owner, marks)
        if claim.standing in (Standing.OURS, Standing.BUSY):
            self.complete(claim.keys or (*keys, *marks), user_id, owner)

    def release(self, claim: Claim) -> None:
        """The try failed for certain. The keys are free, except those that another worker has taken over."""
        for key in claim.keys:
            since = int(claim.failing_since or self._clock())
            self._free(key, claim.owner, doubtful=claim.doubts > 0, since=since)

    def keep(self, claim: Claim, seconds: float) -> None:
        """The request may have captured the fact: nobody tries again for so long, and it is remembered."""
        now = int(self._clock())
        for key in claim.keys:
            with suppress(InTheWay):
                self._rows.update(
                    key,
                    "SET #until = :until, #expires_at = :expires_at,"
                    " #failing_since = :since, #failed_at = :now"
                    " ADD #unanswered :owners DELETE #open :owners",
                    "#owner = :owner",
                    owner=claim.owner,
                    owners={claim.owner},
                    until=now + int(seconds),
                    now=now,
                    since=int(claim.failing_since or now),
                    expires_at=now + self.kept,
                )

    def user_of(self, keys: Iterable[str]) -> str | None:
        """The user of a captured fact with any of these keys: for a refund, the user who paid."""
        found = (self._rows.get(key).get("user_id", {}).get("S") for key in keys)
        return next((user_id for user_id in found if user_id), None)

    def _take(self, key: str, others: set[str], owner: str) -> Item:
        """The record as it was before. Raises InTheWay."""
        now = int(self._clock())
        linked: dict[str, Any] = {"others": others} if others else {}
        return self._rows.update(
            key,
            "SET #state = :claimed, #owner = :owner, #until = :until, #expires_at = :expires_at"
            f" ADD #open :owners{', #others :others' if others else ''}",
            # TTL deletes late, so a record past its time counts as gone.
            # Our own lease is there already when botocore repeats a request whose answer was lost.
            "attribute_not_exists(#key) OR #until <= :now OR #owner = :owner",
            claimed="claimed",
            owner=owner,
            owners={owner},
            now=now,
            until=now + self._lease,
            expires_at=now + self.kept,
            **linked,
        )

    def _give_back(self, taken: Mapping[str, Item], owner: str) -> None:
        """Undo what a claim took: nothing was tried."""
        for key, item in taken.items():
            self._free(key, owner, doubtful="open" in item or "unanswered" in item)

    def _free(self, key: str, owner: str, *, doubtful: bool, since: int | None = None) -> None:
        """End a lease. `since` is unix seconds of the first try that failed, if one did."""
        now = int(self._clock())
        failed: dict[str, Any] = {} if since is None else {"since": since}
        with suppress(InTheWay):
            self._rows.update(
                key,
                "SET #state = :free, #until = :now, #expires_at = :expires_at"
                f"{', #failing_since = :since, #failed_at = :now' if failed else ''}"
                " DELETE #open :owners",
                "#owner = :owner",
                owner=owner,
                owners={owner},
                free="free",
                now=now,
                expires_at=now + (self.kept if doubtful else _QUEUED),
                **failed,
            )

    def _failing(self, items: Iterable[Item]) -> Iterator[float]:
        """Since when tries have been failing; a longer pause was no try, so it begins anew."""
        for item in items:
            since, at = _number(item, "failing_since"), _number(item, "failed_at")
            if since is not None and at is not None and self._clock() - at < TROUBLE:
                yield since

    def _learn(
        self, done: Item, named: set[str], marked: set[str], taken: dict[str, Item], owner: str
    ) -> Claim:
        """Store the other keys of a done fact as done, so that later reports by those keys are duplicates.

        BUSY while another worker holds one of them: then the message is tried again.
        """
        busy, twice = False, set[str]()
        for key in sorted((named | marked) - {done["key"]["S"], *taken}):
            try:
                taken[key] = self._take(key, set(), owner)
            except InTheWay as error:
                busy = busy or not _is_done(error.item)
                # Another fact may well have the mark.
                if key in named and _is_done(error.item) and _capture(error.item) != _capture(done):
                    twice.add(key)
        # Stored under the same capture: from now on both are one fact.
        user_id = done.get("user_id", {}).get("S", "")
        learned = (*sorted(twice | named.intersection(taken)), *sorted(marked.intersection(taken)))
        self.complete(learned, user_id, _capture(done))
        if busy:
            return Claim(Standing.BUSY)
        return Claim(Standing.TWICE if twice else Standing.DONE)

    # ------------------------------------------------------------------------- notes

    def note_trouble(self) -> None:
        """Note for all workers, once a minute, that payments come late: something was out of reach."""
        now = int(self._clock())
        if now - self._noted_at >= _NOTE_EVERY:
            until = now + TROUBLE
            self._rows.put(_item(_TROUBLE_KEY, "noted", "", until, until))
            self._noted_at = now

    def in_trouble(self) -> bool:
        """Whether an unknown payment may still wait in the queue."""
        noted = self._rows.get(_TROUBLE_KEY)
        # While the table was away nobody could write anything into it.
        away = self._clock() - self._rows.away_at < TROUBLE
        return away or (_number(noted, "until") or 0) > self._clock()

    def _returned(self) -> None:
        """Tell the others that the table was away: payments that it held up come late."""
        if self._clock() - self._told_at >= _NOTE_EVERY:
            self._told_at = self._clock()
            with suppress(Unavailable):
                self.note_trouble()

    def count(self, what: str) -> int:
        """Count a thing that happens to one message, and return how often it has happened by now."""
        answer = self._rows.update(
            what,
            "SET #state = :noted, #expires_at = :expires_at ADD #times :one",
            returns="ALL_NEW",
            noted="noted",
            one=1,
            expires_at=int(self._clock()) + _QUEUED,
        )
        return int(_number(answer, "times") or 0)

    def forget(self, what: str) -> None:
        """Begin to count anew."""
        self._rows.update(
            what,
            "SET #times = :zero, #state = :noted, #expires_at = :expires_at",
            zero=0,
            noted="noted",
            expires_at=int(self._clock()) + _QUEUED,
        )

    def bound_to(self, name: str) -> str | None:
        """The digest that the name is bound to, if it is."""
        return self._rows.get(name).get("digest", {}).get("S")

    def bind(self, name: str, digest: str) -> bool:
        """Whether this is the only thing that was ever bound to the name."""
        until = int(self._clock()) + self.kept
        try:
            self._rows.update(
                name,
                "SET #state = :noted, #digest = :digest, #expires_at = :expires_at",
                "attribute_not_exists(#key) OR #digest = :digest",
                noted="noted",
                digest=digest,
                expires_at=until,
            )
        except InTheWay:
            return False
        return True


def _item(key: str, state: str, owner: str, until: int, expires_at: int) -> dict[str, Any]:
    return {
        "key": {"S": key},
        "state": {"S": state},
        "owner": {"S": owner},
        "until": {"N": str(until)},
        "expires_at": {"N": str(expires_at)},
    }


# What a record was is not known: it may have been in doubt.
_UNKNOWN: Item = {"open": {}}


def _is_done(item: Item) -> bool:
    return item.get("state", {}).get("S") == "done"


def _capture(item: Item) -> str:
    return str(item.get("capture", {}).get("S", ""))


def _set(item: Item, name: str) -> set[str]:
    return set(item.get(name, {}).get("SS", ()))


def _number(item: Item, name: str) -> float | None:
    number = item.get(name, {}).get("N")
    return None if number is None else float(number)
