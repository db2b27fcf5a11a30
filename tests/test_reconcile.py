"""`reconcile`: of a random week webhooks are lost on the way in; exactly those are found and filled in."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result
from tests import imitations
from tests.amounts import moved
from tests.embedded import empty, published
from tests.imitations.shopify import Shopify
from tests.imitations.vendor import Vendor
from tests.samples import accepts, live_secret, scheme_of
from tests.stories import Pipeline
from tests.test_clients import every_list

from linkrunner_webhooks import config, dead_letters, providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Kind, Webhook
from linkrunner_webhooks.once import KEPT
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.queues import untyped
from linkrunner_webhooks.translation import plan_of
from linkrunner_webhooks_cli import clients, reconcile, samples
from linkrunner_webhooks_cli.clients import api
from linkrunner_webhooks_cli.clients.client import Lists
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.records import Records, Snapshot, days_since
from linkrunner_webhooks_cli.stacks import find
from linkrunner_webhooks_cli.stories import read
from linkrunner_webhooks_cli.stories import told as told_in
from linkrunner_webhooks_local import state
from linkrunner_webhooks_local.cloudformation import EmbeddedStack

NOW = datetime.now(UTC).replace(microsecond=0)
WEEK = timedelta(days=7)
SEEDS = int(os.environ.get("WEEKS", "1"))

# What an event is, whichever webhook told it: which way money moved and how much, or else its name. The names
# of payments and of users can depend on what came before.
Told = tuple[str, str]


@dataclass
class Shop:
    """A shop at an imitated vendor, and the stack that its webhooks reach, both in memory."""

    vendor: Vendor
    pipeline: Pipeline
    queue: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    name: str = "shop"
    outputs: dict[str, str] = field(default_factory=dict)
    linkrunner_url: str = "http://127.0.0.1:9"
    kept: int = KEPT

    @classmethod
    def of(cls, vendor: Vendor, **options: Any) -> Shop:
        provider = providers.load(vendor.name)
        ladder = [*provider.user_id, *provider.customer_ids]
        table = {"user_id": ladder, **provider.options.example(), **options}
        configured = Config({vendor.name: table})
        return cls(vendor, Pipeline(provider, configured, NOW.timestamp()))

    # What `reconcile` asks of a stack.

    def ledger(self) -> Any:
        return SimpleNamespace(facts=SimpleNamespace(kept=self.kept))

    def snapshot(self) -> Snapshot:
        return Snapshot(self.pipeline.table, "ledger")

    def signing_secrets(self) -> Any:
        return SimpleNamespace(of=lambda _: (live_secret(self.pipeline.provider),))

    def webhook_queue(self) -> Any:
        return SimpleNamespace(store=lambda text, known: self.queue.append((text, known)))

    def dead_letters(self) -> Any:
        @contextmanager
        def reading() -> Iterator[Sequence[Letter]]:
            yield self.pipeline.letters

        return SimpleNamespace(reading=reading)

    def parked(self) -> int:
        return len(self.pipeline.letters)

    def backlog(self) -> int:
        return len(self.queue)

    # What happens in a test.

    def receive(self, webhooks: Sequence[Webhook]) -> None:
        """They arrive, and are delivered."""
        provider = self.pipeline.provider
        scheme, secret = scheme_of(provider), live_secret(provider)
        signed = [
            each
            if accepts(scheme, each, secret, now=self.pipeline.now)
            else scheme.sign(each, secret, self.pipeline.now)
            for each in webhooks
        ]
        self.pipeline.work(self.pipeline.received(signed))

    def work(self) -> None:
        """What was filled in is delivered."""
        messages, self.queue[:] = self.pipeline.queued(self.queue), []
        self.pipeline.work(messages)

    @property
    def told(self) -> Counter[Told]:
        return Counter(_told(each) for each in self.pipeline.captured)


def _told(event: LinkrunnerEvent) -> Told:
    data = event.event_data
    return _fact(event.event_name, moved(data), data.get("currency"))


def _fact(name: str, amount: Any, currency: str | None) -> Told:
    kind = Kind(name)
    # A start can be free.
    moves = kind.flow is not None and amount is not None
    return (
        kind.flow or kind.value,
        f"{Decimal(str(amount)).normalize():f} {currency}" if moves else "",
    )


@contextmanager
def opened(vendor: Vendor, shop: Shop) -> Iterator[None]:
    """The command finds this shop, and is let in at this vendor."""
    with pytest.MonkeyPatch.context() as patch, vendor.serving() as environment:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        patch.setattr(reconcile, "find", lambda _: shop)
        patch.setattr(reconcile, "config_of", lambda *_: shop.pipeline.config)
        patch.setattr(api, "Pace", partial(at_once, Pace))
        yield


def at_once(pace: Any, per_second: float, **_: Any) -> Pace:
    """A pace that nobody has to wait for."""
    del per_second
    return pace(1e6)  # type: ignore[no-any-return]


def run(*arguments: str, text: str | None = None) -> Result:
    """The command, as a person types it."""
    return CliRunner().invoke(main, ["reconcile", *arguments], input=text)


def found(name: str, *arguments: str) -> dict[str, Any]:
    """What the command says to programs."""
    result = run(name, "--json", *arguments)
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def _missing(answer: dict[str, Any]) -> Counter[Told]:
    """What the command would bring."""
    events = [event for each in answer["missing"] for event in each["events"]]
    return Counter(
        _fact(each["event_name"], each.get("amount"), each.get("currency")) for each in events
    )


def _money(told: Counter[Told]) -> Counter[Told]:
    return Counter({each: count for each, count in told.items() if each[1]})


# ------------------------------------------------------------------------- a random week


def week(vendor: Vendor, source: Any, random: Random, count: int) -> list[tuple[Webhook, bool]]:
    """Webhooks of random stories of a week, in order, each with whether the vendor's lists have it."""
    told = read(vendor.name)
    moments = []
    for _ in range(count):
        story = random.choice(told)
        entries = [told_in(vendor.name, each) for each in story["cases"]]
        begins = NOW - WEEK + timedelta(minutes=random.randrange(60, 60 * 24 * 7 - 300))
        for number, each in enumerate(samples.all_with_fresh_ids(entries, source)):
            moments.append((begins + timedelta(minutes=number, seconds=random.randrange(50)), each))
    happened = []
    for at, sample in sorted(moments, key=lambda each: each[0]):
        webhook = sample.webhook(source)
        kind = source.provider.identify(source.provider.unpack(webhook)[0]).event_type
        try:
            assert kind in vendor.types
            happened.append((vendor.happen(webhook, at), True))
        except (AssertionError, LookupError):
            happened.append((webhook, False))
    return happened


