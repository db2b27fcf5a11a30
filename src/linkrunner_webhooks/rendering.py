"""The one place where a CommerceEvent becomes the `event_data` of Linkrunner's capture-event.

https://docs.linkrunner.io/api-reference/event-capture

`amount` is money received: Linkrunner counts it as revenue. `value` is the worth of an event, also before
anybody paid. Money that was returned, disputed or not paid has fields of its own. An unknown field is absent.
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import Any

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.event_body import Content, EventData, Number
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Kind, Webhook
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.reading import known
from linkrunner_webhooks.screening import MAX_TEXT, Phones, listed, screened, unnamed
from linkrunner_webhooks.users import search

# Larger integers are not safe as JSON numbers.
_MAX_NUMBER = 2**63


def event_data(event: CommerceEvent, kind: Kind, opened: Opened) -> dict[str, Any]:
    """The renamed and pruned `event_data`, with the operator's own fields."""
    source = opened.source
    kept = _allowed(event, kind, opened).present(source.fields)
    return kept | _extra(source, opened.webhook) if source.extra else kept


def _allowed(event: CommerceEvent, kind: Kind, opened: Opened) -> EventData:
    """The declared fields, as far as they are known."""
    source, identity, phones = opened.source, opened.identity, opened.webhook.phones
    contents = [item for item in event.items if screened(item.content_id)]
    amount = number(event.money.amount) if event.money else None
    return EventData(
        **dict.fromkeys(kind.told_as, amount),
        currency=event.money.currency if event.money else None,
        order_id=screened(event.order_id, phones),
        product_ids=known(*(screened(item.product_id) for item in event.items)) or None,
        content_ids=known(*(item.content_id for item in contents)) or None,
        contents=tuple(map(_content, contents)) or None,
        content_type="product" if contents else None,
        num_items=sum(item.quantity for item in contents) if contents else None,
        payment_method=listed(event.payment_method, phones),
        coupon=listed(event.coupon, phones),
        subscription_id=screened(event.subscription_id, phones),
        plan_id=screened(event.plan_id, phones),
        provider=source.provider.name,
        source=source.name,
        provider_event_id=unnamed(identity.event_id, phones),
        provider_event_type=identity.event_type,
        occurred_at=occurred_at(event, identity),
        test=True if identity.test else None,
    )


def number(amount: Decimal) -> Number:
    """A JSON number of the same value: `Money` admits only what a double carries exactly."""
    carried = float(amount)
    return int(carried) if carried.is_integer() else carried


def occurred_at(event: CommerceEvent, identity: Identity) -> str | None:
    """When the event happened, as far as its body or its webhook says."""
    moment = event.occurred_at or identity.occurred_at
    return utc(moment) if moment else None


def _content(item: Item) -> Content:
    content: Content = {"id": item.content_id or "", "quantity": item.quantity}
    if item.unit_price is not None:
        content["item_price"] = number(item.unit_price)
    return content


def _extra(source: Source, webhook: Webhook) -> dict[str, Any]:
    """Scalars only: an object would pass on fields that the provider adds later."""
    found = ((key, search(expression, webhook.payload)) for key, expression in source.extra.items())
    scalars = ((key, _scalar(value, webhook.phones)) for key, value in found)
    return {key: scalar for key, scalar in scalars if scalar is not None}


def _scalar(value: object, phones: Phones) -> str | int | float | None:
    if isinstance(value, str):
        return screened(value[:MAX_TEXT], phones)
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if isinstance(value, int) and abs(value) < _MAX_NUMBER else None
