"""What a message carries from one life to the next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkrunner_webhooks.past import ATTRIBUTE, Past, marked

marks = st.text(min_size=1).filter(lambda text: ":" not in text)
pasts = st.builds(
    Past,
    captured=st.dictionaries(marks, st.text("0123456789abcdef", min_size=1)),
    doubts=st.dictionaries(marks, st.integers(0, 99)),
    forced=st.booleans(),
)


@given(pasts)
def test_what_is_written_is_read(past: Past) -> None:
    """In one attribute, whatever it says."""
    assert Past.of(past.among({"source": "stripe"})) == past


@pytest.mark.parametrize(
    "text", ["", "?", "doubts=m:-1", "doubts=m:\u0663", "doubts=:1", "captured", "doubts=m:1.5&x"]
)
def test_what_nobody_wrote_says_nothing(text: str) -> None:
    """An attribute that somebody else put there does not stand in the way of a sale."""
    assert Past.of({ATTRIBUTE: text}) == Past()


def test_an_event_is_marked_by_all_its_keys() -> None:
    """Two facts have two marks."""
    assert len({marked(keys) for keys in [("a",), ("b",), ("a", "b"), ("ab",)]}) == 4
