"""How the cost of accepting a webhook grows: with the size of its body, and with what waits in the queue."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from benchmarks import packages
from benchmarks.end_to_end import burst, serving
from benchmarks.hot import NOW, stripe_event
from benchmarks.stub import SECRET
from benchmarks.tables import Progress, Row, Section, ratio, us

SIZES = (1_000, 10_000, 100_000, 1_000_000, 4_000_000)
BACKLOGS = (0, 10_000, 100_000)
_WORKER = Path(__file__).parent / "workers" / "growth.py"
_REQUESTS = 400


def measure(_: int, progress: Progress) -> Section:
    """Bodies in process, as the function sees them; backlogs through the local stack."""
    rows = [*_sizes(progress), *_backlogs(progress)]
    note = (
        "Size: receive in process, without the network, up to what the queue takes once compressed. "
        "Backlog: accepted by the local stack with 8 clients; on an emulator, so its own growth is in it."
    )
    return Section("Growth", ("", "cost", "to the first"), tuple(rows), note)


def _sizes(progress: Progress) -> Iterator[Row]:
    package = packages.ours()
    first = 0.0
    for size in progress.over(SIZES, "body sizes"):
        seconds = _timed(size, package.folder)
        each = seconds / size * 1000
        first = first or each
        goal = 1.0 if size > SIZES[0] else None
        yield Row(f"{size // 1000} KB body, per KB", us(each), ratio(each / first), goal)


def _timed(size: int, package: Path) -> float:
    case = packages.WORK / "case.json"
    case.write_text(json.dumps(stripe_event(size)), "utf-8")
    done = subprocess.run(
        [packages.python(), "-S", _WORKER, case, SECRET, str(NOW)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(package)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _backlogs(progress: Progress) -> Iterator[Row]:
    first = 0.0
    with _stack() as (url, queue_url, sqs):
        waiting = 0
        for backlog in progress.over(BACKLOGS, "backlogs"):
            _fill(sqs, queue_url, backlog - waiting)
            waiting = backlog + _REQUESTS
            seconds = 1 / burst(url, 8, _REQUESTS).rate
            first = first or seconds
            goal = 1.25 if backlog else None
            yield Row(f"{backlog:,} waiting", us(seconds), ratio(seconds / first), goal)


@contextmanager
def _stack() -> Iterator[tuple[str, str, Any]]:
    with serving("ours") as server:
        sqs = boto3.client(
            "sqs",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        yield server.url, server.queue_url, sqs


def _fill(sqs: Any, queue_url: str, count: int) -> None:
    """As many messages more, ten in a request."""
    entries = [{"Id": str(number), "MessageBody": "waiting"} for number in range(10)]
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda _: sqs.send_message_batch(QueueUrl=queue_url, Entries=entries),
                range(max(0, count) // 10),
            )
        )
