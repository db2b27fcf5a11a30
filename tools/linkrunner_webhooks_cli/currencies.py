"""One currency for all amounts: what is missing for it, and what Linkrunner does without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from linkrunner_webhooks.config import Linkrunner

# Rates that are older are probably forgotten.
_OLD = timedelta(days=30)

WITHOUT = (
    "Linkrunner documents one currency a project, and may add amounts of several up as numbers: "
    "set `currency` and its rates in [linkrunner]"
)


def in_one_currency(settings: Linkrunner, seen: Iterable[str] = ()) -> Iterator[str]:
    """Warnings about the currencies that are `seen`, and about the rates for them."""
    known, today = set(seen), datetime.now(UTC).date()
    if settings.currency is None:
        if len(known) > 1:
            yield f"amounts in {', '.join(sorted(known))}: {WITHOUT}"
        return
    for currency in sorted(known - {settings.currency}):
        if settings.rate_of(currency) is None:
            yield f"[linkrunner.rates] has no {currency}, which was paid lately"
    if settings.rates and today - settings.rates.as_of > _OLD:
        days = (today - settings.rates.as_of).days
        yield f"[linkrunner.rates] are {days} days old: look at them, and set as_of"
