"""What lets us in at a vendor's API: from the environment, or typed at a prompt. It is never stored."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import click

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks_cli.clients import client_of
from linkrunner_webhooks_cli.clients.client import Client, Credential, variable
from linkrunner_webhooks_cli.failures import Failure

# Where every merchant has a server of their own it is that one's.
BASE: Final = Credential("API_BASE", "address, like https://shop.example", hidden=False)
_HERE: Final = ("127.0.0.1", "localhost", "::1")


def opened(kind: type[Client], source: Source, config: Config) -> Client:
    """The client of a source's account. Raises Failure naming the variable that is missing."""
    _require_all(kind, source, config)
    given: Mapping[str, str] = {
        each.name: _typed(_given(each, source, config), each, source) for each in kind.credentials
    }
    try:
        given = kind.checked(given)
    except ValueError as error:
        raise Failure(f"{variable(kind.credentials[0], source.name)} takes {error}") from None
    home = kind.home.format(**given) if kind.home else ""
    base = _found(BASE, source, config) or home or _given(BASE, source, config)
    return kind(source, given, _checked(base, source))


def require_live(client: Client) -> None:
    """Many a webhook does not say whether it is a test; who sends it does. Raises Failure for tests."""
    source = client.source
    if client.is_sandbox and not source.test_events:
        raise Failure(
            f"these credentials are for {source.provider.title}'s tests, and [{source.name}] forwards none: "
            "set test_events = true there, or give those of the live account"
        )


def is_given(source: Source, config: Config) -> bool:
    """Whether the environment has what lets us in at the source's provider, without a question."""
    kind = client_of(source.provider.name)
    if kind is None:
        return False
    needed = [*kind.credentials, *([] if kind.home else [BASE])]
    return all(_found(each, source, config) for each in needed)


def _given(credential: Credential, source: Source, config: Config) -> str:
    if found := _found(credential, source, config):
        return found
    title = f"{source.provider.title}: {credential.what}"
    return str(click.prompt(title, hide_input=credential.hidden, err=True)).strip()


def _require_all(kind: type[Client], source: Source, config: Config) -> None:
    """Nobody is there to be asked: every variable at once. Raises Failure."""
    needed = [*kind.credentials, *([] if kind.home else [BASE])]
    missing = [each for each in needed if not _found(each, source, config)]
    if missing and not sys.stdin.isatty():
        told = "; ".join(f"{variable(each, source.name)} ({each.what})" for each in missing)
        raise Failure(f"set {told}")


def _typed(value: str, credential: Credential, source: Source) -> str:
    """Raises Failure for what cannot be one: a line or a quotation mark that came along."""
    text = value.replace("\n", "") if credential.lines else value
    if not (text.isascii() and text.isprintable()):
        name = variable(credential, source.name)
        raise Failure(f"{name} has a character that no {credential.what} has; copy it again")
    return value


def _found(credential: Credential, source: Source, config: Config) -> str:
    """From the source's own variable, or from its provider's where no other source can be meant."""
    own = os.environ.get(variable(credential, source.name), "").strip()
    if own:
        return own
    alike = [each for each in config.sources() if each.provider is source.provider]
    if len(alike) > 1:
        # The key of one shop must not open the account of another.
        return ""
    return os.environ.get(variable(credential, source.provider.name), "").strip()


def _checked(base: str, source: Source) -> str:
    """A credential goes there: only over TLS, but for this machine."""
    name = variable(BASE, source.name)
    try:
        parts = urlsplit(base if "://" in base else f"https://{base}")
    except ValueError:
        parts = urlsplit("")
    if not parts.hostname or parts.query or parts.fragment or parts.username:
        raise Failure(f"{name} takes an address like https://api.example.com")
    if parts.scheme != "https" and parts.hostname not in _HERE:
        raise Failure(f"{name} has to begin with https://: a key goes there")
    return parts.geturl().rstrip("/")
