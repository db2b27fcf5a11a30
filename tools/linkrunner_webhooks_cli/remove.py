"""`make remove`: delete a stack, after saying what goes with it. The ledger stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from linkrunner_webhooks.aws import failure
from linkrunner_webhooks_cli import formation
from linkrunner_webhooks_cli.deployment import current, named
from linkrunner_webhooks_cli.failures import Failure, in_sentences
from linkrunner_webhooks_cli.formation import State
from linkrunner_webhooks_cli.output import counted, say
from linkrunner_webhooks_cli.stacks import find


@click.command()
def main() -> None:
    """Remove one stack. The variables of make say which; see docs/deploying.md."""
    with in_sentences():
        _remove()


def _remove() -> None:
    chosen = named(current())
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = chosen.region
    client = boto3.Session(region_name=chosen.region).client("cloudformation")
    found = formation.state(client, chosen.stack)
    if found.status in ("", "DELETE_COMPLETE"):
        raise Failure(f"there is no stack {chosen.stack} in {chosen.region}")
    formation.require_ours(client, chosen.stack, found)
    for line in _lost(found):
        say(line)
    lost = _waiting(chosen.stack, found)
    if lost:
        say(f"WARNING: {lost} would be lost.")
    if chosen.confirm:
        if not click.confirm(f"Remove {chosen.stack} in {chosen.region}?", err=True):
            raise Failure("nothing was removed")
    elif lost and not chosen.force:
        raise Failure("nothing was removed, because webhooks would be lost; FORCE=yes allows it")
    _delete(client, chosen.stack)
    say(f"{chosen.stack} is removed.")
    if table := found.outputs.get("LedgerTableName"):
        say(
            f"Its ledger is kept. The next stack goes on with it: make deploy LEDGER_TABLE={table} ..."
        )
        delete = f"aws dynamodb delete-table --table-name {table} --region {chosen.region}"
        say(f"Or delete what it remembers: {delete}")


def _delete(client: Any, stack: str) -> None:
    since = formation.latest(client, stack)
    client.delete_stack(StackName=stack)
    ended = formation.finished(client, stack, since, lambda line: say(f"  {line}"))
    if ended.status not in ("", "DELETE_COMPLETE"):
        why = "\n  ".join(formation.failures(client, stack, since))
        raise Failure(f"{stack} was removed in part ({ended.status}):\n  {why}")


def _lost(found: State) -> Iterator[str]:
    """What goes with it, as lines for people."""
    if url := found.outputs.get("WebhookUrl"):
        yield f"Nothing will answer at {url}: remove the endpoints at your providers first."
        yield "The signing secrets and the server key will be deleted for good."


def _waiting(stack: str, found: State) -> str:
    """The webhooks that are in its queues, in words; empty for none."""
    if "DeadLetterQueueUrl" not in found.outputs:
        return ""
    try:
        known = find(stack)
        count = known.parked() + known.backlog()
    except (BotoCoreError, ClientError) as error:
        if _GONE in str(error):
            # Whoever removed it in part took the queues first.
            return ""
        return f"whatever is in the queues, which cannot be looked at ({failure(error)}),"
    return f"{counted(count, 'webhook')} parked or on the way to Linkrunner" if count else ""


_GONE: Final = "NonExistentQueue"


if __name__ == "__main__":
    main()
