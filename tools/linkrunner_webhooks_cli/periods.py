"""Times and ages, as options take them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def moment(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """A time like 2026-11-24T10:00, a day in UTC, or an age like 2h, as an option's callback."""
    del context, parameter
    if text is None or text == "now":
        return None if text is None else datetime.now(UTC)
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        if text.isascii() and text[:-1].isdigit() and text[-1] in units:
            return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * units[text[-1]])
        found = datetime.fromisoformat(text)
        # A day is one in UTC, as in the ledger; a time of day is one of the shell's.
        is_day = len(text) in (len("2026-11-24"), len("20261124"))
        return found.replace(tzinfo=UTC) if is_day else found.astimezone()
    except (ValueError, OverflowError):
        message = f'takes a time like 2026-11-24T10:00 or an age like 2h, not "{text}"'
        raise click.BadParameter(message) from None


def since_option(default: str, help: str) -> Callable[[Command], Command]:
    """--since, with its default."""
    return click.option(
        "--since",
        callback=moment,
        default=default,
        show_default=True,
        help=f"{help} A time, or an age.",
    )


def until_option(help: str) -> Callable[[Command], Command]:
    """--until, which is now where nothing is said."""
    return click.option(
        "--until", callback=moment, help=f"{help} A time, or an age (default: now)."
    )


def named(id: str) -> str:
    """An id as it was given. Raises UsageError for an empty one, which a script has not found."""
    if not id.strip():
        raise click.UsageError("the id is empty")
    return id.strip()
