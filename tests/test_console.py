"""The console over real queues and tables: dead letters, numbers, traces; of a deployed stack, too."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import urllib3
from botocore.exceptions import ClientError
from click.testing import CliRunner
from tests.embedded import empty, eventually, published
from tests.samples import NOW, load
from tests.test_pages import STRANGE, Stand, fill_in
from tests.test_records import ODD_LINES, FakeLogs, deployed

from linkrunner_webhooks import dead_letters
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.queues import typed
from linkrunner_webhooks.reports import Report, written
from linkrunner_webhooks_cli import console, stacks
from linkrunner_webhooks_cli.console import following
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.logs import Logs, report_of
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.pages import app, parked
from linkrunner_webhooks_cli.pages.jobs import Job, Jobs
from linkrunner_webhooks_cli.pages.numbers import answered, delivered, timeline
from linkrunner_webhooks_cli.pages.site import Site
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_cli.user_paths import masked
from linkrunner_webhooks_local import asgi, state
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.embedded_aws import Service
from linkrunner_webhooks_local.loopback import listen, url_of
from linkrunner_webhooks_local.recorder import Arrival, Noted, Recorder

HOUR_AGO = datetime.fromtimestamp(NOW, UTC) - timedelta(hours=1)
SALE = "checkout.session.completed"
GROUP = {"source": "stripe", "event_type": SALE}
Changes = dict[tuple[str | int, ...], Any]


@pytest.fixture
def stand(stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stand]:
    """A shop whose stack has real queues and tables, all of them empty."""
    empty(stack)
    monkeypatch.setattr(dead_letters, "PATIENCE", 0)
    monkeypatch.chdir(tmp_path)
    with Stand("stripe", deployed=stacks.of_local(published(stack))).serving() as stand:
        yield stand
        stand.site.jobs.stop()
        stand.site.jobs.wait()


def park(stand: Stand, reason: str, changes: Changes | None = None, error: str = "") -> str:
    """A sale of Stripe's came and is parked; returns the id of its event."""
    sample = load("stripe", SALE).changed({("id",): f"evt_{reason}", **(changes or {})})
    stand.send(sample.signed())
    text, attributes = stand.stored.pop()
    outputs = stand.deployed.outputs
    stand.deployed.client("sqs").send_message(
        QueueUrl=outputs["DeadLetterQueueUrl"],
        MessageBody=text,
        MessageAttributes=typed({**attributes, "reason": reason, "error": error or reason}),
    )
    told = Report(
        stage="deliver", outcome=Outcome.PARKED, reason=Reason(reason), source="stripe",
        event_type=SALE, event_id=f"evt_{reason}",
    )  # fmt: skip
    stand.recorder.observe(told)
    eventually(lambda: f"reason={reason}" in stand.page("/dead-letters"))
    return f"evt_{reason}"


def nobody() -> Changes:
    """What makes a sale nobody's."""
    return {("data", "object", "client_reference_id"): None}


def ended(stand: Stand) -> str:
    """The page of a job when it is done."""
    return eventually(lambda: _with(stand.page("/dead-letters/job"), "Every letter", there=False))


def _with(page: str, words: str, *, there: bool = True) -> str:
    """A page where words are there, or are not; nothing of another one."""
    return page if (words in page) == there else ""


# ------------------------------------------------------------------------- dead letters


def test_dead_letters_are_seen_and_redriven(stand: Stand) -> None:
    """By reason, with the next step; what would park again has no button, and stays."""
    assert "Nothing is parked" in stand.page("/dead-letters")
    park(stand, "exhausted", error=STRANGE)
    park(stand, "missing_user", nobody())
    shown = stand.page("/dead-letters")
    assert "<script>alert" not in shown
    assert "hand the id over" in shown
    assert "25.99 USD as purchase_completed</b> would be sent" in shown
    assert shown.count("<button>Redrive 1</button>") == 1
    assert '<a href="/requests/1">' in shown
    group = {**GROUP, "reason": "exhausted"}
    assert fill_in(stand, "/dead-letters/redrive", {**group, "token": "another"}).status == 400
    assert stand.deployed.backlog() == 0
    moved = fill_in(stand, "/dead-letters/redrive", group)
    assert (moved.status, moved.headers["location"]) == (303, "/dead-letters/job")
    assert "1 put back into the queue." in ended(stand)
    assert (stand.deployed.backlog(), stand.deployed.parked()) == (1, 1)


