"""How much of everything a month uses up: from what is deployed, and from what is assumed of a shop.

Computing is timed on a whole core. Lambda gives a function a share of one by its memory (a core at 1,769 MB):
with less of it computing takes longer, and waiting does not.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

from benchmarks.cold import Timing
from linkrunner_webhooks.secrets import MAX_AGE
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.project import TEMPLATE

# Amounts by the name of their price.
Usage = Mapping[str, float]
# The tables of prices.toml.
Model = Mapping[str, Any]
Shop = Mapping[str, float]

_MODEL = Path(__file__).parent / "prices.toml"
_WHOLE_CORE = 1769
_HOURS = 730
_SECONDS = _HOURS * 3600
_DAYS = _HOURS / 24
_GB = 1e9
# X-Ray records the first request of a second, and of the others so many.
_SAMPLED = 0.05


@dataclass(frozen=True, slots=True)
class Stack:
    """What template.yaml deploys. `spacing` is seconds between the requests of one copy of deliver."""

    kept: Usage
    memory: int
    window: float
    spacing: float
    log_days: float
    ledger_days: float


@dataclass(frozen=True, slots=True)
class Build:
    """How long the two functions of one build compute: for a webhook, and for a run of deliver."""

    receive: Timing
    deliver: Timing


@dataclass(frozen=True, slots=True)
class Load:
    """What a month brings: webhooks that come, those that are stored, and how often one is tried."""

    webhooks: float
    stored: float
    tried: float


def model() -> Model:
    """What prices.toml says."""
    return tomllib.loads(_MODEL.read_text("utf-8"))


# ------------------------------------------------------------------------------- what is deployed


def stack(path: Path = TEMPLATE) -> Stack:
    """What is deployed, with the defaults of its parameters."""
    loaded = template.load(path)
    defaults = {name: each.get("Default") for name, each in loaded["Parameters"].items()}
    events = loaded["Resources"]["DeliverFunction"]["Properties"]["Events"]["Queue"]["Properties"]
    copies = events["ScalingConfig"]["MaximumConcurrency"]
    return Stack(
        kept=_kept(loaded["Resources"].values()),
        memory=loaded["Globals"]["Function"]["MemorySize"],
        window=events["MaximumBatchingWindowInSeconds"],
        spacing=copies / defaults["RequestsPerSecond"],
        log_days=defaults["LogRetentionDays"],
        ledger_days=defaults["LedgerDays"],
    )


def _kept(resources: Collection[Mapping[str, Any]]) -> Usage:
    """What is paid for being there."""
    # The secret for providers' keys is there on demand, and every other condition is for the dearer case.
    kinds = Counter(each["Type"] for each in resources if each.get("Condition") != "AsksProviders")
    alarms = [each for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]
    return {
        "secret_month": kinds["AWS::SecretsManager::Secret"],
        "dashboard_month": kinds["AWS::CloudWatch::Dashboard"],
        "key_month": kinds["AWS::KMS::Key"],
        "alarm_month": sum(metrics_of(each["Properties"]) for each in alarms),
        "composite_alarm_month": kinds["AWS::CloudWatch::CompositeAlarm"],
    }


def metrics_of(alarm: Mapping[str, Any]) -> int:
    """How many metrics an alarm reads: its own, or those of its expression."""
    return sum("MetricStat" in each for each in alarm.get("Metrics", ())) or 1


# ------------------------------------------------------------------------------- what is used


def of_month(orders: float, model: Model, stack: Stack) -> Usage:
    """What a month with so many orders uses up, once the ledger is as long as it gets."""
    shop = model["shop"]
    load = Load(
        orders * _total(model["receive"]),
        orders * _total({"queued": model["receive"]["queued"]}),
        orders * _total(model["deliver"]),
    )
    return _added(
        idle(shop, stack),
        of_webhooks(load, _assumed(shop), shop, stack),
        _secrets(load, shop),
        _ledger(load, shop, stack),
        {"metric_month": _metrics(orders, model)},
    )


def idle(shop: Shop, stack: Stack) -> Usage:
    """What a month uses up when nothing is sold."""
    runs = shop["scheduled_month"]
    looked_at = shop["look_metrics"] + shop["look_metrics_by_source"] * shop["sources"]
    return _added(
        stack.kept,
        {
            "sqs_request": shop["polls_month"],
            "lambda_request": runs,
            # With so long between them they are cold starts.
            "lambda_gb_second": runs * _gb_seconds(shop["cold_start_ms"] / 1000, 0, stack),
            "xray_trace": runs,
            "metric_request": shop["looks_month"] * looked_at,
        },
        _logs(runs * shop["run_bytes"], shop, stack),
    )


def of_webhooks(load: Load, build: Build, shop: Shop, stack: Stack) -> Usage:
    """The requests, logs and traces of handling them."""
    batch = 1 + load.tried / _SECONDS * stack.window
    runs = load.tried / batch
    received = _gb_seconds(_mean(build.receive, shop), shop["queue_ms"] / 1000, stack)
    waited = (shop["ledger_ms"] + shop["linkrunner_ms"]) / 1000 + (batch - 1) * stack.spacing
    delivered = _gb_seconds(_mean(build.deliver, shop), waited, stack)
    logged = (
        (load.webhooks + load.tried) * shop["report_bytes"]
        + (load.webhooks + runs) * shop["run_bytes"]
        + load.webhooks * shop["access_bytes"]
    )
    sent = load.webhooks * shop["answer_bytes"] + load.tried * shop["event_bytes"]
    return _added(
        {
            "api_request": load.webhooks,
            "lambda_request": load.webhooks + runs,
            "lambda_gb_second": load.webhooks * received + runs * delivered,
            # One to store it; one to fetch and one to delete a batch.
            "sqs_request": load.stored + 2 * runs,
            # A batch counts how it ended.
            "dynamodb_write": load.stored * shop["writes"] + runs,
            "dynamodb_read": load.stored * shop["reads"],
            "transfer_gb": sent / _GB,
            "xray_trace": _traced(load.webhooks) + _traced(runs),
        },
        _logs(logged, shop, stack),
    )


def _assumed(shop: Shop) -> Build:
    first = shop["cold_start_ms"] / 1000
    receive, deliver = (Timing(first, shop[name] / 1000) for name in ("receive_ms", "deliver_ms"))
    return Build(receive, deliver)


def _mean(timing: Timing, shop: Shop) -> float:
    return timing.warm + shop["cold_share"] * (timing.first - timing.warm)


def _gb_seconds(computed: float, waited: float, stack: Stack) -> float:
    slower = max(1.0, _WHOLE_CORE / stack.memory)
    return (computed * slower + waited) * stack.memory / 1024


def _traced(requests: float) -> float:
    """How many of the requests X-Ray records."""
    first = _met(requests, _SECONDS)
    return first + (requests - first) * _SAMPLED


def _logs(size: float, shop: Shop, stack: Stack) -> Usage:
    kept = size * shop["compressed"] * stack.log_days / _DAYS
    return {"log_gb": size / _GB, "log_gb_month": kept / _GB}


def _secrets(load: Load, shop: Shop) -> Usage:
    """Each copy of a function reads its secret again when it is needed and older than MAX_AGE."""
    times = shop["copies"] * _SECONDS / MAX_AGE
    return {"secret_request": _met(load.webhooks, times) + _met(load.tried, times)}


def _ledger(load: Load, shop: Shop, stack: Stack) -> Usage:
    """What is kept when the first facts are about to be forgotten."""
    stored = load.stored * stack.ledger_days / _DAYS / _GB
    return {
        "ledger_gb_month": stored * (shop["ledger_bytes"] + shop["index_bytes"]),
        "backup_gb_month": stored * shop["ledger_bytes"],
    }


def _metrics(orders: float, model: Model) -> float:
    """Custom metrics, each for the hours in which it is reported.

    There is one for each outcome and reason, and one for each source and outcome.
    """
    reasons: dict[tuple[str, str], float] = defaultdict(float)
    outcomes: dict[str, float] = defaultdict(float)
    for outcome, by_reason in (*model["receive"].items(), *model["deliver"].items()):
        for reason, times in by_reason.items():
            reasons[outcome, reason] += times
            outcomes[outcome] += times
    sources: int = model["shop"]["sources"]
    hours = sum(_met(orders * times, _HOURS) for times in reasons.values())
    hours += sources * sum(_met(orders * times / sources, _HOURS) for times in outcomes.values())
    return hours / _HOURS


def _met(times: float, spans: float) -> float:
    """In how many of the spans something happens that happens so many times, at random."""
    return spans * (1 - exp(-times / spans))


def _total(reports: Mapping[str, Mapping[str, float]]) -> float:
    return sum(times for by_reason in reports.values() for times in by_reason.values())


def _added(*usages: Usage) -> Usage:
    total: dict[str, float] = defaultdict(float)
    for each in usages:
        for name, amount in each.items():
            total[name] += amount
    return total
