"""The state file: it exists while a local stack runs, and other commands find the stack through it.

It holds the signing secrets that the stack was given, so only its owner may read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import urllib3
from urllib3.exceptions import HTTPError

from linkrunner_webhooks_local.embedded_aws import Aws
from linkrunner_webhooks_local.gateway import HEALTH
from linkrunner_webhooks_local.project import STATE_FILE, WEBHOOKS_TOML

_PATIENCE: Final = 2.0


@dataclass(frozen=True, slots=True)
class LocalStack:
    """A running local stack, for whoever wants to talk to it, with what it was started with.

    `test_events` is what its sources do with test traffic where their tables do not say. `provider_apis_url`
    is where the providers' own APIs are imitated, if they are. `outcomes` is the file in which each outcome
    is a line.
    """

    endpoint_url: str
    region: str
    stack_name: str
    url: str
    linkrunner_url: str
    pid: int
    webhooks_toml: str = str(WEBHOOKS_TOML)
    test_events: bool = False
    provider_apis_url: str = ""
    outcomes: str = ""
    secrets: Mapping[str, list[str]] = field(default_factory=dict, repr=False)

    @property
    def aws(self) -> Aws:
        """Its AWS: `read().aws.client("sqs")`."""
        return Aws(self.endpoint_url, self.region)


def read(path: Path = STATE_FILE) -> LocalStack | None:
    """The local stack that is running, if one is."""
    stack = _written(path)
    return stack if stack is not None and _is_running(stack) else None


@contextmanager
def published(stack: LocalStack, path: Path = STATE_FILE) -> Iterator[None]:
    """Let others find `stack` while the block runs."""
    # Another stack may run on another port: the last one started is found, then the one before.
    previous = read(path)
    _write(stack, path)
    try:
        yield
    finally:
        if _written(path) == stack:
            path.unlink(missing_ok=True)
            if previous is not None and _is_running(previous):
                _write(previous, path)


def _written(path: Path) -> LocalStack | None:
    try:
        return LocalStack(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(stack: LocalStack, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{stack.pid}")
    # Made anew: the mode of a file that is there already would stay.
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(asdict(stack), indent=2) + "\n")
    # At once: a reader sees the whole file or none.
    draft.replace(path)


def _is_running(stack: LocalStack) -> bool:
    # After a restart of the machine the process id may be anybody's, so the stack itself is asked, too.
    return _is_alive(stack.pid) and _answers(stack.url)


def _answers(url: str) -> bool:
    try:
        with urllib3.PoolManager(retries=False, timeout=_PATIENCE) as pool:
            return pool.request("GET", f"{url}{HEALTH}").status == 200
    except (HTTPError, ValueError):
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
