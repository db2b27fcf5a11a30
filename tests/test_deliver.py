"""Delivering: every message ends captured, ignored or parked, or stays in the queue; no fact twice."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.messages import (
    CHARGE,
    INTENT,
    NEW_INVOICE,
    OLD_INVOICE,
    ORDER,
    SHOPIFY_REFUND,
    USER,
    adyen,
    another,
    checkout,
    message,
    refund,
    shopify,
    stripe,
    two_events,
)
from tests.simulation.clock import HOUR, NOW
from tests.simulation.deployment import MOST_RECEIVES, RETENTION
from tests.simulation.table import FakeTable
from tests.world import FakeLinkrunner, World

from linkrunner_webhooks import config, providers
from linkrunner_webhooks.capture import ApiRequest
from linkrunner_webhooks.envelope import Envelope, Opened, open_message
from linkrunner_webhooks.errors import ConfigError, Reason, Refused, Unavailable
from linkrunner_webhooks.event_body import event_id, fingerprint
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.model import CommerceEvent, Flow, Identity, Outcome, Webhook
from linkrunner_webhooks.once import KEPT, LEASE, Claim
from linkrunner_webhooks.past import Past
from linkrunner_webhooks.provider import Options, Provider, Told
from linkrunner_webhooks.queues import Message
from linkrunner_webhooks.reports import Moved, Report
from linkrunner_webhooks.schedule import (
    DEATHS,
    DEPLOYMENT,
    FIRST_DELAY,
    LAST_RESORT,
    LINK_TRIES,
    PATIENCE,
    PAYER_TRIES,
    SUSPICIOUS,
    delay,
    wait,
)
from linkrunner_webhooks.time_left import SLOWEST
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.project import TEMPLATE


@pytest.fixture
def world() -> World:
    """A deliverer over fakes."""
    return World()


def down(reason: Reason = Reason.UNAVAILABLE, retry_after: float | None = None) -> Unavailable:
    """The error of a service that cannot be used now."""
    return Unavailable(f"scripted: {reason}", reason=reason, retry_after=retry_after)


# ------------------------------------------------------------------------- how messages end


def test_a_payment_is_captured(world: World) -> None:
    """The event goes out under its user and the message is done."""
    assert world.deliver(checkout()) == []
    [event] = world.linkrunner.events
    assert (event.event_name, event.user_id) == ("purchase_completed", "user_42")
    assert (event.event_data["amount"], event.event_data["currency"]) == (25.99, "USD")
    assert world.last == ("captured", "none")
    assert (world.queue.parked, world.queue.delayed) == ([], {})


def test_every_request_of_an_event_has_its_id(world: World) -> None:
    """The same in a retry, another for another event, and none of the provider's."""
    world.linkrunner.script = [down()]
    world.deliver(sent := checkout())
    world.deliver(sent)
    world.deliver(refund(500, payment_intent="pi_1", **USER))
    first, again, other = (event.event_id for event in world.linkrunner.requests)
    assert first == again != other
    assert first is not None
    assert re.fullmatch("[0-9a-f]{32}", first)


def test_an_event_id_outlives_versions() -> None:
    """What waits in a queue over a deployment is not another event after it."""
    assert (
        event_id("stripe|payment|pi_1", "purchase_completed") == "9ce1bd43145afa15ceafe8a5fd3fff12"
    )


def test_the_report_names_what_happened(world: World) -> None:
    """A line of account has ids and our own words, and nothing of the body besides."""
    sent = checkout(customer_details={"email": "ada@example.com", "name": "Ada"})
    world.deliver(sent)
    assert world.reports == [
        Report(
            stage="deliver",
            outcome=Outcome.CAPTURED,
            source="stripe",
            provider="stripe",
            event_type="checkout.session.completed",
            event_id=sent.attributes["event_id"],
            event_names=("purchase_completed",),
            money=(Moved(Flow.PAYMENT, "USD", Decimal("25.99")),),
        )
    ]


def test_the_same_message_again_is_a_duplicate(world: World) -> None:
    """SQS delivers at least once, and a captured fact is not sent again."""
    sent = checkout()
    world.deliver(sent)
    assert world.deliver(sent, replace(sent, id="redriven")) == []
    assert len(world.linkrunner.requests) == 1
    assert world.outcomes[1:] == [("duplicate", "none")] * 2
    assert world.reports[-1].event_names == ("purchase_completed",)


def test_nothing_to_report_is_ignored(world: World) -> None:
    """A webhook that means nothing to Linkrunner is done without a request."""
    assert world.deliver(checkout(mode="setup")) == []
    assert world.last == ("ignored", "nothing_to_report")
    assert world.linkrunner.requests == []


def test_what_was_switched_off_is_ignored(world: World) -> None:
    """A type that was switched off while its message waited is not forwarded any more."""
    sent = checkout(age=DEPLOYMENT + 1)
    world.config = config.Config({"stripe": {"events": {"checkout.session.completed": False}}})
    assert world.deliver(sent) == []
    assert world.last == ("ignored", "nothing_to_report")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (checkout(currency=None), "untranslatable"),
        (checkout(amount_total="a lot"), "untranslatable"),
        (checkout(client_reference_id=None), "missing_user"),
        (checkout(client_reference_id="ada@example.com"), "missing_user"),
        (replace(checkout(), text="hello"), "unreadable"),
        (replace(checkout(), text='{"v": 2}'), "unreadable"),
        (replace(checkout(), text=""), "unreadable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_only_a_person_can_help_is_parked(world: World, sent: Message, reason: Reason) -> None:
    """Trying again would change nothing, so the message is put aside with its reason at once."""
    assert world.deliver(sent) == []
    [(id_, parked_for, error)] = world.queue.parked
    assert (id_, parked_for) == (sent.id, reason)
    assert error
    assert "ada@example.com" not in error
    assert world.last == ("parked", reason)
    assert world.reports[-1].detail == error
    assert world.linkrunner.requests == []


def test_a_source_that_is_gone_parks_its_messages(world: World) -> None:
    """A table taken out of webhooks.toml loses nothing that was received before."""
    sent = checkout(age=DEPLOYMENT + 1)
    world.config = config.Config({"shopify": {}})
    assert world.deliver(sent) == []
    assert world.last == ("parked", "unroutable")
    assert (world.reports[-1].source, world.reports[-1].event_type) == (
        "stripe",
        "checkout.session.completed",
    )


@pytest.mark.parametrize(
    "table", [{"shopify": {}}, {"stripe": {"events": {"checkout.session.completed": False}}}]
)
def test_nothing_is_decided_by_the_other_version(world: World, table: dict[str, Any]) -> None:
    """In a deployment a new receiver stores what an old deliverer does not know: it waits."""
    sent, known = checkout(age=5), world.config
    world.config = config.Config(table)
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "deploying")
    assert world.queue.delayed[sent.id] <= 75
    world.config = known
    assert world.deliver(replace(sent, receives=2)) == []
    assert world.last == ("captured", "none")


def test_what_does_not_say_what_it_is_is_parked_at_once(world: World) -> None:
    """Receive stored it for a person, and no version can read it."""
    body = Envelope(Webhook("stripe", {}, b'{"amount": 5}'), NOW)
    text = body.seal(providers.load("stripe"))
    unknown = replace(checkout(), text=text)
    assert world.deliver(unknown) == []
    assert world.last == ("parked", "untranslatable")


def test_what_was_captured_is_not_captured_for_the_sake_of_another_event(world: World) -> None:
    """The table goes away while Linkrunner answers: one event cannot be noted, the other not claimed."""
    world.config = config.Config({"woocommerce": {}})
    away = Unavailable("the ledger is away", reason=Reason.LEDGER)

    def goes_away(event: ApiRequest) -> None:
        world.linkrunner(event)
        world.claims.failing = {"complete": away, "claim": away, "release": away}

    deliverer = replace(world.deliverer, capture=goes_away)
    sent = two_events()
    assert deliverer.deliver([sent], lambda: 100.0) == []
    assert [event.event_name for event in world.linkrunner.events] == ["purchase_completed"]
    assert world.outcomes == [("captured", "unrecorded"), ("retrying", "unrecorded")]
    (parked,) = world.queue.put_back

    # After every lease has run out, the rest is captured, and only that.
    world.claims.failing = {}
    world.now += LEASE + 1
    assert world.deliver(replace(parked, receives=1)) == []
    assert [event.event_name for event in world.linkrunner.events] == [
        "purchase_completed",
        "order_fulfilled",
    ]
    assert world.deliver(two_events()) == []
    assert world.last == ("duplicate", "none")


def test_there_is_time_for_every_event_of_a_message(world: World) -> None:
    """A message of several events stops between two of them, and goes on with the second."""
    world.config = config.Config({"woocommerce": {}})
    # At the beginning, around its reading, before it is settled, its first claim and its first capture.
    times = iter([100.0] * 4 + [SLOWEST] * 2)
    sent = two_events()
    assert world.deliver(sent, remaining=lambda: next(times, 0.0)) == [sent.id]
    assert world.last == ("retrying", "out_of_time")
    assert [event.event_name for event in world.linkrunner.events] == ["purchase_completed"]
    assert world.deliver(replace(sent, receives=2)) == []
    assert [event.event_name for event in world.linkrunner.events] == [
        "purchase_completed",
        "order_fulfilled",
    ]


