"""The operator's side of the dead-letter queue: read it, move, discard.

A move sends first and deletes then, so a message is in at least one queue at every moment. The claims count a
message once that ends up in both. (AWS's own message-move tasks cannot filter, and have a fixed pace.)
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import IO, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.past import Past
from linkrunner_webhooks.queues import typed, untyped

# Seconds that messages are hidden while they are read. After that SQS shows them again.
HOLD = 30 * 60
# Seconds that a receive waits: without any, SQS asks only some of its servers and misses messages.
PATIENCE = 1
# Parallel receives: an answer takes longer than its evaluation.
_READERS = 4
_CLOSE = timedelta(seconds=2)
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_STORY = ("reason", "error", "attempts", "code_version", "parked_at", "bodies")


class Depth(NamedTuple):
    """About how many messages a queue holds: to be had now, received and hidden, or sent with a delay.

    SQS counts a message that backs off as hidden.
    """

    visible: int
    hidden: int
    delayed: int

    @property
    def total(self) -> int:
        return sum(self)


def depth(client: Any, url: str) -> Depth:
    """How deep a queue is, by its own counts; SQS needs up to a minute to get them right."""
    return _depth(client.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS)))


def _depth(answer: dict[str, Any]) -> Depth:
    return Depth(*(int(answer["Attributes"].get(name, 0)) for name in _COUNTS))


class DeadLetters:
    """A dead-letter queue and the queue its messages go back to."""

    def __init__(self, client: Any, url: str, back_to: str) -> None:
        self._client = client
        self._url = url
        self._back_to = back_to

    def _look(self) -> tuple[Depth, datetime]:
        """The counts, and the queue's clock: messages are dated by it, and a laptop's may be wrong."""
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(_COUNTS))
        here = datetime.now(UTC)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        there = parsedate_to_datetime(headers["date"]) if "date" in headers else here
        # The header is only good to a second.
        return _depth(answer), here if abs(here - there) < _CLOSE else there

    @contextmanager
    def reading(self, until: datetime | None = None) -> Iterator[Reading]:
        """Read the queue as it is now. Letters that are not moved or discarded are visible again afterwards.

        However the block ends: an error, a closed pipe and Ctrl-C release what was received, too.
        Messages that arrive meanwhile, or after `until`, are left alone. Otherwise a redrive of messages that
        park again would never end.
        """
        before, now = self._look()
        with ExitStack() as closing:
            spool = closing.enter_context(_spool())
            pool = closing.enter_context(ThreadPoolExecutor(_READERS))
            reading = Reading(self, spool, pool, before, until or now)
            closing.callback(_surely, reading.release)
            yield reading

    def receive(self) -> list[Letter]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HOLD,
            WaitTimeSeconds=PATIENCE,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return [_letter(message) for message in answer.get("Messages", ())]

    def restore(self, handles: Iterable[str]) -> None:
        """Make messages visible again. Raises the last error of AWS, after trying every one of them."""
        failed: Exception | None = None
        for batch in _tens(handles):
            entries = [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for index, handle in enumerate(batch)
            ]
            try:
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            except (BotoCoreError, ClientError) as error:
                failed = error
        if failed is not None:
            raise failed

    def redrive(self, letter: Letter, *, forced: bool = False) -> None:
        """Put a letter back into the queue it came from, without the attributes of its parking.

        `forced` tells deliver that a person wants it although it would park again.
        """
        attributes = {key: value for key, value in letter.attributes.items() if key not in _STORY}
        if forced:
            attributes = Past.of(attributes).model_copy(update={"forced": True}).among(attributes)
        self._client.send_message(
            QueueUrl=self._back_to, MessageBody=letter.text, MessageAttributes=typed(attributes)
        )
        self.discard(letter)

    def discard(self, letter: Letter) -> None:
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=letter.handle)


class Reading:
    """One pass over the queue, in constant memory: the receipts of letters that stay are in a file.

    `before` is how deep the queue was, `began` the moment from which on messages are left alone. `received`
    counts what the queue has handed out so far, `later` those among them that arrived after that moment.
    """

    def __init__(
        self,
        letters: DeadLetters,
        spool: IO[str],
        pool: ThreadPoolExecutor,
        before: Depth,
        began: datetime,
    ) -> None:
        self._letters = letters
        self._spool = spool
        self._pool = pool
        self._ahead: deque[Future[list[Letter]]] = deque()
        self.before = before
        self.began = began
        self.received = 0
        self.later = 0

    def __iter__(self) -> Iterator[Letter]:
        for _ in range(_READERS):
            self._read_on()
        while self._ahead:
            batch = self._noted(self._ahead[0])
            self._ahead.popleft()
            # An empty answer retires a reader; the queue is read when the last one is gone.
            if batch:
                self._read_on()
            for letter in batch:
                if letter.sent_at <= self.began:
                    yield letter
                else:
                    self.later += 1

    def _read_on(self) -> None:
        self._ahead.append(self._pool.submit(self._letters.receive))

    def _noted(self, batch: Future[list[Letter]]) -> list[Letter]:
        letters = batch.result()
        self._spool.writelines(letter.handle + "\n" for letter in letters)
        self.received += len(letters)
        return letters

    def release(self) -> None:
        """Make visible what was received, also by readers that nobody waited for any more.

        Receipts of moved messages are in the file as well; restoring those does nothing.
        """
        for unread in self._ahead:
            # The error of a reader was raised where it was waited for, or nobody waits any more.
            with suppress(Exception):
                self._noted(unread)
        self._spool.seek(0)
        self._letters.restore(line.rstrip("\n") for line in self._spool)


def _surely(release: Callable[[], None]) -> None:
    """Release, also when an impatient Ctrl-C comes in the middle of it. Releasing twice does no harm."""
    try:
        release()
    except (KeyboardInterrupt, SystemExit):
        release()
        raise


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
