"""Claims: every fact in one worker's hands at a time, and done once it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clock import Clock
from tests.simulation.clock import NOW
from tests.simulation.table import FakeTable, Item

from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.notes import TROUBLE
from linkrunner_webhooks.once import KEPT, LEASE, Claim, Claims, Standing
from linkrunner_webhooks_local.cloudformation import EmbeddedStack

OURS, DONE, BUSY, TWICE = Standing.OURS, Standing.DONE, Standing.BUSY, Standing.TWICE


@pytest.fixture(scope="module")
def dynamodb(stack: EmbeddedStack) -> Any:
    """A client of the embedded DynamoDB."""
    return stack.aws.client("dynamodb")


@dataclass(frozen=True)
class Table:
    """A table to claim in; `new` makes claims in it as another worker would."""

    client: Any
    name: str
    clock: Clock
    prefix: str = field(default_factory=lambda: uuid4().hex)

    def new(self) -> Claims:
        return self.ledger().facts

    def ledger(self) -> Ledger:
        return Ledger(self.client, self.name, clock=self.clock)

    def keys(self, names: str) -> list[str]:
        """Keys of this test alone: tests share the real table."""
        return [f"{self.prefix}|{name}" for name in names]

    def item(self, name: str) -> Item:
        found: Item = self.client.get_item(
            TableName=self.name, Key={"key": {"S": f"{self.prefix}|{name}"}}, ConsistentRead=True
        ).get("Item", {})
        return found


@pytest.fixture(params=["dynamodb", "memory"])
def table(request: pytest.FixtureRequest) -> Table:
    """The real claims table, and the one in memory: both must agree."""
    if request.param == "memory":
        return Table(FakeTable(), "claims", Clock(NOW + 0.25))
    stack: EmbeddedStack = request.getfixturevalue("stack")
    name = stack.environment("DeliverFunction")["LEDGER_TABLE"]
    return Table(request.getfixturevalue("dynamodb"), name, Clock(NOW + 0.25))


def held(keys: Sequence[str], owner: str, doubts: int = 0) -> Claim:
    """What a claim on these keys gave to that owner."""
    return Claim(OURS, owner, tuple(keys), unanswered=doubts)


# ------------------------------------------------------------------------- one key


def test_a_fact_is_in_one_workers_hands(table: Table) -> None:
    """Whoever claims first works on it, and everybody else finds it busy."""
    claims, fact = table.new(), table.keys("a")
    assert claims.claim(fact, "one").standing is OURS
    assert table.new().claim(fact, "two").standing is BUSY


def test_a_completed_fact_is_done(table: Table) -> None:
    """After the capture nobody gets it again, the one who captured it included."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "one")
    claims.complete(fact, "user_1")
    assert claims.claim(fact, "one").standing is DONE
    assert claims.claim(fact, "two").standing is DONE


def test_a_released_fact_is_free(table: Table) -> None:
    """After a failure the next one may try at once."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "one")
    claims.release(held(fact, "one"))
    assert claims.claim(fact, "two").standing is OURS


def test_only_the_owner_releases(table: Table) -> None:
    """A lease that is another worker's, or nobody's, is left alone."""
    claims, fact = table.new(), table.keys("a")
    claims.release(held(fact, "one"))
    claims.claim(fact, "one")
    claims.release(held(fact, "two"))
    assert claims.claim(fact, "two").standing is BUSY


def test_a_done_fact_cannot_be_released(table: Table) -> None:
    """A release that comes late does not undo what was recorded."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "one")
    claims.complete(fact, "user_1")
    claims.release(held(fact, "one"))
    assert claims.claim(fact, "two").standing is DONE


