"""What is deployed where: the settings beside a webhooks.toml, and what `make deploy` was told besides."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linkrunner_webhooks.config import suggest
from linkrunner_webhooks_cli.failures import Failure

SETTINGS: Final = "settings.toml"
# Parameters of template.yaml that `make deploy` has a word for.
WORDS: Final = {
    "ALARM_EMAIL": "AlarmEmail",
    "ALARM_TOPIC": "AlarmTopicArn",
    "DOMAIN": "DomainName",
    "CERTIFICATE": "CertificateArn",
    "ZONE": "HostedZoneId",
    "LEDGER_TABLE": "LedgerTableName",
    "BOUNDARY": "PermissionsBoundaryArn",
}
_VARIABLES: Final = frozenset(
    {*WORDS, "STACK", "REGION", "CONFIG", "ACCOUNT", "PARAMETERS", "TAGS", "CONFIRM", "FORCE"}
    # Of the Makefile itself
    | {"BUILD", "SAM", "PYTHON"}
)
# A queue is called after it with "-dead-letters", in 80 letters.
_LONGEST: Final = 67
_STACK: Final = re.compile(rf"[A-Za-z][A-Za-z0-9-]{{0,{_LONGEST - 1}}}", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]", re.ASCII)
# The command line that a person types, for messages.
_EXAMPLE: Final = "STACK=shop REGION=eu-central-1 CONFIG=../shop"


class Settings(BaseModel):
    """settings.toml. What `make deploy` is told besides wins."""

    model_config = ConfigDict(extra="forbid", strict=True)

    stack: str | None = None
    region: str | None = None
    account: str | None = None
    parameters: dict[str, str | int | bool] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One stack, and what it is given. A parameter that is not given stays as it is deployed."""

    stack: str
    region: str
    confirm: bool
    force: bool
    config: Path
    account: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Named(NamedTuple):
    """Which stack, and whether it is asked about first."""

    stack: str
    region: str
    confirm: bool
    force: bool


def named(environment: Mapping[str, str]) -> Named:
    """The stack that STACK and REGION name, or the settings beside CONFIG. Raises Failure."""
    return _chosen(environment, _beside(_file(environment)))


def _chosen(environment: Mapping[str, str], settings: Settings) -> Named:
    for word in environment:
        if word not in _VARIABLES:
            raise Failure(f"there is no variable {word}{suggest(word, _VARIABLES)}")
    stack = _named(environment, "STACK", settings.stack)
    region = _named(environment, "REGION", settings.region)
    if wrong := refused(stack, region):
        raise Failure(wrong)
    return Named(
        stack,
        region,
        _switch(environment, "CONFIRM", default=True),
        _switch(environment, "FORCE", default=False),
    )


def refused(stack: str, region: str | None) -> str:
    """Why a stack of this name cannot be in this region; empty where it can."""
    if not _STACK.fullmatch(stack):
        rule = f"a letter, then letters, digits and hyphens, {_LONGEST} in all at most"
        return f"STACK is {rule}, not {stack!r}"
    if region is not None and not _REGION.fullmatch(region):
        return f"REGION is like eu-central-1, not {region!r}"
    return ""


def told(environment: Mapping[str, str], known: Mapping[str, Any]) -> Deployment:
    """What the variables of `make deploy` and the settings beside CONFIG say. Raises Failure.

    `known` are the parameters of the template. An empty variable says nothing, because a variable that a CI
    job does not have is empty, too; PARAMETERS="AlarmEmail=" empties one.
    """
    config = _file(environment)
    settings = _beside(config)
    chosen = _chosen(environment, settings)
    worded = {name: environment.get(word, "") for word, name in WORDS.items()}
    parameters = {
        **{name: _text(value) for name, value in settings.parameters.items()},
        **{name: value for name, value in worded.items() if value},
        **_pairs(environment, "PARAMETERS", "LedgerDays=500 MoneyMetrics=on"),
    }
    for name, value in parameters.items():
        if name not in known:
            raise Failure(f'the template has no parameter "{name}"{suggest(name, known)}')
        if wrong := complaint(known[name] or {}, value):
            raise Failure(f"{name} {wrong}, not {value!r}")
        if value.startswith("arn:") and value.split(":")[3] not in ("", chosen.region):
            raise Failure(
                f"{name} is of the region {value.split(':')[3]}, the stack of {chosen.region}"
            )
    return Deployment(
        *chosen,
        config=config,
        account=environment.get("ACCOUNT") or settings.account,
        parameters=parameters,
        tags={**settings.tags, **_pairs(environment, "TAGS", "team=growth")},
    )


