"""What came and what became of it, for the pages of `make run`: in memory, and no more than fits there."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import dropwhile, islice
from secrets import token_hex
from typing import Any, Final, NamedTuple

from linkrunner_webhooks.capture import ApiRequest, Capture
from linkrunner_webhooks.errors import Reason, WebhookError
from linkrunner_webhooks.model import Outcome, Webhook
from linkrunner_webhooks.receive import read
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_local.sent import is_sent_for

MOST: Final = 10_000
# Bytes of bodies. A list of ten thousand fits; a list of ten thousand of the longest does not.
_MOST_BYTES: Final = 128 * 1024 * 1024
# A webhook that is tried for days is told by its newest reports. The webhooks of a request share the room,
# and each has at least its newest: an end that is forgotten would look like none.
_MOST_REPORTS: Final = 50
_MOST_TOGETHER: Final = 500
_MOST_EARLY: Final = 1_000
# Seconds by which a delivery elsewhere can be done before receive has logged that there is one.
_ASKEW: Final = 2.0
_PENDING: Final = frozenset({Outcome.QUEUED, Outcome.RETRYING, Outcome.HELD})
# From the best end of a request's webhooks to the worst, which is shown.
_ORDER: Final = (
    Outcome.IGNORED,
    Outcome.DUPLICATE,
    Outcome.CAPTURED,
    Outcome.QUEUED,
    Outcome.HELD,
    Outcome.RETRYING,
    Outcome.PARKED,
    Outcome.REJECTED,
)

Key = tuple[str, str, str]


class Noted(NamedTuple):
    """A report, and when it came: unix seconds."""

    at: float
    report: Report

    @property
    def key(self) -> Key:
        return self.report.source, self.report.event_type, self.report.event_id


class Operated(NamedTuple):
    """What an operator did with a parked webhook, and when: it was `redriven` or `discarded`."""

    at: float
    key: Key
    what: str


class Attempt(NamedTuple):
    """A request to Linkrunner: when it began, the seconds that it took, and why it failed, if it did."""

    at: float
    took: float
    request: ApiRequest
    error: str = ""

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def body(self) -> dict[str, Any]:
        return self.request.body()


@dataclass(slots=True)
class Arrival:
    """One request that came to the gateway. `number` counts them, `took` is seconds until the answer."""

    number: int
    at: float
    event: Mapping[str, Any]
    status: int = 0
    took: float = 0.0
    received: list[Noted] = field(default_factory=list)
    delivered: list[Noted] = field(default_factory=list)
    operated: list[Operated] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The source that its path names, which may be a stranger's text."""
        return str(self.event["pathParameters"]["source"])

    @property
    def is_whole(self) -> bool:
        """Whether the request itself is here; of functions elsewhere only what they said of it is."""
        return "headers" in self.event

    @property
    def webhook(self) -> Webhook | None:
        """None where the request cannot be read, or is not here."""
        with suppress(WebhookError):
            return read(self.event) if self.is_whole else None
        return None

    @property
    def noted(self) -> list[Noted]:
        """Every report about it, in order."""
        return [*self.received, *self.delivered]

    @property
    def newest(self) -> dict[Key, Report]:
        """The newest report of each webhook in it."""
        return {each.key: each.report for each in self.noted}

    @property
    def latest(self) -> list[Report]:
        """Those reports alone."""
        return list(self.newest.values())

    @property
    def discarded(self) -> frozenset[Key]:
        """Its webhooks that somebody deleted, and that did not come again."""
        last = {each.key: each for each in self.operated}
        ends = {each.key: each.at for each in self.noted}
        return frozenset(
            key
            for key, each in last.items()
            if each.what == "discarded" and each.at >= ends.get(key, 0.0)
        )

    @property
    def worst(self) -> Report | None:
        """The report that somebody should see; None while there is none."""
        return max(self.latest, key=lambda each: _ORDER.index(each.outcome), default=None)

    @property
    def ended(self) -> float | None:
        """When the last of its webhooks was done; None while one is not."""
        if not self.latest or any(each.outcome in _PENDING for each in self.latest):
            return None
        return max(each.at for each in self.noted)

    def add(self, noted: Noted) -> None:
        """Remember what became of a webhook, in the order of time. What is too much of it goes."""
        insort(self.delivered, noted, key=lambda each: each.at)
        room = _MOST_TOGETHER // len({each.key for each in self.noted})
        mine = [each for each in self.delivered if each.key == noted.key]
        for each in mine[: -max(1, min(_MOST_REPORTS, room))]:
            self.delivered.remove(each)

    def is_waiting_for(self, key: Key) -> bool:
        """Whether this webhook of it is in the queue, as far as reports say."""
        seen = [each.report for each in self.noted if each.key == key]
        return bool(seen) and seen[-1].outcome in _PENDING

    def after_its_end(self, key: Key, begin: float) -> list[Noted]:
        """What was told of this webhook after it had ended, from then on (unix seconds)."""
        told = (each for each in self.delivered if each.key == key)
        # The first is its end.
        later = list(dropwhile(lambda each: each.report.outcome in _PENDING, told))[1:]
        return [each for each in later if each.at >= begin]


