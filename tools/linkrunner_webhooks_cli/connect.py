"""`connect`: a source's endpoint at its provider, set up by the provider's own API."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from linkrunner_webhooks.config import Config, Source, suggest
from linkrunner_webhooks.errors import Unavailable
from linkrunner_webhooks.signatures.scheme import complaint
from linkrunner_webhooks_cli.clients import client_of
from linkrunner_webhooks_cli.clients.api import ApiError
from linkrunner_webhooks_cli.clients.client import Connects, Endpoint, Made, Origin, Wanted
from linkrunner_webhooks_cli.clients.credentials import opened
from linkrunner_webhooks_cli.completions import source_names
from linkrunner_webhooks_cli.endpoints import Step, findings, is_same, steps
from linkrunner_webhooks_cli.failures import Failure, in_sentences
from linkrunner_webhooks_cli.findings import show
from linkrunner_webhooks_cli.other_side import wanted_of
from linkrunner_webhooks_cli.output import say, write_json, write_table, write_text
from linkrunner_webhooks_cli.provider_page import page_of
from linkrunner_webhooks_cli.signing_secrets import store
from linkrunner_webhooks_cli.sources import config_of, config_option, json_option
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option


@click.command()
@click.argument("source", shell_complete=source_names)
@click.option("--check", is_flag=True, help="Only look whether it is set up right.")
@click.option("--dry-run", is_flag=True, help="Print the requests that would be sent; send none.")
@click.option("--renew", is_flag=True, help="With a new signing secret; the former stays valid.")
@click.option("--url", metavar="URL", help="Another URL than the stack's: that of a tunnel, say.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@stack_option
@json_option
def connect(
    *,
    source: str,
    check: bool,
    dry_run: bool,
    renew: bool,
    url: str | None,
    yes: bool,
    config_path: Path | None,
    stack: str | None,
    as_json: bool,
) -> None:
    """Set up the endpoint of a source at its provider, with exactly the types that webhooks.toml forwards.

    An endpoint that is there is changed, and never made twice; run it again after a change of webhooks.toml.
    The signing secret goes straight into WebhookSecrets, and is shown nowhere. Credentials come from the
    environment (STRIPE_API_KEY and the like; docs/provider-apis.md lists them) or a prompt, and are not kept.

    \b
    Examples:
      linkrunner-webhooks connect stripe --stack linkrunner-webhooks --dry-run
      linkrunner-webhooks connect shopify --stack linkrunner-webhooks
      linkrunner-webhooks connect stripe --stack linkrunner-webhooks --check
      linkrunner-webhooks connect stripe --url https://my.tunnel.example/webhooks/stripe
    """
    config = config_of(stack, config_path)
    meant = _source(config, source)
    found = find(stack)
    wanted = wanted_of(meant, found, url)
    kind = client_of(meant.provider.name)
    if kind is None or not issubclass(kind, Connects):
        _by_hand(meant, wanted, as_json=as_json)
        return
    client = opened(kind, meant, config)
    assert isinstance(client, Connects)
    if objection := client.objection(wanted) or _unrenewable(client, renew=renew):
        raise Failure(objection)
    if check:
        _check(client, wanted, as_json=as_json)
        return
    _connect(client, found, wanted, dry_run=dry_run, renew=renew, yes=yes, as_json=as_json)


def _source(config: Config, name: str) -> Source:
    source = config.source(name)
    if source is None:
        hint = suggest(name, config.names)
        raise Failure(
            f"webhooks.toml has no table [{name}]{hint}; `linkrunner-webhooks add` makes one"
        )
    return source


def _unrenewable(client: Connects, *, renew: bool) -> str:
    """Why there can be no new secret; empty where there can."""
    if not renew or client.origin in (Origin.ONCE, Origin.OURS):
        return ""
    title = client.source.provider.title
    return f"{title} makes a new secret only there; afterwards `connect` without --renew stores it"


def _by_hand(source: Source, wanted: Wanted, *, as_json: bool) -> None:
    """What to click, where no API does it."""
    provider = source.provider
    if as_json:
        write_json(
            {"source": source.name, "url": wanted.url, "types": wanted.types, "by_hand": True}
        )
        return
    write_text(f"{provider.title} has no API for that. Set up there ({page_of(provider.name)}):")
    write_text(f"  URL    {wanted.url}")
    write_text(f"  types  {', '.join(wanted.types)}")
    write_text(f"then put its secret: linkrunner-webhooks secrets set {source.name}")


# ------------------------------------------------------------------------- looking


def _check(client: Connects, wanted: Wanted, *, as_json: bool) -> None:
    found = findings(client, client.endpoints(), wanted)
    if as_json:
        write_json([asdict(each) for each in found])
    else:
        show(found)
    if not all(each.right for each in found):
        raise Failure("something is missing")


# ------------------------------------------------------------------------- changing


def _connect(
    client: Connects,
    stack: Stack,
    wanted: Wanted,
    *,
    dry_run: bool,
    renew: bool,
    yes: bool,
    as_json: bool,
) -> None:
    source = client.source
    live = stack.signing_secrets().of(source.name)
    there = client.endpoints()
    if client.origin is Origin.OURS:
        wanted = wanted._replace(secret=client.choose() if renew or not live else live[0])
    todo = [*steps(client, there, wanted, renew=renew or not live)]
    unknown = _unknown_secret(client, there, wanted, live)
    if not as_json:
        _write(todo, unknown=bool(unknown))
    if dry_run:
        _show(todo, client, wanted, as_json=as_json)
        return
    changes = bool(todo or unknown)
    if changes and not yes:
        title = source.provider.title
        click.confirm(
            f"Change this at {title}, and in the secrets of {stack.name}?", abort=True, err=True
        )
    if changes:
        _change(client, stack, todo, wanted)
    if unknown:
        _keep(stack, source, unknown)
    told = findings(client, client.endpoints(), wanted)
    if as_json:
        write_json(
            {
                "source": source.name,
                "url": wanted.url,
                "types": wanted.types,
                "steps": [{"what": each.what, "why": each.why} for each in todo],
                "findings": [asdict(each) for each in told],
            }
        )
    if not all(each.right for each in told):
        show([each for each in told if not each.right])
        raise Failure("the endpoint is not as it should be")
    say(_done(client, changes=changes))


def _unknown_secret(
    client: Connects, there: Sequence[Endpoint], wanted: Wanted, live: Sequence[str]
) -> str:
    """The secret of the endpoint that is there, where it can be read and is not known here."""
    if client.origin not in (Origin.AGAIN, Origin.GIVEN):
        return ""
    ours = [each for each in there if each.usable and is_same(each.url, wanted.url)]
    secret = client.secret_of(ours[0]) if ours else ""
    return "" if secret in live else secret


def _write(todo: Sequence[Step], *, unknown: bool) -> None:
    rows = [(str(each.what), ", ".join(each.wanted.types), each.why) for each in todo]
    if unknown:
        rows.append(("store", "its signing secret", "it is not known here"))
    if rows:
        write_table(("", "what", "because"), rows)


def _show(todo: Sequence[Step], client: Connects, wanted: Wanted, *, as_json: bool) -> None:
    requests = [*client.switches(), *(each.request for each in todo)]
    shown = [each.shown(wanted.secret) for each in requests]
    if as_json:
        write_json({"source": client.source.name, "requests": shown, "dry_run": True})
        return
    for text in shown:
        write_text(f"\n{text}")
    say("Nothing was sent." if shown else "Nothing would be changed.")


def _change(client: Connects, stack: Stack, todo: Sequence[Step], wanted: Wanted) -> None:
    if client.origin is Origin.OURS:
        # First, so that the first webhook is verified.
        _keep(stack, client.source, wanted.secret)
    for request in client.switches():
        client.apply(request)
    for step in todo:
        if step.what == "create":
            _create(client, stack, step)
        else:
            client.apply(step.request)


def _create(client: Connects, stack: Stack, step: Step) -> None:
    made = client.create(step.wanted)
    if not made.secret:
        return
    try:
        with in_sentences():
            _keep(stack, client.source, made.secret)
    except Failure as error:
        raise _undone(client, step, made, error) from None


def _undone(client: Connects, step: Step, made: Made, error: Failure) -> Failure:
    """Nobody would know the secret of that endpoint: it is taken away again."""
    title, endpoint = client.source.provider.title, Endpoint(made.id, step.wanted.url, frozenset())
    with suppress(ApiError):
        client.apply(client.removal(endpoint))
        return Failure(f"{error}; so the new endpoint at {title} was taken away again")
    return Failure(f"{error}; and the new endpoint {made.id} is still at {title}: remove it there")


def _keep(stack: Stack, source: Source, secret: str) -> None:
    if secret in stack.signing_secrets().of(source.name):
        return
    if wrong := complaint(source.signature, secret):
        raise Failure(f"{source.provider.title}'s secret was not stored: {wrong}")
    try:
        store(stack, source.name, secret)
    except Unavailable as error:
        raise Failure(str(error)) from None


def _done(client: Connects, *, changes: bool) -> str:
    source = client.source
    if not changes:
        return f"Everything is as it should be at {source.provider.title}."
    return (
        "Connected. A new secret works within five minutes; what comes until then "
        f"{source.provider.title} sends again. `linkrunner-webhooks tail` shows the first webhook."
    )
