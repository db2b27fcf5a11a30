"""What an operator can ask: what became of it, how much was reported, and to forget somebody."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from tests.amounts import moved
from tests.embedded import empty, eventually, published
from tests.messages import TABLES, another, checkout
from tests.simulation.clock import HOUR, NOW
from tests.simulation.cloud import Cloud, simulated
from tests.simulation.table import FakeTable
from tests.simulation.worker import Worker, eight_in_hand
from tests.test_outage import EVERYTHING, SALES, Chaos, arrive, traffic

from linkrunner_webhooks import dead_letters
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.model import Flow, Kind, Outcome
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.past import Capture, Past
from linkrunner_webhooks.queues import typed
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_cli import known_users, tail, trace
from linkrunner_webhooks_cli.logs import Logs
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.periods import moment
from linkrunner_webhooks_cli.records import Fact, Records, days_since, fact_keys
from linkrunner_webhooks_cli.report import Summary
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_cli.user_paths import masked
from linkrunner_webhooks_local import state
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.embedded_linkrunner import Answer, EmbeddedLinkrunner
from linkrunner_webhooks_local.journal import Journal

SOURCES = Config(TABLES).sources()
TODAY = datetime.now(UTC)


# ------------------------------------------------------------------------- a ledger with something in it


@pytest.fixture
def stack(stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EmbeddedStack:
    """The embedded stack, empty, as the local one that commands find."""
    empty(stack)
    local = published(stack, outcomes=str(tmp_path / "outcomes.jsonl"))
    monkeypatch.setattr(state, "read", lambda: local)
    # The embedded queue has one server.
    monkeypatch.setattr(dead_letters, "PATIENCE", 0)
    return stack


def ledger(stack: EmbeddedStack) -> Ledger:
    """Its ledger, as deliver writes it."""
    table = stack.environment("DeliverFunction")["LEDGER_TABLE"]
    return Ledger(stack.aws.client("dynamodb"), table)


def capture(stack: EmbeddedStack, number: int = 1, **sent: str) -> None:
    """A captured purchase of 25.99 dollars."""
    told = {
        "source": "stripe",
        "kind": "purchase_completed",
        "event_name": "purchase_completed",
        "amount": "25.99",
        "currency": "USD",
        "order_id": f"order-{number}",
        "event_id": f"evt_{number}",
        "event_type": "checkout.session.completed",
        "user_from": "body",
        "user_path": "client_reference_id",
    } | sent
    keys = [f"stripe|payment|pi_{number}", f"stripe|payment|in_{number}"]
    ledger(stack).facts.complete(keys, told.pop("user_id", "user_42"), uuid4().hex, (), told)


def park(stack: EmbeddedStack, number: int = 1, user: str | None = "user_42") -> None:
    """A purchase of 25.99 dollars in the dead-letter queue."""
    _send(stack, "DeadLetterQueueUrl", number, user, reason="refused", error="Linkrunner said no")


def _send(stack: EmbeddedStack, queue: str, number: int, user: str | None, **story: str) -> None:
    message = another(number, client_reference_id=user)
    stack.aws.client("sqs").send_message(
        QueueUrl=stack.outputs[queue],
        MessageBody=message.text,
        MessageAttributes=typed({**message.attributes, **story}),
    )


def run(*arguments: str) -> Result:
    """The command."""
    return CliRunner().invoke(main, arguments)


def steps(*arguments: str) -> list[dict[str, Any]]:
    """What trace says."""
    result = run("trace", *arguments, "--json")
    found: list[dict[str, Any]] = json.loads(result.stdout)["steps"]
    assert result.exit_code == (0 if found else 1), result.output
    return found


# ------------------------------------------------------------------------- trace


@pytest.mark.parametrize(
    "id", ["pi_1", "in_1", "order-1", "evt_1", "user_42", "stripe|payment|pi_1"]
)
def test_a_fact_is_found_by_each_of_its_ids(stack: EmbeddedStack, id: str) -> None:
    """A payment, the invoice that it paid, the order, the event, the user, and the key itself."""
    capture(stack)
    capture(stack, 2, user_id="user_4", order_id="order-11")
    (step,) = steps(id)
    assert step["outcome"] == "captured"
    assert step["what"] == "purchase_completed 25.99 USD for user_42"
    assert step["more"]["user named by"] == "client_reference_id"
    assert step["more"]["order"] == "order-1"


def test_a_story_is_told_in_order(stack: EmbeddedStack) -> None:
    """What was captured, what is parked, and what next."""
    capture(stack)
    park(stack, 7)
    told = steps("user_42")
    assert [step["outcome"] for step in told] == ["captured", "parked"]
    assert "refused: Linkrunner said no" in told[1]["what"]
    assert "fix the mapping" in told[1]["more"]["next:"]
    text = run("trace", "pi_7").stdout
    assert "parked    refused: Linkrunner said no" in text


def test_what_is_tried_and_not_captured_is_told(stack: EmbeddedStack) -> None:
    """A fact in doubt says so: how often it was asked for without an answer."""
    facts = ledger(stack).facts
    facts.keep(facts.claim(["stripe|payment|pi_9"], "one"), 900)
    (step,) = steps("pi_9")
    assert step["outcome"] == "retrying"
    assert step["more"]["requests without an answer"] == "1"


def test_whose_an_id_is_is_told(stack: EmbeddedStack) -> None:
    """A link, and that it was another user's before."""
    links = ledger(stack).links
    links.learn("@person|stripe|customer|cus_1", "user_1", 1_795_000_000)
    links.learn("@person|stripe|customer|cus_1", "user_2", 1_795_000_001)
    (step,) = steps("cus_1")
    assert step["what"] == "the customer cus_1 of stripe is user_2's"
    assert step["more"]["was another's"] == "1 times"