def test_a_slow_claim_leaves_no_time_to_capture(world: World) -> None:
    """Time is asked again right before the request, and the claim is given back."""
    times = iter([100.0] * 5 + [SLOWEST - 0.001])
    sent = checkout()
    assert world.deliver(sent, remaining=lambda: next(times, 0.0)) == [sent.id]
    assert world.linkrunner.requests == []
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


def test_a_refused_event_is_parked(world: World) -> None:
    """Linkrunner says that the event itself is wrong; a corrected one may be sent later."""
    world.linkrunner.script = [Refused("Linkrunner answered 400")]
    sent = checkout()
    assert world.deliver(sent) == []
    assert world.last == ("parked", "refused")
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


def test_a_refused_event_is_known_again(world: World) -> None:
    """The parked message has the words, and a fingerprint of the bodies as a forecast makes it."""
    parked: list[Message] = []
    park = world.queue.park

    def see(message: Message, reason: str, error: str) -> None:
        parked.append(message)
        park(message, reason, error)

    world.queue.park = see  # type: ignore[method-assign]
    world.linkrunner.script = [Refused('Linkrunner answered 400: "no such app"')]
    world.deliver(checkout())
    assert world.reports[-1].detail == 'Linkrunner answered 400: "no such app"'
    assert parked[0].attributes["bodies"] == fingerprint(world.linkrunner.requests)


def test_guests_are_dropped_where_the_operator_says_so(world: World) -> None:
    """With `missing_user = "drop"` a sale without a user is counted and done."""
    assert world.deliver(checkout(source="guests", client_reference_id=None)) == []
    assert world.last == ("ignored", "missing_user")
    assert world.queue.parked == []
    assert world.deliver(checkout(source="guests")) == []
    assert world.last == ("captured", "none")


@pytest.mark.parametrize(
    "reason",
    [
        Reason.RATE_LIMITED,
        Reason.UNAVAILABLE,
        Reason.UNANSWERED,
        Reason.NETWORK,
        Reason.UNAUTHORIZED,
        Reason.NO_KEY,
    ],
)
def test_an_outage_keeps_the_message(world: World, reason: Reason) -> None:
    """Whatever may pass keeps the message, gives the fact back and says when it comes again."""
    world.linkrunner.script = [down(reason)]
    sent = checkout()
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", reason)
    shortest = wait(1, reason)
    assert shortest <= world.queue.delayed[sent.id] <= shortest * 1.25
    assert world.queue.parked == []
    world.now += shortest
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


def test_a_busy_fact_is_waited_for(world: World) -> None:
    """While another worker has the fact in hand the message waits; nobody else is held up."""
    sent, other = checkout(), another(2)
    world.claims.claim(["stripe|payment|pi_1"], "somebody")
    assert world.deliver(sent, other) == [sent.id]
    assert world.outcomes == [("retrying", "busy"), ("captured", "none")]


def test_exactly_the_kept_are_listed(world: World) -> None:
    """The answer to Lambda names those that stay, and everything else is deleted."""
    world.linkrunner.script = [None, down(), Refused("no"), down(Reason.BUSY), None]
    sent = [another(number) for number in range(5)]
    sent += [replace(checkout(), text="unreadable"), checkout(mode="setup"), sent[0]]
    assert world.deliver(*sent) == [sent[1].id, sent[3].id]
    assert len(world.reports) == len(sent)
    assert world.deliver() == []


# ------------------------------------------------------------------------- several events at once


@pytest.fixture
def two_in_one(world: World) -> Message:
    """A message that becomes two events."""
    events = {"subscription_cancel_scheduled": True, "subscription_paused": True}
    world.config = config.Config({"stripe": {"events": {"customer.subscription.updated": events}}})
    subscription = {
        "id": "sub_1",
        "cancel_at_period_end": True,
        "pause_collection": {"behavior": "void"},
    }
    previous = {"cancel_at_period_end": False, "pause_collection": None}
    return stripe("customer.subscription.updated", subscription | USER, previous)


def test_only_what_failed_is_tried_again(world: World, two_in_one: Message) -> None:
    """When the second of two events fails, the first is not captured again with it."""
    world.linkrunner.script = [None, down()]
    assert world.deliver(two_in_one) == [two_in_one.id]
    assert world.last == ("retrying", "unavailable")
    assert world.deliver(two_in_one) == []
    assert world.last == ("captured", "none")
    assert world.reports[-1].event_names == ("subscription_paused",)
    names = [event.event_name for event in world.linkrunner.events]
    assert names == ["subscription_cancel_scheduled", "subscription_paused"]


def test_only_what_was_refused_is_sent_again(world: World, two_in_one: Message) -> None:
    """A message parked for its second event captures only that one when it is redriven."""
    world.linkrunner.script = [None, Refused("no")]
    assert world.deliver(two_in_one) == []
    assert world.last == ("parked", "refused")
    assert world.deliver(two_in_one) == []
    assert len(world.linkrunner.events) == 2


def test_a_message_without_a_user_is_parked_whole(world: World, two_in_one: Message) -> None:
    """Every event is ready before the first one is sent."""
    nobody = replace(two_in_one, text=two_in_one.text.replace("user_42", ""))
    for _ in range(PAYER_TRIES):
        assert world.deliver(nobody) == [nobody.id]
    assert world.deliver(nobody) == []
    assert world.last == ("parked", "missing_user")
    assert world.linkrunner.requests == []


# ------------------------------------------------------------------------- whose refund it is


def test_a_refund_belongs_to_who_paid(world: World) -> None:
    """A refund that names no user goes to the user of its payment."""
    world.deliver(checkout(), refund(1000))
    assert [event.user_id for event in world.linkrunner.events] == ["user_42"] * 2
    assert world.linkrunner.amounts == {"paid": [25.99], "refunded": [10]}


def test_a_refunds_own_user_counts(world: World) -> None:
    """A user that the refund names itself is not replaced."""
    world.deliver(checkout(), refund(1000, metadata={"user_id": "user_7"}))
    assert world.linkrunner.events[1].user_id == "user_7"


def test_a_refund_without_its_payment_is_parked(world: World) -> None:
    """Nobody is invented for a refund of something that was never captured here."""
    first = refund(1000)
    assert world.deliver(first) == [first.id]
    assert world.last == ("retrying", "payer_unknown")
    for tries in range(1, PAYER_TRIES):
        # Receives without a question do not count, and do not lengthen the wait.
        assert world.deliver(replace(first, receives=300)) == [first.id]
        assert world.queue.delayed[first.id] <= wait(tries + 1, Reason.PAYER_UNKNOWN) * 1.25
    assert world.deliver(replace(first, receives=PAYER_TRIES + 1)) == []
    assert world.last == ("parked", "missing_user")
    assert "no payment it follows" in world.queue.parked[0][2]
    world.deliver(checkout())
    world.deliver(refund(1000))
    assert world.last == ("captured", "none")


def test_a_refund_without_its_payment_rings_no_alarm() -> None:
    """Waiting for a payment that never was ends before the alarm for late webhooks would ring."""
    resources = template.load(TEMPLATE)["Resources"]
    alarm = resources["OldestMessageAge"]["Properties"]
    longest = sum(FIRST_DELAY * 2**tried * 1.25 for tried in range(PAYER_TRIES))
    assert longest < alarm["Threshold"]


def test_a_refund_waits_while_payments_are_late(world: World) -> None:
    """In an outage its payment may still be waiting, so it is not parked before the schedule ends."""
    world.linkrunner.script = [down(Reason.NETWORK)]
    world.deliver(another(7))
    late = refund(1000)
    world.claims.counts[f"payer|{late.id}"] = PAYER_TRIES
    assert world.deliver(late) == [late.id]
    assert world.last == ("retrying", "payer_unknown")
    assert world.deliver(replace(late, sent_at=NOW - 61 * HOUR)) == []
    assert world.last == ("parked", "missing_user")


def test_a_refund_that_would_be_dropped_waits_for_its_payment(world: World) -> None:
    """Where missing users are dropped, a refund must not be lost to an outage that holds up its payment."""
    charge = CHARGE | {"amount_refunded": 1000}
    refunded = stripe("charge.refunded", charge, {"amount_refunded": 0}, source="guests")
    early = replace(refunded, sent_at=NOW - 59 * HOUR)
    world.claims.counts[f"payer|{early.id}"] = PAYER_TRIES
    assert world.deliver(early) == [early.id]
    assert world.last == ("retrying", "payer_unknown")
    assert world.deliver(replace(early, sent_at=NOW - 61 * HOUR)) == []
    assert world.last == ("ignored", "missing_user")


def test_a_shop_refund_belongs_to_who_ordered(world: World) -> None:
    """Another source of the same provider knows the payment just as well."""
    world.deliver(
        shopify("orders/paid", ORDER), shopify("refunds/create", SHOPIFY_REFUND, "shopify_eu")
    )
    assert [event.user_id for event in world.linkrunner.events] == ["42", "42"]


def test_a_captured_payment_needs_no_user_twice(world: World) -> None:
    """A second report of a captured payment is a duplicate, whether or not it names the user."""
    world.deliver(checkout())
    assert world.deliver(stripe("payment_intent.succeeded", INTENT)) == []
    assert world.last == ("duplicate", "none")
    assert world.queue.parked == []


