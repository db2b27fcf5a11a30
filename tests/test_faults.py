"""Whatever happens to any one call of a delivery, and wherever two workers meet: captured, and once.

Every external call fails, is lost, hangs, is repeated, or is the last that its worker makes.

Assumed: DynamoDB's conditional writes are atomic and its consistent reads current, Lambda ends a function at
its timeout, and the workers' clocks agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import pytest
from tests.messages import (
    CHARGE,
    INTENT,
    NEW_INVOICE,
    OLD_INVOICE,
    ORDER,
    SESSION,
    SHOPIFY_REFUND,
    TABLES,
    USER,
    another,
    checkout,
    refund,
    shopify,
    stripe,
)
from tests.simulation.queue import (
    DOWN,
    HOUR,
    LIMITED_FOR_LONG,
    NOW,
    UP,
    VISIBILITY,
    Killed,
    Mood,
    Trouble,
    Worker,
    World,
    eight_in_hand,
    simulated,
)

from linkrunner_webhooks.deliver import FIRST_DELAY, PAYER_TRIES, Message
from linkrunner_webhooks.envelope import Envelope, unseal
from linkrunner_webhooks.once import LEASE

Fact = tuple[str, str]
Makes = Callable[[], Message]

# Calls that hang, first tries, and an idle worker's minute.
SLACK = 2 * FIRST_DELAY + 80.0

PAID: Fact = ("paid", "pi_1")
REFUNDED: Fact = ("purchase_refunded", "pi_1")
_UPDATED = {"subscription_cancel_scheduled": True, "subscription_paused": True}
_TABLES = {
    **TABLES,
    "stripe": {"events": {**TABLES["stripe"]["events"], "customer.subscription.updated": _UPDATED}},
}

# ------------------------------------------------------------------------- one message, every fault


@dataclass(frozen=True, kw_only=True)
class Case:
    """A message and what must become of it. `before` was delivered earlier, without any trouble.

    `after` are other reports of the same payment, which come when everything is over and change nothing.
    """

    message: Makes
    before: Sequence[Makes] = ()
    after: Sequence[Makes] = ()
    facts: frozenset[Fact] = frozenset()
    parked: str | None = None
    mood: Mood = UP
    lasts: float = 0.0
    age: float = 0.0
    polls: int = 1
    waits: float = 0.0


def _two_in_one() -> Message:
    resource = {
        "id": "sub_1",
        "cancel_at_period_end": True,
        "pause_collection": {"behavior": "void"},
    }
    previous = {"cancel_at_period_end": False, "pause_collection": None}
    return stripe("customer.subscription.updated", resource | USER, previous)


def _invoiced() -> Message:
    return checkout(invoice="in_1")


def _intent() -> Message:
    return stripe("payment_intent.succeeded", INTENT | USER)


def _invoice() -> Message:
    return stripe("invoice.paid", NEW_INVOICE | {"amount_paid": 2599, "currency": "usd"})


CASES: Mapping[str, Case] = {
    "one-key": Case(message=checkout, after=[_intent], facts=frozenset({PAID})),
    "two-keys": Case(message=_invoiced, after=[_intent, _invoice], facts=frozenset({PAID})),
    "first-key-known": Case(
        message=_invoiced, before=[_invoice], after=[_intent], facts=frozenset({("paid", "in_1")})
    ),
    "last-key-known": Case(
        message=_invoiced, before=[_intent], after=[_invoice], facts=frozenset({PAID})
    ),
    "captured-before": Case(message=checkout, before=[checkout], facts=frozenset({PAID})),
    "refund": Case(
        message=lambda: refund(1000), before=[checkout], facts=frozenset({PAID, REFUNDED})
    ),
    "two-events": Case(
        message=_two_in_one,
        facts=frozenset(
            {("subscription_cancel_scheduled", "sub_1"), ("subscription_paused", "sub_1")}
        ),
    ),
    "down-at-first": Case(message=checkout, facts=frozenset({PAID}), mood=DOWN, lasts=3, polls=2),
    "limited-at-first": Case(
        message=_invoiced,
        facts=frozenset({PAID}),
        mood=LIMITED_FOR_LONG,
        lasts=3,
        polls=2,
        waits=1800 * 1.25,
    ),
    "untranslatable": Case(message=lambda: checkout(currency=None), parked="untranslatable"),
    "unreadable": Case(message=lambda: replace(checkout(), text="?"), parked="unreadable"),
    "nobodys": Case(message=lambda: checkout(client_reference_id=None), parked="missing_user"),
    "nobodys-refund": Case(
        message=lambda: refund(1000), parked="missing_user", polls=PAYER_TRIES + 1, waits=HOUR * 1.6
    ),
    "refused": Case(message=_invoiced, parked="refused", mood=Mood(status=400), lasts=HOUR * 999),
    "exhausted": Case(
        message=_invoiced, parked="exhausted", mood=DOWN, lasts=HOUR * 999, age=61 * HOUR
    ),
}


@contextmanager
def begun(case: Case) -> Iterator[World]:
    """A world in which the message waits and everything before it is done."""
    with simulated(_TABLES) as world:
        for each in case.before:
            world.store(each())
            world.run(Worker(world))
        world.clock.now = NOW + HOUR
        world.linkrunner.moods = [(world.clock.now, case.mood), (world.clock.now + case.lasts, UP)]
        world.store(case.message(), at=world.clock.now - case.age)
        yield world


def polls(world: World, worker: Worker, count: int, patience: float = 2 * HOUR) -> None:
    """Poll so often, each time when something is due; a worker that dies polls no more."""
    with suppress(Killed):
        for _ in range(count):
            wait = max(world.queue.next_at() - world.clock.now, 0.0)
            if wait <= patience:
                world.clock.sleep(wait)
                worker.poll()


def calls_of(case: Case) -> list[str]:
    """The external calls of an undisturbed delivery."""
    with begun(case) as world:
        worker = Worker(world)
        polls(world, worker, case.polls)
        return worker.gate.calls


def disturbed(case: Case, at: int, trouble: Trouble) -> World:
    """What became of it after one call met trouble and a healthy worker came after."""
    with begun(case) as world:
        worker = Worker(world, trouble=_once(at, trouble))
        world.clock.spawn(partial(polls, world, worker, case.polls))
        world.clock.run()
        made = len(worker.gate.calls)
        world.run(Worker(world))
        assert worker.gate.died_at is None or len(worker.gate.calls) == made
        return world


def _once(at: int, trouble: Trouble) -> Callable[[int, str], Trouble | None]:
    return lambda number, _call: trouble if number == at else None


def _report_again(world: World, reports: Sequence[Makes]) -> None:
    """Other reports of what was captured, a lease later."""
    world.clock.now += LEASE
    with world.ruling():
        for each in reports:
            world.store(each())
            world.run(Worker(world))


def unavoidable(call: str, trouble: Trouble) -> bool:
    """Whether Linkrunner can have taken an event that then nobody is left to know of."""
    if call == "post":
        return trouble in (Trouble.LOST, Trouble.DIES_AFTER)
    return call == "note" and trouble in (Trouble.DIES_BEFORE, Trouble.DIES_AFTER)


@pytest.mark.parametrize("trouble", Trouble, ids=lambda trouble: trouble.name.lower())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_call_of_a_delivery(case: Case, trouble: Trouble) -> None:
    """Whichever call meets the trouble, the message is captured once or parked with its reason."""
    for at, call in enumerate(calls_of(case)):
        if call == "post" and trouble is Trouble.REPEATED:
            continue  # requests to Linkrunner are never repeated behind our back
        world = disturbed(case, at, trouble)
        what = f"call {at}: {call} {trouble.value}"
        world.assert_nothing_left()
        _report_again(world, case.after)
        assert set(world.captured) == case.facts, what
        extra = sum(world.captured.values()) - len(case.facts)
        assert extra <= unavoidable(call, trouble), what
        assert set(world.dead.reasons) == ({case.parked} if case.parked else set()), what
        # A copy is parked before the original is let go; what is parked twice is redriven once.
        assert len(world.dead.reasons) <= 1 + (call in ("park", "delete")), what


def test_every_kind_of_call_was_disturbed() -> None:
    """The cases go through every external call that a delivery can make."""
    made = {call for case in CASES.values() for call in calls_of(case)}
    assert made == {
        "receive", "secret", "claim", "user_of", "post", "note", "release", "park", "delay", "delete"
    }  # fmt: skip


@pytest.mark.parametrize("trouble", Trouble, ids=lambda trouble: trouble.name.lower())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_waits_for_longer_than_it_must(case: Case, trouble: Trouble) -> None:
    """A worker's death costs a visibility timeout; any other trouble a lease and the try after it."""
    for at, call in enumerate(calls_of(case)):
        world = disturbed(case, at, trouble)
        limit = VISIBILITY if _hidden(call, trouble) else LEASE * 2.25
        waited = world.clock.now - (NOW + HOUR)
        assert waited <= limit + case.waits + SLACK, f"call {at}: {call} {trouble.value}"


