"""Where the calls of a worker leave it, and what can go wrong with each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from functools import partial
from math import inf
from typing import Any, TypeVar

from botocore.exceptions import ClientError
from botocore.exceptions import ConnectTimeoutError as AwsUnreachable
from botocore.exceptions import ReadTimeoutError as AwsTimeout
from tests.simulation.clock import SimClock
from tests.simulation.linkrunner import CLIENT_TIMEOUT, refused, timed_out

from linkrunner_webhooks.time_left import SLOWEST_CALL

Result = TypeVar("Result")


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
    """No trouble at all."""
    return None


@dataclass(frozen=True)
class Errors:
    """How a client fails, and for how many seconds it hangs until it gives up."""

    hangs: float
    refused: Callable[[], Exception]
    unreachable: Callable[[], Exception]
    lost: Callable[[], Exception]


AWS = Errors(
    # The table's client gives up after so long.
    hangs=SLOWEST_CALL,
    refused=lambda: ClientError({"Error": {"Code": "ThrottlingException"}}, "Call"),
    unreachable=lambda: AwsUnreachable(endpoint_url="https://aws.test"),
    lost=lambda: AwsTimeout(endpoint_url="https://aws.test"),
)
LINKRUNNER = Errors(
    hangs=CLIENT_TIMEOUT, refused=refused, unreachable=refused, lost=lambda: timed_out("")
)


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
        """The call's result, unless it meets trouble."""
        self.check()
        number = len(self.calls)
        self.calls.append(call)
        trouble = self._trouble(number, call)
        self._meet(2 * number, call)
        self.check()
        self._before(trouble, errors)
        if trouble is Trouble.REPEATED:
            _performed(perform)
        done = _performed(perform)
        self._meet(2 * number + 1, call)
        self.check()
        self._after(trouble, errors)
        return done.result()

    def _before(self, trouble: Trouble | None, errors: Errors) -> None:
        if trouble is Trouble.DIES_BEFORE:
            self.die()
        if trouble is Trouble.HANGS:
            self.sleep(errors.hangs)
        if trouble is Trouble.REFUSED:
            raise errors.refused()
        if trouble in (Trouble.UNREACHABLE, Trouble.HANGS):
            raise errors.unreachable()

    def _after(self, trouble: Trouble | None, errors: Errors) -> None:
        if trouble is Trouble.DIES_AFTER:
            self.die()
        if trouble is Trouble.LOST:
            raise errors.lost()


def _performed(perform: Callable[[], Result]) -> Future[Result]:
    """The call's result or exception, for when it is known that the answer arrives."""
    done: Future[Result] = Future()
    try:
        done.set_result(perform())
    except Exception as error:  # noqa: BLE001 - it is the answer
        done.set_exception(error)
    return done


_CALLS = {
    "get_secret_value": "secret",
    "get_item": "user_of",
    "query": "due",
    "send_message": "park",
    "receive_message": "receive",
    "change_message_visibility": "delay",
    "delete_message_batch": "delete",
}


# What an update is for, by a value that only it has.
_UPDATES = {
    ":known": "know",
    ":message": "hold",
    ":waiting": "hold",
    ":waits": "hold",
    ":gone": "let go",
    ":payment": "intend",
    ":mark": "mark",
    ":returned": "return",
    ":turn_until": "take",
    ":over": "let go",
    ":current": "held",
    ":claimed": "claim",
    ":free": "release",
    ":since": "keep",
    ":one": "count",
    ":zero": "forget",
    ":digest": "bind",
    ":linked": "learn",
    ":capture": "note",
    ":fact": "gather",
    ":captured": "tally",
    ":duplicate": "tally",
    ":paid": "lead",
    ":facts": "note",
    ":until": "trouble",
    ":names": "tally",
}


# Every call of the table.
TABLE_CALLS = frozenset({_CALLS["get_item"], *_UPDATES.values()})


class Gated:
    """A boto3 client whose calls pass a gate."""

    def __init__(self, gate: Gate, client: Any) -> None:
        self._gate = gate
        self._client = client

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(self._call, method)

    def _call(self, method: str, **arguments: Any) -> Any:
        perform = partial(getattr(self._client, method), **arguments)
        return self._gate.passes(_name(method, arguments), perform, AWS)


def _name(method: str, arguments: Mapping[str, Any]) -> str:
    if method == "update_item":
        values = arguments["ExpressionAttributeValues"].keys()
        known = (name for value, name in _UPDATES.items() if value in values)
        # What else is counted is how webhooks ended, in other words.
        return next(known, "tally")
    # A copy of the message that says what is captured, as against the one in the dead-letter queue.
    if "DelaySeconds" in arguments:
        return "again" if arguments["DelaySeconds"] else "send"
    return _CALLS[method]


class GatedPool:
    """The way to Linkrunner, or to a provider, through a gate. Its calls are named after what they do."""

    def __init__(self, gate: Gate, far_end: Any, get: str = "look up") -> None:
        self.headers = far_end.headers
        self._gate = gate
        self._far_end = far_end
        self._get = get

    def request(self, method: str, url: str, **arguments: Any) -> Any:
        perform = partial(self._far_end.request, method, url, **arguments)
        return self._gate.passes(self._get if method == "GET" else "post", perform, LINKRUNNER)
