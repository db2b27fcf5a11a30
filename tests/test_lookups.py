"""Webhooks that only hint at what happened: what is asked for, of whom, and what each answer means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.simulation.clock import NOW

from linkrunner_webhooks.completing import Completing, completed
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.errors import (
    LookupRefused,
    Reason,
    Unavailable,
    Untranslatable,
)
from linkrunner_webhooks.lookups import (
    MEMBER,
    MOST,
    Answers,
    Exchange,
    Lookup,
    Perhaps,
    Token,
    in_turn,
    path,
)
from linkrunner_webhooks.model import Identity, Webhook
from linkrunner_webhooks.reading import Payload
from linkrunner_webhooks.secrets import MIN_AGE, ProviderKeys, Secret
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of

KEY = "key_0001"


def order_of(payload: Any, answers: Answers) -> str | None:
    """An order, and then its customer."""
    if not answers:
        return f"/orders/{payload['order']}"
    return f"/customers/{answers[0]['customer']}" if len(answers) == 1 else None


LOOKUP = Lookup(
    next=order_of,
    base=lambda options: options.base,
    access=Token(others={"acme-version": "7"}),
    per_second=1000,
    needs="read orders",
)
HINT = Webhook("acme", {}, b'{"order": 5}')
ANSWERS = {"/orders/5": {"customer": "c1", "total": "9.90"}, "/customers/c1": {"name": "x"}}


def identify(webhook: Webhook) -> Identity:
    """Only the answer says that it is a test."""
    answers = webhook.payload.get(MEMBER) if isinstance(webhook.payload, dict) else None
    test = any(each and each.get("test") for each in answers or ())
    return Identity("evt_1", "order.paid", test=test)


def opened(
    webhook: Webhook = HINT, base: str = "", lookup: Lookup = LOOKUP, event_type: str = "order.paid"
) -> Opened:
    """A hint of a source named acme."""
    types = {"order.paid": None}
    provider = SimpleNamespace(
        name="acme", title="Acme", lookup=lookup, identify=identify, types=types
    )
    source: Any = SimpleNamespace(
        name="acme", provider=provider, options=SimpleNamespace(base=base), test_events=False
    )
    return Opened(webhook, source, Identity("evt_1", event_type))


class Vendor:
    """A vendor's API that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.scripted: list[Response] = []
        self.asked: list[Request] = []
        self.url = ""

    def answer(self, request: Request) -> Response:
        self.asked.append(request)
        if self.scripted:
            return self.scripted.pop(0)
        found = ANSWERS.get(request.target)
        return Response.of(200, found) if found else Response.of(404, {"message": "no such thing"})


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    """At `url`."""
    found, listener = Vendor(), listen()
    found.url = url_of(listener)
    with serving(listener, found.answer):
        yield found


class Keys:
    """ProviderKeys in a Secrets Manager that counts how often it is read."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.reads = 0

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803
        self.reads += 1
        assert SecretId == "arn"
        return {"SecretString": self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]}


def completing(vendor: Vendor | None = None, *texts: str, **more: Any) -> Completing:
    """By default with the right key, and a clock that stands still."""
    keys = Keys(*(texts or (json.dumps({"acme": KEY}),)))
    clock = more.pop("clock", lambda: 1000.0)
    secret = ProviderKeys(Secret(keys, "arn", clock=clock))
    return Completing(secret, clock=clock, now=lambda: NOW, sleep=lambda _: None, **more)


@contextmanager
def unavailable(words: str) -> Iterator[None]:
    """It is tried again, for the provider's sake."""
    with pytest.raises(Unavailable, match=words) as raised:
        yield
    assert raised.value.reason is Reason.PROVIDER


# ------------------------------------------------------------------------- pure


def test_a_hint_is_completed_request_by_request() -> None:
    """Each answer says what is asked for next; parted again it is what it was."""
    whole = LOOKUP.completed(HINT, ANSWERS.__getitem__)
    assert whole.payload == {"order": 5, MEMBER: list(ANSWERS.values())}
    assert LOOKUP.wanted(whole) is None
    hint, answers = LOOKUP.parted(whole)
    assert (hint.payload, answers) == (HINT.payload, ANSWERS)


def test_nobody_else_says_what_was_answered() -> None:
    """Answers that came with the webhook are asked for all the same."""
    forged = Webhook("acme", {}, json.dumps({"order": 5, MEMBER: [{"total": "0.01"}]}).encode())
    assert LOOKUP.completed(forged, ANSWERS.__getitem__).payload[MEMBER][0]["total"] == "9.90"


