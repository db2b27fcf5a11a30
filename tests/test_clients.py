"""What every client of a vendor's API does, against an imitation of the vendor, by discovery."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from tests import imitations
from tests.imitations.stripe import Stripe
from tests.imitations.vendor import Hook, Vendor
from tests.samples import everything_on

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.translation import plan_of
from linkrunner_webhooks_cli import clients, samples
from linkrunner_webhooks_cli.clients import api, credentials
from linkrunner_webhooks_cli.clients.api import ApiError, Away, Denied
from linkrunner_webhooks_cli.clients.client import (
    Client,
    Connects,
    Happened,
    Lists,
    Origin,
    Wanted,
    Window,
)
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
URL = "https://hooks.shop.example/webhooks/{}"


def _of(kind: type) -> list[str]:
    return [name for name in clients.names() if issubclass(clients.client_of(name) or Client, kind)]


every_client = pytest.mark.parametrize("name", clients.names())
every_list = pytest.mark.parametrize("name", _of(Lists))
every_connection = pytest.mark.parametrize("name", _of(Connects))


@dataclass
class Desk:
    """A vendor that is imitated, and a client of it. `slept` are the pauses that the client made."""

    vendor: Vendor
    source: Source
    environment: dict[str, str]
    slept: list[float] = field(default_factory=list)

    def client(self, **changed: str) -> Any:
        """A new one, with what the operator set."""
        kind = clients.client_of(self.source.provider.name)
        assert kind is not None
        prefix = f"{self.source.provider.name.upper()}_"
        given = {
            name.removeprefix(prefix): value
            for name, value in {**self.environment, **changed}.items()
        }
        base = given.pop("API_BASE")
        return kind(self.source, given, base, sleep=self.slept.append)

    def happen(self, at: datetime, event_type: str = "") -> Webhook:
        """A sale, or what the type says, with ids of its own."""
        event_type = event_type or self.vendor.types[0]
        sample = samples.with_fresh_ids(samples.load(self.source, event_type), self.source)
        return self.vendor.happen(sample.webhook(self.source), at)

    def listed(self, since: datetime, until: datetime, *types: str) -> list[Happened]:
        client: Lists = self.client()
        wanted = types or tuple(self.source.provider.types)
        return list(client.happened(Window(since, until), wanted))

    def facts(self, happened: list[Happened]) -> list[str]:
        """The keys of what was listed, as the ledger knows it."""
        return [key for each in happened for webhook in each.webhooks for key in self.keys(webhook)]

    def keys(self, webhook: Webhook) -> list[str]:
        found = []
        for each in self.source.provider.unpack(webhook):
            opened = Opened(each, self.source, self.source.provider.identity(each))
            found += [planned.keys[0] for planned in plan_of(opened).planned]
        return found


@contextmanager
def desk(name: str) -> Iterator[Desk]:
    """The vendor of that name at noon, with what its lists need."""
    vendor = imitations.imitation_of(name)(now=lambda: NOW)
    vendor.prepare()
    with vendor.serving() as environment:
        yield Desk(vendor, everything_on(providers.load(name)), environment)


def test_every_client_has_an_imitation() -> None:
    """And no imitation is without its client."""
    assert clients.names() == imitations.names()


@every_client
def test_a_client_says_what_it_needs(name: str) -> None:
    """What lets it in, what that has to allow, and how fast it may ask."""
    kind = clients.client_of(name)
    assert kind is not None
    assert issubclass(kind, Lists | Connects)
    assert kind.credentials
    assert kind.rights
    assert 0 < kind.per_second <= 50
    assert {each.name for each in kind.credentials} | {"API_BASE"} == {
        variable.removeprefix(f"{name.upper()}_")
        for variable in imitations.imitation_of(name).environment
    }


# ------------------------------------------------------------------------- lists


@every_list
def test_all_pages_are_read(name: str) -> None:
    """More than two full pages: everything once."""
    with desk(name) as it:
        count = 2 * it.vendor.page + 3
        sent = [it.happen(NOW - timedelta(seconds=60 * n + 60)) for n in range(count)]
        found = it.listed(NOW - 30 * DAY, NOW, it.vendor.types[0])
        assert set(it.facts(found)) == {key for each in sent for key in it.keys(each)}
        assert len(found) == len({tuple(it.facts([each])) for each in found}) > it.vendor.page


@every_list
def test_a_window_ends_where_it_says(name: str) -> None:
    """What happens at its beginning belongs to it, and what happens at its end does not."""
    with desk(name) as it:
        exact = it.vendor.exact
        short = timedelta(seconds=1) if exact else timedelta(minutes=10)
        since, until = NOW - 3 * DAY, NOW - 2 * DAY
        for each in (
            since - short,
            since if exact else since + short,
            until - short,
            until + short,
        ):
            it.happen(each)
        if exact:
            it.happen(until)
        found = [each.at for each in it.listed(since, until, it.vendor.types[0])]
        assert len([each for each in found if since <= each < until]) == 2
        assert not exact or len(found) == 2


@every_list
def test_time_zones_make_no_difference(name: str) -> None:
    """A window in the shop's own time is the same window."""
    with desk(name) as it:
        for hours in range(1, 30):
            it.happen(NOW - timedelta(hours=hours))
        mumbai = timezone(timedelta(hours=5, minutes=30))
        since, until = NOW - DAY, NOW - timedelta(hours=2)
        there = it.listed(since.astimezone(mumbai), until.astimezone(mumbai))
        assert sorted(it.facts(there)) == sorted(it.facts(it.listed(since, until)))
        assert all(each.at.utcoffset() is not None for each in there)


