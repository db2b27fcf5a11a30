"""`forget`: erase a user from the ledger and from both queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import DeadLetters
from linkrunner_webhooks.envelope import open_message
from linkrunner_webhooks.errors import Parked
from linkrunner_webhooks.fact_keys import PERSON
from linkrunner_webhooks.held import plan_in
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.past import Past
from linkrunner_webhooks.translation import UserOf
from linkrunner_webhooks.users import usable, values
from linkrunner_webhooks.waiting import EVENT, USER
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import counted, progress, say, write_json
from linkrunner_webhooks_cli.periods import named
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
    A webhook that backs off cannot be looked at: then it says so, and fails.

    \b
    Examples:
      linkrunner-webhooks forget user_42 --dry-run
      linkrunner-webhooks forget user_42 --stack linkrunner-webhooks --yes --json
    """
    user = named(user)
    found, config = find(stack), config_of(stack, config_path)
    if not (yes or dry_run):
        click.confirm(f"Erase {user} from stack {found.name}?", abort=True, err=True)
    # What is delivered meanwhile would bring the user back, so the queues come first; and hidden webhooks are
    # counted before this reading hides more.
    counts = Counter(hidden=found.hidden())
    for what, output in (("parked", "DeadLetterQueueUrl"), ("waiting", "WebhookQueueUrl")):
        counts[what] = _of_queue(found, output, user, config, dry_run=dry_run)
    counts.update(_of_ledger(found, user, dry_run=dry_run))
    record = {
        "at": utc(datetime.now(UTC)),
        "stack": found.name,
        "dry_run": dry_run,
        **{name.replace(" ", "_"): counts[name] for name in _COUNTED},
    }
    if as_json:
        write_json(record)
    done = "would be erased" if dry_run else "erased"
    say(
        f"{done}: the user in {counted(counts['facts'], 'row')} of facts, "
        f"{counted(counts['links'], 'link')}, {counted(counts['signups'], 'signup')}, "
        f"{counted(counts['held events'], 'held event')}, "
        f"{counts['parked']} parked and {counted(counts['waiting'], 'waiting webhook')}"
    )
    if counts["hidden"]:
        are = "cannot be looked at now: in delivery, backing off, or in another command's hands"
        raise Failure(f"{counted(counts['hidden'], 'webhook')} {are}; run it again in an hour")


# What is deleted as a whole, by how its key begins.
_ROWS = {PERSON: "links", USER: "signups", EVENT: "held events"}
_COUNTED = ("facts", "links", "signups", "held events", "parked", "waiting", "hidden")


def _of_ledger(stack: Stack, user: str, *, dry_run: bool) -> Iterator[str]:
    records = stack.records()
    for row in progress("Ledger", records.of_user(user), None):
        key = row["key"]["S"]
        what = next((what for begins, what in _ROWS.items() if key.startswith(begins)), "facts")
        if not dry_run:
            if what == "facts":
                records.erase(row)
            else:
                records.delete(key)
        yield what


def _of_queue(stack: Stack, output: str, user: str, config: Config, *, dry_run: bool) -> int:
    queue = DeadLetters(stack.client("sqs"), stack.output(output), stack.output("WebhookQueueUrl"))
    count, user_of = 0, stack.ledger().facts.user_of
    with queue.reading() as reading:
        for letter in progress("Queue", reading, reading.before.visible):
            if _is_of(letter, user, config, user_of):
                count += 1
                if not dry_run:
                    queue.discard(letter)
    return count


def _is_of(letter: Letter, user: str, config: Config, user_of: UserOf) -> bool:
    """Whether a stored webhook is that user's: named by any path, known, or captured for them before."""
    if any(each.user_id == user for each in Past.of(letter.attributes).captured.values()):
        return True
    return user in {*_named(letter, config), *_known(letter, config, user_of)}


def _named(letter: Letter, config: Config) -> Iterator[str | None]:
    with suppress(Parked):
        opened = open_message(letter.text, config)
        for path in opened.source.user_id:
            yield from map(usable, values(path, opened.webhook.payload))


def _known(letter: Letter, config: Config, user_of: UserOf) -> Iterator[str]:
    with suppress(Parked):
        for each in plan_in(letter.text, config).planned:
            with suppress(Parked):
                yield each.for_its_user(user_of).user_id
