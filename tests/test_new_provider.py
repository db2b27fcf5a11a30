"""`make provider`: a new provider passes every test as it is, in a copy of the project."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.copies import copy_project, run_in

from linkrunner_webhooks_cli.new_provider import files, main

TIME_LIMIT = 120


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of the project."""
    copy = copy_project(tmp_path / "project")
    yield copy
    shutil.rmtree(copy)


def python(project: Path, *arguments: str) -> str:
    """The output of a Python program of the copy; it must succeed."""
    done = run_in(project, list(arguments), TIME_LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_new_provider_passes_at_once(project: Path) -> None:
    """Contract, hostile input, golden cases, story, vector, page and lint hold before a line is changed."""
    told = python(project, "linkrunner_webhooks_cli.new_provider", "acme", "--title", "Acme Pay")
    assert "src/linkrunner_webhooks/providers/acme.py" in told
    assert "[Acme Pay](docs/providers/acme.md)" in (project / "README.md").read_text("utf-8")
    # Without the configuration's own options: this is a run inside a run.
    about = "acme or (test_docs and (current or README))"
    every = python(project, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", about)
    assert " passed" in every
    assert "failed" not in every
    python(project, "ruff", "check", "--no-cache", "src/linkrunner_webhooks/providers/acme.py")
    python(project, "ruff", "format", "--check", "--no-cache", "src", "tests", "tools")


def test_the_files_of_a_provider_are_its_own() -> None:
    """Every file is named after the provider, and no placeholder is left in it."""
    for path, text in files("acme", "Acme Pay").items():
        assert "acme" in path
        assert "__NAME__" not in text
        assert "__TITLE__" not in text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("stripe", "there is a provider stripe already"),
        ("Acme", "lower-case letters and digits"),
        ("acme-pay", "lower-case letters and digits"),
        ("import", "lower-case letters and digits"),
        ("2checkout", "begins with a digit"),
        ("", "lower-case letters and digits"),
    ],
)
def test_names_that_are_no_modules_are_refused(name: str, problem: str) -> None:
    """The error says what a name may be, and nothing is written."""
    result = CliRunner().invoke(main, [name])
    assert result.exit_code == 1
    assert problem in result.output
