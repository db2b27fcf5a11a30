"""`doctor`: is everything in place, and if not, what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import click
import urllib3
from urllib3.exceptions import HTTPError

from linkrunner_webhooks import __version__
from linkrunner_webhooks.capture import endpoint
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import ConfigError, Unavailable
from linkrunner_webhooks.secrets import Secret, ServerKey, SigningSecrets
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import write_json, write_table
from linkrunner_webhooks_cli.sources import config_of
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option
from linkrunner_webhooks_local import state

_INVALID = "refused by Linkrunner (401)"


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
        sources = ", ".join(source.name for source in config.sources())
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
    for source in config.names:
        yield _looked_at(
            f"secret of {source}",
            lambda source=source: f"{len(signing.of(source))} live",  # type: ignore[misc]
            lambda found: found != "0 live",
            f"put the signing secret into WebhookSecrets, under {source}; until then its URL answers 404",
        )
    key = ServerKey(Secret(client, stack.output("LinkrunnerKeySecretArn")))
    yield _looked_at(
        "server key",
        lambda: _asked(stack.linkrunner_url, key.current()),
        lambda found: found != _INVALID,
        "put your Linkrunner server key into LinkrunnerKeySecret",
    )


def _asked(base_url: str, key: str) -> str:
    """Linkrunner looks at the key before it misses the parameters, so an empty event tells."""
    headers = {"linkrunner-key": key, "content-type": "application/json"}
    try:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            url = endpoint(base_url)
            status = pool.request("POST", url, body=b"{}", headers=headers, redirect=False).status
    except HTTPError:
        return f"present; nothing answers at {base_url}"
    known = {400: "accepted by Linkrunner", 401: _INVALID}
    return known.get(status, f"present; Linkrunner answered {status}")


def _queues(stack: Stack) -> Iterator[Finding]:
    for output, advice in (
        ("WebhookQueueUrl", "deliveries lag behind; see the dashboard"),
        ("DeadLetterQueueUrl", "`dlq list` says why and what to do"),
    ):
        name = "ApproximateNumberOfMessages"
        answer = stack.client("sqs").get_queue_attributes(
            QueueUrl=stack.output(output), AttributeNames=[name]
        )
        waiting = int(answer["Attributes"][name])
        right = waiting == 0 or output == "WebhookQueueUrl"
        yield Finding(
            output.removesuffix("Url"), right, f"{waiting} messages", "" if right else advice
        )


def _looked_at(
    what: str, look: Callable[[], str], right: Callable[[str], bool], advice: str
) -> Finding:
    try:
        found = look()
    except Unavailable as error:
        return Finding(what, right=False, found=str(error), advice=advice)
    return Finding(what, right(found), found, "" if right(found) else advice)