class Recorder:
    """Remembers the newest webhooks. Every method may be called by any thread."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.time) -> None:
        # Numbers begin anew with each run.
        self.run = token_hex(4)
        self._most = most
        self._clock = clock
        self._lock = threading.RLock()
        self._arrivals: OrderedDict[int, Arrival] = OrderedDict()
        self._by_key: dict[Key, dict[int, None]] = {}
        # Ends of which no request is known yet.
        self._early: deque[Noted] = deque(maxlen=_MOST_EARLY)
        self._attempts: deque[Attempt] = deque(maxlen=most)
        self._changes: deque[int] = deque(maxlen=most)
        self._changed = 0
        self._bytes = 0
        self._numbers = 0
        self._here = threading.local()

    def receiving(
        self, receive: Callable[[dict[str, Any]], Mapping[str, Any]]
    ) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        """The same function, whose requests and answers are remembered."""

        def remembered(event: dict[str, Any]) -> Mapping[str, Any]:
            arrival = self._begin(event)
            self._here.arrival = arrival
            try:
                answer = receive(event)
                arrival.status = int(answer["statusCode"])
            except Exception:
                arrival.status = 500
                raise
            finally:
                del self._here.arrival
                arrival.took = self._clock() - arrival.at
                self._tell(arrival)
            return answer

        return remembered

    def observe(self, report: Report) -> None:
        """A handler is done with a webhook."""
        noted = Noted(self._clock(), report)
        is_received = report.stage == "receive"
        with self._lock:
            arrival = (
                getattr(self._here, "arrival", None) if is_received else self._arrival_of(noted)
            )
            if arrival is not None:
                self._note(arrival, noted)
                self._gather(arrival, noted.key, arrival.at)
            elif not is_received:
                # A delivery can be quicker than the end of its request.
                self._early.append(noted)

    def heard(self, at: float, report: Report) -> None:
        """A handler elsewhere was done with a webhook then (unix seconds), as its log says.

        Its request is not known. What came before somebody listened comes with its first report. Logs come in
        any order: a delivery can be heard of before its request.
        """
        noted = Noted(at, report)
        with self._lock:
            is_received = report.stage == "receive"
            arrival = self._without_request(noted) if is_received else self._arrival_of(noted)
            if arrival is None:
                arrival = self._begin({"pathParameters": {"source": report.source}}, at)
            arrival.at = min(arrival.at, at)
            self._note(arrival, noted)
            self._gather(arrival, noted.key, arrival.at - _ASKEW)

    def _note(self, arrival: Arrival, noted: Noted) -> None:
        with self._lock:
            if noted.report.stage == "receive":
                arrival.received.append(noted)
            else:
                arrival.add(noted)
            if arrival.number in self._arrivals:
                self._by_key.setdefault(noted.key, {})[arrival.number] = None
        self._tell(arrival)

    def watched(self, capture: Capture) -> Capture:
        """The same, and what it asked of Linkrunner is remembered."""

        def watched(request: ApiRequest) -> None:
            at, error = self._clock(), ""
            try:
                capture(request)
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
                raise
            finally:
                took = self._clock() - at
                self._attempts.append(Attempt(at, took, request, error))

        return watched

    def operated(self, key: Key, what: str) -> None:
        """An operator redrove or discarded what was parked of a webhook."""
        for arrival in self.again(key):
            if any(
                each.key == key and each.report.outcome is Outcome.PARKED for each in arrival.noted
            ):
                with self._lock:
                    arrival.operated.append(Operated(self._clock(), key, what))
                    del arrival.operated[:-_MOST_REPORTS]
                self._tell(arrival)

    @property
    def changed(self) -> int:
        """A number that grows with each change."""
        return self._changed

    def newest(self) -> Iterator[Arrival]:
        """Everything that is remembered, the newest first."""
        with self._lock:
            arrivals = list(self._arrivals.values())
        return reversed(arrivals)

    def at(self, number: int) -> Arrival | None:
        """One of them."""
        return self._arrivals.get(number)

    def since(self, changed: int, most: int) -> tuple[list[Arrival], int]:
        """The next of what has changed since then, the oldest change first, and how far that reaches.

        What has changed longer ago than there is room for is not told.
        """
        with self._lock:
            first = self._changed - len(self._changes)
            begin = max(changed, first)
            numbers = list(islice(self._changes, begin - first, begin - first + most))
            found = [self._arrivals.get(each) for each in dict.fromkeys(numbers)]
        return [each for each in found if each], min(begin, self._changed) + len(numbers)

    def again(self, key: Key) -> list[Arrival]:
        """Every request that brought this webhook, the oldest first."""
        with self._lock:
            found = [self._arrivals.get(each) for each in self._by_key.get(key, ())]
        return [each for each in found if each]

    def attempts(
        self, key: Key, targets: Mapping[str, str | None], ids: frozenset[tuple[str, str]]
    ) -> list[Attempt]:
        """The requests that were made for a webhook, the oldest first; `targets` are its fields' own names.

        Where no field says whose one is, it is known by one of these ids, as `id_of` names them.
        """
        found = []
        for each in list(self._attempts):
            is_its = is_sent_for(each.request, key, targets)
            if is_its or (is_its is None and id_of(each.path, each.body) in ids):
                found.append(each)
        return found

    def strayed(self, event: Mapping[str, Any], why: str) -> None:
        """A request came that is for none of the sources; `event` names its path as its source."""
        arrival = self._begin(event)
        arrival.status = 404
        report = Report(
            stage="receive", outcome=Outcome.REJECTED, reason=Reason.UNKNOWN_SOURCE, detail=why
        )
        self._note(arrival, Noted(self._clock(), report))

    def _begin(self, event: Mapping[str, Any], at: float | None = None) -> Arrival:
        with self._lock:
            self._numbers += 1
            arrival = Arrival(self._numbers, at or self._clock(), event)
            self._arrivals[arrival.number] = arrival
            self._bytes += _size(arrival)
            while len(self._arrivals) > self._most or self._bytes > _MOST_BYTES:
                self._forget()
        return arrival

    def _forget(self) -> None:
        number, oldest = self._arrivals.popitem(last=False)
        self._bytes -= _size(oldest)
        for each in oldest.noted:
            numbers = self._by_key.get(each.key, {})
            numbers.pop(number, None)
            if not numbers:
                self._by_key.pop(each.key, None)

    def _arrival_of(self, noted: Noted) -> Arrival | None:
        """The request that a delivered webhook came with: the first that waits, else the last."""
        found = self.again(noted.key)
        waiting = (each for each in found if each.is_waiting_for(noted.key))
        return next(waiting, found[-1] if found else None)

    def _without_request(self, noted: Noted) -> Arrival | None:
        """The deliveries that were heard of before this request; None where there are none."""
        if noted.report.outcome not in _PENDING:
            return None
        return next(
            (
                each
                for each in self.again(noted.key)
                if not each.received and each.delivered[-1].at >= noted.at - _ASKEW
            ),
            None,
        )

    def _gather(self, arrival: Arrival, key: Key, begin: float) -> None:
        """What was told of a webhook before its request was, from then on (unix seconds)."""
        if not arrival.is_waiting_for(key):
            return
        for each in [each for each in self._early if each.key == key and each.at >= begin]:
            self._early.remove(each)
            self._note(arrival, each)
        for other in self.again(key):
            for each in other.after_its_end(key, begin) if other is not arrival else ():
                # It looked like another end of the same webhook.
                other.delivered.remove(each)
                self._note(arrival, each)
                self._tell(other)

    def _tell(self, arrival: Arrival) -> None:
        with self._lock:
            self._changed += 1
            self._changes.append(arrival.number)


def id_of(path: str, body: Mapping[str, Any]) -> tuple[str, str]:
    """By what a request to Linkrunner is recognised: a payment's id, or an event's."""
    return path, str(body.get("payment_id") or body.get("event_id") or body.get("event_name", ""))


def _size(arrival: Arrival) -> int:
    """About how many bytes it takes: of text that is not ASCII each letter takes up to four."""
    event = arrival.event
    names = ("body", "rawPath", "rawQueryString", "queryStringParameters", "cookies", "headers")
    texts = (str(event.get(name) or "") for name in names)
    return sum(len(each) * (1 if each.isascii() else 4) for each in texts)
