"""Sample webhooks from events/: signed, changed, received over fakes, and what they become."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.errors import BadSignature
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.provider import Provider
from linkrunner_webhooks.receive import Receiver
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.signatures.scheme import Scheme, verify
from linkrunner_webhooks.translation import Plan, Planned, plan_of

EVENTS = Path(__file__).parent.parent / "events"
SEED = "live_secret_0001"
OLD_SEED = "live_secret_0000"
NOW = 1795000010.0

Json: TypeAlias = Any
Place = tuple[str | int, ...]


def registered() -> tuple[tuple[str, str], ...]:
    """Every event type of every provider."""
    return tuple((name, each) for name in providers.names() for each in providers.load(name).types)


Test = TypeVar("Test", bound=Callable[..., None])


def over_types(pairs: Iterable[tuple[str, str]]) -> Callable[[Test], Test]:
    """A test of a `name` and an `event_type` for these, as one test of each provider.

    There are a thousand types, and to begin a test takes longer than most of them take.
    """
    types = defaultdict(list)
    for name, event_type in pairs:
        types[name].append(event_type)

    def mark(test: Test) -> Test:
        @wraps(test)
        def for_each_type(name: str, **given: Any) -> None:
            for event_type in types[name]:
                try:
                    test(name=name, event_type=event_type, **given)
                except BaseException as error:
                    error.add_note(f"of {name} {event_type}")
                    raise

        own = signature(test)
        left = [each for key, each in own.parameters.items() if key != "event_type"]
        # pytest asks for what is in the signature.
        vars(for_each_type)["__signature__"] = own.replace(parameters=left)
        del vars(for_each_type)["__wrapped__"]
        marked: Test = pytest.mark.parametrize("name", list(types))(for_each_type)
        return marked

    return mark


every_provider = pytest.mark.parametrize("name", providers.names())
every_type = over_types(registered())
every_reporting_type = over_types(
    (name, each) for name, each in registered() if providers.load(name).types[each].kinds
)
every_lesson = over_types(
    (name, each) for name, each in registered() if not providers.load(name).types[each].kinds
)


@dataclass(frozen=True)
class Sample:
    """One webhook without its signature, as it lies in events/ or in a golden case."""

    provider: Provider
    headers: Mapping[str, str]
    body: Json

    def raw(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()

    def webhook(self, body: bytes | None = None) -> Webhook:
        """Unsigned."""
        return Webhook(self.provider.name, self.headers, self.raw() if body is None else body)

    def signed(
        self, body: bytes | None = None, secret: str | None = None, now: float = NOW
    ) -> Webhook:
        """As the provider would send it, with the live secret; a hint without what it hints at."""
        scheme = scheme_of(self.provider)
        secret = scheme.example_secret(SEED) if secret is None else secret
        webhook = self.webhook(body)
        if self.provider.lookup and body is None:
            webhook, _ = self.provider.lookup.parted(webhook)
        return scheme.sign(webhook, secret, now)

    def answers(self) -> dict[str, Json]:
        """What the provider's own API answers about it, by path."""
        lookup = self.provider.lookup
        return lookup.parted(self.webhook())[1] if lookup else {}

    def completed(self, opened: Opened) -> Opened:
        """What came of it through the queue, with the answers that it hints at."""
        lookup = self.provider.lookup
        if lookup is None or opened.identity.event_type not in self.provider.types:
            return opened
        webhook = lookup.completed(opened.webhook, self.answers().__getitem__)
        return opened._replace(webhook=webhook)

    def changed(self, values: Mapping[Place, Json]) -> Sample:
        """The same webhook with other values at some places of its body."""
        return Sample(self.provider, self.headers, replaced(self.body, values))

    @property
    def signature_headers(self) -> frozenset[str]:
        """The headers that signing it adds."""
        return frozenset(self.signed().headers) - frozenset(self.headers)

    def leaves(self) -> Iterator[tuple[Place, str]]:
        """Every text in the body, with where it is."""
        return _leaves(self.body, ())


def accepts(scheme: Scheme, webhook: Webhook, *secrets: str, now: float = NOW) -> bool:
    """Whether the webhook verifies with these secrets. Raises what is no verdict."""
    try:
        verify(scheme, webhook, secrets, now)
    except BadSignature:
        return False
    return True


def scheme_of(provider: Provider) -> Scheme:
    """How a source with the provider's example options is signed."""
    return provider.example_scheme


def live_secret(provider: Provider) -> str:
    """The secret that samples are signed with."""
    return scheme_of(provider).example_secret(SEED)


def old_secret(provider: Provider) -> str:
    """The one before it, which is still valid."""
    return scheme_of(provider).example_secret(OLD_SEED)


