"""SQS: a queue with its dead-letter queue, and the client that leads there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from heapq import heappop, heappush
from math import inf
from typing import Any

from botocore.exceptions import ClientError
from tests.simulation.clock import HOUR, SimClock
from tests.simulation.deployment import MOST_RECEIVES, RETENTION, VISIBILITY

MOST_AT_ONCE = 10
_LONGEST_VISIBILITY = 12 * HOUR


@dataclass
class Stored:
    """A message in a queue. Only the newest receipt handle is good for anything."""

    id: str
    text: str
    attributes: Mapping[str, Any]
    sent_at: float
    visible_at: float
    receives: int = 0
    received_at: float = 0.0
    handle: str = ""

    def answer(self) -> dict[str, Any]:
        return {
            "MessageId": self.id,
            "ReceiptHandle": self.handle,
            "Body": self.text,
            "MD5OfBody": "",
            "MessageAttributes": self.attributes,
            "Attributes": {
                "ApproximateReceiveCount": str(self.receives),
                "SentTimestamp": str(int(self.sent_at * 1000)),
            },
        }


class SimQueue:
    """A standard queue: at least once, hidden while in flight, and moved away after too many receives.

    `echo` is asked at every receive: in how many seconds SQS delivers the message again although it is in
    flight, or None. `arrival` is when what is sent next arrives, if not now.
    """

    def __init__(self, clock: SimClock, dead_letters: SimQueue | None = None) -> None:
        self.messages: dict[str, Stored] = {}
        self.expired: list[Stored] = []
        self.most_receives = 0
        self.receives = 0
        self.echo: Callable[[], float | None] = lambda: None
        self.arrival: float | None = None
        self._clock = clock
        self._dead_letters = dead_letters
        self._due: list[tuple[float, int, str]] = []
        self._numbers = itertools.count(1)

    def send(self, text: str, attributes: Mapping[str, Any]) -> str:
        at = self._clock.now if self.arrival is None else self.arrival
        stored = Stored(f"m{next(self._numbers)}", text, attributes, at, at)
        self.add(stored)
        return stored.id

    def add(self, stored: Stored) -> None:
        self.messages[stored.id] = stored
        self.show(stored, stored.visible_at)

    def show(self, stored: Stored, at: float) -> None:
        """The message is visible from then on."""
        stored.visible_at = at
        heappush(self._due, (at, next(self._numbers), stored.id))

    def receive(self, most: int, visibility: float = VISIBILITY) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < most and self.next_at() <= self._clock.now:
            stored = self.messages[heappop(self._due)[2]]
            if stored.sent_at + RETENTION <= self._clock.now:
                self.expired.append(self.messages.pop(stored.id))
            elif self._dead_letters is not None and stored.receives >= MOST_RECEIVES:
                del self.messages[stored.id]
                self._dead_letters.add(replace(stored, visible_at=self._clock.now))
            else:
                found.append(self._hand_out(stored, visibility))
        return found

    def _hand_out(self, stored: Stored, visibility: float) -> dict[str, Any]:
        stored.receives += 1
        stored.received_at = self._clock.now
        stored.handle = f"{stored.id}#{stored.receives}"
        self.receives += 1
        self.most_receives = max(self.most_receives, stored.receives)
        echo = self.echo()
        self.show(stored, self._clock.now + (visibility if echo is None else echo))
        return stored.answer()

    def delete(self, handle: str) -> None:
        stored = self._held(handle)
        if stored:
            del self.messages[stored.id]

    def hide(self, handle: str, seconds: float) -> bool:
        """Whether the handle was still good for it."""
        stored = self._held(handle)
        if not stored or stored.visible_at <= self._clock.now:
            return False
        until = self._clock.now + seconds
        assert until - stored.received_at <= _LONGEST_VISIBILITY, "SQS would refuse it"
        self.show(stored, until)
        return True

    def _held(self, handle: str) -> Stored | None:
        stored = self.messages.get(handle.split("#", maxsplit=1)[0])
        return stored if stored and stored.handle == handle else None

    def next_at(self) -> float:
        """When the next message is visible."""
        while self._due:
            at, _, id = self._due[0]
            if id in self.messages and self.messages[id].visible_at == at:
                return at
            heappop(self._due)
        return inf

    @property
    def reasons(self) -> list[str]:
        """Why messages lie here, if it is the dead-letter queue."""
        stories = (each.attributes.get("reason", {}) for each in self.messages.values())
        return [story.get("StringValue", "crashed") for story in stories]


class SimSqs:
    """A boto3 client of these queues."""

    def __init__(self, clock: SimClock, queues: Mapping[str, SimQueue]) -> None:
        self._clock = clock
        self._queues = queues

    def send_message(self, **arguments: Any) -> dict[str, Any]:
        attributes = arguments.get("MessageAttributes", {})
        queue, delay = self._queue(arguments), arguments.get("DelaySeconds", 0)
        id = queue.send(arguments["MessageBody"], attributes)
        if delay:
            queue.show(queue.messages[id], self._clock.now + delay)
        return {"MessageId": id}

    def receive_message(self, **arguments: Any) -> dict[str, Any]:
        queue, wait = self._queue(arguments), arguments.get("WaitTimeSeconds", 0)
        if wait and queue.next_at() > self._clock.now:
            self._clock.sleep(wait)
        most = arguments.get("MaxNumberOfMessages", 1)
        assert 1 <= most <= MOST_AT_ONCE
        messages = queue.receive(most, arguments.get("VisibilityTimeout", VISIBILITY))
        return {"Messages": messages} if messages else {}

    def change_message_visibility(self, **arguments: Any) -> dict[str, Any]:
        handle, seconds = arguments["ReceiptHandle"], arguments["VisibilityTimeout"]
        if not self._queue(arguments).hide(handle, seconds):
            raise ClientError({"Error": {"Code": "InvalidParameterValue"}}, "ChangeVisibility")
        return {}

    def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        queue, entries = self._queue(arguments), arguments["Entries"]
        assert len(entries) <= MOST_AT_ONCE
        for each in entries:
            queue.hide(each["ReceiptHandle"], each["VisibilityTimeout"])
        return {}

    def delete_message(self, **arguments: Any) -> dict[str, Any]:
        self._queue(arguments).delete(arguments["ReceiptHandle"])
        return {}

    def delete_message_batch(self, **arguments: Any) -> dict[str, Any]:
        assert len(arguments["Entries"]) <= MOST_AT_ONCE
        for each in arguments["Entries"]:
            self._queue(arguments).delete(each["ReceiptHandle"])
        return {}

    def get_queue_attributes(self, **arguments: Any) -> dict[str, Any]:
        stored = self._queue(arguments).messages.values()
        visible = sum(each.visible_at <= self._clock.now for each in stored)
        date = formatdate(self._clock.now, usegmt=True)
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(visible),
                "ApproximateNumberOfMessagesNotVisible": str(len(stored) - visible),
            },
            "ResponseMetadata": {"HTTPHeaders": {"date": date}},
        }

    def _queue(self, arguments: Mapping[str, Any]) -> SimQueue:
        return self._queues[arguments["QueueUrl"]]
