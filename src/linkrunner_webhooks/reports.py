"""One report per webhook and stage, for logs, metrics and the local console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.model import Outcome


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


def ending(report: Report) -> str:
    """One word for how a webhook ended: its outcome, and why it was ignored or parked."""
    if report.outcome in (Outcome.IGNORED, Outcome.PARKED):
        return f"{report.outcome.value}_{report.reason.value}"
    return report.outcome.value
