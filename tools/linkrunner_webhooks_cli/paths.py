"""Whether the paths of webhooks.toml lead anywhere, judged by the sample webhooks of the source's types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import jmespath

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.reading import USER_KEYS
from linkrunner_webhooks.screening import is_contact
from linkrunner_webhooks_cli import samples

# The keys along a path; what is in a list counts as being in its place.
Shape = tuple[str, ...]

_ADDRESS = re.compile(r"(?:\w*_)?(?:e_?mail|phone|mobile)(?:_?(?:address|number))?", re.IGNORECASE)
_PASSING = {"subexpression", "index_expression", "pipe", "projection", "flatten"}
_HERE = {"index", "slice", "identity", "current"}


@dataclass(slots=True)
class Map:
    """Every text, number and null in the samples of a source, by its shape; `contacts` hold addresses."""

    leaves: set[Shape] = field(default_factory=set)
    contacts: set[Shape] = field(default_factory=set)

    def add(self, value: Any, shape: Shape = ()) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                self.add(inner, (*shape, key))
        elif isinstance(value, list):
            for inner in value:
                self.add(inner, shape)
        else:
            self.leaves.add(shape)
            if isinstance(value, str) and is_contact(value):
                self.contacts.add(shape)

    def nearest(self, shape: Shape) -> str:
        """`; did you mean ...?`, or nothing when nothing is near."""
        near = get_close_matches(written(shape), map(written, sorted(self.leaves)), n=1)
        return f"; did you mean `{near[0]}`?" if near else ""


def doubts(source: Source) -> Iterator[str]:
    """Warnings about paths that no sample has, and about addresses. The provider's own paths are right."""
    own = [each for each in source.user_id if each not in source.provider.user_id]
    places = [("user_id", each) for each in own]
    places += [(f"extra.{name}", each) for name, each in source.extra.items()]
    if not places or not samples.EVENTS.is_dir():
        return
    known = map_of(source)
    for place, expression in places:
        doubt = _doubt(expression, source, known)
        if doubt:
            yield f"[{source.name}] {place}: {doubt}"


def _doubt(expression: str, source: Source, known: Map) -> str | None:
    shape = shape_of(expression)
    if not shape:
        return None
    if shape in known.contacts or _ADDRESS.fullmatch(shape[-1]):
        return (
            f"`{expression}` is an address, which is never an id and never leaves: it finds nothing"
        )
    if shape in known.leaves or _is_free(shape, source):
        return None
    return (
        f"no sample of the types that are forwarded has a text or a number at `{expression}`"
        f"{known.nearest(shape)}"
    )


def map_of(source: Source) -> Map:
    """What the samples of the source's forwarded types hold."""
    found = Map()
    for event_type in source.provider.types:
        if source.wants(event_type):
            request = samples.load(source, event_type).webhook(source)
            for webhook in source.provider.unpack(request):
                found.add(webhook.payload)
    return found


def shape_of(expression: str) -> Shape | None:
    """The keys that a path goes along; None for an expression that computes."""
    return _keys(jmespath.compile(expression).parsed)


def _keys(node: Any) -> Shape | None:
    kind, children = node["type"], node["children"]
    if kind == "field":
        return (node["value"],)
    if kind in _HERE:
        return ()
    if kind == "filter_projection":
        children = children[:2]
    elif kind not in _PASSING:
        return None
    parts = [_keys(child) for child in children]
    return None if None in parts else tuple(key for part in parts for key in part or ())


def _is_free(shape: Shape, source: Source) -> bool:
    """Whether the merchant chooses the keys there, as in metadata, where the default paths look for ours."""
    ours = USER_KEYS[0]
    free = {
        (keys[at - 1], keys[at].removesuffix(ours))
        for keys in map(shape_of, source.provider.user_id)
        for at in range(1, len(keys or ()))
        if keys and keys[at].endswith(ours)
    }
    return any(
        parent == above and key.startswith(prefix)
        for above, key in pairwise(shape)
        for parent, prefix in free
    )


def written(shape: Shape) -> str:
    """A shape as JMESPath, but for the brackets of lists."""
    return ".".join(key if key.isidentifier() else f'"{key}"' for key in shape)
