"""What would become of parked messages, summed up: outcomes, money, and why Linkrunner would refuse again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli.advice import COUNTED
from linkrunner_webhooks_cli.ages import Ages, happened_at
from linkrunner_webhooks_cli.output import write_table, write_text

# Linkrunner can word a refusal differently for every event.
_TOLD_APART = 20


class Errors(Counter[str]):
    """What letters of a group were parked with. So many are told apart; the commonest stands for all."""

    def add(self, error: str) -> None:
        if error in self or len(self) < _TOLD_APART:
            self[error] += 1

    @property
    def commonest(self) -> str:
        return self.most_common(1)[0][0] if self else ""


class Outlook:
    """The sum of many forecasts. Money counts only where an event would be captured now."""

    def __init__(self) -> None:
        self._changes: Counter[tuple[str, str, str]] = Counter()
        self._money: dict[str, Decimal] = {}
        self._refusals: Counter[str] = Counter()
        self._facts: set[int] = set()
        self._ages = Ages()

    def add(self, letter: Letter, forecast: Decision) -> None:
        reason = "" if forecast.reason is Reason.NONE else forecast.reason.value
        self._changes[letter.reason, forecast.outcome.value, reason] += 1
        if forecast.outcome is Outcome.CAPTURED:
            self._ages.add(happened_at(letter, forecast))
        if forecast.reason is Reason.REFUSED:
            detail = forecast.detail
            known = detail in self._refusals or len(self._refusals) < _TOLD_APART
            self._refusals[detail if known else "was refused in other words"] += 1
        for planned in forecast.planned:
            if planned.money and self._is_new((*planned.keys, *planned.shared)):
                what = f"{planned.money.currency} as {planned.event_name}"
                self._money[what] = self._money.get(what, Decimal(0)) + planned.money.amount

    def _is_new(self, keys: Sequence[str]) -> bool:
        """Whether no message before reports the same fact: two reports of one payment are one payment."""
        # Hashes, because a queue can hold a hundred thousand.
        facts = {hash(key) for key in keys}
        new = not facts & self._facts
        self._facts |= facts
        return new

    def summary(self) -> dict[str, Any]:
        """For programs."""
        return {
            "changes": [
                {"parked_as": old, "would_be": outcome, "reason": reason, "messages": count}
                for (old, outcome, reason), count in sorted(self._changes.items())
            ],
            "ages": self._ages.summary(),
            "money": {what: str(amount) for what, amount in sorted(self._money.items())},
            "refused": [
                {"detail": detail, "messages": count}
                for detail, count in self._refusals.most_common()
            ],
        }

    def lines(self, otherwise: str) -> Iterator[str]:
        """What is old among it, for people; `otherwise` says how to leave that."""
        return self._ages.lines(otherwise)

    def write(self) -> None:
        """For people."""
        if not self._changes:
            return
        write_table(
            ("messages", "parked as", "would be", "because"),
            [
                (str(count), old, outcome, COUNTED if outcome == Outcome.DUPLICATE else reason)
                for (old, outcome, reason), count in sorted(self._changes.items())
            ],
        )
        for detail, count in self._refusals.most_common():
            write_text(f"{count} {detail}")
        for what, amount in sorted(self._money.items()):
            write_text(f"{amount} {what} would be sent")
        for line in self.lines("`redrive --max-age 7d` leaves what is older."):
            write_text(line)
