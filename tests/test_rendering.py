"""A CommerceEvent as the body of capture-event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.amounts import moved

from linkrunner_webhooks.config import Config, Naming, Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.event_body import FIELDS
from linkrunner_webhooks.model import CommerceEvent, Flow, Identity, Item, Kind, Webhook
from linkrunner_webhooks.money import Money, number
from linkrunner_webhooks.rendering import event_data

IDENTITY = Identity("evt_1", "invoice.paid")
MONEY = Money(Decimal("25.99"), "USD")


def source(**table: Any) -> Source:
    """A Stripe source with these settings."""
    found = Config({"stripe": table}).source("stripe")
    assert found is not None
    return found


def render(
    event: CommerceEvent,
    kind: Kind | None = None,
    payload: object = None,
    identity: Identity = IDENTITY,
    **table: Any,
) -> dict[str, Any]:
    """The event data of an event, which is JSON."""
    webhook = Webhook("stripe", {}, b"")
    vars(webhook)["payload"] = payload
    told_as = (kind or event.kind).told_as
    data = event_data(event, told_as, Opened(webhook, source(**table), identity))
    assert json.loads(json.dumps(data, allow_nan=False)) is not None
    return data


# ------------------------------------------------------------------------------- money

EARNED_NOTHING = {
    Kind.PURCHASE_REFUNDED: "refund_amount",
    Kind.PURCHASE_REVERSED: "refund_amount",
    Kind.REFUND_FAILED: "refund_amount",
    Kind.REFUND_REVERSED: "refund_amount",
    Kind.DISPUTE_WARNING: "disputed_amount",
    Kind.DISPUTE_OPENED: "disputed_amount",
    Kind.DISPUTE_WON: "disputed_amount",
    Kind.DISPUTE_LOST: "disputed_amount",
    Kind.DISPUTE_CLOSED: "disputed_amount",
    Kind.PAYMENT_FAILED: "attempted_amount",
    Kind.PAYMENT_EXPIRED: "attempted_amount",
    Kind.SUBSCRIPTION_PAYMENT_FAILED: "attempted_amount",
    Kind.SUBSCRIPTION_BILLING_ISSUE: "attempted_amount",
    Kind.SUBSCRIPTION_HALTED: "attempted_amount",
    Kind.SUBSCRIPTION_FAILED: "attempted_amount",
}


@pytest.mark.parametrize("kind", Kind)
def test_amount_is_money_received(kind: Kind) -> None:
    """`amount` stands where money was received and nowhere else, always with its currency."""
    data = render(CommerceEvent(kind=kind, money=MONEY))
    assert data.get("amount") == (25.99 if kind.flow is Flow.PAYMENT else None)
    assert data["currency"] == "USD"


@pytest.mark.parametrize("kind", Kind)
def test_value_is_what_an_event_is_worth(kind: Kind) -> None:
    """`value` stands for every event but refunds, disputes and failures: they have fields of their own."""
    data = render(CommerceEvent(kind=kind, money=MONEY))
    assert data.get("value") == (None if kind in EARNED_NOTHING else 25.99)
    own = {name: data[name] for name in data if name.endswith("_amount")}
    assert own == ({EARNED_NOTHING[kind]: 25.99} if kind in EARNED_NOTHING else {})


@pytest.mark.parametrize("kind", Kind)
def test_without_money_there_is_none(kind: Kind) -> None:
    """An event whose money is not known has no amount, no value and no currency."""
    assert not {"amount", "value", "currency"} & set(render(CommerceEvent(kind=kind)))


def test_zero_is_an_amount() -> None:
    """A purchase for nothing says 0, which is not the same as not knowing."""
    data = render(CommerceEvent(kind=Kind.PURCHASE_COMPLETED, money=Money(Decimal("0.00"), "EUR")))
    assert (data["amount"], data["value"], data["currency"]) == (0, 0, "EUR")


@pytest.mark.parametrize(
    ("amount", "text"),
    [("25.99", "25.99"), ("25.00", "25"), ("2599", "2599"), ("0.1", "0.1"), ("1E+3", "1000")],
)
def test_numbers_look_like_numbers(amount: str, text: str) -> None:
    """Amounts are JSON numbers in plain notation, whole ones without a fraction."""
    assert json.dumps(number(Decimal(amount))) == text


@given(minor=st.integers(-(10**15) + 1, 10**15 - 1), decimals=st.integers(0, 4))
def test_numbers_are_exact(minor: int, decimals: int) -> None:
    """Every amount that Money admits is the same number in JSON."""
    amount = Decimal(minor).scaleb(-decimals)
    sent = json.loads(json.dumps(number(amount)), parse_float=Decimal, parse_int=Decimal)
    assert sent == amount


# ------------------------------------------------------------------------------- the rest


def test_everything_at_once() -> None:
    """Every field of an event arrives under its documented name."""
    event = CommerceEvent(
        kind=Kind.PURCHASE_COMPLETED,
        money=MONEY,
        occurred_at=datetime(2026, 11, 18, 7, 26, 40, 999_999, timezone(timedelta(hours=-5))),
        order_id="order_1",
        subscription_id="sub_1",
        plan_id="price_1",
        items=(
            Item("variant_1", 2, "product_1", Decimal("9.50")),
            Item("variant_2", 1, "product_1"),
            Item(None, 5, "product_2", Decimal(1)),
            Item(None),
        ),
        payment_method="card",
        coupon="AUTUMN",
    )
    identity = Identity("evt_1", "invoice.paid", test=True)
    assert json.loads(json.dumps(render(event, identity=identity))) == {
        "amount": 25.99,
        "value": 25.99,
        "currency": "USD",
        "order_id": "order_1",
        "product_ids": ["product_1", "product_2"],
        "content_ids": ["variant_1", "variant_2"],
        "contents": [
            {"id": "variant_1", "quantity": 2, "item_price": 9.5},
            {"id": "variant_2", "quantity": 1},
        ],
        "content_type": "product",
        "num_items": 3,
        "payment_method": "card",
        "coupon": "AUTUMN",
        "subscription_id": "sub_1",
        "plan_id": "price_1",
        "provider": "stripe",
        "source": "stripe",
        "provider_event_id": "evt_1",
        "provider_event_type": "invoice.paid",
        "occurred_at": "2026-11-18T12:26:40Z",
        "test": True,
    }


def test_what_is_not_known_is_absent() -> None:
    """A bare event says where it comes from and nothing else: no nulls, no empty lists."""
    assert render(CommerceEvent(kind=Kind.CUSTOMER_CREATED)) == {
        "provider": "stripe",
        "source": "stripe",
        "provider_event_id": "evt_1",
        "provider_event_type": "invoice.paid",
    }


@given(moment=st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_times_are_utc(moment: datetime) -> None:
    """Any aware moment is the same moment in UTC, to the second."""
    data = render(CommerceEvent(kind=Kind.CUSTOMER_CREATED, occurred_at=moment))
    assert datetime.fromisoformat(data["occurred_at"]) == moment.astimezone(UTC).replace(
        microsecond=0
    )


# ------------------------------------------------------------------------------- the operator's wishes


def test_a_name_of_ours_means_that_kind() -> None:
    """An event named like a kind is that kind; any other name changes nothing but the name."""
    event = CommerceEvent(kind=Kind.PURCHASE_INITIATED, money=MONEY)
    assert Naming.of(event.kind, "purchase_completed").kind is Kind.PURCHASE_COMPLETED
    assert Naming.of(event.kind, "Order Placed").kind is Kind.PURCHASE_INITIATED
    assert render(event, Kind.PURCHASE_COMPLETED)["amount"] == 25.99
    assert "amount" not in render(event)


def test_fields_are_renamed_and_dropped() -> None:
    """Fields take the operator's names, and dropped ones are gone."""
    event = CommerceEvent(kind=Kind.PURCHASE_COMPLETED, money=MONEY, coupon="AUTUMN")
    data = render(event, fields={"amount": "total", "coupon": False, "value": False})
    assert data["total"] == 25.99
    assert not {"amount", "value", "coupon"} & set(data)


