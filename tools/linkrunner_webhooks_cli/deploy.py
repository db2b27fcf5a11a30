"""`make deploy`: build, show what would change in words, ask, change, and look whether it works."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
import click
from botocore.exceptions import ClientError

from linkrunner_webhooks import __version__, config
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import WebhookError
from linkrunner_webhooks_cli import change_sets, formation
from linkrunner_webhooks_cli.deployment import Deployment, current, told
from linkrunner_webhooks_cli.doctor import examined, show
from linkrunner_webhooks_cli.failures import Failure, in_sentences
from linkrunner_webhooks_cli.formation import REVIEW, State
from linkrunner_webhooks_cli.output import counted, say, write_text
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.project import ROOT, TEMPLATE

_BUILD: Final = Path(os.environ.get("BUILD") or ROOT / ".aws-sam" / "build")
_ARN: Final = re.compile(r"arn:[\w-]+:cloudformation:\S+:changeSet/\S+")
# Lines of the build that somebody should read.
_TELLING: Final = ("WARNING", "Warning", "package ")


@click.command()
def main() -> None:
    """Deploy one stack. The variables of make say which; see docs/deploying.md."""
    with in_sentences():
        _deploy()


def _deploy() -> None:
    deployment = told(current(), template.load(TEMPLATE)["Parameters"])
    # Everything that is called from here means this region.
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = deployment.region
    session = boto3.Session(region_name=deployment.region)
    account = session.client("sts").get_caller_identity()["Account"]
    client = session.client("cloudformation")
    before = formation.state(client, deployment.stack)
    formation.require_ready(before, deployment.stack, deployment.region)
    say(f"{deployment.stack} in {deployment.region}, account {account}")
    packaged = _build(deployment.config)
    say(_versions(before, packaged))
    change_set = _change_set(deployment)
    if change_set is None:
        say("Nothing changes: what is deployed is what was built.")
    else:
        _change(client, deployment, before, change_set)
    after = formation.state(client, deployment.stack)
    _show(deployment, after)


def _build(path: Path) -> Config:
    """`make build` with this file; returns what is in the package."""
    say(f"Building with {path}")
    make = os.environ.get("MAKE", "make")
    done = _run([make, "--no-print-directory", "build", f"WEBHOOKS_TOML={path}"], "the build")
    for line in done.splitlines():
        if line.startswith(_TELLING):
            say(f"  {line}")
    return config.load(_packaged() / "webhooks.toml")


def _packaged() -> Path:
    return next(each for each in sorted(_BUILD.iterdir()) if each.is_dir())


def _change_set(deployment: Deployment) -> str | None:
    """The package uploaded, and a change set that nobody has executed; None without a change."""
    say("Uploading")
    arguments = [
        os.environ.get("SAM", str(ROOT / ".venvs" / "sam" / "bin" / "sam")),
        "deploy",
        "--stack-name",
        deployment.stack,
        "--region",
        deployment.region,
        "--template-file",
        str(_BUILD / "template.yaml"),
        "--resolve-s3",
        "--capabilities",
        "CAPABILITY_IAM",
        "--no-execute-changeset",
        "--no-confirm-changeset",
        "--no-fail-on-empty-changeset",
        # So that a role that deploys need not be let at what others deploy.
        "--s3-prefix",
        deployment.stack,
        "--tags",
        *(f"{name}={value}" for name, value in {**_TAGS, **deployment.tags}.items()),
    ]
    if deployment.parameters:
        arguments += [
            "--parameter-overrides",
            *(
                f"ParameterKey={name},ParameterValue={value}"
                for name, value in deployment.parameters.items()
            ),
        ]
    output = _run(arguments, "the upload")
    found = _ARN.search(output)
    if found is None and "No changes to deploy" not in output:
        raise Failure(f"SAM made no change set:\n{output.strip()[-1500:]}")
    return found.group() if found else None


_TAGS: Final = {"application": "linkrunner-webhooks"}


def _run(arguments: Sequence[str], what: str) -> str:
    done = subprocess.run(  # noqa: S603 - make and SAM of this project
        arguments,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failure(f"{what} failed:\n{done.stdout.strip()[-3000:]}")
    return done.stdout


def _versions(before: State, packaged: Config) -> str:
    new = f"{__version__}, configuration {packaged.digest}"
    if not before.exists:
        return f"A new stack with version {new}"
    version, digest = (
        before.outputs.get(name, "unknown") for name in ("Version", "ConfigurationDigest")
    )
    old = f"{version}, configuration {digest}"
    return f"Version {old}, as before" if old == new else f"Version {old} -> {new}"


def _change(client: Any, deployment: Deployment, before: State, change_set: str) -> None:
    pages = _described(client, change_set)
    found = change_sets.changes(pages)
    after = {
        each["ParameterKey"]: each["ParameterValue"] for each in pages[0].get("Parameters", ())
    }
    say("")
    for line in (
        *change_sets.words(found),
        *change_sets.parameters(before.parameters, after),
    ):
        say(line)
    lost = change_sets.losses(found)
    for each in lost:
        say(f"WARNING: this loses {each}")
    try:
        _require_consent(deployment, lost)
    except (Failure, click.Abort):
        _discard(client, deployment, change_set, before)
        raise
    since = datetime.now(UTC)
    client.execute_change_set(ChangeSetName=change_set)
    say("CloudFormation is at work; it goes on if this is interrupted.")
    ended = formation.finished(client, deployment.stack, since, lambda line: say(f"  {line}"))
    if ended.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        why = "\n  ".join(formation.failures(client, deployment.stack, since))
        raise Failure(f"not deployed, everything is as it was ({ended.status}):\n  {why}")
    say("Deployed.")


def _described(client: Any, change_set: str) -> list[dict[str, Any]]:
    pages = [client.describe_change_set(ChangeSetName=change_set)]
    while token := pages[-1].get("NextToken"):
        pages.append(client.describe_change_set(ChangeSetName=change_set, NextToken=token))
    return pages


def _require_consent(deployment: Deployment, lost: Sequence[str]) -> None:
    if lost and not deployment.force and not deployment.confirm:
        raise Failure("nothing was changed, because something would be lost; FORCE=yes allows it")
    if deployment.confirm:
        click.confirm("Change it?", abort=True, err=True)


def _discard(client: Any, deployment: Deployment, change_set: str, before: State) -> None:
    """Leave nothing behind of what was only looked at, as far as that is allowed."""
    with suppress(ClientError):
        client.delete_change_set(ChangeSetName=change_set)
        if not before.exists and formation.state(client, deployment.stack).status == REVIEW:
            client.delete_stack(StackName=deployment.stack)
    say("Nothing was changed.")


def _show(deployment: Deployment, after: State) -> None:
    packaged = config.load(deployment.config)
    missing = _missing(deployment, packaged)
    url = after.outputs.get("WebhookUrl", "")
    for name in packaged.names:
        write_text(f"{name}: {url}{name}")
    shown = f"AWS_REGION={deployment.region} WEBHOOKS_TOML={deployment.config}"
    say(f"\nFor the commands, in this shell: export {shown}")
    if missing:
        say(f"{counted(missing, 'thing')} left to do: see the lines that begin with !!")


def _missing(deployment: Deployment, packaged: Config) -> int:
    """Show what `doctor` finds, and count what is not right. Who deploys need not be who may look."""
    doctor = f"linkrunner-webhooks doctor --stack {deployment.stack}"
    try:
        findings = examined(deployment.stack, lambda: packaged)
    except (ClientError, Failure, WebhookError) as error:
        say(f"It was not looked at whether it works ({error}): `{doctor}` as somebody who may")
        return 0
    say("")
    show(findings)
    if any(_DENIED in each.found for each in findings):
        say(f"Not all of it may be looked at from here: `{doctor}` as somebody who may")
    return sum(not each.right and _DENIED not in each.found for each in findings)


_DENIED: Final = "AccessDenied"


if __name__ == "__main__":
    main()
