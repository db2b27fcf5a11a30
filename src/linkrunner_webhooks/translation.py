"""From a verified webhook to the Linkrunner events it should become. Pure: nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from linkrunner_webhooks.config import Naming, Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.errors import MissingUser, NoRate, Parked, Reason, TooOld
from linkrunner_webhooks.event_body import LinkrunnerEvent, UserFrom, event_id
from linkrunner_webhooks.fact_keys import key_of, keys, person, shared, through
from linkrunner_webhooks.model import WORTH, CommerceEvent, Flow, Kind, Outcome, SamePayment
from linkrunner_webhooks.money import Money, Rate
from linkrunner_webhooks.paying import (
    EARNED,
    PlannedPayment,
    PlannedReturn,
    payment_of,
    request_of,
    return_of,
)
from linkrunner_webhooks.payments import Account, CapturePayment, Status
from linkrunner_webhooks.provider import Told
from linkrunner_webhooks.rendering import (
    event_data,
    occurred_at,
    priced,
    repriced,
    unpriced,
    without,
)
from linkrunner_webhooks.screening import screened, unnamed
from linkrunner_webhooks.users import (
    VISITOR,
    find_named,
    find_user,
    person_id,
    values,
    visitors_in,
)

_VISITOR = VISITOR.encode()
_MONEY = frozenset({"amount", "currency"})

# The user of a captured fact that has any of these keys, as `once.Claims` knows it.
UserOf = Callable[[Sequence[str]], str | None]
# What the payment with any of these keys was converted at, as the ledger knows it.
RateOf = Callable[[Sequence[str]], Rate | None]

# How an event was told that is revenue to Linkrunner.
REVENUE = "revenue"


class Tried(Protocol):
    """What is known of earlier tries; see once.Claim."""

    @property
    def account(self) -> Account: ...
    @property
    def told(self) -> str: ...


class Planned(NamedTuple):
    """One event to capture. `keys` name the economic fact; `user_id` is None when the body has none.

    `follows` are the keys of the payment whose user this event belongs to in that case. `money` is what the
    event reports as moved, whatever its field is called. `trial` is the key of the trial that this payment
    converts if it is the first one after it, and `conversion` the event it then is. `marks` are keys that
    only one fact may have, and that do not name it. `sent` is what the ledger remembers, as texts by name.
    `people` are keys of the provider's ids that stand for a person, narrow to wide. What `awaits_link` may be
    the fact of another report, and only a third one says so. `shared` are keys that the report of another
    source may have of the same payment. `worth` is the amount that `event_data` tells as it was paid, in the
    fields `told_as`. What counts as a `payment` need not be `announced` as an event, too. `returned` changes
    what Linkrunner holds of another payment. `through` are names by which a shop's gateway, or a
    gateway's shop, may know the payment. `known_as` is the name that its `event_id` is made of, if another.
    """

    source: Source
    event_name: str
    event_data: Mapping[str, Any]
    user_id: str | None
    keys: tuple[str, ...]
    follows: tuple[str, ...] = ()
    money: Money | None = None
    trial: str | None = None
    conversion: Planned | None = None
    marks: tuple[str, ...] = ()
    sent: Mapping[str, str] = MappingProxyType({})
    people: tuple[str, ...] = ()
    awaits_link: bool = False
    shared: tuple[str, ...] = ()
    worth: Money | None = None
    told_as: tuple[str, ...] = ()
    payment: PlannedPayment | None = None
    announced: bool = True
    returned: PlannedReturn | None = None
    user_from: UserFrom = "body"
    through: tuple[str, ...] = ()
    known_as: str = ""

    def settled(self, user_of: UserOf) -> Planned:
        """The event, which is a conversion when a trial was reported here and nothing was paid since."""
        if self.trial is None or self.conversion is None or user_of((self.trial,)) is None:
            return self
        return self if user_of(self.conversion.marks) else self.conversion

    def event(self, user_of: UserOf, rate_of: RateOf) -> LinkrunnerEvent:
        """The event for the user in the webhook or else in the ledger. Raises MissingUser or NoRate."""
        event = self.for_its_user(user_of)
        return self._in_one_currency(event, rate_of) if self.worth else event

    def for_its_user(self, user_of: UserOf) -> LinkrunnerEvent:
        """The event as it was paid. Raises MissingUser."""
        if self.user_id:
            return self._of(self.user_id, self.user_from)
        # The user the fact was captured for before, or who paid.
        if paid := user_of((*self.keys, *self.follows)):
            return self._of(paid, "payment")
        # Whose subscription it is, or whose customer.
        if linked := user_of(self.people):
            return self._of(linked, "link")
        raise MissingUser(f"no user id for {self.event_name}: {self._tried()}")

    def _of(self, user_id: str, user_from: UserFrom) -> LinkrunnerEvent:
        name = self.known_as or self.event_name
        id = event_id(self.keys[0], name) if self.source.linkrunner.event_id else None
        event = LinkrunnerEvent(self.event_name, self.event_data, user_id, user_from, id)
        return replace(event, announced=self.announced) if self.payment else event

    def _in_one_currency(self, event: LinkrunnerEvent, rate_of: RateOf) -> LinkrunnerEvent:
        """The event with its payment, both told in the operator's currency."""
        settings, worth = self.source.linkrunner, self.worth
        if worth is None or (settings.currency is None and self.payment is None):
            return event
        rate = None
        if settings.currency not in (None, worth.currency):
            rate = self._recorded(rate_of) or settings.rate_of(worth.currency)
            if rate is None and settings.no_rate == "park":
                what = f"{worth.currency} = how many {settings.currency} one is"
                raise NoRate(f"no rate for {worth.currency}: add {what} to [linkrunner.rates]")
            if rate is None:
                bare = unpriced(event.event_data, self.source)
                return replace(event, event_data=bare, announced=True, priced=False)
        data = event.event_data
        if rate and self.told_as:
            data = priced(data, self.source, self.told_as, worth, rate)
        elif rate:
            data = repriced(data, self.source, rate)
        return replace(event, event_data=data, rate=rate, payment=self._paid(event.user_id, rate))

    def _recorded(self, rate_of: RateOf) -> Rate | None:
        """What goes back is worth what it was when it came."""
        followed = (*self.follows, *(self.returned.keys if self.returned else ()))
        if self.worth is None or not followed:
            return None
        rate = rate_of(tuple(dict.fromkeys(followed)))
        known = (self.worth.currency, self.source.linkrunner.currency)
        return rate if rate and (rate.of, rate.into) == known else None

    def _paid(self, user_id: str, rate: Rate | None) -> CapturePayment | None:
        if self.payment is None:
            return None
        terms = self.payment.at(rate)
        return request_of(terms, terms.whole, user_id, self.payment, self.source)

    def told_by(
        self, event: LinkrunnerEvent, *, rate: str = "", told: bool = True
    ) -> dict[str, str]:
        """What the ledger remembers of it as it was sent, at that rate; of what was not `told` no amount."""
        rate = rate or (event.rate.text() if event.rate else "")
        known = told and event.priced
        kept = {name: text for name, text in self.sent.items() if known or name not in _MONEY}
        return {**kept, **({"rate": rate} if rate else {}), "user_from": event.user_from}

    def is_revenue(self, event: LinkrunnerEvent) -> bool:
        """Whether the event, as it is told, is revenue to Linkrunner."""
        return event.announced and event.priced and "amount" in self.told_as

    def as_before(self, event: LinkrunnerEvent, claim: Tried) -> tuple[Planned, LinkrunnerEvent]:
        """It and its event as an earlier try may have told it, whatever the setting is today."""
        terms = claim.account.terms
        if self.payment is None and terms and claim.account.versions:
            data = without(self.event_data, ("amount",))
            payment = PlannedPayment(terms, data, Status.COMPLETED, terms.payment_id)
            told = request_of(terms, terms.whole, event.user_id, payment, self.source)
            planned = self._replace(payment=payment, announced=False)
            return planned, replace(event, payment=told, announced=False)
        completed = self.payment is not None and self.payment.status == Status.COMPLETED
        if completed and terms is None and claim.told == REVENUE and self.worth:
            assert self.payment is not None
            data = priced(self.payment.event_data, self.source, EARNED, self.worth, event.rate)
            event = replace(event, event_data=data, payment=None, announced=True)
            return self._replace(payment=None, announced=True, told_as=EARNED), event
        return self, event

    @property
    def follows_payment(self) -> bool:
        """Whether a payment can name its user that is not this one."""
        return any(f"|{Flow.PAYMENT}|" in key for key in self.follows)

    def _tried(self) -> str:
        count, name = len(self.source.user_id), self.source.name
        paths = f"none of the {count} paths in [{name}] user_id found a usable one"
        told = ["no payment it follows was captured here"] if self.follows else []
        told += ["nothing told yet whose its ids are"] if self.people else []
        return ", and ".join([paths, *told])