# ------------------------------------------------------------------------- when parts fail


def test_a_mappers_bug_parks(world: World) -> None:
    """A mapper that crashes cannot help the message, but the next version can."""

    def crash(*_: object) -> Iterable[CommerceEvent]:
        raise ZeroDivisionError("ada@example.com")

    _with_provider(
        world,
        "stripe",
        lambda provider: replace(
            provider,
            types={name: replace(each, translate=crash) for name, each in provider.types.items()},
        ),
    )
    assert world.deliver(checkout(), another(2)) == []
    assert world.outcomes == [("parked", "untranslatable")] * 2
    assert all("ada" not in error for _, _, error in world.queue.parked)


def _with_provider(world: World, name: str, change: Callable[[Provider], Provider]) -> None:
    source = world.config.source(name)
    assert source is not None
    world.config._sources[name] = replace(source, provider=change(source.provider))


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashingProvider(Provider):
    """A provider that fails in a way nobody thought of, quoting what it should not."""

    def read(self, webhook: Webhook, identity: Identity, options: Options) -> Told:
        del webhook, identity, options
        raise RuntimeError("ada@example.com")


def test_an_unexpected_error_in_translating_keeps_the_message(world: World) -> None:
    """An error that nobody thought of loses nothing, holds up nobody and quotes nothing."""
    _with_provider(
        world,
        "shopify",
        lambda provider: CrashingProvider(
            **{each.name: getattr(provider, each.name) for each in fields(provider)}
        ),
    )
    bad, good = shopify("orders/paid", ORDER), checkout()
    assert world.deliver(bad, good) == [bad.id]
    assert world.outcomes == [("retrying", "internal"), ("captured", "none")]
    assert "RuntimeError" in world.reports[0].detail
    assert "ada" not in world.reports[0].detail


def test_a_wrong_table_keeps_its_messages(world: World) -> None:
    """A mistake in one table of webhooks.toml holds up only its own source, and says what it is."""
    world.config = config.Config({"shopify": {"money": "gold"}, "stripe": {}})
    bad, good = shopify("orders/paid", ORDER), checkout()
    assert world.deliver(bad, good) == [bad.id]
    assert world.outcomes == [("retrying", "internal"), ("captured", "none")]
    assert "money" in world.reports[0].detail


@pytest.mark.parametrize("error", [RuntimeError("s3cret"), ConfigError("set X"), ValueError()])
def test_an_unexpected_error_in_capturing_keeps_the_message(world: World, error: Exception) -> None:
    """The message stays, whatever went wrong; nobody knows what was sent, so the lease runs out first."""
    world.linkrunner.script = [error]
    sent = checkout()
    assert world.deliver(sent, another(2)) == [sent.id]
    assert world.outcomes == [("retrying", "internal"), ("captured", "none")]
    assert "s3cret" not in world.reports[0].detail
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "busy")
    world.now += LEASE
    assert world.deliver(sent) == []
    assert len(world.linkrunner.events) == 2


def test_claims_that_cannot_be_made_keep_everything(world: World) -> None:
    """Without the table nothing is sent: what might have been captured before must not be again."""
    world.claims.failing = {"claim": down(Reason.LEDGER)}
    first, second = checkout(), another(2)
    assert world.deliver(first, second) == [first.id, second.id]
    assert world.outcomes == [("retrying", "ledger")] * 2
    assert world.linkrunner.requests == []


def test_a_claim_that_crashes_keeps_the_message(world: World) -> None:
    """An unexpected error of the table sends nothing either."""
    world.claims.failing = {"claim": RuntimeError()}
    sent = checkout()
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "internal")
    assert world.linkrunner.requests == []


def test_payers_that_cannot_be_looked_up_keep_the_message(world: World) -> None:
    """A refund is not parked as nobody's because the table was away."""
    world.claims.failing = {"user_of": down(Reason.LEDGER)}
    sent = refund(1000)
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "ledger")
    assert world.queue.parked == []


def test_a_release_that_fails_leaves_a_lease(world: World) -> None:
    """Why the capture failed is what is told; the fact is free again when its lease has run out."""
    world.linkrunner.script = [down()]
    world.claims.failing = {"release": down(Reason.LEDGER)}
    sent = checkout()
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "unavailable")
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "busy")
    world.now += LEASE
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


def test_a_captured_event_is_not_sent_again_for_want_of_a_record(world: World) -> None:
    """When only the record failed a copy goes on that notes it later, and so its twins are duplicates."""
    world.claims.failing = {"complete": down(Reason.LEDGER)}
    assert world.deliver(checkout(), another(2)) == []
    # The capture is reported when it is made, the message when it is its turn.
    assert (
        sorted(world.outcomes)
        == [("captured", "unrecorded")] * 2 + [("retrying", "unrecorded")] * 2
    )
    assert world.queue.delayed == {}
    assert len(world.linkrunner.events) == 2
    copy = world.queue.put_back[0]
    world.now += LEASE
    assert world.deliver(copy) == [copy.id]
    assert world.last == ("retrying", "unrecorded")
    assert world.queue.delayed[copy.id] <= 75
    world.claims.failing = {}
    assert world.deliver(copy, checkout()) == []
    assert world.outcomes[-2:] == [("duplicate", "none")] * 2
    assert len(world.linkrunner.events) == 2


@pytest.mark.parametrize("parks", [True, False])
def test_a_copy_that_cannot_be_put_back_loses_nothing(world: World, *, parks: bool) -> None:
    """What is captured is done in any case, and parked for the note; what is not stays where it is."""
    world.config = config.Config({"woocommerce": {}, "stripe": {}})
    world.claims.failing = {"complete": down(Reason.LEDGER)}
    world.queue.failing = {"again": down(Reason.QUEUE)} | (
        {} if parks else {"park": RuntimeError()}
    )
    assert world.deliver(checkout()) == []
    assert [reason for _, reason, _ in world.queue.parked] == ["unrecorded"] * parks
    world.linkrunner.script = [None, down(Reason.NETWORK)]
    sent = two_events()
    assert world.deliver(sent) == ([] if parks else [sent.id])
    assert [reason for _, reason, _ in world.queue.parked] == ["unrecorded"] * 2 * parks


def test_a_message_that_can_neither_park_nor_stay_is_put_back(world: World) -> None:
    """One event captured without a note, the other refused, no dead-letter queue: a copy knows."""
    world.config = config.Config({"woocommerce": {}})
    world.claims.failing = {"complete": down(Reason.LEDGER)}
    world.queue.failing = {"park": down(Reason.QUEUE)}
    world.linkrunner.script = [None, Refused("no")]
    assert world.deliver(two_events()) == []
    world.claims.failing, world.queue.failing = {}, {}
    assert world.deliver(*world.queue.put_back) == []
    names = [event.event_name for event in world.linkrunner.events]
    assert names == ["purchase_completed", "order_fulfilled"]


def test_a_captured_event_is_noted_although_it_is_switched_off(world: World) -> None:
    """What counts already is known, whatever webhooks.toml says when it can be noted at last."""
    world.claims.failing = {"complete": down(Reason.LEDGER)}
    assert world.deliver(checkout()) == []
    world.claims.failing = {}
    off = {"checkout.session.completed": False, "payment_intent.succeeded": True}
    world.config = config.Config({"stripe": {"events": off}})
    world.now += DEPLOYMENT
    assert world.deliver(*world.queue.put_back) == []
    assert world.deliver(stripe("payment_intent.succeeded", INTENT | USER)) == []
    assert world.last == ("duplicate", "none")


def test_a_record_that_crashes_does_not_send_again(world: World) -> None:
    """After a capture no error, of whatever kind, may lead to another one."""
    world.claims.failing = {"complete": RuntimeError()}
    assert world.deliver(checkout()) == []
    assert world.outcomes[0] == ("captured", "unrecorded")
    assert len(world.queue.put_back) == 1


def test_a_message_that_cannot_be_parked_is_kept(world: World) -> None:
    """Nothing is let go before the dead-letter queue has it."""
    world.queue.failing = {"park": down(Reason.QUEUE)}
    sent, good = replace(checkout(), text="unreadable"), checkout()
    assert world.deliver(sent, good) == [sent.id]
    assert world.outcomes == [("retrying", "queue"), ("captured", "none")]
    assert sent.id in world.queue.delayed


def test_an_exhausted_message_that_cannot_be_parked_is_kept(world: World) -> None:
    """The end of the schedule is no reason to lose it."""
    world.queue.failing = {"park": down(Reason.QUEUE)}
    world.linkrunner.script = [down()]
    sent = checkout()
    failing(world, PATIENCE + 1)
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "queue")


def test_a_message_that_cannot_be_delayed_is_kept(world: World) -> None:
    """Without a delay it comes back when the queue thinks fit."""
    world.queue.failing = {"delay": down(Reason.QUEUE)}
    world.linkrunner.script = [down()]
    first, second = checkout(), another(2)
    assert world.deliver(first, second) == [first.id]
    assert world.outcomes == [("retrying", "unavailable"), ("captured", "none")]


