"""Deleting parked messages for good: each is copied first, and counted for `report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import DeadLetters
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks_cli import copies
from linkrunner_webhooks_cli.stacks import Stack


@dataclass(slots=True)
class Discarded:
    """How many are gone, and of how many nothing could be noted as captured, by the reason."""

    count: int = 0
    left: Counter[str] = field(default_factory=Counter)


def discarded(
    found: Iterable[Letter],
    letters: DeadLetters,
    stack: Stack,
    path: Path,
    captured: Config | None = None,
    done_with: Callable[[Letter], None] = lambda _: None,
) -> Discarded:
    """Copy each letter to a file and delete it. Raises Failure when it cannot be copied.

    With `captured`, what Linkrunner has by its word is noted as captured first, and what nothing can be
    noted of stays.
    """
    done, ended = Discarded(), Counter[str]()
    try:
        for letter in noted(found, stack, captured, done.left):
            copies.keep(path, described(letter) | {"message": letter.text})
            letters.discard(letter)
            ended[letter.source] += 1
            done.count += 1
            done_with(letter)
    finally:
        for source, number in ended.items():
            stack.ledger().notes.tally(source, {"discarded": number})
    return done


def noted(
    letters: Iterable[Letter],
    stack: Stack,
    config: Config | None,
    left: Counter[str],
    *,
    dry_run: bool = False,
) -> Iterator[Letter]:
    """The letters whose events are noted as captured; all, where no configuration says that they are.

    The reasons of the others are counted as `left`.
    """
    for letter in letters:
        decision = stack.note_captured(letter, config, dry_run=dry_run) if config else None
        if decision is None or decision.events:
            yield letter
        else:
            left[decision.reason] += 1


def copies_path() -> Path:
    """A new file in the current folder."""
    return Path(f"discarded-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")


def described(letter: Letter) -> dict[str, Any]:
    """A letter for programs, without its message."""
    return {
        "id": letter.id,
        "reason": letter.reason,
        "source": letter.source,
        "event_type": letter.event_type,
        "event_id": letter.event_id,
        "error": letter.error,
        "attempts": letter.attempts,
        "code_version": letter.attributes.get("code_version", ""),
        "parked_at": letter.parked_at.isoformat(timespec="seconds"),
    }
