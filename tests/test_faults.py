"""Whatever happens to any one call of a delivery, and wherever two workers meet: captured, and once.

Every external call fails, is lost, hangs, is repeated, or is the last that its worker makes.

Assumed: DynamoDB's conditional writes are atomic and its consistent reads current, Lambda ends a function at
its timeout, and the workers' clocks agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import pytest
from tests.amounts import moved
from tests.clock import Clock
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
    adyen,
    another,
    checkout,
    hint,
    refund,
    shopify,
    stripe,
)
from tests.simulation.clock import HOUR, NOW
from tests.simulation.cloud import Cloud, simulated
from tests.simulation.deployment import VISIBILITY
from tests.simulation.gate import TABLE_CALLS, Killed, Trouble
from tests.simulation.linkrunner import DOWN, LIMITED_FOR_LONG, UP, Mood
from tests.simulation.worker import Worker, eight_in_hand

from linkrunner_webhooks.envelope import Envelope, open_message, unseal
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.notes import TROUBLE
from linkrunner_webhooks.once import LEASE
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.schedule import FIRST_DELAY, PAYER_TRIES, SUSPICIOUS, wait
from linkrunner_webhooks.translation import plan_of

Fact = tuple[str, str]
Makes = Callable[[], Message]

# Calls that hang, first tries, and an idle worker's minute.
SLACK = 2 * FIRST_DELAY + 80.0

PAID: Fact = ("paid", "pi_1")
REFUNDED: Fact = ("purchase_refunded", "pi_1:10")
ALL_REFUNDED: Fact = ("purchase_refunded", "pi_1:25.99")
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
    `settings` are how Linkrunner is told, and `held` the payments that it holds in the end, by currency. The
    provider's own API knows these `answers`, by path.
    """

    message: Makes
    before: Sequence[Makes] = ()
    after: Sequence[Makes] = ()
    facts: frozenset[Fact] = frozenset()
    parked: str | None = None
    mood: Mood = UP
    lasts: float = 0.0
    failing: float = 0.0
    receives: int = 0
    polls: int = 1
    waits: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    held: Mapping[str, Decimal] = field(default_factory=dict)


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


# Linkrunner is told payments, and holds this one in the end.
PAYMENT: dict[str, Any] = {"revenue": "payment"}
SOLD: Mapping[str, Decimal] = {"USD": Decimal("25.99")}
BESIDE: Fact = ("purchase_completed", "pi_1")

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
    "hint": Case(message=lambda: hint()[0], facts=frozenset({("paid", "PM1")}), answers=hint()[1]),
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
        message=_invoiced, parked="exhausted", mood=DOWN, lasts=HOUR * 999, failing=61 * HOUR
    ),
    "payment": Case(message=_invoiced, after=[_intent], settings=PAYMENT, held=SOLD),
    "payment-beside-an-event": Case(
        message=checkout, facts=frozenset({BESIDE}), settings={"revenue": "both"}, held=SOLD
    ),
    "payment-down-at-first": Case(
        message=checkout, settings=PAYMENT, held=SOLD, mood=DOWN, lasts=3, polls=2
    ),
    "payment-failed": Case(
        message=lambda: stripe("payment_intent.payment_failed", INTENT | USER),
        after=[_intent],
        settings=PAYMENT | {"failed_payments": True},
        held=SOLD,
    ),
    "payment-refunded": Case(
        message=lambda: refund(2599),
        before=[checkout],
        after=[_intent],
        facts=frozenset({ALL_REFUNDED}),
        settings=PAYMENT,
    ),
    "payment-replaced": Case(
        message=lambda: refund(1000),
        before=[checkout],
        facts=frozenset({REFUNDED}),
        settings=PAYMENT | {"partial_refund": "replace"},
        held={"USD": Decimal("15.99")},
    ),
    "payment-after-its-refund": Case(
        message=checkout,
        before=[lambda: refund(2599, **USER)],
        after=[_intent],
        facts=frozenset({ALL_REFUNDED}),
        settings=PAYMENT,
    ),
    "payment-after-a-part-went-back": Case(
        message=checkout,
        before=[lambda: refund(1000, **USER)],
        facts=frozenset({REFUNDED}),
        settings=PAYMENT | {"partial_refund": "replace"},
        held={"USD": Decimal("15.99")},
    ),
    "suspicious": Case(message=checkout, facts=frozenset({PAID}), receives=SUSPICIOUS),
    "signed-in-part": Case(
        message=adyen,
        after=[lambda: adyen(merchantReference="order_2")],
        facts=frozenset({("paid", "psp_1")}),
    ),
    "contradicted": Case(
        message=lambda: adyen(
            "CANCEL_OR_REFUND",
            additionalData={"modification.action": "refund", "hmacSignature": "signature of psp_2"},
            originalReference="psp_1",
            pspReference="psp_2",
        ),
        before=[
            adyen,
            lambda: adyen(
                "CANCEL_OR_REFUND",
                additionalData={
                    "modification.action": "cancel",
                    "hmacSignature": "signature of psp_2",
                },
                originalReference="psp_1",
                pspReference="psp_2",
            ),
        ],
        facts=frozenset({("paid", "psp_1"), ("purchase_cancelled", "psp_1")}),
        parked="contradicted",
    ),
}