# ------------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    "reason",
    [
        Reason.RATE_LIMITED,
        Reason.UNANSWERED,
        Reason.NETWORK,
        Reason.UNAUTHORIZED,
        Reason.NO_KEY,
        Reason.LEDGER,
    ],
)
def test_everybodys_trouble_spares_the_rest(world: World, reason: Reason) -> None:
    """What the next message would meet as well hands it back untouched, with the same patience."""
    world.linkrunner.script = [None, down(reason, retry_after=120)]
    sent = [another(number) for number in range(4)]
    assert world.deliver(*sent) == [each.id for each in sent[1:]]
    assert len(world.linkrunner.requests) == 2
    # Who was not asked has no part in the doubt.
    rest = Reason.SILENT if reason is Reason.UNANSWERED else reason
    assert world.outcomes == [("captured", "none"), ("retrying", reason)] + [("retrying", rest)] * 2
    assert all(world.queue.delayed[each.id] >= 120 for each in sent[1:])


@pytest.mark.parametrize("error", [down(), down(Reason.BUSY), RuntimeError(), Refused("no")])
def test_one_messages_trouble_is_its_own(world: World, error: Exception) -> None:
    """An answer that may be about this event alone does not hold up the others."""
    world.linkrunner.script = [error]
    world.deliver(*(another(number) for number in range(4)))
    assert len(world.linkrunner.events) == 3


def test_what_is_handed_back_is_not_even_opened(world: World) -> None:
    """An unreadable message behind the trouble waits like the others."""
    world.linkrunner.script = [down(Reason.UNANSWERED)]
    sent = [checkout(), replace(checkout(), text="unreadable")]
    assert world.deliver(*sent) == [each.id for each in sent]
    assert world.queue.parked == []


def test_messages_without_time_left_come_back_untouched(world: World) -> None:
    """Messages for which no time is left come back soon, untouched."""
    # All are read. Each of the first two asks before it is settled, before its claim and its capture.
    times = iter([100.0] * 14 + [SLOWEST] * 3 + [SLOWEST - 0.001])
    sent = [another(number) for number in range(5)]
    assert world.deliver(*sent, remaining=lambda: next(times)) == [each.id for each in sent[2:]]
    assert world.outcomes == [("captured", "none")] * 2 + [("retrying", "out_of_time")] * 3
    assert world.queue.delayed.keys() == {each.id for each in sent[2:]}
    assert all(5 <= seconds <= 6.25 for seconds in world.queue.delayed.values())


def test_half_of_the_time_is_for_what_was_read(world: World) -> None:
    """Where reading is slow the oldest are delivered, and the others come back with more patience."""
    sent = [another(number, receives=9, age=9 - number) for number in range(9)]
    left = [100.0]
    count = world.claims.count

    def slow(what: str) -> int:
        left[0] -= 10
        return count(what)

    world.claims.count = slow  # type: ignore[method-assign]
    assert world.deliver(*sent, remaining=lambda: left[0]) == [each.id for each in sent[2:]]
    assert world.outcomes == [("captured", "none")] * 2 + [("retrying", "out_of_time")] * 7
    assert all(60 <= seconds <= 75 for seconds in world.queue.delayed.values())


@pytest.mark.parametrize("call", ["count", "claim"])
def test_what_cannot_be_worked_on_for_ten_days_is_parked(world: World, call: str) -> None:
    """SQS drops what is 14 days old, and parking needs no table: neither does a message that is not read."""
    world.claims.failing = {call: down(Reason.LEDGER)}
    sent = [another(number, receives=9, age=LAST_RESORT + 1) for number in range(3)]
    assert world.deliver(*sent) == []
    assert [reason for _, reason, _ in world.queue.parked] == ["exhausted"] * 3
    young = another(4, receives=9, age=LAST_RESORT - 1)
    assert world.deliver(young) == [young.id]


def test_a_run_that_starts_too_late_sends_nothing(world: World) -> None:
    """A run that starts too late sends nothing and loses nothing."""
    sent = [checkout(age=PATIENCE * 2, receives=400), another(2)]
    assert world.deliver(*sent, remaining=lambda: -1.0) == [each.id for each in sent]
    assert world.linkrunner.requests == []
    assert world.queue.parked == []


# ------------------------------------------------------------------------- links


def renewal(**changes: Any) -> Message:
    """A period of a subscription, of which nothing says whose it is."""
    period = NEW_INVOICE | {"parent": {"subscription_details": {"subscription": "sub_1"}}}
    return stripe("invoice.paid", period | changes)


def begun(user: str, **changes: Any) -> Message:
    """The checkout of a subscription."""
    ids = {"mode": "subscription", "subscription": "sub_1", "customer": "cus_1"}
    return checkout(client_reference_id=user, **ids, **changes)


def test_once_is_enough() -> None:
    """The checkout says whose subscription and customer it is, and later reports that name nobody follow."""
    world = over_a_table()
    assert world.deliver(begun("user_1"), renewal()) == []
    assert world.outcomes == [("ignored", "learned"), ("captured", "none")]
    payment = another(9, client_reference_id=None, customer="cus_1")
    assert world.deliver(payment) == []
    assert [event.user_id for event in world.linkrunner.events] == ["user_1"] * 2
    assert [event.user_from for event in world.linkrunner.events] == ["link"] * 2


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        # Claimed, noted, and how the batch ended.
        ({}, ["update_item"] * 3),
        # And a look at whose customer it is, which is news or not.
        ({"customer": "cus_9"}, [*["update_item"] * 2, "get_item", *["update_item"] * 2]),
        ({"customer": "cus_1"}, [*["update_item"] * 2, "get_item", "update_item"]),
    ],
)
def test_what_a_capture_costs(changes: Mapping[str, Any], calls: Sequence[str]) -> None:
    """Two writes and one of the index, which the cost model has; links and counts come on top."""
    world = over_a_table()
    world.deliver(another(1, customer="cus_1"))
    facts: Any = world.ledger.facts
    table = facts._rows._client
    table.calls.clear()
    world.deliver(another(2, **changes))
    assert table.calls == calls
    table.calls.clear()
    # A report of what is captured already costs the claim that is refused, and says nothing new.
    world.deliver(another(2, **changes))
    assert table.calls.count("update_item") == 2


def test_what_comes_before_its_checkout_waits() -> None:
    """In any order of arrival within 45 minutes."""
    world = over_a_table()
    early = renewal()
    assert world.deliver(early) == [early.id]
    assert world.last == ("retrying", "payer_unknown")
    assert world.deliver(begun("user_1"), early) == []
    assert world.last == ("captured", "none")


def test_what_nobody_ever_names_is_parked() -> None:
    """After 45 minutes, with what was looked for."""
    world = over_a_table()
    sent = renewal()
    for _ in range(PAYER_TRIES):
        assert world.deliver(sent) == [sent.id]
    assert world.deliver(sent) == []
    assert world.last == ("parked", "missing_user")
    assert "nothing told yet whose its ids are" in world.reports[-1].detail


def test_guests_are_dropped_after_the_same_time() -> None:
    """A customer that is never named costs nine looks, not sixty hours of them."""
    world = over_a_table()
    sent = checkout(source="guests", client_reference_id=None, customer="cus_9")
    for _ in range(PAYER_TRIES):
        assert world.deliver(sent) == [sent.id]
    assert world.deliver(sent) == []
    assert world.last == ("ignored", "missing_user")


def test_the_newer_user_of_a_customer_wins_and_is_counted() -> None:
    """Somebody logs out, and another buys under the same customer."""
    world = over_a_table()
    older, newer = (
        another(1, customer="cus_1"),
        another(2, customer="cus_1", client_reference_id="b"),
    )
    world.deliver(older, newer)
    assert [each.relinked for each in world.reports] == [0, 1]
    world.deliver(another(3, customer="cus_1", client_reference_id=None))
    assert world.linkrunner.events[-1].user_id == "b"


def test_nothing_is_learned_from_a_link() -> None:
    """A customer's link names the user of a subscription, and says nothing about whose that is."""
    world = over_a_table()
    world.deliver(another(1, customer="cus_1", client_reference_id="a"))
    world.deliver(renewal(customer="cus_1"))
    world.deliver(another(2, customer="cus_1", client_reference_id="b"))
    world.deliver(renewal(id="in_2", customer="cus_1"))
    assert [event.user_id for event in world.linkrunner.events] == ["a", "a", "b", "b"]


def test_links_can_be_switched_off() -> None:
    """Then what names nobody is parked at once, and nothing is kept."""
    world = over_a_table()
    world.config = config.Config({"stripe": {"links": False}})
    world.deliver(begun("user_1"), renewal())
    assert world.outcomes == [("ignored", "nothing_to_report"), ("parked", "missing_user")]


def test_a_refund_waits_for_who_paid_although_a_link_answers() -> None:
    """Its payment may be held up, and the customer may be another's by now."""
    world = over_a_table()
    world.deliver(another(2, customer="cus_1", client_reference_id="b"))
    sent = refund(1000, customer="cus_1")
    assert world.deliver(sent) == [sent.id]
    world.deliver(checkout(client_reference_id="a", customer="cus_1"))
    assert world.deliver(sent) == []
    assert world.linkrunner.events[-1].user_id == "a"
    orphan = refund(1000, id="ch_9", payment_intent="pi_9", customer="cus_1")
    for _ in range(PAYER_TRIES):
        assert world.deliver(orphan) == [orphan.id]
    assert world.deliver(orphan) == []


