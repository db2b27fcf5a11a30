"""The dead letters of a stack, as the `dlq` commands see them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import Reading
from linkrunner_webhooks.envelope import open_message
from linkrunner_webhooks.errors import Parked
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.advice import COUNTED, advice_for, on_a_page
from linkrunner_webhooks_cli.discarding import discarded
from linkrunner_webhooks_cli.outlook import Errors, Outlook
from linkrunner_webhooks_cli.output import ago, counted
from linkrunner_webhooks_cli.pages.jobs import Job
from linkrunner_webhooks_cli.pages.masking import shown_body, shown_headers, shown_message
from linkrunner_webhooks_cli.pages.story import Known, Meaning, meaning, proofs
from linkrunner_webhooks_cli.redriving import redriven
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_local.recorder import Key

# Letters that a page reads, and the seconds that it may take: the ledger is asked about each.
MOST, _PATIENCE = 2_000, 15.0
# Letters that a page names.
_NAMED: Final = 50
# Messages a second, as `dlq redrive` moves them.
_RATE: Final = 20.0


class Name(NamedTuple):
    """What letters have in common; what is empty can be anything. `id` is that of one letter."""

    reason: str = ""
    source: str = ""
    event_type: str = ""
    id: str = ""

    @classmethod
    def of(cls, letter: Letter) -> Self:
        return cls(letter.reason, letter.source, letter.event_type)

    @property
    def is_everything(self) -> bool:
        return not any(self)

    def wants(self, letter: Letter) -> bool:
        """Browsers send a line's end in another way than it was written."""
        pairs = zip(self, (letter.reason, letter.source, letter.event_type, letter.id), strict=True)
        return all(not want or _one_line(want) == _one_line(has) for want, has in pairs)

    @property
    def title(self) -> str:
        """For people."""
        return " ".join(filter(None, self[:3])) or ("one letter" if self.id else "everything")


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
    errors: Errors = field(default_factory=Errors)
    oldest: datetime | None = None
    # Of one that still needs something, if any does.
    advice: str = ""
    events: list[Key] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    outlook: Outlook = field(default_factory=Outlook)

    def add(self, letter: Letter, forecast: Decision, now: datetime) -> None:
        self.outlook.add(letter, forecast)
        self.letters += 1
        self.movable += not forecast.would_park
        self.oldest = min(self.oldest or letter.parked_at, letter.parked_at)
        if self.advice in ("", on_a_page(COUNTED)):
            self.advice = on_a_page(advice_for(letter.reason, forecast.outcome))
        self.errors.add(letter.error)
        if len(self.seen) < _NAMED:
            self.events.append(key_of(letter))
            self.seen.append(Seen.of(letter, forecast, now))


class Letters(NamedTuple):
    """All groups, what would become of them now (see Outlook), and how many are not read, or cannot be.

    `began` is when they were looked at: what comes later is not among them.
    """

    groups: list[Group]
    outlook: dict[str, Any]
    ages: list[str]
    unread: int
    unseen: int
    began: datetime

    @property
    def letters(self) -> int:
        return sum(each.letters for each in self.groups)

    @property
    def movable(self) -> int:
        return sum(each.movable for each in self.groups)


def key_of(letter: Letter) -> Key:
    """By what the recorder knows the webhook in it."""
    return letter.source, letter.event_type, letter.event_id


