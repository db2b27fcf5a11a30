"""What nobody is shown, whatever they ask for: signatures, tokens, keys and passwords, by their names."""

from __future__ import annotations

import re
from typing import Any, Final

HIDDEN: Final = "…"

_WORDS: Final = (
    "sign(?:ed|ature)|hmac|hash|secret|token|passw|passcode|passphrase|pwd|credential|cookie|bearer"
    "|jwt|cvv|cvc"
)
_INSIDE: Final = re.compile(
    # `authorized_at` and `monkey_id` are none.
    rf"{_WORDS}|(?:^|_)(?:sig|pass|otp|pin)(?:_|$)|(?:^|_)(?:auth|authorization)(?:_code|_key|_data)?$"
    r"|\wkeys?$|(?:api|access|private|secret)_?key"
)
# Headers have more of them, and little else.
_OF_A_HEADER: Final = re.compile(rf"{_INSIDE.pattern}|sig(?:n|_|$)|auth|key|session")
# Everything here takes a time that grows with the text and no faster: anybody can send one.
# What shows by itself what it is, and what a text says with its name: token=..., "secret": "...", <sig>...
_PLAIN_TO_SEE: Final = re.compile(
    r"\b(?:bearer|basic|digest)\s+[\w.~+/=-]{6,}|\b(?:whsec|sk|rk|xox[a-z]|gh[a-z])_\w+",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(
    rf"((?:{_WORDS}|authorization|\bauth|\bsig|\bpass|\botp|\bpin|key)"
    # The rest of its name, and what stands between a name and its value.
    r"""[\w.\]-]{0,40}\\?["']?\s{0,5}[=:>]\s{0,5}\\?["']?)"""
    r"""[^\s&"'<>;,\\…][^\s&"'<>;,\\]*""",
    re.IGNORECASE,
)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_LETTER: Final = re.compile(r"[^a-z0-9]+")


def words(name: str) -> str:
    """A name as words with a `_` between them, however it is written: `apiKey`, `X-Api-Key`."""
    return _NO_LETTER.sub("_", _HUMP.sub("_", name).lower()).strip("_")


def is_secret(name: str) -> bool:
    """Whether what a body has under this key is one."""
    return bool(_INSIDE.search(words(name)))


def is_secret_header(name: str) -> bool:
    """The same for a header."""
    return bool(_OF_A_HEADER.search(words(name)))


def without_secrets(text: str) -> str:
    """A text without those that stand in it, as far as it says where they are."""
    return _NAMED.sub(rf"\1{HIDDEN}", _PLAIN_TO_SEE.sub(HIDDEN, text))


def named_in(pair: dict[Any, Any]) -> str:
    """How a list of pairs calls the `value` of this one; empty where it is no pair."""
    names = (pair.get(key) for key in ("name", "key", "variable_name"))
    return next((each for each in names if isinstance(each, str) and "value" in pair), "")
