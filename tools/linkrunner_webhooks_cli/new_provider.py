"""`make provider NAME=acme`: a new provider that passes every test, to be changed into the real one."""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
from keyword import iskeyword
from pathlib import Path
from typing import Final

import click

from linkrunner_webhooks import providers
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import say
from linkrunner_webhooks_cli.provider_page import page_of
from linkrunner_webhooks_local.project import ROOT

_TEMPLATES: Final = Path(__file__).with_name("new_provider")
_MODULE: Final = "src/linkrunner_webhooks/providers/{}.py"
_SECRET: Final = "vector_secret_0001"  # noqa: S105 - of an invented vector

# Where each template goes, from the root of the project.
_FILES: Final = {
    "provider.py.txt": _MODULE,
    "sample_payment.json": "events/{}/payment.succeeded.json",
    "sample_refund.json": "events/{}/refund.succeeded.json",
    "case_payment_input.json": "tests/providers/{}/payment_succeeded/input.json",
    "case_payment_expected.json": "tests/providers/{}/payment_succeeded/expected.json",
    "case_yen_input.json": "tests/providers/{}/payment_succeeded_in_yen/input.json",
    "case_yen_expected.json": "tests/providers/{}/payment_succeeded_in_yen/expected.json",
    "case_refund_input.json": "tests/providers/{}/refund_succeeded/input.json",
    "case_refund_expected.json": "tests/providers/{}/refund_succeeded/expected.json",
    "stories.json": "tests/providers/{}/stories.json",
    "privacy.json": "tests/providers/{}/privacy.json",
    "page.md": page_of("{}"),
}


@click.command()
@click.argument("name")
@click.option("--title", help="The company's name as it writes it (default: from NAME).")
def main(name: str, title: str | None) -> None:
    """Write module, samples, golden cases, signature vector, story and page of a new provider.

    \b
    Example:
      make provider NAME=acme
    """
    _check(name)
    for path, text in files(name, title or name.capitalize()).items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        say(f"  {path}")
    # In a process of its own, because this one has listed the providers already.
    subprocess.run([sys.executable, "-m", "linkrunner_webhooks_cli.reference"], check=True)
    say(f"{name} passes `make test` as it is. Now make it the real one:")
    say("  docs/adding-a-provider.md says what to get right, and in which order.")


def files(name: str, title: str) -> dict[str, str]:
    """The text of every file of a new provider, by its path from the root of the project."""
    written = {
        target.format(name): _template(template)
        .replace("__NAME__", name)
        .replace("__TITLE__", title)
        for template, target in _FILES.items()
    }
    return written | {f"tests/providers/{name}/signature.json": _vector(name)}


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _vector(name: str) -> str:
    """A signature made without our schemes. Replace it with one that the vendor's own code makes."""
    body = json.dumps({"id": "evt_1", "type": "payment.succeeded", "created": 1795000000})
    signature = hmac.digest(_SECRET.encode(), body.encode(), "sha256").hex()
    headers = {"content-type": "application/json", f"x-{name}-signature": signature}
    return json.dumps({"secret": _SECRET, "headers": headers, "body": body}, indent=2) + "\n"


def _check(name: str) -> None:
    if not (name.isascii() and name.isalnum() and name.islower()) or iskeyword(name):
        raise Failure(
            f'"{name}" is no name for a provider: lower-case letters and digits, as in acme'
        )
    if not name[0].isalpha():
        raise Failure(f'"{name}" begins with a digit; a module cannot')
    if name in providers.names():
        raise Failure(f"there is a provider {name} already: {_MODULE.format(name)}")


if __name__ == "__main__":
    main()
