"""All errors as one tree, and the reasons that reports give.

WebhookError
├── Rejected              the sender's fault; answered 4xx, never stored
│   ├── UnknownSource     404  no such table in webhooks.toml, or no signing secret for it
│   ├── BadSignature      401  not signed by the provider, or signed too long ago
│   ├── Malformed         400  signed, but it names no event
│   └── TooLarge          413  does not fit the queue, even compressed
├── NotStored             503  our fault; the provider sends it again
├── Parked                a person has to act; kept in the dead-letter queue with the reason
│   ├── Untranslatable    no mapper understands the body
│   │   └── Incomplete    it only hints at what happened, and nobody has asked for the rest
│   ├── LookupRefused     the provider does not tell what its webhook hints at
│   ├── MissingUser       no user-id path found a usable id
│   ├── NoRate            nothing says what its currency is worth in that of all amounts
│   ├── Unreadable        not an envelope of ours
│   ├── Unroutable        the source is no longer in webhooks.toml
│   ├── Refused           Linkrunner answered that the event itself is wrong
│   ├── PartlyCaptured    some of its events are captured and not recorded
│   ├── Uncertain         Linkrunner was asked and did not answer, several times: it may be captured
│   ├── Contradicted      another body came before under the same signature
│   ├── TooOld            whether it was captured is not remembered any more
│   ├── Crashed           the function died on it
│   └── Exhausted         failing for longer than the retry schedule
└── Unavailable           Linkrunner, or something on the way to it, cannot take it now; tried again

ConfigError               outside the tree on purpose: nothing that handles webhooks may swallow it

Messages go to people, logs and message attributes: they never quote a webhook, a header or a secret. Only
Linkrunner's own words about a refused event are quoted, screened by `words`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True)
class Nature:
    """The consequences of a reason.

    `shared`: the cause is not this message, so the next message would fail as well.
    `outage`: payments wait because of it, so a refund can arrive before its payment.
    `doubtful`: Linkrunner was asked and its answer is not known, so the event may be captured.
    `longest_wait`, `shortest_wait`: bounds of the delay until the next try, in seconds.
    `ours`: the fault is in this system, and an operator must look.
    `setup`: the sender is set up so that nothing can be reported, although every webhook is answered 200.
    `server_key`: there is no server key that Linkrunner takes.
    """

    shared: bool = False
    outage: bool = False
    doubtful: bool = False
    longest_wait: float = 3600.0
    shortest_wait: float = 0.0
    ours: bool = False
    setup: bool = False
    server_key: bool = False


class Reason(StrEnum):
    """Why a webhook has its outcome: a metric dimension, a log field, the `reason` of a dead letter."""

    nature: Nature

    def __new__(cls, word: str, nature: Nature = Nature()) -> Self:
        """A member is its word; its nature comes along."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.nature = nature
        return member

    NONE = "none"

    # Rejected at the edge
    UNKNOWN_SOURCE = "unknown_source"
    NO_SECRET = "no_secret"  # noqa: S105 - a reason
    BAD_SIGNATURE = "bad_signature"
    # Nobody even tried: a stranger, or a provider that was given no secret
    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    NOT_STORED = "not_stored", Nature(ours=True)

    # Ignored
    HANDSHAKE = "handshake"
    UNWANTED = "unwanted"
    TEST = "test"
    NOTHING_TO_REPORT = "nothing_to_report"
    THIN = "thin", Nature(setup=True)
    LEARNED = "learned"
    SIGNUP = "signup"
    # Linkrunner did not know its user in time
    UNKNOWN_USER = "unknown_user"
    # All of a payment went back before it was captured
    RETURNED = "returned"

    # Parked
    UNTRANSLATABLE = "untranslatable"
    MISSING_USER = "missing_user"
    NO_RATE = "no_rate"
    UNREADABLE = "unreadable"
    UNROUTABLE = "unroutable"
    REFUSED = "refused"
    EXHAUSTED = "exhausted"
    UNCERTAIN = "uncertain"
    CONTRADICTED = "contradicted"
    TOO_OLD = "too_old"
    CRASHED = "crashed"
    LOOKUP_REFUSED = "lookup_refused"

    # Retried: Linkrunner and the way to it
    RATE_LIMITED = "rate_limited", Nature(shared=True, outage=True, longest_wait=900.0)
    NETWORK = "network", Nature(shared=True, outage=True)
    # A slow Linkrunner may take every event all the same: each try can count once more.
    UNANSWERED = "unanswered", Nature(shared=True, outage=True, doubtful=True, shortest_wait=900.0)
    SILENT = "silent", Nature(shared=True, outage=True)
    # A proxy answers for a server that may have taken the event. Others may fare better.
    BAD_GATEWAY = "bad_gateway", Nature(outage=True, doubtful=True, shortest_wait=900.0)
    UNAUTHORIZED = "unauthorized", Nature(shared=True, outage=True, server_key=True)
    NO_KEY = "no_key", Nature(shared=True, outage=True, server_key=True)
    UNAVAILABLE = "unavailable", Nature(outage=True)

    # Retried: AWS, the provider and this system
    # What a webhook hints at cannot be had now; a refund of it can arrive meanwhile
    PROVIDER = "provider", Nature(outage=True)
    LEDGER = "ledger", Nature(shared=True)
    QUEUE = "queue"
    SECRET = "secret"  # noqa: S105 - a reason
    CERTIFICATE = "certificate"
    BUSY = "busy", Nature(longest_wait=120.0)
    PAYER_UNKNOWN = "payer_unknown"
    LINK_UNKNOWN = "link_unknown"
    OUT_OF_TIME = "out_of_time", Nature(longest_wait=60.0)
    DEPLOYING = "deploying", Nature(longest_wait=60.0)
    INTERNAL = "internal", Nature(ours=True)

    # Captured, but the ledger does not know it
    UNRECORDED = "unrecorded", Nature(ours=True, longest_wait=60.0)
    # Captured twice: what links the two reports came last
    LINKED_LATE = "linked_late"


