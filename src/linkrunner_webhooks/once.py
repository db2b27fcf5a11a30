"""Every economic fact once: claims in the ledger.

A claim is a lease with an owner. It ends as free when the work failed, runs out when the worker died, and is
kept as done when it succeeded, with the user: a refund often names no user, but its payment did.

A fact can have several keys, because no single report of it names all its ids. Each key knows the others
from the first claim on, whatever becomes of it, so a report by one of them claims them all. If one key is
done, the event is a duplicate, and its other keys are stored as done.

Every try leaves its owner's name in `open` until it is known to have failed: what stays open may have been
captured, as when its worker died. A request without an answer leaves it in `unanswered`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from linkrunner_webhooks import __version__
from linkrunner_webhooks.accounts import account_of
from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.money import Rate
from linkrunner_webhooks.notes import QUEUED, TROUBLE
from linkrunner_webhooks.payments import NO_ACCOUNT, Account
from linkrunner_webhooks.rows import (
    DAY,
    InTheWay,
    Item,
    Rows,
    fact_of,
    is_done,
    number,
    text,
    texts,
)

# Seconds: longer than the slowest capture, the notes of it that fail, and the message that notes it then. It
# delays another report of a fact whose worker was killed; that worker's message comes later still.
LEASE = 600
# Longer than disputes and refunds take, and than messages that are parked and redriven again and again.
KEPT = 400 * DAY

# What was sent, as texts by name: `source`, `event_name`, `amount`, `order_id` ...
Sent = Mapping[str, str]
_NOTHING: Sent = MappingProxyType({})

# What every key of a fact remembers of it.
_LED = ("user_from", "occurred_at", "rate")

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

    `keys` are all keys that are held for it; `marks` and `shared` are held beside them. `unanswered` is the
    number of earlier requests that may have captured it, `unended` that of tries whose end nobody could note.
    `failing_since` is unix seconds of the first try that failed. `account` is what is known of it as a
    payment, and `told` how it was told in a request without an answer.
    """

    standing: Standing
    owner: str = ""
    keys: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    unanswered: int = 0
    unended: int = 0
    failing_since: float | None = None
    account: Account = NO_ACCOUNT
    told: str = ""

    @property
    def held(self) -> tuple[str, ...]:
        """Every key that is leased."""
        return (*self.keys, *self.marks, *self.shared)

    @property
    def doubts(self) -> int:
        """How doubtful it is that nothing was captured. Most tries that do not end never sent a request."""
        return _UNANSWERED * self.unanswered + self.unended


