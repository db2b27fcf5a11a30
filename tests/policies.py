"""What a template's policies allow.

CloudFormation's functions and IAM's rules are there as far as the templates in docs/policies need them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkrunner_webhooks_local import template as templates

ACCOUNT, REGION = "000000000000", "us-east-1"

Node = dict[str, Any]
Context = Mapping[str, str]

_PSEUDO = {"AWS::Partition": "aws", "AWS::AccountId": ACCOUNT, "AWS::Region": REGION}
_NO_VALUE = "AWS::NoValue"


@dataclass(frozen=True)
class Evaluation:
    """A template's functions, for these parameters. A resource that is referred to is its own name."""

    values: Mapping[str, str]
    conditions: Mapping[str, Any]

    def of(self, node: Any) -> Any:
        """The node with every function evaluated, and without what AWS::NoValue stands for."""
        match node:
            case {"Ref": str(name)}:
                found: Any = self.values.get(name, name)
            case {"Fn::Sub": str(text)}:
                found = re.sub(r"\$\{([^}]+)\}", lambda name: self.values[name[1]], text)
            case {"Fn::If": [str(condition), yes, no]}:
                found = self.of(yes if self.of(self.conditions[condition]) else no)
            case {"Fn::Equals": [one, other]}:
                found = self.of(one) == self.of(other)
            case {"Fn::Not": [one]}:
                found = not self.of(one)
            case dict():
                pairs = ((key, self.of(value)) for key, value in node.items())
                found = {key: value for key, value in pairs if value != _NO_VALUE}
            case list():
                found = [value for value in map(self.of, node) if value != _NO_VALUE]
            case _:
                found = node
        return found


def evaluation(template: Node, **parameters: str) -> Evaluation:
    """The functions of a template, with the defaults of parameters that are not given."""
    declared = template.get("Parameters", {})
    defaults = {name: str(each.get("Default", "")) for name, each in declared.items()}
    unknown = parameters.keys() - declared.keys() - {"AWS::StackName"}
    assert not unknown, f"no parameters of the template: {unknown}"
    return Evaluation(_PSEUDO | defaults | parameters, template.get("Conditions", {}))


def made(path: Path, **parameters: str) -> dict[str, Node]:
    """The properties of each resource that a template makes with these parameters."""
    template = templates.load(path)
    functions = evaluation(template, **parameters)
    return {
        name: functions.of(resource["Properties"])
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or functions.of(functions.conditions[resource["Condition"]])
    }


def listed(value: Any) -> list[Any]:
    """The value as a list: a policy may write one alone without brackets."""
    return value if isinstance(value, list) else [value]


def actions(statements: Iterable[Node], effect: str = "Allow") -> set[str]:
    """Every action that statements name to this effect."""
    return {
        action
        for each in statements
        if each["Effect"] == effect
        for action in listed(each["Action"])
    }


def allows(statements: Iterable[Node], action: str, resource: str, context: Context) -> bool:
    """Whether a request is allowed: by one statement, and denied by none."""
    effects = {each["Effect"] for each in statements if _is_about(each, action, resource, context)}
    return effects == {"Allow"}


def _is_about(statement: Node, action: str, resource: str, context: Context) -> bool:
    return (
        action in listed(statement["Action"])
        and any(_is_like(pattern, resource) for pattern in listed(statement["Resource"]))
        and all(
            _holds(operator, key, listed(value), context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, value in keys.items()
        )
    )


def _holds(operator: str, key: str, values: list[str], context: Context) -> bool:
    if key not in context:
        return False
    if operator == "ArnLike":
        return any(_is_like(value, context[key]) for value in values)
    assert operator in ("StringEquals", "ForAnyValue:StringEquals"), operator
    return context[key] in values


def _is_like(pattern: str, text: str) -> bool:
    """IAM's two wildcards."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, text) is not None
