"""Requests to one vendor's API: paced, tried again where that is safe, and their failures in sentences.

Nothing here quotes a credential, and of an answer only the vendor's own message about an error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import islice
from math import isfinite
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import say

_TIMEOUT: Final = 60
# A request that the vendor does not take is tried so often in all, after these pauses unless it names one.
_TRIES: Final = 7
# Where nobody answers at all, the address is likely to be wrong.
_UNANSWERED_TRIES: Final = 3
_FIRST_PAUSE: Final = 1.0
# Seconds. A person waits in front of it.
_LONGEST_PAUSE: Final = 600.0
# No pause is as long as that.
_A_MOMENT: Final = 1e11
# Pauses from here on are told.
_WORTH_TELLING: Final = 5.0
_LONGEST_QUOTE: Final = 200
# What vendors call the sentence in an error, the most telling first.
_SENTENCES: Final = (
    "detail",
    "error_description",
    "message",
    "title",
    "description",
    "errorMessage",
)
# ... and about one field of what was asked.
_DETAILS: Final = ("issue", "msg", "value")
_MOST_SENTENCES: Final = 4

Pairs = tuple[tuple[str, str], ...]


class ApiError(Failure):
    """A vendor's API did not do what it was asked. `status` is 0 where nothing was answered."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Denied(ApiError):
    """The credentials are wrong, or do not have the right (401, 403)."""


class Away(ApiError):
    """No answer, or no useful one for as long as it was tried."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, without credentials. `query` and `form` are pairs: a name can be there several times.

    `repeatable` says that it does no harm when it arrives twice; None where the method says so.
    """

    method: str
    path: str
    query: Pairs = ()
    form: Pairs = ()
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool | None = None

    @property
    def is_repeatable(self) -> bool:
        return self.method != "POST" if self.repeatable is None else self.repeatable

    @property
    def target(self) -> str:
        """The path with its query."""
        # A link to another page brings its own query.
        joiner = "&" if "?" in self.path else "?"
        return f"{self.path}{joiner}{urlencode(self.query)}" if self.query else self.path

    def following(self, link: str) -> Request:
        """The request for another page, by the vendor's link: on the same host, whatever it says."""
        parts = urlsplit(link)
        return replace(self, path=f"{parts.path}?{parts.query}", query=())

    def shown(self, *hidden: str) -> str:
        """For people: what would be sent, without the values to hide."""
        # Of a user and a password they may stand apart.
        secrets = {*hidden, *(each.partition(":")[2] for each in hidden)} - {""}
        lines = [f"{self.method} {self.target}"]
        lines += [f"  {name}: {_masked(value, secrets)}" for name, value in self.form]
        if self.json is not None:
            told = json.dumps(_masked(self.json, secrets), indent=2, ensure_ascii=False)
            lines += [f"  {line}" for line in told.splitlines()]
        return "\n".join(lines)


