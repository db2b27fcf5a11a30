"""What `make run` remembers: bounded, and each end with the request that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count, permutations
from typing import Any

import pytest

from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_local import recorder as module
from linkrunner_webhooks_local.recorder import Recorder, id_of


def event(body: str = "{}") -> dict[str, Any]:
    """A request."""
    return {"pathParameters": {"source": "stripe"}, "headers": {}, "body": body}


def report(stage: Any, outcome: Outcome, id: str = "evt_1") -> Report:
    """What a handler says."""
    return Report(
        stage=stage, outcome=outcome, source="stripe", event_type="invoice.paid", event_id=id
    )


def take(recorder: Recorder, id: str = "evt_1", body: str = "{}") -> None:
    """A webhook comes and is queued."""

    def receive(_: Mapping[str, Any]) -> Mapping[str, Any]:
        recorder.observe(report("receive", Outcome.QUEUED, id))
        return {"statusCode": 200}

    recorder.receiving(receive)(event(body))


def outcomes(recorder: Recorder) -> list[str]:
    """Of everything, the oldest first."""
    return [each.worst.outcome.value if each.worst else "" for each in recorder.newest()][::-1]


def test_each_end_goes_to_the_request_that_waits_for_it() -> None:
    """The first that came is captured, and the same once more is a duplicate."""
    recorder = Recorder()
    take(recorder)
    take(recorder)
    take(recorder, "evt_2")
    recorder.observe(report("deliver", Outcome.RETRYING))
    recorder.observe(report("deliver", Outcome.CAPTURED))
    assert outcomes(recorder) == ["captured", "queued", "queued"]
    recorder.observe(report("deliver", Outcome.DUPLICATE))
    assert outcomes(recorder) == ["captured", "duplicate", "queued"]
    # A redrive of what has ended is told where it came last.
    recorder.observe(report("deliver", Outcome.PARKED))
    assert outcomes(recorder) == ["captured", "parked", "queued"]
    recorder.observe(report("deliver", Outcome.CAPTURED, "evt_of_another"))
    assert [each.number for each in recorder.again(("stripe", "invoice.paid", "evt_1"))] == [1, 2]


def test_a_delivery_that_is_quicker_than_its_request_is_its_end() -> None:
    """A request of many webhooks is done with the first before it is done with the last."""
    ticks = count()
    recorder = Recorder(clock=lambda: next(ticks))

    def receive(_: Mapping[str, Any]) -> Mapping[str, Any]:
        recorder.observe(report("deliver", Outcome.CAPTURED))
        recorder.observe(report("receive", Outcome.QUEUED))
        return {"statusCode": 200}

    def again(_: Mapping[str, Any]) -> Mapping[str, Any]:
        recorder.observe(report("deliver", Outcome.DUPLICATE))
        recorder.observe(report("receive", Outcome.QUEUED))
        return {"statusCode": 200}

    recorder.receiving(receive)(event())
    recorder.receiving(again)(event())
    assert outcomes(recorder) == ["captured", "duplicate"]
    # What nobody asked for belongs to nothing that comes later.
    recorder.observe(report("deliver", Outcome.CAPTURED, "evt_2"))
    take(recorder, "evt_2")
    assert outcomes(recorder) == ["captured", "duplicate", "queued"]


QUEUED, RETRIED = report("receive", Outcome.QUEUED), report("deliver", Outcome.RETRYING)
CAPTURED, REPEATED = report("deliver", Outcome.CAPTURED), report("deliver", Outcome.DUPLICATE)
HEARD: dict[str, tuple[list[tuple[float, Report]], list[str]]] = {
    "one": ([(10.0, QUEUED), (11.0, RETRIED), (12.0, CAPTURED)], ["captured"]),
    "quick": ([(10.0, QUEUED), (9.9, CAPTURED)], ["captured"]),
    "two, one after the other": (
        [(10.0, QUEUED), (12.0, CAPTURED), (20.0, QUEUED), (22.0, REPEATED)],
        ["captured", "duplicate"],
    ),
}


@pytest.mark.parametrize("name", HEARD)
def test_logs_are_told_in_any_order(name: str) -> None:
    """A row for each request, and every one of them ends as it does in the order of time."""
    lines, expected = HEARD[name]
    for told in permutations(lines):
        recorder = Recorder()
        for at, said in told:
            recorder.heard(at, said)
        assert sorted(outcomes(recorder)) == expected, told
        (*_, first) = recorder.newest()
        assert min(each.at for each in recorder.newest()) in (9.9, 10.0)
        assert first.ended is not None


def test_a_request_that_comes_later_is_another() -> None:
    """What ended before it is not its end, and what was turned away has none."""
    recorder = Recorder()
    recorder.heard(10, CAPTURED)
    recorder.heard(20, QUEUED)
    recorder.heard(9, report("receive", Outcome.REJECTED))
    assert outcomes(recorder) == ["captured", "queued", "rejected"]
    recorder.heard(21, REPEATED)
    assert outcomes(recorder) == ["captured", "duplicate", "rejected"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By requests, and by the bytes of their bodies."""
    recorder = Recorder(most=3)
    for number in range(5):
        take(recorder, f"evt_{number}")
    assert [each.number for each in recorder.newest()] == [5, 4, 3]
    assert recorder.again(("stripe", "invoice.paid", "evt_0")) == []
    monkeypatch.setattr(module, "_MOST_BYTES", 110)
    take(recorder, "evt_9", "x" * 90)
    assert [each.number for each in recorder.newest()] == [6, 5, 4]
    take(recorder, "evt_10", "x" * 90)
    assert [each.number for each in recorder.newest()] == [7]
    for _ in range(200):
        recorder.observe(report("deliver", Outcome.RETRYING, "evt_10"))
    assert len(next(recorder.newest()).delivered) == 50


