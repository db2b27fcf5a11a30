"""The policies in docs/policies allow what operators and a deploying job do, and no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from botocore.client import BaseClient
from click.testing import CliRunner
from tests.embedded import eventually
from tests.imitations.stripe import Stripe
from tests.messages import another
from tests.policies import ACCOUNT, REGION, Evaluation, Node, actions, allows, evaluation, made
from tests.samples import load

from linkrunner_webhooks import dead_letters
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.queues import typed
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_local import template as templates
from linkrunner_webhooks_local.embedded_aws import embedded_aws
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.project import ROOT, TEMPLATE

FOLDER = ROOT / "docs" / "policies"
OPERATOR, DEPLOY_ROLE = FOLDER / "operator.yaml", FOLDER / "deploy-role.yaml"
GITHUB, GITLAB = FOLDER / "github-deploy.yaml", FOLDER / "gitlab-deploy.yaml"

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
    "reconcile stripe": "",
}
OPERATING = {
    "connect stripe --yes --url https://hooks.example.com/webhooks/stripe": "",
    "reconcile stripe --fill --yes": "",
    "secrets set stripe": "whsec_0123456789",
    "secrets list": "",
    "secrets drop stripe --all --yes": "",
    "secrets server-key": KEY,
    "secrets provider-key gocardless --config {folder}/webhooks.toml": KEY,
    "doctor": "",
    "doctor --users 2": "",
    "send stripe invoice.paid --secret whsec_0123456789": "",
    "send stripe invoice.paid": "",
    "forget user_42 --yes": "",
    "dlq redrive --force": "",
    "dlq discard --captured --yes --to {folder}/copies.jsonl": "",
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
    (folder / "webhooks.toml").write_text("[stripe]\n[gocardless]\n")
    with (
        embedded_aws() as aws,
        EmbeddedLinkrunner(key=KEY) as linkrunner,
        pytest.MonkeyPatch.context() as patch,
        _stripe().serving() as environment,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
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


def _stripe() -> Stripe:
    """Stripe's API, which lists a sale that never arrived."""
    vendor = Stripe()
    sale = load("stripe", "checkout.session.completed").webhook()
    vendor.happen(sale, datetime.now(UTC) - timedelta(hours=1))
    return vendor


def deployed(client: Client, linkrunner_url: str) -> dict[str, str]:
    """Create what commands use of the template under the name of a deployed stack; its outputs."""
    source = templates.load(TEMPLATE)
    template = templates.plain(source)
    told = ("AWS::Logs::LogGroup", "AWS::SNS::Topic", "AWS::KMS::Key")
    besides = {name: each for name, each in source["Resources"].items() if each["Type"] in told}
    template["Resources"] |= besides
    template["Parameters"]["AlarmEmail"]["Default"] = "ops@example.com"
    template["Parameters"]["ProviderKeys"]["Default"] = "on"
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
    } - {
        "init",
        "console",
    }  # One writes a name down; the other asks what tail, dlq, trace and report ask.
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
    """Each action is one that a command asks for."""
    used = {each.action for asked in requests.values() for each in asked}
    assert actions(operator("Look", "Operate")) - used == set()


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


# ------------------------------------------------------------------------------- what a deployment makes

TRANSFORM = """
import json, sys
from samtranslator.translator.transform import transform
print(json.dumps(transform(json.load(sys.stdin), {}, type("NoPolicies", (), {"load": dict}))))
"""
SERVICE = "ops.apigateway.amazonaws.com"
DOMAIN, ZONE = "webhooks.example.com", "Z0123456789ABCDEFGHIJ"
RANDOM = "1ABCDEFGHIJKL"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"

# Where the physical name of a resource is given, and to which other one a part belongs.
NAMED = {
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SQS::Queue": "QueueName",
}
PART_OF = {
    "AWS::Lambda::EventSourceMapping": "FunctionName",
    "AWS::Lambda::Permission": "FunctionName",
    "AWS::Logs::MetricFilter": "LogGroupName",
    "AWS::SNS::TopicPolicy": "Topics",
    "AWS::SQS::QueuePolicy": "Queues",
}


