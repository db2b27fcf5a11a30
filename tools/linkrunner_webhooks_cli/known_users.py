"""`doctor --users`: whether Linkrunner knows the users that events were sent for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks_cli.findings import Finding
from linkrunner_webhooks_cli.output import progress
from linkrunner_webhooks_cli.records import Fact, Records, days_since

_PATH = "/api/v1/get-attribution-result"
# Deliveries share Linkrunner's limit of 30 requests a second with this.
_PER_SECOND = 5.0
_LATELY = timedelta(days=30)

_ADVICE = (
    "Linkrunner keeps what belongs to users that the app has signed up: compare these ids with those that "
    "the app gives to the SDK, and correct user_id"
)


def sample(records: Records, sources: Iterable[str], count: int) -> list[Fact]:
    """One recent fact of so many different users, chosen by chance."""
    facts = {
        fact.user_id: fact
        for fact in records.on(sources, days_since(datetime.now(UTC) - _LATELY))
        if fact.user_id
    }
    return random.sample(list(facts.values()), min(count, len(facts)))


def known_users(base_url: str, key: str, facts: Sequence[Fact]) -> Iterator[Finding]:
    """What Linkrunner says about these users. Raises nothing: what it does not answer is told.

    https://docs.linkrunner.io/api-reference/data-apis. 204 is "no attribution data": of an unknown user, or
    of one that came from nowhere; the documentation does not say which.
    """
    if not facts:
        yield Finding("users", right=True, found="none in the ledger of the last 30 days")
        return
    answers = Counter[str]()
    unknown = Counter[str]()
    pace, headers = Pace(_PER_SECOND), {"linkrunner-key": key}
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        for fact in progress("Users", facts, len(facts)):
            pace.wait()
            url = f"{_base(base_url)}{_PATH}?{urlencode({'user_id': fact.user_id})}"
            try:
                status = pool.request("GET", url, headers=headers, redirect=False).status
            except HTTPError:
                status = 0
            answers[_meaning(status)] += 1
            if status == 204:
                unknown[f"{fact.source}: {fact.named_by}"] += 1
    told = ", ".join(f"{count} {what}" for what, count in answers.most_common())
    paths = "; ".join(f"{count} by {path}" for path, count in unknown.most_common(5))
    yield Finding(
        f"{len(facts)} users",
        right=not unknown,
        found=f"{told}{f' ({paths})' if paths else ''}",
        advice=_ADVICE if unknown else "",
    )


def _base(url: str) -> str:
    return url.rstrip("/").removesuffix("/api/v1")


def _meaning(status: int) -> str:
    if status == 200:
        return "known"
    if status == 204:
        return "unknown"
    return f"answered {status}" if status else "not answered"
