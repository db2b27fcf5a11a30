"""What template.yaml promises: permissions, retention, alarms and names that may not vanish unnoticed."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from linkrunner_webhooks.errors import Reason, TooLarge, UnknownSource
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.schedule import wait
from linkrunner_webhooks.watch import Worry

ROOT = Path(__file__).parent.parent
FOURTEEN_DAYS = 14 * 24 * 3600
ONE_MEBIBYTE = 1024 * 1024
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
ACTIONS_OF_A_QUEUE_STATEMENT = 7

NAMESPACE = "LinkrunnerWebhooks/${AWS::StackName}"

Node = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!GetAtt A.Arn` becomes {"Fn::GetAtt": "A.Arn"}."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> Node:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise yaml.YAMLError(f"!{suffix} of a mapping")
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


@cache
def template() -> Node:
    """The template as it is written, with CloudFormation's tags as plain nodes."""
    loaded = yaml.load((ROOT / "template.yaml").read_text("utf-8"), Loader=_Loader)  # noqa: S506
    assert isinstance(loaded, dict)
    return loaded


def resources(kind: str) -> dict[str, Node]:
    """The resources of one type, by name."""
    return {name: r for name, r in template()["Resources"].items() if r["Type"] == kind}


def resource(name: str) -> Node:
    """One resource."""
    found = template()["Resources"][name]
    assert isinstance(found, dict)
    return found


def properties(name: str) -> Node:
    """A resource's properties; a function's include what Globals adds."""
    own: Node = resource(name)["Properties"]
    if resource(name)["Type"] != "AWS::Serverless::Function":
        return own
    shared: Node = template()["Globals"]["Function"]
    variables = shared["Environment"]["Variables"] | own["Environment"]["Variables"]
    return shared | own | {"Environment": {"Variables": variables}}


def target(value: Any) -> str:
    """What a value points at: "WebhookQueue.Arn", "WebhookSecrets", or the literal itself."""
    if isinstance(value, dict):
        ((_, value),) = value.items()
    return str(value)


def listed(value: Any) -> list[Any]:
    """The value as a list: YAML writes one alone without brackets."""
    return value if isinstance(value, list) else [value]


