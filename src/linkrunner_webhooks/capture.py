"""POST /api/v1/capture-event, and the meaning of each answer for the event.

https://docs.linkrunner.io/api-reference/event-capture
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from threading import Lock
from typing import Any, NamedTuple, Protocol

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as RequestTimeout

from linkrunner_webhooks import __version__
from linkrunner_webhooks.errors import Reason, Refused, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.secrets import ServerKey
from linkrunner_webhooks.words import READ, words_of

_PATH = "/api/v1/capture-event"
_TIMEOUT = urllib3.Timeout(connect=3.0, read=10.0)
# Only these statuses say that the event itself is wrong. All others can pass with time: a wrong key, a wrong
# URL, an outage.
_REFUSALS = frozenset({400, 413, 422})
_MAX_RETRY_AFTER = 3600.0
# Seconds for the rest of an answer whose status is known.
_MOMENT = 2.0
# The limit counts requests in a second.
_LIMIT_WINDOW = 1.0
# If Linkrunner captured an event within these seconds, a 429 is about the current second only.
_LATELY = 5.0
# Requests in progress at once.
CONNECTIONS = 8


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


class LinkrunnerClient:
    """The API, over pooled connections. After a Retry-After all callers wait."""

    def __init__(self, base_url: str, key: ServerKey, pace: Pace) -> None:
        self._url = endpoint(base_url)
        self._key = key
        self._pace = pace
        self._retry_at = 0.0
        self._took_at = float("-inf")
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=CONNECTIONS,
            timeout=_TIMEOUT,
            retries=False,
            headers={
                "content-type": "application/json",
                "user-agent": f"linkrunner-webhooks/{__version__}",
            },
        )

    def __call__(self, event: LinkrunnerEvent) -> None:
        """Capture one event. A 401 reads the key again, and tries again only with another key."""
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            message = "Linkrunner sent a Retry-After that is not over"
            raise Unavailable(message, reason=Reason.RATE_LIMITED, retry_after=wait)
        try:
            self._capture(event)
        except Unavailable as error:
            asked = time.monotonic() + (error.retry_after or 0.0)
            self._retry_at = max(self._retry_at, asked)
            raise

    def _capture(self, event: LinkrunnerEvent) -> None:
        body = json.dumps(event.body(), separators=(",", ":"), allow_nan=False).encode()
        key = self._key.current()
        response = self._post(body, key)
        if response.status == 401 and (renewed := self._key.renewed()) != key:
            response = self._post(body, renewed)
        elif response.status == 429 and (pause := self._short_pause(response)):
            self._pace.rest(pause)
            response = self._post(body, key)
        words = words_of(response.words, hide=(key, event.user_id))
        headers = response.headers
        judge(response.status, headers.get("retry-after"), headers.get("content-type"), words)
        self._took_at = time.monotonic()

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
        except NewConnectionError:
            raise Unavailable("Linkrunner cannot be reached", reason=Reason.NETWORK) from None
        except RequestTimeout:
            raise Unavailable("Linkrunner did not answer in time", reason=Reason.TIMEOUT) from None
        except HTTPError as error:
            message = f"no connection to Linkrunner: {type(error).__name__}"
            raise Unavailable(message, reason=Reason.NETWORK) from None
        # Only the status counts. A body that breaks off, hangs or is nonsense must not make us send a
        # captured event again.
        body = _finished(response)
        words = body if _explains(response.status) else b""
        return _Answer(response.status, response.headers, words)


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
    socket = getattr(response.connection, "sock", None)
    if socket is not None:
        socket.settimeout(_MOMENT)


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
