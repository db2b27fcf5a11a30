"""Exact amounts. The only module that knows minor units, and how many decimals a currency has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Self

from linkrunner_webhooks.errors import Untranslatable

# ISO 4217 currencies whose smallest unit is not a hundredth.
_ZERO_DECIMAL = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMAL = "BHD IQD JOD KWD LYD OMR TND"
_EXPONENTS = dict.fromkeys(_ZERO_DECIMAL.split(), 0) | dict.fromkeys(_THREE_DECIMAL.split(), 3)

# Past this many digits a JSON number no longer carries an amount exactly.
MAX_DIGITS = 15

Amount = str | int | Decimal
# A number of JSON.
Number = int | float


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount in major units (19.99 means 19 dollars 99) and its ISO 4217 code, upper case."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not (len(self.currency) == 3 and self.currency.isascii() and self.currency.isalpha()):
            raise Untranslatable("currency is not a three-letter ISO 4217 code")
        if not carried_exactly(self.amount):
            raise Untranslatable("amount is not a finite number of at most 15 digits")
        object.__setattr__(self, "currency", self.currency.upper())

    @classmethod
    def of(cls, amount: Amount | None, currency: str | None) -> Money:
        """From major units: `Money.of("1499.00", "INR")`. Raises Untranslatable."""
        if amount is None or not currency:
            raise Untranslatable("the amount or its currency is missing")
        try:
            return cls(_without_noise(Decimal(amount)), currency)
        except InvalidOperation:
            raise Untranslatable("amount is not a decimal number") from None

    @classmethod
    def from_minor(
        cls,
        amount: int | None,
        currency: str | None,
        exponents: Mapping[str, int] | None = None,
    ) -> Money:
        """From the smallest unit: `Money.from_minor(1999, "usd")` is 19.99 USD.

        `exponents` holds a provider's exceptions from ISO 4217, as {code: decimals}. Raises Untranslatable.
        """
        if amount is None or not currency:
            raise Untranslatable("the amount or its currency is missing")
        return cls(major(amount, currency, exponents), currency)

    @classmethod
    def maybe(cls, amount: Amount | None, currency: str | None) -> Money | None:
        """Like `of`, but None when the amount or its currency is missing."""
        return cls.of(amount, currency) if amount is not None and currency else None

    @classmethod
    def converted(cls, amount: Decimal | None, currency: str | None) -> Money | None:
        """Like `maybe`, of a float that a provider converted from another currency: 5.690000000000001."""
        return cls.maybe(amount if amount is None else round(amount, 6), currency)

    @classmethod
    def maybe_minor(
        cls,
        amount: int | None,
        currency: str | None,
        exponents: Mapping[str, int] | None = None,
    ) -> Money | None:
        """Like `from_minor`, but None when the amount or its currency is missing."""
        if amount is None or not currency:
            return None
        return cls.from_minor(amount, currency, exponents)


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit of one currency is worth in another: `factor` units of `into`, all in major units."""

    of: str
    into: str
    factor: Decimal

    def convert(self, amount: Decimal) -> Decimal:
        """Rounded once, a half to even, to the decimals of the currency. Raises Untranslatable."""
        converted = (amount * self.factor).quantize(_smallest(self.into), ROUND_HALF_EVEN)
        if not carried_exactly(converted):
            raise Untranslatable("the converted amount has more than 15 digits")
        return converted

    def text(self) -> str:
        return f"{self.of}|{self.into}|{self.factor:f}"

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """What `text` wrote, or None."""
        of, into, factor = (*(text or "").split("|"), "", "")[:3]
        try:
            return cls(of, into, Decimal(factor)) if of and into else None
        except InvalidOperation:
            return None


def _without_noise(amount: Decimal) -> Decimal:
    """Floats carry 16 or 17 digits, of which the last are noise: 259.90000000000003."""
    # Most amounts are short, and this is quicker than to count digits.
    if len(str(amount)) <= MAX_DIGITS:
        return amount
    if len(amount.as_tuple().digits) not in (16, 17) or not amount.is_finite():
        return amount
    near = round(amount, 6)
    return near if abs(amount - near) < Decimal("1e-9") else amount


def major(amount: int, currency: str, exponents: Mapping[str, int] | None = None) -> Decimal:
    """A number of smallest units in major units, as `Money.from_minor` knows them; for prices."""
    return Decimal(amount).scaleb(-decimals(currency, exponents))


def decimals(currency: str, exponents: Mapping[str, int] | None = None) -> int:
    """How many decimals amounts of the currency have."""
    code = currency.upper()
    return (exponents or {}).get(code, _EXPONENTS.get(code, 2))


def rounded(amount: Decimal, currency: str) -> Decimal:
    """To the decimals of the currency, a half up, as shops and stores round."""
    return amount.quantize(_smallest(currency), ROUND_HALF_UP)


def _smallest(currency: str) -> Decimal:
    return Decimal(1).scaleb(-decimals(currency))


def number(amount: Decimal) -> Number:
    """A JSON number of the same value: `Money` admits only what a double carries exactly."""
    carried = float(amount)
    return int(carried) if carried.is_integer() else carried


def carried_exactly(amount: Decimal) -> bool:
    """Whether a JSON number can be exactly this amount: finite, and at most 15 digits."""
    if not amount.is_finite() or abs(amount.adjusted()) > MAX_DIGITS:
        return False
    # Most amounts are short, and this is quicker than to count digits.
    if len(str(amount)) <= MAX_DIGITS:
        return True
    # Not normalize(): it rounds to the context's precision, and would call anything exact.
    digits = "".join(map(str, amount.as_tuple().digits))
    return len(digits.rstrip("0")) <= MAX_DIGITS
