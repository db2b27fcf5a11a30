"""The console's pages, over real HTTP: what came, why it ended as it did, and who may look."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
from tests.samples import NOW, Secrets, every_provider, live_secret, load, tables
from tests.stories import Pipeline

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.letters import Letter, foresee
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.receive import Receiver
from linkrunner_webhooks.translation import Decision
from linkrunner_webhooks_cli import stories
from linkrunner_webhooks_cli.pages import app
from linkrunner_webhooks_cli.pages.guard import refusal
from linkrunner_webhooks_cli.pages.listing import PAGE
from linkrunner_webhooks_cli.pages.sending import MOODS
from linkrunner_webhooks_cli.pages.site import Site
from linkrunner_webhooks_local import asgi
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.gateway import event, gateway
from linkrunner_webhooks_local.loopback import Request, listen, url_of
from linkrunner_webhooks_local.recorder import Recorder

STRANGE = "<script>alert('x')</script>&\"'"


@dataclass
class Stand:
    """One source, whose webhooks are received and delivered in memory, and the console beside it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    recorder: Recorder = field(default_factory=lambda: Recorder(clock=lambda: NOW))
    deployed: Any = None
    site: Site = field(init=False)
    linkrunner: EmbeddedLinkrunner = field(default_factory=EmbeddedLinkrunner)
    url: str = ""

    def __post_init__(self) -> None:
        provider = providers.load(self.name)
        self.config = Config(tables(provider, **self.options))
        self.secrets = {self.name: (live_secret(provider),)}
        self.stored: list[tuple[str, Mapping[str, str]]] = []
        self.site = Site(self.config, self.stack)
        self.pipeline = Pipeline(
            provider, self.config, observe=self.recorder.observe, watched=self.recorder.watched
        )
        secrets: Any = Secrets(self.secrets)
        self.receive = self.recorder.receiving(
            Receiver(
                config=self.config,
                secrets=secrets,
                store=lambda text, known: self.stored.append((text, known)),
                now=lambda: NOW,
                observe=self.recorder.observe,
            ).respond
        )

    def send(self, webhook: Webhook) -> int:
        """It comes as it would from the provider; returns its number."""
        request = Request(
            "POST", f"/webhooks/{webhook.source}", tuple(webhook.headers.items()), webhook.body
        )
        self.receive(event(request, webhook.source))
        return next(self.recorder.newest()).number

    def work(self) -> None:
        """What is in the queue is delivered."""
        messages, self.stored[:] = self.pipeline.queued(self.stored), []
        self.pipeline.work(messages)

    def sale(self, event_type: str = "checkout.session.completed") -> Webhook:
        return load(self.name, event_type).signed()

    # What the pages ask of a stack.

    def signing_secrets(self) -> Any:
        return Secrets(self.secrets)

    def ledger(self) -> Any:
        return self.pipeline.ledger

    def foresee(self, letter: Letter, config: Config) -> Decision:
        return foresee(letter, config, self.pipeline.ledger, now=NOW)

    def stack(self) -> Any:
        """A deployed one, where a test needs its queues."""
        return self.deployed or self

    @contextmanager
    def serving(self) -> Iterator[Stand]:
        """At `url`, as `make run` does."""
        listener = listen()
        answer = gateway(self.receive, lambda _: None)
        self.url = url_of(listener)
        pages = app.of_local(self.site, self.recorder, self.url, self.linkrunner)
        with asgi.serving(listener, asgi.app(answer, pages)):
            yield self

    def ask(self, path: str, method: str = "GET", **headers: str) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            return pool.request(method, self.url + path, headers=headers)

    def page(self, path: str) -> str:
        answer = self.ask(path)
        assert answer.status == 200, answer.data
        return answer.data.decode()


@pytest.fixture
def stripe() -> Iterator[Stand]:
    """A shop that sells through Stripe."""
    with Stand("stripe").serving() as stand:
        yield stand


# ------------------------------------------------------------------------- what came


def test_what_comes_is_in_the_list(stripe: Stand) -> None:
    """With its source, type and end; and the webhooks' own path still takes webhooks."""
    assert "Nothing" in stripe.page("/")
    webhook = stripe.sale()
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        headers = {**webhook.headers, "content-type": "application/json"}
        url = f"{stripe.url}/webhooks/stripe"
        assert pool.request("POST", url, body=webhook.body, headers=headers).status == 200
    assert "queued" in stripe.page("/")
    stripe.work()
    shown = stripe.page("/")
    assert "checkout.session.completed" in shown
    assert '<tr id="r1" class="captured">' in shown


