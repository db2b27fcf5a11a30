"""The keys under which the ledger knows what webhooks report: facts, people, and names that others share."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from linkrunner_webhooks.accounts import PAID
from linkrunner_webhooks.config import Source
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.model import CommerceEvent, Flow, Kind
from linkrunner_webhooks.reading import gateway

# What leads from the ids that a provider has of a person to the user.
PERSON = "@person|"
# DynamoDB takes keys of 2,048 bytes.
_LONGEST = 1024


def keys(event: CommerceEvent, kind: Kind, opened: Opened) -> tuple[str, ...]:
    """The keys of the fact: two events that share a key are the same fact.

    Reports of one payment agree on the flow and a transaction, whatever they are called. Without a
    transaction every provider event is its own fact.
    """
    source, identity = opened.source, opened.identity
    category = kind.flow if kind.flow and event.money else kind
    if event.transactions:
        return tuple(key_of(source, category, id) for id in event.transactions)
    about = identity.resource_id or ""
    # An id that is not signed can be made up: another one would count the same webhook again.
    happening = identity.event_id if identity.signed else opened.webhook.digest
    return (key_of(source, category, identity.event_type, about, happening),)


def key_of(source: Source, *parts: str) -> str:
    """Short enough for a key of the table, however long the ids are that a merchant chose."""
    key = "|".join((source.scope, *parts))
    if len(key) <= _LONGEST and key.isascii():
        return key
    # Headers may hold what is no Unicode.
    digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{source.scope}|{digest}"


# Money that a shop and its gateway both report.
_TOLD_TWICE = (Flow.PAYMENT, Flow.REFUND)


def shared(event: CommerceEvent, flow: Flow | None, source: Source) -> tuple[str, ...]:
    """Keys that a shop's report and its gateway's have, of one payment or refund whose amounts agree.

    A payment of a part, or of several orders, is not the order.
    """
    if flow not in _TOLD_TWICE or event.money is None:
        return ()
    ids = event.transactions if flow is Flow.PAYMENT else event.follows
    paid = f"{event.money.amount.normalize():f} {event.money.currency}"
    return tuple(
        f"@through|{provider}|{flow}|{id}|{paid}" for provider, id in _known(event, ids, source)
    )


def through(event: CommerceEvent, ids: Iterable[str], source: Source) -> tuple[str, ...]:
    """Names by which a shop and its gateway know one payment, whatever each of them says was paid."""
    known = (f"{PAID}{provider}|{id}" for provider, id in _known(event, ids, source))
    return tuple(dict.fromkeys(known))


def _known(event: CommerceEvent, ids: Iterable[str], source: Source) -> list[tuple[str, str]]:
    """What a shop and its gateway both know a payment by: the gateway, and its id there."""
    if not source.beside:
        return []
    found = (event.gateway,) if event.gateway else (gateway(id) for id in ids)
    names = {source.provider.name, *source.beside}
    return [each for each in found if each and each[0] in names]


def person(source: Source, what: str, id: str) -> str:
    """The key of what is known of a person whom the provider calls so."""
    return PERSON + key_of(source, what, id)