@every_list
def test_a_list_that_moves_is_read_whole(name: str) -> None:
    """New sales come in between two pages: nothing that was there is missed."""
    with desk(name) as it:
        count = 2 * it.vendor.page + 3
        sent = [it.happen(NOW - timedelta(seconds=10 * n + 600)) for n in range(count)]

        def sell() -> None:
            it.happen(NOW - timedelta(seconds=30))

        it.vendor.meanwhile = sell
        found = it.facts(it.listed(NOW - DAY, NOW - timedelta(minutes=5)))
        assert {key for each in sent for key in it.keys(each)} <= set(found)


@every_list
def test_what_is_listed_is_what_was_sent(name: str) -> None:
    """The same facts under the same keys, and nobody takes it for a test or for something else."""
    with desk(name) as it:
        for number, event_type in enumerate(it.vendor.types):
            if _stands_alone(event_type, it):
                sent = it.happen(NOW - timedelta(hours=number + 1), event_type)
                (found,) = _about(sent, it)
                identity = it.source.provider.identity(found)
                assert (identity.test, identity.thin) == (False, False)
                assert identity.event_type == event_type
                assert it.keys(found) == it.keys(sent)


def _stands_alone(event_type: str, it: Desk) -> bool:
    """Whether it needs nothing before it, as a refund does."""
    sample = samples.load(it.source, event_type).webhook(it.source)
    try:
        type(it.vendor)(now=lambda: NOW).happen(sample, NOW)
    except LookupError:
        return False
    return True


def _about(sent: Webhook, it: Desk) -> list[Webhook]:
    """What is listed of the same type, and of the same facts."""
    identify = it.source.provider.identity
    (known,) = it.source.provider.unpack(sent)
    kind = identify(known).event_type
    found = [
        each
        for happened in it.listed(NOW - 2 * DAY, NOW)
        for webhook in happened.webhooks
        for each in it.source.provider.unpack(webhook)
        if identify(each).event_type == kind
    ]
    return [each for each in found if it.keys(each) == it.keys(known)][:1]


@every_list
def test_only_the_types_that_are_wanted_are_listed(name: str) -> None:
    """And none where there is none of them."""
    with desk(name) as it:
        it.happen(NOW - DAY)
        first = it.vendor.types[0]
        others = [each for each in it.source.provider.types if each != first]
        identify = it.source.provider.identity
        found = [
            identify(each).event_type
            for happened in it.listed(NOW - 2 * DAY, NOW, *others)
            for webhook in happened.webhooks
            for each in it.source.provider.unpack(webhook)
        ]
        assert first not in found


# ------------------------------------------------------------------------- trouble


def _asks(it: Desk) -> Callable[[], object]:
    """Any request of the client."""
    client = it.client()
    if isinstance(client, Lists):
        return lambda: it.listed(NOW - DAY, NOW)
    return client.endpoints  # type: ignore[no-any-return]