class Decision(NamedTuple):
    """The outcome of a webhook, given the known users. CAPTURED means: capture its events, each once.

    `may_change` says that a webhook which is still on its way can name the missing user; if that can be the
    payment of a refund or dispute, it `follows` one.
    """

    outcome: Outcome
    reason: Reason = Reason.NONE
    detail: str = ""
    planned: tuple[Planned, ...] = ()
    events: tuple[LinkrunnerEvent, ...] = ()
    may_change: bool = False
    follows: bool = False

    @property
    def would_park(self) -> bool:
        return self.outcome is Outcome.PARKED

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What Linkrunner would be asked, one request after the other."""
        return [request.body() for event in self.events for request in event.requests]

    @property
    def money(self) -> tuple[tuple[str, Money], ...]:
        """The name of each event that reports money moved, with how much."""
        return tuple((each.event_name, each.money) for each in self.planned if each.money)


def parked(error: Parked) -> Decision:
    """The decision that follows from an error."""
    return Decision(outcome=Outcome.PARKED, reason=error.reason, detail=str(error))


class Lesson(NamedTuple):
    """The key of an id that stands for a person, and when the person was named with it, in unix seconds."""

    key: str
    at: float


class Plan(NamedTuple):
    """What a webhook would become, without its body: a whole batch of plans is held at once.

    `received_at` is unix seconds, 0 where nobody knows. `proof` is what the signature covers if that is less
    than the body, under the source's name, and `digest` stands for what the body says.

    What it teaches: the ids in `lessons` are those of `user_id`, or of who paid what it follows where the
    type `teaches`; the keys in `same` name one payment, and those in `merged` one person. `known_user` is
    somebody whom Linkrunner knows. What has `waited` for that does not wait again.

    `test` says that only the provider's answer showed it to be test traffic, which the source drops.
    """

    source: Source
    planned: tuple[Planned, ...]
    received_at: float = 0.0
    proof: str | None = None
    digest: str = ""
    user_id: str | None = None
    lessons: tuple[Lesson, ...] = ()
    same: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    teaches: bool = False
    known_user: str | None = None
    waited: bool = False
    test: bool = False

    @property
    def lesson(self) -> bool:
        """Whether it teaches something by itself."""
        told = self.same or self.merged or self.known_user
        return bool(told or (self.lessons and self.user_id))

    def require_memory(self, now: float, kept: float) -> None:
        """Raises TooOld for a webhook whose capture would be forgotten after `kept` seconds."""
        if self.received_at and now - self.received_at > kept:
            days = f"{kept / 86400:.0f} days"
            raise TooOld(f"received more than {days} ago: whether it was captured is forgotten")


def decide(plan: Plan, user_of: UserOf, rate_of: RateOf) -> Decision:
    """Decide on a webhook, for deliver and for every forecast. Raises NoRate."""
    planned = tuple(each.settled(user_of) for each in plan.planned)
    if not planned:
        reason = Reason.LEARNED if plan.lesson else Reason.NOTHING_TO_REPORT
        reason = Reason.SIGNUP if plan.known_user else reason
        reason = Reason.TEST if plan.test else reason
        return Decision(outcome=Outcome.IGNORED, reason=reason)
    try:
        # All bodies before the first capture: a message is parked whole or not at all.
        events = tuple(each.event(user_of, rate_of) for each in planned)
    except MissingUser as error:
        drop = plan.source.missing_user == "drop"
        return Decision(
            outcome=Outcome.IGNORED if drop else Outcome.PARKED,
            reason=error.reason,
            detail=str(error),
            may_change=any(each.follows or each.people for each in planned),
            follows=any(each.follows for each in planned),
        )
    # Who paid is meant before whose customer it is, and the payment may be on its way.
    waits = any(
        each.follows_payment and event.user_from == "link"
        for each, event in zip(planned, events, strict=True)
    )
    return Decision(
        Outcome.CAPTURED,
        detail="its payment may be on its way, and says whose it is" if waits else "",
        planned=planned,
        events=events,
        may_change=waits,
    )


def plan_of(opened: Opened) -> Plan:
    """The events to capture for a webhook, and what it teaches. Raises Untranslatable."""
    webhook, source, identity = opened.webhook, opened.source, opened.identity
    if source.provider.lookup and identity.test and not source.test_events:
        return Plan(source, (), opened.received_at, test=True)
    names = source.names.get(identity.event_type, {})
    told = source.provider.read(webhook, identity, source.options)
    reported = [
        (event, names[each.kind])
        for each in told.events
        if each.kind in names and (event := _moved(each, names[each.kind].kind))
    ]
    # Few bodies have one, and a walk over a large order takes its time.
    visitors = [*visitors_in(webhook.payload)] if _VISITOR in webhook.body else ()
    named = find_named(source.user_id, webhook.payload, webhook.phones, visitors)
    user_id, path = named or (None, None)
    planned = (_planned(event, naming, user_id, path, opened) for event, naming in reported)
    read = Plan(
        source,
        # Two kinds that were given one meaning are one fact.
        tuple({each.keys: each for each in planned}.values()),
        opened.received_at,
        *_proof(opened),
        same=_one_payment(told.payment, source),
        merged=tuple(
            person(source, "customer", id) for each in told.people if (id := person_id(each))
        )
        if source.links
        else (),
        teaches=identity.event_type in source.taught,
        known_user=told.user,
    )
    if not (read.planned or read.teaches):
        return read
    # Who is named by nobody teaches nothing, unless the type exists for that.
    lessons = _lessons(told, reported, opened) if user_id or read.teaches else ()
    return read._replace(user_id=user_id, lessons=lessons)


# At these somebody tells who they are. What follows a purchase may be anybody's who has bought since.
_BEGINNINGS = frozenset(
    {
        Kind.PURCHASE_INITIATED,
        Kind.PURCHASE_COMPLETED,
        Kind.CHECKOUT_STARTED,
        Kind.CHECKOUT_UPDATED,
        Kind.CUSTOMER_CREATED,
        Kind.TRIAL_STARTED,
        Kind.SUBSCRIPTION_CREATED,
        Kind.SUBSCRIPTION_STARTED,
    }
)


def _lessons(told: Told, reported: Sequence[Any], opened: Opened) -> tuple[Lesson, ...]:
    """Whose ids a webhook can teach: of what it reports, or of all that it says where it exists to teach."""
    teaches = opened.identity.event_type in opened.source.taught
    events = told.events if teaches else tuple(event for event, _ in reported)
    lessons = [
        Lesson(key, _happened(event, opened))
        for event in events
        for key in _people(event, opened, wide=event.kind in _BEGINNINGS)
    ]
    if opened.source.provider.aliases:
        lessons += [Lesson(key, _happened(None, opened)) for key in _aliases(opened)]
    return tuple(dict.fromkeys(lessons))


def _happened(event: CommerceEvent | None, opened: Opened) -> float:
    """Unix seconds of the event; none is later than its arrival, whatever a clock says."""
    moment = (event and event.occurred_at) or opened.identity.occurred_at
    known = moment.timestamp() if moment else opened.received_at
    return min(known, opened.received_at) if opened.received_at else known


def _one_payment(known: SamePayment | None, source: Source) -> tuple[str, ...]:
    """The keys that name one payment; fewer than two say nothing."""
    keys = tuple(key_of(source, Flow.PAYMENT, id) for id in known.ids) if known else ()
    return keys if len(keys) > 1 else ()


def _proof(opened: Opened) -> tuple[str | None, str]:
    """What the signature covers if that is less than the body, and a digest of what the body says."""
    source, webhook = opened.source, opened.webhook
    proof = source.signature.proof(webhook)
    if proof is None:
        return None, ""
    # Senders group and write the same items anew when they repeat themselves.
    said = json.dumps(webhook.payload, sort_keys=True).encode()
    return key_of(source, "proof", proof), sha256(said).hexdigest()


def _people(event: CommerceEvent, opened: Opened, *, wide: bool = True) -> tuple[str, ...]:
    """Keys of the ids that stand for a person, narrow to wide: a subscription, then a customer."""
    source, webhook = opened.source, opened.webhook
    if not source.links:
        return ()
    about = event.subscription_id
    keys = []
    if about and (id := person_id(about, webhook.phones)):
        keys.append(person(source, "subscription", id))
    paths = source.provider.customer_ids if wide else ()
    if customer := find_user(paths, webhook.payload, webhook.phones):
        keys.append(person(source, "customer", customer))
    return tuple(keys)


def _aliases(opened: Opened) -> Iterator[str]:
    """Keys of ids that were made up for somebody who had not signed in."""
    source, webhook = opened.source, opened.webhook
    for path in source.provider.aliases if source.links else ():
        for value in values(path, webhook.payload):
            if id := person_id(value, webhook.phones):
                yield person(source, "customer", id)


# A start can be free, and a dispute is decided whatever it was about.
_FREE = (Kind.SUBSCRIPTION_STARTED, Kind.DISPUTE_OPENED, Kind.DISPUTE_WON, Kind.REFUND_FAILED)


def _moved(event: CommerceEvent, kind: Kind) -> CommerceEvent | None:
    """What moved nothing is no payment and no refund; what happened all the same has no amount."""
    if event.money is None or event.money.amount > 0 or kind.told_as == WORTH:
        return event
    return replace(event, money=None) if kind.flow is None or kind in _FREE else None


# Who paid, or at least began to: a payment that is captured by hand comes after its checkout.
_PAYERS = (Flow.PAYMENT, Kind.PURCHASE_INITIATED)


def _planned(
    event: CommerceEvent, naming: Naming, user_id: str | None, path: str | None, opened: Opened
) -> Planned:
    source, kind = opened.source, naming.kind
    own = keys(event, kind, opened)
    payment = payment_of(event, kind, own[0], opened)
    announced = payment is None or source.linkrunner.revenue == "both"
    # One sale must not be revenue twice: an event beside its payment has no amount.
    bare = announced and payment is not None and kind.flow is not None
    told_as = () if bare else kind.told_as
    data = event_data(replace(event, money=None) if bare else event, told_as, opened)
    planned = Planned(
        source=source,
        event_name=naming.name,
        # Not even under a name of the operator's.
        event_data=without(data, EARNED) if bare else data,
        user_id=user_id,
        keys=own,
        worth=event.money,
        told_as=told_as,
        payment=payment,
        announced=announced,
        returned=return_of(event, kind, own, opened),
        through=through(event, event.transactions, source) if payment else (),
        shared=shared(event, kind.flow, source),
        follows=tuple(
            key
            for what in _PAYERS
            for id in event.follows
            if (key := key_of(source, what, id)) not in own
        ),
        money=event.money if kind.flow else None,
        sent=_sent(event, naming, path, opened),
        # Who is named needs no link.
        people=() if user_id else (*_people(event, opened), *_aliases(opened)),
        awaits_link=event.also_as is not None and source.wants(event.also_as),
    )
    return _convertible(planned, event, opened) if kind in _PERIODS else planned


def _sent(event: CommerceEvent, naming: Naming, path: str | None, opened: Opened) -> dict[str, str]:
    """What the ledger remembers of an event. Texts of merchants are screened like those that leave."""
    identity, phones = opened.identity, opened.webhook.phones
    moved = event.money if naming.kind.flow else None
    told = {
        "source": opened.source.name,
        "kind": naming.kind.value,
        "event_name": naming.name,
        "amount": str(moved.amount) if moved else None,
        "currency": moved.currency if moved else None,
        "order_id": screened(event.order_id, phones),
        "subscription_id": screened(event.subscription_id, phones),
        "event_id": unnamed(identity.event_id, phones),
        "event_type": identity.event_type,
        "occurred_at": occurred_at(event, identity),
        "user_path": path,
        "origin": opened.origin,
    }
    return {name: text for name, text in told.items() if text}


# Payments for a period. The first one after a trial converts it, and only the claims know that.
_PERIODS = (Kind.SUBSCRIPTION_STARTED, Kind.SUBSCRIPTION_RENEWED)


def _convertible(planned: Planned, event: CommerceEvent, opened: Opened) -> Planned:
    """The payment with what it becomes after a trial, where its type can report a conversion."""
    converted = opened.source.names[opened.identity.event_type].get(Kind.TRIAL_CONVERTED)
    if not (converted and event.money and event.subscription_id):
        return planned
    source, about = opened.source, event.subscription_id
    conversion = planned._replace(
        event_name=converted.name,
        # It is the same event, whether or not its trial is known by now.
        known_as=planned.event_name,
        sent={**planned.sent, "event_name": converted.name, "kind": converted.kind.value},
        payment=planned.payment and planned.payment.of(source.linkrunner.type_of(converted.kind)),
        # One payment converts a trial.
        marks=(key_of(source, Kind.TRIAL_CONVERTED, about),),
    )
    return planned._replace(trial=key_of(source, Kind.TRIAL_STARTED, about), conversion=conversion)
