"""What is peculiar to Lemon Squeezy: two reports of one payment that share no id."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from tests import samples
from tests.stories import Pipeline, told

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Malformed, Untranslatable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.providers import load

NAME = "lemonsqueezy"
STARTED = ("order_created", "subscription_created", "subscription_payment_success_first")
REFUNDED = ("order_refunded_without_a_user", "subscription_payment_refunded_first")


def captured(cases: Sequence[str], variants: Sequence[Any]) -> Pipeline:
    """What is captured of these golden cases, sent twice, with these variants listed."""
    provider = load(NAME)
    config = Config(samples.tables(provider, subscription_variants=list(variants)))
    pipeline = Pipeline(provider, config)
    pipeline.deliver([told(NAME, case) for case in (*cases, *cases)])
    assert pipeline.parked == []
    return pipeline


@pytest.mark.parametrize("order", list(permutations(STARTED)))
@pytest.mark.parametrize(
    ("variants", "name", "lifecycle"),
    [
        ((), "purchase_completed", "subscription_started"),
        ((488120,), "subscription_started", "subscription_created"),
        (("488120", 1), "subscription_started", "subscription_created"),
    ],
)
def test_a_subscription_starts_once(
    order: Sequence[str], variants: Sequence[Any], name: str, lifecycle: str
) -> None:
    """Its first payment is the order's, or its own when its variant is listed; never both."""
    pipeline = captured(order, variants)
    assert pipeline.money() == {"payment": ["25.99 USD"]}
    assert pipeline.besides() == [lifecycle]
    assert [each.event_name for each in pipeline.captured if "amount" in each.event_data] == [name]


@pytest.mark.parametrize("variants", [(), (488120,)])
def test_a_first_payment_is_refunded_once(variants: Sequence[Any]) -> None:
    """The report that brought the payment brings its refund, for the user who paid."""
    pipeline = captured((*STARTED, *REFUNDED), variants)
    assert pipeline.money() == {"payment": ["25.99 USD"], "refund": ["25.99 USD"]}
    assert {each.user_id for each in pipeline.captured} == {"user_42"}


def test_other_orders_are_purchases_beside_listed_subscriptions() -> None:
    """A shop that sells both counts both."""
    pipeline = captured(("order_created_of_another_variant", STARTED[-1]), (488120,))
    assert pipeline.money() == {"payment": ["25.99 USD", "25.99 USD"]}


def test_a_second_refund_in_part_is_not_counted_as_the_sum() -> None:
    """Only the running total is told, so what is not certain is not reported."""
    whole = ("order_created", "order_refunded_in_part", "order_refunded")
    assert captured(whole, ()).money() == {"payment": ["25.99 USD"], "refund": ["10 USD"]}


def test_the_header_does_not_decide() -> None:
    """X-Event-Name is not signed."""
    sample = samples.load(NAME, "order_created")
    headers = {**sample.headers, "x-event-name": "order_refunded"}
    identity = sample.provider.identify(Webhook(NAME, headers, sample.raw()))
    assert identity.event_type == "order_created"


@pytest.mark.parametrize("body", [b"{}", b'{"meta":{}}', b'{"meta":{"event_name":""},"data":null}'])
def test_without_an_event_name_it_is_malformed(body: bytes) -> None:
    """And not a crash."""
    with pytest.raises(Malformed):
        load(NAME).identify(Webhook(NAME, {}, body))


def test_an_object_that_cannot_be_named_is_known_by_its_body() -> None:
    """A retry repeats the body, so its digest names the event."""
    body = b'{"meta":{"event_name":"order_created"},"data":{"type":"orders"}}'
    identities = {
        load(NAME).identify(Webhook(NAME, {}, each)) for each in (body, body, body + b" ")
    }
    assert len(identities) == 2


@pytest.mark.parametrize(
    ("event_type", "key"),
    [
        ("order_created", "total"),
        ("order_created", "currency"),
        ("order_refunded", "currency"),
        ("subscription_payment_success", "total"),
        ("subscription_payment_refunded", "currency"),
    ],
)
def test_a_shape_without_its_money_is_parked(event_type: str, key: str) -> None:
    """No amount is invented."""
    sample = samples.load(NAME, event_type)
    with pytest.raises(Untranslatable):
        samples.planned(sample.changed({("data", "attributes", key): None}).webhook())


@pytest.mark.parametrize("event_type", ["order_refunded", "subscription_payment_refunded"])
def test_a_refund_that_does_not_say_how_much_is_parked(event_type: str) -> None:
    """`refunded` may be null, and older bodies have no `refunded_amount`: that is not a refund of nothing."""
    sample = samples.load(NAME, event_type)
    unsaid: dict[samples.Place, None] = {
        ("data", "attributes", key): None for key in ("refunded", "refunded_amount")
    }
    source = samples.everything_on(sample.provider, subscription_variants=["1"])
    with pytest.raises(Untranslatable):
        samples.planned(sample.changed(unsaid).webhook(), source)
