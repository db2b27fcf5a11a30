"""Stories: one purchase, told by every webhook about it.

tests/providers/<provider>/stories.json holds a list of
    {"story": "...", "cases": [...], "money": {"payment": ["25.99 EUR"]}, "besides": ["subscription_started"]}
where `cases` are golden cases of that provider (or differences from one, as `cases` reads them), `money` is
what has moved by its flow, and `besides` names the events without money when everything is switched on.
`names` are the events when it is told in order with the defaults. `"customer_ids": true` says that the
operator lists the provider's own customer ids as user ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from linkrunner_webhooks_cli import cases
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.samples import Sample

Story = Mapping[str, Any]


def read(provider: str) -> list[Story]:
    """The stories of a provider."""
    path = cases.CASES / provider / "stories.json"
    return list(json.loads(path.read_text("utf-8"))) if path.is_file() else []


def pick(provider: str, wanted: str) -> Story:
    """The story with this number, or the only one with these words. Raises Failure listing what there is."""
    every = read(provider)
    if wanted.isdecimal() and 1 <= int(wanted) <= len(every):
        return every[int(wanted) - 1]
    found = [story for story in every if wanted.lower() in story["story"].lower()]
    if len(found) != 1:
        problem = "several stories have" if found else "no story has"
        listed = "".join(f"\n  {line}" for line in titles(provider))
        raise Failure(f'{problem} the number or the words "{wanted}"; stories are:{listed}')
    return found[0]


def titles(provider: str) -> list[str]:
    """One line for each story: its number and what it tells."""
    return [f"{number}  {story['story']}" for number, story in enumerate(read(provider), 1)]


def told(provider: str, entry: str | Mapping[str, Any]) -> Sample:
    """One report of a story, unsigned."""
    return cases.expanded(provider, {"like": entry} if isinstance(entry, str) else entry)
