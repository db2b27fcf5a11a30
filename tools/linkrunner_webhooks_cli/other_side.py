"""The other side: the endpoints that a stack needs, and how they are set up at the providers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks_cli.clients import client_of
from linkrunner_webhooks_cli.clients.api import ApiError, Denied
from linkrunner_webhooks_cli.clients.client import Connects, Wanted
from linkrunner_webhooks_cli.clients.credentials import is_given, opened
from linkrunner_webhooks_cli.endpoints import findings, name_of, types_of
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.findings import Finding
from linkrunner_webhooks_cli.stacks import Stack

_MARK: Final = "linkrunner-webhooks"


def wanted_of(source: Source, stack: Stack, url: str | None = None) -> Wanted:
    """The endpoint that a source of a stack needs. Raises Failure for one that no provider reaches."""
    known = stack.outputs.get("WebhookUrl")
    address = url or (f"{known.rstrip('/')}/{source.name}" if known else "the local stack")
    if not address.startswith("https://"):
        raise Failure(
            f"no provider reaches {address}: give a deployed one with --stack, or the address of a tunnel "
            "with --url https://..."
        )
    return Wanted(address, types_of(source), f"{_MARK} {stack.name}/{source.name}")


def other_side(config: Config, stack: Stack) -> Iterator[Finding]:
    """The endpoints of all sources whose credentials the environment has, for `doctor`."""
    for source in config.sources():
        kind = client_of(source.provider.name)
        if kind is None or not issubclass(kind, Connects) or not is_given(source, config):
            continue
        what = name_of(source)
        try:
            client = opened(kind, source, config)
            assert isinstance(client, Connects)
            yield from findings(client, client.endpoints(), wanted_of(source, stack))
        except Denied as error:
            # A key that only reads events is right for `reconcile`.
            yield Finding(what, right=True, found="not seen", advice=str(error))
        except ApiError as error:
            yield Finding(what, right=False, found="not seen", advice=str(error))
