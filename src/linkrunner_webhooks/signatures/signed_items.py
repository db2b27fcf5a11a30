"""The scheme whose signatures are inside the body, one in every item."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import Covers, digest, equal, hex_key

# Bytes. Adyen's have 32; nobody makes keys below half of that.
_SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class SignedItems:
    """HMAC-SHA256 (hexadecimal key, base64) inside each item of the body, over some values of the item.

    The body is `{<items>: [{<item>: {...}}, ...]}`; every item must be signed. `values` are the dotted paths
    of the signed values. The values are joined by colons without escaping; a missing value is empty.
    `signature` is the dotted path of the signature.
    """

    items: str
    item: str
    values: tuple[str, ...]
    signature: str

    title: ClassVar[str] = "HMAC-SHA256 of the values that count, in every item (base64)"
    covers: ClassVar[Covers] = "values"
    tolerance: ClassVar[int | None] = None

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        items = self._items(json.loads(webhook.body))
        return bool(items) and all(
            equal(self._signature_of(item, secret), _text_at(item, self.signature))
            for item in items
        )

    def proof(self, webhook: Webhook) -> str | None:
        """The signature of the only item."""
        try:
            (item,) = self._items(json.loads(webhook.body))
            return _text_at(item, self.signature) or None
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            return None

    def is_signed(self, webhook: Webhook) -> bool:
        with suppress(AttributeError, LookupError, RecursionError, TypeError, ValueError):
            return any(
                _text_at(each, self.signature) for each in self._items(json.loads(webhook.body))
            )
        return False

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        try:
            body = json.loads(webhook.body)
            items = self._items(body)
        except (KeyError, RecursionError, TypeError, ValueError):
            # A body without items has nothing to sign.
            return webhook
        for item in items:
            *parents, last = self.signature.split(".")
            place = item
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = self._signature_of(item, secret)
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return replace(webhook, body=text.encode())

    def example_secret(self, seed: str) -> str:
        return sha256(seed.encode()).hexdigest().upper()

    def complaint(self, secret: str) -> str | None:
        try:
            key = hex_key(secret)
        except ValueError:
            return "it is no HMAC key: those are hexadecimal (0-9, A-F)"
        return None if len(key) >= _SHORTEST_KEY else "it is too short for an HMAC key"

    def _items(self, body: Any) -> list[Any]:
        return [each[self.item] for each in body[self.items]]

    def _signature_of(self, item: Any, secret: str) -> str:
        message = ":".join(_text_at(item, path) for path in self.values)
        return digest(hex_key(secret), message.encode(), "base64")


def _text_at(item: Any, path: str) -> str:
    """The text or integer at a dotted path, or "" when it is missing. Raises TypeError for other values."""
    value = item
    for key in path.split("."):
        value = (value or {}).get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("only texts and integers are signed")
    return str(value)
