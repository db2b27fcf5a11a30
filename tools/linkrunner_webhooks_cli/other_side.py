"""The other side: the endpoints that a stack needs, and how they are set up at the providers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.errors import Unavailable
from linkrunner_webhooks_cli.clients import client_of
from linkrunner_webhooks_cli.clients.api import Denied
from linkrunner_webhooks_cli.clients.client import Connects, Endpoint, Origin, Wanted
from linkrunner_webhooks_cli.clients.credentials import is_given, opened
from linkrunner_webhooks_cli.endpoints import Known, findings, is_same, name_of, types_of
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.findings import Finding
from linkrunner_webhooks_cli.stacks import Stack

_MARK: Final = "linkrunner-webhooks"
# Who looks at everything does not wait for a vendor that is away.
_TRIES: Final = 2


def wanted_of(source: Source, stack: Stack, url: str | None = None) -> Wanted:
    """The endpoint that a source of a stack needs. Raises Failure for one that no provider reaches."""
    known = stack.outputs.get("WebhookUrl")
    deployed = f"{known.rstrip('/')}/{source.name}" if known else "the local stack"
    address = url.rstrip("/") if url else deployed
    path = f"/webhooks/{source.name}"
    if not _is_reached(address, path):
        raise Failure(
            f"no provider reaches {address}: give a deployed stack with --stack, or the whole address of a "
            f"tunnel with --url https://tunnel.example.com{path}"
        )
    types = types_of(source)
    if not types:
        # To many a vendor no types at all mean all of them.
        raise Failure(
            f"[{source.name}] of webhooks.toml forwards nothing, so nothing is to be sent"
        )
    return Wanted(address, types, f"{_MARK} {stack.name}/{source.name}")


def _is_reached(url: str, path: str) -> bool:
    """Whether a provider may send to this URL, and what it sends comes to the source of that path."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    with suppress(ValueError):
        return _is_plain(parts, path) and ip_address(host).is_global
    return _is_plain(parts, path) and "." in host and not host.endswith(".localhost")


def _is_plain(parts: SplitResult, path: str) -> bool:
    extra = parts.username or parts.query or parts.fragment
    return parts.scheme == "https" and parts.path.endswith(path) and not extra


def known_of(client: Connects, found: Sequence[Endpoint], wanted: Wanted, stack: Stack) -> Known:
    """What is known of the secrets of the endpoints at that URL. Raises ApiError."""
    stored = stack.signing_secrets()
    told = {}
    if client.origin in (Origin.AGAIN, Origin.GIVEN):
        there = [each for each in found if each.usable and is_same(each.url, wanted.url)]
        told = {each.id: client.secret_of(each) for each in there}
    return Known(client.source.name, stored.of(client.source.name), stored.table(), told)


def command_of(source: Source, stack: str | None, url: str | None = None) -> str:
    """The command that sets up the endpoint of a source."""
    options = (f" --stack {stack}" if stack else "") + (f" --url {url}" if url else "")
    return f"`linkrunner-webhooks connect {source.name}{options}`"


def looked_at(client: Connects, wanted: Wanted, stack: Stack, command: str) -> list[Finding]:
    """What is found of the endpoints of a source; `command` mends it. Raises ApiError."""
    found = client.endpoints()
    return findings(client, found, wanted, known_of(client, found, wanted, stack), command)


def other_side(config: Config, stack: Stack) -> Iterator[Finding]:
    """The endpoints of all sources whose credentials the environment has, for `doctor`."""
    for source in config.sources():
        kind = client_of(source.provider.name)
        if kind is None or not issubclass(kind, Connects) or not is_given(source, config):
            continue
        try:
            client = opened(kind, source, config)
            assert isinstance(client, Connects)
            client.api.tries = _TRIES
            command = command_of(source, stack.name)
            yield from looked_at(client, wanted_of(source, stack), stack, command)
        except Denied as error:
            # A key that only reads events is right for `reconcile`.
            yield Finding(name_of(source), right=True, found="not seen", advice=str(error))
        except (Failure, Unavailable) as error:
            yield Finding(name_of(source), right=False, found="not seen", advice=str(error))
