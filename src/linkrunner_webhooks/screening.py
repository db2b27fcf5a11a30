"""The one check of texts that leave: no contact of a person goes out, whichever field it stands in.

Merchants choose many of the ids that providers pass on, and some of them choose an address or a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

# Longer texts are no ids and no names of anything.
MAX_TEXT = 256
# `%40` is an `@` in a part of a URL.
_ADDRESS = re.compile(r"[^\s@](?:@|%40)[^\s@]+\.[^\s@]", re.IGNORECASE)
# Not inside a longer word: base64 has plus signs and digits, too.
_NUMBER = re.compile(
    r"(?<![a-z0-9+/=])(?:\+|00(?=[1-9]\d{9}))\d(?:[\s().-]{0,3}\d){6,18}(?![a-z0-9+=])",
    re.IGNORECASE,
)

# A number without its plus sign looks like any id, but the same body may say whose number it is.
_BARE = re.compile(r"\d{7,15}")
_PHONE_KEY = re.compile(
    r"phone|mobile|msisdn|whatsapp|(?:^|_)(?:contact|tel|vpa)(?:$|_)", re.IGNORECASE
)
_FEWEST_DIGITS = 7


def is_contact(text: str) -> bool:
    """Whether an e-mail address or an international phone number stands in the text."""
    return bool(_ADDRESS.search(text) or _NUMBER.search(text))


def is_phone_in(payload: object, text: str) -> bool:
    """Whether the text is a phone number of the body, with or without the country's prefix."""
    if not _BARE.fullmatch(text):
        return False
    return any(_same(text, number) for number in _phones(payload))


def _same(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) >= _FEWEST_DIGITS and longer.endswith(shorter)


def _phones(value: Any, key: str = "") -> Iterator[str]:
    """The digits of all values under keys that promise a phone number."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _phones(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _phones(inner, key)
    elif isinstance(value, str | int) and key and _PHONE_KEY.search(key):
        yield "".join(filter(str.isdecimal, str(value)))


def screened(text: str | None, payload: object = None) -> str | None:
    """The text, or None when it must not leave: a contact, or longer than any id or name."""
    if not text or len(text) > MAX_TEXT or is_contact(text) or is_phone_in(payload, text):
        return None
    return text


def listed(text: str | None) -> str | None:
    """The parts of a list with commas that may leave, each screened by itself."""
    parts = (screened(part.strip()) for part in (text or "").split(","))
    return screened(",".join(part for part in parts if part))


def unnamed(text: str) -> str:
    """An id fit for logs: itself, or its digest when it is a contact."""
    return sha256(text.encode()).hexdigest() if is_contact(text) else text
