"""The two functions over a real queue, table and secrets, with Linkrunner well and unwell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.embedded import embedded_stack, empty

from linkrunner_webhooks import (
    __version__,
    capture_once,
    connections,
    deliver_function,
    pacing,
    receive_function,
)
from linkrunner_webhooks.capture import CONNECTIONS
from linkrunner_webhooks.deliver_function import Deliver
from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks.model import Outcome, Webhook
from linkrunner_webhooks.queues import untyped
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.signatures.hmacs import TimestampedHmac
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.embedded_linkrunner import (
    Answer,
    EmbeddedLinkrunner,
    answer_lost,
    busy,
    failing,
    hang,
    redirect,
    reset,
    slow,
)
from linkrunner_webhooks_local.poller import sqs_event
from linkrunner_webhooks_local.project import ROOT

SIGNING_SECRET = "whsec_0001"
KEY = "server_key_0001"
PERSONAL = ("ada@example.com", "Ada Lovelace", "+441234567890", "12 St James's Square")
SESSION: dict[str, Any] = {
    "id": "cs_1",
    "mode": "payment",
    "payment_status": "paid",
    "amount_total": 2599,
    "currency": "usd",
    "client_reference_id": "user_1",
    "payment_intent": "pi_1",
    "customer_details": dict(zip(("email", "name", "phone", "address"), PERSONAL, strict=True)),
}


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedStack]:
    """An embedded AWS whose secrets are set."""
    with embedded_stack() as created:
        secrets = created.aws.client("secretsmanager")
        for output, value in (
            ("LinkrunnerKeySecretArn", KEY),
            ("WebhookSecretsArn", json.dumps({"stripe": [SIGNING_SECRET]})),
        ):
            secrets.put_secret_value(SecretId=created.outputs[output], SecretString=value)
        yield created


@dataclass
class Functions:
    """Both functions as deployed, with the queue between them in our hands."""

    stack: EmbeddedStack
    linkrunner: EmbeddedLinkrunner
    sqs: Any
    reports: list[Report] = field(default_factory=list)

    def environment(self, function: str, **changes: str) -> dict[str, str]:
        return {
            **self.stack.environment(function),
            **self.stack.aws.environment,
            "LINKRUNNER_BASE_URL": self.linkrunner.url,
            "REQUESTS_PER_SECOND": "10000",
            **changes,
        }

    def deliverer(self) -> Deliver:
        return deliver_function.build(
            self.environment("DeliverFunction"), observe=self.reports.append
        )

    def receive(self, *payments: int) -> None:
        """Webhooks of these payments, each of another user, as API Gateway hands them over."""
        environment = self.environment("ReceiveFunction")
        respond = receive_function.build(environment, observe=self.reports.append)
        for number in payments:
            assert respond(_request(number))["statusCode"] == 200

    def batch(self) -> dict[str, Any]:
        """What Lambda would invoke the delivering function with."""
        source = self.stack.queue_source("DeliverFunction")
        messages = self.sqs.receive_message(
            QueueUrl=source.queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        return sqs_event(messages, source.queue_arn, self.stack.aws.region)

    def run(self, deliver: Deliver, event: dict[str, Any]) -> list[str]:
        """One invocation: what it kept is visible again at once, and the rest is deleted."""
        answer = deliver(event, lambda: 100.0)
        kept = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        queue = {"QueueUrl": self.stack.outputs["WebhookQueueUrl"]}
        for record in event["Records"]:
            handle = {"ReceiptHandle": record["receiptHandle"]}
            if record["messageId"] in kept:
                self.sqs.change_message_visibility(**queue, **handle, VisibilityTimeout=0)
            else:
                self.sqs.delete_message(**queue, **handle)
        return kept

    def run_until_empty(self) -> None:
        """Invoke for as long as there is something in the queue."""
        deliver, deadline = self.deliverer(), time.monotonic() + 20
        while (event := self.batch())["Records"]:
            assert time.monotonic() < deadline
            self.run(deliver, event)

    def parked(self) -> list[dict[str, str]]:
        """The attributes of what is in the dead-letter queue."""
        messages = self.sqs.receive_message(
            QueueUrl=self.stack.outputs["DeadLetterQueueUrl"],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        return [untyped(message["MessageAttributes"]) for message in messages]


def _request(number: int, **changes: Any) -> dict[str, Any]:
    own = {"id": f"cs_{number}", "payment_intent": f"pi_{number}"}
    session = SESSION | own | {"client_reference_id": f"user_{number}"} | changes
    body = json.dumps(
        {
            "id": f"evt_{number}",
            "type": "checkout.session.completed",
            "created": 1_799_999_000,
            "livemode": True,
            "data": {"object": session},
        }
    )
    scheme = TimestampedHmac(header="stripe-signature")
    signed = scheme.sign(Webhook("stripe", {}, body.encode()), SIGNING_SECRET, time.time())
    return {
        "pathParameters": {"source": "stripe"},
        "headers": dict(signed.headers),
        "body": body,
        "isBase64Encoded": False,
    }


@pytest.fixture(scope="module")
def sqs(running: EmbeddedStack) -> Any:
    """A client of its queues."""
    return running.aws.client("sqs")


@pytest.fixture
def functions(running: EmbeddedStack, sqs: Any) -> Iterator[Functions]:
    """Both functions over empty queues and an embedded Linkrunner."""
    empty(running)
    with EmbeddedLinkrunner(key=KEY) as linkrunner:
        yield Functions(running, linkrunner, sqs)


# ------------------------------------------------------------------------- all the way


def test_one_webhook_goes_all_the_way(functions: Functions) -> None:
    """From the provider's request to Linkrunner's, with nothing personal in it or in the account."""
    functions.receive(1)
    functions.run_until_empty()
    [event] = functions.linkrunner.events
    assert (event.event_name, event.user_id) == ("purchase_completed", "user_1")
    assert event.event_data["amount"] == 25.99
    assert event.event_data["provider_event_id"] == "evt_1"
    assert [report.outcome for report in functions.reports] == [Outcome.QUEUED, Outcome.CAPTURED]
    told = json.dumps(dict(event.body)) + repr(functions.reports)
    assert not [text for text in PERSONAL if text in told]
    assert functions.parked() == []


def test_a_webhook_sent_twice_counts_once(functions: Functions) -> None:
    """The table remembers over invocations and cold starts."""
    functions.receive(1, 1)
    functions.run_until_empty()
    functions.receive(1)
    functions.run_until_empty()
    assert len(functions.linkrunner.events) == 1
    outcomes = [report.outcome for report in functions.reports if report.stage == "deliver"]
    # Two of one batch may be in hand at once; then one of them waits for the other.
    settled = [outcome for outcome in outcomes if outcome is not Outcome.RETRYING]
    assert settled == [Outcome.CAPTURED, Outcome.DUPLICATE, Outcome.DUPLICATE]


def test_a_kept_message_is_named_and_delayed(functions: Functions) -> None:
    """The answer names the message, and the queue does not show it before its delay is over."""
    functions.receive(1)
    functions.linkrunner.play([busy(retry_after=30)])
    event = functions.batch()
    answer = functions.deliverer()(event, lambda: 100.0)
    [record] = event["Records"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert functions.batch()["Records"] == []
    assert (functions.reports[-1].outcome, functions.reports[-1].reason) == (
        Outcome.RETRYING,
        "rate_limited",
    )


def test_a_parked_message_is_answered_as_done(functions: Functions) -> None:
    """What is in the dead-letter queue need not stay in the other one as well."""
    functions.receive(1)
    functions.linkrunner.play([failing(400)])
    assert functions.run(functions.deliverer(), functions.batch()) == []
    [story] = functions.parked()
    assert (story["reason"], story["source"], story["event_id"]) == ("refused", "stripe", "evt_1")


def test_an_empty_batch_keeps_nothing(functions: Functions) -> None:
    """A batch without messages is answered with no failures."""
    assert functions.deliverer()({"Records": []}, lambda: 100.0) == {"batchItemFailures": []}


def test_a_message_without_attributes(functions: Functions) -> None:
    """A message that somebody typed into the console is parked like any other unreadable one."""
    url = functions.stack.outputs["WebhookQueueUrl"]
    functions.sqs.send_message(QueueUrl=url, MessageBody="hello")
    functions.run_until_empty()
    [story] = functions.parked()
    assert story["reason"] == "unreadable"
    assert functions.reports[-1].source == "unknown"


# ------------------------------------------------------------------------- Linkrunner unwell


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capturing waits for an answer for a fifth of a second only, and not much longer to ask again."""
    monkeypatch.setattr(connections, "ANSWER", 0.2)
    monkeypatch.setattr(pacing, "_LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(capture_once, "wait", lambda *_: 0.0)


TROUBLE: dict[str, Callable[[], Answer]] = {
    "429": busy,
    "429 with Retry-After": lambda: busy(retry_after=1),
    "500": failing,
    "503": lambda: failing(503),
    "403": lambda: failing(403),
    "reset": reset,
    "hang": lambda: hang(60),
    "redirect": lambda: redirect("http://127.0.0.1:9/"),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("trouble", list(TROUBLE))
def test_nothing_is_lost(functions: Functions, trouble: str) -> None:
    """However Linkrunner misbehaves, each sale arrives once when it is well again."""
    functions.receive(*range(6))
    functions.linkrunner.play([TROUBLE[trouble]() for _ in range(3)])
    functions.run_until_empty()
    users = sorted(event.user_id for event in functions.linkrunner.events)
    assert users == sorted(f"user_{number}" for number in range(6))
    assert functions.parked() == []


@pytest.mark.usefixtures("impatient")
def test_nothing_is_lost_in_a_mixture(functions: Functions) -> None:
    """Every kind of trouble in turn, with good answers between them."""
    functions.receive(*range(12))
    answers = [*(make() for make in TROUBLE.values()), Answer(records=True)]
    functions.linkrunner.play(answers * 2)
    functions.run_until_empty()
    users = sorted(event.user_id for event in functions.linkrunner.events)
    assert users == sorted(f"user_{number}" for number in range(12))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("lost", [answer_lost(), slow(60)], ids=["reset", "too late"])
def test_lost_answers_lose_no_sale(functions: Functions, lost: Answer) -> None:
    """A lost answer may count twice where no event id is honoured; it never counts not at all."""
    functions.receive(*range(4))
    functions.linkrunner.play([lost, lost])
    functions.run_until_empty()
    functions.linkrunner._stopping.set()
    events = functions.linkrunner.events
    assert {event.user_id for event in events} == {f"user_{number}" for number in range(4)}
    # Which one it was can be found by the id of the provider's event.
    assert len({event.event_data["provider_event_id"] for event in events}) == 4


def test_the_wrong_key_keeps_everything(functions: Functions) -> None:
    """A key that Linkrunner does not know costs no more requests than were in hand, and no event."""
    functions.receive(*range(10))
    functions.linkrunner.key = "another"
    event = functions.batch()
    assert len(functions.run(functions.deliverer(), event)) == 10
    statuses = [arrival.status for arrival in functions.linkrunner.arrivals]
    assert set(statuses) == {401}
    assert len(statuses) <= CONNECTIONS
    functions.linkrunner.key = KEY
    functions.run_until_empty()
    assert len(functions.linkrunner.events) == 10


def test_an_address_where_nobody_listens_keeps_everything(functions: Functions) -> None:
    """An address where nobody listens keeps everything."""
    functions.receive(1)
    environment = functions.environment(
        "DeliverFunction", LINKRUNNER_BASE_URL="http://127.0.0.1:9/api/v1"
    )
    deliver = deliver_function.build(environment, observe=functions.reports.append)
    assert len(functions.run(deliver, functions.batch())) == 1
    assert functions.reports[-1].reason in ("network", "unanswered")


def test_a_table_that_is_gone_keeps_everything(functions: Functions) -> None:
    """Without the claims nothing is sent."""
    functions.receive(1, 2)
    environment = functions.environment("DeliverFunction", LEDGER_TABLE="gone")
    deliver = deliver_function.build(environment, observe=functions.reports.append)
    assert len(functions.run(deliver, functions.batch())) == 2
    assert {report.reason for report in functions.reports[-2:]} == {"ledger"}
    assert functions.linkrunner.arrivals == ()


# ------------------------------------------------------------------------- settings

DELIVER_SETTINGS = (
    "WEBHOOK_QUEUE_URL",
    "DEAD_LETTER_QUEUE_URL",
    "LEDGER_TABLE",
    "LINKRUNNER_KEY_SECRET_ARN",
    "LINKRUNNER_BASE_URL",
    "LEDGER_DAYS",
    "REQUESTS_PER_SECOND",
    "DELIVER_CONCURRENCY",
)
RECEIVE_SETTINGS = ("WEBHOOK_QUEUE_URL", "WEBHOOK_SECRETS_ARN")


@pytest.fixture
def settings(running: EmbeddedStack) -> dict[str, str]:
    """Everything that the delivering function needs."""
    return running.environment("DeliverFunction") | running.aws.environment


def ignore(report: Report) -> None:
    """Observe nothing."""


@pytest.mark.parametrize("value", [None, " "])
@pytest.mark.parametrize("name", DELIVER_SETTINGS)
def test_deliver_names_a_missing_setting(
    settings: dict[str, str], name: str, value: str | None
) -> None:
    """A deployment that lost a variable says which one."""
    environment = _without(settings, name, value)
    with pytest.raises(ConfigError, match=name):
        deliver_function.build(environment, observe=ignore)


@pytest.mark.parametrize("name", RECEIVE_SETTINGS)
def test_receive_names_a_missing_setting(running: EmbeddedStack, name: str) -> None:
    """So does the other function."""
    settings = running.environment("ReceiveFunction") | running.aws.environment
    with pytest.raises(ConfigError, match=name):
        receive_function.build(_without(settings, name, None), observe=ignore)


def _without(environment: Mapping[str, str], name: str, value: str | None) -> dict[str, str]:
    rest = {key: each for key, each in environment.items() if key != name}
    return rest if value is None else rest | {name: value}


@pytest.mark.parametrize("name", ["REQUESTS_PER_SECOND", "DELIVER_CONCURRENCY"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many", "1,5"])
def test_a_number_that_is_none_is_named(settings: dict[str, str], name: str, value: str) -> None:
    """A rate that cannot be kept ends the start instead of the pace."""
    with pytest.raises(ConfigError, match=name):
        deliver_function.build(settings | {name: value}, observe=ignore)


def test_a_wrong_configuration_file_is_named(settings: dict[str, str], tmp_path: Path) -> None:
    """WEBHOOKS_TOML that leads nowhere says so."""
    environment = settings | {"WEBHOOKS_TOML": str(tmp_path / "none.toml")}
    with pytest.raises(ConfigError, match=r"none\.toml"):
        deliver_function.build(environment, observe=ignore)


def test_the_template_sets_every_setting(running: EmbeddedStack) -> None:
    """What the functions ask for is what the template gives them."""
    assert set(DELIVER_SETTINGS) <= running.environment("DeliverFunction").keys()
    assert set(RECEIVE_SETTINGS) <= running.environment("ReceiveFunction").keys()


# ------------------------------------------------------------------------- in Lambda

# What Lambda does: import the handler once, invoke it with events, keep what is printed.
PROGRAM = """
import json, logging, os, sys
# At DEBUG, its level is the root logger's, too: the template has them agree.
logging.basicConfig(level=os.environ["POWERTOOLS_LOG_LEVEL"], stream=sys.stdout)
from linkrunner_webhooks.deliver_function import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 100_000

for line in sys.stdin:
    print("ANSWER", json.dumps(handler(json.loads(line), Context())))
"""
METRIC_NAMESPACE = "LinkrunnerWebhooks/test"
LAMBDA = {
    "POWERTOOLS_SERVICE_NAME": "linkrunner-webhooks",
    "POWERTOOLS_METRICS_NAMESPACE": METRIC_NAMESPACE,
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "AWS_LAMBDA_FUNCTION_NAME": "deliver",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "PYTHONPATH": str(ROOT / "src"),
    "PYTHONWARNINGS": "error",
    "PATH": os.environ.get("PATH", os.defpath),
}


def printed(program: str, stdin: str = "", **environment: str) -> list[str]:
    """What a process prints in the environment that Lambda would give it, and nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=stdin,
        capture_output=True,
        text=True,
        env=LAMBDA | environment,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_handler_delivers_and_accounts(functions: Functions) -> None:
    """Lambda's entry point answers like the function it wraps, and prints nothing personal."""
    functions.receive(1, 2, 3)
    functions.linkrunner.play([failing()])
    event = functions.batch()
    environment = functions.environment("DeliverFunction", POWERTOOLS_LOG_LEVEL="DEBUG")
    lines = printed(PROGRAM, json.dumps(event) + "\n", **environment)
    [answer] = [line for line in lines if line.startswith("ANSWER")]
    (kept,) = json.loads(answer.removeprefix("ANSWER "))["batchItemFailures"]
    assert kept["itemIdentifier"] in {record["messageId"] for record in event["Records"]}
    told = [json.loads(line) for line in lines if not line.startswith("ANSWER")]
    outcomes = [line["outcome"] for line in told if "level" in line]
    assert sorted(outcomes) == ["captured", "captured", "retrying"]
    assert not [text for text in (*PERSONAL, KEY, "user_1") if text in "\n".join(lines)]


OBSERVE = """
import json, sys
from decimal import Decimal
from linkrunner_webhooks.model import Flow, Outcome
from linkrunner_webhooks.reports import Moved, Report
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.telemetry import observe

for line in sys.stdin:
    fields = json.loads(line)
    fields["outcome"] = Outcome(fields["outcome"])
    fields["reason"] = Reason(fields.get("reason", "none"))
    fields["event_names"] = tuple(fields.get("event_names", ()))
    fields["money"] = tuple(
        Moved(Flow(flow), currency, Decimal(amount)) for flow, currency, amount in fields.get("money", ())
    )
    observe(Report(**fields))
"""


def observed(*reports: Mapping[str, Any], **environment: str) -> list[dict[str, Any]]:
    """The lines printed for these reports."""
    lines = printed(OBSERVE, "\n".join(map(json.dumps, reports)), **environment)
    return [json.loads(line) for line in lines]


CAPTURED = {
    "stage": "deliver",
    "outcome": "captured",
    "source": "stripe",
    "provider": "stripe",
    "event_type": "invoice.paid",
    "event_id": "evt_1",
    "event_names": ["subscription_renewed"],
}


def test_one_line_and_one_count() -> None:
    """Each report is one line for people and one metric, and neither has a field too many."""
    line, metric = observed(CAPTURED)
    assert line.pop("timestamp")
    assert line.pop("location")
    assert line == {
        "level": "INFO",
        "message": "webhook captured",
        "service": "linkrunner-webhooks",
        "version": __version__,
        "reason": "none",
        **CAPTURED,
    }
    described = metric.pop("_aws")
    assert abs(described.pop("Timestamp") / 1000 - time.time()) < 60
    [directive] = described.pop("CloudWatchMetrics")
    assert described == {}
    assert directive == {
        "Namespace": METRIC_NAMESPACE,
        "Dimensions": [["outcome", "reason"], ["source", "outcome"]],
        "Metrics": [{"Name": "Webhooks", "Unit": "Count"}],
    }
    assert metric == {
        "outcome": "captured",
        "reason": "none",
        "source": "stripe",
        "Webhooks": [1.0],
    }


def test_money_is_a_metric_where_asked_and_in_no_log() -> None:
    """Metrics cost by the month, so they are off; the line of the log never has an amount."""
    paid = CAPTURED | {"money": [("payment", "USD", "25.99"), ("refund", "INR", "500")]}
    line, _ = observed(paid)
    told, *metrics = observed(paid, MONEY_METRICS="on")
    assert "25.99" not in str(line) + str(told)
    money = [each for each in metrics if "currency" in each]
    assert [each["_aws"]["CloudWatchMetrics"][0]["Dimensions"] for each in money] == [
        [["source", "currency"]],
        [["source", "currency"]],
    ]
    assert [(each["source"], each["currency"]) for each in money] == [
        ("stripe", "USD"),
        ("stripe", "INR"),
    ]
    assert (money[0]["Revenue"], money[1]["Refunded"]) == ([25.99], [500.0])


@pytest.mark.parametrize(
    ("stage", "outcome", "reason", "fault"),
    [
        ("receive", "rejected", "not_stored", "receive"),
        ("receive", "rejected", "internal", "receive"),
        ("deliver", "retrying", "internal", "deliver"),
        ("deliver", "captured", "unrecorded", "deliver"),
        ("deliver", "retrying", "unauthorized", "server_key"),
        ("deliver", "retrying", "no_key", "server_key"),
        ("deliver", "retrying", "unavailable", None),
        ("receive", "rejected", "bad_signature", None),
    ],
)
def test_what_an_alarm_is_for_is_one_metric(
    stage: str, outcome: str, reason: str, fault: str | None
) -> None:
    """Each metric of an alarm costs by the month, so the reasons of one alarm are counted together."""
    report = CAPTURED | {"stage": stage, "outcome": outcome, "reason": reason}
    counted = [line for line in observed(report) if "Faults" in line]
    assert [(line["fault"], line["Faults"]) for line in counted] == (
        [(fault, [1.0])] if fault else []
    )


def test_metrics_do_not_leak_into_each_other() -> None:
    """The next report is counted under its own dimensions alone."""
    other = {"stage": "receive", "outcome": "rejected", "reason": "bad_signature"}
    metrics = [line for line in observed(CAPTURED, other, CAPTURED) if "_aws" in line]
    assert [(line["source"], line["outcome"], line["reason"]) for line in metrics] == [
        ("stripe", "captured", "none"),
        ("unknown", "rejected", "bad_signature"),
        ("stripe", "captured", "none"),
    ]
    of_all = [["outcome", "reason"], ["source", "outcome"]]
    of_rejected = [*of_all, ["source", "reason"]]
    for line, dimensions in zip(metrics, (of_all, of_rejected, of_all), strict=True):
        assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == dimensions
        assert line["Webhooks"] == [1.0]


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("DEBUG", ["INFO", "INFO", "WARNING", "ERROR", "ERROR", "ERROR"]),
        ("INFO", ["INFO", "INFO", "WARNING", "ERROR", "ERROR", "ERROR"]),
        ("WARNING", ["WARNING", "ERROR", "ERROR", "ERROR"]),
        ("ERROR", ["ERROR", "ERROR", "ERROR"]),
    ],
)
def test_levels_filter_lines_but_no_metrics(level: str, told: list[str]) -> None:
    """However little is logged, the alarms see everything; what is our fault is an error."""
    base = {"stage": "deliver", "source": "stripe"}
    lines = observed(
        base | {"outcome": "ignored"},
        base | {"outcome": "duplicate"},
        base | {"outcome": "retrying", "reason": "unanswered"},
        base | {"outcome": "retrying", "reason": "internal"},
        base | {"outcome": "parked", "reason": "refused"},
        base | {"outcome": "captured", "reason": "unrecorded"},
        POWERTOOLS_LOG_LEVEL=level,
    )
    assert [line["level"] for line in lines if "level" in line] == told
    assert len([line for line in lines if "Webhooks" in line]) == 6
