"""The policies in docs/policies allow what operators do, and no more."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import click
import pytest
from botocore.client import BaseClient
from click.testing import CliRunner
from tests.embedded import eventually
from tests.messages import another
from tests.policies import ACCOUNT, REGION, Node, actions, allows, made

from linkrunner_webhooks import dead_letters
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.queues import typed
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_local import template as templates
from linkrunner_webhooks_local.embedded_aws import embedded_aws
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.project import ROOT, TEMPLATE

FOLDER = ROOT / "docs" / "policies"
OPERATOR = FOLDER / "operator.yaml"

STACK, OTHER = "shop", "shop-eu"
KEY = "server_key_0123"
TAG = "aws:ResourceTag/aws:cloudformation:stack-name"
HERE = f"{REGION}:{ACCOUNT}"


# ------------------------------------------------------------------------------- what the commands ask of AWS

# Ways to run each command that knows --stack, with what it reads from standard input.
LOOKING = {
    "check": "",
    "report": "",
    "trace user_42": "",
    "trace pi_1 --logs": "",
    "tail --limit 1 --since 1h": "",
    "dlq list": "",
    "dlq show {event}": "",
    "dlq preview": "",
    "dlq redrive --dry-run": "",
    "dlq discard --dry-run": "",
}
OPERATING = {
    "secrets set stripe": "whsec_0123456789",
    "secrets list": "",
    "secrets drop stripe --all --yes": "",
    "secrets server-key": KEY,
    "doctor": "",
    "doctor --users 2": "",
    "send stripe invoice.paid --secret whsec_0123456789": "",
    "send stripe invoice.paid": "",
    "forget user_42 --yes": "",
    "dlq redrive --force": "",
    "dlq discard --captured --yes --to {folder}/copies.jsonl": "",
}
# What no command asks for yet.
AHEAD = {
    "cloudwatch:GetMetricData": "doctor is to read the metrics of the last hours",
    "sns:ListSubscriptionsByTopic": "doctor is to say whether somebody confirmed to get the alarms",
}


class Request(NamedTuple):
    """What AWS decides on: an action and the ARN it is for."""

    action: str
    resource: str


Requests = dict[str, set[Request]]
Client = Callable[[Any], Any]


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Requests:
    """The requests of each command line above, to a stack that is found as a deployed one."""
    found: Requests = {}
    folder = tmp_path_factory.mktemp("copies")
    with (
        embedded_aws() as aws,
        EmbeddedLinkrunner(key=KEY) as linkrunner,
        pytest.MonkeyPatch.context() as patch,
    ):
        client = cache(aws.client)
        outputs = deployed(client, linkrunner.url)
        for name, value in aws.environment.items():
            patch.setenv(name, value)
        for name in ("PORT", "WEBHOOKS_TOML", "WEBHOOK_SECRETS"):
            patch.delenv(name, raising=False)
        # The embedded queue has one server.
        patch.setattr(dead_letters, "PATIENCE", 0)
        for line, text in {**LOOKING, **OPERATING}.items():
            event = fill(client, outputs)
            arguments = line.format(event=event, folder=folder).split()
            with recorded(patch) as asked:
                result = CliRunner().invoke(main, [*arguments, "--stack", STACK], input=text)
            assert result.exit_code in (0, 1), result.output
            found[line] = asked
    return found


def deployed(client: Client, linkrunner_url: str) -> dict[str, str]:
    """Create what commands use of the template under the name of a deployed stack; its outputs."""
    source = templates.load(TEMPLATE)
    template = templates.plain(source)
    groups = {
        name: each
        for name, each in source["Resources"].items()
        if each["Type"] == "AWS::Logs::LogGroup"
    }
    template["Resources"] |= groups
    template["Outputs"] |= {"WebhookUrl": {"Value": "http://127.0.0.1:9/webhooks/"}}
    template["Parameters"] |= {"LinkrunnerBaseUrl": {"Type": "String", "Default": linkrunner_url}}
    client("cloudformation").create_stack(StackName=STACK, TemplateBody=json.dumps(template))

    def created() -> Any:
        (stack,) = client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        return stack if stack["StackStatus"] == "CREATE_COMPLETE" else None

    return {each["OutputKey"]: each["OutputValue"] for each in eventually(created)["Outputs"]}


def fill(client: Client, outputs: dict[str, str]) -> str:
    """Put a captured sale, a link, a parked and a waiting webhook and an outcome there; the event's id."""
    ledger = Ledger(client("dynamodb"), outputs["LedgerTableName"])
    sent = {"source": "stripe", "kind": "purchase_completed", "event_name": "purchase_completed"}
    ledger.facts.complete(["stripe|payment|pi_1"], "user_42", "one", sent=sent)
    ledger.links.learn("@person|stripe|customer|cus_1", "user_42", 1)
    message = another(7, client_reference_id="user_42")
    story = {"reason": "refused", "error": "no"}
    for output in ("DeadLetterQueueUrl", "WebhookQueueUrl"):
        client("sqs").send_message(
            QueueUrl=outputs[output],
            MessageBody=message.text,
            MessageAttributes=typed({**message.attributes, **story}),
        )
    log(client("logs"), f"/aws/lambda/{STACK}-deliver", '{"outcome": "captured"}')
    return message.attributes["event_id"]


