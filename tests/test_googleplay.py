"""Google Play's notifications that nobody should count, and what is asked about each."""

from __future__ import annotations

from typing import Any

import pytest
from tests import cases, samples

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import Untranslatable, WebhookError
from linkrunner_webhooks.lookups import Perhaps
from linkrunner_webhooks.translation import Planned

PURCHASED = "SUBSCRIPTION_PURCHASED"
RENEWED = "SUBSCRIPTION_RENEWED"
VOIDED = "voidedPurchaseNotification"
LATEST = ("lookup", 0, "lineItems", 0, "latestSuccessfulOrderId")
PAID_AT = ("lookup", 1, "orderHistory", "processedEvent", "eventTime")
OLD = "2026-09-01T08:00:00Z"


def planned(like: str, changes: dict[tuple[str | int, ...], Any]) -> tuple[Planned, ...]:
    """The sample of a type with other values at some places."""
    return samples.planned(samples.load("googleplay", like).changed(changes).webhook())


@pytest.mark.parametrize(
    ("like", "changes", "words"),
    [
        # The next renewal's webhook would count it again, and this one never.
        (RENEWED, {PAID_AT: OLD}, "no order of this subscription was paid when"),
        ("SUBSCRIPTION_RECOVERED", {PAID_AT: OLD}, "no order of this subscription was paid when"),
        (PURCHASED, {PAID_AT: OLD}, "the order of this purchase is not there"),
        (PURCHASED, {("lookup", 1, "state"): "PENDING"}, "not paid yet"),
        ("ONE_TIME_PRODUCT_PURCHASED", {("lookup", 1, "state"): "PENDING"}, "not paid yet"),
        (PURCHASED, {("lookup", 1, "total"): None}, "what its order costs"),
        (PURCHASED, {("lookup", 1, "total", "units"): "9.99"}, "unexpected shape"),
        (PURCHASED, {("lookup", 1, "total", "currencyCode"): None}, "currency"),
        (PURCHASED, {("lookup", 0): None}, "unexpected shape"),
        (
            VOIDED,
            {("lookup", 1, "state"): "PROCESSED", ("lookup", 1, "orderHistory"): None},
            "does not show the refund yet",
        ),
    ],
)
def test_what_cannot_be_counted_is_parked(like: str, changes: Any, words: str) -> None:
    """A person looks at it, and it is redriven when the API says more."""
    with pytest.raises(Untranslatable, match=words):
        planned(like, changes)


def test_renewals_too_long_ago_are_parked() -> None:
    """Two orders back are asked for: no webhook waits for longer than two of the shortest periods."""
    late = cases.load("googleplay", "renewed_told_late")
    body = late.body
    newest = body["lookup"][1]
    body["lookup"] = [body["lookup"][0], newest, newest, newest]
    with pytest.raises(Untranslatable, match="no order of this subscription was paid when"):
        samples.planned(samples.Sample(late.provider, late.headers, body).webhook())


def paths(like: str) -> list[str]:
    """What is asked for, one after the other."""
    return list(samples.load("googleplay", like).answers())


def test_what_is_asked_for() -> None:
    """The purchase, and where money can have moved its order."""
    app, order = "/applications/com.example.app", "GPA.3388-1234-5678-90123"
    token = "hdkjfamoekcnlpbgihgdfcba.AO-J1Oz4nPExampleOfASubscription0001"
    coins = "mfpcldkbnoaeighjkdlfmcnb.AO-J1OwQ7rExampleOfAOneTimeProduct01"
    purchase = f"{app}/purchases/subscriptionsv2/tokens/{token}"
    product = f"{app}/purchases/productsv2/tokens/{coins}"
    assert paths(PURCHASED) == [purchase, f"{app}/orders/{order}"]
    assert paths(RENEWED) == [purchase, f"{app}/orders/{order}..0"]
    assert paths("SUBSCRIPTION_CANCELED") == [purchase]
    assert paths("ONE_TIME_PRODUCT_PURCHASED") == [
        product,
        f"{app}/orders/GPA.3399-8765-4321-09876",
    ]
    assert paths("ONE_TIME_PRODUCT_CANCELED") == [product]
    assert paths(VOIDED) == [purchase, f"{app}/orders/{order}"]
    assert [isinstance(each, Perhaps) for each in paths(VOIDED)] == [True, False]


def test_the_order_of_a_late_renewal_is_searched_for_backwards() -> None:
    """From the newest one to the one that was paid when it was renewed."""
    asked = list(cases.load("googleplay", "renewed_told_late").answers())
    assert [each.rpartition("/")[2] for each in asked[1:]] == [
        "GPA.3388-1234-5678-90123..1",
        "GPA.3388-1234-5678-90123..0",
    ]


@pytest.mark.parametrize("part", ["", "..", None])
@pytest.mark.parametrize("place", [("packageName",), ("subscriptionNotification", "purchaseToken")])
def test_nothing_is_asked_with_half_a_path(place: tuple[str, ...], part: str | None) -> None:
    """A path with a hole in it would be another question."""
    provider = providers.load("googleplay")
    assert provider.lookup is not None
    odd = samples.load("googleplay", PURCHASED).changed({place: part}).webhook()
    hint, _ = provider.lookup.parted(samples.load("googleplay", PURCHASED).webhook())
    assert provider.lookup.wanted(hint)
    hint, answers = provider.lookup.parted(odd)
    assert answers == {}
    with pytest.raises(WebhookError):
        provider.lookup.wanted(hint)
