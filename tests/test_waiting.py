"""Events for users whom Linkrunner does not know yet: held, sent at the signup, nothing personal in it."""

from __future__ import annotations

import json
from datetime import date
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.messages import NEW_INVOICE, TABLES, USER, adyen, checkout, refund, stripe, two_events
from tests.samples import Desk, Secrets, request
from tests.simulation.clock import HOUR
from tests.simulation.cloud import WEBHOOKS, Cloud, simulated
from tests.simulation.gate import Trouble
from tests.simulation.linkrunner import UP, Mood
from tests.simulation.worker import Worker, eight_in_hand
from tests.test_faults import polls
from tests.test_payments import held, in_turn

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import ConfigError, Unavailable
from linkrunner_webhooks.held import SETTLED, Held
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.letters import foresee
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.queues import WebhookQueue
from linkrunner_webhooks.translation import Planned

DAY = 24 * HOUR
KEY = "key of the project"
# As documented; what is in it about the person must not be seen again.
SIGNUP: dict[str, Any] = {
    "event_type": "signup",
    "user_id": "user_42",
    "campaign_id": "camp_SECRET1",
    "network_name": "ORGANIC",
    "attributed_on": "2027-01-15T08:11:00.464Z",
    "link": "https://dl.example.com/?c=camp_SECRET1",
    "gaid": "5faa2433-d7e1-4a8e-9a1c-a5880c26ab5c",
    "idfa": None,
    "name": "Jane Appleseed",
    "phone": "+15555550123",
    "email": "jane@example.com",
    "additional_data": {
        "id": "user_42",
        "name": "Jane Appleseed",
        "email": "jane@example.com",
        "phone": "5555550123",
        "referral_code": "REFERRED9",
    },
}
PERSONAL = ["Jane", "Appleseed", "555555", "example.com", "5faa2433", "SECRET1", "REFERRED9", KEY]


def told_to(**settings: Any) -> dict[str, Any]:
    """The tables of a merchant who holds what belongs to nobody known."""
    return TABLES | {"linkrunner": {"signups": True, "unknown_users": "hold"} | settings}


def desk(tables: dict[str, Any]) -> Desk:
    """The edge, with a key for Linkrunner's webhooks."""
    return Desk(Config(tables), Secrets({"linkrunner": (KEY,), "stripe": ("whsec_x",)}))


def asked(desk: Desk, body: Any, key: str | None = KEY) -> tuple[int, Any]:
    """What Linkrunner's webhook is answered."""
    headers = {"content-type": "application/json"} | ({"linkrunner-key": key} if key else {})
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    return desk.respond(request(Webhook("linkrunner", headers, written), "linkrunner"))


def sign_up(cloud: Cloud, user_id: str = "user_42") -> None:
    """A signup, from the edge into the queue; from now on Linkrunner knows the user."""
    edge = desk(told_to())
    assert asked(edge, SIGNUP | {"user_id": user_id})[0] == 200
    ((text, attributes),) = edge.stored
    WebhookQueue(cloud.sqs, WEBHOOKS).store(text, attributes)
    if cloud.linkrunner.users is not None:
        cloud.linkrunner.users.add(user_id)


def work(cloud: Cloud, days: float = 0.0) -> None:
    """Time passes, and the workers do what there is."""
    cloud.clock.now += days * DAY
    cloud.run(Worker(cloud))


def names(cloud: Cloud) -> list[str]:
    """What Linkrunner captured."""
    return [each.body["event_name"] for each in cloud.linkrunner.captures]


def outcomes(cloud: Cloud) -> list[str]:
    """How the webhooks ended."""
    return [f"{each.outcome.value} {each.reason.value}" for each in cloud.reports]


# ------------------------------------------------------------------------- the edge


def test_nothing_of_the_person_is_stored() -> None:
    """The user's id, the type and the time are all that enters the queue, a log or an answer."""
    edge = desk(told_to())
    status, answer = asked(edge, SIGNUP)
    assert (status, answer["status"]) == (200, "queued")
    ((text, attributes),) = edge.stored
    assert json.loads(json.loads(text)["body"]) == {
        "event_type": "signup",
        "attributed_on": "2027-01-15T08:11:00Z",
        "user_id": "user_42",
    }
    assert json.loads(text)["headers"] == {}
    said = f"{edge.stored} {attributes} {edge.reports} {answer}"
    assert [each for each in PERSONAL if each in said] == []


