"""`make provider`: a new provider passes every test as it is, in a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from linkrunner_webhooks_cli.new_provider import files, main
from linkrunner_webhooks_local.project import ROOT

# What a new provider touches, and what its tests read.
PARTS = ("src", "tools", "tests", "events", "docs", "benchmarks", "requirements")
TIME_LIMIT = 120


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of the project without its environments."""
    copy = tmp_path / "project"
    leave = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=leave)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy / path.name)
    yield copy
    shutil.rmtree(copy)


def python(project: Path, *arguments: str) -> str:
    """The output of a Python program of the copy; it must succeed."""
    paths = [str(project / part) for part in ("src", "tools", "")]
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_new_provider_passes_at_once(project: Path) -> None:
    """Contract, hostile input, golden cases, story, vector, page and lint hold before a line is changed."""
    told = python(project, "linkrunner_webhooks_cli.new_provider", "acme", "--title", "Acme Pay")
    assert "src/linkrunner_webhooks/providers/acme.py" in told
    assert "[Acme Pay](docs/providers/acme.md)" in (project / "README.md").read_text("utf-8")
    # Without the configuration's own options: this is a run inside a run.
    every = python(
        project, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "acme"
    )
    assert " passed" in every
    assert "failed" not in every
    python(
        project, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/test_docs.py"
    )
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
