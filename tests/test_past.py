"""What a message carries from one life to the next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkrunner_webhooks.past import ATTRIBUTE, Capture, Past, marked

texts = st.text(min_size=1)
captures = st.builds(
    Capture,
    owner=texts,
    user_id=texts,
    keys=st.lists(texts, min_size=1).map(tuple),
    marks=st.lists(texts).map(tuple),
    sent=st.dictionaries(texts, texts),
)
pasts = st.builds(
    Past,
    captured=st.dictionaries(texts, captures, max_size=3),
    doubts=st.dictionaries(texts, st.integers(0, 99)),
    forced=st.booleans(),
)


@given(pasts)
def test_what_is_written_is_read(past: Past) -> None:
    """In one attribute, whatever it says."""
    assert Past.of(past.among({"source": "stripe"})) == past


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "[]",
        '{"doubts": {"m": "x"}}',
        '{"captured": {"m": "one"}}',
        '{"captured": {"m": {"keys": []}}}',
    ],
)
def test_what_nobody_wrote_says_nothing(text: str) -> None:
    """An attribute that somebody else put there does not stand in the way of a sale."""
    assert Past.of({ATTRIBUTE: text}) == Past()


def test_an_event_is_marked_by_all_its_keys() -> None:
    """Two facts have two marks."""
    assert len({marked(keys) for keys in [("a",), ("b",), ("a", "b"), ("ab",)]}) == 4
