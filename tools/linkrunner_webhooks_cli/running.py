"""The local stack that runs: what commands use where neither an option nor the environment says otherwise."""

from __future__ import annotations

import os
from typing import Final

import click

from linkrunner_webhooks_cli.output import say
from linkrunner_webhooks_local import state
from linkrunner_webhooks_local.state import LocalStack

_SAID: Final = f"{__name__}.said"


def running() -> LocalStack | None:
    """The running local stack, or None. Says on stderr that it is used, once for a command line."""
    found = state.read()
    context = click.get_current_context()
    if found is not None and not context.meta.get(_SAID):
        context.meta[_SAID] = True
        given = context.params.get("config_path") or os.environ.get("WEBHOOKS_TOML")
        say(f"using the running stack at {found.url}{'' if given else f', {found.webhooks_toml}'}")
    return found
