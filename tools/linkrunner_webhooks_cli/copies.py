"""The copies of discarded messages: on disk before the message is gone, readable by their owner only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from linkrunner_webhooks_cli.failures import Failure


def keep(path: Path, story: dict[str, Any]) -> None:
    """Append one message to a file of JSON lines. Raises Failure when it cannot be."""
    try:
        with os.fdopen(_private(path), "a", encoding="utf-8") as copies:
            copies.write(json.dumps(story) + "\n")
            copies.flush()
            os.fsync(copies.fileno())
    except OSError as error:
        raise Failure(
            f"{path} cannot be written: {error.strerror}; nothing more is discarded"
        ) from None


def _private(path: Path) -> int:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    # It may be an older file that others can read.
    os.fchmod(file, 0o600)
    return file