@every_client
def test_a_busy_vendor_is_asked_again(name: str) -> None:
    """Not before it wants to be."""
    with desk(name) as it:
        ask = _asks(it)
        before = ask()
        it.vendor.faults = [it.vendor.too_many(7), it.vendor.too_many(7)]
        assert _asks(it)() == before
        assert len(it.slept) >= 2
        if "Retry-After" in it.vendor.too_many(7).headers:
            # Some name the moment.
            assert any(6 < each <= 7 for each in it.slept)


@every_client
def test_a_vendor_that_stays_busy_is_left_alone(name: str) -> None:
    """With a sentence that says so, after a while."""
    with desk(name) as it:
        it.vendor.faults = [it.vendor.too_many(1)] * 50
        with pytest.raises(Away, match="429"):
            _asks(it)()


@every_client
def test_wrong_credentials_are_named(name: str) -> None:
    """The variables to look at, and what they have to allow; never what they hold."""
    with desk(name) as it:
        it.vendor.locked = True
        with pytest.raises(Denied) as raised:
            _asks(it)()
        client = it.client()
        assert any(each.name in str(raised.value) for each in client.credentials)
        assert client.rights in str(raised.value)
        for variable, value in it.environment.items():
            if not variable.endswith("API_BASE"):
                assert value not in str(raised.value)


@every_client
@pytest.mark.parametrize(
    "answer",
    [Response(200, b"<html>"), Response.of(200, {}), Response.of(200, [1]), Response(502, b"")],
    ids=["html", "empty", "list", "gateway"],
)
def test_nonsense_is_an_error(name: str, answer: Response) -> None:
    """Of ours: a sentence, and not a traceback."""
    with desk(name) as it:
        if it.vendor.bare and answer.body == b"{}":
            return
        it.vendor.faults = [answer] * 50
        with pytest.raises(ApiError):
            _asks(it)()


@every_client
def test_a_lost_connection_is_made_again(name: str) -> None:
    """What only reads is read once more."""
    with desk(name) as it:
        before = _asks(it)()
        it.vendor.faults = [None]
        assert _asks(it)() == before


def test_pages_are_found_below_a_path() -> None:
    """An API behind a proxy: links to other pages have its path, too, and whatever host they name."""
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.target)
        more = "https://elsewhere.example/proxy/events?after=1" if len(asked) == 1 else None
        return Response.of(200, {"next": more})

    def following(request: api.Request, answer: api.Answer) -> api.Request | None:
        return request.following(answer.value["next"]) if answer.value["next"] else None

    listener = listen()
    with serving(listener, answer):
        base = f"{url_of(listener)}/proxy"
        it = api.Api("Acme", base, headers=dict, keys="", per_second=100, is_busy=lambda *_: False)
        pages = list(it.pages(api.Request("GET", "/events"), following))
    assert len(pages) == 2
    assert asked == ["/proxy/events", "/proxy/events?after=1"]


# ------------------------------------------------------------------------- endpoints


def _wanted(it: Desk, *types: str) -> Wanted:
    return Wanted(
        URL.format(it.source.name),
        types or tuple(it.source.provider.types),
        "linkrunner-webhooks shop/source",
        _chosen(it.source),
    )


def _chosen(source: Source) -> str:
    return source.signature.example_secret("chosen")


def _ours(it: Desk) -> list[Hook]:
    return [hook for hook in it.vendor.hooks if hook.url == URL.format(it.source.name)]


def _set_up(client: Connects, wanted: Wanted) -> list[str]:
    """The endpoints for what is wanted, and their secrets."""
    each = [(kind,) for kind in wanted.types] if client.one_each else [wanted.types]
    return [client.create(wanted._replace(types=types)).secret for types in each]


