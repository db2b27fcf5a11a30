"""The scheme of a hash over some values of the body, with the secret among them or as its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pydantic import model_validator

from linkrunner_webhooks import forms
from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.reading import Payload
from linkrunner_webhooks.signatures.scheme import (
    Algorithm,
    Covers,
    digest,
    equal,
    text_key,
    with_headers,
)

# The texts of the values that are hashed, by their paths; empty where the body has none.
Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HashedValues:
    """A hash (hexadecimal) of named values of the body, which is in a member of it or in a header.

    The body is JSON, or a form where `form` says that it is sent so; a number of JSON is hashed as it is
    written, and null is empty. `values` are the dotted paths of what is hashed, and `texts` makes of them and
    of the secret what may have been hashed: several texts where the provider's own libraries disagree, the
    usual one first. With `keyed` the hash is an HMAC and the secret its key. Genuine bodies with one hash
    differ in the values `apart`.
    """

    values: tuple[str, ...]
    texts: Callable[[Values, str], Iterable[str]] = field(repr=False)
    algorithm: Algorithm
    member: str = ""
    header: str = ""
    keyed: bool = False
    form: bool = False
    apart: tuple[str, ...] = ()

    covers: ClassVar[Covers] = "values"
    tolerance: ClassVar[int | None] = None

    @property
    def title(self) -> str:
        kind = f"HMAC-{self.algorithm.upper()}" if self.keyed else self.algorithm.upper()
        return f"{kind} of the values that count{'' if self.keyed else ' and the secret'} (hex)"

    @property
    def headers(self) -> tuple[str, ...]:
        return (self.header,) if self.header else ()

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        body = _read(webhook.body)
        received = self._received(webhook, body)
        hashes = [self._hash(text, secret) for text in self.texts(self._values(body), secret)]
        return bool(received) and any(equal(each, received) for each in hashes)

    def proof(self, webhook: Webhook) -> str | None:
        """The hash, and what tells bodies apart that have the same one; a body without values has none."""
        with suppress(AttributeError, LookupError, RecursionError, TypeError, ValueError):
            body = _read(webhook.body)
            received = self._received(webhook, body)
            if received and any(self._values(body).values()):
                apart = [_at(body, path) for path in self.apart]
                return json.dumps([received, *apart]) if apart else received
        return None

    def is_signed(self, webhook: Webhook) -> bool:
        with suppress(AttributeError, LookupError, RecursionError, TypeError, ValueError):
            return bool(self._received(webhook, _read(webhook.body)))
        return False

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        try:
            body = _read(webhook.body)
            signature = self._hash(next(iter(self.texts(self._values(body), secret))), secret)
            if self.header:
                return with_headers(webhook, {self.header: signature})
            fields = json.loads(webhook.body) | {self.member: signature}
            written = forms.write(fields) if self.form else _written(fields)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            # A body without values has nothing to sign.
            return webhook
        return replace(webhook, body=written)

    def example_secret(self, seed: str) -> str:
        return seed

    def complaint(self, secret: str) -> str | None:
        """None: what the secret looks like differs from provider to provider, and from year to year."""
        del secret
        return None

    def _received(self, webhook: Webhook, body: Mapping[str, Any]) -> str:
        if self.header:
            return webhook.headers.get(self.header, "").strip().lower()
        return str(body.get(self.member) or "").strip().lower()

    def _values(self, body: Mapping[str, Any]) -> Values:
        return {path: _text_at(body, path) for path in self.values}

    def _hash(self, text: str, secret: str) -> str:
        if self.keyed:
            return digest(text_key(secret), text.encode(), "hex", self.algorithm)
        return hashlib.new(self.algorithm, text.encode()).hexdigest()


def joined(joiner: str, *parts: str) -> str:
    """Texts with a joiner between. What holds the joiner itself is `ambiguous`."""
    return joiner.join(parts)


def ambiguous(payload: object, values: Iterable[str], joiner: str) -> bool:
    """Whether a hashed value holds the joiner, so that other values have the same hash."""
    return any(joiner in str(_at(payload, path) or "") for path in values)


class Unambiguous(Payload):
    """A body whose values `hashed` were joined by `joiner`, and none of which holds it.

    Raises Untranslatable for another: a part of one value may have been moved into its neighbour.
    """

    hashed: ClassVar[tuple[str, ...]]
    joiner: ClassVar[str] = "|"

    @model_validator(mode="before")
    @classmethod
    def without_joiners(cls, body: object) -> object:
        if ambiguous(body, cls.hashed, cls.joiner):
            raise Untranslatable(f"a hashed value holds {cls.joiner}, so others have the same hash")
        return body


def _written(fields: Mapping[str, Any]) -> bytes:
    """Raises ValueError for text that is no Unicode."""
    return json.dumps(fields, ensure_ascii=False).encode()


def _read(body: bytes) -> dict[str, Any]:
    """A body as texts. Raises ValueError or TypeError for one that is no object, or has a name twice."""
    if not forms.is_json(body):
        return dict(forms.read(body))
    value = json.loads(body, parse_int=str, parse_float=str, object_pairs_hook=_once)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name comes twice")
    return fields


def _at(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text_at(body: Any, path: str) -> str:
    """The text at a path, or "" where there is none. Raises TypeError for what is no text."""
    value = _at(body, path)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("only texts and numbers are hashed")
    return value
