"""`make build`: the file that is checked is the file that is packaged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from linkrunner_webhooks_local.project import ROOT

# Like SAM, it builds in a copy of src/ elsewhere and passes its environment on.
SAM = """#!/bin/sh
set -e
cp -R "{root}/src" "{folder}/copy"
exec make -s -C "{folder}/copy" build-ReceiveFunction ARTIFACTS_DIR="{folder}/package" \\
    UV="{folder}/uv" LAMBDA_PYTHON=9.9
"""
# Installs nothing, and writes down which requirements it was given.
UV = """#!/bin/sh
echo "$@" >> "{folder}/installed"
mkdir -p "{folder}/package/aws_lambda_powertools/utilities"
"""
TABLE = '[shop_eu]\nprovider = "stripe"\n'


def build(folder: Path, webhooks_toml: str) -> subprocess.CompletedProcess[str]:
    """The result of `make build` with a stand-in for SAM and its installer, for this file."""
    for name, text in {"sam": SAM, "uv": UV}.items():
        (folder / name).write_text(text.format(root=ROOT, folder=folder))
        (folder / name).chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "WEBHOOKS_TOML": webhooks_toml}
    return subprocess.run(
        ["make", "-s", "-o", "setup", "build", f"SAM={folder / 'sam'}"],  # noqa: S607
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("is_relative", [False, True])
def test_what_is_checked_is_packaged(tmp_path: Path, *, is_relative: bool) -> None:
    """The file of WEBHOOKS_TOML is checked and packaged, also by a path that is relative to the project."""
    path = tmp_path / "my shop.toml"
    path.write_text(TABLE)
    done = build(tmp_path, os.path.relpath(path, ROOT) if is_relative else str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shop_eu" in done.stdout
    assert (tmp_path / "package" / "webhooks.toml").read_text() == TABLE
    assert "certificates" not in (tmp_path / "installed").read_text()


def test_packages_the_projects_own_file_by_default(tmp_path: Path) -> None:
    """Without WEBHOOKS_TOML it is src/webhooks.toml."""
    done = build(tmp_path, "")
    assert done.returncode == 0, done.stdout + done.stderr
    packaged = (tmp_path / "package" / "webhooks.toml").read_text()
    assert packaged == (ROOT / "src" / "webhooks.toml").read_text()


def test_what_the_checked_file_needs_is_installed(tmp_path: Path) -> None:
    """The packaged file decides on the requirements, too."""
    path = tmp_path / "webhooks.toml"
    path.write_text("[apple]\n")
    done = build(tmp_path, str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "requirements-certificates.txt" in (tmp_path / "installed").read_text()


@pytest.mark.parametrize("text", ["[strip]", None])
def test_a_file_that_is_not_valid_is_not_packaged(tmp_path: Path, text: str | None) -> None:
    """A mistake, or no file at all, ends the build before anything is packaged."""
    path = tmp_path / "webhooks.toml"
    if text is not None:
        path.write_text(text)
    done = build(tmp_path, str(path))
    assert done.returncode != 0
    assert "webhooks.toml" in done.stderr
    assert not (tmp_path / "package").exists()
