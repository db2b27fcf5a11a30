"""webhooks.toml: the sources, their forwarded events and event names, their user-id paths.

Errors name the file, the table and the key, and suggest the nearest valid name.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linkrunner_webhooks import __version__, providers, signups
from linkrunner_webhooks.errors import ConfigError
from linkrunner_webhooks.event_body import FIELDS
from linkrunner_webhooks.model import Kind
from linkrunner_webhooks.money import Rate
from linkrunner_webhooks.payments import PartialRefund, Type
from linkrunner_webhooks.provider import EventType, Options, Provider
from linkrunner_webhooks.reading import GATEWAYS, SHOPS
from linkrunner_webhooks.signatures.scheme import Scheme
from linkrunner_webhooks.users import VISITOR, compile_path

# An entry of [source.events]: a switch, a name, or a table of them by default event name.
Choice = bool | str

DEFAULT_PATH = Path(__file__).parent.parent / "webhooks.toml"


class Table(BaseModel):
    """One table of webhooks.toml as written. Keys of the provider's own options are taken out before."""

    model_config = ConfigDict(extra="forbid", strict=True)

    provider: str | None = None
    user_id: list[str] | None = None
    missing_user: Literal["park", "drop"] = "park"
    uncertain: Literal["park", "repeat"] = "park"
    test_events: bool | None = None
    links: bool = True
    payment_id: str | None = None
    events: dict[str, Choice | dict[str, Choice]] = Field(default_factory=dict)
    fields: dict[str, str | Literal[False]] = Field(default_factory=dict)
    extra: dict[str, str] = Field(default_factory=dict)


class Rates(BaseModel):
    """The table [linkrunner.rates]: what one unit of a currency is worth, and since when that holds."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Decimal | int | str]

    as_of: date


class Linkrunner(BaseModel):
    """The table [linkrunner]: what is said to Linkrunner, and how, whatever the source.

    `revenue` says whether money received is told as an event, a payment, or a payment with an event that has
    no amount. `types` are the types of payments by kind. `currency` is that of all amounts. With `signups`
    Linkrunner's own webhooks are a source, and events of users whom it does not know can wait for them.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    event_id: bool = True
    revenue: Literal["event", "payment", "both"] = "event"
    types: dict[str, str] = Field(default_factory=dict)
    partial_refund: PartialRefund = "keep"
    failed_payments: bool = False
    currency: str | None = None
    rates: Rates | None = None
    no_rate: Literal["park", "without_amount"] = "park"
    signups: bool = False
    unknown_users: Literal["send", "hold"] = "send"
    hold_days: int = Field(default=14, ge=1, le=90)
    after_hold: Literal["send", "drop"] = "send"

    def type_of(self, kind: Kind) -> str:
        """The type of payments of that kind: always the same, because it is part of what names a payment."""
        return self.types.get(kind.value, Type.DEFAULT)

    def rate_of(self, currency: str) -> Rate | None:
        """What amounts of a currency are converted at today."""
        factor = self.rates.__pydantic_extra__.get(currency) if self.rates else None
        return Rate(currency, self.currency, Decimal(factor)) if self.currency and factor else None


# Not a source's name: it says how Linkrunner is told.
_SETTINGS = signups.NAME


class Naming(NamedTuple):
    """The name of an event, and the kind that the name makes it.

    An operator who names an event like one of our kinds means that kind: `"orders/create" =
    "purchase_completed"` promotes a created order to revenue, so that it counts once with `orders/paid`.
    """

    name: str
    kind: Kind

    @classmethod
    def of(cls, kind: Kind, choice: Choice) -> Naming:
        """A name that is no kind of ours only renames."""
        name = choice if isinstance(choice, str) else kind.value
        return cls(name, Kind(name) if name in _KINDS else kind)


_KINDS = frozenset(Kind)
# Switches as other formats write them; here they would be names.
_SWITCHES = frozenset({"true", "false", "yes", "no", "on", "off"})