class Need(NamedTuple):
    """Actions of a service on a resource. `where` is its ARN without the beginning, or "*"."""

    service: str
    where: str
    names: str

    def requests(self, name: str) -> set[Request]:
        """For the resource of this name."""
        where = self.where.format(here=HERE, region=REGION, account=ACCOUNT, name=name)
        arn = where if where == "*" else f"arn:aws:{self.service}:{where}"
        return {Request(f"{self.service}:{action}", arn) for action in self.names.split()}


_RECORDS = (
    Need(
        "route53",
        f"::hostedzone/{ZONE}",
        "ChangeResourceRecordSets ListResourceRecordSets GetHostedZone",
    ),
    Need("route53", "::change/C0123", "GetChange"),
    Need("route53", "*", "ListHostedZones"),
)
_TAGS = "TagResource UntagResource ListTagsForResource"

# What CloudFormation asks for to create, change and delete a resource: the `handlers` of its type's schema,
# without what properties need that we do not set, and without reading secrets and rows.
NEEDED: dict[str, tuple[Need, ...]] = {
    "AWS::ApiGatewayV2::Api": (
        Need("apigateway", "{region}::/apis", "POST PUT TagResource"),
        Need("apigateway", "{region}::/apis/abc", "GET PATCH PUT POST DELETE TagResource"),
        Need("apigateway", "{region}::/tags/arn", "GET POST PUT DELETE"),
        # The first one in an account.
        Need("iam", f":{{account}}:role/aws-service-role/{SERVICE}/1", "CreateServiceLinkedRole"),
    ),
    "AWS::ApiGatewayV2::ApiMapping": (
        Need("apigateway", f"{{region}}::/domainnames/{DOMAIN}/apimappings", "POST"),
        Need(
            "apigateway", f"{{region}}::/domainnames/{DOMAIN}/apimappings/1", "GET PATCH PUT DELETE"
        ),
    ),
    "AWS::ApiGatewayV2::DomainName": (
        Need("apigateway", "{region}::/domainnames", "POST"),
        Need("apigateway", f"{{region}}::/domainnames/{DOMAIN}", "GET PATCH PUT POST DELETE"),
    ),
    "AWS::ApiGatewayV2::Stage": (
        Need("apigateway", "{region}::/apis/abc/stages", "POST TagResource"),
        Need("apigateway", "{region}::/apis/abc/stages/$default", "GET PATCH DELETE"),
        Need("apigateway", "{region}::/apis/abc/stages/$default", "TagResource UntagResource"),
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
        Need("logs", "*", "CreateLogDelivery UpdateLogDelivery DeleteLogDelivery GetLogDelivery"),
        Need("logs", "*", "ListLogDeliveries PutResourcePolicy DescribeResourcePolicies"),
    ),
    "AWS::CloudWatch::Alarm": (
        Need("cloudwatch", "{here}:alarm:{name}", f"PutMetricAlarm DeleteAlarms {_TAGS}"),
        Need("cloudwatch", "{here}:alarm:*", "DescribeAlarms"),
    ),
    "AWS::CloudWatch::Dashboard": (
        Need(
            "cloudwatch",
            ":{account}:dashboard/{name}",
            f"PutDashboard GetDashboard DeleteDashboards {_TAGS}",
        ),
    ),
    "AWS::DynamoDB::Table": (
        Need("dynamodb", "{here}:table/{name}", "CreateTable UpdateTable DeleteTable"),
        Need("dynamodb", "{here}:table/{name}", "DescribeTable UpdateTimeToLive"),
        Need("dynamodb", "{here}:table/{name}", "DescribeTimeToLive UpdateContinuousBackups"),
        Need("dynamodb", "{here}:table/{name}", "DescribeContinuousBackups GetResourcePolicy"),
        Need("dynamodb", "{here}:table/{name}", "DescribeContributorInsights ListTagsOfResource"),
        Need("dynamodb", "{here}:table/{name}", "DescribeKinesisStreamingDestination"),
        Need("dynamodb", "{here}:table/{name}", "TagResource UntagResource"),
    ),
    "AWS::Events::Rule": (
        Need("events", "{here}:rule/{name}", "PutRule DescribeRule DeleteRule PutTargets"),
        Need("events", "{here}:rule/{name}", f"RemoveTargets ListTargetsByRule {_TAGS}"),
    ),
    "AWS::IAM::Role": (
        Need("iam", ":{account}:role/{name}", "CreateRole GetRole UpdateRole DeleteRole"),
        Need("iam", ":{account}:role/{name}", "PutRolePolicy GetRolePolicy DeleteRolePolicy"),
        Need("iam", ":{account}:role/{name}", "ListRolePolicies ListAttachedRolePolicies"),
        Need("iam", ":{account}:role/{name}", "UpdateRoleDescription UpdateAssumeRolePolicy"),
        Need("iam", ":{account}:role/{name}", "TagRole UntagRole PutRolePermissionsBoundary"),
        Need("iam", ":{account}:role/{name}", "ListRoleTags PassRole"),
    ),
    "AWS::KMS::Key": (
        Need("kms", "*", "CreateKey"),
        Need("kms", "{here}:key/0123", "DescribeKey EnableKey DisableKey EnableKeyRotation"),
        Need("kms", "{here}:key/0123", "DisableKeyRotation PutKeyPolicy ScheduleKeyDeletion"),
        Need("kms", "{here}:key/0123", "TagResource UntagResource UpdateKeyDescription"),
        Need("kms", "{here}:key/0123", "GetKeyPolicy GetKeyRotationStatus ListResourceTags"),
    ),
    "AWS::Lambda::EventSourceMapping": (
        Need("lambda", "*", "CreateEventSourceMapping"),
        Need("lambda", "{here}:event-source-mapping:0123", "GetEventSourceMapping"),
        Need("lambda", "{here}:event-source-mapping:0123", "UpdateEventSourceMapping"),
        Need("lambda", "{here}:event-source-mapping:0123", "DeleteEventSourceMapping"),
        Need("lambda", "{here}:event-source-mapping:0123", "TagResource UntagResource ListTags"),
    ),
    "AWS::Lambda::Function": (
        Need("lambda", "{here}:function:{name}", "CreateFunction GetFunction DeleteFunction"),
        Need("lambda", "{here}:function:{name}", "UpdateFunctionCode UpdateFunctionConfiguration"),
        Need("lambda", "{here}:function:{name}", "PutFunctionConcurrency TagResource ListTags"),
        Need("lambda", "{here}:function:{name}", "DeleteFunctionConcurrency UntagResource"),
        Need("lambda", "{here}:function:{name}", "GetFunctionCodeSigningConfig"),
        Need("lambda", "{here}:function:{name}", "GetFunctionScalingConfig"),
        Need("lambda", "{here}:function:{name}", "GetRuntimeManagementConfig"),
        Need("lambda", "{here}:function:{name}", "GetFunctionRecursionConfig"),
        Need("s3", "::aws-sam-cli-managed-default-samclisourcebucket-1/0123", "GetObject"),
    ),
    "AWS::Lambda::Permission": (
        Need("lambda", "{here}:function:{name}", "AddPermission RemovePermission GetPolicy"),
    ),
    "AWS::Logs::LogGroup": (
        Need("logs", "*", "DescribeLogGroups DescribeIndexPolicies"),
        Need("logs", "{here}:log-group:{name}", "CreateLogGroup DeleteLogGroup"),
        Need("logs", "{here}:log-group:{name}:*", "PutRetentionPolicy DeleteRetentionPolicy"),
        Need("logs", "{here}:log-group:{name}", f"{_TAGS} GetDataProtectionPolicy"),
    ),
    "AWS::Logs::MetricFilter": (
        Need("logs", "{here}:log-group:{name}:*", "PutMetricFilter DescribeMetricFilters"),
        Need("logs", "{here}:log-group:{name}:*", "DeleteMetricFilter"),
    ),
    "AWS::Route53::RecordSet": _RECORDS,
    "AWS::SNS::Topic": (
        Need("sns", "{here}:{name}", "CreateTopic GetTopicAttributes SetTopicAttributes"),
        Need("sns", "{here}:{name}", f"DeleteTopic Subscribe Unsubscribe {_TAGS}"),
        Need("sns", "{here}:{name}", "ListSubscriptionsByTopic GetDataProtectionPolicy"),
    ),
    "AWS::SQS::Queue": (
        Need("sqs", "{here}:{name}", "CreateQueue GetQueueUrl GetQueueAttributes DeleteQueue"),
        Need("sqs", "{here}:{name}", "SetQueueAttributes ListQueueTags TagQueue UntagQueue"),
    ),
    "AWS::SNS::TopicPolicy": (
        Need("sns", "{here}:{name}", "GetTopicAttributes SetTopicAttributes"),
    ),
    "AWS::SQS::QueuePolicy": (Need("sqs", "{here}:{name}", "SetQueueAttributes"),),
    "AWS::SecretsManager::Secret": (
        Need("secretsmanager", "{here}:secret:{name}-AbCdEf", "CreateSecret UpdateSecret"),
        Need("secretsmanager", "{here}:secret:{name}-AbCdEf", "DescribeSecret DeleteSecret"),
        Need("secretsmanager", "{here}:secret:{name}-AbCdEf", "TagResource UntagResource"),
    ),
}