@every_list
@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_was_lost_is_found_and_filled_in(name: str, seed: int) -> None:
    """Exactly that: its money arrives once, and a second run finds nothing."""
    kind, random = clients.client_of(name), Random(f"{name}{seed}")
    assert kind is not None
    assert issubclass(kind, Lists)
    vendor = imitations.imitation_of(name)(now=lambda: NOW)
    vendor.prepare()
    shop, whole = Shop.of(vendor), Shop.of(vendor)
    (source,) = shop.pipeline.config.sources()
    happened = week(vendor, source, random, 40)
    arrived = [each for each, listed in happened if not listed or random.random() > 0.1]
    whole.receive([each for each, _ in happened])
    shop.receive(arrived)
    known = shop.told
    assert whole.told - known, "the seed loses nothing"
    with opened(vendor, shop):
        before = found(name)
        assert shop.queue == []
        filled = found(name, "--fill", "--yes")
        assert filled["filled"] == len(before["missing"])
        shop.work()
        assert shop.told - known == _missing(before)
        # A refund whose payment was lost has arrived, and is parked.
        shop.pipeline.redrive()
        if kind.by_change:
            # An order tells what it is now: that it was cancelled before it was refunded is lost for good.
            assert not shop.told - whole.told
            assert _money(shop.told) == _money(whole.told)
        else:
            assert shop.told == whole.told
        after = found(name, "--fill", "--yes")
        assert (after["missing"], after["left"], after["filled"]) == ([], [], 0)
        assert after["listed"] == before["listed"]
    assert not shop.pipeline.letters