@every_connection
def test_an_endpoint_is_made_and_found_again(name: str) -> None:
    """With exactly its types, switched on; and its secret verifies what the vendor signs."""
    with desk(name) as it:
        client: Connects = it.client()
        wanted = _wanted(it)
        secrets = _set_up(client, wanted)
        hooks = _ours(it)
        assert set().union(*(hook.types for hook in hooks)) == set(wanted.types)
        known = [each for each in client.endpoints() if each.url == wanted.url]
        assert frozenset().union(*(each.types for each in known)) == set(wanted.types)
        assert all(each.enabled for each in known)
        for hook, secret in zip(hooks, secrets, strict=True):
            assert (secret or wanted.secret) == hook.secret
        if client.origin is Origin.AGAIN:
            assert [client.secret_of(each) for each in known] == secrets


@every_connection
def test_an_endpoint_is_changed_and_switched_on(name: str) -> None:
    """Its types are what is wanted now, and the vendor sends again."""
    with desk(name) as it:
        client: Connects = it.client()
        _set_up(client, _wanted(it))
        for hook in _ours(it):
            hook.enabled = False
        known = [each for each in client.endpoints() if each.url == URL.format(name)]
        assert any(each.enabled for each in known) is not it.vendor.pauses
        kinds = [next(iter(known[0].types))]
        client.apply(client.change(known[0], _wanted(it, *kinds)))
        (changed,) = [hook for hook in _ours(it) if hook.id == known[0].id]
        assert changed.types == set(kinds)
        assert changed.enabled is it.vendor.pauses


@every_connection
def test_an_endpoint_is_taken_away(name: str) -> None:
    """And the others stay."""
    with desk(name) as it:
        client: Connects = it.client()
        _set_up(client, _wanted(it))
        first, *rest = [each for each in client.endpoints() if each.url == URL.format(name)]
        client.apply(client.removal(first))
        assert first.id not in [hook.id for hook in it.vendor.hooks]
        assert len(_ours(it)) == len(rest)


@every_connection
def test_a_request_shows_no_secret(name: str) -> None:
    """What a dry run prints can be shown to anybody."""
    with desk(name) as it:
        client: Connects = it.client()
        wanted = _wanted(it)
        shown = client.creation(wanted).shown(wanted.secret)
        assert wanted.secret not in shown
        assert wanted.url.partition("//")[2] in shown.replace("%2F", "/").replace("\\/", "/")
        for variable, value in it.environment.items():
            if variable.endswith(("KEY", "SECRET")):
                assert value not in shown


# ------------------------------------------------------------------------- credentials


@every_client
def test_credentials_come_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the source before those of its provider; and another shop's open nothing."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    provider = providers.load(name)
    kind = clients.client_of(name)
    assert kind is not None
    table = provider.options.example()
    alone = Config({"shop_eu": {"provider": name, **table}})
    (source,) = alone.sources()
    with pytest.raises(Failure, match="SHOP_EU_"):
        credentials.opened(kind, source, alone)
    for variable, value in imitations.imitation_of(name).environment.items():
        monkeypatch.setenv(variable, value.format(url="https://api.example", host="api.example"))
    assert credentials.is_given(source, alone)
    assert credentials.opened(kind, source, alone).base == "https://api.example"
    both = Config({"shop_eu": {"provider": name, **table}, name: table})
    assert not credentials.is_given(both.sources()[0], both)
    with pytest.raises(Failure, match="SHOP_EU_"):
        credentials.opened(kind, both.sources()[0], both)


def test_a_key_goes_nowhere_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without TLS is refused before anything is sent."""
    config = Config({"stripe": {}})
    monkeypatch.setenv("STRIPE_API_KEY", "rk_live_1")
    kind = clients.client_of("stripe")
    assert kind is not None
    for base in ("http://api.example", "ftp://api.example", "https://", "https://a:b@api.example"):
        monkeypatch.setenv("STRIPE_API_BASE", base)
        with pytest.raises(Failure, match="STRIPE_API_BASE"):
            credentials.opened(kind, config.sources()[0], config)


def test_thin_destinations_are_seen() -> None:
    """Stripe's newer destinations can send events without amounts: they are told, and left alone."""
    with desk("stripe") as it:
        client: Connects = it.client()
        _set_up(client, _wanted(it))
        assert isinstance(it.vendor, Stripe)
        it.vendor.thin = [URL.format("stripe")]
        thin = [each for each in client.endpoints() if not each.usable]
        assert [each.url for each in thin] == [URL.format("stripe")]
        assert "snapshot" in json.dumps(thin[0].troubles)
