"""`dlq`: list parked messages, foresee their outcome, redrive or discard them."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click

from linkrunner_webhooks.capture import Pace
from linkrunner_webhooks.dead_letters import Letter, foresee
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.explanation import user_of_message, write_user
from linkrunner_webhooks_cli.failures import Commands, Failure
from linkrunner_webhooks_cli.output import (
    ago,
    progress,
    say,
    write_json,
    write_json_array,
    write_table,
    write_text,
)
from linkrunner_webhooks_cli.selection import Selection, filtered
from linkrunner_webhooks_cli.sources import config_of, config_option
from linkrunner_webhooks_cli.stacks import find, stack_option

# The next step of a person, for each reason.
ADVICE: Final[Mapping[str, str]] = {
    Reason.MISSING_USER: "fix user_id in webhooks.toml, deploy, redrive",
    Reason.UNTRANSLATABLE: "no mapper understands it: `dlq show`, fix or report it, deploy, redrive",
    Reason.UNROUTABLE: "put the source's table back into webhooks.toml, deploy, redrive",
    Reason.UNREADABLE: "not put there by this system: `dlq show`, discard",
    Reason.REFUSED: "Linkrunner refuses the event itself: `dlq show`, fix the mapping, deploy, redrive",
    Reason.EXHAUSTED: "Linkrunner was out of reach for days: check it and the key, redrive",
    Reason.CRASHED: "the function died on it: see its log, fix, deploy, redrive",
}


@click.group(cls=Commands)
def dlq() -> None:
    """Look after the webhooks that could not be delivered."""
    # Ended from outside like by Ctrl-C: messages that were only looked at become visible again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@dlq.command("list")
@click.option("--json", "as_json", is_flag=True, help="Every message, as a JSON array.")
@filtered
def list_(*, as_json: bool, **filters: Any) -> None:
    """Count what is parked by reason, source and type, with what to do about it.

    \b
    Examples:
      linkrunner-webhooks dlq list
      linkrunner-webhooks dlq list --reason missing_user --since 2d --json
      linkrunner-webhooks dlq list --stack linkrunner-webhooks
    """
    selection = Selection.of(**filters)
    letters = selection.stack.dead_letters()
    with letters.reading() as reading:
        found = progress("Reading", selection.letters(reading), letters.count())
        if as_json:
            write_json_array(_told(letter) for letter in found)
        else:
            _write_groups(found)


def _write_groups(letters: Iterator[Letter]) -> None:
    counts: Counter[tuple[str, str, str]] = Counter()
    oldest: dict[tuple[str, str, str], datetime] = {}
    for letter in letters:
        key = (letter.reason, letter.source, letter.event_type)
        counts[key] += 1
        oldest[key] = min(oldest.get(key, letter.parked_at), letter.parked_at)
    if not counts:
        write_text("Nothing is parked.")
        return
    write_table(
        ("messages", "reason", "source", "type", "oldest", "what to do"),
        [
            (str(count), *key, ago(datetime.now(UTC) - oldest[key]), ADVICE.get(key[0], ""))
            for key, count in sorted(counts.items())
        ],
    )


def _told(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "reason": letter.reason,
        "source": letter.source,
        "event_type": letter.event_type,
        "event_id": letter.event_id,
        "error": letter.attributes.get("error", ""),
        "attempts": int(letter.attributes.get("attempts", 0)),
        "code_version": letter.attributes.get("code_version", ""),
        "parked_at": letter.parked_at.isoformat(timespec="seconds"),
    }


@dlq.command()
@click.argument("id")
@click.option("--body", is_flag=True, help="Print the raw body too. It holds customer data.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@config_option
@stack_option
def show(
    *, id: str, body: bool, as_json: bool, config_path: Path | None, stack: str | None
) -> None:
    """Tell one message's story: what arrived, why it parked, what it would become now.

    ID is the message id or the provider's event id, as `dlq list --json` prints them.

    \b
    Example:
      linkrunner-webhooks dlq show evt_1QK3mWJ8hZ4cVb2n
    """
    found, config = find(stack), config_of(stack, config_path)
    with found.dead_letters().reading() as reading:
        letter = next((each for each in reading if id in (each.id, each.event_id)), None)
    if letter is None:
        raise Failure(f"no parked message has the id {id}; `dlq list --json` prints the ids")
    forecast = foresee(letter, config, found.user_of)
    story = _told(letter) | {"advice": ADVICE.get(letter.reason, ""), "now": _foretold(forecast)}
    if letter.reason == Reason.MISSING_USER:
        story["user"] = user_of_message(letter.text, config)
    if body:
        story["message"] = letter.text
    if as_json:
        write_json(story)
    else:
        _write_story(story)


def _foretold(forecast: Decision) -> dict[str, Any]:
    return {
        "outcome": forecast.outcome.value,
        "reason": forecast.reason.value,
        "detail": forecast.detail,
        "events": [event.body() for event in forecast.events],
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
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
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
    letters = selection.stack.dead_letters()
    changes: Counter[tuple[str, str, str]] = Counter()
    money: dict[str, Decimal] = {}
    with letters.reading() as reading:
        for letter in progress("Trying", selection.letters(reading), letters.count()):
            forecast = foretell(letter)
            reason = "" if forecast.reason is Reason.NONE else forecast.reason.value
            changes[letter.reason, forecast.outcome.value, reason] += 1
            for name, moved in forecast.money:
                what = f"{moved.currency} as {name}"
                money[what] = money.get(what, Decimal(0)) + moved.amount
    if as_json:
        write_json(_summed(changes, money))
        return
    write_table(
        ("messages", "parked as", "would be", "because"),
        [(str(count), *change) for change, count in sorted(changes.items())],
    )
    for what, amount in sorted(money.items()):
        write_text(f"{amount} {what} would be sent")


def _summed(changes: Counter[tuple[str, str, str]], money: dict[str, Decimal]) -> dict[str, Any]:
    return {
        "changes": [
            {"parked_as": old, "would_be": outcome, "reason": reason, "messages": count}
            for (old, outcome, reason), count in sorted(changes.items())
        ],
        "money": {what: str(amount) for what, amount in sorted(money.items())},
    }


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
@config_option
@filtered
def redrive(
    *, dry_run: bool, force: bool, rate: float, config_path: Path | None, **filters: Any
) -> None:
    """Put messages back into the queue, to be delivered by the code that is deployed now.

    Interrupt it whenever you like: every message is in at least one queue at every moment, and what
    was captured before is not captured again. Run it again to go on.

    \b
    Examples:
      linkrunner-webhooks dlq redrive --reason missing_user --dry-run
      linkrunner-webhooks dlq redrive --source shopify --since 2d --limit 100
    """
    selection = Selection.of(**filters)
    foretell = selection.forecast(config_of(filters["stack"], config_path))
    letters, pace = selection.stack.dead_letters(), Pace(rate)
    moved, refused = 0, Counter[str]()
    with letters.reading() as reading:
        for letter in progress("Moving", selection.letters(reading), letters.count()):
            forecast = foretell(letter)
            if forecast.would_park and not force:
                refused[forecast.reason] += 1
                continue
            if not dry_run:
                pace.wait()
                letters.redrive(letter)
            moved += 1
    say(f"{moved} {'would be moved' if dry_run else 'moved'}.")
    for reason, count in refused.items():
        say(f"{count} left, which would park again as {reason}; --force moves them, too.")
        say(f"  {reason}: {ADVICE.get(reason, '')}")


@dlq.command()
@click.option(
    "--to", "path", type=click.Path(path_type=Path, dir_okay=False), help="Where the copies go."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be discarded; discard nothing.")
@filtered
def discard(*, path: Path | None, yes: bool, dry_run: bool, **filters: Any) -> None:
    """Delete messages for good, after writing each to a file (JSON lines).

    \b
    Example:
      linkrunner-webhooks dlq discard --reason unreadable --to unreadable.jsonl
    """
    selection = Selection.of(**filters)
    letters = selection.stack.dead_letters()
    path = path or Path(f"discarded-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
    with letters.reading() as reading:
        if dry_run:
            count = sum(1 for _ in selection.letters(reading))
            say(f"{count} would be discarded.")
            return
        if not yes:
            click.confirm(
                f"Discard the selected messages? Copies go to {path}", abort=True, err=True
            )
        count = 0
        for letter in progress("Discarding", selection.letters(reading), letters.count()):
            _keep_copy(path, letter)
            letters.discard(letter)
            count += 1
    if count:
        say(f"{count} discarded; copies, with customer data, are in {path}.")
    else:
        say("Nothing to discard.")


def _keep_copy(path: Path, letter: Letter) -> None:
    path.touch(mode=0o600)
    with path.open("a", encoding="utf-8") as copies:
        copies.write(json.dumps(_told(letter) | {"message": letter.text}) + "\n")
