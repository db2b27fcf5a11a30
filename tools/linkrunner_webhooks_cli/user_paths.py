"""Why a webhook has the user it has, or none: each path with what it found, masked, and other places to look.

What is usable as an id is decided by `users` alone; here it is only asked and put into words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.screening import is_contact, phones_in
from linkrunner_webhooks.users import VISITOR, find_named, search, usable, visitors_in

# Where merchants put what is theirs: below such a key, or under such a key.
PLACES: Final = re.compile(
    r"meta|meta_?data|custom|custom_(data|attributes)|(\w+_)?notes|note_attributes|(\w+_)?tags"
    r"|properties|passthrough|subscriber_attributes",
    re.IGNORECASE,
)
_KEYS: Final = re.compile(
    r"custom_?id|tx_ref|(client|customer|external|merchant|order|shopper|user)?_?reference(_?id)?"
    r"|(\w*_)?external_?(\w+_)?id|passthrough|(\w*[_.])?(user|player|customer|profile)_?(id|ref|uuid)"
    r"|(\w*[_.])?uid|(app|obfuscated_?external)_?account_?\w+",
    re.IGNORECASE,
)
PERSONAL: Final = re.compile(
    r"name$|mail|phone|mobile|address|street|city|zip|postal|birth|gender|(^|_)ip($|_)|url|secret|password"
    r"|card|last4|iban|vat|tax|session|utm|gclid|fbclid",
    re.IGNORECASE,
)
# The likeliest first.
_LIKELY: Final = re.compile(r"user|uid|account|player|member|profile", re.IGNORECASE)
_OPAQUE: Final = re.compile(r"[A-Za-z0-9][\w.:|/+=-]{2,255}", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z]+")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(T.*)?", re.ASCII)
# Keys are printed. What looks like no key may be somebody's name.
_KEY: Final = re.compile(r"[\w .:$/-]{1,64}", re.ASCII)
_PAIR: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_PLAIN: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Lists of pairs name their values under one of these.
_NAMES: Final = ("name", "key", "variable_name")
_MOST: Final = 10
_LONGEST_NUMBER: Final = 10**18


class Tried(NamedTuple):
    """One user path: the value it found, masked, and why it was taken or not."""

    path: str
    value: str
    why: str


class Candidate(NamedTuple):
    """A place that no path looks at, with a value that may be an id, masked. `note` says whose id it is."""

    path: str
    value: str
    note: str = ""


def user_paths(source: Source, payload: object) -> list[Tried]:
    """Every user path of the source, in order, over this body."""
    tried, taken = [], False
    visitors = [*visitors_in(payload)]

    def phones() -> Collection[str]:
        # Only for what may be an id: a number can be too long to be written.
        return phones_in(json.dumps(payload).encode())

    for path in source.user_id:
        is_usable = find_named((path,), payload, phones, visitors) is not None
        found = _found(path, payload)
        why = _TAKEN if not taken else _LATE
        if not is_usable:
            why = _VISITOR if found in visitors else _why(found)
        tried.append(Tried(path, masked(found), why))
        taken = taken or is_usable
    return tried


def _found(path: str, payload: object) -> Any:
    """The value at a user path. What JMESPath answers where nothing stands there is None, too."""
    value = search(path, payload)
    is_nothing = value is False or (isinstance(value, dict | list) and not value)
    return None if is_nothing else value


def candidates(source: Source, payload: object) -> list[Candidate]:
    """Where else an id may be: opaque values in places that are the merchant's own, the likeliest first."""
    known = [search(path, payload) for path in (*source.user_id, *source.provider.customer_ids)]
    found = [
        each
        for each in _leaves(payload, "", (), "")
        if each.may_be_an_id()
        and each.value not in known
        and search(each.path, payload) == each.value
    ]
    ordered = sorted(found, key=lambda each: not _LIKELY.search(each.key))
    places = [Candidate(each.path, masked(each.value)) for each in ordered[:_MOST]]
    return [*places, *_customer_ids(source, payload)]