def test_the_list_shows_what_is_asked_for(stripe: Stand) -> None:
    """By source, type, outcome, and any id in the body."""
    stripe.send(stripe.sale())
    stripe.send(stripe.sale("invoice.paid"))
    stripe.send(load("stripe", "charge.refunded").signed(secret="whsec_wrong"))
    stripe.work()
    invoice = json.loads(stripe.sale("invoice.paid").body)["data"]["object"]["id"]
    for query, numbers in {
        "": [3, 2, 1],
        "?source=stripe": [3, 2, 1],
        "?source=shopify": [],
        "?type=invoice": [2],
        "?outcome=rejected": [3],
        f"?text={invoice}": [2],
        "?before=3": [2, 1],
        "?before=²": [3, 2, 1],
    }.items():
        shown = stripe.page(f"/{query}")
        assert [each for each in (3, 2, 1) if f'id="r{each}"' in shown] == numbers, query


def test_a_long_list_is_read_page_by_page(stripe: Stand) -> None:
    """And what is older than what fits into memory is gone, with a word."""
    small = Recorder(most=PAGE + 5)
    stripe.recorder, receive = small, small.receiving(lambda _: {"statusCode": 200})
    for _ in range(PAGE + 10):
        receive({"pathParameters": {"source": "stripe"}, "body": "{}"})
    with Stand("stripe", recorder=small).serving() as stand:
        first = stand.page("/")
        assert first.count("<tr id=") == PAGE
        assert f"before={11}" in first
        assert stand.page("/?before=11").count("<tr id=") == 5
        assert stand.ask("/requests/1").status == 404


def test_the_list_is_live(stripe: Stand) -> None:
    """A new row comes by itself, and comes again when it has changed."""
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        news = pool.request(
            "GET", f"{stripe.url}/live?after={stripe.recorder.run}-0", preload_content=False
        )
        lines = (line for chunk in news.stream(1) for line in [chunk])
        stripe.send(stripe.sale())
        assert '"number": 1' in _until(lines, "queued")
        stripe.work()
        assert "captured" in _until(lines, "captured")
        news.close()


def _until(chunks: Iterator[bytes], word: str) -> str:
    told = b""
    for chunk in chunks:
        told += chunk
        if word.encode() in told and told.endswith(b"\n\n"):
            return told.decode()
    raise AssertionError(f"the stream ended before {word}")


# ------------------------------------------------------------------------- stories


@every_provider
def test_every_webhook_has_its_story(name: str) -> None:
    """From the secret that signed it to what Linkrunner was told, and nothing of a person in it."""
    with Stand(name).serving() as stand:
        for event_type in providers.load(name).types:
            stand.send(load(name, event_type).signed())
        stand.work()
        for arrival in stand.recorder.newest():
            shown = stand.page(f"/requests/{arrival.number}")
            assert "verified" in shown
            assert "not verified" not in shown
            assert "user_42" not in shown
        whole = stand.page("/requests/1?values=shown")
        assert stand.secrets[name][0] not in whole


def test_a_sale_is_told_from_the_request_to_linkrunner(stripe: Stand) -> None:
    """Which path named the user, where the amount stands, and the request that was made."""
    number = stripe.send(stripe.sale())
    stripe.work()
    shown = stripe.page(f"/requests/{number}")
    assert "data.object.amount_total" in shown
    assert "purchase_completed" in shown
    assert "capture-event" in shown
    assert "user id path" in shown or "User path" in shown
    again = stripe.send(stripe.sale())
    stripe.work()
    assert f'<a href="/requests/{number}">' in stripe.page(f"/requests/{again}")


def test_a_story_keeps_to_what_was_told(stripe: Stand) -> None:
    """What Linkrunner was told then, whatever webhooks.toml says now; and a duplicate was not told."""
    stripe.send(stripe.sale())
    stripe.send(stripe.sale())
    stripe.work()
    linkrunner = {"currency": "INR", "rates": {"as_of": datetime.now(UTC).date(), "USD": 90}}
    stripe.site.config = Config(tables(providers.load("stripe")) | {"linkrunner": linkrunner})
    first, second = (stripe.page(f"/requests/{number}") for number in (1, 2))
    assert "was told" in first
    assert "25.99" in first
    assert "2339.10" not in first
    assert "request: /capture-event" not in second
    assert "2339.10" in second or "2339.1" in second


