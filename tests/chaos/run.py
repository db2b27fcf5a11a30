"""One chaos run: start everything, let it go wrong, let it heal, collect the evidence."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Literal

from tests.chaos.crew import Crew
from tests.chaos.evidence import busiest, counted, history, of, parked, status
from tests.chaos.facts import CONFIGURATION, Plan
from tests.chaos.faults import Dice
from tests.chaos.journal import Entry, Journal, entries
from tests.chaos.judge import Verdict, judge
from tests.chaos.planner import plan
from tests.chaos.sender import Edge, Senders, secrets
from tests.chaos.unreliable import Unreliable
from tests.chaos.worker import Orders
from tests.embedded import embedded_stack

from linkrunner_webhooks.dead_letters import DeadLetters
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks_local.cloudformation import EmbeddedStack

# Seconds a message stays invisible: less than a batch can take, so that it comes back while still in hand.
VISIBILITY = 3
# Share of the faulty time in which webhooks are sent.
_SENDING = 0.8
# Seconds between two kills, at least and at most.
_KILLS = (1.0, 4.0)
# Seconds after the last message is gone, in which a late double would show.
_LINGER = 1.0
_TICK = 0.1

Show = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run. `patience` is how many seconds it may take to drain after everything has healed."""

    events: int = 400
    seconds: float = 60.0
    seed: int = 1
    workers: int = 3
    patience: float = 60.0
    revenue: Literal["event", "payment"] = "event"

    @property
    def payments(self) -> bool:
        return self.revenue == "payment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A run's verdict, and what went on."""

    options: Options
    plan: Plan
    verdict: Verdict
    troubles: Sequence[str]
    sends: Mapping[str, int]
    faults: Mapping[str, int]
    answers: Mapping[str, int]
    outcomes: Mapping[str, int]
    kills: int
    deaths: int
    limit: float
    busiest: int
    longest_claim: float
    redriven: int
    drained: float | None
    duration: float

    @property
    def passed(self) -> bool:
        return not (self.verdict.guilty or self.troubles)


@dataclass
class _Run:
    """The parts of a run while it goes on."""

    options: Options
    show: Show
    folder: Path
    plan: Plan
    linkrunner: Unreliable
    stack: EmbeddedStack
    journal: Journal
    until: float
    crew: Crew
    senders: Senders
    dice: random.Random
    redriven: int = 0
    started: float = field(default_factory=time.monotonic)

    def go_wrong(self) -> None:
        """Everything fails, and the key is changed at Linkrunner, then wrongly here, then rightly."""
        seconds = self.options.seconds
        begun = self.until - seconds
        secret = partial(_put_key, self.stack)
        steps: list[tuple[float, Callable[[], object]]] = [
            (0.35, lambda: setattr(self.linkrunner, "key", "rotated_key")),
            (0.40, lambda: secret("wrong_key")),
            (0.45, lambda: secret("rotated_key")),
        ]
        next_kill = begun + self.dice.uniform(*_KILLS)
        while (now := time.time()) < self.until:
            while steps and now >= begun + steps[0][0] * seconds:
                steps.pop(0)[1]()
            if now >= next_kill:
                self.crew.kill_one(self.dice)
                next_kill = now + self.dice.uniform(*_KILLS)
            self.tick("failing")

    def heal(self) -> float | None:
        """Nothing fails any more: the seconds until the queue is empty, or None at the deadline."""
        self.linkrunner.be_well()
        healed = time.monotonic()
        while time.monotonic() - healed < self.options.patience:
            if self.senders.done and self._empty() and not self._redriven():
                seconds = time.monotonic() - healed
                time.sleep(_LINGER)
                return seconds
            self.tick("healing")
        return None

    def _redriven(self) -> int:
        """What Linkrunner was asked about and never answered is a person's decision: send it again."""
        outputs = self.stack.outputs
        queues = outputs["DeadLetterQueueUrl"], outputs["WebhookQueueUrl"]
        letters = DeadLetters(self.stack.aws.client("sqs"), *queues)
        with letters.reading() as reading:
            uncertain = [each for each in reading if each.reason == Reason.UNCERTAIN]
            for letter in uncertain:
                letters.redrive(letter)
        self.redriven += len(uncertain)
        return len(uncertain)

    def tick(self, phase: str) -> None:
        """A tenth of a second of supervision."""
        self.crew.tend()
        if self.senders.failures:
            raise self.senders.failures[0]
        self.show(phase, self._captured, self._expected)
        time.sleep(_TICK)

    @property
    def _captured(self) -> int:
        taken = self.linkrunner.events
        told = [each.event_data for each in taken]
        told += [each["event_data"] for each in self.linkrunner.book.payments.values()]
        return len({each.get("provider_event_id") for each in told})

    @property
    def _expected(self) -> int:
        return sum(fact.expected == "captured" for fact in self.plan.facts)

    def _empty(self) -> bool:
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        counts = self.stack.aws.client("sqs").get_queue_attributes(
            QueueUrl=self.stack.outputs["WebhookQueueUrl"], AttributeNames=names
        )["Attributes"]
        return not any(int(counts[name]) for name in names)


def quietly(phase: str, done: int, total: int) -> None:
    """Show nothing."""


