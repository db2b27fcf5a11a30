"""What is kept of Linkrunner's own words about a refused event."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkrunner_webhooks.screening import is_contact
from linkrunner_webhooks.words import words_of


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"msg": "user_id is required", "status": 400}', "user_id is required"),
        (b'{"message": "amount is negative"}', "amount is negative"),
        (b'{"error": {"code": 7}, "detail": "no such app"}', "no such app"),
        (b'{"error": {"code": 404, "message": "no such token"}}', "no such token"),
        (b"plainly wrong", "plainly wrong"),
        (b"", ""),
        (b"[]", ""),
        (b"7", ""),
        (b'{"status": 400}', ""),
        (b"<!doctype html><p>400</p>", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"msg": "one\\n\\ttwo\\u0000three\\u001b[31m"}', "one two three [31m"),
    ],
)
def test_the_sentence_is_found(answer: bytes, words: str) -> None:
    """The message of a JSON object or a plain text, on one line; nothing of anything else."""
    assert words_of(answer) == words


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("no user jane@example.com here", "no user [...] here"),
        ('user "jane@example.com", unknown', "user [...] unknown"),
        ("call +91 98765 43210, please", "call [...], please"),
        ("call 0049 30 1234 5678, please", "call [...], please"),
        ("order 100 200 300 400 is unknown", "order 100 200 300 400 is unknown"),
        ('"+919876543210" is no id', '"[...]" is no id'),
        ("user_42 is unknown, user_421 is not", "[...] is unknown, user_421 is not"),
    ],
)
def test_nobody_is_named(said: str, kept: str) -> None:
    """E-mail addresses, phone numbers and the user's own id are taken out; the rest stays."""
    assert words_of(json.dumps({"msg": said}).encode(), hide=("user_42", "")) == kept


def test_words_are_short() -> None:
    """At most 200 characters are kept, and an address is taken out before the text is cut through it."""
    words = words_of(b"x" * 190 + b" jane@example.com " + b"y" * 300)
    assert len(words) <= 200
    assert "jane" not in words


@given(st.text())
def test_words_fit_anywhere(said: str) -> None:
    """Whatever an answer holds, what is kept is one printable line without an address."""
    words = words_of(json.dumps({"msg": said}).encode())
    assert len(words) <= 200
    assert words == "" or words.isprintable()
    assert not any(is_contact(word) for word in words.split())
