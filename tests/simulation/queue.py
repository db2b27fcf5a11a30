"""AWS and Linkrunner in memory, on a simulated clock: what the real delivery code is run on for days.

Only one task runs at a time, until it waits for something; so a run is the same every time, and every point
at which two workers can meet is a point that a test can choose. (Long for one module: the parts only make
sense together.)
"""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import Enum
from functools import partial
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any, Self, TypeVar

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.exceptions import ConnectTimeoutError as AwsUnreachable
from botocore.exceptions import ReadTimeoutError as AwsTimeout
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from linkrunner_webhooks import capture, deliver
from linkrunner_webhooks.capture import CONNECTIONS, Linkrunner, Pace
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.deliver import Deliverer, Message
from linkrunner_webhooks.deliver_function import _HEADROOM, _message
from linkrunner_webhooks.once import LEASE, Claims
from linkrunner_webhooks.queues import DeliveryQueue, WebhookQueue
from linkrunner_webhooks.redrive import DeadLetters
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.secrets import Secret, ServerKey
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.poller import failed_ids, sqs_event
from linkrunner_webhooks_local.project import TEMPLATE

NOW = 1_800_000_000.0
HOUR = 3600.0

Item = Mapping[str, Mapping[str, str]]
Value = TypeVar("Value")
Result = TypeVar("Result")

_RESOURCES = template.load(TEMPLATE)["Resources"]
_QUEUE = _RESOURCES["WebhookQueue"]["Properties"]
_FUNCTION = _RESOURCES["DeliverFunction"]["Properties"]
_SOURCE = _FUNCTION["Events"]["Queue"]["Properties"]

VISIBILITY = float(_QUEUE["VisibilityTimeout"])
RETENTION = float(_QUEUE["MessageRetentionPeriod"])
MOST_RECEIVES = int(_QUEUE["RedrivePolicy"]["maxReceiveCount"])
TIMEOUT = float(_FUNCTION["Timeout"])
BATCH = int(_SOURCE["BatchSize"])
COPIES = int(_SOURCE["ScalingConfig"]["MaximumConcurrency"])

WEBHOOKS, DEAD_LETTERS = "https://sqs.test/webhooks", "https://sqs.test/dead-letters"
_ARN, _REGION = "arn:aws:sqs:us-east-1:123456789012:webhooks", "us-east-1"
_MOST_AT_ONCE = 10
_LONGEST_VISIBILITY = 12 * HOUR
# A boto3 client of the delivering function gives up after three attempts of five seconds each.
_AWS_HANGS = 16.0
_LINKRUNNER_HANGS = 10.0
# Lambda polls all the time; a simulation of days looks once a minute when nothing is due.
_IDLE = 60.0


# ------------------------------------------------------------------------- the claims table


@dataclass
class FakeTable:
    """The part of DynamoDB that claims rest on: conditional writes to single items, one at a time."""

    items: dict[str, Item] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get_item(self, **arguments: Any) -> dict[str, Any]:
        assert arguments["ConsistentRead"] is True
        with self._lock:
            self.calls.append("get_item")
            found = self.items.get(arguments["Key"]["key"]["S"])
            return {"Item": dict(found)} if found else {}

    def put_item(self, **arguments: Any) -> dict[str, Any]:
        item = arguments["Item"]
        assert all(len(value) == 1 for value in item.values())
        with self._lock:
            self.calls.append("put_item")
            self._check(item["key"]["S"], arguments)
            self.items[item["key"]["S"]] = item
            return {}

    def delete_item(self, **arguments: Any) -> dict[str, Any]:
        key = arguments["Key"]["key"]["S"]
        with self._lock:
            self.calls.append("delete_item")
            self._check(key, arguments)
            self.items.pop(key, None)
            return {}

    def _check(self, key: str, arguments: Mapping[str, Any]) -> None:
        condition, item = arguments.get("ConditionExpression"), self.items.get(key, {})
        if condition and not any(
            _holds(clause, item, arguments) for clause in condition.split(" OR ")
        ):
            answer: dict[str, Any] = {"Error": {"Code": "ConditionalCheckFailedException"}}
            if arguments.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
                answer["Item"] = item
            raise ClientError(answer, "PutItem")


