"""The embedded AWS, what is created in it from template.yaml, and `make run` as a whole."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tests.embedded import embedded_stack, empty, eventually

from linkrunner_webhooks.capture import ApiRequest
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_local import state, template
from linkrunner_webhooks_local.cloudformation import STACK_NAME, EmbeddedStack, create
from linkrunner_webhooks_local.console import Console
from linkrunner_webhooks_local.embedded_aws import Aws, embedded_aws
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.gateway import gateway
from linkrunner_webhooks_local.loopback import Request, listen, serving, url_of
from linkrunner_webhooks_local.poller import Deliver, Poller
from linkrunner_webhooks_local.project import ROOT, TEMPLATE, LocalError
from linkrunner_webhooks_local.sandboxes import Sandboxes
from linkrunner_webhooks_local.settings import Settings
from linkrunner_webhooks_local.state import LocalStack


@pytest.fixture(scope="module")
def stack() -> Iterator[EmbeddedStack]:
    """An embedded AWS for this module: tests that remove what it holds disturb no other module."""
    with embedded_stack("http://127.0.0.1:9") as created:
        yield created


def write(folder: Path, resources: str) -> Path:
    """A template with one parameter and these resources."""
    path = folder / "template.yaml"
    path.write_text(f"Parameters: {{Size: {{Type: Number, Default: 7}}}}\nResources:\n{resources}")
    return path


# ------------------------------------------------------------------------- the template


def test_short_forms_are_written_out(tmp_path: Path) -> None:
    """CloudFormation's tags become the dictionaries that they abbreviate."""
    path = write(
        tmp_path,
        """
  A:
    Type: T
    X: !Ref B
    Y: !GetAtt B.Arn
    Z: !Sub "${B}-x"
    W: !If [C, !Ref D, 1]
    V: !Condition C
""",
    )
    resource = template.load(path)["Resources"]["A"]
    assert resource == {
        "Type": "T",
        "X": {"Ref": "B"},
        "Y": {"Fn::GetAtt": ["B", "Arn"]},
        "Z": {"Fn::Sub": "${B}-x"},
        "W": {"Fn::If": ["C", {"Ref": "D"}, 1]},
        "V": {"Condition": "C"},
    }


def test_references_are_found_everywhere() -> None:
    """References are found at any depth and in every form; pseudo parameters are none."""
    node = {
        "a": [{"Ref": "A"}, {"Fn::GetAtt": ["B", "Arn"]}, {"Ref": "AWS::Region"}],
        "b": {"Fn::Sub": "${C}/${D.Arn}/${AWS::StackName}/${!E}"},
        "c": {"Fn::Sub": ["${F}${G}", {"F": {"Ref": "H"}}]},
    }
    assert template.references(node) == {"A", "B", "C", "D", "G", "H"}


def test_keeps_plain_resources_and_their_outputs() -> None:
    """Only queues, the table and the secrets go to the emulator, with the outputs about them."""
    plain = template.plain(template.load(TEMPLATE))
    assert plain["Resources"].keys() == {
        "WebhookQueue",
        "DeadLetterQueue",
        "LedgerTable",
        "LinkrunnerKeySecret",
        "ProviderKeysSecret",
        "WebhookSecrets",
    }
    assert {"WebhookQueueUrl", "DeadLetterQueueUrl", "WebhookSecretsArn"} <= plain["Outputs"].keys()
    assert "WebhookUrl" not in plain["Outputs"]


@pytest.mark.parametrize("text", ["", "- a", "Resources: []", "a: [", "Resources: {A: !Ref [}"])
def test_what_is_no_template_is_named(tmp_path: Path, text: str) -> None:
    """An unreadable template ends the start with its name."""
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(LocalError, match=path.name):
        template.load(path)


# ------------------------------------------------------------------------- the stack


def test_outputs_can_be_described(stack: EmbeddedStack) -> None:
    """Whoever knows the stack's name finds its queues the way it would in a deployed one."""
    [described] = stack.aws.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    assert outputs["WebhookQueueUrl"] == stack.outputs["WebhookQueueUrl"]
    assert outputs["DeadLetterQueueUrl"] == stack.outputs["DeadLetterQueueUrl"]


