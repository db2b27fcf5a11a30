"""The numbers of a stack as values for pictures: webhooks over time, money by currency, how long it took."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.model import Flow, Outcome
from linkrunner_webhooks_cli.pages.listing import DISCARDED, duration
from linkrunner_webhooks_cli.records import days_since
from linkrunner_webhooks_cli.report import Rest, Summary, captured, rest
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_local.recorder import Arrival

# The size of a picture, in its own units; a narrow one has another beside it.
WIDTH, NARROW, HEIGHT = 720, 460, 160
_MOST_BARS: Final = 60
# Seconds that one bar may stand for.
_SPANS: Final = (1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600)
# Upper ends of the bars of a latency, in seconds.
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, math.inf)
# What people tell apart, the good end first, and the outcomes that it has.
SERIES: Final[Mapping[str, tuple[Outcome, ...]]] = {
    "captured": (Outcome.CAPTURED,),
    "duplicate": (Outcome.DUPLICATE,),
    "ignored": (Outcome.IGNORED,),
    "waiting": (Outcome.QUEUED, Outcome.HELD, Outcome.RETRYING),
    "parked": (Outcome.PARKED,),
    "rejected": (Outcome.REJECTED,),
    # An operator deleted it.
    DISCARDED: (),
}
_SERIES_OF: Final = {outcome: name for name, outcomes in SERIES.items() for outcome in outcomes}


class Bar(NamedTuple):
    """A rectangle in a picture, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Bars, words below them (`x`, text), the value at the top, and the same as a table."""

    width: int
    bars: Sequence[Bar]
    below: Sequence[tuple[float, str]]
    top: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Webhooks by what has become of them, at the time at which they came. `step` names the span of a bar."""

    picture: Picture
    totals: dict[str, int]
    step: str


def timeline(arrivals: Iterable[Arrival], now: float) -> Timeline:
    """All that came, in at most sixty bars up to now (unix seconds)."""
    found = [(each.at, name) for each in arrivals for name in _ends(each)]
    first = min((at for at, _ in found), default=now)
    step = next((each for each in _SPANS if (now - first) / each < _MOST_BARS), _SPANS[-1])
    last = now // step
    counts: dict[int, Counter[str]] = {}
    for at, name in found:
        back = int(last - at // step)
        if 0 <= back < _MOST_BARS:
            counts.setdefault(_MOST_BARS - 1 - back, Counter())[name] += 1
    highest = max((each.total() for each in counts.values()), default=0)
    totals = Counter(name for _, name in found)
    moments = {place: (last - (_MOST_BARS - 1 - place)) * step for place in range(_MOST_BARS)}
    return Timeline(
        picture=Picture(
            width=WIDTH,
            bars=list(_stacked(counts, highest, moments)),
            below=[
                (place / _MOST_BARS * WIDTH, _clock(moments[place], step))
                for place in range(0, _MOST_BARS, 15)
            ],
            top=str(highest) if highest else "",
            columns=("from", *SERIES),
            rows=[
                (_clock(moments[place], step), *(str(each[name] or "") for name in SERIES))
                for place, each in sorted(counts.items())
            ],
        ),
        totals={name: totals[name] for name in SERIES},
        step=_span(step),
    )


def _ends(arrival: Arrival) -> Iterator[str]:
    gone = arrival.discarded
    for key, report in {each.key: each.report for each in arrival.noted}.items():
        yield DISCARDED if key in gone else _SERIES_OF[report.outcome]


def _stacked(
    counts: dict[int, Counter[str]], highest: int, moments: dict[int, float]
) -> Iterator[Bar]:
    width = WIDTH / _MOST_BARS
    for place, each in sorted(counts.items()):
        below = 0.0
        for name in SERIES:
            if not each[name]:
                continue
            height = each[name] / highest * HEIGHT
            title = (
                f"{time.strftime('%H:%M:%S', time.localtime(moments[place]))}: {each[name]} {name}"
            )
            y = HEIGHT - below - height
            yield Bar(place * width + 1, y, width - 2, height, name, title)
            below += height


def _clock(at: float, step: float) -> str:
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 6 * 3600 else "%d %b"
    return time.strftime(form, time.localtime(at))


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds * 1000:g} ms"


# ------------------------------------------------------------------------- how long it took


@dataclass(frozen=True, slots=True)
class Latency:
    """How many took how long. Half of them took at most `median`; of a hundred, 95 at most `most`."""

    picture: Picture
    count: int
    median: str
    most: str
    longest: str


