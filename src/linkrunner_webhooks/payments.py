"""The requests about payments, and what Linkrunner should hold of each. Pure: nothing is sent.

https://docs.linkrunner.io/api-reference/revenue-tracking

Linkrunner counts a payment under a type and an id once: the first record wins. So the same request can be
made again and again, and whatever changes later needs another id. A removal takes away a whole payment, and
one that names a user instead takes away all that this user ever paid: such a request cannot be built here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from hashlib import sha256
from itertools import count
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
    def whole(self) -> Version:
        """The payment as it was paid."""
        return Version(self.payment_id, self.paid)

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
    """Money that went back: `mark` names the fact. What came again has a negative `amount`.

    What is in one `group` is told of by several sides: a shop and its gateway of one refund, or the steps of
    one dispute. It can have several names, separated by commas. `side` is who tells, or when a step happened.
    """

    mark: str
    amount: Decimal
    currency: str
    group: str = ""
    side: str = ""

    @property
    def groups(self) -> list[str]:
        """The names by which others tell of it; its own where nobody else does."""
        return self.group.split(",") if self.group else [self.mark]

    def text(self) -> str:
        return "|".join((self.mark, f"{self.amount:f}", self.currency, self.group, self.side))

    @classmethod
    def of(cls, text: str) -> Self:
        """Read it back. What nobody wrote here is nothing that went back."""
        mark, amount, currency, group, side = (*text.split("|"), "", "", "", "")[:5]
        try:
            return cls(mark, Decimal(amount), currency, group, side)
        except InvalidOperation:
            return cls(mark, Decimal(0), "")


# Before the digest in the id of what is left of a payment.
REST = "~"
# A group whose last step decides.
DISPUTE = "dispute:"


def went_back(returned: Iterable[Returned], currency: str) -> Decimal:
    """How much went back in that currency, whoever told of it and in whatever order."""
    groups: list[tuple[set[str], list[Returned]]] = []
    for each in returned:
        if each.currency != currency:
            continue
        names, members = set(each.groups), [each]
        for group in [known for known in groups if not names.isdisjoint(known[0])]:
            groups.remove(group)
            names |= group[0]
            members += group[1]
        groups.append((names, members))
    return sum((_told(members) for _, members in groups), Decimal(0))


def _told(group: Sequence[Returned]) -> Decimal:
    if group[0].group.startswith(DISPUTE):
        last = max(group, key=lambda each: (each.side, each.amount))
        return max(last.amount, Decimal(0))
    # Equal refunds of one side are several; those of two sides are the same.
    sides: dict[str, Decimal] = defaultdict(Decimal)
    for each in group:
        sides[each.side] += each.amount
    return max(sides.values(), key=abs)


class Version(NamedTuple):
    """A payment as Linkrunner holds it, under one id. `left` is the amount, in the currency that was paid."""

    payment_id: str
    left: Decimal

    def text(self) -> str:
        return f"{self.left:f}|{self.payment_id}"

    @classmethod
    def of(cls, text: str | None) -> Self | None:
        """Read it back. What nobody wrote here says nothing."""
        left, _, payment_id = (text or "").partition("|")
        try:
            return cls(payment_id, Decimal(left))
        except InvalidOperation:
            return None


# What Linkrunner holds of a payment that is gone.
NOTHING = Version("", Decimal(0))


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger knows of one payment.

    `returned` is all that went back of it. `versions` are the ids under which it may have been captured;
    `leaving` those that were to be taken away again, and `gone` those that were. `current` is what Linkrunner
    holds, as far as that was noted; None is the payment as it was paid, once it is captured.
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
        return self.terms.whole if self.terms else NOTHING

    @property
    def stands(self) -> Version:
        """What Linkrunner holds once it is captured, as far as that was noted."""
        return self.current or self.own

    @property
    def held(self) -> frozenset[str]:
        """The ids under which Linkrunner may hold it now."""
        return self.versions - self.gone

    def left(self) -> Decimal:
        """What is left of the payment, in the currency that was paid. Other currencies say nothing of it."""
        if self.terms is None:
            return Decimal(0)
        left = self.terms.paid - went_back(self.returned, self.terms.currency)
        return min(max(left, Decimal(0)), self.terms.paid)

    def wanted(self, partial_refund: PartialRefund) -> Version:
        """What Linkrunner should hold.

        The id of a changed payment is a digest of all that went back of it and of what is left: the same in
        every try, and never one that was there before.
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
        ids = (self._id(f"{left:f}", f"{number}", *told) for number in count())
        return Version(next(id for id in ids if id not in self.leaving), left)

    def _id(self, *parts: str) -> str:
        digest = sha256("\n".join(parts).encode()).hexdigest()[:12]
        return f"{self.own.payment_id}{REST}{digest}"


NO_ACCOUNT = Account()
