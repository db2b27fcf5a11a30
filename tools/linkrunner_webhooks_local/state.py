"""The state file: it exists while a local stack runs, and other commands find the stack through it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from linkrunner_webhooks_local.embedded_aws import Aws
from linkrunner_webhooks_local.project import STATE_FILE


@dataclass(frozen=True, slots=True)
class LocalStack:
    """A running local stack, for whoever wants to talk to it."""

    endpoint_url: str
    region: str
    stack_name: str
    url: str
    linkrunner_url: str
    pid: int

    @property
    def aws(self) -> Aws:
        """Its AWS: `read().aws.client("sqs")`."""
        return Aws(self.endpoint_url, self.region)


def read(path: Path = STATE_FILE) -> LocalStack | None:
    """The local stack that is running, if one is."""
    try:
        stack = LocalStack(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return stack if _is_alive(stack.pid) else None


@contextmanager
def published(stack: LocalStack, path: Path = STATE_FILE) -> Iterator[None]:
    """Let others find `stack` while the block runs."""
    # Another stack may run on another port: the last one started is found, then the one before.
    previous = read(path)
    _write(stack, path)
    try:
        yield
    finally:
        if read(path) == stack:
            path.unlink(missing_ok=True)
            if previous is not None and _is_alive(previous.pid):
                _write(previous, path)


def _write(stack: LocalStack, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{stack.pid}")
    draft.write_text(json.dumps(asdict(stack), indent=2) + "\n", encoding="utf-8")
    # At once: a reader sees the whole file or none.
    draft.replace(path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