def _holds(clause: str, item: Item, arguments: Mapping[str, Any]) -> bool:
    names, values = (
        arguments["ExpressionAttributeNames"],
        arguments.get("ExpressionAttributeValues", {}),
    )
    if clause.startswith("attribute_not_exists("):
        return names[clause.removeprefix("attribute_not_exists(").removesuffix(")")] not in item
    name, operator, value = clause.split()
    have, want = item.get(names[name]), values[value]
    if have is None:
        return False
    return have == want if operator == "=" else int(have["N"]) <= int(want["N"])


# ------------------------------------------------------------------------- time


class Task:
    """Something that happens on the clock, in a thread of its own that only runs when it is its turn."""

    def __init__(self, clock: SimClock, work: Callable[[], object]) -> None:
        self.done = False
        self.joining: list[Task] = []
        self._clock = clock
        self._work = work
        thread = _IDLE_THREADS.pop() if _IDLE_THREADS else _Thread()
        thread.task = self
        self.baton = thread.baton

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - the test that runs the clock raises it
            self._clock.errors.append(error)
        self.done = True
        for each in self.joining:
            self._clock.wake(each)

    def leave(self) -> None:
        self._clock.hand_over()


class _Thread:
    """Runs one task after the other: there are too many of them to start a thread for each."""

    def __init__(self) -> None:
        self.baton = threading.Lock()
        self.baton.acquire()
        self.task: Task | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self.baton.acquire()
            assert self.task
            task, self.task = self.task, None
            task.run()
            _IDLE_THREADS.append(self)
            task.leave()


_IDLE_THREADS: list[_Thread] = []


class SimClock:
    """Unix time that passes when everybody waits. With a seed, what is due at once comes in random order."""

    def __init__(self, seed: int | None = None) -> None:
        self.now = NOW
        self.running: Task | None = None
        self.errors: list[BaseException] = []
        self._random = None if seed is None else Random(seed)
        self._due: list[tuple[float, float, int, Task]] = []
        self._order = itertools.count()
        self._until = inf
        self._main = threading.Lock()
        self._main.acquire()

    def __call__(self) -> float:
        return self.now

    monotonic = __call__

    def spawn(self, work: Callable[[], object], after: float = 0.0) -> Task:
        task = Task(self, work)
        self.wake(task, after)
        return task

    def sleep(self, seconds: float) -> None:
        """Let time pass for this task. Outside of tasks it just passes."""
        me, wake = self.running, self.now + max(seconds, 0.0)
        if me is None or (wake < self._next_at() and wake <= self._until):
            self.now = wake
            return
        self.wake(me, seconds)
        self._yield(me)

    def park(self) -> None:
        """Wait until somebody wakes this task."""
        assert self.running, "nobody could wake it"
        self._yield(self.running)

    def join(self, tasks: Iterable[Task]) -> None:
        """Wait until the tasks are done."""
        assert self.running, "run the clock instead"
        for task in tasks:
            while not task.done:
                task.joining.append(self.running)
                self.park()

    def wake(self, task: Task, after: float = 0.0) -> None:
        luck = self._random.random() if self._random else 0.0
        due = (self.now + max(after, 0.0), luck, next(self._order), task)
        heappush(self._due, due)

    def run(self, until: float = inf) -> None:
        """Let everything happen that is due until then. Raises what a task raised."""
        self._until = until
        if self._due and self._next_at() <= until:
            self.hand_over()
            self._main.acquire()
        if until < inf:
            self.now = max(self.now, until)
        if self.errors:
            raise self.errors[0]

    def hand_over(self) -> None:
        self.running = self._take()
        (self.running.baton if self.running else self._main).release()

    def _yield(self, me: Task) -> None:
        following = self._take()
        if following is not me:
            self.running = following
            (following.baton if following else self._main).release()
            me.baton.acquire()

    def _take(self) -> Task | None:
        if not self._due or self._next_at() > self._until:
            return None
        at, _, _, task = heappop(self._due)
        self.now = max(self.now, at)
        return task

    def _next_at(self) -> float:
        return self._due[0][0] if self._due else inf