def chaos(options: Options, show: Show = quietly) -> Result:
    """A whole run; `show` is told how far it is."""
    started = time.monotonic()
    with ExitStack() as running:
        run = _started(options, show, running)
        with run.senders.running(), run.crew.working():
            run.go_wrong()
            drained = run.heal()
        return _result(run, drained, time.monotonic() - started)


def _started(options: Options, show: Show, running: ExitStack) -> _Run:
    folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
    toml = folder / "webhooks.toml"
    toml.write_text(f'[linkrunner]\nrevenue = "{options.revenue}"\n{CONFIGURATION}')
    planned = plan(options.seed, options.events)
    linkrunner = running.enter_context(Unreliable())
    stack = running.enter_context(embedded_stack(linkrunner.url))
    _prepare(stack, linkrunner.key)
    journal = Journal(folder / "journal")
    running.callback(journal.close)
    until = time.time() + options.seconds
    edge = Edge(
        stack.aws,
        stack.environment("ReceiveFunction"),
        toml,
        Dice(f"receive {options.seed}", until, journal),
    )
    senders = Senders(edge, random.Random(f"senders {options.seed}"))
    senders.schedule(planned.sendings, time.time(), options.seconds * _SENDING)
    linkrunner.misbehave(options.seed)
    return _Run(
        options=options,
        show=show,
        folder=folder,
        plan=planned,
        linkrunner=linkrunner,
        stack=stack,
        journal=journal,
        until=until,
        crew=Crew(options.workers, _orders(options, stack, folder, until), folder / "log"),
        senders=senders,
        dice=random.Random(f"kills {options.seed}"),
    )


def _prepare(stack: EmbeddedStack, key: str) -> None:
    stack.aws.client("sqs").set_queue_attributes(
        QueueUrl=stack.outputs["WebhookQueueUrl"],
        Attributes={"VisibilityTimeout": str(VISIBILITY)},
    )
    _put_key(stack, key)
    stack.aws.client("secretsmanager").put_secret_value(
        SecretId=stack.outputs["WebhookSecretsArn"], SecretString=json.dumps(secrets())
    )


def _put_key(stack: EmbeddedStack, key: str) -> None:
    stack.aws.client("secretsmanager").put_secret_value(
        SecretId=stack.outputs["LinkrunnerKeySecretArn"], SecretString=key
    )


def _orders(options: Options, stack: EmbeddedStack, folder: Path, until: float) -> Orders:
    return Orders(
        name="",
        seed=options.seed,
        until=until,
        workers=options.workers,
        endpoint_url=stack.aws.endpoint_url,
        environment=stack.environment("DeliverFunction"),
        queue_arn=stack.queue_source("DeliverFunction").queue_arn,
        journal=str(folder / "journal"),
        webhooks_toml=str(folder / "webhooks.toml"),
    )


def _result(run: _Run, drained: float | None, duration: float) -> Result:
    written = list(entries(run.folder / "journal"))
    treated = list(run.linkrunner.history)
    found, paid = list(parked(run.stack)), run.options.payments
    evidence = history(run.plan.facts, treated, written, run.crew.dead, found, payments=paid)
    return Result(
        options=run.options,
        plan=run.plan,
        verdict=judge(evidence),
        troubles=list(_troubles(run, written, drained)),
        sends={status(each): count for each, count in run.senders.answers.items()},
        faults=counted(f"{each['where']}: {each['kind']}" for each in of(written, "fault")),
        answers=counted(status(each.arrival.status) for each in treated),
        outcomes=counted(f"{each['outcome']}: {each['reason']}" for each in of(written, "settled")),
        kills=run.crew.kills,
        deaths=len(run.crew.dead),
        limit=float(run.stack.environment("DeliverFunction")["REQUESTS_PER_SECOND"]),
        busiest=busiest([each["at"] for each in of(written, "sent")]),
        redriven=run.redriven,
        longest_claim=max((each["held"] for each in written if "held" in each), default=0.0),
        drained=drained,
        duration=duration,
    )


def _owed(plan: Plan) -> dict[str, Decimal]:
    """What is left of all payments in the end, by currency."""
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for fact in plan.facts:
        if fact.expected == "captured" and fact.is_payment and not fact.returned:
            assert fact.amount is not None
            totals[fact.currency] += fact.amount
    return dict(totals)


def _troubles(run: _Run, written: Sequence[Entry], drained: float | None) -> Iterator[str]:
    """What else must not happen."""
    if drained is None:
        yield f"the queue was not empty {run.options.patience:.0f} s after everything had healed"
    for name, code in run.crew.crashes.items():
        last = (run.folder / "log").read_text().strip().splitlines()[-1:]
        yield f"worker {name} ended with {code}: {''.join(last)}"
    if run.options.payments and run.linkrunner.book.totals() != (owed := _owed(run.plan)):
        yield f"Linkrunner holds {run.linkrunner.book.totals()} instead of {owed}"
    yield from run.senders.rejected
    yield from (f"the function raised {each['error']}" for each in of(written, "raised"))
    for each in of(written, "settled"):
        if each["reason"] == "internal":
            yield f"{each['event_id']} met a mistake of ours: {each['detail']}"
