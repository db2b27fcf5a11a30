"""The words: exact money, ids as text, and which kinds move money."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import Flow, Item, Kind, Webhook
from linkrunner_webhooks.money import Money, number
from linkrunner_webhooks.reading import Id, OptionalId

# https://www.iso.org/iso-4217-currency-codes.html, each with its number of decimals.
DECIMALS = {
    code: decimals
    for decimals, codes in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (2, "USD EUR GBP INR HUF TWD MGA AED CHF BRL"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
    )
    for code in codes.split()
}
currencies = st.sampled_from(sorted(DECIMALS))
# What fits the 15 digits a JSON number carries exactly.
minor_units = st.integers(-(10**15) + 1, 10**15 - 1)


# ------------------------------------------------------------------------------- money


@pytest.mark.parametrize(
    ("minor", "currency", "major"),
    [
        (2599, "usd", "25.99"),
        (2599, "JPY", "2599"),
        (2599, "Krw", "2599"),
        (25990, "KWD", "25.990"),
        (25995, "BHD", "25.995"),
        (2599, "HUF", "25.99"),
        (2599, "TWD", "25.99"),
        (-1050, "EUR", "-10.50"),
        (0, "USD", "0"),
        (1, "USD", "0.01"),
        (999_999_999_999_999, "JPY", "999999999999999"),
    ],
)
def test_money_from_minor_units(minor: int, currency: str, major: str) -> None:
    """Smallest units become major units by the currency's own number of decimals."""
    money = Money.from_minor(minor, currency)
    assert money.amount == Decimal(major)
    assert money.currency == currency.upper()


@given(minor=minor_units, currency=currencies)
def test_money_is_exact_both_ways(minor: int, currency: str) -> None:
    """No smallest unit is gained or lost on the way to major units and back, nor in JSON."""
    money = Money.from_minor(minor, currency.lower())
    assert money.amount.scaleb(DECIMALS[currency]) == minor
    assert Money.of(str(money.amount), currency) == money
    sent = json.loads(json.dumps(number(money.amount)), parse_float=Decimal, parse_int=Decimal)
    assert sent == money.amount


@given(minor=minor_units, currency=currencies, exponent=st.integers(0, 4))
def test_a_provider_has_its_own_exponents(minor: int, currency: str, exponent: int) -> None:
    """A provider's exceptions win over ISO 4217, for the named currency only."""
    money = Money.from_minor(minor, currency, {currency: exponent})
    assert money.amount.scaleb(exponent) == minor
    assert Money.from_minor(minor, currency, {"XXX": 9}) == Money.from_minor(minor, currency)


@given(
    amount=st.decimals(allow_nan=True, allow_infinity=True) | st.integers() | st.text(max_size=30)
)
def test_money_is_exact_or_refused(amount: Decimal | int | str) -> None:
    """An amount is either carried by a JSON number without loss, or it is Untranslatable."""
    try:
        money = Money.of(amount, "USD")
    except Untranslatable:
        return
    sent = json.loads(json.dumps(number(money.amount)), parse_float=Decimal, parse_int=Decimal)
    assert sent == money.amount == Decimal(amount)


@pytest.mark.parametrize(
    "amount",
    [
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "",
        "twelve",
        "1,299.00",
        "12.34.56",
        "1E+16",
        "1E+999999",
        "1E-999999",
        "0.1234567890123456",
        "12345678901234.56",
        # Rounding to the default precision of Decimal must not make a long number look short.
        "25.990000000000000000000000000001",
        "0.1000000000000000000000000000000001",
        10**15 + 1,
        10**400,
    ],
)
def test_amounts_that_json_does_not_carry(amount: str | int) -> None:
    """What a double would change is refused instead of changed."""
    with pytest.raises(Untranslatable):
        Money.of(amount, "USD")


@pytest.mark.parametrize("text", ["0", "0.00", "-0.00", "0.000", "00.00"])
def test_nothing_is_an_amount(text: str) -> None:
    """Zero is an amount like every other."""
    assert Money.of(text, "USD").amount == 0
    assert number(Money.of(text, "USD").amount) == 0


@pytest.mark.parametrize(
    ("quantity", "price"),
    [
        (1, "1E+999999"),
        (1, "9" * 400),
        (1, "0.1234567890123456"),
        (1, "25.990000000000000000000000000001"),
        (1, "NaN"),
        (1, "Infinity"),
    ],
)
def test_items_are_as_exact_as_money(quantity: int, price: str) -> None:
    """A price that JSON does not carry is left out: no detail of a line is worth the payment."""
    assert Item("variant_1", quantity, unit_price=Decimal(price)).unit_price is None


