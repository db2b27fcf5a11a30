"""A change set of CloudFormation in words: what is new, what changes, and what would be lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

# What goes with a resource of which nobody has another.
_LOST: Final = {
    "AWS::DynamoDB::Table": "what was captured before",
    "AWS::SQS::Queue": "the webhooks in it",
    "AWS::SecretsManager::Secret": "the secrets in it",
    "AWS::ApiGatewayV2::Api": "the URL that providers send to",
    "AWS::ApiGatewayV2::DomainName": "the URL that providers send to",
    "AWS::ApiGatewayV2::ApiMapping": "the URL that providers send to",
    "AWS::Route53::RecordSet": "the URL that providers send to",
    "AWS::Logs::LogGroup": "its lines",
    "AWS::SNS::Topic": "who has confirmed to get the alarms",
}
# What a new one does as well. Of a type that nobody thought of something may be lost.
_HARMLESS: Final = frozenset(
    {
        "AWS::ApiGatewayV2::Stage",
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::Events::Rule",
        "AWS::IAM::Role",
        "AWS::KMS::Key",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Logs::MetricFilter",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
    }
)
_TELLING: Final = {
    "AWS::Lambda::Function": "function",
    "AWS::SQS::Queue": "queue",
    "AWS::DynamoDB::Table": "table",
    "AWS::SecretsManager::Secret": "secret",
    "AWS::CloudWatch::Alarm": "alarm",
    "AWS::ApiGatewayV2::Api": "API",
    "AWS::IAM::Role": "role",
}


class Change(NamedTuple):
    """What becomes of one resource. `properties` are those that change; what is `kept` outlives the stack.

    `follows` says that it only refers to what changes, and is the same unless that gets another id.
    """

    action: str
    id: str
    type: str
    replaced: bool = False
    properties: tuple[str, ...] = ()
    kept: bool = False
    follows: bool = False


def changes(described: Sequence[Mapping[str, Any]]) -> list[Change]:
    """From the pages of describe_change_set.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html
    """
    found = [
        each["ResourceChange"]
        for page in described
        for each in page.get("Changes", ())
        if each.get("Type", "Resource") == "Resource"
    ]
    return [
        Change(
            action=each["Action"],
            id=each["LogicalResourceId"],
            type=each["ResourceType"],
            replaced=each.get("Replacement") == "True"
            or (each.get("Replacement") == "Conditional" and not _follows(each)),
            properties=tuple(dict.fromkeys(_targets(each))),
            kept=each.get("PolicyAction") in ("Retain", "ReplaceAndRetain"),
            follows=_follows(each),
        )
        for each in found
    ]


def _follows(change: Mapping[str, Any]) -> bool:
    details = change.get("Details", ())
    return bool(details) and all(each.get("Evaluation") == "Dynamic" for each in details)


def _targets(change: Mapping[str, Any]) -> Iterator[str]:
    for detail in change.get("Details", ()):
        target = detail.get("Target", {})
        if name := target.get("Name") or target.get("Attribute"):
            yield str(name)


def words(found: Sequence[Change]) -> Iterator[str]:
    """The changes as lines for people."""
    new = [each for each in found if each.action == "Add"]
    if new:
        kinds = Counter(_TELLING[each.type] for each in new if each.type in _TELLING)
        known = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in kinds.items())
        names = ", ".join(each.id for each in new)
        several = f"{len(new)} resources, among them {known}" if known else f"{len(new)} resources"
        yield f"New: {several if len(new) > _FEW else names}."
    modified = [each for each in found if each.action == "Modify" and not each.replaced]
    changed = [each for each in modified if not each.follows]
    if changed:
        told = (
            each.id + (f" ({', '.join(each.properties)})" if each.properties else "")
            for each in changed
        )
        yield f"Changed: {', '.join(told)}."
    if follow := [each.id for each in modified if each.follows]:
        yield f"Looked at again, because they refer to what changes: {', '.join(follow)}."
    for each in found:
        if each.replaced and each.action == "Modify":
            yield f"Replaced by a new one: {each.id}{_fate(each)}."
        if each.action == "Remove":
            yield f"Removed: {each.id}{_fate(each)}."


_FEW: Final = 4


def _fate(change: Change) -> str:
    if change.kept:
        return ", and the old one is kept beside the stack"
    return "" if change.type in _HARMLESS else f", and {_loss(change)} with it"


def _loss(change: Change) -> str:
    return _LOST.get(change.type, "what is in it")


def losses(found: Sequence[Change]) -> list[str]:
    """What would be lost: what is replaced or removed, and holds something. Nothing of what is kept."""
    return [
        f"{each.id}: {_loss(each)}"
        for each in found
        if (each.replaced or each.action == "Remove")
        and each.type not in _HARMLESS
        and not each.kept
    ]


def parameters(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """The parameters that change."""
    for name, value in after.items():
        if name in before and before[name] != value:
            yield f"{name}: {before[name] or '(empty)'} -> {value or '(empty)'}"