def test_a_letter_tells_its_story_without_its_body(stand: Stand) -> None:
    """Until somebody asks; and what nobody can read is told, too."""
    park(stand, "missing_user", nobody())
    group = stand.page(f"/dead-letters/group?{'&'.join(f'{k}={v}' for k, v in GROUP.items())}")
    (id,) = re.findall(r'href="/dead-letters/([0-9a-f-]{36})"', group)
    shown, whole = (stand.page(f"/dead-letters/{id}{query}") for query in ("", "?values=shown"))
    email = json.loads(stand.sale().body)["data"]["object"]["customer_details"]["email"]
    assert email not in shown
    assert email in whole
    assert "data.object.client_reference_id" in shown
    assert "hand the id over" in shown
    assert stand.ask("/dead-letters/nobody").status == 404
    stand.deployed.client("sqs").send_message(
        QueueUrl=stand.deployed.outputs["DeadLetterQueueUrl"], MessageBody="<b>nonsense</b>"
    )
    group = eventually(lambda: _with(stand.page("/dead-letters/group?reason=crashed"), "look</a>"))
    (id,) = re.findall(r'href="/dead-letters/([0-9a-f-]{36})"', group)
    assert "cannot be read" in stand.page(f"/dead-letters/{id}")
    assert "&lt;b&gt;nonsense" in stand.page(f"/dead-letters/{id}?values=shown")


def test_a_letter_that_nobody_can_read_keeps_its_secrets(stand: Stand) -> None:
    """It is the envelope of a request all the same: signatures are never shown, and users when asked."""
    stand.send(stand.sale())
    envelope = json.loads(stand.stored.pop()[0])
    signature = {"stripe-signature": "v1=5ebe2294ecd0e0f0"}
    stand.deployed.client("sqs").send_message(
        QueueUrl=stand.deployed.outputs["DeadLetterQueueUrl"],
        MessageBody=json.dumps({**envelope, "v": 2, "headers": signature}),
    )
    group = eventually(lambda: _with(stand.page("/dead-letters/group?reason=crashed"), "look</a>"))
    (id,) = re.findall(r'href="/dead-letters/([0-9a-f-]{36})"', group)
    shown, whole = (stand.page(f"/dead-letters/{id}{query}") for query in ("", "?values=shown"))
    assert "newer version" in shown
    assert "5ebe2294ecd0e0f0" not in shown + whole
    assert "stripe-signature" in shown
    assert ("user_42" in shown, "user_42" in whole) == (False, True)


def test_what_is_discarded_is_copied_and_confirmed(stand: Stand) -> None:
    """Nothing goes without the box that says so; what Linkrunner has is noted where that is wanted."""
    park(stand, "uncertain")
    group = {**GROUP, "reason": "uncertain"}
    group |= seen(stand, "reason=uncertain")
    refused = fill_in(stand, "/dead-letters/discard", group)
    assert refused.status == 400
    assert "tick the box" in refused.data.decode()
    assert stand.deployed.parked() == 1
    fill_in(stand, "/dead-letters/discard", {**group, "sure": "yes", "captured": "yes"})
    told = ended(stand)
    (copies,) = Path.cwd().glob("discarded-*.jsonl")
    assert "1 discarded" in told
    assert str(copies) in told
    (copy,) = map(json.loads, copies.read_text("utf-8").splitlines())
    assert copy["event_id"] == "evt_uncertain"
    assert stand.deployed.parked() == 0
    assert 'class="outcome">discarded' in stand.page("/?outcome=discarded")
    assert "operator: discarded" in stand.page("/requests/1")
    # Noted as captured: the ledger knows it from now on.
    assert "purchase_completed 25.99 USD" in stand.page("/trace?id=evt_uncertain")


def seen(stand: Stand, query: str) -> dict[str, str]:
    """The hidden fields of a form that say what somebody has looked at."""
    shown = stand.page(f"/dead-letters/group?{query}")
    found = re.findall(r'name="(count|until)" value="([^"]+)"', shown)
    return dict(found)


