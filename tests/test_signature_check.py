"""The explanation of a signature: what is wrong with a request is named, for every provider."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.samples import live_secret

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.signature_check import Check, check

NOW = 1_780_000_000.0
# Signed by the vendor's certificate, which a test cannot make here.
BY_CERTIFICATE = ("apple", "paypal")
every_secret = pytest.mark.parametrize(
    "name", [each for each in providers.names() if each not in BY_CERTIFICATE]
)


def _source(name: str) -> Source:
    table = providers.load(name).options.example()
    (source,) = Config({name: table}).sources()
    return source


def _signed(source: Source, at: float = NOW, secret: str = "") -> Webhook:
    sample = samples.load(source, next(iter(source.provider.types)))
    return sample.signed(source, secret or live_secret(source.provider), at)


def _checked(source: Source, webhook: Webhook, *secrets: str, others: Sequence[str] = ()) -> Check:
    live = secrets or (live_secret(source.provider),)
    return check(source, webhook, {source.name: live, "other": others}, NOW)


@every_secret
def test_what_is_right_is_verified_by_a_secret_that_is_named(name: str) -> None:
    """By its number, never by itself."""
    source = _source(name)
    wrong = source.signature.example_secret("another")
    found = _checked(source, _signed(source), wrong, live_secret(source.provider))
    assert found.verified
    assert "secret 2 of 2" in found.found
    assert live_secret(source.provider) not in found.found


@every_secret
def test_a_wrong_secret_is_named(name: str) -> None:
    """And whose secret it is, where another source has it."""
    source = _source(name)
    another = source.signature.example_secret("another")
    webhook = _signed(source, secret=another)
    found = _checked(source, webhook)
    assert not found.verified
    assert "did not sign" in found.found
    assert f"secrets set {name}" in found.advice
    assert "[other] signed it" in _checked(source, webhook, others=[another]).found


@every_secret
def test_a_stale_signature_is_told_from_a_wrong_one(name: str) -> None:
    """With its age."""
    source = _source(name)
    tolerance = source.signature.tolerance
    if tolerance is None:
        assert _checked(source, _signed(source, NOW - 10_000_000)).verified
        return
    found = _checked(source, _signed(source, NOW - tolerance - 60))
    assert not found.verified
    assert "before it came" in found.found
    assert "after it came" in _checked(source, _signed(source, NOW + tolerance + 60)).found
    assert "60 s before it came" in _checked(source, _signed(source, NOW - 60)).found


@every_secret
def test_a_body_that_was_written_anew_is_told(name: str) -> None:
    """Where the bytes are what is signed."""
    source = _source(name)
    if source.signature.covers != "body":
        return
    webhook = _signed(source)
    for body in (
        json.dumps(json.loads(webhook.body)).encode(),
        json.dumps(json.loads(webhook.body), indent=2).encode(),
        webhook.body + b"\n",
    ):
        found = _checked(source, replace(webhook, body=body))
        assert not found.verified
        assert "on the way" in found.found


@every_secret
def test_a_request_without_a_signature_is_told(name: str) -> None:
    """It is somebody else's, or the sender has no secret."""
    source = _source(name)
    sample = samples.load(source, next(iter(source.provider.types)))
    found = _checked(source, sample.webhook(source))
    assert not found.verified
    assert "not signed" in found.found or "did not sign" in found.found


def test_a_secret_with_something_around_it_is_told() -> None:
    """Quotes that were copied with it."""
    source = _source("stripe")
    webhook = _signed(source)
    found = _checked(source, webhook, f'"{live_secret(source.provider)}"')
    assert "without the quotes" in found.found
    assert "an API key" in _checked(source, webhook, "pk_live_1234").found


def test_without_a_secret_nothing_is_verified() -> None:
    """And the command that stores one is named."""
    source = _source("stripe")
    found = check(source, _signed(source), {}, NOW)
    assert (found.verified, "secrets set stripe" in found.advice) == (False, True)
