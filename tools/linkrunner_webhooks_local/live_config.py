"""webhooks.toml as it is now: the local stack uses a change at its next webhook, as a deploy would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from linkrunner_webhooks import config
from linkrunner_webhooks.config import Config, Linkrunner, Source
from linkrunner_webhooks.errors import ConfigError


class _Stamp(NamedTuple):
    """What differs after a change: editors write the file, or put another one in its place."""

    modified: int
    size: int
    inode: int


class LiveConfig(Config):
    """Read again when the file has changed. A file that is wrong changes nothing, and `tell` says why.

    Without it `dlq preview` would promise what `dlq redrive` does not keep: it looks with the file of now.
    """

    def __init__(self, path: Path, *, test_events: bool, tell: Callable[[str], None]) -> None:
        super().__init__({})
        self._file = path
        self._traffic = test_events
        self._tell = tell
        self._lock = Lock()
        self._stamp = _stamp(path)
        self._current = self._read()

    @property
    def names(self) -> tuple[str, ...]:
        return self._now().names

    @property
    def digest(self) -> str:
        return self._now().digest

    @property
    def code_version(self) -> str:
        return self._now().code_version

    @property
    def linkrunner(self) -> Linkrunner:
        return self._now().linkrunner

    def source(self, name: str) -> Source | None:
        return self._now().source(name)

    def _read(self) -> Config:
        """The file with every table validated, so that a mistake shows now and not at its first webhook."""
        read = config.load(self._file, test_events=self._traffic)
        read.sources()
        return read

    def _now(self) -> Config:
        with self._lock:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._stamp = stamp
                self._renew()
            return self._current

    def _renew(self) -> None:
        try:
            self._current = self._read()
        except ConfigError as error:
            self._tell(f"Not used, what was read before stays: {error}")
        else:
            self._tell(f"{self._file.name} was changed and read again.")


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino)
