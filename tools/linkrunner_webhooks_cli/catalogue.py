"""`providers` and `check`: the supported providers, and the validation of webhooks.toml."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, Final

import click

from linkrunner_webhooks import providers as registry
from linkrunner_webhooks.config import DEFAULT_PATH, Config, Source
from linkrunner_webhooks.model import Flow, Kind
from linkrunner_webhooks.provider import EventType, Provider, Role
from linkrunner_webhooks.reading import GATEWAYS
from linkrunner_webhooks_cli.completions import provider_names
from linkrunner_webhooks_cli.currencies import WITHOUT, in_one_currency, looks_like_revenue
from linkrunner_webhooks_cli.output import say, write_json, write_table, write_text
from linkrunner_webhooks_cli.paths import doubts
from linkrunner_webhooks_cli.provider_page import page_of
from linkrunner_webhooks_cli.records import days_since
from linkrunner_webhooks_cli.running import running
from linkrunner_webhooks_cli.sources import (
    config_option,
    json_option,
    load_provider,
    read_config,
    some_sources,
)
from linkrunner_webhooks_cli.stacks import Stack, find

# How alike a name and a kind are when a letter or two differ, from 0 to 1.
_ALMOST = 0.9


@click.command()
@click.argument("name", required=False, shell_complete=provider_names)
@json_option
def providers(name: str | None, as_json: bool) -> None:
    """List the supported providers, or the event types of one.

    \b
    Examples:
      linkrunner-webhooks providers
      linkrunner-webhooks providers stripe
    """
    if name is None:
        found = [registry.load(each) for each in registry.names()]
        if as_json:
            write_json([_described(provider) for provider in found])
        else:
            write_table(
                ("provider", "title", "event types", "on by default", "documentation"),
                [_row(provider) for provider in found],
            )
        return
    provider = load_provider(name)
    if as_json:
        write_json(_described(provider))
        return
    write_table(
        ("event type", "becomes"), [(each.name, becomes(each)) for each in provider.types.values()]
    )
    write_text("\nUser id, the first usable of:")
    for expression in provider.user_id:
        write_text(f"  {expression}")
    write_text(f"\nSet-up, checkout code and pitfalls: {page_of(name)}")


def _row(provider: Provider) -> tuple[str, ...]:
    on = sum(each.stored for each in provider.types.values())
    return provider.name, provider.title, str(len(provider.types)), str(on), provider.docs


def _described(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "title": provider.title,
        "docs": provider.docs,
        "page": page_of(provider.name),
        "user_id": list(provider.user_id),
        "events": {
            each.name: {kind.value: on for kind, on in each.switches.items()}
            for each in provider.types.values()
        },
    }


LESSON = "nothing: it teaches whose an id is, or which ids are one payment's"


def becomes(event_type: EventType) -> str:
    """The kinds a type becomes, with those that are off by default."""
    if not event_type.kinds:
        return LESSON
    return ", ".join(
        kind.value + ("" if on else " (off)") for kind, on in event_type.switches.items()
    )


@click.command()
@config_option
@click.option(
    "--stack", metavar="NAME", help="Also ask a deployed stack which currencies were paid lately."
)
@json_option
def check(config_path: Path | None, stack: str | None, as_json: bool) -> None:
    """Validate webhooks.toml: names, switches, expressions, rates. Changes and sends nothing.

    \b
    Examples:
      linkrunner-webhooks check
      linkrunner-webhooks check --config my-webhooks.toml
      linkrunner-webhooks check --stack linkrunner-webhooks
    """
    config = read_config(config_path)
    if config_path is None:
        _say_whose()
    sources = some_sources(config)
    seen = _currencies(find(stack), config) if stack else ()
    warnings = [*every_warning(sources), *in_one_currency(config.linkrunner, seen)]
    if as_json:
        summaries = [
            {"source": each.name, "provider": each.provider.name, "events": _names(each)}
            for each in sources
        ]
        write_json({"sources": summaries, "warnings": warnings, "digest": config.digest})
        return
    write_table(
        ("source", "provider", "forwarded types", "user id paths", "missing user", "test events"),
        [_summary(source) for source in sources],
    )
    settings = config.linkrunner
    told = f"{_TOLD_AS[settings.revenue]}, in {settings.currency or 'the currencies paid'}"
    write_text(f"\nRevenue is told as {told}. Configuration digest: {config.digest}.")
    for warning in warnings:
        say(f"Warning: {warning}")
    if config.linkrunner.currency is None:
        say(f"Amounts are sent as they are paid. Of several currencies: {WITHOUT}.")


_TOLD_AS = {
    "event": "events with an amount",
    "payment": "payments",
    "both": "payments, with events without an amount beside them",
}


def _say_whose() -> None:
    """What is checked is what is packaged, whatever runs."""
    local = running() if "WEBHOOKS_TOML" not in os.environ else None
    if local is not None and Path(local.webhooks_toml) != DEFAULT_PATH.resolve():
        say(f"This is the packaged file; the running stack has --config {local.webhooks_toml}")


def _currencies(stack: Stack, config: Config) -> set[str]:
    """What was paid in the last month."""
    days = days_since(datetime.now(UTC) - timedelta(days=30))
    facts = stack.records().on(config.names, days)
    return {fact.currency for fact in facts if fact.currency}


def _names(source: Source) -> dict[str, list[str]]:
    return {
        name: [naming.name for naming in kinds.values()]
        for name, kinds in source.names.items()
        if kinds
    }


def _summary(source: Source) -> tuple[str, ...]:
    return (
        source.name,
        source.provider.name,
        str(len(_names(source))),
        str(len(source.user_id)),
        source.missing_user,
        "forwarded" if source.test_events else "dropped",
    )


def every_warning(sources: Sequence[Source]) -> list[str]:
    """Settings of these sources that are valid and probably a mistake, each and together."""
    warnings = [warning for source in sources for warning in warnings_of(source)]
    return [*warnings, *reported_twice(sources)]


def warnings_of(source: Source) -> Iterator[str]:
    """Settings that are valid and probably a mistake."""
    if not source.user_id and _names(source):
        yield f"[{source.name}] user_id is empty: every event is parked as missing_user"
    for name in sorted({name for names in _names(source).values() for name in names}):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            yield f'[{source.name}.events] "{name}" is not snake_case, which Linkrunner recommends'
    yield from _almost_kinds(source)
    yield from looks_like_revenue(source)
    yield from doubts(source)
    if source.provider.caution:
        yield f"[{source.name}] {source.provider.caution}"
    yield from _overlaps(source)


def _almost_kinds(source: Source) -> Iterator[str]:
    """Names that are probably meant to be one of ours, which Linkrunner and the mappers know."""
    for event_type, namings in source.names.items():
        for naming in namings.values():
            meant = _nearly(naming.name)
            if meant is None:
                continue
            earns = meant.flow is Flow.PAYMENT and naming.kind.flow is not Flow.PAYMENT
            cost = " and counts no revenue" if earns else ""
            yield (
                f'[{source.name}.events] "{event_type}" = "{naming.name}": did you mean {meant.value}? '
                f"As written it is a name of your own{cost}"
            )


def _nearly(name: str) -> Kind | None:
    """The kind that a name differs from by a letter or two, or by its spelling."""
    if name in set(Kind):
        return None
    spelt = re.sub(r"[\s-]+", "_", name.strip().lower())
    near = get_close_matches(spelt, [kind.value for kind in Kind], n=1, cutoff=_ALMOST)
    return Kind(near[0]) if near else None


def reported_twice(sources: Sequence[Source]) -> Iterator[str]:
    """Sources whose payments are probably the same, told by two companies under two transaction ids."""
    paid = [source for source in sources if _reports_payments(source)]
    for source, other in product(paid, paid):
        why = _same_money(source.provider, other.provider)
        if why and source.provider.names_gateway and other.provider.name in GATEWAYS:
            yield (
                f"[{source.name}] and [{other.name}] report the same payment if {why}: it counts once where "
                f"{source.provider.names_gateway} names it, under the name of the report that comes first. "
                "To choose the name, switch the payments of one of them off"
            )
        elif why:
            yield (
                f"[{source.name}] and [{other.name}] report a payment twice if {why}: "
                "switch the payments of one of them off, unless they are others"
            )


# Who reports the same payments as whom, and when.
_SAME_MONEY: Final = {
    (Role.SHOP, Role.GATEWAY): "the shop charges in your own account there",
    (Role.BILLING, Role.GATEWAY): "it charges in your own account there",
    (Role.REPEATER, Role.STORE): "it repeats what happens there",
    (Role.REPEATER, Role.REPEATER): "both repeat what happens in the same stores",
}


def _same_money(provider: Provider, other: Provider) -> str | None:
    """When two providers report the same payments; None where they do not, or the other one says so."""
    if provider.name == other.name:
        return None
    twins = provider.role is other.role and provider.name > other.name
    by_role = None if twins else _SAME_MONEY.get((provider.role, other.role))
    return provider.overlaps.get(other.name) or by_role


def _reports_payments(source: Source) -> bool:
    return any(
        naming.kind.flow is Flow.PAYMENT
        for namings in source.names.values()
        for naming in namings.values()
    )


def _overlaps(source: Source) -> Iterator[str]:
    """What is off by default because another type reports the same, and was switched on."""
    for event_type, kinds in source.names.items():
        switches = source.provider.types[event_type].switches
        names = {naming.name for kind, naming in kinds.items() if not switches[kind]}
        for other, others in _names(source).items():
            shared = sorted(names & set(others))
            if shared and other != event_type and source.provider.types[other].forwarded:
                yield (
                    f'[{source.name}.events] "{event_type}" and "{other}" both become {shared[0]}: '
                    "what has the same transaction id is counted once, everything else twice"
                )
