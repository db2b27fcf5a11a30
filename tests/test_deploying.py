"""`make deploy` and `make remove`: what is told, what is changed, and what is never lost by accident."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from linkrunner_webhooks import __version__, config
from linkrunner_webhooks_cli import change_sets, formation, former
from linkrunner_webhooks_cli.deployment import Deployment, complaint, given, named, told
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.formation import State, require_ready
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.embedded_aws import Aws, embedded_aws
from linkrunner_webhooks_local.project import ROOT, TEMPLATE

KNOWN = ("AlarmEmail", "DomainName", "LedgerDays", "MoneyMetrics", "LedgerTableName")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
BEGUN = NOW - timedelta(seconds=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A merchant's folder."""
    (tmp_path / "webhooks.toml").write_text("[stripe]\n")
    (tmp_path / "settings.toml").write_text(
        'stack = "shop"\nregion = "eu-central-1"\n'
        '[parameters]\nAlarmEmail = "ops@example.com"\nLedgerDays = 500\nMoneyMetrics = true\n'
        '[tags]\nteam = "growth"\n'
    )
    return tmp_path


def plan(**variables: object) -> Deployment:
    """What these variables of make mean."""
    return told({name: str(value) for name, value in variables.items()}, dict.fromkeys(KNOWN))


# ------------------------------------------------------------------------------- what is told


@pytest.mark.parametrize("name", ["", "webhooks.toml"])
def test_the_settings_beside_the_configuration_say_the_rest(folder: Path, name: str) -> None:
    """CONFIG may be the folder or the file."""
    found = plan(CONFIG=folder / name)
    assert (found.stack, found.region) == ("shop", "eu-central-1")
    assert found.config == folder / "webhooks.toml"
    assert found.parameters == {
        "AlarmEmail": "ops@example.com",
        "LedgerDays": "500",
        "MoneyMetrics": "on",
    }
    assert found.tags == {"team": "growth"}
    assert (found.confirm, found.force) == (True, False)


def test_a_variable_of_make_wins(folder: Path) -> None:
    """Over the settings; PARAMETERS over the words for single parameters."""
    found = plan(
        CONFIG=folder,
        STACK="staging",
        REGION="us-east-1",
        ALARM_EMAIL="a@example.com",
        DOMAIN="hooks.example.com",
        PARAMETERS="LedgerDays=600 AlarmEmail='bc@example.com'",
        TAGS="team=ops cost=42",
        CONFIRM="no",
    )
    assert (found.stack, found.region, found.confirm) == ("staging", "us-east-1", False)
    assert found.parameters["AlarmEmail"] == "bc@example.com"
    assert found.parameters["LedgerDays"] == "600"
    assert found.parameters["DomainName"] == "hooks.example.com"
    assert found.tags == {"team": "ops", "cost": "42"}


def test_only_what_make_was_told_counts() -> None:
    """A STACK that the platform of a CI job sets for itself names no stack of ours."""
    shell = {"STACK": "heroku-22", "REGION": "eu", "CONFIG": "../my shop", "DOMAIN": "example.com"}
    flags = {"MAKEFLAGS": r"s -- CONFIG=../my\ shop TAGS=a=b\ STACK=c PARAMETERS=x"}
    assert given({**shell, **flags}) == {"CONFIG": "../my shop"}
    assert given({**shell, "MAKEFLAGS": ""}) == {}
    # GNU make 3.81, as on macOS.
    assert given({**shell, "MAKEFLAGS": "CONFIG=../my\\ shop STACK=x"}).keys() == {
        "CONFIG",
        "STACK",
    }
    assert given({**shell, "PATH": "/bin"}) == shell


def test_the_settings_are_those_beside_a_link(folder: Path, tmp_path: Path) -> None:
    """Two environments share one webhooks.toml by a link, and are two stacks."""
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "webhooks.toml").symlink_to(folder / "webhooks.toml")
    (staging / "settings.toml").write_text('stack = "shop-staging"\nregion = "eu-central-1"\n')
    assert plan(CONFIG=staging).stack == "shop-staging"


