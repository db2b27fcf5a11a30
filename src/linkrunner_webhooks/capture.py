"""Requests to Linkrunner's server API, and the meaning of each answer.

https://docs.linkrunner.io/api-reference/event-capture
https://docs.linkrunner.io/api-reference/revenue-tracking
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from urllib3.exceptions import ConnectTimeoutError, HTTPError, ProtocolError
from urllib3.exceptions import TimeoutError as RequestTimeout

from linkrunner_webhooks import __version__
from linkrunner_webhooks.connections import ANSWER, CONNECT, MOMENT, finished, pool
from linkrunner_webhooks.errors import Reason, Refused, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.pacing import Pace, Silence
from linkrunner_webhooks.secrets import ServerKey
from linkrunner_webhooks.words import words_of

_API = "/api/v1"
_LOOKUP = "/get-attribution-result"
# Only these statuses say that the event itself is wrong. All others can pass with time: a wrong key, a wrong
# URL, an outage.
_REFUSALS = frozenset({400, 413, 422})
_MAX_RETRY_AFTER = 3600.0
# These say that a server behind the one that answers did not, in time or to the end: it may have captured the
# event.
_UNANSWERED = frozenset({504, 524})
_BAD_GATEWAY = frozenset({502, 520})
# The limit counts requests in a second.
_LIMIT_WINDOW = 1.0
# A second try of one capture begins within so many seconds of the first.
_SOON = 10.0
# The longest that one capture takes, in seconds.
SLOWEST = _SOON + 2 * _LIMIT_WINDOW + CONNECT + ANSWER + 2 * MOMENT
# Whether anybody answers is asked with an event that is none.
_NOTHING = b"{}"
# If Linkrunner captured an event within these seconds, a 429 is about the current second only.
_LATELY = 5.0
# Requests in progress at once.
CONNECTIONS = 8


class ApiRequest(Protocol):
    """One request: its path below the API, its body, and the user it names, "" if none."""

    @property
    def path(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    def body(self) -> dict[str, Any]: ...


class Knows(Protocol):
    """Whether Linkrunner says that it knows a user. Raises Unavailable."""

    def __call__(self, user_id: str, /) -> bool: ...


class Capture(Protocol):
    """Makes one request of Linkrunner. Raises Refused or Unavailable."""

    def __call__(self, request: ApiRequest, /) -> None: ...


class _Answer(NamedTuple):
    """What counts of an answer; `words` is the beginning of its body where that explains something."""

    status: int
    headers: Mapping[str, str]
    words: bytes


class LinkrunnerClient:
    """The API, over pooled connections. After a Retry-After, and while nobody answers, all callers wait.

    `was_away` says whether Linkrunner was silent when other processes asked, not long ago.
    """

    def __init__(
        self,
        base_url: str,
        key: ServerKey,
        pace: Pace,
        was_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._api = api(base_url)
        self._key = key
        self._pace = pace
        self._retry_at = 0.0
        self._took_at = float("-inf")
        self._silence = Silence(was_away)
        self._pool = pool(
            CONNECTIONS,
            {
                "content-type": "application/json",
                "user-agent": f"linkrunner-webhooks/{__version__}",
            },
        )

    def __call__(self, request: ApiRequest, /) -> None:
        """Make one request. A 401 reads the key again, and tries again only with another key."""
        with self._welcome() as began:
            self._capture(request, began)

    @contextmanager
    def _welcome(self) -> Iterator[float]:
        """Go to Linkrunner only while it wants to be asked, since when; and heed what it says of that.

        Its limit counts all requests together, whatever they ask for.
        """
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            message = "Linkrunner sent a Retry-After that is not over"
            raise Unavailable(message, reason=Reason.RATE_LIMITED, retry_after=wait)
        try:
            began = time.monotonic()
            self._silence.respect(self._answers)
            yield began
        except Unavailable as error:
            if error.reason is not Reason.SILENT:
                asked = time.monotonic() + (error.retry_after or 0.0)
                self._retry_at = max(self._retry_at, asked)
            raise

    def knows(self, user_id: str) -> bool:
        """Whether there is an attribution of this user. Raises Unavailable.

        200 is a known user, also one that came from nowhere. 204 is "no attribution data": of somebody
        unknown, or perhaps of somebody who is known and not attributed; the documentation does not say.
        https://docs.linkrunner.io/api-reference/data-apis
        """
        try:
            with self._welcome() as began:
                key = self._key.current()
                _require_soon(began)
                answer = self._post(f"{_LOOKUP}?{urlencode({'user_id': user_id})}", None, key)
                if answer.status != 204:
                    judge(answer.status, answer.headers.get("retry-after"))
        except Refused:
            return False
        except Unavailable as error:
            raise error.without_doubt() from None
        return answer.status != 204

    def _answers(self) -> bool:
        """Whether Linkrunner answers a request without an event. Only that is known then."""
        # A key that cannot be read is another trouble, and is told as that.
        key = self._key.current()
        try:
            answer = self._post(LinkrunnerEvent.path, _NOTHING, key)
            return answer.status not in _UNANSWERED | _BAD_GATEWAY
        except Unavailable as error:
            if error.reason.nature.doubtful:
                return False
            raise

    def _capture(self, request: ApiRequest, began: float) -> None:
        body = json.dumps(request.body(), separators=(",", ":"), allow_nan=False).encode()
        key = self._key.current()
        _require_soon(began)
        response = self._post(request.path, body, key)
        # What does not fit into the time of one capture is tried the next time.
        if (again := self._second_key(response, key)) and _soon(began):
            response = self._post(request.path, body, again)
        words = words_of(response.words, hide=(key, request.user_id))
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

    def _post(self, path: str, body: bytes | None, key: str) -> _Answer:
        self._pace.wait()
        headers = {**self._pool.headers, "linkrunner-key": key}
        sent_at = time.monotonic()
        try:
            # No redirects: the key goes to the configured host and nowhere else.
            response = self._pool.request(
                "GET" if body is None else "POST",
                self._api + path,
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
        body = finished(response)
        words = body if _explains(response.status) else b""
        return _Answer(response.status, response.headers, words)


def _require_soon(began: float) -> None:
    """Raises Unavailable where a request would not fit into the time of one capture any more."""
    if not _soon(began):
        message = "what comes before the request took its time"
        raise Unavailable(message, reason=Reason.OUT_OF_TIME)


def _soon(began: float) -> bool:
    return time.monotonic() - began <= _SOON


def _explains(status: int) -> bool:
    """Whether an answer may say what is wrong with the event, or with the account."""
    return 400 <= status < 500 and status not in (401, 429)


def api(base_url: str) -> str:
    """Where the API is, by a base URL with or without the documented `/api/v1`."""
    root = base_url.rstrip("/").removesuffix(LinkrunnerEvent.path)
    return root.removesuffix(_API) + _API


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