# ------------------------------------------------------------------------- what people meet


def _stripe() -> tuple[Vendor, Shop]:
    vendor = imitations.imitation_of("stripe")(now=lambda: datetime.now(UTC))
    return vendor, Shop.of(vendor)


def _sale(
    vendor: Vendor, shop: Shop, ago: timedelta, event_type: str = "", **values: Any
) -> Webhook:
    """A sale of one's own, so long ago; `values` are set in its object."""
    (source,) = shop.pipeline.config.sources()
    sample = samples.load(source, event_type or "checkout.session.completed")
    fresh = samples.with_fresh_ids(sample, source)
    for name, value in values.items():
        fresh = samples.with_value(fresh, samples.Setting(f"data.object.{name}", value))
    return vendor.happen(fresh.webhook(source), datetime.now(UTC) - ago)


def test_nothing_is_changed_unless_it_is_asked_for() -> None:
    """Without --fill nothing is sent; with it a person is asked, and told where it goes and how old it is."""
    vendor, shop = _stripe()
    _sale(vendor, shop, timedelta(days=3))
    with opened(vendor, shop):
        looked = run("stripe")
        assert "purchase_completed 25.99 USD" in looked.stdout
        assert "1 listed = 1 missing" in looked.stdout
        assert "--fill" in looked.stderr
        declined = run("stripe", "--fill", text="n\n")
        assert declined.exit_code == 1
        assert "1 webhook" in declined.output
        assert "http://127.0.0.1:9" in declined.output
        assert "over a day ago" in declined.stderr
        assert shop.queue == []
        assert run("stripe", "--fill", text="y\n").exit_code == 0
        assert len(shop.queue) == 1


def test_an_interrupted_fill_is_run_again() -> None:
    """It says how far it came; what is in the queue twice counts once."""
    vendor, shop = _stripe()
    for hours in range(6):
        _sale(vendor, shop, timedelta(hours=hours + 1))
    with opened(vendor, shop), pytest.MonkeyPatch.context() as patch:

        def store(text: str, known: dict[str, str]) -> None:
            if len(shop.queue) == 4:
                raise KeyboardInterrupt
            shop.queue.append((text, known))

        patch.setattr(shop, "webhook_queue", lambda: SimpleNamespace(store=store))
        stopped = run("stripe", "--fill", "--yes")
        assert stopped.exit_code == 1
        assert "4 of 6" in stopped.stderr
        patch.undo()
        with opened(vendor, shop):
            assert found("stripe", "--fill", "--yes")["filled"] == 6
            shop.work()
            assert sum(shop.told.values()) == 6
            assert found("stripe")["arrived"] == 6


def test_the_edge_of_what_a_vendor_lists_is_told() -> None:
    """What is older is not claimed to have arrived, and an empty list proves nothing."""
    vendor, shop = _stripe()
    _sale(vendor, shop, timedelta(days=45))
    with opened(vendor, shop):
        result = run("stripe", "--since", "60d")
        assert "Stripe lists 30 days, and you asked for 60" in result.stderr
        assert "no proof" in result.stderr
        old = run("stripe", "--since", "60d", "--until", "40d")
        assert old.exit_code == 1
        assert "earliest" in old.output
        assert run("stripe", "--since", "1d", "--until", "2d").exit_code == 2


def test_what_the_ledger_has_forgotten_is_not_asked_for() -> None:
    """A shop remembers everything; a stack that does not would count it once more."""
    vendor = imitations.imitation_of("woocommerce")(now=lambda: NOW)
    shop = Shop.of(vendor)
    with opened(vendor, shop):
        assert "remembers 400 days" in run("woocommerce", "--since", "500d").stderr


