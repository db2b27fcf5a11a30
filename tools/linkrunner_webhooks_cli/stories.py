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
from collections.abc import Mapping, Sequence
from random import SystemRandom
from typing import Any, TypeVar

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.users import find_user
from linkrunner_webhooks_cli import cases, samples
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.samples import Sample

Story = Mapping[str, Any]
T = TypeVar("T")


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


def webhooks(
    source: Source, wanted: str, user_id: str | None = None, *, same_ids: bool = False
) -> list[Webhook]:
    """All reports of a story in order, unsigned: of another purchase, unless it keeps its ids."""
    provider = source.provider.name
    every = [told(provider, each) for each in pick(provider, wanted)["cases"]]
    if not same_ids:
        every = samples.all_with_fresh_ids(every, source)
    if user_id is not None:
        # Some name nobody, and their user is the one who paid.
        every = [
            samples.with_user(each, source, user_id)
            if find_user(source.user_id, each.body)
            else each
            for each in every
        ]
    return [each.webhook(source) for each in every]


def arranged(webhooks: Sequence[T], *, shuffled: bool, twice: bool) -> list[T]:
    """In the order in which a provider may send them: in any, and everything again."""
    every = [*webhooks, *webhooks] if twice else list(webhooks)
    if shuffled:
        SystemRandom().shuffle(every)
    return every
