"""The fields of bodies: what is usual is read quickly, and what is not is read alike."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkrunner_webhooks.model import MAX_QUANTITY, Kind
from linkrunner_webhooks.reading import (
    Detail,
    MinorPrice,
    OptionalId,
    Payload,
    Pieces,
    Price,
    dispute_kind,
)


class Inner(Payload):
    """A part of a line."""

    amount: Decimal


class Read(Payload):
    """One field of each kind."""

    id: OptionalId = None
    pieces: Pieces = None
    price: Price = None
    minor: MinorPrice = None
    part: Detail[Inner] = None


@pytest.mark.parametrize(
    ("written", "id"),
    [
        ("in_1", "in_1"),
        (5728491036782, "5728491036782"),
        (-5, "-5"),
        ("7", "7"),
        (2**63, "9223372036854775808"),
        ("x" * 255, "x" * 255),
        ("x" * 256, None),
        (10**255, None),
        ({"id": "in_1"}, "in_1"),
        ({"id": 7}, "7"),
        ("0", None),
        (0, None),
        ("", None),
        (1.5, None),
        (True, None),
        ([], None),
    ],
)
def test_an_id_is_text(written: object, id: str | None) -> None:
    """A number is its text, an object stands for its id, and what cannot be an id is none."""
    assert Read.model_validate({"id": written}).id == id


@pytest.mark.parametrize(
    ("written", "pieces"),
    [
        (3, 3),
        (0, 0),
        ("3", 3),
        ("0.5", 1),
        (2.7, 2),
        (MAX_QUANTITY, MAX_QUANTITY),
        (MAX_QUANTITY + 1, None),
        (-1, None),
        (True, None),
        ("many", None),
        ({}, None),
    ],
)
def test_a_quantity_is_in_pieces(written: object, pieces: int | None) -> None:
    """A part of a piece is one, and what cannot be a quantity is unknown."""
    assert Read.model_validate({"pieces": written}).pieces == pieces


@pytest.mark.parametrize(
    ("written", "price", "minor"),
    [
        (1999, Decimal(1999), 1999),
        ("5.00", Decimal("5.00"), 5),
        (19.99, Decimal("19.99"), None),
        (5.0, Decimal(5), 5),
        (10**20, None, 10**20),
        ("1e999999", None, None),
        ("NaN", None, None),
        (False, None, None),
        ([5], None, None),
    ],
)
def test_a_price_is_a_number(written: object, price: Decimal | None, minor: int | None) -> None:
    """As text or not; what is no number is unknown."""
    read = Read.model_validate({"price": written, "minor": written})
    assert (read.price, read.minor) == (price, minor)


@given(value=st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.none()))
def test_a_part_that_cannot_be_read_is_none(value: object) -> None:
    """No detail is worth the payment."""
    assert Read.model_validate({"part": value, "id": "in_1"}) == Read(id="in_1")
    assert Read.model_validate({"part": {"amount": "x", "more": value}}).part is None


def test_a_part_that_can_be_read_is_read() -> None:
    """Its own fields are those of its model."""
    assert Read.model_validate({"part": {"amount": "5.00", "more": 1}}).part == Inner(
        amount=Decimal("5.00")
    )


@pytest.mark.parametrize("kind", Kind)
def test_an_inquiry_takes_no_money(kind: Kind) -> None:
    """While a dispute only asks, nothing is taken, and so nothing comes back."""
    assert dispute_kind(kind, inquiry=False) is kind
    asked = dispute_kind(kind, inquiry=True)
    assert asked is kind or kind.flow
    assert not (kind.value.startswith("dispute") and asked.flow)