@pytest.mark.parametrize(("passed", "standing"), [(LEASE - 1, BUSY), (LEASE, OURS)])
def test_a_lease_runs_out(table: Table, passed: int, standing: Standing) -> None:
    """A worker that died keeps its fact for as long as the slowest capture takes, and no longer."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "dead")
    table.clock.now += passed
    assert claims.claim(fact, "two").standing is standing


def test_a_late_worker_does_not_disturb_its_successor(table: Table) -> None:
    """What was taken over belongs to the new owner, whatever the old one still does with it."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "slow")
    table.clock.now += LEASE
    claims.claim(fact, "two")
    claims.release(held(fact, "slow"))
    assert claims.claim(fact, "three").standing is BUSY


def test_a_late_capture_counts(table: Table) -> None:
    """A capture that succeeded is recorded although the lease had been taken over."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "slow")
    table.clock.now += LEASE
    claims.claim(fact, "two")
    claims.complete(fact, "user_1")
    claims.release(held(fact, "two"))
    assert claims.claim(fact, "three").standing is DONE


@pytest.mark.parametrize(("passed", "standing"), [(KEPT - 1, DONE), (KEPT, OURS)])
def test_done_is_kept_long_enough(table: Table, passed: int, standing: Standing) -> None:
    """A record past its time counts as gone, although DynamoDB deletes it days later."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "one")
    claims.complete(fact, "user_1")
    table.clock.now += passed
    assert claims.claim(fact, "two").standing is standing


def test_kept_outlives_the_queues() -> None:
    """Two queues of 14 days each and a provider's last repetition fit into it."""
    assert KEPT >= (14 + 14 + 4) * 24 * 3600


def test_no_record_expires_before_its_time(table: Table) -> None:
    """DynamoDB is told when it may delete a record, which is never before its time."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "one")
    lease = table.item("a")
    claims.complete(fact, "user_1")
    done = table.item("a")
    now = int(table.clock.now)
    assert int(lease["expires_at"]["N"]) >= int(lease["until"]["N"]) == now + LEASE
    assert int(done["expires_at"]["N"]) >= int(done["until"]["N"]) == now + KEPT


def test_nothing_but_ids_is_kept(table: Table) -> None:
    """A record that nothing was told about holds its key, its state and the user id."""
    claims, fact = table.new(), table.keys("a")
    claims.claim(fact, "one")
    claims.complete(fact, "user_1")
    words = {"key", "state", "owner", "until", "expires_at", "user_id", "capture"}
    assert table.item("a").keys() == words


# ------------------------------------------------------------------------- several keys


@pytest.mark.parametrize("names", ["".join(each) for each in permutations("abc")])
def test_all_keys_or_none(table: Table, names: str) -> None:
    """One busy key makes the fact busy, and nothing is left of the claim when that key is free."""
    claims = table.new()
    first = claims.claim(table.keys("b"), "one")
    assert claims.claim(table.keys(names), "two").standing is BUSY
    claims.release(first)
    claim = claims.claim(table.keys("b"), "three")
    assert (claim.standing, claim.doubts) == (OURS, 0)


@pytest.mark.parametrize("known", "abc")
def test_a_duplicate_teaches_its_other_keys(table: Table, known: str) -> None:
    """One done key makes the fact done, and from then on each of its keys says so and for whom."""
    claims = table.new()
    claims.claim(table.keys(known), "one")
    claims.complete(table.keys(known), "user_1")
    assert claims.claim(table.keys("cab"), "two").standing is DONE
    for name in "abc":
        assert claims.claim(table.keys(name), "three").standing is DONE
        assert claims.user_of(table.keys(name)) == "user_1"


@pytest.mark.parametrize("order", list(permutations(["i", "n", "in"])))
def test_reports_of_one_payment_in_any_order(table: Table, order: Sequence[str]) -> None:
    """Two reports that share no id are one fact as soon as a third one has named both ids."""
    claims, found = table.new(), list[Standing]()
    for report in order:
        claim = claims.claim(table.keys(report), report)
        found.append(claim.standing)
        if claim.standing is OURS:
            claims.complete(claim.keys, "user_1", claim.owner)
    # Nothing can link the two before what links them comes; if it comes last, it says what happened.
    assert found == ([OURS, OURS, TWICE] if order[-1] == "in" else [OURS, DONE, DONE])
    assert claims.claim(table.keys("in"), "again").standing is DONE


@pytest.mark.parametrize("ends", ["released", "kept", "died"])
def test_a_link_stays_when_its_capture_fails(table: Table, ends: str) -> None:
    """A report that names both ids is remembered although nothing was captured for it."""
    claims = table.new()
    linking = claims.claim(table.keys("in"), "session")
    if ends == "released":
        claims.release(linking)
    elif ends == "kept":
        claims.keep(linking, 60)
    table.clock.now += LEASE
    one = claims.claim(table.keys("i"), "intent")
    assert one.keys == tuple(sorted(table.keys("in")))
    assert claims.claim(table.keys("n"), "invoice").standing is BUSY
    claims.complete(one.keys, "user_1", one.owner)
    assert claims.claim(table.keys("n"), "invoice").standing is DONE


def test_links_lead_on(table: Table) -> None:
    """Reports of ids in a chain are one fact, as far as the chain is known."""
    claims = table.new()
    for names in ("ab", "bc", "cd"):
        claims.release(claims.claim(table.keys(names), names))
    assert claims.claim(table.keys("d"), "one").keys == tuple(table.keys("abcd"))


def test_learning_does_not_take_from_others(table: Table) -> None:
    """A key in another worker's hands stays its own, and there is something to learn until it is free."""
    claims = table.new()
    claims.claim(table.keys("a"), "one")
    claims.complete(table.keys("a"), "user_1")
    claims.claim(table.keys("b"), "two")
    assert claims.claim(table.keys("ab"), "three").standing is BUSY
    assert claims.claim(table.keys("b"), "four").standing is BUSY
    claims.release(held(table.keys("b"), "two"))
    assert claims.claim(table.keys("ab"), "three").standing is DONE
    assert claims.claim(table.keys("b"), "four").standing is DONE