def test_only_what_was_seen_is_discarded(stand: Stand) -> None:
    """Not what came after the page was made, and never everything at once."""
    park(stand, "uncertain")
    fields = {**GROUP, "reason": "uncertain", "sure": "yes", **seen(stand, "reason=uncertain")}
    sqs, url = stand.deployed.client("sqs"), stand.deployed.outputs["DeadLetterQueueUrl"]
    eventually(
        lambda: datetime.now(UTC) > datetime.fromisoformat(fields["until"]) + timedelta(seconds=1)
    )
    sqs.send_message(
        QueueUrl=url,
        MessageBody="later",
        MessageAttributes=typed({**GROUP, "reason": "uncertain", "event_id": "evt_9"}),
    )
    for nothing in ({"count": "1"}, {**fields, "reason": "", "source": "", "event_type": ""}):
        answer = fill_in(stand, "/dead-letters/discard", {"sure": "yes", **nothing})
        assert "choose what is discarded" in answer.data.decode()
    fill_in(stand, "/dead-letters/discard", fields)
    assert "1 discarded" in ended(stand)
    assert eventually(stand.deployed.parked) == 1


def test_one_letter_can_be_chosen(stand: Stand) -> None:
    """Also where its type is written over two lines, as browsers write them."""
    sqs, url = stand.deployed.client("sqs"), stand.deployed.outputs["DeadLetterQueueUrl"]
    for number in range(2):
        sqs.send_message(
            QueueUrl=url,
            MessageBody=f"{number}",
            MessageAttributes=typed({"reason": "unreadable", "source": "a", "event_type": "b\nc"}),
        )
    shown = eventually(
        lambda: _with(stand.page("/dead-letters/group?reason=unreadable"), "yes, delete 2")
    )
    id = re.findall(r'href="/dead-letters/([0-9a-f-]{36})"', shown)[0]
    letter = stand.page(f"/dead-letters/{id}")
    assert "yes, delete 1" in letter
    fields = {
        "source": "a",
        "event_type": "b\r\nc",
        "sure": "yes",
        **seen(stand, "reason=unreadable"),
    }
    fill_in(stand, "/dead-letters/discard", {**fields, "id": id})
    assert "1 discarded" in ended(stand)
    fill_in(stand, "/dead-letters/discard", {**fields, **seen(stand, "source=a")})
    assert "1 discarded" in ended(stand)
    assert stand.deployed.parked() == 0


def test_what_would_park_again_moves_by_force(stand: Stand) -> None:
    """And what happened long ago stays where that is wanted."""
    park(stand, "exhausted")
    old = {**GROUP, "reason": "exhausted", "max_age": "1"}
    fill_in(stand, "/dead-letters/redrive", old)
    assert "0 put back into the queue, 1 happened longer ago and stay." in ended(stand)
    park(stand, "missing_user", nobody())
    group = {**GROUP, "reason": "missing_user"}
    fill_in(stand, "/dead-letters/redrive", group)
    assert "0 put back into the queue, 1 would park again and stay." in ended(stand)
    fill_in(stand, "/dead-letters/redrive", {**group, "force": "yes"})
    assert "1 put back into the queue." in ended(stand)