class WebhookError(Exception):
    """The root. `reason` is the stable word for it in answers, metrics, logs and attributes."""

    reason: Reason


class Rejected(WebhookError):
    """The request is answered with `status` and not stored.

    A stranger is told `answer`; `reason` may be a finer word for who operates this.
    """

    status: ClassVar[int]

    @property
    def answer(self) -> str:
        return type(self).reason.value


class UnknownSource(Rejected):
    reason = Reason.UNKNOWN_SOURCE
    status = 404

    def __init__(self, message: str, *, reason: Reason = Reason.UNKNOWN_SOURCE) -> None:
        super().__init__(message)
        self.reason = reason


class BadSignature(Rejected):
    reason = Reason.BAD_SIGNATURE
    status = 401

    def __init__(self, message: str, *, reason: Reason = Reason.BAD_SIGNATURE) -> None:
        super().__init__(message)
        self.reason = reason


class Malformed(Rejected):
    reason = Reason.MALFORMED
    status = 400


class TooLarge(Rejected):
    reason = Reason.TOO_LARGE
    status = 413


class NotStored(WebhookError):
    """A verified webhook could not be put in the queue; the provider must send it again."""

    reason = Reason.NOT_STORED
    status: ClassVar[int] = 503


class Parked(WebhookError):
    """The message goes to the dead-letter queue now: trying again without a change cannot help.

    `captured` holds its events that were captured and could not be noted (past.Capture by mark), so that its
    next life notes them and does not capture them again.
    """

    captured: Mapping[str, Any] = MappingProxyType({})


class Untranslatable(Parked):
    reason = Reason.UNTRANSLATABLE


class Incomplete(Untranslatable):
    """What it hints at is asked for when it is delivered, and not here."""


class LookupRefused(Parked):
    reason = Reason.LOOKUP_REFUSED


class MissingUser(Parked):
    reason = Reason.MISSING_USER


class NoRate(Parked):
    reason = Reason.NO_RATE


class Unreadable(Parked):
    reason = Reason.UNREADABLE


class Unroutable(Parked):
    """`received_at` is unix seconds: in a deployment the other function may know the source already."""

    reason = Reason.UNROUTABLE

    def __init__(self, message: str, received_at: float = 0.0) -> None:
        super().__init__(message)
        self.received_at = received_at


class Refused(Parked):
    """`bodies` is the fingerprint of the bodies that the webhook became, where it is known."""

    reason = Reason.REFUSED

    def __init__(self, message: str, bodies: str = "") -> None:
        super().__init__(message)
        self.bodies = bodies


class PartlyCaptured(Parked):
    """Some events were captured and not recorded. Unless that is `whole`, others are not captured yet."""

    reason = Reason.UNRECORDED

    def __init__(self, message: str, *, whole: bool) -> None:
        super().__init__(message)
        self.whole = whole


class Uncertain(Parked):
    """`doubts` is, of an event by its mark, how doubtful it is that nothing was captured (once.Claim)."""

    reason = Reason.UNCERTAIN

    def __init__(self, message: str, doubts: Mapping[str, int]) -> None:
        super().__init__(message)
        self.doubts = doubts


class Contradicted(Parked):
    """Another body came before under the same signature, so this one is a duplicate or nothing."""

    reason = Reason.CONTRADICTED

    def __init__(self) -> None:
        what = "another body came before under the same signature"
        super().__init__(f"{what}, which does not cover all of it")


class TooOld(Parked):
    reason = Reason.TOO_OLD


class Crashed(Parked):
    reason = Reason.CRASHED


class Exhausted(Parked):
    reason = Reason.EXHAUSTED


def parking() -> list[Reason]:
    """The reasons why a webhook is parked."""
    return sorted({each.reason for each in Parked.__subclasses__()})


class Unavailable(WebhookError):
    """Try again later. `retry_after` is in seconds, where the other side named one.

    `tries` is how often it was tried, where the number of receives does not say that.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        retry_after: float | None = None,
        tries: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.tries = tries
        self.settling = 0.0

    def without_doubt(self) -> Self:
        """The same about a request that can be made again, whatever became of it.

        It may still arrive, and nothing that contradicts it should be asked meanwhile: `settling` seconds.
        """
        nature = self.reason.nature
        if not nature.doubtful:
            return self
        reason = Reason.SILENT if nature.shared else Reason.UNAVAILABLE
        error = type(self)(str(self), reason=reason, retry_after=self.retry_after)
        error.settling = nature.shortest_wait
        return error


class ConfigError(Exception):
    """webhooks.toml, the environment or a secret is wrong; the message names what to change."""
