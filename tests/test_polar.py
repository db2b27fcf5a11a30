"""What is peculiar to Polar, and to the Standard Webhooks it follows but for one thing."""

from __future__ import annotations

import hmac
from base64 import b64encode
from dataclasses import replace
from unittest.mock import Mock

import pytest
from tests import samples

from linkrunner_webhooks.errors import BadSignature, Malformed, Untranslatable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.providers import load
from linkrunner_webhooks.signatures.hmacs import HmacWithHeaders, standard_webhooks_keys
from linkrunner_webhooks.signatures.scheme import verify

# What standardwebhooks 1.1.0 (PyPI) makes of this secret, id, time and body.
SECRET = "whsec_bGlua3J1bm5lci1zdGFuZGFyZC13ZWJob29rLWtleSE="
SIGNED_AT = 1750000000.0
VALUES = {
    "id": "msg_lr0001",
    "timestamp": "1750000000",
    "signature": "v1,6GKB3SmUPmgQ3hoJ3E91AbYlLCiTL7MNYAXtTM1KMcQ=",
}
BODY = b'{"type":"order.paid","timestamp":"2025-06-15T15:06:40Z","data":{"id":"o1"}}'


def standard(prefix: str = "webhook") -> tuple[HmacWithHeaders, Webhook]:
    """The scheme under these header names, and the vector."""
    signed = (f"{prefix}-id", f"{prefix}-timestamp")
    scheme = HmacWithHeaders(
        header=f"{prefix}-signature",
        signed=signed,
        joiner=".",
        version="v1",
        keys=standard_webhooks_keys,
    )
    headers = {f"{prefix}-{key}": value for key, value in VALUES.items()}
    return scheme, Webhook("polar", headers, BODY)


@pytest.mark.parametrize("prefix", ["webhook", "svix"])
@pytest.mark.parametrize(
    "secret", [SECRET, SECRET.removeprefix("whsec_"), SECRET.rstrip("=")], ids=len
)
def test_standard_webhooks_are_accepted(prefix: str, secret: str) -> None:
    """With or without the prefix and the padding of the secret, under the names of either sender."""
    scheme, webhook = standard(prefix)
    verify(scheme, webhook, [secret], SIGNED_AT)


def test_polar_accepts_the_standard_way() -> None:
    """Polar's own scheme takes both kinds of secret."""
    _, webhook = standard()
    verify(samples.scheme_of(load("polar")), webhook, [SECRET], SIGNED_AT)


@pytest.mark.parametrize(
    ("signature", "good"),
    [
        ("v1,AAAA {}", True),
        ("{} v1,AAAA", True),
        ("v1a,ZWQyNTUxOQ== {}", True),
        ("v2{}", False),
        ("v1,AAAA", False),
        ("v1", False),
        ("v1,****", False),
    ],
)
def test_one_good_signature_of_a_list_is_enough(signature: str, good: bool) -> None:
    """One good v1 is enough; other versions and what is no base64 are passed over."""
    scheme, webhook = standard()
    written = signature.format(VALUES["signature"])
    webhook = replace(webhook, headers={**webhook.headers, "webhook-signature": written})
    if good:
        verify(scheme, webhook, [SECRET], SIGNED_AT)
    else:
        with pytest.raises(BadSignature):
            verify(scheme, webhook, [SECRET], SIGNED_AT)


@pytest.mark.parametrize(
    ("secret", "decoded"),
    [
        ("polar_whs_linkrunner_test_0001", None),
        ("====", None),
        ("schlüssel", None),
        (f"whsec_{b64encode(b'key').decode()}", b"key"),
        (b64encode(b"a key").decode().rstrip("="), b"a key"),
    ],
)
def test_a_secret_is_tried_as_written_and_as_decoded(secret: str, decoded: bytes | None) -> None:
    """A secret is a key as it is written, and another one as it decodes, if it decodes."""
    expected = (secret.encode(), decoded) if decoded else (secret.encode(),)
    assert standard_webhooks_keys(secret) == expected


@pytest.mark.parametrize("secret", ["whsec_", "whsec_ \n"])
def test_the_prefix_alone_is_no_key(secret: str) -> None:
    """Whoever forgot the secret behind it does not make signatures that anybody can compute."""
    scheme, webhook = standard()
    message = scheme._message(webhook)
    signature = b64encode(hmac.digest(secret.encode(), message, "sha256")).decode()
    headers = {**webhook.headers, "webhook-signature": f"v1,{signature}"}
    with pytest.raises(BadSignature):
        verify(scheme, replace(webhook, headers=headers), [secret], SIGNED_AT)


def test_many_signatures_cost_no_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header holds thousands of them: hashing megabytes for each would take the function's time."""
    scheme, webhook = standard()
    headers = {**webhook.headers, "webhook-signature": "v1,AAAA " * 1000}
    digest = Mock(wraps=hmac.digest)
    monkeypatch.setattr(hmac, "digest", digest)
    with pytest.raises(BadSignature):
        verify(scheme, replace(webhook, headers=headers), [SECRET], SIGNED_AT)
    assert digest.call_count == len(standard_webhooks_keys(SECRET))


def test_the_event_id_is_needed() -> None:
    """It is not in the body."""
    sample = samples.load("polar", "order.paid")
    with pytest.raises(Malformed, match="webhook-id"):
        sample.provider.identify(Webhook("polar", {}, sample.raw()))


@pytest.mark.parametrize(
    ("event_type", "key"),
    [
        ("order.paid", "total_amount"),
        ("order.paid", "currency"),
        ("refund.updated", "amount"),
        ("refund.updated", "currency"),
    ],
)
def test_a_shape_without_its_money_is_parked(event_type: str, key: str) -> None:
    """No amount is invented."""
    sample = samples.load("polar", event_type)
    with pytest.raises(Untranslatable):
        samples.planned(sample.changed({("data", key): None}).webhook())
