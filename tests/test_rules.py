"""The rules of meaning that hold for every provider, each in one place of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import samples
from tests.amounts import moved
from tests.samples import (
    Json,
    Place,
    Sample,
    every_provider,
    every_reporting_type,
    every_type,
    planned,
)
from tests.test_contract import everything_said, leaks

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config, Linkrunner, Naming, Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.model import CommerceEvent, Flow, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.provider import Context, Options, Provider
from linkrunner_webhooks.reading import Lines, Payload, Pieces, Price
from linkrunner_webhooks.screening import MAX_TEXT, is_contact
from linkrunner_webhooks.signatures.hmacs import HmacBody
from linkrunner_webhooks.translation import Planned, UserOf, decide, plan_of

# ------------------------------------------------------------------------- a provider that says anything

SAID: list[CommerceEvent] = []
ECHO = Provider(
    name="echo",
    title="Echo",
    docs="https://example.com",
    signature=HmacBody(headers=("x-signature",), encoding="hex"),
    identify=lambda _: Identity("evt_1", "echo"),
    user_id=("user",),
)


@ECHO.on("echo", *Kind)
def echo(payload: Payload, context: Context) -> Iterator[CommerceEvent]:
    """Whatever the test wants."""
    yield from SAID


SOURCE = Source(
    name="echo",
    provider=ECHO,
    signature=ECHO.example_scheme,
    user_id=("user",),
    missing_user="park",
    uncertain="park",
    test_events=False,
    links=True,
    linkrunner=Linkrunner(),
    payment_id=None,
    beside=frozenset(),
    taught=frozenset(),
    names={"echo": {kind: Naming.of(kind, choice=True) for kind in Kind}},
    fields={},
    extra={},
    options=Options(),
)


def opened(body: Mapping[str, Any] | None = None) -> Opened:
    """A webhook of the provider above."""
    text = json.dumps({"user": "user_42"} if body is None else body).encode()
    return Opened(Webhook("echo", {}, text), SOURCE, Identity("evt_1", "echo"))


def said(*events: CommerceEvent, body: Mapping[str, Any] | None = None) -> tuple[Planned, ...]:
    """What becomes of these events of a mapper."""
    SAID[:] = events
    return plan_of(opened(body)).planned


def money(amount: str, currency: str = "EUR") -> Money:
    """An amount."""
    return Money(Decimal(amount), currency)


# ------------------------------------------------------------------------- what moved nothing is no payment

STAYS: Final = {
    Kind.SUBSCRIPTION_STARTED,
    Kind.DISPUTE_OPENED,
    Kind.DISPUTE_WON,
    Kind.REFUND_FAILED,
}


@pytest.mark.parametrize("amount", ["0", "0.00", "-0.00", "-5", "-0.01"])
@pytest.mark.parametrize("kind", Kind)
def test_what_moved_nothing_is_no_payment(kind: Kind, amount: str) -> None:
    """Zero or less is no payment and no refund; what happened all the same has no amount."""
    found = said(CommerceEvent(kind=kind, money=money(amount)))
    if kind.flow and kind not in STAYS:
        assert found == ()
    else:
        (event,) = found
        assert moved(event.event_data) is None
        assert event.money is None


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.flow])
def test_what_moved_something_is_reported(kind: Kind) -> None:
    """The smallest amount there is counts."""
    (event,) = said(CommerceEvent(kind=kind, money=money("0.01")))
    assert (moved(event.event_data), event.money) == (0.01, money("0.01"))


def test_a_promoted_kind_is_held_to_the_same_rule() -> None:
    """An order that an operator calls a purchase is none when it costs nothing."""
    naming = Naming.of(Kind.PURCHASE_INITIATED, "purchase_completed")
    table = {"shopify": {"events": {"orders/create": "purchase_completed"}}}
    source = Config(table).source("shopify")
    assert source is not None
    assert source.names["orders/create"][Kind.PURCHASE_INITIATED] == naming
    sample = samples.load("shopify", "orders/create")
    free: dict[Place, Json] = {
        ("total_price",): "0.00",
        ("total_price_set", "shop_money", "amount"): "0.00",
    }
    assert planned(sample.changed(free).webhook(), source) == ()
    assert len(planned(sample.webhook(), source)) == 1


# ------------------------------------------------------------------------- the first payment converts a trial

TRIAL: Final = "echo|trial_started|sub_1"
CONVERTED: Final = "echo|trial_converted|sub_1"


def known(*keys: str) -> UserOf:
    """Claims that know these facts, for user_42."""
    return lambda asked: "user_42" if set(keys) & set(asked) else None


def period(kind: Kind, **values: Any) -> CommerceEvent:
    """A payment for a period of a subscription."""
    usual: dict[str, Any] = {
        "money": money("9.99"),
        "transactions": ("in_1",),
        "subscription_id": "sub_1",
    }
    return CommerceEvent(
        kind=kind,
        **usual | values,
    )


@pytest.mark.parametrize("kind", [Kind.SUBSCRIPTION_STARTED, Kind.SUBSCRIPTION_RENEWED])
def test_the_first_payment_after_a_trial_converts_it(kind: Kind) -> None:
    """Once, under a key that the next payment finds, and with the same data as the payment."""
    SAID[:] = [period(kind)]
    (converted,) = decide(plan_of(opened()), known(TRIAL), lambda _: None).planned
    (paid,) = decide(plan_of(opened()), known(), lambda _: None).planned
    (later,) = decide(plan_of(opened()), known(TRIAL, CONVERTED), lambda _: None).planned
    assert (converted.event_name, paid.event_name, later.event_name) == (
        "trial_converted",
        kind.value,
        kind.value,
    )
    assert (converted.keys, converted.marks) == (paid.keys, (CONVERTED,))
    assert converted.event_data == paid.event_data
    assert later == paid


@pytest.mark.parametrize(
    "event",
    [
        period(Kind.SUBSCRIPTION_RENEWED, subscription_id=None),
        period(Kind.SUBSCRIPTION_STARTED, money=None),
        period(Kind.SUBSCRIPTION_STARTED, money=money("0")),
        period(Kind.SUBSCRIPTION_UPDATED),
        period(Kind.PURCHASE_COMPLETED),
        period(Kind.SUBSCRIPTION_PAYMENT_FAILED),
    ],
    ids=lambda event: f"{event.kind}-{event.money and event.money.amount}",
)
def test_nothing_else_converts_a_trial(event: CommerceEvent) -> None:
    """Whoever has not paid for a period has not converted."""
    SAID[:] = [event]
    (found,) = decide(plan_of(opened()), known(TRIAL), lambda _: None).planned
    assert found.event_name == event.kind.value


@every_provider
def test_a_trial_is_known_by_its_subscription(name: str) -> None:
    """Where a provider reports trials and their payments, both name the subscription in the same way."""
    provider = providers.load(name)
    trials = {
        (key.split("|")[-1], each.event_data.get("subscription_id"))
        for event_type in provider.types
        for each in planned(samples.load(name, event_type).webhook())
        if each.event_name == Kind.TRIAL_STARTED.value
        for key in each.keys
    }
    converts = any(Kind.TRIAL_CONVERTED in each.switches for each in provider.types.values())
    # RevenueCat says by itself which renewal converts a trial.
    if converts and trials and name != "revenuecat":
        assert all(key == subscription for key, subscription in trials)


# ------------------------------------------------------------------------- text is screened once

ADDRESS: Final = "anna@private.example"
CONTACTS: Final = (ADDRESS, "+49 151 2345 6789", "tel:+15550101234", f"Anna <{ADDRESS}>")
TEXTS: Final = ("order_id", "subscription_id", "plan_id", "payment_method", "coupon")
addresses = st.from_regex(r"[a-z]+@[a-z]+\.(com|in)", fullmatch=True)
texts = st.text(max_size=400) | st.sampled_from(CONTACTS) | addresses


@given(st.fixed_dictionaries(dict.fromkeys((*TEXTS, "content_id", "product_id"), texts)))
def test_no_text_that_leaves_is_a_contact(text: dict[str, Any]) -> None:
    """Whatever a mapper passes on: an address, a phone number or a text without bound stays here."""
    item = Item(text.pop("content_id"), 1, text.pop("product_id"))
    (event,) = said(
        CommerceEvent(kind=Kind.PURCHASE_COMPLETED, money=money("1"), items=(item,), **text)
    )
    for value in _texts(event.event_data):
        assert not is_contact(value)
        assert 0 < len(value) <= MAX_TEXT


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize("contact", CONTACTS)
def test_a_contact_takes_only_its_field_along(field: str, contact: str) -> None:
    """The money, the user and everything else are reported."""
    text: dict[str, Any] = {field: contact}
    (event,) = said(CommerceEvent(kind=Kind.PURCHASE_COMPLETED, money=money("1"), **text))
    assert field not in event.event_data
    assert event.event_data["amount"] == 1


def test_of_several_coupons_the_contact_goes() -> None:
    """A list with commas keeps its other parts."""
    (event,) = said(
        CommerceEvent(kind=Kind.PURCHASE_COMPLETED, coupon="SAVE10, anna@private.example,FREE")
    )
    assert event.event_data["coupon"] == "SAVE10,FREE"


def test_a_phone_number_of_the_body_is_no_order_id() -> None:
    """Bare, it looks like any id; the same body says whose number it is."""
    order = CommerceEvent(kind=Kind.PURCHASE_COMPLETED, money=money("1"), order_id="9876543210")
    (event,) = said(order, body={"user": "user_42", "customer": {"phone": "+91 98765-43210"}})
    assert "order_id" not in event.event_data
    (event,) = said(order)
    assert event.event_data["order_id"] == "9876543210"


@every_reporting_type
@pytest.mark.parametrize("contact", CONTACTS[:2])
def test_a_contact_leaves_nowhere(name: str, event_type: str, contact: str) -> None:
    """An address or a phone number in any text that a mapper passes on is in nothing we say or log."""
    sample = samples.load(name, event_type)
    places = [place for place, _ in sample.leaves()]
    for place in leaks(sample, places, len(planned(sample.webhook()))):
        assert contact not in everything_said(sample.changed({place: contact}))


# ------------------------------------------------------------------------- nobody


@every_reporting_type
@pytest.mark.parametrize(
    "nobody", ["guest", "0", "{{user_id}}", "00000000-0000-0000-0000-000000000000"]
)
def test_placeholders_are_nobody(name: str, event_type: str, nobody: str) -> None:
    """Wherever a provider's body has the user id, a placeholder there is no user."""
    sample = samples.load(name, event_type)
    changed = {place: nobody for place, text in sample.leaves() if text == "user_42"}
    if changed:
        assert {each.user_id for each in planned(sample.changed(changed).webhook())} == {None}


