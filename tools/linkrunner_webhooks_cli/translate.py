"""`translate`: what a webhook would become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.errors import Malformed, Reason
from linkrunner_webhooks.model import Identity, Webhook
from linkrunner_webhooks.translation import decide
from linkrunner_webhooks_cli.completions import provider_names, source_option
from linkrunner_webhooks_cli.explanation import explanation, write_explanation
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.given import header_option, webhook_of
from linkrunner_webhooks_cli.output import say, write_json
from linkrunner_webhooks_cli.sources import (
    config_of,
    config_option,
    json_option,
    load_provider,
    pick_source,
)
from linkrunner_webhooks_local.switches import tests_off, type_off


@click.command()
@click.argument("provider", shell_complete=provider_names)
@click.argument("file", type=click.File("rb"))
@header_option
@source_option
@config_option
@click.option("--user-id", help="The user where the webhook names none.")
@click.option("--explain", is_flag=True, help="Say why, with every user path; ids are masked.")
@json_option
def translate(
    provider: str,
    file: Any,
    headers: dict[str, str],
    source: str | None,
    config_path: Path | None,
    user_id: str | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Print the Linkrunner bodies a webhook would become, as JSON in any case. Sends nothing.

    FILE is a body as the provider sends it, or {"headers": ..., "body": ...}; - reads standard input.

    \b
    Examples:
      linkrunner-webhooks translate stripe events/stripe/invoice.paid.json
      linkrunner-webhooks translate shopify order.json --header X-Shopify-Topic:orders/paid --explain
    """
    picked = pick_source(config_of(None, config_path), load_provider(provider), source)
    request = webhook_of(picked, file.read(), headers)
    opened = [_opened(picked, each) for each in picked.provider.unpack(request)]
    if explain:
        explained = [explanation(each, lambda _: user_id) for each in opened]
        if as_json:
            write_json({"webhooks": explained})
        else:
            for each in explained:
                write_explanation(each)
        return
    for identity in dict.fromkeys(each.identity for each in opened):
        _remark(picked, identity)
    decisions = [decide(each, lambda _: user_id) for each in opened]
    write_json([event.body() for each in decisions for event in each.events])
    missing = [each.detail for each in decisions if each.reason is Reason.MISSING_USER]
    if missing:
        raise Failure(f"{missing[0]}. With --user-id you see the rest of the event.")


def _opened(source: Source, webhook: Webhook) -> Opened:
    """Headers that carry identity may be left out here: a body from a log or a dashboard has none."""
    try:
        return Opened(webhook, source, source.provider.identify(webhook))
    except Malformed:
        filler = dict.fromkeys(source.provider.headers, "unknown")
        filled = replace(webhook, headers={**filler, **webhook.headers})
        return Opened(filled, source, source.provider.identify(filled))


def _remark(source: Source, identity: Identity) -> None:
    """Why nothing, or why this would not arrive, on stderr."""
    known = source.provider.types
    if identity.event_type not in known:
        hint = (
            f"; types are: {', '.join(sorted(known))}" if identity.event_type == "unknown" else ""
        )
        say(f'Not forwarded: no mapper for the type "{identity.event_type}"{hint}')
    elif not source.wants(identity.event_type):
        say(f'Not forwarded: "{identity.event_type}" is {type_off(source, identity.event_type)}')
    if identity.test and not source.test_events:
        say(f"Note: receive drops {tests_off(source)}")
