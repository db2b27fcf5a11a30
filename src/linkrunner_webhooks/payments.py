"""The requests about payments, and what Linkrunner should hold of each. Pure: nothing is sent.

https://docs.linkrunner.io/api-reference/revenue-tracking

Linkrunner counts a payment under a type and an id once: the first record wins. So the same request can be
made again and again, and whatever changes later needs another id. A removal takes away a whole payment, and
one that names a user instead takes away all that this user ever paid: such a request cannot be built here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from hashlib import sha256
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from linkrunner_webhooks.money import Number, Rate

# What becomes of a payment of which a part was refunded: it stays, or what is left takes its place.
PartialRefund = Literal["keep", "replace"]


class Type(StrEnum):
    """The documented types of a payment."""

    DEFAULT = "DEFAULT"
    FIRST_PAYMENT = "FIRST_PAYMENT"
    SECOND_PAYMENT = "SECOND_PAYMENT"
    WALLET_TOPUP = "WALLET_TOPUP"
    FUNDS_WITHDRAWAL = "FUNDS_WITHDRAWAL"
    SUBSCRIPTION_CREATED = "SUBSCRIPTION_CREATED"
    SUBSCRIPTION_RENEWED = "SUBSCRIPTION_RENEWED"
    ONE_TIME = "ONE_TIME"
    RECURRING = "RECURRING"


class Status(StrEnum):
    """The documented states of a payment that are final. A state never changes: the first record wins."""

    COMPLETED = "PAYMENT_COMPLETED"
    FAILED = "PAYMENT_FAILED"


def _required(payment_id: object) -> None:
    if not (isinstance(payment_id, str) and payment_id.strip()):
        raise ValueError("a payment has an id")


@dataclass(frozen=True, slots=True)
class CapturePayment:
    """The body of one capture-payment request. `amount` is in major units.

    Raises ValueError without an id.
    """

    path: ClassVar[str] = "/capture-payment"

    payment_id: str
    user_id: str
    amount: Number
    event_data: Mapping[str, Any]
    type: str = Type.DEFAULT
    status: str = Status.COMPLETED

    def __post_init__(self) -> None:
        _required(self.payment_id)

    def body(self) -> dict[str, Any]:
        return {
            "user_id": self.user_id,
            "payment_id": self.payment_id,
            "amount": self.amount,
            "type": str(self.type),
            "status": str(self.status),
            "event_data": dict(self.event_data),
        }


@dataclass(frozen=True, slots=True)
class RemovePayment:
    """The body of one remove-payment request: of this payment, whoever paid it.

    Raises ValueError without an id.
    """

    path: ClassVar[str] = "/remove-payment"
    user_id: ClassVar[str] = ""

    payment_id: str

    def __post_init__(self) -> None:
        _required(self.payment_id)

    def body(self) -> dict[str, Any]:
        return {"payment_id": self.payment_id}


class Terms(BaseModel):
    """What is fixed of a payment before the first request about it, and never changes.

    `paid` is in major units of `currency`; `rate` is what Linkrunner is told amounts of it at (money.Rate).
    """

    model_config = ConfigDict(frozen=True)

    payment_id: str
    type: str
    paid: Decimal
    currency: str
    rate: str = ""

    @property
    def conversion(self) -> Rate | None:
        return Rate.read(self.rate)

    def text(self) -> str:
        return self.model_dump_json()

    @classmethod
    def of(cls, text: str | None) -> Self | None:
        """Read it back. What nobody wrote here says nothing."""
        try:
            return cls.model_validate_json(text) if text else None
        except ValidationError:
            return None


class Returned(NamedTuple):
    """Money that went back: `mark` names the fact. What came again has a negative `amount`."""

    mark: str
    amount: Decimal
    currency: str

    def text(self) -> str:
        return f"{self.mark}|{self.amount:f}|{self.currency}"

    @classmethod
    def of(cls, text: str) -> Self:
        mark, amount, currency = (*text.split("|"), "", "")[:3]
        try:
            return cls(mark, Decimal(amount), currency)
        except InvalidOperation:
            return cls(mark, Decimal(0), "")


class Version(NamedTuple):
    """A payment as Linkrunner holds it, under one id. `left` is the amount, in the currency that was paid."""

    payment_id: str
    left: Decimal

    def text(self) -> str:
        return f"{self.left:f}|{self.payment_id}"

    @classmethod
    def of(cls, text: str) -> Self:
        left, _, payment_id = text.partition("|")
        return cls(payment_id, Decimal(left))


# What Linkrunner holds of a payment that is gone.
NOTHING = Version("", Decimal(0))


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger knows of one payment.

    `returned` is all that went back of it. `versions` are the ids under which it may have been captured;
    `leaving` those that were to be taken away again, and `gone` those that were. `current` is
    what Linkrunner holds, as far as that was noted; None is the payment as it was paid, once it is captured.
    """

    terms: Terms | None = None
    returned: frozenset[Returned] = frozenset()
    versions: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    current: Version | None = None

    def among(self, other: Account) -> Account:
        """What two keys of one payment know."""
        return Account(
            self.terms or other.terms,
            self.returned | other.returned,
            self.versions | other.versions,
            self.leaving | other.leaving,
            self.gone | other.gone,
            self.current or other.current,
        )

    @property
    def own(self) -> Version:
        """The payment as it was paid."""
        return Version(self.terms.payment_id, self.terms.paid) if self.terms else NOTHING

    @property
    def held(self) -> frozenset[str]:
        """The ids under which Linkrunner may hold it now."""
        return self.versions - self.gone

    def left(self) -> Decimal:
        """What is left of the payment, in the currency that was paid. Other currencies say nothing of it."""
        if self.terms is None:
            return Decimal(0)
        gone = sum(each.amount for each in self.returned if each.currency == self.terms.currency)
        return min(max(self.terms.paid - gone, Decimal(0)), self.terms.paid)

    def wanted(self, partial_refund: PartialRefund) -> Version:
        """What Linkrunner should hold.

        The id of a changed payment is a digest of all that went back of it: the same in every try, and never
        one that was there before.
        """
        left = self.left()
        if not left:
            return NOTHING
        if partial_refund == "keep":
            left = self.own.left
        for known in filter(None, (self.current, self.own)):
            if known.left == left and known.payment_id not in self.leaving:
                return known
        told = sorted(each.text() for each in self.returned)
        digest = sha256("\n".join(told).encode()).hexdigest()[:12]
        return Version(f"{self.own.payment_id}~{digest}", left)


NO_ACCOUNT = Account()
