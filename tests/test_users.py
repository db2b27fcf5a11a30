"""Whose event it is: found in the body, or not at all."""

from __future__ import annotations

import json

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.screening import is_contact, is_phone
from linkrunner_webhooks.users import compile_path, find_user, person_id, search, usable

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("user_42", "user_42"),
        (" user_42\n", "user_42"),
        (42, "42"),
        (7104829365518, "7104829365518"),
        ("5550101234", "5550101234"),
        ("auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
        ("8b0e4f2a-7d3e-4b86-9a51-0c5f7e8a2d19", "8b0e4f2a-7d3e-4b86-9a51-0c5f7e8a2d19"),
        ("@handle", "@handle"),
        ("nullable", "nullable"),
        ("użytkownik", "użytkownik"),
    ],
)
def test_texts_and_integers_are_ids(value: object, user: str) -> None:
    """A non-empty text or an integer is an id."""
    assert usable(value) == user


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        1.0,
        42.5,
        "",
        " ",
        "\t\n",
        "null",
        "NULL",
        " null ",
        "None",
        "nil",
        "undefined",
        "NaN",
        "false",
        "{}",
        "[]",
        "[object Object]",
        0,
        -1,
        "0",
        "-1",
        "000",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "guest",
        "Guest",
        "guest_user",
        "unknown",
        "anonymous",
        "unidentified",
        "no_user",
        "(null)",
        "<null>",
        "N/A",
        "n/a",
        "--",
        "user_id",
        "linkrunner_user_id",
        "{{user_id}}",
        "{{ customer.id }}",
        "${userId}",
        "<%= user.id %>",
        "%user_id%",
        "<user_id>",
        "[USER_ID]",
        "{user_id}",
        "$RCAnonymousID:87c6049c58069238dce29853916d624c",
        "$SuperwallAlias:2F9C61D4-0B7A-4E35-8A1C-5D3E7F90B264",
        {},
        [],
        ["user_42"],
        {"id": "user_42"},
        "jane.appleseed@example.com",
        " Jane.Appleseed+shop@sub.example.co.uk ",
        "jane@localhost.example",
        "+15550101234",
        "+1 (555) 010-1234",
        "+44 20 7946 0958",
        "a" * 257,
        10**36,
        -(10**5000),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, int) else repr(value)[:40],
)
def test_contacts_and_words_for_nothing_are_no_ids(value: object) -> None:
    """Nothing, words for nothing, other types, addresses and phone numbers are no ids."""
    assert usable(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "mailto:jane.appleseed@example.com",
        "Jane Appleseed <jane.appleseed@example.com>",
        "jane.appleseed@example.com,robin@example.com",
        "tel:+15550101234",
    ],
)
def test_a_dressed_up_contact_is_no_id(value: str) -> None:
    """An address does not become an id by what stands around it."""
    assert usable(value) is None


@pytest.mark.parametrize(
    "value", ["user_0", "guest42", "unknown_hero", "a{b}c", "100%", "test", "[42]", "u-0"]
)
def test_what_only_resembles_a_placeholder_is_an_id(value: str) -> None:
    """An id that merely has such a word in it is somebody's."""
    assert usable(value) == value


@pytest.mark.parametrize("phone", ["+919876543210", "919876543210", 9876543210, "98765 43210"])
@pytest.mark.parametrize("user", ["9876543210", 9876543210, "919876543210"])
def test_a_phone_number_of_the_body_is_no_id(phone: object, user: object) -> None:
    """In India the phone number often is the user id. Bare, it is known by where else it stands."""
    notes = {"user_id": user, "linkrunner_user_id": None}
    for body, found in (({"notes": notes, "contact": phone}, None), ({"notes": notes}, str(user))):
        webhook = Webhook("razorpay", {}, json.dumps(body).encode())
        assert find_user(("notes.user_id",), webhook.payload, webhook.phones) == found


@pytest.mark.parametrize(
    ("phone", "text", "same"),
    [
        ("+91 98765-43210", "919876543210", True),
        ("+91 98765-43210", "9876543210", True),
        ("+91 98765-43210", "09876543210", True),
        ("+91 98765-43210", "user-98765 43210", True),
        ("098765 43210", "919876543210", True),
        ("tel:+919876543210", "9876543210", True),
        ("5550101", "15550101", True),
        ("+91 98765-43210", "449876543210", False),
        ("+91 98765-43210", "98765432109", False),
        ("+91 98765-43210", "543210", False),
        ("000555010", "91555010", False),
    ],
)
def test_a_phone_number_is_known_with_and_without_its_prefix(
    phone: str, text: str, same: bool
) -> None:
    """At home a zero stands before it, and abroad the country's prefix; both end alike."""
    webhook = Webhook("razorpay", {}, json.dumps({"contact": phone}).encode())
    assert is_phone(text, webhook.phones) is same


def test_a_body_is_searched_for_numbers_only_when_a_text_looks_like_one() -> None:
    """Most ids have no digits in a row, and a search of a large order takes a while."""
    asked: list[bool] = []

    def phones() -> frozenset[str]:
        asked.append(True)
        return frozenset({"919876543210"})

    assert not is_phone("cs_test_a1b2c3", phones)
    assert not asked
    assert is_phone("9876543210", phones)
    assert asked


