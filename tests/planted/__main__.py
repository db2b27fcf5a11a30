"""The command: python -m tests.planted [NAME ...]."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from tests.copies import copy_project, run_in
from tests.planted.faults import Fault, faults, in_words

from linkrunner_webhooks_local.project import ROOT

_GUIDE = ROOT / "docs" / "guarantees.md"
_BEGIN, _END = "<!-- planted faults -->\n", "<!-- end of planted faults -->"
# Seconds. What a fault makes wait for ever is seen as well.
_LONGEST = 100


@click.command(epilog="Without names all are planted, which takes some minutes.")
@click.argument("names", nargs=-1)
@click.option("--write", is_flag=True, help="Write the table of docs/guarantees.md anew.")
def main(names: Sequence[str], *, write: bool) -> None:
    """Plant faults of the past in a copy of the project, and show which tests see them.

    \b
    Examples:
      python -m tests.planted
      python -m tests.planted impatience weak-proof
    """
    known = {fault.name: fault for fault in faults()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"no fault is called {unknown[0]}; known are: {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    rows, console = [], Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        project = copy_project(Path(folder) / "project")
        for fault in track(chosen, "Planting", console=console, transient=True):
            seen = _seen(fault, project)
            rows.append((fault, seen))
            click.echo(f"{'seen' if seen else 'NOT SEEN':<10}{fault.name:<28}{in_words(seen)}")
    if write and not names:
        _write(rows)
    sys.exit(0 if all(seen for _, seen in rows) else 1)


def _seen(fault: Fault, project: Path) -> list[str]:
    """The tests that fail with the fault."""
    path = project / "src" / "linkrunner_webhooks" / fault.file
    sound = path.read_text("utf-8")
    path.write_text(fault.planted(sound), "utf-8")
    try:
        return [test for test in fault.seen_by if not _passes(test, project)]
    finally:
        path.write_text(sound, "utf-8")


def _passes(test: str, project: Path) -> bool:
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", f"tests/{test}"]
    try:
        done = run_in(project, ["pytest", *options], _LONGEST)
    except subprocess.TimeoutExpired:
        return False
    # 1 is a test that failed; anything else is a mistake in the table.
    if done.returncode not in (0, 1):
        raise click.ClickException(f"{test}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.returncode == 0


def _write(rows: Sequence[tuple[Fault, Sequence[str]]]) -> None:
    lines = ["| fault, planted again | seen by |", "| --- | --- |"]
    lines += [f"| {fault.kind} | {in_words(seen)} |" for fault, seen in rows]
    before, _, rest = _GUIDE.read_text("utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _GUIDE.write_text(before + _BEGIN + "\n".join(lines) + "\n" + _END + after, "utf-8")


if __name__ == "__main__":
    main()