def test_a_story_says_what_would_become_of_it_now(stripe: Stand) -> None:
    """As the dead letters do, and nothing of what has ended well."""
    nobody: Any = {
        ("data", "object", "client_reference_id"): None,
        ("data", "object", "customer"): None,
    }
    stripe.send(load("stripe", "checkout.session.completed").changed(nobody).signed())
    stripe.send(stripe.sale("invoice.paid"))
    stripe.work()
    parked = stripe.page("/requests/1")
    assert "If it were redriven now" in parked
    assert "/dead-letters/group?reason=missing_user" in parked
    assert "If it came now" not in stripe.page("/requests/2")


def test_what_is_for_nobody_is_told(stripe: Stand) -> None:
    """A table that is not there, a path that is none, a webhook of somebody else's."""
    stripe.send(Webhook("polar", {}, b"{}"))
    assert "linkrunner-webhooks add polar" in stripe.page("/requests/1")
    assert "linkrunner-webhooks add polar" in stripe.page("/")
    order = load("shopify", "orders/paid").signed()
    stripe.send(Webhook("stripe", order.headers, order.body))
    assert "send it to /webhooks/shopify" in stripe.page("/requests/2")
    request = Request("POST", "/webhook/stripe", (), b"{}")
    stripe.recorder.strayed(event(request, request.path), "404; did you mean that?")
    shown = stripe.page("/")
    assert "/webhook/stripe" in shown
    assert "did you mean that" in shown