@given(value=json_values)
def test_nothing_unusable_is_ever_found(value: object) -> None:
    """Whatever the body holds, a user is a stripped text that is no word for nothing and no contact."""
    user = find_user(("id", "@", "a.b", "[0]"), {"id": value})
    if user is not None:
        assert user == user.strip()
        assert user.lower() not in ("", "null", "none", "undefined", "false")
        assert not is_contact(user)
        assert isinstance(value, str | int)
        assert not isinstance(value, bool)


@given(
    local=st.from_regex(r"[A-Za-z0-9._%+-]+", fullmatch=True),
    host=st.sampled_from(["com", "co.in"]),
)
def test_email_addresses_are_never_ids(local: str, host: str) -> None:
    """No e-mail address is an id, on any path."""
    address = f"{local}@example.{host}"
    assert find_user(("a", "b"), {"a": address, "b": f" {address}\n"}) is None


@given(payload=json_values)
def test_default_ladders_take_any_body(payload: object) -> None:
    """The default expressions of every provider find a text or nothing in any JSON, and never fail."""
    for name in providers.names():
        user = find_user(providers.load(name).user_id, payload)
        assert user is None or user.strip()


@given(
    payload=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(("a", "b", "a.b")), inner, max_size=3)
        ),
    ),
    expression=st.sampled_from(("a", "b", "a.b", "b.a.b", "a.a.a", "missing", "_a.b2")),
)
def test_plain_paths_find_what_jmespath_finds(payload: object, expression: str) -> None:
    """The short way of walking a dotted path is JMESPath's meaning of it."""
    assert search(expression, payload) == jmespath.search(expression, payload)


names = st.sampled_from(("x", "y", 1, True, None))
pairs = st.fixed_dictionaries({"k": names}, optional={"v": names, "w": st.just({"v": "deep"})})


@given(listed=st.lists(pairs | st.none() | st.text() | st.just({}), max_size=4) | json_values)
@pytest.mark.parametrize("expression", ["a[?k=='x'].v", "a[?k=='x'].w.v", "b.a[?k=='y'].v"])
def test_listed_pairs_are_found_as_jmespath_finds_them(expression: str, listed: object) -> None:
    """The short way of looking through a list of names and values is JMESPath's meaning of it."""
    for payload in ({"a": listed, "b": {"a": listed}}, {"b": listed}, listed):
        assert search(expression, payload) == jmespath.search(expression, payload)


def test_the_first_usable_one_wins() -> None:
    """Expressions are tried in order; an unusable find is passed over."""
    body = {"a": "", "b": "null", "c": "jane@example.com", "d": 42, "e": "user_7"}
    assert find_user(("missing", "a", "b", "c", "d", "e"), body) == "42"
    assert find_user(("e", "d"), body) == "user_7"
    assert find_user((), body) is None
    assert find_user(("missing",), body) is None


@pytest.mark.parametrize(
    "expression", ["a.b", "a[0]", "length(@)", "sum(a)", "sort(@)", "starts_with(a, 'x')", "@"]
)
@pytest.mark.parametrize("payload", [None, 1, "text", [], {}, {"a": 1}, {"a": "x"}, {"a": [None]}])
def test_wrong_types_on_the_way_find_nothing(expression: str, payload: object) -> None:
    """An expression that does not fit the body finds nothing instead of failing."""
    found = search(expression, payload)
    assert find_user((expression,), payload) == usable(found)


@pytest.mark.parametrize("expression", ["", "a..b", "[", "a b", "nosuch(@)[", "'", "a[?b"])
def test_wrong_expressions_are_config_errors(expression: str) -> None:
    """What is no JMESPath is a ConfigError that quotes the expression, on one line."""
    with pytest.raises(ConfigError) as caught:
        compile_path(expression)
    assert repr(expression) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["jane@example.com", "+15550101234", "+1 555 010 1234", " jane@example.com "]
)
def test_addresses_and_phone_numbers_are_contacts(text: str) -> None:
    """Addresses and international phone numbers are recognised."""
    assert is_contact(text)


@pytest.mark.parametrize("text", ["", "user_42", "12345678901", "+1", "a@b", "AUTUMN", "web"])
def test_what_is_no_contact(text: str) -> None:
    """Ids, codes and short numbers are not."""
    assert not is_contact(text)


@pytest.mark.parametrize(
    ("value", "id"),
    [
        ("cus_1", "cus_1"),
        (7104829365518, "7104829365518"),
        (
            "$RCAnonymousID:5f0c1d2e3b4a59687786950a1b2c3d4e",
            "$RCAnonymousID:5f0c1d2e3b4a59687786950a1b2c3d4e",
        ),
        ("$RCAnonymousID:", None),
        ("guest", None),
        ("null", None),
        (0, None),
        (None, None),
        ("anna@private.example", None),
        ("+49 151 2345 6789", None),
        ({"id": 1}, None),
    ],
)
def test_an_id_that_stands_for_a_person(value: object, id: str | None) -> None:
    """A provider's own, or one that RevenueCat made up for one person; no placeholder, no contact."""
    assert person_id(value) == id


def test_a_shopify_customer_is_a_number() -> None:
    """Apps register the number, whichever form a body has; of no number nothing is left."""
    assert usable("gid://shopify/Customer/7713370243288") == "7713370243288"
    assert usable("gid://shopify/Customer/") is None
    assert usable("gid://shopify/Customer/0") is None