def walk(node: Any, key: str) -> Iterator[Any]:
    """Every value under `key`, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from walk(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value, key)


def permissions(role: str) -> set[tuple[str, str]]:
    """Each (action, resource) a role allows."""
    found = set()
    for policy in properties(role)["Policies"]:
        for written in policy["PolicyDocument"]["Statement"]:
            # What is there on a condition counts as there.
            statement = written.get("Fn::If", [None, written])[1]
            assert statement["Effect"] == "Allow"
            for action in listed(statement["Action"]):
                found |= {(action, target(to)) for to in listed(statement["Resource"])}
    return found


FUNCTIONS = ("ReceiveFunction", "DeliverFunction")
QUEUES = ("WebhookQueue", "DeadLetterQueue")


# ------------------------------------------------------------------------------- names people rely on


def test_parameters_are_exactly_the_documented_ones() -> None:
    """Deployment scripts pass these names and rely on these defaults."""
    defaults = {name: p["Default"] for name, p in template()["Parameters"].items()}
    assert defaults == {
        "LinkrunnerBaseUrl": "https://api.linkrunner.io",
        "LedgerDays": 400,
        "LedgerTableName": "",
        "DomainName": "",
        "CertificateArn": "",
        "HostedZoneId": "",
        "RequestsPerSecond": 30,
        "AlarmEmail": "",
        "AlarmTopicArn": "",
        "LogLevel": "INFO",
        "LogRetentionDays": 30,
        "ReceiveConcurrency": 0,
        "ThrottlingRateLimit": 1000,
        "ThrottlingBurstLimit": 2000,
        "MoneyMetrics": "off",
        "ProviderKeys": "off",
        "PermissionsBoundaryArn": "",
    }


def test_every_parameter_is_grouped_and_labelled() -> None:
    """The console shows every parameter under a heading and with a label."""
    interface = template()["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template()["Parameters"])
    assert sorted(interface["ParameterLabels"]) == sorted(template()["Parameters"])


@pytest.mark.parametrize(
    ("parameter", "accepted", "refused"),
    [
        (
            "LinkrunnerBaseUrl",
            ["https://api.linkrunner.io", "https://proxy.example.com:8443/linkrunner/"],
            ["http://api.linkrunner.io", "api.linkrunner.io", "https://a b", ""],
        ),
        ("AlarmEmail", ["", "ops@example.com"], ["ops", "a@b c", "@"]),
        (
            "DomainName",
            ["", "hooks.example.com", "a-b.example.co"],
            [
                "https://hooks.example.com",
                "hooks",
                "Hooks.example.com",
                "-a.example.com",
                "*.example.com",
            ],
        ),
        (
            "CertificateArn",
            ["", "arn:aws:acm:eu-west-1:123456789012:certificate/0b1c-2d"],
            ["0b1c-2d", "arn:aws:iam::123456789012:server-certificate/a"],
        ),
        ("HostedZoneId", ["", "Z0123456789ABCDEFGHIJ"], ["/hostedzone/Z1", "example.com"]),
        ("LedgerTableName", ["", "shop-LedgerTable-1ABC"], ["ab", "arn:aws:dynamodb:a:1:table/b"]),
        (
            "PermissionsBoundaryArn",
            [
                "",
                "arn:aws:iam::123456789012:policy/boundary",
                "arn:aws:iam::aws:policy/ReadOnlyAccess",
            ],
            ["boundary", "arn:aws:iam::123456789012:role/boundary"],
        ),
        (
            "AlarmTopicArn",
            [
                "",
                "arn:aws:sns:eu-west-1:123456789012:ops",
                "arn:aws-us-gov:sns:us-gov-west-1:123456789012:a_b",
            ],
            [
                "ops",
                "arn:aws:sqs:eu-west-1:123456789012:ops",
                "arn:aws:sns:eu-west-1:123456789012:ops.fifo",
            ],
        ),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_deployed(
    parameter: str, accepted: list[str], refused: list[str]
) -> None:
    """The key is never sent in the clear, and an alarm address that cannot work is noticed."""
    pattern = re.compile(template()["Parameters"][parameter]["AllowedPattern"])
    assert [value for value in accepted if not pattern.search(value)] == []
    assert [value for value in refused if pattern.search(value)] == []


def test_parameters_allow_what_the_services_take() -> None:
    """Rates start at one, levels and retention are chosen from lists, no reservation is negative."""
    parameters = template()["Parameters"]
    assert parameters["ReceiveConcurrency"]["MinValue"] == 0
    assert parameters["RequestsPerSecond"]["MinValue"] == 1
    assert parameters["LogLevel"]["AllowedValues"] == ["DEBUG", "INFO", "WARNING", "ERROR"]
    assert {1, 7, 30, 365, 3653} <= set(parameters["LogRetentionDays"]["AllowedValues"])


def test_outputs_are_exactly_the_documented_ones() -> None:
    """The operator's command and people's scripts read these outputs."""
    outputs = {name: target(o["Value"]) for name, o in template()["Outputs"].items()}
    condition, domain, address = template()["Outputs"]["WebhookUrl"]["Value"]["Fn::If"]
    assert (condition, target(domain)) == ("HasDomain", "https://${DomainName}/webhooks/")
    assert target(address).endswith("/webhooks/")
    del outputs["WebhookUrl"]
    assert outputs.pop("DashboardUrl").endswith("#dashboards/dashboard/${Dashboard}")
    assert outputs == {
        "WebhookQueueUrl": "WebhookQueue",
        "DeadLetterQueueUrl": "DeadLetterQueue",
        "LinkrunnerKeySecretArn": "LinkrunnerKeySecret",
        "WebhookSecretsArn": "WebhookSecrets",
        "ProviderKeysArn": "ProviderKeysSecret",
        "LedgerTableName": str(LEDGER),
        "WebhookDomainTarget": "WebhookDomain.RegionalDomainName",
        "Version": "['Package', 'This', 'Version']",
        "Sources": "['Package', 'This', 'Sources']",
        "ConfigurationDigest": "['Package', 'This', 'ConfigurationDigest']",
    }


def test_a_domain_needs_its_certificate() -> None:
    """What cannot work is refused with a sentence before anything is created."""
    told = {
        rule["Assertions"][0]["AssertDescription"]: target(rule["RuleCondition"]["Fn::Not"][0])
        for rule in template()["Rules"].values()
    }
    assert sorted(told) == [
        "CertificateArn needs DomainName",
        "DomainName needs CertificateArn, a certificate of this region",
        "HostedZoneId needs DomainName",
    ]


def test_the_domain_leads_to_the_api() -> None:
    """The name, its mapping to the one stage, and the record are there only where they are asked for."""
    mapping, record = properties("WebhookDomainMapping"), properties("WebhookDomainRecord")
    names = {
        "WebhookDomain": "HasDomain",
        "WebhookDomainMapping": "HasDomain",
        "WebhookDomainRecord": "HasZone",
    }
    assert {name: resource(name)["Condition"] for name in names} == names
    assert {name: target(value) for name, value in mapping.items()} == {
        "ApiId": "WebhookApi",
        "DomainName": "WebhookDomain",
        "Stage": "WebhookApi.Stage",
    }
    assert target(record["AliasTarget"]["DNSName"]) == "WebhookDomain.RegionalDomainName"


# ------------------------------------------------------------------------------- API


def test_the_api_has_one_route() -> None:
    """Nothing but POST /webhooks/{source} is reachable, and raw bodies arrive in format 2.0."""
    events = {
        (function, name): event
        for function in FUNCTIONS
        for name, event in properties(function)["Events"].items()
        if event["Type"] not in ("SQS", "Schedule")
    }
    assert events == {
        ("ReceiveFunction", "Webhook"): {
            "Type": "HttpApi",
            "Properties": {
                "ApiId": {"Ref": "WebhookApi"},
                "Path": "/webhooks/{source}",
                "Method": "POST",
                "PayloadFormatVersion": "2.0",
            },
        }
    }
    assert list(resources("AWS::Serverless::HttpApi")) == ["WebhookApi"]


def test_the_api_is_throttled_above_a_flash_sale() -> None:
    """A flood meets a ceiling, and a flash sale does not."""
    settings = properties("WebhookApi")["DefaultRouteSettings"]
    limits = ("ThrottlingBurstLimit", "ThrottlingRateLimit")
    assert settings == {name: {"Ref": name} for name in limits}


def test_sam_is_told_that_anybody_may_call() -> None:
    """Without a word about authorization `sam deploy --guided` with Enter on every question gives up."""
    assert properties("WebhookApi")["Auth"] == {"EnableIamAuthorizer": False}


def test_what_the_api_refuses_for_its_rate_is_counted() -> None:
    """The access log says it, in the field that the format names."""
    counted = properties("ThrottledRequests")
    assert json.loads(properties("WebhookApi")["AccessLogSettings"]["Format"])["status"]
    assert (counted["FilterPattern"], target(counted["LogGroupName"])) == (
        '{ $.status = "429" }',
        "ApiLogs",
    )


def test_access_logs_hold_nothing_personal() -> None:
    """The API's log is JSON and names no address, header, body or query."""
    settings = properties("WebhookApi")["AccessLogSettings"]
    assert target(settings["DestinationArn"]) == "ApiLogs.Arn"
    values = json.loads(settings["Format"]).values()
    assert set(values) == {
        "$context.requestId",
        "$context.requestTimeEpoch",
        "$context.routeKey",
        "$context.path",
        "$context.status",
        "$context.responseLatency",
        "$context.integrationLatency",
        "$context.integrationStatus",
        "$context.error.message",
        "$context.integrationErrorMessage",
    }


