"""`doctor`: is everything in place, and if not, what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from linkrunner_webhooks import __version__
from linkrunner_webhooks.aws import failure
from linkrunner_webhooks.capture import api
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.dead_letters import depth
from linkrunner_webhooks.errors import ConfigError, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.lookups import Lookup
from linkrunner_webhooks.secrets import SigningSecrets
from linkrunner_webhooks_cli.deployed import alarms, habits, versions, ways_in
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.findings import (
    LOCAL,
    Finding,
    Place,
    Verdict,
    deployed,
    doubts,
    homeless,
    shared,
    show,
    signing,
)
from linkrunner_webhooks_cli.known_users import known_users, sample
from linkrunner_webhooks_cli.other_side import other_side
from linkrunner_webhooks_cli.output import write_json
from linkrunner_webhooks_cli.sources import config_of, config_option, json_option, some_sources
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option
from linkrunner_webhooks_local import state

_WRONG_KEY = (
    "LinkrunnerKeySecret needs the server key that Linkrunner's dashboard shows: "
    "`linkrunner-webhooks secrets server-key`"
)
_WRONG_URL = "check LinkrunnerBaseUrl (locally LINKRUNNER_BASE_URL), and that it can be reached"
_UNREADABLE = "put the value there: `linkrunner-webhooks secrets set` or `secrets server-key`"
_BEHIND = (
    "what Linkrunner does not take backs off for up to an hour; the dashboard and the log say why"
)


@click.command()
@click.option(
    "--users",
    type=click.IntRange(min=1, max=500),
    help="Ask Linkrunner about so many users of the last 30 days, five a second.",
)
@click.option(
    "--probe",
    is_flag=True,
    help="Only ask Linkrunner whether the server key is right; counts nothing.",
)
@config_option
@stack_option
@json_option
def doctor(
    users: int | None, probe: bool, config_path: Path | None, stack: str | None, as_json: bool
) -> None:
    """Look for what is missing: configuration, secrets, queues, the server key. Changes nothing.

    Linkrunner is asked whether it knows the server key, with an event that has no name and no user: it has
    to refuse that (400) and counts nothing, and answers 401 if the key is wrong. Each URL of a deployed stack
    is asked with a signed webhook that nobody forwards.

    \b
    Examples:
      linkrunner-webhooks doctor
      linkrunner-webhooks doctor --probe --stack linkrunner-webhooks
      linkrunner-webhooks doctor --stack linkrunner-webhooks --users 20
    """
    if probe:
        findings = [_probed(find(stack))]
    else:
        told = partial(config_of, stack, config_path)
        findings = [*examined(stack, told), *(_users(stack, users, told) if users else ())]
    if as_json:
        write_json([asdict(finding) for finding in findings])
    else:
        show(findings)
    if not all(finding.right for finding in findings):
        raise Failure("something is missing")


def examined(name: str | None, told: Callable[[], Config]) -> list[Finding]:
    """What is found of a stack, or of the local one. `told` may raise ConfigError."""
    return list(_findings(name, told))


def _findings(name: str | None, told: Callable[[], Config]) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("version", right=True, found=f"{__version__} on Python {python}")
    try:
        config = told()
        sources = some_sources(config)
        names = ", ".join(source.name for source in sources)
        yield Finding("webhooks.toml", right=True, found=names, advice=doubts(sources))
    except ConfigError as error:
        yield Finding("webhooks.toml", right=False, found="not valid", advice=str(error))
        return
    if name is None and state.read() is None:
        yield Finding("local stack", right=True, found="not running (`make run` starts it)")
        return
    stack = find(name)
    yield Finding("stack", right=True, found=stack.name)
    yield from _secrets(stack, config, LOCAL if name is None else deployed(name))
    yield from _held(stack, config)
    yield from _queues(stack)
    if name is not None:
        yield from versions(stack, config)
        yield from ways_in(stack, config)
        yield from habits(stack, config)
        yield from alarms(stack)
        yield from other_side(config, stack)


def _users(name: str | None, count: int, told: Callable[[], Config]) -> Iterator[Finding]:
    if name is None and state.read() is None:
        return
    stack = find(name)
    key = stack.server_key()
    names = [source.name for source in told().sources()]
    with suppress(Unavailable):
        # Whether the key can be read was told already.
        facts = sample(stack.records(), names, count)
        yield from known_users(stack.linkrunner_url, key.current(), facts)


def _secrets(stack: Stack, config: Config, place: Place) -> Iterator[Finding]:
    stored = stack.signing_secrets()
    for source in config.sources():
        yield _looked_at(
            f"secret of {source.name}", partial(_stored_signing, source, stored, place)
        )
    with suppress(Unavailable):
        # Whether they can be read at all was told for each source.
        yield from homeless(stored.names(), config.names, place)
        live = {name: stored.of(name) for name in config.names}
        yield from shared(config.sources(), live)
    yield from _provider_keys(stack, config)
    yield _probed(stack)


def _provider_keys(stack: Stack, config: Config) -> Iterator[Finding]:
    """Whether those are there by which providers are asked for what their webhooks only hint at."""
    for source in config.sources():
        if lookup := source.provider.lookup:
            key = partial(_stored_key, stack, source, lookup)
            yield _looked_at(f"provider key of {source.name}", key)


def _stored_key(stack: Stack, source: Source, lookup: Lookup) -> Verdict:
    if not stack.asks_providers:
        advice = "deploy with ProviderKeys=on; until then its webhooks wait"
        return Verdict("the stack asks no provider", advice)
    key = stack.provider_keys().of(source.name)
    put = f"`linkrunner-webhooks secrets provider-key {source.name}` ({lookup.needs})"
    if not key:
        return Verdict("not there", f"{put}; until then its webhooks wait")
    wrong = lookup.access.complaint(key)
    return Verdict(f"there: {wrong}", put) if wrong else Verdict("there")


def _probed(stack: Stack) -> Finding:
    key = stack.server_key()
    return _looked_at("server key", lambda: asked(stack.linkrunner_url, key.current()))


def _stored_signing(source: Source, stored: SigningSecrets, place: Place) -> Verdict:
    return signing(source, stored.of(source.name), place)


def asked(base_url: str, key: str) -> Verdict:
    """Linkrunner looks at the key before it misses the parameters, so an empty event tells."""
    headers = {"linkrunner-key": key, "content-type": "application/json"}
    try:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            url = api(base_url) + LinkrunnerEvent.path
            status = pool.request("POST", url, body=b"{}", headers=headers, redirect=False).status
    except HTTPError:
        return Verdict(f"nothing answers at {base_url or '(no URL)'}", _WRONG_URL)
    return _verdict(status)


def _verdict(status: int) -> Verdict:
    """What an answer to an empty event says. Only the documented refusal shows that URL and key are right."""
    if status == 400:
        return Verdict("accepted by Linkrunner")
    found = f"Linkrunner answered {status}"
    if status in (401, 403):
        return Verdict(f"refused by Linkrunner ({status})", _WRONG_KEY)
    if status == 429:
        return Verdict(f"{found}: too many requests", "ask again in a minute")
    if status >= 500:
        return Verdict(
            found, f"Linkrunner is in trouble: events wait meanwhile. If it lasts: {_WRONG_URL}"
        )
    return Verdict(found, _WRONG_URL)


def _held(stack: Stack, config: Config) -> Iterator[Finding]:
    try:
        held = sum(1 for _ in stack.records().waiting())
    except (BotoCoreError, ClientError) as error:
        found = f"{stack.output('LedgerTableName')} cannot be read: {failure(error)}"
        yield Finding(
            "ledger", right=False, found=found, advice="is it there, and may you read it?"
        )
        return
    if held or config.linkrunner.signups:
        stuck = held > 0 and not config.linkrunner.signups
        found = f"{held} until their users sign up"
        advice = "nobody is told of signups: set signups = true in [linkrunner]" if stuck else ""
        yield Finding("held events", right=not stuck, found=found, advice=advice)


def _queues(stack: Stack) -> Iterator[Finding]:
    sqs = stack.client("sqs")
    waiting = depth(sqs, stack.output("WebhookQueueUrl"))
    yield Finding(
        "WebhookQueue",
        right=True,
        found=f"{waiting.visible} waiting, {waiting.hidden} in delivery or backing off, "
        f"{waiting.delayed} delayed",
        advice=_BEHIND if waiting.total else "",
    )
    parked = depth(sqs, stack.output("DeadLetterQueueUrl"))
    yield Finding(
        "DeadLetterQueue",
        right=parked.total == 0,
        found=f"{parked.total} messages"
        + (f", {parked.hidden} being looked at" if parked.hidden else ""),
        advice="`dlq list` says why and what to do" if parked.total else "",
    )


def _looked_at(what: str, look: Callable[[], Verdict]) -> Finding:
    try:
        found, advice = look()
    except Unavailable as error:
        found, advice = str(error), _UNREADABLE
    return Finding(what, right=not advice, found=found, advice=advice)
