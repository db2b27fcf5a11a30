"""`translate` and `send`: what a webhook would become, and a signed one to try the real thing with."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
import urllib3
from urllib3.exceptions import HTTPError

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.errors import Malformed, MissingUser
from linkrunner_webhooks.model import Identity, Webhook
from linkrunner_webhooks.translation import plan
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import say, write_json
from linkrunner_webhooks_cli.sources import load_provider, pick_source, read_config
from linkrunner_webhooks_local.development import development_secret

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another webhooks.toml (default: WEBHOOKS_TOML, else the packaged one).",
)
source_option = click.option(
    "--source", help="The table of webhooks.toml, when it is not the provider."
)


@click.command()
@click.argument("provider")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--header", "headers", multiple=True, metavar="K:V", help="A request header; repeatable."
)
@source_option
@config_option
@click.option("--user-id", help="The user where the webhook names none.")
def translate(
    provider: str,
    file: Any,
    headers: tuple[str, ...],
    source: str | None,
    config_path: Path | None,
    user_id: str | None,
) -> None:
    """Print the Linkrunner bodies a webhook would become. Sends nothing.

    FILE is a body as the provider sends it, or {"headers": ..., "body": ...}; - reads standard input.

    \b
    Examples:
      linkrunner-webhooks translate stripe events/stripe/invoice.paid.json
      linkrunner-webhooks translate shopify order.json --header X-Shopify-Topic:orders/paid
    """
    picked = pick_source(read_config(config_path), load_provider(provider), source)
    request = _webhook(picked, file.read(), headers)
    webhooks = [_identified(picked, each) for each in picked.provider.unpack(request)]
    bodies, missing = [], []
    for identity in dict.fromkeys(identity for _, identity in webhooks):
        _explain(picked, identity)
    for each in (
        each for webhook, identity in webhooks for each in plan(webhook, identity, picked)
    ):
        try:
            bodies.append(each.event(picked, user_id).body())
        except MissingUser as error:
            missing.append(str(error))
    write_json(bodies)
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


def _identified(source: Source, webhook: Webhook) -> tuple[Webhook, Identity]:
    """Headers that carry identity may be left out here: a body from a log or a dashboard has none."""
    try:
        return webhook, source.provider.identify(webhook)
    except Malformed:
        filler = dict.fromkeys(source.provider.headers, "unknown")
        filled = replace(webhook, headers={**filler, **webhook.headers})
        return filled, source.provider.identify(filled)


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


@dataclass(frozen=True, slots=True)
class Setting:
    path: str
    value: Any


def _setting(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[Setting]:
    return [_parsed(value) for value in values]


def _parsed(text: str) -> Setting:
    path, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f'--set takes path=value, not "{text}"')
    try:
        return Setting(path, json.loads(value))
    except ValueError:
        return Setting(path, value)


def _amount(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> Decimal | None:
    try:
        return None if value is None else Decimal(value)
    except InvalidOperation:
        raise click.UsageError(f'--amount takes a number like 25.99, not "{value}"') from None


def _default_url() -> str:
    return f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"


@click.command()
@click.argument("provider")
@click.argument("type", metavar="TYPE")
@click.option(
    "--to",
    "url",
    default=_default_url,
    help="A base URL, or the whole one (default: the local stack).",
)
@click.option("--user-id", help="Whose event it is.")
@click.option("--amount", callback=_amount, help="In major units: 25.99.")
@click.option("--currency", help="An ISO 4217 code.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_setting,
    metavar="PATH=VALUE",
    help="Any value.",
)
@click.option(
    "--secret", help="What to sign with (default: WEBHOOK_SECRETS, else the development secret)."
)
@click.option(
    "--same-ids",
    is_flag=True,
    help="Keep the sample's ids, so that sending it again is a duplicate.",
)
@source_option
@config_option
def send(
    provider: str,
    type: str,
    url: str,
    user_id: str | None,
    amount: Decimal | None,
    currency: str | None,
    settings: list[Setting],
    secret: str | None,
    same_ids: bool,
    source: str | None,
    config_path: Path | None,
) -> None:
    """Send a sample webhook, signed as the provider would.

    Every send is another sale, with ids of its own, unless --same-ids is given.

    \b
    Examples:
      linkrunner-webhooks send stripe checkout.session.completed --user-id user_42
      linkrunner-webhooks send shopify orders/paid --amount 1499 --currency INR
      linkrunner-webhooks send stripe invoice.paid --set data.object.billing_reason=subscription_create
    """
    picked = pick_source(read_config(config_path), load_provider(provider), source)
    sample = samples.load(picked, type)
    if not same_ids:
        sample = samples.with_fresh_ids(sample, picked)
    if user_id is not None:
        sample = samples.with_user(sample, picked, user_id)
    if amount is not None or currency is not None:
        sample = samples.with_money(sample, picked, amount, currency and currency.upper())
    for setting in settings:
        sample = samples.with_value(sample, setting.path, setting.value)
    webhook = sample.signed(picked, secret or _secret(picked), time.time())
    status, answer = _post(_target(url, picked.name), webhook)
    say(f"{type} -> {status} {answer}")
    if not 200 <= status < 300:
        raise Failure("the webhook was not accepted")


def _secret(source: Source) -> str:
    """The newest live secret, the same that `make run` was given."""
    text = os.environ.get("WEBHOOK_SECRETS")
    try:
        if not text:
            return development_secret(source)
        value = json.loads(text)[source.name]
        return value if isinstance(value, str) else str(value[0])
    except (ValueError, KeyError, IndexError, TypeError):
        example = f'{{"{source.name}": ["..."]}}'
        message = f"WEBHOOK_SECRETS has no secret for {source.name}; it is JSON like {example}"
        raise Failure(message) from None


def _target(url: str, source: str) -> str:
    base = url.rstrip("/")
    if base.endswith("/webhooks"):
        return f"{base}/{source}"
    return base if "/webhooks/" in base else f"{base}/webhooks/{source}"


def _post(url: str, webhook: Webhook) -> tuple[int, str]:
    try:
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            headers = dict(webhook.headers) | {"content-type": "application/json"}
            response = pool.request("POST", url, body=webhook.body, headers=headers)
            return response.status, response.data.decode("utf-8", "replace").strip()
    except HTTPError:
        raise Failure(f"nothing answers at {url}; is `make run` running?") from None