@contextmanager
def begun(case: Case) -> Iterator[Cloud]:
    """A cloud in which the message waits and everything before it is done."""
    with simulated(_TABLES | {"linkrunner": dict(case.settings)}) as cloud:
        cloud.vendor.answers |= case.answers
        for each in case.before:
            cloud.store(each())
            cloud.run(Worker(cloud))
        cloud.clock.now = NOW + HOUR
        cloud.linkrunner.moods = [(cloud.clock.now, case.mood), (cloud.clock.now + case.lasts, UP)]
        message = case.message()
        _fail(cloud, message, case.failing)
        cloud.store(message)
        for stored in cloud.queue.messages.values():
            stored.receives = case.receives
        yield cloud


def _fail(cloud: Cloud, message: Message, seconds: float) -> None:
    """Its captures have been failing for so long, once an hour."""
    ledger = Ledger(cloud.table, "ledger", clock=(clock := Clock(cloud.clock.now - seconds)))
    while clock.now < cloud.clock.now:
        for each in plan_of(open_message(message.text, cloud.config)).planned:
            ledger.facts.release(ledger.facts.claim(each.keys, "before"))
        clock.now += HOUR


def polls(cloud: Cloud, worker: Worker, count: int, patience: float = 2 * HOUR) -> None:
    """Poll so often, each time when something is due; a worker that dies polls no more."""
    with suppress(Killed):
        for _ in range(count):
            wait = max(cloud.queue.next_at() - cloud.clock.now, 0.0)
            if wait <= patience:
                cloud.clock.sleep(wait)
                worker.poll()


def calls_of(case: Case) -> list[str]:
    """The external calls of an undisturbed delivery."""
    with begun(case) as cloud:
        worker = Worker(cloud)
        polls(cloud, worker, case.polls)
        return worker.gate.calls


def disturbed(case: Case, at: int, trouble: Trouble) -> Cloud:
    """What became of it after one call met trouble and a healthy worker came after."""
    with begun(case) as cloud:
        worker = Worker(cloud, trouble=_once(at, trouble))
        cloud.clock.spawn(partial(polls, cloud, worker, case.polls))
        cloud.clock.run()
        made = len(worker.gate.calls)
        cloud.run(Worker(cloud))
        assert worker.gate.died_at is None or len(worker.gate.calls) == made
        return cloud


def _once(at: int, trouble: Trouble) -> Callable[[int, str], Trouble | None]:
    return lambda number, _call: trouble if number == at else None


def _report_again(cloud: Cloud, reports: Sequence[Makes]) -> None:
    """Other reports of what was captured, a lease later."""
    cloud.clock.now += LEASE
    with cloud.ruling():
        for each in reports:
            cloud.store(each())
            cloud.run(Worker(cloud))


