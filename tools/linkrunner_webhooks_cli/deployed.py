"""What `doctor` finds of a deployed stack besides secrets and queues: URLs, versions, habits, alarms."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from linkrunner_webhooks import __version__
from linkrunner_webhooks.aws import failure
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.errors import Unavailable, WebhookError
from linkrunner_webhooks.history import Unseen
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.watch import Concern, Worry, concerns
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.findings import Finding
from linkrunner_webhooks_cli.output import say
from linkrunner_webhooks_cli.provider_page import page_of
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_cli.targets import Target, post

# What is in the template when it was not built by `make build`.
_UNKNOWN: Final = "unknown"
_DEPLOY: Final = "deploy it, or use the command of the version that is deployed"


def versions(stack: Stack, config: Config) -> Iterator[Finding]:
    """Whether the code and the configuration here are those that are deployed."""
    deployed = stack.outputs.get("Version", _UNKNOWN)
    # Behind the plus is the digest of the package.
    same = deployed.partition("+")[0] in (__version__, _UNKNOWN)
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


def require_deployed(
    source: Source, config: Config, stack: Stack, *, strictly: bool = False
) -> None:
    """What arrives is read by the functions as they are deployed. Raises Failure where those know no source.

    `strictly` says that the configuration here has to be the deployed one; otherwise a warning does.
    """
    known = stack.outputs.get("Sources", _UNKNOWN)
    if known != _UNKNOWN and source.name not in known.split():
        raise Failure(f"stack {stack.name} has no source {source.name}: deploy its table first")
    digest = stack.outputs.get("ConfigurationDigest", _UNKNOWN)
    if digest in (_UNKNOWN, config.digest):
        return
    if strictly:
        raise Failure(
            f"{digest} of webhooks.toml is deployed, and {config.digest} is here: deploy this one first, or "
            "give the deployed one with --config"
        )
    say("Warning: another webhooks.toml is deployed, and that decides; give it with --config.")


def habits(stack: Stack, config: Config) -> Iterator[Finding]:
    """What the delivering function looks for every half hour, as it is now."""
    try:
        found = concerns(stack.history(config.names), time.time())
    except Unseen as error:
        why = f"cannot be read: {error}"
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
            advice = "deploy with AlarmEmail or AlarmTopicArn: a shop that stops counting has to be heard"
            yield Finding("alarms", right=False, found="nobody is told", advice=advice)
        return
    try:
        waits = not stack.is_somebody_subscribed()
    except (BotoCoreError, ClientError) as error:
        yield Finding("alarms", right=True, found=f"to {address} (not seen: {failure(error)})")
        return
    yield Finding(
        "alarms",
        right=not waits,
        found=f"to {address}" + (", who is not subscribed" if waits else ""),
        advice="confirm in the mail of AWS Notifications; without one subscribe to the topic in SNS"
        if waits
        else "",
    )


def ways_in(stack: Stack, config: Config) -> Iterator[Finding]:
    """Whether a webhook gets to the receiving function: name, certificate, API, secret.

    Each source is sent one that is signed and whose type no version knows: it is answered and counts nothing.
    """
    stored = stack.signing_secrets()
    for source in config.sources():
        url = stack.output("WebhookUrl") + source.name
        # That they cannot be read was told for each source.
        live: Sequence[str] = ()
        with suppress(Unavailable):
            live = stored.of(source.name)
        if live:
            target = Target(source.name, url, live[0], "WebhookSecrets")
            yield _way_in(source, target, has_domain=bool(stack.parameters.get("DomainName")))


def _way_in(source: Source, target: Target, *, has_domain: bool) -> Finding:
    """First whether it is our API at all: a body that is signed, or a token, is for nobody else."""
    what = f"URL of {source.name}"
    if wrong := _stranger(target.url):
        advice = "look at DomainName and its DNS record" if has_domain else _OUT_OF_REACH
        return Finding(what, right=False, found=wrong, advice=advice)
    signed = _unknown_type(source, target)
    if signed is None:
        return Finding(what, right=True, found=f"{target.url} answers")
    answer = post(target, signed)
    if answer.accepted:
        return Finding(what, right=True, found=f"{target.url} takes signed webhooks")
    found = f"{target.url} answers {answer.status}"
    return Finding(what, right=False, found=found, advice=_DENIALS.get(answer.status, _LOG))


_OUT_OF_REACH: Final = "can this machine reach AWS?"
_LOG: Final = "see the receiving function's log"
_DENIALS: Final = {
    401: "the function knows another secret; a change takes five minutes",
    404: "the function knows no such source: deploy its table",
}


def _stranger(url: str) -> str:
    """Why whoever answers there is not this API; empty where it is. It has no route for GET, and says so."""
    try:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            answer = pool.request("GET", url, redirect=False)
    except HTTPError:
        return f"nothing answers at {url}"
    with suppress(ValueError):
        if answer.status == 404 and json.loads(answer.data) == {"message": "Not Found"}:
            return ""
    return f"something else answers at {url} ({answer.status})"


_PROBE: Final = "linkrunner.probe"


def _unknown_type(source: Source, target: Target) -> Webhook | None:
    """A signed webhook of a type that no version of this software has; None where it cannot be made.

    None of a scheme in which the secret itself is sent, and none where only the provider has the key.
    """
    if source.signature.covers == "sender":
        return None
    for name in source.provider.types:
        with suppress(Failure, WebhookError):
            sample = samples.load(source, name)
            text = sample.bytes().decode().replace(json.dumps(name), json.dumps(_PROBE))
            headers = {
                key: _PROBE if value == name else value for key, value in sample.headers.items()
            }
            webhook = Webhook(source.name, headers, text.encode())
            signed = samples.sign(source, webhook, target.secret, time.time())
            types = [
                source.provider.identify(each).event_type for each in source.provider.unpack(signed)
            ]
            if types == [_PROBE]:
                return signed
    return None
