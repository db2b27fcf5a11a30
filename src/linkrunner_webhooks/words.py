"""Linkrunner's own words about an event it refuses, made safe to keep: short, printable, naming nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from linkrunner_webhooks.screening import MAYBE_NUMBER, is_contact

# Bytes of an answer that are read for its words.
READ = 4096
_MAX = 200
_HIDDEN = "[...]"
# Where APIs put their sentence; Linkrunner's documentation has `msg`.
_PLACES = ("msg", "message", "error", "detail")
_WORD = re.compile(r"\S+")


def words_of(answer: bytes, hide: Iterable[str] = ()) -> str:
    """The sentence of an answer; empty when it has none. Texts in `hide` (a user id) do not appear in it."""
    text = _sentence(answer.decode("utf-8", "replace"))
    for secret in filter(None, hide):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
    return _screened(_plain(text))[:_MAX].strip()


def _sentence(text: str) -> str:
    """The message inside a JSON object, or the text itself; nothing of a web page."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.lstrip().startswith("<") else text
    if not isinstance(value, dict):
        return ""
    # Google's is one object deeper.
    inner = value.get("error")
    objects = (value, inner) if isinstance(inner, dict) else (value,)
    found = (each.get(key) for each in objects for key in _PLACES)
    return next((text for text in found if isinstance(text, str)), "")


def _plain(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _screened(text: str) -> str:
    """Without addresses and phone numbers. Of the whole text, because half an address looks like none."""
    # A word alone is not all of a phone number.
    for pattern in (MAYBE_NUMBER, _WORD):
        text = pattern.sub(lambda it: _HIDDEN if is_contact(it[0]) else it[0], text)
    return text
