from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from threading import Lock
from typing import Any, Self

import pytest
from botocore.exceptions import EndpointConnectionError
from tests.messages import adyen

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import DeadLetters, Depth, depth
from linkrunner_webhooks.envelope import Envelope
from linkrunner_webhooks.event_body import fingerprint
from linkrunner_webhooks.letters import Filter, Letter, foresee
from linkrunner_webhooks.model import Outcome, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.once import KEPT
from linkrunner_webhooks.past import Capture, Past, marked
from linkrunner_webhooks.queues import typed
from linkrunner_webhooks.rows import DAY
from linkrunner_webhooks.schedule import DOUBTS
from linkrunner_webhooks_cli.discarding import described

NOW = datetime.now(UTC)
TODAY = {"now": NOW.timestamp()}
CONFIG = Config(
    {"stripe": {}, "adyen": {}, "guests": {"provider": "stripe", "missing_user": "drop"}}
)
SESSION = {
    "id": "cs_1",
    "mode": "payment",
    "payment_status": "paid",
    "amount_total": 2599,
    "currency": "usd",
    "payment_intent": "pi_1",
    "client_reference_id": "user_42",
}


def text(body: Any, source: str = "stripe", received_at: float = 0.0) -> str:
    """The message of a Stripe event."""
    webhook = Webhook(source, {}, json.dumps(body).encode())
    provider = CONFIG.source("stripe")
    assert provider is not None
    return Envelope(webhook, received_at).seal(provider.provider)


def session(source: str = "stripe", **changes: Any) -> str:
    """The message of a paid checkout session, with changes."""
    event = {"id": "evt_1", "type": "checkout.session.completed"}
    return text(event | {"data": {"object": SESSION | changes}}, source)


def letter(body: str, **attributes: str) -> Letter:
    """A parked message."""
    return Letter(id="m1", handle="r1", text=body, attributes=attributes, sent_at=NOW)


@dataclass(frozen=True)
class Known:
    """What is captured, for whom, and which body came first under a signature."""

    users: Mapping[str, str] = field(default_factory=dict)
    first: str | None = None
    doubts: int = 0
    kept: int = KEPT
    asked: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def facts(self) -> Self:
        return self

    notes = facts

    def user_of(self, keys: Iterable[str]) -> str | None:
        self.asked.append(tuple(keys))
        return next((self.users[key] for key in keys if key in self.users), None)

    def rate_of(self, keys: Iterable[str]) -> None:
        del keys

    def is_done(self, keys: Iterable[str], shared: Iterable[str] = ()) -> bool:
        del shared
        return any(key in self.users for key in keys)

    def doubts_of(self, keys: Iterable[str]) -> int:
        return self.doubts if any(key.startswith("stripe|payment|") for key in keys) else 0

    def bound_to(self, name: str) -> str | None:
        del name
        return self.first


ODD = ("", "abc", "²", "-1", "1.5", "99999999999999", "9" * 15, "9" * 5000)


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:16])
def test_an_odd_attribute_is_read_as_none(text: str) -> None:
    """Anybody who may send to the queue writes what they like: a bad time is the time it was sent."""
    odd = letter("", parked_at=text, attempts=text)
    told = described(odd)
    assert told["parked_at"] == NOW.isoformat(timespec="seconds")
    assert told["attempts"] == (int(text) if text.startswith("9") and len(text) < 16 else 0)
    assert Filter(since=NOW, until=NOW).matches(odd)


def test_what_parking_wrote_is_read() -> None:
    """The time in unix seconds, and how often it was tried."""
    told = described(letter("", parked_at="1795000000", attempts="7"))
    assert (told["parked_at"], told["attempts"]) == ("2026-11-18T11:06:40+00:00", 7)


NOTHING = Known()
# The payment of the session.
PAID = Known({"stripe|payment|pi_1": "user_7"})


# ------------------------------------------------------------------------- foreseeing


