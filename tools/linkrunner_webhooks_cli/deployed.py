"""What `doctor` finds of a deployed stack besides secrets and queues: URLs, versions, habits, alarms."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from linkrunner_webhooks import __version__
from linkrunner_webhooks.aws import failure
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.watch import Concern, Worry, concerns
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.findings import Finding
from linkrunner_webhooks_cli.provider_page import page_of
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_cli.targets import Answer, Target, post

# What is in the template when it was not built by `make build`.
_UNKNOWN: Final = "unknown"
_DEPLOY: Final = "deploy it, or use the command of the version that is deployed"


def versions(stack: Stack, config: Config) -> Iterator[Finding]:
    """Whether the code and the configuration here are those that are deployed."""
    deployed = stack.outputs.get("Version", _UNKNOWN)
    same = deployed in (__version__, _UNKNOWN)
    found = f"{deployed} is deployed" + ("" if same else f", {__version__} is here")
    yield Finding("deployed version", right=same, found=found, advice="" if same else _DEPLOY)
    digest = stack.outputs.get("ConfigurationDigest", _UNKNOWN)
    same = digest in (config.digest, _UNKNOWN)
    yield Finding(
        "deployed webhooks.toml",
        right=same,
        found=digest if same else f"{digest} is deployed, {config.digest} is here",
        advice="" if same else "deploy this one, or give the deployed one with --config",
    )


def habits(stack: Stack, config: Config) -> Iterator[Finding]:
    """What the delivering function looks for every half hour, as it is now."""
    try:
        found = concerns(stack.history(config.names), time.time())
    except (BotoCoreError, ClientError) as error:
        why = f"cannot be read: {failure(error)}"
        advice = "you need cloudwatch:GetMetricData (docs/policies)"
        yield Finding("metrics", right=False, found=why, advice=advice)
        return
    for each in found:
        what = _ABOUT.get(each.worry, f"webhooks of {each.about}")
        yield Finding(what, right=False, found=each.detail, advice=_advice(each, config, stack))


_ABOUT: Final = {
    Worry.NEW_REASON: "parked webhooks",
    Worry.EXPIRING: "parked webhooks",
    Worry.STALLED: "deliveries",
    Worry.NO_SIGNUPS: "signups",
}


def _advice(concern: Concern, config: Config, stack: Stack) -> str:
    if concern.worry is Worry.STALLED:
        return "is Linkrunner up, and the server key right? What fails waits, and is tried for 60 hours"
    if concern.worry is Worry.NO_SIGNUPS:
        return 'set Linkrunner\'s webhook to the URL of linkrunner, or unknown_users = "send"'
    source = config.source(concern.about)
    if source is None:
        return f"`linkrunner-webhooks dlq list --stack {stack.name}`"
    page = page_of(source.provider.name)
    if concern.worry is Worry.SILENT:
        return f"look whether {source.provider.title} still sends, and to which URL ({page})"
    return (
        f"compare the secret at {source.provider.title} ({page}), then "
        f"`linkrunner-webhooks secrets set {source.name} --stack {stack.name}`"
    )


def alarms(stack: Stack) -> Iterator[Finding]:
    """Whether somebody hears of them."""
    if stack.parameters.get("AlarmTopicArn"):
        yield Finding("alarms", right=True, found=f"to {stack.parameters['AlarmTopicArn']}")
    if not (address := stack.parameters.get("AlarmEmail")):
        if not stack.parameters.get("AlarmTopicArn"):
            advice = "deploy with AlarmEmail or AlarmTopicArn"
            yield Finding("alarms", right=True, found="nobody is told", advice=advice)
        return
    try:
        waits = stack.is_subscription_pending()
    except (BotoCoreError, ClientError) as error:
        yield Finding("alarms", right=True, found=f"to {address} (not seen: {failure(error)})")
        return
    yield Finding(
        "alarms",
        right=not waits,
        found=f"to {address}" + (", who has not confirmed" if waits else ""),
        advice="open the mail of AWS Notifications and confirm, or alarms go nowhere"
        if waits
        else "",
    )


def ways_in(stack: Stack, config: Config) -> Iterator[Finding]:
    """Whether a webhook gets to the receiving function: name, certificate, API, secret.

    Each source is sent one that is signed and that nobody forwards: it is answered and counts nothing.
    """
    stored = stack.signing_secrets()
    # Where another file is deployed, nobody here knows what it forwards.
    known = stack.outputs.get("ConfigurationDigest") == config.digest
    for source in config.sources():
        url = stack.output("WebhookUrl") + source.name
        if live := stored.of(source.name):
            target = Target(source.name, url, live[0], "WebhookSecrets")
            yield _way_in(source, target, signs=known)


def _way_in(source: Source, target: Target, *, signs: bool) -> Finding:
    what = f"URL of {source.name}"
    try:
        answer = _probed(source, target) if signs else None
    except Failure:
        found = f"nothing answers at {target.url}"
        return Finding(
            what, right=False, found=found, advice="look at DomainName and its DNS record"
        )
    if answer is None or answer.status == 404:
        # A way without a sample: the API answers what it has no route for.
        return _reached(what, target)
    if answer.accepted:
        return Finding(what, right=True, found=f"{target.url} takes signed webhooks")
    advice = (
        "the function knows another secret; a change takes five minutes"
        if answer.status == 401
        else "see the receiving function's log"
    )
    return Finding(what, right=False, found=f"{target.url} answers {answer.status}", advice=advice)


def _probed(source: Source, target: Target) -> Answer | None:
    """The answer to a webhook of a type that is off; None without such a type, or a key that signs."""
    off = [each for each in source.provider.types if not source.wants(each)]
    try:
        sample = samples.load(source, off[0])
        signed = sample.signed(source, target.secret, time.time())
    except (IndexError, Failure):
        return None
    return post(target, signed)


def _reached(what: str, target: Target) -> Finding:
    try:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            status = pool.request("GET", target.url, redirect=False).status
    except HTTPError:
        found = f"nothing answers at {target.url}"
        return Finding(
            what, right=False, found=found, advice="look at DomainName and its DNS record"
        )
    # The API has no route for it.
    right = status == 404
    advice = "" if right else "look at DomainName: something else answers there"
    return Finding(what, right=right, found=f"{target.url} answers", advice=advice)
