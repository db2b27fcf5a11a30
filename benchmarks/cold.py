"""Cold starts under the real runtime loop: from spawning Python to the answer to the first event."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import packages, stub, webhooks
from benchmarks.packages import Package
from benchmarks.tables import Progress, Row, Section, ms, ratio
from linkrunner_webhooks_local import runtime

STARTS = 11
WARM = 10


@dataclass(frozen=True, slots=True)
class Contestant:
    title: str
    package: Package
    handler: str
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: from spawning Python to the first answer, and for an answer after that."""

    first: float
    warm: float


def measure(starts: int, progress: Progress) -> Section:
    """Medians over `starts` rounds; in each round every contestant starts once, one after the other."""
    return _section(medians(starts, progress), starts)


def medians(starts: int, progress: Progress, only: Sequence[str] = ("",)) -> dict[str, Timing]:
    """By title, for the contestants whose titles end in one of `only`."""
    ours, naive, minimal = packages.ours(), packages.naive(), packages.minimal()
    precompiled = packages.compiled(minimal)
    function = "linkrunner_webhooks.{}_function.handler".format
    contestants = [
        Contestant("empty handler", precompiled, "empty.handler", webhook()),
        Contestant("receive, ours", ours, function("receive"), webhook()),
        Contestant("receive, naive build", naive, "naive.receive", webhook()),
        Contestant("receive, minimal", minimal, "minimal_receiver.handler", webhook()),
        Contestant(
            "receive, minimal, compiled", precompiled, "minimal_receiver.handler", webhook()
        ),
        Contestant("deliver, ours", ours, function("deliver"), batch()),
        Contestant("deliver, naive build", naive, "naive.deliver", batch()),
    ]
    chosen = [each for each in contestants if each.title.endswith(tuple(only))]
    client, interpreter = packages.runtime_client(), packages.python()
    taken: dict[str, list[Timing]] = {each.title: [] for each in chosen}
    with stub.running() as url:
        for _ in progress.over(range(starts), "cold starts"):
            for each in chosen:
                taken[each.title].append(_timing(each, client, interpreter, url))
    return {
        title: Timing(median(each.first for each in runs), median(each.warm for each in runs))
        for title, runs in taken.items()
    }


def _section(times: Mapping[str, Timing], starts: int) -> Section:
    receive, deliver = times["receive, ours"].first, times["deliver, ours"].first
    against = {
        "receive, naive build": (receive, 0.30),
        "receive, minimal": (receive, 1.0),
        "receive, minimal, compiled": (receive, 1.0),
        "deliver, naive build": (deliver, 0.40),
    }
    rows = [
        Row(
            title,
            f"{ms(timing.first)} ({ms(timing.warm)})",
            ratio(against[title][0] / timing.first) if title in against else "",
            against[title][1] if title in against else None,
        )
        for title, timing in times.items()
    ]
    return Section(
        "Cold start, first event answered",
        ("", f"median of {starts} (warm)", "ours / it"),
        tuple(rows),
    )


def webhook() -> dict[str, Any]:
    """A signed Stripe event as the HTTP API hands it over."""
    sale = webhooks.sample("stripe", "checkout.session.completed")
    return webhooks.api_event(webhooks.signed("stripe", sale, time.time()))


def batch() -> dict[str, Any]:
    """One message of the queue, as the event source hands it over."""
    envelope = {
        "v": 1,
        "source": "stripe",
        "received_at": 1.0,
        "headers": {},
        "body": webhook()["body"],
    }
    record = {
        "messageId": "1",
        "receiptHandle": "1",
        "body": json.dumps(envelope),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(int(time.time() * 1000)),
        },
        "messageAttributes": {},
    }
    return {"Records": [record]}


def _timing(each: Contestant, client: Path, interpreter: str, url: str) -> Timing:
    """One start. The emulator spawns Python when the first event comes in."""
    with _function(each, client, interpreter, url) as port:
        first = _answered(each, port)
        return Timing(first, median(_answered(each, port) for _ in range(WARM)))


def _answered(each: Contestant, port: int) -> float:
    request = urllib.request.Request(
        runtime.invocations(port), data=json.dumps(each.event).encode()
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        result = json.load(answer)
    taken = time.perf_counter() - began
    if result.get("statusCode") != 200 and result != {"batchItemFailures": []}:
        raise SystemExit(f"{each.title} did not work: {result}")
    return taken


@contextmanager
def _function(each: Contestant, client: Path, interpreter: str, url: str) -> Iterator[int]:
    port, api_port = runtime.free_ports(2)
    command = runtime.emulated(interpreter, each.handler, port, api_port)
    with subprocess.Popen(
        ["timeout", "60", *command],
        env=_environment(client, url),
        cwd=each.package.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            if not runtime.listens(port, alive=lambda: process.poll() is None):
                raise SystemExit("the runtime emulator does not start")
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def _environment(client: Path, url: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(client),
        # The deployed folder is read-only: nobody gets compiled files by having run once.
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "POWERTOOLS_SERVICE_NAME": "benchmark",
        "POWERTOOLS_METRICS_NAMESPACE": "Benchmark",
        "WEBHOOK_SECRETS_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:signing",
        "LINKRUNNER_KEY_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:key",
        "WEBHOOK_QUEUE_URL": f"{url}/123456789012/webhooks",
        "DEAD_LETTER_QUEUE_URL": f"{url}/123456789012/dead-letters",
        "LEDGER_TABLE": "claims",
        "LEDGER_DAYS": "400",
        "LINKRUNNER_BASE_URL": url,
        "DELIVER_CONCURRENCY": "2",
        "REQUESTS_PER_SECOND": "30",
    }