_BUCKET = "::aws-sam-cli-managed-default-samclisourcebucket-1"

# What `sam package` and a change set ask for.
PACKAGING = (
    *(
        Need("cloudformation", f"{{here}}:stack/{stack}/1", names)
        for stack in (STACK, "aws-sam-cli-managed-default")
        for names in (
            "CreateChangeSet DescribeChangeSet ExecuteChangeSet DeleteChangeSet ListChangeSets",
            "DescribeStacks DescribeStackEvents DescribeStackResources",
            "GetTemplate GetTemplateSummary TagResource UntagResource",
        )
    ),
    Need("cloudformation", "{region}:aws:transform/Serverless-2016-10-31", "CreateChangeSet"),
    Need("cloudformation", "*", "GetTemplateSummary ValidateTemplate"),
    Need("dynamodb", "*", "ListTables"),
    Need("dynamodb", "{here}:table/former-LedgerTable-1", "DescribeTable"),
    Need("s3", f"{_BUCKET}/0123.template", "PutObject GetObject GetObjectVersion"),
    Need("s3", f"{_BUCKET}/0123", "AbortMultipartUpload"),
    Need("s3", _BUCKET, "ListBucket GetBucketLocation CreateBucket PutBucketTagging TagResource"),
    Need(
        "s3", _BUCKET, "PutBucketVersioning PutBucketPublicAccessBlock PutEncryptionConfiguration"
    ),
    Need("s3", _BUCKET, "GetBucketPolicy PutBucketPolicy"),
)


