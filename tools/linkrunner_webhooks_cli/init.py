"""`init`: a folder of a merchant's own with everything that is theirs: webhooks.toml, settings, README."""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import boto3
import click

from linkrunner_webhooks.config import DEFAULT_PATH, Config
from linkrunner_webhooks_cli.add import table
from linkrunner_webhooks_cli.completions import provider_names
from linkrunner_webhooks_cli.deployment import SETTINGS, refused
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import say, write_json
from linkrunner_webhooks_cli.sources import json_option, load_provider
from linkrunner_webhooks_local.project import ROOT

_TEMPLATES: Final = Path(__file__).with_name("init_files")
# What `--provider` writes without a clone, where there is no packaged file to begin with.
_PREFACE: Final = (
    "# What reaches Linkrunner, under which name and for which user. "
    "`linkrunner-webhooks check` validates it.\n"
)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--provider",
    "names",
    multiple=True,
    shell_complete=provider_names,
    help="A source to begin with; repeatable (default: stripe and shopify).",
)
@click.option("--stack", default="linkrunner-webhooks", show_default=True, help="The stack's name.")
@click.option("--region", help="Its AWS region (default: yours, if one is set).")
@click.option("--alarm-email", default="", help="Who is told when something needs a person.")
@json_option
def init(
    *,
    folder: Path,
    names: tuple[str, ...],
    stack: str,
    region: str | None,
    alarm_email: str,
    as_json: bool,
) -> None:
    """Make a folder for what is yours: webhooks.toml, settings of the stack, a README. Overwrites nothing.

    Keep it in a repository of its own, outside the clone, so that an upgrade touches nothing of it.

    \b
    Examples:
      linkrunner-webhooks init ../shop
      linkrunner-webhooks init ../shop --provider stripe --provider razorpay --region ap-south-1
      linkrunner-webhooks init ../shop-staging --stack shop-staging --alarm-email ops@example.com
    """
    if wrong := refused(stack, region):
        raise click.UsageError(wrong)
    known = region or os.environ.get("AWS_REGION") or boto3.Session().region_name
    written = files(names, stack=stack, region=known, alarm_email=alarm_email)
    _write(folder, written)
    if as_json:
        write_json({"folder": str(folder), "files": sorted(written)})
    say(f"{folder} has {', '.join(sorted(written))}.")
    if folder.resolve().is_relative_to(ROOT):
        say("Warning: it is inside the clone; an upgrade is easier with a folder outside.")
    if not names:
        say("It has [stripe] and [shopify]: delete the table that you do not use.")
    if known is None:
        say(f"Set the region in {folder / SETTINGS}.")
    path = shlex.quote(str(folder.absolute()))
    say(f"Next: look through webhooks.toml, then `make deploy CONFIG={path}` in the clone.")


def files(
    names: Sequence[str], *, stack: str, region: str | None, alarm_email: str
) -> dict[str, str]:
    """The text of every file, by its name."""
    values = {
        "__STACK__": json.dumps(stack),
        "__REGION__": f"region = {json.dumps(region)}" if region else '# region = "eu-central-1"',
        "__ALARMS__": f"AlarmEmail = {json.dumps(alarm_email or 'ops@example.com')}",
        "__NAME__": stack,
    }
    if not alarm_email:
        values["__ALARMS__"] = f"# {values['__ALARMS__']}"
    return {
        "webhooks.toml": _webhooks(names),
        SETTINGS: _filled("settings.toml.txt", values),
        "README.md": _filled("README.md.txt", values),
        ".gitignore": "# Copies of discarded webhooks hold customers' data.\ndiscarded*.jsonl\n",
    }


def _filled(name: str, values: Mapping[str, str]) -> str:
    text = (_TEMPLATES / name).read_text("utf-8")
    for place, value in values.items():
        text = text.replace(place, value)
    return text


def _webhooks(names: Sequence[str]) -> str:
    """The packaged file; or what stands before its sources, and the tables of these providers."""
    packaged = DEFAULT_PATH.read_text("utf-8") if DEFAULT_PATH.is_file() else ""
    if packaged and not names:
        return packaged
    found = [load_provider(name) for name in dict.fromkeys(names or ("stripe", "shopify"))]
    first = next(iter(Config(tomllib.loads(packaged)).names), "")
    preface = packaged.partition(f"\n[{first}]\n")[0] if first else _PREFACE
    return "\n".join([preface.rstrip() + "\n", *(table(each, each.name) for each in found)])


def _write(folder: Path, written: Mapping[str, str]) -> None:
    """All files, or none where one is there already."""
    if there := sorted(name for name in written if (folder / name).exists()):
        raise Failure(f"{folder} has {', '.join(there)} already; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise Failure(f"{folder} cannot be written: {error.strerror}") from None