def test_trouble_is_told_to_all_workers_and_passes(table: Table) -> None:
    """What one worker meets, another knows; two hours after the last note it is over."""
    one, two = table.ledger().notes, table.ledger().notes
    before = two.in_trouble()
    one.note_trouble()
    assert two.in_trouble()
    table.clock.now += TROUBLE - 1
    assert two.in_trouble()
    one.note_trouble()
    table.clock.now += TROUBLE - 1
    assert two.in_trouble()
    table.clock.now += 2
    assert (before, two.in_trouble()) == (False, False)


def test_the_same_key_twice_is_one(table: Table) -> None:
    """An event that names an id in two places does not stand in its own way."""
    assert table.new().claim(table.keys("aa"), "one").standing is OURS


def test_a_taken_over_fact_gives_back_only_its_own(table: Table) -> None:
    """A release of several keys leaves alone those that somebody else holds by now."""
    claims = table.new()
    slow = claims.claim(table.keys("ab"), "slow")
    table.clock.now += LEASE
    claims.claim(table.keys("a"), "two")
    claims.release(slow)
    assert claims.claim(table.keys("a"), "three").standing is BUSY
    assert claims.claim(table.keys("b"), "three").standing is BUSY


# ------------------------------------------------------------------------- tries that may have captured


class Deaf(FakeTable):
    """The answers to some calls get lost."""

    def __init__(self, *lost: int) -> None:
        super().__init__()
        self.lost = list(lost)
        self.updates = 0

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        answer = super().update_item(**arguments)
        self.updates += 1
        if self.updates in self.lost:
            raise ReadTimeoutError(endpoint_url="https://aws.test")
        return answer


@pytest.mark.parametrize("call", [1, 2])
def test_a_claim_whose_answer_is_lost_leaves_neither_a_lease_nor_a_doubt(call: int) -> None:
    """Nothing was sent, whichever of its keys the claim had taken."""
    claims = Ledger(Deaf(call), "ledger", clock=Clock()).facts
    with pytest.raises(Unavailable):
        claims.claim(["a", "b"], "one")
    again = claims.claim(["a", "b"], "two")
    assert (again.standing, again.doubts) == (OURS, 0)