def test_an_unknown_id_says_where_it_was_looked_for(stack: EmbeddedStack) -> None:
    """And what can be the case then."""
    result = run("trace", "pi_404")
    assert result.exit_code == 1
    assert "Nothing is known of pi_404" in result.stderr
    assert "--since 400d" in result.stderr


def test_a_trace_scans_nothing() -> None:
    """A million facts cost no more reads than ten: by keys in batches, and by the days of the period."""
    table = FakeTable()
    asked = fact_keys("pi_1", SOURCES)
    assert len(asked) == len(set(asked)) < 1000
    assert Records(table, "ledger").at(asked) == {}
    assert not hasattr(table, "scan")


def test_ids_are_read_as_people_have_them(stack: EmbeddedStack) -> None:
    """A GraphQL id leads where its number does; none at all is wrong usage; equal steps are both told."""
    capture(stack)
    capture(stack, 3, order_id="order-1")
    assert len(steps("gid://shopify/Order/order-1")) == 2
    for command in ("trace", "forget"):
        result = run(command, " ")
        assert result.exit_code == 2
        assert "the id is empty" in result.output
    assert "has no logs" in run("trace", "pi_1", "--logs").output


class FakeLogs:
    """CloudWatch Logs with a few lines; it is not ready at once."""

    def __init__(self, lines: list[Any]) -> None:
        self.lines = lines
        # Unix milliseconds at which all of it is logged.
        self.at = int(time.time() * 1000)
        self.asked: dict[str, Any] = {}
        self.answers = iter(["Scheduled", "Running", "Complete"])

    def start_query(self, **asked: Any) -> dict[str, str]:
        self.asked = asked
        return {"queryId": "q"}

    def get_query_results(self, queryId: str) -> dict[str, Any]:  # noqa: N803
        assert queryId == "q"
        fields = [
            [{"field": name, "value": text} for name, text in line.items()] for line in self.lines
        ]
        return {"status": next(self.answers), "results": fields}

    def get_paginator(self, name: str) -> FakeLogs:
        assert name == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        self.asked = asked
        if self.at < asked["startTime"]:
            return [{"events": []}]
        return [
            {
                "events": [
                    {
                        "eventId": str(number),
                        "timestamp": self.at,
                        "message": line if isinstance(line, str) else json.dumps(line),
                    }
                    for number, line in enumerate(self.lines)
                ]
            }
        ]


def deployed(logs: FakeLogs) -> Stack:
    """A deployed stack with these logs."""
    groups = [{"ResourceType": "AWS::Logs::LogGroup", "PhysicalResourceId": "/aws/lambda/deliver"}]
    described = SimpleNamespace(describe_stack_resources=lambda **_: {"StackResources": groups})
    clients = {"logs": logs, "cloudformation": described}
    return Stack("shop", {}, {}, "", lambda service: clients[service])


