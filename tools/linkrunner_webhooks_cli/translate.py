"""`translate`: what a webhook would become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.errors import Malformed, Reason
from linkrunner_webhooks.model import Outcome, Webhook
from linkrunner_webhooks.payments import Returned
from linkrunner_webhooks.translation import Decision, decide, plan_of
from linkrunner_webhooks_cli.completions import provider_names, source_option
from linkrunner_webhooks_cli.explanation import (
    Drop,
    dropped,
    explanation,
    meant,
    nothing_of,
    write_explanation,
)
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

# Stands in for headers that carry identity and were left out.
_UNKNOWN = "unknown"
_PROBE = "probe/probe"


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
        explained = [
            explanation(each, meant(each, lambda _: user_id, lambda _: None)) for each in opened
        ]
        if as_json:
            write_json({"webhooks": explained})
        else:
            for each in explained:
                write_explanation(each)
        return
    decisions = [_decided(each, user_id) for each in opened]
    write_json([body for each in decisions for body in each.bodies])
    for planned in (each for decision in decisions for each in decision.planned):
        payment, expression = planned.payment, planned.source.payment_id
        if expression and payment and payment.terms.payment_id == payment.own_id:
            say(f"Note: payment_id ({expression}) finds no id here, so the payment has its own")
        if planned.returned and planned.source.linkrunner.revenue != "event":
            say(_taken(planned.returned.returned))
    if not any(each.events for each in decisions):
        say("Nothing would be sent; --explain says more.")
    missing = [each.detail for each in decisions if each.reason is Reason.MISSING_USER]
    if missing:
        raise Failure(f"{missing[0]}. With --user-id you see the rest of the event.")
    if unknown := [each for each in opened if not _is_known(each)]:
        raise Failure(f"{unknown[0].source.provider.title} has no such event type")


def _decided(opened: Opened, user_id: str | None) -> Decision:
    """What it would become; why nothing, or why this would not arrive, on stderr."""
    drops = dropped(opened.source, opened.identity)
    for drop in drops:
        say(_dropped(drop, opened))
    if any(drop.reason is not Reason.TEST for drop in drops):
        return Decision(Outcome.IGNORED, drops[0].reason)
    decision = decide(plan_of(opened), lambda _: user_id, lambda _: None)
    if why := nothing_of(decision, opened):
        say(f"Nothing to report: {why}")
    return decision


def _taken(returned: Returned) -> str:
    """What a refund does besides."""
    money = f"{abs(returned.amount)} {returned.currency}"
    if returned.amount < 0:
        return f"Note: {money} came back, so its payment counts again as far as it was taken away"
    return (
        f"Note: {money} went back: a payment that all of it came from is removed (/remove-payment), and "
        "of another part as [linkrunner] partial_refund says"
    )


def _dropped(drop: Drop, opened: Opened) -> str:
    event_type = opened.identity.event_type
    if drop.reason is Reason.TEST:
        return f"Note: receive drops {drop.why}"
    if drop.reason is Reason.THIN:
        return f"Not forwarded: {drop.why}"
    if not _is_known(opened):
        return f'Not forwarded: "{event_type}": {drop.why}{_how_to_name_it(opened)}'
    return f'Not forwarded: "{event_type}" is {drop.why}'


def _is_known(opened: Opened) -> bool:
    provider, identity = opened.source.provider, opened.identity
    return identity.thin or identity.event_type in (*provider.types, *provider.never)


def _how_to_name_it(opened: Opened) -> str:
    """How to say the type of a body that does not; empty where it does."""
    if opened.identity.event_type != _UNKNOWN:
        return ""
    provider = opened.source.provider
    listed = f"; types are: {', '.join(sorted(provider.types))}"
    header = next((each for each in provider.headers if _names_type(opened, each)), None)
    return f"; the body does not say it: give --header {header}:TYPE{listed}" if header else listed


def _names_type(opened: Opened, header: str) -> bool:
    webhook = replace(opened.webhook, headers={**opened.webhook.headers, header: _PROBE})
    return opened.source.provider.identify(webhook).event_type == _PROBE


def _opened(source: Source, webhook: Webhook) -> Opened:
    """Headers that carry identity may be left out here: a body from a log or a dashboard has none."""
    try:
        return Opened(webhook, source, source.provider.identify(webhook))
    except Malformed:
        filler = dict.fromkeys(source.provider.headers, _UNKNOWN)
        filled = replace(webhook, headers={**filler, **webhook.headers})
        return Opened(filled, source, source.provider.identify(filled))
