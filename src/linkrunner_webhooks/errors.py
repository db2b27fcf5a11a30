"""Everything that can go wrong, as one tree.

WebhookError
├── Rejected              the sender's fault; answered 4xx, never stored
│   ├── UnknownSource     404  no such table in webhooks.toml, or no signing secret for it
│   ├── BadSignature      401  not signed by the provider, or signed too long ago
│   ├── Malformed         400  signed, but it names no event
│   └── TooLarge          413  does not fit the queue, even compressed
├── NotStored             503  our fault; the provider sends it again
├── Parked                a person has to act; kept in the dead-letter queue with the reason
│   ├── Untranslatable    no mapper understands the body
│   ├── MissingUser       no user-id path found a usable id
│   ├── Unreadable        not an envelope of ours
│   ├── Unroutable        the source is no longer in webhooks.toml
│   ├── Refused           Linkrunner answered that the event itself is wrong
│   └── Exhausted         Linkrunner was not reachable for longer than the retry schedule
└── Unavailable           Linkrunner, or something on the way to it, cannot take it now; tried again

ConfigError               outside the tree on purpose: nothing that handles webhooks may swallow it

Messages go to people, logs and message attributes: they never quote a body, a header or a secret.
"""

from __future__ import annotations

from typing import ClassVar


class WebhookError(Exception):
    """The root. `code` is the stable word for it in answers, metrics, logs and attributes."""

    code: ClassVar[str]


class Rejected(WebhookError):
    """The request is answered with `status` and not stored."""

    status: ClassVar[int]


class UnknownSource(Rejected):
    code = "unknown_source"
    status = 404


class BadSignature(Rejected):
    code = "bad_signature"
    status = 401


class Malformed(Rejected):
    code = "malformed"
    status = 400


class TooLarge(Rejected):
    code = "too_large"
    status = 413


class NotStored(WebhookError):
    """A verified webhook could not be put in the queue; the provider must send it again."""

    code = "not_stored"
    status: ClassVar[int] = 503


class Parked(WebhookError):
    """The message goes to the dead-letter queue now: trying again without a change cannot help."""


class Untranslatable(Parked):
    code = "untranslatable"


class MissingUser(Parked):
    code = "missing_user"


class Unreadable(Parked):
    code = "unreadable"


class Unroutable(Parked):
    code = "unroutable"


class Refused(Parked):
    code = "refused"


class Exhausted(Parked):
    code = "exhausted"


class Unavailable(WebhookError):
    """Try again later. `reason` says why; `retry_after` is in seconds, when the other side named one."""

    code = "unavailable"

    def __init__(self, message: str, *, reason: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class ConfigError(Exception):
    """webhooks.toml, the environment or a secret is wrong; the message names what to change."""
