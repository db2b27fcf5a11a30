"""What Linkrunner holds of a payment, brought in line with the ledger. Every request here can be made again.

The ledger remembers what is meant before the first request, and what was reached after the last: whoever
finds it half done does it once more, from the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from linkrunner_webhooks.accounts import Accounts, Payment
from linkrunner_webhooks.capture import ApiRequest, Capture
from linkrunner_webhooks.config import Source
from linkrunner_webhooks.errors import Refused, Unavailable
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.once import Claim
from linkrunner_webhooks.paying import PlannedPayment, request_of
from linkrunner_webhooks.payments import (
    NOTHING,
    Account,
    CapturePayment,
    RemovePayment,
    Status,
    Terms,
    Version,
)
from linkrunner_webhooks.rendering import rest_of
from linkrunner_webhooks.rows import text
from linkrunner_webhooks.time_left import require_time
from linkrunner_webhooks.translation import Planned

# What is told of a payment besides is remembered up to this length; of more, its ids alone are told again.
_LONGEST = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Settles payments, each within `remaining()` seconds. Raises Refused or Unavailable."""

    capture: Capture
    accounts: Accounts
    remaining: Callable[[], float]

    def paid(self, claim: Claim, planned: Planned, event: LinkrunnerEvent) -> Account:
        """Capture a payment that is claimed. Returns what Linkrunner was told of it.

        What an earlier try said of it is said again, because Linkrunner may have taken it.
        """
        payment, source, key = planned.payment, planned.source, claim.keys[0]
        assert payment is not None
        account = claim.account.among(self.accounts.lead(planned.through, key))
        terms = account.terms or self._terms(payment.at(event.rate), payment, key)
        account = replace(account, terms=terms)
        version, leaving = _wanted(account, source)
        request = None
        if version != NOTHING:
            request = request_of(terms, version, event.user_id, payment, source)
        self._reach(key, account, leaving, version, request, _kept(payment, source), claim.shared)
        return replace(account, current=version)

    def _terms(self, terms: Terms, payment: PlannedPayment, key: str) -> Terms:
        """The terms with an id that no other payment has, whatever the operator's expression finds."""
        if terms.payment_id == payment.own_id or self.accounts.bind(terms.payment_id, key):
            return terms
        return terms.model_copy(update={"payment_id": payment.own_id})

    def returned(
        self, planned: Planned, owner: str, own: Sequence[str] = (), user_id: str = ""
    ) -> None:
        """Take away, or replace, the payment that money went back of, as far as it is known here.

        `own` are all keys of the refund, where they are known.
        """
        assert planned.returned is not None
        keys, returned = planned.returned
        mark = self.accounts.mark(own or planned.keys, returned.mark)
        expected = planned.source.linkrunner.revenue != "event"
        told = returned._replace(mark=mark)
        if found := self.accounts.note_returned(keys, told, expected=expected):
            self.again(found, planned.source, owner, user_id)

    def again(self, keys: Sequence[str], source: Source, owner: str, user_id: str = "") -> None:
        """Look at a payment once more: what went back of it, or that it is another one, may have come late.

        `user_id` is whose it is where the ledger does not know.
        """
        payment = self.accounts.look(keys)
        if payment is None or _is_settled(payment, source):
            return
        payment = self.accounts.take(keys, owner)
        if payment is None:
            return
        settling = False
        try:
            self.accounts.gather(payment)
            self._settle(payment, source, user_id)
        except Unavailable as error:
            settling = error.settling > 0
            raise
        finally:
            # What may still arrive at Linkrunner keeps its turn; otherwise this one runs out by itself.
            if not settling:
                with suppress(Exception):
                    self.accounts.let_go(payment.key, owner)

    def _settle(self, payment: Payment, source: Source, user_id: str) -> None:
        account, terms = payment.account, payment.account.terms
        assert terms is not None
        version, leaving = _wanted(account, source)
        if not leaving and version == account.stands:
            return
        record = {name: told for name in payment.row if (told := text(payment.row, name))}
        user_id = record.get("user_id") or user_id
        if version != NOTHING and not user_id:
            # Whose it was is erased, and what is taken away could not be captured again.
            return
        request = None
        if version not in (NOTHING, account.stands):
            data = _data(record) or rest_of(record, source)
            rest = PlannedPayment(terms, data, Status.COMPLETED, terms.payment_id)
            request = request_of(terms, version, user_id, rest, source)
        self._reach(payment.key, account, leaving, version, request)

    def _reach(
        self,
        key: str,
        account: Account,
        leaving: Iterable[str],
        version: Version,
        request: CapturePayment | None,
        data: str = "",
        shared: Iterable[str] = (),
    ) -> None:
        """Have Linkrunner hold this version of a payment, and nothing of it besides."""
        self.accounts.intend(key, account, leaving, version, data, shared)
        self._remove(leaving)
        if request:
            self._send(request)
        if leaving or version != account.stands:
            self.accounts.note_held(key, leaving, version)

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


def _wanted(account: Account, source: Source) -> tuple[Version, frozenset[str]]:
    """What Linkrunner should hold, and what has to go for that."""
    version = account.wanted(source.linkrunner.partial_refund)
    return version, account.held - {version.payment_id}


def _is_settled(payment: Payment, source: Source) -> bool:
    account = payment.account
    version, leaving = _wanted(account, source)
    return not (leaving or payment.twins) and version == account.stands


def _kept(payment: PlannedPayment, source: Source) -> str:
    """What is told besides, where a part of it may have to be told again."""
    if source.linkrunner.partial_refund == "keep":
        return ""
    told = json.dumps(payment.event_data, separators=(",", ":"))
    return told if len(told) <= _LONGEST else ""


def _data(record: dict[str, str]) -> dict[str, Any]:
    kept = json.loads(record.get("data", "{}"))
    return kept if isinstance(kept, dict) else {}
