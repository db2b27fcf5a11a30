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
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests import imitations
from tests.amounts import moved
from tests.imitations.vendor import Vendor
from tests.samples import accepts, live_secret, scheme_of
from tests.stories import Pipeline
from tests.test_clients import every_list

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.event_body import LinkrunnerEvent
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Kind, Webhook
from linkrunner_webhooks.once import KEPT
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks_cli import clients, reconcile, samples
from linkrunner_webhooks_cli.clients import api
from linkrunner_webhooks_cli.clients.client import Lists
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.records import Snapshot
from linkrunner_webhooks_cli.stories import read
from linkrunner_webhooks_cli.stories import told as told_in

NOW = datetime.now(UTC).replace(microsecond=0)
WEEK = timedelta(days=7)
SEEDS = int(os.environ.get("WEEKS", "2"))

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

    @classmethod
    def of(cls, vendor: Vendor, **options: Any) -> Shop:
        provider = providers.load(vendor.name)
        ladder = [*provider.user_id, *provider.customer_ids]
        table = {"user_id": ladder, **provider.options.example(), **options}
        config = Config({vendor.name: table})
        return cls(vendor, Pipeline(provider, config, NOW.timestamp()))

    # What `reconcile` asks of a stack.

    def ledger(self) -> Any:
        return SimpleNamespace(facts=SimpleNamespace(kept=KEPT))

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