def test_what_is_contradicted_teaches_nothing() -> None:
    """Nor does a body that a forger wrote under a signature that was used before."""
    world = over_a_table()
    world.deliver(adyen(), adyen(merchantReference="another"))
    assert world.last == ("duplicate", "none")


def test_what_was_captured_for_another_teaches_nothing() -> None:
    """A repetition of a sale whose user was erased does not bring the user back."""
    world = over_a_table()
    sale = checkout(customer="cus_1")
    world.deliver(sale)
    facts: Any = world.ledger.facts
    for row in facts._rows._client.items.values():
        row.pop("user_id", None)
    world.deliver(sale)
    assert world.last == ("duplicate", "none")
    assert facts.user_of(["@person|stripe|customer|cus_1"]) is None


def test_a_lesson_that_cannot_be_noted_comes_again(world: World) -> None:
    """What it teaches is needed; its own event is captured and not sent again."""
    world.claims.failing = {"learn": down(Reason.LEDGER)}
    sent = checkout(customer="cus_1")
    assert world.deliver(sent) == [sent.id]
    world.claims.failing = {}
    assert world.deliver(sent) == []
    assert (world.last, len(world.linkrunner.events)) == (("duplicate", "none"), 1)


def paid_by(invoice: str, intent: str) -> Message:
    """The news that this intent paid this invoice."""
    payment = {"type": "payment_intent", "payment_intent": intent}
    return stripe("invoice_payment.paid", {"invoice": invoice, "payment": payment})


@pytest.mark.parametrize("order", list(permutations("ilp")))
def test_an_invoice_and_its_intent_are_one_payment(order: Sequence[str]) -> None:
    """Since 2025-03-31 only a third report says so: whichever of them comes first counts."""
    world = over_a_table()
    intent = {key: value for key, value in INTENT.items() if key != "invoice"}
    reports = {
        "i": stripe("invoice.paid", NEW_INVOICE),
        "l": paid_by("in_1", "pi_1"),
        "p": stripe("payment_intent.succeeded", intent | USER),
    }
    waiting = [reports[name] for name in order]
    for _ in range(LINK_TRIES + 2):
        kept = world.deliver(*waiting)
        waiting = [each for each in waiting if each.id in kept]
    assert waiting == []
    assert len(world.linkrunner.events) == 1
    assert all(reason != "linked_late" for _, reason in world.outcomes)


def test_a_part_of_an_invoice_is_not_the_invoice() -> None:
    """Two intents that pay an invoice together are two payments."""
    world = over_a_table()
    payment = {"type": "payment_intent", "payment_intent": "pi_1"}
    part = {"invoice": "in_1", "payment": payment, "is_default": False}
    world.deliver(stripe("invoice_payment.paid", part))
    assert world.last == ("ignored", "nothing_to_report")
    facts: Any = world.ledger.facts
    assert not facts.is_linked(["stripe|payment|pi_1"])


PAID_AT_STRIPE = "pi_3SgK2pRxT4wK2pLmQz7b0aB1"


def woo(**changes: Any) -> Message:
    """A paid order of a shop that takes its money at Stripe."""
    moment = "2026-11-18T11:00:00"
    times = dict.fromkeys(("date_created_gmt", "date_modified_gmt", "date_paid_gmt"), moment)
    order = {"id": 7, "status": "processing", "currency": "USD", "total": "25.99", **times}
    order |= {"transaction_id": PAID_AT_STRIPE, "meta_data": []} | changes
    headers = {"x-wc-webhook-topic": "order.updated", "x-wc-webhook-delivery-id": "7"}
    return message("woocommerce", order, headers)


@pytest.mark.parametrize("shop_first", [True, False])
def test_a_shops_order_and_its_gateways_payment_are_one(*, shop_first: bool) -> None:
    """The order names the payment, so whichever report comes first counts, and the refund finds who paid."""
    world = over_a_table()
    meta = [{"key": "linkrunner_user_id", "value": "user_42"}]
    reports = [woo(meta_data=meta), checkout(payment_intent=PAID_AT_STRIPE)]
    world.deliver(*(reports if shop_first else reversed(reports)))
    assert world.outcomes == [("captured", "none"), ("duplicate", "none")]
    gone = woo(meta_data=meta, refunds=[{"id": 9, "total": "-10.00"}])
    back = [gone, refund(1000, payment_intent=PAID_AT_STRIPE)]
    world.deliver(*(back if shop_first else reversed(back)))
    assert world.linkrunner.amounts == {"paid": [25.99], "refunded": [10]}


def test_equal_refunds_of_a_shop_are_several() -> None:
    """Two of ten are twenty, in the shop's words and in the gateway's."""
    world = over_a_table()
    meta = [{"key": "linkrunner_user_id", "value": "user_42"}]
    twice = [{"id": 9, "total": "-10.00"}, {"id": 10, "total": "-10.00"}]
    world.deliver(woo(meta_data=meta, refunds=twice))
    world.deliver(refund(1000, payment_intent=PAID_AT_STRIPE))
    world.deliver(refund(2000, 1000, payment_intent=PAID_AT_STRIPE))
    assert world.linkrunner.amounts == {"paid": [25.99], "refunded": [10, 10]}


@pytest.mark.parametrize("shop_first", [True, False])
def test_equal_refunds_count_as_often_as_one_side_tells(*, shop_first: bool) -> None:
    """One of two was made by hand, and the gateway knows nothing of it."""
    world = over_a_table()
    meta = [{"key": "linkrunner_user_id", "value": "user_42"}]
    twice = [{"id": 9, "total": "-5.00"}, {"id": 10, "total": "-5.00"}]
    world.deliver(woo(meta_data=meta))
    reports = [
        woo(meta_data=meta, refunds=twice),
        refund(500, payment_intent=PAID_AT_STRIPE, **USER),
    ]
    world.deliver(*(reports if shop_first else reversed(reports)))
    assert world.linkrunner.amounts["refunded"] == [5, 5]


def test_doubts_are_those_of_all_sources() -> None:
    """Three requests of one sale went unanswered: the shop's report of it does not ask three times more."""
    world = over_a_table()
    unanswered(world, checkout(payment_intent=PAID_AT_STRIPE), 3)
    order = woo(meta_data=[{"key": "linkrunner_user_id", "value": "user_42"}])
    assert world.deliver(order) == []
    assert world.last == ("parked", "uncertain")


def test_a_part_paid_at_the_gateway_is_not_the_order() -> None:
    """Gift cards, deposits, sub-orders: what differs in its amount is another payment."""
    world = over_a_table()
    meta = [{"key": "linkrunner_user_id", "value": "user_42"}]
    world.deliver(checkout(payment_intent=PAID_AT_STRIPE, amount_total=2000))
    world.deliver(woo(meta_data=meta), woo(id=8, meta_data=meta))
    assert world.linkrunner.amounts["paid"] == [20, 25.99, 25.99]


def test_a_shop_alone_claims_no_gateways_key() -> None:
    """Where the gateway reports nothing here, its id is not worth the writes."""
    world = over_a_table()
    world.config = config.Config({"woocommerce": {}})
    world.deliver(woo(meta_data=[{"key": "linkrunner_user_id", "value": "user_42"}]))
    facts: Any = world.ledger.facts
    assert facts.user_of(["woocommerce|payment|7"]) == "user_42"
    assert facts.user_of([f"stripe|payment|{PAID_AT_STRIPE}"]) is None


def test_links_join_no_two_payments_of_one_sort() -> None:
    """An invoice that two intents paid is the first one's; the second is a payment of its own."""
    world = over_a_table()
    intent = {key: value for key, value in INTENT.items() if key != "invoice"} | USER
    world.deliver(paid_by("in_1", "pi_1"), paid_by("in_1", "pi_2"))
    world.deliver(stripe("payment_intent.succeeded", intent))
    second = stripe("payment_intent.succeeded", intent | {"id": "pi_2"})
    for _ in range(LINK_TRIES):
        assert world.deliver(second) == [second.id]
    assert world.deliver(second) == []
    assert len(world.linkrunner.events) == 2


def test_a_repetition_is_no_newer_word() -> None:
    """An old purchase that is edited and told again with a new time does not take the customer back."""
    world = over_a_table()
    users = [[{"key": "linkrunner_user_id", "value": user}] for user in ("alice", "bob")]
    ids = {"customer_id": 7, "transaction_id": ""}
    for number, (meta, day) in enumerate(zip(users, ("10", "11"), strict=True)):
        world.deliver(woo(id=number + 1, meta_data=meta, **ids, **paid_on(day)))
        world.now += 3600
    world.deliver(woo(id=1, meta_data=users[0], **ids, **paid_on("12")))
    assert world.last == ("duplicate", "none")
    world.deliver(woo(id=3, **ids, **paid_on("13")))
    assert world.linkrunner.events[-1].user_id == "bob"


def paid_on(day: str) -> dict[str, str]:
    """An order's times, of a day of the last month of the simulation's year."""
    moment = f"2027-01-{day}T11:00:00"
    return dict.fromkeys(("date_created_gmt", "date_modified_gmt", "date_paid_gmt"), moment)


