"""The edge, end to end over fakes: a fake secret store, and a list for a queue."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from tests import samples
from tests.samples import NOW, Desk, Sample, Secrets, live_secret

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import MAX_BYTES, open_message, unseal
from linkrunner_webhooks.errors import NotStored, Reason, Unavailable
from linkrunner_webhooks.model import Outcome, Webhook
from linkrunner_webhooks.secrets import MAX_AGE, MIN_AGE
from linkrunner_webhooks.translation import plan_of

TABLES: Mapping[str, Any] = {"stripe": {}, "shopify": {}, "stripe_eu": {"provider": "stripe"}}
KNOWN = {name: (live_secret(providers.load(name)),) for name in ("stripe", "shopify")}


def purchase() -> Sample:
    """A Stripe webhook."""
    return samples.load("stripe", "checkout.session.completed")


def order() -> Sample:
    """A Shopify webhook."""
    return samples.load("shopify", "orders/paid")


def desk(tables: Mapping[str, Any] = TABLES, **known: tuple[str, ...]) -> Desk:
    """A receiver with these tables, and these secrets besides those of both providers."""
    return Desk(Config(tables), Secrets(KNOWN | known))


def plain(webhook: Webhook) -> dict[str, Any]:
    """The request as API Gateway hands over a text body."""
    event = samples.request(webhook)
    return event | {"body": webhook.body.decode("utf-8"), "isBase64Encoded": False}


def test_a_sender_gets_the_code_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some give up at a 401, and a wrong secret would lose their events."""
    statuses: Any = providers.load("stripe").statuses
    monkeypatch.setitem(statuses, 401, 409)
    assert desk().receive(purchase().signed(secret="whsec_another"))[0] == 409
    assert desk().receive(purchase().signed())[0] == 200


# ------------------------------------------------------------------------------- accepted


@pytest.mark.parametrize("sample", [purchase(), order()], ids=["stripe", "shopify"])
def test_a_signed_webhook_is_queued(sample: Sample) -> None:
    """The raw body and its attributes are stored, and the answer and the report say so."""
    front = desk()
    webhook = sample.signed()
    identity = sample.provider.identify(webhook)
    status, answer = front.receive(webhook)
    assert (status, answer) == (200, {"status": "queued", "event_id": identity.event_id})
    ((text, attributes),) = front.stored
    assert unseal(text).webhook.body == webhook.body
    assert unseal(text).webhook.source == sample.provider.name
    assert unseal(text).received_at == NOW
    assert attributes == {
        "source": sample.provider.name,
        "event_type": identity.event_type,
        "event_id": identity.event_id,
        "code_version": Config(TABLES).code_version,
    }
    (report,) = front.reports
    assert (report.stage, report.outcome, report.reason) == ("receive", Outcome.QUEUED, "none")
    assert (report.source, report.event_type) == (sample.provider.name, identity.event_type)


@pytest.mark.parametrize("sample", [purchase(), order()], ids=["stripe", "shopify"])
def test_plain_and_base64_bodies_are_one(sample: Sample) -> None:
    """Whether API Gateway encodes the body makes no difference to what is verified and stored."""
    encoded, text = desk(), desk()
    assert encoded.respond(samples.request(sample.signed())) == text.respond(plain(sample.signed()))
    assert encoded.stored == text.stored


@pytest.mark.parametrize("change", [str.upper, str.title, str.lower, str.swapcase])
def test_header_names_come_in_any_case(change: Any) -> None:
    """An HTTP API lower-cases header names; others do not."""
    front = desk()
    event = samples.request(order().signed())
    headers = {change(name): value for name, value in event["headers"].items()}
    assert front.respond(event | {"headers": headers})[0] == 200


def test_non_ascii_bodies_are_taken_as_bytes() -> None:
    """Names in any script do not disturb the signature."""
    sample = order()
    sample.body["note"] = "Crème brûlée \u2014 ₹ 🫖"
    front = desk()
    assert front.respond(plain(sample.signed()))[0] == 200
    assert unseal(front.stored[0][0]).webhook.body == sample.raw()


def test_a_second_source_has_its_own_secret() -> None:
    """Two sources of one provider are told apart by the URL, and by their secrets."""
    front = desk(stripe_eu=("other",))
    webhook = purchase().signed(secret="other")
    assert front.respond(samples.request(webhook, "stripe_eu"))[0] == 200
    assert front.respond(samples.request(webhook, "stripe"))[0] == 401
    assert unseal(front.stored[0][0]).webhook.source == "stripe_eu"


