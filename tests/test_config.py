"""webhooks.toml: what it may say, and how its errors name file, table and key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from linkrunner_webhooks import __version__, providers
from linkrunner_webhooks.config import DEFAULT_PATH, Config, Naming, Source, load, suggest
from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks.model import Kind


def read(text: str) -> Config:
    """The configuration that a webhooks.toml of this text makes."""
    return Config(tomllib.loads(text))


def source(text: str, name: str = "stripe") -> Source:
    """One source of it."""
    found = read(text).source(name)
    assert found is not None
    return found


# ------------------------------------------------------------------------------- the packaged file


def test_the_packaged_file_is_valid() -> None:
    """The file as delivered validates, and has a table for Stripe and one for Shopify."""
    assert {"stripe", "shopify"} <= {each.name for each in load().sources()}


def test_the_packaged_ladders_are_the_defaults() -> None:
    """The user-id lists written out in the file are the providers' own, in the same order."""
    for each in load().sources():
        assert each.user_id == each.provider.user_id


def test_the_packaged_file_keeps_every_default() -> None:
    """As delivered the file changes nothing: it only shows what can be changed."""
    for each in load().sources():
        bare = Config({each.name: {"provider": each.provider.name}}).source(each.name)
        assert each == bare


@pytest.mark.parametrize("name", providers.names())
def test_every_ladder_is_accepted(name: str) -> None:
    """Every provider's default ladder passes the check that operators' ladders must pass."""
    ladder = list(providers.load(name).user_id)
    assert source_of(name, user_id=ladder).user_id == tuple(ladder)


def source_of(name: str, **table: object) -> Source:
    """A source of one provider with these settings, besides those it needs."""
    options = providers.load(name).options.example()
    found = Config({name: options | table}).source(name)
    assert found is not None
    return found


# ------------------------------------------------------------------------------- defaults


def test_an_empty_table_uses_the_defaults() -> None:
    """An empty table is a source named after its provider that parks, ignores tests and uses defaults."""
    found = source("[stripe]")
    assert (found.name, found.provider.name) == ("stripe", "stripe")
    assert (found.missing_user, found.test_events) == ("park", False)
    assert (dict(found.fields), dict(found.extra)) == ({}, {})
    assert found.user_id == found.provider.user_id


@pytest.mark.parametrize(
    ("table", "default", "expected"),
    [({}, False, False), ({}, True, True), ({"test_events": False}, True, False)],
)
def test_a_table_decides_on_test_events(
    table: dict[str, object], default: bool, expected: bool
) -> None:
    """The default is the caller's, and what a table says is followed."""
    found = Config({"stripe": table}, test_events=default).source("stripe")
    assert found is not None
    assert found.test_events is expected


DEFAULT_ON = {
    "stripe": {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
        "payment_intent.payment_failed",
        "invoice.paid",
        "invoice.payment_failed",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.paused",
        "customer.subscription.resumed",
        "customer.subscription.deleted",
        "charge.captured",
        "charge.refunded",
        "refund.failed",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
        "invoice_payment.paid",
    },
    "shopify": {
        "orders/create",
        "orders/paid",
        "orders/cancelled",
        "orders/fulfilled",
        "order_transactions/create",
        "refunds/create",
        "disputes/create",
        "disputes/update",
        "subscription_contracts/create",
        "subscription_contracts/cancel",
        "subscription_contracts/pause",
        "subscription_contracts/activate",
        "subscription_contracts/expire",
        "subscription_contracts/fail",
        "subscription_billing_attempts/failure",
        "customers/merge",
    },
}


@pytest.mark.parametrize("name", DEFAULT_ON)
def test_what_is_on_by_default(name: str) -> None:
    """Exactly the contract sheet's defaults are forwarded."""
    found = source_of(name)
    assert {each for each in found.provider.types if found.wants(each)} == DEFAULT_ON[name]


def called(names: Mapping[Kind, Naming]) -> dict[Kind, str]:
    """The event names alone."""
    return {kind: naming.name for kind, naming in names.items()}


