"""Real parts that fail and die all the while lose nothing, and the judge who says so is not blind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.evidence import busiest
from tests.chaos.facts import Fact
from tests.chaos.judge import (
    ANSWER_LOST,
    DYING,
    NOT_NOTED,
    UNEXPLAINED,
    Capture,
    History,
    Verdict,
    judge,
)
from tests.chaos.planner import plan
from tests.chaos.report import as_json, rows
from tests.chaos.run import Options, Result, chaos
from tests.embedded import eventually

from linkrunner_webhooks_local.project import ROOT

SOLD = Fact("sale", ("evt_1", "evt_2"), "captured", Decimal("19.99"), "USD", "user_1")
NOBODY = Fact("sale of nobody", ("evt_3", "evt_4"), "missing_user")
REASONS = {"missing_user", "untranslatable", "refused", "unreadable", "unroutable"}
PARKED = (("evt_3", "missing_user"), ("evt_4", "missing_user"))


# ------------------------------------------------------------------------- the run


def test_a_short_run_loses_and_doubles_nothing() -> None:
    """One test, because its assertions share one run: nothing lost, doubled, wrong or parked in error."""
    result = chaos(Options(events=40, seconds=5, seed=20, workers=3, patience=150))
    verdict = result.verdict
    assert verdict.lost == []
    assert verdict.unexplained == []
    assert verdict.wrong == []
    assert verdict.misplaced == []
    assert result.troubles == []
    captured = verdict.once + sum(verdict.doubled.values())
    assert captured == sum(fact.expected == "captured" for fact in result.plan.facts)
    assert verdict.parked == verdict.expected_parked
    assert set(verdict.parked) == REASONS
    require_bad_weather(result)
    require_report(result)


def test_payments_count_once_whatever_is_lost() -> None:
    """Linkrunner holds exactly what is left of every payment, and none of them was captured twice."""
    options = Options(events=16, seconds=3, seed=11, workers=3, patience=150, revenue="payment")
    result = chaos(options)
    # What is still in the queue at the deadline is neither captured nor parked: say so first.
    assert result.troubles == []
    assert result.verdict.guilty == []
    assert result.passed


def require_bad_weather(result: Result) -> None:
    """A run in which nothing goes wrong proves nothing; how much does depends on the machine."""
    assert result.deaths + sum(result.faults.values()) > 0
    assert len(result.answers) > 1


def require_report(result: Result) -> None:
    """It says the same to people and to scripts."""
    told, table = as_json(result), dict(rows(result))
    assert (told["passed"], told["lost"], told["facts"]) == (True, [], len(result.plan.facts))
    assert table["lost"] == "0 (must be 0)"
    assert table["captured once"] == str(told["captured_once"])


def test_a_seed_is_a_plan() -> None:
    """The same facts and copies for the same seed, others for another."""
    assert plan(3, 50) == plan(3, 50)
    assert plan(3, 50) != plan(4, 50)
    # A webhook can report several facts.
    reported = {fact.reports for fact in plan(3, 50).facts}
    keys = [key for reports in reported for key in reports]
    assert len(keys) == len(set(keys))
    assert {each.key for each in plan(3, 50).sendings} == set(keys)


# ------------------------------------------------------------------------- the command


def test_an_interrupted_run_leaves_nobody_behind(tmp_path: Path) -> None:
    """Ctrl-C takes the workers and the embedded AWS along."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--events", "30", "--seconds", "60"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        try:
            # Three workers and the embedded AWS.
            found = eventually(
                lambda: (pids := children(process.pid)) and len(pids) > 3 and pids, 60
            )
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
    # Whoever was just being started finds out by itself.
    eventually(lambda: not set(found or ()) & {pid for pid, _ in processes()}, 60)
    assert list(tmp_path.iterdir()) == []


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    return [pid for pid, started_by in processes() if started_by == parent]


