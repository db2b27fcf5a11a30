"""What a million webhooks and an idle month cost, as a function of the memory, from stated prices.

Times are measured here on a whole core; Lambda gives a function a share of one by its memory (a core at 1,769
MB), so that what is computed takes longer with less, and what is waited for does not.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cold
from benchmarks.cold import Timing
from benchmarks.tables import Progress, Row, Section, ratio

MEMORIES = (128, 256, 512, 1024)
WHOLE_CORE = 1769
_MODEL = Path(__file__).parent / "prices.toml"
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Build:
    """The two functions of one build, as measured."""

    receive: Timing
    deliver: Timing


def measure(_: int, progress: Progress) -> Section:
    """Ours against the naive build, which differ in what they compute and not in what they call."""
    model = tomllib.loads(_MODEL.read_text("utf-8"))
    times = cold.medians(3, progress, only=("ours", "naive build"))
    ours, naive = (
        Build(times[f"receive, {name}"], times[f"deliver, {name}"])
        for name in ("ours", "naive build")
    )
    rows = [Row("idle month", f"${idle(model):.2f}")]
    for memory in MEMORIES:
        own, other = million(ours, memory, model), million(naive, memory, model)
        rows.append(Row(f"a million at {memory} MB: ours", f"${own:.2f}"))
        rows.append(
            Row(f"a million at {memory} MB: naive build", f"${other:.2f}", ratio(own / other), 1.0)
        )
    note = (
        "Prices and assumptions: benchmarks/prices.toml. Cold starts of the model: 1 % of requests."
    )
    return Section("Cost", ("", "US dollars", "ours / it"), tuple(rows), note)


def million(build: Build, memory: int, model: dict[str, Any]) -> float:
    """Dollars for a million webhooks, each of them one event."""
    prices, shop = model["prices"], model["shop"]
    waiting = shop["linkrunner_ms"] / 1000 * shop["batch"] / shop["in_hand"]
    delivered = _gb_seconds(build.deliver, memory, waiting, shop) / shop["batch"]
    received = _gb_seconds(build.receive, memory, shop["queue_ms"] / 1000, shop)
    requests = {
        # One to store it; one to fetch and one to delete a batch.
        "sqs_request": 1 + 2 / shop["batch"],
        "api_request": 1,
        "lambda_request": 1 + 1 / shop["batch"],
        "dynamodb_write": shop["writes"],
        "dynamodb_read": shop["reads"],
    }
    each = sum(prices[name] * count for name, count in requests.items())
    each += (received + delivered) * prices["lambda_gb_second"]
    each += shop["log_bytes"] / 1e9 * prices["log_gb"]
    return float(each * _MILLION)


def _gb_seconds(timing: Timing, memory: int, waiting: float, shop: dict[str, Any]) -> float:
    slower = max(1.0, WHOLE_CORE / memory)
    computed = timing.warm + shop["cold_share"] * (timing.first - timing.warm)
    return float(computed * slower + waiting) * memory / 1024


def idle(model: dict[str, Any]) -> float:
    """Dollars a month when nothing is sold."""
    prices, shop = model["prices"], model["shop"]
    return float(
        shop["secrets"] * prices["secret_month"]
        + shop["polls_month"] * prices["sqs_request"]
        + shop["alarm_metrics"] * prices["alarm_month"]
        + prices["dashboard_month"]
    )
