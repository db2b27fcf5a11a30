"""Purchasely's two signatures, of which one says nothing of the body, and whose its made-up ids are."""

from __future__ import annotations

import pytest
from tests import samples

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.providers import load

SCHEME = samples.scheme_of(load("purchasely"))
SECRET = "foobar"


def accepted(headers: dict[str, str], body: bytes, now: float) -> bool:
    """Whether the documentation's secret signed it."""
    return samples.accepts(SCHEME, Webhook("purchasely", headers, body), SECRET, now=now)


def test_the_documented_vector_is_accepted() -> None:
    """Its body has no digit to change, so it is not the one in signature.json."""
    body = b'{"a_random_key":"a_random_value_ad"}'
    signature = "f3c2a452e9ea72f41107321aeaf7999f1054148866a710c9b23f9f501785e2a4"
    headers = {
        "x-purchasely-request-signature": signature,
        "x-purchasely-timestamp": "1698322022",
    }
    assert accepted(headers, body, 1698322022)
    assert not accepted(headers, body + b" ", 1698322022)
    assert not accepted({**headers, "x-purchasely-timestamp": "1698322023"}, body, 1698322022)


@pytest.mark.parametrize("name", ["x-purchasely-signature", "x-purchasely-request-signature"])
def test_the_deprecated_signature_is_refused(name: str) -> None:
    """It is of the secret and the time, and would do for any body."""
    signature = "ea909b88098b63ef93711cd14542403e5efe1a23c07d94a764bd4db55abba5a6"
    headers = {name: signature, "x-purchasely-timestamp": "1580909929"}
    assert not accepted(headers, b"{}", 1580909929)


@pytest.mark.parametrize(
    ("event_type", "changes"),
    [
        ("SUBSCRIPTION_TRANSFERRED", {"user_id": "user_7"}),
        ("SUBSCRIPTION_RECEIVED", {"transferred_from_user_id": "user_7"}),
    ],
)
def test_a_gift_among_users_teaches_nothing(event_type: str, changes: dict[str, str]) -> None:
    """The anonymous id that comes along is the giver's, whose other purchases stay the giver's."""
    sample = samples.load("purchasely", event_type)
    assert samples.read(sample.webhook()).lessons
    given = sample.changed({(key,): text for key, text in changes.items()})
    assert samples.read(given.webhook()).lessons == ()