def test_an_empty_variable_says_nothing(folder: Path) -> None:
    """A CI job gives what it does not have as empty; nobody loses the alarms by that."""
    assert (
        plan(CONFIG=folder, ALARM_EMAIL="", STACK="").parameters["AlarmEmail"] == "ops@example.com"
    )
    assert plan(CONFIG=folder, PARAMETERS="AlarmEmail=").parameters["AlarmEmail"] == ""


WHERE = {"CONFIG": str(ROOT / "src" / "webhooks.toml"), "STACK": "shop", "REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CONFIG": ""}, "CONFIG is missing: the folder that `linkrunner-webhooks init DIR` made"),
        ({"CONFIG": "nowhere"}, "CONFIG names no file: nowhere"),
        ({"STACK": ""}, "STACK is missing: make ... STACK="),
        ({"REGION": ""}, "REGION is missing"),
        ({"STACK": "my shop"}, "STACK is a letter, then letters, digits and hyphens"),
        ({"STACK": "x" * 68}, "67 in all at most"),
        ({"REGION": "frankfurt"}, "REGION is like eu-central-1, not 'frankfurt'"),
        ({"LEDGER_TABEL": "x"}, 'there is no variable LEDGER_TABEL; did you mean "LEDGER_TABLE"?'),
        ({"PARAMETERS": "AlarmMail=a"}, 'did you mean "AlarmEmail"?'),
        ({"PARAMETERS": "LedgerDays"}, "is not like name=value"),
        ({"PARAMETERS": "LedgerDays=3"}, "LedgerDays is a number from 35 to 3650, not '3'"),
        ({"PARAMETERS": "LedgerDays=five"}, "LedgerDays is a number from 35"),
        ({"PARAMETERS": "MoneyMetrics=yes"}, "MoneyMetrics is one of on, off, not 'yes'"),
        ({"ALARM_EMAIL": "ops"}, "AlarmEmail must be empty or an e-mail address, not 'ops'"),
        ({"ALARM_EMAIL": "a@b.c d@e.f"}, "AlarmEmail must be empty or an e-mail address"),
        ({"DOMAIN": "https://a.example.com"}, "DomainName must be empty or a domain name"),
        (
            {"ALARM_TOPIC": "arn:aws:sns:us-east-1:123456789012:ops"},
            "AlarmTopicArn is of the region us-east-1, the stack of eu-central-1",
        ),
        ({"PARAMETERS": "'"}, "PARAMETERS: No closing quotation"),
        ({"CONFIRM": "false"}, 'CONFIRM is yes or no, not "false"'),
    ],
)
def test_what_is_missing_or_wrong_is_named(variables: dict[str, str], said: str) -> None:
    """With the variable to change, before anything is built."""
    with pytest.raises(Failure) as error:
        told(WHERE | variables, template.load(TEMPLATE)["Parameters"])
    assert said in error.value.message


def test_every_default_of_the_template_is_valid() -> None:
    """What is refused here is what CloudFormation refuses."""
    for name, parameter in template.load(TEMPLATE)["Parameters"].items():
        assert complaint(parameter, str(parameter["Default"])) == "", name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stak = 'shop'", 'stak: Extra inputs are not permitted; did you mean "stack"?'),
        ("stack = 7", "stack: Input should be a valid string"),
        ("stack =", "settings.toml: "),
    ],
)
def test_wrong_settings_are_named(folder: Path, text: str, said: str) -> None:
    """The file, the key, and what was meant."""
    (folder / "settings.toml").write_text(text)
    with pytest.raises(Failure) as error:
        named({"CONFIG": str(folder)})
    assert said in error.value.message


# ------------------------------------------------------------------------------- in words


def changed(action: str, id: str, type: str, **more: Any) -> dict[str, Any]:
    """One change as CloudFormation describes it."""
    change = {"Action": action, "LogicalResourceId": id, "ResourceType": type, **more}
    return {"Type": "Resource", "ResourceChange": change}


