"""`make run`: start the local stack, show what happens in it, stop it on Ctrl-C or SIGTERM.

It stands above both packages, because the start shows what `check` and `doctor` find.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import cache, partial

from starlette.routing import BaseRoute

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks_cli.findings import LOCAL, doubts, homeless, shared, signing
from linkrunner_webhooks_cli.pages import app
from linkrunner_webhooks_cli.pages.site import Site
from linkrunner_webhooks_cli.sources import some_sources
from linkrunner_webhooks_cli.stacks import Stack, of_local
from linkrunner_webhooks_local.banner import banner
from linkrunner_webhooks_local.console import Console
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.local_stack import local_stack
from linkrunner_webhooks_local.project import LocalError
from linkrunner_webhooks_local.recorder import Recorder
from linkrunner_webhooks_local.settings import Settings
from linkrunner_webhooks_local.state import LocalStack


def main() -> int:
    stopping = _stop_signal()
    try:
        settings = Settings.read(os.environ)
        with Console(plain=bool(os.environ.get("NO_COLOR"))) as console:
            console.config = settings.config(console.say)
            with local_stack(settings, console, partial(pages, console.config)) as local:
                console.say(banner(local, settings, console.config))
                for finding in findings(settings, console.config):
                    console.say(f"!! {finding}")
                stopping.wait()
                console.say("Stopping.")
    except (LocalError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def pages(
    config: Config, local: LocalStack, recorder: Recorder, linkrunner: EmbeddedLinkrunner | None
) -> Sequence[BaseRoute]:
    """The console, over what the stack records and what its AWS knows."""

    @cache
    def stack() -> Stack:
        return of_local(local)

    return app.of_local(
        Site(config, stack), recorder, local.url, linkrunner, local.provider_apis_url
    )


def findings(settings: Settings, config: Config) -> Iterator[str]:
    """What is wrong or doubtful about the start, each in one line with the next step."""
    try:
        sources = some_sources(config)
    except ConfigError as error:
        yield str(error)
        return
    for source in sources:
        found, advice = signing(source, settings.secrets.get(source.name, ()), LOCAL)
        if advice:
            yield f"secret of {source.name}: {found}; {advice}"
    for each in homeless(settings.secrets, config.names, LOCAL):
        yield f"{each.what}: {each.found}; {each.advice}"
    for each in shared(sources, settings.secrets):
        yield f"{each.what}: {each.found}; {each.advice}"
    if doubted := doubts(sources):
        yield f"{settings.webhooks_toml.name}: {doubted}"


def _stop_signal() -> threading.Event:
    """Set on the first signal. A start under way is finished first, so that it can be undone."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


if __name__ == "__main__":
    # Not sys.exit: where nobody reads our output, the interpreter would wait for it for ever.
    os._exit(main())
