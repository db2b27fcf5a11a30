"""Paytm's forms, whose values are signed and whose names are not, and refunds that do not say enough."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from tests import samples
from tests.samples import Json, accepts, live_secret, scheme_of

from linkrunner_webhooks import forms, providers
from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import UNKNOWN, CommerceEvent, Webhook

PAYTM = providers.load("paytm")
PAID = samples.load("paytm", "payment.TXN_SUCCESS").body
REFUND = samples.load("paytm", "refund.TXN_SUCCESS").body["body"]


def told(body: Json) -> tuple[CommerceEvent, ...]:
    """What a body means."""
    webhook = Webhook("paytm", {}, json.dumps(body).encode())
    return PAYTM.translate(webhook, PAYTM.identity(webhook), PAYTM.options())


def renamed(names: Mapping[str, str]) -> Webhook:
    """The signed payment with other names for some of its values."""
    fields = forms.read(samples.load("paytm", "payment.TXN_SUCCESS").signed().body)
    return Webhook("paytm", {}, forms.write({names.get(key, key): fields[key] for key in fields}))


def test_a_payment_does_not_get_another_id() -> None:
    """Other values that can take the place of its id are dates, so that it is not counted once more."""
    names = {"TXNDATE": "TXNB", "TXNDATETIME": "TXNID", "TXNID": "TXNIE"}
    webhook = renamed(names)
    assert accepts(scheme_of(PAYTM), webhook, live_secret(PAYTM))
    (unpacked,) = PAYTM.unpack(webhook)
    with pytest.raises(Untranslatable):
        PAYTM.translate(unpacked, PAYTM.identity(unpacked), PAYTM.options())


def test_a_value_does_not_take_the_place_of_one_behind_another() -> None:
    """The order of the names is signed with the values: an amount comes after the status."""
    assert not accepts(
        scheme_of(PAYTM), renamed({"BANKTXNID": "TXNAMOUNT", "TXNAMOUNT": "X"}), live_secret(PAYTM)
    )


def test_a_refund_is_about_its_body() -> None:
    """Whatever stands beside it, which is not signed."""
    head = {"head": {}, "STATUS": "TXN_SUCCESS", "TXNID": "1", "TXNAMOUNT": "999.00"}
    webhook = Webhook("paytm", {}, json.dumps({**head, "body": REFUND}).encode())
    assert PAYTM.identity(webhook).event_type == "refund.TXN_SUCCESS"
    odds: tuple[Json, ...] = (0, "", [], {}, "x", 5)
    for odd in odds:
        webhook = Webhook("paytm", {}, json.dumps({**head, "body": odd}).encode())
        assert PAYTM.identity(webhook).event_type in (UNKNOWN, "refund.unknown")


@pytest.mark.parametrize(
    "changed",
    [
        {"TXNID": ""}, {"TXNID": "2026-11-18"}, {"TXNID": "a|b"}, {"TXNAMOUNT": ""},
        {"TXNAMOUNT": "1,499.00"}, {"CURRENCY": "rupees"},
    ],
)  # fmt: skip
def test_a_payment_that_says_too_little_is_parked(changed: dict[str, str]) -> None:
    """Without its id it would count each time; without its amount it would be worth nothing."""
    with pytest.raises(Untranslatable):
        told(PAID | changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"refundAmount": None},
        {"totalRefundAmount": None},
        {"totalRefundAmount": "20.00"},
        {"refundId": ""},
    ],
)
def test_a_refund_that_says_too_little_is_parked(changed: dict[str, str | None]) -> None:
    """An amount alone may be the sum of several refunds."""
    with pytest.raises(Untranslatable):
        told({"body": REFUND | changed})


def test_a_form_about_nothing_is_unknown() -> None:
    """It is signed, so it is acknowledged."""
    webhook = Webhook("paytm", {}, b'{"MID": "ACMESH16273849506172"}')
    assert PAYTM.identity(webhook).event_type == UNKNOWN


def test_the_id_of_a_link_is_nobodys() -> None:
    """It stands where the merchant's reference does."""
    for fields, names in (
        ({"MERC_UNQ_REF": "LI_1"}, {"LINK_ID": "LI_1"}),
        ({"MERC_UNQ_REF": "1", "LINKDESCRIPTION": "x"}, {"LINKDESCRIPTION": "x", "LINK_ID": "1"}),
        ({"MERC_UNQ_REF": "auth0|42", "CUSTID": "Null"}, {"MERC_UNQ_REF": "auth0|42"}),
    ):
        (unpacked,) = PAYTM.unpack(Webhook("paytm", {}, forms.write(fields)))
        assert unpacked.payload == names
