"""Messages as receive stores them: Stripe's and Shopify's reports of one payment, and of what follows it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.samples import load
from tests.simulation.clock import NOW

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import Envelope
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.queues import Message

TABLES: dict[str, dict[str, Any]] = {
    "stripe": {
        "events": {
            "payment_intent.succeeded": True,
            "charge.succeeded": True,
            "invoice.payment_succeeded": True,
        }
    },
    "shopify": {"events": {"orders/create": "purchase_completed"}},
    "shopify_eu": {
        "provider": "shopify",
        "events": {"orders/create": "purchase_completed"},
    },
    "guests": {"provider": "stripe", "missing_user": "drop"},
    "adyen": {},
    "woocommerce": {},
    "gocardless": {},
    "other": {"provider": "woocommerce"},
}

# ------------------------------------------------------------------------- what the bodies are about

USER: dict[str, Any] = {"metadata": {"user_id": "user_42"}}
SESSION: dict[str, Any] = {
    "id": "cs_1",
    "mode": "payment",
    "payment_status": "paid",
    "amount_total": 2599,
    "currency": "usd",
    "client_reference_id": "user_42",
    "payment_intent": "pi_1",
}
INTENT: dict[str, Any] = {
    "id": "pi_1",
    "amount": 2599,
    "amount_received": 2599,
    "currency": "usd",
    "invoice": None,
}
CHARGE: dict[str, Any] = {
    "id": "ch_1",
    "amount": 2599,
    "amount_captured": 2599,
    "captured": True,
    "currency": "usd",
    "payment_intent": "pi_1",
    "invoice": None,
}
ORDER: dict[str, Any] = {
    "id": 1001,
    "admin_graphql_api_id": "gid://shopify/Order/1001",
    "total_price": "59.90",
    "currency": "EUR",
    "note_attributes": [{"name": "linkrunner_user_id", "value": "42"}],
}
INVOICE: dict[str, Any] = {
    "id": "in_1",
    "amount_paid": 990,
    "currency": "eur",
    "billing_reason": "subscription_cycle",
}
OLD_INVOICE = INVOICE | {
    "subscription": "sub_1",
    "payment_intent": "pi_9",
    "subscription_details": USER,
}
NEW_INVOICE = INVOICE | {
    "parent": {"subscription_details": {"subscription": "sub_1"} | USER},
}
SHOPIFY_REFUND: dict[str, Any] = {
    "id": 5,
    "order_id": 1001,
    "transactions": [
        {"id": 1, "kind": "refund", "status": "success", "amount": "9.90", "currency": "EUR"}
    ],
}

# ------------------------------------------------------------------------- messages

_ids = itertools.count(1)


def message(
    source: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    *,
    receives: int = 1,
    age: float = 0.0,
) -> Message:
    """A message as receive would have stored it."""
    loaded = Config(TABLES).source(source)
    assert loaded is not None
    webhook = Webhook(source, headers or {}, json.dumps(body).encode())
    identity = loaded.provider.identify(webhook)
    number = next(_ids)
    return Message(
        id=f"m{number}",
        handle=f"r{number}",
        text=Envelope(webhook, NOW - age).seal(loaded.provider),
        attributes={
            "source": source,
            "event_type": identity.event_type,
            "event_id": identity.event_id,
        },
        receives=receives,
        sent_at=NOW - age,
    )


def stripe(
    event_type: str,
    resource: Mapping[str, Any],
    previous: Mapping[str, Any] | None = None,
    *,
    source: str = "stripe",
    **changes: Any,
) -> Message:
    """A Stripe event; each call is another event, as each delivery of another endpoint is."""
    body = {
        "id": f"evt_{next(_ids)}",
        "type": event_type,
        "created": 1_799_999_000,
        "livemode": True,
        "data": {"object": resource} | ({"previous_attributes": previous} if previous else {}),
    }
    return message(source, body, **changes)


def hint(number: int = 1) -> tuple[Message, dict[str, Any]]:
    """GoCardless' report of a payment, which only hints at it; and what its API answers, by path."""
    sample = load("gocardless", "payments.confirmed")
    text = json.dumps(sample.body)
    for old, new in (("PM01LR7QPM001", f"PM{number}"), ("EV01LR7Q00002", f"EV{number}")):
        text = text.replace(old, new)
    whole = replace(sample, body=json.loads(text))
    (event,) = whole.provider.unpack(whole.signed())
    return message("gocardless", event.payload), whole.answers()


def shopify(topic: str, body: Mapping[str, Any], source: str = "shopify") -> Message:
    """A Shopify event; each call is another event."""
    headers = {
        "x-shopify-topic": topic,
        "x-shopify-shop-domain": f"{source}.myshopify.com",
        "x-shopify-api-version": "2026-07",
        "x-shopify-webhook-id": f"w-{next(_ids)}",
        "x-shopify-event-id": f"e-{next(_ids)}",
    }
    return message(source, body, headers)


def checkout(**changes: Any) -> Message:
    """A paid checkout session: the plainest message there is. Changes of the session come first."""
    own = {key: changes.pop(key) for key in ("receives", "age", "source") if key in changes}
    return stripe("checkout.session.completed", SESSION | changes, **own)


def another(number: int, **changes: Any) -> Message:
    """The checkout of another payment."""
    return checkout(id=f"cs_{number}", payment_intent=f"pi_{number}", **changes)


def adyen(event_code: str = "AUTHORISATION", **changes: Any) -> Message:
    """A payment at Adyen, whose signature does not cover all of the body."""
    item = {
        "pspReference": "psp_1",
        "eventCode": event_code,
        "success": "true",
        "amount": {"value": 2599, "currency": "EUR"},
        "additionalData": {"shopperReference": "user_42", "hmacSignature": "signature of psp_1"},
    }
    held = {"NotificationRequestItem": item | changes}
    return message("adyen", {"live": "true", "notificationItems": [held]})


def two_events(number: int = 727, *, source: str = "woocommerce", **changes: Any) -> Message:
    """WooCommerce's order that is paid and fulfilled: one webhook, two events."""
    moment = "2026-11-18T11:00:00"
    order = {
        "id": number,
        "status": "completed",
        "currency": "EUR",
        "total": "25.00",
        "date_created_gmt": moment,
        "date_modified_gmt": moment,
        "date_paid_gmt": moment,
        "meta_data": [{"key": "linkrunner_user_id", "value": "user_42"}],
    }
    headers = {"x-wc-webhook-topic": "order.updated", "x-wc-webhook-delivery-id": str(number)}
    return message(source, order | changes, headers)


def refund(total: int, before: int = 0, **changes: Any) -> Message:
    """A refund that brings the charge's total to `total`."""
    return stripe(
        "charge.refunded",
        CHARGE | {"amount_refunded": total} | changes,
        {"amount_refunded": before},
    )
