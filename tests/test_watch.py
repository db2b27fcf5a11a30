"""What an operator hears of although nothing failed: in a shop with five orders a day, and in a large one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from linkrunner_webhooks import deliver_function, history
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Reason, parking
from linkrunner_webhooks.watch import HOUR, SPAN, Concern, Heard, History, Worry, concerns, joined
from linkrunner_webhooks_local.embedded_aws import Aws, embedded_aws

NOW = 494_000
DAY = 24
SMALL, LARGE = 5.0, 2400.0


def sold(rate: float, hours: range, seed: int = 1) -> dict[int, float]:
    """Webhooks by the hour of a shop with so many orders a day: two for each, and hardly any at night."""
    random = Random(seed)
    found = {}
    for hour in hours:
        awake = 1.4 if 7 <= hour % DAY < 23 else 0.2
        mean, orders = rate / DAY * awake, 0.0
        passed = random.expovariate(mean)
        while passed < 1:
            orders, passed = orders + 1, passed + random.expovariate(mean)
        if orders:
            found[hour] = 2 * orders
    return found


def month(rate: float, until: int = NOW, seed: int = 1) -> dict[int, float]:
    """Four weeks of such a shop that end with the hour `until`."""
    return sold(rate, range(until - SPAN, until + 1), seed)


def told(past: History, hour: int = NOW) -> list[tuple[Worry, str]]:
    """What is to be heard of at the end of an hour."""
    return [(each.worry, each.about) for each in concerns(past, (hour + 0.9) * HOUR)]


def only(heard: Heard) -> History:
    """The history of a stack with this source alone."""
    return History({"stripe": heard})


def since(hours: Mapping[int, float], hour: int) -> dict[int, float]:
    """These hours as they are known at the end of a later hour."""
    return {each: count for each, count in hours.items() if hour - SPAN <= each <= hour}


# ------------------------------------------------------------------------------- a wrong secret


@pytest.mark.parametrize("rate", [SMALL, LARGE])
def test_a_wrong_secret_is_heard_of_within_the_hour(rate: float) -> None:
    """From now on everything is signed with another secret: the first look after it tells."""
    before = {hour: count for hour, count in month(rate).items() if hour < NOW}
    wrong = {NOW: max(1.0, rate / DAY)}
    assert told(only(Heard(queued=before, bad_signature=wrong))) == [(Worry.REFUSED, "stripe")]


def test_a_wrong_secret_from_the_first_webhook_on() -> None:
    """A source that never accepted anything is told of with its first webhook."""
    assert told(only(Heard(bad_signature={NOW - 1: 1.0}))) == [(Worry.REFUSED, "stripe")]


def test_a_second_endpoint_with_another_secret_is_heard_of() -> None:
    """Half of the webhooks are lost although the other half is accepted."""
    both = Heard(queued=month(LARGE), bad_signature={NOW: 100.0})
    assert told(only(both)) == [(Worry.REFUSED, "stripe")]


@pytest.mark.parametrize("rate", [SMALL, LARGE])
@pytest.mark.parametrize("tries", [1.0, 12.0, 500.0])
def test_a_scanner_is_no_wrong_secret(rate: float, tries: float) -> None:
    """A stranger does not sign, and a source that accepts something is set up, however quiet this hour is."""
    assert told(only(Heard(queued=month(rate), unsigned={NOW: tries, NOW - 1: tries}))) == []


def test_a_guess_is_lost_in_a_large_shop() -> None:
    """A dozen forged signatures among hundreds that are right are a stranger's."""
    busy = dict.fromkeys(range(NOW - SPAN, NOW + 1), 200.0)
    assert told(only(Heard(queued=busy, bad_signature={NOW: 12.0}))) == []


def test_a_provider_that_was_given_no_secret_is_heard_of() -> None:
    """What comes again and again without a signature, to a source that never accepted anything."""
    tried = {NOW: 1.0, NOW - 1: 1.0, NOW - 5: 1.0}
    assert told(only(Heard(unsigned=tried))) == [(Worry.REFUSED, "stripe")]
    assert told(only(Heard(unsigned={NOW: 2.0}))) == []
    assert told(only(Heard(unsigned=tried, queued={NOW - 99: 1.0}))) == []
    # What `doctor` sends is ignored, and shows nothing of what the provider was given.
    assert told(only(Heard(unsigned=tried, ignored={NOW - 99: 1.0}))) == [(Worry.REFUSED, "stripe")]


