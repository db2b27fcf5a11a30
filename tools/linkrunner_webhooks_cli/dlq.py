"""`dlq`: list parked messages, foresee their outcome, redrive or discard them."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.letters import Filter, Letter
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.advice import ADVICE, advice_for
from linkrunner_webhooks_cli.discarding import Discarded, copies_path, described, discarded, noted
from linkrunner_webhooks_cli.explanation import user_of_message, write_user
from linkrunner_webhooks_cli.failures import Commands, Failure
from linkrunner_webhooks_cli.outlook import Errors, Outlook
from linkrunner_webhooks_cli.output import (
    ago,
    say,
    write_json,
    write_json_array,
    write_table,
    write_text,
)
from linkrunner_webhooks_cli.periods import moment
from linkrunner_webhooks_cli.redriving import redriven
from linkrunner_webhooks_cli.selection import Search, Selection, filtered
from linkrunner_webhooks_cli.sources import config_of, config_option, json_option
from linkrunner_webhooks_cli.stacks import find, stack_option

_NEVER = datetime.max.replace(tzinfo=UTC)


@click.group(cls=Commands)
def dlq() -> None:
    """Look after the webhooks that could not be delivered."""
    # Ended from outside like by Ctrl-C: messages that were only looked at become visible again.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


@dlq.command("list")
@json_option
@filtered
def list_(*, as_json: bool, **filters: Any) -> None:
    """Count what is parked by reason, source and type, with what to do about it; as JSON every message.

    \b
    Examples:
      linkrunner-webhooks dlq list
      linkrunner-webhooks dlq list --reason missing_user --since 2d --json
      linkrunner-webhooks dlq list --stack linkrunner-webhooks
    """
    selection = Selection.of(**filters)
    with selection.search(selection.stack.dead_letters()) as search:
        found = search.letters("Reading")
        if as_json:
            write_json_array(described(letter) for letter in found)
        else:
            _write_groups(found)
    backlog = selection.stack.backlog() if not search.met else 0
    if backlog:
        say(f"{backlog} wait for Linkrunner or are in delivery: `linkrunner-webhooks doctor`")


@dataclass(slots=True)
class _Group:
    """Messages that differ in nothing a person acts on. Of their errors only so many are told apart."""

    count: int = 0
    oldest: datetime = _NEVER
    errors: Errors = field(default_factory=Errors)

    def add(self, letter: Letter) -> None:
        self.count += 1
        self.oldest = min(self.oldest, letter.parked_at)
        self.errors.add(letter.error)

    @property
    def error(self) -> str:
        """The commonest, and that there are others."""
        most = self.errors.commonest
        others = self.errors[most] < self.count
        return f"{most} (and others: `dlq list --json`)" if others else most


def _write_groups(letters: Iterator[Letter]) -> None:
    groups: defaultdict[tuple[str, str, str], _Group] = defaultdict(_Group)
    for letter in letters:
        groups[letter.reason, letter.source, letter.event_type].add(letter)
    if groups:
        write_table(
            ("messages", "reason", "source", "type", "oldest", "error", "what to do"),
            [_row(key, group) for key, group in sorted(groups.items())],
        )


def _row(key: tuple[str, str, str], group: _Group) -> tuple[str, ...]:
    age = ago(datetime.now(UTC) - group.oldest)
    return (str(group.count), *key, age, group.error, ADVICE.get(key[0], ""))


@dlq.command()
@click.argument("id")
@click.option("--body", is_flag=True, help="Print the raw body too. It holds customer data.")
@json_option
@config_option
@stack_option
def show(
    *, id: str, body: bool, as_json: bool, config_path: Path | None, stack: str | None
) -> None:
    """Tell one message's story: what arrived, why it parked, what it would become now.

    ID is the message id or the provider's event id, as `dlq list --json` prints them. Where several messages
    have the event id, they are listed.

    \b
    Example:
      linkrunner-webhooks dlq show evt_1QK3mWJ8hZ4cVb2n
    """
    found, config = find(stack), config_of(stack, config_path)
    with found.dead_letters().reading() as reading:
        search = Search(Filter(), None, reading)
        called = _called(id, search.letters("Reading"))
    if not called:
        for remark in search.unread():
            say(remark)
        raise Failure(f"no parked message has the id {id}; `dlq list --json` prints the ids")
    if len(called) > 1:
        _write_namesakes(called, as_json=as_json)
        return
    (letter,) = called
    forecast = found.foresee(letter, config)
    advice = advice_for(letter.reason, forecast.outcome)
    story = described(letter) | {"advice": advice, "now": _foretold(forecast)}
    if letter.reason == Reason.MISSING_USER:
        story["user"] = user_of_message(letter.text, config)
    if body:
        story["message"] = letter.text
    if as_json:
        write_json(story)
    else:
        _write_story(story)


def _called(id: str, letters: Iterator[Letter]) -> list[Letter]:
    """The letter with this message id, or all with this event id: one event can be parked several times."""
    namesakes = []
    for letter in letters:
        if letter.id == id:
            return [letter]
        if letter.is_called(id):
            namesakes.append(letter)
    return namesakes


def _write_namesakes(letters: list[Letter], *, as_json: bool) -> None:
    if as_json:
        write_json([described(letter) for letter in letters])
        return
    rows = [(each.id, each.reason, each.source, each.event_type, each.error) for each in letters]
    write_table(("id", "reason", "source", "type", "error"), rows)
    say(f"{len(letters)} have this event id: `dlq show` the id of one of them")


def _foretold(forecast: Decision) -> dict[str, Any]:
    return {
        "outcome": forecast.outcome.value,
        "reason": forecast.reason.value,
        "detail": forecast.detail,
        "events": forecast.bodies,
    }


def _write_story(story: dict[str, Any]) -> None:
    now, user = story.pop("now"), story.pop("user", None)
    for key, value in story.items():
        if value not in ("", 0):
            write_text(f"{key.replace('_', ' '):<14}{value}")
    write_text(f"{'now':<14}{now['outcome']}{_because(now)}")
    for event in now["events"]:
        write_text(json.dumps(event, indent=2, ensure_ascii=False))
    if user:
        write_user(user)


def _because(now: dict[str, Any]) -> str:
    return f": {now['reason']}, {now['detail']}" if now["detail"] else ""


@dlq.command()
@json_option
@config_option
@filtered
def preview(*, as_json: bool, config_path: Path | None, **filters: Any) -> None:
    """Run today's code over the selected messages: old reason, new outcome, money. Sends nothing.

    \b
    Example:
      linkrunner-webhooks dlq preview --reason missing_user
    """
    selection = Selection.of(**filters)
    foretell = selection.forecast(config_of(filters["stack"], config_path))
    outlook = Outlook()
    with selection.search(selection.stack.dead_letters()) as search:
        for letter in search.letters("Trying"):
            outlook.add(letter, foretell(letter))
    if as_json:
        write_json(outlook.summary())
    else:
        outlook.write()


@dlq.command()
@click.option("--dry-run", is_flag=True, help="Say what would be moved; move nothing.")
@click.option("--force", is_flag=True, help="Move also what would be parked again.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1),
    default=20.0,
    show_default=True,
    help="Messages a second.",
)
@click.option(
    "--max-age",
    "not_before",
    metavar="AGE",
    callback=moment,
    help="Leave what happened longer ago (7d): it would count on the day it is sent.",
)
@config_option
@filtered
@json_option
def redrive(
    *,
    dry_run: bool,
    force: bool,
    rate: float,
    not_before: datetime | None,
    config_path: Path | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Put messages back into the queue, to be delivered by the code that is deployed now.

    Interrupt it whenever you like: every message is in at least one queue at every moment, and what
    was captured before is not captured again. Run it again to go on.

    \b
    Examples:
      linkrunner-webhooks dlq redrive --reason missing_user --dry-run
      linkrunner-webhooks dlq redrive --source shopify --since 2d --limit 100
      linkrunner-webhooks dlq redrive --max-age 7d
    """
    selection = Selection.of(**filters)
    foretell = selection.forecast(config_of(filters["stack"], config_path))
    letters, pace = selection.stack.dead_letters(), Pace(rate)

    def move(letter: Letter, forced: bool) -> None:
        if not dry_run:
            pace.wait()
            letters.redrive(letter, forced=forced)

    with selection.search(letters) as search:
        found = search.letters("Moving")
        done = redriven(found, foretell, move, force=force, not_before=not_before)
    if as_json:
        write_json(done.summary(dry_run=dry_run))
    say(f"{done.moved} {'would be moved' if dry_run else 'moved'}.")
    for line in done.ages.lines("`redrive --max-age 7d` leaves what is older."):
        say(line)
    if done.older:
        say(
            f"{done.older} left, which happened before that: redrive without --max-age, or discard."
        )
    for reason, count in done.left.items():
        say(f"{count} left, which would park again as {reason}; --force moves them, too.")
        say(f"  {reason}: {ADVICE.get(reason, '')}")


