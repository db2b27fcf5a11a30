from __future__ import annotations

from collections.abc import Iterator

import pytest

from linkrunner_webhooks_local.stack import Stack
from tests.embedded import embedded_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """An embedded AWS with the queues, table and secrets of template.yaml, one per test process."""
    with embedded_stack() as created:
        yield created
