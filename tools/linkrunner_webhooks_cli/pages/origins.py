"""Where a value of an event stands in the body that it was read from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from linkrunner_webhooks_cli.clients.client import at, moment
from linkrunner_webhooks_cli.pages.masking import shown_key

_PLAIN: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Minor units of up to four decimals.
_SCALES: Final = (1, 100, 1000, 10, 10_000, 1_000_000)
_SHORTEST: Final = 2


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a body with its path, as user paths are written."""
    if isinstance(value, dict):
        for key, each in value.items():
            shown = shown_key(key)
            name = shown if _PLAIN.fullmatch(shown) else f'"{shown}"'
            yield from leaves(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from leaves(each, f"{path}[{number}]")
    elif value not in (None, ""):
        yield path, value


def origin(value: Any, places: list[tuple[str, Any]]) -> str:
    """The first path that says the same: the same text, number, minor units or moment; empty for none."""
    for same in (_is_text, _is_number, _is_moment):
        for path, found in places:
            if same(value, found):
                return path
    return ""


def _is_text(value: Any, found: Any) -> bool:
    text = str(value)
    if isinstance(value, bool) or isinstance(found, bool) or len(text) < _SHORTEST:
        return value is found
    return text == str(found) or text.casefold() == str(found).casefold()


def _is_number(value: Any, found: Any) -> bool:
    if isinstance(value, bool) or isinstance(found, bool):
        return False
    with suppress(ArithmeticError, ValueError, TypeError):
        number, other = Decimal(str(value)), Decimal(str(found))
        return any(number * scale == other for scale in _SCALES) and number != 0
    return False


def _is_moment(value: Any, found: Any) -> bool:
    with suppress(ValueError, OverflowError, OSError, TypeError):
        return _moment(value) == _moment(found)
    return False


def _moment(value: Any) -> datetime:
    if isinstance(value, str) and not value.isdecimal():
        return moment(value)
    seconds = int(value)
    return at(seconds / 1000 if seconds > 10**11 else seconds).replace(microsecond=0)
