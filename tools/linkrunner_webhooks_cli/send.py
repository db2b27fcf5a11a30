"""`send`: a correctly signed sample webhook, to try the real thing with."""

from __future__ import annotations

import json
import os
import re
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
import urllib3
from urllib3.exceptions import HTTPError

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.completions import event_types, provider_names, source_option
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import say, write_json
from linkrunner_webhooks_cli.samples import Changes, Setting
from linkrunner_webhooks_cli.sources import (
    config_option,
    json_option,
    load_provider,
    pick_source,
    read_config,
)
from linkrunner_webhooks_local.development import development_secret

_LOCAL = re.compile(r"(?:localhost|127(?:\.\d+){3}|\[::1\])(?=[:/]|$)")


def _setting(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Setting, ...]:
    return tuple(_parsed(value) for value in values)


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


def _currency(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return value and value.upper()


def _url(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    """Without a scheme only this machine can be meant: elsewhere a token would go out in the clear."""
    if url is None:
        return None
    scheme, given, _ = url.partition("://")
    if given and scheme in ("http", "https"):
        return url
    if not given and _LOCAL.match(url):
        return f"http://{url}"
    raise click.BadParameter(
        f"takes a URL with its scheme, like https://{url.rpartition('://')[2]}"
    )


def _default_url() -> str:
    return f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"


@click.command()
@click.argument("provider", shell_complete=provider_names)
@click.argument("type", metavar="TYPE", shell_complete=event_types)
@click.option(
    "--to",
    "url",
    default=_default_url,
    callback=_url,
    help="A base URL, or the whole one (default: the local stack).",
)
@click.option("--user-id", help="Whose event it is.")
@click.option("--amount", callback=_amount, help="In major units: 25.99.")
@click.option("--currency", callback=_currency, help="An ISO 4217 code.")
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
@json_option
def send(
    *,
    provider: str,
    type: str,
    url: str,
    secret: str | None,
    source: str | None,
    config_path: Path | None,
    as_json: bool,
    **changes: Any,
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
    sample = Changes(**changes).apply(samples.load(picked, type), picked)
    webhook = sample.signed(picked, secret or _secret(picked), time.time())
    status, answer = _post(_target(url, picked.name), webhook)
    if as_json:
        write_json({"type": type, "status": status, "answer": answer})
    else:
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