def test_a_mark_is_noted_after_what_it_marks() -> None:
    """Whoever dies between the notes leaves a fact without its mark, and no mark without its fact."""
    fake = FakeTable()
    claims = Ledger(fake, "ledger", clock=Clock()).facts
    claim = claims.claim(["m"], "one", ["a"])
    assert (claim.keys, claim.marks) == (("m",), ("a",))
    fake.update_item = _fails_second(fake.update_item)  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        claims.complete(claim.keys, "user_1", "one", claim.marks)
    assert claims.user_of("m") == "user_1"
    assert claims.user_of("a") is None


def test_what_is_captured_can_be_noted_by_somebody_else(table: Table) -> None:
    """With all that is linked to it by then, and whoever has it in hand."""
    claims = table.new()
    claims.release(claims.claim(table.keys("ab"), "links"))
    claims.claim(table.keys("b"), "busy")
    claims.complete(table.keys("a"), "user_1", "one", table.keys("m"))
    for name in "abm":
        assert claims.user_of(table.keys(name)) == "user_1"
    assert claims.claim(table.keys("b"), "two").standing is DONE


def test_a_note_that_fails_frees_nothing(table: Table) -> None:
    """Until a capture is noted its lease keeps others away, and then its doubt."""
    claims = table.new()
    claims.claim(table.keys("ab"), "one")
    broken = Ledger(BrokenTable(ClientError({}, "UpdateItem")), "ledger", clock=table.clock).facts
    with pytest.raises(Unavailable):
        broken.complete(table.keys("ab"), "user_1", "one")
    assert table.new().claim(table.keys("b"), "two").standing is BUSY
    table.clock.now += LEASE
    assert table.new().claim(table.keys("b"), "two").doubts == 1


def test_a_capture_is_remembered_where_its_first_key_is(table: Table) -> None:
    """What was sent, when, and for whom; its other keys lead there, also those that are learned later."""
    claims = table.new()
    sent = {"source": "stripe", "event_name": "purchase_completed", "amount": "25.99"}
    claims.complete(table.keys("ab"), "user_1", "one", table.keys("m"), sent)
    fact = {name: value["S"] for name, value in table.item("a").items() if "S" in value}
    at = fact["captured_at"]
    assert at.startswith("2027-01-15T08:00:00.250")
    assert fact.items() >= (sent | {"day": "stripe|2027-01-15", "who": f"user_1|{at}"}).items()
    claims.claim(table.keys("bc"), "two")
    for name in "bcm":
        other = table.item(name)
        assert other["fact"] == table.item("a")["key"]
        assert "day" not in other


def test_two_captures_that_are_one_fact_are_both_remembered(table: Table) -> None:
    """Linkrunner has both, and so the sums say."""
    claims, sent = table.new(), {"source": "stripe"}
    claims.complete(table.keys("a"), "user_1", "one", sent=sent)
    claims.complete(table.keys("b"), "user_1", "two", sent=sent)
    assert claims.claim(table.keys("ab"), "three").standing is TWICE
    assert claims.claim(table.keys("ab"), "four").standing is DONE
    assert "day" in table.item("a")
    assert "day" in table.item("b")


def test_a_try_without_an_end_is_a_doubt(table: Table) -> None:
    """Requests without an answer and deaths of workers count; what failed for certain does not."""
    claims, fact = table.new(), table.keys("ab")
    claims.release(claims.claim(fact, "failed"))
    asked = claims.claim(fact, "asked")
    assert asked.doubts == 0
    claims.keep(asked, 900)
    assert claims.claim(fact, "other").standing is BUSY
    table.clock.now += 900
    died = claims.claim(fact, "died")
    assert (died.unanswered, died.unended) == (1, 0)
    table.clock.now += LEASE
    again = claims.claim(fact, "failed again")
    assert (again.unanswered, again.unended) == (1, 1)
    claims.release(again)
    last = claims.claim(fact, "last")
    assert (last.unanswered, last.unended) == (1, 1)