@cache
def functions() -> Evaluation:
    """The template's functions, in the stack."""
    return evaluation(templates.load(TEMPLATE), **{"AWS::StackName": STACK})


@cache
def resources() -> dict[str, Node]:
    """What the template makes when SAM is through with it, and what it could."""
    template = templates.load(TEMPLATE)
    for each in template["Resources"].values():
        if each["Type"] == "AWS::Serverless::Function":
            each["Properties"]["CodeUri"] = "s3://bucket/package"
    sam = subprocess.run(
        [ROOT / ".venvs" / "sam" / "bin" / "python", "-c", TRANSFORM],
        input=json.dumps(template),
        env=os.environ | {"AWS_DEFAULT_REGION": REGION},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Node] = json.loads(sam.stdout)["Resources"]
    return found


def name_of(id: str) -> str:
    """The physical name of a resource, as CloudFormation gives it."""
    resource = resources()[id]
    kind, properties = resource["Type"], resource["Properties"]
    if kind in PART_OF:
        (whole,) = templates.references(properties[PART_OF[kind]])
        return name_of(whole)
    if kind in NAMED:
        return str(functions().of(properties[NAMED[kind]]))
    return f"{id}-{RANDOM}" if kind == "AWS::SecretsManager::Secret" else f"{STACK}-{id}-{RANDOM}"


