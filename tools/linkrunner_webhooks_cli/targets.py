"""Where `send` sends to, what it signs with, and what to do when a webhook is not accepted there."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import say
from linkrunner_webhooks_cli.running import running
from linkrunner_webhooks_cli.stacks import find
from linkrunner_webhooks_local import provider_apis, state
from linkrunner_webhooks_local.development import development_secret
from linkrunner_webhooks_local.loopback import NAMES

_DEFAULT: Final = "http://127.0.0.1:8000"
_LONGEST_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Target:
    """The URL of one source. `signed_with` says where the secret comes from, for people.

    `apis` is where the receiver's stack has imitations of the providers' own APIs, if it has.
    """

    source: str
    url: str
    secret: str = field(repr=False)
    signed_with: str
    apis: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the text of an answer."""

    status: int
    text: str

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


def elsewhere(url: str | None, stack: str | None) -> str | None:
    """What names another receiver than the local stack that runs; None means that one, if one runs."""
    if stack is not None:
        return stack
    port = os.environ.get("PORT")
    named = url or (f"http://127.0.0.1:{port}" if port else None)
    local = state.read()
    if named is None or local is None:
        return named
    same = f"{named}/".replace("//localhost:", "//127.0.0.1:", 1).startswith(f"{local.url}/")
    return None if same else named


def target_of(source: Source, url: str | None, stack: str | None, secret: str | None) -> Target:
    """Options win over the environment, that over the stack that is meant, that over the defaults."""
    if stack is not None:
        return _deployed(source, stack, secret)
    other = elsewhere(url, None)
    local = running() if other is None else None
    base = url or other or (local.url if local else _DEFAULT)
    if secret is not None or os.environ.get("WEBHOOK_SECRETS"):
        return Target(source.name, _url(base, source), *_given(source, secret))
    if local is None:
        known, origin = development_secret(source), "the development secret"
    elif source.name in local.secrets:
        known, origin = local.secrets[source.name][0], "the running stack's secret"
    elif live := find(None).signing_secrets().of(source.name):
        # Put there since it started.
        known, origin = live[0], "the running stack's secret"
    else:
        raise Failure(
            f"the running stack has no secret for {source.name}: "
            f"`linkrunner-webhooks secrets set {source.name}`, "
            "with its table in the stack's webhooks.toml; or give --secret"
        )
    apis = local.provider_apis_url if local else ""
    return Target(source.name, _url(base, source), known, origin, apis)


def send_signed(source: Source, target: Target, webhook: Webhook) -> Answer:
    """Sign a webhook and post it; its provider's API knows what it hints at. Raises Failure."""
    _, answers = samples.parted(source, webhook)
    if answers and target.apis:
        provider_apis.tell(target.apis, source.provider.name, answers)
    return post(target, samples.sign(source, webhook, target.secret, time.time()))


def post(target: Target, webhook: Webhook) -> Answer:
    """Raises Failure when nobody answers."""
    try:
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            headers = dict(webhook.headers) | {"content-type": "application/json"}
            response = pool.request("POST", target.url, body=webhook.body, headers=headers)
            text = response.data.decode("utf-8", "replace").strip()
            return Answer(response.status, text[:_LONGEST_SHOWN])
    except HTTPError:
        here = urlsplit(target.url).hostname in NAMES
        hint = "is `make run` running? Start it, or name another receiver with --to URL or --stack NAME"
        raise Failure(
            f"nothing answers at {target.url}; {hint if here else 'can this machine reach it?'}"
        ) from None


def advice(target: Target, answer: Answer) -> str:
    """What to do about an answer that is no acceptance."""
    if answer.status == 401:
        return (
            f"401: the signature does not match; it was made with {target.signed_with}. Sign with what "
            f"the receiver has for {target.source}: --secret, or WEBHOOK_SECRETS"
        )
    if answer.status == 404 and _error(answer) == "unknown_source":
        return (
            f"404: the receiver has no table [{target.source}] in its webhooks.toml, or no secret for it; "
            "add what is missing, or name another with --source"
        )
    if answer.status == 404:
        return (
            f"404: no webhooks are taken at {target.url}; --to takes what stands before /webhooks/"
        )
    if answer.status == 400:
        return "400: the body is not a webhook of this provider; a header may be missing (--header)"
    return f"{answer.status}: see the receiver's log; a provider would send the webhook again"


def _deployed(source: Source, stack: str, secret: str | None) -> Target:
    found = find(stack)
    url = _url(found.output("WebhookUrl"), source)
    say(f"sending to {url}, whose events reach {found.linkrunner_url}")
    if secret is not None or os.environ.get("WEBHOOK_SECRETS"):
        return Target(source.name, url, *_given(source, secret))
    known = found.signing_secrets().of(source.name)
    if not known:
        raise Failure(
            f"WebhookSecrets of {stack} has no secret for {source.name}; put one there: "
            f"`linkrunner-webhooks secrets set {source.name} --stack {stack}`"
        )
    return Target(source.name, url, known[0], f"the secret in WebhookSecrets of {stack}")


def _given(source: Source, secret: str | None) -> tuple[str, str]:
    """The secret that was given, with its origin: an option, or the newest in the environment."""
    if secret is not None:
        return secret, "--secret"
    try:
        value = json.loads(os.environ["WEBHOOK_SECRETS"])[source.name]
        return (value if isinstance(value, str) else str(value[0])), "WEBHOOK_SECRETS"
    except (ValueError, KeyError, IndexError, TypeError):
        example = f'{{"{source.name}": ["..."]}}'
        message = f"WEBHOOK_SECRETS has no secret for {source.name}; it is JSON like {example}"
        raise Failure(message) from None


def _url(url: str, source: Source) -> str:
    base = url.rstrip("/")
    if base.endswith("/webhooks"):
        return f"{base}/{source.name}"
    return base if "/webhooks/" in base else f"{base}/webhooks/{source.name}"


def _error(answer: Answer) -> object:
    try:
        return json.loads(answer.text)["error"]
    except (ValueError, KeyError, TypeError):
        return None