class SimLock:
    """A lock that is waited for on the clock."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._held = False
        self._waiting: deque[Task] = deque()

    def __enter__(self) -> None:
        while self._held:
            assert self._clock.running
            self._waiting.append(self._clock.running)
            self._clock.park()
        self._held = True

    def __exit__(self, *_: object) -> None:
        self._held = False
        if self._waiting:
            self._clock.wake(self._waiting.popleft())


class SimPool:
    """ThreadPoolExecutor on the clock: as many tasks as it has workers, each taking what is next."""

    def __init__(self, clock: SimClock, workers: int) -> None:
        self._clock = clock
        self._workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is under way any more."""

    def map(self, function: Callable[[Value], Result], items: Iterable[Value]) -> Iterator[Result]:
        todo = deque(enumerate(items))
        if min(self._workers, len(todo)) == 1 or self._clock.running is None:
            return map(function, [item for _, item in todo])
        results: dict[int, Callable[[], Result]] = {}
        work = partial(_work_off, todo, function, results)
        self._clock.join([self._clock.spawn(work) for _ in range(min(self._workers, len(todo)))])
        return (results[number]() for number in sorted(results))


def _work_off(
    todo: deque[tuple[int, Value]],
    function: Callable[[Value], Result],
    results: dict[int, Callable[[], Result]],
) -> None:
    while todo:
        number, item = todo.popleft()
        try:
            result = function(item)
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            results[number] = partial(_throw, error)
            todo.clear()
        else:
            results[number] = partial(_same, result)


def _throw(error: BaseException) -> Any:
    raise error


def _same(value: Value) -> Value:
    return value


# ------------------------------------------------------------------------- SQS


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
        return {"MessageId": self._queue(arguments).send(arguments["MessageBody"], attributes)}

    def receive_message(self, **arguments: Any) -> dict[str, Any]:
        queue, wait = self._queue(arguments), arguments.get("WaitTimeSeconds", 0)
        if wait and queue.next_at() > self._clock.now:
            self._clock.sleep(wait)
        most = arguments.get("MaxNumberOfMessages", 1)
        assert 1 <= most <= _MOST_AT_ONCE
        messages = queue.receive(most, arguments.get("VisibilityTimeout", VISIBILITY))
        return {"Messages": messages} if messages else {}

    def change_message_visibility(self, **arguments: Any) -> dict[str, Any]:
        handle, seconds = arguments["ReceiptHandle"], arguments["VisibilityTimeout"]
        if not self._queue(arguments).hide(handle, seconds):
            raise ClientError({"Error": {"Code": "InvalidParameterValue"}}, "ChangeVisibility")
        return {}

    def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        queue, entries = self._queue(arguments), arguments["Entries"]
        assert len(entries) <= _MOST_AT_ONCE
        for each in entries:
            queue.hide(each["ReceiptHandle"], each["VisibilityTimeout"])
        return {}

    def delete_message(self, **arguments: Any) -> dict[str, Any]:
        self._queue(arguments).delete(arguments["ReceiptHandle"])
        return {}

    def delete_message_batch(self, **arguments: Any) -> dict[str, Any]:
        assert len(arguments["Entries"]) <= _MOST_AT_ONCE
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


# ------------------------------------------------------------------------- Linkrunner