@pytest.mark.parametrize("forged", [5, None, "x", {"a": 1}, [[]], [5] * MOST])
def test_no_answer_of_theirs_is_read(forged: Any) -> None:
    """Whatever stands there."""
    webhook = Webhook("acme", {}, json.dumps({"order": 5, MEMBER: forged}).encode())
    whole = LOOKUP.completed(webhook, ANSWERS.__getitem__)
    assert whole.payload == {"order": 5, MEMBER: list(ANSWERS.values())}


def test_paths_are_asked_in_turn() -> None:
    """A generator goes on where the last answer came."""

    def paths(payload: Any) -> Iterator[str]:
        yield f"/orders/{payload['order']}"
        yield f"/customers/{payload[MEMBER][0]['customer']}"

    lookup = replace(LOOKUP, next=in_turn(paths))
    assert lookup.completed(HINT, ANSWERS.__getitem__).payload[MEMBER] == list(ANSWERS.values())


def test_an_id_is_a_part_of_a_path() -> None:
    """And asks for nothing else."""
    assert path("/orders/{}/lines/{}", "5", "a_B-1") == "/orders/5/lines/a_B-1"
    assert path("/orders/{}", "a/b?c=é") == "/orders/a%2Fb%3Fc%3D%C3%A9"
    for id in (None, "", ".", ".."):
        with pytest.raises(Untranslatable, match="usable id"):
            path("/orders/{}", id)


def test_what_cannot_be_asked_for_is_a_hint_without_answers() -> None:
    """A sample that somebody changed."""
    changed = Webhook("acme", {}, json.dumps({MEMBER: [5]}).encode())
    hint, answers = LOOKUP.parted(changed)
    assert (hint.payload, answers) == ({}, {})


@pytest.mark.parametrize("body", [b"[]", b"5", b"{}", b'{"order": 5, "x": ', b"\xff"])
def test_a_body_of_another_shape_is_parked(body: bytes) -> None:
    """It would have that shape at every try."""
    with pytest.raises(Untranslatable):
        completing()(opened(Webhook("acme", {}, body)))


def test_what_never_ends_is_ended() -> None:
    """Whatever is answered."""
    endless = Lookup(
        next=lambda _, answers: f"/{len(answers)}", base=str, access=Token(), per_second=1, needs=""
    )
    assert len(endless.completed(HINT, lambda path: path).payload[MEMBER]) == MOST


def test_what_came_with_it_may_be_no_list() -> None:
    """Whoever wrote it, it is no answer."""
    for forged in (b'{"order": 5, "lookup": "x"}', b'{"order": 5, "lookup": null}'):
        whole = LOOKUP.completed(Webhook("acme", {}, forged), ANSWERS.__getitem__)
        assert whole.payload[MEMBER] == list(ANSWERS.values())


class Order(Payload):
    """A body as a mapper reads it."""

    order: int


def test_what_cannot_be_read_is_told_as_a_mapper_tells_it() -> None:
    """A model's complaint is told as a mapper's is, and where it is delivered it parks the webhook."""
    reading = replace(LOOKUP, next=lambda payload, _: f"/{Order.model_validate(payload).order}")
    odd = Webhook("acme", {}, b'{"order": "Jane"}')
    with pytest.raises(Untranslatable, match=r"order: int_parsing") as raised:
        reading.wanted(odd)
    assert "Jane" not in str(raised.value)
    with pytest.raises(Untranslatable, match=r"order: int_parsing"):
        completed(opened(odd, lookup=reading), ANSWERS.__getitem__)


def test_nothing_is_asked_about_another_account() -> None:
    """Several accounts may send to one place, and the key is of one of them."""
    another = replace(LOOKUP, meant=lambda payload, _: payload["order"] != 5)
    assert completed(opened(lookup=another), ANSWERS.__getitem__).webhook is HINT


def test_an_answer_may_say_that_it_is_a_test() -> None:
    """Where tests are dropped nothing more is asked, and elsewhere all is."""
    answers = {"/orders/5": {"customer": "c1", "test": True}, "/customers/c1": {}}
    found = completed(opened(), answers.__getitem__)
    assert found.identity.test
    assert len(found.webhook.payload[MEMBER]) == 1
    wanted = opened()
    wanted.source.test_events = True  # type: ignore[misc]
    found = completed(wanted, answers.__getitem__)
    assert found.identity.test
    assert len(found.webhook.payload[MEMBER]) == 2


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("key_1", True), (" key_1\n", True), ("", False), ("a b", False), ("é", False)],
)
def test_a_token_is_one_word(text: str, is_one: bool) -> None:
    """A key with something else in it can be no header."""
    assert (Token().complaint(text) is None) == is_one


