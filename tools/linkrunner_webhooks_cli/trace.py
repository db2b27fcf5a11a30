"""`trace`: what became of an order, a payment, an event or a user."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from linkrunner_webhooks.accounts import BOUND
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import DeadLetters
from linkrunner_webhooks.errors import Parked, Unroutable
from linkrunner_webhooks.fact_keys import PERSON
from linkrunner_webhooks.held import Held, plan_in
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Flow
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.payments import NOTHING, Account
from linkrunner_webhooks.rows import number, text
from linkrunner_webhooks.waiting import USER
from linkrunner_webhooks_cli.advice import ADVICE
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import counted, say, write_json, write_text
from linkrunner_webhooks_cli.periods import named, since_option
from linkrunner_webhooks_cli.records import (
    Fact,
    Records,
    Row,
    days_since,
    fact_keys,
    person_keys,
)
from linkrunner_webhooks_cli.sources import config_of, config_option, json_option
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option

# Seconds that a query of the logs may take.
_PATIENCE, _PAUSE = 30.0, 0.5


class Step(NamedTuple):
    """One thing that became of it. `at` is ISO 8601 in UTC, `what` a sentence, `more` its details.

    `who` is the user that the sentence names.
    """

    at: str
    outcome: str
    what: str
    more: dict[str, str]
    who: str = ""


# How a user is written into a sentence.
Shown = Callable[[str], str]


def traced(
    id: str,
    stack: Stack,
    config: Config,
    since: datetime,
    *,
    logs: bool = False,
    shown: Shown = str,
) -> list[Step]:
    """What is known of an id, the oldest first. `logs` are searched where they are asked for."""
    # A GraphQL id ends in the one that webhooks and keys have.
    id = id.rpartition("/")[2] if id.startswith("gid://") else id
    return sorted(
        (
            *_of_ledger(id, stack.records(), config, since, shown),
            *(_of_letters(id, stack.dead_letters(), config) if stack.parked() else ()),
            *(_of_logs(id, stack, since) if logs else ()),
        ),
        key=lambda step: step[:3],
    )


def unknown(id: str, since: datetime) -> str:
    """Why nothing may be known of an id."""
    age = (datetime.now(UTC) - since).days
    return (
        f"Nothing is known of {id}: no fact has it as a payment, and none of the last {age} days as its "
        "order, event, subscription or user; no dead letter is about it. Its webhook never arrived, was "
        "ignored (switched off, test traffic), waits, or is older"
    )


@click.command()
@click.argument("id")
@since_option("30d", "How far back orders, events and users are looked for.")
@click.option(
    "--logs", is_flag=True, help="Search the logs, too (deployed stacks; costs by the GB)."
)
@json_option
@config_option
@stack_option
def trace(
    *,
    id: str,
    since: datetime,
    logs: bool,
    as_json: bool,
    config_path: Path | None,
    stack: str | None,
) -> None:
    """Tell what became of an order, payment, event or user: captured, waiting, parked, and why.

    ID is any id that a webhook has: an order's, a payment's, a refund's, a subscription's or a customer's at
    the provider, the provider's event id, or your user id. Payments are found whenever they were; orders,
    events and users as far back as --since.

    \b
    Examples:
      linkrunner-webhooks trace pi_3SgK2pRxT4wK2pLm
      linkrunner-webhooks trace user_42 --since 400d --json
      linkrunner-webhooks trace 1001 --stack linkrunner-webhooks --logs
    """
    found, config = find(stack), config_of(stack, config_path)
    id = named(id)
    steps = traced(id, found, config, since, logs=logs)
    waiting = found.backlog()
    if as_json:
        write_json({"id": id, "steps": [each._asdict() for each in steps], "waiting": waiting})
    else:
        _write(steps)
    if waiting:
        say(f"{counted(waiting, 'webhook')} waiting or in delivery: not looked into.")
    if not steps:
        deeper = "" if logs or stack is None else ", --logs into the logs"
        say(f"{unknown(id, since)}: --since 400d looks further back{deeper}.")
        raise SystemExit(1)


def _write(steps: Iterable[Step]) -> None:
    for step in steps:
        write_text(f"{step.at:<20}  {step.outcome:<9} {step.what}")
        for name, told in step.more.items():
            if told:
                write_text(f"{'':<22}{name} {told}")


# ------------------------------------------------------------------------- the ledger


def _of_ledger(
    id: str, records: Records, config: Config, since: datetime, shown: Shown
) -> Iterator[Step]:
    sources = config.sources()
    # As Linkrunner shows a payment: our own ids are keys with other signs, and the rest of one has a suffix.
    paid = id.partition("~")[0]
    keys = [id, paid.replace(":", "|"), BOUND + paid]
    rows = records.at([*keys, *fact_keys(id, sources), *person_keys(id, sources)])
    led = records.at(row["fact"]["S"] for row in rows.values() if "fact" in row)
    facts = {key: Fact.of(row) for key, row in {**rows, **led}.items() if "day" in row}
    for row in records.waiting():
        held = Held.read(text(row, "message") or "")
        if held and id in (held.user_id, *_ids(held)):
            yield _held(held, row, shown)
    yield from _signed_up(id, records, shown)
    names = [source.name for source in sources]
    for fact in records.on(names, days_since(since), about=id):
        facts[fact.key] = fact
    yield from (_captured(fact, shown) for fact in facts.values())
    for key, row in rows.items():
        if key.startswith(PERSON):
            yield _linked(key, row, shown)
        elif row.get("state", {}).get("S") in ("claimed", "free") and "waits" not in row:
            yield _tried(key, row)


def _signed_up(id: str, records: Records, shown: Shown) -> Iterator[Step]:
    for row in records.at([f"{USER}{id}"]).values():
        if text(row, "state") == "known":
            yield Step("", "known", f"Linkrunner knows {shown(id)}", {}, id)


def _ids(held: Held) -> Iterator[str]:
    """Everything by which somebody may look for it."""
    yield from (key.rpartition("|")[2] for key in (*held.keys, *held.follows))
    yield from held.sent.values()


def _held(held: Held, row: Row, shown: Shown) -> Step:
    user, until = shown(held.user_id), _moment(number(row, "until"))
    return Step(
        (text(row, "at") or "")[:19] + "Z",
        "held",
        f"{held.event_name} until {user} signs up, at most until {until}",
        {
            "from": f"{held.source}, {held.attributes['event_type']} {held.attributes['event_id']}",
            "order": held.sent.get("order_id", ""),
            "key": held.keys[0],
        },
        held.user_id,
    )


def _captured(fact: Fact, shown: Shown) -> Step:
    money = f" {fact.amount} {fact.currency}" if fact.amount is not None else ""
    user = shown(fact.user_id) if fact.user_id else "nobody any more"
    return Step(
        fact.captured_at[:19] + "Z",
        "captured",
        f"{fact.event_name}{money} for {user}",
        {
            "from": f"{fact.source}, {fact.event_type} {fact.event_id}",
            "order": fact.order_id,
            "subscription": fact.subscription_id,
            "user named by": fact.named_by if fact.user_id else "",
            "happened": fact.occurred_at,
            "came by": fact.origin,
            "told": _told(fact),
            **_payment(fact.account, failed=fact.flow is None),
            "key": fact.key,
        },
        fact.user_id,
    )


def _told(fact: Fact) -> str:
    """What Linkrunner was told, where that is not what was paid."""
    if fact.amount is None and fact.flow is Flow.PAYMENT:
        return "without its amount"
    if fact.account.terms:
        # What is at Linkrunner is told below.
        return ""
    return f"{fact.told.amount:f} {fact.told.currency}" if fact.rate and fact.told else ""


def _payment(account: Account, *, failed: bool) -> dict[str, str]:
    """What Linkrunner holds of a payment, and what went back of it."""
    if account.terms is None:
        return {}
    now, currency, rate = account.stands, account.terms.currency, account.terms.conversion
    back = account.own.left - account.left()
    held = f"{rate.convert(now.left):f} {rate.into}" if rate else f"{now.left:f} {currency}"
    return {
        "payment": f"{account.own.payment_id} ({account.terms.type}{', failed' if failed else ''})",
        "went back": f"{back:f} {currency}" if account.returned else "",
        "at Linkrunner": "nothing any more" if now == NOTHING else f"{held} as {now.payment_id}",
    }


def _linked(key: str, row: Row, shown: Shown) -> Step:
    _, scope, what, id = key.split("|", 3)
    moved = int(number(row, "relinked") or 0)
    user = text(row, "user_id") or ""
    whose = f"{shown(user)}'s" if user else "nobody's yet"
    same = ", ".join(shown(key.rpartition("|")[2]) for key in row.get("same", {}).get("SS", ()))
    return Step(
        _moment(number(row, "at")),
        "linked",
        f"the {what} {id} of {scope} is {whose}",
        {"was another's": f"{moved} times" if moved else "", "is one person with": same},
        user,
    )


def _tried(key: str, row: Row) -> Step:
    """A fact of which nothing is known to be captured."""
    unanswered = len(row.get("unanswered", {}).get("SS", ()))
    open_ = len(row.get("open", {}).get("SS", ()))
    since = number(row, "failing_since")
    return Step(
        _moment(number(row, "failed_at") or number(row, "until")),
        "retrying",
        "not captured yet, as far as is known",
        {
            "failing since": _moment(since) if since else "",
            "requests without an answer": str(unanswered or ""),
            "tries without an end": str(open_ or ""),
            "key": key,
        },
    )


def _moment(seconds: float | None) -> str:
    return utc(datetime.fromtimestamp(seconds or 0, UTC))


# ------------------------------------------------------------------------- dead letters


def _of_letters(id: str, letters: DeadLetters, config: Config) -> Iterator[Step]:
    with letters.reading() as reading:
        found = [letter for letter in reading if _is_about(letter, id, config)]
    for letter in found:
        yield Step(
            _moment(letter.parked_at.timestamp()),
            "parked",
            f"{letter.reason}: {letter.error}",
            {
                "from": f"{letter.source}, {letter.event_type} {letter.event_id}",
                "message": letter.id,
                "next:": ADVICE.get(letter.reason, ""),
            },
        )


def _is_about(letter: Letter, id: str, config: Config) -> bool:
    if letter.is_called(id):
        return True
    try:
        plan = plan_in(letter.text, config)
    except Unroutable:
        return False
    except Parked:
        # No mapper reads it, and a person looks for it all the same.
        return json.dumps(id) in letter.text or json.dumps(json.dumps(id))[1:-1] in letter.text
    people = (each.key.rpartition("|")[2] for each in plan.lessons)
    keys = (key.rpartition("|")[2] for each in plan.planned for key in (*each.keys, *each.follows))
    told = (text for each in plan.planned for text in each.sent.values())
    return id in (plan.user_id, *people, *keys, *told)


# ------------------------------------------------------------------------- logs


def _of_logs(id: str, stack: Stack, since: datetime) -> Iterator[Step]:
    """One query of CloudWatch Logs Insights over both functions' logs."""
    groups = stack.log_groups()
    if not groups:
        raise Failure(
            "this stack has no logs; `linkrunner-webhooks tail` shows a local one's outcomes"
        )
    client = stack.client("logs")
    quoted = id.replace("\\", "\\\\").replace('"', '\\"')
    query = client.start_query(
        logGroupNames=groups,
        startTime=int(since.timestamp()),
        endTime=int(time.time()),
        queryString=f"fields @timestamp, stage, outcome, reason, source, event_type, event_id, detail\n"
        f'| filter @message like "{quoted}" and ispresent(outcome)\n| sort @timestamp asc | limit 200',
    )
    deadline = time.monotonic() + _PATIENCE
    while (answer := client.get_query_results(queryId=query["queryId"]))["status"] in (
        "Scheduled",
        "Running",
    ):
        if time.monotonic() > deadline:
            raise Failure(f"the logs did not answer in {_PATIENCE:.0f} s; try a shorter --since")
        time.sleep(_PAUSE)
    for result in answer["results"]:
        line = {each["field"]: each["value"] for each in result}
        yield Step(
            line.get("@timestamp", "")[:19].replace(" ", "T") + "Z",
            line.get("outcome", ""),
            " ".join(filter(None, (line.get("stage"), line.get("reason"), line.get("detail")))),
            {"from": " ".join(line.get(name, "") for name in ("source", "event_type", "event_id"))},
        )