def processes() -> Iterator[tuple[int, int]]:
    """Every living process with its parent."""
    command = ["/usr/bin/env", "ps", "-A", "-o", "pid=,ppid=,stat="]
    for line in subprocess.check_output(command, text=True).splitlines():
        pid, parent, state = line.split()[:3]
        if not state.startswith("Z"):
            yield int(pid), int(parent)


# ------------------------------------------------------------------------- the judge


def capture(attempt: str = "w1:1", at: float = 1.0, **changes: Any) -> Capture:
    """SOLD as Linkrunner should be told."""
    data = {"provider_event_id": "evt_1", "amount": 19.99, "currency": "USD"}
    body = {"event_name": "purchase_completed", "user_id": "user_1"}
    told = body | {key: value for key, value in changes.items() if key in body}
    told_data = data | {key: value for key, value in changes.items() if key in data}
    return Capture(at, attempt, {**told, "event_data": told_data}, changes.get("status", 201))


def innocent() -> History:
    """One sale captured and noted, one parked."""
    return History(
        facts=(SOLD, NOBODY),
        captures=[capture()],
        answered=frozenset({"w1:1"}),
        noted=frozenset({"w1:1"}),
        said=frozenset({("w1", "evt_1")}),
        parked=PARKED,
    )


def twice(**evidence: Any) -> Verdict:
    """SOLD captured by one worker and then by another, with this evidence about the first time."""
    captures = [capture("w2:1", at=2.0), capture("w1:1", at=1.0)]
    return judge(History(facts=(SOLD,), captures=captures, **evidence))


def test_the_innocent_go_free() -> None:
    """Nothing to say about a day on which all went well."""
    verdict = judge(innocent())
    assert verdict.guilty == []
    assert (verdict.once, verdict.doubled) == (1, Counter())


def test_a_message_parked_twice_is_one_message() -> None:
    """Its copy may go twice: queues deliver at least once."""
    assert judge(replace(innocent(), parked=PARKED * 2)).parked == {"missing_user": 2}


def test_a_loss_is_seen() -> None:
    """A sale that is nowhere."""
    verdict = judge(replace(innocent(), captures=[]))
    assert verdict.lost == ["sale: neither captured nor parked"]


def test_the_loss_of_one_report_is_seen() -> None:
    """Every report of what has to be parked has to be there: a person decides about each."""
    verdict = judge(replace(innocent(), parked=PARKED[:1]))
    assert verdict.lost == ["sale of nobody: a report of it is gone, instead of missing_user"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"amount": 1999}, "sale: amount 1999 instead of 19.99"),
        ({"amount": None}, "sale: amount None instead of 19.99"),
        ({"currency": "EUR"}, "sale: currency 'EUR' instead of 'USD'"),
        ({"user_id": "user_2"}, "sale: user 'user_2' instead of 'user_1'"),
        (
            {"event_name": "purchase"},
            "sale: event 'purchase' instead of ['purchase_completed']",
        ),
        (
            {"provider_event_id": "evt_3"},
            "sale of nobody: captured, and should have been parked as missing_user",
        ),
    ],
)
def test_a_wrong_word_is_seen(change: dict[str, Any], problem: str) -> None:
    """Whatever of a capture is not as it should be."""
    assert problem in judge(replace(innocent(), captures=[capture(**change)])).wrong


def test_an_invention_is_seen() -> None:
    """Captured or parked, and nothing like it ever happened."""
    stranger = capture(provider_event_id="evt_9")
    verdict = judge(
        replace(innocent(), captures=[capture(), stranger], parked=[*PARKED, ("evt_9", "refused")])
    )
    assert verdict.wrong[0].startswith("captured what never happened")
    assert verdict.misplaced == ["parked what nobody sent: 'evt_9' as refused"]