def unavoidable(call: str, trouble: Trouble) -> bool:
    """Whether Linkrunner can have taken an event that then nobody is left to know of."""
    if call == "post":
        return trouble in (Trouble.LOST, Trouble.DIES_AFTER)
    return call == "note" and trouble in (Trouble.DIES_BEFORE, Trouble.DIES_AFTER)


@pytest.mark.parametrize("trouble", Trouble, ids=lambda trouble: trouble.name.lower())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_any_call_of_a_delivery_may_meet_trouble(case: Case, trouble: Trouble) -> None:
    """Whichever call meets the trouble, the message is captured once or parked with its reason.

    And nothing waits for longer than it must: a worker's death costs a visibility timeout, any other trouble
    a lease and the try after it.
    """
    for at, call in enumerate(calls_of(case)):
        cloud = disturbed(case, at, trouble)
        what = f"call {at}: {call} {trouble.value}"
        waited = cloud.clock.now - (NOW + HOUR)
        assert waited <= _limit(case, call, trouble) + case.waits + SLACK, what
        if call == "post" and trouble is Trouble.REPEATED:
            continue  # requests to Linkrunner are never repeated behind our back
        cloud.assert_nothing_left()
        _report_again(cloud, case.after)
        assert set(cloud.captured) == case.facts, what
        assert cloud.linkrunner.book.totals() == case.held, what
        extra = sum(cloud.captured.values()) - len(case.facts)
        assert extra <= unavoidable(call, trouble), what
        assert set(cloud.dead.reasons) == ({case.parked} if case.parked else set()), what
        # A copy is parked before the original is let go; what is parked twice is redriven once.
        assert len(cloud.dead.reasons) <= 1 + (call in ("park", "tally", "delete")), what


def test_every_kind_of_call_was_disturbed() -> None:
    """The cases go through every external call that a delivery can make."""
    made = {call for case in CASES.values() for call in calls_of(case)}
    assert made == {
        "receive", "secret", "claim", "user_of", "post", "note", "release", "park", "delay", "delete",
        "count", "forget", "bind", "learn", "trouble", "tally",
        "ask", "return", "mark", "take", "let go", "intend", "held",
    }  # fmt: skip


def _limit(case: Case, call: str, trouble: Trouble) -> float:
    if call == "post" and trouble is Trouble.LOST:
        return wait(1, Reason.UNANSWERED) * 1.25
    if case.message is CASES["nobodys-refund"].message and call in TABLE_CALLS:
        # While the table was away its payment may have been held up.
        return TROUBLE + wait(99, Reason.PAYER_UNKNOWN) * 1.25
    return VISIBILITY if _hidden(call, trouble) else LEASE * 2.25


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
        with begun(case) as cloud:
            worker = Worker(cloud, trouble=_once(at, trouble))
            cloud.clock.spawn(partial(polls, cloud, worker, 1))
            cloud.clock.run()
            died_at = cloud.clock.now
            cloud.store(twin())
            settled: list[float] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(cloud.queue, "delete", _noting(cloud, settled))
                cloud.run(Worker(cloud))
            assert settled[0] - died_at <= LEASE * 2.25, f"call {at}: {call}"
            cloud.assert_nothing_left()
            cloud.assert_once({PAID})


def _noting(cloud: Cloud, settled: list[float]) -> Callable[[str], None]:
    delete = cloud.queue.delete

    def noted(handle: str) -> None:
        settled.append(cloud.clock.now)
        delete(handle)

    return noted


