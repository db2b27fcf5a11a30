"""The vocabulary for reading bodies: fields, ids, times, and the rules that all providers share.

Everything here is pure. Bad input raises Malformed (at the edge) or Untranslatable (in a mapper), and no
message quotes a body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import CoreSchema
from pydantic_core import core_schema as core

from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import MAX_QUANTITY, Kind, Webhook
from linkrunner_webhooks.money import MAX_DIGITS
from linkrunner_webhooks.screening import unnamed

T = TypeVar("T")

# Names go into answers, logs and message attributes, so they are bounded and printable.
_MAX_NAME = 256

# An older happening was reported in its time, and its claim may be forgotten soon. So this is shorter than
# the 35 days for which claims are kept at least.
FRESH: Final = timedelta(days=30)

# `transactions` of a happening that can repeat: every event of the provider is a fact of its own.
EACH_TIME: Final = ()

# Gateways there write times without their zone. It has no summer time.
INDIA: Final = timezone(timedelta(hours=5, minutes=30))

# The names under which merchants put their user id into free-form metadata, ours first.
USER_KEYS: Final = ("linkrunner_user_id", "user_id", "userId", "app_user_id")


class Payload(BaseModel):
    """The fields of a body that a mapper uses. All other fields are ignored."""

    # Built at first use: a webhook needs a few of its provider's models, and a cold start needs no others.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


P = TypeVar("P", bound=Payload)


class _Quick:
    """A field that reads null as None, and anything else as `read` does, which never fails.

    The `usual` schemas read what nearly every body holds, and in the same way, but without a call into
    Python: an order has hundreds of lines.
    """

    def __init__(self, read: Callable[[object], object], *usual: CoreSchema) -> None:
        unusual = core.no_info_plain_validator_function(read)
        either = core.union_schema([*usual, unusual], mode="left_to_right") if usual else unusual
        self._schema = core.nullable_schema(either)

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return self._schema


class _Lenient:
    """A field that is None where it cannot be read."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        unreadable = core.no_info_plain_validator_function(lambda _: None)
        return core.union_schema([handler(source), unreadable], mode="left_to_right")


def _text(value: object) -> object:
    """Ids are opaque text, whether the provider writes 42 or "42"; an expanded object stands for its id."""
    # By exact type: this runs for every id of every line of an order.
    if type(value) is dict:
        value = value.get("id")
    return str(value) if type(value) is int else value or None


def _optional(value: object) -> str | None:
    text = _text(value)
    return text if isinstance(text, str) and text != "0" and len(text) <= _MAX_ID else None


def _object(value: object) -> object:
    return value if isinstance(value, Mapping) else {}


# Longer than any provider's, and short enough for a key of the ledger.
_MAX_ID = 255
_IdText = Annotated[str, Field(max_length=_MAX_ID)]
Id = Annotated[_IdText, BeforeValidator(_text)]
# 0 is how some write that there is none, and what cannot be an id is none either.
OptionalId = Annotated[
    str | None,
    _Quick(
        _optional,
        core.str_schema(strict=True, min_length=2, max_length=_MAX_ID),
        core.no_info_after_validator_function(str, core.int_schema(strict=True, gt=0, lt=2**63)),
    ),
]


_NUMBERS = (str, int, float, Decimal)


def _pieces(value: object) -> int | None:
    """Shops sell half kilos, but a quantity is in pieces: a part of one is one, and anything else unknown."""
    pieces = price(value)
    if pieces is None or not 0 <= pieces <= MAX_QUANTITY:
        return None
    return max(1, int(pieces)) if pieces else 0


def price(value: object) -> Decimal | None:
    """A number as shops write prices, as text or not; None for anything else."""
    # By exact type: `True` is no number.
    if type(value) not in _NUMBERS:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    # 1E+999999 is a number, and no price of anything.
    return number if number.is_finite() and abs(number.adjusted()) <= MAX_DIGITS else None


def _whole(value: object) -> int | None:
    if type(value) is int:
        return value
    number = price(value)
    if number is None or number != int(number):
        return None
    return int(number)


