"""The dead letters of a stack, as the `dlq` commands see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import Reading
from linkrunner_webhooks.envelope import open_message
from linkrunner_webhooks.errors import Parked
from linkrunner_webhooks.letters import Filter, Letter
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.advice import COUNTED, advice_for
from linkrunner_webhooks_cli.discarding import discarded
from linkrunner_webhooks_cli.outlook import Outlook
from linkrunner_webhooks_cli.output import ago, counted
from linkrunner_webhooks_cli.pages.jobs import Job
from linkrunner_webhooks_cli.pages.masking import shown_body, shown_headers
from linkrunner_webhooks_cli.pages.story import Known, Meaning, meaning, proofs
from linkrunner_webhooks_cli.redriving import redriven
from linkrunner_webhooks_cli.stacks import Stack

# Letters that a page reads: each is asked of the ledger what it would become.
MOST: Final = 2_000
# Letters that a page names.
_NAMED: Final = 50
# Messages a second, as `dlq redrive` moves them.
_RATE: Final = 20.0


class Name(NamedTuple):
    """What letters have in common; what is empty can be anything."""

    reason: str = ""
    source: str = ""
    event_type: str = ""

    @classmethod
    def of(cls, letter: Letter) -> Self:
        return cls(letter.reason, letter.source, letter.event_type)

    @property
    def filter(self) -> Filter:
        return Filter(**{name: value or None for name, value in self._asdict().items()})

    @property
    def title(self) -> str:
        """For people."""
        return " ".join(filter(None, self)) or "everything"


class Seen(NamedTuple):
    """One letter in a list, and what it would become now."""

    id: str
    event_id: str
    age: str
    error: str
    would_be: str

    @classmethod
    def of(cls, letter: Letter, forecast: Decision, now: datetime) -> Self:
        age = ago(now - letter.parked_at)
        return cls(letter.id, letter.event_id, age, letter.error, forecast.outcome.value)


@dataclass(slots=True)
class Group:
    """Letters that were parked for one reason. `seen` are the first of them."""

    name: Name
    letters: int = 0
    movable: int = 0
    error: str = ""
    oldest: datetime | None = None
    # Of one that still needs something, if any does.
    advice: str = ""
    events: list[tuple[str, str, str]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    outlook: Outlook = field(default_factory=Outlook)

    def add(self, letter: Letter, forecast: Decision, now: datetime) -> None:
        self.outlook.add(letter, forecast)
        self.letters += 1
        self.movable += not forecast.would_park
        self.oldest = min(self.oldest or letter.parked_at, letter.parked_at)
        if self.advice in ("", COUNTED):
            self.advice = advice_for(letter.reason, forecast.outcome)
        self.error = self.error or letter.error
        if len(self.seen) < _NAMED:
            self.events.append((letter.source, letter.event_type, letter.event_id))
            self.seen.append(Seen.of(letter, forecast, now))


class Letters(NamedTuple):
    """All groups, what would become of them now (see Outlook), and how many are not read, or cannot be."""

    groups: list[Group]
    outlook: dict[str, Any]
    ages: list[str]
    unread: int
    unseen: int

    @property
    def letters(self) -> int:
        return sum(each.letters for each in self.groups)

    @property
    def movable(self) -> int:
        return sum(each.movable for each in self.groups)


def parked(stack: Stack, config: Config, name: Name | None = None) -> Letters:
    """Read the queue, with today's code over each letter. Moves nothing.

    Of a long queue only its beginning.
    """
    groups: dict[Name, Group] = {}
    every, now, met, looked_at = Outlook(), datetime.now(UTC), 0, 0
    wanted = (name or Name()).filter
    if not stack.parked():
        # Reading waits for those that SQS may have.
        return Letters([], every.summary(), [], 0, 0)
    with stack.dead_letters().reading() as reading:
        for letter in reading:
            met += 1
            if not wanted.matches(letter):
                continue
            looked_at += 1
            forecast = stack.foresee(letter, config)
            every.add(letter, forecast)
            groups.setdefault(Name.of(letter), Group(Name.of(letter))).add(letter, forecast, now)
            if looked_at == MOST:
                break
    is_cut = looked_at == MOST
    rest = max(reading.before.total - (met if is_cut else reading.received), 0)
    ordered = sorted(groups.values(), key=lambda each: (-each.letters, each.name))
    ages = list(every.lines("A redrive can leave what is older."))
    return Letters(ordered, every.summary(), ages, rest * is_cut, rest * (not is_cut))


@dataclass(frozen=True, slots=True)
class Letterhead:
    """One letter with all that is known of it: why it is parked, and what it would become by today's code."""

    letter: Letter
    forecast: Decision
    advice: str
    age: str
    meaning: Meaning | None
    unread: str
    headers: dict[str, str]
    body: str


def letterhead(
    stack: Stack, config: Config, known: Known, id: str, *, whole: bool
) -> Letterhead | None:
    """The letter with this message id; None where the queue does not hand it out now."""
    with stack.dead_letters().reading() as reading:
        letter = next((each for each in reading if each.id == id), None)
    if letter is None:
        return None
    forecast = stack.foresee(letter, config)
    found, unread, headers, body = None, "", dict[str, str](), ""
    try:
        opened = open_message(letter.text, config)
        found = meaning(opened, known, whole=whole)
        shown = proofs(opened.source)
        headers = shown_headers(opened.webhook.headers, shown, whole=whole)
        body = shown_body(opened.webhook, whole=whole)
    except Parked as error:
        unread = str(error)
    return Letterhead(
        letter=letter,
        forecast=forecast,
        advice=advice_for(letter.reason, forecast.outcome),
        age=ago(datetime.now(UTC) - letter.parked_at),
        meaning=found,
        unread=unread,
        headers=headers,
        body=body or (letter.text if whole else ""),
    )


def redrive(
    stack: Stack, config: Config, name: Name, job: Job, *, force: bool, max_age: timedelta | None
) -> str:
    """Put letters back that would not park again, and with `force` those that would. Says what came of it."""
    letters, pace = stack.dead_letters(), Pace(_RATE)

    def move(letter: Letter, forced: bool) -> None:
        pace.wait()
        letters.redrive(letter, forced=forced)

    not_before = datetime.now(UTC) - max_age if max_age else None
    with letters.reading() as reading:
        done = redriven(
            job.each(_chosen(reading, name)),
            lambda letter: stack.foresee(letter, config),
            move,
            force=force,
            not_before=not_before,
        )
    left = f", {done.left.total()} would park again and stay" if done.left else ""
    older = f", {done.older} happened longer ago and stay" if done.older else ""
    return f"{done.moved} put back into the queue{left}{older}."


def discard(stack: Stack, name: Name, job: Job, path: Path, *, captured: Config | None) -> str:
    """Delete letters for good, copied to a file before. Says what came of it."""
    letters = stack.dead_letters()
    with letters.reading() as reading:
        found = job.each(_chosen(reading, name))
        done = discarded(found, letters, stack, path, captured)
    where = f"; copies, with customer data, are in {path.absolute()}" if done.count else ""
    left = done.left.total()
    stay = (
        f"; {counted(left, 'letter')} of which nothing can be noted as captured stay"
        if left
        else ""
    )
    return f"{done.count} discarded{where}{stay}."


def _chosen(reading: Reading, name: Name) -> Iterator[Letter]:
    found: Iterable[Letter] = reading
    return filter(name.filter.matches, found)