def test_logs_are_asked_once_for_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """One query over both functions' logs; a quote in an id does not end it."""
    monkeypatch.setattr(trace, "_PAUSE", 0.0)
    line = {"@timestamp": "2026-11-30 08:00:00.000", "outcome": "parked", "stage": "deliver"}
    logs = FakeLogs([line | {"reason": "refused", "source": "stripe", "event_id": "evt_1"}])
    (step,) = trace._of_logs('evt"1', deployed(logs), TODAY)
    assert (step.at, step.outcome, step.what) == (
        "2026-11-30T08:00:00Z",
        "parked",
        "deliver refused",
    )
    assert logs.asked["logGroupNames"] == ["/aws/lambda/deliver"]
    assert 'like "evt\\"1"' in logs.asked["queryString"]


def test_a_trace_shows_users_as_it_is_told() -> None:
    """Those of other ids of the same person as well."""
    row = {"at": {"N": "1"}, "user_id": {"S": "user_42"}, "same": {"SS": ["a|shop|alias|user_77"]}}
    for shown, whose, same in ((str, "user_42's", "user_77"), (masked, "us…42's", "us…77")):
        step = trace._linked("a|shop|alias|anon_1", row, shown)
        assert step.what == f"the alias anon_1 of shop is {whose}"
        assert step.more["is one person with"] == same


def test_a_deployed_stack_is_watched_by_its_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line once, however often it is looked at again."""
    monkeypatch.setattr(tail, "_DEPLOYED", 0.0)
    logs = FakeLogs([{"outcome": "captured", "source": "stripe"}, {"outcome": "parked"}])
    lines = tail._deployed(deployed(logs), TODAY)
    assert [next(lines)["outcome"], next(lines)["outcome"]] == ["captured", "parked"]
    logs.lines.append({"outcome": "ignored"})
    at = utc(datetime.fromtimestamp(logs.at / 1000, UTC), "milliseconds")
    assert next(lines) == {"outcome": "ignored", "at": at}


def test_many_lines_are_told_once() -> None:
    """However many come within the time that is looked at again, and what is older is forgotten."""
    logs = FakeLogs([{"outcome": "captured"}] * 12_000)
    followed = Logs(deployed(logs), TODAY)
    assert [len(followed.news()) for _ in range(3)] == [12_000, 0, 0]
    logs.at -= 120_000
    assert followed.news() == []
    assert followed._seen != {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: TODAY.timestamp() + 900)
        assert followed.news() == []
    assert followed._seen == {}


ODD_LINES = (
    "no JSON",
    "[1]",
    "null",
    "9" * 5000,
    "[" * 100_000,
    json.dumps({"at": 7, "outcome": ["captured"], "event_names": 7, "stage": None, "source": {}}),
    json.dumps({"stage": "deliver", "outcome": "captured", "event_names": [{}], "event_id": []}),
)


def test_an_odd_line_is_told_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever somebody logs: with the time of the log, and what comes after it is told, too."""
    monkeypatch.setattr(tail, "_DEPLOYED", 0.0)
    lines = tail._deployed(deployed(FakeLogs([*ODD_LINES, {"outcome": "parked"}])), TODAY)
    told = [next(lines) for _ in range(len(ODD_LINES) + 1)]
    assert {datetime.fromisoformat(each["at"]).year for each in told} == {datetime.now(UTC).year}
    assert [each.get("detail") for each in told[:2]] == ["no JSON", "[1]"]
    assert told[-1]["outcome"] == "parked"
    assert all(tail._told(each) for each in told)


# ------------------------------------------------------------------------- report


def test_a_report_sums_exactly(stack: EmbeddedStack) -> None:
    """By any grouping, with what went back beside what came in, and never two currencies in one sum."""
    for number in range(3):
        capture(stack, number, amount="0.10")
    capture(stack, 3, currency="EUR", amount="19.99")
    capture(stack, 4, kind="purchase_refunded", event_name="gone", amount="0.05")
    capture(stack, 5, kind="order_fulfilled", event_name="order_fulfilled", amount="", currency="")
    told = json.loads(run("report", "--json").stdout)["captured"]
    assert [(row["currency"], row["events"], row["revenue"], row["refunded"]) for row in told] == [
        ("", 1, None, None),
        ("EUR", 1, "19.99", None),
        ("USD", 4, "0.30", "0.05"),
    ]
    lines = list(csv.DictReader(io.StringIO(run("report", "--by", "event,day", "--csv").stdout)))
    assert {line["event"] for line in lines} == {"purchase_completed", "gone", "order_fulfilled"}
    assert {line["day"] for line in lines} == {TODAY.date().isoformat()}
    assert "revenue" in run("report").stdout


