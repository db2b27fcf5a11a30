"""Linkrunner's own webhooks, as a source: who signed up is somebody whom Linkrunner knows.

https://docs.linkrunner.io/features/webhooks

A signup brings a name, an address, a phone number and ids of a device. None of that is stored: what goes into
the queue is the user's id, the type and the time. The proof is a key in a header, and the body is not signed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from linkrunner_webhooks.model import Identity, KnownUser, Webhook
from linkrunner_webhooks.moments import utc
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import Detail, Payload, iso_time, name, parse
from linkrunner_webhooks.signatures.tokens import StaticToken
from linkrunner_webhooks.users import find_user

NAME = "linkrunner"


class Signup(Payload):
    event_type: str | None = None
    attributed_on: str | None = None
    user_id: Detail[str | int] = None


def identify(webhook: Webhook) -> Identity:
    """It has no id of its own, so what is kept of it stands for that."""
    signup = parse(Signup, webhook)
    return Identity(
        event_id=webhook.digest,
        event_type=name(signup.event_type, "event type"),
        occurred_at=iso_time(signup.attributed_on),
    )


def without_the_person(webhook: Webhook) -> tuple[Webhook, ...]:
    """The webhook as far as it is needed. An id that is an address or a phone number is none."""
    signup = parse(Signup, webhook)
    moment = iso_time(signup.attributed_on)
    kept = {
        "event_type": signup.event_type,
        "attributed_on": utc(moment) if moment else None,
        "user_id": find_user(("user_id",), webhook.payload, webhook.phones),
    }
    return (Webhook(webhook.source, {}, json.dumps(kept).encode()),)


provider = Provider(
    name=NAME,
    title="Linkrunner",
    docs="https://docs.linkrunner.io/features/webhooks",
    signature=StaticToken("linkrunner-key"),
    identify=identify,
    unpack=without_the_person,
    user_id=("user_id",),
    never={"install": "nobody has signed up yet"},
)


@provider.lesson("signup")
def signup(payload: Signup, context: Context) -> Iterator[KnownUser]:
    del context
    if payload.user_id:
        yield KnownUser(str(payload.user_id))
