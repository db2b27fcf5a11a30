"""What in webhooks.toml makes a webhook arrive that does not: said alike by `make run` and `translate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.model import Kind, Outcome
from linkrunner_webhooks.reports import Report


def type_off(source: Source, event_type: str) -> str:
    """Why no webhook of this type is forwarded, and which line changes that."""
    known = source.provider.types.get(event_type)
    if event_type in source.provider.never:
        return f"never forwarded: {source.provider.never[event_type]}"
    if known is None:
        return "no mapper knows this type"
    since = "switched off" if known.forwarded else "off by default"
    return f"{since}: set {_key(event_type)} = true in [{source.name}.events]"


def kind_off(source: Source, event_type: str, kind: Kind) -> str:
    """Why a type is not forwarded where it means this kind, and which line changes that."""
    known = source.provider.types[event_type]
    if len(known.switches) == 1 or (not source.wants(event_type) and kind in known.kinds):
        return type_off(source, event_type)
    since = "switched off" if known.switches[kind] else "off by default"
    return f"{since}: set {_key(event_type)} = {{ {kind.value} = true }} in [{source.name}.events]"


def tests_off(source: Source) -> str:
    """Which line forwards test traffic."""
    return f"test traffic: set test_events = true in [{source.name}]"


def remedy(source: Source, report: Report) -> str:
    """What to change where a webhook was ignored, parked, or turned away for want of a secret."""
    found = _REMEDIES.get((report.outcome, report.reason))
    return found(source, report) if found else ""


def _kinds_off(source: Source, event_type: str) -> str:
    """What it means may be off; the report does not say what it means."""
    known = source.provider.types.get(event_type)
    on = source.names.get(event_type, {})
    off = [kind for kind in (known.switches if known else ()) if kind not in on]
    return "; ".join(f"a {kind.value} is {kind_off(source, event_type, kind)}" for kind in off)


def _key(event_type: str) -> str:
    return json.dumps(event_type, ensure_ascii=False)


_REMEDIES: Final[Mapping[tuple[Outcome, Reason], Callable[[Source, Report], str]]] = {
    (Outcome.IGNORED, Reason.UNWANTED): lambda source, report: type_off(source, report.event_type),
    (Outcome.IGNORED, Reason.TEST): lambda source, _: tests_off(source),
    (Outcome.IGNORED, Reason.NOTHING_TO_REPORT): (
        lambda source, report: _kinds_off(source, report.event_type)
    ),
    (Outcome.IGNORED, Reason.MISSING_USER): (
        lambda source, _: f'set missing_user = "park" in [{source.name}] to keep such events'
    ),
    (Outcome.PARKED, Reason.MISSING_USER): (
        lambda _, report: f"`dlq show {report.event_id}` says what each path found"
    ),
    (Outcome.REJECTED, Reason.UNKNOWN_SOURCE): (
        lambda source, _: f"start again with a secret for {source.name} in WEBHOOK_SECRETS"
    ),
}
