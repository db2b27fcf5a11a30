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
from linkrunner_webhooks.screening import MAX_TEXT, Phones, is_contact, is_phone, none_known

# Words for nobody: a missing value as serialisers write it, placeholders of shops and apps, and the names of
# our own keys. RevenueCat publishes such a list: https://www.revenuecat.com/docs/customers/user-ids
_NOBODY = re.compile(
    r"null|none|nil|undefined|nan|true|false|empty|blank|unset|n/a|na|unknown|unidentified|anon(ymous)?|guest"
    r"|no[_-]?user|(guest|anonymous|unknown)[_-]?user"
    r"|((your|linkrunner|app)[_-]?)?user([_-]?id)?|customer[_-]?id|object object"
)
_BRACKETS = " \t\r\n()<>[]{}\"'`"
# Zeros of any length, also as the nil UUID, its opposite, and numbers below one.
_ZERO = re.compile(r"[0-]+(?:\.0+)?|-\d+|[fF]{8}-(?:[fF]{4}-){3}[fF]{12}")
# A template that nobody filled in: {{user_id}}, ${userId}, <%= id %>, %user_id%, <user_id>, [USER_ID].
_TEMPLATE = re.compile(
    r".*(?:\{\{|\$\{|\$\(|<%|%\{|#\{).*|%[a-z_]+%|\{[a-z_. ]+\}|<[a-z_. -]+>|\[[a-z_ ]+\]",
    re.IGNORECASE | re.DOTALL,
)
# RevenueCat makes these up for a customer who has not signed in, and apps pass them on.
_MADE_UP = "$rcanonymousid:"
# Larger numbers are not ids.
_MAX_NUMBER = 10**36


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


def find_user(
    expressions: Iterable[str], payload: object, phones: Phones = none_known
) -> str | None:
    """The first usable id along the ladder of expressions; none of the body's phone numbers is one."""
    found = (usable(search(expression, payload)) for expression in expressions)
    return next((user for user in found if user and not is_phone(user, phones)), None)


def usable(value: object) -> str | None:
    """A non-empty text or an integer that names a user; not a contact, not a word for nobody."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 < value < _MAX_NUMBER else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    return None if is_nobody(text) or len(text) > MAX_TEXT or is_contact(text) else text


def is_nobody(text: str) -> bool:
    """Whether a text is a placeholder where an id should be: `guest`, `0`, `{{user_id}}`."""
    word = text.strip(_BRACKETS).lower()
    return (
        not any(map(str.isalnum, word))
        or word.startswith(_MADE_UP)
        or bool(_NOBODY.fullmatch(word) or _ZERO.fullmatch(text) or _TEMPLATE.fullmatch(text))
    )
