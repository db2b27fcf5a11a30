"""One currency for all amounts: converted once, refunds at the rate of their payment, nothing without one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.messages import INTENT, ORDER, TABLES, USER, checkout, refund, shopify, stripe
from tests.simulation.cloud import Cloud, simulated
from tests.simulation.worker import Worker
from tests.test_payments import held, in_turn

from linkrunner_webhooks.config import Config, Linkrunner
from linkrunner_webhooks.errors import ConfigError, Untranslatable
from linkrunner_webhooks.money import Rate, decimals
from linkrunner_webhooks_cli.currencies import in_one_currency

AS_OF = datetime.now(UTC).date()
RATES: dict[str, Any] = {"as_of": AS_OF, "USD": Decimal("89.2"), "EUR": "97.05", "KWD": 290}


def told_in(currency: str = "INR", **settings: Any) -> dict[str, Any]:
    """The tables of a merchant who tells all amounts in one currency."""
    return TABLES | {"linkrunner": {"currency": currency, "rates": RATES} | settings}


def sent(cloud: Cloud) -> list[dict[str, Any]]:
    """The parameters of the captured events."""
    return [dict(each.body["event_data"]) for each in cloud.linkrunner.captures]


amounts = st.decimals(0, 10**9, places=2)
factors = st.decimals("0.0001", 10**4, places=6).filter(lambda factor: factor > 0)


@given(amounts, factors, st.sampled_from(["INR", "JPY", "KWD"]))
def test_a_conversion_is_rounded_once(amount: Decimal, factor: Decimal, into: str) -> None:
    """Half to even, to the decimals of the currency: the nearest amount there is."""
    converted = Rate("USD", into, factor).convert(amount)
    exact, step = Fraction(amount) * Fraction(factor), Fraction(1, 10 ** decimals(into))
    assert -converted.as_tuple().exponent == decimals(into)  # type: ignore[operator]
    assert abs(Fraction(converted) - exact) <= step / 2
    if abs(Fraction(converted) - exact) == step / 2:
        assert int(Fraction(converted) / step) % 2 == 0


def test_what_is_converted_beyond_a_json_number_is_refused() -> None:
    """An amount that a number cannot carry exactly is nobody's revenue."""
    with pytest.raises(Untranslatable):
        Rate("USD", "INR", Decimal("123456.789")).convert(Decimal("9999999999999.99"))


@pytest.mark.parametrize("text", [None, "", "USD", "USD|INR", "USD|INR|x", "|INR|1", "USD||1"])
def test_a_rate_that_nobody_wrote_is_none(text: str | None) -> None:
    """A row of the ledger cannot stop a refund."""
    assert Rate.read(text) is None


def test_a_rate_is_read_as_it_was_written() -> None:
    """Without a digit lost."""
    rate = Rate("USD", "INR", Decimal("89.20"))
    assert Rate.read(rate.text()) == rate


def test_an_event_says_both() -> None:
    """The amount in one currency, with its value, and what was paid."""
    with simulated(told_in()) as cloud:
        in_turn(cloud, checkout)
        (data,) = sent(cloud)
    assert (data["amount"], data["value"], data["currency"]) == (2318.31, 2318.31, "INR")
    assert (data["paid_amount"], data["paid_currency"]) == (25.99, "USD")


def test_its_own_currency_is_not_converted() -> None:
    """What is paid in the one currency needs no rate, and says nothing besides."""
    with simulated(told_in("USD", rates=None)) as cloud:
        in_turn(cloud, checkout)
        (data,) = sent(cloud)
    assert (data["amount"], data["currency"]) == (25.99, "USD")
    assert "paid_amount" not in data


def test_prices_of_lines_are_converted() -> None:
    """They have no currency of their own."""
    line = {"variant_id": 7, "product_id": 6, "quantity": 2, "price": "29.95"}
    with simulated(told_in()) as cloud:
        in_turn(cloud, partial(shopify, "orders/paid", ORDER | {"line_items": [line]}))
        (data,) = sent(cloud)
    assert data["contents"] == [{"id": "7", "quantity": 2, "item_price": 2906.65}]


def test_names_of_the_operator_hold() -> None:
    """Renamed and dropped fields are so in both currencies."""
    tables = told_in()
    fields = {"amount": "revenue", "paid_currency": False, "contents": "lines", "value": False}
    tables["stripe"] = tables["stripe"] | {"fields": fields}
    with simulated(tables) as cloud:
        in_turn(cloud, checkout)
        (data,) = sent(cloud)
    assert (data["revenue"], data["paid_amount"]) == (2318.31, 25.99)
    assert not {"amount", "value", "paid_currency"} & set(data)


@pytest.mark.parametrize("revenue", ["event", "payment"])
def test_a_refund_has_the_rate_of_its_payment(revenue: str) -> None:
    """All of a payment goes back as what was told of it, whatever the rate is by then."""
    with simulated(told_in(revenue=revenue)) as cloud:
        in_turn(cloud, checkout)
        cloud.config = Config(told_in(revenue=revenue, rates={"as_of": AS_OF, "USD": 50}))
        in_turn(cloud, partial(refund, 2599))
        (data,) = [each for each in sent(cloud) if "refund_amount" in each]
        assert (data["refund_amount"], data["currency"]) == (2318.31, "INR")
        assert (data["paid_amount"], data["paid_currency"]) == (25.99, "USD")
        assert held(cloud) == []