def _masked(value: Any, secrets: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _masked(each, secrets) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, secrets) for each in value]
    return "(the secret)" if isinstance(value, str) and value in secrets else value


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer. `value` is its JSON; header names can be in any case."""

    status: int
    headers: Mapping[str, str]
    value: Any


class Api:
    """One vendor's API. `headers` makes those that let us in, and `keys` says what they are made of.

    `per_second` is how many requests the vendor takes at most, or fewer, and `is_busy` whether an answer, by
    its status and its JSON, says that these were too many.
    """

    def __init__(
        self,
        title: str,
        base: str,
        *,
        headers: Callable[[], Mapping[str, str]],
        keys: str,
        per_second: float,
        is_busy: Callable[[int, Any], bool],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._title = title
        self._base = base.rstrip("/")
        self._is_busy = is_busy
        # Links to other pages have it, too.
        self._prefix = urlsplit(self._base).path
        self._headers = headers
        self._keys = keys
        self._pace = Pace(per_second, sleep=sleep)
        self._sleep = sleep
        self._hidden: set[str] = set()
        self.tries = _TRIES
        # A redirect could lead a credential elsewhere.
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)

    def hide(self, *secrets: str) -> None:
        """Never quote these, should the vendor's own words have them."""
        self._hidden.update(filter(None, secrets))

    def ask(
        self,
        request: Request,
        headers: Mapping[str, str] | None = None,
        *,
        tries: int | None = None,
    ) -> Answer:
        """The answer to one request. Raises ApiError. `headers` let in instead of the usual ones."""
        most = self.tries if tries is None else tries
        refused = unanswered = 0
        while True:
            try:
                response = self._send(request, self._headers() if headers is None else headers)
            except HTTPError as error:
                unanswered += 1
                self._require_another(request, unanswered, most, error)
                self._rest(_pause(unanswered))
                continue
            value = _json(response.data)
            busy = self._is_busy(response.status, value)
            if response.status < HTTPStatus.MULTIPLE_CHOICES and not busy:
                if value is _NO_JSON:
                    raise self.not_understood(ValueError())
                return Answer(response.status, response.headers, value)
            refused += 1
            safe = busy or (
                response.status >= HTTPStatus.INTERNAL_SERVER_ERROR and request.is_repeatable
            )
            if not safe or refused >= most:
                raise self._failure(response, value, refused, busy=busy, safe=safe)
            self._rest(_named_pause(response.headers) or _pause(refused))

    def pages(
        self, first: Request, following: Callable[[Request, Answer], Request | None]
    ) -> Iterator[Answer]:
        """Every page of a list. `following` makes the request for the next one, None after the last.

        Raises ApiError also for a list that leads back to a page that it has shown.
        """
        request: Request | None = first
        seen = set[str]()
        while request is not None:
            asked = f"{request.target} {json.dumps(request.json)}"
            if asked in seen:
                raise ApiError(f"{self._title} lists the same page again and again; try it later")
            seen.add(asked)
            answer = self.ask(request)
            yield answer
            request = following(request, answer)

    def not_understood(self, error: Exception) -> ApiError:
        """The error for an answer of another shape than the documented one."""
        what = type(error).__name__
        return ApiError(
            f"{self._title} answered something else than its documentation says ({what}): is "
            f"{self._base} the API, and this the newest version of linkrunner-webhooks?"
        )

    def _send(self, request: Request, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        self._pace.wait()
        body, kind = None, {}
        if request.form:
            body, kind = urlencode(request.form), {"Content-Type": _FORM}
        elif request.json is not None:
            body, kind = json.dumps(request.json), {"Content-Type": "application/json"}
        sent = {"Accept": "application/json", "User-Agent": _NAME, **kind, **headers}
        target = request.target
        if self._prefix and target.startswith(f"{self._prefix}/"):
            target = target.removeprefix(self._prefix)
        return self._pool.request(
            request.method,
            f"{self._base}{target}",
            body=body,
            headers={**sent, **request.headers},
            redirect=False,
        )

    def _require_another(self, request: Request, tried: int, most: int, error: HTTPError) -> None:
        """Raises Away unless another try is left, and safe."""
        safe = isinstance(error, NewConnectionError) or request.is_repeatable
        if safe and tried < min(_UNANSWERED_TRIES, most):
            return
        doubt = "" if safe else _DOUBT
        why = type(error).__name__
        raise Away(f"{self._title} does not answer at {self._base} ({why}){doubt}") from None

    def _rest(self, seconds: float) -> None:
        if seconds > _LONGEST_PAUSE:
            raise Away(
                f"{self._title} wants no request for {seconds / 60:.0f} minutes; run it again then"
            )
        if seconds >= _WORTH_TELLING:
            say(f"{self._title} asks for a pause of {seconds:.0f} s.")
        self._sleep(seconds)

    def _failure(
        self,
        response: urllib3.BaseHTTPResponse,
        value: Any,
        tried: int,
        *,
        busy: bool,
        safe: bool,
    ) -> ApiError:
        status, words = response.status, _words(value, self._hidden)
        told = f"{self._title} answered {status}{f': {words}' if words else ''}"
        if busy or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            times = f", {tried} times" if tried > 1 else ""
            return Away(f"{told}{times}; run it again later{'' if safe else _DOUBT}", status)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return Denied(f"{told}; check {self._keys}", status)
        if status < HTTPStatus.BAD_REQUEST:
            return ApiError(
                f"{told}, and leads elsewhere; give the address that it leads to", status
            )
        return ApiError(told, status)


# What is no JSON, where None is.
_NO_JSON: Final = object()


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NO_JSON


def _pause(tried: int) -> float:
    return min(_FIRST_PAUSE * 2.0 ** (tried - 1), _LONGEST_PAUSE)


_DOUBT: Final = "; it may have done it all the same: `--check` says what is there"
_FORM: Final = "application/x-www-form-urlencoded"
# Some vendors refuse requests without one.
_NAME: Final = "linkrunner-webhooks"


def _named_pause(headers: Mapping[str, str]) -> float | None:
    """The seconds that Retry-After asks for: a number, a date, or at Apple a moment in unix milliseconds.

    https://developer.apple.com/documentation/appstoreserverapi/identifying-rate-limits
    """
    told = headers.get("Retry-After")
    if told is None:
        return None
    with suppress(ValueError):
        number = float(told)
        if not isfinite(number):
            return None
        return max(number / 1000 - time.time() if number > _A_MOMENT else number, 0.0)
    try:
        return max((parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _words(value: Any, hidden: Collection[str]) -> str:
    """The vendor's own sentences about an error, on one line; empty where it has none."""
    told = dict.fromkeys(islice(_sentences(value), _MOST_SENTENCES))
    words = " ".join(filter(str.isprintable, "; ".join(told).split()))
    for each in hidden:
        words = words.replace(each, "...")
    return words[:_LONGEST_QUOTE]


def _sentences(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        known = [value[name] for name in _SENTENCES if _is_text(value.get(name))]
        yield from (*known[:1], *(value[name] for name in _DETAILS if _is_text(value.get(name))))
        inner: Iterable[Any] = value.values()
    else:
        inner = value if isinstance(value, list) else ()
    for each in inner:
        yield from _sentences(each)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
