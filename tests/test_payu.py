"""PayU hashes some values with the salt: which texts its libraries make of them, and what no hash proves."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha512
from typing import Final

import pytest
from tests import samples
from tests.samples import accepts, planned, scheme_of

from linkrunner_webhooks import forms, providers
from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import Webhook

PAYU: Final = providers.load("payu")
SALT: Final = "lr_payu_salt_0001"
PAYMENT: Final = {
    "status": "success", "udf1": "user_42", "udf3": "web", "email": "jane@example.com", "firstname": "Jane",
    "productinfo": "Plan", "amount": "259.90", "txnid": "ORDER_LR_1", "key": "LRkey1",
}  # fmt: skip
# As PayU documents what is hashed.
REST: Final = "||||||||web||user_42|jane@example.com|Jane|Plan|259.90|ORDER_LR_1|LRkey1"


def posted(text: str, **fields: str) -> Webhook:
    """A form with these fields, whose hash is of this text."""
    hashed = sha512(text.encode()).hexdigest()
    return Webhook("payu", {}, forms.write({**PAYMENT, **fields, "hash": hashed}))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (f"{SALT}|success{REST}", {}),
        (f"{SALT}|success{REST}", {"additionalCharges": ""}),
        (f"|{SALT}|success{REST}", {"additionalCharges": ""}),
        (f"5.10|{SALT}|success{REST}", {"additionalCharges": "5.10"}),
        (f"5.10|{SALT}|success{REST}", {"additional_charges": "5.10"}),
        (f"{SALT}|success{REST}", {"splitInfo": "{}"}),
        (f"{SALT}|success|{{}}{REST}", {"splitInfo": "{}"}),
        (f"5.10|{SALT}|success|{{}}{REST}", {"splitInfo": "{}", "additionalCharges": "5.10"}),
    ],
)
def test_each_text_of_payus_libraries_is_accepted(text: str, fields: Mapping[str, str]) -> None:
    """The one for Python, the one for Node, and the documentation do not agree."""
    assert accepts(scheme_of(PAYU), posted(text, **fields), SALT)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (f"{SALT}|success{REST}", {"additionalCharges": "5.10"}),
        (f"{SALT}|success|{REST}", {}),
        (f"{SALT}|success|{REST}", {"splitInfo": ""}),
        (f"{SALT}|failure{REST}", {}),
    ],
)
def test_no_other_text_is(text: str, fields: Mapping[str, str]) -> None:
    """With a place for a split that is empty, every value before a | could be moved by one place."""
    assert not accepts(scheme_of(PAYU), posted(text, **fields), SALT)


@pytest.mark.parametrize(
    "fields",
    [
        {"firstname": "Jane|Plan", "productinfo": "259.90", "amount": "ORDER_LR_1", "txnid": "LRkey1"},
        {"productinfo": "Plan | yearly"},
        {"udf1": "user_43|user_42"},
    ],
)  # fmt: skip
def test_values_that_can_be_moved_are_not_counted(fields: Mapping[str, str]) -> None:
    """Other values have the same hash, so a person looks at them."""
    sample = samples.load("payu", "success")
    with pytest.raises(Untranslatable):
        planned(sample.changed({(name,): text for name, text in fields.items()}).webhook())


def test_a_refund_without_a_hash_is_unsigned() -> None:
    """As PayU's own sample of one: it is refused, and the reason is not a wrong secret."""
    body = {"action": "refund", "status": "success", "key": "LRkey1", "amt": "259.90",
            "mihpayid": " 403993715500012871 ", "merchantTxnId": "ORDER_LR_1"}  # fmt: skip
    desk = samples.desk(PAYU)
    status, _ = desk.receive(samples.Sample(PAYU, {}, body).webhook())
    assert status == 401
    assert [report.reason.value for report in desk.reports] == ["unsigned"]
