"""Reports as structured log lines and metrics. Identifiers only: never bodies, headers, secrets or users."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from linkrunner_webhooks import __version__
from linkrunner_webhooks.model import Flow, Outcome
from linkrunner_webhooks.reports import Moved, Report, fault, written
from linkrunner_webhooks.watch import Concern, Worry

_logger = Logger()
# Lambda's own filter stays at INFO, because it would also drop the metrics. This level applies to our lines.
logging.getLogger(_logger.service).setLevel(os.environ.get("POWERTOOLS_LOG_LEVEL", "INFO"))
# At DEBUG, Lambda sets the root logger's level as well, and the SDK would log its requests and answers, with
# the server key and bodies.
for _library in ("botocore", "urllib3"):
    logging.getLogger(_library).setLevel(logging.INFO)

# Metrics of one's own cost money by the month, one for each currency here.
_COUNTS_MONEY = os.environ.get("MONEY_METRICS") == "on"
_MONEY = {
    Flow.PAYMENT: "Revenue",
    Flow.REFUND: "Refunded",
    Flow.REFUND_REVERSAL: "RefundsTakenBack",
    Flow.DISPUTE: "Disputed",
    Flow.DISPUTE_REVERSAL: "DisputesWon",
}
_LOG = {
    Outcome.REJECTED: _logger.warning,
    Outcome.RETRYING: _logger.warning,
    Outcome.PARKED: _logger.error,
}


def observe(report: Report) -> None:
    """Write one log line and one count. Alarms read the count by outcome and reason, people by source."""
    log = _level(report)
    log("webhook %s", report.outcome.value, extra={**written(report), "version": __version__})
    _count(report)


def _level(report: Report) -> Callable[..., None]:
    if report.reason.nature.ours:
        return _logger.error
    return _logger.warning if report.reason.nature.setup else _LOG.get(report.outcome, _logger.info)


def _count(report: Report) -> None:
    outcome, reason = report.outcome.value, report.reason.value
    dimensions = [
        {"outcome": outcome, "reason": reason},
        {"source": report.source, "outcome": outcome},
    ]
    if report.outcome is Outcome.REJECTED:
        # Whether a secret is wrong is asked of each source by itself.
        dimensions.append({"source": report.source, "reason": reason})
    _write("Webhooks", 1, *dimensions)
    if found := fault(report):
        # One metric for all reasons of one alarm, because each metric of an alarm costs.
        _write("Faults", 1, {"fault": found})
    if report.relinked:
        _write("Relinked", report.relinked, {"source": report.source})
    if _COUNTS_MONEY:
        for moved in report.money:
            _count_money(report.source, moved)


def tell(concern: Concern) -> None:
    """Write one log line that names what it is about, and count it for the alarm."""
    _logger.warning("%s: %s", concern.about or concern.worry.value, concern.detail)
    _write("Concerns", 1, {"concern": concern.worry.value})


def unseen(detail: str) -> None:
    """Write and count that nobody could look; the next look may."""
    tell(Concern(Worry.UNSEEN, "", f"the metrics could not be read: {detail}"))


def _count_money(source: str, moved: Moved) -> None:
    """For a dashboard, where a float is exact enough; `report` adds up exactly."""
    dimensions = {"source": source, "currency": moved.currency}
    _write(_MONEY[moved.flow], float(moved.amount), dimensions, unit=MetricUnit.NoUnit)


def _write(
    name: str, value: float, *dimensions: Mapping[str, str], unit: MetricUnit = MetricUnit.Count
) -> None:
    """One figure, as a metric of each of these sets of dimensions."""
    metrics = EphemeralMetrics()
    # An alarm names all dimensions of its metric, so an automatic dimension would hide the metric from it.
    metrics.service = ""
    metrics.add_metric(name=name, unit=unit, value=value)
    first, *others = dimensions
    for dimension, word in first.items():
        metrics.add_dimension(name=dimension, value=word)
    for each in others:
        metrics.add_dimensions(**each)
    metrics.flush_metrics()
