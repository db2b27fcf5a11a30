"""The output of `make run`: one or two lines for each webhook."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, Self, TextIO

from rich.console import Console as Terminal
from rich.text import Text

from linkrunner_webhooks.capture import ApiRequest, Capture
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.event_body import AMOUNTS, LinkrunnerEvent
from linkrunner_webhooks.payments import REST, CapturePayment, RemovePayment, Status
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_local.loopback import Request
from linkrunner_webhooks_local.sent import is_sent_for, value
from linkrunner_webhooks_local.switches import no_path, no_table, remedy

_STYLES: Final = {
    "queued": "cyan",
    "captured": "green",
    "held": "yellow",
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
_LONGEST_SHOWN: Final = 80


class Console:
    """Prints reports while its block runs, with what was sent for the webhook and how to change it.

    Handlers report a capture after it was sent, and a report names nobody. So what is sent is kept until the
    report about the same provider event comes.
    """

    def __init__(
        self, out: TextIO | None = None, *, config: Config | None = None, plain: bool = False
    ) -> None:
        self._terminal = Terminal(
            file=out, color_system=None if plain else "auto", highlight=False, soft_wrap=True
        )
        self.config = config or Config({})
        self._sent: list[LinkrunnerEvent | CapturePayment] = []
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

    def watched(self, capture: Capture) -> Capture:
        """The same, and what Linkrunner took is remembered, whichever Linkrunner it is."""

        def watched(request: ApiRequest) -> None:
            capture(request)
            if isinstance(request, RemovePayment):
                gone = f"payment {request.payment_id} removed"
                self._lines.put(_line("", "", _ARROW + Text(gone)))
            elif isinstance(request, CapturePayment) and REST in request.payment_id:
                rest = f"payment {request.payment_id} {request.amount} captured in its place"
                self._lines.put(_line("", "", _ARROW + Text(rest)))
                return
            if isinstance(request, LinkrunnerEvent | CapturePayment):
                with self._lock:
                    self._sent.append(request)
                    del self._sent[:-_MAX_UNMATCHED]

        return watched

    def observe(self, report: Report) -> None:
        """A handler is done with a webhook."""
        if report.source == "unknown" and report.reason is Reason.UNKNOWN_SOURCE:
            # A report does not repeat a stranger's text; `unknown_source` does.
            return
        source = self.config.source(report.source)
        detail = "; ".join(filter(None, (report.detail, remedy(source, report))))
        if report.stage == "receive":
            lines = _receive_lines(report, detail)
        else:
            lines = _deliver_lines(report, detail, self._taken(report))
        for line in lines:
            self._lines.put(_line(report.source, report.event_type, line))

    def unknown_source(self, name: str) -> None:
        """A webhook came for a source that has no table."""
        why = no_table(_shown(name), self.config.names)
        self._lines.put(_line(_shown(name), "", _joined(_styled("rejected"), why)))

    def unknown_path(self, request: Request) -> None:
        """A request came for no path of ours."""
        tried = f"{_shown(request.method)} {_shown(request.path)}"
        why = no_path(request.path, self.config.names)
        self._lines.put(_line("-", tried, _joined(_styled("rejected"), why)))

    def _taken(self, report: Report) -> list[_Sent]:
        """What was sent for this report."""
        source = self.config.source(report.source)
        fields = source.fields if source else {}
        with self._lock:
            sent = [(event, _Sent(event, fields)) for event in self._sent]
            mine = [each for each in sent if each[1].is_of(report)]
            self._sent = [event for event, each in sent if not each.is_of(report)]
        return [each for _, each in mine]

    def failed(self, error: Exception) -> None:
        """A handler, or something around it, raised what nobody expected."""
        trace = "".join(traceback.format_exception(error)).rstrip()
        self._lines.put(Text(trace, style="red"))

    def say(self, text: str = "") -> None:
        self._lines.put(Text(text))

    def _print(self) -> None:
        while (line := self._lines.get()) is not None:
            self._terminal.print(line)


@dataclass(frozen=True, slots=True)
class _Sent:
    """An event or a payment as it was sent, read under the names that webhooks.toml gives its fields."""

    event: LinkrunnerEvent | CapturePayment
    targets: Mapping[str, str | None]

    def value(self, field: str) -> Any:
        return value(self.event, field, self.targets)

    def is_of(self, report: Report) -> bool:
        """Whether it was sent for the webhook of the report, as far as its fields are sent at all."""
        key = (report.source, report.event_type, report.event_id)
        named = (
            isinstance(self.event, CapturePayment) or self.event.event_name in report.event_names
        )
        return named and is_sent_for(self.event, key, self.targets) is not False

    def __str__(self) -> str:
        if isinstance(self.event, CapturePayment):
            failed = "failed " if self.event.status == Status.FAILED else ""
            name, amounts = f"{failed}payment {self.event.payment_id}", [self.event.amount]
        else:
            name, amounts = self.event.event_name, list(map(self.value, AMOUNTS))
        amount = next(filter(_is_told, amounts), None)
        shown = f"{amount:.2f}" if _is_fractional(amount) else amount
        words = (name, shown, self.value("currency"), self.event.user_id)
        return " ".join(str(word) for word in words if word not in (None, ""))


def _receive_lines(report: Report, detail: str) -> Iterator[Text]:
    outcome = _styled(report.outcome)
    if report.outcome == "rejected":
        yield _joined(outcome, report.reason, detail)
    elif report.outcome == "ignored":
        yield _joined("verified", outcome, _reason(report), report.event_id, _test(report), detail)
    else:
        yield _joined("verified", outcome, report.event_id, _test(report))


def _deliver_lines(report: Report, detail: str, sent: list[_Sent]) -> Iterator[Text]:
    outcome = _styled(report.outcome)
    if report.outcome != "captured":
        names = ", ".join(report.event_names)
        yield _ARROW + _joined(names, outcome, _reason(report), _test(report), detail)
        return
    for event in map(str, sent) if sent else report.event_names:
        yield _ARROW + _joined(event, outcome, _test(report))


def _is_told(value: object) -> bool:
    return value is not None


def _is_fractional(amount: object) -> bool:
    return isinstance(amount, float) and round(amount, 2) == amount


def _test(report: Report) -> str:
    return "(test)" if report.test else ""


def _shown(text: str) -> str:
    """A stranger's text, short and without what a terminal would act on."""
    return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST_SHOWN])


def _reason(report: Report) -> str:
    return "" if report.reason == "none" else report.reason


def _line(source: str, event_type: str, rest: Text) -> Text:
    now = time.strftime("%H:%M:%S")
    padded = (source.ljust(_SOURCE_WIDTH), "bold"), "  ", (event_type or "-").ljust(_TYPE_WIDTH)
    return Text.assemble((now, "dim"), "  ", *padded, "  ", rest)


def _joined(*parts: str | Text) -> Text:
    return Text("  ").join(Text(part) if isinstance(part, str) else part for part in parts if part)


def _styled(outcome: str) -> Text:
    return Text(outcome, style=_STYLES.get(outcome, ""))