CODE = {"Target": {"Attribute": "Properties", "Name": "Code"}}
REFERS = {"Target": {"Attribute": "Properties", "Name": "Body"}, "Evaluation": "Dynamic"}
KEEPING = (
    "AWS::SQS::Queue",
    "AWS::DynamoDB::Table",
    "AWS::SecretsManager::Secret",
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::DomainName",
    "AWS::SNS::Topic",
)
QUEUE, TABLE, API = "AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::ApiGatewayV2::Api"


def test_an_upgrade_in_words() -> None:
    """What is new, what changes in what, and what goes with what is removed."""
    found = change_sets.changes(
        [
            {"Changes": [changed("Add", "SourceSilent", "AWS::CloudWatch::Alarm")]},
            {
                "Changes": [
                    changed(
                        "Modify", "DeliverFunction", "AWS::Lambda::Function", Details=[CODE, CODE]
                    ),
                    changed(
                        "Modify", "WebhookApi", API, Replacement="Conditional", Details=[REFERS]
                    ),
                    changed("Modify", "WebhookQueue", QUEUE, Replacement="Conditional"),
                    changed("Remove", "LedgerTable", TABLE, PolicyAction="Retain"),
                ]
            },
        ]
    )
    assert list(change_sets.words(found)) == [
        "New: SourceSilent.",
        "Changed: DeliverFunction (Code).",
        "Looked at again, because they refer to what changes: WebhookApi.",
        "Replaced by a new one: WebhookQueue, and the webhooks in it with it.",
        "Removed: LedgerTable, and the old one is kept beside the stack.",
    ]
    assert change_sets.losses(found) == ["WebhookQueue: the webhooks in it"]


def test_a_new_stack_in_words() -> None:
    """The kinds of things are counted; nothing can be lost."""
    alarms = [changed("Add", f"Alarm{number}", "AWS::CloudWatch::Alarm") for number in range(5)]
    found = change_sets.changes([{"Changes": [*alarms, changed("Add", "WebhookQueue", QUEUE)]}])
    assert list(change_sets.words(found)) == ["New: 6 resources, among them 5 alarms, 1 queue."]
    assert change_sets.losses(found) == []


@pytest.mark.parametrize("action", ["Remove", "Modify"])
@pytest.mark.parametrize(
    "type", [QUEUE, TABLE, "AWS::SecretsManager::Secret", "AWS::ApiGatewayV2::Api"]
)
def test_what_nobody_has_elsewhere_is_a_loss(action: str, type: str) -> None:
    """Removed or replaced, unless CloudFormation keeps it."""
    change = changed(action, "It", type, Replacement="True")
    assert len(change_sets.losses(change_sets.changes([{"Changes": [change]}]))) == 1
    change["ResourceChange"]["PolicyAction"] = (
        "Retain" if action == "Remove" else "ReplaceAndRetain"
    )
    assert change_sets.losses(change_sets.changes([{"Changes": [change]}])) == []


@pytest.mark.parametrize("action", ["Remove", "Modify"])
def test_a_new_one_that_does_as_well_is_no_loss(action: str) -> None:
    """An alarm, a role or a function holds nothing."""
    change = changed(action, "It", "AWS::CloudWatch::Alarm", Replacement="True")
    assert change_sets.losses(change_sets.changes([{"Changes": [change]}])) == []


def test_every_type_of_the_template_is_known_to_hold_something_or_nothing() -> None:
    """A new type is not forgotten: it counts as a loss until somebody says otherwise."""
    types = {each["Type"] for each in template.load(TEMPLATE)["Resources"].values()}
    sams = {"AWS::Serverless::Function", "AWS::Serverless::HttpApi"}
    assert types - sams <= change_sets._HARMLESS | change_sets._LOST.keys()


