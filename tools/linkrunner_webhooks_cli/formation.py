"""A stack in CloudFormation: how it is, what is prepared for it, and waiting until a change of it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from botocore.exceptions import ClientError

from linkrunner_webhooks_cli.failures import Failure

_POLL: Final = 3.0
# A stack that was made for a change set and has nothing yet.
REVIEW: Final = "REVIEW_IN_PROGRESS"
# How our change sets are called.
_CHANGE: Final = "deploy-"
# What every stack of ours has had since the first version.
_OURS: Final = frozenset({"WebhookQueue", "DeadLetterQueue", "ReceiveFunction", "DeliverFunction"})
# What the messages of CloudFormation mean here.
HINTS: Final = {
    "already exists": "another stack, or one that was deleted in part, has it: choose another STACK",
    "UnreservedConcurrentExecution": "the account has too few executions: leave out ReceiveConcurrency",
    "deleted recently": "SQS gives a name away a minute after it was deleted: wait, and deploy again",
    "certificate": "the certificate has to be in ACM, of this region, and issued for DomainName",
    "not authorized to perform": "who deploys lacks that permission (docs/policies/deploy-role.yaml)",
    "permissions boundary": "your organization demands a boundary: BOUNDARY=arn:aws:iam::...:policy/...",
}


@dataclass(frozen=True, slots=True)
class State:
    """A stack as it is; without a status there is none."""

    status: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        return self.status not in ("", REVIEW, "DELETE_COMPLETE")


def state(client: Any, stack: str) -> State:
    """How the stack is now."""
    try:
        described = client.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if _is_missing(error):
            return State()
        raise
    return State(
        described["StackStatus"],
        {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())},
        {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", ())},
        {each["Key"]: each["Value"] for each in described.get("Tags", ())},
    )


def require_ours(client: Any, stack: str, found: State) -> None:
    """Raises Failure where there is a stack of that name that is not of this software."""
    if found.status == REVIEW:
        ours = all(name.startswith(_CHANGE) for name in pending(client, stack))
    elif found.exists:
        described = client.describe_stack_resources(StackName=stack)["StackResources"]
        ours = bool(_OURS & {each["LogicalResourceId"] for each in described})
    else:
        return
    if not ours:
        raise Failure(f"the stack {stack} is not one of this software; choose another STACK")


def pending(client: Any, stack: str) -> list[str]:
    """The names of the change sets that wait for somebody."""
    return [each["ChangeSetName"] for each in client.list_change_sets(StackName=stack)["Summaries"]]


# ------------------------------------------------------------------------------- a change


def prepared(
    client: Any,
    stack: str,
    before: State,
    template_url: str,
    parameters: Mapping[str, str],
    tags: Mapping[str, str],
    known: Collection[str],
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """A change set that nobody has executed, by its ARN; None where nothing would change.

    A parameter that is not given stays as it is deployed, if the template still has it (`known`), and so does
    a tag.
    """
    # What is under review has parameters, and nothing that could be kept.
    deployed = before.parameters if before.exists else ()
    kept = [
        {"ParameterKey": name, "UsePreviousValue": True}
        for name in deployed
        if name in known and name not in parameters
    ]
    given = [{"ParameterKey": name, "ParameterValue": text} for name, text in parameters.items()]
    answer = client.create_change_set(
        StackName=stack,
        ChangeSetName=f"{_CHANGE}{uuid4().hex}",
        ChangeSetType="UPDATE" if before.exists else "CREATE",
        TemplateURL=template_url,
        Parameters=[*given, *kept],
        Tags=[{"Key": key, "Value": value} for key, value in {**before.tags, **tags}.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    arn = str(answer["Id"])
    while True:
        described = client.describe_change_set(ChangeSetName=arn)
        if described["Status"] == "CREATE_COMPLETE":
            return arn
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "")
            client.delete_change_set(ChangeSetName=arn)
            if "didn't contain changes" in reason or "No updates" in reason:
                return None
            raise Failure(f"CloudFormation refuses the change: {reason}{hint_for(reason)}")
        sleep(_POLL)


def described(client: Any, change_set: str) -> list[dict[str, Any]]:
    """All pages of a change set."""
    pages = [client.describe_change_set(ChangeSetName=change_set)]
    while token := pages[-1].get("NextToken"):
        pages.append(client.describe_change_set(ChangeSetName=change_set, NextToken=token))
    return pages


def latest(client: Any, stack: str) -> datetime:
    """When the last thing happened to the stack, by the clock of AWS."""
    try:
        events = client.describe_stack_events(StackName=stack)["StackEvents"]
    except ClientError as error:
        if not _is_missing(error):
            raise
        events = []
    return max((each["Timestamp"] for each in events), default=datetime.fromtimestamp(0, UTC))


def finished(
    client: Any,
    stack: str,
    since: datetime,
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> State:
    """The stack when nothing is in progress any more. `tell` gets a line for what is done meanwhile."""
    known: set[str] = set()
    while True:
        found = state(client, stack)
        for event in _events(client, stack, since):
            if event["EventId"] not in known:
                known.add(event["EventId"])
                status = event["ResourceStatus"]
                if status.endswith(("_COMPLETE", "_FAILED")):
                    tell(f"{status.lower().replace('_', ' ')}: {event['LogicalResourceId']}")
        if not found.status.endswith("_IN_PROGRESS"):
            return found
        sleep(_POLL)


def failures(client: Any, stack: str, since: datetime) -> Iterator[str]:
    """Why it failed, the first cause first, with what to do where that is known."""
    for event in _events(client, stack, since):
        reason = event.get("ResourceStatusReason", "")
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason.lower():
            yield f"{event['LogicalResourceId']}: {reason}{hint_for(reason)}"


def hint_for(reason: str) -> str:
    """What to do about a reason of CloudFormation's; empty where that is not known."""
    return next((f" -> {hint}" for word, hint in HINTS.items() if word in reason), "")


