"""The generated parts of docs/provider-apis.md, from what the clients declare."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from linkrunner_webhooks import providers
from linkrunner_webhooks_cli.clients import client_of, names
from linkrunner_webhooks_cli.clients.client import Client, Connects, Lists, Origin, variable
from linkrunner_webhooks_cli.clients.credentials import BASE

PAGE: Final = "docs/provider-apis.md"

_SECRETS: Final = {
    Origin.ONCE: "told once, when the endpoint is made",
    Origin.AGAIN: "read from the endpoint",
    Origin.OURS: "made up here",
    Origin.GIVEN: "no other than is known",
}


def parts() -> dict[str, str]:
    """The text between the markers, by the name of the markers."""
    return {
        "credentials": "\n".join(_credentials()),
        "lists": "\n".join(_lists()),
        "endpoints": "\n".join(_endpoints()),
        "by hand": "\n".join(_by_hand()),
    }


def _clients() -> Iterator[tuple[str, type[Client]]]:
    for name in names():
        kind = client_of(name)
        assert kind is not None
        yield providers.load(name).title, kind


def _credentials() -> Iterator[str]:
    yield "| provider | variables | what they have to allow |"
    yield "| --- | --- | --- |"
    for title, kind in _clients():
        given = [*kind.credentials, *([] if kind.home else [BASE])]
        told = "<br>".join(f"`{variable(each, kind.provider)}`: {each.what}" for each in given)
        yield f"| {title} | {told} | {kind.rights} |"


def _lists() -> Iterator[str]:
    yield "| provider | what is listed | how far back | what to know |"
    yield "| --- | --- | --- | --- |"
    for title, kind in _clients():
        if issubclass(kind, Lists):
            yield f"| {title} | {kind.listed} | {_days(kind.kept)} | {kind.hint} |"


def _days(kept: timedelta | None) -> str:
    return f"{kept.days} days" if kept else "no limit"


def _endpoints() -> Iterator[str]:
    yield "| provider | endpoints | its secret |"
    yield "| --- | --- | --- |"
    for title, kind in _clients():
        if issubclass(kind, Connects):
            each = "one for each type" if kind.one_each else "one"
            most = f" (at most {kind.at_most} there)" if kind.at_most else ""
            yield f"| {title} | {each}{most} | {_SECRETS[kind.origin]} |"


def _by_hand() -> Iterator[str]:
    for name in providers.names():
        kind = client_of(name)
        if kind is None or not issubclass(kind, Connects):
            yield f"- [{providers.load(name).title}](providers/{name}.md)"