@every_provider
def test_a_providers_own_customer_is_nobody(name: str) -> None:
    """Its customer ids are proposed, and no path of the default ladder is one of them."""
    provider = providers.load(name)
    assert set(provider.customer_ids).isdisjoint(provider.user_id)


# ------------------------------------------------------------------------- details are not worth the payment

GARBAGE: Final[tuple[Any, ...]] = (0.5, -1, "2.5 kg", "", None, [], {}, True, "1E+999999", 10**400)
LINE_KEYS: Final = re.compile(r"(current_)?quantity|price|unit_(price|amount)(_in_decimal)?")
LINE_LISTS: Final = ("line_items", "items", "lines", "discount_codes", "coupon_lines")


def details(value: Json, place: Place = (), *, within: bool = False) -> Iterator[Place]:
    """Where quantities and prices of lines stand."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if within and LINE_KEYS.fullmatch(key) and not isinstance(inner, dict | list):
                yield (*place, key)
            yield from details(inner, (*place, key), within=within or key in LINE_LISTS)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from details(inner, (*place, number), within=within)


def paid(sample: Sample) -> list[tuple[str, Any, str | None]]:
    """What is reported, without the lines."""
    return [(each.event_name, each.money, each.user_id) for each in planned(sample.webhook())]


@every_type
def test_no_detail_of_a_line_parks_the_payment(name: str, event_type: str) -> None:
    """Whatever stands for a quantity or a price of a line, the money and the user are the same."""
    sample = samples.load(name, event_type)
    expected = paid(sample)
    for place in details(sample.body):
        for value in GARBAGE:
            assert paid(sample.changed({place: value})) == expected, (place, value)


class Line(Payload):
    """A line as a mapper reads it."""

    quantity: Pieces = None
    price: Price = None


class Order(Payload):
    """An order of lines."""

    lines: Lines[Line]


@pytest.mark.parametrize("lines", [None, "", 0, {}, "a line", True])
def test_lines_that_are_none_are_no_lines(lines: Any) -> None:
    """A list that is no list is empty."""
    assert Order.model_validate({"lines": lines}).lines == ()


def test_one_unreadable_line_leaves_the_others() -> None:
    """What can be read is read, in its order."""
    lines = [{"quantity": 2}, "a line", {"price": "1.50"}, None, 7]
    found = Order.model_validate({"lines": lines}).lines
    assert found == (Line(quantity=2), Line(price=Decimal("1.50")))


WHOLE: Final[tuple[tuple[Any, int], ...]] = (
    (2, 2),
    ("2", 2),
    (2.0, 2),
    ("2.000", 2),
    (0, 0),
    (0.5, 1),
    ("0.3", 1),
    (2.9, 2),
)
NO_NUMBERS: Final[tuple[Any, ...]] = (
    *(-1, "-1", 10**10, "1E+999999", "NaN", "Infinity"),
    *("two", True, None, [], {}),
)


@pytest.mark.parametrize(("written", "pieces"), [*WHOLE, *((value, None) for value in NO_NUMBERS)])
def test_pieces_are_whole(written: Any, pieces: int | None) -> None:
    """A part of a piece is one piece; what is no number is unknown."""
    assert Line.model_validate({"quantity": written}).quantity == pieces


# ------------------------------------------------------------------------- pairs are reported whole

PAIRS: Final = (
    (Kind.SUBSCRIPTION_PAUSED, {Kind.SUBSCRIPTION_RESUMED}),
    (
        Kind.SUBSCRIPTION_CANCEL_SCHEDULED,
        {Kind.SUBSCRIPTION_REACTIVATED, Kind.SUBSCRIPTION_RESUMED},
    ),
    (Kind.DISPUTE_OPENED, {Kind.DISPUTE_WON, Kind.DISPUTE_CLOSED}),
    (Kind.REFUND_REVERSED, {Kind.PURCHASE_REFUNDED}),
    (Kind.DISPUTE_WON, {Kind.DISPUTE_OPENED}),
)
# Who never says that it goes on. Each has been looked for in the provider's documentation.
ONE_SIDED: Final = {
    ("adapty", Kind.SUBSCRIPTION_PAUSED),
    ("cashfree", Kind.SUBSCRIPTION_PAUSED),
    ("creem", Kind.SUBSCRIPTION_PAUSED),
    ("creem", Kind.SUBSCRIPTION_CANCEL_SCHEDULED),
    ("creem", Kind.DISPUTE_OPENED),
    ("midtrans", Kind.DISPUTE_OPENED),
    ("paystack", Kind.SUBSCRIPTION_CANCEL_SCHEDULED),
    ("razorpay", Kind.SUBSCRIPTION_CANCEL_SCHEDULED),
    ("revenuecat", Kind.SUBSCRIPTION_PAUSED),
    ("square", Kind.SUBSCRIPTION_PAUSED),
    ("superwall", Kind.SUBSCRIPTION_PAUSED),
    ("woocommerce", Kind.SUBSCRIPTION_PAUSED),
    ("woocommerce", Kind.SUBSCRIPTION_CANCEL_SCHEDULED),
}


@every_provider
@pytest.mark.parametrize(("begun", "ended"), PAIRS, ids=[kind.value for kind, _ in PAIRS])
def test_a_pair_is_reported_whole(name: str, begun: Kind, ended: set[Kind]) -> None:
    """What begins and what withdraws it are both reported, or it is known that the provider never says."""
    kinds = {kind for each in providers.load(name).types.values() for kind in each.switches}
    if begun in kinds:
        assert bool(kinds & ended) != ((name, begun) in ONE_SIDED)


@every_type
def test_what_comes_back_has_a_number(name: str, event_type: str) -> None:
    """A reversal of a refund or a dispute carries the amount, so that it can be added back."""
    for each in planned(samples.load(name, event_type).webhook()):
        kind = Kind(each.event_name)
        if kind in (Kind.REFUND_REVERSED, Kind.DISPUTE_WON):
            assert each.money is not None
            assert each.money.amount > 0
            assert kind.flow in (Flow.REFUND_REVERSAL, Flow.DISPUTE_REVERSAL)


# ------------------------------------------------------------------------- keys


def test_keys_are_short_however_long_an_id_is() -> None:
    """DynamoDB takes 2,048 bytes, and one key that is longer would hold up the whole batch."""
    ids = ("x" * 255, "ü" * 255, "a|b" * 80)
    (event,) = said(CommerceEvent(kind=Kind.PURCHASE_COMPLETED, money=money("1"), transactions=ids))
    assert len(set(event.keys)) == len(ids)
    assert all(len(key.encode()) <= 1024 for key in event.keys)


@pytest.mark.parametrize("name", ["razorpay", "shopify", "woocommerce", "cashfree"])
def test_a_made_up_event_id_counts_nothing(name: str) -> None:
    """Where the id is an unsigned header, one body is one happening, whatever the header says."""
    provider = providers.load(name)
    for event_type in provider.types:
        sample = samples.load(name, event_type)
        headers = {
            key: f"made-up-{key}" if key.endswith("-id") else value
            for key, value in sample.headers.items()
        }
        forged = Sample(provider, headers, sample.body)
        keys = [
            {key for each in planned(one.webhook()) for key in each.keys}
            for one in (sample, forged)
        ]
        assert keys[0] == keys[1]
