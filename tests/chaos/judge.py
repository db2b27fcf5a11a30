"""From what happened and what was seen to a verdict: what was lost, doubled, wrong or parked in error.

Knows nothing of the system it judges. A second capture of a fact is excused only by evidence about the first:
nobody was told that Linkrunner took it, or whoever was told died before saying so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.amounts import moved
from tests.chaos.facts import Fact

UNEXPLAINED = "UNEXPLAINED"
ANSWER_LOST = "answer lost by Linkrunner or on the way"
DYING = "a worker died holding the answer"
NOT_NOTED = "the claims table refused the note four times"
# The worst first: what a fact with several surplus captures is called.
EXCUSES = (UNEXPLAINED, NOT_NOTED, DYING, ANSWER_LOST)


@dataclass(frozen=True, slots=True)
class Capture:
    """An event that Linkrunner took. `status` is what it answered; None when it answered nothing.

    `at` is when it was sent: a Linkrunner that gets no time itself takes what has waited in any order.
    """

    at: float
    attempt: str
    body: Mapping[str, Any]
    status: int | None = 201

    @property
    def is_payment(self) -> bool:
        """Whether it is a payment, which has no name."""
        return "payment_id" in self.body

    @property
    def amount(self) -> Any:
        return self.body["amount"] if self.is_payment else moved(self.data)

    @property
    def data(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self.body.get("event_data", {})
        return data

    @property
    def event_id(self) -> str:
        return str(self.data.get("provider_event_id", ""))

    @property
    def worker(self) -> str:
        return self.attempt.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All the evidence of a run.

    `answered` and `unanswered` hold the attempts whose answer reached the worker or did not, `noted` those
    that the claims table was told about, `said` which worker reported which event id as captured,
    `unrecorded` the event ids reported as captured without a note, `dead` the workers that died, `parked`
    the key and the reason of every message in the dead-letter queue. `payments` says that money received is
    told as payments.
    """

    facts: Sequence[Fact]
    captures: Sequence[Capture]
    answered: frozenset[str] = frozenset()
    unanswered: frozenset[str] = frozenset()
    noted: frozenset[str] = frozenset()
    said: frozenset[tuple[str, str]] = frozenset()
    unrecorded: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    parked: Sequence[tuple[str, str]] = ()
    payments: bool = False


@dataclass(slots=True)
class Verdict:
    """What the evidence says. Each list holds a sentence per case."""

    once: int = 0
    doubled: Counter[str] = field(default_factory=Counter)
    expected_parked: Counter[str] = field(default_factory=Counter)
    parked: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)

    @property
    def guilty(self) -> list[str]:
        """Everything that must not happen."""
        return [*self.lost, *self.unexplained, *self.wrong, *self.misplaced]


def judge(history: History) -> Verdict:
    """Look at every fact."""
    verdict = Verdict()
    owner: dict[str, list[Fact]] = defaultdict(list)
    for fact in history.facts:
        for key in fact.reports:
            owner[key].append(fact)
    captures = _by_fact(history.captures, owner, verdict)
    reasons = _reasons(history.parked, owner, verdict)
    for fact in history.facts:
        found = sorted(captures[fact.name], key=lambda each: each.at)
        verdict.wrong += [
            f"{fact.name}: {problem}" for each in found for problem in _problems(each, fact)
        ]
        if fact.expected == "captured":
            _judge_captured(fact, found, reasons, history, verdict)
        else:
            _judge_parked(fact, reasons, verdict)
    return verdict


def _by_fact(
    captures: Iterable[Capture], owner: Mapping[str, Sequence[Fact]], verdict: Verdict
) -> dict[str, list[Capture]]:
    found: dict[str, list[Capture]] = defaultdict(list)
    for capture in captures:
        facts = owner.get(capture.event_id, ())
        # One webhook can report several facts, each under its own name.
        named = [each for each in facts if _is_named(capture, each)]
        fact = next(iter((*named, *facts)), None)
        if fact is None:
            verdict.wrong.append(f"captured what never happened: {capture.body}")
        else:
            found[fact.name].append(capture)
    return found


