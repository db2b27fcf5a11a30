"""The list of what came: rows, and which of them are wanted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import urlencode

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_cli.output import ago
from linkrunner_webhooks_local.recorder import Arrival
from linkrunner_webhooks_local.switches import HERE, Setup, no_table, remedy

PAGE = 200
# The end of a webhook that somebody deleted when it was parked.
DISCARDED: Final = "discarded"


class Row(NamedTuple):
    """One line. `verified` is yes, no or empty; `latency` seconds from arrival to end, as far as it is."""

    number: int
    at: str
    source: str
    types: str
    verified: str
    outcome: str
    reason: str
    detail: str
    acknowledged: str
    latency: str


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for; an empty one is everything. `text` is any id that stands in the request."""

    source: str = ""
    type: str = ""
    outcome: str = ""
    text: str = ""
    before: int = 0

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """From the address of a page, whatever stands there."""
        known = {each.name: query.get(each.name, "").strip() for each in fields(cls)}
        before = known.pop("before")
        number = int(before) if before.isascii() and before.isdigit() and len(before) < 10 else 0
        return cls(**known, before=number)

    def address(self, **changes: object) -> str:
        """The query of a page that shows it."""
        told = {each.name: getattr(self, each.name) for each in fields(self)} | changes
        return urlencode({name: value for name, value in told.items() if value})

    def wants(self, arrival: Arrival) -> bool:
        if self.before and arrival.number >= self.before:
            return False
        if self.source and self.source != arrival.name:
            return False
        latest = arrival.latest
        if self.type and not any(self.type.lower() in each.event_type.lower() for each in latest):
            return False
        if self.outcome and self.outcome not in _outcomes(arrival):
            return False
        return not self.text or self._is_in(arrival)

    def _is_in(self, arrival: Arrival) -> bool:
        # Before the body: it is at hand, and where the request is not here, it is all there is.
        if any(self.text == each.event_id for each in arrival.latest):
            return True
        webhook = arrival.webhook
        return webhook is not None and self.text.encode() in webhook.body


def _outcomes(arrival: Arrival) -> set[str]:
    """How its webhooks ended; of one that somebody deleted, that."""
    gone = arrival.discarded
    return {
        DISCARDED if key in gone else each.outcome.value for key, each in arrival.newest.items()
    }


def page(arrivals: Iterable[Arrival], wanted: Filter) -> tuple[list[Arrival], bool]:
    """The first that are wanted, and whether there are more."""
    found = list(islice(filter(wanted.wants, arrivals), PAGE + 1))
    return found[:PAGE], len(found) > PAGE


def row(arrival: Arrival, config: Config, setup: Setup = HERE) -> Row:
    """What a person sees of it first: how the worst of its webhooks ended, and why."""
    worst = arrival.worst
    is_gone = worst is not None and _outcomes(arrival) == {DISCARDED}
    return Row(
        number=arrival.number,
        at=time.strftime("%H:%M:%S", time.localtime(arrival.at)),
        source=arrival.name,
        types=", ".join(
            dict.fromkeys(each.event_type for each in arrival.latest if each.event_type)
        ),
        verified=verified(arrival),
        outcome=DISCARDED if is_gone else worst.outcome.value if worst else "",
        reason=worst.reason.value if worst and worst.reason is not Reason.NONE else "",
        detail=_why(arrival, worst, config, setup) if worst else "",
        acknowledged=duration(arrival.took) if arrival.status else "",
        latency=_latency(arrival),
    )


def _why(arrival: Arrival, report: Report, config: Config, setup: Setup) -> str:
    """Why it ended so, and what changes that; of a capture what was captured."""
    source = config.source(arrival.name)
    if report.outcome is Outcome.CAPTURED:
        amounts = (f"{each.amount:f} {each.currency}" for each in report.money)
        test = "(test)" if report.test else ""
        return " ".join(filter(None, (", ".join(report.event_names), *amounts, test)))
    if report.outcome is Outcome.DUPLICATE:
        return "counted before"
    if report.reason is Reason.UNKNOWN_SOURCE and not arrival.name.startswith("/"):
        return no_table(arrival.name, config.names)
    if report.reason is Reason.BAD_SIGNATURE:
        # What there is to do depends on why, which its page finds out.
        return f"{report.detail}: its page says why"
    return "; ".join(filter(None, (report.detail, remedy(source, report, setup))))


def verified(arrival: Arrival) -> str:
    """What came of looking at its signature: yes, no, or nothing where nobody came to look."""
    reports = [each.report for each in arrival.received]
    if any(each.reason in (Reason.BAD_SIGNATURE, Reason.UNSIGNED) for each in reports):
        return "no"
    looked = [each for each in reports if each.outcome is not Outcome.REJECTED]
    return "yes" if any(each.reason is not Reason.HANDSHAKE for each in looked) else ""


def _latency(arrival: Arrival) -> str:
    return duration(arrival.ended - arrival.at) if arrival.ended else ""


def duration(seconds: float) -> str:
    """In the unit in which people read it."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else ago(timedelta(seconds=seconds))