def test_what_would_park_is_left() -> None:
    """With the reason: in the queue it would only become a dead letter."""
    vendor, shop = _stripe()
    _sale(vendor, shop, timedelta(hours=1), client_reference_id=None, metadata={}, customer=None)
    _sale(vendor, shop, timedelta(hours=2))
    with opened(vendor, shop):
        answer = found("stripe", "--fill", "--yes")
        assert [each["reason"] for each in answer["left"]] == ["missing_user"]
        assert answer["filled"] == 1


def test_what_is_held_or_in_delivery_is_not_missing() -> None:
    """It has arrived: sending it again would bring nothing."""
    vendor, shop = _stripe()
    sale = _sale(vendor, shop, timedelta(hours=1))
    (source,) = shop.pipeline.config.sources()
    (planned,) = plan_of(Opened(sale, source, source.provider.identify(sale))).planned
    claims = Ledger(shop.pipeline.table, "ledger").facts
    claim = claims.claim(planned.keys, "worker")
    with opened(vendor, shop):
        assert (found("stripe")["waiting"], found("stripe")["missing"]) == (1, [])
        claims.release(claim)
        assert found("stripe")["waiting"] == 1


def test_tests_are_not_filled_in_as_money() -> None:
    """The API of a sandbox lists what is none, and many a webhook does not say so."""
    vendor = imitations.imitation_of("razorpay")(now=lambda: NOW)
    shop = Shop.of(vendor)
    with opened(vendor, shop), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAZORPAY_KEY_ID", "rzp_test_imitated")
        result = run("razorpay")
        assert result.exit_code == 1
        assert "test_events = true" in result.output


def test_a_source_has_to_be_deployed() -> None:
    """What is filled in is read by the functions as they are there."""
    vendor, shop = _stripe()
    shop.outputs |= {"Sources": "shopify", "ConfigurationDigest": "c0"}
    with opened(vendor, shop):
        assert "has no source stripe" in run("stripe").output
        shop.outputs["Sources"] = "stripe shopify"
        assert "another webhooks.toml is deployed" in run("stripe").stderr


def test_who_has_no_list_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With those who have one; and a source that is not there with the nearest."""
    both = Config({"adyen": {}, "stripe": {}})
    monkeypatch.setattr(reconcile, "config_of", lambda *_: both)
    nobody = run("adyen")
    assert nobody.exit_code == 1
    assert "stripe" in nobody.output
    assert 'did you mean "stripe"' in run("strip").output


def test_it_works_with_real_queues_and_tables(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From Stripe's list through SQS and DynamoDB, and what came so says it."""
    empty(stack)
    monkeypatch.setattr(state, "read", lambda: published(stack))
    monkeypatch.setattr(dead_letters, "PATIENCE", 0)
    vendor, shop = _stripe()
    sales = [_sale(vendor, shop, timedelta(hours=hours + 1)) for hours in range(3)]
    written = tmp_path / "webhooks.toml"
    written.write_text("[stripe]\n")
    with opened(vendor, shop), monkeypatch.context() as patch:
        patch.setattr(reconcile, "find", find)
        patch.setattr(reconcile, "config_of", lambda *_: config.load(written))
        table = stack.environment("DeliverFunction")["LEDGER_TABLE"]
        shop.pipeline.ledger = Ledger(stack.aws.client("dynamodb"), table)
        shop.receive(sales[:1])
        assert found("stripe", "--fill", "--yes")["filled"] == 2
        sqs = stack.aws.client("sqs")
        taken = sqs.receive_message(
            QueueUrl=stack.outputs["WebhookQueueUrl"],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            WaitTimeSeconds=2,
        )["Messages"]
        shop.queue = [(each["Body"], untyped(each["MessageAttributes"])) for each in taken]
        shop.work()
        assert sum(shop.told.values()) == 3
        assert found("stripe")["arrived"] == 3
        facts = Records(stack.aws.client("dynamodb"), table).on(["stripe"], days_since(NOW))
        assert sorted(each.origin for each in facts) == ["", "reconcile", "reconcile"]


# ------------------------------------------------------------------------- what may not be counted