def test_changed_parameters_in_words() -> None:
    """New ones and those that stay are not told."""
    before = {"AlarmEmail": "", "LedgerDays": "400"}
    after = {"AlarmEmail": "ops@example.com", "LedgerDays": "400", "DomainName": ""}
    assert list(change_sets.parameters(before, after)) == ["AlarmEmail: (empty) -> ops@example.com"]


# ------------------------------------------------------------------------------- in CloudFormation


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("ROLLBACK_COMPLETE", "`make remove STACK=shop REGION=r`, then deploy"),
        ("DELETE_FAILED", "`make remove STACK=shop REGION=r` once more"),
        ("UPDATE_IN_PROGRESS", "wait until that is over"),
        ("UPDATE_ROLLBACK_FAILED", "Continue update rollback"),
    ],
)
def test_a_stack_that_cannot_be_changed_says_what_to_do(status: str, said: str) -> None:
    """Before anything is built."""
    with pytest.raises(Failure) as error:
        require_ready(State(status), "shop", "r")
    assert said in error.value.message


@pytest.mark.parametrize(
    "status", ["", "REVIEW_IN_PROGRESS", "CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"]
)
def test_a_stack_that_can_be_changed(status: str) -> None:
    """Also one of which only a change set is left, or whose last change was rolled back."""
    require_ready(State(status), "shop", "r")


class FakeFormation:
    """CloudFormation, with a stack that is done after some looks, and its events in pages."""

    def __init__(self, *pages: list[dict[str, Any]], looks: int = 2) -> None:
        self.pages = pages
        self.looks = looks

    def describe_stacks(self, **_: Any) -> dict[str, Any]:
        self.looks -= 1
        if self.looks < 0:
            missing = {"Error": {"Code": "ValidationError", "Message": "Stack shop does not exist"}}
            raise ClientError(missing, "DescribeStacks")
        return {"Stacks": [{"StackStatus": "DELETE_IN_PROGRESS"}]}

    def describe_stack_events(self, *, NextToken: str = "0", **_: Any) -> dict[str, Any]:  # noqa: N803
        number = int(NextToken)
        more = {"NextToken": str(number + 1)} if number + 1 < len(self.pages) else {}
        return {"StackEvents": self.pages[number], **more}


def event(id: str, status: str, reason: str = "", age: int = 0) -> dict[str, Any]:
    """An event of a stack, so many seconds old."""
    at = NOW - timedelta(seconds=age)
    found = {"EventId": id, "LogicalResourceId": id, "ResourceStatus": status, "Timestamp": at}
    return found | ({"ResourceStatusReason": reason} if reason else {})


def test_what_is_done_is_told_once_until_it_is_over() -> None:
    """Events come the newest first, in pages; those of before do not count."""
    done = event("WebhookQueue", "DELETE_COMPLETE")
    pages = ([event("Api", "DELETE_COMPLETE"), done], [event("Old", "CREATE_COMPLETE", age=99)])
    lines: list[str] = []
    ended = formation.finished(
        FakeFormation(*pages), "shop", BEGUN, lines.append, sleep=lambda _: None
    )
    assert ended == State()
    assert lines == ["delete complete: WebhookQueue", "delete complete: Api"]


def test_the_first_cause_of_a_failure_comes_first() -> None:
    """What was cancelled because of it is no cause; a known one says what to do."""
    cancelled = event("Api", "CREATE_FAILED", "Resource creation cancelled")
    cause = event("WebhookQueue", "CREATE_FAILED", "the queue already exists")
    found = formation.failures(FakeFormation([cancelled, cause]), "shop", BEGUN)
    assert list(found) == [
        f"WebhookQueue: the queue already exists -> {formation.HINTS['already exists']}"
    ]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("UPDATE_ROLLBACK_COMPLETE", "everything is as it was"),
        ("ROLLBACK_COMPLETE", "what is left of the new stack holds nothing"),
        ("UPDATE_ROLLBACK_FAILED", "the stack is UPDATE_ROLLBACK_FAILED"),
    ],
)
def test_a_change_that_failed_says_what_is_there_now(status: str, said: str) -> None:
    """And why it failed."""
    with pytest.raises(Failure) as error:
        formation.require_done(State(status), ["WebhookQueue: no"])
    assert said in error.value.message
    assert "WebhookQueue: no" in error.value.message