def test_a_source_without_a_secret_is_heard_of_at_once() -> None:
    """One webhook for a table that has no secret is enough."""
    (found,) = concerns(only(Heard(no_secret={NOW: 1.0})), NOW * HOUR)
    assert (found.worry, found.about) == (Worry.REFUSED, "stripe")
    assert "no signing secret" in found.detail


def test_a_repaired_secret_is_quiet_again() -> None:
    """Two hours after the last wrong signature nothing is left to hear of."""
    mended = Heard(queued=month(SMALL), bad_signature={NOW - 2: 9.0})
    assert told(only(mended)) == []


# ------------------------------------------------------------------------------- silence


@pytest.mark.parametrize(("rate", "within"), [(SMALL, 72), (LARGE, 12)])
@pytest.mark.parametrize("seed", range(5))
def test_a_source_that_falls_silent_is_heard_of(rate: float, within: int, seed: int) -> None:
    """Measured by its own habit: hours for a large shop, two or three days for a small one."""
    before = month(rate, seed=seed)
    told_at = next(
        quiet for quiet in range(1, 200)
        if told(only(Heard(queued=since(before, NOW + quiet))), NOW + quiet)
    )  # fmt: skip
    assert 3 < told_at <= within


@pytest.mark.parametrize("rate", [1.0, SMALL, 40.0, LARGE])
def test_a_shop_that_sells_as_ever_is_left_alone(rate: float) -> None:
    """In half a year of looking every hour a shop that is as it was is hardly ever called silent."""
    hours = sold(rate, range(NOW - SPAN, NOW + 26 * 7 * DAY))
    alarms = [
        hour for hour in range(NOW, NOW + 26 * 7 * DAY)
        if told(only(Heard(queued=since(hours, hour))), hour)
    ]  # fmt: skip
    assert len({hour // (7 * DAY) for hour in alarms}) <= 1


def test_closed_on_weekends_is_a_habit() -> None:
    """A shop that sells from Monday to Friday is not silent on Sunday, and is on Thursday."""
    week = range(7 * DAY)
    working = {
        NOW - SPAN + 7 * DAY * number + hour: 2.0
        for number in range(9) for hour in week if hour < 5 * DAY and 9 <= hour % DAY < 18
    }  # fmt: skip
    last = max(working)
    assert told(only(Heard(queued=working)), last + 2 * DAY) == []
    assert told(only(Heard(queued=working)), last + 6 * DAY) == [(Worry.SILENT, "stripe")]


@pytest.mark.parametrize(
    "queued",
    [
        {},
        {NOW - 600: 1.0},
        # The renewals of a month all come on one day.
        {NOW - 500 + hour: 40.0 for hour in range(20)},
    ],
)
def test_without_a_habit_nobody_is_silent(queued: dict[int, float]) -> None:
    """A source that never sent, sent once, or sends once a month is not missed after hours."""
    assert told(only(Heard(queued=queued))) == []


def monthly(until: int) -> dict[int, float]:
    """Renewals with their dunning: eight days of each month, for a year."""
    days = (day for month in range(12) for day in range(30 * month, 30 * month + 8))
    return {
        hour: 3.0 for day in days for hour in range(DAY * day + 8, DAY * day + 20) if hour <= until
    }


def test_once_a_month_is_a_habit() -> None:
    """The weeks between two renewals are no silence, from the first month on."""
    year = monthly(360 * DAY)
    for hour in range(DAY, 360 * DAY, 5):
        assert told(only(Heard(queued=since(year, hour))), hour) == [], hour // DAY


@pytest.mark.parametrize("outage", [24, 48])
def test_an_outage_does_not_dull_the_next_alarm(outage: int) -> None:
    """One long pause of a shop that sells every day is no habit of its."""
    before = {
        hour: n for hour, n in month(LARGE).items() if not NOW - 99 - outage < hour < NOW - 99
    }
    told_at = next(
        quiet for quiet in range(1, 200)
        if told(only(Heard(queued=since(before, NOW + quiet))), NOW + quiet)
    )  # fmt: skip
    assert told_at <= 14


def test_a_source_that_was_switched_off_is_left_alone_after_four_weeks() -> None:
    """Nobody wants to hear of it for ever."""
    before = month(LARGE)
    assert told(only(Heard(queued=since(before, NOW + 20 * DAY))), NOW + 20 * DAY) != []
    assert told(only(Heard(queued=since(before, NOW + 30 * DAY))), NOW + 30 * DAY) == []


def test_another_source_is_heard_of_while_the_first_is() -> None:
    """The alarm is on for the first one, for weeks perhaps, and would say nothing of the second."""
    gone = {hour: n for hour, n in month(LARGE).items() if hour < NOW - 200}
    going = {hour: n for hour, n in month(LARGE, seed=2).items() if hour < NOW - 20}
    both = History({"old": Heard(queued=gone), "live": Heard(queued=going)})
    moments = [hour for hour in range(NOW - 40, NOW + 40) if joined(both, (hour + 0.5) * HOUR)]
    # Told for two hours: a look may have missed the end of an hour.
    assert moments == [moments[0], moments[0] + 1]
    (found,) = joined(both, (moments[0] + 0.5) * HOUR)
    assert (found.worry, found.about) == (Worry.ANOTHER, "live")
    assert joined(only(Heard(queued=gone)), NOW * HOUR) == []


def test_what_is_ignored_is_no_sale() -> None:
    """A provider whose sales were unsubscribed still sends other types: the sales are missed."""
    queued = {hour: count for hour, count in month(LARGE).items() if hour < NOW - 24}
    heard = Heard(queued=queued, ignored=month(LARGE))
    assert told(only(heard)) == [(Worry.SILENT, "stripe")]


# ------------------------------------------------------------------------------- the parked


def parked(reason: Reason, **hours: Mapping[int, float]) -> History:
    """A stack whose dead-letter queue was filled all the time, with what was parked for that reason."""
    full = dict.fromkeys(range(NOW - SPAN, NOW + 1), 3.0)
    return History(parked={reason.value: hours["at"]}, dead_letters=hours.get("depth", full))


def test_a_new_reason_is_heard_of_while_the_queue_is_full_already() -> None:
    """The alarm for dead letters is on for the old ones, so that a new cause would not be seen."""
    depth = dict.fromkeys(range(NOW - 48, NOW + 1), 3.0)
    found = told(parked(Reason.REFUSED, at={NOW: 1.0}, depth=depth))
    assert found == [(Worry.NEW_REASON, "refused")]


def test_the_first_dead_letter_has_an_alarm_of_its_own() -> None:
    """Where nothing was parked, a new reason would only say it twice."""
    assert told(parked(Reason.REFUSED, at={NOW: 1.0}, depth={NOW: 1.0})) == []


def test_a_reason_of_the_last_two_weeks_is_not_new() -> None:
    """What parks a webhook now and then is known."""
    depth = dict.fromkeys(range(NOW - 48, NOW + 1), 3.0)
    assert told(parked(Reason.MISSING_USER, at={NOW: 1.0, NOW - 300: 1.0}, depth=depth)) == []


def test_a_flood_of_a_known_reason_is_heard_of() -> None:
    """One webhook of that kind lies there since days, and now a wrong mapping parks every sale."""
    at = {NOW: 500.0, NOW - 280: 1.0}
    depth = dict.fromkeys(range(NOW - 48, NOW + 1), 3.0)
    found = told(parked(Reason.MISSING_USER, at=at, depth=depth))
    assert found == [(Worry.NEW_REASON, "missing_user")]
    usual = dict.fromkeys(range(NOW - 300, NOW + 1), 30.0)
    assert told(parked(Reason.MISSING_USER, at=usual, depth=depth)) == []


def test_the_parked_are_heard_of_before_they_expire() -> None:
    """After eleven days in which the queue was never empty; an empty hour begins anew."""
    depth = dict.fromkeys(range(NOW - 11 * DAY, NOW - 1), 1.0)
    assert told(History(dead_letters=depth)) == [(Worry.EXPIRING, "")]
    emptied = {**depth, NOW - 100: 0.0}
    assert told(History(dead_letters=emptied)) == []
    younger = {hour: count for hour, count in depth.items() if hour > NOW - 10 * DAY}
    assert told(History(dead_letters=younger)) == []
    with_gaps = {hour: count for hour, count in depth.items() if hour % 9}
    assert told(History(dead_letters=with_gaps)) == [(Worry.EXPIRING, "")]


# ------------------------------------------------------------------------------- deliveries and signups


def test_hours_of_failures_are_heard_of() -> None:
    """More deliveries fail than succeed in two of three hours; an hour between attempts hides none."""
    assert told(History(failing={NOW: 5.0, NOW - 2: 5.0}, captured={NOW - 1: 3.0})) == [
        (Worry.STALLED, "")
    ]


@pytest.mark.parametrize(
    ("failing", "captured"),
    [
        # One attempt in a quiet shop.
        ({NOW: 1.0}, {}),
        # A large shop, of whose deliveries some fail.
        ({NOW: 40.0, NOW - 1: 40.0, NOW - 2: 40.0}, dict.fromkeys(range(NOW - 5, NOW + 1), 100.0)),
        # An outage that is over.
        ({NOW - 3: 90.0, NOW - 2: 90.0}, {NOW - 1: 90.0, NOW: 90.0}),
    ],
)
def test_some_failures_are_no_stall(failing: dict[int, float], captured: dict[int, float]) -> None:
    """What is tried again and succeeds needs nobody."""
    assert told(History(failing=failing, captured=captured)) == []


def test_missing_signups_are_heard_of() -> None:
    """Events wait, and Linkrunner told of no signup for a day."""
    held = {NOW - 3: 2.0}
    assert told(History(held=held)) == [(Worry.NO_SIGNUPS, "")]
    assert told(History(held=held, signups={NOW - 20: 1.0})) == []
    assert told(History()) == []


def test_few_signups_are_a_habit() -> None:
    """Where somebody signs up every other day, two days without are nothing to hear of."""
    random, hours = Random(1), [NOW - SPAN]
    while hours[-1] < NOW:
        hours.append(hours[-1] + 1 + int(random.expovariate(1 / 48)))
    signups = dict.fromkeys(hours, 1.0)
    for hour in range(NOW - 30 * DAY, NOW):
        known = since(signups, hour)
        assert told(History(held={hour: 1.0}, signups=known), hour) == []
    assert told(History(held={NOW + 900: 1.0}, signups=signups), NOW + 900) == [
        (Worry.NO_SIGNUPS, "")
    ]


# ------------------------------------------------------------------------------- as CloudWatch keeps it


NAMESPACE = "LinkrunnerWebhooks/shop"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """A CloudWatch of one's own."""
    with embedded_aws() as found:
        yield found


def publish(aws: Aws, namespace: str, hours: Mapping[int, float], **metric: Any) -> None:
    """Put the figures of these hours there, as the functions and SQS do."""
    dimensions = [{"Name": name, "Value": value} for name, value in metric["dimensions"].items()]
    data = [
        {
            "MetricName": metric["name"],
            "Dimensions": dimensions,
            "Timestamp": datetime.fromtimestamp(hour * HOUR, UTC),
            "Value": value,
        }
        for hour, value in hours.items()
    ]
    client = aws.client("cloudwatch")
    for start in range(0, len(data), 500):
        client.put_metric_data(Namespace=namespace, MetricData=data[start : start + 500])


def fill(aws: Aws, namespace: str, hour: int) -> dict[int, float]:
    """A shop whose secret is wrong, with dead letters of which some are refused since now.

    Returns what was queued before: of two weeks, because CloudWatch takes nothing older.
    """
    sold = {each: n for each, n in month(SMALL, hour).items() if hour - 13 * DAY < each < hour - 3}
    publish(
        aws, namespace, sold, name="Webhooks", dimensions={"source": "stripe", "outcome": "queued"}
    )
    wrong = {"source": "stripe", "reason": "bad_signature"}
    publish(aws, namespace, {hour: 4.0}, name="Webhooks", dimensions=wrong)
    refused = {"outcome": "parked", "reason": "refused"}
    publish(aws, namespace, {hour: 2.0}, name="Webhooks", dimensions=refused)
    depth = dict.fromkeys(range(hour - 12 * DAY, hour + 1), 2.0)
    visible = "ApproximateNumberOfMessagesVisible"
    publish(aws, "AWS/SQS", depth, name=visible, dimensions={"QueueName": "shop-dead-letters"})
    return sold


EXPECTED = {(Worry.REFUSED, "stripe"), (Worry.NEW_REASON, "refused"), (Worry.EXPIRING, "")}
ENVIRONMENT = {
    "POWERTOOLS_METRICS_NAMESPACE": NAMESPACE,
    "DEAD_LETTER_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/shop-dead-letters",
}


def test_the_history_is_read_from_cloudwatch(aws: Aws) -> None:
    """By the words that the functions write; what was never reported is absent, and no trouble."""
    now = datetime.now(UTC).timestamp()
    sold = fill(aws, NAMESPACE, int(now // HOUR))
    found = history.read(
        aws.client("cloudwatch"), NAMESPACE, "shop-dead-letters", ["stripe", "shopify"], now
    )
    assert {(each.worry, each.about) for each in concerns(found, now)} == EXPECTED
    assert found.sources["stripe"].queued == sold
    assert found.sources["shopify"] == Heard()


def test_the_look_writes_a_line_and_a_count(
    aws: Aws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each concern is one line that names the source, and one count under the word of its alarm."""
    environment = ENVIRONMENT | {"POWERTOOLS_METRICS_NAMESPACE": "LinkrunnerWebhooks/other"}
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "LinkrunnerWebhooks/other")
    now = datetime.now(UTC).timestamp()
    fill(aws, "LinkrunnerWebhooks/other", int(now // HOUR))
    config = Config({"stripe": {}})
    deliver_function.look(environment, config, aws.client("cloudwatch"), aws.client("sqs"), now)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    counted = {line["concern"] for line in lines if "_aws" in line}
    assert counted == {worry.value for worry, _ in EXPECTED}


def test_a_look_that_fails_is_no_failure_of_deliveries(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without CloudWatch nothing is raised: the alarm for crashes stays quiet; this has one of its own."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", NAMESPACE)
    nobody = Aws("http://127.0.0.1:9")
    clients = nobody.client("cloudwatch"), nobody.client("sqs")
    deliver_function.look(ENVIRONMENT, Config({"stripe": {}}), *clients, NOW * HOUR)
    (counted,) = [
        line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line
    ]
    assert counted["concern"] == Worry.UNSEEN


@pytest.mark.parametrize("status", ["InternalError", "Forbidden"])
def test_a_figure_that_is_not_told_is_not_zero(status: str) -> None:
    """Without what a source accepted, a few wrong signatures would look like a wrong secret."""

    class Half:
        def get_metric_data(self, **request: Any) -> dict[str, Any]:
            id = request["MetricDataQueries"][0]["Id"]
            return {
                "MetricDataResults": [
                    {"Id": id, "StatusCode": status, "Timestamps": [], "Values": []}
                ]
            }

    with pytest.raises(history.Unseen, match=status):
        history.read(Half(), NAMESPACE, "q", ["stripe"], NOW * HOUR)


def test_many_figures_are_read_in_pages() -> None:
    """CloudWatch answers at most so many at once, and in pages: nothing is left out."""

    class Paged:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def get_metric_data(self, **request: Any) -> dict[str, Any]:
            queries = request["MetricDataQueries"]
            second = request.get("NextToken") == "2"
            self.asked.append(len(queries))
            half = queries[len(queries) // 2 :] if second else queries[: len(queries) // 2]
            moment = datetime.fromtimestamp(NOW * HOUR, UTC)
            answers = [{"Id": q["Id"], "Timestamps": [moment], "Values": [1.0]} for q in half]
            return {"MetricDataResults": answers, **({} if second else {"NextToken": "2"})}

    client = Paged()
    names = [f"shop_{number}" for number in range(60)]
    found = history.read(client, NAMESPACE, "q", names, (NOW + 0.5) * HOUR)
    assert max(client.asked) * (SPAN + 1) <= 100_800
    assert all(each == Heard(*[{NOW: 1.0}] * 5) for each in found.sources.values())
    assert found.dead_letters == {NOW: 2.0}
    assert found.failing == {NOW: float(len(history.OUTSIDE))}
    assert found.captured == found.held == found.signups == {NOW: 1.0}


def test_every_reason_that_parks_is_looked_at() -> None:
    """The list follows the errors, so that a new one is not forgotten."""
    assert {Reason.MISSING_USER, Reason.REFUSED, Reason.EXHAUSTED, Reason.CRASHED} <= set(parking())
    assert len(parking()) == len(set(parking())) > 8


def test_a_concern_is_a_sentence_without_names_of_people() -> None:
    """It holds figures and the operator's own words only."""
    found = concerns(only(Heard(bad_signature={NOW: 1.0})), NOW * HOUR)
    detail = "1 signed with another secret, 0 accepted, in two hours"
    assert found == [Concern(Worry.REFUSED, "stripe", detail)]