def _razorpay(days: Sequence[int], *, kept: int = KEPT) -> tuple[Vendor, Shop]:
    """A payment and its refund, so many days ago each."""
    vendor = imitations.imitation_of("razorpay")(now=lambda: NOW)
    shop = Shop.of(vendor)
    shop.kept = kept
    (source,) = shop.pipeline.config.sources()
    loaded = [samples.load(source, each) for each in ("payment.captured", "refund.processed")]
    for sample, ago in zip(samples.all_with_fresh_ids(loaded, source), days, strict=True):
        vendor.happen(sample.webhook(source), NOW - timedelta(days=ago))
    return vendor, shop


def test_what_may_be_forgotten_is_not_counted_again() -> None:
    """The ledger remembers 30 days: a sale of before that may have been captured, refunded now or not."""
    vendor, shop = _razorpay([60, 2], kept=30 * 24 * 3600)
    with opened(vendor, shop):
        answer = found("razorpay", "--fill", "--yes")
        assert {each["reason"] for each in answer["left"]} == {"too_old"}
        # The refund is news in any case.
        assert [each["flow"] for each in answer["money"]] == ["refund"]


def test_what_is_before_since_is_not_filled_in() -> None:
    """A sale of ten days ago that was refunded yesterday: both, or neither."""
    vendor, shop = _razorpay([10, 1])
    with opened(vendor, shop):
        week = found("razorpay", "--fill", "--yes")
        assert (week["missing"], {each["reason"] for each in week["left"]}) == ([], {"earlier"})
        assert "before --since" in run("razorpay").stderr
        assert run("razorpay", "--strict").exit_code == 1
        month = found("razorpay", "--since", "30d", "--fill", "--yes", "--strict")
        assert len(month["missing"]) == 2


def test_a_sale_is_not_filled_in_without_its_time() -> None:
    """What happened after --until may still be on its way."""
    vendor, shop = _razorpay([5, 1])
    with opened(vendor, shop):
        money = found("razorpay", "--until", "3d")["money"]
        assert [each["flow"] for each in money] == ["payment"]


def test_a_user_who_is_named_later_is_found() -> None:
    """Stripe tells of a subscription's first invoice before its checkout, which alone names the user."""
    vendor, shop = _stripe()
    (source,) = shop.pipeline.config.sources()
    told = {"checkout.session.completed", "invoice.paid"}
    for story in read("stripe"):
        entries = [told_in("stripe", each) for each in story["cases"]]
        types = {each.body["type"] for each in entries}
        if told <= types:
            break
    for number, each in enumerate(reversed(samples.all_with_fresh_ids(entries, source))):
        vendor.happen(each.webhook(source), NOW - timedelta(hours=2) + timedelta(seconds=number))
    with opened(vendor, shop):
        assert found("stripe", "--fill", "--yes")["left"] == []
        shop.work()
        assert found("stripe")["missing"] == []
    assert not shop.pipeline.parked


def test_two_reports_of_one_sale_are_one_sale() -> None:
    """The second says nothing new, and has not arrived."""
    vendor = imitations.imitation_of("shopify")(now=lambda: NOW)
    shop = Shop.of(vendor, events={"orders/create": "purchase_completed"})
    (source,) = shop.pipeline.config.sources()
    loaded = [samples.load(source, each) for each in ("orders/create", "orders/paid")]
    for sample in samples.all_with_fresh_ids(loaded, source):
        vendor.happen(sample.webhook(source), NOW - timedelta(hours=1))
    with opened(vendor, shop):
        answer = found("shopify")
        assert (len(answer["missing"]), answer["repeated"], answer["arrived"]) == (1, 1, 0)
        (paid,) = answer["money"]
        assert paid["flow"] == "payment"


