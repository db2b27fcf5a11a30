"""One request with everything that is known of it, as values for a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Envelope, Opened
from linkrunner_webhooks.errors import Reason, WebhookError
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import CommerceEvent, Item, Outcome, Webhook
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.translation import Decision, RateOf, UserOf
from linkrunner_webhooks_cli.advice import ADVICE, PATIENCE, on_a_page
from linkrunner_webhooks_cli.explanation import explanation, meant
from linkrunner_webhooks_cli.pages.listing import verified
from linkrunner_webhooks_cli.pages.masking import shown_body, shown_headers
from linkrunner_webhooks_cli.pages.origins import leaves, origin
from linkrunner_webhooks_cli.signature_check import Check, check
from linkrunner_webhooks_cli.user_paths import masked
from linkrunner_webhooks_local.recorder import Arrival, Attempt, Key, Noted, Recorder, id_of
from linkrunner_webhooks_local.switches import HERE, Setup, no_table, remedy

# A page is for people: letters of a body, and its values that are looked through for where a field came from.
_LONGEST, _MOST_LEAVES = 200_000, 5_000
# For which Linkrunner was asked before.
_REFUSED: Final = frozenset({Reason.REFUSED, Reason.UNCERTAIN, Reason.EXHAUSTED, Reason.UNRECORDED})
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
    # What Linkrunner was told, or would be told now where it was not.
    sent: tuple[Sent, ...]
    was_sent: bool
    # What would become of it now, where it has not ended well: a word, and why.
    now: tuple[str, str] | None
    # The reason for which it is parked, as far as reports say.
    parked_as: str
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
    foresee: Callable[[Letter], Decision]
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
        body=_cut(shown_body(webhook, source, whole=whole)) if webhook else "",
        check=found,
        parts=parts,
        unread=unread,
        advice=(found.advice if found else "") or _advice(arrival, source, config, known.setup),
    )


def _cut(text: str) -> str:
    """As much as a browser shows without trouble."""
    return (
        text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n… and {len(text) - _LONGEST} more"
    )


def _advice(arrival: Arrival, source: Source | None, config: Config, setup: Setup) -> str:
    """What to do about a request that was turned away."""
    rejected = [each.report for each in arrival.received if each.report.outcome is Outcome.REJECTED]
    if rejected and source is None and arrival.is_whole and not arrival.name.startswith("/"):
        return no_table(arrival.name, config.names)
    told = (remedy(source, each, setup) or PATIENCE.get(each.reason, "") for each in rejected)
    return next(filter(None, told), "")


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
    key: Key = (source.name, identity.event_type, identity.event_id)
    attempts = recorder.attempts(key, source.fields, frozenset(each.id for each in found.sent))
    # Of two reports of one thing, one was told.
    told = [each for each in attempts if _is_told(arrival, key)]
    part = _told(arrival, key, source, recorder, known, told, found)
    if taken := [each for each in told if not each.error]:
        # As it was told, whatever webhooks.toml says by now.
        places = _places(opened)
        bodies = (_body_of(each.path, each.body, places, whole=whole) for each in taken)
        part = replace(part, sent=tuple(bodies), was_sent=True)
    if _ended_well(arrival, key):
        return part
    return replace(part, now=_now(arrival, opened, known, found, part.parked_as))


def _is_told(arrival: Arrival, key: Key) -> bool:
    """Whether Linkrunner was asked for its sake: not where it was nothing, nobody's, or told already."""
    reports = [each.report for each in arrival.delivered if each.key == key]
    return any(
        each.outcome is Outcome.CAPTURED
        or (each.outcome is Outcome.PARKED and each.reason in _REFUSED)
        or (each.outcome is Outcome.RETRYING and each.reason.nature.outage)
        for each in reports
    )


def _ended_well(arrival: Arrival, key: Key) -> bool:
    reports = [each.report for each in arrival.noted if each.key == key]
    return bool(reports) and reports[-1].outcome in (Outcome.CAPTURED, Outcome.DUPLICATE)


def _now(
    arrival: Arrival, opened: Opened, known: Known, found: Meaning, parked_as: str
) -> tuple[str, str]:
    """What would become of it now, as `dlq preview` says it of what is parked."""
    if found.told["to_change"]:
        return found.told["outcome"], found.told["detail"]
    letter = Letter(
        id="",
        handle="",
        text=Envelope(opened.webhook, arrival.at).seal(opened.source.provider),
        attributes={"reason": parked_as} if parked_as else {},
        sent_at=datetime.fromtimestamp(arrival.at, UTC),
    )
    forecast = known.foresee(letter)
    return forecast.outcome.value, forecast.detail or found.told["detail"]


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
    last = history[-1].report if history else None
    is_parked = bool(last and last.outcome is Outcome.PARKED and key not in arrival.discarded)
    return Part(
        event_type=event_type,
        event_id=event_id,
        meaning=found,
        sent=found.sent if found else (),
        was_sent=False,
        now=None,
        parked_as=last.reason.value if last and is_parked else "",
        history=tuple(sorted(_steps(arrival, key, history, attempts))),
        again=tuple(again),
        advice=_next(source, last, known.setup),
    )


def meaning(opened: Opened, known: Known, *, whole: bool) -> Meaning:
    """What a webhook becomes by today's code. Raises nothing."""
    found = meant(opened, known.user_of, known.rate_of)
    places = _places(opened)
    return Meaning(
        told=explanation(opened, found),
        events=tuple(_fields_of(() if found.drops else found.events, places)),
        sent=tuple(_sent(found.decision, places, whole=whole)),
    )


def _places(opened: Opened) -> list[tuple[str, Any]]:
    """Where the values of the body stand."""
    return list(islice(leaves(opened.webhook.payload), _MOST_LEAVES))


def _steps(
    arrival: Arrival, key: Key, history: Sequence[Noted], attempts: Sequence[Attempt]
) -> Iterator[Step]:
    for at, whose, what in arrival.operated:
        if whose == key:
            yield Step(at - arrival.at, "", f"operator: {what}")
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
            yield Field(prefix + name, ", ".join(map(_written, values)), ", ".join(paths))


def _written(value: object) -> str:
    """A value of an event, for people."""
    if isinstance(value, Item):
        price = "" if value.unit_price is None else f" at {value.unit_price}"
        return f"{value.quantity} of {value.content_id or value.product_id}{price}"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _sent(decision: Decision, places: list[tuple[str, Any]], *, whole: bool) -> Iterator[Sent]:
    for request in (each for event in decision.events for each in event.requests):
        yield _body_of(request.path, request.body(), places, whole=whole)


def _body_of(
    path: str, body: dict[str, Any], places: list[tuple[str, Any]], *, whole: bool
) -> Sent:
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
    return Sent(text, fields, id_of(path, body))


def _next(source: Source | None, report: Report | None, setup: Setup) -> str:
    if report is None or report.reason is Reason.NONE:
        return ""
    if report.outcome is Outcome.PARKED:
        return on_a_page(ADVICE.get(report.reason, ""))
    return remedy(source, report, setup) or PATIENCE.get(report.reason, "")