@pytest.mark.parametrize("blip", ["learn", "complete"])
def test_a_contract_is_learned_although_the_ledger_failed_once(blip: str) -> None:
    """Through who paid the order that began it, whichever note came later."""
    world = over_a_table()
    ledger: Any = world.ledger
    order = shopify("orders/paid", ORDER)
    contract: dict[str, Any] = {
        "id": 55,
        "admin_graphql_api_id": "gid://shopify/SubscriptionContract/55",
    }
    begun = shopify("subscription_contracts/create", contract | {"origin_order_id": 1001})
    if blip == "complete":
        complete, ledger.facts.complete = ledger.facts.complete, lambda *_: 1 / 0
        world.deliver(order)
        ledger.facts.complete = complete
        world.deliver(*world.queue.put_back)
    else:
        world.deliver(order)
        learn, ledger.links.learn = ledger.links.learn, lambda *_: (_ for _ in ()).throw(down())
        assert world.deliver(begun) == [begun.id]
        ledger.links.learn = learn
    assert world.deliver(begun) == []
    attempt: dict[str, Any] = {"id": 9, "subscription_contract_id": 55}
    attempt |= {"admin_graphql_api_id": "gid://shopify/SubscriptionBillingAttempt/9"}
    assert world.deliver(shopify("subscription_billing_attempts/failure", attempt)) == []
    assert world.linkrunner.events[-1].user_id == "42"


def test_a_placeholder_stands_for_nobody() -> None:
    """An alias, a customer or a subscription that everybody has teaches nothing."""
    world = over_a_table()
    for number, customer in enumerate(("guest", "0", "anna@example.com", "null")):
        world.deliver(another(number, customer=customer))
        sent = another(100 + number, customer=customer, client_reference_id=None)
        assert world.deliver(sent) == []
        assert world.last == ("parked", "missing_user")


def test_an_old_purchase_does_not_take_the_customer_back() -> None:
    """A renewal is the subscriber's own, and says nothing about who uses the customer by now."""
    world = over_a_table()
    old = {"client_reference_id": "alice", "customer": "cus_1", "mode": "subscription"}
    world.deliver(checkout(**old, subscription="sub_1"))
    world.deliver(another(2, customer="cus_1", client_reference_id="bob"))
    metadata = {"linkrunner_user_id": "alice"}
    details = {"subscription_details": {"subscription": "sub_1", "metadata": metadata}}
    world.deliver(stripe("invoice.paid", NEW_INVOICE | {"parent": details, "customer": "cus_1"}))
    world.deliver(another(3, customer="cus_1", client_reference_id=None))
    assert [event.user_id for event in world.linkrunner.events] == ["bob", "alice", "bob"]


def test_an_intent_that_paid_no_invoice_waits_for_two_minutes() -> None:
    """And then counts, without the news that never comes."""
    world = over_a_table()
    intent = {key: value for key, value in INTENT.items() if key != "invoice"}
    sent = stripe("payment_intent.succeeded", intent | USER)
    for _ in range(LINK_TRIES):
        assert world.deliver(sent) == [sent.id]
        assert world.last == ("retrying", "link_unknown")
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


# ------------------------------------------------------------------------- the schedule


LONGEST = Reason.NETWORK.nature.longest_wait


@given(st.integers(-1, 2000))
def test_waits_double_up_to_an_hour(receives: int) -> None:
    """Each wait is at least as long as the one before, up to an hour, with some spread upwards."""
    doubled = min(FIRST_DELAY * 2 ** (min(max(receives, 1), 40) - 1), LONGEST)
    assert doubled <= delay(receives, Reason.NETWORK) <= doubled * 1.25
    assert delay(receives, Reason.NETWORK) <= LONGEST * 1.25


@given(st.integers(1, 500), st.floats(0, 3600))
def test_retry_after_is_a_promise(receives: int, retry_after: float) -> None:
    """Nobody comes back before they were asked to."""
    assert (
        retry_after
        <= delay(receives, Reason.NETWORK, retry_after)
        <= max(retry_after, LONGEST) * 1.25
    )


def test_waits_are_spread() -> None:
    """A backlog does not come back as one wave."""
    assert len({delay(5, Reason.NETWORK) for _ in range(20)}) > 10
    assert len({delay(5, Reason.NETWORK, 60) for _ in range(20)}) > 10


def _outage(world: World, error: Unavailable) -> tuple[float, int]:
    """The age at which a message is parked and how often it was tried by then."""
    receives, sent = 0, checkout()
    while not world.queue.parked:
        receives += 1
        assert receives <= MOST_RECEIVES, "SQS would have moved it away by now"
        world.linkrunner.script = [error]
        if world.deliver(replace(sent, receives=receives)):
            world.now += world.queue.delayed[sent.id]
    return world.now - sent.sent_at, receives


def test_an_outage_of_two_days_is_ridden_out(world: World) -> None:
    """A message is tried for more than two days, and then parked by us and not by SQS."""
    age, tries = _outage(world, down(Reason.RATE_LIMITED))
    assert 48 * HOUR < age < 72 * HOUR
    assert tries < MOST_RECEIVES / 2
    assert world.queue.parked[0][1] == "exhausted"


@pytest.mark.parametrize("retry_after", [0.0, 1.0, 60.0])
def test_an_impatient_server_is_ridden_out(world: World, retry_after: float) -> None:
    """Retry-After says when to come back at the earliest; the schedule still spans two days."""
    age, _ = _outage(world, down(Reason.RATE_LIMITED, retry_after))
    assert age > 48 * HOUR


def failing(world: World, seconds: float) -> None:
    """Captures of the usual payment have been failing for so long."""
    world.claims.since["stripe|payment|pi_1"] = world.now - seconds


@pytest.mark.parametrize("reason", [Reason.UNAVAILABLE, Reason.NO_KEY, Reason.NETWORK])
def test_a_message_is_parked_when_the_schedule_ends(world: World, reason: Reason) -> None:
    """What failed for longer than the schedule is parked and says why it failed last."""
    world.linkrunner.script = [down(reason)] * 2
    failing(world, PATIENCE - 1)
    sent = checkout()
    assert world.deliver(sent) == [sent.id]
    failing(world, PATIENCE + 1)
    assert world.deliver(sent) == []
    assert world.last == ("parked", "exhausted")
    assert reason in world.queue.parked[0][2]


def test_a_first_failure_exhausts_nothing(world: World) -> None:
    """A message that was held up for days by a broken function has all its patience left."""
    world.linkrunner.script = [down()]
    sent = checkout(age=PATIENCE * 2, receives=300)
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "unavailable")


@pytest.mark.parametrize(
    "reason", [Reason.UNAVAILABLE, Reason.LEDGER, Reason.BUSY, Reason.INTERNAL, Reason.SECRET]
)
def test_what_still_waits_is_parked_before_the_queue_drops_it(world: World, reason: Reason) -> None:
    """Whatever a message waits for, it is parked days before SQS would delete it."""
    world.claims.failing = {"claim": down(reason)}
    young, old = another(1, age=LAST_RESORT - 1), another(2, age=LAST_RESORT + 1)
    assert world.deliver(young) == [young.id]
    assert world.deliver(old) == []
    assert world.last == ("parked", "exhausted")
    assert LAST_RESORT <= RETENTION - 3 * 24 * HOUR


def test_an_old_message_is_still_delivered(world: World) -> None:
    """Age alone parks nothing."""
    assert world.deliver(checkout(age=LAST_RESORT * 1.2, receives=300)) == []
    assert world.last == ("captured", "none")


def test_waiting_for_others_exhausts_nothing(world: World) -> None:
    """A fact in another worker's hands, and a lack of time, are not failures of the message."""
    sent = checkout(age=PATIENCE + 1)
    world.claims.claim(["stripe|payment|pi_1"], "somebody")
    assert world.deliver(sent) == [sent.id]
    assert world.deliver(sent, remaining=lambda: 0.0) == [sent.id]
    assert world.outcomes == [("retrying", "busy"), ("retrying", "out_of_time")]


# ------------------------------------------------------------------------- two workers, and dying ones


