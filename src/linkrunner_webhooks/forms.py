"""Bodies that are forms (application/x-www-form-urlencoded), and how they become JSON.

https://url.spec.whatwg.org/#application/x-www-form-urlencoded
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.model import Webhook

# Providers send some dozens of fields.
_MOST_FIELDS: Final = 500


def read(body: bytes) -> dict[str, str]:
    """The fields of a form, by name. Raises ValueError for a name that comes twice: which one counts?"""
    pairs = parse_qsl(
        body.decode("utf-8"),
        keep_blank_values=True,
        strict_parsing=True,
        errors="strict",
        max_num_fields=_MOST_FIELDS,
    )
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field comes twice")
    return fields


def write(fields: Mapping[str, object]) -> bytes:
    """A form with these fields. Half of a character, which no form can hold, becomes a question mark."""
    texts = {name: _text(value) for name, value in fields.items()}
    return urlencode(texts, errors="replace").encode("ascii")


def is_json(body: bytes) -> bool:
    """Whether a body is JSON, where it may be a form as well: the names of fields are letters."""
    return body.lstrip()[:1] in (b"{", b"[")


def unpack(webhook: Webhook) -> tuple[Webhook, ...]:
    """The webhook with its fields as JSON texts; one that is JSON stays as it is. Raises Malformed."""
    if is_json(webhook.body):
        return (webhook,)
    try:
        fields = read(webhook.body)
    except ValueError:
        raise Malformed("the body is no form") from None
    return (replace(webhook, body=json.dumps(fields).encode()),)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
