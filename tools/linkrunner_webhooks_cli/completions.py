"""What the shell offers after TAB. Nothing here fails or prints, because a shell would show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import click

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks_cli.advice import ADVICE
from linkrunner_webhooks_cli.sources import read_config


def provider_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Every supported provider."""
    return _beginning(begun, providers.names())


def event_types(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The types of the provider that stands before, or else of every configured source."""
    return _beginning(begun, _types(context))


def source_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The tables of webhooks.toml."""
    return _beginning(begun, _configured(context).names)


def reasons(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Every reason to be parked."""
    return _beginning(begun, ADVICE)


def _types(context: click.Context) -> Iterator[str]:
    for name in _meant(context):
        with suppress(KeyError):
            yield from providers.load(name).types


def _meant(context: click.Context) -> Iterator[str]:
    named = context.params.get("provider")
    if named:
        yield named
        return
    config = _configured(context)
    source = context.params.get("source")
    with suppress(Exception):
        for each in [config.source(source)] if source else config.sources():
            if each is not None:
                yield each.provider.name


def _configured(context: click.Context) -> Config:
    with suppress(Exception):
        return read_config(context.params.get("config_path"))
    return Config({})


def _beginning(begun: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(begun)})


source_option = click.option(
    "--source",
    shell_complete=source_names,
    help="The table of webhooks.toml, when it is not the provider.",
)