class SlowLinkrunner(FakeLinkrunner):
    """Takes the event, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.answer = threading.Event(), threading.Event()

    def __call__(self, event: ApiRequest) -> None:
        super().__call__(event)
        self.taken.set()
        assert self.answer.wait(10)


def test_two_workers_with_the_same_message(world: World) -> None:
    """While one captures, the other one waits; in the end there is one event."""
    world.linkrunner = slow = SlowLinkrunner()
    sent, kept = checkout(), list[str]()
    first = threading.Thread(target=lambda: kept.extend(world.deliver(sent)))
    first.start()
    assert slow.taken.wait(10)
    assert world.deliver(sent) == [sent.id]
    slow.answer.set()
    first.join(10)
    assert (kept, len(slow.requests)) == ([], 1)
    assert world.deliver(sent) == []
    assert world.outcomes == [("retrying", "busy"), ("captured", "none"), ("duplicate", "none")]


@pytest.mark.parametrize("death", [SystemExit(1), KeyboardInterrupt(), MemoryError()])
def test_a_worker_that_is_ended_leaves_a_lease(world: World, death: BaseException) -> None:
    """Who ends in the middle of a request does not know what it did: the lease runs out first."""
    world.linkrunner.script = [death]
    sent = checkout()
    if isinstance(death, Exception):
        assert world.deliver(sent) == [sent.id]
    else:
        with pytest.raises(type(death)):
            world.deliver(sent)
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "busy")
    world.now += LEASE
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


def test_a_worker_that_is_killed_leaves_a_lease(world: World) -> None:
    """A worker that could not clean up blocks the fact until its lease has run out."""
    world.linkrunner.script = [SystemExit(1)]
    world.claims.failing = {"release": SystemExit(1)}
    sent = checkout()
    with pytest.raises(SystemExit):
        world.deliver(sent)
    assert world.deliver(sent) == [sent.id]
    assert world.last == ("retrying", "busy")
    world.now += LEASE
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


# ------------------------------------------------------------------------- once, whatever is reported

Reports = Sequence[Callable[[], Message]]


def reported(kinds: Reports) -> FakeLinkrunner:
    """What Linkrunner has after these deliveries, one after the other, through the real claims."""
    table = FakeTable()
    world = World(Ledger(table, "ledger", clock=lambda: NOW))
    for kind in kinds:
        assert world.deliver(kind()) == []
    assert world.queue.parked == []
    assert {outcome for outcome, _ in world.outcomes} <= {"captured", "duplicate", "ignored"}
    return world.linkrunner


def in_every_order(kinds: Reports) -> list[Reports]:
    """Each report twice: every order of the first time, and the opposite one of the second."""
    return [[*order, *reversed(order)] for order in permutations(kinds)]


STRIPE_PAYMENT: Reports = [
    checkout,
    lambda: stripe("payment_intent.succeeded", INTENT | USER),
    lambda: stripe("charge.succeeded", CHARGE | USER),
    lambda: refund(1000, **USER),
]
SHOPIFY_ORDER: Reports = [
    lambda: shopify("orders/create", ORDER),
    lambda: shopify("orders/paid", ORDER),
    lambda: shopify("orders/paid", ORDER, "shopify_eu"),
    lambda: shopify(
        "refunds/create",
        SHOPIFY_REFUND | {"note_attributes": [{"name": "linkrunner_user_id", "value": "42"}]},
    ),
]


@pytest.mark.parametrize("order", in_every_order(STRIPE_PAYMENT))
def test_a_stripe_payment_counts_once(order: Reports) -> None:
    """However Stripe reports a Checkout payment and its refund, each counts once."""
    assert reported(order).amounts == {"paid": [25.99], "refunded": [10]}


def test_a_stripe_payment_counts_once_in_any_mixture() -> None:
    """Both deliveries of every report of a payment, in each order that there is."""
    twice = sorted([0, 1, 2] * 2)
    orders = set(permutations(twice))
    assert len(orders) == 90
    for order in orders:
        amounts = reported([STRIPE_PAYMENT[number] for number in order]).amounts
        assert amounts == {"paid": [25.99], "refunded": []}


@pytest.mark.parametrize("shape", [OLD_INVOICE, NEW_INVOICE], ids=["before-2025", "since-2025"])
@pytest.mark.parametrize("order", range(6))
def test_a_period_of_a_stripe_subscription_counts_once(
    shape: Mapping[str, Any], order: int
) -> None:
    """A period of a subscription counts once under each of Stripe's names, and so does its refund."""
    ids: dict[str, Any] = {"payment_intent": "pi_9", "id": "ch_9", "currency": "eur"}
    kinds: Reports = [
        lambda: stripe("invoice.paid", shape),
        lambda: stripe("invoice.payment_succeeded", shape),
        lambda: refund(990, **ids, **USER),
    ]
    linkrunner = reported(in_every_order(kinds)[order])
    assert linkrunner.amounts == {"paid": [9.9], "refunded": [9.9]}
    assert {event.user_id for event in linkrunner.events} == {"user_42"}
    assert linkrunner.events[0].event_name in ("subscription_renewed", "purchase_refunded")


SESSION_WITH_INVOICE: dict[str, Any] = {"invoice": "in_1", "amount_total": 990, "currency": "eur"}
INVOICED_CHECKOUT: Reports = [
    lambda: stripe("invoice.paid", NEW_INVOICE | {"billing_reason": "manual"}),
    lambda: stripe("payment_intent.succeeded", INTENT | USER | {"amount_received": 990}),
    lambda: checkout(**SESSION_WITH_INVOICE),
]


@pytest.mark.parametrize("order", in_every_order(INVOICED_CHECKOUT))
def test_an_invoiced_checkout_links_its_reports(order: Reports) -> None:
    """A session that made an invoice links the reports of either, unless it is the last to come."""
    times = 2 if order[2] is INVOICED_CHECKOUT[2] else 1
    assert reported(order).amounts["paid"] == [9.9] * times


@pytest.mark.parametrize("order", in_every_order(SHOPIFY_ORDER))
def test_a_shopify_order_counts_once(order: Reports) -> None:
    """An order counts once whichever topics and subscriptions report it, and so does its refund."""
    assert reported(order).amounts == {"paid": [59.9], "refunded": [9.9]}


def test_equal_refunds_of_one_charge_are_two() -> None:
    """Two refunds of the same amount are two facts, each with its own amount."""
    kinds: Reports = [lambda: refund(500, **USER), lambda: refund(1000, 500, **USER)]
    for order in in_every_order(kinds):
        assert reported(order).amounts["refunded"] == [5, 5]


def test_equal_refunds_of_one_order_are_two() -> None:
    """Two refunds of an order are told apart by their own ids."""
    body = SHOPIFY_REFUND | {"note_attributes": [{"name": "linkrunner_user_id", "value": "42"}]}
    kinds: Reports = [
        lambda: shopify("refunds/create", body),
        lambda: shopify("refunds/create", body | {"id": 6}),
    ]
    for order in in_every_order(kinds):
        assert reported(order).amounts["refunded"] == [9.9, 9.9]


@pytest.mark.parametrize("shape", [OLD_INVOICE, NEW_INVOICE], ids=["before-2025", "since-2025"])
def test_renewals_are_told_apart(shape: Mapping[str, Any]) -> None:
    """Each period of one subscription counts, at the same price as the one before."""
    ids = {"id": "in_2"} | ({"payment_intent": "pi_10"} if "payment_intent" in shape else {})
    kinds: Reports = [
        lambda: stripe("invoice.paid", shape),
        lambda: stripe("invoice.paid", {**shape, **ids}),
    ]
    for order in in_every_order(kinds):
        assert reported(order).amounts["paid"] == [9.9, 9.9]


def test_equal_sales_are_told_apart() -> None:
    """Sales of one amount to one user are as many as there are payments and orders."""
    kinds: Reports = [
        checkout,
        lambda: another(2),
        lambda: shopify("orders/paid", ORDER),
        lambda: shopify(
            "orders/paid", ORDER | {"id": 1002, "admin_graphql_api_id": "gid://shopify/Order/1002"}
        ),
    ]
    for order in in_every_order(kinds):
        assert reported(order).amounts["paid"] == [25.99, 25.99, 59.9, 59.9]


def test_a_refund_of_everything_is_no_payment() -> None:
    """A refund of the whole amount does not pass for the payment, in whatever order they come."""
    kinds: Reports = [checkout, lambda: refund(2599, **USER)]
    for order in in_every_order(kinds):
        assert reported(order).amounts == {"paid": [25.99], "refunded": [25.99]}


# ------------------------------------------------------------------------- what may have been captured


def parked_again(world: World, message: Message) -> Message:
    """The message as an operator puts it back, whatever it was parked for."""
    letter, _, _ = world.queue.letters[-1]
    return replace(message, attributes=letter.attributes)


def unanswered(world: World, message: Message, times: int) -> None:
    """Linkrunner says nothing to so many requests, one after the other."""
    for _ in range(times):
        world.linkrunner.script = [down(Reason.UNANSWERED)]
        assert world.deliver(message) == [message.id]
        assert world.last == ("retrying", "unanswered")
        assert world.queue.delayed[message.id] >= 900
        world.now += 3600


def test_what_may_have_been_captured_is_a_persons_decision() -> None:
    """Three requests without an answer, and the fourth is made when somebody says so."""
    world, sent = over_a_table(), checkout()
    unanswered(world, sent, 3)
    assert world.deliver(sent) == []
    assert world.last == ("parked", "uncertain")
    assert len(world.linkrunner.requests) == 3
    again = parked_again(world, sent)
    unanswered(world, again, 2)
    assert world.deliver(again) == []
    assert world.last == ("captured", "none")


def test_every_report_of_an_uncertain_fact_is_uncertain() -> None:
    """Another report of the same payment is no other payment."""
    world = over_a_table()
    unanswered(world, checkout(), 3)
    world.deliver(stripe("payment_intent.succeeded", INTENT | USER))
    assert world.last == ("parked", "uncertain")


def test_an_operator_may_prefer_repeats_to_decisions() -> None:
    """With `uncertain = "repeat"` the schedule goes on as in any other outage."""
    world, sent = over_a_table(), checkout()
    world.config = config.Config({"stripe": {"uncertain": "repeat"}})
    unanswered(world, sent, 6)
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


def over_a_table() -> World:
    """A world with the real claims."""
    world = World()
    world.ledger = Ledger(FakeTable(), "ledger", clock=lambda: world.now)
    return world


