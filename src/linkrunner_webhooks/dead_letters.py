"""The operator's side of the dead-letter queue: read it, foresee what would happen, move, discard.

A move sends first and deletes then, so a message is in at least one queue at every moment. The claims count a
message once that ends up in both. (AWS's own message-move tasks cannot filter, and have a fixed pace.)
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import IO, Any

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import open_message
from linkrunner_webhooks.errors import Parked, Reason
from linkrunner_webhooks.queues import typed, untyped
from linkrunner_webhooks.translation import Decision, UserOf, decide, parked

# Seconds that messages are hidden while they are read. After that SQS shows them again.
_HOLD = 30 * 60
# Parallel receives: an answer takes longer than its evaluation.
_READERS = 4
_CLOSE = timedelta(seconds=2)
_COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
_STORY = ("reason", "error", "attempts", "code_version", "parked_at")


@dataclass(frozen=True, slots=True)
class Letter:
    """One parked message. A message that SQS moved here itself, after crashes, has no reason attribute."""

    id: str
    handle: str
    text: str
    attributes: dict[str, str]
    sent_at: datetime

    @property
    def reason(self) -> str:
        return self.attributes.get("reason", Reason.CRASHED.value)

    @property
    def source(self) -> str:
        return self.attributes.get("source", "unknown")

    @property
    def event_type(self) -> str:
        return self.attributes.get("event_type", "unknown")

    @property
    def event_id(self) -> str:
        return self.attributes.get("event_id", "")

    @property
    def parked_at(self) -> datetime:
        seconds = self.attributes.get("parked_at", "")
        return datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() else self.sent_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters are meant; None is no restriction. `since` and `until` bound when they were parked."""

    reason: str | None = None
    source: str | None = None
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, letter: Letter) -> bool:
        wanted = (
            (self.reason, letter.reason),
            (self.source, letter.source),
            (self.event_type, letter.event_type),
        )
        return (
            all(want in (None, has) for want, has in wanted)
            and (self.since is None or letter.parked_at >= self.since)
            and (self.until is None or letter.parked_at <= self.until)
        )


class DeadLetters:
    """A dead-letter queue and the queue its messages go back to."""

    def __init__(self, client: Any, url: str, back_to: str) -> None:
        self._client = client
        self._url = url
        self._back_to = back_to

    def count(self) -> int:
        """About how many there are, seen and being looked at."""
        attributes = self._attributes()["Attributes"]
        return sum(int(attributes.get(name, 0)) for name in _COUNTS)

    def _attributes(self) -> dict[str, Any]:
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(_COUNTS))
        return dict(answer)

    def _now(self) -> datetime:
        """The queue's clock: a message's age is judged by it, and an operator's laptop may be wrong."""
        here = datetime.now(UTC)
        headers = self._attributes()["ResponseMetadata"]["HTTPHeaders"]
        there = parsedate_to_datetime(headers["date"]) if "date" in headers else here
        # The header is only good to a second.
        return here if abs(here - there) < _CLOSE else there

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Read the queue as it is now. Letters that are not moved or discarded are visible again afterwards.

        Messages that arrive meanwhile are left alone. Otherwise a redrive of messages that park again would
        never end.
        """
        with ExitStack() as closing:
            reading = Reading(self, closing.enter_context(_spool()), self._now())
            closing.callback(reading.release)
            yield reading

    def receive(self) -> list[Letter]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=_HOLD,
            WaitTimeSeconds=1,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return [_letter(message) for message in answer.get("Messages", ())]

    def restore(self, handles: Iterable[str]) -> None:
        for batch in _tens(handles):
            entries = [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for index, handle in enumerate(batch)
            ]
            self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def redrive(self, letter: Letter) -> None:
        """Put a letter back into the queue it came from, without the attributes of its parking."""
        attributes = {key: value for key, value in letter.attributes.items() if key not in _STORY}
        self._client.send_message(
            QueueUrl=self._back_to, MessageBody=letter.text, MessageAttributes=typed(attributes)
        )
        self.discard(letter)

    def discard(self, letter: Letter) -> None:
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=letter.handle)


class Reading:
    """One pass over the queue, in constant memory: the receipts of letters that stay are in a file."""

    def __init__(self, letters: DeadLetters, spool: IO[str], began: datetime) -> None:
        self._letters = letters
        self._spool = spool
        self._began = began

    def __iter__(self) -> Iterator[Letter]:
        with ThreadPoolExecutor(_READERS) as pool:
            ahead = deque(pool.submit(self._letters.receive) for _ in range(_READERS))
            try:
                while ahead:
                    batch = self._noted(ahead.popleft())
                    # An empty answer retires a reader; the queue is read when the last one is gone.
                    if batch:
                        ahead.append(pool.submit(self._letters.receive))
                    yield from (letter for letter in batch if letter.sent_at <= self._began)
            finally:
                for unread in ahead:
                    self._noted(unread)

    def _noted(self, batch: Future[list[Letter]]) -> list[Letter]:
        letters = batch.result()
        self._spool.writelines(letter.handle + "\n" for letter in letters)
        return letters

    def release(self) -> None:
        """Receipts of moved messages are in the file as well; restoring those does nothing."""
        self._spool.seek(0)
        self._letters.restore(line.rstrip("\n") for line in self._spool)


def foresee(letter: Letter, config: Config, user_of: UserOf) -> Decision:
    """The decision of today's code and today's webhooks.toml on a letter. Sends nothing."""
    try:
        return decide(open_message(letter.text, config), user_of)
    except Parked as error:
        return parked(error)


def _letter(message: dict[str, Any]) -> Letter:
    return Letter(
        id=message["MessageId"],
        handle=message["ReceiptHandle"],
        text=message["Body"],
        attributes=untyped(message.get("MessageAttributes") or {}),
        sent_at=datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC),
    )


def _spool() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="ascii")


def _tens(handles: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(handles)
    while batch := list(islice(rest, 10)):
        yield batch
