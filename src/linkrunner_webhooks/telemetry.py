"""Reports as structured log lines and metrics. Identifiers only: never bodies, headers, secrets or users."""

from __future__ import annotations

from dataclasses import asdict

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from linkrunner_webhooks import __version__
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.reports import Report

_logger = Logger()

_LOG = {
    Outcome.REJECTED: _logger.warning,
    Outcome.RETRYING: _logger.warning,
    Outcome.PARKED: _logger.error,
}
# Our fault, and somebody should look.
_OURS = frozenset({"not_stored", "internal", "unrecorded"})


def observe(report: Report) -> None:
    """One log line; one count by outcome and reason, one by source and outcome."""
    log = _logger.error if report.reason in _OURS else _LOG.get(report.outcome, _logger.info)
    fields = {key: value for key, value in asdict(report).items() if value not in ("", ())}
    log("webhook %s", report.outcome.value, extra={**fields, "version": __version__})
    _count(outcome=report.outcome.value, reason=report.reason)
    _count(source=report.source, outcome=report.outcome.value)


def _count(**dimensions: str) -> None:
    with single_metric(name="Webhooks", unit=MetricUnit.Count, value=1) as metric:
        for name, value in dimensions.items():
            metric.add_dimension(name=name, value=value)
