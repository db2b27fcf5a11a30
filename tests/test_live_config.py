"""The local stack's webhooks.toml is the file as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks_local.live_config import LiveConfig


def test_a_change_is_used_and_told_once(tmp_path: Path) -> None:
    """The next look at a source is by the changed file, without another start."""
    path, told = tmp_path / "webhooks.toml", list[str]()
    path.write_text('[stripe]\nuser_id = ["a"]\n')
    live = LiveConfig(path, test_events=True, tell=told.append)
    path.write_text('[stripe]\nuser_id = ["a", "b"]\n[shopify]\n')
    for _ in range(2):
        source = live.source("stripe")
        assert source is not None
        assert (source.user_id, source.test_events) == (("a", "b"), True)
    assert live.names == ("stripe", "shopify")
    assert [each.name for each in live.sources()] == ["stripe", "shopify"]
    assert told == ["webhooks.toml was changed and read again."]


@pytest.mark.parametrize("wrong", ["[stripe", "[strip]\n", '[stripe]\nuser_id = ["("]\n', None])
def test_a_wrong_change_is_not_used(tmp_path: Path, wrong: str | None) -> None:
    """In the middle of an edit, and without the file, what was read before stays, and the mistake is told."""
    path, told = tmp_path / "webhooks.toml", list[str]()
    path.write_text('[stripe]\nuser_id = ["mine"]\n')
    live = LiveConfig(path, test_events=False, tell=told.append)
    path.unlink() if wrong is None else path.write_text(wrong)
    source = live.source("stripe")
    assert source is not None
    assert source.user_id == ("mine",)
    (sentence,) = told
    assert sentence.startswith("Not used, what was read before stays: ")


def test_a_file_that_is_wrong_at_the_start_is_an_error(tmp_path: Path) -> None:
    """There is nothing from before that could stay."""
    with pytest.raises(ConfigError):
        LiveConfig(tmp_path / "nowhere.toml", test_events=False, tell=print)