def _or_none(value: object, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


def _readable(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """All at once, because that is quick, and one by one where one of them cannot be read."""
    rows = value if isinstance(value, list | tuple) else ()
    found = _or_none(rows, handler)
    if found is None:
        found = tuple(row for each in rows for row in _or_none((each,), handler) or ())
    return found


# A part of the body that is worth reading, and not worth the payment.
Detail = Annotated[T | None, _Lenient()]

# The details of an order: whatever cannot be read is unknown, because no detail is worth the payment.
Pieces = Annotated[int | None, _Quick(_pieces, core.int_schema(strict=True, ge=0, le=MAX_QUANTITY))]
Price = Annotated[Decimal | None, _Quick(price)]
# A price in the smallest unit.
MinorPrice = Annotated[int | None, _Quick(_whole, core.int_schema(strict=True))]
Lines = Annotated[
    tuple[T, ...],
    WrapValidator(_readable),
    Field(default=()),
]

# A part of the body that is an object, or is left out or written as null, "", [] or 0: then it is empty.
# It is declared without a default, which would build its model at import: `payment: Part[Payment]`.
Part = Annotated[T, BeforeValidator(_object), Field(default_factory=dict, validate_default=True)]


def known(*ids: str | None) -> tuple[str, ...]:
    """The ids that there are, each once."""
    return tuple(dict.fromkeys(id for id in ids if id))


# What the steps of a dispute are while it only asks.
_OF_AN_INQUIRY = {
    Kind.DISPUTE_OPENED: Kind.DISPUTE_WARNING,
    Kind.DISPUTE_WON: Kind.DISPUTE_CLOSED,
}


def dispute_kind(kind: Kind, *, inquiry: bool) -> Kind:
    """A step of a dispute. An inquiry takes no money, so that none comes back either."""
    return _OF_AN_INQUIRY.get(kind, kind) if inquiry else kind


# The shapes of payment ids, where a shop does not say whose they are.
_GATEWAYS = (
    ("stripe", re.compile(r"(?:pi|ch|py)_[A-Za-z0-9]{10,}")),
    ("razorpay", re.compile(r"pay_[A-Za-z0-9]{10,}")),
    ("paypal", re.compile(r"[A-Z0-9]{17}")),
)


GATEWAYS = frozenset(name for name, _ in _GATEWAYS)
# Providers whose orders name the gateway's payment.
SHOPS = frozenset({"bigcommerce", "woocommerce"})


def gateway(payment_id: str | None) -> tuple[str, str] | None:
    """The provider that a shop's payment was made with, as the id shows, and the id."""
    found = (name for name, shape in _GATEWAYS if shape.fullmatch(payment_id or ""))
    name = next(found, None)
    return (name, payment_id) if name and payment_id else None


def first(*ids: str | None) -> str | None:
    """The first id that there is."""
    return next((id for id in ids if id), None)


def present(value: T | None, what: str) -> T:
    """The value. Raises Untranslatable naming `what` when the body lacks it."""
    if value is None:
        raise Untranslatable(f"the event does not contain {what}")
    return value


def homes(*places: str, keys: Iterable[str] = USER_KEYS) -> tuple[str, ...]:
    """User-id paths: every key at every place, as `homes("data.metadata.{}")` writes them."""
    return tuple(place.format(key) for place in places for key in keys)


def parse(model: type[P], webhook: Webhook) -> P:
    """Read the part of a signed body that identifies it. Raises Malformed, never quoting the body."""
    try:
        return model.model_validate(webhook.payload)
    except ValidationError as error:
        raise Malformed(describe(error)) from None


def name(value: str | None, what: str) -> str:
    """An identifier fit for answers, logs and message attributes. Raises Malformed naming `what`.

    Merchants choose some of them: one that is a contact of a person is replaced by its digest.
    """
    if not value or len(value) > _MAX_NAME or not (value.isascii() and value.isprintable()):
        raise Malformed(f"the {what} is missing or unusable")
    return unnamed(value)


def describe(error: ValidationError) -> str:
    """Where a body disagrees with our model, without quoting it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    places = (f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['type']}" for item in found[:3])
    return f"unexpected shape ({'; '.join(places)})"


def unix_time(seconds: object) -> datetime | None:
    """A moment in unix seconds; None for anything else: no payment is refused for want of a time."""
    try:
        number = _whole(seconds)
        return None if number is None else datetime.fromtimestamp(number, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def epoch_ms(milliseconds: object) -> datetime | None:
    """A moment in unix milliseconds, to the second; None for anything else."""
    number = _whole(milliseconds)
    return unix_time(None if number is None else number // 1000)


def iso_time(value: object, zone: tzinfo | None = None) -> datetime | None:
    """A moment in ISO 8601, in UTC; None for anything else: no payment is parked for want of a time.

    `zone` is that of times that do not name theirs; without it these are none.
    """
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return zoned.astimezone(UTC) if zoned.tzinfo else None
    except (ValueError, OverflowError):
        return None


def lately(happened: datetime | None, reported: datetime | None) -> bool:
    """Whether something happened at most FRESH before a report of it; true when a time is unknown."""
    return happened is None or reported is None or reported - happened <= FRESH