def _hidden(call: str, trouble: Trouble) -> bool:
    """Whether the message is hidden until its visibility timeout has run out."""
    dies = trouble in (Trouble.DIES_BEFORE, Trouble.DIES_AFTER)
    return dies or call in ("receive", "delay", "delete")


@pytest.mark.parametrize("trouble", [Trouble.DIES_BEFORE, Trouble.DIES_AFTER])
@pytest.mark.parametrize("twin", [checkout, _invoiced], ids=["same-keys", "more-keys"])
def test_a_dead_worker_holds_up_a_twin_for_a_lease(twin: Makes, trouble: Trouble) -> None:
    """Another report of the same payment waits until the lease has run out, and one delay more at most."""
    case = CASES["two-keys"]
    for at, call in enumerate(calls_of(case)):
        with begun(case) as world:
            worker = Worker(world, trouble=_once(at, trouble))
            world.clock.spawn(partial(polls, world, worker, 1))
            world.clock.run()
            died_at = world.clock.now
            world.store(twin())
            settled: list[float] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(world.queue, "delete", _noting(world, settled))
                world.run(Worker(world))
            assert settled[0] - died_at <= LEASE * 2.25, f"call {at}: {call}"
            world.assert_nothing_left()
            world.assert_once({PAID})


def _noting(world: World, settled: list[float]) -> Callable[[str], None]:
    delete = world.queue.delete

    def noted(handle: str) -> None:
        settled.append(world.clock.now)
        delete(handle)

    return noted


