"""The output of `make run`: one or two lines for each webhook."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Self, TextIO

from rich.console import Console as Terminal
from rich.text import Text

from linkrunner_webhooks_local.embedded_linkrunner import Arrival

if TYPE_CHECKING:
    from linkrunner_webhooks.reports import Report

_STYLES: Final = {
    "queued": "cyan",
    "captured": "green",
    "duplicate": "yellow",
    "retrying": "yellow",
    "parked": "red",
    "rejected": "red",
    "ignored": "dim",
}
_SOURCE_WIDTH: Final = 10
_TYPE_WIDTH: Final = 30
_ARROW: Final = Text("-> ")
_MAX_UNMATCHED: Final = 1000
_PATIENCE: Final = 1.0


class Console:
    """Prints reports while its block runs, and what the embedded Linkrunner saw of the webhook.

    Handlers report a capture after the embedded Linkrunner saw it, so arrivals are kept until the
    report about the same provider event comes.
    """

    def __init__(self, out: TextIO | None = None, *, plain: bool = False) -> None:
        self._terminal = Terminal(
            file=out, color_system=None if plain else "auto", highlight=False, soft_wrap=True
        )
        self._arrivals: dict[tuple[str, ...], list[Arrival]] = {}
        self._lock = threading.Lock()
        # Printed by a thread of its own: a pipe that nobody empties must not hold up a webhook.
        self._lines: SimpleQueue[Text | None] = SimpleQueue()
        self._printing = threading.Thread(target=self._print, name="console", daemon=True)

    def __enter__(self) -> Self:
        self._printing.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lines.put(None)
        self._printing.join(_PATIENCE)

    def arrived(self, arrival: Arrival) -> None:
        """The embedded Linkrunner captured an event."""
        with self._lock:
            self._arrivals.setdefault(_origin(arrival), []).append(arrival)
            while len(self._arrivals) > _MAX_UNMATCHED:
                del self._arrivals[next(iter(self._arrivals))]

    def observe(self, report: Report) -> None:
        """A handler is done with a webhook."""
        if report.stage == "receive":
            lines = _receive_lines(report)
        else:
            lines = _deliver_lines(report, self._taken(report))
        for line in lines:
            self._lines.put(_line(report, line))

    def _taken(self, report: Report) -> list[Arrival]:
        with self._lock:
            origin = (report.source, report.event_id, report.event_type)
            return self._arrivals.pop(origin, [])

    def failed(self, error: Exception) -> None:
        """A handler, or something around it, raised what nobody expected."""
        trace = "".join(traceback.format_exception(error)).rstrip()
        self._lines.put(Text(trace, style="red"))

    def say(self, text: str = "") -> None:
        self._lines.put(Text(text))

    def _print(self) -> None:
        while (line := self._lines.get()) is not None:
            self._terminal.print(line)


def _receive_lines(report: Report) -> Iterator[Text]:
    outcome = _styled(report.outcome)
    if report.outcome == "rejected":
        yield _joined(outcome, report.reason, report.detail)
    elif report.outcome == "ignored":
        yield _joined("verified", outcome, _reason(report), report.event_id)
    else:
        yield _joined("verified", outcome, report.event_id)


def _deliver_lines(report: Report, arrivals: list[Arrival]) -> Iterator[Text]:
    outcome = _styled(report.outcome)
    if report.outcome != "captured":
        names = ", ".join(report.event_names)
        yield _ARROW + _joined(names, outcome, _reason(report), report.detail)
        return
    for event in [_description(arrival) for arrival in arrivals] or report.event_names:
        yield _ARROW + _joined(event, outcome)


def _description(arrival: Arrival) -> str:
    data = arrival.event_data
    amount = f"{data['amount']:.2f}" if _is_fractional(data.get("amount")) else data.get("amount")
    words = (arrival.event_name, amount, data.get("currency"), arrival.user_id)
    return " ".join(str(word) for word in words if word not in (None, ""))


def _is_fractional(amount: object) -> bool:
    return isinstance(amount, float) and round(amount, 2) == amount


def _origin(arrival: Arrival) -> tuple[str, ...]:
    """An event id alone can be shared: Shopify gives one to everything that one action caused."""
    names = ("source", "provider_event_id", "provider_event_type")
    return tuple(str(arrival.event_data.get(name, "")) for name in names)


def _reason(report: Report) -> str:
    return "" if report.reason == "none" else report.reason


def _line(report: Report, rest: Text) -> Text:
    now = time.strftime("%H:%M:%S")
    source = report.source.ljust(_SOURCE_WIDTH)
    event_type = (report.event_type or "-").ljust(_TYPE_WIDTH)
    return Text.assemble((now, "dim"), "  ", (source, "bold"), "  ", event_type, "  ", rest)


def _joined(*parts: str | Text) -> Text:
    return Text("  ").join(Text(part) if isinstance(part, str) else part for part in parts if part)


def _styled(outcome: str) -> Text:
    return Text(outcome, style=_STYLES.get(outcome, ""))