TROUBLES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "a wrong secret": ("checkout.session.completed", {"secret": "whsec_wrong"}, {}, "did not sign"),
    "a stale clock": ("checkout.session.completed", {"now": NOW - 4000}, {}, "before it came"),
    "no user": (
        "checkout.session.completed",
        {},
        {"user_id": ["data.object.nowhere"]},
        "hand the id over",
    ),
    "a type that is off": (
        "checkout.session.completed",
        {},
        {"events": {"checkout.session.completed": False}},
        "set &#34;checkout.session.completed&#34; = true",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_story_says_why_and_what_to_do(trouble: str) -> None:
    """Whatever went wrong."""
    event_type, signed, options, words = TROUBLES[trouble]
    with Stand("stripe", options).serving() as stand:
        number = stand.send(load("stripe", event_type).signed(**signed))
        stand.work()
        assert words in stand.page(f"/requests/{number}")


def test_what_a_stranger_sends_is_text(stripe: Stand) -> None:
    """Never a part of the page."""
    sample = load("stripe", "checkout.session.completed").changed({("type",): STRANGE})
    stripe.send(sample.signed())
    stripe.send(Webhook(STRANGE, {STRANGE: STRANGE}, STRANGE.encode()))
    stripe.send(Webhook("stripe", {"stripe-signature": STRANGE}, b"\xff" + STRANGE.encode()))
    for path in ("/", "/requests/1?values=shown", "/requests/2?values=shown", "/requests/3"):
        shown = stripe.page(path)
        assert "<script>alert" not in shown, path


def test_what_is_odd_is_shown_all_the_same(stripe: Stand) -> None:
    """Numbers beyond all bounds, people in keys and in the user's id, addresses that are none."""
    sample = load("stripe", "checkout.session.completed")
    odd: dict[tuple[str | int, ...], Any] = {
        ("data", "object", "client_reference_id"): " 9e9999999 ",
        ("data", "object", "metadata"): {"ada@example.com": 1, "user_id": "Ada Lovelace"},
    }
    stripe.send(sample.changed(odd).signed())
    named: dict[tuple[str | int, ...], Any] = {
        ("data", "object", "client_reference_id"): "Ada Lovelace"
    }
    stripe.send(sample.changed(named).signed())
    for path in ("/requests/1", "/requests/2"):
        shown = stripe.page(path)
        assert "ada@example.com" not in shown
        assert "Ada Lovelace" not in shown
    assert "Ada Lovelace" in stripe.page("/requests/2?values=shown")
    for path in ("/requests/" + "9" * 5000, "/requests/x"):
        assert stripe.ask(path).status == 404


def test_a_list_of_another_run_is_read_anew(stripe: Stand) -> None:
    """Its numbers are other requests now."""
    assert "event: anew" in stripe.page("/live?after=0-7")


def test_what_was_accepted_stays_verified(stripe: Stand) -> None:
    """Whatever the secret is by now; and what nobody looked at is neither."""
    number = stripe.send(stripe.sale())
    stripe.secrets["stripe"] = ("whsec_of_today",)
    assert "it has others now" in stripe.page(f"/requests/{number}")
    stripe.send(Webhook("nobody", {}, b"{}"))
    assert "refused" not in stripe.page("/?source=nobody")


def test_values_are_masked_until_somebody_asks(stripe: Stand) -> None:
    """And signatures always."""
    webhook = stripe.sale()
    number = stripe.send(webhook)
    email = json.loads(webhook.body)["data"]["object"]["customer_details"]["email"]
    assert email not in stripe.page(f"/requests/{number}")
    whole = stripe.page(f"/requests/{number}?values=shown")
    assert email in whole
    assert webhook.headers["stripe-signature"] not in whole


# ------------------------------------------------------------------------- sending


def fill_in(stand: Stand, path: str, fields: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    """A form of the page, filled in as a browser does."""
    (token,) = set(re.findall(r'name="token" value="([^"]+)"', stand.page("/send")))
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        headers = {"Origin": stand.url, "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"token": token, **fields})
        return pool.request("POST", stand.url + path, body=body, headers=headers, redirect=False)


@every_provider
def test_a_sample_of_every_provider_can_be_sent(name: str) -> None:
    """And leads to its story."""
    with Stand(name, recorder=Recorder()).serving() as stand:
        event_type = next(iter(providers.load(name).types))
        shown = stand.page(f"/send?source={name}")
        assert f'value="type:{event_type}"' in shown
        answer = fill_in(stand, "/send", {"source": name, "what": f"type:{event_type}"})
        if name in ("apple", "paypal"):
            return
        assert (answer.status, answer.headers.get("location")) == (303, "/requests/1"), answer.data
        assert event_type in stand.page("/requests/1")


def test_a_sale_is_sent_as_it_was_filled_in() -> None:
    """With its user and amount, and twice: what is the same is the same."""
    with Stand("stripe", recorder=Recorder()).serving() as stand:
        sale = {**what("checkout.session.completed"), "user_id": "user_42"}
        money = {"amount": "12.50", "currency": "eur", "again": "yes"}
        assert fill_in(stand, "/send", {**sale, **money}).headers["location"] == "/"
        body = json.loads(next(stand.recorder.newest()).event["body"])["data"]["object"]
        assert (body["client_reference_id"], body["amount_total"]) == ("user_42", 1250)
        assert body["currency"] == "eur"
        assert len(list(stand.recorder.newest())) == 2
        fill_in(stand, "/send", {**sale, "unsigned": "yes"})
        assert "not verified" in stand.page("/requests/3")


def test_older_api_versions_and_whole_purchases_can_be_sent() -> None:
    """As the golden cases and stories of the provider tell them; and a story in any order, twice."""
    with Stand("stripe", recorder=Recorder()).serving() as stand:
        shown = stand.page("/send?source=stripe")
        assert re.search(r'value="case:invoice_paid_2020_cycle">invoice.paid, 2020-03-02', shown)
        old = {"source": "stripe", "what": "case:invoice_paid_2020_cycle", "amount": "7.50"}
        assert fill_in(stand, "/send", old).headers["location"] == "/requests/1"
        body = json.loads(next(stand.recorder.newest()).event["body"])
        assert (body["api_version"], body["data"]["object"]["amount_paid"]) == ("2020-03-02", 750)
        story = {"source": "stripe", "what": "story:1", "shuffled": "yes", "again": "yes"}
        assert fill_in(stand, "/send", story).headers["location"] == "/"
        told = stories.pick("stripe", "1")["cases"]
        assert len(list(stand.recorder.newest())) == 1 + 2 * len(told)


def what(event_type: str) -> dict[str, str]:
    """The fields that choose a sample of Stripe."""
    return {"source": "stripe", "what": f"type:{event_type}"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (what("nothing"), "there is no sample"),
        ({"source": "stripe", "what": "case:../../x"}, "there is no case"),
        ({"source": "stripe", "what": "story:99"}, "no story has"),
        ({"source": "stripe", "what": "story:1", "amount": "5"}, "has its own amounts"),
        ({"source": "nobody", "what": "type:invoice.paid"}, "no table [nobody]"),
        ({**what("invoice.paid"), "amount": "NaN"}, "25.99"),
        ({**what("invoice.paid"), "amount": "much"}, "25.99"),
        ({"token": "another"}, "fill it in again"),
        ({"what": "x" * 20_000}, "fill it in again"),
    ],
)
def test_what_cannot_be_sent_is_told(stripe: Stand, fields: dict[str, str], words: str) -> None:
    """On the page, with what was filled in."""
    answer = fill_in(stripe, "/send", fields)
    assert answer.status == 400
    assert words in answer.data.decode()
    assert list(stripe.recorder.newest()) == []


def test_linkrunner_can_be_broken_and_mended(stripe: Stand) -> None:
    """In each way that there is."""
    for mood in MOODS:
        assert fill_in(stripe, "/linkrunner", {"mood": mood}).status == 303
        assert f"now {MOODS[mood].title}" in stripe.page("/send")
        assert ("The embedded Linkrunner is made to be" in stripe.page("/")) is (mood != "well")
    assert fill_in(stripe, "/linkrunner", {"mood": "sad"}).status == 400


def test_nobody_else_sends_a_form(stripe: Stand) -> None:
    """A page of somebody else knows no token, and says where it comes from."""
    assert stripe.ask("/send", "POST", Origin="https://attacker.example").status == 403
    assert stripe.ask("/linkrunner", "POST", Origin=stripe.url).status == 400


# ------------------------------------------------------------------------- who may look


def test_only_a_browser_on_this_machine_may_look(stripe: Stand) -> None:
    """Not a page that resolves to it, and nothing through a tunnel."""
    assert stripe.ask("/", Host="attacker.example").status == 403
    assert stripe.ask("/", **{"X-Forwarded-For": "203.0.113.9"}).status == 403
    assert stripe.ask("/live", Origin="https://attacker.example").status == 403
    assert stripe.ask("/static/console.js", Host="attacker.example").status == 403
    answer = stripe.ask("/", Host="localhost:8000")
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "headers", "is_answered"),
    [
        ("GET", {"host": "127.0.0.1:8000"}, True),
        ("GET", {"host": "[::1]:8000"}, True),
        ("GET", {"host": "127.0.0.1.attacker.example"}, False),
        ("GET", {"host": "[::1"}, False),
        ("GET", {"host": "LocalHost"}, True),
        ("GET", {"host": "evil@127.0.0.1"}, False),
        ("GET", {"host": "127.0.0.1/evil"}, False),
        ("GET", {"host": "127.0.0.1?evil"}, False),
        ("GET", {"host": "127.0.0.1#evil"}, False),
        ("GET", {"host": "127.0.0.1\\evil"}, False),
        ("GET", {"host": "localhost:8000:80"}, False),
        ("GET", {"host": "localhost:99999"}, False),
        ("GET", {"host": "localhost:"}, False),
        ("GET", {"host": " localhost"}, False),
        ("GET", {}, False),
        ("GET", {"host": "localhost:8000", "origin": "http://localhost:9000"}, False),
        ("POST", {"host": "localhost", "origin": "http://localhost"}, True),
        ("POST", {"host": "localhost", "sec-fetch-site": "same-origin"}, True),
        ("POST", {"host": "localhost", "sec-fetch-site": "cross-site"}, False),
        ("POST", {"host": "localhost", "origin": "null"}, False),
        ("POST", {"host": "localhost"}, False),
        ("GET", {"host": "localhost", "origin": "http://[x"}, False),
        ("GET", {"host": "localhost", "x-real-ip": "203.0.113.9"}, False),
        ("GET", {"host": "localhost", "sec-fetch-site": "none"}, True),
        ("GET", {"host": "localhost", "sec-fetch-site": "cross-site"}, False),
        (
            "GET",
            {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-dest": "document"},
            True,
        ),
    ],
)
def test_who_is_refused(method: str, headers: dict[str, str], is_answered: bool) -> None:
    """By what a browser says of who asks."""
    assert (refusal(method, headers) == "") == is_answered
