"""From a message of the queue to the Linkrunner events it should become. Pure: nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import unseal
from linkrunner_webhooks.errors import Malformed, MissingUser, Unroutable, Untranslatable
from linkrunner_webhooks.linkrunner import LinkrunnerEvent
from linkrunner_webhooks.model import CommerceEvent, Flow, Identity, Kind, Money, Webhook
from linkrunner_webhooks.rendering import event_data, final_kind
from linkrunner_webhooks.users import find_user


@dataclass(frozen=True, slots=True)
class Planned:
    """One event to capture. `keys` name the economic fact; `user_id` is None when the body has none.

    `follows` are the keys of the payment whose user this event belongs to in that case. `money` is what the
    event reports as moved, whatever its field is called.
    """

    event_name: str
    event_data: Mapping[str, Any]
    user_id: str | None
    keys: tuple[str, ...]
    follows: tuple[str, ...] = ()
    money: Money | None = None

    def event(self, source: Source, payer: str | None = None) -> LinkrunnerEvent:
        """The request body, for the user in the webhook or else the `payer`. Raises MissingUser."""
        user_id = self.user_id or payer
        if user_id is None:
            raise MissingUser(f"no user id for {self.event_name}: {_tried(source, self.follows)}")
        return LinkrunnerEvent(self.event_name, self.event_data, user_id)


def _tried(source: Source, follows: tuple[str, ...]) -> str:
    paths = f"none of the {len(source.user_id)} paths in [{source.name}] user_id found a usable one"
    return f"{paths}, and no payment it follows was captured here" if follows else paths


@dataclass(frozen=True, slots=True)
class Opened:
    """A message of either queue, opened with today's code and configuration."""

    webhook: Webhook
    source: Source
    identity: Identity


def open_message(text: str, config: Config) -> Opened:
    """Raises Unreadable, Unroutable or Untranslatable."""
    webhook = unseal(text).webhook
    source = config.source(webhook.source)
    if source is None:
        raise Unroutable(f"webhooks.toml has no table [{webhook.source}] any more")
    try:
        return Opened(webhook, source, source.provider.identify(webhook))
    except Malformed as error:
        # It was identified at the edge, so a mapper of another version is at fault and not the sender.
        raise Untranslatable(str(error)) from None


def plan(webhook: Webhook, identity: Identity, source: Source) -> tuple[Planned, ...]:
    """What to capture for a webhook; empty when it reports nothing. Raises Untranslatable."""
    names = source.names.get(identity.event_type, {})
    events = source.provider.translate(webhook, identity, source.options)
    named = [(event, names[event.kind]) for event in events if event.kind in names]
    if not named:
        return ()
    user_id = find_user(source.user_id, webhook.payload)
    return tuple(
        _planned(event, event_name, user_id, identity, source, webhook.payload)
        for event, event_name in named
    )


def _planned(
    event: CommerceEvent,
    event_name: str,
    user_id: str | None,
    identity: Identity,
    source: Source,
    payload: object,
) -> Planned:
    kind = final_kind(event, event_name)
    return Planned(
        event_name=event_name,
        event_data=event_data(event, kind, identity, source, payload),
        user_id=user_id,
        keys=keys(event, kind, identity, source),
        follows=tuple(_key(source, Flow.PAYMENT, id) for id in event.follows),
        money=event.money if kind.flow else None,
    )


def keys(event: CommerceEvent, kind: Kind, identity: Identity, source: Source) -> tuple[str, ...]:
    """What makes this event the same fact as another one.

    Reports of one payment agree on the flow and a transaction, whatever they are called. Without a
    transaction every provider event is its own fact.
    """
    sort = kind.flow if kind.flow and event.money else kind
    if event.transactions:
        return tuple(_key(source, sort, id) for id in event.transactions)
    about = identity.resource_id or ""
    return (_key(source, sort, identity.event_type, about, identity.event_id),)


def _key(source: Source, *parts: str) -> str:
    return "|".join((source.scope, *parts))
