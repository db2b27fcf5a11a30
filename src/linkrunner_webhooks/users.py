"""The user of an event. An id is found in the body, or there is none: no id is ever invented."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter

from linkrunner_webhooks.errors import ConfigError

# Serialisers write these for a missing value.
_NOTHING = frozenset(
    {"null", "none", "nil", "undefined", "nan", "true", "false", "{}", "[]", "[object object]"}
)
# Longer texts and numbers are not ids.
_MAX_TEXT = 256
_MAX_NUMBER = 10**36
# E-mail addresses and phone numbers are not ids and never leave, whichever path finds them.
_ADDRESS = re.compile(r"[^\s@]@[^\s@]+\.[^\s@]")
_NUMBER = re.compile(r"(?:tel:)?\+[\d\s().-]{7,20}", re.IGNORECASE)


# Most expressions are plain paths, and a walk takes a tenth of the interpreter's time.
_PLAIN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)

# Shared, because `ParsedResult.search` makes one for each search, in a third of its time.
_INTERPRETER = TreeInterpreter()


@cache
def compile_path(expression: str) -> Callable[[object], Any]:
    """A JMESPath expression over the body. Raises ConfigError quoting the expression."""
    try:
        parsed = jmespath.compile(expression)
    except JMESPathError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{expression!r} is not a JMESPath expression: {reason}") from None
    if _PLAIN.fullmatch(expression):
        return partial(_walk, tuple(expression.split(".")))
    return partial(_INTERPRETER.visit, parsed.parsed)


def _walk(keys: tuple[str, ...], value: Any) -> Any:
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def search(expression: str, payload: object) -> Any:
    """The value at the expression, or None. A wrong type along the way finds nothing."""
    try:
        return compile_path(expression)(payload)
    except JMESPathError:
        return None


def find_user(expressions: Iterable[str], payload: object) -> str | None:
    """The first usable id along the ladder of expressions."""
    found = (usable(search(expression, payload)) for expression in expressions)
    return next((user for user in found if user), None)


def usable(value: object) -> str | None:
    """A non-empty text or an integer that names a user; not an e-mail address, not a phone number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < _MAX_NUMBER else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not text or len(text) > _MAX_TEXT or text.lower() in _NOTHING or is_contact(text):
        return None
    return text


def is_contact(text: str) -> bool:
    """Whether a text is an e-mail address or a phone number. Those never leave."""
    return bool(_ADDRESS.search(text) or _NUMBER.fullmatch(text.strip()))