# ------------------------------------------------------------------------------- ignored


def test_unwanted_types_are_ignored() -> None:
    """A type that is off, unknown or never forwarded is acknowledged and dropped before it is stored."""
    for event_type in ("payment_intent.succeeded", "refund.created", "no.such.type"):
        front = desk()
        sample = purchase()
        sample.body["type"] = event_type
        status, answer = front.receive(sample.signed())
        assert (status, answer) == (200, {"status": "ignored", "event_id": sample.body["id"]})
        assert not front.stored
        assert front.reports[0].reason == "unwanted"


def mark_test(sample: Sample) -> Sample:
    """The sample as the provider marks its test traffic."""
    if sample.provider.name == "stripe":
        return Sample(sample.provider, sample.headers, sample.body | {"livemode": False})
    return Sample(sample.provider, {**sample.headers, "x-shopify-test": "true"}, sample.body)


@pytest.mark.parametrize("sample", [purchase(), order()], ids=["stripe", "shopify"])
def test_test_traffic_is_ignored(sample: Sample) -> None:
    """Test traffic is acknowledged and dropped, unless the source wants it."""
    front = desk()
    status, answer = front.receive(mark_test(sample).signed())
    assert (status, answer["status"], front.stored) == (200, "ignored", [])
    assert front.reports[0].reason == "test"
    wanted = desk({sample.provider.name: {"test_events": True}})
    assert wanted.receive(mark_test(sample).signed())[1]["status"] == "queued"


def test_test_orders_of_a_real_shop_are_ignored() -> None:
    """An order paid through the bogus gateway is test traffic although its delivery is real."""
    front = desk()
    sample = order()
    sample.body["test"] = True
    assert front.receive(sample.signed())[1]["status"] == "ignored"


@pytest.mark.parametrize("topic", ["customers/data_request", "customers/redact", "shop/redact"])
def test_a_signed_privacy_request_is_acknowledged(topic: str) -> None:
    """App review demands 2xx for a signed privacy request, and 401 for one that is not."""
    front = desk()
    headers = {**order().headers, "x-shopify-topic": topic}
    person = {"id": 191167, "email": "jane.appleseed@example.com", "phone": "+15550101234"}
    body = {"shop_id": 954889, "shop_domain": "linkrunner-demo.myshopify.com", "customer": person}
    sample = Sample(providers.load("shopify"), headers, body)
    assert front.receive(sample.signed())[0] == 200
    assert front.receive(sample.signed(secret="wrong"))[0] == 401
    assert front.receive(sample.webhook())[0] == 401
    assert not front.stored


# ------------------------------------------------------------------------------- rejected


@pytest.mark.parametrize("source", ["nobody", "", "Stripe", "../stripe", "stripe ", "\ud800"])
def test_unknown_sources_are_not_found(source: str) -> None:
    """A source that is no table is a 404, and its name becomes no metric dimension."""
    front = desk()
    status, answer = front.respond(samples.request(purchase().signed(), source))
    assert (status, answer["error"]) == (404, "unknown_source")
    assert front.reports[0].source == "unknown"


@pytest.mark.parametrize("secrets", [(), None])
def test_a_source_without_secret_is_not_found(secrets: tuple[str, ...] | None) -> None:
    """A source without a secret does not exist: 404, never unchecked."""
    known = {} if secrets is None else {"stripe": secrets}
    front = Desk(Config(TABLES), Secrets(known))
    status, answer = front.receive(purchase().signed(secret=" "))
    assert (status, answer["error"], front.stored) == (404, "unknown_source", [])


def test_a_stranger_does_not_learn_which_sources_have_a_table() -> None:
    """Without a table and without a secret are one answer; the log says which it is."""
    front = Desk(Config(TABLES), Secrets({}))
    nowhere = front.respond(samples.request(purchase().signed(), "nobody"))
    assert front.receive(purchase().signed()) == nowhere
    assert front.receive(purchase().webhook()) == nowhere
    assert [each.detail for each in front.reports] == [
        "webhooks.toml has no such table",
        *["the source has no signing secret; add it to WebhookSecrets"] * 2,
    ]


@pytest.mark.parametrize("sample", [purchase(), order()], ids=["stripe", "shopify"])
def test_wrong_signatures_are_unauthorized(sample: Sample) -> None:
    """A wrong, missing or outdated signature, or another body, is a 401 and stored nowhere."""
    front = desk()
    signed = sample.signed()
    altered = Webhook(signed.source, signed.headers, signed.body + b" ")
    for webhook in (sample.signed(secret="wrong"), sample.webhook(), altered):
        status, answer = front.receive(webhook)
        assert (status, answer["error"]) == (401, "bad_signature")
    assert not front.stored
    assert [report.outcome for report in front.reports] == [Outcome.REJECTED] * 3