def _is_named(capture: Capture, fact: Fact) -> bool:
    if capture.is_payment:
        return fact.is_payment
    return capture.body.get("event_name") in fact.event_names


def _reasons(
    parked: Iterable[tuple[str, str]], owner: Mapping[str, Sequence[Fact]], verdict: Verdict
) -> dict[str, set[str]]:
    """The reasons by key; a message that was parked twice is one message."""
    reasons: dict[str, set[str]] = defaultdict(set)
    for key, reason in set(parked):
        verdict.parked[reason] += 1
        reasons[key].add(reason)
        if key not in owner:
            verdict.misplaced.append(f"parked what nobody sent: {key[:60]!r} as {reason}")
    return reasons


def _problems(capture: Capture, fact: Fact) -> Iterator[str]:
    """What is wrong with what Linkrunner was told."""
    if fact.expected != "captured":
        yield f"captured, and should have been parked as {fact.expected}"
        return
    told = capture.data
    if _decimal(capture.amount) != fact.amount:
        yield f"amount {capture.amount!r} instead of {fact.amount}"
    if told.get("currency") != fact.currency:
        yield f"currency {told.get('currency')!r} instead of {fact.currency!r}"
    if capture.body.get("user_id") != fact.user:
        yield f"user {capture.body.get('user_id')!r} instead of {fact.user!r}"
    if not _is_named(capture, fact):
        yield f"event {capture.body.get('event_name')!r} instead of {sorted(fact.event_names)}"


def _decimal(number: object) -> Decimal | None:
    return Decimal(str(number)) if isinstance(number, int | float) else None


def _judge_captured(
    fact: Fact,
    found: Sequence[Capture],
    reasons: Mapping[str, set[str]],
    history: History,
    verdict: Verdict,
) -> None:
    parked = sorted({reason for key in fact.reports for reason in reasons.get(key, ())})
    if parked:
        verdict.misplaced.append(f"{fact.name}: parked as {', '.join(parked)}")
    # Where payments are told, one that went back before it was captured is not told any more.
    gone = fact.returned and history.payments
    if not found and not parked and not gone:
        verdict.lost.append(f"{fact.name}: neither captured nor parked")
    if len(found) == 1:
        verdict.once += 1
    if len(found) > 1:
        excuse = min((_excuse(each, fact, history) for each in found[:-1]), key=EXCUSES.index)
        if history.payments and fact.is_payment:
            # The same payment again is no second one, whatever was lost.
            excuse = UNEXPLAINED
        verdict.doubled[excuse] += 1
        if excuse == UNEXPLAINED:
            attempts = ", ".join(f"{each.attempt} at {each.at:.3f}" for each in found)
            verdict.unexplained.append(f"{fact.name}: captured {len(found)} times ({attempts})")


def _excuse(capture: Capture, fact: Fact, history: History) -> str:
    """Why the fact could be captured again after this capture."""
    attempt, worker = capture.attempt, capture.worker
    if attempt in history.noted:
        return UNEXPLAINED
    if capture.status is None or capture.status >= 300 or attempt in history.unanswered:
        return ANSWER_LOST
    if attempt in history.answered and history.unrecorded.intersection(fact.reports):
        return NOT_NOTED
    said = (worker, capture.event_id) in history.said
    return DYING if worker in history.dead and not said else UNEXPLAINED


def _judge_parked(fact: Fact, reasons: Mapping[str, set[str]], verdict: Verdict) -> None:
    for key in fact.reports:
        verdict.expected_parked[fact.expected] += 1
        found = reasons.get(key, set())
        if not found:
            verdict.lost.append(f"{fact.name}: a report of it is gone, instead of {fact.expected}")
        elif found != {fact.expected}:
            named = ", ".join(sorted(found))
            verdict.misplaced.append(f"{fact.name}: parked as {named}, not {fact.expected}")
