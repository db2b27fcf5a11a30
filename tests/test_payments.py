"""Payments at Linkrunner: what is asked, what is never asked, and what Linkrunner holds in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import islice, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import samples
from tests.messages import (
    INTENT,
    NEW_INVOICE,
    ORDER,
    SHOPIFY_REFUND,
    TABLES,
    USER,
    checkout,
    refund,
    shopify,
    stripe,
    two_events,
)
from tests.simulation.clock import HOUR
from tests.simulation.cloud import Cloud, simulated
from tests.simulation.gate import Trouble
from tests.simulation.linkrunner import DOWN, HANGS, LOSES_ANSWERS, UP, Mood
from tests.simulation.worker import Worker
from tests.stories import Pipeline, stories, told, users
from tests.test_faults import polls
from tests.test_stories import orders

from linkrunner_webhooks import payments, providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.payments import (
    NOTHING,
    Account,
    CapturePayment,
    RemovePayment,
    Returned,
    Terms,
    Version,
)
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks_cli.stories import read
from linkrunner_webhooks_local.payment_book import PaymentBook

TERMS = Terms(payment_id="p", type="DEFAULT", paid=Decimal(100), currency="EUR")
SOLD = {"USD": Decimal("25.99")}

# ------------------------------------------------------------------------- what can be asked


@pytest.mark.parametrize("nothing", ["", " ", None, 0])
def test_a_removal_names_a_payment(nothing: Any) -> None:
    """Without a payment's id Linkrunner would remove all that a user ever paid."""
    with pytest.raises(ValueError, match="id"):
        RemovePayment(nothing)
    with pytest.raises(ValueError, match="id"):
        CapturePayment(nothing, "user_42", 1, {})
    with pytest.raises(TypeError):
        RemovePayment()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        RemovePayment(user_id="user_42")  # type: ignore[call-arg]


def test_a_removal_says_nothing_else() -> None:
    """With a user beside the payment it could be read as all of that user's."""
    assert RemovePayment("p").body() == {"payment_id": "p"}


def test_types_are_the_documented_ones() -> None:
    """https://docs.linkrunner.io/api-reference/revenue-tracking"""
    assert " ".join(payments.Type) == (
        "DEFAULT FIRST_PAYMENT SECOND_PAYMENT WALLET_TOPUP FUNDS_WITHDRAWAL SUBSCRIPTION_CREATED"
        " SUBSCRIPTION_RENEWED ONE_TIME RECURRING"
    )


# ------------------------------------------------------------------------- what should be held


def returned(*amounts: int, currency: str = "EUR") -> frozenset[Returned]:
    """Refunds of so much each."""
    return frozenset(
        Returned(f"r{number}", Decimal(amount), currency) for number, amount in enumerate(amounts)
    )


@pytest.mark.parametrize(
    ("amounts", "kept", "left"),
    [
        ((), 100, 100),
        ((40,), 100, 60),
        ((40, 60), 0, 0),
        ((40, 70), 0, 0),
        ((40, -40), 100, 100),
        ((-40,), 100, 100),
    ],
)
def test_what_is_left(amounts: tuple[int, ...], kept: int, left: int) -> None:
    """A payment stays until all of it went back, or what is left takes its place."""
    account = Account(TERMS, returned(*amounts))
    assert account.wanted("keep").left == kept
    assert account.wanted("replace").left == left
    assert (account.wanted("replace") == NOTHING) is (left == 0)


def test_another_currency_says_nothing_of_what_is_left() -> None:
    """A refund in the currency of the shop is no part of a payment in the buyer's."""
    assert Account(TERMS, returned(100, currency="USD")).wanted("replace") == Version(
        "p", TERMS.paid
    )