def test_a_report_knows_the_rest(stack: EmbeddedStack) -> None:
    """Duplicates, what was ignored, what is parked by reason with its money, and what waits: it adds up."""
    ledger(stack).notes.tally("stripe", {"captured": 3, "duplicate": 2, "ignored_missing_user": 1})
    ledger(stack).notes.tally("stripe", {"captured": 1, "parked_refused": 2})
    park(stack, 7)
    park(stack, 7)
    _send(stack, "WebhookQueueUrl", 8, "user_42")
    told = json.loads(run("report", "--json").stdout)
    assert told["webhooks"] == {
        "received": 10,
        "captured": 4,
        "duplicates": 2,
        "ignored": {"missing_user": 1},
        "discarded": 0,
        "parked": {"refused": 2},
        "waiting": 1,
        "held": 0,
    }
    # Two reports of one payment are one.
    assert told["parked_money"] == [{"reason": "refused", "currency": "USD", "amount": "25.99"}]
    text = run("report").stdout
    assert "10 webhooks = 4 captured + 2 duplicates + 1 ignored (missing_user)" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--by", "colour"), 'there is no "colour"'),
        (("--since", "soon"), "takes a time"),
        (("--since", "2026-12-05", "--until", "2026-11-01"), "ends before it begins"),
        (("--csv", "--json"), "not both"),
    ],
)
def test_a_wrong_report_is_wrong_usage(
    stack: EmbeddedStack, arguments: tuple[str, ...], words: str
) -> None:
    """The message names what is valid."""
    result = run("report", *arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_days_are_those_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the shell is."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        context, parameter = cast("Any", None), cast("Any", None)
        since, until = (moment(context, parameter, f"2026-11-{day}") for day in ("01", "03"))
        assert since
        days = days_since(since, until)
        assert [day.isoformat() for day in days] == ["2026-11-03", "2026-11-02", "2026-11-01"]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_source_that_is_gone_is_still_reported(stack: EmbeddedStack) -> None:
    """Its table is not in webhooks.toml any more, and its money is in the ledger."""
    capture(stack, source="old_shop")
    ledger(stack).notes.tally("old_shop", {"captured": 1})
    told = json.loads(run("report", "--json").stdout)
    assert [row["source"] for row in told["captured"]] == ["old_shop"]


def sums_of(facts: Iterator[Fact]) -> dict[tuple[str, Flow], Decimal]:
    """The money by currency and flow."""
    found: dict[tuple[str, Flow], Decimal] = defaultdict(Decimal)
    for fact in facts:
        if fact.amount is not None and fact.flow:
            found[fact.currency, fact.flow] += fact.amount
    return dict(found)


def taken(cloud: Cloud) -> dict[tuple[str, Flow], Decimal]:
    """What Linkrunner was told, each fact once."""
    found: dict[tuple[str, Flow], Decimal] = defaultdict(Decimal)
    for each in {each.fact: each for each in cloud.linkrunner.captures}.values():
        data, kind = each.body["event_data"], Kind(each.body["event_name"])
        if kind.flow and (amount := moved(data)) is not None:
            found[data["currency"], kind.flow] += Decimal(str(amount))
    return dict(found)


@pytest.mark.parametrize("seed", range(3))
def test_the_sums_are_those_of_linkrunner(seed: int) -> None:
    """With random traffic, repeated and in disorder, over failing parts and dying workers."""
    dice, sent = Random(seed), traffic(300, EVERYTHING)
    with simulated(TABLES, seed) as cloud:
        copies = [each for each in sent.messages for _ in range(dice.choice((1, 1, 2)))]
        dice.shuffle(copies)
        arrive(cloud, copies, 2, dice)
        for each in sent.late:
            cloud.store(each, at=NOW + dice.uniform(5, 6) * HOUR)
        cloud.run(*eight_in_hand(cloud, trouble=Chaos(cloud, dice, NOW + 4 * HOUR)))
        records = Records(cloud.table, "ledger")
        begun = datetime.fromtimestamp(NOW, UTC)
        days = days_since(begun, begun + timedelta(days=3))
        names = [source.name for source in SOURCES]
        assert sums_of(records.on(names, days)) == taken(cloud)
        ends = records.tally(names, days)
        # Whoever dies before its tally is not counted, and neither is what then is done by another.
        assert 0 < ends["captured"] <= len(sent.facts) * 1.1


def test_every_end_is_counted_when_nothing_fails() -> None:
    """Received is captured, duplicates, ignored and parked."""
    sent = traffic(100, SALES)
    with simulated(TABLES) as cloud:
        cloud.store(*sent.messages, *sent.messages, checkout(mode="setup"))
        cloud.run(Worker(cloud))
        records = Records(cloud.table, "ledger")
        begun = datetime.fromtimestamp(NOW, UTC)
        ends = records.tally(["stripe", "shopify", "shopify_eu"], days_since(begun, begun))
        assert ends.total() == 2 * len(sent.messages) + 1
        assert ends["captured"] == len(sent.facts)
        assert ends["ignored_nothing_to_report"] == 1


def test_a_summary_has_no_rounding() -> None:
    """Amounts are added as they are."""
    summary = Summary(("currency",))
    fact = Fact("k", "stripe", "purchase_completed", "sold", "2026-11-30T00:00:00.000Z")
    for text in ("0.1", "0.2", "1e3"):
        summary.add(replace(fact, amount=Decimal(text), currency="KWD"))
    assert summary.rows()[0]["revenue"] == "1000.30"


# ------------------------------------------------------------------------- forget


def test_forgetting_erases_a_user(stack: EmbeddedStack) -> None:
    """From facts, links and both queues; the sum stays, the payment does not count again, and others stay."""
    capture(stack)
    capture(stack, 2, user_id="user_421")
    ledger(stack).links.learn("@person|stripe|customer|cus_1", "user_42", 1)
    park(stack, 7)
    park(stack, 8, user="user_421")
    _send(stack, "WebhookQueueUrl", 9, "user_42")
    # Somebody's text that is the same is not the user.
    _send(stack, "WebhookQueueUrl", 10, "user_4", note="user_42")
    planned = json.loads(run("forget", "user_42", "--dry-run", "--json").stdout)
    assert {name: planned[name] for name in ("facts", "links", "parked", "waiting")} == {
        "facts": 2, "links": 1, "parked": 1, "waiting": 1,
    }  # fmt: skip
    assert steps("user_42")
    done = json.loads(run("forget", "user_42", "--yes", "--json").stdout)
    assert done["dry_run"] is False
    assert (done["facts"], done["links"], done["parked"], done["waiting"]) == (2, 1, 1, 1)
    assert steps("user_42") == []
    assert len(steps("user_421")) == 2
    (step,) = steps("pi_1")
    assert "user_42" not in json.dumps(step)
    assert "order-1" not in json.dumps(step)
    told = json.loads(run("report", "--json").stdout)["captured"]
    assert told[0]["revenue"] == "51.98"
    claim = ledger(stack).facts.claim(["stripe|payment|in_1"], "again")
    assert claim.standing.value == "done"


def test_forgetting_finds_every_place(stack: EmbeddedStack) -> None:
    """A second capture of one fact, an id that is the user's own, what a message knows of its past."""
    facts, sent = ledger(stack).facts, {"source": "stripe", "event_name": "sold", "kind": "sold"}
    facts.complete(["stripe|payment|pi_1"], "user_a", "one", sent=sent)
    facts.complete(["stripe|payment|in_1"], "user_b", "two", sent=sent)
    facts.link(["stripe|payment|pi_1", "stripe|payment|in_1"])
    ledger(stack).links.learn("@person|revenuecat|customer|user_b", "user_a", 1)
    captured = Capture(owner="one", user_id="user_b", keys=("stripe|payment|pi_7",))
    past = Past(captured={"mark": captured}).among({})
    _send(stack, "DeadLetterQueueUrl", 7, "user_a", **past)
    done = json.loads(run("forget", "user_b", "--yes", "--json").stdout)
    assert (done["facts"], done["links"], done["parked"]) == (1, 1, 1)
    table = stack.aws.client("dynamodb")
    rows = table.scan(TableName=stack.outputs["LedgerTableName"])["Items"]
    assert "user_b" not in json.dumps(rows)
    assert "user_a" in json.dumps(rows)


def test_what_cannot_be_looked_at_is_told(stack: EmbeddedStack) -> None:
    """A webhook that backs off may be the user's: the command fails, and is run again."""
    _send(stack, "WebhookQueueUrl", 9, "user_42")
    url = stack.outputs["WebhookQueueUrl"]
    stack.aws.client("sqs").receive_message(QueueUrl=url, VisibilityTimeout=600)
    result = run("forget", "user_42", "--yes")
    assert result.exit_code == 1
    assert "1 webhook cannot be looked at now" in result.stderr


def test_forgetting_asks_first(stack: EmbeddedStack) -> None:
    """No is no."""
    capture(stack)
    result = CliRunner().invoke(main, ["forget", "user_42"], input="n\n")
    assert result.exit_code == 1
    assert steps("user_42")


# ------------------------------------------------------------------------- tail


def outcome(number: int, **changes: Any) -> Report:
    """A report of the deliver stage."""
    told = {"stage": "deliver", "outcome": Outcome.CAPTURED, "source": "stripe"} | changes
    return Report(event_id=f"evt_{number}", **told)


def test_tail_shows_outcomes_as_they_happen(stack: EmbeddedStack) -> None:
    """Those that are wanted, from the moment that is asked for."""
    local = state.read()
    assert local is not None
    journal = Journal(Path(local.outcomes))
    journal.observe(outcome(1))
    journal.observe(outcome(2, source="shopify"))
    journal.observe(outcome(3, outcome=Outcome.PARKED))
    result = run("tail", "--since", "1h", "--limit", "2", "--source", "stripe", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["event_id"] for line in lines] == ["evt_1", "evt_3"]
    local_stack_ends = threading.Timer(0.5, journal.path.unlink)
    late: list[Result] = []
    watching = Thread(
        target=lambda: late.append(run("tail", "--limit", "1", "--outcome", "parked"))
    )
    watching.start()

    def told() -> bool:
        journal.observe(outcome(4, outcome=Outcome.PARKED))
        return bool(late)

    assert eventually(told)
    watching.join(10)
    assert "evt_4" in late[0].stdout
    assert "parked" in late[0].stdout
    local_stack_ends.start()
    ended = run("tail")
    local_stack_ends.join()
    assert (ended.exit_code, "has stopped" in ended.stderr) == (0, True)


def test_a_journal_begins_anew_with_each_stack(tmp_path: Path) -> None:
    """It holds what the console shows."""
    path = tmp_path / "outcomes.jsonl"
    path.write_text("old\n")
    journal = Journal(path)
    journal.observe(outcome(1))
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["event_id"] == "evt_1"


# ------------------------------------------------------------------------- doctor --users


def test_doctor_asks_linkrunner_about_users(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known and unknown are told apart, and which path found the unknown ones; nothing is captured."""
    monkeypatch.setattr(known_users, "_PER_SECOND", 1e6)
    for number in range(3):
        capture(stack, number, user_id=f"user_{number}")
    with EmbeddedLinkrunner(key="key") as linkrunner:
        facts = known_users.sample(records_of(stack), ["stripe"], 10)
        assert {fact.user_id for fact in facts} == {"user_0", "user_1", "user_2"}
        (all_known,) = known_users.known_users(linkrunner.url + "/api/v1", "key", facts)
        assert (all_known.right, all_known.found) == (True, "3 known")
        linkrunner.play([Answer(status=204), Answer(status=204), Answer(status=500)])
        (some,) = known_users.known_users(linkrunner.url, "key", facts)
        assert not some.right
        assert "2 unknown, 1 answered 500 (2 by stripe: client_reference_id)" in some.found
        assert "user_id" in some.advice
        assert len(linkrunner.lookups) == 6
        assert linkrunner.arrivals == ()
    (none,) = known_users.known_users(linkrunner.url, "key", facts[:1])
    assert none.found == "1 not answered"
    (nobody,) = known_users.known_users(linkrunner.url, "key", [])
    assert nobody.right
    secret = stack.environment("DeliverFunction")["LINKRUNNER_KEY_SECRET_ARN"]
    stack.aws.client("secretsmanager").put_secret_value(SecretId=secret, SecretString="key")
    found = json.loads(run("doctor", "--users", "2", "--json").stdout)
    assert "2 users" in {each["what"] for each in found}


def records_of(stack: EmbeddedStack) -> Records:
    """The ledger of the stack, to be read."""
    return Records(stack.aws.client("dynamodb"), stack.outputs["LedgerTableName"])