@pytest.mark.parametrize(
    "user_id", ["jane@example.com", "+15555550123", "5555550123", None, "", "null"]
)
def test_a_user_id_that_is_a_contact_is_not_stored(user_id: Any) -> None:
    """Such an id could never be sent either."""
    edge = desk(told_to())
    assert asked(edge, SIGNUP | {"user_id": user_id})[0] == 200
    ((text, _),) = edge.stored
    assert json.loads(json.loads(text)["body"])["user_id"] is None


@pytest.mark.parametrize("key", [None, "", "another key", f"{KEY} "])
def test_the_key_is_the_proof(key: str | None) -> None:
    """Without it nothing is read."""
    edge = desk(told_to())
    assert asked(edge, SIGNUP, key)[0] == 401
    assert edge.stored == []


def test_installs_are_ignored_and_nonsense_is_refused() -> None:
    """An install names nobody, and what is no signup teaches nothing."""
    edge = desk(told_to())
    assert asked(edge, SIGNUP | {"event_type": "install", "user_id": None})[0] == 200
    assert asked(edge, b"no json")[0] == 400
    assert edge.stored == []


def test_without_the_setting_there_is_no_such_source() -> None:
    """Its table stands for the settings alone."""
    assert Config({"linkrunner": {}, "stripe": {}}).names == ("stripe",)
    assert Config(told_to()).source("linkrunner") is not None
    with pytest.raises(ConfigError, match="set signups = true"):
        Config({"linkrunner": {"unknown_users": "hold"}, "stripe": {}}).sources()


# ------------------------------------------------------------------------- holding


def strange(cloud: Cloud) -> Cloud:
    """Linkrunner knows nobody."""
    cloud.linkrunner.users = set()
    return cloud


def test_an_event_waits_for_the_signup() -> None:
    """A purchase before the first login: held, and sent as soon as Linkrunner knows who it is."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        in_turn(cloud, checkout)
        assert (names(cloud), outcomes(cloud)) == ([], ["held none"])
        assert cloud.linkrunner.lookups == ["user_42"]
        work(cloud, days=3)
        sign_up(cloud)
        at = cloud.clock.now
        cloud.run(Worker(cloud))
        assert names(cloud) == ["purchase_completed"]
        assert cloud.linkrunner.captures[0].at - at < 5
        assert cloud.linkrunner.captures[0].body["event_data"]["amount"] == 25.99
        assert cloud.linkrunner.forgotten == 0
        cloud.assert_nothing_left()


def test_what_is_held_is_rendered_and_nothing_else() -> None:
    """The ledger holds what would be sent, and nothing of the webhook besides."""
    details = {"customer_details": {"email": "jane@example.com", "name": "Jane Appleseed"}}
    with simulated(told_to()) as cloud:
        strange(cloud)
        in_turn(cloud, partial(checkout, **details))
        written = json.dumps(list(cloud.table.items.values()))
        assert "purchase_completed" in written
        assert [each for each in PERSONAL if each in written] == []


def test_known_users_wait_for_nothing() -> None:
    """One who signed up before, or of whom there is an attribution, is asked about once."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        sign_up(cloud)
        in_turn(cloud, checkout)
        assert (names(cloud), cloud.linkrunner.lookups) == (["purchase_completed"], [])
    with simulated(told_to()) as cloud:
        cloud.linkrunner.users = {"user_42"}
        in_turn(
            cloud,
            checkout,
            partial(stripe, "customer.subscription.deleted", {"id": "sub_1"} | USER),
        )
        assert names(cloud) == ["purchase_completed", "subscription_cancelled"]
        assert cloud.linkrunner.lookups == ["user_42"]


def test_without_the_setting_nobody_is_asked_about() -> None:
    """The default sends, as ever."""
    with simulated(told_to(unknown_users="send")) as cloud:
        in_turn(cloud, checkout)
        assert (names(cloud), cloud.linkrunner.lookups) == (["purchase_completed"], [])


def test_a_refund_of_what_is_held_waits_with_it() -> None:
    """It names nobody, and is whose the payment is; both are sent, and neither is parked."""
    with simulated(told_to(revenue="payment")) as cloud:
        strange(cloud)
        in_turn(cloud, checkout, partial(refund, 1000), partial(refund, 2599, 1000))
        assert outcomes(cloud) == ["held none"] * 3
        sign_up(cloud)
        work(cloud)
        assert sorted(names(cloud)) == ["purchase_refunded"] * 2
        assert held(cloud) == []
        assert cloud.dead.reasons == []