@dataclass(frozen=True)
class Answer:
    """What urllib3 returns."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def drain_conn(self) -> None:
        """The body says nothing we read."""


_POOL = HTTPConnectionPool("linkrunner.test")
_CONNECTION = HTTPConnection("linkrunner.test")


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
        return (name if name == "purchase_refunded" or "amount" not in data else "paid", str(about))


class SimLinkrunner:
    """The far end of capture-event, as the urllib3 pool that leads there.

    `moods` holds from when on it is how. A request takes `uplink` seconds to arrive and its answer
    `downlink` more. More than `per_second` arrivals within a second are answered 429.
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
        self.uplink: Callable[[], float] = lambda: 0.0
        self.downlink: Callable[[], float] = lambda: 0.05
        self.taken: Callable[[Captured], None] = lambda _: None
        self._clock = clock
        self._lately: deque[float] = deque()

    def request(self, method: str, url: str, **arguments: Any) -> Answer:
        assert (method, url) == ("POST", "https://linkrunner.test/api/v1/capture-event")
        self.requests.append(self._clock.now)
        if self.mood.refuses:
            raise NewConnectionError(_CONNECTION, "refused")
        self._clock.sleep(self.uplink())
        self.arrivals.append(self._clock.now)
        mood = self._mood_for(arguments["headers"]["linkrunner-key"])
        if (mood.status < 300 and not mood.hangs) or mood.takes_it:
            self._take(json.loads(arguments["body"]))
        if mood.hangs:
            self._clock.sleep(_LINKRUNNER_HANGS)
            raise ReadTimeoutError(_POOL, url, "timed out")
        self._clock.sleep(self.downlink())
        return Answer(mood.status, {"retry-after": mood.retry_after} if mood.retry_after else {})

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

    def _take(self, body: Mapping[str, Any]) -> None:
        captured = Captured(self._clock.now, body)
        self.captures.append(captured)
        self.taken(captured)


# ------------------------------------------------------------------------- what can go wrong


class Killed(BaseException):
    """The worker's process has ended; nothing can catch that."""


class Trouble(Enum):
    """What can happen to one call."""

    REFUSED = "fails before it happened"
    UNREACHABLE = "is never heard"
    HANGS = "is never heard, and that takes its time"
    LOST = "happens, but its answer is lost"
    REPEATED = "happens twice, because its first answer is lost"
    DIES_BEFORE = "its worker dies before"
    DIES_AFTER = "its worker dies after"


def calm(_number: int, _call: str) -> Trouble | None:
    return None


class Gate:
    """Where one worker's calls leave it, one after the other. Behind a dead worker it is closed.

    `trouble` says what happens to the call of that number and name; `meet` runs before and after each call,
    and is where others can act meanwhile.
    """

    def __init__(
        self,
        clock: SimClock,
        trouble: Callable[[int, str], Trouble | None],
        meet: Callable[[int, str], None],
    ) -> None:
        self.calls: list[str] = []
        self.died_at: float | None = None
        self.deadline = inf
        self._clock = clock
        self._trouble = trouble
        self._meet = meet

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
        self.check()

    def check(self) -> None:
        """Raises Killed once the worker is dead, or its time is up."""
        if self.died_at is not None or self._clock.now > self.deadline:
            self.die()

    def die(self) -> None:
        if self.died_at is None:
            self.died_at = self._clock.now
        raise Killed

    def passes(self, call: str, perform: Callable[[], Result], errors: Errors) -> Result:
        self.check()
        number = len(self.calls)
        self.calls.append(call)
        trouble = self._trouble(number, call)
        self._meet(2 * number, call)
        self.check()
        errors.before(trouble, self)
        if trouble is Trouble.REPEATED:
            _performed(perform)
        result = _performed(perform)
        self._meet(2 * number + 1, call)
        self.check()
        errors.after(trouble, self)
        return result()


def _performed(perform: Callable[[], Result]) -> Callable[[], Result]:
    """The call's result or exception, for when it is known that the answer arrives."""
    try:
        return partial(_same, perform())
    except Exception as error:  # noqa: BLE001 - it is the answer
        return partial(_throw, error)