def test_what_is_fixed_would_be_captured() -> None:
    """A letter that today's code understands is foretold with its bodies and its money."""
    forecast = foresee(letter(session()), CONFIG, NOTHING, **TODAY)
    assert (forecast.outcome, forecast.would_park) == (Outcome.CAPTURED, False)
    assert [event.user_id for event in forecast.events] == ["user_42"]
    assert forecast.money == (("purchase_completed", Money.of("25.99", "USD")),)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (session(client_reference_id=None), "missing_user"),
        (session(amount_total="much"), "untranslatable"),
        (session(source="closed"), "unroutable"),
        ("not ours", "unreadable"),
        (text({"no": "id"}), "untranslatable"),
    ],
)
def test_what_is_not_fixed_would_park_again(body: str, reason: str) -> None:
    """The forecast has the reason it would be parked with."""
    forecast = foresee(letter(body), CONFIG, NOTHING, **TODAY)
    assert (forecast.outcome, forecast.reason) == (Outcome.PARKED, reason)
    assert forecast.would_park


def test_what_would_be_dropped_is_told() -> None:
    """Where missing users are dropped, redriving means dropping, and that is no parking."""
    forecast = foresee(letter(session("guests", client_reference_id="")), CONFIG, NOTHING, **TODAY)
    assert (forecast.outcome, forecast.reason) == (Outcome.IGNORED, "missing_user")


def test_who_paid_is_asked_for_what_follows() -> None:
    """A refund without a user is foretold for the user of its payment."""
    charge = {"id": "ch_1", "amount_refunded": 500, "currency": "usd", "payment_intent": "pi_1"}
    refund = {"id": "evt_2", "type": "charge.refunded", "data": {"object": charge}}
    payer = Known(PAID.users)
    forecast = foresee(letter(text(refund)), CONFIG, payer, **TODAY)
    assert [event.user_id for event in forecast.events] == ["user_7"]
    paid = ("stripe|payment|pi_1", "stripe|payment|ch_1")
    begun = ("stripe|purchase_initiated|pi_1", "stripe|purchase_initiated|ch_1")
    assert payer.asked == [("stripe|refund|ch_1:500", *paid, *begun)]


@pytest.mark.parametrize("user", ["user_42", None])
def test_what_was_captured_meanwhile_is_foretold_like_deliver_would(user: str | None) -> None:
    """A letter whose fact was captured by another report is a duplicate: no parking, and no money."""
    forecast = foresee(letter(session(client_reference_id=user)), CONFIG, PAID, **TODAY)
    assert (forecast.outcome, forecast.would_park) == (Outcome.DUPLICATE, False)
    assert forecast.money == ()


WORDS = 'Linkrunner answered 400: "no such app"'


def test_a_refused_event_that_is_still_the_same_is_refused_again() -> None:
    """Nothing is promised: neither a capture nor its money, and the forecast has Linkrunner's words."""
    bodies = fingerprint(foresee(letter(session()), CONFIG, NOTHING, **TODAY).events)
    for known_bodies, changed in (
        (bodies, "unless Linkrunner changed"),
        ("", "your configuration"),
    ):
        refused = letter(session(), reason="refused", error=WORDS, bodies=known_bodies)
        forecast = foresee(refused, CONFIG, NOTHING, **TODAY)
        assert (forecast.outcome, forecast.reason) == (Outcome.PARKED, "refused")
        assert (forecast.would_park, forecast.money) == (True, ())
        assert WORDS in forecast.detail
        assert changed in forecast.detail


def test_a_refused_event_that_is_another_one_now_may_be_captured() -> None:
    """A changed mapping or webhooks.toml makes another body, which Linkrunner has not refused."""
    bodies = fingerprint(foresee(letter(session()), CONFIG, NOTHING, **TODAY).events)
    renamed = Config({"stripe": {"events": {"checkout.session.completed": "sold"}}})
    refused = letter(session(), reason="refused", error=WORDS, bodies=bodies)
    forecast = foresee(refused, renamed, NOTHING, **TODAY)
    assert (forecast.outcome, len(forecast.money)) == (Outcome.CAPTURED, 1)


def test_a_refused_event_that_was_captured_meanwhile_is_a_duplicate() -> None:
    """What another report brought to Linkrunner is not refused again."""
    refused = letter(session(), reason="refused", error=WORDS)
    assert foresee(refused, CONFIG, PAID, **TODAY).outcome is Outcome.DUPLICATE


def test_what_is_older_than_the_memory_stays_parked() -> None:
    """Its capture may be forgotten: only who insists sends it, and then it is sent."""
    event = {"id": "evt_1", "type": "checkout.session.completed", "data": {"object": SESSION}}
    old = letter(text(event, received_at=TODAY["now"] - KEPT - DAY))
    assert foresee(old, CONFIG, NOTHING, **TODAY).reason == "too_old"
    forced = replace(old, attributes=Past(forced=True).among({}))
    assert foresee(forced, CONFIG, NOTHING, **TODAY).outcome is Outcome.CAPTURED