def _customer_ids(source: Source, payload: object) -> Iterator[Candidate]:
    """The provider's own ids of customers, which are users only where somebody lists their paths."""
    for path in source.provider.customer_ids:
        value = search(path, payload)
        if path not in source.user_id and usable(value) is not None:
            yield Candidate(path, masked(value), "the provider's own customer id")


def masked(value: object) -> str:
    """Enough to recognise a value by for whoever knows it, and never the whole of it."""
    if isinstance(value, dict | list):
        return "{…}" if isinstance(value, dict) else "[…]"
    if value is None or value == "":
        return ""
    if isinstance(value, bool | float) or not isinstance(value, int | str) or _is_huge(value):
        return "…"
    text = str(value).strip()
    # Nothing of a person, not even two letters.
    if is_contact(text) or len(text) < 3:
        return "…"
    return f"{text[:2]}…{text[-2:]}" if len(text) > 5 else f"{text[0]}…"


_TAKEN: Final = "taken"
_LATE: Final = "usable; an earlier path was taken"
_VISITOR: Final = "a visitor of the web SDK, no user"
_NO_TEXT: Final = {
    type(None): "absent",
    bool: "true or false",
    float: "a number with a fraction",
    dict: "an object",
    list: "a list",
}


def _why(value: Any) -> str:
    """Why a value is no id. `users` has said that it is none."""
    return _NO_TEXT.get(type(value)) or _why_no_id(value)


def _why_no_id(value: int | str) -> str:
    text = "" if _is_huge(value) else str(value).strip()
    if is_contact(text):
        return "an e-mail address" if "@" in text else "a phone number"
    if value == "" or (isinstance(value, str) and not text):
        return "empty"
    if _is_huge(value) or usable(text[:32]):
        return "too long" if _is_huge(value) or not usable(text) else "a phone number of this body"
    return 'a placeholder, like "guest" or 0'


def _is_huge(value: object) -> bool:
    return isinstance(value, int) and abs(value) >= _LONGEST_NUMBER


class _Leaf(NamedTuple):
    path: str
    keys: tuple[str, ...]
    key: str
    value: Any

    def may_be_an_id(self) -> bool:
        if not isinstance(self.value, str | int) or usable(self.value) is None:
            return False
        if self.key == VISITOR:
            return False
        is_own = _KEYS.fullmatch(self.key) is not None
        # Adyen writes `metadata.user` as one key.
        places = (*self.keys, *self.key.split(".")[:-1])
        if not is_own and not any(map(PLACES.fullmatch, places)):
            return False
        text = str(self.value).strip()
        if any(map(PERSONAL.search, (*self.keys, self.key))) or not _OPAQUE.fullmatch(text):
            return False
        # A word alone is a colour or a name, unless its key says otherwise.
        return is_own or not (_DATE.fullmatch(text) or _WORD.fullmatch(text))


def _leaves(value: Any, path: str, keys: tuple[str, ...], key: str) -> Iterator[_Leaf]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if not _KEY.fullmatch(name):
                continue
            yield from _leaves(inner, _joined(path, name), (*keys, name), name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            naming = _naming(inner)
            if naming is None:
                yield from _leaves(inner, f"{path}[{index}]", keys, key)
            else:
                name = inner[naming]
                found = f"{path}[?{naming}=='{name}'].value | [0]"
                yield from _leaves(inner["value"], found, keys, name)
    else:
        yield _Leaf(path, keys[:-1] if keys and keys[-1] == key else keys, key, value)


def _naming(element: Any) -> str | None:
    """The key that names the value in an element of a list of pairs."""
    if not isinstance(element, dict) or "value" not in element:
        return None
    return next((key for key in _NAMES if _is_name(element.get(key))), None)


def _is_name(name: object) -> bool:
    """Whether it names a value; "User ID" does, "Jane Appleseed" may be the value."""
    if not isinstance(name, str):
        return False
    return bool(_PAIR.fullmatch(name) or _KEYS.fullmatch(name.replace(" ", "_")))


def _joined(path: str, key: str) -> str:
    part = key if _PLAIN.fullmatch(key) else f'"{key}"'
    return f"{path}.{part}" if path else part
