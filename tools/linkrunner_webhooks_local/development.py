"""Development credentials, which the local stack uses in place of a merchant's.

These values are public. They open nothing but a stack on somebody's own machine.
"""

from __future__ import annotations

from typing import Final

from linkrunner_webhooks.config import Source

LINKRUNNER_KEY: Final = "development_linkrunner_key"
DEVELOPMENT_SECRET: Final = "development_secret"  # noqa: S105


def development_secret(source: Source) -> str:
    """The signing secret of `source` in the local stack, unless WEBHOOK_SECRETS says otherwise."""
    return source.signature.example_secret(f"{DEVELOPMENT_SECRET}_{source.name}")
