"""Whatever a shop, its providers, Linkrunner, AWS and an operator do in any order: every sale once.

A state machine plays them against the real receive, queue, deliver, claims and dead letters on a simulated
clock, and keeps a list of what must have been captured. `make chaos` plays it for longer.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar, Self

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.amounts import moved
from tests.chaos.bodies import (
    charge_refunded,
    delivered,
    named,
    order,
    payment_reports,
    period_paid,
    refund_failed,
    subscribed,
)
from tests.samples import SEED, Desk, Sample, Secrets, load, request, scheme_of
from tests.simulation import worker
from tests.simulation.clock import HOUR, NOW, Task
from tests.simulation.cloud import WEBHOOKS, Cloud
from tests.simulation.gate import TABLE_CALLS, Trouble
from tests.simulation.linkrunner import (
    DOWN,
    HANGS,
    LIMITED,
    LOSES_ANSWERS,
    REFUSED,
    UP,
    Captured,
    Mood,
)
from tests.simulation.worker import eight_in_hand

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.letters import Letter, foresee
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.queues import WebhookQueue
from linkrunner_webhooks.receive import Receiver
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.translation import Decision

DAY = 24 * HOUR
# Both queues keep a message for 14 days; an operator who never looks loses what is in the second.
LONGEST = NOW + 12 * DAY

# Before and after a deployment that switches types on.
BEFORE: dict[str, Any] = {
    "stripe": {"events": {"payment_intent.succeeded": False, "charge.succeeded": False}},
    "shopify": {},
    "woocommerce": {},
    "adyen": {},
}
AFTER = BEFORE | {
    "stripe": {
        "events": {
            "payment_intent.succeeded": True,
            "charge.succeeded": True,
            "refund.failed": True,
        }
    },
    "shopify": {"events": {"orders/create": "purchase_completed"}},
}
SECRETS = Secrets(
    {name: (scheme_of(providers.load(name)).example_secret(SEED),) for name in BEFORE}
)

Fact = tuple[str, str]


@dataclass
class Expected:
    """What must have been captured of a fact, and under which names."""

    user: str
    amount: Decimal | None
    names: frozenset[str] = frozenset({"purchase_completed"})


@dataclass
class Books:
    """What happened in the world: `sold` must be captured, `parked` must lie in the dead-letter queue.

    `told` holds every webhook that was sent, with its facts, to be sent again.
    """

    sold: dict[Fact, Expected] = field(default_factory=dict)
    parked: dict[str, str] = field(default_factory=dict)
    told: list[tuple[Sample, Mapping[Fact, Expected]]] = field(default_factory=list)


class Everybody(RuleBasedStateMachine):
    """Everybody who has a hand in it, each in rules of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()
        self.cloud = Cloud(self.told_to(BEFORE), seed=0)
        self.edge = self.cloud.config
        self.deadly_in: int | None = None
        self.deadly = Trouble.DIES_BEFORE
        self.table: Trouble | None = None
        self.number = 0
        self.refunded: dict[Fact, list[int]] = {}
        self.came_back: set[tuple[Fact, int]] = set()
        self.tasks: list[Task] = []
        self.reports: list[Report] = []
        self.ending = ExitStack()
        self.ending.enter_context(self.cloud.ruling())
        patch = self.ending.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(worker, "_IDLE", 900.0)
        self.workers = eight_in_hand(self.cloud, trouble=self.trouble)

    # How Linkrunner is told.
    settings: ClassVar[Mapping[str, Any]] = {}
    # Which facts are no events then.
    silent: ClassVar[frozenset[str]] = frozenset()

    def told_to(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        return {**tables, "linkrunner": dict(self.settings)}

    # --------------------------------------------------------------------- the shop and its providers

    def fresh(self) -> int:
        self.number += 1
        return self.number

    def send(self, sample: Sample, *, signed: bool = True) -> str:
        """A provider sends it, and gets this answer."""
        webhook = sample.signed(now=self.cloud.clock.now) if signed else sample.webhook()
        receiver = Receiver(
            config=self.edge,
            secrets=SECRETS,  # type: ignore[arg-type]
            store=WebhookQueue(self.cloud.sqs, WEBHOOKS).store,
            now=self.cloud.clock,
            observe=self.reports.append,
        )
        answer = receiver.respond(request(webhook))
        if signed:
            assert answer["statusCode"] == 200, answer
            return str(self.reports[-1].outcome)
        assert answer["statusCode"] in (401, 404), answer
        return "rejected"

    def tell(self, samples: Sequence[Sample], sold: Mapping[Fact, Expected], copies: int) -> None:
        """Reports of these facts; they are known as soon as one report is stored."""
        for sample in samples:
            _, sample = named(sample, f"{self.fresh():06d}")  # noqa: PLW2901
            self.books.told.append((sample, sold))
            for _ in range(copies):
                self.repeat(len(self.books.told) - 1)

    @rule(reports=st.sets(st.integers(0, 2), min_size=1), copies=st.integers(1, 2))
    def sell_by_stripe(self, reports: set[int], copies: int) -> None:
        """A payment with one or more of its reports."""
        number, user = self.fresh(), f"user_{self.number}"
        samples = payment_reports(number, 2599, "usd", user)
        fact = {("paid", f"pi_{number}"): Expected(user, Decimal("25.99"))}
        self.tell([samples[each] for each in sorted(reports)], fact, copies)

    @rule(periods=st.integers(1, 2), late=st.booleans())
    def subscribe(self, periods: int, *, late: bool) -> None:
        """A checkout names the user once, before or after the periods that name nobody."""
        number, user = self.fresh(), f"user_{self.number}"
        names = frozenset({"subscription_renewed"})
        reports: list[tuple[Sample, dict[Fact, Expected]]] = [(subscribed(number, user), {})]
        for _ in range(periods):
            period = self.fresh()
            fact = ("paid", f"in_{period}")
            sold = {fact: Expected(user, Decimal("25.99"), names)}
            reports.append((period_paid(period, number, 2599), sold))
        for sample, sold in reversed(reports) if late else reports:
            self.tell([sample], sold, 1)

    @rule(created=st.booleans())
    def sell_in_shopify(self, *, created: bool) -> None:
        """An order, which is reported when it is paid and perhaps when it is made."""
        number, user = self.fresh(), f"user_{self.number}"
        types = ["orders/create", "orders/paid"] if created else ["orders/paid"]
        samples = [order(each, number, Decimal("59.90"), "EUR", user) for each in types]
        self.tell(samples, {("paid", str(number)): Expected(user, Decimal("59.9"))}, 1)

    @rule(copies=st.integers(1, 2))
    def deliver_from_woocommerce(self, copies: int) -> None:
        """One webhook that reports two facts."""
        number, user = self.fresh(), f"user_{self.number}"
        sold = {
            ("paid", str(number)): Expected(user, Decimal(30)),
            ("order_fulfilled", str(number)): Expected(user, None, frozenset({"order_fulfilled"})),
        }
        self.tell([delivered(number, Decimal(30), "EUR", user)], sold, copies)

    @rule(which=st.integers(0, 999), part=st.sampled_from([500, 700, 2599]))
    def refund(self, which: int, part: int) -> None:
        """A refund that names nobody, of a part or of what is left: it is whose the payment was."""
        paid = [fact for fact in self.books.sold if fact[1].startswith("pi_") and fact[0] == "paid"]
        if not paid:
            return
        fact = paid[which % len(paid)]
        before = self.refunded.setdefault(fact, [])
        amount = min(part, 2599 - sum(before))
        # Two parts of one size would look like one.
        if amount > 0 and amount not in before:
            money = Decimal(amount).scaleb(-2)
            refunded = ("purchase_refunded", f"{fact[1]}:{float(money):g}")
            names = frozenset({"purchase_refunded"})
            sample = charge_refunded(int(fact[1][3:]), 2599, sum(before), amount, None)
            expected = Expected(self.books.sold[fact].user, money, names)
            self.tell([sample], {refunded: expected}, 1)
            before.append(amount)

    @precondition(lambda self: any(self.refunded.values()))
    @rule(which=st.integers(0, 999))
    def fail_a_refund(self, which: int) -> None:
        """A refund comes back, days later; it is reported where that is switched on."""
        known = [(fact, part) for fact, parts in self.refunded.items() for part in parts]
        fact, amount = known[which % len(known)]
        if (fact, amount) not in self.came_back:
            money = Decimal(amount).scaleb(-2)
            names = frozenset({"refund_failed"})
            failed = {
                ("refund_failed", f"{fact[1]}:{float(money):g}"): Expected(
                    self.books.sold[fact].user, money, names
                )
            }
            sample = refund_failed(int(fact[1][3:]), amount)
            self.tell([sample], failed, 1)
            if failed.keys() <= self.books.sold.keys():
                self.came_back.add((fact, amount))

    @rule(forged=st.booleans())
    def sell_by_adyen(self, *, forged: bool) -> None:
        """A payment whose signature does not cover the user; a copy for another user counts nothing."""
        number, user = self.fresh(), f"user_{self.number}"
        sample = _adyen(number, user)
        assert self.send(sample) == "queued"
        sold = {("paid", f"order-{number}"): Expected(user, Decimal("25.99"))}
        self.books.sold.update(sold)
        if forged:
            # Another body under the signature of the first, once deliver has seen that one.
            table, self.table = self.table, None
            self.work(1000.0)
            self.table = table
            signed = sample.signed()
            if f"@note|adyen|proof|{signed_by(signed)}" in self.cloud.table.items:
                copy = _Raw.of(sample, signed.body.replace(user.encode(), b"thief"))
                assert self.send(copy) == "queued"

    @rule()
    def sell_to_nobody(self) -> None:
        """A payment without a user is a person's decision."""
        key, sample = named(payment_reports(self.fresh(), 100, "usd", None)[0], f"n{self.number}")
        assert self.send(sample) == "queued"
        self.books.parked[key] = "missing_user"

    @rule(odd=st.sampled_from(["emoji", "mode", "time", "bom"]))
    def send_something_odd(self, odd: str) -> None:
        """What is authentic is stored, whatever stands in fields that nobody reads."""
        number, user = self.fresh(), f"user_{self.number}"
        sample = payment_reports(number, 2599, "usd", user)[0]
        changes: dict[str, Any] = {
            "emoji": {"note": "\ud83d"},
            "mode": {"livemode": None},
            "time": {"created": "yesterday"},
            "bom": {},
        }
        _, sample = named(sample, f"odd{number}")
        body = json.dumps(sample.body | changes[odd]).encode()
        sent = _Raw.of(sample, b"\xef\xbb\xbf" + body if odd == "bom" else body)
        if self.send(sent) == "queued":
            fact = ("paid", f"pi_{number}")
            self.books.sold[fact] = Expected(user, Decimal("25.99"))

    @rule()
    def forge(self) -> None:
        """What is not signed is not stored."""
        waiting = len(self.cloud.queue.messages)
        sample = payment_reports(self.fresh(), 2599, "usd", "thief")[0]
        assert self.send(sample, signed=False) == "rejected"
        assert len(self.cloud.queue.messages) == waiting

    @precondition(lambda self: self.books.told)
    @rule(which=st.integers(0, 999))
    def repeat(self, which: int) -> None:
        """A provider sends an old webhook once more."""
        sample, sold = self.books.told[which % len(self.books.told)]
        if self.send(sample) == "queued":
            self.books.sold.update(sold)

    # --------------------------------------------------------------------- the weather

    @rule(mood=st.sampled_from([UP, UP, DOWN, REFUSED, LIMITED, HANGS, LOSES_ANSWERS]))
    def change(self, mood: Mood) -> None:
        """Linkrunner is different from now on."""
        self.cloud.linkrunner.moods = [(self.cloud.clock.now, mood)]

    @rule(honours=st.booleans())
    def deduplicate(self, *, honours: bool) -> None:
        """Linkrunner takes an event under a known id for the same from now on, or not any more."""
        self.cloud.linkrunner.honours_event_id = honours

    @rule(trouble=st.sampled_from([None, None, *Trouble]))
    def lose_the_table(self, trouble: Trouble | None) -> None:
        """Every call of the table meets this trouble from now on, or none any more."""
        survivable = trouble not in (Trouble.DIES_BEFORE, Trouble.DIES_AFTER)
        self.table = trouble if survivable else None

    @rule(calls=st.integers(0, 12), after=st.booleans())
    def doom(self, calls: int, *, after: bool) -> None:
        """A worker dies over one of its next calls."""
        self.deadly_in = calls
        self.deadly = Trouble.DIES_AFTER if after else Trouble.DIES_BEFORE

    def trouble(self, _number: int, call: str) -> Trouble | None:
        if self.deadly_in is not None:
            self.deadly_in -= 1
            if self.deadly_in < 0:
                self.deadly_in = None
                return self.deadly
        return self.table if call in TABLE_CALLS else None

    # --------------------------------------------------------------------- time, and people

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, 150.0, 900.0, HOUR, 6 * HOUR, DAY]))
    def work(self, seconds: float) -> None:
        """The workers work for so long."""
        until = min(self.cloud.clock.now + seconds, LONGEST)
        if not any(not task.done for task in self.tasks):
            self.tasks = [self.cloud.clock.spawn(each.work) for each in self.workers]
        self.cloud.clock.run(until)

    @rule(seconds=st.sampled_from([60.0, HOUR, DAY]))
    def stand_still(self, seconds: float) -> None:
        """Nobody works for so long: a function that is broken, or an account that is throttled."""
        if self.cloud.clock.now + seconds <= LONGEST:
            self.cloud.clock.now += seconds

    @rule(edge_first=st.booleans(), seconds=st.sampled_from([1.0, 60.0, 600.0]))
    def deploy(self, *, edge_first: bool, seconds: float) -> None:
        """Receive and deliver are of two versions for a moment."""
        after = Config(self.told_to(AFTER))
        steps: list[Callable[[], None]] = [lambda: self._serve(after), lambda: self._work_by(after)]
        first, second = steps if edge_first else reversed(steps)
        first()
        self.sell_by_stripe({0, 1, 2}, 1)
        self.work(seconds)
        second()

    def _serve(self, config: Config) -> None:
        self.edge = config

    def _work_by(self, config: Config) -> None:
        """Functions are replaced when they are idle: the tasks of the old ones come to their end."""
        self.cloud.config = config
        for each in self.workers:
            each._deliverer = replace(each._deliverer, config=config)

    @rule()
    def operate(self) -> None:
        """An operator runs `dlq redrive`."""
        self._put_back()

    def _put_back(self) -> int:
        with self.cloud.letters.reading() as reading:
            letters = [each for each in reading if not self._foreseen(each).would_park]
            for letter in letters:
                self.cloud.letters.redrive(letter)
        return len(letters)

    def _foreseen(self, letter: Letter) -> Decision:
        clock, table = self.cloud.clock, self.cloud.table
        known = Ledger(table, "ledger", clock=clock)
        return foresee(letter, Config(self.told_to(AFTER)), known, now=clock.now)

    # --------------------------------------------------------------------- what must be true

    @invariant()
    def nothing_is_invented(self) -> None:
        """What Linkrunner was told is what happened, with the right amount and user."""
        for each in self.cloud.linkrunner.captures[self._seen :]:
            self._require(each)
        self._seen = len(self.cloud.linkrunner.captures)

    _seen = 0

    def _require(self, captured: Captured) -> None:
        expected = self.books.sold.get(captured.fact)
        assert expected is not None, captured
        amount = moved(captured.body["event_data"])
        assert (None if amount is None else Decimal(str(amount))) == expected.amount, captured
        assert captured.body["user_id"] == expected.user
        assert captured.body["event_name"] in expected.names

    def teardown(self) -> None:
        """Everything heals, the operator does the rest, and the books are balanced."""
        try:
            self._balance()
        finally:
            self.ending.close()

    def _balance(self) -> None:
        self.cloud.linkrunner.moods = []
        self.table = self.deadly_in = None
        self._serve(Config(self.told_to(AFTER)))
        self._work_by(Config(self.told_to(AFTER)))
        for _ in range(9):
            self._finish()
            # A pass leaves alone what was parked in its own second.
            self.cloud.clock.now += 2
            if not self._put_back():
                break
        self.nothing_is_invented()
        self.cloud.assert_nothing_left()
        # As a set, so that a failure shows what differs.
        wrong = set(self._parked()) ^ set(self.books.parked.items())
        assert wrong == set(), wrong
        self.cloud.assert_once([each for each in self.books.sold if each[0] not in self.silent])
        assert self._held() == self._owed()

    def _held(self) -> Counter[tuple[str, Decimal]]:
        """What Linkrunner holds: whose payments of how much."""
        return Counter(
            (body["user_id"], Decimal(str(body["amount"])))
            for body in self.cloud.linkrunner.book.payments.values()
        )

    def _owed(self) -> Counter[tuple[str, Decimal]]:
        """What it should hold."""
        return Counter()

    def _finish(self) -> None:
        self.cloud.clock.run()
        self.cloud.run(*self.workers)

    def _parked(self) -> Iterator[tuple[str, str]]:
        for each in self.cloud.dead.messages.values():
            told = {key: value["StringValue"] for key, value in each.attributes.items()}
            if told["reason"] != Reason.CONTRADICTED:
                yield told["event_id"], told["reason"]


