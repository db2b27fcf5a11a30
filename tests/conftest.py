from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.embedded import embedded_stack

from linkrunner_webhooks_local.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """An embedded AWS with the queues, table and secrets of template.yaml, one per test process."""
    with embedded_stack() as created:
        yield created