@given(st.lists(st.integers(-100, 100), max_size=6), st.permutations(range(6)))
def test_the_id_of_what_is_left_does_not_depend_on_the_order(
    amounts: list[int], order: list[int]
) -> None:
    """Whoever comes to it, by whichever way, asks for the same."""
    all_of_it = list(returned(*amounts))
    shuffled = frozenset(all_of_it[place] for place in order if place < len(all_of_it))
    assert Account(TERMS, shuffled).wanted("replace") == Account(
        TERMS, frozenset(all_of_it)
    ).wanted("replace")


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=8))
def test_what_was_taken_away_does_not_come_again_under_its_id(amounts: list[int]) -> None:
    """Linkrunner may remember for ever that an id was there."""
    book, account = PaymentBook(), Account(TERMS)
    for number in range(len(amounts) + 1):
        known = Account(
            TERMS,
            returned(*amounts[:number]),
            account.versions,
            account.leaving,
            account.gone,
            account.current,
        )
        version = known.wanted("replace")
        leaving = known.held - {version.payment_id}
        for payment_id in leaving:
            book.remove({"payment_id": payment_id})
        body = {"payment_id": version.payment_id, "amount": version.left, "user_id": "u"}
        new = version in (NOTHING, known.current) or book.capture(body)
        assert new, "captured again under an id that was known"
        account = Account(
            TERMS,
            known.returned,
            known.versions | ({version.payment_id} - {""}),
            known.leaving | leaving,
            known.gone | leaving,
            version,
        )
        assert sum(each["amount"] for each in book.payments.values()) == known.left()


@pytest.mark.parametrize("text", ["", "x", "{}", '{"payment_id": 1}', "r1|NaNs|EUR", "||", "|"])
def test_what_nobody_wrote_is_read_as_nothing(text: str) -> None:
    """A row of the ledger cannot stop a payment."""
    assert Terms.of(text) is None
    assert Returned.of(text).amount == 0


# ------------------------------------------------------------------------- every provider's stories


def left_of(story: Any) -> dict[str, Decimal]:
    """What is left of a story's payments in the end, by currency."""
    found: dict[str, Decimal] = {}
    signs = {"payment": 1, "refund": -1, "refund_reversal": 1}
    # What is disputed is gone when the dispute is lost.
    if "dispute_lost" in story["besides"]:
        signs |= {"dispute": -1}
    if "purchase_cancelled" in story["besides"]:
        # It counted when it was authorised, and nothing is paid after all.
        return {}
    for flow, amounts in story["money"].items():
        for amount, currency in map(str.split, amounts):
            found[currency] = found.get(currency, Decimal(0)) + signs.get(flow, 0) * Decimal(amount)
    return {currency: max(total, Decimal(0)) for currency, total in found.items() if total > 0}


@pytest.mark.parametrize("revenue", ["payment", "both"])
@pytest.mark.parametrize(("name", "title"), list(stories()))
def test_payments_end_as_what_is_left(name: str, title: str, revenue: str) -> None:
    """In some orders, each report twice: what was not refunded or lost, once, and no revenue besides."""
    (story,) = (each for each in read(name) if each["story"] == title)
    provider = providers.load(name)
    reports = [told(name, entry) for entry in story["cases"]]
    settings = {"linkrunner": {"revenue": revenue, "partial_refund": "replace"}}
    config = Config(samples.tables(provider, **users(provider, story)) | settings)
    for order in islice(orders(reports), 3 if revenue == "payment" else 1):
        pipeline = Pipeline(provider, config)
        pipeline.deliver(order, known=reports)
        assert pipeline.parked == []
        book = PaymentBook()
        for request in pipeline.requests:
            if isinstance(request, CapturePayment):
                assert book.capture(request.body())
            elif isinstance(request, RemovePayment):
                assert book.remove(request.body()) == 1
        assert book.totals() == left_of(story)
        assert not [each for each in pipeline.captured if "amount" in each.event_data]


# ------------------------------------------------------------------------- what one payment meets


def told_to(**settings: Any) -> dict[str, Any]:
    """The tables of a merchant who wants payments."""
    return TABLES | {"linkrunner": {"revenue": "payment"} | settings}


def in_turn(cloud: Cloud, *messages: Callable[[], Message]) -> None:
    """Deliver one after the other."""
    for make in messages:
        cloud.store(make())
        cloud.run(Worker(cloud))
        cloud.clock.now += HOUR


def dies_before(call: str) -> Callable[[int, str], Trouble | None]:
    """The worker's end."""
    return lambda _, name: Trouble.DIES_BEFORE if name == call else None


def held(cloud: Cloud) -> Sequence[tuple[str, str, Any]]:
    """The type, id and amount of each payment that Linkrunner holds."""
    return [(*key, body["amount"]) for key, body in cloud.linkrunner.book.payments.items()]


