"""What a webhook becomes: tests/providers/<provider>/<case>/, through the edge, the queue and translation.

`GOLDEN=write` rewrites every expected.json; review the diff.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests import cases, samples

from linkrunner_webhooks import providers
from linkrunner_webhooks.completing import completed
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import open_message
from linkrunner_webhooks.translation import plan_of

ROOT = Path(__file__).parent / "providers"
CASES = sorted(path for path in ROOT.glob("*/*") if path.is_dir())

parametrised = pytest.mark.parametrize(
    "folder", CASES, ids=lambda folder: f"{folder.parent.name}-{folder.name}"
)


def read(folder: Path, name: str) -> Any:
    """A file of a case."""
    return json.loads((folder / name).read_text("utf-8"))


def config(written: dict[str, Any], provider: str) -> Config:
    """The case's own tables, or the provider's defaults."""
    tables = tomllib.loads(written.get("config", ""))
    return Config(tables or {provider: providers.load(provider).options.example()}, "input.json")


def bodies(folder: Path) -> list[dict[str, Any]]:
    """The Linkrunner bodies of a case, sent signed through receive; `user_id` may be null here."""
    provider, written = folder.parent.name, read(folder, "input.json")
    source, sample = written.get("source", provider), cases.load(provider, folder.name)
    secrets = samples.Secrets({source: (samples.live_secret(sample.provider),)})
    desk = samples.Desk(config(written, provider), secrets)
    status, answer = desk.respond(samples.request(sample.signed(), source))
    assert status == 200, answer
    answer_of = sample.answers().__getitem__
    opened = [completed(open_message(text, desk.config), answer_of) for text, _ in desk.stored]
    return [
        {
            "event_name": planned.event_name,
            "event_data": dict(planned.event_data),
            "user_id": planned.user_id,
        }
        for each in opened
        for planned in plan_of(sample.completed(each)).planned
    ]


@parametrised
def test_what_a_webhook_becomes(folder: Path) -> None:
    """The Linkrunner bodies are exactly the expected ones, and the case says well what it is."""
    is_well_formed(folder)
    found = json.loads(json.dumps(bodies(folder)))
    if os.environ.get("GOLDEN") == "write":
        text = json.dumps(found, indent=2, ensure_ascii=False)
        (folder / "expected.json").write_text(f"{text}\n", "utf-8")
    assert found == read(folder, "expected.json")


def is_well_formed(folder: Path) -> None:
    """A folder holds two files; the input has no signature, and its configuration holds its source."""
    assert folder.parent.name in providers.names()
    assert {path.name for path in folder.iterdir()} == {"input.json", "expected.json"}
    sample = cases.load(folder.parent.name, folder.name)
    assert all(name == name.lower() for name in sample.headers)
    assert not set(sample.headers) & sample.signature_headers
    expected = read(folder, "expected.json")
    assert isinstance(expected, list)
    assert all(set(body) == {"event_name", "event_data", "user_id"} for body in expected)
    written = read(folder, "input.json")
    found = config(written, folder.parent.name).source(written.get("source", folder.parent.name))
    assert found is not None
    assert found.provider.name == folder.parent.name


@cache
def types_with_cases() -> Counter[tuple[str, str]]:
    """How many cases of each event type expect something to be forwarded."""
    found: Counter[tuple[str, str]] = Counter()
    for folder in CASES:
        for body in read(folder, "expected.json"):
            found[folder.parent.name, body["event_data"]["provider_event_type"]] += 1
    return found


@samples.every_reporting_type
def test_every_type_has_a_case(name: str, event_type: str) -> None:
    """Every type that can report something has a case that shows what it becomes."""
    assert types_with_cases()[name, event_type]