def test_a_replayed_webhook_is_unauthorized() -> None:
    """Stripe's signed time is looked at, with the receiver's clock."""
    front = desk()
    webhook = purchase().signed()
    front.now = NOW + 3600
    assert front.receive(webhook)[0] == 401


@pytest.mark.parametrize(
    "header",
    ["x-shopify-topic", "x-shopify-shop-domain", "x-shopify-api-version", "x-shopify-webhook-id"],
)
def test_a_signed_order_without_its_headers_is_kept(header: str) -> None:
    """What is authentic may be a sale: it is stored, and deliver parks it for a person."""
    front = desk()
    webhook = order().signed()
    headers = {key: value for key, value in webhook.headers.items() if key != header}
    status, answer = front.receive(Webhook("shopify", headers, webhook.body))
    assert (status, answer["status"]) == (200, "queued")
    ((_text, attributes),) = front.stored
    assert attributes["event_type"] == "unknown"


def test_shopify_event_id_is_optional() -> None:
    """Without an event id the id of the delivery stands in."""
    front = desk()
    webhook = order().signed()
    headers = {key: value for key, value in webhook.headers.items() if key != "x-shopify-event-id"}
    status, answer = front.receive(Webhook("shopify", headers, webhook.body))
    assert (status, answer["event_id"]) == (200, webhook.headers["x-shopify-webhook-id"])


@pytest.mark.parametrize("body", [b"[]", b"{}", b"null", b'{"id":"","type":""}'])
def test_a_signed_body_without_identity_is_kept(body: bytes) -> None:
    """What does not say what it is gets the type `unknown`, which nobody can switch off."""
    front = desk()
    status, answer = front.receive(purchase().signed(body))
    assert (status, answer["status"]) == (200, "queued")
    assert [attributes["event_type"] for _, attributes in front.stored] == ["unknown"]


def test_a_signed_body_that_is_no_json_is_malformed() -> None:
    """Nothing could ever be read from it."""
    status, answer = desk().receive(purchase().signed(b"<xml/>"))
    assert (status, answer["error"]) == (400, "malformed")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("livemode",), None),
        (("livemode",), "yes"),
        (("created",), "yesterday"),
        (("created",), 10**30),
        (("object",), 7),
    ],
)
def test_odd_values_beside_the_identity_cost_nothing(place: tuple[str, ...], value: Any) -> None:
    """A time or a flag of another type does not keep a sale away."""
    front = desk()
    status, answer = front.receive(purchase().changed({place: value}).signed())
    assert (status, answer["status"]) == (200, "queued")


@pytest.mark.parametrize(
    "odd", [rb'"\ud83d"', rb'"\ude00 \ud83d"', b'"\xff\xfe"', '"\u00e9"'.encode("latin-1")]
)
def test_text_that_is_no_unicode_is_repaired(odd: bytes) -> None:
    """Half an emoji in a note is signed like the rest, and the sale is reported."""
    front = desk()
    body = purchase().raw()[:-1] + b',"note":' + odd + b"}"
    status, answer = front.receive(purchase().signed(body))
    assert (status, answer["status"]) == (200, "queued")
    ((text, attributes),) = front.stored
    assert attributes["event_type"] == "checkout.session.completed"
    opened = open_message(text, front.config)
    assert [each.event_name for each in plan_of(opened).planned] == ["purchase_completed"]


def test_a_byte_order_mark_is_no_error() -> None:
    """Some proxies put one before the body."""
    front = desk()
    status, _ = front.receive(purchase().signed(b"\xef\xbb\xbf" + purchase().raw()))
    assert status == 200


@pytest.mark.parametrize("body", ["not*base64", "a", "é", "\ud800"])
def test_undecodable_bodies_are_malformed(body: str) -> None:
    """A body that claims to be base64 and is not is a 400."""
    front = desk()
    event = samples.request(purchase().signed()) | {"body": body}
    assert front.respond(event)[0] == 400


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"pathParameters": None, "headers": None, "body": None},
        {"pathParameters": {"source": "stripe"}},
        {"pathParameters": {"source": "stripe"}, "headers": {}, "body": ""},
        {"pathParameters": {"source": "shopify"}, "headers": {"x-shopify-topic": ""}},
    ],
    ids=repr,
)
def test_empty_requests_are_rejected(event: dict[str, Any]) -> None:
    """A request with parts missing is answered 401 or 404, never 500."""
    front = desk()
    assert front.respond(event)[0] in (401, 404)
    assert len(front.reports) == 1