@pytest.mark.parametrize("text", ["[]", "{", "5", '"x"'])
def test_keys_are_a_table(text: str) -> None:
    """Anything else is named, and nothing of it quoted."""
    with pytest.raises(Unavailable, match="ProviderKeys is not JSON"):
        ProviderKeys(Secret(Keys(text), "arn")).of("acme")


def test_a_service_account_is_put_there_as_it_is() -> None:
    """As JSON in JSON, or as its text."""
    table = json.dumps({"a": {"type": "service_account"}, "b": '{"type": "service_account"}'})
    keys = ProviderKeys(Secret(Keys(table), "arn"))
    assert json.loads(keys.of("a")) == json.loads(keys.of("b")) == {"type": "service_account"}


# ------------------------------------------------------------------------- over HTTP


def test_what_a_hint_lacks_is_asked_for(vendor: Vendor) -> None:
    """With the operator's key, at the host that the options mean."""
    found = completing()(opened(base=vendor.url))
    assert found.webhook.payload[MEMBER] == list(ANSWERS.values())
    for request in vendor.asked:
        assert request.header("authorization") == f"Bearer {KEY}"
        assert request.header("acme-version") == "7"


def test_elsewhere_stands_in_for_every_host(vendor: Vendor) -> None:
    """The local stack asks its own imitation."""
    vendor.scripted = [Response.of(200, {"customer": "c"}), Response.of(200, {})]
    completing(elsewhere=vendor.url)(opened(base="https://api.example.com"))
    assert vendor.asked[0].target == "/acme/orders/5"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "does not let the key see it .403: Not you."),
        (404, "knows nothing of it"),
        (410, "has it no longer"),
        (400, "does not understand"),
    ],
)
def test_a_refusal_is_parked_with_the_vendors_words(
    vendor: Vendor, status: int, words: str
) -> None:
    """What nobody can change by waiting. Nothing of a person is quoted."""
    vendor.scripted = [Response.of(status, {"message": "Not you, ada@example.com"})]
    with pytest.raises(LookupRefused, match=words) as raised:
        completing()(opened(base=vendor.url))
    assert "ada@example.com" not in str(raised.value)


def test_nothing_is_an_answer(vendor: Vendor) -> None:
    """Some APIs have no content where others have an empty list."""
    vendor.scripted = [Response.of(200, {"customer": "c1"}), Response(204, b"", {})]
    whole = completing()(opened(base=vendor.url))
    assert whole.webhook.payload[MEMBER] == [{"customer": "c1"}, None]


def test_a_key_that_was_just_changed_is_read_again(vendor: Vendor) -> None:
    """Once; then it is refused."""
    now = [1000.0]
    texts = [json.dumps({"acme": each}) for each in ("old", KEY)]
    complete = completing(None, *texts, clock=lambda: now[0])
    vendor.scripted = [Response.of(200, {"customer": "c1"}), Response.of(200, {})]
    complete(opened(base=vendor.url))
    now[0] += MIN_AGE + 1
    vendor.scripted = [
        Response.of(401, {}),
        Response.of(200, {"customer": "c1"}),
        Response.of(200, {}),
    ]
    complete(opened(base=vendor.url))
    assert vendor.asked[2].header("authorization") == "Bearer old"
    assert vendor.asked[3].header("authorization") == f"Bearer {KEY}"
    vendor.scripted = [Response.of(401, {"message": "revoked"})] * 2
    with pytest.raises(LookupRefused, match=r"does not know the key \(401: revoked\)"):
        complete(opened(base=vendor.url))


@pytest.mark.parametrize("status", [404, 410])
def test_what_may_be_gone_is_null(vendor: Vendor, status: int) -> None:
    """Where the lookup says so; everything else that is not there parks the webhook."""
    perhaps = replace(
        LOOKUP,
        next=lambda payload, answers: (
            Perhaps("/customers/gone") if not answers else order_of(payload, answers[1:])
        ),
    )
    vendor.scripted = [Response.of(status, {})]
    found = completing()(opened(base=vendor.url, lookup=perhaps))
    assert found.webhook.payload[MEMBER] == [None, *ANSWERS.values()]
    assert perhaps.parted(found.webhook)[1] == {"/customers/gone": None, **ANSWERS}
    vendor.scripted = [Response.of(403, {})]
    with pytest.raises(LookupRefused):
        completing()(opened(base=vendor.url, lookup=perhaps))


