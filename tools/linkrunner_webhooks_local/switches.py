"""What in webhooks.toml makes a webhook arrive that does not: said alike by `make run` and `translate`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
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
        near = get_close_matches(event_type, source.provider.types, n=1)
        return "no mapper knows this type" + (f'; did you mean "{near[0]}"?' if near else "")
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


def thin(source: Source) -> str:
    """What makes a sender report more than a reference."""
    return (
        "the body only refers to what happened: "
        f"choose the snapshot payload at {source.provider.title}"
    )


def _resign(source: Source) -> str:
    """How to give this stack the secret that the sender signs with."""
    example = source.signature.example_secret("...")
    secrets = json.dumps({source.name: [example if example.endswith("...") else "..."]})
    return (
        f"to use another secret: WEBHOOK_SECRETS='{secrets}' make run; "
        "`linkrunner-webhooks doctor` looks at the secrets"
    )


def remedy(source: Source | None, report: Report) -> str:
    """What to do about a webhook that was ignored, parked, turned away without a secret, or has to wait."""
    if report.outcome is Outcome.PARKED:
        shown = f"`dlq show {report.event_id}`" if report.event_id else "`dlq list`"
        return f"{shown} says more"
    found = _REMEDIES.get((report.outcome, report.reason))
    return found(source, report) if found and source else ""


def _kinds_off(source: Source, event_type: str) -> str:
    """What it means may be off; the report does not say what it means."""
    known = source.provider.types.get(event_type)
    on = source.names.get(event_type, {})
    off = [kind for kind in (known.switches if known else ()) if kind not in on]
    return "; ".join(f"a {kind.value} is {kind_off(source, event_type, kind)}" for kind in off)


def _key(event_type: str) -> str:
    return json.dumps(event_type, ensure_ascii=False)


_KEY_HERE: Final = "here the key is LINKRUNNER_SERVER_KEY: start again with the right one"
_URL_HERE: Final = "look at LINKRUNNER_BASE_URL, and start again"
# What another address answers: a page, a redirect, "not found". Linkrunner's own troubles are 5xx.
_ELSEWHERE: Final = re.compile(r"answered [234]\d\d\b")

_REMEDIES: Final[Mapping[tuple[Outcome, Reason], Callable[[Source, Report], str]]] = {
    (Outcome.IGNORED, Reason.UNWANTED): lambda source, report: type_off(source, report.event_type),
    (Outcome.IGNORED, Reason.TEST): lambda source, _: tests_off(source),
    (Outcome.IGNORED, Reason.NOTHING_TO_REPORT): (
        lambda source, report: _kinds_off(source, report.event_type)
    ),
    (Outcome.IGNORED, Reason.MISSING_USER): (
        lambda source, _: f'set missing_user = "park" in [{source.name}] to keep such events'
    ),
    (Outcome.IGNORED, Reason.THIN): lambda source, _: thin(source),
    (Outcome.RETRYING, Reason.UNAUTHORIZED): lambda *_: _KEY_HERE,
    (Outcome.RETRYING, Reason.NO_KEY): lambda *_: _KEY_HERE,
    (Outcome.RETRYING, Reason.NETWORK): lambda *_: _URL_HERE,
    (Outcome.RETRYING, Reason.UNAVAILABLE): (
        lambda _, report: _URL_HERE if _ELSEWHERE.search(report.detail) else ""
    ),
    (Outcome.REJECTED, Reason.BAD_SIGNATURE): lambda source, _: _resign(source),
    (Outcome.REJECTED, Reason.UNSIGNED): lambda source, _: _resign(source),
    (Outcome.REJECTED, Reason.NO_SECRET): (
        lambda source, _: f"start again with a secret for {source.name} in WEBHOOK_SECRETS"
    ),
}
