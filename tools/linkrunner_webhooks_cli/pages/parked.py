"""The dead letters of a stack, as the `dlq` commands see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.letters import Filter, Letter
from linkrunner_webhooks_cli.advice import COUNTED, advice_for
from linkrunner_webhooks_cli.outlook import Outlook
from linkrunner_webhooks_cli.redriving import Redriven, redriven
from linkrunner_webhooks_cli.stacks import Stack

# Requests that a group names.
_MOST = 20


class Name(NamedTuple):
    """What letters have in common."""

    reason: str
    source: str
    event_type: str


@dataclass(slots=True)
class Group:
    """Letters that were parked for one reason. `events` are keys of some of them."""

    name: Name
    letters: int = 0
    movable: int = 0
    error: str = ""
    # Of one that still needs something, if any does.
    advice: str = ""
    events: list[tuple[str, str, str]] = field(default_factory=list)


class Parked(NamedTuple):
    """All groups, what would become of them now (see Outlook), and how many could not be seen."""

    groups: list[Group]
    outlook: dict[str, Any]
    unseen: int


def parked(stack: Stack, config: Config) -> Parked:
    """Read the queue, with today's code over each letter. Moves nothing."""
    groups: dict[Name, Group] = {}
    outlook = Outlook()
    if not stack.parked():
        # Reading waits for those that SQS may have.
        return Parked([], outlook.summary(), 0)
    with stack.dead_letters().reading() as reading:
        for letter in reading:
            forecast = stack.foresee(letter, config)
            outlook.add(letter, forecast)
            group = groups.setdefault(_name(letter), Group(_name(letter)))
            group.letters += 1
            group.movable += not forecast.would_park
            advice = advice_for(letter.reason, forecast.outcome)
            if group.advice in ("", COUNTED):
                group.advice = advice
            group.error = letter.error
            if len(group.events) < _MOST:
                group.events.append((letter.source, letter.event_type, letter.event_id))
        unseen = max(reading.before.total - reading.received, 0)
    ordered = sorted(groups.values(), key=lambda each: (-each.letters, each.name))
    return Parked(ordered, outlook.summary(), unseen)


def redrive(stack: Stack, config: Config, name: Name) -> Redriven:
    """Put the letters of a group back that would not park again."""
    letters = stack.dead_letters()
    wanted = Filter(**name._asdict())
    with letters.reading() as reading:
        chosen: Iterator[Letter] = filter(wanted.matches, reading)
        return redriven(
            chosen,
            lambda letter: stack.foresee(letter, config),
            lambda letter, forced: letters.redrive(letter, forced=forced),
        )


def _name(letter: Letter) -> Name:
    return Name(letter.reason, letter.source, letter.event_type)
