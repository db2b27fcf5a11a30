"""The text of WebhookSecrets: JSON `{"<source>": ["new", "old"]}`, and when each secret was put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

# The entry that is no source: dates by source and `_mark`. Only for people; a secret that was put there by
# other means has none.
SINCE: Final = "@since"


def rotated(live: Sequence[str], secret: str, *, only: bool) -> tuple[str, ...]:
    """The secrets of a source after a new one: newest first, and at most the newest former one."""
    return (secret,) if only else (secret, *[each for each in live if each != secret][:1])


def since(table: Mapping[str, Any], source: str, live: Sequence[str]) -> list[datetime | None]:
    """When each secret of a source was put there; None where that is not known."""
    return [_date(_dates(table, source).get(_mark(each))) for each in live]


def table_with(
    table: Mapping[str, Any],
    source: str,
    before: Sequence[str],
    live: Sequence[str],
    now: datetime,
) -> dict[str, Any]:
    """The table with these secrets of a source instead of those before, and all else as it was."""
    known = _dates(table, source)
    dates = {
        _mark(each): known.get(_mark(each)) or now.isoformat(timespec="seconds")
        for each in live
        # What was there without a date is not new.
        if each not in before or _mark(each) in known
    }
    noted = table.get(SINCE)
    noted = {**(noted if isinstance(noted, Mapping) else {}), source: dates}
    notes = {SINCE: kept} if (kept := {name: each for name, each in noted.items() if each}) else {}
    others = {name: value for name, value in table.items() if name not in (source, SINCE)}
    return {**others, **({source: list(live)} if live else {}), **notes}


def _dates(table: Mapping[str, Any], source: str) -> dict[str, Any]:
    noted = table.get(SINCE)
    dates = noted.get(source) if isinstance(noted, Mapping) else None
    return dict(dates) if isinstance(dates, Mapping) else {}


def _date(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def _mark(secret: str) -> str:
    # Stands beside the secret itself, so that it tells nobody more.
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:12]