def test_other_reports_of_what_is_held_count_once() -> None:
    """Sent again, and under another type."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        intent = {"id": "pi_1", "amount_received": 2599, "currency": "usd", "invoice": None}
        in_turn(
            cloud, checkout, checkout, partial(stripe, "payment_intent.succeeded", intent | USER)
        )
        sign_up(cloud)
        work(cloud)
        in_turn(cloud, checkout)
        assert names(cloud) == ["purchase_completed"]


def test_both_events_of_one_webhook_wait() -> None:
    """Each by itself."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        in_turn(cloud, two_events)
        assert outcomes(cloud) == ["held none"]
        sign_up(cloud)
        work(cloud)
        assert sorted(names(cloud)) == ["order_fulfilled", "purchase_completed"]


@pytest.mark.parametrize("after", ["send", "drop"])
def test_nobody_waits_for_ever(after: str) -> None:
    """After hold_days it is sent anyway or dropped, counted, and gone."""
    with simulated(told_to(hold_days=5, after_hold=after)) as cloud:
        strange(cloud)
        in_turn(cloud, checkout)
        work(cloud, days=4)
        in_turn(cloud, partial(stripe, "customer.subscription.deleted", {"id": "sub_1"}))
        assert cloud.linkrunner.forgotten == 0
        work(cloud, days=2)
        sign_up(cloud, "somebody_else")
        work(cloud)
        dropped = "ignored unknown_user" in outcomes(cloud)
        assert (cloud.linkrunner.forgotten, dropped) == (
            (1, False) if after == "send" else (0, True)
        )
        sign_up(cloud)
        work(cloud)
        assert names(cloud) == []


def test_the_schedule_ends_the_waiting() -> None:
    """Also where no webhook comes."""
    with simulated(told_to(hold_days=5)) as cloud:
        strange(cloud)
        in_turn(cloud, checkout)
        cloud.clock.now += 6 * DAY
        worker = Worker(cloud)
        cloud.clock.spawn(lambda: worker._deliverer.sweep(lambda: 100.0))
        cloud.clock.run()
        work(cloud)
        assert cloud.linkrunner.forgotten == 1
        assert "captured none" in outcomes(cloud)


def test_a_rate_of_the_day_of_the_signup() -> None:
    """What waits is told at the rate of the day it is sent, and its refund at the same."""
    day = {"as_of": date(2026, 11, 30)}
    with simulated(told_to(currency="INR", rates=day | {"USD": 80})) as cloud:
        strange(cloud)
        in_turn(cloud, checkout)
        cloud.config = Config(told_to(currency="INR", rates=day | {"USD": 90}))
        sign_up(cloud)
        work(cloud)
        assert cloud.linkrunner.captures[0].body["event_data"]["amount"] == 2339.1


