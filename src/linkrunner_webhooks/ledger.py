"""The ledger: one DynamoDB table that knows what was reported, and whose what is.

Its rows are told apart by how their keys begin: a fact with its source's name, a link with @person, a note
with @note.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from linkrunner_webhooks.accounts import Accounts
from linkrunner_webhooks.links import Links
from linkrunner_webhooks.notes import Notes
from linkrunner_webhooks.once import KEPT, LEASE, Claims
from linkrunner_webhooks.rows import Rows
from linkrunner_webhooks.waiting import Waiting


class Ledger:
    """Facts, accounts, links, users and notes of one table, which are remembered for `kept` seconds."""

    def __init__(
        self,
        client: Any,
        table: str,
        *,
        clock: Callable[[], float] = time.time,
        lease: int = LEASE,
        kept: int = KEPT,
    ) -> None:
        self.rows = Rows(client, table, clock)
        self.facts = Claims(self.rows, clock, lease, kept)
        self.accounts = Accounts(self.rows, clock, lease, kept)
        self.links = Links(self.rows, clock, kept)
        self.waiting = Waiting(self.rows, clock, kept)
        self.notes = Notes(self.rows, clock, kept)
