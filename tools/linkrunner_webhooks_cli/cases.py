"""Golden cases: a case is a sample of events/, or another case, with a few changes.

tests/providers/<provider>/<case>/input.json holds
    {"like": "invoice.paid", "set": {"data.object.currency": "jpy"}, "remove": ["data.object.metadata"],
     "headers": {"x-request-id": "another", "x-test": null}}

- `like` names a sample by its event type, or a case. Headers and body come from there.
- `set` gives values by path. A path holds keys and numbers of list elements: "items.0.price". A key with a
  dot stands in single quotes: "additionalData.'metadata.user_id'". The last key may be new, and the number
  after the last one appends to a list.
- `remove` lists paths to leave out, after everything is set.
- `headers` gives the headers that differ. Null leaves a header out.
- A webhook that is like no sample gives whole `headers` and `body` instead.

A change that changes nothing is an error, so every line of a case counts.

Tests and `send --story` read them here. The files stay with the tests, whose expectations lie beside them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from linkrunner_webhooks import providers
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.samples import Sample
from linkrunner_webhooks_local.project import ROOT

CASES = ROOT / "tests" / "providers"
# A reader opens at most two cases and a sample.
LONGEST_CHAIN = 2

KEY = re.compile(r"'[^']+'|[^.']+")
PATH = re.compile(rf"({KEY.pattern})(\.({KEY.pattern}))*")

Written = Mapping[str, Any]
Json: TypeAlias = Any


class BadCase(ValueError):
    """A case that does not say what it means."""


def written(provider: str, case: str) -> dict[str, Any]:
    """What input.json holds."""
    found: dict[str, Any] = json.loads(_path(provider, case).read_text("utf-8"))
    return found


def load(provider: str, case: str, through: tuple[str, ...] = ()) -> Sample:
    """The webhook of a case, unsigned; `through` are the cases that are like it."""
    entry = written(provider, case)
    webhook = {key: value for key, value in entry.items() if key not in {"config", "source"}}
    try:
        return expanded(provider, webhook, (*through, case))
    except BadCase as error:
        error.add_note(f"in {_path(provider, case).relative_to(ROOT)}")
        raise


def names(provider: str) -> list[str]:
    """The cases that there are of a provider, in order."""
    return sorted(path.parent.name for path in (CASES / provider).glob("*/input.json"))


def expanded(provider: str, entry: Written, through: tuple[str, ...] = ()) -> Sample:
    """The webhook that an entry describes, in the form of the module's docstring."""
    if "like" not in entry:
        _has_keys(entry, needed=("headers", "body"))
        return Sample(entry["headers"], entry["body"])
    _has_keys(entry, needed=("like",), allowed=("set", "remove", "headers"))
    base = _named(provider, entry["like"], through)
    body = without(with_values(base.body, entry.get("set", {})), entry.get("remove", ()))
    return Sample(_headers(base.headers, entry.get("headers", {})), body)


def with_values(body: Json, values: Mapping[str, Json]) -> Json:
    """A copy with other values at some paths, set one after another."""
    copy = deepcopy(body)
    for path, value in values.items():
        holder, key = _place(copy, path)
        if _holds(holder, key):
            if _text(holder[key]) == _text(value):
                raise BadCase(f"set {path!r}: it is {_text(value)} already")
            holder[key] = deepcopy(value)
        elif isinstance(holder, dict):
            holder[key] = deepcopy(value)
        elif key == len(holder):
            holder.append(deepcopy(value))
        else:
            raise BadCase(f"set {path!r}: the list has {len(holder)} elements")
    return copy


def without(body: Json, paths: Sequence[str]) -> Json:
    """A copy that lacks some paths, removed one after another."""
    copy = deepcopy(body)
    for path in paths:
        holder, key = _place(copy, path)
        if not _holds(holder, key):
            raise BadCase(f"remove {path!r}: it is not there{_near(key, holder)}")
        del holder[key]
    return copy


def _headers(base: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    for name, value in changes.items():
        if base.get(name) == value:
            said = "not there" if value is None else f"{value!r} already"
            raise BadCase(f"header {name!r}: it is {said}")
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def _named(provider: str, name: str, through: tuple[str, ...]) -> Sample:
    """A sample by its event type; or a case, unless it is too far away."""
    types = providers.load(provider).types
    if name in types:
        return samples.read(provider, name)
    if not _path(provider, name).is_file():
        known = [*types, *names(provider)]
        raise BadCase(f"{provider} has no sample or case {name!r}{_near(name, known)}")
    if len(through) == LONGEST_CHAIN:
        chain = " like ".join((*through, name))
        raise BadCase(f"{chain}: the last but one has to be like a sample, or whole")
    return load(provider, name, through)


def _place(body: Json, path: str) -> tuple[Any, Any]:
    """The object or list that holds the last key of a path, and that key or number."""
    if not PATH.fullmatch(path):
        raise BadCase(f"{path!r} is not a path of keys with dots between")
    *before, last = (key.strip("'") for key in KEY.findall(path))
    holder = body
    for key in before:
        found = _key(holder, key, path)
        if not _holds(holder, found):
            raise BadCase(f"{path!r}: there is no {key!r}{_near(key, holder)}")
        holder = holder[found]
    return holder, _key(holder, last, path)


def _key(holder: Json, key: str, path: str) -> str | int:
    if isinstance(holder, dict):
        return key
    if not isinstance(holder, list):
        raise BadCase(f"{path!r}: {_text(holder)} has no {key!r}")
    if not key.isdecimal():
        raise BadCase(f"{path!r}: a list has numbers, and not {key!r}")
    return int(key)


def _holds(holder: Json, key: str | int) -> bool:
    return key < len(holder) if isinstance(key, int) else key in holder


def _has_keys(entry: Written, needed: Collection[str], allowed: Collection[str] = ()) -> None:
    for key in entry:
        if key not in {*needed, *allowed}:
            raise BadCase(f"unknown key {key!r} next to {', '.join(needed)}")
    for key in needed:
        if key not in entry:
            raise BadCase(f"{key!r} is missing; a case has `like`, or whole `headers` and `body`")


def _near(word: Any, words: Json) -> str:
    found = get_close_matches(str(word), [each for each in words if isinstance(each, str)])
    return f"; near it: {', '.join(found)}" if found else ""


def _text(value: Json) -> str:
    """True is not 1 and 2.0 is not 2, as the provider writes them."""
    return json.dumps(value, ensure_ascii=False)


def _path(provider: str, case: str) -> Path:
    return CASES / provider / case / "input.json"
