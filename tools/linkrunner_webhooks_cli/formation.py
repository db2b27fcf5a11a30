"""A stack in CloudFormation: how it is, and waiting until a change of it is over, with what went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from linkrunner_webhooks_cli.failures import Failure

_POLL: Final = 3.0
# A stack that was made for a change set and has nothing yet.
REVIEW: Final = "REVIEW_IN_PROGRESS"
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

    @property
    def exists(self) -> bool:
        return self.status not in ("", REVIEW, "DELETE_COMPLETE")


def state(client: Any, stack: str) -> State:
    """How the stack is now."""
    try:
        described = client.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return State()
        raise
    return State(
        described["StackStatus"],
        {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())},
        {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", ())},
    )


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
                if event["ResourceStatus"].endswith(("_COMPLETE", "_FAILED")):
                    tell(
                        f"{event['ResourceStatus'].lower().replace('_', ' ')}: {event['LogicalResourceId']}"
                    )
        if not found.status.endswith("_IN_PROGRESS"):
            return found
        sleep(_POLL)


def failures(client: Any, stack: str, since: datetime) -> Iterator[str]:
    """Why it failed, the first cause first, with what to do where that is known."""
    for event in _events(client, stack, since):
        reason = event.get("ResourceStatusReason", "")
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason.lower():
            hint = next((hint for word, hint in HINTS.items() if word in reason), "")
            yield f"{event['LogicalResourceId']}: {reason}{f' -> {hint}' if hint else ''}"


def _events(client: Any, stack: str, since: datetime) -> list[Mapping[str, Any]]:
    """What happened since, the oldest first."""
    found: list[Mapping[str, Any]] = []
    request: dict[str, Any] = {"StackName": stack}
    while True:
        try:
            page = client.describe_stack_events(**request)
        except ClientError as error:
            # It is gone.
            if "does not exist" in str(error):
                return found
            raise
        new = [each for each in page["StackEvents"] if each["Timestamp"] >= since]
        found = [*reversed(new), *found]
        if len(new) < len(page["StackEvents"]) or not page.get("NextToken"):
            return found
        request["NextToken"] = page["NextToken"]


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
