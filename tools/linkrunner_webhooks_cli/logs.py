"""What the functions of a deployed stack log about webhooks, as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_cli.stacks import Stack

# Logs arrive late: what is so many seconds old is looked at again.
_LATE: Final = 60
# Fields of a report that are texts.
_TEXTS: Final = ("source", "provider", "event_type", "event_id", "detail")

Line = dict[str, Any]


class Logs:
    """The lines of both functions from a moment on."""

    def __init__(self, stack: Stack, begin: datetime) -> None:
        self._client = stack.client("logs")
        self.groups = stack.log_groups()
        self._start = int(begin.timestamp() * 1000)
        # When each was logged that may come again: unix milliseconds, as all times of logs.
        self._seen = dict[str, int]()

    def news(self) -> list[Line]:
        """What has come since the last look, in order. `at` is ISO 8601 in UTC. Errors are the SDK's."""
        now = time.time()
        found = []
        for group in self.groups:
            # Metrics are lines with an outcome, too.
            pages = self._client.get_paginator("filter_log_events").paginate(
                logGroupName=group, startTime=self._start, filterPattern="{ $.stage = * }"
            )
            found += [event for page in pages for event in page["events"]]
        fresh = {
            event["eventId"]: event
            for event in sorted(found, key=lambda event: int(event["timestamp"]))
            if event["eventId"] not in self._seen
        }
        self._seen |= {id: int(event["timestamp"]) for id, event in fresh.items()}
        self._start = max(self._start, int((now - _LATE) * 1000))
        # What is older is not asked for again, and all else is remembered, however much it is.
        self._seen = {id: at for id, at in self._seen.items() if at >= self._start}
        return list(map(_line, fresh.values()))


def report_of(line: Mapping[str, Any]) -> Report | None:
    """The report that a line tells; None where another version, or somebody else, told another thing."""
    # Money is not logged.
    names = {each.name for each in fields(Report)} - {"money"}
    told = {name: value for name, value in line.items() if name in names}
    try:
        told |= {
            "outcome": Outcome(told["outcome"]),
            "reason": Reason(told.get("reason", Reason.NONE)),
            "event_names": _listed(told.get("event_names", [])),
        }
        is_one = told["stage"] in ("receive", "deliver") and _is_typed(told)
        return Report(**told) if is_one else None
    except (KeyError, TypeError, ValueError):
        return None


def _is_typed(told: Mapping[str, Any]) -> bool:
    """Whether the fields of a report are what they have to be, as far as they are told."""
    texts = (*(told.get(name, "") for name in _TEXTS), *told["event_names"])
    is_counted = type(told.get("relinked", 0)) is int and isinstance(told.get("test", False), bool)
    return is_counted and all(isinstance(each, str) for each in texts)


def _listed(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError("names are a list")
    return tuple(value)


def _line(event: Mapping[str, Any]) -> Line:
    """What is logged, whatever it is. `at` is when: a line that says so itself is not asked."""
    at = utc(datetime.fromtimestamp(event["timestamp"] / 1000, UTC), "milliseconds")
    try:
        told = json.loads(event["message"])
    except (ValueError, RecursionError):
        told = None
    line = told if isinstance(told, dict) else {"detail": event["message"].strip()}
    return {**line, "at": at}