@pytest.mark.parametrize("names", ["a", "ab"])
def test_who_was_turned_away_leaves_no_doubt(table: Table, names: str) -> None:
    """A claim that found the fact busy tried nothing."""
    claims = table.new()
    busy = claims.claim(table.keys("b"), "one")
    claims.claim(table.keys("ab"), "two")
    claims.release(busy)
    assert claims.claim(table.keys(names), "three").doubts == 0


def test_a_failing_fact_knows_since_when(table: Table) -> None:
    """Tries that follow each other fail since the first one; after a long pause they begin anew."""
    claims, fact, began = table.new(), table.keys("a"), int(table.clock.now)
    assert claims.claim(fact, "one").failing_since is None
    claims.release(held(fact, "one"))
    for _ in range(3):
        table.clock.now += TROUBLE - 1
        claim = claims.claim(fact, "two")
        assert claim.failing_since == began
        claims.release(claim)
    table.clock.now += TROUBLE
    assert claims.claim(fact, "three").failing_since is None


@given(st.permutations([(10, "a"), (20, "b"), (30, "a"), (40, "c"), (35, "b")]))
def test_the_newest_word_wins_in_any_order(statements: Sequence[tuple[int, str]]) -> None:
    """Whose an id is does not depend on which webhook came first."""
    ledger = Ledger(FakeTable(), "ledger", clock=Clock())
    for at, user in statements:
        ledger.links.learn("@person|stripe|customer|cus_1", user, at)
    assert ledger.facts.user_of(["@person|stripe|customer|cus_1"]) == "c"


@pytest.mark.parametrize("first", [True, False])
def test_a_merge_holds_for_what_was_said_before_and_after(table: Table, *, first: bool) -> None:
    """Two customers that are one have one user, whichever of them is named, and when."""
    links, keys = table.ledger().links, table.keys("ab")
    if first:
        links.merge(keys)
    links.learn(keys[0], "user_1", 10)
    if not first:
        links.merge(keys)
    assert [table.new().user_of([key]) for key in keys] == ["user_1"] * 2
    assert links.learn(keys[1], "user_2", 20)
    assert [table.new().user_of([key]) for key in keys] == ["user_2"] * 2
    assert not links.learn(keys[0], "user_3", 15)


def test_counts_of_a_message(table: Table) -> None:
    """Each thing is counted by itself, by all workers together, until it is forgotten."""
    name, other = table.keys("xy")
    assert [table.ledger().notes.count(name) for _ in range(3)] == [1, 2, 3]
    assert table.ledger().notes.count(other) == 1
    table.ledger().notes.forget(name)
    assert table.ledger().notes.count(name) == 1


def test_a_name_is_bound_to_one_thing(table: Table) -> None:
    """The first digest stays, and only the same one is welcome again."""
    (name,) = table.keys("p")
    assert table.ledger().notes.bound_to(name) is None
    assert [table.ledger().notes.bind(name, each) for each in "aaba"] == [True, True, False, True]
    assert table.ledger().notes.bound_to(name) == "a"


def test_memory_is_as_long_as_it_is_set() -> None:
    """A shorter memory than the usual one, for a stack that asks for it."""
    claims = Ledger(FakeTable(), "ledger", clock=(clock := Clock()), kept=1000).facts
    claims.complete(["a"], "user_1")
    clock.now += 999
    assert claims.claim(["a"], "one").standing is DONE
    clock.now += 1
    assert claims.claim(["a"], "one").standing is OURS


# ------------------------------------------------------------------------- whose it was


def test_a_captured_fact_knows_its_user(table: Table) -> None:
    """A captured fact knows its user by any of its keys, and the first key that does decides."""
    claims = table.new()
    claims.claim(table.keys("ab"), "one")
    claims.complete(table.keys("ab"), "user_1")
    claims.complete(table.keys("c"), "user_2")
    assert claims.user_of(table.keys("b")) == "user_1"
    assert claims.user_of(table.keys("xca")) == "user_2"


