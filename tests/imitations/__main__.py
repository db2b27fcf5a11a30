"""Serve the imitation of a vendor, with a week of sales: python -m tests.imitations stripe.

It prints what to set so that `reconcile` and `connect` ask it, and serves until Ctrl-C.
"""

from __future__ import annotations

import shlex
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tests import imitations
from tests.samples import everything_on

from linkrunner_webhooks import providers
from linkrunner_webhooks_cli import samples


def main(name: str, count: int = 30) -> None:
    """Serve the imitation of that vendor; `count` sales are of the last week."""
    vendor = imitations.imitation_of(name)()
    vendor.prepare()
    source = everything_on(providers.load(name))
    for number in range(count if vendor.types else 0):
        changes = samples.Changes(user_id=f"user_{number}")
        sample = changes.apply(samples.load(source, vendor.types[0]), source)
        age = timedelta(days=7) * (number + 1) / (count + 1)
        vendor.happen(sample.webhook(source), datetime.now(UTC) - age)
    with vendor.serving() as environment:
        for variable, value in environment.items():
            sys.stdout.write(f"export {variable}={shlex.quote(value)}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