def deploying(**parameters: str) -> list[Node]:
    """The statements of the deploying job's role."""
    return [each for policy in policies_of_role(**parameters) for each in policy]


def policies_of_role(**parameters: str) -> list[list[Node]]:
    """The statements of each policy that the role has."""
    given = {"Provider": "github", "StackName": STACK} | parameters
    resources = made(DEPLOY_ROLE, **given).values()
    attached = [each for each in resources if each.get("Roles") == ["DeployRole"]]
    return [each["PolicyDocument"]["Statement"] for each in attached]


def role(**parameters: str) -> Node:
    """The role that takes a job of GitHub, unless the parameters say otherwise."""
    return made(DEPLOY_ROLE, **{"Provider": "github", "StackName": STACK} | parameters)[
        "DeployRole"
    ]


CONTEXT = {
    TAG: STACK,
    "aws:CalledVia": "cloudformation.amazonaws.com",
    "aws:ResourceAccount": ACCOUNT,
    "iam:AWSServiceName": SERVICE,
    "iam:PassedToService": "lambda.amazonaws.com",
    "iam:PermissionsBoundary": BOUNDARY,
    "lambda:FunctionArn": f"arn:aws:lambda:{HERE}:function:{STACK}-DeliverFunction-{RANDOM}",
}
EVERYTHING = {"DomainName": DOMAIN, "HostedZoneId": ZONE, "PermissionsBoundaryArn": BOUNDARY}


def test_every_type_that_is_deployed_is_known_here() -> None:
    """A resource of a new type is not forgotten in the role."""
    assert {each["Type"] for each in resources().values()} - set(NEEDED) == set()


@pytest.mark.parametrize("kind", NEEDED)
def test_a_job_can_make_change_and_delete_what_is_deployed(kind: str) -> None:
    """Each resource under the name that CloudFormation gives it, with all that a deployment can have."""
    ids = [id for id, each in resources().items() if each["Type"] == kind]
    wanted = {r for id in ids for need in NEEDED[kind] for r in need.requests(name_of(id))}
    assert wanted
    statements = deploying(**EVERYTHING)
    assert {each for each in wanted if not allows(statements, *each, CONTEXT)} == set()


def test_a_job_can_package_and_change_the_stack() -> None:
    """What `sam package` and a change set ask for, on SAM's bucket, its stack and ours."""
    wanted = {each for need in PACKAGING for each in need.requests("")}
    assert {each for each in wanted if not allows(deploying(), *each, CONTEXT)} == set()


def test_a_job_has_no_permission_it_does_not_need() -> None:
    """Each action is one that some resource of the application, the package or the change set needs."""
    needs = [*PACKAGING, *(need for each in NEEDED.values() for need in each)]
    needed = {each.action for need in needs for each in need.requests("")}
    assert actions(deploying(**EVERYTHING)) - needed == set()


# ------------------------------------------------------------------------------- what a deployment may not


@pytest.mark.parametrize(
    "need",
    [
        Need("secretsmanager", "{here}:secret:WebhookSecrets-1-AbCdEf", "GetSecretValue"),
        Need("secretsmanager", "*", "BatchGetSecretValue"),
        Need("sqs", "{here}:shop-webhooks", "ReceiveMessage"),
        Need("sqs", "{here}:shop-dead-letters", "ReceiveMessage"),
        Need("dynamodb", "{here}:table/shop-LedgerTable-1", "GetItem BatchGetItem Query Scan"),
        Need("sts", ":{account}:role/shop-ReceiveRole-1", "AssumeRole"),
    ],
)
def test_a_job_reads_no_secret_and_no_message(need: Need) -> None:
    """It is denied: neither another policy nor one of the queue, which the job may set, lets it in."""
    denied = [each for each in deploying(**EVERYTHING) if each["Effect"] == "Deny"]
    for request in need.requests(""):
        assert request.action in actions(denied, "Deny")
        assert [each["Resource"] for each in denied] == ["*"]
        assert not allows(deploying(**EVERYTHING), *request, CONTEXT)