def log(client: Any, group: str, line: str) -> None:
    """Write a line into a stream of its own."""
    now = time.time_ns()
    client.create_log_stream(logGroupName=group, logStreamName=str(now))
    event = {"timestamp": now // 1_000_000, "message": line}
    client.put_log_events(logGroupName=group, logStreamName=str(now), logEvents=[event])


@contextmanager
def recorded(patch: pytest.MonkeyPatch) -> Iterator[set[Request]]:
    """What the SDK is asked for meanwhile."""
    asked: set[Request] = set()
    real: Callable[..., Any] = BaseClient._make_api_call

    def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        # A batch is allowed with what is in it.
        action = f"{client.meta.service_model.service_name}:{operation.removesuffix('Batch')}"
        asked.update(Request(action, resource) for resource in resources_of(parameters))
        return real(client, operation, parameters)

    with patch.context() as meanwhile:
        meanwhile.setattr(BaseClient, "_make_api_call", call)
        yield asked


def resources_of(parameters: dict[str, Any]) -> list[str]:
    """The ARNs of what a request is about; "*" where IAM knows none."""
    match parameters:
        case {"StackName": name}:
            found = [f"arn:aws:cloudformation:{HERE}:stack/{name}/0123"]
        case {"QueueUrl": url}:
            found = [f"arn:aws:sqs:{HERE}:{url.rpartition('/')[2]}"]
        case {"TableName": table, "IndexName": index}:
            found = [f"arn:aws:dynamodb:{HERE}:table/{table}/index/{index}"]
        case {"TableName": table}:
            found = [f"arn:aws:dynamodb:{HERE}:table/{table}"]
        case {"RequestItems": tables}:
            found = [f"arn:aws:dynamodb:{HERE}:table/{table}" for table in tables]
        case {"SecretId": id}:
            found = [f"arn:aws:secretsmanager:{HERE}:secret:{id.rpartition(':')[2]}-AbCdEf"]
        case {"logGroupName": group}:
            found = [f"arn:aws:logs:{HERE}:log-group:{group}:*"]
        case {"logGroupNames": groups}:
            found = [f"arn:aws:logs:{HERE}:log-group:{group}:*" for group in groups]
        case {"TopicArn": topic}:
            found = [topic]
        case _:
            found = ["*"]
    return found


# ------------------------------------------------------------------------------- the operator's policies


def operator(*names: str, **parameters: str) -> list[Node]:
    """The statements of these policies."""
    resources = made(OPERATOR, StackName=STACK, **parameters)
    return [each for name in names for each in resources[name]["PolicyDocument"]["Statement"]]


def refused(statements: list[Node], requests: set[Request], stack: str = STACK) -> set[Request]:
    """The requests that are not allowed."""
    return {each for each in requests if not allows(statements, *each, {TAG: stack})}


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command, by its name."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_command_that_knows_a_stack_is_tried() -> None:
    """A new one is told to this file."""
    known = {
        name for name, each in commands() if "--stack" in {o for p in each.params for o in p.opts}
    }
    tried = {
        name
        for name in known
        for line in (*LOOKING, *OPERATING)
        if f"{line} ".startswith(f"{name} ")
    }
    assert known == tried


@pytest.mark.parametrize("line", LOOKING)
def test_who_may_look_can_look(requests: Requests, line: str) -> None:
    """Nothing that a command asks of AWS for this is refused."""
    assert requests[line]
    assert refused(operator("Look"), requests[line]) == set()


@pytest.mark.parametrize("line", OPERATING)
def test_who_may_operate_can_operate(requests: Requests, line: str) -> None:
    """With both policies, every command works."""
    assert requests[line]
    assert refused(operator("Look", "Operate"), requests[line]) == set()


def test_looking_changes_nothing_and_reads_no_secret() -> None:
    """Whoever only looks may be anybody who answers for sales."""
    changing = re.compile(r"\w+:(Put|Update|Delete|Send)|secretsmanager:|dynamodb:Scan")
    assert [each for each in actions(operator("Look")) if changing.match(each)] == []


def test_operators_have_no_permission_they_do_not_use(requests: Requests) -> None:
    """Each action is one that a command asks for, or is explained here."""
    used = {each.action for asked in requests.values() for each in asked}
    assert actions(operator("Look", "Operate")) - used - set(AHEAD) == set()
    assert set(AHEAD) <= actions(operator("Look")) - used, "asked for now: take it from AHEAD"


def test_another_stack_is_out_of_an_operators_reach(requests: Requests) -> None:
    """Also one whose name begins with this one's."""
    elsewhere = {
        Request(each.action, re.sub(rf"\b{STACK}\b", OTHER, each.resource))
        for asked in requests.values()
        for each in asked
        if each.resource != "*"
    }
    assert refused(operator("Look", "Operate"), elsewhere, OTHER) == elsewhere


def test_a_table_that_the_stack_did_not_make_is_allowed_by_its_name(requests: Requests) -> None:
    """With LedgerTableName everything works on that table, and its index."""
    adopted = {
        Request(each.action, re.sub(r"table/[^/]+", "table/old-ledger", each.resource))
        for asked in requests.values()
        for each in asked
        if each.resource.startswith("arn:aws:dynamodb:")
    }
    assert refused(operator("Look", "Operate"), adopted) == adopted
    assert refused(operator("Look", "Operate", LedgerTableName="old-ledger"), adopted) == set()


def test_an_alarm_topic_of_ones_own_is_allowed_by_its_arn() -> None:
    """Whether somebody confirmed can be seen of both topics."""
    ours, topic = f"arn:aws:sns:{HERE}:{STACK}-AlarmTopic-1", f"arn:aws:sns:{HERE}:ops"
    asked = {Request("sns:ListSubscriptionsByTopic", each) for each in (ours, topic)}
    assert {each.resource for each in refused(operator("Look"), asked)} == {topic}
    assert refused(operator("Look", AlarmTopicArn=topic), asked) == set()