PAYLOAD = {
    "text": "web",
    "number": 42,
    "fraction": 1.5,
    "yes": True,
    "no": False,
    "zero": 0,
    "long": "a" * 1000,
    "empty": "",
    "null": None,
    "list": ["a"],
    "object": {"a": 1},
    "mail": "jane.appleseed@example.com",
    "phone": "+1 555 010 1234",
}


def test_extra_fields_are_scalars() -> None:
    """Extra fields are short texts, numbers and switches; objects, contacts and nothing are left out."""
    extra = {f"my_{key}": key for key in PAYLOAD}
    data = render(CommerceEvent(kind=Kind.CUSTOMER_CREATED), payload=PAYLOAD, extra=extra)
    mine = {key[3:]: value for key, value in data.items() if key.startswith("my_")}
    assert mine == {
        "text": "web",
        "number": 42,
        "fraction": 1.5,
        "yes": True,
        "no": False,
        "zero": 0,
        "long": "a" * 256,
    }


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 10**5000],
    ids=["nan", "inf", "-inf", "5,000 digits"],
)
def test_extra_fields_are_json(value: float) -> None:
    """What JSON cannot say is left out, and does not spoil the rest."""
    payload = {"odd": value, "fine": 1}
    event = CommerceEvent(kind=Kind.CUSTOMER_CREATED)
    data = render(event, payload=payload, extra={"odd": "odd", "fine": "fine"})
    assert data["fine"] == 1
    assert "odd" not in data


def test_extra_fields_do_not_replace_ours() -> None:
    """Every name of ours that an operator dropped is free; the others cannot be taken."""
    event = CommerceEvent(kind=Kind.PURCHASE_COMPLETED, money=MONEY, coupon="AUTUMN")
    data = render(event, payload={"c": "MINE"}, fields={"coupon": False}, extra={"coupon": "c"})
    assert data["coupon"] == "MINE"


@given(
    event=st.builds(
        CommerceEvent,
        kind=st.sampled_from(Kind),
        money=st.none() | st.builds(Money.from_minor, st.integers(0, 10**12), st.just("usd")),
        order_id=st.none() | st.text(min_size=1),
        items=st.lists(
            st.builds(
                Item,
                content_id=st.none() | st.text(min_size=1),
                quantity=st.integers(0, 1000),
                product_id=st.none() | st.text(min_size=1),
            ),
            max_size=4,
        ).map(tuple),
    )
)
def test_event_data_is_the_allow_list(event: CommerceEvent) -> None:
    """Whatever the event, its data are declared fields, present or absent, and JSON."""
    data = render(event)
    assert set(data) <= set(FIELDS)
    assert all(value is not None for value in data.values())
    assert (moved(data) is not None) >= bool(event.kind.flow and event.money)
