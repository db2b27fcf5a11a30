"""The edge: find the source, verify the raw bytes, identify, drop what nobody wants, store, answer.

It depends only on the signing secrets and the queue: an answer to a provider must not wait for Linkrunner.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Envelope, Opened
from linkrunner_webhooks.errors import (
    BadSignature,
    ConfigError,
    Malformed,
    NotStored,
    Reason,
    Rejected,
    TooLarge,
    Unavailable,
    UnknownSource,
)
from linkrunner_webhooks.model import UNKNOWN, Identity, Outcome, Webhook
from linkrunner_webhooks.provider import Provider
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.secrets import MAX_AGE, MIN_AGE, SigningSecrets
from linkrunner_webhooks.signatures.scheme import verify


class Store(Protocol):
    """Puts a sealed webhook into the queue. Raises NotStored."""

    def __call__(self, text: str, attributes: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """The edge, with all that it needs. `now` is unix seconds; `observe` gets a report of every event."""

    config: Config
    secrets: SigningSecrets
    store: Store
    now: Callable[[], float]
    observe: Callable[[Report], None]

    def respond(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one API Gateway HTTP API request (payload format 2.0)."""
        source: Source | None = None
        needed: Mapping[int, int] = {}
        try:
            webhook = read(event)
            source = self._source(webhook.source)
            needed = source.provider.statuses
            reports = self._receive(webhook, source)
        except UnknownSource as error:
            # One text for both causes, so that a stranger does not learn which sources have a table.
            reports = [_rejected(source, error.reason, str(error))]
            message = "there is no such source"
            answer = _answer(error.status, {"error": error.answer, "message": message})
        except NotStored as error:
            # The detail names resources of ours, so a stranger does not get it.
            reports = [_rejected(source, error.reason, str(error))]
            answer = _answer(error.status, {"error": error.reason.value, "message": "try again"})
        except Rejected as error:
            reports = [_rejected(source, error.reason, str(error))]
            answer = _answer(error.status, {"error": error.answer, "message": str(error)})
        except Exception as error:  # noqa: BLE001 - the provider tries again; strangers see no stack trace
            detail = str(error) if isinstance(error, ConfigError) else type(error).__name__
            reports = [_rejected(source, Reason.INTERNAL, detail)]
            answer = _answer(500, {"error": Reason.INTERNAL.value, "message": "try again"})
        else:
            answer = _accepted(source.provider, reports)
        for report in reports:
            self.observe(report)
        return answer | {"statusCode": needed.get(answer["statusCode"], answer["statusCode"])}

    def _source(self, name: str) -> Source:
        source = self.config.source(name)
        if source is None:
            raise UnknownSource("webhooks.toml has no such table")
        return source

    def _receive(self, webhook: Webhook, source: Source) -> list[Report]:
        """One report for every event in the request. Deliver recognises an event that is stored twice."""
        provider = source.provider
        try:
            if provider.handshake(webhook):
                # Nothing proves a greeting, and still a source without a secret does not exist.
                self._live(source)
                return [_report(Outcome.IGNORED, source, Reason.HANDSHAKE)]
            self._verify(webhook, source)
        except Unavailable as error:
            raise NotStored(str(error)) from None
        # All events are identified before the first is stored, so that a request is refused as a whole.
        opened = [
            Opened(each, source, provider.identity(each))
            for each in _different(provider.unpack(webhook))
        ]
        return [self._accept(each) for each in opened]

    def _accept(self, opened: Opened) -> Report:
        source, identity = opened.source, opened.identity
        if (reason := ignored(source, identity)) is not Reason.NONE:
            return _report(Outcome.IGNORED, source, reason, identity)
        text = Envelope(opened.webhook, self.now()).seal(source.provider)
        self.store(text, attributes(source.name, identity, self.config.code_version))
        return _report(Outcome.QUEUED, source, Reason.NONE, identity)

    def _verify(self, webhook: Webhook, source: Source) -> None:
        """Verify with the cached secrets, then with fresh ones: they may just have been rotated."""
        known = self._live(source)
        try:
            verify(source.signature, webhook, known, self.now())
        except BadSignature:
            fresh = self._live(source, MIN_AGE)
            if fresh == known:
                raise
            verify(source.signature, webhook, fresh, self.now())

    def _live(self, source: Source, max_age: float = MAX_AGE) -> tuple[str, ...]:
        """The source's secrets. Raises UnknownSource: without one a source does not exist."""
        secrets = self.secrets.of(source.name, max_age) or self.secrets.of(source.name, MIN_AGE)
        if not secrets:
            raise UnknownSource(
                "the source has no signing secret; add it to WebhookSecrets",
                reason=Reason.NO_SECRET,
            )
        return secrets


def ignored(source: Source, identity: Identity) -> Reason:
    """Why a verified webhook is dropped and not stored; NONE where it is stored."""
    if identity.thin:
        return Reason.THIN
    # What does not say what it is may be a sale: a person looks at it.
    if identity.event_type != UNKNOWN and not source.wants(identity.event_type):
        return Reason.UNWANTED
    return Reason.TEST if identity.test and not source.test_events else Reason.NONE


def read(event: Mapping[str, Any]) -> Webhook:
    """The request inside an API Gateway event, with the bytes as sent. Raises Malformed."""
    source = (event.get("pathParameters") or {}).get("source") or ""
    headers = {key.lower(): value for key, value in (event.get("headers") or {}).items()}
    return Webhook(source, headers, _body(event))


# Providers send a handful of events in a request.
_MOST_EVENTS = 100


def _different(webhooks: Sequence[Webhook]) -> list[Webhook]:
    """Each event once. Raises TooLarge: somebody who saw one signed item can repeat it without end."""
    different = list({each.body: each for each in webhooks}.values())
    if len(different) > _MOST_EVENTS:
        raise TooLarge(f"more than {_MOST_EVENTS} events in one request")
    return different


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    try:
        if event.get("isBase64Encoded"):
            return b64decode(body, validate=True)
        return str(body).encode("utf-8")
    except (binascii.Error, ValueError):
        raise Malformed("the body cannot be decoded") from None


def attributes(source: str, identity: Identity, code_version: str) -> dict[str, str]:
    """Message attributes, which an operator can read without opening the body."""
    return {
        "source": source,
        "event_type": identity.event_type,
        "event_id": identity.event_id,
        "code_version": code_version,
    }


def _report(
    outcome: Outcome, source: Source, reason: Reason, identity: Identity | None = None
) -> Report:
    return Report(
        stage="receive",
        outcome=outcome,
        reason=reason,
        source=source.name,
        provider=source.provider.name,
        event_type=identity.event_type if identity else "",
        event_id=identity.event_id if identity else "",
        test=bool(identity and identity.test),
    )


def _rejected(source: Source | None, reason: Reason, detail: str) -> Report:
    # An unknown source name is a stranger's text and must not become a metric dimension.
    return Report(
        stage="receive",
        outcome=Outcome.REJECTED,
        reason=reason,
        detail=detail,
        source=source.name if source else "unknown",
        provider=source.provider.name if source else "",
    )


def _accepted(provider: Provider, reports: Sequence[Report]) -> dict[str, Any]:
    if provider.acknowledgement:
        return {
            "statusCode": 200,
            "headers": {"content-type": "text/plain"},
            "body": provider.acknowledgement,
        }
    # Of several events the answer names one that was stored.
    first = min(reports, key=lambda report: report.outcome is not Outcome.QUEUED)
    return _answer(200, {"status": first.outcome.value, "event_id": first.event_id})


def _answer(status: int, body: Mapping[str, str]) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(body),
    }
