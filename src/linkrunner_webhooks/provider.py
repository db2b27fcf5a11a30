"""The declaration of a provider: its signature, the identity of its webhooks, the meaning of its types.

A `Provider` is filled while its module is imported and only read afterwards. The registered event types
are the supported list: configuration, documentation and tests read it from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, wraps
from inspect import signature
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import ConfigDict, ValidationError

from linkrunner_webhooks.errors import Incomplete, Malformed, Untranslatable, WebhookError
from linkrunner_webhooks.lookups import Lookup
from linkrunner_webhooks.model import (
    UNKNOWN,
    CommerceEvent,
    Identity,
    Kind,
    KnownUser,
    Lesson,
    SamePayment,
    SamePerson,
    Webhook,
)
from linkrunner_webhooks.reading import Payload, describe
from linkrunner_webhooks.signatures.scheme import Scheme

P = TypeVar("P", bound=Payload)
Translator = Callable[[P, "Context"], Iterable[CommerceEvent | Lesson]]
# A translator as it is declared.
T = TypeVar("T", bound=Translator[Any])


class Options(Payload):
    """An operator's choices for one provider, as keys of its table in webhooks.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Values for the options one has to give, as for samples; each field brings its own."""
        fields = cls.model_fields.items()
        return {name: (field.examples or [])[0] for name, field in fields if field.is_required()}


class Context(NamedTuple):
    """A translator's knowledge besides the payload.

    `kind` is what the event's type means (the first of its kinds), so that one translator can serve types
    that differ in nothing else. `options` is the provider's own Options class.
    """

    identity: Identity
    kind: Kind
    options: Any


def unless(is_nothing: Callable[[P], bool]) -> Callable[[Translator[P]], Translator[P]]:
    """A translator that reports nothing of payloads like these. It stands below the registrations."""

    def among(translate: Translator[P]) -> Translator[P]:
        @wraps(translate)
        def filtered(payload: P, context: Context) -> Iterable[CommerceEvent | Lesson]:
            return () if is_nothing(payload) else translate(payload, context)

        return filtered

    return among


@dataclass(frozen=True)
class EventType:
    """One type of a provider's events.

    `kinds` is what the type means; a name or a switch given to the type applies to these, and `forwarded`
    says whether they are on by default. `besides` are other things the same type can report, each with its
    own default switch. What `teaches` is stored and read even where it reports nothing: it says whose the
    provider's ids are, or which of them are one payment.
    """

    name: str
    kinds: tuple[Kind, ...]
    besides: Mapping[Kind, bool]
    forwarded: bool
    translate: Translator[Any]
    teaches: bool = False

    @cached_property
    def payload(self) -> type[Payload]:
        """The model of the body: the type of the translator's first parameter.

        Read when the first webhook of the type is translated: a generic model takes time to make, and a
        cold start of receive needs none.
        """
        parameters = signature(self.translate, eval_str=True).parameters
        model: type[Payload] = next(iter(parameters.values())).annotation
        return model

    @property
    def stored(self) -> bool:
        """Whether it is stored by default: forwarded, or read for what it teaches."""
        return self.teaches or any(self.switches.values())

    @property
    def kind(self) -> Kind | None:
        """What the type means, the first of its kinds."""
        return self.kinds[0] if self.kinds else None

    @cached_property
    def switches(self) -> Mapping[Kind, bool]:
        """Every kind the type can report, with whether it is forwarded by default."""
        return dict.fromkeys(self.kinds, self.forwarded) | dict(self.besides)


class Told(NamedTuple):
    """The meaning of a webhook: its events, and what it teaches.

    That is which ids are of one payment, or of one person, and who is known to Linkrunner.
    """

    events: tuple[CommerceEvent, ...]
    payment: SamePayment | None = None
    people: tuple[str, ...] = ()
    user: str | None = None