def test_a_long_queue_is_read_in_part(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says how much it did not look at."""
    for reason in ("exhausted", "uncertain"):
        park(stand, reason)
    monkeypatch.setattr(parked, "MOST", 1)
    shown = stand.page("/dead-letters")
    assert shown.count("<section") == 1
    assert "about 1 more are not looked at here" in shown


# ------------------------------------------------------------------------- jobs


def test_a_job_runs_alone_and_can_be_stopped() -> None:
    """A second one has to wait; whatever ends it, its end is told."""
    jobs, began, go = Jobs(), threading.Event(), threading.Event()

    def work(job: Job) -> str:
        for _ in job.each(range(3)):
            began.set()
            go.wait(10)
        return f"{job.done} done."

    jobs.start(Job("Moving", 3), work)
    assert began.wait(10)
    with pytest.raises(Failure, match="wait for it"):
        jobs.start(Job("Moving", 3), work)
    jobs.stop()
    go.set()
    jobs.wait()
    assert jobs.last is not None
    assert jobs.last.said == "Stopped: 1 done."

    def fails(_: Job) -> str:
        raise Failure("no")

    jobs.start(Job("Moving", 3), fails)
    jobs.wait()
    assert (jobs.last.failed, jobs.last.said) == (True, "no")


def test_a_page_shows_how_far_a_job_is(stand: Stand) -> None:
    """And no other page reads the queue meanwhile, which would hide letters from it."""
    go = threading.Event()

    def work(job: Job) -> str:
        for _ in job.each(range(2)):
            go.wait(10)
        return "done."

    stand.site.jobs.start(Job("Redriving everything", 2), work)
    for path in (
        "/dead-letters", "/dead-letters/group?reason=x", "/dead-letters/some-id", "/numbers", "/trace?id=x"
    ):  # fmt: skip
        assert stand.ask(path).headers["location"] == "/dead-letters/job"
    assert 'http-equiv="refresh"' in stand.page("/dead-letters/job")
    refused = fill_in(stand, "/dead-letters/redrive", GROUP)
    assert (refused.status, "wait for it" in refused.data.decode()) == (502, True)
    fill_in(stand, "/dead-letters/stop", {})
    go.set()
    assert "Stopped: done." in ended(stand)


# ------------------------------------------------------------------------- numbers


def arrival(at: float, outcome: Outcome, took: float, done: float) -> Arrival:
    """A request that was answered and ended after so many seconds."""
    report = Report(stage="deliver", outcome=outcome, source="stripe", event_id=str(at))
    return Arrival(1, at, {}, 200, took, [], [Noted(at + done, report)])


def test_pictures_show_every_webhook() -> None:
    """Each in the bar of its time, as high as there are; and how long it took."""
    arrivals = [
        arrival(NOW - 30, Outcome.CAPTURED, 0.004, 0.4),
        arrival(NOW - 30, Outcome.CAPTURED, 0.02, 0.9),
        arrival(NOW - 29, Outcome.PARKED, 0.02, 3),
        arrival(NOW, Outcome.RETRYING, 0.3, 3),
    ]
    drawn = timeline(arrivals, NOW)
    assert drawn.step == "1 s"
    assert {name: count for name, count in drawn.totals.items() if count} == {
        "captured": 2, "parked": 1, "waiting": 1,
    }  # fmt: skip
    assert drawn.picture.top == "2"
    assert [bar.height for bar in drawn.picture.bars] == [160, 80, 80]
    took = answered(arrivals)
    assert (took.count, took.median, took.longest) == (4, "20 ms", "300 ms")
    assert (delivered(arrivals).count, delivered(arrivals).longest) == (2, "900 ms")
    assert timeline([], NOW).picture.bars == []
    assert answered([]).median == ""
    # However long ago the first came, there is room for it.
    old = timeline([*arrivals, arrival(NOW - 20 * 86400, Outcome.CAPTURED, 1, 1)], NOW)
    assert (old.step, sum(int(float(bar.title.split()[1])) for bar in old.picture.bars)) == (
        "1 d",
        5,
    )


def test_money_is_captured_held_or_parked(stand: Stand) -> None:
    """By currency, as `report` has it."""
    stand.deployed.note_captured(letter_of(stand, "evt_paid", "pi_1"), stand.config, dry_run=False)
    changes: Changes = {("data", "object", "payment_intent"): "pi_2"}
    park(stand, "exhausted", changes)
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", stand.page("/numbers")))
    assert "51.98 USD received" in shown
    assert "25.99 captured" in shown
    assert "25.99 parked" in shown
    assert "<svg" in stand.page("/numbers/traffic")


def letter_of(stand: Stand, event_id: str, intent: str, user: str = "user_42") -> Letter:
    """A sale as it would be parked."""
    changes: Changes = {
        ("id",): event_id,
        ("data", "object", "payment_intent"): intent,
        ("data", "object", "client_reference_id"): user,
    }
    stand.send(load("stripe", SALE).changed(changes).signed())
    text, attributes = stand.stored.pop()
    return Letter("1", "", text, dict(attributes), datetime.now(UTC))


# ------------------------------------------------------------------------- traces


def test_a_trace_masks_users_until_somebody_asks(stand: Stand) -> None:
    """An order is looked for by any of its ids; nothing known is told with why that may be."""
    stand.deployed.note_captured(letter_of(stand, "evt_paid", "pi_1"), stand.config, dry_run=False)
    shown = stand.page("/trace?id=pi_1")
    assert "purchase_completed 25.99 USD for us…42" in shown
    assert "for user_42" in stand.page("/trace?id=pi_1&values=shown")
    assert "for user_42" in stand.page("/trace?id=user_42")
    assert "Nothing is known of pi_9" in stand.page("/trace?id=pi_9")
    number = stand.send(load("stripe", "invoice.paid").changed({("id",): "evt_here"}).signed())
    assert f'<a href="/requests/{number}">' in stand.page("/trace?id=evt_here")
    assert "<script>alert" not in stand.page(f"/trace?id={STRANGE.replace('&', '%26')}")


@pytest.mark.parametrize("user", ["s", "purchase", "25", "for", "USD"])
def test_a_trace_masks_the_user_and_no_other_word(stand: Stand, user: str) -> None:
    """Whatever the user is called: the rest of the sentence stays."""
    letter = letter_of(stand, "evt_paid", "pi_1", user)
    stand.deployed.note_captured(letter, stand.config, dry_run=False)
    shown = stand.page("/trace?id=pi_1")
    assert f"purchase_completed 25.99 USD for {masked(user)}</td>" in shown
    assert f"for {user}</td>" in stand.page("/trace?id=pi_1&values=shown")
    assert f"for {user}</td>" in stand.page(f"/trace?id={user}")


def test_what_aws_refuses_is_told_on_a_page(stand: Stand) -> None:
    """With its name, and nothing else breaks."""
    stand.deployed = replace(stand.deployed, outputs={})
    answer = stand.ask("/dead-letters")
    assert answer.status == 502
    assert "deploy this version first" in answer.data.decode()
    assert stand.ask("/").status == 200


# ------------------------------------------------------------------------- a deployed stack


def line(stage: str, outcome: str, event_id: str = "evt_1", **more: Any) -> dict[str, Any]:
    """As telemetry writes it."""
    told = {"stage": stage, "outcome": outcome, "source": "stripe", "event_type": SALE}
    return {"level": "INFO", "version": "0.1", **told, "event_id": event_id, **more}


@contextmanager
def operated(stand: Stand, logs: FakeLogs, **changes: Any) -> Iterator[tuple[str, Site]]:
    """The console of a deployed stack, as `console --stack shop` serves it: its address, and its site."""
    logged = deployed(logs)

    def client(service: Service) -> Any:
        theirs = service in ("logs", "cloudformation")
        return (logged if theirs else stand.deployed).client(service)

    shop = replace(logged, outputs=stand.deployed.outputs, client=client)
    site = Site(stand.config, lambda: shop, "shop in eu-west-1", is_local=False, **changes)
    recorder = Recorder()
    listener = listen()
    pages = app.of_deployed(site, recorder)
    with following(Logs(shop, HOUR_AGO), recorder, site), asgi.serving(listener, pages):
        yield url_of(listener), site


def page(url: str, **headers: str) -> str:
    """What stands at an address."""
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        return pool.request("GET", url, headers=headers, redirect=False).data.decode()


def test_a_deployed_stack_is_listed_by_its_logs(stand: Stand) -> None:
    """Each webhook with what became of it; its page has no body, and says where one is."""
    logs = FakeLogs(
        [
            line("receive", "queued"),
            line("receive", "queued", "evt_2"),
            line("deliver", "captured", event_names=["purchase_completed"]),
            line("deliver", "parked", "evt_2", reason="missing_user", detail="nobody is named"),
            line("receive", "rejected", "", reason="bad_signature"),
            line("deliver", "captured", "evt_0"),
            {"stage": "receive", "outcome": "of another version"},
            {"stage": "later", "outcome": "queued"},
            {"message": "no report"},
        ]
    )
    with operated(stand, logs) as (url, site):
        shown = eventually(lambda: _with(page(f"{url}/"), 'id="r4"'))
        assert "shop in eu-west-1" in shown
        assert 'href="/send"' not in shown
        assert page(f"{url}/?text=evt_2").count("<tr id=") == 1
        story = page(f"{url}/requests/2")
        assert "Nothing of a request is logged" in story
        assert "hand the id over" in story
        assert "secrets set stripe --stack shop" in page(f"{url}/requests/3")
        assert site.trouble == ""


def test_what_keeps_the_list_from_being_up_to_date_is_told(stand: Stand) -> None:
    """On every page, until it works again."""
    logs = FakeLogs([])
    error = ClientError({"Error": {"Code": "ExpiredToken", "Message": "gone"}}, "FilterLogEvents")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "paginate", Mock(side_effect=error))
        patch.setattr(console, "_AFTER_FAILURE", 0.01)
        with operated(stand, logs) as (url, site):
            eventually(lambda: "ExpiredToken" in page(f"{url}/"))
            patch.setattr(logs, "paginate", lambda **_: [])
            eventually(lambda: site.trouble == "")


def test_an_odd_line_does_not_end_the_list(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is no report, nor what breaks the recorder, nor an answer that nobody expects."""
    monkeypatch.setattr(console, "_PAUSE", 0.01)
    monkeypatch.setattr(console, "_AFTER_FAILURE", 0.01)
    logs = FakeLogs([*ODD_LINES, line("receive", "queued", at=7)])
    with operated(stand, logs) as (url, site):
        eventually(lambda: _with(page(f"{url}/"), 'id="r1"'))
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "heard", Mock(side_effect=TypeError))
            logs.lines.append(line("receive", "queued", "evt_2"))
            eventually(lambda: "1 line of the logs could not be read" in page(f"{url}/"))
        with monkeypatch.context() as patch:
            patch.setattr(logs, "paginate", lambda **_: [{}])
            eventually(lambda: site.trouble == "the logs cannot be read: KeyError")
        logs.lines.append(line("receive", "queued", "evt_3"))
        eventually(lambda: _with(page(f"{url}/"), 'id="r2"'))


