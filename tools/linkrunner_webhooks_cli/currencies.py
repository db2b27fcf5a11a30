"""One currency for all amounts: what is missing for it, and what Linkrunner does without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from linkrunner_webhooks.config import Linkrunner, Source
from linkrunner_webhooks.model import Flow, Kind
from linkrunner_webhooks.paying import FAILED

# Rates that are older are probably forgotten.
_OLD = timedelta(days=30)

WITHOUT = (
    "Linkrunner documents one currency a project, and may add amounts of several up as numbers: "
    "set `currency` and its rates in [linkrunner]"
)


def in_one_currency(settings: Linkrunner, seen: Iterable[str] = ()) -> Iterator[str]:
    """Warnings about the currencies that are `seen`, and about the rates for them."""
    known, today = set(seen), datetime.now(UTC).date()
    yield from _without_effect(settings)
    if settings.currency is None:
        if len(known) > 1:
            yield f"amounts in {', '.join(sorted(known))}: {WITHOUT}"
        return
    if settings.rates is None:
        yield f"[linkrunner] has no rates: what is paid in another currency than {settings.currency} waits"
    for currency in sorted(known - {settings.currency}):
        if settings.rate_of(currency) is None:
            yield f"[linkrunner.rates] has no {currency}, which was paid lately"
    if settings.rates and today - settings.rates.as_of > _OLD:
        days = (today - settings.rates.as_of).days
        yield f"[linkrunner.rates] are {days} days old: look at them, and set as_of"
    if settings.rates and settings.rates.as_of > today:
        yield "[linkrunner.rates] as_of is in the future: nobody would tell when the rates are old"
    if settings.rate_of(settings.currency):
        yield f"[linkrunner.rates] {settings.currency}: amounts in it are not converted"


def _without_effect(settings: Linkrunner) -> Iterator[str]:
    """Settings about payments where nothing is one."""
    if settings.revenue == "event":
        for name in ("failed_payments", "types"):
            if name in settings.model_fields_set and getattr(settings, name) not in (False, {}):
                yield f'[linkrunner] {name} has no effect while revenue = "event"'
    for kind in settings.types:
        failed = settings.failed_payments and kind in FAILED
        if Kind(kind).flow is not Flow.PAYMENT and not failed:
            yield f"[linkrunner.types] {kind} is no payment"


def looks_like_revenue(source: Source) -> Iterator[str]:
    """Fields under names that Linkrunner or an ad network takes for revenue."""
    for field, name in source.fields.items():
        if name in ("amount", "value") and field not in ("amount", "value"):
            yield f'[{source.name}.fields] {field} = "{name}" is revenue to Linkrunner or an ad network'
    if source.payment_id and source.linkrunner.revenue == "event":
        yield f'[{source.name}] payment_id has no effect while [linkrunner] revenue = "event"'