def test_environments_are_evaluated(stack: EmbeddedStack) -> None:
    """The functions get what the template gives them, with every expression replaced."""
    receive, deliver = stack.environment("ReceiveFunction"), stack.environment("DeliverFunction")
    assert receive["WEBHOOK_QUEUE_URL"] == stack.outputs["WebhookQueueUrl"]
    assert receive["WEBHOOK_SECRETS_ARN"] == stack.outputs["WebhookSecretsArn"]
    assert deliver["DEAD_LETTER_QUEUE_URL"] == stack.outputs["DeadLetterQueueUrl"]
    assert deliver["LINKRUNNER_BASE_URL"] == "http://127.0.0.1:9"
    assert deliver["REQUESTS_PER_SECOND"] == "30"


def test_queue_source_is_the_templates(stack: EmbeddedStack) -> None:
    """The poller is told the template's queue, batch size and concurrency."""
    source = stack.queue_source("DeliverFunction")
    assert source.queue_url == stack.outputs["WebhookQueueUrl"]
    assert source.queue_arn.endswith(source.queue_url.rpartition("/")[2])
    assert (source.batch_size, source.maximum_concurrency) == (30, 2)
    assert stack.timeout("DeliverFunction") > 10


def test_queue_keeps_the_templates_properties(stack: EmbeddedStack) -> None:
    """Large messages, encryption and the redrive policy are not lost on the way."""
    attributes = stack.aws.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs["WebhookQueueUrl"], AttributeNames=["All"]
    )["Attributes"]
    assert attributes["MaximumMessageSize"] == "1048576"
    assert attributes["SqsManagedSseEnabled"] == "true"
    assert "deadLetterTargetArn" in attributes["RedrivePolicy"]


def test_globals_and_values_of_every_kind(stack: EmbeddedStack, tmp_path: Path) -> None:
    """A function's own variables come after the shared ones, and everything becomes text."""
    path = write(
        tmp_path,
        """
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      Environment: {Variables: {N: 5, B: true, P: !Ref Size, J: !Join ["-", [a, !Ref Size]]}}
Globals: {Function: {Timeout: 9, Environment: {Variables: {N: 1, S: shared}}}}
""",
    )
    with embedded_aws() as aws:
        created = create(aws, {}, path)
        assert created.environment("Fn") == {
            "N": "5",
            "S": "shared",
            "B": "true",
            "P": "7",
            "J": "a-7",
        }
        assert created.timeout("Fn") == 9


@pytest.mark.parametrize(
    ("resources", "parameters", "message"),
    [
        (
            """
  Fn: {Type: AWS::Serverless::Function, Properties: {Environment: {Variables: {LOG: !Ref Logs}}}}
  Logs: {Type: AWS::Logs::LogGroup}
""",
            {},
            "Fn's variable LOG refers to Logs",
        ),
        ("  Q: {Type: AWS::SQS::Queue}", {"Colour": "red"}, "no parameter Colour"),
        (
            "  Q: {Type: AWS::SQS::Queue, Properties: {MaximumMessageSize: 1}}",
            {},
            "was not created: .*MaximumMessageSize",
        ),
    ],
)
def test_refuses_what_it_cannot_create(
    tmp_path: Path, resources: str, parameters: Mapping[str, str], message: str
) -> None:
    """A template that the local stack cannot follow ends the start with the reason."""
    with embedded_aws() as aws, pytest.raises(LocalError, match=message):
        create(aws, parameters, write(tmp_path, resources))


def test_names_what_is_not_in_the_template(stack: EmbeddedStack) -> None:
    """Asking for a function, or a queue's function, that is not there says so."""
    with pytest.raises(LocalError, match="no function Other"):
        stack.environment("Other")
    with pytest.raises(LocalError, match="exactly one event source"):
        stack.queue_source("ReceiveFunction")


def test_poller_moves_real_messages(stack: EmbeddedStack) -> None:
    """A message goes from the queue through the function and is gone, its attributes seen."""
    empty(stack)
    records: list[dict[str, Any]] = []
    sqs, url = stack.aws.client("sqs"), stack.outputs["WebhookQueueUrl"]
    deliver: Deliver = lambda event, _: records.extend(event["Records"])  # noqa: E731
    attribute = {"DataType": "String", "StringValue": "stripe"}
    sqs.send_message(QueueUrl=url, MessageBody="hello", MessageAttributes={"source": attribute})
    source, lent = stack.queue_source("DeliverFunction"), Sandboxes(lambda: deliver).lent
    with Poller(sqs, source, stack.aws.region, 20, lent, print).running():
        eventually(lambda: records)
    assert records[0]["body"] == "hello"
    assert records[0]["messageAttributes"]["source"]["stringValue"] == "stripe"
    assert records[0]["attributes"]["ApproximateReceiveCount"] == "1"
    assert int(records[0]["attributes"]["SentTimestamp"]) > 0
    assert message_count(sqs, url) == 0


