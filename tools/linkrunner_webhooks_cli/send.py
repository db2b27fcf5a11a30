"""`send`: correctly signed webhooks, to try the real thing with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.errors import WebhookError
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.provider import Provider
from linkrunner_webhooks_cli import samples, stories
from linkrunner_webhooks_cli.completions import event_types, provider_names, source_option
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.given import header_option, webhook_of
from linkrunner_webhooks_cli.output import say, write_json, write_text
from linkrunner_webhooks_cli.samples import Changes, Setting
from linkrunner_webhooks_cli.sources import (
    config_of,
    config_option,
    json_option,
    load_provider,
    pick_source,
)
from linkrunner_webhooks_cli.targets import (
    Answer,
    Target,
    advice,
    elsewhere,
    send_signed,
    target_of,
)

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


@click.command()
@click.argument("provider", shell_complete=provider_names)
@click.argument("type", metavar="[TYPE]", required=False, shell_complete=event_types)
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
    "--same-ids",
    is_flag=True,
    help="Keep the sample's ids, so that sending it again is a duplicate.",
)
@click.option(
    "--body",
    type=click.File("rb"),
    help='This body instead of a sample, or {"headers": ..., "body": ...}; - reads standard input.',
)
@header_option
@click.option(
    "--story",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="All webhooks of one purchase: a number or words of its name. Without either: list them.",
)
@click.option("--shuffled", is_flag=True, help="In any order.")
@click.option("--twice", is_flag=True, help="Everything a second time, as a provider may.")
@click.option(
    "--to", "url", callback=_url, help="A base URL, or the whole one (default: the local stack)."
)
@click.option("--stack", metavar="NAME", help="A deployed stack, with the secret that it has.")
@click.option(
    "--secret", help="What to sign with (default: WEBHOOK_SECRETS, else what the stack has)."
)
@source_option
@config_option
@json_option
def send(
    *,
    provider: str,
    type: str | None,
    body: Any,
    headers: dict[str, str],
    story: str | None,
    shuffled: bool,
    twice: bool,
    url: str | None,
    stack: str | None,
    secret: str | None,
    source: str | None,
    config_path: Path | None,
    as_json: bool,
    **changes: Any,
) -> None:
    """Send webhooks, signed as the provider would: a sample of TYPE, a body of yours, or a story.

    Every send is another sale, with ids of its own, unless --same-ids is given. A body is sent as it is;
    with TYPE it gets the headers of that sample.

    \b
    Examples:
      linkrunner-webhooks send stripe checkout.session.completed --user-id user_42
      linkrunner-webhooks send shopify orders/paid --amount 1499 --currency INR
      linkrunner-webhooks send stripe invoice.paid --set data.object.billing_reason=subscription_create
      linkrunner-webhooks send shopify orders/paid --body order.json
      linkrunner-webhooks send stripe --story trial --shuffled --twice
    """
    found = load_provider(provider)
    if story == "":
        _list_stories(provider, as_json=as_json)
        return
    _require_one_kind(found, type, body, story, url, stack, changes)
    picked = pick_source(config_of(elsewhere(url, stack), config_path), found, source)
    target = target_of(picked, url, stack, secret)
    if body is not None:
        unsigned = [_given(picked, type, body.read(), headers)]
    elif story is not None:
        unsigned = stories.webhooks(picked, story, changes["user_id"], same_ids=changes["same_ids"])
    else:
        changed = Changes(**changes).apply(samples.load(picked, type or ""), picked)
        unsigned = [_with_headers(changed.webhook(picked), headers)]
    ordered = stories.arranged(unsigned, shuffled=shuffled, twice=twice)
    _send_all(picked, target, ordered, as_json=as_json)


def _list_stories(provider: str, *, as_json: bool) -> None:
    if as_json:
        told = enumerate(stories.read(provider), 1)
        write_json([{"number": number, "story": each["story"]} for number, each in told])
    else:
        write_text("\n".join(stories.titles(provider)))


def _require_one_kind(
    provider: Provider,
    type: str | None,
    body: object,
    story: str | None,
    url: str | None,
    stack: str | None,
    changes: dict[str, Any],
) -> None:
    if url is not None and stack is not None:
        raise click.UsageError("--to and --stack both name the receiver; give one of them")
    if story is not None and (type is not None or body is not None):
        raise click.UsageError(
            "--story names all its webhooks; give neither TYPE nor --body with it"
        )
    if type is None and body is None and story is None:
        known = ", ".join(provider.types)
        raise click.UsageError(f"give a TYPE, --body FILE or --story NAME; types are: {known}")
    given = {
        name.replace("settings", "set")
        for name, value in changes.items()
        if value is not None and value is not False and value != ()
    }
    allowed = {"user_id", "same_ids"} if story is not None else set()
    if (body is not None or story is not None) and given - allowed:
        option = min(given - allowed).replace("_", "-")
        what = "--body" if body is not None else "--story"
        raise click.UsageError(f"--{option} changes a sample; {what} is sent as it is")


def _given(source: Source, type: str | None, written: bytes, headers: dict[str, str]) -> Webhook:
    webhook = webhook_of(source, written, headers)
    return _with_headers(
        webhook, {**samples.load(source, type).headers, **webhook.headers} if type else {}
    )


def _with_headers(webhook: Webhook, headers: Mapping[str, str]) -> Webhook:
    return replace(webhook, headers={**webhook.headers, **headers})


def _send_all(source: Source, target: Target, unsigned: list[Webhook], *, as_json: bool) -> None:
    answers: list[tuple[str, Answer]] = []
    for webhook in unsigned:
        type = _type(source, webhook)
        answer = send_signed(source, target, webhook)
        say(f"{type} -> {answer.status} {answer.text}")
        answers.append((type, answer))
    if as_json:
        write_json([{"type": type, **asdict(answer)} for type, answer in answers])
    refused = [answer for _, answer in answers if not answer.accepted]
    for answer in {each.status: each for each in refused}.values():
        say(advice(target, answer))
    if refused:
        count = (
            f"{len(refused)} of {len(answers)} webhooks were"
            if len(answers) > 1
            else "the webhook was"
        )
        raise Failure(f"{count} not accepted")


def _type(source: Source, webhook: Webhook) -> str:
    """The types in a request. One that cannot be read is sent all the same: its answer is of interest."""
    try:
        events = source.provider.unpack(webhook)
        return ", ".join(source.provider.identify(each).event_type for each in events)
    except WebhookError:
        return "?"