def answered(arrivals: Iterable[Arrival]) -> Latency:
    """Seconds until the sender had its answer."""
    return _latency([each.took for each in arrivals if each.status])


def delivered(arrivals: Iterable[Arrival]) -> Latency:
    """Seconds from a request to the end of all its webhooks, of those that were captured."""
    return _latency(
        [
            each.ended - each.at
            for each in arrivals
            if each.ended and any(report.outcome is Outcome.CAPTURED for report in each.latest)
        ]
    )


def _latency(seconds: Sequence[float]) -> Latency:
    found = sorted(seconds)
    counts = Counter(
        next(place for place, bound in enumerate(_BOUNDS) if each <= bound) for each in found
    )
    highest, width = max(counts.values(), default=0), NARROW / len(_BOUNDS)
    names = [_span(bound) for bound in _BOUNDS[:-1]] + ["longer"]
    bars = []
    for place, count in sorted(counts.items()):
        height = count / highest * HEIGHT
        title = f"up to {names[place]}: {count}"
        bars.append(Bar(place * width + 4, HEIGHT - height, width - 8, height, "time", title))
    return Latency(
        picture=Picture(
            width=NARROW,
            bars=bars,
            # There is no room for every one of them.
            below=[(place * width + 4, name) for place, name in enumerate(names) if place % 2],
            top=str(highest) if highest else "",
            columns=("took up to", "requests"),
            rows=[(names[place], str(count)) for place, count in sorted(counts.items())],
        ),
        count=len(found),
        median=duration(found[len(found) // 2]) if found else "",
        most=duration(found[min(len(found) * 95 // 100, len(found) - 1)]) if found else "",
        longest=duration(found[-1]) if found else "",
    )


# ------------------------------------------------------------------------- money


@dataclass(slots=True)
class Purse:
    """Payments of one currency in major units: what Linkrunner has, what waits for a signup, what is parked.

    `back` went back of what was captured.
    """

    currency: str
    captured: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    parked: Decimal = Decimal(0)
    back: Decimal = Decimal(0)

    @property
    def received(self) -> Decimal:
        return self.captured + self.held + self.parked

    @property
    def bars(self) -> list[Bar]:
        """The three parts of what was received, side by side."""
        parts = (("captured", self.captured), ("waiting", self.held), ("parked", self.parked))
        at, bars = 0.0, []
        for kind, amount in parts:
            width = float(amount / self.received) * WIDTH if self.received > 0 else 0.0
            if width > 0:
                bars.append(Bar(at, 0, width, 24, kind, f"{amount:f} {self.currency} {kind}"))
            at += width
        return bars


@dataclass(frozen=True, slots=True)
class Money:
    """Purses by currency, and what else is known of the period."""

    purses: list[Purse]
    rest: Rest
    days: int
    is_cut: bool

    @property
    def looked_at(self) -> int:
        return self.rest.parked.total()


_BACK: Final = {
    Flow.REFUND: 1,
    Flow.DISPUTE: 1,
    Flow.REFUND_REVERSAL: -1,
    Flow.DISPUTE_REVERSAL: -1,
}


def money(stack: Stack, config: Config, days: int, most: int) -> Money:
    """Of so many whole days in UTC, today included; what is parked and held as it is now, at most so many."""
    period = days_since(datetime.now(UTC) - timedelta(days=days - 1))
    summary = Summary(("currency",))
    for fact in captured(stack, config, period):
        summary.add(fact)
    others = rest(stack, config, period, most)
    purses: dict[str, Purse] = {}

    def purse(currency: str) -> Purse:
        return purses.setdefault(currency, Purse(currency))

    for (currency,), line in summary.lines.items():
        if not line.money:
            continue
        purse(currency).captured += line.money.get(Flow.PAYMENT, Decimal(0))
        purse(currency).back += sum(
            (sign * line.money.get(flow, Decimal(0)) for flow, sign in _BACK.items()), Decimal(0)
        )
    for (_, currency), amount in others.parked_money.items():
        purse(currency).parked += amount
    for currency, amount in others.held_money.items():
        purse(currency).held += amount
    ordered = sorted(purses.values(), key=lambda each: (-each.received, each.currency))
    is_cut = stack.parked() > others.parked.total()
    return Money(ordered, others, days, is_cut)