def test_a_request_with_many_webhooks_ends() -> None:
    """Each of them keeps its end, however many there are, and no more is remembered than fits."""
    recorder, ids = Recorder(), [f"evt_{number}" for number in range(100)]

    def receive(_: Mapping[str, Any]) -> Mapping[str, Any]:
        for id in ids:
            recorder.observe(report("receive", Outcome.QUEUED, id))
        return {"statusCode": 200}

    recorder.receiving(receive)(event())
    for _ in range(20):
        for id in ids:
            recorder.observe(report("deliver", Outcome.RETRYING, id))
    (arrival,) = recorder.newest()
    assert arrival.ended is None
    for id in ids:
        recorder.observe(report("deliver", Outcome.CAPTURED, id))
    assert arrival.ended is not None
    assert outcomes(recorder) == ["captured"]
    assert len(arrival.delivered) == 500


def test_what_has_changed_is_told_once() -> None:
    """In portions, where there is more than is wanted at once."""
    recorder = Recorder()
    for number in range(4):
        take(recorder, f"evt_{number}")
    seen = recorder.changed
    assert recorder.since(seen, 9) == ([], seen)
    recorder.observe(report("deliver", Outcome.CAPTURED, "evt_1"))
    recorder.observe(report("deliver", Outcome.DUPLICATE, "evt_1"))
    found, now = recorder.since(seen, 9)
    assert ([each.number for each in found], now) == ([2], recorder.changed)
    told, reached = [], 0
    while reached < recorder.changed:
        found, reached = recorder.since(reached, 2)
        told += [each.number for each in found]
    assert (set(told), reached) == ({1, 2, 3, 4}, recorder.changed)
    assert recorder.since(10**9, 9) == ([], recorder.changed)


def test_a_request_that_raises_is_remembered() -> None:
    """As the 500 that the sender gets."""
    recorder = Recorder()

    def receive(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        recorder.receiving(receive)(event())
    (arrival,) = recorder.newest()
    assert (arrival.status, arrival.ended) == (500, None)


def test_requests_to_linkrunner_are_found_by_their_event() -> None:
    """Those that failed, too."""
    recorder, error = Recorder(), Unavailable("503", reason=Reason.UNAVAILABLE)
    told = LinkrunnerEvent("purchase_completed", {}, "user_1", "body", "id_1")

    def capture(_: object) -> None:
        raise error

    with pytest.raises(Unavailable):
        recorder.watched(capture)(told)
    recorder.watched(lambda _: None)(told)
    ids = frozenset({id_of(told.path, told.body())})
    key = ("stripe", "invoice.paid", "evt_1")
    assert [bool(each.error) for each in recorder.attempts(key, {}, ids)] == [True, False]
    assert recorder.attempts(key, {}, frozenset()) == []
