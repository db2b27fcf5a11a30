"""The generated parts of docs/events.md: what each event carries, and which providers report it.

The registry says who can report an event. The golden cases say which fields it has then: their expected
bodies are what the translators make of real shapes, which tests/test_golden.py proves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from linkrunner_webhooks import providers
from linkrunner_webhooks.event_body import AMOUNTS, FIELDS
from linkrunner_webhooks.model import Kind
from linkrunner_webhooks_local.project import ROOT

CASES = ROOT / "tests" / "providers"

# The page names these once for all events, or under another name.
ALWAYS = {"provider", "source", "provider_event_id", "provider_event_type", "occurred_at", "test"}
ITEMS = {"product_ids", "content_ids", "contents", "content_type", "num_items"}
ELSEWHERE = {*ALWAYS, *ITEMS, "currency"}

_NETWORKS = {
    "revenue": "revenue, if you map the event with Send Revenue.",
    "value": "no revenue. Google and Meta read `value` if you map the event.",
    "nothing": "no revenue and no value.",
    "field of its own": "no revenue and no value: the amount stands where no network reads it.",
}

Seen = Mapping[Kind, Mapping[str, set[str]]]


def parts() -> dict[str, str]:
    """The text between the markers of docs/events.md, by the event's name."""
    seen = fields_seen()
    return {kind.value: "\n".join(_facts(kind, seen.get(kind, {}))) for kind in Kind}


def fields_seen() -> Seen:
    """The fields of each kind, as the golden cases of each provider show them."""
    found: dict[Kind, dict[str, set[str]]] = {}
    for name, body in _expected():
        if body["event_name"] in set(Kind):
            by_provider = found.setdefault(Kind(body["event_name"]), {})
            by_provider.setdefault(name, set()).update(body["event_data"])
    return found


def _expected() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(CASES.glob("*/*/expected.json")):
        for body in json.loads(path.read_text("utf-8")):
            yield path.parent.parent.name, body


def _facts(kind: Kind, by_provider: Mapping[str, set[str]]) -> Iterator[str]:
    present: set[str] = set().union(*by_provider.values())
    fields = [field for field in FIELDS if field in present]
    yield f"- Money: {_money(fields, by_provider)}"
    yield f"- Other fields: {_others(fields)}"
    yield f"- Ad networks: {_NETWORKS[_network(fields)]}"
    yield f"- Reported by: {_titles(sorted(_reporters(kind)), link=True)}."


def _money(fields: list[str], by_provider: Mapping[str, set[str]]) -> str:
    money = list(filter(_is_money, fields))
    if not money:
        return "none."
    without = sorted(name for name, seen in by_provider.items() if not any(map(_is_money, seen)))
    exceptions = f"; none from {_titles(without)}" if without else ""
    return f"{_quoted([*money, 'currency'])}{exceptions}."


def _is_money(field: str) -> bool:
    return field in ("value", *AMOUNTS)


def _others(fields: list[str]) -> str:
    named = _quoted([field for field in fields if not (_is_money(field) or field in ELSEWHERE)])
    items = "the items" if ITEMS & set(fields) else ""
    return (", ".join(filter(None, (named, items))) or "none") + "."


def _network(fields: list[str]) -> str:
    """Which of the answers above holds: Linkrunner takes `amount` for revenue, whatever the event's name."""
    if "amount" in fields:
        return "revenue"
    if "value" in fields:
        return "value"
    return "field of its own" if any(map(_is_money, fields)) else "nothing"


def _reporters(kind: Kind) -> set[str]:
    return {
        name
        for name in providers.names()
        if any(kind in each.switches for each in providers.load(name).types.values())
    }


def _titles(names: list[str], *, link: bool = False) -> str:
    titles = {name: providers.load(name).title for name in names}
    return ", ".join(
        f"[{title}](providers/{name}.md)" if link else title for name, title in titles.items()
    )


def _quoted(fields: list[str]) -> str:
    return ", ".join(f"`{field}`" for field in fields)
