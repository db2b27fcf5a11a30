"""Signatures that the providers' own SDKs accepted: one file per provider, found by its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import BadSignature
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures import verify

ROOT = Path(__file__).parent / "providers"
every_provider = pytest.mark.parametrize("name", providers.names())


def vector(name: str) -> tuple[Webhook, str, float]:
    """The webhook, its secret and when it was signed."""
    written: dict[str, Any] = json.loads((ROOT / name / "signature.json").read_text("utf-8"))
    headers = {key.lower(): value for key, value in written["headers"].items()}
    webhook = Webhook(name, headers, written["body"].encode())
    return webhook, written["secret"], written.get("signed_at", 0.0)


def accepted(webhook: Webhook, secret: str, now: float) -> bool:
    try:
        verify(providers.load(webhook.source).signature, webhook, [secret], now)
    except BadSignature:
        return False
    return True


@every_provider
def test_the_vector_is_accepted(name: str) -> None:
    """Our verification agrees with the vendor's."""
    assert accepted(*vector(name))


@every_provider
def test_a_changed_vector_is_refused(name: str) -> None:
    """One more space, another secret, and it is a forgery."""
    webhook, secret, now = vector(name)
    assert not accepted(replace(webhook, body=webhook.body + b" "), secret, now)
    assert not accepted(webhook, secret + "x", now)
    assert not accepted(replace(webhook, headers={}), secret, now)