def test_what_was_captured_without_a_note_is_not_promised() -> None:
    """The letter itself says which of its events count already."""
    (planned,) = foresee(letter(session()), CONFIG, NOTHING, **TODAY).planned
    captured = Capture(owner="one", user_id="user_42", keys=planned.keys)
    past = Past(captured={marked(planned.keys): captured})
    forecast = foresee(letter(session(), **past.among({})), CONFIG, NOTHING, **TODAY)
    assert forecast.outcome is Outcome.DUPLICATE


def test_what_may_be_captured_is_foretold_as_deliver_would() -> None:
    """A letter whose fact is in doubt parks again, unless a person has decided about just that doubt."""
    forecast = foresee(letter(session()), CONFIG, Known(doubts=DOUBTS), **TODAY)
    assert (forecast.outcome, forecast.reason) == (Outcome.PARKED, "uncertain")
    (planned,) = foresee(letter(session()), CONFIG, NOTHING, **TODAY).planned
    decided = letter(session(), **Past(doubts={marked(planned.keys): DOUBTS}).among({}))
    assert foresee(decided, CONFIG, Known(doubts=DOUBTS), **TODAY).outcome is Outcome.CAPTURED


def test_another_body_under_the_same_signature_is_foretold() -> None:
    """What deliver parks as contradicted is not promised, unless a person insists."""
    body = adyen().text
    for first, outcome in ((None, Outcome.CAPTURED), ("another", Outcome.PARKED)):
        forecast = foresee(letter(body), CONFIG, Known(first=first), **TODAY)
        assert forecast.outcome is outcome
    assert forecast.reason == "contradicted"
    forced = letter(body, **Past(forced=True).among({}))
    assert foresee(forced, CONFIG, Known(first="another"), **TODAY).outcome is Outcome.CAPTURED


# ------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("chosen", "matches"),
    [
        (Filter(), True),
        (Filter(reason="refused"), True),
        (Filter(reason="missing_user"), False),
        (Filter(source="stripe", event_type="invoice.paid"), True),
        (Filter(source="shopify"), False),
        (Filter(since=NOW - timedelta(hours=1)), True),
        (Filter(since=NOW + timedelta(hours=1)), False),
        (Filter(until=NOW - timedelta(hours=1)), False),
    ],
)
def test_a_letter_must_match_the_whole_filter(chosen: Filter, *, matches: bool) -> None:
    """A letter matches if every field of the filter that is set does."""
    attributes = {"reason": "refused", "source": "stripe", "event_type": "invoice.paid"}
    assert chosen.matches(letter("", **attributes)) is matches


def test_what_sqs_moved_itself_has_a_reason_too() -> None:
    """A message without our story crashed the function; it is dated by SQS."""
    crashed = letter("", source="stripe")
    assert (crashed.reason, crashed.parked_at) == ("crashed", NOW)
    assert replace(crashed, attributes={"parked_at": "1800000000"}).parked_at.year == 2027


# ------------------------------------------------------------------------- letting go


NO_ANSWER = EndpointConnectionError(endpoint_url="https://sqs")


class Shelf:
    """A dead-letter queue that knows what it hides. `failing` are the calls of a method that fail."""

    def __init__(self, size: int, error: BaseException = NO_ANSWER, **failing: set[int]) -> None:
        self._error = error
        self.visible = [f"r{number}" for number in range(size)]
        self.hidden: set[str] = set()
        self._failing = failing
        self._calls = Counter[str]()
        self._lock = Lock()

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        counts = {
            "ApproximateNumberOfMessages": len(self.visible),
            "ApproximateNumberOfMessagesNotVisible": len(self.hidden),
        }
        return {"Attributes": counts, "ResponseMetadata": {"HTTPHeaders": {}}}

    def receive_message(self, **_: Any) -> dict[str, Any]:
        with self._lock:
            self._call("receive")
            taken, self.visible = self.visible[:10], self.visible[10:]
            self.hidden |= set(taken)
        return {"Messages": [self._message(handle) for handle in taken]}

    def change_message_visibility_batch(self, **arguments: Any) -> None:
        self._call("restore")
        self.hidden -= {each["ReceiptHandle"] for each in arguments["Entries"]}

    def _call(self, method: str) -> None:
        self._calls[method] += 1
        if self._calls[method] in self._failing.get(method, ()):
            raise self._error

    @staticmethod
    def _message(handle: str) -> dict[str, Any]:
        return {
            "MessageId": handle,
            "ReceiptHandle": handle,
            "Body": "",
            "Attributes": {"SentTimestamp": "1000"},
        }