class Claims:
    """Every method raises Unavailable when DynamoDB does not answer.

    `kept` is for how many seconds a captured fact is remembered.
    """

    def __init__(self, rows: Rows, clock: Callable[[], float], lease: int, kept: int) -> None:
        self._rows = rows
        self._clock = clock
        self._lease = lease
        self.kept = kept

    def claim(
        self,
        keys: Iterable[str],
        owner: str,
        marks: Iterable[str] = (),
        shared: Iterable[str] = (),
    ) -> Claim:
        """Take every key, or none: OURS to work on, DONE before, or BUSY in another worker's hands.

        `marks` are taken as well, but do not name the fact. If one is done the claim is BUSY: the caller was
        mistaken about it and decides again. `shared` are keys that facts of another scope may have, too: each
        of those is the same as one of this scope, and what is left over is a fact of its own.
        """
        # The same order everywhere, so that two workers seldom hold half of the keys each.
        named, marked, both = set(keys), set(marks), set(shared)
        scope = _scope(min(named))
        waiting, taken = sorted(named | marked | both), dict[str, Item]()
        try:
            while waiting:
                key = waiting.pop(0)
                beside = named - {key} if key in named else set()
                try:
                    taken[key] = self._take(key, beside, owner)
                except InTheWay as error:
                    if not is_done(error.item) or key in marked:
                        self._give_back(taken, owner)
                        return Claim(Standing.BUSY)
                    if key in both and not _is_told(error.item, scope):
                        continue
                    return self._learn(error.item, named, marked, both, taken, owner)
                if key in both and (other := self._told_elsewhere(taken[key], scope)):
                    return self._learn(other, named, marked, both, taken, owner)
                news = texts(taken[key], "others") - named - marked if key in named else set()
                named |= news
                waiting = sorted({*waiting, *news})
        except Unavailable:
            # The request that was not answered may have taken its key as well.
            with suppress(Unavailable):
                self._give_back({**taken, key: _UNKNOWN}, owner)
            raise
        # Other facts have the marks, and their doubts are not this one's.
        facts = [taken[key] for key in taken.keys() - marked]
        # What is told of a shared key by one of this scope may be another of its payments.
        told = [taken[key] for key in taken.keys() & named]
        told += [
            taken[key]
            for key in taken.keys() & both
            if _scope(text(taken[key], "payment_of") or scope) != scope
        ]
        return Claim(
            Standing.OURS,
            owner,
            tuple(sorted(named)),
            tuple(sorted(marked)),
            tuple(sorted(taken.keys() & both)),
            unanswered=max(len(texts(item, "unanswered")) for item in facts),
            unended=max(len(texts(item, "open") - {owner}) for item in facts),
            failing_since=min(self._failing(facts), default=None),
            account=account_of(told),
            told=next((found for row in told if (found := text(row, "told"))), ""),
        )

    def complete(
        self,
        keys: Sequence[str],
        user_id: str,
        owner: str = "",
        marks: Iterable[str] = (),
        sent: Sent = _NOTHING,
        shared: Iterable[str] = (),
    ) -> None:
        """The fact is captured for that user, whoever holds a lease on it by now.

        `owner` is that of the claim: its keys, and those that are linked to them, are one capture. The first
        key remembers what was `sent`, and the others lead to it. The `marks` come last: a mark without its
        fact would have the fact captured again, under the name that it has without the mark.
        """
        # The same for whoever notes it: the account of a payment stands there, too.
        first, known = min(keys), set(keys)
        waiting = [*keys]
        while waiting:
            key = waiting.pop(0)
            record = self._record(user_id, sent) if key == first else self._led(first, sent)
            linked = texts(self._done(key, user_id, owner, record), "others") - known
            known |= linked
            waiting += sorted(linked)
        for key in shared:
            # In this order: what is done and not told looks like a fact of nobody.
            self._told(key, first)
            self._done(key, user_id, owner, self._led(first, sent))
        for mark in marks:
            self._done(mark, user_id, owner, self._led(first, sent))

    def is_done(self, keys: Sequence[str], shared: Iterable[str] = ()) -> bool:
        """Whether a fact with these keys is captured, as a claim would find it."""
        if any(is_done(self._rows.get(key)) for key in keys):
            return True
        return any(_is_told(self._rows.get(key), _scope(min(keys))) for key in shared)

    def link(self, keys: Iterable[str]) -> Standing:
        """These keys name one fact. What is captured by one of them is known by all from now on.

        Two ids of one sort are never linked: what is paid in parts is not its parts. Raises Unavailable also
        while another worker has one of them in hand.
        """
        named = set(keys)
        if self._are_parts(named):
            return Standing.OURS
        claim = self.claim(named, uuid4().hex)
        if claim.standing is Standing.BUSY:
            raise Unavailable("another worker has this fact in hand", reason=Reason.BUSY)
        if claim.standing is Standing.OURS:
            for key in claim.keys:
                self._free(key, claim.owner, doubtful=True)
        return claim.standing

    def knows(self, keys: Iterable[str]) -> bool:
        """Whether `link` would change nothing: these keys are known to name one fact, or never will."""
        named = set(keys)
        rows = {key: self._rows.get(key) for key in named}
        linked = all(texts(row, "others") >= named - {key} for key, row in rows.items())
        return linked or all(map(is_done, rows.values())) or self._are_parts(named)

    def _are_parts(self, named: set[str]) -> bool:
        others = (texts(self._rows.get(key), "others") for key in named)
        return max(Counter(_sort(key) for key in named.union(*others)).values()) > 1

    def _told_elsewhere(self, shared: Item, scope: str) -> Item | None:
        """The captured payment of another scope that a shared key is known to belong to.

        Its worker died before it noted the key as done.
        """
        other = text(shared, "payment_of")
        if other is None or _scope(other) == scope:
            return None
        row = self._rows.get(other)
        return row if is_done(row) else None

    def _told(self, key: str, fact: str) -> None:
        """Note that a fact has a shared key."""
        self._rows.update(key, "ADD #facts :facts", facts={fact})

    def _led(self, first: str, sent: Sent) -> dict[str, str]:
        """What a key remembers that is not the first."""
        return {"fact": first, **{name: sent[name] for name in _LED if name in sent}}

    def _record(self, user_id: str, sent: Sent) -> dict[str, str]:
        """What is remembered of a capture, and what lists it in time."""
        if not sent:
            return {}
        at = utc(datetime.fromtimestamp(self._clock(), UTC), "milliseconds")
        index = {"day": f"{sent['source']}|{at[:10]}", "who": f"{user_id}|{at}"}
        return {**sent, **index, "captured_at": at, "version": __version__}

    def _done(self, key: str, user_id: str, owner: str, record: Mapping[str, str]) -> Item:
        """Note one key; returns the record as it was. What another capture remembers there stays."""
        until = int(self._clock()) + self.kept
        # No owner: a request of the claim that arrives late must not find its own lease.
        told = {"state": "done", "owner": "", "user_id": user_id, "capture": owner, **record}
        settings = ", ".join(f"#{name} = :{name}" for name in told)
        return self._rows.update(
            key,
            f"SET #until = :until, #expires_at = :until, {settings}"
            " REMOVE #open, #unanswered, #failing_since, #failed_at",
            until=until,
            **told,
        )

    def release(self, claim: Claim, *, lasting: bool = False) -> None:
        """The try failed for certain. The keys are free, except those that another worker has taken over.

        `lasting` says that more is remembered of them than the try.
        """
        for key in claim.held:
            since = int(claim.failing_since or self._clock())
            doubtful = lasting or claim.doubts > 0
            self._free(key, claim.owner, doubtful=doubtful, since=since)

    def keep(
        self, claim: Claim, seconds: float, *, doubtful: bool = True, told: str = "event"
    ) -> None:
        """The request may have captured the fact: nobody tries again for so long, and it is remembered.

        `told` says how it was told. What is not `doubtful` may be made again all the same: Linkrunner counts
        it once.
        """
        now = int(self._clock())
        doubt = "ADD #unanswered :owners " if doubtful else ""
        for key in claim.held:
            with suppress(InTheWay):
                self._rows.update(
                    key,
                    "SET #until = :until, #expires_at = :expires_at, #told = :told,"
                    " #failing_since = :since, #failed_at = :now"
                    f" {doubt}DELETE #open :owners",
                    "#owner = :owner",
                    owner=claim.owner,
                    owners={claim.owner},
                    until=now + int(seconds),
                    now=now,
                    since=int(claim.failing_since or now),
                    expires_at=now + self.kept,
                    told=told,
                )

    def is_linked(self, keys: Iterable[str]) -> bool:
        """Whether another report has named one of these keys together with others, or captured it."""
        items = [self._rows.get(key) for key in keys]
        return any("others" in each or is_done(each) for each in items)

    def happened_at(self, keys: Iterable[str]) -> float | None:
        """Unix seconds of a captured fact with any of these keys, as its report said."""
        rows = (row for row in map(self._rows.get, keys) if is_done(row))
        times = filter(None, (text(row, "occurred_at") for row in rows))
        return next((datetime.fromisoformat(time).timestamp() for time in times), None)

    def doubts_of(self, keys: Iterable[str]) -> int:
        """How doubtful it is that nothing was captured for these keys, as Claim.doubts."""
        items = [self._rows.get(key) for key in keys]
        return max(
            _UNANSWERED * len(texts(each, "unanswered")) + len(texts(each, "open"))
            for each in items
        )

    def user_of(self, keys: Iterable[str]) -> str | None:
        """The user of a captured fact with any of these keys: for a refund, the user who paid."""
        found = (text(self._rows.get(key), "user_id") for key in keys)
        return next((user_id for user_id in found if user_id), None)

    def rate_of(self, keys: Iterable[str]) -> Rate | None:
        """What a captured fact with any of these keys was converted at, if it was."""
        rows = [self._rows.get(key) for key in keys]
        # A name leads to the fact; what was paid for several has no rate of its own.
        led = [texts(row, "facts") for row in rows if not is_done(row)]
        rows += [self._rows.get(fact) for facts in led if len(facts) == 1 for fact in facts]
        found = (Rate.read(text(row, "rate")) for row in rows)
        return next((rate for rate in found if rate), None)

    def named_user_of(self, keys: Iterable[str]) -> str | None:
        """The same, where the captured webhook named its user itself."""
        rows = (self._rows.get(key) for key in keys)
        named = (row for row in rows if text(row, "user_from") == "body")
        return next((user for row in named if (user := text(row, "user_id"))), None)

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
                expires_at=now + (self.kept if doubtful else QUEUED),
                **failed,
            )

    def _failing(self, items: Iterable[Item]) -> Iterator[float]:
        """Since when tries have been failing; a longer pause was no try, so it begins anew."""
        for item in items:
            since, at = number(item, "failing_since"), number(item, "failed_at")
            if since is not None and at is not None and self._clock() - at < TROUBLE:
                yield since

    def _learn(
        self,
        done: Item,
        named: set[str],
        marked: set[str],
        both: set[str],
        taken: dict[str, Item],
        owner: str,
    ) -> Claim:
        """Store the other keys of a done fact as done, so that later reports by those keys are duplicates.

        BUSY while another worker holds one of them: then the message is tried again.
        """
        busy, twice = False, set[str]()
        for key in sorted((named | marked) - {done["key"]["S"], *taken}):
            try:
                taken[key] = self._take(key, set(), owner)
            except InTheWay as error:
                busy = busy or not is_done(error.item)
                # Another fact may well have the mark.
                if key in named and is_done(error.item) and _capture(error.item) != _capture(done):
                    twice.add(key)
        # Stored under the same capture: from now on both are one fact.
        user_id = text(done, "user_id") or ""
        led = {"fact": fact_of(done), **{name: told for name in _LED if (told := text(done, name))}}
        for key in (*sorted(named.intersection(taken)), *sorted(marked.intersection(taken))):
            self._done(key, user_id, _capture(done), led)
        for key in sorted(twice):
            self._rows.update(key, "SET #capture = :capture", capture=_capture(done))
        if busy:
            self._give_back({key: taken[key] for key in taken.keys() & both}, owner)
        else:
            for key in both:
                self._told(key, min(named))
            for key in sorted(taken.keys() & both):
                # Its worker died before it noted this one, or its report did not name it.
                self._done(key, user_id, _capture(done), led)
        if busy:
            return Claim(Standing.BUSY)
        return Claim(Standing.TWICE if twice else Standing.DONE)


# What a record was is not known: it may have been in doubt.
_UNKNOWN: Item = {"open": {}}


def _scope(key: str) -> str:
    """Whose ids a key has."""
    return key.partition("|")[0]


def _is_told(item: Item, scope: str) -> bool:
    """Whether another scope has told more facts with a shared key than this one."""
    told = Counter(_scope(fact) for fact in texts(item, "facts"))
    own = told.pop(scope, 0)
    return is_done(item) and max(told.values(), default=0) > own


def _sort(key: str) -> str:
    """What an id is of: `stripe|payment|pi_1` is one of Stripe's intents."""
    before, _, id = key.rpartition("|")
    return f"{before}|{id.partition('_')[0]}"


def _capture(item: Item) -> str:
    return text(item, "capture") or ""
