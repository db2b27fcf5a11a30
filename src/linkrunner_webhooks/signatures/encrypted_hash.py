"""The scheme of a salted hash of everything that is sent, encrypted with the secret."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from linkrunner_webhooks import forms
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import Covers, equal

# The same for everybody, in Paytm's own libraries.
_FIRST_BLOCK = b"@@@@&&&&####$$$$"
_BLOCK = 16
# The hash in hexadecimal, and the salt behind it.
_HASH, _SALT = 64, 4
# Keys of 32 characters (AES-256) are unconfirmed.
_KEYS = (16, 32)
# What is signed of a JSON body, and where its signature is.
_SIGNED, _HEAD, _SIGNATURE = "body", "head", "signature"
_ERRORS = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class EncryptedHash:
    """AES-CBC (base64) of a salted SHA-256, as Paytm signs.

    In a form the signature is the field `member`. All other values are hashed, in the order of their names
    and with bars between; one that is "null" counts as empty. Their names are not hashed. A JSON body is
    `{"head": {"signature"}, "body"}`, and the text of its `body` is hashed as it is written. `values` are the
    names of those that are read.

    The salt is inside the signature. So it is decrypted for the salt alone, made anew, and compared as a
    whole: nothing in the answer depends on a part of it, and no other text can be the same signature.
    """

    member: str
    values: tuple[str, ...]

    title: ClassVar[str] = "encrypted SHA-256 of all values (AES-CBC, base64)"
    covers: ClassVar[Covers] = "values"
    tolerance: ClassVar[int | None] = None

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        received = self._received(webhook.body)
        decrypted = _decrypted(b64decode(received, validate=True), secret)
        salt = decrypted[_HASH : _HASH + _SALT]
        return equal(_signature(self._signed(webhook.body), salt, secret), received)

    def proof(self, webhook: Webhook) -> str | None:
        """The signature."""
        with suppress(*_ERRORS):
            return self._received(webhook.body) or None
        return None

    def is_signed(self, webhook: Webhook) -> bool:
        return bool(self.proof(webhook))

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        try:
            written = json.loads(webhook.body)
            is_form = _SIGNED not in written
            unsigned = forms.write(written) if is_form else _json(written)
            signed = self._signed(unsigned)
        except _ERRORS:
            # The body is no report, so there is nothing to sign.
            return webhook
        # A report that is made again is signed with the same salt, so that samples do not change.
        signature = _signature(signed, sha256(signed).hexdigest()[:_SALT].encode(), secret)
        if is_form:
            return replace(webhook, body=forms.write(written | {self.member: signature}))
        head = {**(written.get(_HEAD) or {}), _SIGNATURE: signature}
        return replace(webhook, body=_json(written | {_HEAD: head}))

    def example_secret(self, seed: str) -> str:
        return sha256(seed.encode()).hexdigest()[:_BLOCK]

    def complaint(self, secret: str) -> str | None:
        fits = len(secret.encode("utf-8", "replace")) in _KEYS
        return None if fits else "it is no merchant key: those have 16 characters"

    def _signed(self, body: bytes) -> bytes:
        """What is hashed of a body. Raises for one that can be read in two ways, or not at all."""
        if forms.is_json(body):
            return _members(body.decode())[_SIGNED].encode()
        fields = forms.read(body)
        named = sorted(name for name in fields if name != self.member)
        values = (fields[name] for name in named)
        return "|".join("" if is_null(value) else value for value in values).encode()

    def _received(self, body: bytes) -> str:
        """The signature of a body, also of one that is unpacked. Raises for a body without one."""
        fields: dict[str, Any] = json.loads(body) if forms.is_json(body) else dict(forms.read(body))
        signature = fields[_HEAD][_SIGNATURE] if _SIGNED in fields else fields[self.member]
        return str(signature or "")


def is_null(value: str) -> bool:
    """Whether a value of a form says that there is none."""
    return value.lower() == "null"


def _signature(signed: bytes, salt: bytes, secret: str) -> str:
    text = sha256(signed + b"|" + salt).hexdigest().encode() + salt
    missing = _BLOCK - len(text) % _BLOCK
    encryptor = _cipher(secret).encryptor()
    encrypted = encryptor.update(text + bytes([missing]) * missing) + encryptor.finalize()
    return b64encode(encrypted).decode("ascii")


def _decrypted(encrypted: bytes, secret: str) -> bytes:
    """What was encrypted. Raises ValueError for a part of a block."""
    decryptor = _cipher(secret).decryptor()
    return decryptor.update(encrypted) + decryptor.finalize()


def _cipher(secret: str) -> Cipher[CBC]:
    """Raises ValueError for a secret that cannot be a key."""
    return Cipher(AES(secret.encode()), CBC(_FIRST_BLOCK))


_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def _members(text: str) -> dict[str, str]:
    """The members of a JSON object, each as it is written. Raises ValueError for a name that comes twice."""
    found: dict[str, str] = {}
    at, mark = _expected(text, 0, "{")
    while mark != "}":
        name, at = _DECODER.raw_decode(text, at)
        start, _ = _expected(text, at, ":")
        _, end = _DECODER.raw_decode(text, start)
        if not isinstance(name, str) or name in found:
            raise ValueError("not a name, or one that comes twice")
        found[name] = text[start:end]
        at, mark = _expected(text, end, ",}")
    if at < len(text):
        raise ValueError("something follows the object")
    return found


def _expected(text: str, at: int, marks: str) -> tuple[int, str]:
    """Where the text goes on after one of these marks and the space around it, and the mark."""
    start = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing as well
    mark = text[start]
    if mark not in marks:
        raise ValueError("not an object")
    return _SPACE.match(text, start + 1).end(), mark  # type: ignore[union-attr]


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
