"""Which parked messages a command means: the filters, and the letters they select."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import click

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import Filter, Letter, Reading, foresee
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option

Command = TypeVar("Command", bound=Callable[..., None])


def _moment(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> datetime | None:
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text[:-1].isdigit() and text[-1] in units:
        return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * units[text[-1]])
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        message = f'takes a time like 2026-11-24T10:00 or an age like 2h, not "{text}"'
        raise click.BadParameter(message) from None


_FILTERS = (
    click.option("--reason", help="Why it was parked: missing_user, untranslatable, ..."),
    click.option("--source", help="The source it came from."),
    click.option("--type", "event_type", help="The provider's event type."),
    click.option("--since", callback=_moment, help="Parked since: a time, or an age (2h, 3d)."),
    click.option("--until", callback=_moment, help="Parked until then."),
    click.option("--limit", type=click.IntRange(min=1), help="At most this many."),
    stack_option,
)


def filtered(command: Command) -> Command:
    """The filters that every command on messages has."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters, of which stack."""

    filter: Filter
    limit: int | None
    stack: Stack

    @classmethod
    def of(cls, *, limit: int | None, stack: str | None, **filters: Any) -> Selection:
        return cls(Filter(**filters), limit, find(stack))

    def letters(self, reading: Reading) -> Iterator[Letter]:
        return islice((each for each in reading if self.filter.matches(each)), self.limit)

    def forecast(self, config: Config) -> Callable[[Letter], Decision]:
        return lambda letter: foresee(letter, config, self.stack.user_of)