class Errors:
    """How AWS's clients fail."""

    def before(self, trouble: Trouble | None, gate: Gate) -> None:
        if trouble is Trouble.DIES_BEFORE:
            gate.die()
        if trouble is Trouble.HANGS:
            gate.sleep(_AWS_HANGS)
        if trouble is Trouble.REFUSED:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "Call")
        if trouble in (Trouble.UNREACHABLE, Trouble.HANGS):
            raise AwsUnreachable(endpoint_url="https://aws.test")

    def after(self, trouble: Trouble | None, gate: Gate) -> None:
        if trouble is Trouble.DIES_AFTER:
            gate.die()
        if trouble is Trouble.LOST:
            raise AwsTimeout(endpoint_url="https://aws.test")


class HttpErrors(Errors):
    """How a request to Linkrunner fails."""

    def before(self, trouble: Trouble | None, gate: Gate) -> None:
        if trouble is Trouble.DIES_BEFORE:
            gate.die()
        if trouble is Trouble.HANGS:
            gate.sleep(_LINKRUNNER_HANGS)
        if trouble in (Trouble.REFUSED, Trouble.UNREACHABLE, Trouble.HANGS):
            raise NewConnectionError(_CONNECTION, "refused")

    def after(self, trouble: Trouble | None, gate: Gate) -> None:
        if trouble is Trouble.DIES_AFTER:
            gate.die()
        if trouble is Trouble.LOST:
            raise ReadTimeoutError(_POOL, "", "timed out")


_CALLS = {
    "get_secret_value": "secret",
    "get_item": "user_of",
    "delete_item": "release",
    "send_message": "park",
    "receive_message": "receive",
    "change_message_visibility": "delay",
    "delete_message_batch": "delete",
}


class Gated:
    """A boto3 client whose calls pass a gate."""

    def __init__(self, gate: Gate, client: Any) -> None:
        self._gate = gate
        self._client = client

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(self._call, method)

    def _call(self, method: str, **arguments: Any) -> Any:
        perform = partial(getattr(self._client, method), **arguments)
        return self._gate.passes(_name(method, arguments), perform, Errors())


def _name(method: str, arguments: Mapping[str, Any]) -> str:
    if method == "put_item":
        return "note" if arguments["Item"]["state"]["S"] == "done" else "claim"
    return _CALLS[method]


class GatedPool:
    """The way to Linkrunner, through a gate."""

    def __init__(self, gate: Gate, linkrunner: SimLinkrunner) -> None:
        self.headers = linkrunner.headers
        self._gate = gate
        self._linkrunner = linkrunner

    def request(self, method: str, url: str, **arguments: Any) -> Answer:
        perform = partial(self._linkrunner.request, method, url, **arguments)
        return self._gate.passes("post", perform, HttpErrors())


# ------------------------------------------------------------------------- what was noted


@dataclass
class Ledger:
    """How often each fact was captured without a note of it: so often it may rightly be captured again.

    Kept by looking at what happened, not at what the code believes: which task holds which leases when its
    event is taken, and whether it then notes every one of these keys.
    """

    clock: SimClock
    table: FakeTable
    unnoted: Counter[tuple[str, str]] = field(default_factory=Counter)
    _leases: dict[Task | None, tuple[str, set[str]]] = field(default_factory=dict)
    _open: dict[Task | None, tuple[tuple[str, str], set[str]]] = field(default_factory=dict)

    def taken(self, captured: Captured) -> None:
        task, fact = self.clock.running, captured.fact
        self.unnoted[fact] += 1
        self._open[task] = (fact, self._leases.pop(task)[1])

    def put_item(self, **arguments: Any) -> dict[str, Any]:
        answer = self.table.put_item(**arguments)
        item, task = arguments["Item"], self.clock.running
        key, owner = item["key"]["S"], item["owner"]["S"]
        if item["state"]["S"] == "claimed":
            known, keys = self._leases.get(task, ("", set()))
            self._leases[task] = (owner, {key} | (keys if known == owner else set()))
        elif task in self._open:
            self._noted(task, key)
        return answer

    def __getattr__(self, method: str) -> Any:
        return getattr(self.table, method)

    def _noted(self, task: Task | None, key: str) -> None:
        fact, missing = self._open[task]
        missing.discard(key)
        if not missing:
            self.unnoted[fact] -= 1
            del self._open[task]