def parked(stack: Stack, config: Config, name: Name | None = None) -> Letters:
    """Read the queue, with today's code over each letter. Moves nothing.

    Of a long queue only its beginning.
    """
    groups: dict[Name, Group] = {}
    every, now, met, looked_at, is_cut = Outlook(), datetime.now(UTC), 0, 0, False
    wanted = name or Name()
    if not stack.parked():
        # Reading waits for those that SQS may have.
        return Letters([], every.summary(), [], 0, 0, now)
    ends_at = time.monotonic() + _PATIENCE
    with stack.dead_letters().reading() as reading:
        for letter in reading:
            met += 1
            if not wanted.wants(letter):
                continue
            looked_at += 1
            forecast = stack.foresee(letter, config)
            every.add(letter, forecast)
            groups.setdefault(Name.of(letter), Group(Name.of(letter))).add(letter, forecast, now)
            if looked_at == MOST or time.monotonic() > ends_at:
                is_cut = True
                break
    rest = max(reading.before.total - (met if is_cut else reading.received), 0)
    ordered = sorted(groups.values(), key=lambda each: (-each.letters, each.name))
    ages = list(every.lines("A redrive can leave what is older."))
    return Letters(
        ordered, every.summary(), ages, rest * is_cut, rest * (not is_cut), reading.began
    )


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
    found, unread = None, ""
    try:
        opened = open_message(letter.text, config)
        found = meaning(opened, known, whole=whole)
        shown = proofs(opened.source)
        headers = shown_headers(opened.webhook.headers, shown, whole=whole)
        body = shown_body(opened.webhook, opened.source, whole=whole)
    except Parked as error:
        unread = str(error)
        headers, body = shown_message(letter.text, config, whole=whole)
    return Letterhead(
        letter=letter,
        forecast=forecast,
        advice=on_a_page(advice_for(letter.reason, forecast.outcome)),
        age=ago(datetime.now(UTC) - letter.parked_at),
        meaning=found,
        unread=unread,
        headers=headers,
        body=body,
    )


def redrive(
    stack: Stack,
    config: Config,
    name: Name,
    job: Job,
    *,
    force: bool,
    max_age: timedelta | None,
    done_with: Callable[[Letter], None],
) -> str:
    """Put letters back that would not park again, and with `force` those that would. Says what came of it.

    `done_with` is told of each that was put back.
    """
    letters, pace = stack.dead_letters(), Pace(_RATE)

    def move(letter: Letter, forced: bool) -> None:
        pace.wait()
        letters.redrive(letter, forced=forced)
        done_with(letter)

    not_before = datetime.now(UTC) - max_age if max_age else None
    with letters.reading() as reading:
        done = redriven(
            job.each(filter(name.wants, reading)),
            lambda letter: stack.foresee(letter, config),
            move,
            force=force,
            not_before=not_before,
        )
    left = f", {done.left.total()} would park again and stay" if done.left else ""
    older = f", {done.older} happened longer ago and stay" if done.older else ""
    return f"{done.moved} put back into the queue{left}{older}.{_unseen(reading)}"


class Meant(NamedTuple):
    """What somebody has seen and means: so many letters at most, and none that came after that."""

    most: int
    until: datetime


def discard(
    stack: Stack,
    name: Name,
    job: Job,
    path: Path,
    *,
    meant: Meant,
    captured: Config | None,
    done_with: Callable[[Letter], None],
) -> str:
    """Delete letters for good, copied to a file before. Says what came of it.

    `done_with` is told of each that is gone.
    """
    letters = stack.dead_letters()
    with letters.reading(meant.until) as reading:
        found = job.each(islice(filter(name.wants, reading), meant.most))
        done = discarded(found, letters, stack, path, captured, done_with)
    where = f"; copies, with customer data, are in {path.absolute()}" if done.count else ""
    left = done.left.total()
    stay = (
        f"; {counted(left, 'letter')} of which nothing can be noted as captured stay"
        if left
        else ""
    )
    return f"{done.count} discarded{where}{stay}.{_unseen(reading)}"


def _unseen(reading: Reading) -> str:
    """What somebody else had in hand."""
    unseen = max(reading.before.total - reading.received, 0)
    hidden = (
        f" About {unseen} more could not be seen: look again in some minutes." if unseen else ""
    )
    return f"{hidden} {reading.later} came meanwhile and stay." if reading.later else hidden


def _one_line(text: str) -> str:
    return " ".join(text.split())
