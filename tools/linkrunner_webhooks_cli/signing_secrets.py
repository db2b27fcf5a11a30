"""`secrets`: put, list and drop the signing secrets of sources, and put the server key."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from linkrunner_webhooks.config import Config, suggest
from linkrunner_webhooks.errors import Unavailable
from linkrunner_webhooks.secrets import ServerKey, SigningSecrets
from linkrunner_webhooks.signatures.scheme import complaint
from linkrunner_webhooks_cli.completions import source_names
from linkrunner_webhooks_cli.doctor import asked
from linkrunner_webhooks_cli.failures import Commands, Failure
from linkrunner_webhooks_cli.findings import LOCAL, Place, deployed, homeless, shared, signing
from linkrunner_webhooks_cli.output import ago, counted, say, write_json, write_table
from linkrunner_webhooks_cli.provider_page import page_of
from linkrunner_webhooks_cli.secret_table import rotated, since, table_with, with_signers
from linkrunner_webhooks_cli.sources import (
    config_of,
    config_option,
    json_option,
    source_named,
)
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option

_SOON: Final = "It works within five minutes, without a deploy."


@click.group(cls=Commands)
def secrets() -> None:
    """Put, list and drop the signing secrets of sources, and the server key.

    A secret is typed at a prompt or read from standard input, never an argument: those stay in the history
    of the shell. No command shows one.

    \b
    Examples:
      linkrunner-webhooks secrets set stripe --stack linkrunner-webhooks
      linkrunner-webhooks secrets list --stack linkrunner-webhooks
    """


@secrets.command("set")
@click.argument("source", shell_complete=source_names)
@click.option("--only", is_flag=True, help="Let no former secret be valid beside it.")
@config_option
@json_option
@stack_option
def put(
    source: str, only: bool, config_path: Path | None, as_json: bool, stack: str | None
) -> None:
    """Put the signing secret of a source. The former one stays valid beside it; an older one is dropped.

    The secret is checked against the shape that the provider gives its own before anything is written.

    \b
    Examples:
      linkrunner-webhooks secrets set stripe --stack linkrunner-webhooks
      pass show stripe/whsec | linkrunner-webhooks secrets set stripe --stack linkrunner-webhooks
      linkrunner-webhooks secrets set shopify --only --stack linkrunner-webhooks
    """
    config = config_of(stack, config_path)
    meant = source_named(config, source)
    found = find(stack)
    secret = _read(f"Signing secret of {source}")
    if wrong := complaint(meant.signature, secret):
        title, page = meant.provider.title, page_of(meant.provider.name)
        raise Failure(f"nothing was stored: {wrong}. Where {title} shows it: {page}")
    stored = store(found, source, secret, only=only)
    if as_json:
        write_json({"source": source, "live": stored.live, "dropped": stored.dropped})
    say(f"Stored for {source}. {_SOON}")
    if stored.live > 1:
        say(
            f"The former secret stays valid beside it. When {meant.provider.title} no longer signs with it: "
            f"`linkrunner-webhooks secrets drop {source}{_of(stack)}`"
        )
    if stored.dropped:
        say(f"Dropped: {counted(stored.dropped, 'older secret')}.")
    _warn_of_shared(config, found.signing_secrets())


class Stored(NamedTuple):
    """How many secrets of the source are valid now, and how many are not any more."""

    live: int
    dropped: int


def store(
    stack: Stack,
    source: str,
    secret: str,
    *,
    only: bool = False,
    signer: str | None = None,
    keep: Collection[str] = (),
) -> Stored:
    """Put a secret of a source first. The newest former one stays beside it, unless it is the `only` one.

    `signer` is the endpoint that was given it, empty where none was yet; None of one put by hand. Those to
    `keep` stay, too. Raises Failure for a WebhookSecrets that nobody can read, or that somebody else has
    written at the same time, and what the SDK raises.
    """
    table, before = _known(stack.signing_secrets(), source, only=only)
    live = rotated(before, secret, only=only, keep=keep)
    written = table_with(table, source, before, live, datetime.now(UTC))
    if signer is not None:
        written = with_signers(written, source, secret, [signer] if signer else [])
    _write(stack, written)
    if secret not in stack.signing_secrets().of(source):
        raise Failure("somebody else has just changed WebhookSecrets; run it again")
    return Stored(len(live), len([each for each in before if each not in live]))


def note_signers(stack: Stack, source: str, secret: str, endpoints: Collection[str]) -> None:
    """Note that these endpoints were given a secret that is stored."""
    _write(stack, with_signers(stack.signing_secrets().table(), source, secret, endpoints))


@secrets.command("list")
@config_option
@json_option
@stack_option
def listed(config_path: Path | None, as_json: bool, stack: str | None) -> None:
    """List which source has how many secrets, since when, and whether they have the right shape.

    \b
    Examples:
      linkrunner-webhooks secrets list
      linkrunner-webhooks secrets list --stack linkrunner-webhooks --json
    """
    config = config_of(stack, config_path)
    found = find(stack)
    place = LOCAL if stack is None else deployed(found.name)
    rows = list(_rows(config, found.signing_secrets(), place))
    if as_json:
        write_json([each.document() for each in rows])
        return
    write_table(
        ("", "source", "secrets", "put there, newest first", "what to do"),
        [each.cells(datetime.now(UTC)) for each in rows],
    )


class _Row(NamedTuple):
    source: str
    since: list[datetime | None]
    advice: str

    def document(self) -> dict[str, Any]:
        dates = [{"since": each.isoformat() if each else None} for each in self.since]
        return {"source": self.source, "secrets": dates, "advice": self.advice or None}

    def cells(self, now: datetime) -> tuple[str, ...]:
        ages = ", ".join(f"{ago(now - each)} ago" if each else "unknown" for each in self.since)
        verdict = "!!" if self.advice else "ok"
        return (verdict, self.source, str(len(self.since)), ages, self.advice)


def _rows(config: Config, stored: SigningSecrets, place: Place) -> Iterator[_Row]:
    table = stored.table()
    for source in config.sources():
        live = stored.of(source.name)
        found, advice = signing(source, live, place)
        yield _Row(source.name, since(table, source.name, live), advice and f"{found}: {advice}")
    for name in sorted({*stored.names()} - {*config.names}):
        dates = since(table, name, stored.of(name))
        for each in homeless([name], config.names, place):
            yield _Row(name, dates, f"{each.found}: {each.advice}")


@secrets.command()
@click.argument("source", shell_complete=source_names)
@click.option("--all", "everything", is_flag=True, help="The newest, too: its URL answers 404.")
@click.option("--dry-run", is_flag=True, help="Say what would be dropped; drop nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@stack_option
def drop(
    source: str, everything: bool, dry_run: bool, yes: bool, as_json: bool, stack: str | None
) -> None:
    """Drop the former secrets of a source, and keep the newest.

    \b
    Examples:
      linkrunner-webhooks secrets drop stripe --stack linkrunner-webhooks
      linkrunner-webhooks secrets drop shopify_eu --all --dry-run --stack linkrunner-webhooks
    """
    found = find(stack)
    stored = found.signing_secrets()
    before = stored.of(source)
    if not before:
        raise Failure(f"{source} has no secret{suggest(source, stored.names())}")
    live = () if everything else before[:1]
    dropped = len(before) - len(live)
    what = f"{counted(dropped, 'secret')} of {source}" + (
        "" if live else ", and its URL answers 404"
    )
    if dropped and not dry_run:
        if not yes:
            click.confirm(f"Drop {what}?", abort=True, err=True)
        _write(found, table_with(stored.table(), source, before, live, datetime.now(UTC)))
    if as_json:
        counts = {"source": source, "live": len(live), "dropped": dropped, "dry_run": dry_run}
        write_json(counts)
    nothing = "nothing; --all drops the newest, too"
    say(f"{'Would be dropped' if dry_run else 'Dropped'}: {what if dropped else nothing}.")


@secrets.command("server-key")
@json_option
@stack_option
def server_key(as_json: bool, stack: str | None) -> None:
    """Put the server key of Linkrunner, after asking Linkrunner whether it knows it.

    It is in Linkrunner's dashboard under Settings, Data APIs. Linkrunner is asked as `doctor` does, which
    counts nothing.

    \b
    Examples:
      linkrunner-webhooks secrets server-key --stack linkrunner-webhooks
    """
    found = find(stack)
    key = ServerKey.checked(_read("Server key of Linkrunner"))
    verdict = asked(found.linkrunner_url, key)
    if verdict.advice:
        raise Failure(f"nothing was stored: {verdict.found}; {verdict.advice}")
    found.put_secret("LinkrunnerKeySecretArn", key)
    if as_json:
        write_json({"stored": True})
    say(f"Stored: {verdict.found}. {_SOON}")


@secrets.command("provider-key")
@click.argument("source", shell_complete=source_names)
@config_option
@json_option
@stack_option
def provider_key(source: str, config_path: Path | None, as_json: bool, stack: str | None) -> None:
    """Put the key by which deliver asks a provider for what its webhooks only hint at.

    It needs to read, and nothing else; docs/providers says which right that is. A service account of Google's
    is its JSON file.

    \b
    Examples:
      linkrunner-webhooks secrets provider-key gocardless --stack linkrunner-webhooks
      linkrunner-webhooks secrets provider-key googleplay --stack linkrunner-webhooks < account.json
    """
    meant = source_named(config_of(stack, config_path), source)
    lookup, title = meant.provider.lookup, meant.provider.title
    if lookup is None:
        raise Failure(f"{title} is asked nothing: its webhooks say all that is needed")
    found = find(stack)
    table = found.provider_keys().table()
    key = _read(f"Key of {title} for {source} ({lookup.needs})")
    if wrong := lookup.access.complaint(key) if key else "it is empty":
        raise Failure(
            f"nothing was stored: {wrong}. Where {title} shows it: {page_of(meant.provider.name)}"
        )
    found.put_secret("ProviderKeysArn", json.dumps({**table, source: key}))
    if as_json:
        write_json({"source": source, "stored": True})
    say(f"Stored for {source}. {_SOON}")


def _read(what: str) -> str:
    """A secret from the prompt, or else all of standard input, without white space around it."""
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True)).strip()
    return sys.stdin.read().strip()


def _known(
    stored: SigningSecrets, source: str, *, only: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """All of WebhookSecrets, and the secrets of the source. What cannot be read is begun anew with --only."""
    try:
        return stored.table(), stored.of(source)
    except Unavailable as error:
        if not stored.is_legible():
            raise
        if not only:
            again = f"`linkrunner-webhooks secrets set {source} --only` begins it anew"
            raise Failure(f"{error}; {again}, and then put those of the other sources") from None
        with suppress(Unavailable):
            return stored.table(), ()
        return {}, ()


def _write(stack: Stack, table: Mapping[str, Any]) -> None:
    stack.put_secret("WebhookSecretsArn", json.dumps(table))


def _warn_of_shared(config: Config, stored: SigningSecrets) -> None:
    for each in shared(config.sources(), {name: stored.of(name) for name in config.names}):
        say(f"Warning: {each.what}: {each.found}; {each.advice}")


def _of(stack: str | None) -> str:
    return f" --stack {stack}" if stack else ""
