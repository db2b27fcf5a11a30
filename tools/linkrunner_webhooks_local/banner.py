"""The message of `make run` when it is ready."""

from __future__ import annotations

import os
import shlex

from linkrunner_webhooks.config import Config
from linkrunner_webhooks_local.development import DEVELOPMENT_SECRET
from linkrunner_webhooks_local.project import ROOT
from linkrunner_webhooks_local.settings import Settings
from linkrunner_webhooks_local.state import LocalStack


def banner(local: LocalStack, settings: Settings, config: Config) -> str:
    """Where everything is, and what to type in a second terminal."""
    return "\n".join(
        (
            f"Ready: {local.url}/webhooks/{{source}}",
            f"  console     {local.url} shows what comes, and why it ends as it does",
            f"  sources     {_sources(settings)}",
            f"  secrets     {_secrets(settings)}",
            f"  Linkrunner  {_linkrunner(local, settings)}",
            f"  test mode   {_test_traffic(settings)}",
            f"  AWS         embedded at {local.endpoint_url}, stack {local.stack_name}",
            "",
            "In a second terminal:",
            f"  {_command()} send {_example(settings, config)}",
            f"  {_command()} dlq list",
            "Ctrl-C stops it.",
            "",
        )
    )


def _sources(settings: Settings) -> str:
    path = settings.webhooks_toml
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"{', '.join(_live(settings)) or 'none'} (the tables of {shown} that have a secret)"


def _secrets(settings: Settings) -> str:
    if not settings.for_development:
        return "from WEBHOOK_SECRETS"
    plain = {source: (f"{DEVELOPMENT_SECRET}_{source}",) for source in settings.sources}
    special = [
        f"{source}: {known[0]}"
        for source, known in settings.secrets.items()
        if known != plain[source]
    ]
    shown = "; ".join([f"{DEVELOPMENT_SECRET}_<source>", *special])
    return f"for development: {shown} (set WEBHOOK_SECRETS for others)"


def _linkrunner(local: LocalStack, settings: Settings) -> str:
    if settings.linkrunner_base_url is not None:
        return f"{local.linkrunner_url} (LINKRUNNER_BASE_URL): events are really sent there"
    return f"embedded; {local.linkrunner_url}/events and /payments list what it captured"


def _test_traffic(settings: Settings) -> str:
    if settings.test_events:
        return (
            "webhooks are delivered, marked (test), where a table does not say test_events = false"
        )
    return "webhooks are dropped, where a table does not say test_events = true"


def _live(settings: Settings) -> list[str]:
    return [source for source in settings.sources if source in settings.secrets]


def _example(settings: Settings, config: Config) -> str:
    """A webhook that this stack takes and forwards, of the first source that has one."""
    for name in _live(settings):
        source = config.source(name)
        assert source is not None
        wanted = next((each for each in source.provider.types if source.wants(each)), None)
        if wanted is not None:
            option = "" if name == source.provider.name else f" --source {name}"
            return f"{source.provider.name} {wanted}{option}"
    return "PROVIDER TYPE"


def _command() -> str:
    # The second terminal has to look for the stack where this one was told to say that it runs.
    elsewhere = os.environ.get("LINKRUNNER_WEBHOOKS_STATE")
    prefix = f"LINKRUNNER_WEBHOOKS_STATE={shlex.quote(elsewhere)} " if elsewhere else ""
    return f"{prefix}.venv/bin/linkrunner-webhooks"
