"""Public keys that a company publishes at one URL, as a JSON Web Key Set.

https://datatracker.ietf.org/doc/html/rfc7517
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.signatures.fetched import fetch

# Seconds. Google lets keys be kept for some six hours, and publishes new ones long before it uses them.
_AGE: Final = 6 * 3600.0
# While they cannot be fetched, older ones are good for so long.
_LONGEST: Final = 24 * 3600.0
_PATIENCE: Final = 4.0
# Seconds between two fetches, whatever came of the first.
_REST: Final = 60.0


class KeySet:
    """The keys at a pinned URL, kept while a container lives. `now` is unix seconds.

    Whoever names an unknown key makes us look once a minute at most.
    """

    def __init__(self, url: str, fetch: Callable[[str, float], bytes] = fetch) -> None:
        self._url = url
        self._fetch = fetch
        # The local stack has threads.
        self._lock = Lock()
        self._keys: dict[str, RSAPublicKey] = {}
        self._read_at = self._asked_at = float("-inf")

    def key(self, id: str, now: float) -> RSAPublicKey:
        """The key of that id.

        Raises LookupError where there is none, and Unavailable where no keys can be had: then nobody knows.
        """
        with self._lock:
            is_due = id not in self._keys or _since(self._read_at, now) > _AGE
            if is_due := is_due and _since(self._asked_at, now) >= _REST:
                self._asked_at = now
        if is_due:
            # Nobody waits for the lock during a fetch.
            with suppress(Unavailable, LookupError, TypeError, ValueError):
                keys = _read(self._fetch(self._url, _PATIENCE))
                with self._lock:
                    self._keys, self._read_at = keys, now
        with self._lock:
            keys, age = self._keys, _since(self._read_at, now)
        if not keys or age > _LONGEST:
            raise Unavailable("the keys cannot be fetched", reason=Reason.CERTIFICATE)
        return keys[id]


def _since(then: float, now: float) -> float:
    """A clock that was set back must not make a minute longer."""
    return abs(now - then)


def _read(content: bytes) -> dict[str, RSAPublicKey]:
    """The RSA keys of a set. Raises ValueError, TypeError or LookupError for a set without any."""
    listed = json.loads(content)["keys"]
    keys = {each["kid"]: _key(each) for each in listed if each["kty"] == "RSA"}
    if not keys:
        raise LookupError("no keys")
    return keys


def _key(written: dict[str, Any]) -> RSAPublicKey:
    return RSAPublicNumbers(_number(written["e"]), _number(written["n"])).public_key()


def _number(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
