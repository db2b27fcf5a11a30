"""The text of WebhookSecrets: JSON `{"<source>": ["new", "old"]}`, since when, and who signs with which."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

# The entry that is no source: dates by source and `_mark`. Only for people; a secret that was put there by
# other means has none.
SINCE: Final = "@since"
# Another one: the ids of the endpoints that were given a secret, by source and `_mark`. One that was put
# there by hand has none, and may be that of any endpoint.
SIGNERS: Final = "@signers"


def rotated(
    live: Sequence[str], secret: str, *, only: bool, keep: Collection[str] = ()
) -> tuple[str, ...]:
    """The secrets of a source after a new one: first that, the newest former one, and those to keep."""
    former = [each for each in live if each != secret]
    return (
        (secret,) if only else (secret, *former[:1], *(each for each in former[1:] if each in keep))
    )


def signers(table: Mapping[str, Any], source: str, secret: str) -> tuple[str, ...] | None:
    """The endpoints that were given a secret; None where nobody noted it."""
    known = _noted(table, SIGNERS, source).get(_mark(secret))
    return tuple(map(str, known)) if isinstance(known, list) else None


def has_another(table: Mapping[str, Any], source: str, live: Iterable[str], endpoint: str) -> bool:
    """Whether an endpoint was given a secret that is none of these."""
    marks = {_mark(each) for each in live}
    noted = _noted(table, SIGNERS, source).items()
    return any(
        mark not in marks and endpoint in ids for mark, ids in noted if isinstance(ids, list)
    )


def with_signers(
    table: Mapping[str, Any], source: str, secret: str, endpoints: Iterable[str]
) -> dict[str, Any]:
    """The table with the note that these endpoints were given this secret, and have no other."""
    given = set(endpoints)
    # Those of secrets that are gone, too: what they sign is verified no more.
    known = {
        mark: sorted(set(ids) - given)
        for mark, ids in _noted(table, SIGNERS, source).items()
        if isinstance(ids, list)
    }
    known[_mark(secret)] = sorted({*known.get(_mark(secret), ()), *given})
    noted = table.get(SIGNERS)
    return {**table, SIGNERS: {**(noted if isinstance(noted, Mapping) else {}), source: known}}


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
    return _noted(table, SINCE, source)


def _noted(table: Mapping[str, Any], entry: str, source: str) -> dict[str, Any]:
    noted = table.get(entry)
    found = noted.get(source) if isinstance(noted, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def _date(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def _mark(secret: str) -> str:
    # Stands beside the secret itself, so that it tells nobody more.
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:12]
