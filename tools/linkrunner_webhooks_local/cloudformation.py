"""The queues, table and secrets of template.yaml, created by the embedded AWS's CloudFormation.

CloudFormation also evaluates the functions' environment variables: each expression becomes an
output of the local stack, so that nothing here has to know what Ref or GetAtt mean for a queue.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from linkrunner_webhooks_local import template as templates
from linkrunner_webhooks_local.embedded_aws import Aws
from linkrunner_webhooks_local.project import TEMPLATE, LocalError
from linkrunner_webhooks_local.template import Function

STACK_NAME: Final = "linkrunner-webhooks-local"
_PREFIX: Final = "LocalExpression"
_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class EventSource:
    """A queue that feeds a function, as it exists."""

    queue_url: str
    queue_arn: str
    batch_size: int
    maximum_concurrency: int


@dataclass(frozen=True, slots=True)
class EmbeddedStack:
    """A created stack."""

    name: str
    aws: Aws
    outputs: Mapping[str, str]
    _functions: Mapping[str, Function]
    _values: Mapping[str, str]

    def environment(self, function: str) -> dict[str, str]:
        """The environment variables that the template gives to this function, evaluated."""
        variables = self._function(function).variables
        return {name: self._value(value) for name, value in variables.items()}

    def timeout(self, function: str) -> int:
        """The timeout of one invocation, in seconds."""
        return self._function(function).timeout

    def queue_source(self, function: str) -> EventSource:
        """The one queue this function is fed from."""
        sources = self._function(function).queue_sources
        if len(sources) != 1:
            raise LocalError(f"{function} needs exactly one event source of type SQS.")
        arn = self._value(sources[0].queue)
        return EventSource(
            queue_url=self._queue_url(arn),
            queue_arn=arn,
            batch_size=sources[0].batch_size,
            maximum_concurrency=sources[0].maximum_concurrency,
        )

    def _function(self, logical_id: str) -> Function:
        if logical_id not in self._functions:
            raise LocalError(f"The template has no function {logical_id}.")
        return self._functions[logical_id]

    def _value(self, value: Any) -> str:
        return self._values[_key(value)] if isinstance(value, dict) else _text(value)

    def _queue_url(self, arn: str) -> str:
        name = arn.rpartition(":")[2]
        url: str = self.aws.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]
        return url


def create(
    aws: Aws, parameters: Mapping[str, str] | None = None, template: Path = TEMPLATE
) -> EmbeddedStack:
    """Create what the template describes and wait for it."""
    source = templates.load(template)
    functions = templates.functions(source)
    plain = templates.plain(source)
    expressions = _expressions(functions)
    _require_known(expressions, plain)
    described = _create(
        aws,
        plain
        | {"Parameters": _parameters(plain, parameters or {})}
        | {"Outputs": plain["Outputs"] | _outputs(expressions)},
    )
    return EmbeddedStack(
        name=STACK_NAME,
        aws=aws,
        outputs={name: described[name] for name in plain["Outputs"] if name in described},
        _functions=functions,
        _values={key: described[name] for name, key in _names(expressions).items()},
    )


def _expressions(functions: Mapping[str, Function]) -> dict[str, tuple[str, Any]]:
    """Every expression of the functions' settings once, with where it was found first."""
    found: dict[str, tuple[str, Any]] = {}
    for place, value in _settings(functions):
        if isinstance(value, dict):
            found.setdefault(_key(value), (place, value))
    return found


def _settings(functions: Mapping[str, Function]) -> Iterator[tuple[str, Any]]:
    for logical_id, function in functions.items():
        for name, value in function.variables.items():
            yield f"{logical_id}'s variable {name}", value
        for queue_source in function.queue_sources:
            yield f"{logical_id}'s event source", queue_source.queue


def _require_known(expressions: Mapping[str, tuple[str, Any]], plain: Mapping[str, Any]) -> None:
    known = plain["Resources"].keys() | plain.get("Parameters", {}).keys()
    for place, value in expressions.values():
        if unknown := sorted(templates.references(value) - known):
            raise LocalError(f"{place} refers to {unknown[0]}, which the local stack has not.")


def _outputs(expressions: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    return {name: {"Value": expressions[key][1]} for name, key in _names(expressions).items()}


def _names(expressions: Mapping[str, Any]) -> dict[str, str]:
    return {f"{_PREFIX}{number}": key for number, key in enumerate(expressions)}


def _parameters(template: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    declared: Mapping[str, Any] = template.get("Parameters", {})
    if unknown := sorted(values.keys() - declared.keys()):
        raise LocalError(f"The template has no parameter {unknown[0]}.")
    # Without the declared rules: they protect a deployment (an address has to be https, say),
    # and nothing on loopback has a certificate.
    ours = {name: {"Type": "String", "Default": value} for name, value in values.items()}
    return {**declared, **ours}


def _create(aws: Aws, template: Mapping[str, Any]) -> dict[str, str]:
    cloudformation = aws.client("cloudformation")
    try:
        cloudformation.create_stack(StackName=STACK_NAME, TemplateBody=json.dumps(template))
    except ClientError as error:
        raise LocalError(f"The local stack was not created: {error}") from None
    stack = _finished(cloudformation)
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _finished(cloudformation: Any) -> Mapping[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        stack: Mapping[str, Any] = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return stack
        if stack["StackStatus"] != "CREATE_IN_PROGRESS" or time.monotonic() > deadline:
            raise LocalError(f"The local stack was not created: {_reason(cloudformation)}")
        time.sleep(0.02)


def _reason(cloudformation: Any) -> str:
    events = cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    if not failed:
        return "the embedded AWS gave no reason."
    return f"{failed[-1]['LogicalResourceId']}: {failed[-1].get('ResourceStatusReason', 'unknown')}"


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
