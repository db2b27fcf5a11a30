"""POST /api/v1/capture-event, and the meaning of each answer for the event.

https://docs.linkrunner.io/api-reference/event-capture
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from threading import Lock, Timer
from typing import Any, NamedTuple, Protocol

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ProtocolError
from urllib3.exceptions import TimeoutError as RequestTimeout

from linkrunner_webhooks import __version__
from linkrunner_webhooks.errors import Reason, Refused, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.secrets import ServerKey
from linkrunner_webhooks.words import READ, words_of

_PATH = "/api/v1/capture-event"
# Seconds. A slow Linkrunner captures what we stopped waiting for, and a retry captures it again.
CONNECT, ANSWER = 3.0, 30.0
# Only these statuses say that the event itself is wrong. All others can pass with time: a wrong key, a wrong
# URL, an outage.
_REFUSALS = frozenset({400, 413, 422})
_MAX_RETRY_AFTER = 3600.0
# These say that a server behind the one that answers did not, in time or to the end: it may have captured the
# event.
_UNANSWERED = frozenset({504, 524})
_BAD_GATEWAY = frozenset({502, 520})
# So many of those in a row, and the server is taken for gone.
_GONE = 5
# The limit counts requests in a second.
_LIMIT_WINDOW = 1.0
# Seconds for the rest of an answer whose status is known.
_MOMENT = 2.0
# A second try of one capture begins within so many seconds of the first.
_SOON = 10.0
# The longest that one capture takes, in seconds.
SLOWEST = _SOON + 2 * _LIMIT_WINDOW + CONNECT + ANSWER + 2 * _MOMENT
# While Linkrunner is silent one request at a time asks whether it still is: after this pause, then after
# twice as long each time. It asks with nothing to capture.
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 600.0
_NOTHING = b"{}"
# If Linkrunner captured an event within these seconds, a 429 is about the current second only.
_LATELY = 5.0
# Requests in progress at once.
CONNECTIONS = 8
# Seconds. Servers keep a connection for at least five.
IDLE = 3.0


class Capture(Protocol):
    """Hands one event to Linkrunner. Raises Refused or Unavailable."""

    def __call__(self, event: LinkrunnerEvent) -> None: ...


class Pace:
    """Spaces calls evenly, so that all workers together stay below Linkrunner's limit."""

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self._lock = Lock()

    def wait(self) -> None:
        """Return when it is this caller's turn, at the earliest one interval after the last call."""
        with self._lock:
            early = self._next - self._clock()
            if early > 0:
                self._sleep(early)
            self._next = self._clock() + self._interval

    def rest(self, seconds: float) -> None:
        """No call is let through for so many seconds."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


class _Answer(NamedTuple):
    """What counts of an answer; `words` is the beginning of its body where that explains something."""

    status: int
    headers: Mapping[str, str]
    words: bytes


class _Silence:
    """Whether Linkrunner answers at all. After a request without an answer the others wait: each may count.

    One request at a time finds out whether it is over, after longer and longer pauses. It captures nothing.
    """

    def __init__(self, was_away: Callable[[], bool]) -> None:
        self._was_away: Callable[[], bool] | None = was_away
        self._unanswered = self._gateways = 0
        self._since = self._until = float("-inf")
        self._trying = Lock()

    def respect(self, answers: Callable[[], bool]) -> None:
        """Raises Unavailable unless Linkrunner `answers` again, where it did not."""
        # A new process knows only what others have noted.
        was_away, self._was_away = self._was_away, None
        if was_away and was_away():
            self._unanswered = 1
        if not self._unanswered:
            return
        pause = self._until - time.monotonic()
        if pause > 0 or not self._trying.acquire(blocking=False):
            raise _silent(pause)
        try:
            if self._unanswered and not answers():
                raise _silent(self._until - time.monotonic())
        finally:
            self._trying.release()

    def begin(self, sent_at: float) -> None:
        """A request that was sent then is not answered. Requests that were under way with it count as one."""
        if sent_at >= self._since:
            self._unanswered += 1
            self._since = time.monotonic()
            pause = min(_FIRST_PAUSE * 2.0 ** (self._unanswered - 1), _LONGEST_PAUSE)
            self._until = self._since + pause

    def suspect(self, sent_at: float) -> None:
        """A proxy answered for the server. Now and then that happens; again and again it is gone."""
        self._gateways += 1
        if self._unanswered or self._gateways >= _GONE:
            self.begin(sent_at)

    def end(self) -> None:
        """Linkrunner answered, whatever it said."""
        self._unanswered = self._gateways = 0


def _silent(pause: float) -> Unavailable:
    message = "Linkrunner did not answer another request; this one waits"
    return Unavailable(message, reason=Reason.SILENT, retry_after=max(pause, _SOON))


class LinkrunnerClient:
    """The API, over pooled connections. After a Retry-After, and while nobody answers, all callers wait.

    `was_away` says whether Linkrunner was out of reach when other processes asked, not long ago.
    """

    def __init__(
        self,
        base_url: str,
        key: ServerKey,
        pace: Pace,
        was_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._url = endpoint(base_url)
        self._key = key
        self._pace = pace
        self._retry_at = 0.0
        self._took_at = float("-inf")
        self._silence = _Silence(was_away)
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=CONNECTIONS,
            timeout=urllib3.Timeout(connect=CONNECT, read=ANSWER),
            retries=False,
            headers={
                "content-type": "application/json",
                "user-agent": f"linkrunner-webhooks/{__version__}",
            },
        )
        self._pool.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def __call__(self, event: LinkrunnerEvent) -> None:
        """Capture one event. A 401 reads the key again, and tries again only with another key."""
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            message = "Linkrunner sent a Retry-After that is not over"
            raise Unavailable(message, reason=Reason.RATE_LIMITED, retry_after=wait)
        try:
            began = time.monotonic()
            self._silence.respect(self._answers)
            self._capture(event, began)
        except Unavailable as error:
            if error.reason is not Reason.SILENT:
                asked = time.monotonic() + (error.retry_after or 0.0)
                self._retry_at = max(self._retry_at, asked)
            raise

    def _answers(self) -> bool:
        """Whether Linkrunner answers a request without an event. Only that is known then."""
        with suppress(Unavailable):
            status = self._post(_NOTHING, self._key.current()).status
            return status not in _UNANSWERED | _BAD_GATEWAY
        return False

    def _capture(self, event: LinkrunnerEvent, began: float) -> None:
        body = json.dumps(event.body(), separators=(",", ":"), allow_nan=False).encode()
        key = self._key.current()
        if not _soon(began):
            message = "what comes before the request took its time"
            raise Unavailable(message, reason=Reason.OUT_OF_TIME)
        response = self._post(body, key)
        # What does not fit into the time of one capture is tried the next time.
        if (again := self._second_key(response, key)) and _soon(began):
            response = self._post(body, again)
        words = words_of(response.words, hide=(key, event.user_id))
        headers = response.headers
        judge(response.status, headers.get("retry-after"), headers.get("content-type"), words)
        self._took_at = time.monotonic()

    def _second_key(self, response: _Answer, key: str) -> str | None:
        """The key to try again with at once, if that can help."""
        if response.status == 401:
            renewed = self._key.renewed()
            return None if renewed == key else renewed
        if response.status == 429 and (pause := self._short_pause(response)):
            self._pace.rest(pause)
            return key
        return None

    def _short_pause(self, response: _Answer) -> float | None:
        """Seconds to wait when a late request fell into the next second; None when a retry is due later."""
        if time.monotonic() - self._took_at > _LATELY:
            return None
        asked = seconds(response.headers.get("retry-after"))
        pause = _LIMIT_WINDOW if asked is None else asked
        return pause if 0 < pause <= 2 * _LIMIT_WINDOW else None

    def _post(self, body: bytes, key: str) -> _Answer:
        self._pace.wait()
        headers = {**self._pool.headers, "linkrunner-key": key}
        sent_at = time.monotonic()
        try:
            # No redirects: the key goes to the configured host and nowhere else.
            response = self._pool.request(
                "POST",
                self._url,
                body=body,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
        except ConnectTimeoutError:
            raise Unavailable("Linkrunner cannot be reached", reason=Reason.NETWORK) from None
        except (RequestTimeout, ProtocolError):
            # It may have been sent, and whoever got it may have captured the event.
            self._silence.begin(sent_at)
            raise Unavailable("Linkrunner did not answer", reason=Reason.UNANSWERED) from None
        except HTTPError as error:
            message = f"no connection to Linkrunner: {type(error).__name__}"
            raise Unavailable(message, reason=Reason.NETWORK) from None
        if response.status in _UNANSWERED:
            self._silence.begin(sent_at)
        elif response.status in _BAD_GATEWAY:
            self._silence.suspect(sent_at)
        else:
            self._silence.end()
        # Only the status counts. A body that breaks off, hangs or is nonsense must not make us send a
        # captured event again.
        body = _finished(response)
        words = body if _explains(response.status) else b""
        return _Answer(response.status, response.headers, words)


class _Prompt(HTTPConnection):
    """A connection on which an answer has begun, to the end of its headers, within the time for it.

    The timeout of a socket starts anew with every byte. A connection that was idle is not used again: the
    other side ends it when it likes, and a request on it that meets the end counts as one without an answer.
    """

    _used_at = 0.0

    @property
    def is_connected(self) -> bool:
        # By the clock of the world: others stand still while a function is frozen.
        return 0 <= time.time() - self._used_at <= IDLE and super().is_connected

    def getresponse(self) -> Any:
        with _prompt(self.sock):
            response = super().getresponse()
        self._used_at = time.time()
        return response


class _SecurePrompt(_Prompt, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Prompt


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecurePrompt


@contextmanager
def _prompt(connected: Any) -> Iterator[None]:
    """End the connection unless the block is over in time. Raises ProtocolError when an answer breaks off.

    TLS breaks off with an error of its own, which elsewhere means that nothing was sent yet.
    """

    def cut() -> None:
        with suppress(OSError):
            # Not TLS's own, which leaves the reader without its session.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = Timer(ANSWER, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except ssl.SSLError as error:
        raise ProtocolError("the answer broke off", error) from None
    finally:
        timer.cancel()


def _soon(began: float) -> bool:
    return time.monotonic() - began <= _SOON


def _explains(status: int) -> bool:
    """Whether an answer may say what is wrong with the event, or with the account."""
    return 400 <= status < 500 and status not in (401, 429)


def _finished(response: Any) -> bytes:
    """The beginning of the body. It is read to its end, so that the connection can be used again.

    A body that takes longer than a moment costs the connection, and no more time: a byte now and then would
    outlast the function.
    """
    ends_at, body = time.monotonic() + _MOMENT, b""
    with suppress(HTTPError, HTTPException, OSError):
        _hurry(response)
        while len(body) < READ and time.monotonic() < ends_at:
            part: bytes = response.read1(READ)
            if not part:
                return body
            body += part
    response.close()
    return body[:READ]


def _hurry(response: Any) -> None:
    """The timeout of a request is for its answer; what follows the status line is given less."""
    connected = getattr(response.connection, "sock", None)
    if connected is not None:
        connected.settimeout(_MOMENT)


def endpoint(base_url: str) -> str:
    """The capture URL of a base URL, with or without the documented `/api/v1`."""
    return base_url.rstrip("/").removesuffix("/capture-event").removesuffix("/api/v1") + _PATH


def judge(
    status: int,
    retry_after: str | None = None,
    content_type: str | None = None,
    words: str = "",
) -> None:
    """Return for a captured event; raise Refused or Unavailable for every other answer.

    `words` is what Linkrunner says, fit to be kept.
    """
    said = f"Linkrunner answered {status}" + (f': "{words}"' if words else "")
    if status == 201:
        return
    if 200 <= status < 300:
        # A parked domain or a login page answers 200 to everything that is posted to it.
        if "text/html" not in (content_type or ""):
            return
        message = f"a web page answered {status}; check LinkrunnerBaseUrl"
        raise Unavailable(message, reason=Reason.UNAVAILABLE)
    if status in _REFUSALS:
        raise Refused(said if words else f"{said}: the event itself is refused")
    if status == 401:
        message = "Linkrunner answered 401; check the key in LinkrunnerKeySecret"
        raise Unavailable(message, reason=Reason.UNAUTHORIZED)
    if status in _UNANSWERED:
        raise Unavailable(said, reason=Reason.UNANSWERED)
    if status in _BAD_GATEWAY:
        raise Unavailable(said, reason=Reason.BAD_GATEWAY)
    reason = Reason.RATE_LIMITED if status == 429 else Reason.UNAVAILABLE
    raise Unavailable(said, reason=reason, retry_after=seconds(retry_after))


def seconds(retry_after: str | None) -> float | None:
    """`Retry-After` as seconds from now, bounded; None when absent or unusable."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    wait = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), _MAX_RETRY_AFTER)