def test_the_dead_make_no_calls() -> None:
    """A worker that is dead stays dead, whatever its code still tries."""
    with begun(CASES["one-key"]) as world:
        worker = Worker(
            world, trouble=lambda _, call: Trouble.DIES_AFTER if call == "post" else None
        )
        with pytest.raises(Killed):
            worker.poll()
        made = list(worker.gate.calls)
        assert made[-1] == "post"
        with pytest.raises(Killed):
            worker.poll()
        assert worker.gate.calls == made


# ------------------------------------------------------------------------- two workers meet


def points_of(case: Case) -> range:
    """Before and after each external call."""
    return range(2 * len(calls_of(case)))


def _again(world: World) -> None:
    """SQS delivers what is in flight once more."""
    for stored in world.queue.messages.values():
        world.queue.show(stored, world.clock.now)


def _twin(world: World) -> None:
    world.store(_intent())


def _both(world: World) -> None:
    _again(world)
    _twin(world)


def meeting(
    case: Case, at: int, arrives: Callable[[World], None], away: float
) -> tuple[World, list[str]]:
    """Worker A stops at a point of its delivery while B works, and goes on after so many seconds."""
    with begun(case) as world:

        def meet(point: int, _call: str) -> None:
            if point == at:
                arrives(world)
                stopped_at = world.clock.now
                second = Worker(world)
                work = second.work if away > LEASE else lambda: polls(world, second, 4, away / 8)
                world.clock.join([world.clock.spawn(work)])
                world.clock.sleep(stopped_at + away - world.clock.now)

        first = Worker(world, meet=meet)
        world.clock.spawn(lambda: polls(world, first, case.polls))
        world.clock.run()
        world.run(Worker(world))
        return world, first.gate.calls


MEETINGS = ["one-key", "two-keys", "captured-before", "last-key-known", "down-at-first", "refund"]


@pytest.mark.parametrize("arrives", [_again, _twin, _both])
@pytest.mark.parametrize("case", [CASES[name] for name in MEETINGS], ids=MEETINGS)
def test_two_workers_meet(case: Case, arrives: Callable[[World], None]) -> None:
    """Wherever A pauses while B has the same message or a twin of it, the payment is captured once."""
    for at in points_of(case):
        world, calls = meeting(case, at, arrives, away=40.0)
        world.assert_nothing_left()
        assert dict(world.captured) == dict.fromkeys(case.facts, 1), (at, calls)
        assert world.dead.reasons == []