def test_what_is_held_meets_its_signup() -> None:
    """Wherever a worker pauses over the purchase while another has the signup, nothing is left waiting."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        worker = Worker(cloud)
        cloud.store(checkout())
        cloud.clock.spawn(lambda: polls(cloud, worker, 1))
        cloud.clock.run()
        points = 2 * len(worker.gate.calls)
    for at in range(points):
        with simulated(told_to()) as cloud:
            strange(cloud)

            def meet(point: int, _call: str, at: int = at, cloud: Cloud = cloud) -> None:
                if point == at:
                    sign_up(cloud)
                    second = Worker(cloud)
                    cloud.clock.join([cloud.clock.spawn(lambda: polls(cloud, second, 4, 5.0))])

            cloud.store(checkout())
            first = Worker(cloud, meet=meet)
            cloud.clock.spawn(partial(polls, cloud, first, 1))
            cloud.clock.run()
            work(cloud)
            assert names(cloud) == ["purchase_completed"], at
            assert cloud.linkrunner.forgotten == 0


def met(at: int | None, trouble: Trouble, number: int, _call: str) -> Trouble | None:
    """Trouble at one call."""
    return trouble if number == at else None


@pytest.mark.parametrize("trouble", Trouble, ids=lambda trouble: trouble.name.lower())
@pytest.mark.parametrize("of", ["purchase", "signup"])
def test_any_call_may_meet_trouble(of: str, trouble: Trouble) -> None:
    """Held and sent once as a payment, whichever call fails, is lost, repeated, or is its worker's last."""

    def played(at: int | None) -> tuple[Cloud, list[str]]:
        settings = told_to(revenue="payment")
        with simulated(settings) as cloud:
            strange(cloud)
            disturbed = None
            for what, happens in (("purchase", checkout), ("signup", None)):
                if happens:
                    cloud.store(happens())
                else:
                    sign_up(cloud)
                hit = what == of and at is not None
                worker = Worker(cloud, trouble=partial(met, at if hit else None, trouble))
                cloud.clock.spawn(partial(polls, cloud, worker, 1))
                cloud.clock.run()
                disturbed = worker.gate.calls if what == of else disturbed
                cloud.run(Worker(cloud))
            assert disturbed is not None
            return cloud, disturbed

    _, calls = played(None)
    for at, call in enumerate(calls):
        if call in ("post", "look up") and trouble is Trouble.REPEATED:
            continue
        cloud, _ = played(at)
        assert held(cloud) == [("DEFAULT", "stripe:payment:pi_1", 25.99)], (at, call)
        assert cloud.dead.reasons == [], (at, call)
        assert cloud.linkrunner.forgotten == 0, (at, call)
        cloud.assert_nothing_left()


def test_what_is_parked_after_waiting_can_be_redriven() -> None:
    """It goes the way of every message: refused, looked at, and sent again."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        in_turn(cloud, checkout)
        cloud.linkrunner.moods = [(0, Mood(status=400)), (cloud.clock.now + HOUR, UP)]
        sign_up(cloud)
        work(cloud)
        assert cloud.dead.reasons == ["refused"]
        cloud.clock.now += HOUR
        ledger = Ledger(cloud.table, "ledger", clock=cloud.clock)
        with cloud.letters.reading() as reading:
            (letter,) = reading
            forecast = foresee(letter, Config(told_to()), ledger, now=cloud.clock.now)
            assert [body["event_name"] for body in forecast.bodies] == []
            assert forecast.reason == "refused"
            cloud.letters.redrive(letter, forced=True)
        work(cloud)
        assert names(cloud) == ["purchase_completed"]


def test_a_copy_under_the_same_signature_does_not_wait() -> None:
    """Whoever saw the genuine webhook cannot put another user's name on what waits."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        thief = {"shopperReference": "thief", "hmacSignature": "signature of psp_1"}
        in_turn(cloud, adyen, partial(adyen, additionalData=thief))
        assert cloud.dead.reasons == ["contradicted"]
        sign_up(cloud, "thief")
        sign_up(cloud)
        work(cloud)
        assert [each.body["user_id"] for each in cloud.linkrunner.captures] == ["user_42"]