def test_empty_removes_everything(stack: EmbeddedStack) -> None:
    """Tests that share a stack start with empty queues and an empty table."""
    sqs, url = stack.aws.client("sqs"), stack.outputs["DeadLetterQueueUrl"]
    table = stack.environment("DeliverFunction")["LEDGER_TABLE"]
    dynamodb = stack.aws.client("dynamodb")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    dynamodb.put_item(TableName=table, Item={"key": {"S": "k"}})
    empty(stack)
    assert message_count(sqs, url) == 0
    assert dynamodb.scan(TableName=table)["Items"] == []


def message_count(sqs: Any, url: str) -> int:
    """How many messages a queue holds, in flight or not."""
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    return sum(int(answer[name]) for name in names)


# ------------------------------------------------------------------------- the process


def test_clients_ignore_the_developers_own_aws(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile, an endpoint or a proxy of the developer's shell changes nothing."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    sqs = stack.aws.client("sqs")
    assert sqs.meta.endpoint_url == stack.aws.endpoint_url
    assert stack.outputs["WebhookQueueUrl"] in sqs.list_queues()["QueueUrls"]


def test_missing_emulator_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without ministack the message names the command that installs it."""
    monkeypatch.setenv("MINISTACK_PYTHON", str(tmp_path / "python"))
    with pytest.raises(LocalError, match="make setup"), embedded_aws():
        pass


def test_emulator_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter without ministack fails at once, with its own last words."""
    monkeypatch.setenv("MINISTACK_PYTHON", sys.executable)
    with pytest.raises(LocalError, match="ModuleNotFoundError"), embedded_aws():
        pass


def test_emulator_stops_with_the_block() -> None:
    """Nobody answers any more once the block is left."""
    with embedded_aws() as aws:
        assert is_open(aws)
    assert not is_open(aws)


def test_emulator_dies_with_its_parent() -> None:
    """A parent that is killed without a chance to clean up leaves no orphan behind."""
    program = (
        "from linkrunner_webhooks_local.embedded_aws import embedded_aws\n"
        "with embedded_aws() as aws: print(aws.endpoint_url, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        aws = Aws(parent.stdout.readline().strip())
        assert is_open(aws)
        parent.kill()
    eventually(lambda: not is_open(aws))


def is_open(aws: Aws) -> bool:
    """Whether somebody listens at the endpoint."""
    connection = http.client.HTTPConnection(aws.endpoint_url.removeprefix("http://"), timeout=5)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()
    return True


# ------------------------------------------------------------------------- settings and state


def test_settings_default_to_development() -> None:
    """With an empty environment everything is embedded, and every source has its own secret."""
    settings = Settings.read({"PORT": " ", "WEBHOOK_SECRETS": ""})
    assert (settings.port, settings.linkrunner_base_url) == (8000, None)
    assert settings.webhooks_toml == ROOT / "src" / "webhooks.toml"
    assert settings.secrets["stripe"] == ("whsec_development_secret_stripe",)
    assert settings.secrets.keys() == set(settings.sources)


def test_settings_take_what_they_are_given(tmp_path: Path) -> None:
    """Every documented variable is honoured; a single secret may be written without its list."""
    path = tmp_path / "other.toml"
    path.write_text("[stripe]\n")
    settings = Settings.read(
        {
            "PORT": "8123",
            "LINKRUNNER_BASE_URL": "https://example.com",
            "LINKRUNNER_SERVER_KEY": "key",
            "WEBHOOK_SECRETS": '{"stripe": "one", "shopify": ["new", "old"]}',
            "WEBHOOKS_TOML": str(path),
        }
    )
    assert settings == Settings(
        port=8123,
        linkrunner_base_url="https://example.com",
        linkrunner_key="key",
        webhooks_toml=path,
        sources=("stripe",),
        secrets={"stripe": ("one",), "shopify": ("new", "old")},
        for_development=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("LINKRUNNER_BASE_URL", "example.com"),
        ("WEBHOOK_SECRETS", "whsec_1"),
        ("WEBHOOK_SECRETS", '["whsec_1"]'),
        ("WEBHOOK_SECRETS", '{"stripe": []}'),
        ("WEBHOOK_SECRETS", '{"stripe": [""]}'),
        ("WEBHOOK_SECRETS", '{"stripe": 1}'),
        ("WEBHOOKS_TOML", "/nonexistent.toml"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    """A mistake ends the start with one sentence that names the setting and not its secrets."""
    with pytest.raises(Exception, match=name) as caught:
        Settings.read({name: value})
    assert "whsec" not in str(caught.value).replace("whsec_...", "")


@pytest.fixture(scope="module")
def local() -> Iterator[LocalStack]:
    """A stack as it is published, and a gateway that answers for it."""
    listener = listen()
    with serving(listener, gateway(lambda _: {"statusCode": 200}, lambda _: None)):
        yield LocalStack(
            endpoint_url="http://127.0.0.1:1",
            region="us-east-1",
            stack_name=STACK_NAME,
            url=url_of(listener),
            linkrunner_url="l",
            pid=os.getpid(),
            webhooks_toml="/elsewhere/webhooks.toml",
            secrets={"stripe": ["whsec_1"]},
        )


def test_state_is_there_while_the_stack_runs(tmp_path: Path, local: LocalStack) -> None:
    """Other commands find the running stack and what it was told, and none after its end."""
    path = tmp_path / "deep" / "stack.json"
    assert state.read(path) is None
    with state.published(local, path):
        assert state.read(path) == local
        assert local.aws == Aws("http://127.0.0.1:1")
    assert not path.exists()


def test_state_is_its_owners_alone(tmp_path: Path, local: LocalStack) -> None:
    """The file with the signing secrets can be read by nobody else, and no line of account shows them."""
    path = tmp_path / "stack.json"
    path.with_suffix(f".{local.pid}").touch(0o666)
    with state.published(local, path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert "whsec_1" not in repr(local)


def test_state_of_an_earlier_stack_comes_back(tmp_path: Path, local: LocalStack) -> None:
    """A second stack is found while it runs, and the first one again when it has ended."""
    path = tmp_path / "stack.json"
    second = replace(local, linkrunner_url="second")
    with state.published(local, path):
        with state.published(second, path):
            assert state.read(path) == second
        assert state.read(path) == local
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": 1}'])
def test_unreadable_state_is_no_stack(tmp_path: Path, text: str) -> None:
    """A file from elsewhere or another time is not a running stack."""
    path = tmp_path / "stack.json"
    path.write_text(text)
    assert state.read(path) is None


def test_state_of_a_dead_process_is_no_stack(tmp_path: Path, local: LocalStack) -> None:
    """A stack that was killed is not taken for a running one, nor is another's file removed."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    path = tmp_path / "stack.json"
    dead = json.dumps(asdict(replace(local, pid=gone.pid)))
    with state.published(local, path):
        path.write_text(dead)
        assert state.read(path) is None
    assert path.read_text() == dead


def test_state_of_a_reused_process_id_is_no_stack(tmp_path: Path, local: LocalStack) -> None:
    """After a crash the process id can be another program's: a stack that does not answer is none."""
    path = tmp_path / "stack.json"
    path.write_text(json.dumps(asdict(replace(local, url="http://127.0.0.1:9"))))
    assert state.read(path) is None


# ------------------------------------------------------------------------- the console


def report(stage: Any, outcome: Outcome, **changes: Any) -> Report:
    """A line of account about one Stripe event."""
    settings = {"source": "stripe", "event_type": "charge.refunded", "event_id": "evt_1"} | changes
    return Report(stage=stage, outcome=outcome, **settings)


def sent(**changes: Any) -> LinkrunnerEvent:
    """A refund of 25.90 USD of user_42, as it is sent for `report`."""
    data = {"amount": 25.9, "currency": "USD", "source": "stripe"}
    data |= {"provider_event_id": "evt_1", "provider_event_type": "charge.refunded"}
    return LinkrunnerEvent("purchase_refunded", data | changes, "user_42")


def printed(act: Callable[[Console], None], config: Config | None = None) -> list[list[str]]:
    """The words that the console prints meanwhile, without the time."""
    out = io.StringIO()
    with Console(out, config=config) as console:
        act(console)
    return [line.split()[1:] for line in out.getvalue().splitlines()]


def shown(
    *reports: Report, events: tuple[LinkrunnerEvent, ...] = (), config: Config | None = None
) -> list[list[str]]:
    """The words that the console prints about these reports, after these events were sent."""

    def act(console: Console) -> None:
        capture = console.watched(lambda _: None)
        for event in events:
            capture(event)
        for each in reports:
            console.observe(each)

    return printed(act, config)


def words(text: str) -> list[str]:
    """The text without its spacing."""
    return text.split()


REFUNDED = ("purchase_refunded",)


def test_console_shows_the_way_of_a_webhook() -> None:
    """One line when it is stored, one for what it became, with amount and user as sent."""
    lines = shown(
        report("receive", Outcome.QUEUED),
        report("deliver", Outcome.CAPTURED, event_names=REFUNDED),
        events=(sent(), sent(provider_event_id="evt_2")),
    )
    assert lines == [
        words("stripe charge.refunded verified queued evt_1"),
        words("stripe charge.refunded -> purchase_refunded 25.90 USD user_42 captured"),
    ]


def test_console_knows_fields_by_their_own_names() -> None:
    """Where webhooks.toml renames or drops fields, amount and user are shown all the same."""
    fields = {"amount": "total", "provider_event_id": "id", "source": False}
    event = sent(total=7.5, id="evt_1")
    for name in fields:
        del event.event_data[name]  # type: ignore[attr-defined]
    lines = shown(
        report("deliver", Outcome.CAPTURED, event_names=REFUNDED),
        events=(event,),
        config=Config({"stripe": {"fields": fields}}),
    )
    assert lines[0][2:] == words("-> purchase_refunded 7.50 USD user_42 captured")


def test_console_shows_the_event_that_a_failed_capture_did_not_send() -> None:
    """What Linkrunner did not take is not shown as sent later."""

    def refuse(request: ApiRequest) -> None:
        raise Unavailable("down", reason=Reason.NETWORK)

    def act(console: Console) -> None:
        with pytest.raises(Unavailable):
            console.watched(refuse)(sent())
        console.observe(report("deliver", Outcome.CAPTURED, event_names=REFUNDED))

    assert printed(act)[0][2:] == words("-> purchase_refunded captured")


def test_console_shows_names_where_nothing_was_seen() -> None:
    """Events that were not watched are shown by their names."""
    lines = shown(report("deliver", Outcome.CAPTURED, event_names=("a", "b")))
    assert [line[2:] for line in lines] == [["->", "a", "captured"], ["->", "b", "captured"]]


def test_console_marks_test_traffic() -> None:
    """Test-mode webhooks are told from sales in both lines."""
    lines = shown(
        report("receive", Outcome.QUEUED, test=True),
        report("deliver", Outcome.CAPTURED, event_names=("a",), test=True),
    )
    assert [line[-1] for line in lines] == ["(test)", "(test)"]


TABLES = Config({"stripe": {"events": {"invoice.paid": False}}, "shopify": {}})


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        (
            {"event_type": "charge.succeeded", "reason": Reason.UNWANTED},
            'off by default: set "charge.succeeded" = true in [stripe.events]',
        ),
        (
            {"event_type": "invoice.paid", "reason": Reason.UNWANTED},
            'switched off: set "invoice.paid" = true in [stripe.events]',
        ),
        (
            {"event_type": "orders/create", "reason": Reason.UNWANTED, "source": "shopify"},
            'off by default: set "orders/create" = true in [shopify.events]',
        ),
        ({"event_type": "refund.created", "reason": Reason.UNWANTED}, "never forwarded: "),
        ({"event_type": "x", "reason": Reason.UNWANTED}, "no mapper knows this type"),
        ({"reason": Reason.TEST}, "set test_events = true in [stripe]"),
        (
            {"event_type": "checkout.session.completed", "reason": Reason.NOTHING_TO_REPORT},
            'set "checkout.session.completed" = { subscription_created = true } in [stripe.events]',
        ),
    ],
)
def test_console_says_which_line_turns_it_on(changes: Mapping[str, Any], remedy: str) -> None:
    """A webhook that was ignored is shown with the line of webhooks.toml that forwards it."""
    (line,) = shown(report("receive", Outcome.IGNORED, **changes), config=TABLES)
    assert remedy in " ".join(line)


@pytest.mark.parametrize(
    ("outcome", "reason", "detail", "remedy"),
    [
        (Outcome.IGNORED, Reason.THIN, "", "choose the snapshot payload at Stripe"),
        (Outcome.PARKED, Reason.REFUSED, "answered 400", "`dlq show evt_1` says more"),
        (Outcome.RETRYING, Reason.UNAUTHORIZED, "answered 401", "the key is LINKRUNNER_SERVER_KEY"),
        (Outcome.RETRYING, Reason.UNAVAILABLE, "answered 404", "look at LINKRUNNER_BASE_URL"),
        (Outcome.RETRYING, Reason.UNAVAILABLE, "answered 302", "look at LINKRUNNER_BASE_URL"),
        (
            Outcome.RETRYING,
            Reason.UNAVAILABLE,
            "a page answered 200",
            "look at LINKRUNNER_BASE_URL",
        ),
        (Outcome.RETRYING, Reason.NETWORK, "cannot be reached", "look at LINKRUNNER_BASE_URL"),
        (Outcome.RETRYING, Reason.UNAVAILABLE, "answered 503", "answered 503"),
    ],
)
def test_console_says_the_next_step(
    outcome: Outcome, reason: Reason, detail: str, remedy: str
) -> None:
    """What goes wrong on the way is shown with what to do about it on this machine."""
    (line,) = shown(report("deliver", outcome, reason=reason, detail=detail), config=TABLES)
    assert remedy in " ".join(line)


def test_console_tells_a_wrong_secret_from_no_signature() -> None:
    """A request without a signature is another mistake; both get the line that starts with a secret."""
    told = {Reason.BAD_SIGNATURE: "no secret matches", Reason.UNSIGNED: "the request has no header"}

    def act(console: Console) -> None:
        for reason, detail in told.items():
            console.observe(report("receive", Outcome.REJECTED, reason=reason, detail=detail))

    wrong, unsigned = (" ".join(line) for line in printed(act, TABLES))
    assert "bad_signature no secret matches; " in wrong
    assert "unsigned the request has no header; " in unsigned
    for line in (wrong, unsigned):
        assert """WEBHOOK_SECRETS='{"stripe": ["whsec_..."]}' make run""" in line
        assert "`linkrunner-webhooks doctor` looks at the secrets" in line


def test_console_names_the_command_that_adds_a_provider() -> None:
    """A source that is called like a provider only lacks its table."""
    (line,) = printed(lambda console: console.unknown_source("paddle"), TABLES)
    hint = "no table [paddle]: `linkrunner-webhooks add paddle`, then start again"
    assert " ".join(line).endswith(hint)


def test_console_names_the_source_that_was_tried() -> None:
    """A source without a table is shown with its name and the nearest one, once."""
    unknown = report("receive", Outcome.REJECTED, source="unknown", reason=Reason.UNKNOWN_SOURCE)

    def act(console: Console) -> None:
        console.unknown_source("strip\x1b")
        console.observe(unknown)

    (line,) = printed(act, TABLES)
    assert line[0] == "strip?"
    assert " ".join(line).endswith('no table [strip?]; did you mean "stripe"?')


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("POST", "/webhook/stripe?token=secret", 'did you mean "/webhooks/stripe"?'),
        ("GET", "/webhooks/stripe", "webhooks are POSTed to /webhooks/{source}"),
    ],
)
def test_console_names_the_path_that_was_tried(method: str, target: str, expected: str) -> None:
    """A request to no path of ours is shown without its query, with where webhooks go."""
    (line,) = printed(lambda console: console.unknown_path(Request(method, target)), TABLES)
    text = " ".join(line)
    assert f"{method} {target.partition('?')[0]}" in text
    assert text.endswith(expected)
    assert "token" not in text


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (report("receive", Outcome.IGNORED, reason="test"), "verified ignored test evt_1"),
        (
            report("receive", Outcome.REJECTED, reason="malformed", detail="not JSON"),
            "rejected malformed not JSON",
        ),
        (
            report("deliver", Outcome.PARKED, reason="missing_user", detail="no id"),
            "-> parked missing_user no id; `dlq show evt_1` says more",
        ),
        (report("deliver", Outcome.DUPLICATE, event_names=("a",)), "-> a duplicate"),
    ],
)
def test_the_console_says_why_nothing_was_captured(reported: Report, expected: str) -> None:
    """Everything that was not captured is shown with its reason."""
    assert shown(reported)[0][2:] == words(expected)


