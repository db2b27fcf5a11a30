"""The secrets, read from Secrets Manager and cached: signing secrets, the server key, and keys of providers.

A cached value outlives an outage of Secrets Manager. Rotation keeps the old value valid for a while anyway.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from linkrunner_webhooks.aws import failure
from linkrunner_webhooks.errors import Reason, Unavailable

# A rotated secret works after this many seconds without a deploy or a restart.
MAX_AGE = 300.0
# Seconds until a failed value is read again; bounds the requests that a stranger can cause.
MIN_AGE = 15.0


class Secret:
    """One secret, read again when the cached value is older than the caller accepts."""

    def __init__(
        self, client: Any, arn: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._arn = arn
        self._clock = clock
        self._value: str | None = None
        self._read_at = 0.0

    def text(self, max_age: float = MAX_AGE) -> str:
        """The current value. Raises Unavailable when there is none and never was."""
        if self._value is None or self._clock() - self._read_at > max_age:
            self._read()
        assert self._value is not None
        return self._value

    def _read(self) -> None:
        try:
            answer = self._client.get_secret_value(SecretId=self._arn)
            self._value = answer.get("SecretString") or ""
        except (BotoCoreError, ClientError) as error:
            if self._value is None:
                message = f"cannot read secret {self._arn}: {failure(error)}"
                raise Unavailable(message, reason=Reason.SECRET) from None
        self._read_at = self._clock()


class SigningSecrets:
    """WebhookSecrets: JSON `{"<source>": ["new", "old"]}`. A source without one does not exist."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def of(self, source: str, max_age: float = MAX_AGE) -> tuple[str, ...]:
        """The live secrets of a source, without white space around them.

        Raises Unavailable when the secret is not such JSON.
        """
        value = self.table(max_age).get(source, ())
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple):
            raise Unavailable(
                f"WebhookSecrets: `{source}` is neither a list nor a text", reason=Reason.SECRET
            )
        # A line break comes along easily when a secret is pasted or echoed, and no provider makes one.
        texts = (each.strip() for each in values if isinstance(each, str))
        return tuple(text for text in texts if text)

    def is_legible(self) -> bool:
        """Whether there is a text, whatever it says."""
        with suppress(Unavailable):
            self._secret.text()
            return True
        return False

    def names(self) -> tuple[str, ...]:
        """Every source that has an entry. Raises Unavailable like `of`."""
        return tuple(name for name in self.table() if not name.startswith("@"))

    def table(self, max_age: float = MAX_AGE) -> dict[str, Any]:
        """All of it: what begins with @ is a note, and no source. Raises Unavailable like `of`."""
        return _table(
            self._secret, max_age, 'WebhookSecrets is not JSON like {"stripe": ["whsec_..."]}'
        )


class ProviderKeys:
    """ProviderKeys: JSON `{"<source>": "<credentials>"}`, for the providers whose own API deliver asks."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def of(self, source: str, max_age: float = MAX_AGE) -> str:
        """The credentials of a source, "" where there are none. Raises Unavailable for other JSON."""
        value = self.table(max_age).get(source, "")
        # A service account is JSON itself, and people put it there as it is.
        return json.dumps(value) if isinstance(value, dict) else str(value).strip()

    def table(self, max_age: float = MAX_AGE) -> dict[str, Any]:
        """All of them. Raises Unavailable like `of`."""
        return _table(self._secret, max_age, 'ProviderKeys is not JSON like {"gocardless": "..."}')


def _table(secret: Secret, max_age: float, complaint: str) -> dict[str, Any]:
    """The secret as a JSON object. Raises Unavailable, with the complaint for other JSON."""
    try:
        table = json.loads(secret.text(max_age) or "{}")
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise Unavailable(complaint, reason=Reason.SECRET)
    return table


class ServerKey:
    """LinkrunnerKeySecret: the server key as plain text."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def current(self, max_age: float = MAX_AGE) -> str:
        """The key. Raises Unavailable when none was put there yet."""
        try:
            key = self._secret.text(max_age)
        except Unavailable as error:
            raise Unavailable(str(error), reason=Reason.NO_KEY) from None
        return self.checked(key)

    @staticmethod
    def checked(text: str) -> str:
        """The key without white space around it. Raises Unavailable where that can be no header."""
        key = text.strip()
        if not (key and key.isascii() and key.isprintable()):
            message = "LinkrunnerKeySecret holds no key; put your Linkrunner server key there"
            raise Unavailable(message, reason=Reason.NO_KEY)
        return key

    def renewed(self) -> str:
        """The key after Linkrunner refused the one we had."""
        return self.current(MIN_AGE)
