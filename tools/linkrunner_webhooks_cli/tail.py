"""`tail`: outcomes as they happen, of the local stack or a deployed one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click

from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks_cli.completions import source_names
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.logs import Line, Logs
from linkrunner_webhooks_cli.output import say, write_text
from linkrunner_webhooks_cli.periods import moment
from linkrunner_webhooks_cli.running import running
from linkrunner_webhooks_cli.sources import json_option
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option

# Seconds between two looks.
_LOCAL, _DEPLOYED = 0.3, 2.0


@click.command()
@click.option("--source", shell_complete=source_names, help="Of this source only.")
@click.option("--outcome", type=click.Choice([each.value for each in Outcome]), help="Only these.")
@click.option("--since", callback=moment, help="Begin then: a time, or an age (default: now).")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many.")
@json_option
@stack_option
def tail(
    *,
    source: str | None,
    outcome: str | None,
    since: datetime | None,
    limit: int | None,
    as_json: bool,
    stack: str | None,
) -> None:
    """Show what becomes of webhooks as it happens, until Ctrl-C. Of a deployed stack it reads the logs.

    With --json each is a line of JSON.

    \b
    Examples:
      linkrunner-webhooks tail
      linkrunner-webhooks tail --source stripe --outcome parked --since 1h
      linkrunner-webhooks tail --stack linkrunner-webhooks --json
    """
    begin = since or datetime.now(UTC)
    lines = _local(begin) if stack is None else _deployed(find(stack), begin)
    wanted = (each for each in lines if _is_wanted(each, source, outcome))
    for line in islice(wanted, limit):
        write_text(json.dumps(line, ensure_ascii=False) if as_json else _told(line))


def _is_wanted(line: Line, source: str | None, outcome: str | None) -> bool:
    return source in (None, line.get("source")) and outcome in (None, line.get("outcome"))


def _told(line: Line) -> str:
    at = str(line.get("at", ""))[11:19]
    listed = line.get("event_names")
    names = ", ".join(map(str, listed)) if isinstance(listed, list) else ""
    reason = line.get("reason", "")
    parts = (
        str(line.get("stage", "")).ljust(8),
        str(line.get("source", "")).ljust(12),
        str(line.get("event_type", "")).ljust(34),
        line.get("outcome", ""),
        "" if reason == "none" else reason,
        names,
        line.get("event_id", ""),
        line.get("detail", ""),
    )
    return f"{at}  " + "  ".join(str(part) for part in parts if part)


def _local(begin: datetime) -> Iterator[Line]:
    local = running()
    if local is None or not local.outcomes:
        raise Failure(
            "the local stack is not running; start it with `make run`, or give --stack NAME"
        )
    after = utc(begin, "milliseconds")
    for line in _follow(Path(local.outcomes)):
        if line["at"] >= after:
            yield line


def _follow(path: Path) -> Iterator[Line]:
    """The lines of a file, and those that are added. It may begin anew."""
    at = 0
    while path.exists():
        if path.stat().st_size < at:
            at = 0
        with path.open("rb") as file:
            file.seek(at)
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                at += len(raw)
                yield json.loads(raw)
        time.sleep(_LOCAL)
    say("the local stack has stopped")


def _deployed(stack: Stack, begin: datetime) -> Iterator[Line]:
    logs = Logs(stack, begin)
    while True:
        yield from logs.news()
        time.sleep(_DEPLOYED)
