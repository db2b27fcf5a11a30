"""Adyen requests hold items: each is signed, each is a webhook, and one refusal blocks the endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tests import samples
from tests.samples import Desk, Sample, accepts, planned, scheme_of

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import unseal
from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import Webhook

Json = Any
ADYEN: Final = providers.load("adyen")
SECRET: Final = samples.live_secret(ADYEN)
ACCEPTED: Final = (200, {"text": "[accepted]"})
SHARED: Final = Path(__file__).parent.parent.parent / "shared" / "payloads" / "adyen"
# Published by Adyen with the two items in SHARED.
PUBLISHED_KEY: Final = "74F490DD33F7327BAECC88B2947C011FC02D014A473AAA33A8EC93E4DC069174"


def item(**values: Json) -> dict[str, Json]:
    """An authorisation; values that are None are left out."""
    known: dict[str, Json] = {
        "pspReference": "LRPSP0000PAYMENT1",
        "merchantAccountCode": "LinkrunnerTestECOM",
        "merchantReference": "order-1001",
        "amount": {"value": 2599, "currency": "EUR"},
        "eventCode": "AUTHORISATION",
        "success": "true",
        "additionalData": {"shopperReference": "user_42"},
    }
    return {key: value for key, value in (known | values).items() if value is not None}


def request(*items: Json, **top: Json) -> Json:
    """A request that holds these items."""
    held = [{"NotificationRequestItem": each} for each in items]
    return {"live": "true", "notificationItems": held} | top


def signed(*items: Json, **top: Json) -> Webhook:
    """A request that holds these items, each of them signed."""
    return Sample(ADYEN, {}, request(*items, **top)).signed()


def resigned(webhook: Webhook, number: int, **values: Json) -> Webhook:
    """The request with values of one item changed after it was signed."""
    body = json.loads(webhook.body)
    body["notificationItems"][number]["NotificationRequestItem"].update(values)
    return Webhook("adyen", {}, json.dumps(body).encode())


def accepted(webhook: Webhook, secret: str = SECRET) -> bool:
    """Whether the request verifies with the key."""
    return accepts(scheme_of(ADYEN), webhook, secret)


def stored(desk: Desk) -> list[Webhook]:
    """The webhooks that receive put into the queue."""
    return [unseal(text).webhook for text, _ in desk.stored]


# ------------------------------------------------------------------------------- requests


def test_the_proof_of_an_item_is_its_signature() -> None:
    """It stays the same when somebody changes what is not signed, and is another one of another item."""
    scheme, webhook = scheme_of(ADYEN), signed(item())
    changed = resigned(webhook, 0, additionalData={"shopperReference": "user_43"})
    proof = scheme.proof(webhook)
    held = json.loads(webhook.body)["notificationItems"][0]["NotificationRequestItem"]
    assert proof == held["additionalData"]["hmacSignature"]
    assert scheme.proof(signed(item(pspReference="LRPSP2"))) != proof
    assert scheme.proof(changed) is None
    held["additionalData"]["shopperReference"] = "user_43"
    other = resigned(webhook, 0, **held)
    assert accepted(other)
    assert other.body != webhook.body
    assert scheme.proof(other) == proof


@pytest.mark.parametrize(
    "additional", [None, [], "x", {"hmacSignature": {}}, {"hmacSignature": ""}]
)
def test_an_item_without_a_signature_has_no_proof(additional: Json) -> None:
    """Nor has a request of several items, which deliver never sees."""
    unsigned = Webhook("adyen", {}, json.dumps(request({"additionalData": additional})).encode())
    assert scheme_of(ADYEN).proof(unsigned) is None
    assert scheme_of(ADYEN).proof(signed(item(), item(pspReference="LRPSP2"))) is None


def test_every_item_is_a_webhook() -> None:
    """Three items are three messages, each with its own item and what stands beside the items."""
    references = ["LRPSP1", "LRPSP2", "LRPSP3"]
    desk = samples.desk(ADYEN)
    status, answer = desk.receive(signed(*(item(pspReference=each) for each in references)))
    assert (status, answer) == ACCEPTED
    assert [attributes["event_id"] for _, attributes in desk.stored] == references
    for webhook, reference in zip(stored(desk), references, strict=True):
        body = json.loads(webhook.body)
        assert body["live"] == "true"
        (held,) = body["notificationItems"]
        assert held["NotificationRequestItem"]["pspReference"] == reference
        assert accepted(webhook)


def test_a_single_item_stays_as_it_was_sent() -> None:
    """The bytes that were verified are the ones that are stored."""
    webhook = signed(item())
    desk = samples.desk(ADYEN)
    desk.receive(webhook)
    assert [each.body for each in stored(desk)] == [webhook.body]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_forged_item_refuses_all(number: int) -> None:
    """Nothing of such a request is stored, also not the items before the forged one."""
    webhook = signed(item(), item(), item())
    desk = samples.desk(ADYEN)
    forged = resigned(webhook, number, amount={"value": 259900, "currency": "EUR"})
    assert desk.receive(forged)[0] == 401
    assert desk.stored == []


def test_an_unsigned_item_refuses_all() -> None:
    """A signature on one item says nothing about another."""
    body = json.loads(signed(item()).body)
    for extra in ({"NotificationRequestItem": item()}, {"NotificationRequestItem": None}, {}, None):
        mixed = {**body, "notificationItems": [*body["notificationItems"], extra]}
        assert not accepted(Webhook("adyen", {}, json.dumps(mixed).encode()))


@pytest.mark.parametrize("items", [[], {}, None, "", [[]], [None], [{}]])
def test_no_items_are_refused(items: Json) -> None:
    """Of nothing everything is signed."""
    body = json.dumps({"live": "true", "notificationItems": items}).encode()
    assert not accepted(Webhook("adyen", {}, body))


@pytest.mark.parametrize(
    "changed",
    [
        {"eventCode": "SOMETHING_NEW"},
        {"eventCode": None},
        {"pspReference": None},
        {"pspReference": "settlement:detail:report.csv", "eventCode": "REPORT_AVAILABLE"},
        {"pspReference": "ü" * 300},
        {"amount": None},
        {"success": None},
        {"success": "perhaps"},
        {"eventDate": "yesterday"},
        {"eventDate": {}},
        {"eventDate": "0001-01-01T00:00:00+14:00"},
        {"paymentMethod": {"type": "visa"}},
        {"originalReference": "with:colon"},
    ],
)
def test_whatever_is_authentic_is_accepted(changed: Mapping[str, Json]) -> None:
    """One refusal would hold back everything that comes after it for days."""
    assert samples.desk(ADYEN).receive(signed(item(**changed))) == ACCEPTED


@pytest.mark.parametrize(
    "unsigned",
    [{"shopperName": "\ud83d"}, {"fraud": float("nan")}, {"deep": [[[[[[[[{}]]]]]]]]}, {"": None}],
)
def test_what_is_not_signed_can_be_anything(unsigned: Mapping[str, Json]) -> None:
    """Half an emoji, where a text was cut, is accepted like everything authentic."""
    webhook = signed(item())
    (held,) = json.loads(webhook.body)["notificationItems"]
    proof = held["NotificationRequestItem"]["additionalData"]
    changed = resigned(webhook, 0, additionalData={**proof, **unsigned}, eventDate=7)
    assert samples.desk(ADYEN).receive(changed) == ACCEPTED


@pytest.mark.parametrize(
    ("live", "test"), [("true", False), ("false", True), (False, True), (None, False)]
)
def test_a_test_item_is_acknowledged_and_dropped(live: Json, test: bool) -> None:
    """`live` is a text usually; a test item is acknowledged like all others, and not stored."""
    desk = samples.desk(ADYEN)
    assert desk.receive(signed(item(), live=live)) == ACCEPTED
    assert len(desk.stored) == (not test)


# ------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize("name", ["colon", "mixed"])
@pytest.mark.skipif(not SHARED.is_dir(), reason="the payloads are not part of the project")
def test_adyens_own_vectors(name: str) -> None:
    """References with colons and backslashes are signed as they are."""
    written = json.loads((SHARED / f"AUTHORISATION_signed_item_{name}.json").read_text("utf-8"))
    webhook = Webhook("adyen", {}, json.dumps(request(written)).encode())
    assert accepted(webhook, PUBLISHED_KEY)
    assert accepted(webhook, PUBLISHED_KEY.lower())
    assert not accepted(webhook)


@pytest.mark.parametrize(
    "values",
    [
        {"success": True},
        {"success": "True"},
        {"success": "false"},
        {"success": None},
        {"pspReference": "LRPSP0000PAYMENT2"},
        {"originalReference": "LRPSP0000PAYMENT2"},
        {"merchantAccountCode": "Another"},
        {"merchantReference": "order-1002"},
        {"merchantReference": "order-1001 "},
        {"merchantReference": "order-1001\\"},
        {"amount": {"value": 1, "currency": "EUR"}},
        {"amount": {"value": 2599.0, "currency": "EUR"}},
        {"amount": {"value": 2599, "currency": "USD"}},
        {"amount": None},
        {"amount": []},
        {"amount": "2599"},
        {"eventCode": "CAPTURE"},
        {"additionalData": None},
        {"additionalData": {}},
        {"additionalData": {"hmacSignature": None}},
        {"additionalData": {"hmacSignature": ""}},
        {"additionalData": {"hmacSignature": True}},
        {"additionalData": {"hmacSignature": ["a"]}},
        {"additionalData": "hmacSignature"},
    ],
)
def test_changed_values_are_refused(values: Mapping[str, Json]) -> None:
    """Each of the eight values counts, and `success` is a text."""
    assert not accepted(resigned(signed(item()), 0, **values))


def test_a_boolean_is_not_its_text() -> None:
    """A signature over "True" does not pass for a boolean that some library made of "true"."""
    assert accepted(signed(item(success="True")))
    assert not accepted(resigned(signed(item(success="True")), 0, success=True))


@pytest.mark.parametrize("secret", ["not hexadecimal", SECRET[:-1], f"{SECRET}01", SECRET[::-1]])
def test_other_keys_are_refused(secret: str) -> None:
    """The key is hexadecimal; half of one is none."""
    assert not accepted(signed(item()), secret)


@pytest.mark.parametrize(
    "values",
    [
        {
            "pspReference": "LRPSP0000PAYMENT1:",
            "originalReference": "LinkrunnerTestECOM",
            "merchantAccountCode": "a",
            "merchantReference": "b",
        },
        {
            "originalReference": ":LinkrunnerTestECOM",
            "merchantAccountCode": "a",
            "merchantReference": "b",
        },
    ],
)
def test_the_same_signature_on_other_values(values: Mapping[str, Json]) -> None:
    """Colons are not escaped, so a value can be moved into its neighbour: that is not counted again."""
    webhook = resigned(signed(item(merchantReference="a:b")), 0, **values)
    assert accepted(webhook)
    with pytest.raises(Untranslatable):
        planned(webhook)


# ------------------------------------------------------------------------------- what is reported


def test_the_reason_is_not_said() -> None:
    """It holds the code, the last digits and the expiry of the card."""
    sample = samples.load("adyen", "AUTHORISATION")
    (held,) = sample.body["notificationItems"]
    reason = held["NotificationRequestItem"]["reason"]
    desk = samples.desk(ADYEN)
    status, answer = desk.receive(sample.signed())
    (webhook,) = stored(desk)
    events = planned(webhook)
    assert status == 200
    assert reason not in f"{events} {answer} {desk.reports} {desk.stored[0][1]}"


@pytest.mark.parametrize(
    ("option", "code", "wanted"),
    [
        (False, "AUTHORISATION", {"adyen|payment|PAY"}),
        (False, "CAPTURE", {"adyen|payment|PAY"}),
        (True, "CAPTURE", {"adyen|payment|CAP"}),
        (True, "AUTHORISATION", {"adyen|purchase_initiated|PAY"}),
    ],
)
def test_a_capture_is_the_payment_or_a_part_of_it(
    *, option: bool, code: str, wanted: set[str]
) -> None:
    """A capture is the payment that was authorised, unless it is only a part of it."""
    references = {"pspReference": "CAP", "originalReference": "PAY"}
    if code == "AUTHORISATION":
        references = {"pspReference": "PAY"}
    webhook = signed(item(eventCode=code, **references))
    source = samples.everything_on(ADYEN, partial_captures=option)
    (event,) = planned(webhook, source)
    assert set(event.keys) == wanted


def test_manual_capture_by_switches() -> None:
    """What docs and webhooks.toml propose: the authorisation is silent, a failed one is not."""
    events = {
        "AUTHORISATION": {"purchase_completed": False, "subscription_renewed": False},
        "CAPTURE": True,
    }
    source = Config({"adyen": {"events": events}}).source("adyen")
    assert source is not None

    def names(webhook: Webhook) -> list[str]:
        return [each.event_name for each in planned(webhook, source)]

    assert names(signed(item())) == []
    assert names(signed(item(success="false"))) == ["payment_failed"]
    assert names(signed(item(eventCode="CAPTURE"))) == ["purchase_completed"]


@pytest.mark.parametrize(
    "values",
    [
        {"amount": None},
        {"amount": {"value": 2599}},
        {"amount": {"value": "a lot", "currency": "EUR"}},
        {"amount": {"value": 2599, "currency": "euro"}},
        {"amount": {"value": 10**16 + 1, "currency": "EUR"}},
        {"pspReference": None},
    ],
)
@pytest.mark.parametrize("code", ["AUTHORISATION", "CAPTURE", "REFUND", "CHARGEBACK"])
def test_money_is_not_guessed(code: str, values: Mapping[str, Json]) -> None:
    """An authentic item without its money or reference is parked."""
    webhook = signed(item(eventCode=code, **values))
    with pytest.raises(Untranslatable):
        planned(webhook)


def test_one_captured_item_is_no_lever() -> None:
    """Whoever saw one signed item can repeat it without end: it is stored once."""
    desk = samples.desk(ADYEN)
    assert desk.receive(signed(*[item()] * 4000)) == ACCEPTED
    assert len(desk.stored) == 1


def test_the_items_of_a_request_are_bounded() -> None:
    """A request with more events than any provider sends is refused as a whole."""
    desk = samples.desk(ADYEN)
    many = [item(pspReference=f"LRPSP{number}") for number in range(101)]
    status, _ = desk.receive(signed(*many))
    assert (status, desk.stored) == (413, [])


def test_an_item_that_does_not_say_what_it_is_is_kept() -> None:
    """A signed item without a code may be money: a person looks at it."""
    desk = samples.desk(ADYEN)
    assert desk.receive(signed(item(eventCode=None))) == ACCEPTED
    assert [attributes["event_type"] for _, attributes in desk.stored] == ["unknown"]
