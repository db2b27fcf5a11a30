"""One report per webhook and stage, for logs, metrics and the local console."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.model import Flow, Outcome


class Moved(NamedTuple):
    """Money of an event that was captured now, in the currency in which it was paid."""

    flow: Flow
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result for one webhook in one stage. Identifiers and our own words, never customer data.

    `reason` is a metric dimension; `detail` is a sentence for people, which may quote Linkrunner's refusal.
    `relinked` is the number of the provider's ids that were another user's until now.
    """

    stage: Literal["receive", "deliver"]
    outcome: Outcome
    reason: Reason = Reason.NONE
    source: str = "unknown"
    provider: str = ""
    event_type: str = ""
    event_id: str = ""
    detail: str = ""
    event_names: tuple[str, ...] = ()
    test: bool = False
    relinked: int = 0
    money: tuple[Moved, ...] = ()


def fault(report: Report) -> str:
    """The alarm that a report is for: the stage whose fault it is, or the server key; empty for none."""
    nature = report.reason.nature
    if nature.server_key:
        return "server_key"
    return report.stage if nature.ours else ""


def written(report: Report) -> dict[str, object]:
    """The fields that say something, for a line of a log. Money is counted elsewhere."""
    fields = asdict(report)
    del fields["money"]
    return {name: value for name, value in fields.items() if value not in ("", (), 0)}


def ending(report: Report) -> str:
    """One word for how a webhook ended: its outcome, and why it was ignored or parked."""
    if report.outcome in (Outcome.IGNORED, Outcome.PARKED):
        return f"{report.outcome.value}_{report.reason.value}"
    return report.outcome.value