# ------------------------------------------------------------------------------- functions


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_run_what_the_build_makes(function: str) -> None:
    """Runtime and architecture are those the package is built and compiled for."""
    settings = properties(function)
    makefile = (ROOT / "src" / "Makefile").read_text("utf-8")
    assert (settings["Runtime"], settings["Architectures"]) == ("python3.13", ["arm64"])
    assert "LAMBDA_PYTHON ?= 3.13\n" in makefile
    assert "LAMBDA_PLATFORM ?= aarch64-manylinux" in makefile
    assert settings["CodeUri"] == "src/"
    assert resource(function)["Metadata"] == {"BuildMethod": "makefile"}
    assert f"build-{function}" in makefile


@pytest.mark.parametrize(
    ("function", "handler", "timeout"),
    [
        ("ReceiveFunction", "linkrunner_webhooks.receive_function.handler", 10),
        ("DeliverFunction", "linkrunner_webhooks.deliver_function.handler", 120),
    ],
)
def test_functions_have_their_handler_and_limits(function: str, handler: str, timeout: int) -> None:
    """Handlers, time, memory and tracing are the measured ones."""
    settings = properties(function)
    limits = (settings["Timeout"], settings["MemorySize"], settings["Tracing"])
    assert settings["Handler"] == handler
    assert limits == (timeout, 512, "Active")


# Its own, or the one of a former stack.
LEDGER = ["OwnsLedger", {"Ref": "LedgerTable"}, {"Ref": "LedgerTableName"}]
TABLE = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${Table}"

SHARED_VARIABLES = {
    "POWERTOOLS_SERVICE_NAME": "linkrunner-webhooks",
    "POWERTOOLS_METRICS_NAMESPACE": NAMESPACE,
    "POWERTOOLS_LOG_LEVEL": "LogLevel",
}


