"""The explanation of one webhook: what it becomes, whose it is, and what to change for another outcome."""

from __future__ import annotations

from typing import Any, NamedTuple

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Opened, open_message
from linkrunner_webhooks.errors import Incomplete, Parked, Reason
from linkrunner_webhooks.fact_keys import keys
from linkrunner_webhooks.model import CommerceEvent, Identity, Outcome
from linkrunner_webhooks.translation import Decision, RateOf, UserOf, decide, parked, plan_of
from linkrunner_webhooks_cli.output import write_table, write_text
from linkrunner_webhooks_cli.user_paths import candidates, user_paths
from linkrunner_webhooks_local.switches import kind_off, tests_off, thin, type_off


class Drop(NamedTuple):
    """Why receive drops a webhook, as a reason and as a sentence with the line that changes it."""

    reason: Reason
    why: str


class Meant(NamedTuple):
    """What a webhook means, and what would be done with it; `drops` are why receive would drop it first."""

    events: tuple[CommerceEvent, ...]
    decision: Decision
    drops: tuple[Drop, ...]


def meant(opened: Opened, user_of: UserOf, rate_of: RateOf) -> Meant:
    """By today's code and webhooks.toml. Raises nothing."""
    source, identity = opened.source, opened.identity
    try:
        decision = decide(plan_of(opened), user_of, rate_of)
        events = tuple(source.provider.translate(opened.webhook, identity, source.options))
    except Incomplete as error:
        decision, events = Decision(Outcome.QUEUED, detail=str(error)), ()
    except Parked as error:
        decision, events = parked(error), ()
    drops = dropped(source, identity)
    if drops:
        # Before anybody looks for events in it.
        decision = Decision(Outcome.IGNORED, drops[0].reason)
    return Meant(events, decision, drops)


def explanation(opened: Opened, found: Meant) -> dict[str, Any]:
    """As JSON values. It names nobody: ids of users are masked, and nothing else of the body is in it."""
    source, identity = opened.source, opened.identity
    events, decision, drops = found
    return {
        "event_type": identity.event_type,
        "event_id": identity.event_id,
        "source": source.name,
        "outcome": decision.outcome.value,
        "reason": "" if decision.reason is Reason.NONE else decision.reason.value,
        "detail": decision.detail or nothing_of(decision, opened),
        "to_change": [each.why for each in drops],
        "events": [_told(event, opened) for event in events],
        **user(opened),
    }


def dropped(source: Source, identity: Identity) -> tuple[Drop, ...]:
    """Everything for which receive drops a webhook, in the order in which it asks."""
    if identity.thin:
        return (Drop(Reason.THIN, thin(source)),)
    drops = []
    if not source.wants(identity.event_type):
        drops.append(Drop(Reason.UNWANTED, type_off(source, identity.event_type)))
    if identity.test and not source.test_events:
        drops.append(Drop(Reason.TEST, tests_off(source)))
    return tuple(drops)


def nothing_of(decision: Decision, opened: Opened) -> str:
    """What is known about a webhook that has nothing to report; empty for every other decision."""
    if decision.reason not in (Reason.NOTHING_TO_REPORT, Reason.LEARNED):
        return ""
    source, identity = opened.source, opened.identity
    events = source.provider.translate(opened.webhook, identity, source.options)
    known = [_nothing(event, source, identity.event_type) for event in events]
    if decision.reason is Reason.LEARNED:
        known.insert(0, "it teaches whose its ids are, or which of them are one payment's")
    return "; ".join(known) or "by its state no money moved and nothing else happened"


def _nothing(event: CommerceEvent, source: Source, event_type: str) -> str:
    if event.kind not in source.names.get(event_type, {}):
        return f"its kind {event.kind.value} is {kind_off(source, event_type, event.kind)}"
    return "its amount is 0 or less"


def user(opened: Opened) -> dict[str, Any]:
    """What each user path found, and where else an id may be."""
    source, payload = opened.source, opened.webhook.payload
    return {
        "user_paths": [each._asdict() for each in user_paths(source, payload)],
        "candidates": [each._asdict() for each in candidates(source, payload)],
    }


def user_of_message(text: str, config: Config) -> dict[str, Any]:
    """The same for a message of a queue; empty when it cannot be read."""
    try:
        return user(open_message(text, config))
    except Parked:
        return {}


def _told(event: CommerceEvent, opened: Opened) -> dict[str, Any]:
    source, event_type = opened.source, opened.identity.event_type
    naming = source.names.get(event_type, {}).get(event.kind)
    return {
        "kind": event.kind.value,
        "event_name": naming.name if naming else None,
        "to_change": None if naming else kind_off(source, event_type, event.kind),
        "money": f"{event.money.amount} {event.money.currency}" if event.money else None,
        "keys": list(keys(event, naming.kind if naming else event.kind, opened)),
    }


def write_explanation(told: dict[str, Any]) -> None:
    """For people, on stdout."""
    why = ": ".join(filter(None, (told["outcome"], told["reason"], told["detail"])))
    write_text(f"{told['source']}  {told['event_type']}  {told['event_id']}")
    write_text(f"\nOutcome: {why}")
    for change in told["to_change"]:
        write_text(f"  {change}")
    for event in told["events"]:
        name = event["event_name"] or f"{event['kind']}, {event['to_change']}"
        write_text(f"\nEvent: {name}{'  ' + event['money'] if event['money'] else ''}")
        for key in event["keys"]:
            write_text(f"  key {key}")
    write_text("")
    write_user(told)


def write_user(told: dict[str, Any]) -> None:
    """For people, on stdout: the paths in the order in which they are tried, then the other places."""
    paths = [(each["value"], each["why"], each["path"]) for each in told["user_paths"]]
    write_table(("value", "", "user id path"), paths)
    if told["candidates"]:
        write_text("\nMay be an id, too; if one is what your app passes to signup, add its path:")
        places = [(each["value"], each["path"], each["note"]) for each in told["candidates"]]
        write_table(("value", "path", ""), places)
