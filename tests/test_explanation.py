"""Why a webhook has the user it has: in the words of `users`, and without showing anybody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tests import privacy, samples
from tests.samples import every_type

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.users import find_user
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.user_paths import candidates, masked, user_paths
from linkrunner_webhooks_local import state

values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No local stack and no configuration of the shell."""
    monkeypatch.setattr(state, "read", lambda: None)
    monkeypatch.delenv("WEBHOOKS_TOML", raising=False)


def source(*paths: str, **table: Any) -> Source:
    """A Stripe source with these user paths."""
    found = Config({"stripe": {"user_id": list(paths), **table}}).source("stripe")
    assert found is not None
    return found


def translated(provider: str, body: Any, *options: str) -> Result:
    """The result of `translate --explain`."""
    return CliRunner().invoke(
        main, ["translate", provider, "-", "--explain", *options], input=json.dumps(body)
    )


@pytest.mark.parametrize(
    ("value", "why", "shown"),
    [
        ("user_42", "taken", "us…42"),
        (7104829365518, "taken", "71…18"),
        ("ab42", "taken", "a…"),
        (7, "taken", "…"),
        (None, "absent", ""),
        ("", "empty", ""),
        ("  ", "empty", "…"),
        ("jane@example.com", "an e-mail address", "…"),
        ("+1 555 010 1234", "a phone number", "…"),
        ("undefined", 'a placeholder, like "guest" or 0', "un…ed"),
        ("x" * 257, "too long", "xx…xx"),
        (10**5000, "too long", "…"),
        (True, "true or false", "…"),
        (4.5, "a number with a fraction", "…"),
        ({"id": "user_42"}, "an object", "{…}"),
        (["user_42"], "a list", "[…]"),
        ([], "absent", ""),
        ({}, "absent", ""),
        (False, "absent", ""),
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, int) else "number",
)
def test_every_path_says_why(value: object, why: str, shown: str) -> None:
    """The value of a path is shown masked, with the reason why it is an id or none."""
    (tried,) = user_paths(source("a.b"), {"a": {"b": value}})
    assert tried == ("a.b", shown, why)


def test_the_first_usable_path_is_taken() -> None:
    """Paths are told in their order, and a later one that is usable, too, is told apart."""
    tried = user_paths(source("a", "b", "c", "d"), {"b": "user_1", "c": "user_2"})
    assert [each.why for each in tried] == [
        "absent",
        "taken",
        "usable; an earlier path was taken",
        "absent",
    ]


@pytest.mark.parametrize("path", ["a[?b=='c'].d", "a && b", "contains(keys(@), 'b') && b"])
def test_a_path_that_finds_nothing_says_so(path: str) -> None:
    """Whatever JMESPath answers then: an empty list, an empty object, or false."""
    assert user_paths(source(path), {"a": {}, "c": []}) == [(path, "", "absent")]
    assert user_paths(source(path), {"a": [], "c": 0}) == [(path, "", "absent")]


@given(values)
def test_what_is_said_is_what_is_done(value: object) -> None:
    """Whatever `users` takes is told as taken, everything else with a reason, and never whole."""
    (tried,) = user_paths(source("a"), {"a": value})
    assert (tried.why == "taken") == (find_user(["a"], {"a": value}) is not None)
    text = str(value).strip() if isinstance(value, str | int) and value != "" else ""
    assert not text or text not in tried.value or text == "…"


@given(st.text(min_size=1))
def test_a_mask_shows_little(text: str) -> None:
    """At most four characters of a value are shown."""
    assert len(masked(text)) <= 5


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"data": {"metadata": {"ref": "cust-8812"}}}, "data.metadata.ref"),
        ({"custom_data": {"a b": "u_77123"}}, 'custom_data."a b"'),
        ({"notes": [{"name": "a-b", "value": 77123}]}, "notes[?name=='a-b'].value | [0]"),
        ({"notes": [{"key": "User ID", "value": "u_7"}]}, "notes[?key=='User ID'].value | [0]"),
        ({"notes": [{"name": "Jane Doe", "value": "u_7"}]}, "notes[0].value"),
        ({"lines": [{"metadata": {"k": "u_77123"}}]}, "lines[0].metadata.k"),
        ({"resource": {"custom_id": "somebody"}}, "resource.custom_id"),
        ({"payment": {"reference_id": "r-1"}}, "payment.reference_id"),
        ({"extra": {"metadata.user": "u_77123"}}, 'extra."metadata.user"'),
        ({"external_customer_id": "e_1"}, "external_customer_id"),
    ],
)
def test_places_of_the_merchant_are_looked_at(body: Any, path: str) -> None:
    """An opaque value where merchants put their own is a candidate, under a path that finds it."""
    (found,) = candidates(source("absent"), body)
    assert found.path == path
    assert find_user([found.path], body) is not None


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"id": "evt_77123", "amount": 77123}},
        {"metadata": {"email": "jane@example.com", "note": "+15550101234"}},
        {"metadata": {"first_name": "Jane77", "customer_phone": "5550101234"}},
        {"metadata": {"colour": "red", "text": "two words 12", "since": "2026-11-24"}},
        {"metadata": {"customer": {"name": {"given": "Jane77"}}}},
        {"metadata": {"jane@example.com": "u_77123", "Jané": "u_77123"}},
        {"metadata": {"known": "user_42"}, "a": "user_42"},
    ],
)
def test_nothing_else_is_a_candidate(body: Any) -> None:
    """Ids of the provider, people, words, dates, and what a path has found already are none."""
    assert candidates(source("a"), body) == []


