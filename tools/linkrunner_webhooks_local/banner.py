"""The message of `make run` when it is ready."""

from __future__ import annotations

from linkrunner_webhooks_local.development import DEVELOPMENT_SECRET
from linkrunner_webhooks_local.project import ROOT
from linkrunner_webhooks_local.settings import Settings
from linkrunner_webhooks_local.state import LocalStack

_COMMAND = ".venv/bin/linkrunner-webhooks"


def banner(local: LocalStack, settings: Settings) -> str:
    """Where everything is, and what to type in a second terminal."""
    return "\n".join(
        (
            f"Ready: {local.url}/webhooks/{{source}}",
            f"  sources     {_sources(settings)}",
            f"  secrets     {_secrets(settings)}",
            f"  Linkrunner  {_linkrunner(local, settings)}",
            f"  AWS         embedded at {local.endpoint_url}, stack {local.stack_name}",
            "",
            "In a second terminal:",
            f"  {_COMMAND} send {_example(settings)}",
            f"  {_COMMAND} dlq list",
            "Ctrl-C stops it.",
            "",
        )
    )


def _sources(settings: Settings) -> str:
    path = settings.webhooks_toml
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    live = [source for source in settings.sources if source in settings.secrets]
    return f"{', '.join(live) or 'none'} (the tables of {shown} that have a secret)"


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
    return f"embedded; {local.linkrunner_url}/events lists what it captured"


def _example(settings: Settings) -> str:
    if "stripe" in settings.secrets:
        return "stripe checkout.session.completed"
    return "PROVIDER TYPE"