def test_the_request_is_the_documented_one() -> None:
    """What names it comes from the fact, and what ad networks read from the event."""
    with simulated(told_to(types={"purchase_completed": "ONE_TIME"})) as cloud:
        in_turn(cloud, checkout)
        (body,) = cloud.linkrunner.book.payments.values()
    assert body == {
        "user_id": "user_42",
        "payment_id": "stripe:payment:pi_1",
        "amount": 25.99,
        "type": "ONE_TIME",
        "status": "PAYMENT_COMPLETED",
        "event_data": body["event_data"],
    }
    data = body["event_data"]
    assert (data["value"], data["currency"], data["order_id"]) == (25.99, "USD", "pi_1")
    assert "amount" not in data


@pytest.mark.parametrize("mood", [LOSES_ANSWERS, Mood(status=502, takes_it=True)])
@pytest.mark.parametrize("revenue", ["payment", "both"])
def test_a_lost_answer_counts_nothing_twice(revenue: str, mood: Mood) -> None:
    """Linkrunner takes it and says nothing, again and again: one payment, and no doubt."""
    with simulated(told_to(revenue=revenue)) as cloud:
        cloud.linkrunner.moods = [(0, mood), (cloud.clock.now + 9 * HOUR, UP)]
        in_turn(cloud, checkout)
        assert held(cloud) == [("DEFAULT", "stripe:payment:pi_1", 25.99)]
        assert cloud.linkrunner.book.repeated
        assert cloud.dead.reasons == []


def test_another_report_repeats_what_the_first_said() -> None:
    """Nobody knows if the first try was taken, so what names the payment must not depend on the report."""
    paid = NEW_INVOICE | {"amount_paid": 2599, "currency": "usd"}
    invoice = partial(stripe, "invoice.paid", paid)
    intent = partial(stripe, "payment_intent.succeeded", INTENT | USER | {"invoice": "in_1"})
    types = {"subscription_renewed": "SUBSCRIPTION_RENEWED", "purchase_completed": "ONE_TIME"}
    for first, second in ((invoice, intent), (intent, invoice)):
        with simulated(told_to(types=types)) as cloud:
            cloud.linkrunner.moods = [(0, LOSES_ANSWERS), (cloud.clock.now + HOUR, UP)]
            cloud.store(first())
            polls(cloud, Worker(cloud), 1)
            cloud.store(second())
            cloud.store(stripe("invoice.paid", NEW_INVOICE | {"payment_intent": "pi_1"}))
            cloud.clock.now += 2 * HOUR
            cloud.run(Worker(cloud))
            assert len(held(cloud)) == 1, held(cloud)


def test_a_type_that_is_changed_between_two_tries() -> None:
    """A type is part of what names a payment: under another one it would count once more."""
    with simulated(told_to()) as cloud:
        cloud.linkrunner.moods = [(0, LOSES_ANSWERS), (cloud.clock.now + HOUR, UP)]
        cloud.store(checkout())
        polls(cloud, Worker(cloud), 1)
        cloud.config = Config(told_to(types={"purchase_completed": "ONE_TIME"}))
        cloud.clock.now += 2 * HOUR
        cloud.run(Worker(cloud))
        assert held(cloud) == [("DEFAULT", "stripe:payment:pi_1", 25.99)]


def test_a_part_that_goes_back_between_two_tries() -> None:
    """What an unanswered try may have left there goes away, and what is left is there once."""
    with simulated(told_to(partial_refund="replace")) as cloud:
        cloud.linkrunner.moods = [(0, LOSES_ANSWERS), (cloud.clock.now + 60, UP)]
        cloud.store(checkout())
        polls(cloud, Worker(cloud), 1)
        assert held(cloud) == [("DEFAULT", "stripe:payment:pi_1", 25.99)]
        cloud.store(refund(1000, **USER))
        cloud.clock.now += HOUR
        cloud.run(Worker(cloud))
        assert [each[2] for each in held(cloud)] == [15.99]
        in_turn(cloud, partial(refund, 1500, 1000))
        assert [each[2] for each in held(cloud)] == [10.99]
        in_turn(cloud, partial(refund, 2599, 1500))
        assert held(cloud) == []


def test_a_version_that_nobody_noted_goes_away_too() -> None:
    """A worker dies over what is left; then more goes back, and only the newest rest is there."""
    with simulated(told_to(partial_refund="replace")) as cloud:
        in_turn(cloud, checkout)
        worker = Worker(cloud, trouble=dies_before("held"))
        cloud.store(refund(1000))
        cloud.clock.spawn(lambda: polls(cloud, worker, 1))
        cloud.clock.run()
        assert [each[2] for each in held(cloud)] == [15.99]
        # This one is quicker than what its worker left behind.
        for stored in cloud.queue.messages.values():
            cloud.queue.show(stored, cloud.clock.now + 9 * HOUR)
        cloud.clock.now += 2 * HOUR
        in_turn(cloud, partial(refund, 1500, 1000))
        assert [each[2] for each in held(cloud)] == [10.99]


