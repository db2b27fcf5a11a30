"""`make bench`: measure, print, and append to RESULTS.md with what the machine is."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from benchmarks import cold, cost, end_to_end, growth, hot, package
from benchmarks.tables import Progress, Section

RESULTS = Path(__file__).parent / "RESULTS.md"
MEASUREMENTS: dict[str, Callable[[int, Progress], Section]] = {
    "cold": cold.measure,
    "hot": hot.measure,
    "end-to-end": end_to_end.measure,
    "growth": growth.measure,
    "package": package.measure,
    "cost": cost.measure,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(MEASUREMENTS)))
@click.option("--starts", default=cold.STARTS, show_default=True, help="Rounds of cold starts.")
@click.option("--record/--no-record", default=True, help="Append to benchmarks/RESULTS.md.")
def main(names: tuple[str, ...], starts: int, *, record: bool) -> None:
    """Measure against alternatives, in one run. All of it takes some minutes; leave the machine alone."""
    console = Console()
    sections = [MEASUREMENTS[name](starts, Progress(console)) for name in names or MEASUREMENTS]
    for section in sections:
        section.show(console)
    if record:
        with RESULTS.open("a", encoding="utf-8") as out:
            out.write("\n".join([_heading(), *(section.markdown() for section in sections)]))
        console.print(f"Appended to {RESULTS}")


def _heading() -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=RESULTS.parent, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    facts = [
        f"{os.cpu_count()} x {_processor()}",
        f"{platform.system()} {platform.release()}",
        f"load {os.getloadavg()[0]:.1f}",
        f"commit {commit or 'unknown'}",
    ]
    return f"\n## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n\n{', '.join(facts)}\n"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
