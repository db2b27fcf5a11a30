"""`make deploy`: build, show what would change in words, ask, change, and look whether it works."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import boto3
import click
import yaml
from botocore.exceptions import ClientError

from linkrunner_webhooks import __version__, config
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import WebhookError
from linkrunner_webhooks_cli import change_sets, formation, former
from linkrunner_webhooks_cli.deployment import Deployment, current, told
from linkrunner_webhooks_cli.doctor import examined
from linkrunner_webhooks_cli.failures import Failure, in_sentences
from linkrunner_webhooks_cli.findings import show
from linkrunner_webhooks_cli.formation import REVIEW, State
from linkrunner_webhooks_cli.output import counted, say, write_text
from linkrunner_webhooks_cli.package import digest, the_package, version_of
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.project import ROOT, TEMPLATE

_BUILD: Final = Path(os.environ.get("BUILD") or ROOT / ".aws-sam" / "build")
_SAM: Final = os.environ.get("SAM") or str(ROOT / ".venvs" / "sam" / "bin" / "sam")
_TAGS: Final = {"application": "linkrunner-webhooks"}
# Lines of the build that somebody should read.
_TELLING: Final = ("WARNING", "Warning", "package ")
# SAM's own stack, in which it keeps the bucket that it uploads to.
_SAMS_STACK: Final = "aws-sam-cli-managed-default"


@click.command()
def main() -> None:
    """Deploy one stack. The variables of make say which; see docs/deploying.md."""
    with in_sentences(), _alone():
        _deploy()


def _deploy() -> None:
    known = template.load(TEMPLATE)["Parameters"]
    deployment = told(current(), known)
    # Everything that is called from here means this region.
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = deployment.region
    session = boto3.Session(region_name=deployment.region)
    account = session.client("sts").get_caller_identity()["Account"]
    if deployment.account not in (None, account):
        raise Failure(f"these credentials are of account {account}, not {deployment.account}")
    client = session.client("cloudformation")
    before = formation.state(client, deployment.stack)
    formation.require_ours(client, deployment.stack, before)
    formation.require_ready(before, deployment.stack, deployment.region)
    lost = _forgotten(session, deployment, before)
    if lost and not deployment.confirm:
        # Known before anything is built.
        _require_force(deployment, lost)
    say(f"{deployment.stack} in {deployment.region}, account {account}")
    version, packaged = _built(deployment.config)
    say(_versions(before, version, packaged))
    url = _uploaded(session, deployment)
    change_set = formation.prepared(
        client,
        deployment.stack,
        before,
        url,
        deployment.parameters,
        {**_TAGS, **deployment.tags},
        known,
    )
    if change_set is None:
        say("Nothing changes: what is deployed is what was built.")
    else:
        _change(client, deployment, before, change_set, [*lost, *_unserved(before, packaged)])
    _show(deployment, packaged, formation.state(client, deployment.stack))


@contextmanager
def _alone() -> Iterator[None]:
    """One deploy at a time in this clone: the next one builds into the same folder."""
    _BUILD.parent.mkdir(parents=True, exist_ok=True)
    with (_BUILD.parent / "deploying").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure(
                "another deploy is at work in this clone; wait until it is done"
            ) from None
        yield


def _forgotten(session: boto3.Session, deployment: Deployment, before: State) -> list[str]:
    """What of the past would be forgotten. Raises Failure where the ledger that is given is none."""
    dynamodb, cloudformation = session.client("dynamodb"), session.client("cloudformation")
    name = deployment.parameters.get("LedgerTableName")
    used: dict[str, str] = {}
    # A role that deploys need not be let at other stacks and tables.
    with suppress(ClientError):
        used = former.users(cloudformation)
    others = {table: stack for table, stack in used.items() if stack != deployment.stack}
    try:
        if name and name != before.parameters.get("LedgerTableName"):
            former.require_ledger(dynamodb, name, others.get(name))
        found = former.forgotten(dynamodb, deployment.stack, before, deployment.parameters, others)
    except ClientError as error:
        say(f"Not looked at: the ledgers of former stacks ({error.response['Error']['Code']})")
        return []
    return [found] if found else []


# ------------------------------------------------------------------------------- build and upload


def _built(path: Path) -> tuple[str, Config]:
    """`make build` with this file; returns the version of the package, and what that file says in it."""
    say(f"Building with {path}")
    # Not with the flags of the make that called: `make -n` and `-i` would deploy what was built before.
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    # In the environment, where make expands nothing of it.
    environment["WEBHOOKS_TOML"] = str(path)
    make = shutil.which("make") or "make"
    wanted = [f"BUILD={_BUILD}", f"SAM={_SAM}"]
    done = _run([make, "--no-print-directory", "build", *wanted], "the build", environment)
    for line in done.splitlines():
        if line.startswith(_TELLING):
            say(f"  {line}")
    package = the_package(_BUILD)
    name, packaged = digest(package), config.load(package / "webhooks.toml")
    stamped = template.load(_BUILD / "template.yaml")["Mappings"]["Package"]["This"]
    told = (stamped["Version"], stamped["ConfigurationDigest"])
    if told != (version_of(name), packaged.digest) or packaged.digest != config.load(path).digest:
        raise Failure(f"the package {name} is not what {path} says; deploy again")
    return stamped["Version"], packaged


def _uploaded(session: boto3.Session, deployment: Deployment) -> str:
    """The URL of the template, after SAM has uploaded the package."""
    say("Uploading")
    packaged = _BUILD.parent / "packaged.yaml"
    prefix = deployment.stack
    arguments = ["--template-file", str(_BUILD / "template.yaml"), "--resolve-s3"]
    # So that a role that deploys need not be let at what others deploy.
    arguments += ["--s3-prefix", prefix, "--region", deployment.region]
    _run([_SAM, "package", *arguments, "--output-template-file", str(packaged)], "the upload")
    text = packaged.read_bytes()
    require_template(yaml.safe_load(text))
    sams = formation.state(session.client("cloudformation"), _SAMS_STACK)
    bucket = sams.outputs["SourceBucket"]
    s3 = session.client("s3")
    key = f"{prefix}/{__version__}-{os.urandom(8).hex()}.template"
    s3.put_object(Bucket=bucket, Key=key, Body=text)
    return f"{s3.meta.endpoint_url}/{bucket}/{key}"


def require_template(written: Mapping[str, Any]) -> None:
    """Raises Failure where a function has no package that was uploaded."""
    for name, each in written["Resources"].items():
        if each["Type"] == "AWS::Serverless::Function":
            uri = each["Properties"].get("CodeUri")
            if not (isinstance(uri, str) and uri.startswith("s3://")):
                raise Failure(f"SAM uploaded nothing for {name}; deploy again")


def _run(arguments: Sequence[str], what: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(  # noqa: S603 - make and SAM of this project
        arguments,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failure(f"{what} failed:\n{done.stdout.strip()[-3000:]}")
    return done.stdout


# ------------------------------------------------------------------------------- change


def _versions(before: State, version: str, packaged: Config) -> str:
    new = f"{version}, configuration {packaged.digest}"
    if not before.exists:
        return f"A new stack with version {new}"
    was, of = (before.outputs.get(name, "unknown") for name in ("Version", "ConfigurationDigest"))
    old = f"{was}, configuration {of}"
    return f"Version {old}, as before" if old == new else f"Version {old} -> {new}"


def _unserved(before: State, packaged: Config) -> list[str]:
    """The sources that are deployed and would not be any more."""
    known = before.outputs.get("Sources", "unknown")
    gone = set() if known == "unknown" else {*known.split()} - {*packaged.names}
    return [f"the source {name}: its URL answers 404" for name in sorted(gone)]


def _change(
    client: Any, deployment: Deployment, before: State, change_set: str, forgotten: Sequence[str]
) -> None:
    pages = formation.described(client, change_set)
    found = change_sets.changes(pages)
    after = {
        each["ParameterKey"]: each["ParameterValue"] for each in pages[0].get("Parameters", ())
    }
    say("")
    for line in (*change_sets.words(found), *change_sets.parameters(before.parameters, after)):
        say(line)
    lost = [*change_sets.losses(found), *forgotten]
    for each in lost:
        say(f"WARNING: this loses {each}")
    try:
        _require_consent(deployment, lost)
    except (Failure, click.Abort):
        _discard(client, deployment, change_set, before)
        raise
    since = formation.latest(client, deployment.stack)
    client.execute_change_set(ChangeSetName=change_set)
    say("CloudFormation is at work; it goes on if this is interrupted.")
    ended = formation.finished(client, deployment.stack, since, lambda line: say(f"  {line}"))
    formation.require_done(ended, list(formation.failures(client, deployment.stack, since)))
    say("Deployed.")


def _require_consent(deployment: Deployment, lost: Sequence[str]) -> None:
    if deployment.confirm:
        click.confirm("Change it?", abort=True, err=True)
    else:
        _require_force(deployment, lost)


def _require_force(deployment: Deployment, lost: Sequence[str]) -> None:
    if lost and not deployment.force:
        told = "; ".join(lost)
        raise Failure(f"nothing was changed; FORCE=yes would allow to lose {told}")


def _discard(client: Any, deployment: Deployment, change_set: str, before: State) -> None:
    """Leave nothing behind of what was only looked at, as far as that is allowed."""
    with suppress(ClientError):
        client.delete_change_set(ChangeSetName=change_set)
        reviewed = formation.state(client, deployment.stack).status == REVIEW
        if not before.exists and reviewed and not formation.pending(client, deployment.stack):
            client.delete_stack(StackName=deployment.stack)
    say("Nothing was changed.")


# ------------------------------------------------------------------------------- and then


def _show(deployment: Deployment, packaged: Config, after: State) -> None:
    missing = _missing(deployment, packaged)
    url = after.outputs.get("WebhookUrl", "")
    for name in packaged.names:
        write_text(f"{name}: {url}{name}")
    path = shlex.quote(str(deployment.config))
    region = deployment.region
    # SAM and the AWS command line read the second name.
    shown = f"AWS_REGION={region} AWS_DEFAULT_REGION={region} WEBHOOKS_TOML={path}"
    say(f"\nFor the commands, in this shell:\n  export {shown}")
    if missing:
        say(f"{counted(missing, 'thing')} left to do: see the lines that begin with !!")


def _missing(deployment: Deployment, packaged: Config) -> int:
    """Show what `doctor` finds, and count what is not right. Who deploys need not be who may look."""
    doctor = f"linkrunner-webhooks doctor --stack {deployment.stack}"
    try:
        findings = examined(deployment.stack, lambda: packaged)
    except (ClientError, Failure, WebhookError) as error:
        say(f"It was not looked at whether it works ({error}): `{doctor}`")
        return 0
    say("")
    show(findings)
    if any(_DENIED in each.found for each in findings):
        say(f"Not all of it may be looked at from here: `{doctor}` as somebody who may")
    return sum(not each.right and _DENIED not in each.found for each in findings)


_DENIED: Final = "AccessDenied"


if __name__ == "__main__":
    main()