def test_kinds_that_are_off_by_default() -> None:
    """A type that is on can still have a kind that is off."""
    names = source("[stripe]").names
    assert Kind.SUBSCRIPTION_STARTED not in names["checkout.session.completed"]
    assert Kind.SUBSCRIPTION_CREATED not in names["customer.subscription.created"]
    assert called(names["checkout.session.completed"]) == {
        Kind.PURCHASE_COMPLETED: "purchase_completed",
        Kind.PURCHASE_INITIATED: "purchase_initiated",
    }


@pytest.mark.parametrize("name", providers.names())
def test_names_are_kinds_by_default(name: str) -> None:
    """Without a name of the operator's own an event is called after its kind."""
    for names in source_of(name).names.values():
        assert all(naming == (kind.value, kind) for kind, naming in names.items())


# ------------------------------------------------------------------------------- choices


def test_a_name_and_a_switch() -> None:
    """A type takes a name, true for its default name, or false."""
    found = source(
        '[stripe.events]\n"charge.refunded" = "refunded"\n'
        '"payment_intent.succeeded" = true\n"invoice.paid" = false\n'
    )
    assert called(found.names["charge.refunded"]) == {Kind.PURCHASE_REFUNDED: "refunded"}
    assert called(found.names["payment_intent.succeeded"]) == {
        Kind.PURCHASE_COMPLETED: "purchase_completed"
    }
    assert not found.wants("invoice.paid")
    assert not found.wants("no.such.type")


def test_a_table_of_kinds() -> None:
    """A type that becomes several events takes a table; kinds it does not name keep their default."""
    found = source(
        '[stripe.events]\n"charge.dispute.closed" = { dispute_won = "won", dispute_closed = false }\n'
    )
    assert called(found.names["charge.dispute.closed"]) == {
        Kind.DISPUTE_WON: "won",
        Kind.DISPUTE_LOST: "dispute_lost",
    }


def test_a_name_applies_to_what_the_type_means() -> None:
    """Renaming a type never calls an unpaid session a purchase."""
    found = source('[stripe.events]\n"checkout.session.completed" = "bought"\n')
    assert called(found.names["checkout.session.completed"]) == {
        Kind.PURCHASE_COMPLETED: "bought",
        Kind.PURCHASE_INITIATED: "purchase_initiated",
    }


def test_several_sources_of_one_provider() -> None:
    """Another table with a `provider` is another source, with options of its own."""
    config = read('[shopify]\n[shopify_eu]\nprovider = "shopify"\nmoney = "presentment"\n')
    first, second = config.sources()
    assert (first.name, second.name) == ("shopify", "shopify_eu")
    assert first.provider is second.provider
    assert first.scope == second.scope == "shopify"
    assert (first.options.model_dump(), second.options.model_dump()) == (
        {"money": "shop"},
        {"money": "presentment"},
    )


def test_a_source_that_is_no_table() -> None:
    """A name that is not configured is no source and no error."""
    assert read("[stripe]").source("shopify") is None


def test_tables_are_validated_when_asked_for() -> None:
    """A mistake in one table does not stop the others."""
    config = read("[stripe]\n[shopify]\nusers = 1\n")
    assert config.source("stripe")
    with pytest.raises(ConfigError):
        config.source("shopify")
    with pytest.raises(ConfigError):
        config.sources()


def test_fields_are_renamed_and_dropped() -> None:
    """A field takes another name, or false to drop it; its old name is free then."""
    found = source(
        '[stripe.fields]\namount = "total"\ncoupon = false\n[stripe.extra]\ncoupon = "a"\n'
    )
    assert dict(found.fields) == {"amount": "total", "coupon": None}


# ------------------------------------------------------------------------------- errors