def test_a_fact_that_was_not_captured_has_no_user(table: Table) -> None:
    """Unknown facts, facts in hand and records without a user name nobody."""
    claims = table.new()
    claims.claim(table.keys("a"), "one")
    claims.complete(table.keys("b"), "")
    assert claims.user_of(table.keys("abx")) is None
    assert claims.user_of([]) is None


# ------------------------------------------------------------------------- at the same time


@pytest.mark.parametrize("names", ["a", "ab"])
def test_exactly_one_of_many(table: Table, names: str) -> None:
    """Twenty workers on five facts: each fact is given out once, whatever order its keys come in."""
    start = threading.Barrier(20)

    def work(number: int) -> tuple[int, Standing]:
        fact = number % 5
        keys = [f"{key}{fact}" for key in table.keys(names)]
        claims = table.new()
        start.wait(10)
        return fact, claims.claim(keys[:: 1 if number % 2 else -1], f"worker {number}").standing

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(work, range(20)))
    for fact in range(5):
        standings = [standing for of, standing in found if of == fact]
        assert sorted(each.value for each in standings) == ["busy"] * 3 + ["ours"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["complete", "release", "die"]), st.integers(0, 3)),
        st.tuples(st.just("pass"), st.sampled_from([1, LEASE // 2, LEASE, LEASE + 1])),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_never_two_at_once_and_never_again(steps: list[tuple[str, int]]) -> None:
    """However work starts, ends, fails and dies, a fact has one owner, and none once it is done."""
    table = Table(FakeTable(), "claims", Clock(NOW + 0.25))
    claims, holders, done = table.new(), dict[int, tuple[float, Claim]](), False
    # Reports of one fact that name different ids, and one id in common.
    reports = ["m", "am", "mz", "amz"]
    for step, number in steps:
        live = {who for who, (until, _) in holders.items() if until > int(table.clock.now)}
        if step == "pass":
            table.clock.now += number
        elif step == "claim" and number not in live:
            claim = claims.claim(table.keys(reports[number]), str(number))
            if done:
                # Who overran its lease may have left a key in the next one's hands; that is learned later.
                assert claim.standing is DONE or (claim.standing is BUSY and live)
            elif claim.standing is OURS:
                assert not live
                holders[number] = (int(table.clock.now) + LEASE, claim)
            else:
                assert (claim.standing, len(live)) == (BUSY, 1)
        elif step in ("complete", "release") and number in holders:
            _, claim = holders.pop(number)
            if step == "complete":
                claims.complete(claim.keys, "user_1", claim.owner)
                done = True
            else:
                claims.release(claim)


# ------------------------------------------------------------------------- when the table is away


class BrokenTable:
    """Every call fails with the same error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(**_: Any) -> Any:
            raise self.error

        return fail


USES: dict[str, Callable[[Ledger], object]] = {
    "claim": lambda ledger: ledger.facts.claim(["a"], "one"),
    "complete": lambda ledger: ledger.facts.complete(["a"], "user_1"),
    "release": lambda ledger: ledger.facts.release(held(["a"], "one")),
    "keep": lambda ledger: ledger.facts.keep(held(["a"], "one"), 60),
    "user_of": lambda ledger: ledger.facts.user_of(["a"]),
    "link": lambda ledger: ledger.facts.link(["a", "b"]),
    "learn": lambda ledger: ledger.links.learn("a", "user_1", 1.0),
    "count": lambda ledger: ledger.notes.count("a"),
    "forget": lambda ledger: ledger.notes.forget("a"),
    "doubts_of": lambda ledger: ledger.facts.doubts_of(["a"]),
    "bound_to": lambda ledger: ledger.notes.bound_to("a"),
    "bind": lambda ledger: ledger.notes.bind("a", "digest"),
}
ERRORS: list[Exception] = [
    ClientError({"Error": {"Code": "ThrottlingException", "Message": "arn:secret"}}, "PutItem"),
    ClientError({"Error": {"Code": "AccessDeniedException", "Message": "arn:secret"}}, "PutItem"),
    ClientError({}, "PutItem"),
    EndpointConnectionError(endpoint_url="https://secret"),
    ConnectTimeoutError(endpoint_url="https://secret"),
    ReadTimeoutError(endpoint_url="https://secret"),
    NoCredentialsError(),
    ParamValidationError(report="secret"),
]


@pytest.mark.parametrize("use", list(USES.values()), ids=list(USES))
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_failure_is_unavailable(error: Exception, use: Callable[[Ledger], object]) -> None:
    """Whatever keeps the table from answering is worth another try, and is told in our own words."""
    with pytest.raises(Unavailable) as raised:
        use(Ledger(BrokenTable(error), "ledger"))
    assert raised.value.reason == "ledger"
    assert "secret" not in str(raised.value)
    assert raised.value.retry_after is None


@pytest.mark.parametrize("use", list(USES.values()), ids=list(USES))
def test_a_missing_table_is_unavailable(dynamodb: Any, use: Callable[[Ledger], object]) -> None:
    """A deployment that is half there keeps its messages."""
    with pytest.raises(Unavailable, match="ResourceNotFoundException"):
        use(Ledger(dynamodb, "no-such-table"))


class RepeatingTable(FakeTable):
    """The first answer to every update is lost, and botocore sends the request again."""

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        super().update_item(**arguments)
        return super().update_item(**arguments)


def test_a_repeated_request_finds_its_own_lease() -> None:
    """When the answer to a claim is lost and the request repeated, the lease found is our own."""
    table = Table(RepeatingTable(), "claims", Clock(NOW + 0.25))
    assert table.new().claim(table.keys("ab"), "one").standing is OURS


def test_a_claim_that_failed_half_way_blocks_nobody_for_long() -> None:
    """Keys taken before the table went away are free again when their lease has run out."""
    fake = FakeTable()
    table = Table(fake, "claims", Clock(NOW + 0.25))
    update = fake.update_item
    fake.update_item = _fails_second(update)  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        table.new().claim(table.keys("ab"), "one")
    fake.update_item = update  # type: ignore[method-assign]
    table.clock.now += LEASE
    assert table.new().claim(table.keys("ab"), "two").standing is OURS


def _fails_second(put: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    answers = iter([put])

    def put_or_fail(**arguments: Any) -> dict[str, Any]:
        for answer in answers:
            return answer(**arguments)
        raise ReadTimeoutError(endpoint_url="https://dynamodb")

    return put_or_fail


def test_trouble_of_the_table_itself_is_remembered() -> None:
    """While it is away nobody can note anything there, and yet payments come late. Then all are told."""
    clock, table = Clock(), FakeTable()
    ledger, other = (Ledger(table, "ledger", clock=clock) for _ in range(2))
    assert not ledger.notes.in_trouble()
    ledger.rows._client = BrokenTable(ClientError({}, "GetItem"))
    with pytest.raises(Unavailable):
        ledger.facts.user_of(["key"])
    ledger.rows._client = table
    assert not other.notes.in_trouble()
    ledger.facts.user_of(["key"])
    assert ledger.notes.in_trouble()
    assert other.notes.in_trouble()
    clock.now += TROUBLE
    assert not ledger.notes.in_trouble()
    assert not other.notes.in_trouble()


@pytest.mark.parametrize(
    ("code", "reason", "away"),
    [
        ("ValidationException", Reason.INTERNAL, False),
        ("ThrottlingException", Reason.LEDGER, True),
    ],
)
def test_a_wrong_request_is_no_trouble_of_the_next_message(
    code: str, reason: Reason, away: bool
) -> None:
    """The table refuses one request for what is in it: the rest of the batch goes on."""
    ledger = Ledger(BrokenTable(ClientError({"Error": {"Code": code}}, "PutItem")), "ledger")
    with pytest.raises(Unavailable) as caught:
        ledger.facts.claim(["key"], "me")
    assert caught.value.reason is reason
    ledger.rows._client = FakeTable()
    assert ledger.notes.in_trouble() is away