@dataclass(frozen=True, slots=True)
class Source:
    """One configured sender. `names` holds, by provider type, the naming of every kind that is on.

    `taught` are the types that are read for what they teach, and `links` says whether ids of persons are
    learned. `beside` are the providers of all sources that can report a payment of this one, too: a shop's
    gateways, or a gateway's shops. `payment_id` is where a body has the id of its payment, if not ours.
    """

    name: str
    provider: Provider
    signature: Scheme
    user_id: tuple[str, ...]
    missing_user: Literal["park", "drop"]
    uncertain: Literal["park", "repeat"]
    test_events: bool
    links: bool
    linkrunner: Linkrunner
    payment_id: str | None
    beside: frozenset[str]
    taught: frozenset[str]
    names: Mapping[str, Mapping[Kind, Naming]]
    fields: Mapping[str, str | None]
    extra: Mapping[str, str]
    options: Options

    def wants(self, event_type: str) -> bool:
        return bool(self.names.get(event_type)) or event_type in self.taught

    @property
    def scope(self) -> str:
        """The owner of transaction ids: sources of a provider with unique ids can report one transaction."""
        return self.provider.name if self.provider.unique_ids else self.name


class Config:
    """webhooks.toml, read once; each table is validated when it is first asked for.

    `test_events` is the setting of tables that do not say.
    """

    def __init__(
        self, tables: Mapping[str, Any], path: str = "webhooks.toml", *, test_events: bool = False
    ) -> None:
        self._path = path
        self._written = tables
        self._test_events = test_events
        self._settings = tables.get(_SETTINGS, {})
        self._tables = tables = {name: table for name, table in tables.items() if name != _SETTINGS}
        if isinstance(self._settings, Mapping) and self._settings.get("signups") is True:
            # Its table is that of the settings, and says nothing of it as a source.
            self._tables = tables = {**tables, signups.NAME: {}}
        self._sources: dict[str, Source] = {}
        self._providers = frozenset(
            table.get("provider", name) if isinstance(table, dict) else name
            for name, table in tables.items()
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tables)

    @property
    def digest(self) -> str:
        """A short name of what the file says. Comments and the order of tables say nothing."""
        text = json.dumps(self._written, sort_keys=True, default=str)
        # A letter first: a digest of digits would be a number to some reader of YAML.
        return f"c{sha256(text.encode()).hexdigest()[:11]}"

    @cached_property
    def code_version(self) -> str:
        """What decides on a webhook: the version of the code, and the digest of its configuration."""
        return f"{__version__} {self.digest}"

    @cached_property
    def linkrunner(self) -> Linkrunner:
        """How Linkrunner is told. Raises ConfigError when the table is wrong."""
        return self._reader(_SETTINGS).settings(self._settings)

    def source(self, name: str) -> Source | None:
        """The source of that name, or None. Raises ConfigError when its table is wrong."""
        if name not in self._tables:
            return None
        if name not in self._sources:
            self._sources[name] = self._reader(name).source(self._tables[name], self.linkrunner)
        return self._sources[name]

    def _reader(self, name: str) -> _Reader:
        return _Reader(self._path, name, self._test_events, self._providers)

    def sources(self) -> tuple[Source, ...]:
        """Every source, validated."""
        return tuple(source for name in self.names if (source := self.source(name)))