def test_the_likeliest_comes_first() -> None:
    """A key that speaks of a user is before one that does not, and there are not too many."""
    body = {"metadata": {f"k{number}": f"id_{number}" for number in range(40)} | {"uid": "id_x"}}
    found = candidates(source("a"), body)
    assert found[0].path == "metadata.uid"
    assert len(found) == 10


def test_the_providers_own_customer_id_is_marked() -> None:
    """It is shown once and told apart, because an app may use it; a path that is listed is no candidate."""
    body = {"data": {"customer": {"id": "c_1"}, "customer_id": "cust_77123"}}
    path = "data.customer && data.customer_id"
    for paths, expected in (
        (["a"], [(path, "cu…23", "the provider's own customer id")]),
        ([path], []),
    ):
        polar = Config({"polar": {"user_id": paths}}).source("polar")
        assert polar is not None
        assert candidates(polar, body) == expected
    shown = translated("polar", {"type": "order.paid", **body}, "--header", "webhook-id:w_1").stdout
    assert "the provider's own customer id" in shown


# ------------------------------------------------------------------------------- translate --explain


def test_an_explanation_names_the_switch() -> None:
    """A type that is off is explained with its line in webhooks.toml, and with what it would report."""
    sample = samples.load("shopify", "orders/partially_fulfilled")
    written = {"headers": dict(sample.headers), "body": sample.body}
    result = translated("shopify", written)
    assert result.exit_code == 0
    switch = 'off by default: set "orders/partially_fulfilled" = true in [shopify.events]'
    assert f"Outcome: ignored: unwanted\n  {switch}" in result.stdout
    (told,) = json.loads(translated("shopify", written, "--json").stdout)["webhooks"]
    assert told["to_change"] == [switch]
    (event,) = told["events"]
    assert event["kind"] == "order_partially_fulfilled"
    assert event["event_name"] is None
    assert event["keys"][0].startswith("shopify|order_partially_fulfilled|")


def test_an_explanation_names_the_switch_of_a_kind() -> None:
    """A type that is on can mean something that is off; the line for that kind is named."""
    body = samples.load("stripe", "checkout.session.completed").changed(
        {("data", "object", "mode"): "subscription", ("data", "object", "subscription"): "sub_1"}
    )
    (told,) = json.loads(translated("stripe", body.body, "--json").stdout)["webhooks"]
    line = '"checkout.session.completed" = { subscription_created = true } in [stripe.events]'
    assert any(line in (each["to_change"] or "") for each in told["events"])


def test_an_explanation_of_an_unknown_type_is_one() -> None:
    """Types that no mapper knows and test traffic are explained, and not an error."""
    body = {"id": "evt_1", "type": "refund.created", "livemode": False, "data": {"object": {}}}
    result = translated("stripe", body)
    assert result.exit_code == 0, result.output
    assert "never forwarded: " in result.stdout
    assert "test traffic: set test_events = true in [stripe]" in result.stdout


@every_type
def test_an_explanation_shows_nobody(name: str, event_type: str) -> None:
    """Whatever stands in the personal fields of a webhook, nothing of it is printed, nor a whole user id."""
    sample = samples.load(name, event_type)
    personal = privacy.of(name)
    places = [place for place, _ in sample.leaves() if personal.is_personal(place)]
    marked = {place: f"marker-{number}" for number, place in enumerate(places)}
    written = {"headers": dict(sample.headers), "body": sample.changed(marked).body}
    for options in ((), ("--json",)):
        result = translated(name, written, *options)
        assert result.exit_code == 0, result.output
        assert "marker-" not in result.output
        assert "user_42" not in result.output
