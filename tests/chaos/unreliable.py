"""An embedded Linkrunner in changing moods, which remembers which request got which treatment."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos.faults import ATTEMPT

from linkrunner_webhooks_local.embedded_linkrunner import (
    Answer,
    Arrival,
    EmbeddedLinkrunner,
    answer_lost,
    busy,
    documented,
    failing,
    hang,
    reset,
    slow,
)
from linkrunner_webhooks_local.loopback import Request, Response

# ISO 4217's code for tests: events in it are the ones that Linkrunner refuses for good.
REFUSED_CURRENCY: Final = "XTS"

# Longer than a worker waits for an answer.
_TOO_LONG: Final = 0.8

Mood = Callable[[random.Random], Answer]


@dataclass(frozen=True, slots=True)
class Treated:
    """One request, as Linkrunner saw it. `at` is unix seconds."""

    attempt: str
    arrival: Arrival


class Unreliable(EmbeddedLinkrunner):
    """Linkrunner over HTTP. `history` is every request in order of answering."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Treated] = []
        self._here = threading.local()

    def answer(self, request: Request) -> Response | None:
        """One thread answers one request, so what it records is about the attempt it read."""
        self._here.attempt = request.header(ATTEMPT) or ""
        refused = f'"{REFUSED_CURRENCY}"'.encode() in request.body
        if refused and documented(request, self.key)[0] == 201:
            self._record(Arrival(time.time(), {}, 400, captured=False))
            return Response.of(400, {"msg": "currency is not supported", "status": 400})
        return super().answer(request)

    def misbehave(self, seed: int) -> None:
        """Change moods every second or two, until told to be well."""
        self.play(_moody(random.Random(f"linkrunner {seed}")))

    def be_well(self) -> None:
        """Answer as documented from now on."""
        self.play([])

    def _record(self, arrival: Arrival) -> None:
        self.history.append(Treated(self._here.attempt, arrival))
        super()._record(arrival)


def _moody(dice: random.Random) -> Iterator[Answer]:
    mood: Mood = _well
    until = 0.0
    while True:
        if time.monotonic() > until:
            mood = dice.choices(list(_MOODS), list(_MOODS.values()))[0]
            until = time.monotonic() + dice.uniform(0.5, 2.0)
        yield mood(dice)


def _well(dice: random.Random) -> Answer:
    return _rarely(dice, 0.05, slow(0.2))


def _rushed(dice: random.Random) -> Answer:
    return _rarely(dice, 0.5, busy(dice.choice((None, None, 0, 1, "nonsense"))))


def _failing(dice: random.Random) -> Answer:
    return _rarely(dice, 0.4, failing(dice.choice((500, 502, 503))))


def _away(dice: random.Random) -> Answer:
    return _rarely(dice, 0.4, dice.choice((reset(), hang(_TOO_LONG))))


def _forgetful(dice: random.Random) -> Answer:
    """Takes the event, and the worker never learns that it did."""
    taken = (answer_lost(), slow(_TOO_LONG), Answer(status=500, records=True))
    return _rarely(dice, 0.25, dice.choice(taken))


def _down(dice: random.Random) -> Answer:
    return dice.choice((failing(503), reset()))


def _rarely(dice: random.Random, share: float, answer: Answer) -> Answer:
    return answer if dice.random() < share else Answer(records=True)


_MOODS: Final[dict[Mood, int]] = {
    _well: 6,
    _rushed: 2,
    _failing: 2,
    _away: 2,
    _forgetful: 3,
    _down: 1,
}
