"""Webhooks a second through the local gateway into the queue, ours against the hand-written receiver.

Both run behind the same gateway, each in a process and over an embedded AWS of its own, one after the other
in short turns; the clients are here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from statistics import median, quantiles
from threading import Thread

import urllib3

from benchmarks import webhooks
from benchmarks.stub import SECRET
from benchmarks.tables import Progress, Row, Section, ratio
from linkrunner_webhooks_local.project import ROOT

CLIENTS = (1, 8, 64)
REQUESTS = 400
TURNS = 3
DELIVERED = 600
LIMIT = 30
_numbers = count()


@dataclass(frozen=True, slots=True)
class Run:
    """Requests a second, and how many milliseconds the 50th, 95th and 99th percentile waited."""

    rate: float
    p50: float
    p95: float
    p99: float


def measure(_: int, progress: Progress) -> Section:
    """For each number of clients some turns; the median turn counts."""
    runs: dict[tuple[str, int], list[Run]] = {}
    with ExitStack() as held:
        names = ("ours", "minimal")
        urls = {name: held.enter_context(serving(name)).url for name in names}
        for url in urls.values():
            burst(url, 8, 50)
        turns = [(clients, name) for clients in CLIENTS for _ in range(TURNS) for name in urls]
        for clients, name in progress.over(turns, "end to end"):
            runs.setdefault((name, clients), []).append(burst(urls[name], clients, REQUESTS))
    rows = [row for clients in CLIENTS for row in _rows(clients, runs)]
    rate = delivered(DELIVERED)
    rows.append(
        Row("delivered to Linkrunner, at its limit", f"{rate:.1f}", ratio(LIMIT / rate), 1.11)
    )
    return Section(
        "End to end on the local stack: accepted, and delivered",
        ("", "webhooks/s (p50, p95, p99 ms)", "it / ours"),
        tuple(rows),
        note="3 KB Stripe events; a goal of 1.11 is 0.9 of the alternative's throughput, or of the limit.",
    )


def delivered(count: int) -> float:
    """Events a second that reach an embedded Linkrunner through the whole local stack."""
    environment = os.environ | {
        "PORT": "0",
        "NO_COLOR": "1",
        "WEBHOOK_SECRETS": json.dumps({"stripe": [SECRET]}),
    }
    command = [sys.executable, "-u", "-m", "linkrunner_webhooks_cli.run"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = _found(process.stdout, r"Ready: (http://[\d.:]+)/webhooks")
        events = _found(process.stdout, r"(http://[\d.:]+/events)")
        Thread(target=process.stdout.read, daemon=True).start()
        burst(url, 8, count)
        began, first = _captured(events, 1)
        ended, last = _captured(events, count)
        process.terminate()
    return (last - first) / (ended - began)


def _found(lines: Iterable[str], pattern: str) -> str:
    for line in lines:
        if match := re.search(pattern, line):
            return match[1]
    raise SystemExit("the local stack does not start")


def _captured(url: str, wanted: int) -> tuple[float, int]:
    """When at least so many events are there, and how many they are then."""
    count, deadline = 0, time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = urllib3.request("GET", url, retries=False)
        count = len(answer.json())
        if count >= wanted:
            return time.perf_counter(), count
        time.sleep(0.1)
    raise SystemExit(f"only {count} of {wanted} events arrived")


def _rows(clients: int, runs: dict[tuple[str, int], list[Run]]) -> Iterator[Row]:
    ours, minimal = (_middle(runs[name, clients]) for name in ("ours", "minimal"))
    yield Row(f"{clients} clients: ours", _written(ours))
    quotient = ratio(minimal.rate / ours.rate)
    yield Row(f"{clients} clients: minimal receiver", _written(minimal), quotient, 1.11)


def _middle(turns: Sequence[Run]) -> Run:
    return sorted(turns, key=lambda run: run.rate)[len(turns) // 2]


def _written(run: Run) -> str:
    return f"{run.rate:.0f} ({run.p50:.1f}, {run.p95:.1f}, {run.p99:.1f})"


@dataclass(frozen=True, slots=True)
class Server:
    """A receiver on the local stack: its URL, and the queue it fills in the embedded AWS."""

    url: str
    endpoint: str
    queue_url: str


@contextmanager
def serving(name: str) -> Iterator[Server]:
    """`ours` or `minimal`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.workers.serve", name]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{name} does not start")
        yield Server(**json.loads(line))
        process.stdin.close()


def burst(url: str, clients: int, requests: int) -> Run:
    """So many webhooks, as fast as so many clients can send them."""
    sent = [_signed() for _ in range(requests)]
    with urllib3.PoolManager(maxsize=clients, block=True, retries=False) as pool:

        def send(request: tuple[bytes, dict[str, str]]) -> float:
            body, headers = request
            began = time.perf_counter()
            answer = pool.request("POST", f"{url}/webhooks/stripe", body=body, headers=headers)
            if answer.status != 200:
                raise SystemExit(f"answered {answer.status}: {answer.data!r}")
            return time.perf_counter() - began

        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as threads:
            waits = [1000 * wait for wait in threads.map(send, sent)]
        taken = time.perf_counter() - began
    cuts = quantiles(waits, n=100)
    return Run(requests / taken, median(waits), cuts[94], cuts[98])


def _signed() -> tuple[bytes, dict[str, str]]:
    sale, number = webhooks.sample("stripe", "checkout.session.completed"), next(_numbers)
    sale.body["id"] = f"evt_{number}"
    # Another sale each time, or all but one were duplicates.
    sale.body["data"]["object"] |= {
        "id": f"cs_{number}",
        "payment_intent": f"pi_{number}",
        "invoice": None,
    }
    webhook = webhooks.signed("stripe", sale, time.time())
    return webhook.body, {**webhook.headers, "content-type": "application/json"}
