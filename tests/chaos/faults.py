"""What can go wrong at every call to AWS and to Linkrunner, by a seeded dice."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import urllib3
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from tests.chaos.journal import Journal
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError, ProtocolError
from urllib3.exceptions import ReadTimeoutError as AnswerTimeout

from linkrunner_webhooks.once import LEASE

# The header by which the embedded Linkrunner tells one request from another.
ATTEMPT: Final = "x-chaos-attempt"

# How likely each fault is, per call.
AWS_FAULTS: Final = {
    "refused": 0.02,
    "answer lost": 0.015,
    "done twice": 0.01,
    "slow": 0.03,
    "died before": 0.002,
    "died after": 0.003,
}
POST_FAULTS: Final = {
    "refused": 0.02,
    "answer lost": 0.015,
    "slow": 0.03,
    "died before": 0.006,
    "died after": 0.012,
}
# Operations that are rare, and whose every fault could lose something for good.
OFTEN: Final = {"send_message": 4.0}
_SLOWEST: Final = 0.25
# Everything of the system's own times runs at this multiple of the real ones.
SPEED: Final = 20
# A worker's death holds up its fact for so many seconds, and the end of a run with it.
HELD: Final = LEASE // SPEED // 2
_TIMEOUT: Final = urllib3.Timeout(connect=0.5, read=10.0 / SPEED)

Die = Callable[[], None]


class Died(BaseException):
    """A function that died in the middle of an invocation, where there is no process to kill."""


def die() -> None:
    """End this process as a crash does: nothing is flushed, released or said."""
    os._exit(9)


def faint() -> None:
    """Die without taking the process along."""
    raise Died


class Dice:
    """Decides, until a moment in unix seconds, which call meets which fault; notes every one."""

    def __init__(self, seed: object, until: float, journal: Journal) -> None:
        self._random = random.Random(str(seed))
        self._until = until
        self._journal = journal
        self._lock = threading.Lock()

    def roll(self, faults: Mapping[str, float], where: str) -> str | None:
        """The fault of this call, if it meets one."""
        with self._lock:
            number = self._random.random()
        if time.time() >= self._until:
            return None
        for fault, share in faults.items():
            number -= share * OFTEN.get(where, 1.0)
            if number < 0:
                self._journal.note("fault", kind=fault, where=where)
                return fault
        return None

    def pick(self, *choices: Any) -> Any:
        """One of the choices."""
        with self._lock:
            return self._random.choice(choices)

    def pause(self) -> None:
        """Be slow."""
        with self._lock:
            seconds = self._random.uniform(0, _SLOWEST)
        time.sleep(seconds)


class Faulty:
    """A boto3 client whose every call can be refused, be done without an answer, be slow, or be the last."""

    def __init__(self, client: Any, dice: Dice, die: Die = die) -> None:
        self._client = client
        self._dice = dice
        self._die = die

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        real = getattr(self._client, operation)

        def call(**arguments: Any) -> Any:
            fault = self._dice.roll(AWS_FAULTS, operation)
            self._before(fault, operation)
            if fault == "done twice":
                # As botocore does when it repeats a request whose answer was lost.
                real(**arguments)
            answer = real(**arguments)
            self._after(fault, operation)
            return answer

        return call

    def _before(self, fault: str | None, operation: str) -> None:
        if fault == "died before":
            self._die()
        elif fault == "slow":
            self._dice.pause()
        elif fault == "refused":
            raise self._dice.pick(*_aws_errors(operation))

    def _after(self, fault: str | None, operation: str) -> None:
        if fault == "died after":
            self._die()
        elif fault == "answer lost":
            raise self._dice.pick(*_aws_errors(operation))


def _aws_errors(operation: str) -> tuple[Exception, ...]:
    endpoint = "http://127.0.0.1"
    return (
        _client_error("ThrottlingException", HTTPStatus.BAD_REQUEST, operation),
        _client_error("InternalServerError", HTTPStatus.INTERNAL_SERVER_ERROR, operation),
        EndpointConnectionError(endpoint_url=endpoint),
        ReadTimeoutError(endpoint_url=endpoint),
    )


def _client_error(code: str, status: HTTPStatus, operation: str) -> ClientError:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": int(status)}}
    return ClientError(answer, operation)


class Attempts(threading.local):
    """The request to Linkrunner that this thread made last, and since when it holds the claim for it."""

    current: str | None = None
    claimed_at: float = 0.0

    @property
    def held(self) -> float:
        """Seconds of the claim's lease that are gone."""
        return time.time() - self.claimed_at


class FaultyPool:
    """The connections to Linkrunner: names every request, notes its fate, and loses some or dies."""

    def __init__(
        self,
        pool: urllib3.PoolManager,
        dice: Dice,
        journal: Journal,
        worker: str,
        attempts: Attempts,
    ) -> None:
        self._pool = pool
        self._dice = dice
        self._journal = journal
        self._worker = worker
        self._attempts = attempts
        self._count = 0
        self._lock = threading.Lock()

    @property
    def headers(self) -> Mapping[str, str]:
        """What the pool sends with every request."""
        return self._pool.headers

    def request(
        self, method: str, url: str, *, body: bytes, headers: Mapping[str, str], **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send it, and note whether an answer came: no note means that the worker died over it."""
        attempt = self._next()
        fault = self._dice.roll(POST_FAULTS, "POST")
        try:
            self._before(fault)
            held = self._attempts.held
            self._journal.note("sent", attempt=attempt, at=time.time(), held=held)
            response = self._pool.request(
                method,
                url,
                body=body,
                headers={**headers, ATTEMPT: attempt},
                timeout=_TIMEOUT,
                **options,
            )
            self._after(fault, attempt, body)
        except Exception as error:
            self._journal.note("unanswered", attempt=attempt, error=type(error).__name__)
            raise
        self._journal.note("answered", attempt=attempt, status=response.status)
        return response

    def _next(self) -> str:
        with self._lock:
            self._count += 1
            self._attempts.current = f"{self._worker}:{self._count}"
            return self._attempts.current

    def _before(self, fault: str | None) -> None:
        if fault == "died before":
            die()
        elif fault == "refused":
            connection = HTTPConnection("127.0.0.1")
            raise self._dice.pick(
                NewConnectionError(connection, "refused"),
                ProtocolError("broken before it was sent"),
            )

    def _after(self, fault: str | None, attempt: str, body: bytes) -> None:
        if fault == "died after":
            event_id = json.loads(body)["event_data"]["provider_event_id"]
            self._journal.note("died holding the answer", attempt=attempt, event_id=event_id)
            die()
        elif fault == "slow":
            # Not before: requests held up after their turn would arrive in bunches.
            self._dice.pause()
        elif fault == "answer lost":
            raise self._dice.pick(
                AnswerTimeout(None, "/", "no answer"),  # type: ignore[arg-type]
                ProtocolError("broken after it was sent"),
            )
