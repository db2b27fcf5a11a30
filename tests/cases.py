"""Golden cases as samples of the tests; linkrunner_webhooks_cli.cases reads them and says how they look."""

from __future__ import annotations

from tests.samples import Sample

from linkrunner_webhooks import providers
from linkrunner_webhooks_cli import cases
from linkrunner_webhooks_cli.cases import Written
from linkrunner_webhooks_cli.samples import Sample as Unsigned


def load(provider: str, case: str) -> Sample:
    """The webhook of a case, unsigned."""
    return _sample(provider, cases.load(provider, case))


def expanded(provider: str, entry: Written) -> Sample:
    """The webhook that an entry describes."""
    return _sample(provider, cases.expanded(provider, entry))


def _sample(provider: str, found: Unsigned) -> Sample:
    return Sample(providers.load(provider), found.headers, found.body)