@dataclass
class Exchanged:
    """A token that is got for the key, and kept."""

    url: str
    kept: dict[str, str] = field(default_factory=dict)

    def headers(self, credentials: str, exchange: Exchange, now: float) -> dict[str, str]:
        del now
        if credentials not in self.kept:
            self.kept[credentials] = exchange(self.url, {"key": credentials})["access_token"]
        return {"authorization": f"Bearer {self.kept[credentials]}"}

    def forget(self, credentials: str) -> None:
        self.kept.pop(credentials, None)

    def complaint(self, credentials: str) -> str | None:
        raise AssertionError(f"nobody stores it here: {credentials}")

    def example(self, seed: str) -> str:
        return seed


def test_a_token_that_was_withdrawn_is_got_anew(vendor: Vendor) -> None:
    """Once, with the same key; and what is answered then counts."""
    lookup = replace(LOOKUP, access=Exchanged(f"{vendor.url}/token"))
    complete = completing()
    first, second = ({"access_token": f"t{number}"} for number in (1, 2))
    vendor.scripted = [
        Response.of(200, first),
        Response.of(401, {}),
        Response.of(200, second),
        Response.of(200, {"customer": "c1"}),
        Response.of(200, {}),
    ]
    assert complete(opened(base=vendor.url, lookup=lookup)).webhook.payload[MEMBER]
    asked = [request.header("authorization") for request in vendor.asked]
    assert asked == [None, "Bearer t1", None, "Bearer t2", "Bearer t2"]
    assert vendor.asked[0].body == b"key=key_0001"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Response.of(400, {"error": "invalid_grant"}), "none that Acme takes"),
        (Response.of(500, {}), "Acme did not answer"),
        (Response(200, b"<html>", {}), "Acme did not answer"),
    ],
)
def test_a_token_that_cannot_be_got_is_tried_again(
    vendor: Vendor, answer: Response, words: str
) -> None:
    """And nobody else of the source asks meanwhile."""
    lookup = replace(LOOKUP, access=Exchanged(f"{vendor.url}/token"))
    complete = completing()
    vendor.scripted = [answer]
    for _ in range(2):
        with unavailable(words):
            complete(opened(base=vendor.url, lookup=lookup))
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503, 302])
def test_what_passes_with_time_is_tried_again(vendor: Vendor, status: int) -> None:
    """And nobody else of the source asks meanwhile; after what the vendor asked for it goes on."""
    now = [1000.0]
    complete = completing(clock=lambda: now[0])
    vendor.scripted = [Response(status, b"{}", {"Retry-After": "30"})]
    with unavailable(f"Acme answered {status}"):
        complete(opened(base=vendor.url))
    with unavailable(f"Acme answered {status}"):
        complete(opened(base=vendor.url))
    assert len(vendor.asked) == 1
    now[0] += 31
    assert complete(opened(base=vendor.url)).webhook.payload[MEMBER]


def test_no_answer_and_no_json_are_tried_again(vendor: Vendor) -> None:
    """Somebody else may answer there in a minute."""
    with unavailable("Acme did not answer"):
        completing()(opened(base="http://127.0.0.1:9"))
    vendor.scripted = [Response(200, b"<html>", {})]
    with unavailable("Acme answered no JSON"):
        completing()(opened(base=vendor.url))


def test_without_a_key_it_waits_for_one(vendor: Vendor) -> None:
    """And says how it is given one."""
    for text, words in (
        ("{}", "secrets provider-key acme"),
        (json.dumps({"acme": "a b"}), "none that Acme takes"),
    ):
        with unavailable(words):
            completing(None, text)(opened(base=vendor.url))
    with unavailable("deploy with ProviderKeys=on"):
        Completing(None)(opened(base=vendor.url))
    assert vendor.asked == []


def test_a_webhook_of_no_hints_is_left_alone() -> None:
    """Nobody is asked, with or without keys."""
    found = opened()
    found.source.provider.lookup = None  # type: ignore[misc]
    assert Completing(None)(found) is found


def test_what_no_mapper_understands_is_left_alone() -> None:
    """It is parked as it came."""
    found = opened(event_type="order.lost")
    assert Completing(None)(found) is found