def test_what_is_left_has_the_rate_of_the_payment() -> None:
    """A version that takes the place of a payment is told as the payment was."""
    settings: dict[str, Any] = {"revenue": "payment", "partial_refund": "replace"}
    with simulated(told_in(**settings)) as cloud:
        in_turn(cloud, checkout)
        assert [each[2] for each in held(cloud)] == [2318.31]
        cloud.config = Config(told_in(**settings, rates={"as_of": AS_OF, "USD": 50}))
        in_turn(cloud, partial(refund, 1000))
        (body,) = cloud.linkrunner.book.payments.values()
    data = body["event_data"]
    assert (body["amount"], data["value"], data["currency"]) == (1426.31, 1426.31, "INR")
    assert (data["paid_amount"], data["paid_currency"]) == (15.99, "USD")


def test_a_payment_that_was_told_as_paid_has_no_rate() -> None:
    """Its refund is converted at today's: nothing else is known."""
    with simulated(TABLES) as cloud:
        in_turn(cloud, checkout)
        cloud.config = Config(told_in())
        in_turn(cloud, partial(refund, 1000))
        assert sent(cloud)[1]["refund_amount"] == 892


def test_without_a_rate_a_person_is_asked() -> None:
    """An amount in another currency would be added as if it were in this one."""
    tables = told_in(rates={"as_of": AS_OF})
    with simulated(tables) as cloud:
        cloud.store(checkout())
        cloud.run(Worker(cloud))
        assert cloud.dead.reasons == ["no_rate"]
        assert sent(cloud) == []
        cloud.config = Config(told_in())
        cloud.clock.now += 2
        with cloud.letters.reading() as reading:
            for letter in reading:
                cloud.letters.redrive(letter)
        cloud.run(Worker(cloud))
        assert [each["amount"] for each in sent(cloud)] == [2318.31]


@pytest.mark.parametrize("revenue", ["event", "payment", "both"])
def test_without_a_rate_an_event_may_go_without_its_amount(revenue: str) -> None:
    """Where the operator chose that: what happened is told, and no revenue."""
    tables = told_in(rates=None, no_rate="without_amount", revenue=revenue)
    with simulated(tables) as cloud:
        in_turn(cloud, checkout)
        (data,) = sent(cloud)
        assert held(cloud) == []
    assert not {"amount", "value", "currency", "paid_amount"} & set(data)


def test_what_has_no_amount_needs_no_rate() -> None:
    """Only money is converted."""
    ended = partial(stripe, "customer.subscription.deleted", {"id": "sub_1"} | USER)
    with simulated(told_in(rates=None)) as cloud:
        in_turn(cloud, ended)
        assert [each.body["event_name"] for each in cloud.linkrunner.captures] == [
            "subscription_cancelled"
        ]
        cloud.store(stripe("payment_intent.payment_failed", INTENT | USER))
        cloud.run(Worker(cloud))
        assert cloud.dead.reasons == ["no_rate"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            {"currency": "rupees"},
            "[linkrunner]: `currency`: a currency is its three capital letters",
        ),
        ({"currency": "inr"}, "three capital letters"),
        ({"rates": {"as_of": AS_OF, "USD": 1}}, "rates need `currency`"),
        ({"currency": "INR", "rates": {"USD": 89}}, "[linkrunner.rates]: `as_of`"),
        ({"currency": "INR", "rates": {"as_of": AS_OF, "dollar": 89}}, "`dollar`: a currency is"),
        ({"currency": "INR", "rates": {"as_of": AS_OF, "USD": 0}}, "how many INR one USD is"),
        ({"currency": "INR", "rates": {"as_of": AS_OF, "USD": "-1"}}, "how many INR one USD is"),
        ({"currency": "INR", "rates": {"as_of": AS_OF, "USD": "many"}}, "how many INR one USD is"),
        ({"currency": "INR", "rates": {"as_of": AS_OF, "USD": "Infinity"}}, "how many INR"),
        ({"currency": "INR", "rates": {"as_of": AS_OF, "USD": "1e12"}}, "how many INR"),
        ({"currency": "INR", "rates": {"as_of": AS_OF, "USD": True}}, "`USD`"),
        ({"types": {"purchase_complete": "ONE_TIME"}}, 'did you mean "purchase_completed"?'),
        ({"types": {"purchase_completed": "ONCE"}}, "`purchase_completed`: no type of payment"),
        ({"revenue": "payments"}, "[linkrunner]: `revenue`"),
        (
            {"partial_refunds": "keep"},
            'unknown key `partial_refunds`; did you mean "partial_refund"?',
        ),
    ],
)
def test_a_wrong_setting_is_named(table: dict[str, Any], words: str) -> None:
    """With its table, its key and what to write."""
    with pytest.raises(ConfigError) as raised:
        Config({"linkrunner": table, "stripe": {}}, "webhooks.toml").sources()
    assert words in str(raised.value)
    assert str(raised.value).startswith("webhooks.toml [linkrunner")


def settings(**written: Any) -> Linkrunner:
    """The table as it is read."""
    return Config({"linkrunner": written}).linkrunner


def test_warnings_about_currencies() -> None:
    """Two of them and no one currency, none for what was paid, rates that nobody looked at for a month."""
    assert list(in_one_currency(settings(), ["INR"])) == []
    (mixed,) = in_one_currency(settings(), ["USD", "INR"])
    assert mixed.startswith("amounts in INR, USD: Linkrunner documents one currency a project")
    fresh = settings(currency="INR", rates=RATES)
    assert list(in_one_currency(fresh, ["INR", "USD", "EUR"])) == []
    (missing,) = in_one_currency(fresh, ["INR", "GBP"])
    assert missing == "[linkrunner.rates] has no GBP, which was paid lately"
    old = settings(
        currency="INR", rates=RATES | {"as_of": datetime.now(UTC).date() - timedelta(days=31)}
    )
    (stale,) = in_one_currency(old)
    assert stale.startswith("[linkrunner.rates] are 31 days old")