def test_a_job_runs_no_function_and_moves_no_message() -> None:
    """What could read or lose webhooks in its place is not allowed, either; nor is deleting the stack."""
    allowed = actions(deploying(**EVERYTHING))
    reading = {
        "cloudformation:DeleteStack",
        "kms:Decrypt",
        "lambda:InvokeFunction",
        "logs:FilterLogEvents",
        "logs:GetLogEvents",
        "logs:StartQuery",
        "s3:DeleteBucket",
        "s3:DeleteObject",
        "secretsmanager:PutResourcePolicy",
        "secretsmanager:PutSecretValue",
        "sqs:DeleteMessage",
        "sqs:PurgeQueue",
        "sqs:SendMessage",
        "sqs:StartMessageMoveTask",
    }
    assert allowed & reading == set()


@pytest.mark.parametrize(
    "need",
    [
        Need("iam", ":{account}:role/shop-admin", "PutRolePolicy UpdateAssumeRolePolicy PassRole"),
        Need("iam", ":{account}:role/shop-eu-ReceiveRole-1", "PutRolePolicy PassRole"),
        Need("iam", ":{account}:role/deploy/shop-DeployRole-1", "PutRolePolicy UpdateRole"),
        Need("iam", ":{account}:role/deploy/shop-ReceiveRole-1", "PutRolePolicy UpdateRole"),
        Need("lambda", "{here}:function:shop-admin", "UpdateFunctionCode DeleteFunction"),
        Need("sqs", "{here}:shop-orders", "SetQueueAttributes DeleteQueue"),
        Need("dynamodb", "{here}:table/shop-orders", "DeleteTable"),
        Need("cloudformation", "{here}:stack/shop-eu/1", "ExecuteChangeSet"),
        Need("route53", "::hostedzone/Z0", "ChangeResourceRecordSets"),
        Need("apigateway", "{region}::/domainnames/other.example.com", "DELETE"),
    ],
)
def test_what_is_not_the_applications_is_out_of_a_jobs_reach(need: Need) -> None:
    """What only begins with the stack's name, the job's own role, and other people's domains."""
    statements = deploying(**EVERYTHING)
    assert not [each for each in need.requests("") if allows(statements, *each, CONTEXT)]


@pytest.mark.parametrize(
    ("need", "key", "other"),
    [
        (Need("kms", "{here}:key/1", "ScheduleKeyDeletion"), "aws:CalledVia", "athena"),
        (Need("apigateway", "{region}::/apis/1", "DELETE"), "aws:CalledVia", "athena"),
        (Need("secretsmanager", "{here}:secret:a-1", "UpdateSecret DeleteSecret"), TAG, OTHER),
        (Need("lambda", "*", "CreateEventSourceMapping"), "lambda:FunctionArn", "arn:aws:other"),
        (
            Need("iam", ":{account}:role/shop-ReceiveRole-1", "PassRole"),
            "iam:PassedToService",
            "ec2",
        ),
    ],
)
def test_what_has_no_name_is_limited_in_another_way(need: Need, key: str, other: str) -> None:
    """Keys, APIs and secrets of others cannot be told by their names."""
    for each in need.requests(""):
        assert allows(deploying(), *each, CONTEXT)
        assert not allows(deploying(), *each, CONTEXT | {key: other})
        without = {name: value for name, value in CONTEXT.items() if name != key}
        assert not allows(deploying(), *each, without)


@pytest.mark.parametrize("action", ["CreateRole", "PutRolePolicy", "PutRolePermissionsBoundary"])
def test_a_boundary_holds_for_every_role_that_a_job_makes(action: str) -> None:
    """Without it no role can be made or given permissions, and it cannot be taken off."""
    request = Request(f"iam:{action}", f"arn:aws:iam::{ACCOUNT}:role/shop-ReceiveRole-1")
    unbounded = {key: value for key, value in CONTEXT.items() if key != "iam:PermissionsBoundary"}
    other = unbounded | {"iam:PermissionsBoundary": f"{BOUNDARY}-2"}
    assert allows(deploying(), *request, unbounded)
    bounded = deploying(PermissionsBoundaryArn=BOUNDARY)
    found = [allows(bounded, *request, context) for context in (CONTEXT, unbounded, other)]
    assert found == [True, False, False]
    assert "iam:DeleteRolePermissionsBoundary" not in actions(bounded)