@pytest.mark.parametrize("revenue", ["event", "payment"])
def test_what_was_sent_as_an_event_is_not_a_payment_later(revenue: str) -> None:
    """A merchant who changes the setting counts nothing twice, and a refund takes nothing away."""
    other = "payment" if revenue == "event" else "event"
    with simulated(told_to(revenue=revenue)) as cloud:
        in_turn(cloud, checkout)
        cloud.config = Config(told_to(revenue=other))
        in_turn(cloud, checkout, lambda: stripe("payment_intent.succeeded", INTENT | USER))
        sold = [
            each.body for each in cloud.linkrunner.captures if "amount" in each.body["event_data"]
        ]
        assert len(sold) + len(held(cloud)) == 1
        in_turn(cloud, lambda: refund(2599))
        assert len(held(cloud)) == 0


def test_failed_payments_are_another_payment() -> None:
    """A state never changes at Linkrunner: what failed first must not be in the way of what is paid."""
    failed = partial(stripe, "payment_intent.payment_failed", INTENT | USER)
    with simulated(told_to(failed_payments=True)) as cloud:
        in_turn(cloud, failed, failed, checkout)
        bodies = cloud.linkrunner.book.payments
        assert cloud.linkrunner.book.totals() == SOLD
        assert sorted(each["status"] for each in bodies.values()) == [
            "PAYMENT_COMPLETED",
            "PAYMENT_FAILED",
            "PAYMENT_FAILED",
        ]
        assert not any("amount" in each["event_data"] for each in bodies.values())


def test_an_app_names_the_payment() -> None:
    """Appbrew reports an order under its name, and the webhook must not be a second one."""
    order = {
        "id": 1001,
        "name": "#1001",
        "total_price": "59.90",
        "currency": "EUR",
        "note_attributes": [{"name": "linkrunner_user_id", "value": "42"}],
    }
    tables = told_to() | {"shopify": {"payment_id": "name"}}
    with simulated(tables) as cloud:
        app = {"payment_id": "#1001", "amount": 59.9, "user_id": "42", "event_data": {}}
        cloud.linkrunner.book.capture(app)
        in_turn(cloud, lambda: shopify("orders/paid", order))
        assert held(cloud) == [("DEFAULT", "#1001", 59.9)]
        assert cloud.linkrunner.book.repeated
        in_turn(
            cloud, lambda: shopify("orders/paid", {**order, "id": 1002, "name": "jane@example.com"})
        )
        assert held(cloud)[1][1] == "shopify:payment:1002"


def test_a_refund_of_a_renewal_leaves_the_first_payment() -> None:
    """Apple's first charge says whose a refunded renewal is, and stays when the renewal is not known here."""
    provider = providers.load("apple")
    config = Config({"apple": provider.options.example(), "linkrunner": {"revenue": "payment"}})
    pipeline = Pipeline(provider, config)
    first = told("apple", "subscribed")
    refunded = told("apple", "refund_of_a_renewal_without_a_user")
    pipeline.deliver([first, refunded])
    assert [type(each) for each in pipeline.requests] == [CapturePayment, LinkrunnerEvent]


# ------------------------------------------------------------------------- what others found

SHOP_ORDER: dict[str, Any] = {
    "transaction_id": "pi_1234567890abcdefABCDEF12",
    "payment_method": "stripe",
    "payment_method_title": "Card",
}
GATEWAYS_REFUND: dict[str, Any] = {
    "payment_intent": SHOP_ORDER["transaction_id"],
    "amount": 2500,
    "amount_captured": 2500,
    "currency": "eur",
}


def apart(cloud: Cloud, *messages: Callable[[], Message], down: float) -> None:
    """The first is tried once while Linkrunner is down, and again after all others."""
    first, *others = messages
    cloud.linkrunner.moods = [(0, DOWN), (cloud.clock.now + down, UP)]
    cloud.store(first())
    polls(cloud, Worker(cloud), 1)
    for stored in cloud.queue.messages.values():
        cloud.queue.show(stored, cloud.clock.now + 9 * HOUR)
    cloud.clock.now += down + 60
    for make in others:
        cloud.store(make())
        polls(cloud, Worker(cloud), 1)
    cloud.clock.now += 10 * HOUR
    cloud.run(Worker(cloud))


