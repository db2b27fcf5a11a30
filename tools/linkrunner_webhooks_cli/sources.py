"""Which source a command means, and where its configuration comes from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from linkrunner_webhooks import config, providers, signups
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks.provider import Provider
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import promise_json
from linkrunner_webhooks_cli.running import running

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another webhooks.toml (default: WEBHOOKS_TOML, the running local stack's, the packaged one).",
)


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,
    callback=promise_json,
    help="JSON on stdout.",
)


def read_config(path: Path | None) -> Config:
    """The given file, the one WEBHOOKS_TOML names, or the packaged one."""
    if path is not None and not path.is_file():
        raise ConfigError(f"--config {path}: there is no such file")
    named = path or os.environ.get("WEBHOOKS_TOML")
    return config.load(Path(named)) if named else config.load()


def config_of(elsewhere: str | None, path: Path | None) -> Config:
    """The given file or the one of WEBHOOKS_TOML, else the running local stack's, else the packaged one.

    `elsewhere` names another receiver, a deployed stack say, to which the local one means nothing.
    """
    local = running() if elsewhere is None else None
    if local is None or path or os.environ.get("WEBHOOKS_TOML"):
        return read_config(path)
    return config.load(Path(local.webhooks_toml), test_events=local.test_events)


def some_sources(configured: Config) -> tuple[Source, ...]:
    """Every source, validated. Raises ConfigError where there is none: such a file receives nothing."""
    if not configured.names:
        raise ConfigError(
            "webhooks.toml has no tables, so nothing is received; "
            "`linkrunner-webhooks add stripe` writes one"
        )
    return configured.sources()


def source_named(configured: Config, name: str) -> Source:
    """The source of that name. Raises Failure that suggests the nearest, and how to get one."""
    source = configured.source(name)
    if source is None:
        hint = config.suggest(name, configured.names)
        raise Failure(
            f"webhooks.toml has no table [{name}]{hint}; give the deployed one with --config, "
            f"or add the table: `linkrunner-webhooks add`"
        )
    return source


def load_provider(name: str) -> Provider:
    """A provider by name; an unknown one is a usage error that suggests the nearest."""
    if name == signups.NAME:
        return signups.provider
    try:
        return providers.load(name)
    except KeyError:
        hint = config.suggest(name, providers.names())
        raise click.UsageError(f'there is no provider "{name}"{hint}') from None


def pick_source(configured: Config, provider: Provider, name: str | None) -> Source:
    """The named source; or the provider's own; or its defaults when webhooks.toml has none of it."""
    if name is not None:
        return _named(configured, provider, name)
    of_provider = [each for each in configured.sources() if each.provider is provider]
    named_alike = [each for each in of_provider if each.name == provider.name]
    if named_alike or len(of_provider) == 1:
        return (named_alike or of_provider)[0]
    if of_provider:
        choices = ", ".join(each.name for each in of_provider)
        raise click.UsageError(f"{provider.title} has several sources; give --source: {choices}")
    if provider is signups.provider:
        raise Failure("Linkrunner's webhooks are no source: set signups = true in [linkrunner]")
    defaults = Config({provider.name: provider.options.example()}).source(provider.name)
    assert defaults is not None
    return defaults


def _named(configured: Config, provider: Provider, name: str) -> Source:
    source = configured.source(name)
    if source is None:
        hint = config.suggest(name, configured.names)
        raise Failure(f"webhooks.toml has no table [{name}]{hint}")
    if source.provider is not provider:
        raise Failure(f"[{name}] is a source of {source.provider.title}, not of {provider.title}")
    return source
