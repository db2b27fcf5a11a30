from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.embedded import embedded_stack

from linkrunner_webhooks_local.cloudformation import EmbeddedStack

# The same examples on every machine: a run that fails can be run again.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def stack() -> Iterator[EmbeddedStack]:
    """An embedded AWS with the queues, table and secrets of template.yaml, one per test process."""
    with embedded_stack() as created:
        yield created