class FakePreparing:
    """CloudFormation, which prepares a change set and says how that ended."""

    def __init__(self, status: str, reason: str = "") -> None:
        self.ended = {"Status": status, "StatusReason": reason}
        self.asked: dict[str, Any] = {}
        self.deleted: list[str] = []

    def create_change_set(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        return {"Id": "arn:change"}

    def describe_change_set(self, **_: Any) -> dict[str, Any]:
        return self.ended

    def delete_change_set(self, *, ChangeSetName: str) -> None:  # noqa: N803
        self.deleted.append(ChangeSetName)


BEFORE = State(
    "CREATE_COMPLETE", parameters={"AlarmEmail": "a@b.c", "LedgerDays": "400"}, tags={"team": "x"}
)


def test_whatever_is_told_reaches_cloudformation_as_it_is() -> None:
    """Empty texts, spaces and equals signs; and what is not told stays, tags as well."""
    client = FakePreparing("CREATE_COMPLETE")
    odd = {"AlarmEmail": "", "DomainName": 'a b="c",d'}
    assert (
        formation.prepared(client, "shop", BEFORE, "url", odd, {"path": "a=b"}, KNOWN)
        == "arn:change"
    )
    assert client.asked["Parameters"] == [
        {"ParameterKey": "AlarmEmail", "ParameterValue": ""},
        {"ParameterKey": "DomainName", "ParameterValue": 'a b="c",d'},
        {"ParameterKey": "LedgerDays", "UsePreviousValue": True},
    ]
    assert client.asked["Tags"] == [{"Key": "team", "Value": "x"}, {"Key": "path", "Value": "a=b"}]
    assert client.asked["ChangeSetType"] == "UPDATE"


def test_a_parameter_that_the_template_has_no_more_is_not_kept() -> None:
    """A rollback goes to a version that does not know what was added since."""
    client = FakePreparing("CREATE_COMPLETE")
    formation.prepared(client, "shop", BEFORE, "url", {}, {}, ("AlarmEmail",))
    assert client.asked["Parameters"] == [{"ParameterKey": "AlarmEmail", "UsePreviousValue": True}]


def test_a_new_stack_keeps_nothing() -> None:
    """There is no value from before."""
    client = FakePreparing("CREATE_COMPLETE")
    formation.prepared(client, "shop", State("REVIEW_IN_PROGRESS"), "url", {}, {}, KNOWN)
    assert (client.asked["ChangeSetType"], client.asked["Parameters"]) == ("CREATE", [])


@pytest.mark.parametrize(
    "reason",
    ["The submitted information didn't contain changes. Submit", "No updates are to be performed."],
)
def test_nothing_changes_and_nothing_is_left_behind(reason: str) -> None:
    """CloudFormation calls a change set without a change a failure."""
    client = FakePreparing("FAILED", reason)
    assert formation.prepared(client, "shop", BEFORE, "url", {}, {}, KNOWN) is None
    assert client.deleted == ["arn:change"]


def test_a_change_that_is_refused_says_why() -> None:
    """As a rule of the template that is not met."""
    client = FakePreparing("FAILED", "DomainName needs CertificateArn")
    with pytest.raises(Failure, match="DomainName needs CertificateArn"):
        formation.prepared(client, "shop", BEFORE, "url", {}, {}, KNOWN)


class FakeTables:
    """DynamoDB with some tables."""

    def __init__(self, **tables: dict[str, Any]) -> None:
        self.tables = {name.replace("_", "-"): table for name, table in tables.items()}

    def describe_table(self, *, TableName: str) -> dict[str, Any]:  # noqa: N803
        if TableName not in self.tables:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeTable")
        return {"Table": self.tables[TableName]}

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self) -> list[dict[str, Any]]:
        return [{"TableNames": list(self.tables)}]