def test_a_domain_and_its_zone_are_allowed_only_where_they_are_given() -> None:
    """Most deployments have none."""
    asked = NEEDED["AWS::ApiGatewayV2::DomainName"] + NEEDED["AWS::Route53::RecordSet"]
    wanted = {each for need in asked for each in need.requests("")}
    assert not [each for each in wanted if allows(deploying(), *each, CONTEXT)]


# ------------------------------------------------------------------------------- both templates


def all_statements() -> list[Node]:
    """Every statement of both templates."""
    return [*operator("Look", "Operate"), *deploying(**EVERYTHING)]


def test_every_permission_is_spelled_out() -> None:
    """No action has a wildcard, and each statement says what it is for."""
    assert [each for each in actions(all_statements()) if "*" in each] == []
    assert all(re.fullmatch(r"[A-Za-z]+", each["Sid"]) for each in all_statements())
    assert not any({"NotAction", "NotResource"} & each.keys() for each in all_statements())


def test_the_policies_are_short_enough_for_iam() -> None:
    """Also with the longest names; IAM counts all but white space."""
    longest = {"StackName": "s" * longest_stack()}
    given = {"DomainName": f"{'d' * 60}.example.com", "HostedZoneId": "Z" * 32}
    policies = [
        *policies_of_role(**longest, **given, PermissionsBoundaryArn=BOUNDARY),
        *(
            each["PolicyDocument"]["Statement"]
            for each in made(OPERATOR, **longest, LedgerTableName="t" * 255).values()
        ),
    ]
    assert len(policies) == 5
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert max(map(size, policies)) <= 6_144


def size(statements: list[Node]) -> int:
    """Characters in a policy, in the partition and region with the longest names."""
    text = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    text = text.replace("arn:aws:", "arn:aws-us-gov:").replace(REGION, "ap-southeast-2")
    return len(re.sub(r"\s", "", text))


def longest_stack() -> int:
    """How long the name of a stack may be that a job deploys."""
    return int(templates.load(DEPLOY_ROLE)["Parameters"]["StackName"]["MaxLength"])


def test_no_name_is_shortened_by_cloudformation() -> None:
    """A role or function is allowed by the beginning of its name, which has to fit into 64 characters."""
    kinds = ("AWS::Lambda::Function", "AWS::IAM::Role", "AWS::Events::Rule")
    ids = [id for id, each in resources().items() if each["Type"] in kinds]
    assert max(map(len, ids)) + longest_stack() + len(f"--{RANDOM}") <= 64


# ------------------------------------------------------------------------------- who is trusted


