"""What in webhooks.toml makes a webhook arrive that does not: said alike by `make run` and `translate`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple

from linkrunner_webhooks import providers, signups
from linkrunner_webhooks.config import Source, suggest
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


def no_table(name: str, known: Collection[str]) -> str:
    """Why a webhook for this name is turned away, and what makes it welcome."""
    if name == signups.NAME:
        hint = ": set signups = true in [linkrunner], then start again"
    elif name in providers.names():
        hint = f": `linkrunner-webhooks add {name}`, then start again"
    else:
        hint = suggest(name, known)
    return f"webhooks.toml has no table [{name}]{hint}"


def no_path(path: str, known: Iterable[str]) -> str:
    """Why a request is for nobody, and the nearest path that is for somebody."""
    paths = [f"/webhooks/{name}" for name in known]
    near = "" if path in paths else suggest(path, paths)
    return f"404; webhooks are POSTed to /webhooks/{{source}}{near}"


class Setup(NamedTuple):
    """How a stack is given another key or address of Linkrunner, and a source (`{0}`) a secret like `{1}`."""

    key: str
    url: str
    first: str
    other: str


HERE: Final = Setup(
    key="here the key is LINKRUNNER_SERVER_KEY: start again with the right one",
    url="look at LINKRUNNER_BASE_URL, and start again",
    first="`linkrunner-webhooks secrets set {0}`, or start again with a secret for {0} in WEBHOOK_SECRETS",
    other="to use another secret: WEBHOOK_SECRETS='{1}' make run; "
    "`linkrunner-webhooks doctor` looks at the secrets",
)


def deployed(stack: str) -> Setup:
    """That of a deployed stack."""
    put = f"`linkrunner-webhooks secrets set {{0}} --stack {stack}`"
    return Setup(
        key=f"`linkrunner-webhooks secrets server-key --stack {stack}` gives it the right key",
        url="look at the parameter LinkrunnerBaseUrl, and deploy",
        first=f"{put} gives it one",
        other=f"{put} takes the secret that the sender signs with; "
        f"`linkrunner-webhooks doctor --stack {stack}` looks at those that it has",
    )


def remedy(source: Source | None, report: Report, setup: Setup = HERE) -> str:
    """What to do about a webhook that was ignored, parked, turned away without a secret, or has to wait."""
    if report.outcome is Outcome.PARKED:
        shown = f"`dlq show {report.event_id}`" if report.event_id else "`dlq list`"
        return f"{shown} says more"
    found = _REMEDIES.get((report.outcome, report.reason))
    return found(source, report, setup) if found and source else ""


def _example(source: Source) -> str:
    """WEBHOOK_SECRETS with a secret that looks as this source's do."""
    example = source.signature.example_secret("...")
    return json.dumps({source.name: [example if example.endswith("...") else "..."]})


def _kinds_off(source: Source, event_type: str) -> str:
    """What it means may be off; the report does not say what it means."""
    known = source.provider.types.get(event_type)
    on = source.names.get(event_type, {})
    off = [kind for kind in (known.switches if known else ()) if kind not in on]
    return "; ".join(f"a {kind.value} is {kind_off(source, event_type, kind)}" for kind in off)


def _key(event_type: str) -> str:
    return json.dumps(event_type, ensure_ascii=False)


# What another address answers: a page, a redirect, "not found". Linkrunner's own troubles are 5xx.
_ELSEWHERE: Final = re.compile(r"answered [234]\d\d\b")

_REMEDIES: Final[Mapping[tuple[Outcome, Reason], Callable[[Source, Report, Setup], str]]] = {
    (Outcome.IGNORED, Reason.UNWANTED): (
        lambda source, report, _: type_off(source, report.event_type)
    ),
    (Outcome.IGNORED, Reason.TEST): lambda source, *_: tests_off(source),
    (Outcome.IGNORED, Reason.NOTHING_TO_REPORT): (
        lambda source, report, _: _kinds_off(source, report.event_type)
    ),
    (Outcome.IGNORED, Reason.MISSING_USER): (
        lambda source, *_: f'set missing_user = "park" in [{source.name}] to keep such events'
    ),
    (Outcome.IGNORED, Reason.THIN): lambda source, *_: thin(source),
    (Outcome.RETRYING, Reason.UNAUTHORIZED): lambda *given: given[2].key,
    (Outcome.RETRYING, Reason.NO_KEY): lambda *given: given[2].key,
    (Outcome.RETRYING, Reason.NETWORK): lambda *given: given[2].url,
    (Outcome.RETRYING, Reason.UNAVAILABLE): (
        lambda _, report, setup: setup.url if _ELSEWHERE.search(report.detail) else ""
    ),
    (Outcome.REJECTED, Reason.BAD_SIGNATURE): (
        lambda source, _, setup: setup.other.format(source.name, _example(source))
    ),
    (Outcome.REJECTED, Reason.UNSIGNED): (
        lambda source, _, setup: setup.other.format(source.name, _example(source))
    ),
    (Outcome.REJECTED, Reason.NO_SECRET): (
        lambda source, _, setup: setup.first.format(source.name)
    ),
}
