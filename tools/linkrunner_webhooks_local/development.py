"""What the local stack uses where a merchant would have real credentials.

These values are public. They open nothing but a stack on somebody's own machine.
"""

from __future__ import annotations

from typing import Final

LINKRUNNER_KEY: Final = "development_linkrunner_key"


def development_secret(source: str) -> str:
    """The signing secret of `source` in the local stack, unless WEBHOOK_SECRETS says otherwise."""
    return f"development_secret_{source}"
