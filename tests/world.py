"""A deliverer and everything it rests on, in memory: what it did with each message can be looked up."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tests.messages import TABLES
from tests.simulation.clock import NOW
from tests.simulation.table import FakeTable

from linkrunner_webhooks.accounts import Accounts
from linkrunner_webhooks.capture import ApiRequest
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.deliver import Deliverer
from linkrunner_webhooks.deliver_one import Ledger
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.once import KEPT, LEASE, Claim, Sent, Standing
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.rows import Rows
from linkrunner_webhooks.waiting import Waiting


@dataclass
class FakeLedger:
    """Facts, links and notes in memory. `failing` holds what a method raises instead of working."""

    clock: Callable[[], float]
    kept: int = KEPT
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    bound: dict[str, str] = field(default_factory=dict)
    open: Counter[str] = field(default_factory=Counter)
    since: dict[str, float] = field(default_factory=dict)
    failing: dict[str, BaseException] = field(default_factory=dict)
    troubled: bool = False
    tallies: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    people: dict[str, tuple[str, float]] = field(default_factory=dict)
    payments: Accounts = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        rows = Rows(FakeTable(), "ledger", self.clock)
        self.payments = Accounts(rows, self.clock, LEASE, self.kept)

    @property
    def facts(self) -> Self:
        return self

    links = notes = facts

    @property
    def accounts(self) -> Accounts:
        return self.payments

    @property
    def waiting(self) -> Waiting:
        raise NotImplementedError

    def claim(
        self,
        keys: Iterable[str],
        owner: str,
        marks: Iterable[str] = (),
        shared: Iterable[str] = (),
    ) -> Claim:
        del shared
        self._fail("claim")
        held = (*keys, *marks)
        with self._lock:
            if users := [self.done[key] for key in keys if key in self.done]:
                self.done |= {key: users[0] for key in keys if key not in self.done}
                return Claim(Standing.DONE)
            leases = [self.leases[key] for key in held if key in self.leases]
            if any(until > self.clock() and other != owner for other, until in leases):
                return Claim(Standing.BUSY)
            self.leases |= dict.fromkeys(held, (owner, self.clock() + LEASE))
            doubts, since = self.open[held[0]], self.since.get(held[0])
            return Claim(Standing.OURS, owner, held, unanswered=doubts, failing_since=since)

    def complete(
        self,
        keys: Iterable[str],
        user_id: str,
        owner: str = "",
        marks: Iterable[str] = (),
        sent: Sent | None = None,
        shared: Iterable[str] = (),
    ) -> None:
        del owner, sent
        self._fail("complete")
        self.done |= dict.fromkeys((*keys, *marks, *shared), user_id)

    def is_done(self, keys: Iterable[str], shared: Iterable[str] = ()) -> bool:
        return any(key in self.done for key in (*keys, *shared))

    def happened_at(self, keys: Iterable[str]) -> float | None:
        del keys
        return None

    def link(self, keys: Iterable[str]) -> Standing:
        raise NotImplementedError

    def rate_of(self, keys: Iterable[str]) -> None:
        del keys

    def named_user_of(self, keys: Iterable[str]) -> str | None:
        return self.user_of(keys)

    def merge(self, people: Iterable[str]) -> None:
        raise NotImplementedError

    def learn(self, key: str, user_id: str, at: float) -> bool:
        self._fail("learn")
        theirs, _ = self.people.get(key, (user_id, 0.0))
        self.people[key] = user_id, at
        return theirs != user_id

    def release(self, claim: Claim, *, lasting: bool = False) -> None:
        del lasting
        self._fail("release")
        with self._lock:
            for key in claim.keys:
                self.since.setdefault(key, self.clock())
                if self.leases.get(key, ("", 0.0))[0] == claim.owner:
                    del self.leases[key]

    def keep(
        self, claim: Claim, seconds: float, *, doubtful: bool = True, told: str = "event"
    ) -> None:
        del told
        self._fail("keep")
        with self._lock:
            for key in claim.keys:
                self.open[key] += doubtful
                self.leases[key] = (claim.owner, self.clock() + seconds)

    def count(self, what: str) -> int:
        self._fail("count")
        self.counts[what] += 1
        return self.counts[what]

    def forget(self, what: str) -> None:
        self._fail("forget")
        self.counts[what] = 0

    def bind(self, name: str, digest: str) -> bool:
        self._fail("bind")
        return self.bound.setdefault(name, digest) == digest

    def is_linked(self, keys: Iterable[str]) -> bool:
        return any(key in self.done for key in keys)

    def doubts_of(self, keys: Iterable[str]) -> int:
        return max(self.open[key] for key in keys)

    def tally(self, source: str, counts: Mapping[str, int]) -> None:
        self._fail("tally")
        self.tallies[source].update(counts)

    def user_of(self, keys: Iterable[str]) -> str | None:
        self._fail("user_of")
        known = {key: user for key, (user, _) in self.people.items()} | self.done
        return next((known[key] for key in keys if key in known), None)

    def note_trouble(self) -> None:
        self._fail("note_trouble")
        self.troubled = True

    def note_silence(self) -> None:
        self._fail("note_silence")

    def in_trouble(self) -> bool:
        self._fail("in_trouble")
        return self.troubled

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise self.failing[method]


@dataclass
class FakeQueue:
    """What became of the messages: parked with a reason, or delayed by seconds."""

    parked: list[tuple[str, str, str]] = field(default_factory=list)
    letters: list[tuple[Message, str, str]] = field(default_factory=list)
    delayed: dict[str, float] = field(default_factory=dict)
    put_back: list[Message] = field(default_factory=list)
    failing: dict[str, BaseException] = field(default_factory=dict)

    def park(self, message: Message, reason: str, error: str) -> None:
        if "park" in self.failing:
            raise self.failing["park"]
        self.parked.append((message.id, reason, error))
        self.letters.append((message, reason, error))

    def send(self, text: str, attributes: Mapping[str, str], *, delay: int = 0) -> None:
        raise NotImplementedError

    def again(self, message: Message) -> None:
        if "again" in self.failing:
            raise self.failing["again"]
        self.put_back.append(message)

    def delay(self, message: Message, seconds: float) -> None:
        if "delay" in self.failing:
            raise self.failing["delay"]
        self.delayed[message.id] = seconds


@dataclass
class FakeLinkrunner:
    """Captures, or does what the script says for the next requests: None is captured as well."""

    script: list[BaseException | None] = field(default_factory=list)
    requests: list[LinkrunnerEvent] = field(default_factory=list)
    events: list[LinkrunnerEvent] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: ApiRequest) -> None:
        assert isinstance(event, LinkrunnerEvent)
        with self._lock:
            self.requests.append(event)
            error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        self.events.append(event)

    @property
    def amounts(self) -> dict[str, list[Any]]:
        """What moved, by the way it moved: purchases and renewals are both payments."""
        told = [event.event_data for event in self.events]
        fields = {"paid": "amount", "refunded": "refund_amount"}
        return {
            way: sorted(data[field] for data in told if field in data)
            for way, field in fields.items()
        }


class World:
    """A deliverer and everything it rests on."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.now = NOW
        self.config = Config(TABLES)
        self.linkrunner = FakeLinkrunner()
        self.claims = FakeLedger(lambda: self.now)
        self.ledger: Ledger = self.claims if ledger is None else ledger
        self.queue = FakeQueue()
        self.reports: list[Report] = []

    @property
    def deliverer(self) -> Deliverer:
        return Deliverer(
            config=self.config,
            capture=self.linkrunner,
            knows=lambda _: True,
            ledger=self.ledger,
            queue=self.queue,
            now=lambda: self.now,
            observe=self.reports.append,
            sleep=lambda _: None,
        )

    def deliver(
        self, *messages: Message, remaining: Callable[[], float] = lambda: 100.0
    ) -> list[str]:
        return self.deliverer.deliver(messages, remaining)

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(report.outcome.value, report.reason) for report in self.reports]

    @property
    def last(self) -> tuple[str, str]:
        return self.outcomes[-1]