@pytest.mark.parametrize("arrives", [_again, _twin, _both])
@pytest.mark.parametrize("case", [CASES[name] for name in MEETINGS], ids=MEETINGS)
def test_a_worker_that_froze(case: Case, arrives: Callable[[World], None]) -> None:
    """Frozen past its timeout A ends; only what it left between the answer and the note counts twice."""
    for at in points_of(case):
        world, calls = meeting(case, at, arrives, away=2 * VISIBILITY)
        world.assert_nothing_left()
        assert set(world.captured) == case.facts
        extra = sum(world.captured.values()) - len(case.facts)
        between = at % 2 == 1 if calls[at // 2] == "post" else calls[at // 2] == "note"
        assert extra <= between, (at, calls)
        assert world.dead.reasons == []


# ------------------------------------------------------------------------- one fact, every report


def _subscribed(shape: Mapping[str, Any]) -> Sequence[Makes]:
    """What Stripe says about one period of a subscription, in the shape of one API version."""
    ids = {"id": "pi_9", "invoice": "in_1", "amount_received": 990, "currency": "eur"}
    session = {"mode": "subscription", "subscription": "sub_1", "payment_intent": None}
    return [
        lambda: stripe("invoice.paid", shape),
        lambda: stripe("invoice.payment_succeeded", shape),
        lambda: stripe("payment_intent.succeeded", INTENT | ids | USER),
        lambda: stripe("charge.succeeded", CHARGE | USER | {"invoice": "in_1"}),
        lambda: checkout(**session, amount_total=990, currency="eur", invoice="in_1"),
        lambda: refund(990, id="ch_9", payment_intent="pi_9", currency="eur", **USER),
    ]


_REFUNDED_ORDER = SHOPIFY_REFUND | {"customer": {"id": 42}}
EVERY_REPORT: Mapping[str, tuple[Sequence[Makes], tuple[float, float]]] = {
    "stripe-checkout": (
        [
            checkout,
            lambda: stripe("checkout.session.async_payment_succeeded", SESSION),
            _intent,
            lambda: stripe("charge.succeeded", CHARGE | USER),
            lambda: refund(1000, **USER),
        ],
        (25.99, 10),
    ),
    "stripe-period-before-2025": (_subscribed(OLD_INVOICE), (9.9, 9.9)),
    "stripe-period-since-2025": (_subscribed(NEW_INVOICE), (9.9, 9.9)),
    "shopify-two-sources": (
        [
            lambda: shopify("orders/create", ORDER),
            lambda: shopify("orders/create", ORDER, "shopify_eu"),
            lambda: shopify("orders/paid", ORDER),
            lambda: shopify("orders/paid", ORDER, "shopify_eu"),
            lambda: shopify("refunds/create", _REFUNDED_ORDER),
            lambda: shopify("refunds/create", _REFUNDED_ORDER, "shopify_eu"),
        ],
        (59.9, 9.9),
    ),
}


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("fact", EVERY_REPORT.values(), ids=EVERY_REPORT)
def test_every_report_at_once(fact: tuple[Sequence[Makes], tuple[float, float]], seed: int) -> None:
    """All reports of a payment, twice and shuffled, over two busy workers: one amount, one refund."""
    reports, (paid, refunded) = fact
    dice = Random(seed)
    messages = [make() for make in reports for _ in range(2)]
    dice.shuffle(messages)
    with simulated(_TABLES, seed) as world:
        # Whoever arrives at a call waits for its turn, which is drawn by lot.
        meet = lambda _point, _call: world.clock.sleep(dice.choice((0.0, 0.0, 0.001)))  # noqa: E731
        world.queue.echo = lambda: dice.uniform(0, 9) if dice.random() < 0.3 else None
        world.store(*messages)
        world.run(*eight_in_hand(world, meet=meet))
        world.assert_nothing_left()
        assert world.dead.reasons == []
    bodies = [each.body for each in world.linkrunner.captures]
    amounts = [
        (body["event_name"] == "purchase_refunded", body["event_data"]["amount"])
        for body in bodies
        if "amount" in body["event_data"]
    ]
    assert sorted(amounts) == [(False, paid), (True, refunded)]
    assert {body["user_id"] for body in bodies} <= {"user_42", "42"}


# ------------------------------------------------------------------------- trouble that lasts


@pytest.mark.parametrize("begins", range(0, 66, 6))
def test_a_table_that_stops_answering_in_the_middle(begins: int) -> None:
    """When every call of the table hangs from some moment on, for ten minutes, no sale is counted twice."""
    with simulated(_TABLES) as world:
        world.linkrunner.downlink = lambda: 9.5
        world.store(*(another(number) for number in range(60)))

        def trouble(_number: int, call: str) -> Trouble | None:
            away = NOW + begins <= world.clock.now < NOW + 600
            return Trouble.HANGS if away and call in ("claim", "note", "release") else None

        workers = eight_in_hand(world, trouble=trouble)
        world.run(*workers)
        assert [worker.died_at for worker in workers] == [[]] * len(workers)
        world.assert_nothing_left()
        assert set(world.captured.values()) == {1}
        assert len(world.captured) == 60
        assert world.dead.reasons == []


def test_what_kills_every_worker_is_put_aside_by_the_queue() -> None:
    """A message that no worker survives ends in the dead-letter queue; what came with it is delivered."""
    with simulated(_TABLES) as world:
        world.store(another(1), replace(checkout(), text="?"), another(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("linkrunner_webhooks.translation.unseal", _deadly)
            world.run(*eight_in_hand(world))
        assert set(world.captured) == {("paid", "pi_1"), ("paid", "pi_2")}
        assert world.dead.reasons == ["crashed"]


def _deadly(text: str) -> Envelope:
    if text == "?":
        raise Killed
    return unseal(text)
