"""Moments as texts that sort as the moments do."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(moment: datetime, timespec: str = "seconds") -> str:
    """A moment as ISO 8601 of UTC, with a Z."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
