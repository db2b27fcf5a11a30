"""docs/providers.md, written from the registry: `make docs`."""

from __future__ import annotations

import inspect
import sys

from linkrunner_webhooks import providers
from linkrunner_webhooks.provider import Provider
from linkrunner_webhooks_cli.catalogue import becomes

_HEAD = """\
# Providers

Written by `make docs` from what the providers register; do not edit. Which events are forwarded, under which
names and for which user is set in [`src/webhooks.toml`](../src/webhooks.toml).
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(providers.load(name)) for name in providers.names())])


def table() -> str:
    """The README's table of providers."""
    rows = [
        f"| [{each.title}]({each.docs}) (`{each.name}`) | {each.example_scheme.title} | {len(each.types)} |"
        for each in map(providers.load, providers.names())
    ]
    return "\n".join(["| provider | signature | event types |", "| --- | --- | --- |", *rows])


def _section(provider: Provider) -> str:
    return "\n".join(
        [
            f"## {provider.title}",
            "",
            f"Source `{provider.name}`, URL `<WebhookUrl>{provider.name}`.",
            f"Proof: {provider.example_scheme.title}. [Documentation]({provider.docs}).",
            *_caution(provider),
            "",
            "| event type | becomes |",
            "| --- | --- |",
            *(f"| `{each.name}` | {becomes(each, '`')} |" for each in provider.types.values()),
            *_never(provider),
            "",
            "**Set it up.** " + provider.setup,
            *_options(provider),
            "**The user id** is the first usable of:",
            "",
            *(f"- `{path}`" for path in provider.user_id),
            "",
            provider.user_snippet,
        ]
    )


def _caution(provider: Provider) -> list[str]:
    return ["", f"**Mind:** {provider.caution}"] if provider.caution else []


def _options(provider: Provider) -> list[str]:
    """The keys of its table that only this provider has, as their class describes them."""
    described = inspect.cleandoc(provider.options.__doc__ or "")
    return [f"**Settings of its own.** {described}", ""] if provider.options.model_fields else []


def _never(provider: Provider) -> list[str]:
    if not provider.never:
        return []
    reasons = "; ".join(f"`{name}` ({why})" for name, why in provider.never.items())
    return ["", f"Never forwarded: {reasons}."]


if __name__ == "__main__":
    sys.stdout.write(table() + "\n" if "--table" in sys.argv else reference())
