"""The hours behind, as CloudWatch keeps them: the functions' metrics, and the depth of the dead-letter queue.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from linkrunner_webhooks.aws import failure
from linkrunner_webhooks.errors import Reason, parking
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.watch import HOUR, SPAN, Heard, History

# A request answers 100,800 figures.
_AT_ONCE: Final = 100_800 // (SPAN + 1)
# What keeps deliveries from succeeding, whatever the message is.
OUTSIDE: Final = [
    each for each in Reason
    if each in (Reason.LEDGER, Reason.QUEUE) or (each.nature.outage and not each.nature.server_key)
]  # fmt: skip
_QUEUE: Final = ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible")


class Unseen(Exception):
    """CloudWatch did not answer, or not all of it. The message is the short name of why."""


class Series(NamedTuple):
    """One metric of CloudWatch, and the statistic of an hour."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str


def read(
    client: Any, namespace: str, queue_name: str, sources: Iterable[str], now: float
) -> History:
    """The history of these sources and of the dead-letter queue of that name. Raises Unseen."""
    of_sources = {name: _of_source(namespace, name) for name in sources}
    of_reasons = {each.value: _ended(namespace, Outcome.PARKED, each) for each in parking()}
    failing = [_ended(namespace, Outcome.RETRYING, each) for each in OUTSIDE]
    captured, held, signups = (
        _ended(namespace, Outcome.CAPTURED, Reason.NONE),
        _ended(namespace, Outcome.HELD, Reason.NONE),
        _ended(namespace, Outcome.IGNORED, Reason.SIGNUP),
    )
    of_queue = [Series("AWS/SQS", each, (("QueueName", queue_name),), "Maximum") for each in _QUEUE]
    every = [
        *(series for each in of_sources.values() for series in each.values()),
        *of_reasons.values(),
        *of_queue,
        *failing,
        captured,
        held,
        signups,
    ]
    found = _fetched(client, every, now)
    return History(
        sources={
            name: Heard(**{key: found[series] for key, series in each.items()})
            for name, each in of_sources.items()
        },
        parked={reason: found[series] for reason, series in of_reasons.items()},
        dead_letters=_together(found[each] for each in of_queue),
        failing=_together(found[each] for each in failing),
        captured=found[captured],
        held=found[held],
        signups=found[signups],
    )


def _of_source(namespace: str, name: str) -> dict[str, Series]:
    outcomes = {Outcome.QUEUED, Outcome.IGNORED}
    words = [each.name for each in fields(Heard)]
    dimensions = {word: "outcome" if word in outcomes else "reason" for word in words}
    return {
        word: _ours(namespace, ("source", name), (dimension, word))
        for word, dimension in dimensions.items()
    }


def _ended(namespace: str, outcome: Outcome, reason: Reason) -> Series:
    return _ours(namespace, ("outcome", outcome.value), ("reason", reason.value))


def _together(each: Iterable[Mapping[int, float]]) -> dict[int, float]:
    total: Counter[int] = Counter()
    for hours in each:
        total.update(hours)
    return dict(total)


def _ours(namespace: str, *dimensions: tuple[str, str]) -> Series:
    return Series(namespace, "Webhooks", dimensions, "Sum")


def _fetched(client: Any, every: Sequence[Series], now: float) -> Mapping[Series, dict[int, float]]:
    found: dict[Series, dict[int, float]] = {series: {} for series in every}
    for start in range(0, len(every), _AT_ONCE):
        asked = {f"m{number}": each for number, each in enumerate(every[start : start + _AT_ONCE])}
        for answer in _answers(client, [_query(id, each) for id, each in asked.items()], now):
            if answer.get("StatusCode") in ("InternalError", "Forbidden"):
                # What is not told is not zero.
                raise Unseen(answer["StatusCode"])
            for moment, value in zip(answer["Timestamps"], answer["Values"], strict=True):
                found[asked[answer["Id"]]][int(moment.timestamp() // HOUR)] = value
    return found


def _answers(client: Any, queries: Sequence[Any], now: float) -> Iterator[Mapping[str, Any]]:
    request: dict[str, Any] = {
        "MetricDataQueries": queries,
        "StartTime": (int(now // HOUR) - SPAN) * HOUR,
        "EndTime": now,
    }
    while True:
        try:
            answer = client.get_metric_data(**request)
        except (BotoCoreError, ClientError) as error:
            raise Unseen(failure(error)) from None
        yield from answer["MetricDataResults"]
        if not (token := answer.get("NextToken")):
            return
        request["NextToken"] = token


def _query(id: str, series: Series) -> dict[str, Any]:
    metric = {
        "Namespace": series.namespace,
        "MetricName": series.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in series.dimensions],
    }
    stat = {"Metric": metric, "Period": HOUR, "Stat": series.statistic}
    return {"Id": id, "MetricStat": stat, "ReturnData": True}