@dlq.command()
@click.option(
    "--to",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the copies go, which hold customer data (default: discarded-<time>.jsonl here).",
)
@click.option(
    "--captured",
    is_flag=True,
    help="Linkrunner has them: note that first, so that their refunds find who paid.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be discarded; discard nothing.")
@config_option
@filtered
@json_option
def discard(
    *,
    path: Path | None,
    captured: bool,
    yes: bool,
    dry_run: bool,
    config_path: Path | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Delete messages for good, after writing each to a file (JSON lines).

    \b
    Examples:
      linkrunner-webhooks dlq discard --reason unreadable --to ~/unreadable.jsonl
      linkrunner-webhooks dlq discard --reason uncertain --captured --limit 1
    """
    path = path or copies_path()
    selection = Selection.of(**filters)
    letters = selection.stack.dead_letters()
    config = config_of(filters["stack"], config_path) if captured else None
    counted, count, done = None, 0, Discarded()
    if dry_run or not yes:
        # A pass of its own: while somebody thinks about the question, nothing is hidden from others.
        with selection.search(letters) as counted:
            found = counted.letters("Counting")
            meant = noted(found, selection.stack, config, Counter(), dry_run=True)
            count = sum(1 for _ in meant)
        if count and not dry_run:
            click.confirm(f"Discard {count} messages? Copies go to {path}", abort=True, err=True)
    if dry_run:
        done.count = count
    else:
        with selection.search(letters, after=counted) as search:
            found = search.letters("Discarding")
            done = discarded(found, letters, selection.stack, path, config)
    if as_json:
        write_json(
            {
                "discarded": done.count,
                "dry_run": dry_run,
                "left": dict(done.left),
                "copies": str(path) if done.count and not dry_run else None,
            }
        )
    if dry_run:
        say(f"{done.count} would be discarded.")
    elif done.count:
        say(f"{done.count} discarded; copies, with customer data, are in {path}.")
    for reason, count in done.left.items():
        say(f"{count} left, of which nothing can be noted as captured: {reason}.")