def _events(client: Any, stack: str, since: datetime) -> list[Mapping[str, Any]]:
    """What happened since, the oldest first."""
    found: list[Mapping[str, Any]] = []
    request: dict[str, Any] = {"StackName": stack}
    while True:
        try:
            page = client.describe_stack_events(**request)
        except ClientError as error:
            if _is_missing(error):
                return found
            raise
        new = [each for each in page["StackEvents"] if each["Timestamp"] > since]
        found = [*reversed(new), *found]
        if len(new) < len(page["StackEvents"]) or not page.get("NextToken"):
            return found
        request["NextToken"] = page["NextToken"]


def _is_missing(error: ClientError) -> bool:
    return "does not exist" in str(error)


# ------------------------------------------------------------------------------- states


def require_ready(found: State, stack: str, region: str) -> None:
    """Raises Failure where the stack cannot be changed as it is."""
    again = f"make remove STACK={stack} REGION={region}"
    if found.status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"):
        raise Failure(
            f"the first deploy of {stack} failed, and what is left holds nothing: `{again}`, then deploy"
        )
    if found.status == "DELETE_FAILED":
        raise Failure(f"{stack} was removed in part: `{again}` once more")
    if found.status.endswith("_IN_PROGRESS") and found.status != REVIEW:
        raise Failure(f"{stack} is being changed ({found.status}); wait until that is over")
    if found.status == "UPDATE_ROLLBACK_FAILED":
        raise Failure(
            f"{stack} could be neither changed nor rolled back; CloudFormation console: "
            "Continue update rollback"
        )


def require_done(ended: State, why: Sequence[str]) -> None:
    """Raises Failure where a change did not end well, with what is there now."""
    if ended.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return
    now = {
        "UPDATE_ROLLBACK_COMPLETE": "not deployed, everything is as it was",
        "ROLLBACK_COMPLETE": "not deployed, and what is left of the new stack holds nothing",
    }.get(ended.status, f"not deployed, and the stack is {ended.status}")
    raise Failure("\n  ".join([f"{now}:", *why]))