@pytest.mark.parametrize(
    ("function", "own"),
    [
        (
            "ReceiveFunction",
            {"WEBHOOK_QUEUE_URL": "WebhookQueue", "WEBHOOK_SECRETS_ARN": "WebhookSecrets"},
        ),
        (
            "DeliverFunction",
            {
                "WEBHOOK_QUEUE_URL": "WebhookQueue",
                "DEAD_LETTER_QUEUE_URL": "DeadLetterQueue",
                "LEDGER_TABLE": str(LEDGER),
                "LINKRUNNER_KEY_SECRET_ARN": "LinkrunnerKeySecret",
                "PROVIDER_KEYS_ARN": "['AsksProviders', {'Ref': 'ProviderKeysSecret'}, '']",
                "LINKRUNNER_BASE_URL": "LinkrunnerBaseUrl",
                "LEDGER_DAYS": "LedgerDays",
                "REQUESTS_PER_SECOND": "RequestsPerSecond",
                "DELIVER_CONCURRENCY": "2",
                "MONEY_METRICS": "MoneyMetrics",
            },
        ),
    ],
)
def test_functions_get_exactly_the_variables_they_read(function: str, own: dict[str, str]) -> None:
    """A function is told what it needs and nothing about what it may not touch."""
    variables = properties(function)["Environment"]["Variables"]
    assert {name: target(value) for name, value in variables.items()} == SHARED_VARIABLES | own


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_log_level_can_drop_the_metrics(function: str) -> None:
    """Lambda takes metric lines for INFO, so its own filter is never stricter than that."""
    logging = properties(function)["LoggingConfig"]
    assert logging["LogFormat"] == "JSON"
    assert logging["ApplicationLogLevel"] == {"Fn::If": ["LogsDebug", "DEBUG", "INFO"]}
    assert template()["Conditions"]["LogsDebug"] == {"Fn::Equals": [{"Ref": "LogLevel"}, "DEBUG"]}


def test_receive_has_executions_of_its_own_only_where_asked() -> None:
    """0 sets nothing, because a reservation of 0 would stop the function."""
    assert properties("ReceiveFunction")["ReservedConcurrentExecutions"] == {
        "Fn::If": ["ReservesConcurrency", {"Ref": "ReceiveConcurrency"}, {"Ref": "AWS::NoValue"}]
    }
    assert template()["Conditions"]["ReservesConcurrency"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "ReceiveConcurrency"}, "0"]}]
    }


def test_every_log_is_kept_as_long_as_asked_and_no_longer() -> None:
    """Both functions and the API write to groups of the stack, which follow LogRetentionDays."""
    groups = resources("AWS::Logs::LogGroup")
    used = [target(properties(name)["LoggingConfig"]["LogGroup"]) for name in FUNCTIONS]
    assert sorted([*used, "ApiLogs"]) == sorted(groups)
    for group in groups.values():
        assert group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


# ------------------------------------------------------------------------------- permissions


def test_receive_may_queue_and_read_signing_secrets_only() -> None:
    """The function the internet reaches cannot read the queue, the claims or the server key."""
    assert permissions("ReceiveRole") == {
        ("sqs:SendMessage", "WebhookQueue.Arn"),
        ("secretsmanager:GetSecretValue", "WebhookSecrets"),
        ("logs:CreateLogStream", "ReceiveLogs.Arn"),
        ("logs:PutLogEvents", "ReceiveLogs.Arn"),
        ("xray:PutTraceSegments", "*"),
        ("xray:PutTelemetryRecords", "*"),
    }


def test_deliver_may_consume_park_claim_and_read_the_key_only() -> None:
    """The function that calls Linkrunner cannot read signing secrets or add to the queue."""
    assert permissions("DeliverRole") == {
        ("sqs:ReceiveMessage", "WebhookQueue.Arn"),
        ("sqs:DeleteMessage", "WebhookQueue.Arn"),
        ("sqs:GetQueueAttributes", "WebhookQueue.Arn"),
        ("sqs:ChangeMessageVisibility", "WebhookQueue.Arn"),
        ("sqs:SendMessage", "DeadLetterQueue.Arn"),
        ("sqs:GetQueueAttributes", "DeadLetterQueue.Arn"),
        ("sqs:SendMessage", "WebhookQueue.Arn"),
        ("dynamodb:GetItem", str([TABLE, {"Table": {"Fn::If": LEDGER}}])),
        ("dynamodb:UpdateItem", str([TABLE, {"Table": {"Fn::If": LEDGER}}])),
        ("dynamodb:Query", str([f"{TABLE}/index/by_day", {"Table": {"Fn::If": LEDGER}}])),
        ("cloudwatch:GetMetricData", "*"),
        ("secretsmanager:GetSecretValue", "LinkrunnerKeySecret"),
        ("secretsmanager:GetSecretValue", "ProviderKeysSecret"),
        ("logs:CreateLogStream", "DeliverLogs.Arn"),
        ("logs:PutLogEvents", "DeliverLogs.Arn"),
        ("xray:PutTraceSegments", "*"),
        ("xray:PutTelemetryRecords", "*"),
    }