# What becomes of an order of 100 after it was paid, or before; and what was paid.
LIVES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "as it was": ({}, {}, "100.00"),
    "edited after it was paid": ({}, {"current_total_price": "60.00"}, "100.00"),
    "edited before it was paid": ({"current_total_price": "80.00"}, {}, "80.00"),
    "restocked without a refund": (
        {},
        {"current_total_price": "50.00", "refunds": [{"id": 1, "transactions": []}]},
        "100.00",
    ),
    "edited, paid, and edited again": (
        {"current_total_price": "80.00"},
        {"current_total_price": "70.00"},
        "80.00",
    ),
}


@pytest.mark.parametrize("life", LIVES)
def test_an_order_counts_what_was_paid(life: str) -> None:
    """Whatever it is today."""
    before, after, paid = LIVES[life]
    vendor = imitations.imitation_of("shopify")(now=lambda: NOW)
    shop = Shop.of(vendor)
    (source,) = shop.pipeline.config.sources()
    whole = {"total_price": "100.00", "current_total_price": "100.00", "refunds": []}
    subtotals = {"subtotal_price": "100.00", "current_subtotal_price": "100.00"}
    sets = dict.fromkeys(("total_price_set", "current_total_price_set"), None)
    sample = samples.load(source, "orders/paid")
    body = {**sample.body, **whole, **subtotals, **sets, **before}
    if before:
        body["current_subtotal_price"] = body["current_total_price"]
    at = NOW - timedelta(hours=3)
    live = vendor.happen(samples.Sample(sample.headers, body).webhook(source), at)
    assert isinstance(vendor, Shopify)
    order: dict[str, Any]
    (order,) = vendor.orders.values()
    order.update(after)
    for refund in order["refunds"]:
        refund.update(created_at=order["updated_at"], refund_line_items=[])
    order["current_subtotal_price"] = order["current_total_price"]
    (planned,) = plan_of(Opened(live, source, source.provider.identify(live))).planned
    assert planned.money is not None
    assert f"{planned.money.amount:f}" == paid
    with opened(vendor, shop):
        money = found("shopify")["money"]
        assert [each["amount"] for each in money] == [paid]


class Bill(NamedTuple):
    """An order that was made 3 hours ago, and how it was paid: hours later, an amount, a kind, a currency."""

    cost: str
    paid: Sequence[tuple[int, str, str, str]]
    counted: str | None
    currency: str = "USD"
    presentment: tuple[str, str] = ("", "USD")
    today: str = ""
    owed: str = "0.00"
    status: str = "paid"
    made: timedelta = timedelta(hours=3)


BILLS: dict[str, Bill] = {
    "in two parts": Bill(
        "100.00", [(0, "60.00", "capture", "USD"), (1, "40.00", "capture", "USD")], "100.00"
    ),
    "by an app, with no transaction": Bill("100.00", [], "100.00"),
    "for nothing": Bill("0.00", [], None),
    "in cash, with change": Bill(
        "43.00", [(0, "50.00", "sale", "USD"), (0, "7.00", "change", "USD")], "43.00"
    ),
    "in cash, rounded": Bill("9.98", [(0, "10.00", "sale", "USD")], "9.98"),
    "in two currencies": Bill(
        "100.00",
        [(0, "50.00", "sale", "USD"), (0, "45.00", "sale", "EUR")],
        "100.00",
        presentment=("90.00", "EUR"),
    ),
    "and more was added that is owed": Bill(
        "100.00",
        [(0, "100.00", "sale", "USD")],
        "100.00",
        today="150.00",
        owed="50.00",
        status="partially_paid",
    ),
    "and more was added that was paid": Bill(
        "100.00",
        [(0, "100.00", "sale", "USD"), (2, "50.00", "sale", "USD")],
        "100.00",
        today="150.00",
    ),
    "after something was added": Bill(
        "0.00", [(1, "20.00", "sale", "USD")], "20.00", today="20.00"
    ),
    "in a currency of three decimals": Bill(
        "12.345", [(1, "6.175", "sale", "KWD")], "6.175", "KWD", ("", "KWD"), today="6.175"
    ),
    "in a currency of none": Bill(
        "1200", [(1, "800", "sale", "JPY")], "800", "JPY", ("", "JPY"), today="800"
    ),
    "days after it was made": Bill(
        "100.00", [(239, "100.00", "sale", "USD")], "100.00", made=timedelta(hours=240)
    ),
    "in part": Bill(
        "100.00",
        [(0, "60.00", "sale", "USD")],
        None,
        owed="40.00",
        status="partially_paid",
    ),
}


