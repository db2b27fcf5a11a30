"""What the documentation says exists, exists; and what exists is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.event_body import FIELDS
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.reference import reference, table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
TOML = (ROOT / "src" / "webhooks.toml").read_text("utf-8")
EVERY_PAGE = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))


def test_the_readme_lists_every_provider() -> None:
    """The table is the registry's; `python -m linkrunner_webhooks_cli.reference --table` prints it."""
    assert table() in README


def test_the_reference_is_current() -> None:
    """docs/providers.md is what `make docs` writes."""
    assert (ROOT / "docs" / "providers.md").read_text("utf-8") == reference()


@pytest.mark.parametrize("name", providers.names())
def test_every_provider_says_how_to_set_it_up(name: str) -> None:
    """The steps in its dashboard, and how a merchant's checkout hands over the user id."""
    provider = providers.load(name)
    assert provider.setup
    assert "```" in provider.user_snippet


@pytest.mark.parametrize("name", providers.names())
def test_every_provider_is_a_table_away(name: str) -> None:
    """webhooks.toml has a table of each provider, in use or commented out."""
    assert f"\n[{name}]\n" in TOML or f"\n# [{name}]\n" in TOML


def test_the_readme_is_short() -> None:
    """One page that is read beats three that are not."""
    assert len(README.splitlines()) < 250


@pytest.mark.parametrize("name", ["stripe", "shopify"])
def test_the_readme_names_what_to_subscribe_to(name: str) -> None:
    """Every type that is on by default is in the set-up instructions, in full or by its last part."""
    types = providers.load(name).types
    on = [each.name for each in types.values() if each.forwarded]
    group = re.compile(r"subscription_(contracts|billing_attempts)/")
    missing = [
        each for each in on
        if f"`{each}`" not in README
        and f"`.{each.rpartition('.')[2]}`" not in README
        and not group.match(each)
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_is_in_the_readme(command: str) -> None:
    """A command nobody reads about does not exist."""
    assert f"linkrunner-webhooks {command}" in README or command == "providers"


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.NONE])
def test_every_reason_is_explained(reason: Reason) -> None:
    """Operators find each reason in the operations page."""
    assert f"`{reason.value}`" in OPERATIONS


def test_every_alarm_is_explained() -> None:
    """Whoever gets the mail finds what to do."""
    template = (ROOT / "template.yaml").read_text("utf-8")
    alarms = re.findall(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm", template, re.MULTILINE)
    assert [alarm for alarm in alarms if alarm not in OPERATIONS] == []


@pytest.mark.parametrize("name", [name for name in providers.names() if f"\n[{name}]" in TOML])
def test_the_packaged_file_shows_the_default_ladder(name: str) -> None:
    """webhooks.toml spells out every expression that the provider would use by default."""
    assert [path for path in providers.load(name).user_id if f'"{path}"' not in TOML] == []


def test_the_readmes_example_is_an_event() -> None:
    """The fields it shows are fields that are sent."""
    example = README.split("## What arrives")[1].split("```")[1]
    fields = set(re.findall(r'"(\w+)":', example)) - {"event_name", "event_data", "user_id"}
    assert fields <= set(FIELDS)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links point at files that are there."""
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
