"""The one check of texts that leave: no contact of a person goes out, whichever field it stands in.

Merchants choose many of the ids that providers pass on, and some of them choose an address or a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from hashlib import sha256
from unicodedata import normalize

# Longer texts are no ids and no names of anything.
MAX_TEXT = 256
# `%40` is an `@` in a part of a URL, and `%2540` one in a URL within a URL.
_ADDRESS = re.compile(r"[^\s@](?:@|%(?:25)*40)[^\s@]+\.[^\s@]", re.IGNORECASE)
_PLUS = re.compile(r"%(?:25)*2b", re.IGNORECASE)
# Ten digits after a plus are a number wherever they stand; fewer not inside a longer word, because base64 has
# plus signs and digits, too.
_NUMBER = re.compile(
    r"\+\d(?:[\s()._-]{0,3}\d){9,18}"
    r"|(?<![a-z0-9+/=])\+\d(?:[\s()._-]{0,3}\d){6,18}(?![a-z0-9+=])"
    r"|(?<![a-z0-9+/=])00[1-9](?:[\s()._-]{0,3}\d){8,18}(?![a-z0-9+=])",
    re.IGNORECASE,
)
# What may be one in a sentence, for `is_contact` to judge.
MAYBE_NUMBER = re.compile(r"(?:\+|(?<!\w)00)\d[\d\s()._-]{5,60}\d")

# A number without its plus sign looks like any id, but the same body may say whose number it is.
_BARE = re.compile(r"\d(?:[\s()._-]{0,2}+\d){6,14}+")
_FEWEST_DIGITS = 7
_PHONE_KEYS = (b"phone", b"mobile", b"msisdn", b"whatsapp", b"contact", b'"tel')
_PHONE = re.compile(
    rb'[a-z0-9_-]*"\s*:\s*(?:[\[{]\s*(?:"(?:value|number)"\s*:\s*)?)?'
    rb'"?((?:tel:)?(?:\\u002b|[+(\d])[\d\s().+-]{5,24})'
)

# Whatever `_PHONE` lets stand between the digits.
_SIGNS = bytes(set(range(256)) - set(b"0123456789"))

# As `phones_in` finds them.
Phones = Callable[[], Collection[str]]


def none_known() -> Collection[str]:
    """The phone numbers of a body that nobody has looked at."""
    return ()


def is_contact(text: str) -> bool:
    """Whether an e-mail address or an international phone number stands in the text."""
    if not text.isascii():
        # Full-width signs mean the same.
        text = normalize("NFKC", text)
    # Most texts have none of these, and a search takes ten times as long.
    if not ("@" in text or "+" in text or "%" in text or "00" in text):
        return False
    return bool(_ADDRESS.search(text) or _NUMBER.search(_PLUS.sub("+", text)))


def phones_in(body: bytes) -> frozenset[str]:
    """The digits of all values under keys that promise a phone number, without leading zeros.

    On the bytes, and by `find`: a walk over a large order takes longer than all of its translation.
    """
    lower = body.lower()
    found = (_PHONE.match(lower, end) for key in _PHONE_KEYS for end in _ends(lower, key))
    numbers = {each[1].replace(b"\\u002b", b"").translate(None, _SIGNS) for each in found if each}
    bare = (number.lstrip(b"0").decode() for number in numbers)
    return frozenset(number for number in bare if len(number) >= _FEWEST_DIGITS)


def _ends(body: bytes, key: bytes) -> Iterator[int]:
    start = body.find(key)
    while start >= 0:
        yield start + len(key)
        start = body.find(key, start + 1)


def is_phone(text: str, phones: Phones) -> bool:
    """Whether one of these phone numbers stands in the text, with or without the country's prefix."""
    # In this order: the body is searched for its numbers only when a text looks like one.
    if phones is none_known or not (bare := _BARE.findall(text)) or not (known := phones()):
        return False
    return any(_is_one_of(_digits(found), known) for found in bare)


def _digits(text: str) -> str:
    return text if text.isdecimal() else "".join(filter(str.isdecimal, text))


def _is_one_of(digits: str, phones: Collection[str]) -> bool:
    """At home a zero stands before the number, and abroad the country's prefix."""
    bare = digits.lstrip("0")
    return len(bare) >= _FEWEST_DIGITS and any(
        number.endswith(bare) or bare.endswith(number) for number in phones
    )


def screened(text: str | None, phones: Phones = none_known) -> str | None:
    """The text, or None when it must not leave: a contact, or longer than any id or name."""
    if not text or len(text) > MAX_TEXT or is_contact(text) or is_phone(text, phones):
        return None
    return text


def listed(text: str | None, phones: Phones = none_known) -> str | None:
    """The parts of a list with commas that may leave, each screened by itself."""
    if not text or "," not in text:
        return screened(text and text.strip(), phones)
    parts = (screened(part.strip(), phones) for part in text.split(","))
    return screened(",".join(part for part in parts if part))


def unnamed(text: str, phones: Phones = none_known) -> str:
    """An id fit for logs: itself, or its digest when it is a contact."""
    named = is_contact(text) or is_phone(text, phones)
    return sha256(text.encode()).hexdigest() if named else text
