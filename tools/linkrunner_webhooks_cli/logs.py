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
_REMEMBERED: Final = 10_000

Line = dict[str, Any]


class Logs:
    """The lines of both functions from a moment on."""

    def __init__(self, stack: Stack, begin: datetime) -> None:
        self._client = stack.client("logs")
        self._groups = stack.log_groups()
        self._start = int(begin.timestamp() * 1000)
        self._seen = dict[str, None]()

    def news(self) -> list[Line]:
        """What has come since the last look, in order. `at` is ISO 8601 in UTC. Errors are the SDK's."""
        now = time.time()
        found = []
        for group in self._groups:
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
        self._seen |= dict.fromkeys(fresh)
        self._start = max(self._start, int((now - _LATE) * 1000))
        for old in list(self._seen)[:-_REMEMBERED]:
            del self._seen[old]
        return list(map(_line, fresh.values()))


def report_of(line: Mapping[str, Any]) -> Report | None:
    """The report that a line tells; None where another version told another thing."""
    names = {each.name for each in fields(Report)}
    told = {name: value for name, value in line.items() if name in names}
    try:
        told |= {
            "outcome": Outcome(told["outcome"]),
            "reason": Reason(told.get("reason", Reason.NONE)),
            "event_names": tuple(told.get("event_names", ())),
        }
        return Report(**told) if told["stage"] in ("receive", "deliver") else None
    except (KeyError, TypeError, ValueError):
        return None


def _line(event: Mapping[str, Any]) -> Line:
    at = utc(datetime.fromtimestamp(event["timestamp"] / 1000, UTC), "milliseconds")
    try:
        line: Line = json.loads(event["message"])
    except ValueError:
        line = {"detail": event["message"].strip()}
    return {"at": at, **line}
