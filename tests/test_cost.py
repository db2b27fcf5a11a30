"""The cost model: it adds up, our own code does what it assumes, and README says what it says."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
from benchmarks import cost, usage
from benchmarks.cost import ORDERS, PARTS, month
from benchmarks.usage import metrics_of, of_month
from tests.simulation.table import FakeTable, Item
from tests.stories import Pipeline, told, users

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks_cli.stories import read
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.project import ROOT, TEMPLATE

MODEL = usage.model()
STACK = usage.stack()
MANY = [0, 1, 7, 150, 999, 1_000, 12_345, 100_000, 1_000_000, 20_000_000]


def test_more_orders_never_cost_less() -> None:
    """Every part of the bill grows with the orders, or stays."""
    for free in (False, True):
        months = [month(orders, MODEL, STACK, free=free) for orders in MANY]
        for less, more in pairwise(months):
            assert all(more[part] >= less[part] for part in PARTS)


def test_without_orders_one_pays_for_what_is_there() -> None:
    """A month without orders uses up what an idle month does."""
    idle = usage.idle(MODEL["shop"], STACK)
    used = {name: amount for name, amount in of_month(0, MODEL, STACK).items() if amount}
    assert used == {name: amount for name, amount in idle.items() if amount}
    assert month(0, MODEL, STACK) == cost.bill(idle, MODEL)


@pytest.mark.parametrize("orders", ORDERS)
def test_the_parts_add_up(orders: int) -> None:
    """Everything that is used has a price and is in one part of the bill; the free tier only lowers it."""
    used = of_month(orders, MODEL, STACK)
    priced = sum(amount * MODEL["prices"][name] for name, amount in used.items())
    parts = month(orders, MODEL, STACK)
    assert sum(parts.values()) == pytest.approx(priced)
    reduced = month(orders, MODEL, STACK, free=True)
    assert all(0 <= reduced[part] <= parts[part] for part in PARTS)


def test_every_price_is_in_one_part() -> None:
    """No price is forgotten or counted twice, and what is free is something that has one."""
    names = [name for names in PARTS.values() for name in names]
    assert sorted(names) == sorted(MODEL["prices"])
    assert set(MODEL["free"]) <= set(names)


def test_an_alarm_is_charged_for_every_metric_it_reads() -> None:
    """One for an alarm of a metric; for an expression those that it reads, and not itself."""
    assert metrics_of({"MetricName": "Errors"}) == 1
    assert (
        metrics_of({"Metrics": [{"Expression": "a + b"}, {"MetricStat": {}}, {"MetricStat": {}}]})
        == 2
    )
    text = TEMPLATE.read_text("utf-8")
    alarms = template.load(TEMPLATE)["Resources"].values()
    single = sum(
        each["Type"] == "AWS::CloudWatch::Alarm" and "MetricName" in each["Properties"]
        for each in alarms
    )
    assert STACK.kept["alarm_month"] == single + text.count("MetricStat:")


def test_the_shop_reports_what_exists() -> None:
    """Its outcomes and reasons are ours, and what is stored is delivered or waits."""
    for reports in (MODEL["receive"], MODEL["deliver"]):
        assert set(reports) <= {each.value for each in Outcome}
        assert {name for by in reports.values() for name in by} <= {each.value for each in Reason}
    ended = {name: by for name, by in MODEL["deliver"].items() if name != Outcome.RETRYING}
    delivered = sum(times for by in ended.values() for times in by.values())
    assert delivered == pytest.approx(sum(MODEL["receive"]["queued"].values()))


OBSERVE = """
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.telemetry import observe

observe(
    Report(
        stage="deliver",
        outcome=Outcome.CAPTURED,
        source="stripe",
        provider="stripe",
        event_type="checkout.session.completed",
        event_id="evt_16PDjqiRxT4wc1d7b809b7f6",
        event_names=("purchase_completed",),
    )
)
"""
LAMBDA = {
    "POWERTOOLS_SERVICE_NAME": "linkrunner-webhooks",
    "POWERTOOLS_METRICS_NAMESPACE": "LinkrunnerWebhooks/linkrunner-webhooks",
    "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
    "PYTHONPATH": str(ROOT / "src"),
}
# What CloudWatch adds to each line, in bytes.
LINE = 26


def test_a_report_is_as_long_as_assumed() -> None:
    """A webhook's line in the log, and its metric."""
    done = subprocess.run(
        [sys.executable, "-c", OBSERVE], env=LAMBDA, capture_output=True, timeout=30, check=True
    )
    size = sum(len(line) + LINE for line in done.stdout.splitlines())
    assert size == pytest.approx(MODEL["shop"]["report_bytes"], rel=0.1)


# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
ROW, WRITTEN, READ = 100, 1024, 4096


def size(item: Item) -> int:
    """Bytes of a row as DynamoDB counts them."""
    return sum(
        len(name) + sum(_size(kind, value) for kind, value in each.items())
        for name, each in item.items()
    )


def _size(kind: str, value: Any) -> int:
    if kind == "SS":
        return 3 + sum(1 + len(each.encode()) for each in value)
    return len(value) // 2 + 2 if kind == "N" else len(value.encode())


def is_listed(item: Item) -> bool:
    """Whether it is in the index, too."""
    return "day" in item and "who" in item


@dataclass
class MeteredTable(FakeTable):
    """Counts what DynamoDB would charge: write units with those of the index, and read units."""

    used: Counter[str] = field(default_factory=Counter)

    def get_item(self, **arguments: Any) -> dict[str, Any]:
        answer = super().get_item(**arguments)
        # In halves, which is what a read costs that need not be up to date.
        units = 2 if arguments["ConsistentRead"] else 1
        self.used["half_reads"] += units * max(1, ceil(size(answer.get("Item", {})) / READ))
        return answer

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        key = arguments["Key"]["key"]["S"]
        before = self.items.get(key, {})
        try:
            return super().update_item(**arguments)
        finally:
            after = self.items.get(key, {})
            units = max(1, ceil(max(size(before), size(after)) / WRITTEN))
            # The batch's own count is in the model for itself.
            self.used["writes"] += 0 if key.startswith("@note|tally") else units
            self.used["writes"] += is_listed(after) and after != before


def test_the_ledger_takes_what_is_assumed() -> None:
    """Over all stories: reads and writes of a stored webhook, and the bytes that stay of it."""
    tables: list[MeteredTable] = []

    def metered() -> MeteredTable:
        tables.append(MeteredTable())
        return tables[-1]

    stored = 0
    for name in providers.names():
        provider = providers.load(name)
        for story in read(name):
            table = provider.options.example() | users(provider, story)
            pipeline = Pipeline(provider, Config({name: table}), table=metered())
            reports = [told(name, entry) for entry in story["cases"]]
            pipeline.deliver(reports)
            stored += len(pipeline.messages(reports))
    used = sum((each.used for each in tables), Counter[str]())
    rows = [
        row for each in tables for key, row in each.items.items() if not key.startswith("@note")
    ]
    measured = {
        "writes": used["writes"] / stored,
        "reads": used["half_reads"] / 2 / stored,
        "ledger_bytes": sum(size(row) + ROW for row in rows) / stored,
        "index_bytes": sum(size(row) + ROW for row in rows if is_listed(row)) / stored,
    }
    assumed = {name: MODEL["shop"][name] for name in measured}
    assert measured == pytest.approx(assumed, rel=0.1)


def test_the_readme_says_what_a_month_costs() -> None:
    """Its table is the model's."""
    table = cost.table(MODEL, STACK)
    assert table in (ROOT / "README.md").read_text("utf-8"), f"README.md should say:\n{table}"