def test_too_large_is_said_so() -> None:
    """What does not fit the queue even compressed is a 413, never truncated."""
    front = desk()
    sample = purchase()
    sample.body["noise"] = os.urandom(MAX_BYTES).hex()
    status, answer = front.receive(sample.signed())
    assert (status, answer["error"], front.stored) == (413, "too_large", [])
    assert front.reports[0].reason == "too_large"


def test_large_but_compressible_is_queued() -> None:
    """A large body that compresses well goes through whole."""
    front = desk()
    sample = purchase()
    sample.body["noise"] = "a" * 5_000_000
    assert front.receive(sample.signed())[0] == 200
    ((text, _),) = front.stored
    assert len(text) <= MAX_BYTES
    assert unseal(text).webhook.body == sample.raw()


# ------------------------------------------------------------------------------- our own fault


def refuse() -> None:
    """The queue does not take the webhook."""
    raise NotStored("the queue did not take the webhook: ServiceUnavailable")


def test_what_is_not_stored_is_asked_for_again() -> None:
    """When the queue refuses, the provider is told to send it again."""
    front = desk()
    front.refuse = refuse
    status, answer = front.receive(purchase().signed())
    assert (status, answer["error"]) == (503, "not_stored")
    assert front.reports[0].outcome is Outcome.REJECTED
    assert "ServiceUnavailable" in front.reports[0].detail


def explode() -> None:
    """The queue fails in a way nobody thought of."""
    raise RuntimeError("jane.appleseed@example.com")


def test_our_bugs_are_a_500_without_a_story() -> None:
    """Whatever else goes wrong is a 500 that says nothing, and is reported once by its type only."""
    front = desk()
    front.refuse = explode
    status, answer = front.receive(purchase().signed())
    assert (status, answer) == (500, {"error": "internal", "message": "try again"})
    (report,) = front.reports
    assert (report.reason, report.detail) == ("internal", "RuntimeError")


SECRET_ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:WebhookSecrets-AbCdEf"


class NoSecrets:
    """Secrets Manager out of order."""

    def of(self, *_: object) -> tuple[str, ...]:
        raise Unavailable(f"cannot read secret {SECRET_ARN}", reason=Reason.SECRET)


def test_without_secrets_manager_the_provider_tries_again() -> None:
    """An outage of Secrets Manager is not a wrong signature: 503."""
    front = Desk(Config(TABLES), NoSecrets())
    assert front.receive(purchase().signed())[0] == 503


def test_strangers_are_not_told_what_our_resources_are_called() -> None:
    """Anybody gets a 503 without signing anything; which secret it was is for the log only."""
    front = Desk(Config(TABLES), NoSecrets())
    answer = front.receive(purchase().webhook())
    assert answer == (503, {"error": "not_stored", "message": "try again"})
    assert SECRET_ARN in front.reports[0].detail


def test_a_wrong_table_is_our_fault() -> None:
    """A source that is configured wrongly does not answer as if the webhook were wrong."""
    front = desk({"stripe": {"user": "x"}})
    status, answer = front.receive(purchase().signed())
    assert (status, answer["error"]) == (500, "internal")
    assert "unknown key `user`" in front.reports[0].detail


# ------------------------------------------------------------------------------- rotation


class Reads(Secrets):
    """Writes down how fresh the secrets were asked to be."""

    asked: list[float]

    def of(self, source: str, max_age: float = MAX_AGE) -> tuple[str, ...]:
        self.asked = [*getattr(self, "asked", []), max_age]
        return super().of(source, max_age)


def test_a_rotated_secret_is_accepted_at_once() -> None:
    """A signature that no known secret made has the secrets read again before it is refused."""
    secrets = Reads({"stripe": ("old",)}, {"stripe": ("new", "old")})
    front = Desk(Config(TABLES), secrets)
    assert front.receive(purchase().signed(secret="new"))[0] == 200
    assert secrets.asked == [MAX_AGE, MIN_AGE]
    assert front.receive(purchase().signed(secret="wrong"))[0] == 401


def test_the_first_secret_of_a_source_is_found_at_once() -> None:
    """A secret that was just added makes the source exist."""
    front = Desk(Config(TABLES), Secrets({}, {"stripe": ("new",)}))
    assert front.receive(purchase().signed(secret="new"))[0] == 200