@pytest.mark.parametrize(
    ("function", "role"), [("ReceiveFunction", "ReceiveRole"), ("DeliverFunction", "DeliverRole")]
)
def test_functions_have_no_permissions_besides_their_role(function: str, role: str) -> None:
    """Neither SAM nor a managed policy adds anything, and only Lambda can take the role."""
    assert target(properties(function)["Role"]) == f"{role}.Arn"
    assert "Policies" not in properties(function)
    assert "ManagedPolicyArns" not in properties(role)
    (trust,) = properties(role)["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert sorted(resources("AWS::IAM::Role")) == ["DeliverRole", "ReceiveRole"]


def test_no_action_has_a_wildcard() -> None:
    """Every permission in the template is spelled out."""
    actions = [action for found in walk(template(), "Action") for action in listed(found)]
    assert len(actions) > len(FUNCTIONS)
    assert [action for action in actions if "*" in action] == []
    assert list(walk(template(), "NotAction")) == []


def test_the_package_keeps_the_sdk_models_the_roles_need() -> None:
    """A service somebody adds to a role is not left out of the package."""
    script = (ROOT / "src" / "build.sh").read_text("utf-8")
    (kept,) = re.findall(r'^services="(.*)"$', script, re.MULTILINE)
    named = {a.split(":")[0] for role in resources("AWS::IAM::Role") for a, _ in permissions(role)}
    assert set(kept.split()) == named - {"logs", "xray"}


# ------------------------------------------------------------------------------- queues


@pytest.mark.parametrize("queue", QUEUES)
def test_queues_are_encrypted_and_keep_everything_for_fourteen_days(queue: str) -> None:
    """Nothing is stored in the clear, expires early or is refused for a size SQS can take."""
    settings = properties(queue)
    assert settings["SqsManagedSseEnabled"] is True
    assert settings["MessageRetentionPeriod"] == FOURTEEN_DAYS
    assert settings["MaximumMessageSize"] == ONE_MEBIBYTE


@pytest.mark.parametrize("queue", QUEUES)
def test_queues_refuse_unencrypted_connections(queue: str) -> None:
    """Each queue has one Deny for plain HTTP, of no more actions than SQS accepts."""
    policies = [
        policy["Properties"]
        for policy in resources("AWS::SQS::QueuePolicy").values()
        if [target(of) for of in policy["Properties"]["Queues"]] == [queue]
    ]
    ((statement,),) = [policy["PolicyDocument"]["Statement"] for policy in policies]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert target(statement["Resource"]) == f"{queue}.Arn"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert {"sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage"} <= set(
        statement["Action"]
    )
    assert len(statement["Action"]) <= ACTIONS_OF_A_QUEUE_STATEMENT


def test_a_message_stays_hidden_while_a_function_may_work_on_it() -> None:
    """Visibility is at least six function timeouts, or a slow batch would be delivered twice."""
    timeout = properties("DeliverFunction")["Timeout"]
    assert properties("WebhookQueue")["VisibilityTimeout"] >= 6 * timeout


def test_redrive_is_a_backstop_that_outages_do_not_reach() -> None:
    """The dead-letter queue takes messages of this queue only, after far more tries than planned."""
    assert properties("WebhookQueue")["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": "DeadLetterQueue.Arn"},
        "maxReceiveCount": 500,
    }
    allowed = properties("DeadLetterQueue")["RedriveAllowPolicy"]
    assert allowed["redrivePermission"] == "byQueue"
    (source,) = allowed["sourceQueueArns"]
    name = target(properties("WebhookQueue")["QueueName"])
    assert target(source).endswith(f":${{AWS::AccountId}}:{name}")


def test_delivery_is_partial_bounded_and_unfiltered() -> None:
    """One bad message does not repeat nine good ones, and no filter deletes what it does not match."""
    event, schedule, _ = properties("DeliverFunction")["Events"].values()
    assert schedule["Properties"]["Schedule"] == "rate(1 hour)"
    assert event == {
        "Type": "SQS",
        "Properties": {
            "Queue": {"Fn::GetAtt": "WebhookQueue.Arn"},
            "BatchSize": 30,
            "MaximumBatchingWindowInSeconds": 1,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "ScalingConfig": {"MaximumConcurrency": 2},
        },
    }
    variables = properties("DeliverFunction")["Environment"]["Variables"]
    concurrency = event["Properties"]["ScalingConfig"]["MaximumConcurrency"]
    assert variables["DELIVER_CONCURRENCY"] == str(concurrency)


# ------------------------------------------------------------------------------- claims and secrets