def test_a_stack_without_logs_says_so(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every page: else the list looks as if nothing had come."""
    monkeypatch.setattr(Stack, "log_groups", lambda _: [])
    with operated(stand, FakeLogs([])) as (url, _):
        assert "this stack has no logs, so the list stays empty" in page(f"{url}/")


def test_a_console_only_looks_until_it_is_told_otherwise(stand: Stand) -> None:
    """No button, and no form that somebody keeps."""
    park(stand, "exhausted")
    stand.site.may_change = False
    for path in ("/dead-letters", "/dead-letters/group?reason=exhausted"):
        shown = stand.page(path)
        assert "--allow-redrive" in shown
        assert 'method="post"' not in shown
    for path in ("/dead-letters/redrive", "/dead-letters/discard"):
        answer = fill_in(stand, path, {**GROUP, "reason": "exhausted", "sure": "yes"})
        assert (answer.status, "--allow-redrive" in answer.data.decode()) == (502, True)
    assert stand.deployed.parked() == 1


def test_who_has_no_key_sees_nothing(stand: Stand) -> None:
    """Other people of the machine; who has it, has it in a cookie from then on."""
    with operated(stand, FakeLogs([]), key="open-sesame") as (url, _):
        for path in ("/", "/dead-letters", "/static/console.js", "/?key=another", "/live"):
            assert "it has the key" in page(url + path)
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            welcome = pool.request("GET", f"{url}/?key=open-sesame", redirect=False)
        assert (welcome.status, welcome.headers["location"]) == (303, "/")
        cookie = welcome.headers["set-cookie"].partition(";")[0]
        assert "HttpOnly" in welcome.headers["set-cookie"]
        assert "Nothing yet" in page(url, Cookie=cookie)


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("/?key=open-sesame", "/"),
        ("/?key=another", "/"),
        ("/trace?key=open-sesame&id=pi_1&days=7", "/trace?id=pi_1&days=7"),
        ("//attacker.example/?key=open-sesame", "/attacker.example/"),
        ("/\\attacker.example?key=open-sesame", "/%5Cattacker.example"),
    ],
)
def test_the_key_leaves_the_address(stand: Stand, asked: str, left: str) -> None:
    """For who is known already, too; and nobody is led elsewhere."""
    with operated(stand, FakeLogs([]), key="open-sesame") as (url, _):
        cookie = f"console-{url.rpartition(':')[2]}=open-sesame"
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            headers = {"Cookie": cookie}
            answer = pool.request("GET", url + asked, redirect=False, headers=headers)
        assert (answer.status, answer.headers["location"]) == (303, left)


def test_what_is_no_page_is_guarded(stand: Stand) -> None:
    """It is told to nobody else, leads to no other host, and has the headers of a page."""
    paths = ("/nothing", "/dead-letters/", "/requests/1/", "/static", "/static/", "/static/nothing")
    with operated(stand, FakeLogs([]), key="open-sesame") as (url, _):
        cookie = f"console-{url.rpartition(':')[2]}=open-sesame"
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            for path in paths:
                for headers, status in (
                    ({}, 403),
                    ({"Host": "attacker.example", "Cookie": cookie}, 403),
                    ({"Cookie": cookie}, 404),
                ):
                    answer = pool.request("GET", url + path, headers=headers, redirect=False)
                    assert answer.status == status, path
                    assert "default-src 'none'" in answer.headers["content-security-policy"], path


def test_the_command_serves_a_deployed_stack_until_ctrl_c(stack: EmbeddedStack) -> None:
    """At an address with a key; read-only, unless it is allowed more."""
    aws = stack.aws
    environment = os.environ | {
        "AWS_ENDPOINT_URL": aws.endpoint_url, "AWS_DEFAULT_REGION": aws.region,
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip
    command = [sys.executable, "-m", "linkrunner_webhooks_cli", "console", "--stack", stack.name]
    with subprocess.Popen(
        [*command, "--allow-redrive"], stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url, _, key = process.stdout.readline().strip().partition("/?key=")
            with urllib3.PoolManager(retries=False, timeout=10) as pool:
                shown = pool.request("GET", f"{url}/?key={key}", redirect=False)
                cookie = shown.headers["set-cookie"].partition(";")[0]
            assert f"{stack.name} in {aws.region}" in page(f"{url}/", Cookie=cookie)
            assert "read-only" not in page(f"{url}/", Cookie=cookie)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_the_local_console_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make run` serves it; the command says where, or how to start."""
    monkeypatch.setattr(state, "read", lambda: None)
    assert "make run" in CliRunner().invoke(main, ["console"]).output


def test_reports_are_read_from_what_is_logged() -> None:
    """All of one that telemetry writes."""
    report = Report(
        stage="deliver", outcome=Outcome.PARKED, reason=Reason.REFUSED, source="stripe",
        event_type=SALE, event_id="evt_1", detail="400", event_names=("a", "b"), relinked=1,
    )  # fmt: skip
    assert report_of(json.loads(json.dumps(written(report)))) == report
    assert report_of({"stage": "deliver", "outcome": "nothing"}) is None


@pytest.mark.parametrize(
    "odd",
    [
        *({name: 7} for name in ("source", "provider", "event_type", "event_id", "detail")),
        {"source": None},
        {"source": ["stripe"]},
        {"event_names": "purchase_completed"},
        {"event_names": [7]},
        {"event_names": None},
        {"test": "yes"},
        {"test": 1},
        {"relinked": "1"},
        {"relinked": True},
        {"reason": []},
        {"outcome": {}},
        {"stage": ["receive"]},
    ],
    ids=str,
)
def test_what_only_looks_like_a_report_is_none(odd: dict[str, Any]) -> None:
    """Pages take a report's fields for what they are."""
    assert report_of(line("deliver", "captured")) is not None
    assert report_of({**line("deliver", "captured"), **odd}) is None


def test_money_is_never_logged() -> None:
    """So a line that has some is read without it."""
    report = report_of(line("deliver", "captured", money="much"))
    assert report is not None
    assert report.money == ()
