"""What Linkrunner holds of a payment, brought in line with the ledger. Every request here can be made again.

The ledger remembers what is meant before the first request, and what was reached after the last: whoever
finds it half done does it once more, from the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from linkrunner_webhooks.accounts import Payment
from linkrunner_webhooks.capture import ApiRequest, Capture
from linkrunner_webhooks.errors import Refused, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.once import Claim
from linkrunner_webhooks.payments import (
    NOTHING,
    RemovePayment,
    Returned,
    Terms,
    Version,
)
from linkrunner_webhooks.rendering import rest_of
from linkrunner_webhooks.rows import text
from linkrunner_webhooks.time_left import require_time
from linkrunner_webhooks.translation import Planned, request_of


class Accounts(Protocol):
    """What is remembered of payments; see accounts.Accounts."""

    def note_returned(
        self, keys: Iterable[str], returned: Returned, *, expected: bool = True
    ) -> str | None: ...
    def take(self, key: str, owner: str) -> Payment: ...
    def let_go(self, key: str, owner: str) -> None: ...
    def intend(self, key: str, terms: Terms, leaving: Iterable[str], version: Version) -> None: ...
    def note_held(self, key: str, gone: Iterable[str], version: Version) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Settles payments, each within `remaining()` seconds. Raises Refused or Unavailable."""

    capture: Capture
    accounts: Accounts
    remaining: Callable[[], float]

    def paid(self, claim: Claim, planned: Planned, event: LinkrunnerEvent) -> bool:
        """Capture a payment that is claimed. Returns whether anything of it is left to be captured.

        What an earlier try said of it is said again, because Linkrunner may have taken it.
        """
        payment = planned.payment
        assert payment is not None
        key, account = claim.keys[0], claim.account
        terms = account.terms or payment.at(event.rate)
        account = replace(account, terms=terms)
        version = account.wanted(planned.source.linkrunner.partial_refund)
        leaving = account.held - {version.payment_id}
        self.accounts.intend(key, terms, leaving, version)
        self._remove(leaving)
        if version != NOTHING:
            data, source = payment.event_data, planned.source
            self._send(request_of(terms, version, event.user_id, data, source, payment.status))
        if leaving or version != account.own:
            self.accounts.note_held(key, leaving, version)
        return version != NOTHING

    def returned(self, planned: Planned, owner: str) -> None:
        """Take away, or replace, the payment that money went back of, as far as it is known here."""
        assert planned.returned is not None
        expected = planned.source.linkrunner.revenue != "event"
        key = self.accounts.note_returned(*planned.returned, expected=expected)
        if key is None:
            return
        payment = self.accounts.take(key, owner)
        try:
            self._settle(payment, planned)
        finally:
            # If this fails, the turn runs out by itself.
            with suppress(Exception):
                self.accounts.let_go(key, owner)

    def _settle(self, payment: Payment, planned: Planned) -> None:
        account, source = payment.account, planned.source
        if account.terms is None:
            # It was captured as an event, and of those nothing can be taken back.
            return
        version = account.wanted(source.linkrunner.partial_refund)
        leaving = account.held - {version.payment_id}
        if version == (account.current or account.own) and not leaving:
            return
        record = {name: told for name in payment.row if (told := text(payment.row, name))}
        user_id = record.get("user_id", "")
        if version != NOTHING and not user_id:
            # Whose it was is erased, and what is taken away could not be captured again.
            return
        self.accounts.intend(payment.key, account.terms, leaving, version)
        self._remove(leaving)
        if version != NOTHING:
            data = rest_of(record, source)
            self._send(request_of(account.terms, version, user_id, data, source))
        self.accounts.note_held(payment.key, leaving, version)

    def _remove(self, ids: Iterable[str]) -> None:
        for payment_id in sorted(ids):
            # What is not there cannot be removed, and was removed before or never captured.
            with suppress(Refused):
                self._send(RemovePayment(payment_id))

    def _send(self, request: ApiRequest) -> None:
        require_time(self.remaining)
        try:
            self.capture(request)
        except Unavailable as error:
            # The same payment again is no second one.
            raise error.without_doubt() from None
