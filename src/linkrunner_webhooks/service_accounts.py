"""Service accounts of Google Cloud, which ask Google's APIs with tokens of an hour.

https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic_core import from_json

from linkrunner_webhooks.lookups import Exchange
from linkrunner_webhooks.signatures.compact import issued
from linkrunner_webhooks.signatures.trust import derived_key

# Not the one in the file: whoever could change that would be sent what the key has signed.
_TOKENS: Final = "https://oauth2.googleapis.com/token"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_HOUR: Final = 3600
# A token this near to its end may not outlive a request.
_NEARLY: Final = 120


class _Account(NamedTuple):
    email: str
    key_id: str
    key: Any

    @classmethod
    def read(cls, credentials: str) -> _Account:
        """Raises ValueError."""
        written = from_json(credentials)
        if not isinstance(written, dict) or written.get("type") != "service_account":
            raise ValueError("no service account")
        email, pem = written.get("client_email"), written.get("private_key")
        if not (isinstance(email, str) and email and isinstance(pem, str)):
            raise ValueError("no service account")
        try:
            key = load_pem_private_key(pem.encode(), password=None)
        except (TypeError, UnsupportedAlgorithm):
            raise ValueError("no private key") from None
        return cls(email, str(written.get("private_key_id") or ""), key)


class _Kept:
    """Tokens by the digest of the credentials they were exchanged for, each with the time of its end."""

    def __init__(self) -> None:
        # Several messages are delivered at once.
        self.lock = Lock()
        self.tokens: dict[str, tuple[str, float]] = {}


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A token for `scope`, exchanged for a claim that the account's key has signed, and kept while good.

    Credentials are the JSON file that Google Cloud makes for a key of the account.
    """

    scope: str
    _kept: _Kept = field(default_factory=_Kept, repr=False, compare=False)

    def headers(self, credentials: str, exchange: Exchange, now: float) -> Mapping[str, str]:
        name = _name(credentials)
        # One token for all who wait for it.
        with self._kept.lock:
            token, until = self._kept.tokens.get(name, ("", 0.0))
            if not token or not now < until <= now + _HOUR:
                token, until = self._exchanged(credentials, exchange, now)
                # Former keys are not needed any more.
                self._kept.tokens.clear()
                self._kept.tokens[name] = token, until
        return {"authorization": f"Bearer {token}"}

    def forget(self, credentials: str) -> None:
        with self._kept.lock:
            self._kept.tokens.pop(_name(credentials), None)

    def complaint(self, credentials: str) -> str | None:
        try:
            _Account.read(credentials)
        except ValueError:
            return "it is not the JSON file of a key of a service account"
        return None

    def example(self, seed: str) -> str:
        """With a key of another kind, which is derived from the seed; nobody at Google knows it anyway."""
        pem = derived_key(seed).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        written = {
            "type": "service_account",
            "client_email": "reader@example-project.iam.gserviceaccount.com",
            "private_key_id": sha256(seed.encode()).hexdigest()[:16],
            "private_key": pem.decode("ascii"),
        }
        return json.dumps(written)

    def _exchanged(self, credentials: str, exchange: Exchange, now: float) -> tuple[str, float]:
        account = _Account.read(credentials)
        issued_at = int(now)
        claims = {
            "iss": account.email,
            "scope": self.scope,
            "aud": _TOKENS,
            "iat": issued_at,
            "exp": issued_at + _HOUR,
        }
        assertion = issued({"typ": "JWT", "kid": account.key_id}, claims, account.key)
        answer = exchange(_TOKENS, {"grant_type": _GRANT, "assertion": assertion})
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise ValueError("no token was given")
        life = answer.get("expires_in")
        return token, now + min(life if isinstance(life, int) else 0, _HOUR) - _NEARLY


def _name(credentials: str) -> str:
    return sha256(credentials.encode()).hexdigest()