def test_parking_in_error_is_seen() -> None:
    """A sale that should have been captured, and a reason that is not the right one."""
    parked = [("evt_1", "exhausted"), ("evt_3", "crashed"), PARKED[1]]
    assert judge(replace(innocent(), parked=parked)).misplaced == [
        "sale: parked as exhausted",
        "sale of nobody: parked as crashed, not missing_user",
    ]


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"answered": frozenset({"w1:1"})},
        # The second worker's death, lost answer or missing note excuses nothing.
        {"answered": frozenset({"w1:1", "w2:1"}), "dead": frozenset({"w2"})},
        {"answered": frozenset({"w1:1"}), "unanswered": frozenset({"w2:1"})},
        # Once it was noted, nothing excuses it any more.
        {
            "answered": frozenset({"w1:1"}),
            "noted": frozenset({"w1:1"}),
            "dead": frozenset({"w1"}),
            "unrecorded": frozenset({"evt_1"}),
        },
        # It died, but only after it had settled this.
        {
            "answered": frozenset({"w1:1"}),
            "said": frozenset({("w1", "evt_1")}),
            "dead": frozenset({"w1"}),
        },
    ],
)
def test_a_double_without_an_excuse_is_seen(evidence: dict[str, Any]) -> None:
    """The first capture was known to be one, or nothing says why it was not."""
    verdict = twice(**evidence)
    assert verdict.doubled == {UNEXPLAINED: 1}
    assert verdict.unexplained == ["sale: captured 2 times (w1:1 at 1.000, w2:1 at 2.000)"]


@pytest.mark.parametrize(
    ("evidence", "excuse"),
    [
        ({"unanswered": frozenset({"w1:1"})}, ANSWER_LOST),
        ({"dead": frozenset({"w1"})}, DYING),
        ({"answered": frozenset({"w1:1"}), "dead": frozenset({"w1"})}, DYING),
        ({"answered": frozenset({"w1:1"}), "unrecorded": frozenset({"evt_1"})}, NOT_NOTED),
    ],
)
def test_an_excuse_is_heard(evidence: dict[str, Any], excuse: str) -> None:
    """Nobody could know that it had been captured."""
    verdict = twice(**evidence)
    assert (verdict.doubled, verdict.guilty) == ({excuse: 1}, [])


def test_no_excuse_is_heard_for_a_payment() -> None:
    """Where a repetition is no second payment, a lost answer explains nothing."""
    body = {"payment_id": "p", "amount": 25.99, "user_id": "user_1"}
    data = {"event_data": {"currency": "USD", "provider_event_id": "evt_1"}}
    fact = Fact("f", ("evt_1",), amount=Decimal("25.99"), currency="USD", user="user_1")
    twice = [Capture(at, f"w1:{at}", body | data, None) for at in (1.0, 2.0)]
    verdict = judge(History(facts=[fact], captures=twice, payments=True))
    assert (len(verdict.unexplained), verdict.wrong) == (1, [])
    assert judge(History(facts=[fact], captures=twice)).unexplained == []


def test_a_lie_of_linkrunner_is_an_excuse() -> None:
    """It took the event and answered that it did not."""
    captures = [capture("w1:1", status=500), capture("w2:1", at=2.0)]
    evidence = frozenset({"w1:1"})
    verdict = judge(History(facts=(SOLD,), captures=captures, answered=evidence))
    assert verdict.doubled == {ANSWER_LOST: 1}


def test_the_worst_of_several_excuses_counts() -> None:
    """Three times: one answer was lost, and the second time has no excuse."""
    captures = [capture("w1:1"), capture("w2:1", at=2.0), capture("w3:1", at=3.0)]
    evidence = History(facts=(SOLD,), captures=captures, unanswered=frozenset({"w1:1"}))
    assert judge(evidence).doubled == {UNEXPLAINED: 1}


def test_the_busiest_second_begins_anywhere() -> None:
    """The busiest second is found wherever it begins."""
    assert busiest([]) == 0
    assert busiest([0.0, 0.6, 0.7, 1.5, 1.55, 1.65]) == 4