@pytest.mark.parametrize("partial_refund", ["keep", "replace"])
@pytest.mark.parametrize("first", ["refunds/create", "order_transactions/create"])
def test_two_reports_of_one_refund_take_it_away_once(first: str, partial_refund: str) -> None:
    """The first fails after it is noted, and the second is of the same refund under other ids."""
    changes = {"amount": "30.00", "created_at": "2027-01-14T10:00:00Z"}
    (part,) = ({**each, **changes} for each in SHOPIFY_REFUND["transactions"])
    told = {
        "refunds/create": SHOPIFY_REFUND | {"transactions": [part]},
        "order_transactions/create": part | {"order_id": 1001, "status": "success"},
    }
    reports = [partial(shopify, topic, told[topic]) for topic in sorted(told, key=first.__ne__)]
    tables = told_to(partial_refund=partial_refund)
    tables["shopify"] = {"events": {"order_transactions/create": True}}
    with simulated(tables) as cloud:
        in_turn(cloud, partial(shopify, "orders/paid", ORDER))
        apart(cloud, *reports, down=600)
        left = 59.9 if partial_refund == "keep" else 29.9
        assert [each[2] for each in held(cloud)] == [left]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_ids_that_turn_out_to_be_one_payment(order: Sequence[int]) -> None:
    """An invoice, an intent, what says that they are one, and a refund: all of it is gone in the end."""
    paid = NEW_INVOICE | {"amount_paid": 2599, "currency": "usd"}
    one = {"payment": {"type": "payment_intent", "payment_intent": "pi_1"}, "invoice": "in_1"}
    reports = [
        partial(stripe, "invoice.paid", paid),
        partial(stripe, "payment_intent.succeeded", INTENT | USER),
        partial(stripe, "invoice_payment.paid", {"id": "inpay_1", "status": "paid"} | one),
        partial(refund, 2599, **USER),
    ]
    with simulated(told_to()) as cloud:
        in_turn(cloud, *(reports[place] for place in order))
        assert held(cloud) == []
        assert cloud.dead.reasons == []


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2)])
def test_a_gateway_takes_back_what_a_shop_sold(order: Sequence[int]) -> None:
    """Stripe tells of the refund under the payment's id at Stripe, and the shop of the same under its own."""
    back = [{"id": 9, "total": "-25.00"}]
    reports = [
        partial(two_events, **SHOP_ORDER),
        partial(refund, 2500, **GATEWAYS_REFUND, **USER),
        partial(two_events, status="refunded", refunds=back, **SHOP_ORDER),
    ]
    with simulated(told_to()) as cloud:
        in_turn(cloud, *(reports[place] for place in order))
        assert held(cloud) == []
    with simulated(told_to()) as cloud:
        # The shop tells of no refund at all.
        in_turn(cloud, *(reports[place] for place in order if place < 2))
        assert held(cloud) == []


@pytest.mark.parametrize("partial_refund", ["keep", "replace"])
def test_a_part_that_shop_and_gateway_tell_went_back_once(partial_refund: str) -> None:
    """Also when the first report fails in between."""
    back = [{"id": 9, "total": "-12.50"}]
    with simulated(told_to(partial_refund=partial_refund)) as cloud:
        in_turn(cloud, partial(two_events, **SHOP_ORDER))
        apart(
            cloud,
            partial(refund, 1250, **GATEWAYS_REFUND, **USER),
            partial(two_events, refunds=back, **SHOP_ORDER),
            down=600,
        )
        assert [each[2] for each in held(cloud)] == [25 if partial_refund == "keep" else 12.5]


@pytest.mark.parametrize(
    ("before", "after"),
    [("payment", "event"), ("both", "event"), ("event", "payment"), ("payment", "both")],
)
def test_a_setting_that_is_changed_between_two_tries(before: str, after: str) -> None:
    """Linkrunner may have taken the first try, so the second is of the same kind."""
    with simulated(told_to(revenue=before)) as cloud:
        cloud.linkrunner.moods = [(0, LOSES_ANSWERS), (cloud.clock.now + HOUR, UP)]
        cloud.store(checkout())
        polls(cloud, Worker(cloud), 1)
        cloud.config = Config(told_to(revenue=after))
        cloud.clock.now += 2 * HOUR
        cloud.run(Worker(cloud))
        events = [each for each in cloud.linkrunner.captures if "amount" in each.body["event_data"]]
        # A lost answer of an event may count twice; it is an event all the same.
        assert bool(events) is (before == "event")
        assert bool(held(cloud)) is (before != "event")


