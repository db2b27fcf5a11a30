"""`translate`: what a webhook would become."""

from __future__ import annotations

import json
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
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import say, write_json
from linkrunner_webhooks_cli.sources import (
    config_option,
    json_option,
    load_provider,
    pick_source,
    read_config,
)


@click.command()
@click.argument("provider", shell_complete=provider_names)
@click.argument("file", type=click.File("rb"))
@click.option(
    "--header", "headers", multiple=True, metavar="K:V", help="A request header; repeatable."
)
@source_option
@config_option
@click.option("--user-id", help="The user where the webhook names none.")
@json_option
def translate(
    provider: str,
    file: Any,
    headers: tuple[str, ...],
    source: str | None,
    config_path: Path | None,
    user_id: str | None,
    as_json: bool,
) -> None:
    """Print the Linkrunner bodies a webhook would become, as JSON in any case. Sends nothing.

    FILE is a body as the provider sends it, or {"headers": ..., "body": ...}; - reads standard input.

    \b
    Examples:
      linkrunner-webhooks translate stripe events/stripe/invoice.paid.json
      linkrunner-webhooks translate shopify order.json --header X-Shopify-Topic:orders/paid
    """
    del as_json
    picked = pick_source(read_config(config_path), load_provider(provider), source)
    request = _webhook(picked, file.read(), headers)
    opened = [_opened(picked, each) for each in picked.provider.unpack(request)]
    for identity in dict.fromkeys(each.identity for each in opened):
        _explain(picked, identity)
    decisions = [decide(each, lambda _: user_id) for each in opened]
    write_json([event.body() for each in decisions for event in each.events])
    missing = [each.detail for each in decisions if each.reason is Reason.MISSING_USER]
    if missing:
        raise Failure(f"{missing[0]}. With --user-id you see the rest of the event.")


def _webhook(source: Source, written: bytes, headers: tuple[str, ...]) -> Webhook:
    given = dict(_header(header) for header in headers)
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        value = None
    if (
        isinstance(value, dict)
        and {"headers", "body"} <= value.keys()
        and isinstance(value["headers"], dict)
    ):
        stored = {str(key).lower(): str(each) for key, each in value["headers"].items()}
        body = value["body"]
        written = (
            body.encode()
            if isinstance(body, str)
            else json.dumps(body, ensure_ascii=False).encode()
        )
        given = stored | given
    return Webhook(source.name, given, written)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.UsageError(f'--header takes Name:Value, not "{text}"')
    return name.strip().lower(), value.strip()


def _opened(source: Source, webhook: Webhook) -> Opened:
    """Headers that carry identity may be left out here: a body from a log or a dashboard has none."""
    try:
        return Opened(webhook, source, source.provider.identify(webhook))
    except Malformed:
        filler = dict.fromkeys(source.provider.headers, "unknown")
        filled = replace(webhook, headers={**filler, **webhook.headers})
        return Opened(filled, source, source.provider.identify(filled))


def _explain(source: Source, identity: Identity) -> None:
    """Why nothing, or why this would not arrive, on stderr."""
    known = source.provider.types
    if identity.event_type not in known:
        hint = (
            f"; types are: {', '.join(sorted(known))}" if identity.event_type == "unknown" else ""
        )
        say(f'Not forwarded: no mapper for the type "{identity.event_type}"{hint}')
    elif not source.wants(identity.event_type):
        say(f'Not forwarded: "{identity.event_type}" is off; [{source.name}.events] switches it on')
    if identity.test and not source.test_events:
        say(
            f"Note: this is test traffic; receive drops it unless [{source.name}] test_events = true"
        )
