"""Requests to the providers' own APIs for what their webhooks only hint at, and what each answer means."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
from pydantic_core import from_json
from urllib3.exceptions import HTTPError

from linkrunner_webhooks import __version__
from linkrunner_webhooks.capture import seconds
from linkrunner_webhooks.config import Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.errors import (
    LookupRefused,
    Malformed,
    Reason,
    Unavailable,
    Untranslatable,
)
from linkrunner_webhooks.lookups import Lookup, Perhaps
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.secrets import MAX_AGE, MIN_AGE, ProviderKeys
from linkrunner_webhooks.words import words_of

# Seconds. A webhook waits in the queue if the vendor takes longer.
_CONNECT, _READ = 3.0, 10.0
# An order with hundreds of lines has some hundred kilobytes.
_LONGEST: Final = 4 * 1024 * 1024
# What a refusal is, if nothing says more. All other statuses can pass with time.
_REFUSALS: Final[Mapping[int, str]] = {
    400: "does not understand what it is asked",
    401: "does not know the key",
    403: "does not let the key see it",
    404: "knows nothing of it",
    410: "has it no longer",
}
_GONE: Final = (404, 410)


def completed(opened: Opened, ask: Callable[[str], Any]) -> Opened:
    """The webhook with all that it lacks, and what it then says that it is: `ask` answers each path.

    Only an answer may show that it is test traffic. Where that is dropped, nothing more is asked for. Raises
    Untranslatable and what `ask` does.
    """
    source, provider = opened.source, opened.source.provider
    lookup = provider.lookup
    # What no mapper understands is parked as it is.
    if lookup is None or opened.identity.event_type not in provider.types:
        return opened

    def enough(webhook: Webhook) -> bool:
        return not source.test_events and provider.identify(webhook).test

    try:
        if not lookup.meant(opened.webhook.payload, source.options):
            return opened
        webhook = lookup.completed(opened.webhook, ask, enough)
        return opened._replace(webhook=webhook, identity=provider.identify(webhook))
    except Malformed as error:
        raise Untranslatable(str(error)) from None


class Completing:
    """Completes webhooks, over pooled connections. `keys` are the operator's, None where there is no secret.

    `elsewhere`, with the provider's name, stands before the paths in place of the vendors' hosts: for the
    local stack and tests. `copies` is how many processes share a vendor's limit.
    """

    def __init__(
        self,
        keys: ProviderKeys | None,
        *,
        elsewhere: str = "",
        copies: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._keys = keys
        self._elsewhere = elsewhere
        self._copies = copies
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._paces: dict[str, Pace] = {}
        # By source: until when its vendor wants no question, and why.
        self._resting: defaultdict[str, tuple[float, str]] = defaultdict(lambda: (0.0, ""))
        self._pool = urllib3.PoolManager(
            num_pools=8,
            timeout=urllib3.Timeout(connect=_CONNECT, read=_READ),
            retries=False,
            headers={
                "user-agent": f"linkrunner-webhooks/{__version__}",
                "accept": "application/json",
            },
        )

    def __call__(self, opened: Opened) -> Opened:
        """The webhook with all that it lacks. Raises Parked, or Unavailable to be tried again."""
        return completed(opened, partial(self._answer, opened))

    def _answer(self, opened: Opened, path: str) -> Any:
        source, provider = opened.source, opened.source.provider
        title, lookup = provider.title, provider.lookup
        assert lookup is not None
        self._respect(source.name)
        base = lookup.base(source.options)
        if self._elsewhere:
            base = f"{self._elsewhere}/{provider.name}"
        pace = self._paces.setdefault(
            source.name,
            Pace(lookup.per_second / self._copies, clock=self._clock, sleep=self._sleep),
        )
        pace.wait()
        status, headers, body = self._asked(source, lookup, base + path)
        if status == 401:
            status, headers, body = self._asked(source, lookup, base + path, again=True)
        if status == 200:
            try:
                return from_json(body)
            except ValueError:
                raise self._rest(source.name, f"{title} answered no JSON", None) from None
        if status == 204:
            # An empty list, in some APIs.
            return None
        if status in _GONE and isinstance(path, Perhaps):
            return None
        if status in _REFUSALS:
            words = words_of(body)
            why = f"{title} {_REFUSALS[status]} ({status}{f': {words}' if words else ''})"
            raise LookupRefused(why)
        raise self._rest(
            source.name, f"{title} answered {status}", seconds(headers.get("retry-after"))
        )

    def _asked(
        self, source: Source, lookup: Lookup, url: str, *, again: bool = False
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body. With `again` the key was refused.

        It may just have been changed, and what was got for it withdrawn.
        """
        name, title = source.name, source.provider.title
        if self._keys is None:
            message = f"{title} has to be asked for what it hints at: deploy with ProviderKeys=on"
            raise Unavailable(message, reason=Reason.PROVIDER)
        key = self._keys.of(name, MIN_AGE if again else MAX_AGE)
        if not key:
            message = f"ProviderKeys has no key for {name}: `secrets provider-key {name}`"
            raise Unavailable(message, reason=Reason.PROVIDER)
        if again:
            lookup.access.forget(key)
        try:
            headers = lookup.access.headers(key, self._exchange, self._now())
            answer = self._pool.request(
                "GET", url, headers={**self._pool.headers, **headers},
                preload_content=False, redirect=False,
            )  # fmt: skip
            body = answer.read(_LONGEST + 1, decode_content=True)
            answer.release_conn()
        except ValueError:
            message = f"the key of {name} in ProviderKeys is none that {title} takes"
            raise self._rest(name, message, None) from None
        except (HTTPError, OSError) as error:
            message = f"{title} did not answer: {type(error).__name__}"
            raise self._rest(name, message, None) from None
        if len(body) > _LONGEST:
            raise LookupRefused(f"{title} answered more than anybody can read")
        return answer.status, answer.headers, body

    def _exchange(self, url: str, form: Mapping[str, str]) -> Any:
        """A token for credentials. Raises ValueError where they are refused, HTTPError without an answer."""
        if self._elsewhere:
            url = f"{self._elsewhere}{urlsplit(url).path}"
        answer = self._pool.request("POST", url, fields=dict(form), encode_multipart=False)
        if answer.status in (400, 401, 403):
            raise ValueError("the credentials are refused")
        if answer.status != 200:
            raise HTTPError(f"answered {answer.status}")
        try:
            return from_json(answer.data)
        except ValueError:
            raise HTTPError("answered no JSON") from None

    def _respect(self, source: str) -> None:
        until, why = self._resting[source]
        left = until - self._clock()
        if left > 0:
            raise Unavailable(why, reason=Reason.PROVIDER, retry_after=left)

    def _rest(self, source: str, why: str, retry_after: float | None) -> Unavailable:
        """Nobody else asks for a while: the next webhooks of the source would meet the same."""
        self._resting[source] = (self._clock() + (retry_after or 5.0), why)
        return Unavailable(why, reason=Reason.PROVIDER, retry_after=retry_after)