def test_the_dead_make_no_calls() -> None:
    """A worker that is dead stays dead, whatever its code still tries."""
    with begun(CASES["one-key"]) as cloud:
        worker = Worker(
            cloud, trouble=lambda _, call: Trouble.DIES_AFTER if call == "post" else None
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


def _again(cloud: Cloud) -> None:
    """SQS delivers what is in flight once more."""
    for stored in cloud.queue.messages.values():
        cloud.queue.show(stored, cloud.clock.now)


def _twin(cloud: Cloud) -> None:
    cloud.store(_intent())


def _both(cloud: Cloud) -> None:
    _again(cloud)
    _twin(cloud)


def meeting(
    case: Case, at: int, arrives: Callable[[Cloud], None], away: float
) -> tuple[Cloud, list[str]]:
    """Worker A stops at a point of its delivery while B works, and goes on after so many seconds."""
    with begun(case) as cloud:

        def meet(point: int, _call: str) -> None:
            if point == at:
                arrives(cloud)
                stopped_at = cloud.clock.now
                second = Worker(cloud)
                work = second.work if away > LEASE else lambda: polls(cloud, second, 4, away / 8)
                cloud.clock.join([cloud.clock.spawn(work)])
                cloud.clock.sleep(stopped_at + away - cloud.clock.now)

        first = Worker(cloud, meet=meet)
        cloud.clock.spawn(lambda: polls(cloud, first, case.polls))
        cloud.clock.run()
        cloud.run(Worker(cloud))
        return cloud, first.gate.calls


MEETINGS = [
    "one-key", "two-keys", "captured-before", "last-key-known", "down-at-first", "refund",
    "payment", "payment-beside-an-event", "payment-replaced", "payment-after-its-refund",
]  # fmt: skip


@pytest.mark.parametrize("arrives", [_again, _twin, _both])
@pytest.mark.parametrize("case", [CASES[name] for name in MEETINGS], ids=MEETINGS)
def test_two_workers_that_meet_capture_once(case: Case, arrives: Callable[[Cloud], None]) -> None:
    """Wherever A pauses while B has the same message or a twin of it, the payment is captured once."""
    for at in points_of(case):
        cloud, calls = meeting(case, at, arrives, away=40.0)
        cloud.assert_nothing_left()
        assert dict(cloud.captured) == dict.fromkeys(case.facts, 1), (at, calls)
        assert cloud.linkrunner.book.totals() == case.held, (at, calls)
        assert cloud.dead.reasons == []


@pytest.mark.parametrize("away", [40.0, 2 * VISIBILITY])
@pytest.mark.parametrize("total", [1000, 2599])
def test_a_refund_that_meets_its_payment(total: int, away: float) -> None:
    """Wherever A pauses over the payment while B has its refund, what is left is held in the end."""
    settings = PAYMENT | {"partial_refund": "replace"}
    case = Case(message=checkout, settings=settings)
    left = {} if total == 2599 else {"USD": Decimal("15.99")}
    for at in points_of(case):
        cloud, calls = meeting(case, at, lambda cloud: cloud.store(refund(total, **USER)), away)
        cloud.assert_nothing_left()
        assert cloud.linkrunner.book.totals() == left, (at, calls)
        assert cloud.dead.reasons == []


@pytest.mark.parametrize("arrives", [_again, _twin, _both])
@pytest.mark.parametrize("case", [CASES[name] for name in MEETINGS], ids=MEETINGS)
def test_a_frozen_worker_doubles_only_what_it_left_unnoted(
    case: Case, arrives: Callable[[Cloud], None]
) -> None:
    """A worker that froze past its timeout ends; a capture counts twice only where its note was missing."""
    for at in points_of(case):
        cloud, calls = meeting(case, at, arrives, away=2 * VISIBILITY)
        cloud.assert_nothing_left()
        assert set(cloud.captured) == case.facts
        assert cloud.linkrunner.book.totals() == case.held, (at, calls)
        extra = sum(cloud.captured.values()) - len(case.facts)
        between = at % 2 == 1 if calls[at // 2] == "post" else calls[at // 2] == "note"
        assert extra <= between, (at, calls)
        assert cloud.dead.reasons == []


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


_REFUNDED_ORDER = SHOPIFY_REFUND | {
    "note_attributes": [{"name": "linkrunner_user_id", "value": "42"}]
}
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


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("fact", EVERY_REPORT.values(), ids=EVERY_REPORT)
def test_every_report_at_once(fact: tuple[Sequence[Makes], tuple[float, float]], seed: int) -> None:
    """All reports of a payment, twice and shuffled, over two busy workers: one amount, one refund."""
    reports, (paid, refunded) = fact
    dice = Random(seed)
    messages = [make() for make in reports for _ in range(2)]
    dice.shuffle(messages)
    with simulated(_TABLES, seed) as cloud:
        # Whoever arrives at a call waits for its turn, which is drawn by lot.
        meet = lambda _point, _call: cloud.clock.sleep(dice.choice((0.0, 0.0, 0.001)))  # noqa: E731
        cloud.queue.echo = lambda: dice.uniform(0, 9) if dice.random() < 0.3 else None
        cloud.store(*messages)
        cloud.run(*eight_in_hand(cloud, meet=meet))
        cloud.assert_nothing_left()
        assert cloud.dead.reasons == []
    bodies = [each.body for each in cloud.linkrunner.captures]
    amounts = [
        (body["event_name"] == "purchase_refunded", amount)
        for body in bodies
        if (amount := moved(body["event_data"])) is not None
    ]
    assert sorted(amounts) == [(False, paid), (True, refunded)]
    assert {body["user_id"] for body in bodies} <= {"user_42", "42"}


# ------------------------------------------------------------------------- trouble that lasts


@pytest.mark.parametrize("begins", range(0, 66, 6))
def test_a_table_that_stops_answering_in_the_middle(begins: int) -> None:
    """When every call of the table hangs from some moment on, for ten minutes, no sale is counted twice."""
    with simulated(_TABLES) as cloud:
        cloud.linkrunner.downlink = lambda: 9.5
        cloud.store(*(another(number) for number in range(60)))

        def trouble(_number: int, call: str) -> Trouble | None:
            away = NOW + begins <= cloud.clock.now < NOW + 600
            return Trouble.HANGS if away and call in TABLE_CALLS else None

        workers = eight_in_hand(cloud, trouble=trouble)
        cloud.run(*workers)
        assert [worker.died_at for worker in workers] == [[]] * len(workers)
        cloud.assert_nothing_left()
        assert set(cloud.captured.values()) == {1}
        assert len(cloud.captured) == 60
        assert cloud.dead.reasons == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_table_that_goes_away_at_any_call(case: Case) -> None:
    """From any call of a delivery on the table refuses everything for ten minutes, and all is as usual."""
    for at, call in enumerate(calls_of(case)):
        with begun(case) as cloud:
            since: list[float] = []

            def trouble(
                number: int,
                call: str,
                cloud: Cloud = cloud,
                since: list[float] = since,
                at: int = at,
            ) -> Trouble | None:
                if number >= at:
                    since.append(cloud.clock.now)
                away = since and cloud.clock.now < since[0] + 600
                return Trouble.REFUSED if away and call in TABLE_CALLS else None

            cloud.run(Worker(cloud, trouble=trouble))
            cloud.assert_nothing_left()
            _report_again(cloud, case.after)
            assert dict(cloud.captured) == dict.fromkeys(case.facts, 1), f"from call {at}: {call}"
            assert cloud.linkrunner.book.totals() == case.held, f"from call {at}: {call}"
            assert set(cloud.dead.reasons) == ({case.parked} if case.parked else set())


def test_what_kills_every_worker_is_put_aside_soon() -> None:
    """A message that no worker survives is parked within hours; what came with it is delivered once."""
    companions = [another(number) for number in range(20)]
    nobodys = [another(100 + number, client_reference_id=None) for number in range(9)]
    with simulated(_TABLES) as cloud:
        cloud.store(*companions, replace(checkout(), text="?"), *nobodys)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("linkrunner_webhooks.envelope.unseal", _deadly)
            cloud.run(*eight_in_hand(cloud))
        assert dict(cloud.captured) == {("paid", f"pi_{number}"): 1 for number in range(20)}
        assert sorted(cloud.dead.reasons) == ["crashed"] + ["missing_user"] * 9
        assert cloud.clock.now <= NOW + 4 * HOUR
        (crashed,) = (
            each
            for each in cloud.dead.messages.values()
            if each.attributes["reason"]["StringValue"] == "crashed"
        )
        # Parked by us, and so with the whole time that the dead-letter queue gives.
        assert crashed.sent_at > NOW + HOUR


def _deadly(text: str) -> Envelope:
    if text == "?":
        raise Killed
    return unseal(text)
