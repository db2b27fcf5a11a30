"""`doctor`: is everything in place, and if not, what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

import click
import urllib3
from urllib3.exceptions import HTTPError

from linkrunner_webhooks import __version__
from linkrunner_webhooks.capture import endpoint
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.dead_letters import depth
from linkrunner_webhooks.errors import ConfigError, Unavailable
from linkrunner_webhooks.secrets import Secret, ServerKey, SigningSecrets
from linkrunner_webhooks.signatures.scheme import complaint
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import write_json, write_table
from linkrunner_webhooks_cli.provider_page import page_of
from linkrunner_webhooks_cli.sources import config_of, some_sources
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option
from linkrunner_webhooks_local import state

_WRONG_KEY = "put your Linkrunner server key into LinkrunnerKeySecret"
_WRONG_URL = "check LinkrunnerBaseUrl (locally LINKRUNNER_BASE_URL), and that it can be reached"
_UNREADABLE = "put the value there (aws secretsmanager put-secret-value); see README, Deploy it"
_BEHIND = (
    "what Linkrunner does not take backs off for up to an hour; the dashboard and the log say why"
)


class Verdict(NamedTuple):
    """What was found; with advice it is not right."""

    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `advice` is what to do when it is not right."""

    what: str
    right: bool
    found: str
    advice: str = ""


@click.command()
@stack_option
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def doctor(stack: str | None, as_json: bool) -> None:
    """Look for what is missing: configuration, secrets, queues, the server key. Changes nothing.

    Linkrunner is asked whether it knows the server key, with a request that captures nothing.

    \b
    Examples:
      linkrunner-webhooks doctor
      linkrunner-webhooks doctor --stack linkrunner-webhooks
    """
    findings = list(_findings(stack))
    if as_json:
        write_json([asdict(finding) for finding in findings])
    else:
        write_table(
            ("", "what", "found", "what to do"),
            [
                ("ok" if each.right else "!!", each.what, each.found, each.advice)
                for each in findings
            ],
        )
    if not all(finding.right for finding in findings):
        raise Failure("something is missing")


def _findings(name: str | None) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("version", right=True, found=f"{__version__} on Python {python}")
    try:
        config = config_of(name, None)
        sources = ", ".join(source.name for source in some_sources(config))
        yield Finding("webhooks.toml", right=True, found=sources)
    except ConfigError as error:
        yield Finding("webhooks.toml", right=False, found="not valid", advice=str(error))
        return
    if name is None and state.read() is None:
        yield Finding("local stack", right=True, found="not running (`make run` starts it)")
        return
    stack = find(name)
    yield Finding("stack", right=True, found=stack.name)
    yield from _secrets(stack, config)
    yield from _queues(stack)


def _secrets(stack: Stack, config: Config) -> Iterator[Finding]:
    client = stack.client("secretsmanager")
    signing = SigningSecrets(Secret(client, stack.output("WebhookSecretsArn")))
    for source in config.sources():
        yield _looked_at(f"secret of {source.name}", partial(_signing, source, signing))
    with suppress(Unavailable):
        # Whether they can be read at all was told for each source.
        yield from _homeless(signing.names(), config.names)
    key = ServerKey(Secret(client, stack.output("LinkrunnerKeySecretArn")))
    yield _looked_at("server key", lambda: _asked(stack.linkrunner_url, key.current()))


def _signing(source: Source, signing: SigningSecrets) -> Verdict:
    """Whether a source has secrets, all in the shape that its provider gives them."""
    live = signing.of(source.name)
    if not live:
        return Verdict(
            "0 live",
            f"put the signing secret into WebhookSecrets, under {source.name}; "
            "until then its URL answers 404",
        )
    found = [
        f"number {number}: {wrong}"
        for number, secret in enumerate(live, start=1)
        if (wrong := complaint(source.signature, secret))
    ]
    page = page_of(source.provider.name)
    advice = (
        f"put it again, exactly as {source.provider.title} shows it ({page}); as it is it gives 401"
    )
    return Verdict("; ".join((f"{len(live)} live", *found)), advice if found else "")


def _homeless(names: Iterable[str], tables: Sequence[str]) -> Iterator[Finding]:
    for name in sorted(set(names) - set(tables)):
        near = get_close_matches(name, tables, n=1)
        meant = f"is it meant for {near[0]}? Else " if near else ""
        yield Finding(
            f"secret of {name}",
            right=False,
            found=f"no table [{name}] in webhooks.toml",
            advice=f"its URL answers 404: {meant}add the table and deploy, or remove the secret",
        )


def _asked(base_url: str, key: str) -> Verdict:
    """Linkrunner looks at the key before it misses the parameters, so an empty event tells."""
    headers = {"linkrunner-key": key, "content-type": "application/json"}
    try:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            url = endpoint(base_url)
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
