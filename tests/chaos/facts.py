"""What happened in the world of one run, and the webhooks that report it: overlapping, repeated, shuffled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from linkrunner_webhooks.provider import Provider

# Each provider's first source parks an event without a user; the second waits for whom it follows.
SOURCES: Final = {
    "stripe": ("stripe", "stripe_app"),
    "shopify": ("shopify", "shopify_pos"),
    "woocommerce": ("woocommerce",),
}
# The type whose mapper crashes in the workers.
CRASHING_TYPE: Final = "payment_intent.processing"

CONFIGURATION: Final = """
[stripe]
[stripe.events]
"payment_intent.succeeded" = true
"payment_intent.processing" = true
"charge.succeeded" = true
"invoice.payment_succeeded" = true

[stripe_app]
provider = "stripe"
missing_user = "drop"
[stripe_app.events]
"payment_intent.succeeded" = true
"charge.succeeded" = true
"invoice.payment_succeeded" = true

[shopify]
[shopify.events]
"orders/create" = "purchase_completed"

[shopify_pos]
provider = "shopify"
missing_user = "drop"
[shopify_pos.events]
"orders/create" = "purchase_completed"

[woocommerce]
"""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that happened. `expected` is "captured", or the reason for which it has to be parked.

    `reports` are the keys of its webhooks: their event ids, or the text of what went into the queue as it is.
    Of what is `returned` nothing is left in the end.
    """

    name: str
    reports: tuple[str, ...]
    expected: str = "captured"
    amount: Decimal | None = None
    currency: str = ""
    user: str = ""
    event_names: frozenset[str] = frozenset({"purchase_completed"})
    returned: bool = False

    @property
    def is_payment(self) -> bool:
        """Whether it is money received."""
        return self.amount is not None and "purchase_refunded" not in self.event_names


@dataclass(frozen=True, slots=True)
class Sending:
    """One copy of a webhook, due at a share (0 to 1) of the time for sending. No `provider`: raw text."""

    due: float
    key: str
    source: str = ""
    provider: Provider | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that happens in a run, and everything that is sent about it."""

    facts: tuple[Fact, ...]
    sendings: tuple[Sending, ...]

    @property
    def webhooks(self) -> int:
        return sum(len(fact.reports) for fact in self.facts)