def read(path: Path) -> Settings:
    """The settings of a file, or none where there is no file. Raises Failure."""
    if not path.is_file():
        return Settings()
    try:
        return Settings.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise Failure(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        hint = suggest(key, Settings.model_fields)
        raise Failure(f"{path}: {key}: {first['msg']}{hint}") from None


def complaint(parameter: Mapping[str, Any], value: str) -> str:
    """Why the template would refuse a value, as CloudFormation would; empty where it would not."""
    pattern = parameter.get("AllowedPattern")
    if pattern and not re.search(pattern, value):
        return str(parameter.get("ConstraintDescription", f"must be like {pattern}"))
    allowed = [str(each) for each in parameter.get("AllowedValues", ())]
    if allowed and value not in allowed:
        return f"is one of {', '.join(allowed)}"
    if parameter.get("Type") == "Number":
        least, most = parameter.get("MinValue", 0), parameter.get("MaxValue", float("inf"))
        if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
            return f"is a number from {least}" + (f" to {most}" if "MaxValue" in parameter else "")
    return ""


def _beside(config: Path) -> Settings:
    return read(config.with_name(SETTINGS))


def _file(environment: Mapping[str, str]) -> Path:
    if not environment.get("CONFIG"):
        raise Failure(
            "CONFIG is missing: the folder that `linkrunner-webhooks init DIR` made, or a webhooks.toml; "
            "CONFIG=src/webhooks.toml is the one of this clone"
        )
    path = Path(environment["CONFIG"]).expanduser()
    if path.name == SETTINGS:
        path = path.parent
    if path.is_dir():
        path /= "webhooks.toml"
    if not path.is_file():
        raise Failure(
            f"CONFIG names no file: {path}; `linkrunner-webhooks init DIR` makes a folder with one"
        )
    # Not where a link leads: the settings are those beside the link.
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve follows links


def _named(environment: Mapping[str, str], word: str, setting: str | None) -> str:
    if value := environment.get(word) or setting:
        return value
    raise Failure(
        f"{word} is missing: make ... {_EXAMPLE}, or set it in {SETTINGS} beside webhooks.toml"
    )


def _pairs(environment: Mapping[str, str], word: str, example: str) -> dict[str, str]:
    try:
        parts = shlex.split(environment.get(word, ""))
    except ValueError as error:
        raise Failure(f'{word}: {error}; write it like {word}="{example}"') from None
    pairs = [part.partition("=") for part in parts]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise Failure(f'{word}: "{wrong[0]}" is not like name=value; write {word}="{example}"')
    return {name: value for name, _, value in pairs}


def _switch(environment: Mapping[str, str], word: str, *, default: bool) -> bool:
    value = environment.get(word, "").lower()
    if value not in ("", "yes", "no"):
        raise Failure(f'{word} is yes or no, not "{value}"')
    return {"yes": True, "no": False}.get(value, default)


def _text(value: str | int | bool) -> str:
    # `on` and `off` are words of the template, and true and false those of TOML.
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def current() -> Mapping[str, str]:
    """The variables of this call of make. Those of a shell are not meant: platforms set a STACK, too."""
    return given(os.environ)


def given(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of an environment that were on make's command line; all of ours without make."""
    if "MAKEFLAGS" not in environment:
        return {name: text for name, text in environment.items() if name in _VARIABLES}
    flags = f" {environment['MAKEFLAGS']}"
    # Behind the flags, with spaces escaped: "s -- CONFIG=../my\\ shop STACK=shop". Old ones have no hyphens.
    names = set(_GIVEN.findall(flags))
    return {name: text for name, text in environment.items() if name in names}


_GIVEN: Final = re.compile(r"(?<!\\) (\w+)=")