LEDGER = {
    "KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}],
    "GlobalSecondaryIndexes": [{"IndexName": "by_day"}],
}
OTHER = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}


def test_only_a_ledger_is_taken_over() -> None:
    """A name with a mistake in it would begin to capture everything anew, and another's table is not ours."""
    tables = FakeTables(shop_LedgerTable_1=LEDGER, orders=OTHER)
    former.require_ledger(tables, "shop-LedgerTable-1", None)
    for name, said in {"shop-LedgerTable-2": "there is no table", "orders": "is no ledger"}.items():
        with pytest.raises(Failure, match=said):
            former.require_ledger(tables, name, None)


def test_a_ledger_of_a_stack_that_is_at_work_is_not_shared() -> None:
    """What the one captured the other would take for a duplicate."""
    tables = FakeTables(shop_LedgerTable_1=LEDGER)
    with pytest.raises(Failure, match="is the ledger of the stack shop, which is at work"):
        former.require_ledger(tables, "shop-LedgerTable-1", "shop")


@pytest.mark.parametrize(
    ("before", "parameters", "said"),
    [
        (State(), {}, "LEDGER_TABLE=shop-LedgerTable-1 goes on with it"),
        (State(), {"LedgerTableName": "shop-LedgerTable-1"}, ""),
        (State("CREATE_COMPLETE"), {}, ""),
        (
            State("CREATE_COMPLETE", outputs={"LedgerTableName": "shop-LedgerTable-0"}),
            {"LedgerTableName": "shop-LedgerTable-1"},
            "what the ledger shop-LedgerTable-0 remembers",
        ),
        (
            State("CREATE_COMPLETE", parameters={"LedgerTableName": "old"}),
            {"LedgerTableName": ""},
            "what the ledger old remembers",
        ),
        (State("CREATE_COMPLETE", parameters={"LedgerTableName": "old"}), {}, ""),
    ],
)
def test_another_ledger_is_a_loss(before: State, parameters: dict[str, str], said: str) -> None:
    """The table is kept, and the stack would know nothing of it; a ledger that lies there is named."""
    tables = FakeTables(shop_LedgerTable_1=LEDGER, shop_staging_LedgerTable_1=LEDGER)
    found = former.forgotten(tables, "shop", before, parameters, ())
    assert (said in found) if said else found == ""


def test_a_ledger_that_another_stack_uses_is_not_proposed() -> None:
    """It was adopted, whoever made it."""
    tables = FakeTables(shop_LedgerTable_1=LEDGER)
    assert former.forgotten(tables, "shop", State(), {}, {"shop-LedgerTable-1": "shop-b"}) == ""


# ------------------------------------------------------------------------------- for real