ERRORS = [
    # what is written, where the message says it is, and what it suggests
    ("stripe = 1", "`stripe`", "must be a table"),
    ("[strip]", "[strip]", 'did you mean "stripe"?'),
    ("[other]", "[other]", "valid are:"),
    ('[shop]\nprovider = "shopfy"', "[shop]", 'did you mean "shopify"?'),
    ("[shop]\nprovider = 1", "[shop]", "no provider 1"),
    ("[stripe]\nuser_ids = []", "[stripe]", 'unknown key `user_ids`; did you mean "user_id"?'),
    ("[stripe]\nmissing_users = 'drop'", "[stripe]", 'did you mean "missing_user"?'),
    ("[stripe]\nmissing_user = 'skip'", "[stripe]", "`missing_user`"),
    ("[stripe]\ntest_events = 'yes'", "[stripe]", "`test_events`"),
    ("[stripe]\ntest_events = 1", "[stripe]", "`test_events`"),
    ("[stripe]\nuser_id = 'a.b'", "[stripe]", "`user_id`"),
    ("[stripe]\nuser_id = ['a..b']", "[stripe.user_id]", "'a..b'"),
    ("[stripe]\nmoney = 'shop'", "[stripe]", "unknown key `money`"),
    ("[stripe]\nminor_unit = {}", "[stripe]", 'did you mean "minor_units"?'),
    ("[stripe]\nminor_units = { UGX = 'two' }", "[stripe]", "`minor_units`"),
    ("[shopify]\nmoney = 'presentation'", "[shopify]", "`money`"),
    ("[shopify]\nmoni = 'shop'", "[shopify]", 'did you mean "money"?'),
    ("[stripe]\nevents = []", "[stripe]", "`events`"),
    ("[stripe.events]\n'invoice.payed' = true", "[stripe.events]", 'did you mean "invoice.paid"?'),
    ("[shopify.events]\n'order/paid' = true", "[shopify.events]", 'did you mean "orders/paid"?'),
    ("[stripe.events]\n'invoice.paid' = 1", "[stripe.events]", "`invoice.paid`"),
    ("[stripe.events]\n'invoice.paid' = ''", "[stripe.events]", '"invoice.paid"'),
    ("[stripe.events]\n'invoice.paid' = ' '", "[stripe.events]", '"invoice.paid"'),
    (f"[stripe.events]\n'invoice.paid' = '{'a' * 101}'", "[stripe.events]", '"invoice.paid"'),
    ("[stripe.events]\n'invoice.paid' = \"a\\u0000\"", "[stripe.events]", '"invoice.paid"'),
    (
        "[stripe.events]\n'charge.dispute.closed' = { dispute_one = true }",
        "[stripe.events]",
        'did you mean "dispute_won"?',
    ),
    (
        "[stripe.events]\n'charge.refunded' = { purchase_completed = true }",
        "[stripe.events]",
        '"charge.refunded" never becomes "purchase_completed"',
    ),
    ("[stripe.fields]\namout = 'total'", "[stripe.fields]", 'did you mean "amount"?'),
    ("[stripe.fields]\namount = true", "[stripe.fields]", "`amount`"),
    ("[stripe.fields]\namount = 'value'", "[stripe.fields]", "`value` would be set twice"),
    ("[stripe.fields]\namount = 'x'\nvalue = 'x'", "[stripe.fields]", "`x` would be set twice"),
    ("[stripe.extra]\namount = 'a'", "[stripe.extra]", "`amount` would be set twice"),
    ("[stripe.extra]\nx = 'a..b'", "[stripe.extra]", "'a..b'"),
    ("[stripe.extra]\nx = 1", "[stripe.extra]", "`x`"),
    ('["a b"]\nprovider = "stripe"', "[a b]", "part of a URL"),
    ('["a/b"]\nprovider = "stripe"', "[a/b]", "part of a URL"),
    ('[""]\nprovider = "stripe"', "[]", "part of a URL"),
    ('["é"]\nprovider = "stripe"', "[é]", "part of a URL"),
]


@pytest.mark.parametrize(("text", "where", "what"), ERRORS, ids=[text for text, _, _ in ERRORS])
def test_errors_say_where_and_what(text: str, where: str, what: str) -> None:
    """A mistake names the file, the table and the key, and suggests the nearest valid name."""
    with pytest.raises(ConfigError) as caught:
        read(text).sources()
    message = str(caught.value)
    assert message.startswith("webhooks.toml")
    assert where in message
    assert what in message


@pytest.mark.parametrize("word", ["yes", "no", "true", "False", "ON", "off"])
@pytest.mark.parametrize("form", ['"{0}"', '{{ purchase_completed = "{0}" }}'])
def test_a_switch_in_quotes_is_no_name(word: str, form: str) -> None:
    """Nobody calls an event "yes": it was meant as a switch, and as a name it would be sent."""
    text = f'[stripe.events]\n"payment_intent.succeeded" = {form.format(word)}'
    with pytest.raises(ConfigError, match="write true or false without quotes"):
        read(text).sources()