class Role(StrEnum):
    """What a company does with a merchant's money: so it is known who else reports the same payments."""

    # Moves it in the merchant's own account
    GATEWAY = "gateway"
    # Sells through gateways
    SHOP = "shop"
    # Bills, or chooses among gateways, through the merchant's accounts there
    BILLING = "billing"
    # Sells in its own name
    SELLER = "seller"
    # Sells what apps sell
    STORE = "store"
    # Repeats what stores, and some gateways, report
    REPEATER = "repeater"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A company's webhook dialect.

    `signature` is a scheme, or makes one of the provider's options. `unpack` makes of a verified request the
    webhooks in it, each with one event and a JSON body. `acknowledgement` is the text a sender needs to see,
    and `statuses` are the codes that it needs in place of ours, where ours would make it give up.
    `headers` travel with the body into the queue because they carry identity. `user_id` is the default
    ladder of JMESPath expressions over the body. `customer_ids` are paths of the provider's own customer id,
    which is a user only where an operator lists it. Whose it is gets learned all the same, and that of
    `aliases`: ids made up for who has not signed in. `unique_ids` says that transaction ids never repeat
    across this provider's accounts, so that two sources fed by one account still count a sale once. `never`
    holds types that must not be forwarded, each with the reason an operator who tries is given. `handshake`
    recognises an unsigned greeting that must be answered 200 and means nothing. `caution` is what an operator
    who switches the provider on has to know. `role` says who else reports the same payments under ids of
    their own, and `overlaps` names others who do, each with when; `names_gateway` is where its bodies name
    that payment, so that it counts once. `lookup` completes webhooks that only hint at what happened. What to
    click stands in docs/providers/<name>.md.
    """

    name: str
    title: str
    docs: str
    signature: Scheme | Callable[[Any], Scheme]
    identify: Callable[[Webhook], Identity]
    user_id: tuple[str, ...]
    customer_ids: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    options: type[Options] = Options
    unique_ids: bool = False
    handshake: Callable[[Webhook], bool] = field(default=lambda _: False, repr=False)
    unpack: Callable[[Webhook], tuple[Webhook, ...]] = field(default=lambda it: (it,), repr=False)
    acknowledgement: str = ""
    statuses: Mapping[int, int] = field(default_factory=dict)
    never: Mapping[str, str] = field(default_factory=dict)
    caution: str = ""
    role: Role = Role.GATEWAY
    overlaps: Mapping[str, str] = field(default_factory=dict)
    names_gateway: str = ""
    lookup: Lookup | None = field(default=None, repr=False)
    types: dict[str, EventType] = field(default_factory=dict, repr=False)

    def on(
        self,
        name: str,
        *kinds: Kind,
        besides: Mapping[Kind, bool] | None = None,
        teaches: bool = False,
    ) -> Callable[[T], T]:
        """Register the translator of one event type, which is forwarded by default.

        Raises ValueError for a type that is there already, that is in `never`, or that has no kinds.
        """
        return self._register(name, kinds, besides or {}, forwarded=True, teaches=teaches)

    def lesson(self, name: str) -> Callable[[T], T]:
        """Register the translator of a type that only teaches."""
        return self._register(name, (), {}, forwarded=False, teaches=True)

    def off(
        self,
        name: str,
        *kinds: Kind,
        besides: Mapping[Kind, bool] | None = None,
        teaches: bool = False,
    ) -> Callable[[T], T]:
        """Like `on`, for a type that is forwarded only where the operator switches it on.

        One that `teaches` is read all the same.
        """
        return self._register(name, kinds, besides or {}, forwarded=False, teaches=teaches)

    def _register(
        self,
        name: str,
        kinds: tuple[Kind, ...],
        besides: Mapping[Kind, bool],
        *,
        forwarded: bool,
        teaches: bool = False,
    ) -> Callable[[T], T]:
        def register(translate: T) -> T:
            if name in self.types or name in self.never:
                raise ValueError(f'{self.name}: the event type "{name}" is declared twice')
            if not (kinds or teaches):
                raise ValueError(f'{self.name}: the event type "{name}" needs a kind')
            stacked = [each for each in self.types.values() if each.translate is translate]
            self.types[name] = EventType(name, kinds, besides, forwarded, translate, teaches)
            # Decorators run from the last to the first. Lists of types are in the order of the file.
            self.types.update({each.name: self.types.pop(each.name) for each in stacked})
            return translate

        return register

    def identity(self, webhook: Webhook) -> Identity:
        """The identity of a verified webhook. What does not say what it is gets the type `unknown`.

        Raises Malformed for a body that is not JSON: nothing could ever be read from it.
        """
        try:
            return self.identify(webhook)
        except Malformed as error:
            try:
                _ = webhook.payload
            except Malformed:
                # The provider's own words say more.
                raise error from None
            return Identity(event_id=webhook.digest, event_type=UNKNOWN)

    def scheme(self, options: Options) -> Scheme:
        """The signature scheme of a source with these options."""
        return self.signature(options) if callable(self.signature) else self.signature

    @property
    def example_scheme(self) -> Scheme:
        """The scheme of a source with example options, for documentation and samples."""
        return self.scheme(self.options(**self.options.example()))

    def translate(
        self, webhook: Webhook, identity: Identity, options: Options
    ) -> tuple[CommerceEvent, ...]:
        """The events of a verified webhook: none, one or several. Raises only Untranslatable."""
        return self.read(webhook, identity, options).events

    def read(self, webhook: Webhook, identity: Identity, options: Options) -> Told:
        """The meaning of a verified webhook. Raises only Untranslatable."""
        event_type = self.types.get(identity.event_type)
        if event_type is None:
            raise Untranslatable(f"no mapper for {self.title} events of this type")
        try:
            if self.lookup is not None and not self.lookup.meant(webhook.payload, options):
                return Told(())
            if self.lookup is not None and self.lookup.wanted(webhook) is not None:
                raise Incomplete(
                    f"it only hints at what happened: deliver asks {self.title} for it"
                )
            payload = event_type.payload.model_validate(webhook.payload)
            # A type that only teaches has no kind, and its translator asks for none.
            context = Context(identity, cast("Kind", event_type.kind), options)
            told = tuple(event_type.translate(payload, context))
        except Malformed as error:
            # The edge identified it, so the sender is not at fault.
            raise Untranslatable(str(error)) from None
        except WebhookError:
            raise
        except ValidationError as error:
            raise Untranslatable(describe(error)) from None
        except Exception as error:
            # A bug of a mapper parks the webhook. The error may quote the body, so only its type is told.
            raise Untranslatable(f"the mapper failed with {type(error).__name__}") from error
        events = tuple(each for each in told if isinstance(each, CommerceEvent))
        for event in events:
            if event.kind not in event_type.switches:
                raise Untranslatable(f"the mapper made an undeclared {event.kind.value}")
        payments = (each for each in told if isinstance(each, SamePayment))
        people = (each.ids for each in told if isinstance(each, SamePerson))
        users = (each.id for each in told if isinstance(each, KnownUser))
        return Told(events, next(payments, None), next(people, ()), next(users, None))
