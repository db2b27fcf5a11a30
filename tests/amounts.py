"""Where a captured event says how much money moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Fields of money received, returned and disputed.
MOVED: Final = ("amount", "refund_amount", "disputed_amount")


def moved(event_data: Mapping[str, Any]) -> Any:
    """The amount that moved, whichever way, or None."""
    return next((event_data[field] for field in MOVED if field in event_data), None)
