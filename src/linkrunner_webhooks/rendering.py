"""The one place where a CommerceEvent becomes the `event_data` of Linkrunner's capture-event.

https://docs.linkrunner.io/api-reference/event-capture

`amount` is money received: Linkrunner counts it as revenue. `value` is the worth of an event, also before
anybody paid. Money that was returned, disputed or not paid has fields of its own. An unknown field is absent.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.event_body import AMOUNTS, Content, EventData
from linkrunner_webhooks.model import CommerceEvent, Identity, Item, Webhook
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.money import Money, Rate, number
from linkrunner_webhooks.reading import known
from linkrunner_webhooks.screening import MAX_TEXT, Phones, listed, screened, unnamed
from linkrunner_webhooks.users import search

# Larger integers are not safe as JSON numbers.
_MAX_NUMBER = 2**63


def event_data(event: CommerceEvent, told_as: Iterable[str], opened: Opened) -> dict[str, Any]:
    """The renamed and pruned `event_data`, with the operator's own fields."""
    source = opened.source
    kept = _allowed(event, told_as, opened).present(source.fields)
    return kept | _extra(source, opened.webhook) if source.extra else kept


def rest_of(record: Mapping[str, str], source: Source) -> dict[str, Any]:
    """What the ledger still knows of a payment, as the `event_data` of what is left of it."""
    data = EventData(
        order_id=record.get("order_id"),
        subscription_id=record.get("subscription_id"),
        provider=source.provider.name,
        source=record.get("source", source.name),
        provider_event_id=record.get("event_id", ""),
        provider_event_type=record.get("event_type", ""),
        occurred_at=record.get("occurred_at"),
    )
    return data.present(source.fields)


def priced(
    data: Mapping[str, Any],
    source: Source,
    told_as: Iterable[str],
    money: Money,
    rate: Rate | None = None,
) -> dict[str, Any]:
    """`event_data` that tells this amount, at that rate, instead of the one it told before.

    Prices of lines are converted as well, and the amount as it was paid stands beside it.
    """
    told = number(rate.convert(money.amount) if rate else money.amount)
    fields: dict[str, Any] = dict.fromkeys(told_as, told)
    fields["currency"] = rate.into if rate else money.currency
    if rate:
        fields |= {"paid_amount": number(money.amount), "paid_currency": money.currency}
    named = {source.fields.get(name, name): value for name, value in fields.items()}
    known = {name: value for name, value in named.items() if name is not None}
    return {**(repriced(data, source, rate) if rate else data), **known}


def repriced(data: Mapping[str, Any], source: Source, rate: Rate | None) -> dict[str, Any]:
    """The same with its prices of lines at that rate, or without them."""
    contents = source.fields.get("contents", "contents")
    if not contents or contents not in data or contents in source.extra:
        return dict(data)
    return {**data, contents: tuple(_repriced(each, rate) for each in data[contents])}


def _repriced(content: Content, rate: Rate | None) -> Content:
    if "item_price" not in content:
        return content
    if rate is None:
        return {"id": content["id"], "quantity": content["quantity"]}
    return {**content, "item_price": number(rate.convert(Decimal(str(content["item_price"]))))}


def unpriced(data: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The same without any amount."""
    names = (source.fields.get(name, name) for name in (*AMOUNTS, "value", "currency"))
    return without(repriced(data, source, None), [name for name in names if name])


def without(data: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """The same without fields of these names."""
    return {name: value for name, value in data.items() if name not in names}


def _allowed(event: CommerceEvent, told_as: Iterable[str], opened: Opened) -> EventData:
    """The declared fields, as far as they are known."""
    source, identity, phones = opened.source, opened.identity, opened.webhook.phones
    contents = [item for item in event.items if screened(item.content_id)]
    amount = number(event.money.amount) if event.money else None
    return EventData(
        **dict.fromkeys(told_as, amount),
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