def load(path: Path = DEFAULT_PATH, *, test_events: bool = False) -> Config:
    """Read a configuration file. Raises ConfigError when it cannot be read as TOML."""
    try:
        # Rates are exact.
        tables = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; set WEBHOOKS_TOML to the file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return Config(tables, path.name, test_events=test_events)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns one written table into a Source. Its place is part of the error messages."""

    path: str
    name: str
    test_events: bool
    providers: frozenset[object]

    def error(self, where: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.path} [{self.name}{where}]: {problem}")

    def source(self, written: object, linkrunner: Linkrunner) -> Source:
        if not isinstance(written, dict):
            raise ConfigError(f"{self.path}: `{self.name}` must be a table: [{self.name}]")
        if not self.name.replace("_", "").replace("-", "").isalnum() or not self.name.isascii():
            raise self.error("", "a source's name is part of a URL: letters, digits, _ and -")
        provider = self.provider(written.get("provider", self.name))
        ours = {
            key: value for key, value in written.items() if key in provider.options.model_fields
        }
        rest = {key: value for key, value in written.items() if key not in ours}
        options = self.validate(provider.options, ours)
        table = self.validate(Table, rest, also=tuple(provider.options.model_fields))
        self.check_expressions(".user_id", table.user_id or ())
        self.check_visitors(table.user_id or ())
        self.check_expressions(".extra", table.extra.values())
        self.check_expressions(
            ".payment_id", () if table.payment_id is None else (table.payment_id,)
        )
        return Source(
            name=self.name,
            provider=provider,
            signature=provider.scheme(options),
            user_id=provider.user_id if table.user_id is None else tuple(table.user_id),
            missing_user=table.missing_user,
            uncertain=table.uncertain,
            test_events=self.test_events if table.test_events is None else table.test_events,
            links=table.links,
            linkrunner=linkrunner,
            payment_id=table.payment_id,
            beside=self.beside(provider),
            taught=frozenset(
                name
                for name, event_type in provider.types.items()
                if event_type.teaches and table.events.get(name) is not False
            ),
            names=self.event_names(provider, table.events),
            fields=self.fields(table),
            extra=table.extra,
            options=options,
        )

    def settings(self, written: object) -> Linkrunner:
        """The table that all sources share."""
        if not isinstance(written, Mapping):
            raise ConfigError(f"{self.path}: `{_SETTINGS}` must be a table: [{_SETTINGS}]")
        settings: Linkrunner = self.validate(Linkrunner, written)
        self.check_settings(settings)
        return settings

    def check_settings(self, settings: Linkrunner) -> None:
        """What the types alone do not say."""
        if settings.unknown_users == "hold" and not settings.signups:
            problem = "events wait for a signup, which has to be told: set signups = true"
            raise self.error("", f"`unknown_users`: {problem}")
        self.check_types(settings)
        self.check_currency(settings)

    def check_types(self, settings: Linkrunner) -> None:
        for kind, name in settings.types.items():
            if kind not in _KINDS:
                raise self.error(".types", f"there is no event `{kind}`{suggest(kind, _KINDS)}")
            if name not in set(Type):
                raise self.error(
                    ".types", f"`{kind}`: no type of payment{suggest(name, set(Type))}"
                )

    def check_currency(self, settings: Linkrunner) -> None:
        if settings.currency is not None and not _is_code(settings.currency):
            raise self.error("", f"`currency`: {_CODE}")
        if settings.rates is None:
            return
        if settings.currency is None:
            raise self.error("", 'rates need `currency`: the one that they convert into, say "INR"')
        for code, factor in (settings.rates.__pydantic_extra__ or {}).items():
            if not _is_code(code):
                raise self.error(".rates", f"`{code}`: {_CODE}")
            if not _is_rate(factor):
                problem = (
                    f"`{code}`: how many {settings.currency} one {code} is, in 12 digits, say 84.10"
                )
                raise self.error(".rates", problem)

    def beside(self, provider: Provider) -> frozenset[str]:
        """A source alone shares no payment, and a claim on a shared key costs two writes."""
        if provider.name in SHOPS:
            return GATEWAYS & self.providers
        return SHOPS & self.providers if provider.name in GATEWAYS else frozenset()

    def provider(self, name: object) -> Provider:
        if name == signups.NAME and self.name == signups.NAME:
            return signups.provider
        if isinstance(name, str) and name in providers.names():
            return providers.load(name)
        hint = suggest(str(name), (*providers.names(), signups.NAME))
        raise self.error("", f'there is no provider {name!r}{hint}; set provider = "..."')

    def validate(
        self, model: type[Any], values: Mapping[str, Any], also: tuple[str, ...] = ()
    ) -> Any:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise self.explain(error, (*model.model_fields, *also)) from None

    def explain(self, error: ValidationError, valid: Iterable[str]) -> ConfigError:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        nested = len(first["loc"]) > 1 and key in ("events", "fields", "extra", "types", "rates")
        where, key = (f".{key}", str(first["loc"][1])) if nested else ("", key)
        if first["type"] == "extra_forbidden":
            return self.error(where, f"unknown key `{key}`{suggest(key, valid)}")
        if key == "as_of":
            return self.error(
                where, "`as_of`: the day of the rates, without quotes: as_of = 2026-11-30"
            )
        if first["type"] == "bool_type":
            return self.error(where, f"`{key}`: write true or false, without quotes")
        return self.error(where, f"`{key}`: {first['msg'][0].lower()}{first['msg'][1:]}")

    def check_expressions(self, where: str, expressions: Iterable[str]) -> None:
        for expression in expressions:
            try:
                compile_path(expression)
            except ConfigError as error:
                raise self.error(where, str(error)) from None

    def check_visitors(self, expressions: Iterable[str]) -> None:
        """Linkrunner's web SDK writes `lr_vid` into a Shopify cart. https://docs.linkrunner.io/sdk/shopify"""
        if any(VISITOR in expression for expression in expressions):
            problem = "`lr_vid` is a visitor of the web SDK, and no user that an app registers"
            raise self.error(
                ".user_id", f"{problem}; take it out, or keep it in [{self.name}.extra]"
            )

    def event_names(
        self, provider: Provider, written: Mapping[str, Any]
    ) -> dict[str, dict[Kind, Naming]]:
        for name in written:
            if name in provider.never:
                raise self.error(".events", f'"{name}" is never forwarded: {provider.never[name]}')
            if name not in provider.types:
                hint = suggest(name, provider.types)
                raise self.error(".events", f'{provider.title} has no event type "{name}"{hint}')
            if not provider.types[name].kinds and not isinstance(written[name], bool):
                problem = f'"{name}" teaches whose ids are whose, and reports nothing'
                raise self.error(".events", f"{problem}: write true or false")
        return {
            name: self.kinds(event_type, written.get(name))
            for name, event_type in provider.types.items()
        }

    def kinds(self, event_type: EventType, choice: Any) -> dict[Kind, Naming]:
        """The kinds of a type that are on, with their naming. `choice` None keeps the defaults."""
        choices: dict[Kind, Choice] = dict(event_type.switches)
        if choice is False:
            return {}
        if isinstance(choice, dict):
            choices |= {self.kind(event_type, key): value for key, value in choice.items()}
        elif choice is not None:
            choices |= dict.fromkeys(event_type.kinds, choice)
        for value in choices.values():
            self.check_name(event_type.name, value)
        return {
            kind: Naming.of(kind, value) for kind, value in choices.items() if value is not False
        }

    def kind(self, event_type: EventType, name: str) -> Kind:
        if name in event_type.switches:
            return Kind(name)
        hint = suggest(name, [kind.value for kind in event_type.switches])
        raise self.error(".events", f'"{event_type.name}" never becomes "{name}"{hint}')

    def check_name(self, event_type: str, choice: Choice) -> None:
        if not isinstance(choice, str):
            return
        if not (choice.strip() and choice.isprintable() and len(choice) <= 100):
            raise self.error(".events", f'"{event_type}": an event name is 1 to 100 characters')
        if choice.strip().lower() in _SWITCHES:
            problem = f'"{event_type}" = "{choice}" would be an event\'s name'
            raise self.error(".events", f"{problem}: write true or false without quotes")

    def fields(self, table: Table) -> dict[str, str | None]:
        """The renamed fields of event_data; None drops a field. Two fields under one name are an error."""
        for key in table.fields:
            if key not in FIELDS:
                hint = suggest(key, FIELDS)
                raise self.error(".fields", f"unknown field `{key}`{hint}")
        targets = {key: table.fields.get(key, key) or None for key in FIELDS}
        taken = [target for target in (*targets.values(), *table.extra) if target]
        for target in taken:
            if taken.count(target) > 1:
                where = ".extra" if target in table.extra else ".fields"
                raise self.error(where, f"`{target}` would be set twice; choose another name")
        return {key: target for key, target in targets.items() if target != key}


_MOST, _DIGITS = 10**9, 12
_CODE = 'a currency is its three capital letters, say "INR"'


def _is_code(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()


def _is_rate(factor: Decimal | int | str) -> bool:
    try:
        number = Decimal(factor)
    except InvalidOperation:
        return False
    # Times an amount of 15 digits it is still exact.
    return number.is_finite() and 0 < number < _MOST and len(number.as_tuple().digits) <= _DIGITS


def suggest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean "..."?`, or every valid name when none is near."""
    # Imported on demand: only a mistake needs it, and a cold start does not.
    from difflib import get_close_matches  # noqa: PLC0415

    valid = sorted(valid)
    near = get_close_matches(name, valid, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else f"; valid are: {', '.join(valid)}"