def test_a_note_that_came_late_finds_what_went_back() -> None:
    """The payment is captured and cannot be noted; its refund comes before the note."""
    with simulated(told_to()) as cloud:
        worker = Worker(cloud, trouble=lambda _, call: Trouble.REFUSED if call == "note" else None)
        cloud.store(checkout())
        cloud.clock.spawn(lambda: polls(cloud, worker, 1))
        cloud.clock.run()
        assert held(cloud)
        for stored in cloud.queue.messages.values():
            cloud.queue.show(stored, cloud.clock.now + 9 * HOUR)
        cloud.clock.now += HOUR
        cloud.store(refund(2599, **USER))
        polls(cloud, Worker(cloud), 2)
        cloud.clock.now += 10 * HOUR
        cloud.run(Worker(cloud))
        assert held(cloud) == []


def test_an_id_belongs_to_one_payment() -> None:
    """Two shops number their orders alike, and the operator gives both the order's name."""
    tables = told_to() | {
        name: {"provider": "shopify", "payment_id": "name"} for name in ("shopify", "shopify_eu")
    }
    first, second = (
        ORDER | {"name": "#1001"},
        ORDER | {"id": 2001, "name": "#1001", "total_price": "99"},
    )
    del second["admin_graphql_api_id"]
    with simulated(tables) as cloud:
        in_turn(
            cloud,
            partial(shopify, "orders/paid", first),
            partial(shopify, "orders/paid", second, "shopify_eu"),
        )
        assert [each[1:] for each in held(cloud)] == [
            ("#1001", 59.9),
            ("shopify:payment:2001", 99),
        ]
        (part,) = ({**each, "amount": "99.00"} for each in SHOPIFY_REFUND["transactions"])
        back = {"id": 6, "order_id": 2001, "transactions": [part]}
        in_turn(cloud, partial(shopify, "refunds/create", back, "shopify_eu"))
        assert [each[1:] for each in held(cloud)] == [("#1001", 59.9)]


@pytest.mark.parametrize("total", [1000, 2599])
def test_a_slow_capture_is_not_overtaken_by_its_removal(total: int) -> None:
    """It arrives a minute after we stopped waiting for it, and the refund has come meanwhile."""
    with simulated(told_to(partial_refund="replace")) as cloud:
        cloud.linkrunner.moods = [(0, HANGS), (cloud.clock.now + 1, UP)]
        cloud.store(checkout())
        polls(cloud, Worker(cloud), 1)
        cloud.store(refund(total, **USER))
        # Both are tried for half a minute.
        polls(cloud, Worker(cloud), 4, patience=25.0)
        body = {"type": "DEFAULT", "payment_id": "stripe:payment:pi_1", "amount": 25.99}
        cloud.linkrunner.book.capture(
            body | {"user_id": "user_42", "event_data": {"currency": "USD"}}
        )
        cloud.run(Worker(cloud))
        assert [each[2] for each in held(cloud)] == ([] if total == 2599 else [15.99])


@pytest.mark.parametrize("partial_refund", ["keep", "replace"])
def test_what_a_gateway_told_before_the_order_is_not_forgotten(partial_refund: str) -> None:
    """The first refund comes before the shop's order, and the second settles the payment once more."""
    gone = partial(refund, **GATEWAYS_REFUND, **USER)
    with simulated(told_to(partial_refund=partial_refund)) as cloud:
        in_turn(
            cloud, partial(gone, 500), partial(two_events, **SHOP_ORDER), partial(gone, 1250, 500)
        )
        assert [each[2] for each in held(cloud)] == [25 if partial_refund == "keep" else 12.5]
    with simulated(told_to(partial_refund=partial_refund)) as cloud:
        in_turn(cloud, partial(gone, 2500), partial(two_events, **SHOP_ORDER), partial(gone, 2500))
        assert held(cloud) == []