@pytest.mark.parametrize(
    ("name", "event_type"),
    [(name, each) for name in providers.names() for each in providers.load(name).never],
)
def test_what_is_never_forwarded(name: str, event_type: str) -> None:
    """Asking for a type that must not be forwarded is an error that gives the reason."""
    with pytest.raises(ConfigError, match="is never forwarded: ") as caught:
        source_of(name, events={event_type: True})
    assert providers.load(name).never[event_type] in str(caught.value)


def test_a_type_that_is_never_forwarded_is_not_supported() -> None:
    """The twins and privacy topics of the sheets are never forwarded, and no such type has a mapper."""
    never = {name: set(providers.load(name).never) for name in DEFAULT_ON}
    assert {"refund.created", "refund.updated", "charge.refund.updated"} <= never["stripe"]
    assert {"customers/data_request", "customers/redact", "shop/redact"} <= never["shopify"]
    assert {"app/uninstalled", "app_subscriptions/update"} <= never["shopify"]
    for name, types in never.items():
        assert not types & set(providers.load(name).types)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is named, and so is the variable to set."""
    with pytest.raises(ConfigError, match="WEBHOOKS_TOML") as caught:
        load(tmp_path / "none.toml")
    assert "none.toml" in str(caught.value)


@pytest.mark.parametrize("text", ["[stripe", "a = ", b"\xff\xfe".decode("latin-1"), "[a]\n[a]"])
def test_a_file_that_is_not_toml(tmp_path: Path, text: str) -> None:
    """What is no TOML is named with the file."""
    path = tmp_path / "webhooks.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="not TOML") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    """Another file is read like the packaged one, and named in its errors."""
    path = tmp_path / "mine.toml"
    path.write_text("[stripe]\ntest = true\n", "utf-8")
    with pytest.raises(ConfigError, match=r"^mine\.toml \[stripe\]: unknown key `test`"):
        load(path).sources()
    assert DEFAULT_PATH.name == "webhooks.toml"


def test_the_nearest_name_is_suggested() -> None:
    """The nearest name is suggested; where none is near, all are listed in order."""
    assert suggest("amout", ["amount", "value"]) == '; did you mean "amount"?'
    assert suggest("zzz", ["value", "amount"]) == "; valid are: amount, value"


def test_a_visitor_is_no_user() -> None:
    """What the web SDK writes into a cart is nobody that an app has registered."""
    path = "note_attributes[?name=='lr_vid'].value"
    with pytest.raises(
        ConfigError, match=r"webhooks.toml \[shopify.user_id\]: `lr_vid` is a visitor"
    ):
        Config({"shopify": {"user_id": [path]}}).source("shopify")
    assert Config({"shopify": {"extra": {"visitor": path}}}).source("shopify")


def test_linkrunner_is_no_source() -> None:
    """Its table says what all sources are sent with."""
    tables = {"linkrunner": {"event_id": False}, "stripe": {}}
    (source,) = Config(tables).sources()
    assert (source.name, source.linkrunner.event_id) == ("stripe", False)
    assert Config({"stripe": {}}).sources()[0].linkrunner.event_id
    assert Config(tables).source("linkrunner") is None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"event_ids": False}, r"\[linkrunner\]: unknown key `event_ids`; did you mean"),
        ({"event_id": "no"}, r"\[linkrunner\]: `event_id`: write true or false"),
        (False, r"`linkrunner` must be a table: \[linkrunner\]"),
    ],
)
def test_a_wrong_table_of_linkrunner(written: object, message: str) -> None:
    """It is found with the first source."""
    with pytest.raises(ConfigError, match=message):
        Config({"linkrunner": written, "stripe": {}}).sources()


def test_the_digest_is_of_what_the_file_says(tmp_path: Path) -> None:
    """Two files that say the same have one digest, whatever their comments; others have another."""
    texts = (
        '[stripe]\nmissing_user = "drop"\n[shopify]\n',
        '# ours\n[shopify]\n\n[stripe]\nmissing_user = "drop"   # guests\n',
        '[shopify]\n[stripe]\nmissing_user = "park"\n',
        "[linkrunner]\n[linkrunner.rates]\nas_of = 2026-11-30\nUSD = 89.20\n",
    )
    digests = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        digests.append(load(path).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert load(path).code_version == f"{__version__} {digests[-1]}"