def refused(webhook: Webhook) -> bool:
    """Whether a webhook of a source named after its provider verifies with neither of its live secrets."""
    provider = providers.load(webhook.source)
    return not accepts(scheme_of(provider), webhook, live_secret(provider), old_secret(provider))


@cache
def _read(provider: str, event_type: str) -> str:
    return (EVENTS / provider / f"{event_type}.json").read_text("utf-8")


def load(provider: str, event_type: str) -> Sample:
    """The sample of one type, fresh: a test may change it."""
    written = json.loads(_read(provider, event_type))
    return Sample(providers.load(provider), written["headers"], written["body"])


@cache
def answers_of(provider: str) -> Mapping[str, Json]:
    """What the provider's own API answers about all its samples."""
    types = providers.load(provider).types
    return {path: it for each in types for path, it in load(provider, each).answers().items()}


def any_sample(provider: str) -> Sample:
    """One sample of a provider, for what does not depend on the type."""
    return load(provider, next(iter(providers.load(provider).types)))


def _leaves(value: Json, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*place, index))


def replaced(body: Json, change: Mapping[Place, Json]) -> Json:
    """A copy of the body with other values at some places."""
    copy = json.loads(json.dumps(body))
    for place, value in change.items():
        inner = copy
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
    return copy


def tables(provider: Provider, **options: Json) -> dict[str, Json]:
    """A configuration with one source, which forwards every kind of every type."""
    events = {
        name: {kind.value: True for kind in event_type.switches}
        for name, event_type in provider.types.items()
        if event_type.kinds
    }
    return {provider.name: {"events": events, **provider.options.example(), **options}}


def everything_on(provider: Provider, **options: Json) -> Source:
    """The source of `tables`."""
    source = Config(tables(provider, **options)).source(provider.name)
    assert source is not None
    return source


@cache
def source_of(name: str) -> Source:
    """A source that forwards everything the provider can report."""
    return everything_on(providers.load(name))


def planned(webhook: Webhook, source: Source | None = None) -> tuple[Planned, ...]:
    """What a verified webhook becomes, when everything is switched on unless the source says otherwise."""
    return read(webhook, source).planned


def read(webhook: Webhook, source: Source | None = None) -> Plan:
    """The same, and what it teaches."""
    source = source or source_of(webhook.source)
    return plan_of(Opened(webhook, source, source.provider.identify(webhook)))


def bodies(events: Sequence[Planned]) -> str:
    """What would be sent, as text. Raises ValueError when it is not JSON."""
    sent = [[each.event_name, dict(each.event_data), each.user_id] for each in events]
    return json.dumps(sent, allow_nan=False, ensure_ascii=False)


@dataclass
class Secrets:
    """Signing secrets that change when they are read afresh, as after a rotation."""

    known: Mapping[str, tuple[str, ...]]
    fresh: Mapping[str, tuple[str, ...]] | None = None

    def of(self, source: str, max_age: float = 300.0) -> tuple[str, ...]:
        current = self.known if max_age > 60 or self.fresh is None else self.fresh
        return current.get(source, ())


@dataclass
class Desk:
    """A receiver and what it wrote down: `stored` (text, attributes) and `reports`."""

    config: Config
    secrets: Any
    now: float = NOW
    refuse: Callable[[], None] = lambda: None
    stored: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def store(self, text: str, attributes: Mapping[str, str]) -> None:
        self.refuse()
        self.stored.append((text, attributes))

    def respond(self, event: Mapping[str, Any]) -> tuple[int, Json]:
        """Status and JSON of the answer."""
        receiver = Receiver(
            config=self.config,
            secrets=self.secrets,
            store=self.store,
            now=lambda: self.now,
            observe=self.reports.append,
        )
        answer = receiver.respond(event)
        if answer["headers"] == {"content-type": "text/plain"}:
            return answer["statusCode"], {"text": answer["body"]}
        assert answer["headers"] == {"content-type": "application/json"}
        return answer["statusCode"], json.loads(answer["body"])

    def receive(self, webhook: Webhook) -> tuple[int, Json]:
        return self.respond(request(webhook))


def desk(provider: Provider, **options: Json) -> Desk:
    """A receiver of one provider that forwards everything, with two live secrets."""
    secrets = Secrets({provider.name: (live_secret(provider), old_secret(provider))})
    return Desk(Config(tables(provider, **options)), secrets)


def request(webhook: Webhook, source: str | None = None) -> dict[str, Any]:
    """What an HTTP API hands to the function, payload format 2.0, with the body in base64."""
    return {
        "version": "2.0",
        "pathParameters": {"source": webhook.source if source is None else source},
        "headers": dict(webhook.headers),
        "body": b64encode(webhook.body).decode("ascii"),
        "isBase64Encoded": True,
    }
