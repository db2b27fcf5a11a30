"""The scheme of a form with a signature and a payload, which is XML in base64."""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha1, sha256
from typing import ClassVar

from linkrunner_webhooks import forms, xml_values
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import Covers, equal

# Nothing else is base64, or the end of one of its lines.
_PAYLOAD = re.compile(r"[A-Za-z0-9+/=\n]+", re.ASCII)
_LINE = 60


@dataclass(frozen=True, slots=True)
class FormPayload:
    """HMAC-SHA1 (hex) of a field of a form, whose key is the SHA-1 of a private key, as Braintree signs.

    The field `signature` has pairs of a public key and a signature, `key|hex&key|hex`: one for each pair of
    keys of the account. So the secret is `public_key:private_key`, as the control panel shows them side by
    side. The field `payload` is base64, in lines, of XML whose outermost element is `root`.
    """

    signature: str
    payload: str
    root: str

    title: ClassVar[str] = "HMAC-SHA1 of the payload (hex)"
    covers: ClassVar[Covers] = "payload"
    tolerance: ClassVar[int | None] = None

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        del now
        public, private = _keys(secret)
        fields = forms.read(webhook.body)
        payload = fields[self.payload]
        if not _PAYLOAD.fullmatch(payload):
            return False
        # Some senders sign a last end of line that the form has lost, and Braintree's libraries know it.
        signatures = [_signature(private, each) for each in (payload, f"{payload}\n")]
        received = [each for key, each in _pairs(fields[self.signature]) if equal(key, public)]
        return any(equal(one, each) for one in signatures for each in received)

    def proof(self, webhook: Webhook) -> str | None:
        """None: all that is read is signed."""
        del webhook
        return None

    def is_signed(self, webhook: Webhook) -> bool:
        with suppress(LookupError, ValueError):
            return bool(forms.read(webhook.body)[self.signature])
        return False

    def unpack(self, body: bytes) -> bytes:
        """The payload of a verified body as JSON.

        A body that is not signed is returned as it is. Raises ValueError.
        """
        if forms.is_json(body):
            return body
        payload = forms.read(body).get(self.payload, "")
        document = b64decode(payload.replace("\n", ""), validate=True)
        value = xml_values.read(document, self.root)
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        del now
        public, private = _keys(secret)
        try:
            written = json.loads(webhook.body)
            if not isinstance(written, dict):
                raise TypeError("not an object")
            document = xml_values.write(written, self.root)
        except (RecursionError, TypeError, ValueError):
            # The body is no notification, so there is nothing to sign.
            return webhook
        payload = _in_lines(b64encode(document).decode("ascii"))
        signature = f"{public}|{_signature(private, payload)}"
        return replace(
            webhook, body=forms.write({self.signature: signature, self.payload: payload})
        )

    def example_secret(self, seed: str) -> str:
        keys = sha256(seed.encode()).hexdigest()
        return f"{keys[:16]}:{keys[32:]}"

    def complaint(self, secret: str) -> str | None:
        try:
            _keys(secret)
        except ValueError:
            return "it is not like public_key:private_key"
        return None


def _keys(secret: str) -> tuple[str, str]:
    """The public and the private key. Raises ValueError where one of them is missing."""
    public, _, private = (part.strip() for part in secret.partition(":"))
    if not (public and private):
        raise ValueError("not two keys")
    return public, private


def _pairs(signature: str) -> Iterator[tuple[str, str]]:
    for pair in signature.split("&"):
        key, _, each = pair.partition("|")
        yield key, each


def _in_lines(text: str) -> str:
    starts = range(0, len(text), _LINE)
    return "".join(f"{text[start : start + _LINE]}\n" for start in starts)


def _signature(private: str, payload: str) -> str:
    # Braintree signs so; as the key of an HMAC a SHA-1 is as good as any.
    key = sha1(private.encode()).digest()  # noqa: S324
    return hmac.digest(key, payload.encode(), "sha1").hex()
