"""`forget`: erase a user from the ledger and from both queues."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import HOLD, DeadLetters
from linkrunner_webhooks.envelope import open_message
from linkrunner_webhooks.errors import Parked
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.users import find_user
from linkrunner_webhooks_cli.output import progress, say, write_json
from linkrunner_webhooks_cli.sources import config_of, config_option, json_option
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option


@click.command()
@click.argument("user")
@click.option("--dry-run", is_flag=True, help="Say what would be erased; erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
@stack_option
def forget(
    *,
    user: str,
    dry_run: bool,
    yes: bool,
    config_path: Path | None,
    as_json: bool,
    stack: str | None,
) -> None:
    """Erase a user: from the ledger, and every stored webhook that names them. For privacy requests.

    Of captured facts the payment's id and amount stay, without the user, the order and the event: a webhook
    that comes again must not count again. Links are deleted. What Linkrunner has, and the provider, is
    theirs to erase. The ledger is read whole, and both queues; that takes a minute for each million rows.

    \b
    Examples:
      linkrunner-webhooks forget user_42 --dry-run
      linkrunner-webhooks forget user_42 --stack linkrunner-webhooks --yes --json
    """
    found, config = find(stack), config_of(stack, config_path)
    if not (yes or dry_run):
        click.confirm(f"Erase {user} from stack {found.name}?", abort=True, err=True)
    counts = Counter(_of_ledger(found, user, dry_run=dry_run))
    for what, output in (("parked", "DeadLetterQueueUrl"), ("waiting", "WebhookQueueUrl")):
        counts[what] = _of_queue(found, output, user, config, dry_run=dry_run)
    record = {
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "stack": found.name,
        "dry_run": dry_run,
        **{name: counts[name] for name in ("facts", "links", "parked", "waiting")},
    }
    if as_json:
        write_json(record)
    done = "would be erased" if dry_run else "erased"
    say(
        f"{done}: the user in {counts['facts']} rows of facts, {counts['links']} links, "
        f"{counts['parked']} parked and {counts['waiting']} waiting webhooks"
    )
    if counts["waiting"] and dry_run:
        say(f"Waiting webhooks that were looked at are hidden for up to {HOLD // 60} minutes.")


def _of_ledger(stack: Stack, user: str, *, dry_run: bool) -> Iterator[str]:
    records = stack.records()
    for row in progress("Ledger", records.of_user(user), None):
        key = row["key"]["S"]
        is_link = key.startswith("@person|")
        if not dry_run:
            if is_link:
                records.delete(key)
            else:
                records.erase(row)
        yield "links" if is_link else "facts"


def _of_queue(stack: Stack, output: str, user: str, config: Config, *, dry_run: bool) -> int:
    queue = DeadLetters(stack.client("sqs"), stack.output(output), stack.output("WebhookQueueUrl"))
    count = 0
    with queue.reading() as reading:
        for letter in progress("Queue", reading, reading.before.visible):
            if _names(letter, user, config):
                count += 1
                if not dry_run:
                    queue.discard(letter)
    return count


def _names(letter: Letter, user: str, config: Config) -> bool:
    """Whether a stored webhook is that user's, or has the id anywhere as a text of its own."""
    try:
        opened = open_message(letter.text, config)
    except Parked:
        return False
    quoted = json.dumps(user).encode() in opened.webhook.body
    return quoted or find_user(opened.source.user_id, opened.webhook.payload) == user