def test_the_ledger_outlives_the_stack_and_expires() -> None:
    """What was reported stays known through a redeployment, and is forgotten by itself."""
    table = resource("LedgerTable")
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == (
        "RetainExceptOnCreate",
        "Retain",
    )
    assert table["Condition"] == "OwnsLedger"
    settings = table["Properties"]
    assert "TableName" not in settings
    assert settings["BillingMode"] == "PAY_PER_REQUEST"
    assert settings["KeySchema"] == [{"AttributeName": "key", "KeyType": "HASH"}]
    texts = [{"AttributeName": name, "AttributeType": "S"} for name in ("key", "day", "who")]
    assert settings["AttributeDefinitions"] == texts
    (index,) = settings["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "by_day"
    assert index["Projection"] == {"ProjectionType": "ALL"}
    expiry = settings["TimeToLiveSpecification"]
    assert expiry == {"AttributeName": "expires_at", "Enabled": True}
    assert settings["SSESpecification"] == {"SSEEnabled": True}
    assert settings["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_secrets_have_no_value_of_ours() -> None:
    """No secret is in the template, generated, or replaced by a later deployment."""
    assert set(properties("LinkrunnerKeySecret")) == {"Description"}
    assert properties("WebhookSecrets")["SecretString"] == "{}"
    assert properties("ProviderKeysSecret")["SecretString"] == "{}"
    assert sorted(resources("AWS::SecretsManager::Secret")) == [
        "LinkrunnerKeySecret",
        "ProviderKeysSecret",
        "WebhookSecrets",
    ]
    assert list(walk(template(), "GenerateSecretString")) == []


# ------------------------------------------------------------------------------- alarms


def series(name: str, found: Node) -> str:
    """A metric as "namespace/name", or for our own as "outcome/reason"."""
    values = {d["Name"]: target(d["Value"]) for d in found.get("Dimensions", ())}
    if found["MetricName"] in ("Concerns", "Faults"):
        (only,) = values.items()
        return "/".join(only)
    if not values:
        return str(found["MetricName"])
    if target(found["Namespace"]) == NAMESPACE:
        assert found["MetricName"] == "Webhooks", name
        assert list(values) == ["outcome", "reason"], name
        return f"{Outcome(values['outcome'])}/{values['reason']}"
    (of,) = values.values()
    return f"{found['MetricName']} of {of}"


# Each reads one metric, because each metric of an alarm costs.
ALARMS: dict[str, tuple[str, str, float]] = {
    "DeadLetterQueueNotEmpty": (
        "ApproximateNumberOfMessagesVisible of DeadLetterQueue.QueueName",
        ">",
        0,
    ),
    "DeadLettersExpiring": (f"concern/{Worry.EXPIRING}", ">", 0),
    "DeadLetterReasonNew": (f"concern/{Worry.NEW_REASON}", ">", 0),
    "OldestMessageAge": ("ApproximateAgeOfOldestMessage of WebhookQueue.QueueName", ">", 3600),
    "DeliveryStalled": (f"concern/{Worry.STALLED}", ">", 0),
    "LinkrunnerKeyUnauthorized": ("fault/server_key", ">", 0),
    "ReceiveErrors": ("Errors of ReceiveFunction", ">", 0),
    "ReceiveThrottled": ("Throttles of ReceiveFunction", ">", 0),
    "WebhooksNotStored": ("fault/receive", ">", 0),
    "DeliverErrors": ("Errors of DeliverFunction", ">", 0),
    "DeliveriesFailing": ("fault/deliver", ">", 0),
    "RequestsThrottled": ("ThrottledRequests", ">", 0),
    "SignatureFailures": (f"concern/{Worry.REFUSED}", ">", 0),
    "UnknownSources": (f"rejected/{UnknownSource.reason}", ">", 0),
    "SourceSilent": (f"concern/{Worry.SILENT}", ">", 0),
    "AnotherSource": (f"concern/{Worry.ANOTHER}", ">", 0),
    "LookFailing": (f"concern/{Worry.UNSEEN}", ">", 0),
    "SignupsMissing": (f"concern/{Worry.NO_SIGNUPS}", ">", 0),
    "WebhooksThin": (f"ignored/{Reason.THIN}", ">", 0),
    "WebhooksMalformed": (f"rejected/{Reason.MALFORMED}", ">", 0),
    "WebhooksTooLarge": (f"rejected/{TooLarge.reason}", ">", 0),
}
COMPARISONS = {"GreaterThanThreshold": ">", "GreaterThanOrEqualToThreshold": ">="}


def test_no_alarm_was_forgotten_here() -> None:
    """Every alarm of the template is described in this file."""
    assert sorted(resources("AWS::CloudWatch::Alarm")) == sorted(ALARMS)


@pytest.mark.parametrize("alarm", ALARMS)
def test_alarms_watch_what_their_name_says(alarm: str) -> None:
    """Metric, comparison and threshold are these, in the functions' own words."""
    settings = properties(alarm)
    found = (
        series(alarm, settings),
        COMPARISONS[settings["ComparisonOperator"]],
        settings["Threshold"],
    )
    assert found == ALARMS[alarm]


@pytest.mark.parametrize("alarm", ALARMS)
def test_alarms_are_quiet_without_data_and_tell_the_topics_that_there_are(alarm: str) -> None:
    """Each exists without anybody to tell, tells the address and the topic given, and says what to do."""
    assert "Condition" not in resource(alarm)
    settings = properties(alarm)
    assert settings["TreatMissingData"] == "notBreaching"
    nothing = {"Ref": "AWS::NoValue"}
    assert settings["AlarmActions"] == [
        {"Fn::If": ["HasAlarmEmail", {"Ref": "AlarmTopic"}, nothing]},
        {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, nothing]},
    ]
    described = target(settings["AlarmDescription"])
    assert re.fullmatch(r"[A-Z][^.]*: (linkrunner-webhooks|aws logs tail) [^.]*", described)
    assert re.search(
        rf"--stack \$\{{AWS::StackName\}}$|/{re.escape('${AWS::StackName}')}-", described
    )
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    assert len(described) < 1024 - 128


def test_who_comes_again_is_no_stranger() -> None:
    """An unknown source counts when it is tried in two quarters of an hour: only providers try again."""
    settings = properties("UnknownSources")
    assert (settings["Statistic"], settings["Period"]) == ("Sum", 900)
    assert (settings["DatapointsToAlarm"], settings["EvaluationPeriods"]) == (2, 8)


def test_what_the_look_tells_has_an_alarm_each() -> None:
    """A concern without an alarm is heard by nobody; it is looked for twice in each period of its alarm."""
    told = {
        series(name, properties(name))
        for name in resources("AWS::CloudWatch::Alarm")
        if properties(name)["MetricName"] == "Concerns"
    }
    assert told == {f"concern/{worry}" for worry in Worry}
    look = properties("DeliverFunction")["Events"]["Look"]["Properties"]
    assert (look["Schedule"], json.loads(look["Input"])) == ("rate(30 minutes)", {"task": "look"})


# What happened once is not over when nobody speaks of it any more.
NEVER_OVER = {
    "DeadLetterReasonNew",
    "AnotherSource",
    "WebhooksThin",
    "WebhooksMalformed",
    "WebhooksTooLarge",
}


def test_what_is_over_is_told_and_nothing_when_an_alarm_is_created() -> None:
    """An action for OK would ring for each new alarm; a rule asks what the state was before."""
    rule = properties("Recoveries")
    detail = rule["EventPattern"]["detail"]
    assert (detail["previousState"], detail["state"]) == ({"value": ["ALARM"]}, {"value": ["OK"]})
    names = [target(each["prefix"]) for each in detail["alarmName"]]
    assert names == [f"${{AWS::StackName}}-{name}-" for name in ALARMS if name not in NEVER_OVER]
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
    assert len(json.dumps(rule["EventPattern"])) < 2048 - len(names) * 20
    assert resource("Recoveries")["Condition"] == "HasAlarmEmail"
    (mail,) = rule["Targets"]
    assert target(mail["Arn"]) == "AlarmTopic"
    # Chat and paging read the format of CloudWatch only.
    chat = [{"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}]
    for alarm in ALARMS:
        assert properties(alarm).get("OKActions", chat) == chat
        assert ("OKActions" in properties(alarm)) == (alarm not in NEVER_OVER)


def test_an_alarm_is_over_only_after_the_next_sign_could_have_come() -> None:
    """A message that waits says nothing for over an hour: an alarm that ended meanwhile would pulse."""
    longest = max(wait(tries, Reason.INTERNAL) for tries in range(1, 30)) * 1.25
    for alarm in ALARMS:
        settings = properties(alarm)
        if alarm in NEVER_OVER or settings["MetricName"] == "Concerns":
            continue
        window = settings["Period"] * settings["EvaluationPeriods"]
        assert window > longest, alarm
        assert settings.get("DatapointsToAlarm", 1) <= 2, alarm


def test_what_is_looked_for_is_not_over_between_two_looks() -> None:
    """Two looks are in each period of its alarm, and one of them may fail."""
    for alarm in ALARMS:
        settings = properties(alarm)
        if settings["MetricName"] == "Concerns" and alarm not in NEVER_OVER:
            assert settings["Period"] * settings["EvaluationPeriods"] >= 2 * 3600, alarm


def test_the_functions_write_the_metrics_the_alarms_read() -> None:
    """Namespace and metric are the same word everywhere."""
    variables = properties("ReceiveFunction")["Environment"]["Variables"]
    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == {"Fn::Sub": NAMESPACE}


def test_alarm_mail_is_encrypted_and_optional() -> None:
    """The topic, its subscription and its key exist only when there is somebody to tell."""
    topic, key = resource("AlarmTopic"), resource("AlarmKey")
    assert (topic["Condition"], key["Condition"]) == ("HasAlarmEmail", "HasAlarmEmail")
    assert topic["Properties"]["KmsMasterKeyId"] == {"Ref": "AlarmKey"}
    assert topic["Properties"]["Subscription"] == [
        {"Protocol": "email", "Endpoint": {"Ref": "AlarmEmail"}}
    ]
    assert template()["Conditions"]["HasAlarmEmail"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmEmail"}, ""]}]
    }
    assert template()["Conditions"]["HasAlarmTopic"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopicArn"}, ""]}]
    }


def test_alarms_of_this_account_alone_may_use_the_topics_key() -> None:
    """Without its own key CloudWatch could not publish, and nobody else gets to use it."""
    administer, publish, recover = properties("AlarmKey")["KeyPolicy"]["Statement"]
    services = ("cloudwatch.amazonaws.com", "events.amazonaws.com")
    assert tuple(each["Principal"]["Service"] for each in (publish, recover)) == services
    assert publish["Action"] == recover["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    condition = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert publish["Condition"] == condition
    assert not {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"} & set(administer["Action"])


def test_only_alarms_and_recoveries_of_this_stack_may_publish() -> None:
    """A policy replaces the one a topic has by itself, so both are named, and bound to account and rule."""
    alarms, recoveries = properties("AlarmTopicPolicy")["PolicyDocument"]["Statement"]
    assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert recoveries["Condition"] == {
        "ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": "Recoveries.Arn"}}
    }
    assert {each["Action"] for each in (alarms, recoveries)} == {"sns:Publish"}


# ------------------------------------------------------------------------------- dashboard, samconfig


@cache
def widgets() -> dict[str, str]:
    """Each chart's metrics, as text, by its title."""
    text, values = properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    _, money, nothing = values["Money"]["Fn::If"]
    assert json.loads(text.replace("${Money}", nothing))
    body = json.loads(text.replace("${Money}", target(money)))
    charts = [widget["properties"] for widget in body["widgets"]]
    return {chart["title"]: json.dumps(chart["metrics"]) for chart in charts}


def test_the_dashboard_shows_every_outcome() -> None:
    """No webhook ends in a way that the first chart does not draw."""
    chart = widgets()["Webhooks by outcome"]
    assert [outcome for outcome in Outcome if f'outcome=\\"{outcome}\\"' not in chart] == []


@pytest.mark.parametrize("outcome", ["queued", "captured", "parked", "rejected"])
def test_the_dashboard_has_a_row_for_each_source(outcome: str) -> None:
    """Whatever sources there are: a table looks for them."""
    chart = widgets()[f"By source: {outcome}"]
    assert f'\\"{NAMESPACE}\\",source,outcome' in chart
    assert "Dim.source" in chart


def test_the_dashboard_shows_money_where_asked() -> None:
    """Under the names that the functions write it."""
    for title, metric in {"Revenue": "Revenue", "Refunded": "Refunded"}.items():
        chart = widgets()[f"{title}, by source and currency"]
        assert f'{NAMESPACE}\\",source,currency}} MetricName=\\"{metric}\\"' in chart


@pytest.mark.parametrize("outcome", ["parked", "retrying", "rejected"])
def test_the_dashboard_shows_the_reasons(outcome: str) -> None:
    """What needs a person is drawn by reason."""
    chart = widgets()[f"{outcome.capitalize()}, by reason"]
    assert f'\\"{NAMESPACE}\\",outcome,reason' in chart
    assert outcome in chart


def test_the_dashboard_shows_queues_api_and_functions() -> None:
    """Depth and age of both queues, the API's errors and latency, and both functions' health."""
    metrics = " ".join(widgets().values())
    for queue in QUEUES:
        assert f'"ApproximateNumberOfMessagesVisible", "QueueName", "${{{queue}.' in metrics
        assert f'"ApproximateAgeOfOldestMessage", "QueueName", "${{{queue}.' in metrics
    for name in ("4xx", "5xx", "Latency"):
        assert f'"{name}", "ApiId", "${{WebhookApi}}"' in metrics
    for name in ("Duration", "Errors", "ConcurrentExecutions", "Throttles"):
        for function in FUNCTIONS:
            assert f'"{name}", "FunctionName", "${{{function}}}"' in metrics


def test_deploying_again_needs_no_arguments_and_knows_no_account() -> None:
    """The committed samconfig.toml has what every deployment shares, and nothing of one of them."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))["default"]
    deploy = config["deploy"]["parameters"]
    assert deploy["capabilities"] == "CAPABILITY_IAM"
    assert deploy["resolve_s3"] is True
    # Its default answer is no, and Enter on every question of `sam deploy --guided` is to deploy.
    assert deploy["confirm_changeset"] is False
    assert config["global"]["parameters"]["stack_name"] == "linkrunner-webhooks"
    named = {name for command in config.values() for name in command["parameters"]}
    assert not named & {"region", "profile", "s3_bucket", "template_file", "parameter_overrides"}