def test_a_lost_event_of_the_shop_makes_no_second_payment() -> None:
    """Its payment is there and the answer to its event is lost; then the gateway reports the same."""
    paid = INTENT | {"id": SHOP_ORDER["transaction_id"], "amount": 2500, "amount_received": 2500}
    intent = partial(stripe, "payment_intent.succeeded", paid | {"currency": "eur"} | USER)
    with simulated(told_to(revenue="both")) as cloud:
        worker = Worker(cloud, trouble=nth("post", 1, Trouble.LOST))
        cloud.store(two_events(**SHOP_ORDER))
        cloud.clock.spawn(lambda: polls(cloud, worker, 1))
        cloud.clock.run()
        for stored in cloud.queue.messages.values():
            cloud.queue.show(stored, cloud.clock.now + 9 * HOUR)
        cloud.clock.now += HOUR
        in_turn(cloud, intent)
        work_off(cloud)
        assert cloud.linkrunner.book.totals() == {"EUR": Decimal(25)}
        assert not [
            each for each in cloud.linkrunner.captures if "amount" in each.body["event_data"]
        ]


def nth(call: str, number: int, trouble: Trouble) -> Callable[[int, str], Trouble | None]:
    """Trouble at one of the calls of that name, from 0."""
    left = [number]

    def met(_: int, name: str) -> Trouble | None:
        if name != call:
            return None
        left[0] -= 1
        return trouble if left[0] == -1 else None

    return met


def work_off(cloud: Cloud) -> None:
    """All that is there, whenever it is due."""
    cloud.clock.now += 10 * HOUR
    cloud.run(Worker(cloud))


@pytest.mark.parametrize("revenue", ["event", "payment"])
@pytest.mark.parametrize("note", [0, 1, 2])
def test_a_death_between_two_notes_doubles_nothing(note: int, revenue: str) -> None:
    """The fact is noted and its worker dies before the key that the gateway has, too."""
    paid = INTENT | {"id": SHOP_ORDER["transaction_id"], "amount": 2500, "amount_received": 2500}
    intent = partial(stripe, "payment_intent.succeeded", paid | {"currency": "eur"} | USER)
    with simulated(told_to(revenue=revenue)) as cloud:
        worker = Worker(cloud, trouble=nth("note", note, Trouble.DIES_AFTER))
        cloud.store(two_events(**SHOP_ORDER))
        cloud.clock.spawn(lambda: polls(cloud, worker, 1))
        cloud.clock.run()
        work_off(cloud)
        in_turn(cloud, intent)
        sold = [each for each in cloud.linkrunner.captures if "amount" in each.body["event_data"]]
        assert len(sold) + len(held(cloud)) == 1


def test_its_own_id_says_more_than_a_gateways() -> None:
    """Two orders were paid by one payment; each that is refunded at the shop goes, and the other stays."""
    back = [{"id": 9, "total": "-25.00"}]
    other = {**SHOP_ORDER, "number": 728}
    with simulated(told_to()) as cloud:
        in_turn(cloud, partial(two_events, **SHOP_ORDER), partial(two_events, **other))
        assert len(held(cloud)) == 2
        in_turn(cloud, partial(two_events, status="refunded", refunds=back, **SHOP_ORDER))
        assert [each[1] for each in held(cloud)] == ["woocommerce:payment:728"]


@pytest.mark.parametrize("missing_user", ["park", "drop"])
def test_a_refund_of_nobody_takes_the_payment_away(missing_user: str) -> None:
    """Whatever becomes of its event, the money is back."""
    tables = told_to()
    tables["stripe"] = {"missing_user": missing_user}
    with simulated(tables) as cloud:
        in_turn(cloud, partial(two_events, **SHOP_ORDER), partial(refund, 2500, **GATEWAYS_REFUND))
        assert held(cloud) == []


def test_what_may_change_back_and_forth_has_new_ids() -> None:
    """An id that was taken away is not used again, whatever the setting was in between."""
    with simulated(told_to(partial_refund="replace")) as cloud:
        in_turn(cloud, checkout, partial(refund, 1000))
        for partial_refund in ("keep", "replace", "keep", "replace"):
            cloud.config = Config(told_to(partial_refund=partial_refund))
            in_turn(cloud, checkout)
        assert [each[2] for each in held(cloud)] == [15.99]
        assert not cloud.linkrunner.book.repeated


def test_a_gateways_refund_has_the_rate_of_the_shops_payment() -> None:
    """It finds the payment by the name that both know."""
    day = {"as_of": date(2026, 11, 30)}
    with simulated(told_to(currency="INR", rates=day | {"EUR": 80})) as cloud:
        in_turn(cloud, partial(two_events, **SHOP_ORDER))
        cloud.config = Config(told_to(currency="INR", rates=day | {"EUR": 90}))
        in_turn(cloud, partial(refund, 2500, **GATEWAYS_REFUND, **USER))
        (told,) = [
            amount
            for each in cloud.linkrunner.captures
            if (amount := each.body["event_data"].get("refund_amount"))
        ]
        assert told == 2000


