"""What a run has left behind, as the judge reads it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.chaos.facts import Fact
from tests.chaos.journal import Entry
from tests.chaos.judge import Capture, History
from tests.chaos.unreliable import Treated

from linkrunner_webhooks.queues import untyped
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.embedded_linkrunner import REMOVAL_PATH


def history(
    facts: Sequence[Fact],
    treated: Sequence[Treated],
    written: Sequence[Entry],
    dead: Iterable[str],
    parked: Sequence[tuple[str, str]],
    *,
    payments: bool = False,
) -> History:
    """From Linkrunner's memory, the workers' journal and the dead-letter queue."""
    said = [each for each in of(written, "settled") if each["outcome"] == "captured"]
    sent = {each["attempt"]: each["at"] for each in of(written, "sent")}
    unrecorded = [each for each in said if each["reason"] == "unrecorded"]
    return History(
        facts=facts,
        captures=[_capture(each, sent) for each in treated if _is_capture(each)],
        answered=_attempts(written, "answered"),
        unanswered=_attempts(written, "unanswered"),
        noted=_attempts(written, "noted"),
        said=frozenset((each["worker"], each["event_id"]) for each in said),
        unrecorded=frozenset(each["event_id"] for each in unrecorded),
        dead=frozenset(dead),
        parked=parked,
        payments=payments,
    )


def _is_capture(treated: Treated) -> bool:
    return treated.arrival.captured and treated.arrival.path != REMOVAL_PATH


def of(written: Sequence[Entry], what: str) -> Iterator[Entry]:
    """The entries of one sort."""
    return (each for each in written if each["what"] == what)


def parked(stack: EmbeddedStack) -> Iterator[tuple[str, str]]:
    """Key and reason of every message in the dead-letter queue; those without a reason crashed."""
    sqs, url = stack.aws.client("sqs"), stack.outputs["DeadLetterQueueUrl"]
    while messages := sqs.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        VisibilityTimeout=600,
        MessageAttributeNames=["All"],
    ).get("Messages"):
        for message in messages:
            told = untyped(message.get("MessageAttributes", {}))
            yield told.get("event_id") or message["Body"], told.get("reason", "crashed")


def busiest(moments: Sequence[float]) -> int:
    """The largest number of requests in any one second."""
    ordered = sorted(moments)
    within = (
        bisect_right(ordered, moment + 1.0 - 1e-6) - place for place, moment in enumerate(ordered)
    )
    return max(within, default=0)


def counted(names: Iterable[str]) -> dict[str, int]:
    """How often each name comes."""
    return dict(sorted(Counter(names).items()))


def status(status: int | None) -> str:
    """A status in words."""
    return "no answer" if status is None else str(status)


def _attempts(written: Sequence[Entry], what: str) -> frozenset[str]:
    return frozenset(each["attempt"] for each in of(written, what))


def _capture(treated: Treated, sent: Mapping[str, float]) -> Capture:
    arrival = treated.arrival
    return Capture(sent[treated.attempt], treated.attempt, arrival.body, arrival.status)
