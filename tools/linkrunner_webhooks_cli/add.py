"""`add`: a provider's table, written into a webhooks.toml with comments that say what can be chosen."""

from __future__ import annotations

import inspect
import json
import os
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from linkrunner_webhooks.config import DEFAULT_PATH, Config
from linkrunner_webhooks.provider import EventType, Provider
from linkrunner_webhooks_cli.completions import provider_names
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import say, write_json, write_text
from linkrunner_webhooks_cli.sources import config_option, json_option, load_provider

_WIDTH = 108


@click.command()
@click.argument("provider", shell_complete=provider_names)
@click.option("--source", help="The table's name, for a second account (default: the provider's).")
@click.option("--dry-run", is_flag=True, help="Print the table; write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
def add(
    *,
    provider: str,
    source: str | None,
    dry_run: bool,
    yes: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write a provider's table into webhooks.toml, with comments on what it can say.

    The table forwards the provider's default events. Nothing else in the file changes.

    \b
    Examples:
      linkrunner-webhooks add polar
      linkrunner-webhooks add shopify --source shopify_eu
      linkrunner-webhooks add square --config my-webhooks.toml --dry-run
    """
    found, path = load_provider(provider), _path(config_path)
    name = source or found.name
    written = table(found, name)
    extended = _extended(path, name, found, written)
    if not dry_run and not as_json:
        write_text(written)
    if not dry_run:
        yes or click.confirm(f"Write this table into {path}?", abort=True, err=True)
        _replace(path, extended)
    if as_json:
        write_json({"source": name, "file": str(path), "table": written, "written": not dry_run})
    elif dry_run:
        write_text(written)
    else:
        say(f"Written. Next: deploy, and `linkrunner-webhooks secrets set {name} --stack NAME`.")
        say(f"How to set {found.title} up is in docs/providers/{found.name}.md.")


def table(provider: Provider, name: str) -> str:
    """The table of a source, as TOML with comments."""
    return "\n".join(
        [
            f"[{name}]",
            *_comment(
                f"{provider.title}: docs/providers/{provider.name}.md says how to set it up."
            ),
            *_comment(provider.caution),
            *([f"provider = {_toml(provider.name)}"] if name != provider.name else []),
            *_options(provider),
            *_ladder(provider),
            '# missing_user = "drop"     # where most buyers never had the app; "park" keeps their events',
            "# test_events = true        # forward test traffic, too",
            "",
            f"[{name}.events]",
            *_comment("true: on, under the default name; a name: on, under that name; false: off."),
            *_switches(provider),
            "",
            f"[{name}.fields]",
            *_comment(
                'Rename (amount = "total_amount") or drop (coupon = false) fields of event_data.'
            ),
            "",
            f"[{name}.extra]",
            *_comment("Your own fields of event_data, by JMESPath over the body; scalars only."),
            "",
        ]
    )


def _options(provider: Provider) -> Iterator[str]:
    """The settings that only this provider has; one that must be given stands there with an example."""
    if provider.options.model_fields:
        yield from _comment(inspect.cleandoc(provider.options.__doc__ or ""))
    for key, field in provider.options.model_fields.items():
        if field.is_required():
            yield f"{key} = {_toml(provider.options.example()[key])}   # required: put yours here"
        else:
            default = field.get_default(call_default_factory=True)
            yield f"# {key} = {_toml(default)}"


def _ladder(provider: Provider) -> Iterator[str]:
    yield from _comment(
        "Where the user id is, as JMESPath over the body; the first usable one wins. These are the defaults:"
    )
    yield "# user_id = ["
    yield from (f"#     {_toml(path)}," for path in provider.user_id)
    yield "# ]"
    if provider.customer_ids:
        paths = " or ".join(_toml(path) for path in provider.customer_ids)
        yield from _comment(
            f"Add {paths} only if your app's user ids are {provider.title}'s own customer ids."
        )


def _switches(provider: Provider) -> Iterator[str]:
    """One commented line for everything that is off by default."""
    for event_type in provider.types.values():
        yield from _switch(event_type)


def _switch(event_type: EventType) -> Iterator[str]:
    key = event_type.name if event_type.name.isidentifier() else _toml(event_type.name)
    off = [kind.value for kind, on in event_type.besides.items() if not on]
    kinds = [] if event_type.forwarded else [kind.value for kind in event_type.kinds]
    # A key stands only once in a table.
    if off:
        yield f"# {key} = {{ {', '.join(f'{kind} = true' for kind in (*kinds, *off))} }}"
    elif kinds:
        yield f"# {key} = true   # {', '.join(kinds)}"


def _comment(text: str) -> list[str]:
    lines = text.split("\n\n")
    return [
        line
        for part in lines
        for line in textwrap.wrap(
            " ".join(part.split()), _WIDTH, initial_indent="# ", subsequent_indent="# "
        )
    ]


def _toml(value: Any) -> str:
    """A text, a number, a switch or a list of them; empty tables as such."""
    if isinstance(value, dict):
        return (
            "{}"
            if not value
            else "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
        )
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str) and '"' in value and "'" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)


def _path(given: Path | None) -> Path:
    return given or Path(os.environ.get("WEBHOOKS_TOML") or DEFAULT_PATH)


def _extended(path: Path, name: str, provider: Provider, written: str) -> str:
    """The file with the table at its end. Raises Failure or ConfigError when that is no configuration."""
    try:
        before = path.read_text("utf-8") if path.exists() else ""
        tables = tomllib.loads(before)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: not TOML: {error}") from None
    if name in tables:
        raise Failure(
            f"{path} has a table [{name}] already; a second account is another source: --source NAME"
        )
    # By itself, because a name that is no URL part may also be no TOML.
    Config({name: {"provider": provider.name} | provider.options.example()}, path.name).source(name)
    return f"{before.rstrip()}\n\n{written}" if before.strip() else written


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.write_text(text, "utf-8")
        # At once: a reader sees the whole file or the old one.
        draft.replace(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None