@pytest.mark.parametrize("revenue", ["payment", "both"])
def test_what_was_told_without_an_amount_is_told_so_again(revenue: str) -> None:
    """There is no rate, and the first answer is lost."""
    tables = told_to(revenue=revenue, currency="INR", no_rate="without_amount")
    with simulated(tables) as cloud:
        cloud.linkrunner.moods = [(0, LOSES_ANSWERS), (cloud.clock.now + HOUR, UP)]
        in_turn(cloud, checkout)
        assert not [
            each for each in cloud.linkrunner.captures if "amount" in each.body["event_data"]
        ]
        assert held(cloud) == []


def test_another_amount_has_another_id() -> None:
    """What becomes of partial refunds may be changed, and what is left with it."""
    account = Account(TERMS, returned(40), leaving=frozenset({"p"}))
    assert account.wanted("keep").payment_id != account.wanted("replace").payment_id


def test_what_comes_back_of_a_lost_dispute() -> None:
    """The last step decides, in whatever order they are told; each step may be told again."""

    def step(amount: int, at: str) -> Returned:
        return Returned(f"m{at}", Decimal(amount), "EUR", f"{payments.DISPUTE}d1", at)

    lost, won, lost_again = step(100, "2026-01-02"), step(0, "2026-01-03"), step(100, "2026-01-04")
    for steps, left in (
        ((lost,), 0),
        ((won, lost), 100),
        ((lost_again, won, lost), 0),
        ((won,), 100),
    ):
        assert Account(TERMS, frozenset(steps)).left() == left


def test_what_is_erased_is_taken_away_all_the_same() -> None:
    """A removal names no user: a refund of somebody who was forgotten is parked, and the payment is gone."""
    with simulated(told_to()) as cloud:
        in_turn(cloud, checkout)
        row = dict(cloud.table.items["stripe|payment|pi_1"])
        cloud.table.items["stripe|payment|pi_1"] = {
            name: value for name, value in row.items() if name != "user_id"
        }
        in_turn(cloud, partial(refund, 2599))
        assert cloud.dead.reasons == ["missing_user"]
        assert held(cloud) == []


def test_what_is_left_is_told_as_the_payment_was() -> None:
    """With its lines, and marked as a test if it was one."""
    lines = [
        {
            "id": 1,
            "product_id": 6,
            "variation_id": 7,
            "quantity": 2,
            "price": 12.5,
            "total": "25.00",
        }
    ]
    with simulated(told_to(partial_refund="replace")) as cloud:
        in_turn(cloud, partial(two_events, line_items=lines))
        (before,) = (dict(body["event_data"]) for body in cloud.linkrunner.book.payments.values())
        assert before["contents"]
        in_turn(cloud, partial(two_events, refunds=[{"id": 5, "total": "-5.00"}]))
        (after,) = cloud.linkrunner.book.payments.values()
    assert after["amount"] == 20
    assert after["event_data"] == before | {"value": 20}


def test_an_event_beside_its_payment_has_no_amount_of_the_operators_either() -> None:
    """Not by a field that is renamed, nor by one of their own."""
    tables = told_to(revenue="both")
    tables["stripe"] = {
        "fields": {"amount": "total", "currency": "cur"},
        "extra": {"amount": "data.object.amount_total"},
    }
    with simulated(tables) as cloud:
        in_turn(cloud, checkout)
        (event,) = cloud.linkrunner.captures
        assert "amount" not in event.body["event_data"]
        # Linkrunner reads a payment's currency here, whatever the operator calls it in events.
        assert cloud.linkrunner.book.totals() == SOLD


def test_one_shops_order_is_not_the_others() -> None:
    """Two shops number their orders alike, and one's refund leaves the other's payment alone."""
    with simulated(told_to()) as cloud:
        for source in ("woocommerce", "other"):
            in_turn(cloud, partial(two_events, source=source))
        assert [each[1] for each in held(cloud)] == [
            "woocommerce:payment:727",
            "other:payment:727",
        ]
        in_turn(cloud, lambda: two_events(refunds=[{"id": 5, "total": "-25.00"}]))
        assert [each[1] for each in held(cloud)] == ["other:payment:727"]
