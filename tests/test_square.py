"""Square's traps that a golden case cannot show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests import samples

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import ConfigError, Malformed, Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Webhook

SQUARE = providers.load("square")
URL = "https://hooks.example.com/webhooks/square"


def test_the_url_has_to_be_configured() -> None:
    """Guessed from a request it would be another one behind every proxy."""
    with pytest.raises(ConfigError, match="notification_url"):
        Config({"square": {}}).source("square")


@pytest.mark.parametrize("url", ["", "hooks.example.com/webhooks/square", " https://x", 7])
def test_what_is_no_url_is_refused_early(url: Any) -> None:
    """A setting that is no http(s) URL is an error when the configuration is read."""
    with pytest.raises(ConfigError, match="notification_url"):
        Config({"square": {"notification_url": url}}).source("square")


@pytest.mark.parametrize(
    "url",
    [
        f"{URL}/",
        URL.replace("https", "http"),
        URL.replace("hooks.example", "abc123.execute-api"),
        URL.replace("/webhooks", "/prod/webhooks"),
        f"{URL}?source=square",
        URL.replace("hooks", "HOOKS", 1),
    ],
)
def test_every_byte_of_the_url_is_signed(url: str) -> None:
    """A configured URL that differs in anything from the registered one verifies nothing."""
    webhook = samples.load("square", "payment.updated").signed()
    assert accepted(webhook, URL)
    assert not accepted(webhook, url)


def accepted(webhook: Webhook, url: str) -> bool:
    """Whether a source that is configured with this URL accepts the webhook."""
    source = Config({"square": {"notification_url": url}}).source("square")
    assert source is not None
    return samples.accepts(source.signature, webhook, samples.live_secret(SQUARE))


def test_the_older_signature_proves_nothing() -> None:
    """It is HMAC-SHA1, and still sent beside the other one."""
    webhook = samples.load("square", "payment.updated").signed()
    good = webhook.headers["x-square-hmacsha256-signature"]
    assert not accepted(replace(webhook, headers={"x-square-signature": good}), URL)


@pytest.mark.parametrize(
    ("environment", "test"),
    [("Sandbox", True), ("sandbox", True), ("Production", False), ("", False), (None, False)],
)
def test_the_environment_header_marks_the_sandbox(environment: str | None, test: bool) -> None:
    """Only the header says that a webhook is a sandbox's; without it the webhook is real."""
    headers = {} if environment is None else {"square-environment": environment}
    webhook = Webhook("square", headers, samples.load("square", "payment.updated").raw())
    assert SQUARE.identify(webhook).test is test


def test_a_webhook_of_the_first_version_is_malformed() -> None:
    """The flat bodies of Square's first API have no event id."""
    body = (
        b'{"merchant_id":"M1","location_id":"L1","event_type":"PAYMENT_UPDATED","entity_id":"P1"}'
    )
    with pytest.raises(Malformed):
        SQUARE.identify(Webhook("square", {}, body))


def translated(event_type: str, path: str, value: Any) -> tuple[CommerceEvent, ...]:
    """What the sample of a type means with another value at a dotted place under `data.object`."""
    place = ("data", "object", *path.split("."))
    webhook = samples.load("square", event_type).changed({place: value}).webhook()
    options = SQUARE.options(**SQUARE.options.example())
    return SQUARE.translate(webhook, SQUARE.identify(webhook), options)


@pytest.mark.parametrize(
    ("event_type", "path", "value"),
    [
        ("payment.updated", "payment", None),
        ("payment.updated", "payment.id", None),
        ("payment.updated", "payment.total_money.currency", "US"),
        ("payment.updated", "payment.total_money.amount", "a lot"),
        ("refund.updated", "refund.amount_money", None),
        ("refund.updated", "refund.amount_money.amount", None),
        ("refund.updated", "refund.amount_money.currency", None),
        ("dispute.created", "dispute.id", None),
        ("subscription.created", "subscription.id", None),
    ],
)
def test_a_shape_without_what_counts_is_parked(event_type: str, path: str, value: Any) -> None:
    """Nothing is invented where the amount or the id of a fact is missing."""
    with pytest.raises(Untranslatable):
        translated(event_type, path, value)


@pytest.mark.parametrize("made", [None, "", "2025-11-18", "yesterday", "2025-11-18T11:06:30Z"])
def test_a_payment_of_unknown_age_counts(made: str | None) -> None:
    """Without a readable date a payment is taken for a new one."""
    assert len(translated("payment.updated", "payment.created_at", made)) == 1


def test_an_old_payment_was_counted_when_it_was_new() -> None:
    """What remembers it is about to forget it."""
    assert translated("payment.updated", "payment.created_at", "2025-10-01T11:06:30Z") == ()


def test_a_refund_of_an_unknown_payment_follows_none() -> None:
    """A refund that names no payment is reported without one."""
    (event,) = translated("refund.updated", "refund.payment_id", None)
    assert event.follows == ()
