"""Which parked messages a command means: the filters, the letters they select, and what it could not see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import click

from linkrunner_webhooks.config import Config, suggest
from linkrunner_webhooks.dead_letters import HOLD, DeadLetters, Reading
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.letters import Filter, Letter
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.advice import ADVICE
from linkrunner_webhooks_cli.completions import event_types, reasons, source_names
from linkrunner_webhooks_cli.output import progress, say
from linkrunner_webhooks_cli.periods import moment
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option

Command = TypeVar("Command", bound=Callable[..., None])


def _reason(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """A reason that does not exist selects nothing, and nothing found looks like good news."""
    if name is not None and name not in set(Reason):
        raise click.BadParameter(f'there is no reason "{name}"{suggest(name, ADVICE)}')
    return name


_FILTERS = (
    click.option(
        "--reason",
        callback=_reason,
        shell_complete=reasons,
        help="Why it was parked: missing_user, untranslatable, ...",
    ),
    click.option("--source", shell_complete=source_names, help="The source it came from."),
    click.option(
        "--type", "event_type", shell_complete=event_types, help="The provider's event type."
    ),
    click.option("--since", callback=moment, help="Parked since: a time, or an age (2h, 3d)."),
    click.option("--until", callback=moment, help="Parked until then."),
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

    @contextmanager
    def search(self, letters: DeadLetters, after: Search | None = None) -> Iterator[Search]:
        """Go over the queue. What was not seen is told afterwards, on stderr.

        `after` is a pass that counted: this one takes at most as many and none that is newer, and does not
        repeat what that one told.
        """
        limit = self.limit if after is None else after.found
        until = None if after is None else after.reading.began
        with letters.reading(until) as reading:
            found = Search(self.filter, limit, reading)
            yield found
        if after is None:
            for remark in found.remarks():
                say(remark)

    def forecast(self, config: Config) -> Callable[[Letter], Decision]:
        return lambda letter: self.stack.foresee(letter, config)


@dataclass(slots=True)
class Search:
    """One pass over the queue with a filter. It counts, so that it can say what it did not see."""

    filter: Filter
    limit: int | None
    reading: Reading
    found: int = 0
    met: int = 0
    names: dict[str, Counter[str]] = field(default_factory=dict)

    def letters(self, doing: str) -> Iterator[Letter]:
        """The selected letters, with progress for a person."""
        matching = (each for each in self.reading if self._matches(each))
        total = self.reading.before.visible if self.limit is None else self.limit
        for letter in progress(doing, islice(matching, self.limit), total):
            self.found += 1
            yield letter

    def _matches(self, letter: Letter) -> bool:
        self.met += 1
        for option, name in _named(letter):
            self.names.setdefault(option, Counter())[name] += 1
        return self.filter.matches(letter)

    @property
    def unseen(self) -> int:
        """How many the queue counts that it did not hand out, as far as it was read."""
        stopped = self.found == self.limit
        return 0 if stopped else max(self.reading.before.total - self.reading.received, 0)

    def remarks(self) -> Iterator[str]:
        """Why nothing was found, and what is there besides."""
        if not self.found:
            yield self._none()
        yield from self.unread()

    def unread(self) -> Iterator[str]:
        """What is parked and was not read."""
        if self.reading.later:
            yield f"{self.reading.later} more were parked in the meantime; run it again for those."
        if self.unseen:
            yield (
                f"About {self.unseen} more cannot be seen now: they are in somebody's hands, another "
                f"`dlq` or the SQS console, for up to {HOLD // 60} minutes. Look again then."
            )

    def _none(self) -> str:
        if self.met:
            return f"None of the {self.met} parked match{self._nearest()}"
        return "None can be read." if self.unseen or self.reading.later else "Nothing is parked."

    def _nearest(self) -> str:
        """The first option that no parked message has, with the nearest value that one has."""
        chosen = self.filter
        wanted = {"--source": chosen.source, "--type": chosen.event_type, "--reason": chosen.reason}
        for option, value in wanted.items():
            if value is not None and not self.names[option][value]:
                return f' {option} "{value}"{suggest(value, self.names[option])}'
        return " all of these options; leave one out."


def _named(letter: Letter) -> tuple[tuple[str, str], ...]:
    return (
        ("--source", letter.source),
        ("--type", letter.event_type),
        ("--reason", letter.reason),
    )