# ------------------------------------------------------------------------- the whole of it


@dataclass
class SimSecrets:
    """The server key in Secrets Manager: wrong until `right_at`."""

    clock: SimClock
    right_at: float = 0.0

    def get_secret_value(self, **_: Any) -> dict[str, str]:
        return {"SecretString": "right" if self.clock.now >= self.right_at else "wrong"}


class World:
    """Everything around the workers, and what became of it. `letters` is the operator's hand."""

    def __init__(self, tables: Mapping[str, Any], seed: int | None = None) -> None:
        self.clock = SimClock(seed)
        self.config = Config(tables)
        self.table = FakeTable()
        self.ledger = Ledger(self.clock, self.table)
        self.secrets = SimSecrets(self.clock)
        self.linkrunner = SimLinkrunner(self.clock)
        self.linkrunner.taken = self.ledger.taken
        self.dead = SimQueue(self.clock)
        self.queue = SimQueue(self.clock, self.dead)
        self.sqs = SimSqs(self.clock, {WEBHOOKS: self.queue, DEAD_LETTERS: self.dead})
        self.letters = DeadLetters(self.sqs, DEAD_LETTERS, WEBHOOKS)
        self.reports: list[Report] = []
        self.jitter = Random(seed or 0)

    @contextmanager
    def ruling(self) -> Iterator[None]:
        """Its time is the time of the code under test, and what runs at once runs on its clock."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(capture, "time", self.clock)
            patch.setattr(deliver, "random", self.jitter)
            patch.setattr(deliver, "ThreadPoolExecutor", partial(SimPool, self.clock))
            yield

    def store(self, *messages: Message, at: float | None = None) -> None:
        """Put webhooks into the queue as receive does, to arrive then."""
        self.queue.arrival = at
        for message in messages:
            WebhookQueue(self.sqs, WEBHOOKS).store(message.text, message.attributes)
        self.queue.arrival = None

    def run(self, *workers: Worker) -> None:
        """Let the workers run until the queue is empty."""
        for worker in workers:
            self.clock.spawn(worker.work)
        self.clock.run()

    @property
    def captured(self) -> Counter[tuple[str, str]]:
        """How often each fact was captured."""
        return Counter(each.fact for each in self.linkrunner.captures)

    def assert_nothing_left(self) -> None:
        """Every webhook found its end, and no fact is in anybody's hands for longer than a lease."""
        assert self.queue.messages == {}
        assert self.queue.expired == self.dead.expired == []
        claimed = [item for item in self.table.items.values() if item["state"]["S"] == "claimed"]
        assert [item for item in claimed if int(item["until"]["N"]) > self.clock.now + LEASE] == []

    def assert_once(self, facts: Iterable[tuple[str, str]]) -> None:
        """Exactly these were captured, and again only where nobody noted it the first time."""
        assert set(self.captured) == set(facts)
        again = {fact: times - 1 for fact, times in self.captured.items() if times > 1}
        assert again == {fact: min(n, self.ledger.unnoted[fact]) for fact, n in again.items()}


@contextmanager
def simulated(tables: Mapping[str, Any], seed: int | None = None) -> Iterator[World]:
    """A world whose time is the time of the code under test."""
    world = World(tables, seed)
    with world.ruling():
        yield world