def test_another_report_may_name_somebody_else() -> None:
    """Each of the two waits for its own signup, and the first that comes counts."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        intent = {"id": "pi_1", "amount_received": 2599, "currency": "usd", "invoice": None}
        other = {"metadata": {"user_id": "user_7"}}
        in_turn(cloud, checkout, partial(stripe, "payment_intent.succeeded", intent | other))
        sign_up(cloud)
        sign_up(cloud, "user_7")
        work(cloud)
        assert [each.body["user_id"] for each in cloud.linkrunner.captures] == ["user_42"]


def test_a_refund_of_what_linkrunner_has_takes_it_away_at_once() -> None:
    """It names somebody who is not known, and a removal names nobody."""
    with simulated(told_to(revenue="payment", after_hold="drop")) as cloud:
        cloud.linkrunner.users = {"user_42"}
        in_turn(cloud, checkout)
        other: dict[str, Any] = {"metadata": {"user_id": "user_7"}}
        in_turn(cloud, partial(refund, 2599, **other))
        assert outcomes(cloud) == ["captured none", "held none"]
        assert held(cloud) == []


def test_a_held_conversion_stays_one() -> None:
    """The same payment is reported again while it waits."""
    trial = {"id": "sub_1", "status": "trialing", "trial_end": 1_800_000_000} | USER
    paid = NEW_INVOICE | {"billing_reason": "subscription_cycle"}
    tables = told_to()
    tables["stripe"] = {"events": {"invoice.paid": True}}
    with simulated(tables) as cloud:
        strange(cloud)
        in_turn(cloud, partial(stripe, "customer.subscription.created", trial))
        in_turn(cloud, partial(stripe, "invoice.paid", paid), partial(stripe, "invoice.paid", paid))
        sign_up(cloud)
        work(cloud)
        told = [each for each in cloud.linkrunner.captures if "amount" in each.body["event_data"]]
        assert [each.body["event_name"] for each in told] == ["trial_converted"]


def test_another_report_does_not_prolong_the_waiting() -> None:
    """Shops tell of an order at each change of it."""
    with simulated(told_to(hold_days=5)) as cloud:
        strange(cloud)
        for _ in range(3):
            in_turn(cloud, checkout)
            work(cloud, days=2)
        in_turn(cloud, partial(checkout, id="cs_2", payment_intent="pi_2"))
        assert cloud.linkrunner.forgotten == 1


def test_what_cannot_be_read_any_more_is_parked() -> None:
    """An event that another version held is somebody's sale."""
    with simulated(told_to()) as cloud:
        strange(cloud)
        in_turn(cloud, checkout)
        for key, row in cloud.table.items.items():
            if key.startswith("@waiting|"):
                text = row["message"]["S"].replace('"event_name"', '"name_of_it"')
                cloud.table.items[key] = {**row, "message": {"S": text}}
        sign_up(cloud)
        work(cloud)
        assert cloud.dead.reasons == ["unreadable"]


def test_a_message_is_ascii() -> None:
    """SQS does not take every character, and one event must not hold up the others."""
    tables = told_to()
    tables["stripe"] = {"extra": {"note": "data.object.metadata.note"}}
    note = {"metadata": {"user_id": "user_42", "note": "odd \uffff \U0001f600"}}
    with simulated(tables) as cloud:
        strange(cloud)
        in_turn(cloud, partial(checkout, **note))
        (row,) = (row for key, row in cloud.table.items.items() if key.startswith("@waiting|"))
        assert row["message"]["S"].isascii()


def test_the_end_of_one_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the queue does not take stays, and the others go on."""
    with simulated(told_to(hold_days=1)) as cloud:
        strange(cloud)
        for number in range(3):
            in_turn(cloud, partial(checkout, id=f"cs_{number}", payment_intent=f"pi_{number}"))
        cloud.clock.now += 2 * DAY
        worker, sent = Worker(cloud), cloud.sqs.send_message

        def send(**arguments: Any) -> Any:
            if "pi_0" in arguments["MessageBody"]:
                raise ClientError({"Error": {"Code": "InvalidMessageContents"}}, "SendMessage")
            return sent(**arguments)

        monkeypatch.setattr(cloud.sqs, "send_message", send)
        with pytest.raises(Unavailable):
            worker._deliverer.sweep(lambda: 100.0)
        assert len(cloud.queue.messages) == 2


def test_what_is_held_is_all_that_an_event_is() -> None:
    """A field that is added to a planned event is held, or settled when it is held."""
    assert set(Planned._fields) - SETTLED == set(Held.model_fields) - {"received_at", "waited"}


@pytest.mark.parametrize("length", [255, 256])
def test_a_long_user_id_is_known_by_its_signup(length: int) -> None:
    """As long as one that is sent."""
    user = "u" * length
    with simulated(told_to()) as cloud:
        strange(cloud)
        in_turn(cloud, partial(checkout, client_reference_id=user))
        sign_up(cloud, user)
        work(cloud)
        assert names(cloud) == ["purchase_completed"]


def test_many_at_once() -> None:
    """Sixty buyers, half of them signed up meanwhile, over all workers: each of those once, nobody else."""
    with simulated(told_to(), 7) as cloud:
        strange(cloud)
        for number in range(60):
            cloud.store(
                checkout(
                    id=f"cs_{number}",
                    payment_intent=f"pi_{number}",
                    client_reference_id=f"user_{number}",
                )
            )
            if number % 2:
                sign_up(cloud, f"user_{number}")
        cloud.run(*eight_in_hand(cloud))
        assert sorted(each.body["user_id"] for each in cloud.linkrunner.captures) == sorted(
            f"user_{number}" for number in range(60) if number % 2
        )
        assert cloud.linkrunner.forgotten == 0
