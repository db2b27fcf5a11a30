"""`init`: a folder of the merchant's own that deploys as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from linkrunner_webhooks import config
from linkrunner_webhooks_cli import init as init_module
from linkrunner_webhooks_cli.deployment import SETTINGS, read
from linkrunner_webhooks_cli.main import main


def run(*arguments: str) -> Result:
    """One run of the command."""
    return CliRunner().invoke(main, ["init", *arguments])


def test_the_folder_has_all_that_a_deploy_needs(tmp_path: Path) -> None:
    """A configuration that is valid, settings that are read, and a page that says what to do."""
    folder = tmp_path / "new" / "shop"
    result = run(str(folder), "--region", "eu-central-1", "--alarm-email", "ops@example.com")
    assert result.exit_code == 0, result.output
    assert f"make deploy CONFIG={folder}" in result.stderr
    assert config.load(folder / "webhooks.toml").sources()
    settings = read(folder / SETTINGS)
    assert (settings.stack, settings.region) == ("linkrunner-webhooks", "eu-central-1")
    assert settings.parameters == {"AlarmEmail": "ops@example.com"}
    assert "secrets server-key --stack linkrunner-webhooks" in (folder / "README.md").read_text()
    assert "discarded*.jsonl" in (folder / ".gitignore").read_text()


def test_a_second_environment_is_a_second_folder(tmp_path: Path) -> None:
    """Its stack has another name; without a region the setting is there to be filled in."""
    result = run(str(tmp_path), "--stack", "shop-staging", "--provider", "razorpay")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / SETTINGS).stack == "shop-staging"
    assert config.load(tmp_path / "webhooks.toml").names == ("razorpay",)


def test_without_a_region_the_setting_waits_to_be_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region that was guessed would be found out too late."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    result = run(str(tmp_path / "shop"))
    assert f"Set the region in {tmp_path / 'shop' / SETTINGS}" in result.stderr
    assert read(tmp_path / "shop" / SETTINGS).region is None


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is there stays, and no other is written beside it."""
    (tmp_path / "webhooks.toml").write_text("# mine\n")
    result = run(str(tmp_path))
    assert result.exit_code == 1
    assert "has webhooks.toml already" in result.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["webhooks.toml"]


def test_the_command_alone_makes_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a clone there is no packaged file to begin with."""
    monkeypatch.setattr(init_module, "DEFAULT_PATH", tmp_path / "none.toml")
    result = run(str(tmp_path / "shop"), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["files"] == [
        ".gitignore",
        "README.md",
        SETTINGS,
        "webhooks.toml",
    ]
    assert config.load(tmp_path / "shop" / "webhooks.toml").names == ("stripe", "shopify")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--stack", "my_shop!", "STACK is a letter"), ("--region", "frankfurt", "REGION is like")],
)
def test_what_could_not_be_deployed_is_not_written(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    """A stack cannot be renamed afterwards."""
    result = run(str(tmp_path / "shop"), option, value)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "shop").exists()


def test_an_unknown_provider_is_named(tmp_path: Path) -> None:
    """With the nearest one that there is."""
    result = run(str(tmp_path / "shop"), "--provider", "razorpy")
    assert result.exit_code == 2
    assert 'did you mean "razorpay"?' in result.stderr
    assert not (tmp_path / "shop").exists()
