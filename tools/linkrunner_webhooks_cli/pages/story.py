"""One request with everything that is known of it, as values for a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.errors import Reason, WebhookError
from linkrunner_webhooks.model import CommerceEvent, Outcome, Webhook
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.translation import Decision, RateOf, UserOf
from linkrunner_webhooks_cli.advice import ADVICE
from linkrunner_webhooks_cli.explanation import explanation, meant
from linkrunner_webhooks_cli.pages.listing import verified
from linkrunner_webhooks_cli.pages.masking import shown_body, shown_headers
from linkrunner_webhooks_cli.pages.origins import leaves, origin
from linkrunner_webhooks_cli.signature_check import Check, check
from linkrunner_webhooks_cli.user_paths import masked
from linkrunner_webhooks_local.recorder import Arrival, Attempt, Key, Noted, Recorder, id_of
from linkrunner_webhooks_local.switches import HERE, Setup, remedy

# What webhooks.toml says and not the webhook, though the same word may stand there.
_OURS: Final = frozenset({"event_name", "event_id", "provider", "source"})


class Field(NamedTuple):
    """A field of a body for Linkrunner, and where its value stands in the webhook; empty where nowhere."""

    name: str
    value: str
    origin: str


class Sent(NamedTuple):
    """A body for Linkrunner. `id` recognises its requests."""

    body: str
    fields: tuple[Field, ...]
    id: tuple[str, str]


class Step(NamedTuple):
    """One thing that happened, seconds after the request came. `outcome` is one of ours, for its colour."""

    after: float
    outcome: str
    what: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a webhook becomes by today's code: `told` is what `translate --explain` says of it."""

    told: Mapping[str, Any]
    events: tuple[Field, ...]
    sent: tuple[Sent, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One webhook of the request. `meaning` is None where only its reports are here."""

    event_type: str
    event_id: str
    meaning: Meaning | None
    history: tuple[Step, ...]
    again: tuple[int, ...]
    advice: str


@dataclass(frozen=True, slots=True)
class Story:
    """A request, from its signature to Linkrunner."""

    arrival: Arrival
    headers: Mapping[str, str]
    body: str
    check: Check | None
    parts: tuple[Part, ...]
    unread: str
    advice: str


class Known(NamedTuple):
    """What the stack knows now: the secrets of all sources, whose facts are, and how it is changed."""

    secrets: Mapping[str, Sequence[str]]
    user_of: UserOf
    rate_of: RateOf
    setup: Setup = HERE


def story(
    arrival: Arrival, recorder: Recorder, config: Config, known: Known, *, whole: bool
) -> Story:
    """Everything about one request. Raises nothing for whatever came in it."""
    webhook, source = arrival.webhook, config.source(arrival.name)
    found = _check(arrival, webhook, source, known) if webhook and source else None
    parts: tuple[Part, ...] = ()
    unread = "" if webhook or not arrival.is_whole else "the body cannot be decoded"
    if not arrival.is_whole:
        parts = tuple(_reported(arrival, source, recorder, known))
    elif webhook and source:
        try:
            parts = tuple(_parts(arrival, webhook, source, recorder, known, whole=whole))
        except WebhookError as error:
            unread = str(error)
    return Story(
        arrival=arrival,
        headers=shown_headers(webhook.headers, proofs(source), whole=whole) if webhook else {},
        body=shown_body(webhook, whole=whole) if webhook else "",
        check=found,
        parts=parts,
        unread=unread,
        advice=_advice(arrival, source, known.setup),
    )


def _advice(arrival: Arrival, source: Source | None, setup: Setup) -> str:
    """What to do about a request that was turned away."""
    rejected = [each.report for each in arrival.received if each.report.outcome is Outcome.REJECTED]
    return next(filter(None, (remedy(source, each, setup) for each in rejected)), "")


def proofs(source: Source | None) -> Sequence[str]:
    """The headers that its signature is in."""
    found: Sequence[str] = getattr(source.signature, "headers", ()) if source else ()
    return found


def _check(arrival: Arrival, webhook: Webhook, source: Source, known: Known) -> Check:
    if source.provider.handshake(webhook):
        return Check(False, "a greeting, which nothing proves: it is answered, and dropped")
    found = check(source, webhook, known.secrets, arrival.at)
    if not found.verified and verified(arrival) == "yes":
        return Check(True, "by a secret that it had when it came; it has others now")
    return found


def _parts(
    arrival: Arrival,
    webhook: Webhook,
    source: Source,
    recorder: Recorder,
    known: Known,
    *,
    whole: bool,
) -> Iterator[Part]:
    for each in source.provider.unpack(webhook):
        opened = Opened(each, source, source.provider.identify(each))
        yield _part(arrival, opened, recorder, known, whole=whole)


def _part(
    arrival: Arrival, opened: Opened, recorder: Recorder, known: Known, *, whole: bool
) -> Part:
    identity, source = opened.identity, opened.source
    found = meaning(opened, known, whole=whole)
    attempts = recorder.attempts(frozenset(each.id for each in found.sent))
    key: Key = (source.name, identity.event_type, identity.event_id)
    return _told(arrival, key, source, recorder, known, attempts, found)


def _reported(
    arrival: Arrival, source: Source | None, recorder: Recorder, known: Known
) -> Iterator[Part]:
    """The webhooks of a request of which only reports are here."""
    for key in dict.fromkeys(each.key for each in arrival.noted):
        yield _told(arrival, key, source, recorder, known, (), None)


def _told(
    arrival: Arrival,
    key: Key,
    source: Source | None,
    recorder: Recorder,
    known: Known,
    attempts: Sequence[Attempt],
    found: Meaning | None,
) -> Part:
    _, event_type, event_id = key
    history = tuple(each for each in arrival.noted if each.key == key)
    again = (each.number for each in recorder.again(key) if each.number != arrival.number)
    return Part(
        event_type=event_type,
        event_id=event_id,
        meaning=found,
        history=tuple(sorted(_steps(arrival, history, attempts))),
        again=tuple(again),
        advice=_next(source, history[-1].report if history else None, known.setup),
    )


def meaning(opened: Opened, known: Known, *, whole: bool) -> Meaning:
    """What a webhook becomes by today's code. Raises nothing."""
    found = meant(opened, known.user_of, known.rate_of)
    places = list(leaves(opened.webhook.payload))
    return Meaning(
        told=explanation(opened, found),
        events=tuple(_fields_of(() if found.drops else found.events, places)),
        sent=tuple(_sent(found.decision, places, whole=whole)),
    )


def _steps(
    arrival: Arrival, history: Sequence[Noted], attempts: Sequence[Attempt]
) -> Iterator[Step]:
    for at, report in history:
        reason = "" if report.reason is Reason.NONE else report.reason.value
        told = (", ".join(report.event_names), reason, report.detail)
        what = f"{report.stage}: {report.outcome}"
        yield Step(at - arrival.at, report.outcome.value, "  ".join(filter(None, (what, *told))))
    for each in attempts:
        outcome = Outcome.RETRYING if each.error else Outcome.CAPTURED
        ended = each.error or "taken"
        what = f"request: {each.path} in {each.took * 1000:.0f} ms: {ended}"
        yield Step(each.at - arrival.at, outcome.value, what)


def _fields_of(events: Sequence[CommerceEvent], places: list[tuple[str, Any]]) -> Iterator[Field]:
    """What the mapper read, by the names of our vocabulary."""
    for number, event in enumerate(events, 1):
        prefix = f"{number}. " if len(events) > 1 else ""
        for name in getattr(event, "__dataclass_fields__", ()):
            value = getattr(event, name)
            if value in (None, (), ""):
                continue
            if name == "money":
                yield Field(
                    f"{prefix}money",
                    f"{value.amount} {value.currency}",
                    origin(value.amount, places),
                )
                continue
            values = value if isinstance(value, tuple) else (value,)
            paths = dict.fromkeys(filter(None, (origin(each, places) for each in values)))
            yield Field(prefix + name, ", ".join(map(str, values)), ", ".join(paths))


def _sent(decision: Decision, places: list[tuple[str, Any]], *, whole: bool) -> Iterator[Sent]:
    for request in (each for event in decision.events for each in event.requests):
        body = request.body()
        flat = {**body, **(body.get("event_data") or {})}
        flat.pop("event_data", None)
        fields = tuple(
            Field(name, str(value), "" if name in _OURS else origin(value, places))
            for name, value in flat.items()
        )
        if not whole:
            # It can be a name, where a shop made it one.
            hidden = masked(body.get("user_id"))
            body = {**body, "user_id": hidden}
            fields = tuple(
                each._replace(value=hidden) if each.name == "user_id" else each for each in fields
            )
        text = json.dumps(body, indent=2, ensure_ascii=False)
        yield Sent(text, fields, id_of(request.path, body))


def _next(source: Source | None, report: Report | None, setup: Setup) -> str:
    if report is None:
        return ""
    if report.outcome is Outcome.PARKED:
        return ADVICE.get(report.reason, "")
    return "" if report.reason is Reason.NONE else remedy(source, report, setup)