class Worker:
    """A copy of the delivering function with Lambda's event source in front of it.

    The real Deliverer, Claims, DeliveryQueue, Linkrunner, Pace and ServerKey run over the fakes. `meet` gets
    the number and name of every call, before and after it.
    """

    def __init__(
        self,
        world: World,
        *,
        in_hand: int = 1,
        trouble: Callable[[int, str], Trouble | None] = calm,
        meet: Callable[[int, str], None] = lambda _number, _call: None,
    ) -> None:
        self.died_at: list[float] = []
        self._world = world
        self._in_hand = in_hand
        self._trouble = trouble
        self._meet = meet
        self.start()

    def start(self) -> None:
        """A new process, which knows nothing of the one before."""
        world = self._world
        clock = world.clock
        self.gate = Gate(clock, self._trouble, self._meet)
        self._sqs = Gated(self.gate, world.sqs)
        secret = Secret(Gated(self.gate, world.secrets), "arn", clock=clock)
        pace = Pace(30 / COPIES * _HEADROOM, clock=clock, sleep=self.gate.sleep)
        pace._lock = SimLock(clock)  # type: ignore[assignment]
        linkrunner = Linkrunner("https://linkrunner.test", ServerKey(secret), pace)
        linkrunner._pool = GatedPool(self.gate, world.linkrunner)  # type: ignore[assignment]
        self._deliverer = Deliverer(
            config=world.config,
            capture=linkrunner,
            once=Claims(Gated(self.gate, world.ledger), "claims", clock=clock),
            queue=DeliveryQueue(self._sqs, WEBHOOKS, DEAD_LETTERS, clock=clock),
            now=clock,
            observe=world.reports.append,
            workers=self._in_hand,
            sleep=self.gate.sleep,
        )

    def work(self) -> None:
        """Poll until the queue is empty. After a death another copy of the function takes over."""
        queue, clock = self._world.queue, self._world.clock
        while queue.messages:
            try:
                received = self.poll()
            except Killed:
                self.died_at.append(clock.now)
                self.start()
                continue
            if not received:
                clock.sleep(min(max(queue.next_at() - clock.now, 0.001), _IDLE))

    def poll(self) -> int:
        """Receive a batch, have it delivered, delete what is done; returns how many it received."""
        messages = self._receive()
        if messages:
            kept = self._invoke(messages)
            self._delete([each for each in messages if each["MessageId"] not in kept])
        return len(messages)

    def _receive(self) -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        while len(batch) < BATCH:
            try:
                answer = self._sqs.receive_message(QueueUrl=WEBHOOKS, MaxNumberOfMessages=10)
            except (BotoCoreError, ClientError):
                break
            batch += (messages := answer.get("Messages", []))
            if len(messages) < _MOST_AT_ONCE:
                break
        return batch

    def _invoke(self, messages: Sequence[dict[str, Any]]) -> set[str]:
        clock = self._world.clock
        self.gate.deadline = deadline = clock.now + TIMEOUT
        records = sqs_event(messages, _ARN, _REGION)["Records"]
        kept = self._deliverer.deliver(list(map(_message, records)), lambda: deadline - clock.now)
        self.gate.deadline = inf
        failures = [{"itemIdentifier": id} for id in kept]
        ids = {each["MessageId"] for each in messages}
        return failed_ids({"batchItemFailures": failures}, ids)

    def _delete(self, messages: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(messages), _MOST_AT_ONCE):
            handles = [each["ReceiptHandle"] for each in messages[start : start + _MOST_AT_ONCE]]
            entries = [{"Id": str(n), "ReceiptHandle": each} for n, each in enumerate(handles)]
            with suppress(BotoCoreError, ClientError):
                self._sqs.delete_message_batch(QueueUrl=WEBHOOKS, Entries=entries)


def eight_in_hand(world: World, count: int = COPIES, **options: Any) -> list[Worker]:
    """Workers as they are deployed."""
    return [Worker(world, in_hand=CONNECTIONS, **options) for _ in range(count)]