@pytest.mark.parametrize(
    ("provider", "issuer", "audience"),
    [
        ("github", "token.actions.githubusercontent.com", "sts.amazonaws.com"),
        ("gitlab", "gitlab.com", "https://gitlab.com"),
    ],
)
def test_one_job_of_one_repository_is_trusted(provider: str, issuer: str, audience: str) -> None:
    """Its token is for AWS and its subject is the one given, word for word."""
    given = {"Provider": provider, "Subject": "repo:acme/shop:ref:refs/heads/main"}
    (trusted,) = role(**given)["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trusted["Principal"] == {"Federated": "IdentityProvider"}
    expected = {f"{issuer}:aud": audience, f"{issuer}:sub": given["Subject"]}
    assert trusted["Condition"] == {"StringEquals": expected}
    provided = made(DEPLOY_ROLE, **given)["IdentityProvider"]
    assert provided == {"Url": f"https://{issuer}", "ClientIdList": [audience]}


def test_an_identity_provider_that_is_there_is_used() -> None:
    """An account can have one for each address only."""
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/gitlab.com"
    assert "IdentityProvider" not in made(DEPLOY_ROLE, Provider="gitlab", ProviderArn=arn)
    (trusted,) = role(Provider="gitlab", ProviderArn=arn)["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Federated": arn}


@pytest.mark.parametrize(
    ("subject", "is_taken"),
    [
        ("repo:acme/shop:ref:refs/heads/main", True),
        ("repo:acme@123/shop@456:ref:refs/heads/main", True),
        ("project_path:acme/shop:ref_type:branch:ref:main", True),
        ("repo:acme/*", False),
        ("repo:acme/shop:ref:refs/heads/mai?", False),
        ("", False),
    ],
)
def test_a_subject_is_no_pattern(subject: str, *, is_taken: bool) -> None:
    """It would match nothing, or what nobody thought of."""
    pattern = templates.load(DEPLOY_ROLE)["Parameters"]["Subject"]["AllowedPattern"]
    assert bool(re.search(pattern, subject)) is is_taken


# ------------------------------------------------------------------------------- the jobs

DEPLOY = re.compile(r"make -C \S+ deploy CONFIG=\S+ CONFIRM=no")


def written(path: Path) -> Node:
    """A file of YAML. `on` is a word here, and true to YAML."""
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return {("on" if key is True else key): value for key, value in loaded.items()}


def test_github_deploys_what_is_pushed_to_main() -> None:
    """With a token instead of a key, by actions that nobody can exchange."""
    workflow = written(GITHUB)
    assert workflow["on"] == {"push": {"branches": ["main"]}}
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    assert workflow["concurrency"]["cancel-in-progress"] is False
    (job,) = workflow["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"(aws-)?actions/[\w-]+@[0-9a-f]{40}", each) for each in used)
    assert {each.partition("@")[0] for each in used} >= {
        "actions/checkout",
        "aws-actions/configure-aws-credentials",
    }
    (run,) = [step["run"] for step in job["steps"] if "run" in step]
    assert DEPLOY.fullmatch(run)
    # The folder of the merchant's own, and this software at a commit that somebody has read.
    given = [step["with"] for step in job["steps"] if "with" in step]
    places = {each["path"]: each.get("ref") for each in given if "path" in each}
    assert places == {"shop": None, "linkrunner-webhooks": "${{ env.COMMIT }}"}
    assert {"SOFTWARE", "COMMIT", "REGION", "ROLE"} == set(workflow["env"])


def test_gitlab_deploys_what_is_pushed_to_main() -> None:
    """With a token for the audience that the role trusts, in a file that only the job can read."""
    (job,) = written(GITLAB).values()
    assert job["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == "main"'}]
    ((token, asked),) = job["id_tokens"].items()
    assert asked == {"aud": "https://gitlab.com"}
    assert {"SOFTWARE", "COMMIT", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"} <= set(
        job["variables"]
    )
    first, clone, checkout, last = job["script"]
    assert "$SOFTWARE" in clone
    assert checkout.endswith('"$COMMIT"')
    assert "umask 077" in first
    assert f'"${token}" > "$AWS_WEB_IDENTITY_TOKEN_FILE"' in first
    assert DEPLOY.fullmatch(last)


@pytest.mark.parametrize(
    "path", [OPERATOR, DEPLOY_ROLE, GITHUB, GITLAB], ids=lambda path: path.name
)
def test_every_file_is_explained(path: Path) -> None:
    """The page beside them says what each is for."""
    assert f"]({path.name})" in (FOLDER / "README.md").read_text("utf-8")


@pytest.mark.parametrize("path", [OPERATOR, DEPLOY_ROLE], ids=lambda path: path.name)
def test_the_page_creates_each_stack_in_one_command(path: Path) -> None:
    """It gives every parameter that has no default, and none that is not there."""
    page = (FOLDER / "README.md").read_text("utf-8")
    blocks: list[str] = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    (command,) = [each for each in blocks if f"docs/policies/{path.name}" in each]
    parameters = templates.load(path)["Parameters"]
    given = set(re.findall(r"(\w+)=", command))
    assert {name for name, each in parameters.items() if "Default" not in each} <= given
    assert given <= set(parameters)
