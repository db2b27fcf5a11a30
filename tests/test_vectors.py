"""Signatures that the providers' own SDKs accepted: one file per provider, found by its place."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.samples import accepts, every_provider

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import Scheme

ROOT = Path(__file__).parent / "providers"


def scheme(name: str) -> Scheme:
    """The provider's scheme, with the options the vector was made for."""
    provider = providers.load(name)
    written = json.loads((ROOT / name / "signature.json").read_text("utf-8"))
    return provider.scheme(provider.options(**written.get("options", {})))


def vector(name: str) -> tuple[Webhook, str, float]:
    """The webhook, its secret and when it was signed."""
    written: dict[str, Any] = json.loads((ROOT / name / "signature.json").read_text("utf-8"))
    headers = {key.lower(): value for key, value in written["headers"].items()}
    webhook = Webhook(name, headers, written["body"].encode())
    return webhook, written["secret"], written.get("signed_at", 0.0)


def accepted(webhook: Webhook, secret: str, now: float) -> bool:
    """Whether the provider's scheme accepts the webhook."""
    return accepts(scheme(webhook.source), webhook, secret, now=now)


@every_provider
def test_the_vector_is_accepted(name: str) -> None:
    """Our verification agrees with the vendor's."""
    assert accepted(*vector(name))


@every_provider
def test_a_changed_vector_is_refused(name: str) -> None:
    """Other digits, another secret, no signature, and it is a forgery."""
    webhook, secret, now = vector(name)
    covers = scheme(name).covers
    if covers != "sender":
        digits = re.sub(rb"[0-9]", lambda digit: b"%d" % ((int(digit[0]) + 1) % 10), webhook.body)
        assert not accepted(replace(webhook, body=digits), secret, now)
    if covers in ("body", "checksum"):
        assert not accepted(replace(webhook, body=webhook.body + b" "), secret, now)
    assert not accepted(webhook, f"x{secret}", now)
    if covers not in ("payload", "values"):
        assert not accepted(replace(webhook, headers={}), secret, now)
