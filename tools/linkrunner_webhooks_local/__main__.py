"""`make run`: start the local stack, show what happens in it, stop it on Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading

from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks_local.banner import banner
from linkrunner_webhooks_local.console import Console
from linkrunner_webhooks_local.local_stack import local_stack
from linkrunner_webhooks_local.project import LocalError
from linkrunner_webhooks_local.settings import Settings


def main() -> int:
    stopping = _stop_signal()
    try:
        settings = Settings.read(os.environ)
        with (
            Console(config=settings.config, plain=bool(os.environ.get("NO_COLOR"))) as console,
            local_stack(settings, console) as local,
        ):
            console.say(banner(local, settings))
            stopping.wait()
            console.say("Stopping.")
    except (LocalError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _stop_signal() -> threading.Event:
    """Set on the first signal. A start under way is finished first, so that it can be undone."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


if __name__ == "__main__":
    # Not sys.exit: where nobody reads our output, the interpreter would wait for it for ever.
    os._exit(main())