def test_a_fact_without_an_answer_waits_for_all_its_reports() -> None:
    """Nobody asks for the same payment while the first request may still be captured."""
    world = over_a_table()
    unanswered(world, checkout(), 1)
    world.now -= 3600 - 60
    twin = checkout()
    assert world.deliver(twin) == [twin.id]
    assert world.last == ("retrying", "busy")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Refused("no"), ("parked", "refused")), (down(), ("retrying", "unrecorded"))],
)
def test_what_was_captured_without_a_note_is_never_sent_again(
    error: Exception, outcome: tuple[str, str]
) -> None:
    """Whatever becomes of the second event, the next life of the message knows of the first."""
    world = World()
    world.config = config.Config({"woocommerce": {}})
    world.linkrunner.script = [None, error]
    world.claims.failing = {"complete": down(Reason.LEDGER)}
    sent = two_events()
    assert world.deliver(sent) == []
    assert world.outcomes == [("captured", "unrecorded"), outcome]
    world.claims.failing = {}
    world.now += LEASE
    again = parked_again(world, sent) if world.queue.letters else world.queue.put_back[0]
    assert world.deliver(again) == []
    names = [event.event_name for event in world.linkrunner.events]
    assert names == ["purchase_completed", "order_fulfilled"]


# ------------------------------------------------------------------------- batches and what they die on


def test_a_batch_is_read_before_anything_is_sent_or_parked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the function dies on takes no captured or parked message with it."""
    monkeypatch.setattr("linkrunner_webhooks.intake.open_message", dies_on("?"))
    sent = [checkout(), checkout(client_reference_id=None), replace(checkout(), text="?")]
    with pytest.raises(SystemExit):
        world.deliver(*sent)
    assert (world.linkrunner.requests, world.queue.parked) == ([], [])


def dies_on(text: str) -> Callable[[str, config.Config], Opened]:
    """Opening that ends the process at this text."""

    def opened(read: str, known: config.Config) -> Opened:
        if read == text:
            raise SystemExit(1)
        return open_message(read, known)

    return opened


def test_what_the_function_dies_on_is_parked_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three deaths it is not opened any more, and it has the whole time of the dead-letter queue."""
    monkeypatch.setattr("linkrunner_webhooks.intake.open_message", dies_on("?"))
    sent = replace(checkout(), text="?", receives=SUSPICIOUS + 1)
    for death in range(DEATHS):
        with pytest.raises(SystemExit):
            world.deliver(sent)
        assert (sent.id in world.queue.delayed) is (death > 0)
    assert world.deliver(sent) == []
    assert world.last == ("parked", "crashed")
    assert world.deliver(checkout()) == []


def test_coming_often_is_no_crash(world: World) -> None:
    """A message that is opened again and again in an outage never counts as deadly."""
    sent = checkout(receives=SUSPICIOUS + 1)
    for _ in range(DEATHS + 2):
        world.linkrunner.script = [down()]
        assert world.deliver(sent) == [sent.id]
    assert world.deliver(sent) == []
    assert world.last == ("captured", "none")


def test_a_suspicious_message_waits_for_the_table(world: World) -> None:
    """Without a count it is not opened: nobody would know how often the function died on it."""
    world.claims.failing = {"count": down(Reason.LEDGER)}
    sent = [checkout(receives=SUSPICIOUS + 1), checkout()]
    assert world.deliver(*sent) == [each.id for each in sent]
    assert world.outcomes == [("retrying", "ledger")] * 2


# ------------------------------------------------------------------------- memory, and what signs too little


def test_what_is_older_than_the_memory_is_a_persons_decision(world: World) -> None:
    """Its capture may be forgotten, so it is sent only when somebody insists."""
    sent = checkout(age=KEPT + 1)
    sent = replace(sent, sent_at=world.now)
    assert world.deliver(sent) == []
    assert world.last == ("parked", "too_old")
    forced = Past(forced=True).among(sent.attributes)
    assert world.deliver(replace(sent, attributes=forced)) == []
    assert world.last == ("captured", "none")


def cancelled(action: str) -> Message:
    """Adyen's word that a payment was cancelled or refunded; which of them is not signed."""
    details = {"modification.action": action, "hmacSignature": "signature of psp_2"}
    ids = {"pspReference": "psp_2", "originalReference": "psp_1"}
    return adyen("CANCEL_OR_REFUND", additionalData=details, **ids)


def test_another_body_under_the_same_signature_counts_nothing(world: World) -> None:
    """What was cancelled does not become refunded by a changed copy of the report."""
    world.deliver(adyen(), cancelled("cancel"), cancelled("refund"))
    assert world.outcomes[-1] == ("parked", "contradicted")
    assert world.linkrunner.amounts == {"paid": [25.99], "refunded": []}
    world.deliver(cancelled("cancel"))
    assert world.last == ("duplicate", "none")


def test_a_report_that_comes_again_with_other_details_is_a_duplicate(world: World) -> None:
    """Providers repeat themselves with newer details, and what is counted already needs no person."""
    world.deliver(adyen(), adyen(additionalData={"hmacSignature": "signature of psp_1"}))
    assert world.deliver(adyen(merchantReference="another")) == []
    assert world.last == ("duplicate", "none")


def test_a_doubt_that_was_forgiven_is_one_events_own() -> None:
    """Who sends the first event again has not decided about the second."""
    world = over_a_table()
    world.config = config.Config({"woocommerce": {}})
    sent = two_events()
    unanswered(world, sent, 3)
    assert world.deliver(sent) == []
    assert world.last == ("parked", "uncertain")
    again = parked_again(world, sent)
    for _ in range(3):
        world.linkrunner.script = [down(Reason.UNANSWERED)] * 2
        # The first event is captured by now.
        world.linkrunner.script[:0] = [None] * (not world.linkrunner.events)
        assert world.deliver(again) == [again.id]
        world.now += 3600
    assert world.deliver(again) == []
    assert world.last == ("parked", "uncertain")
    assert [event.event_name for event in world.linkrunner.events] == ["purchase_completed"]


def test_a_note_that_fails_keeps_others_away() -> None:
    """While a capture is noted again and again, its lease keeps its other reports away."""
    world = over_a_table()
    facts: Any = world.ledger.facts
    complete, facts.complete = facts.complete, lambda *_: (_ for _ in ()).throw(down())
    assert world.deliver(checkout()) == []
    (copy,) = world.queue.put_back
    assert world.deliver(copy) == [copy.id]
    facts.complete = complete
    twin = checkout()
    assert world.deliver(twin) == [twin.id]
    assert world.last == ("retrying", "busy")
    assert world.deliver(copy, twin) == []
    assert len(world.linkrunner.events) == 1


def test_force_is_for_one_life() -> None:
    """A message that parks again is a person's decision again."""
    world = over_a_table()
    sent = checkout()
    world.linkrunner.script = [Refused("no")]
    forced = Past(forced=True).among(sent.attributes)
    assert world.deliver(replace(sent, attributes=forced)) == []
    assert not Past.of(parked_again(world, sent).attributes).forced


def test_a_doubt_is_noted_with_patience(world: World) -> None:
    """A request without an answer weighs more than a lease that ran out, so the note is tried again."""
    kept, failures = world.claims.keep, [down(Reason.LEDGER)] * 2

    def keep(claim: Claim, seconds: float, *, doubtful: bool = True, told: str = "event") -> None:
        if failures:
            raise failures.pop()
        kept(claim, seconds, doubtful=doubtful, told=told)

    world.claims.keep = keep  # type: ignore[method-assign]
    world.linkrunner.script = [down(Reason.UNANSWERED)]
    world.deliver(checkout())
    assert set(world.claims.open.values()) == {1}


def test_a_conversion_that_is_noted_later_is_the_only_one() -> None:
    """The copy that notes a capture notes its marks and what is linked to it, as the capture would have."""
    world = over_a_table()
    trial = {"id": "sub_1", "status": "trialing", "trial_end": 1_800_500_000} | USER
    assert world.deliver(stripe("customer.subscription.created", trial)) == []
    assert world.last == ("captured", "none")
    table: Any = world.ledger.facts
    complete, table.complete = table.complete, lambda *_: (_ for _ in ()).throw(down())
    first = stripe("invoice.paid", NEW_INVOICE)
    assert world.deliver(first) == []
    table.complete = complete
    assert world.deliver(world.queue.put_back[0]) == []
    second = NEW_INVOICE | {"id": "in_2"}
    assert world.deliver(stripe("invoice.paid", second), stripe("invoice.paid", NEW_INVOICE)) == []
    assert world.last == ("duplicate", "none")
    names = [event.event_name for event in world.linkrunner.events]
    assert names == ["trial_started", "trial_converted", "subscription_renewed"]


def test_a_link_that_comes_last_is_told() -> None:
    """Two captures that turn out to be one payment are counted as such, once."""
    world = over_a_table()
    intent = stripe("payment_intent.succeeded", INTENT | USER)
    invoice = stripe("invoice.paid", NEW_INVOICE | {"amount_paid": 2599, "currency": "usd"})
    world.deliver(intent, invoice, checkout(invoice="in_1"), checkout(invoice="in_1"))
    assert world.outcomes[-2:] == [("duplicate", "linked_late"), ("duplicate", "none")]
