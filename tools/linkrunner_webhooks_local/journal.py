"""The outcomes of a local stack as lines of JSON, for `linkrunner-webhooks tail` in another terminal.

It holds what the console shows: identifiers and our own words, no bodies and no users.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.reports import Report, written

# Bytes. Older outcomes than these are dropped all at once.
_MOST = 16 * 1024 * 1024


class Journal:
    """The file, begun anew with each stack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._begin()

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))

    def observe(self, report: Report) -> None:
        """Write one line."""
        at = utc(datetime.now(UTC), "milliseconds")
        line = json.dumps({"at": at, **written(report)}, ensure_ascii=False) + "\n"
        with self._lock:
            if self.path.stat().st_size > _MOST:
                self._begin()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
