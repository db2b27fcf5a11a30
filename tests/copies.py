"""A copy of the project without its environments, and Python programs that run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from linkrunner_webhooks_local.project import ROOT

_PARTS = ("src", "tools", "tests", "events", "docs", "benchmarks", "requirements")


def copy_project(to: Path) -> Path:
    """Everything that a new provider touches, or that tests read."""
    for part in _PARTS:
        shutil.copytree(ROOT / part, to / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, to / path.name)
    return to


def run_in(project: Path, arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """A module with its arguments, with the copy's own code. Raises TimeoutExpired."""
    paths = [str(project / part) for part in ("src", "tools", "")]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
