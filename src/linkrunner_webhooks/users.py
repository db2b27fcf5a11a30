"""The user of an event. An id is found in the body, or there is none: no id is ever invented."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from functools import cache, partial
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter

from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks.screening import MAX_TEXT, Phones, is_contact, is_phone, none_known

# Words for nobody: a missing value as serialisers write it, placeholders of shops and apps, and the names of
# our own keys. A text of nothing else is no id: "guest user", "undefined:undefined", "USER_ID_HERE".
# RevenueCat publishes such a list: https://www.revenuecat.com/docs/customers/user-ids
_NOBODY = frozenset(
    "null none nil undefined nan true false empty blank unset na unknown unidentified anon anonymous guest"  # noqa: SIM905
    " nobody visitor user id userid no nouser not set missing logged out optional your customer linkrunner"
    " app here object x00".split()
)
_WORDS = re.compile(r"[^\W_]+")
# Zeros of any length, also as the nil UUID, its opposite, and numbers below one.
_ZERO = re.compile(r"\+?[0-]+(?:\.0+)?|-\d+|0x0+|n/?a|[f-]{32,36}", re.IGNORECASE)
# A template that nobody filled in: {{user_id}}, ${userId}, <%= id %>, %user_id%, <user_id>, [USER_ID], %s.
_TEMPLATE = re.compile(
    r".*(?:\{\{|%7b%7b|\$\{|\$\(|<%|%\{|#\{|\*\|).*|%+[a-z_]+%+|%[sd@]|\{[\w. ]*\}|<[a-z_. -]+>|\[[a-z_ ]+\]"
    r"|liquid error.*",
    re.IGNORECASE | re.DOTALL,
)
# RevenueCat and Superwall make these up for a customer who has not signed in, and apps pass them on.
_MADE_UP = ("$rcanonymousid:", "$superwallalias:")
# The long form of a customer's number. Apps know the customer by the number alone.
_GLOBAL_ID = "gid://shopify/Customer/"
# Larger numbers are not ids.
_MAX_NUMBER = 10**36


# Most expressions are plain paths, and a walk takes a tenth of the interpreter's time.
_NAME = r"[A-Za-z_]\w*"
_PATH = rf"{_NAME}(?:\.{_NAME})*"
_PLAIN = re.compile(_PATH, re.ASCII)
# Shops list attributes as pairs: note_attributes[?name=='linkrunner_user_id'].value
_PAIRED = re.compile(rf"({_PATH})\[\?({_NAME})=='(\w+)'\]\.({_PATH})", re.ASCII)

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
    if paired := _PAIRED.fullmatch(expression):
        pairs, name, text, place = paired.groups()
        return partial(_pick, tuple(pairs.split(".")), name, text, tuple(place.split(".")))
    return partial(_INTERPRETER.visit, parsed.parsed)


def _walk(keys: tuple[str, ...], value: Any) -> Any:
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _pick(
    pairs: tuple[str, ...], name: str, text: str, place: tuple[str, ...], value: Any
) -> list[Any] | None:
    """What stands at `place` in those of the listed pairs whose `name` is the text."""
    listed = _walk(pairs, value)
    if not isinstance(listed, list):
        return None
    named = (pair for pair in listed if isinstance(pair, dict) and pair.get(name) == text)
    return [found for pair in named if (found := _walk(place, pair)) is not None]


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
    found = find_named(expressions, payload, phones)
    return found[0] if found else None


def find_named(
    expressions: Iterable[str],
    payload: object,
    phones: Phones = none_known,
    visitors: Container[object] = (),
) -> tuple[str, str] | None:
    """The same, with the expression that found it; none of the `visitors` is a user, wherever they stand."""
    for expression in expressions:
        for value in values(expression, payload):
            user = usable(value)
            if user and value not in visitors and not is_phone(user, phones):
                return user, expression
    return None


# Linkrunner's web SDK writes it into a Shopify cart. https://docs.linkrunner.io/sdk/shopify
VISITOR = "lr_vid"


def visitors_in(payload: object) -> Iterator[object]:
    """The visitors of the web SDK that a body names: as a key, or as a pair of a name and a value."""
    if isinstance(payload, list):
        for each in payload:
            yield from visitors_in(each)
    elif isinstance(payload, dict):
        if VISITOR in payload:
            yield payload[VISITOR]
        if "value" in payload and VISITOR in (payload.get("name"), payload.get("key")):
            yield payload["value"]
        for each in payload.values():
            yield from visitors_in(each)


def values(expression: str, payload: object) -> Iterable[object]:
    """The value at the expression, or each of them where it is about several, as `aliases[]` is."""
    found = search(expression, payload)
    return found if isinstance(found, list) and "[" in expression else (found,)


def usable(value: object) -> str | None:
    """A non-empty text or an integer that names a user; not a contact, not a word for nobody."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 < value < _MAX_NUMBER else None
    if not isinstance(value, str):
        return None
    text = value.strip().removeprefix(_GLOBAL_ID)
    return None if is_nobody(text) or len(text) > MAX_TEXT or is_contact(text) else text


# What RevenueCat makes up for somebody who has not signed in is that person's own.
_ANONYMOUS = re.compile(r"\$RCAnonymousID:[0-9a-fA-F]{32}")


def person_id(value: object, phones: Phones = none_known) -> str | None:
    """An id of the provider's that can stand for one person: no placeholder, and no contact."""
    if isinstance(value, str) and _ANONYMOUS.fullmatch(value):
        return value
    id = usable(value)
    return None if id is None or is_phone(id, phones) else id


def is_nobody(text: str) -> bool:
    """Whether a text is a placeholder where an id should be: `guest`, `0`, `{{user_id}}`."""
    lower = text.strip().lower()
    return (
        lower.startswith(_MADE_UP)
        or _NOBODY.issuperset(_WORDS.findall(lower))
        or bool(_ZERO.fullmatch(lower) or _TEMPLATE.fullmatch(lower))
    )