@pytest.mark.parametrize("bill", BILLS)
def test_an_order_counts_when_it_was_paid_first(bill: str) -> None:
    """And as much as it cost then: a payment that follows it is none to the mapper, who knows orders."""
    it, made = BILLS[bill], NOW - BILLS[bill].made
    vendor = imitations.imitation_of("shopify")(now=lambda: NOW)
    shop = Shop.of(vendor)
    assert isinstance(vendor, Shopify)
    (source,) = shop.pipeline.config.sources()
    sample = samples.load(source, "orders/paid")
    shown = {"amount": it.presentment[0] or it.cost, "currency_code": it.presentment[1]}
    sides = {"shop_money": {"amount": it.cost, "currency_code": it.currency}}
    totals = dict.fromkeys(("total_price", "subtotal_price"), it.cost)
    current = dict.fromkeys(("current_total_price", "current_subtotal_price"), it.cost)
    body = {**sample.body, **totals, **current, "refunds": [], "currency": it.currency}
    body |= {
        "total_price_set": {**sides, "presentment_money": shown},
        "financial_status": "pending",
    }
    body |= {"current_total_price_set": None, "total_outstanding": it.cost}
    topic = {"x-shopify-topic": "orders/create"}
    webhook = samples.Sample({**sample.headers, **topic}, body).webhook(source)
    vendor.happen(webhook, made)
    (order,) = vendor.orders.values()
    today = it.today or it.cost
    order |= {
        "financial_status": it.status,
        "total_outstanding": it.owed,
        "updated_at": NOW.isoformat(),
    }
    order |= {"current_total_price": today, "current_subtotal_price": today}
    vendor.sales[order["id"]] = [
        {
            "id": number,
            "kind": kind,
            "status": "success",
            "amount": amount,
            "currency": currency,
            "created_at": (made + timedelta(hours=hours)).isoformat(),
            "processed_at": (made + timedelta(hours=hours)).isoformat(),
        }
        for number, (hours, amount, kind, currency) in enumerate(it.paid)
    ]
    with opened(vendor, shop):
        answer = found("shopify", "--fill", "--yes")
        amounts = [each["amount"] for each in answer["money"]]
        assert amounts == ([it.counted] if it.counted else [])
        assert answer["left"] == []
        shop.work()
        assert found("shopify")["missing"] == []


def test_only_what_may_be_missing_is_asked_for_again() -> None:
    """Orders that were captured cost no request each, however many were touched since."""
    vendor = imitations.imitation_of("shopify")(now=lambda: NOW)
    shop = Shop.of(vendor)
    (source,) = shop.pipeline.config.sources()
    for hours in range(20):
        sample = samples.with_fresh_ids(samples.load(source, "orders/paid"), source)
        shop.receive([vendor.happen(sample.webhook(source), NOW - timedelta(hours=hours + 1))])
    with opened(vendor, shop):
        assert found("shopify")["missing"] == []
        assert len(vendor.calls) < 5


def test_json_keeps_its_promise_when_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends in one document, too."""
    vendor, shop = _stripe()

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shop, "snapshot", interrupt)
    with opened(vendor, shop):
        result = run("stripe", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout) == {"error": "interrupted"}


@pytest.mark.parametrize("since", ["1000000d", "²d", "99999999999999999999d", "-5d", ""])
def test_a_time_that_is_none_is_wrong_usage(since: str) -> None:
    """In a sentence, and not in a traceback."""
    assert run("stripe", "--since", since).exit_code == 2


def test_the_future_is_not_read_day_by_day() -> None:
    """--until is now at the latest."""
    vendor, shop = _stripe()
    with opened(vendor, shop):
        assert found("stripe", "--until", "9999-12-31")["listed"] == 0
        assert len(vendor.calls) < 20
