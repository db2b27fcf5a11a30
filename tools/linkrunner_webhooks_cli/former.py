"""The ledger that a stack is given, or could be: whether it is one, and what would be forgotten."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from linkrunner_webhooks.rows import INDEX
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.formation import State

_PARAMETER: Final = "LedgerTableName"


def users(cloudformation: Any) -> dict[str, str]:
    """The stacks that use a ledger, by its name."""
    return {
        output["OutputValue"]: stack["StackName"]
        for page in cloudformation.get_paginator("describe_stacks").paginate()
        for stack in page["Stacks"]
        for output in stack.get("Outputs", ())
        if output["OutputKey"] == _PARAMETER
    }


def require_ledger(client: Any, name: str, user: str | None) -> None:
    """Raises Failure unless this DynamoDB table is a ledger that no other stack, the `user`, works with.

    Two stacks with one ledger take each other's captures for their own.
    """
    try:
        table = client.describe_table(TableName=name)["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise Failure(f"{_PARAMETER}: there is no table {name} in this region") from None
        raise
    keys = [(each["AttributeName"], each["KeyType"]) for each in table["KeySchema"]]
    indexes = {each["IndexName"] for each in table.get("GlobalSecondaryIndexes", ())}
    if keys != [("key", "HASH")] or INDEX not in indexes:
        raise Failure(f"{_PARAMETER}: the table {name} is no ledger of a former stack")
    if user:
        raise Failure(f"{_PARAMETER}: {name} is the ledger of the stack {user}, which is at work")


def forgotten(
    client: Any, stack: str, before: State, parameters: Mapping[str, str], used: Collection[str]
) -> str:
    """What of the past the stack would not know any more, in words; empty for nothing."""
    given = parameters.get(_PARAMETER, before.parameters.get(_PARAMETER, ""))
    if before.exists:
        was = before.parameters.get(_PARAMETER, "")
        if given != was:
            return f"what the ledger {before.outputs.get('LedgerTableName', was)} remembers"
        return ""
    if given:
        return ""
    names = [
        name
        for page in client.get_paginator("list_tables").paginate()
        for name in page["TableNames"]
        if name.startswith(f"{stack}-LedgerTable-") and name not in used
    ]
    if not names:
        return ""
    return f"what the ledger {names[-1]} remembers (LEDGER_TABLE={names[-1]} goes on with it)"
