"""The parts of template.yaml that the local stack uses: plain resources and the functions' settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from linkrunner_webhooks_local.project import LocalError

# Everything else in the template is played by this package (functions, the API, the event source)
# or watches over a deployment (alarms, dashboards, logs).
_CREATED: Final = (
    "AWS::SQS::Queue",
    "AWS::DynamoDB::Table",
    "AWS::SecretsManager::Secret",
)
_DEFAULT_TIMEOUT: Final = 3
_DEFAULT_BATCH_SIZE: Final = 10
_UNBOUNDED_POLLERS: Final = 5


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref x` is {"Ref": "x"}."""


def _intrinsic(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _intrinsic)


@dataclass(frozen=True, slots=True)
class QueueSource:
    """The event source of a function. `queue` is the expression that names the queue."""

    queue: Any
    batch_size: int
    maximum_concurrency: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function's settings. The variables' values are text or CloudFormation expressions."""

    variables: Mapping[str, Any]
    timeout: int
    queue_sources: tuple[QueueSource, ...]


def load(path: Path) -> dict[str, Any]:
    """The template with every short form written out."""
    try:
        # A subclass of SafeLoader: it can only ever build plain values.
        template = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except (OSError, yaml.YAMLError) as error:
        raise LocalError(f"{path.name} cannot be read: {error}") from None
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        raise LocalError(f"{path.name} has no Resources.")
    return template


def function(template: Mapping[str, Any], logical_id: str) -> Function:
    """The settings of one AWS::Serverless::Function, with Globals applied."""
    properties = _properties(template, logical_id)
    shared = template.get("Globals", {}).get("Function", {})
    return Function(
        variables=_variables(shared) | _variables(properties),
        timeout=int(properties.get("Timeout", shared.get("Timeout", _DEFAULT_TIMEOUT))),
        queue_sources=tuple(
            _queue_source(event["Properties"])
            for event in properties.get("Events", {}).values()
            if event["Type"] == "SQS"
        ),
    )


def functions(template: Mapping[str, Any]) -> dict[str, Function]:
    """Every function of the template, by logical id."""
    return {
        logical_id: function(template, logical_id)
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def plain(template: Mapping[str, Any]) -> dict[str, Any]:
    """The part an emulator without SAM can create: queues, tables, secrets, and what names them."""
    resources = {
        logical_id: resource
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] in _CREATED
    }
    kept = {
        key: template[key] for key in ("Parameters", "Mappings", "Conditions") if key in template
    }
    known = resources.keys() | template.get("Parameters", {}).keys()
    outputs = {
        name: output
        for name, output in template.get("Outputs", {}).items()
        if references(output) <= known
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        **kept,
        "Resources": resources,
        "Outputs": outputs,
    }


def references(node: Any) -> set[str]:
    """The logical ids of resources and parameters that a piece of template refers to."""
    return {name for name in _references(node) if not name.startswith("AWS::")}


def _references(node: Any) -> Iterator[str]:
    match node:
        case {"Ref": str(name)}:
            yield name
        case {"Fn::GetAtt": [str(name), *_]}:
            yield name
        case {"Fn::Sub": str(text)}:
            yield from _placeholders(text)
        case {"Fn::Sub": [str(text), dict(values)]}:
            yield from _placeholders(text) - values.keys()
            yield from _references(list(values.values()))
        case dict():
            yield from _references(list(node.values()))
        case list():
            for item in node:
                yield from _references(item)


def _placeholders(text: str) -> set[str]:
    return {name.partition(".")[0] for name in re.findall(r"\$\{([^!}][^}]*)\}", text)}


def _properties(template: Mapping[str, Any], logical_id: str) -> Mapping[str, Any]:
    resource = template["Resources"].get(logical_id)
    if resource is None:
        raise LocalError(f"The template has no resource {logical_id}.")
    properties: Mapping[str, Any] = resource.get("Properties", {})
    return properties


def _variables(properties: Mapping[str, Any]) -> dict[str, Any]:
    variables: dict[str, Any] = properties.get("Environment", {}).get("Variables", {})
    return variables


def _queue_source(properties: Mapping[str, Any]) -> QueueSource:
    scaling = properties.get("ScalingConfig", {})
    return QueueSource(
        queue=properties["Queue"],
        batch_size=int(properties.get("BatchSize", _DEFAULT_BATCH_SIZE)),
        maximum_concurrency=int(scaling.get("MaximumConcurrency", _UNBOUNDED_POLLERS)),
    )