def read(shelf: Shelf, error: type[BaseException] | None = None) -> None:
    """Read a queue to its end, or end with an error after the first letter, still holding the iterator."""
    with DeadLetters(shelf, "dead", "alive").reading() as reading:
        letters = iter(reading)
        next(letters)
        if error is not None:
            raise error
        list(letters)


@pytest.mark.parametrize("error", [BrokenPipeError, KeyboardInterrupt, SystemExit, RuntimeError])
def test_whatever_ends_a_reading_hides_nothing(error: type[BaseException]) -> None:
    """Letters that were received ahead are released, too."""
    shelf = Shelf(45)
    with pytest.raises(error):
        read(shelf, error)
    assert shelf.hidden == set()


def test_a_reader_that_fails_hides_nothing() -> None:
    """An error of AWS in the middle is raised, and everything that was received before is released."""
    shelf = Shelf(45, receive={3})
    with pytest.raises(EndpointConnectionError):
        read(shelf)
    assert shelf.hidden == set()


def test_an_impatient_person_hides_nothing() -> None:
    """Ctrl-C while messages are being released releases them all the same."""
    shelf = Shelf(45, restore={2}, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        read(shelf)
    assert shelf.hidden == set()


def test_what_cannot_be_released_holds_nothing_else_back() -> None:
    """One failed batch is an error that is told, and the others are released all the same."""
    shelf = Shelf(45, restore={2})
    with pytest.raises(EndpointConnectionError):
        read(shelf)
    assert len(shelf.hidden) == 10


def test_the_depth_of_a_queue_has_three_parts() -> None:
    """What is received and what is delayed is in the queue, too; a count that is missing is none."""
    shelf = Shelf(12)
    shelf.receive_message()
    assert depth(shelf, "dead") == Depth(visible=2, hidden=10, delayed=0)
    assert depth(shelf, "dead").total == 12


# ------------------------------------------------------------------------- size


class Endless:
    """A dead-letter queue of many messages that are made when they are received."""

    def __init__(self, size: int) -> None:
        self._messages: Iterator[dict[str, Any]] = (self._message(n) for n in range(size))
        self._lock = Lock()
        self.restored = count()

    @staticmethod
    def _message(number: int) -> dict[str, Any]:
        return {
            "MessageId": f"m{number}",
            "ReceiptHandle": f"r{number}" * 20,
            "Body": session(id=f"cs_{number}"),
            "MessageAttributes": typed({"source": "stripe", "reason": "missing_user"}),
            "Attributes": {"SentTimestamp": "1000"},
        }

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        return {"Attributes": {}, "ResponseMetadata": {"HTTPHeaders": {}}}

    def receive_message(self, **_: Any) -> dict[str, Any]:
        with self._lock:
            return {"Messages": list(islice(self._messages, 10))}

    def change_message_visibility_batch(self, **arguments: Any) -> None:
        for _ in arguments["Entries"]:
            next(self.restored)


def peak(size: int) -> int:
    """The most memory in use while a queue of that size is read, in bytes."""
    queue = Endless(size)
    tracemalloc.start()
    with DeadLetters(queue, "dead", "alive").reading() as reading:
        assert sum(1 for _ in reading) == size
    assert next(queue.restored) == size
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_a_long_queue_takes_no_more_memory_than_a_short_one() -> None:
    """Reading is in constant memory, so that 100,000 messages are no problem."""
    peak(100)
    # What other threads of the process allocate meanwhile is measured as well.
    assert any(peak(20_000) < 1.5 * peak(1_000) for _ in range(3))


def test_a_receive_asks_every_server_of_the_queue() -> None:
    """SQS asks only some of its servers when a receive does not wait, and would hide what is parked."""
    asked: list[dict[str, Any]] = []

    class Client:
        def receive_message(self, **request: Any) -> dict[str, Any]:
            asked.append(request)
            return {}

    assert DeadLetters(Client(), "queue", "back").receive() == []
    assert asked[0]["WaitTimeSeconds"] > 0