def test_a_good_signature_reads_no_secret_twice() -> None:
    """The secrets at hand are enough for what they signed."""
    secrets = Reads({"stripe": KNOWN["stripe"]}, {"stripe": ("new",)})
    assert Desk(Config(TABLES), secrets).receive(purchase().signed())[0] == 200
    assert secrets.asked == [MAX_AGE]


# ------------------------------------------------------------------------------- answers and reports


def provocations() -> list[tuple[str, dict[str, Any]]]:
    """Requests of every answer there is, each with a text that must not come back."""
    marker = "marker-4711"
    good, ours = purchase(), order()
    good.body["data"]["object"]["metadata"]["note"] = marker
    typed = Sample(good.provider, good.headers, good.body | {"type": [marker]})
    long_id = Sample(good.provider, good.headers, good.body | {"id": marker * 100})
    wrong_topic = Sample(
        ours.provider, {**ours.headers, "x-shopify-topic": f"é{marker}"}, ours.body
    )
    return [
        ("queued", samples.request(good.signed())),
        ("rejected", samples.request(good.signed(secret="wrong"))),
        ("unknown", samples.request(good.signed(), marker)),
        ("malformed", samples.request(typed.signed())),
        ("long id", samples.request(long_id.signed())),
        ("wrong topic", samples.request(wrong_topic.signed())),
        ("not JSON", samples.request(good.signed(f'{{"id":"{marker}'.encode()))),
        ("not base64", samples.request(good.signed()) | {"body": f"*{marker}"}),
        ("header", samples.request(Webhook("stripe", {"stripe-signature": marker}, b"{}"))),
    ]


@pytest.mark.parametrize(
    "event", [event for _, event in provocations()], ids=[name for name, _ in provocations()]
)
def test_answers_and_reports_echo_nothing(event: dict[str, Any]) -> None:
    """Neither the answer nor the report quotes a body or a header, and there is one report each."""
    front = desk()
    _status, answer = front.respond(event)
    assert "marker-4711" not in json.dumps(answer)
    assert "marker-4711" not in repr(front.reports)
    assert len(front.reports) == 1


def test_errors_have_one_shape() -> None:
    """Every refusal is `{"error": code, "message": text}`."""
    for _name, event in provocations():
        status, answer = desk().respond(event)
        expected = {"status", "event_id"} if status == 200 else {"error", "message"}
        assert set(answer) == expected


# ------------------------------------------------------------------------------- handshakes


def test_an_unsigned_ping_is_answered_and_means_nothing() -> None:
    """WooCommerce greets with a form when a webhook is saved, and wants to see a 200."""
    front = desk({"woocommerce": {}}, woocommerce=("secret",))
    form = {"content-type": "application/x-www-form-urlencoded"}
    status, answer = front.receive(Webhook("woocommerce", form, b"webhook_id=4"))
    assert (status, answer) == (200, {"status": "ignored", "event_id": ""})
    assert front.stored == []
    assert [(each.outcome, each.reason) for each in front.reports] == [
        (Outcome.IGNORED, "handshake")
    ]


def test_a_ping_needs_a_secret_to_be_answered() -> None:
    """A source without a secret does not exist, for a greeting neither; a secret of just now is enough."""
    ping = Webhook("woocommerce", {}, b"webhook_id=4")
    front = Desk(Config({"woocommerce": {}}), Secrets({}))
    assert front.receive(ping)[0] == 404
    assert front.reports[0].reason == "no_secret"
    front.secrets = Secrets({}, {"woocommerce": ("secret",)})
    assert front.receive(ping)[0] == 200


def test_a_ping_is_answered_again_when_secrets_are() -> None:
    """While WebhookSecrets cannot be read nobody knows whether the source exists."""
    front = Desk(Config({"woocommerce": {}}), NoSecrets())
    assert front.receive(Webhook("woocommerce", {}, b"webhook_id=4"))[0] == 503


@pytest.mark.parametrize(
    "body", [b"webhook_id=4&x=1", b"webhook_id=", b"webhook_id=" + b"4" * 21, b"{}"]
)
def test_what_only_looks_like_a_ping_must_be_signed(body: bytes) -> None:
    """Nothing but the greeting itself passes without a signature."""
    front = desk({"woocommerce": {}}, woocommerce=("secret",))
    status, _ = front.receive(Webhook("woocommerce", {}, body))
    assert status == 401


def test_a_ping_is_no_ping_elsewhere() -> None:
    """Other providers sign everything."""
    status, _ = desk().receive(Webhook("stripe", {}, b"webhook_id=4"))
    assert status == 401
