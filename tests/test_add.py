"""`add`: the table it writes is valid, changes no default, and every line it proposes works."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks_cli.add import table
from linkrunner_webhooks_cli.main import main

every_provider = pytest.mark.parametrize("name", providers.names())


def run(*arguments: str, answer: str | None = None) -> Result:
    """One run of the command."""
    return CliRunner().invoke(main, ["add", *arguments], input=answer)


def source(text: str, name: str) -> Source:
    """A source of a configuration text."""
    found = Config(tomllib.loads(text)).source(name)
    assert found is not None
    return found


def uncommented(text: str) -> str:
    """The table with every proposed line switched on."""
    return re.sub(r'^# (?=(\w+|"[^"]+") = |    |\]$)', "", text, flags=re.MULTILINE)


@every_provider
def test_a_written_table_means_the_defaults(name: str) -> None:
    """The table forwards what the provider forwards by default, for the users its ladder finds."""
    provider = providers.load(name)
    plain = Config({name: provider.options.example()}).source(name)
    assert source(table(provider, name), name) == plain


@every_provider
def test_every_proposed_line_is_valid(name: str) -> None:
    """With all comment signs taken away the table is still one, with everything on."""
    provider = providers.load(name)
    found = source(uncommented(table(provider, name)), name)
    assert found.user_id == provider.user_id
    assert found.missing_user == "drop"
    assert {kind for each in provider.types.values() for kind in each.switches} == {
        kind for kinds in found.names.values() for kind in kinds
    }


def test_a_table_is_appended(tmp_path: Path) -> None:
    """What is in the file stays as it is, and the command says what to do next."""
    path = tmp_path / "webhooks.toml"
    path.write_text('# mine\n[stripe]\nmissing_user = "drop"\n')
    result = run("polar", "--config", str(path), "--yes")
    assert result.exit_code == 0, result.output
    assert "secrets set polar" in result.output
    text = path.read_text()
    assert text.startswith('# mine\n[stripe]\nmissing_user = "drop"\n\n[polar]\n')
    assert source(text, "stripe").missing_user == "drop"
    assert source(text, "polar").provider.name == "polar"


def test_a_second_account_is_another_source(tmp_path: Path) -> None:
    """--source names the table, which then names its provider."""
    path = tmp_path / "webhooks.toml"
    assert run("shopify", "--source", "shopify_eu", "--config", str(path), "--yes").exit_code == 0
    assert source(path.read_text(), "shopify_eu").provider.name == "shopify"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """--dry-run prints the table."""
    path = tmp_path / "webhooks.toml"
    result = run("square", "--config", str(path), "--dry-run")
    assert "[square]" in result.output
    assert not path.exists()


def test_it_asks_before_it_writes(tmp_path: Path) -> None:
    """Without --yes a person is asked; without an answer nothing is written."""
    path = tmp_path / "webhooks.toml"
    assert run("polar", "--config", str(path), answer="n\n").exit_code == 1
    assert not path.exists()
    assert run("polar", "--config", str(path), answer="y\n").exit_code == 0
    assert path.exists()


def test_programs_get_json(tmp_path: Path) -> None:
    """--json tells what was written."""
    path = tmp_path / "webhooks.toml"
    told = json.loads(run("polar", "--config", str(path), "--json", "--yes").stdout)
    assert (told["source"], told["file"], told["written"]) == ("polar", str(path), True)
    assert told["table"] == path.read_text()


@pytest.mark.parametrize(
    ("written", "arguments", "problem"),
    [
        ("[polar]\n", ("polar",), "--source NAME"),
        ("[polar\n", ("polar",), "not TOML"),
        ("", ("polar", "--source", "po lar"), "part of a URL"),
        ("", ("polar", "--source", "po.lar"), "part of a URL"),
    ],
)
def test_mistakes_leave_the_file_alone(
    tmp_path: Path, written: str, arguments: tuple[str, ...], problem: str
) -> None:
    """A table that is there, a file that is no TOML and a name that is no URL part are errors."""
    path = tmp_path / "webhooks.toml"
    path.write_text(written)
    result = run(*arguments, "--config", str(path), "--yes")
    assert result.exit_code == 1
    assert problem in result.output
    assert path.read_text() == written


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A folder that is not there, and a path that is a folder, are named."""
    missing = tmp_path / "nowhere" / "webhooks.toml"
    result = run("polar", "--config", str(missing), "--yes")
    assert (result.exit_code, "cannot be written" in result.output) == (1, True)


def test_an_unknown_provider_is_a_usage_error() -> None:
    """The nearest name is suggested."""
    result = run("polr")
    assert result.exit_code == 2
    assert 'did you mean "polar"' in result.output
