"""Linkrunner as its client sees it: how it is for a while, and what it took."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.simulation.clock import SimClock
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from linkrunner_webhooks.connections import ANSWER
from linkrunner_webhooks_local.payment_book import PaymentBook

# Seconds until our client stops waiting for an answer.
CLIENT_TIMEOUT = ANSWER

_POOL = HTTPConnectionPool("linkrunner.test")
_CONNECTION = HTTPConnection("linkrunner.test")


@dataclass(frozen=True)
class Answer:
    """What urllib3 returns."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    connection: None = None

    def read1(self, _amount: int) -> bytes:
        """Nothing is left of the body."""
        return b""

    def close(self) -> None:
        """The connection is no real one."""


def refused() -> NewConnectionError:
    """Nobody listens."""
    return NewConnectionError(_CONNECTION, "refused")


def timed_out(url: str) -> ReadTimeoutError:
    """The request was sent, and no answer came."""
    return ReadTimeoutError(_POOL, url, "timed out")


@dataclass(frozen=True, kw_only=True)
class Mood:
    """How Linkrunner is for a while. `takes_it`: whatever it answers, the event was taken."""

    status: int = 200
    retry_after: str | None = None
    refuses: bool = False
    hangs: bool = False
    takes_it: bool = False


UP = Mood()
REFUSED = Mood(refuses=True)
DOWN = Mood(status=500)
LIMITED = Mood(status=429)
LIMITED_FOR_LONG = Mood(status=429, retry_after="1800")
HANGS = Mood(hangs=True)
LOSES_ANSWERS = Mood(hangs=True, takes_it=True)


@dataclass(frozen=True)
class Captured:
    """An event that Linkrunner took."""

    at: float
    body: Mapping[str, Any]

    @property
    def fact(self) -> tuple[str, str]:
        """What it reports: payments of one order are one fact, whatever they are called."""
        data = self.body["event_data"]
        about = data.get("order_id") or data.get("subscription_id") or data["provider_event_id"]
        name = str(self.body["event_name"])
        if "refund_amount" in data:
            # A payment can be refunded in parts.
            return (name, f"{about}:{data['refund_amount']}")
        return ("paid" if "amount" in data else name, str(about))


class SimLinkrunner:
    """The far end of the API, as the urllib3 pool that leads there. `book` holds the payments.

    `moods` holds from when on it is how. A request takes `uplink` seconds to arrive and its answer
    `downlink` more. More than `per_second` arrivals within a second are answered 429. `honours_event_id` says
    whether an event under a known `event_id` is the same event, which the documentation leaves open.
    """

    def __init__(self, clock: SimClock) -> None:
        self.moods: list[tuple[float, Mood]] = []
        self.key = "right"
        self.headers: dict[str, str] = {}
        self.captures: list[Captured] = []
        self.requests: list[float] = []
        self.arrivals: list[float] = []
        self.limited = 0
        self.per_second: int | None = 30
        self.honours_event_id = False
        self.uplink: Callable[[], float] = lambda: 0.0
        self.downlink: Callable[[], float] = lambda: 0.05
        self.taken: Callable[[Captured], None] = lambda _: None
        self._clock = clock
        self._lately: deque[float] = deque()
        self._known: set[str] = set()
        self.book = PaymentBook()
        self.removed: list[str] = []
        # Whom it knows; None is everybody. What belongs to others it forgets.
        self.users: set[str] | None = None
        self.lookups: list[str] = []
        self.forgotten = 0

    def request(self, method: str, url: str, **arguments: Any) -> Answer:
        root, _, what = url.rpartition("/")
        assert root == "https://linkrunner.test/api/v1"
        if method == "GET":
            return self._look_up(what, url, arguments["headers"]["linkrunner-key"])
        assert method == "POST"
        self.requests.append(self._clock.now)
        if self.mood.refuses:
            raise refused()
        self._clock.sleep(self.uplink())
        self.arrivals.append(self._clock.now)
        mood = self._mood_for(arguments["headers"]["linkrunner-key"])
        body = json.loads(arguments["body"])
        found = True
        if body and ((mood.status < 300 and not mood.hangs) or mood.takes_it):
            found = self._take(what, body)
        if mood.hangs:
            self._clock.sleep(CLIENT_TIMEOUT)
            raise timed_out(url)
        if (wait := self.downlink()) > CLIENT_TIMEOUT:
            self._clock.sleep(CLIENT_TIMEOUT)
            raise timed_out(url)
        self._clock.sleep(wait)
        if mood.status < 300 and not (body and found):
            return Answer(400)
        return Answer(mood.status, {"retry-after": mood.retry_after} if mood.retry_after else {})

    def _look_up(self, what: str, url: str, key: str) -> Answer:
        path, _, query = what.partition("?")
        assert path == "get-attribution-result"
        ((user_id,),) = parse_qs(query).values()
        self.lookups.append(user_id)
        if self.mood.refuses:
            raise refused()
        mood = self._mood_for(key)
        if mood.hangs:
            self._clock.sleep(CLIENT_TIMEOUT)
            raise timed_out(url)
        self._clock.sleep(self.downlink())
        if mood.status >= 300:
            return Answer(mood.status)
        return Answer(200 if self._is_user(user_id) else 204)

    def _is_user(self, user_id: str) -> bool:
        return self.users is None or user_id in self.users

    @property
    def mood(self) -> Mood:
        begun = [mood for since, mood in self.moods if since <= self._clock.now]
        return begun[-1] if begun else UP

    def _mood_for(self, key: str) -> Mood:
        if self._too_many():
            self.limited += 1
            return LIMITED
        return self.mood if key == self.key else Mood(status=401)

    def _too_many(self) -> bool:
        now = self._clock.now
        while self._lately and self._lately[0] <= now - 1:
            self._lately.popleft()
        self._lately.append(now)
        return self.per_second is not None and len(self._lately) > self.per_second

    def _take(self, what: str, body: Mapping[str, Any]) -> bool:
        """Whether there was anything to take."""
        if what != "remove-payment" and not self._is_user(body["user_id"]):
            self.forgotten += 1
            return True
        if what == "capture-event":
            self._capture(body)
            return True
        if what == "capture-payment":
            self.book.capture(body)
            return True
        # What names no payment would take away all that its user paid.
        assert (what, set(body)) == ("remove-payment", {"payment_id"})
        self.removed.append(body["payment_id"])
        return self.book.remove(body) > 0

    def _capture(self, body: Mapping[str, Any]) -> None:
        if self.honours_event_id and body["event_id"] in self._known:
            return
        self._known.add(body["event_id"])
        captured = Captured(self._clock.now, body)
        self.captures.append(captured)
        self.taken(captured)
