"""The payments that the embedded Linkrunner holds, as documented: the first record of a type and an id wins.

https://docs.linkrunner.io/api-reference/revenue-tracking
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

COMPLETED = "PAYMENT_COMPLETED"


class PaymentBook:
    """`payments` are those that count now, by type and id."""

    def __init__(self) -> None:
        self.payments: dict[tuple[str, str], Mapping[str, Any]] = {}
        # What was removed stays known: nothing says that its id may be used again.
        self.known: set[tuple[str, str]] = set()
        self.repeated: Counter[tuple[str, str]] = Counter()

    def capture(self, body: Mapping[str, Any]) -> bool:
        """Whether the payment is a new one."""
        key = (str(body.get("type") or "DEFAULT"), str(body["payment_id"]))
        if key in self.known:
            self.repeated[key] += 1
            return False
        self.known.add(key)
        self.payments[key] = body
        return True

    def remove(self, body: Mapping[str, Any]) -> int:
        """Remove one payment, or all of a user where only that is named; returns how many went."""
        gone = [key for key, held in self.payments.items() if _is_meant(key, held, body)]
        for key in gone:
            del self.payments[key]
        return len(gone)

    def totals(self) -> dict[str, Decimal]:
        """The revenue by currency."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for body in self.payments.values():
            if body.get("status", COMPLETED) == COMPLETED:
                currency = body.get("event_data", {}).get("currency", "")
                found[currency] += Decimal(str(body["amount"]))
        return dict(found)


def _is_meant(key: tuple[str, str], held: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    if "payment_id" in body:
        return key[1] == str(body["payment_id"])
    return str(held.get("user_id")) == str(body["user_id"])
