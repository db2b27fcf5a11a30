"""Whose event it is. An id is found in the body or it is not: nothing is ever invented."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter

from linkrunner_webhooks.errors import ConfigError

# What serialisers write when there is nothing.
_NOTHING = frozenset(
    {"null", "none", "nil", "undefined", "nan", "true", "false", "{}", "[]", "[object object]"}
)
# Longer ones are not ids, whatever else they are.
_MAX_TEXT = 256
_MAX_NUMBER = 10**36
# Addresses and numbers of people are not ids: they must not leave, whatever path found them.
_ADDRESS = re.compile(r"[^\s@]@[^\s@]+\.[^\s@]")
_NUMBER = re.compile(r"(?:tel:)?\+[\d\s().-]{7,20}", re.IGNORECASE)


# Most expressions are this, and walking there takes a tenth of what interpreting takes.
_PLAIN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)

# What `ParsedResult.search` makes anew each time, which is a third of its time.
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
    """What the expression finds, or None. A wrong type along the way finds nothing."""
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
    """Whether a text is an e-mail address or a phone number, which never leave."""
    return bool(_ADDRESS.search(text) or _NUMBER.fullmatch(text.strip()))