@pytest.mark.parametrize("quantity", [-1, 10**400])
def test_an_absurd_quantity_is_one_piece(quantity: int) -> None:
    """A quantity that is none counts as one, and the line stays."""
    assert Item("variant_1", quantity, unit_price=Decimal("1.00")).quantity == 1


@pytest.mark.parametrize("currency", ["", "US", "USDT", "U$D", "12D", "ÄÖÜ", "usd ", "U D"])
def test_currencies_have_three_letters(currency: str) -> None:
    """What is no ISO 4217 code is refused, from major and from smallest units."""
    with pytest.raises(Untranslatable):
        Money.of("1", currency)
    with pytest.raises(Untranslatable):
        Money.from_minor(1, currency)


@given(currency=st.text(max_size=5))
def test_any_currency_is_judged(currency: str) -> None:
    """A currency is three upper-case letters or Untranslatable."""
    try:
        money = Money.from_minor(100, currency)
    except Untranslatable:
        return
    assert money.currency == currency.upper()
    assert len(money.currency) == 3
    assert money.currency.isascii()


# ------------------------------------------------------------------------------- ids


class Ids(BaseModel):
    id: Id
    other: OptionalId = None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("cs_1", "cs_1"),
        (42, "42"),
        (820982911946154508, "820982911946154508"),
        ({"id": "pi_1", "object": "payment_intent"}, "pi_1"),
        ({"id": 42}, "42"),
    ],
)
def test_ids_are_text(written: object, read: str) -> None:
    """An id is opaque text, whether written as a number, a text or the expanded object."""
    assert Ids.model_validate({"id": written, "other": written}) == Ids(id=read, other=read)


@pytest.mark.parametrize("written", [None, "", {}, {"id": None}, {"id": ""}])
def test_absent_ids_are_none(written: object) -> None:
    """Null, empty and idless objects are no id; a required one is missing then."""
    assert Ids.model_validate({"id": "x", "other": written}).other is None
    with pytest.raises(ValidationError):
        Ids.model_validate({"id": written})


@pytest.mark.parametrize("written", [True, False, 1.5, ["a"], {"id": ["a"]}, {"id": {"id": "a"}}])
def test_other_things_are_no_ids(written: object) -> None:
    """Booleans, fractions and lists never become ids."""
    with pytest.raises(ValidationError):
        Ids.model_validate({"id": written})


@given(written=st.integers(-(10**30), 10**30))
def test_integer_ids_are_exact(written: int) -> None:
    """Ids beyond 2**53 keep every digit, also through JSON."""
    assert Ids.model_validate_json(json.dumps({"id": written})).id == str(written)


# ------------------------------------------------------------------------------- kinds


def test_kinds_that_move_money() -> None:
    """Only these kinds report an amount; everything else has at most a worth."""
    flows = {kind.value: kind.flow for kind in Kind if kind.flow}
    assert flows == {
        "purchase_completed": Flow.PAYMENT,
        "invoice_paid": Flow.PAYMENT,
        "subscription_started": Flow.PAYMENT,
        "subscription_renewed": Flow.PAYMENT,
        "subscription_updated": Flow.PAYMENT,
        "subscription_product_changed": Flow.PAYMENT,
        "subscription_offer_redeemed": Flow.PAYMENT,
        "trial_converted": Flow.PAYMENT,
        "purchase_refunded": Flow.REFUND,
        "purchase_reversed": Flow.REFUND,
        "refund_failed": Flow.REFUND_REVERSAL,
        "refund_reversed": Flow.REFUND_REVERSAL,
        "dispute_opened": Flow.DISPUTE,
        "dispute_won": Flow.DISPUTE_REVERSAL,
    }


def test_a_body_is_not_shown() -> None:
    """A webhook in a log or a traceback does not show its body."""
    assert "jane" not in repr(Webhook("stripe", {}, b'{"email":"jane@example.com"}'))


@given(first=minor_units, second=minor_units)
def test_money_is_a_value(first: int, second: int) -> None:
    """Equal amounts of one currency are equal, and amounts of different currencies never are."""
    assume(first != second)
    assert Money.from_minor(first, "usd") == Money.from_minor(first, "USD")
    assert Money.from_minor(first, "USD") != Money.from_minor(second, "USD")
    assert Money.from_minor(first, "USD") != Money.from_minor(first, "EUR")
