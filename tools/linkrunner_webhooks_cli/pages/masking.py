"""A request for people to look at, with nothing of a person in it until they ask, and never with a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import unseal
from linkrunner_webhooks.errors import Unreadable, WebhookError
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.screening import Phones, is_contact, is_phone, none_known
from linkrunner_webhooks.users import usable, values
from linkrunner_webhooks_cli.pages.secrecy import (
    HIDDEN,
    is_secret,
    is_secret_header,
    named_in,
    without_secrets,
    words,
)
from linkrunner_webhooks_cli.user_paths import PERSONAL, PLACES, masked

# What a value is, and not whose. A state can be one of an address.
_PLAIN: Final = re.compile(
    r"(\w+_)?(id|ids|type|event|status|currency(_code)?|object|kind|topic|mode|interval|action"
    r"|created|updated|timestamp|time|date|\w+_at|version|amount\w*|price\w*|total\w*|quantity|livemode)",
    re.IGNORECASE,
)
_ID: Final = re.compile(r"(\w+_)?ids?", re.IGNORECASE)
# Whose it is: people, their devices, and what merchants call them.
_USERS: Final = re.compile(
    r"user|identity|(^|_)uid|account|customer|player|member|profile|client|external|shopper|buyer|payer|subscriber"
    r"|person|contact|owner|recipient|alias|visitor|anonymous|distinct|device|advertis|idf[av]|gaid"
    r"|(^|_)(custom|passthrough|vid)(_|$)|reference_id$"
)
# Nobody writes about a person in one word of these.
_WORD: Final = re.compile(r"[\w.:/+-]{1,80}", re.ASCII)
_KEY: Final = re.compile(r"[\w .:$/\[\]-]{1,80}", re.ASCII)
# A phone number without its plus sign: digits, and what stands between them.
_DIGITS: Final = re.compile(r"[+\d().:/-]+", re.ASCII)
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15
_LONGEST_NAME: Final = 80
# Shorter ids are parts of many words.
_SHORTEST_PART: Final = 4
# Python writes no longer numbers. Nobody needs to see one.
_LONGEST_NUMBER: Final = 10**100
_FIELD: Final = re.compile(r"[\w.:$-]{1,80}(\[[\w.:$-]{0,80}\])*", re.ASCII)
_MOST_FIELDS: Final = 500
# Each of them is looked for in each text.
_MOST_USERS: Final = 200


def shown_headers(
    headers: Mapping[str, str], proofs: Collection[str], *, whole: bool
) -> dict[str, str]:
    """Signatures and tokens are masked in any case; `proofs` are the headers that a scheme reads."""
    mask, shown = _Mask(whole=whole), {}
    for name, value in sorted(headers.items()):
        is_hidden = name in proofs or is_secret_header(name)
        shown[name] = HIDDEN if is_hidden else mask.leaf((name,), value)
    return shown


def shown_body(webhook: Webhook, source: Source | None, *, whole: bool) -> str:
    """As indented JSON where it is JSON, and field by field where it is a form.

    Of anything else nothing is shown until somebody asks. The source knows where its users stand.
    """
    mask = _Mask(
        frozenset(islice(_users(webhook, source), _MOST_USERS)), webhook.phones, whole=whole
    )
    with suppress(WebhookError, RecursionError):
        return _json(mask.shown((), webhook.payload))
    text = webhook.body.decode("utf-8", "replace")
    if fields := _fields(text):
        return "\n".join(f"{mask.key(name)} = {mask.field(name, each)}" for name, each in fields)
    return without_secrets(text) if whole else f"{len(webhook.body)} bytes, no JSON"


def shown_message(text: str, config: Config, *, whole: bool) -> tuple[dict[str, str], str]:
    """The headers and the body in a message of a queue that no code of today reads.

    What is no envelope is shown as a body is.
    """
    webhook = _enveloped(text) or Webhook("", {}, text.encode("utf-8", "replace"))
    source = config.source(webhook.source)
    proofs: Collection[str] = getattr(source.signature, "headers", ()) if source else ()
    headers = shown_headers(webhook.headers, proofs, whole=whole)
    return headers, shown_body(webhook, source, whole=whole)


def shown_key(key: object) -> str:
    """A key of a body; somebody may have written a person there."""
    text = str(key)
    return text if _KEY.fullmatch(text) and not is_contact(text) else HIDDEN


def _enveloped(text: str) -> Webhook | None:
    """The webhook in an envelope, of whatever version; None where there is none."""
    try:
        return unseal(text).webhook
    except Unreadable:
        pass
    with suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
        content = json.loads(text)
        headers = {str(name): str(value) for name, value in content["headers"].items()}
        body = content["body"]
        written = body if isinstance(body, str) else json.dumps(body)
        return Webhook(str(content.get("source", "")), headers, written.encode("utf-8", "replace"))
    return None


def _users(webhook: Webhook, source: Source | None) -> Iterator[str]:
    """The users and customers that a request names, where its source looks for them."""
    if source is None:
        return
    provider = source.provider
    with suppress(WebhookError, RecursionError):
        for each in provider.unpack(webhook):
            for path in (*source.user_id, *provider.customer_ids, *provider.aliases):
                for value in values(path, each.payload):
                    if user := usable(value):
                        yield from (user, str(value).strip())


def _fields(text: str) -> list[tuple[str, str]]:
    """The fields of a form; none where it is no form."""
    try:
        fields = parse_qsl(
            text.strip(), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        return []
    # Base64 ends in such signs, too.
    is_one = any(each.strip("=") for _, each in fields)
    return fields if is_one and all(_FIELD.fullmatch(name) for name, _ in fields) else []


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Mask:
    """How the values of one request are shown. `users` are those that it names, `whole` is what is asked."""

    users: frozenset[str] = frozenset()
    phones: Phones = none_known
    whole: bool = False

    def shown(self, keys: tuple[str, ...], value: Any) -> Any:
        """A value of a body that stands under these keys, the outermost first."""
        if value is None or isinstance(value, bool):
            return value
        if keys and is_secret(keys[-1]):
            return HIDDEN
        if isinstance(value, dict):
            return {self.key(key): self._in(value, keys, key) for key in value}
        if isinstance(value, list):
            return [self.shown(keys, each) for each in value]
        return self.leaf(keys, value)

    def _in(self, value: dict[Any, Any], keys: tuple[str, ...], key: Any) -> Any:
        name = str(key)
        pair = named_in(value)
        # Alone, a key is no name of anything.
        if is_secret(pair) if name == "value" else name.lower() == "key" and not pair:
            return HIDDEN
        return self.shown((*keys, name), value[key])

    def field(self, name: str, text: str) -> str:
        """A field of a form, which may be JSON."""
        keys = tuple(filter(None, re.split(r"[\[\].]+", name)))
        value: Any = text
        with suppress(ValueError, RecursionError):
            found = json.loads(text)
            value = found if isinstance(found, dict | list) else text
        shown = self.shown(keys, value)
        return shown if isinstance(shown, str) else _json(shown)

    def key(self, key: object) -> str:
        """A key of a body."""
        if self.whole:
            return str(key)
        shown = shown_key(key)
        return masked(shown) if self._is_user(shown) else shown

    def leaf(self, keys: tuple[str, ...], value: Any) -> Any:
        """A text or a number: masked, unless its name says that it is nobody's."""
        if isinstance(value, int) and abs(value) >= _LONGEST_NUMBER:
            return HIDDEN
        if not (self.whole or self._is_nobodys(keys, value)):
            return masked(value)
        return without_secrets(value) if isinstance(value, str) else value

    def _is_nobodys(self, keys: tuple[str, ...], value: Any) -> bool:
        name = keys[-1].removeprefix("x-").replace("-", "_") if keys else ""
        if len(name) > _LONGEST_NAME or not _PLAIN.fullmatch(name):
            return False
        if PERSONAL.search(name) or _USERS.search(words(name)):
            return False
        # What merchants put there is theirs, whatever they call it.
        if any(map(PLACES.fullmatch, keys[:-1])):
            return False
        text = str(value)
        if self._is_user(text) or is_phone(text, self.phones):
            return False
        if _ID.fullmatch(name) and (_may_be_a_phone(value) or _is_of_a_user(keys[:-1])):
            return False
        return not isinstance(value, str) or bool(_WORD.fullmatch(value) and not is_contact(value))

    def _is_user(self, text: str) -> bool:
        text = text.strip()
        return text in self.users or any(
            user in text for user in self.users if len(user) >= _SHORTEST_PART
        )


def _may_be_a_phone(value: Any) -> bool:
    text = str(value)
    digits = sum(map(str.isdigit, text))
    return bool(_DIGITS.fullmatch(text)) and _FEWEST_DIGITS <= digits <= _MOST_DIGITS


def _is_of_a_user(keys: Collection[str]) -> bool:
    return any(_USERS.search(words(key)) for key in keys)