# What SAM builds, without its minutes: a template and two packages. Everything else is SAM itself.
SAM = """#!/bin/sh
set -e
if [ "$1" != build ]; then exec "{root}/.venvs/sam/bin/sam" "$@"; fi
for name in ReceiveFunction DeliverFunction; do
    mkdir -p "{folder}/build/$name"
    echo "def handler(event, context): return None" > "{folder}/build/$name/app.py"
    cp "$WEBHOOKS_TOML" "{folder}/build/$name/webhooks.toml"
    : > "{folder}/build/$name/requirements.txt"
done
sed 's#CodeUri: src/#CodeUri: ReceiveFunction#' "{root}/template.yaml" > "{folder}/build/template.yaml"
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """An AWS in which stacks can be deployed."""
    with embedded_aws() as found:
        yield found


def make(aws: Aws, folder: Path, target: str, *variables: str, answer: str = "") -> Any:
    """One run of make, as a person or a CI job runs it."""
    sam = folder / "sam"
    sam.write_text(SAM.format(root=ROOT, folder=folder))
    sam.chmod(0o755)
    passed = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**passed, **aws.environment, "HOME": str(folder)}
    return subprocess.run(
        [  # noqa: S607
            "make", "-s", "-o", "setup", "-o", ".venv/.ready", target,
            f"SAM={sam}", f"BUILD={folder / 'build'}", f"CONFIG={folder}", *variables,
        ],
        cwd=ROOT,
        env=environment,
        input=answer,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip


def state(aws: Aws, stack: str) -> State:
    """A stack as it is deployed."""
    client = Aws(aws.endpoint_url, "eu-central-1").client("cloudformation")
    return formation.state(client, stack)


def outputs(aws: Aws) -> Mapping[str, str]:
    """The outputs of the stack."""
    return state(aws, "shop").outputs


def test_from_nothing_to_production_and_back(  # noqa: PLR0915 - one story
    aws: Aws, folder: Path
) -> None:
    """Looked at and left alone, deployed, changed, removed with its ledger kept, and deployed with that."""
    # A first look changes nothing.
    looked = make(aws, folder, "deploy", answer="n\n")
    assert looked.returncode != 0
    assert "New: " in looked.stderr
    assert "Nothing was changed." in looked.stderr
    assert outputs(aws) == {}

    # A CI job is asked nothing.
    first = make(aws, folder, "deploy", "CONFIRM=no")
    assert first.returncode == 0, first.stdout + first.stderr
    deployed = outputs(aws)
    assert deployed["Version"].startswith(f"{__version__}+")
    assert deployed["Sources"] == "stripe"
    assert deployed["ConfigurationDigest"] == config.load(folder / "webhooks.toml").digest
    assert f"stripe: {deployed['WebhookUrl']}stripe" in first.stdout
    assert "secrets set stripe" in first.stdout
    exported = f"AWS_DEFAULT_REGION=eu-central-1 WEBHOOKS_TOML={folder / 'webhooks.toml'}"
    assert f"export AWS_REGION=eu-central-1 {exported}" in first.stderr

    # What was changed in the folder is what is deployed next.
    (folder / "webhooks.toml").write_text('[stripe]\nmissing_user = "drop"\n')
    second = make(aws, folder, "deploy", "CONFIRM=no", "PARAMETERS=LedgerDays=600")
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"configuration {deployed['ConfigurationDigest']} -> " in second.stderr
    assert "LedgerDays: 500 -> 600" in second.stderr
    assert outputs(aws)["ConfigurationDigest"] != deployed["ConfigurationDigest"]
    assert outputs(aws)["WebhookQueueUrl"] == deployed["WebhookQueueUrl"]

    # A dry run of make is no deploy.
    (folder / "webhooks.toml").write_text("[shopify]\n")
    dry = make(aws, folder, "deploy", "CONFIRM=no", "-n")
    assert "deploy" in dry.stdout
    assert outputs(aws)["ConfigurationDigest"] != config.load(folder / "webhooks.toml").digest

    # A source that is gone is one that nobody answers any more.
    unserved = make(aws, folder, "deploy", "CONFIRM=no")
    assert unserved.returncode != 0
    assert "the source stripe: its URL answers 404" in unserved.stderr

    (folder / "webhooks.toml").write_text("[stripe]\n")

    # A second environment stands beside the first.
    staging = folder / "staging"
    made = ["init", str(staging), "--stack", "shop-staging", "--region", "eu-central-1"]
    assert CliRunner().invoke(main, made).exit_code == 0
    beside = make(aws, staging, "deploy", "CONFIRM=no", "ALARM_EMAIL=b@example.com")
    assert beside.returncode == 0, beside.stdout + beside.stderr
    found = state(aws, "shop-staging")
    assert found.parameters["AlarmEmail"] == "b@example.com"
    assert found.outputs["WebhookQueueUrl"] != deployed["WebhookQueueUrl"]
    assert state(aws, "shop").parameters["AlarmEmail"] == "ops@example.com"

    # A webhook that is parked is not lost by accident.
    sqs = Aws(aws.endpoint_url, "eu-central-1").client("sqs")
    sqs.send_message(QueueUrl=deployed["DeadLetterQueueUrl"], MessageBody="{}")
    kept = make(aws, folder, "remove", "CONFIRM=no")
    assert kept.returncode != 0
    assert "1 webhook parked or on the way to Linkrunner would be lost" in kept.stderr
    removed = make(aws, folder, "remove", answer="y\n")
    assert removed.returncode == 0, removed.stdout + removed.stderr
    table = deployed["LedgerTableName"]
    assert f"make deploy LEDGER_TABLE={table}" in removed.stderr
    assert outputs(aws) == {}

    # A ledger that lies there is not forgotten by accident, either.
    anew = make(aws, folder, "deploy", "CONFIRM=no")
    assert anew.returncode != 0
    assert f"LEDGER_TABLE={table} goes on with it" in anew.stderr

    # The next stack goes on with the ledger of the former.
    again = make(aws, folder, "deploy", "CONFIRM=no", f"LEDGER_TABLE={table}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert outputs(aws)["LedgerTableName"] == table
    dynamodb = Aws(aws.endpoint_url, "eu-central-1").client("dynamodb")
    assert [each for each in dynamodb.list_tables()["TableNames"] if "staging" not in each] == [
        table
    ]


def test_sam_by_hand_deploys_with_enter_on_every_question(aws: Aws, folder: Path) -> None:
    """Whoever reads SAM's documentation and not ours gets there, too."""
    built = make(aws, folder, "build", f"WEBHOOKS_TOML={folder / 'webhooks.toml'}")
    assert built.returncode == 0, built.stdout + built.stderr
    # SAM saves its answers, and this repository is not to be changed.
    settings = folder / "samconfig.toml"
    settings.write_text((ROOT / "samconfig.toml").read_text())
    arguments = [
        "--template-file",
        str(folder / "build" / "template.yaml"),
        "--config-file",
        str(settings),
    ]
    done = subprocess.run(
        [str(ROOT / ".venvs/sam/bin/sam"), "deploy", "--guided", *arguments],
        cwd=folder,
        env={
            **os.environ,
            **aws.environment,
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "eu-west-1",
        },
        input="\n" * 50,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "Successfully created/updated stack - linkrunner-webhooks in eu-west-1" in done.stdout


def test_a_stack_of_another_software_is_left_alone(aws: Aws, folder: Path) -> None:
    """However its name got into STACK."""
    client = Aws(aws.endpoint_url, "eu-central-1").client("cloudformation")
    topic = '{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}'
    client.create_stack(StackName="erp", TemplateBody=topic)
    for target in ("deploy", "remove"):
        done = make(aws, folder, target, "STACK=erp", "CONFIRM=no", "FORCE=yes")
        assert done.returncode != 0
        assert "erp is not one of this software" in done.stderr
    assert state(aws, "erp").status == "CREATE_COMPLETE"
    client.create_change_set(
        StackName="reviewed", ChangeSetName="theirs", ChangeSetType="CREATE", TemplateBody=topic
    )
    done = make(aws, folder, "remove", "STACK=reviewed", "CONFIRM=no", "FORCE=yes")
    assert "reviewed is not one of this software" in done.stderr


def test_another_account_is_refused(aws: Aws, folder: Path) -> None:
    """With the credentials of one environment nobody deploys the other."""
    done = make(aws, folder, "deploy", "ACCOUNT=123456789012", "CONFIRM=no")
    assert done.returncode != 0
    assert "account 000000000000, not 123456789012" in done.stderr


def test_there_is_nothing_to_remove(aws: Aws, folder: Path) -> None:
    """A name with a mistake in it removes nothing, and says so."""
    found = make(aws, folder, "remove", "STACK=shopp", "CONFIRM=no")
    assert found.returncode != 0
    assert "there is no stack shopp in eu-central-1" in found.stderr