def test_console_holds_nobody_up() -> None:
    """Output that nobody reads costs no webhook its time."""
    read, write = os.pipe()
    with (
        os.fdopen(read, "rb") as reader,
        os.fdopen(write, "w") as writer,
        Console(writer) as console,
    ):

        def webhooks() -> None:
            for _ in range(2000):
                console.observe(report("receive", Outcome.QUEUED))

        busy = threading.Thread(target=webhooks, daemon=True)
        busy.start()
        busy.join(60)
        held_up = busy.is_alive()
        # Read in any case: whoever is held up would never end.
        lines = [reader.readline() for _ in range(2000)]
    assert not held_up
    assert all(b"queued" in line for line in lines)


def test_console_is_plain_text_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is no colour and no wrapping."""
    with Console() as console:
        console.observe(report("deliver", Outcome.PARKED, detail="x" * 300))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("\n") == 1


# ------------------------------------------------------------------------- make run


@contextmanager
def make_run(folder: Path, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """The process of `make run`, with its state file in this folder."""
    own = {
        "PORT": "0",
        "NO_COLOR": "1",
        "LINKRUNNER_WEBHOOKS_STATE": str(folder / "stack.json"),
    } | changes
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-m", "linkrunner_webhooks_cli.run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=inherited | own,
        cwd=ROOT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(folder: Path) -> LocalStack:
    """The stack that the process announces when it listens."""
    local = eventually(lambda: state.read(folder / "stack.json"), seconds=30)
    assert local is not None
    return local


def stop(process: subprocess.Popen[str]) -> str:
    """What the stack printed until it ended well."""
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    return output


def post_checkout(
    url: str, *, livemode: bool = True, user: str = "user_42", id: str = "evt_1"
) -> Any:
    """The answer to a signed checkout session of this user."""
    sample = {
        "id": "cs_1",
        "object": "checkout.session",
        "mode": "payment",
        "status": "complete",
        "payment_status": "paid",
        "amount_total": 2599,
        "currency": "usd",
        "client_reference_id": user,
        "payment_intent": f"pi_{id}",
    }
    now = int(time.time())
    event: dict[str, Any] = {"id": id, "object": "event", "type": "checkout.session.completed"}
    event |= {"created": now, "livemode": livemode, "data": {"object": sample}}
    body = json.dumps(event).encode()
    secret = b"whsec_development_secret_stripe"
    signature = hmac.new(secret, f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Stripe-Signature": f"t={now},v1={signature}", "Content-Type": "application/json"}
    return get(urllib.request.Request(f"{url}/webhooks/stripe", body, headers))


def get(request: str | urllib.request.Request) -> Any:
    """The JSON that is answered."""
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def test_a_webhook_goes_all_the_way(tmp_path: Path) -> None:
    """A signed webhook is queued, delivered and shown, and the embedded Linkrunner has it."""
    with make_run(tmp_path) as process:
        local = ready(tmp_path)
        assert post_checkout(local.url)["status"] == "queued"
        [event] = eventually(lambda: get(f"{local.linkrunner_url}/events"))
        output = stop(process)
    assert event["event_name"] == "purchase_completed"
    assert event["event_data"]["amount"] == 25.99
    [line] = [line for line in output.splitlines() if "->" in line]
    assert words(line)[3:] == words("-> purchase_completed 25.99 USD user_42 captured")


def test_a_stop_signal_ends_it_cleanly(tmp_path: Path) -> None:
    """SIGTERM stops everything, with exit code 0 and nothing left behind."""
    with make_run(tmp_path) as process:
        local = ready(tmp_path)
        assert get(f"{local.url}/healthz") == {"status": "ok"}
        output = stop(process)
    assert f"{local.url}/webhooks/" in output
    assert not is_open(local.aws)
    assert list(tmp_path.iterdir()) == []


def test_a_webhook_that_somebody_else_signed(tmp_path: Path) -> None:
    """A wrong signature is answered 401 and shown once, with the next step."""
    with make_run(tmp_path, WEBHOOK_SECRETS='{"stripe": ["whsec_other"]}') as process:
        local = ready(tmp_path)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            post_checkout(local.url)
        output = stop(process)
    [line] = [line for line in output.splitlines() if "rejected" in line]
    why = "no live signing secret of this source matches the request"
    assert f"bad_signature  {why}; to use another secret: " in line


def test_what_is_lost_is_counted(tmp_path: Path) -> None:
    """The end of the stack says how many parked and waiting webhooks end with it."""
    nobody = {"LINKRUNNER_BASE_URL": "http://127.0.0.1:9"}
    with make_run(tmp_path, **nobody) as process:
        local = ready(tmp_path)
        post_checkout(local.url)
        post_checkout(local.url, user="guest", id="evt_2")
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        seen = {"retrying", "parked"}
        while seen:
            line = next(lines)
            seen -= {word for word in seen if f" {word} " in line}
        output = stop(process)
    assert "1 parked and 1 waiting are gone with it; send them again" in output


def test_a_fix_is_used_without_another_start(tmp_path: Path) -> None:
    """Fix the path, preview, redrive: what `dlq preview` promises is captured by the stack that runs."""
    path = tmp_path / "webhooks.toml"
    path.write_text('[stripe]\nuser_id = ["data.object.nowhere"]\n')
    with make_run(tmp_path, WEBHOOKS_TOML=str(path)) as process:
        local = ready(tmp_path)
        post_checkout(local.url)
        dlq = f"{sys.executable} -m linkrunner_webhooks_cli dlq"
        assert process.stdout is not None
        next(line for line in iter(process.stdout.readline, "") if " parked " in line)
        path.write_text('[stripe]\nuser_id = ["data.object.client_reference_id"]\n')
        assert "captured" in second_terminal(tmp_path, f"{dlq} preview").stdout
        assert "1 moved." in second_terminal(tmp_path, f"{dlq} redrive").stderr
        [event] = eventually(lambda: get(f"{local.linkrunner_url}/events"))
        output = stop(process)
    assert event["user_id"] == "user_42"
    assert "webhooks.toml was changed and read again." in output
    assert "gone with it" not in output


def test_a_real_linkrunner_gets_no_test_traffic(tmp_path: Path) -> None:
    """With LINKRUNNER_BASE_URL sales are sent there and shown, and test-mode webhooks are dropped."""
    with EmbeddedLinkrunner(key="theirs") as linkrunner:
        there = {"LINKRUNNER_BASE_URL": linkrunner.url, "LINKRUNNER_SERVER_KEY": "theirs"}
        with make_run(tmp_path, **there) as process:
            local = ready(tmp_path)
            assert post_checkout(local.url, livemode=False)["status"] == "ignored"
            assert post_checkout(local.url)["status"] == "queued"
            eventually(lambda: linkrunner.events)
            output = stop(process)
    assert "test mode   webhooks are dropped" in output
    assert "(test)  test traffic: set test_events = true in [stripe]" in output
    [line] = [line for line in output.splitlines() if "->" in line]
    assert words(line)[3:] == words("-> purchase_completed 25.99 USD user_42 captured")


def second_terminal(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """The result of a command line in a shell that knows nothing but where the state file is."""
    return subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LINKRUNNER_WEBHOOKS_STATE": str(folder / "stack.json"),
        },
        cwd=ROOT,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_terminal_knows_what_the_first_was_told(tmp_path: Path) -> None:
    """The banner's own commands work with another port, file and secret, and test traffic is marked."""
    path = tmp_path / "webhooks.toml"
    path.write_text('[shop_eu]\nprovider = "stripe"\n')
    secrets = '{"shop_eu": ["whsec_eu"]}'
    with make_run(tmp_path, WEBHOOKS_TOML=str(path), WEBHOOK_SECRETS=secrets) as process:
        local = ready(tmp_path)
        assert process.stdout is not None
        banner = list(iter(process.stdout.readline, "Ctrl-C stops it.\n"))
        send, dlq = (line.strip() for line in banner[banner.index("In a second terminal:\n") + 1 :])
        sent = second_terminal(tmp_path, f"{send} --set livemode=false")
        assert sent.returncode == 0, sent.stderr
        assert f"using the running stack at {local.url}, {path}" in sent.stderr
        [event] = eventually(lambda: get(f"{local.linkrunner_url}/events"))
        looked = second_terminal(tmp_path, dlq)
        assert looked.stderr.endswith("Nothing is parked.\n")
        output = stop(process)
    assert event["event_data"]["source"] == "shop_eu"
    [line] = [line for line in output.splitlines() if "->" in line]
    assert line.endswith("captured  (test)")


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    """A port that is taken ends the start with one sentence, exit code 1."""
    with listen() as taken, make_run(tmp_path, PORT=str(taken.getsockname()[1])) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "PORT" in errors