@dataclass(frozen=True)
class _Raw(Sample):
    """A sample whose body is written as no JSON library would."""

    written: bytes = b""

    @classmethod
    def of(cls, sample: Sample, written: bytes) -> Self:
        return cls(sample.provider, sample.headers, sample.body, written)

    def raw(self) -> bytes:
        return self.written


def signed_by(webhook: Webhook) -> str | None:
    """The text that only one body may be under."""
    return scheme_of(providers.load(webhook.source)).proof(webhook)


def _adyen(number: int, user: str) -> Sample:
    sample = load("adyen", "AUTHORISATION")
    (item,) = (each["NotificationRequestItem"] for each in sample.body["notificationItems"])
    item |= {"pspReference": f"psp_{number}", "merchantReference": f"order-{number}"}
    item["additionalData"]["shopperReference"] = user
    return sample


class EverybodyPaying(Everybody):
    """The same, where Linkrunner is told payments and holds what is left of them.

    It knows nobody who has not signed up, and what belongs to others it forgets; so that waits.
    """

    settings: ClassVar[Mapping[str, Any]] = {
        "revenue": "payment",
        "partial_refund": "replace",
        "signups": True,
        "unknown_users": "hold",
        "hold_days": 90,
    }
    silent: ClassVar[frozenset[str]] = frozenset({"paid"})

    def __init__(self) -> None:
        super().__init__()
        self.cloud.linkrunner.users = set()

    @precondition(lambda self: self.number)
    @rule(number=st.integers(0, 999))
    def sign_up(self, number: int) -> None:
        """Somebody opens the app for the first time, whether or not they bought."""
        self._sign_up(f"user_{1 + number % self.number}")

    def _sign_up(self, user: str) -> None:
        edge = Desk(Config(self.told_to({})), Secrets({"linkrunner": ("key",)}))
        body = json.dumps({"event_type": "signup", "user_id": user}).encode()
        webhook = Webhook("linkrunner", {"linkrunner-key": "key"}, body)
        assert edge.respond(request(webhook))[0] == 200
        ((text, attributes),) = edge.stored
        WebhookQueue(self.cloud.sqs, WEBHOOKS).store(text, attributes)
        assert self.cloud.linkrunner.users is not None
        self.cloud.linkrunner.users.add(user)

    def teardown(self) -> None:
        for number in range(self.number + 1):
            self._sign_up(f"user_{number}")
        super().teardown()
        assert self.cloud.linkrunner.forgotten == 0

    def _owed(self) -> Counter[tuple[str, Decimal]]:
        left = {
            fact: (expected.user, self._left(fact, expected))
            for fact, expected in self.books.sold.items()
            if fact[0] == "paid"
        }
        return Counter(each for each in left.values() if each[1])

    def _left(self, fact: Fact, expected: Expected) -> Decimal:
        assert expected.amount is not None
        gone = sum(self.refunded.get(fact, ()))
        back = sum(amount for other, amount in self.came_back if other == fact)
        return expected.amount - Decimal(gone - back).scaleb(-2)


# Each step is followed by a look at the books; `make chaos` takes more of them.
GAMES = int(os.environ.get("GAMES", "15"))
for machine in (Everybody, EverybodyPaying):
    machine.TestCase.settings = settings(
        deadline=None,
        max_examples=GAMES,
        stateful_step_count=50,
        suppress_health_check=[*HealthCheck],
    )
TestEverybody = Everybody.TestCase
TestEverybodyPaying = EverybodyPaying.TestCase
