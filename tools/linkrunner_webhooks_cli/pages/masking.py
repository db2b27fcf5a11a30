"""A request for people to look at, with nothing of a person in it until they ask."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from linkrunner_webhooks.errors import WebhookError
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.screening import is_contact
from linkrunner_webhooks_cli.user_paths import PERSONAL, masked

# What a value is, and not whose. A state can be one of an address.
_PLAIN: Final = re.compile(
    r"(\w+_)?(id|ids|type|event|status|currency(_code)?|object|kind|topic|mode|interval|action"
    r"|created|updated|timestamp|time|date|\w+_at|version|amount\w*|price\w*|total\w*|quantity|livemode)",
    re.IGNORECASE,
)
# Nobody writes about a person in one word of these.
_WORD: Final = re.compile(r"[\w.:/+-]{1,80}", re.ASCII)
_SECRET: Final = re.compile(r"sig(n|\b)|auth|token|secret|key|hmac|hash|cookie", re.IGNORECASE)
# Fewer names than headers have: in a body many a key is no secret.
_SECRET_INSIDE: Final = re.compile(r"signature|signed|hmac|secret|password|token", re.IGNORECASE)
_KEY: Final = re.compile(r"[\w .:$/-]{1,80}", re.ASCII)


def shown_headers(
    headers: Mapping[str, str], proofs: Collection[str], *, whole: bool
) -> dict[str, str]:
    """Signatures and tokens are masked in any case; `proofs` are the headers that a scheme reads."""
    shown = {}
    for name, value in sorted(headers.items()):
        secret = name in proofs or _SECRET.search(name)
        shown[name] = "…" if secret else value if whole else _plain(name, value)
    return shown


def shown_body(webhook: Webhook, *, whole: bool) -> str:
    """As indented JSON where it is JSON."""
    try:
        payload = webhook.payload
    except WebhookError:
        return (
            webhook.body.decode("utf-8", "replace")
            if whole
            else f"{len(webhook.body)} bytes, no JSON"
        )
    return json.dumps(_shown("", payload, whole=whole), indent=2, ensure_ascii=False)


def shown_key(key: object) -> str:
    """A key of a body; somebody may have written a person there."""
    text = str(key)
    return text if _KEY.fullmatch(text) and not is_contact(text) else "…"


def _shown(name: str, value: Any, *, whole: bool) -> Any:
    if isinstance(value, dict):
        return {
            str(key) if whole else shown_key(key): _shown(str(key), each, whole=whole)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_shown(name, each, whole=whole) for each in value]
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_INSIDE.search(name):
        return "…"
    return value if whole else _plain(name, value)


def _plain(name: str, value: Any) -> Any:
    """The value, where its name says that it is nobody's; masked elsewhere."""
    known = name.removeprefix("x-").replace("-", "_")
    if not _PLAIN.fullmatch(known) or PERSONAL.search(known):
        return masked(value)
    is_plain = not isinstance(value, str) or (_WORD.fullmatch(value) and not is_contact(value))
    return value if is_plain else masked(value)
