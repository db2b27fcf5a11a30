"""RevenueCat's two ways to prove itself: where one is claimed, the other does not help."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests import samples
from tests.samples import NOW

from linkrunner_webhooks.model import Webhook

SIGNATURE = "x-revenuecat-webhook-signature"
SECRET = "signing_secret_0001"
TOKEN = "Bearer authorization_value_0001"
SAMPLE = samples.any_sample("revenuecat")
SCHEME = samples.scheme_of(SAMPLE.provider)


def with_token(webhook: Webhook, token: str = TOKEN) -> Webhook:
    """The webhook with a value in Authorization."""
    return replace(webhook, headers={**webhook.headers, "authorization": token})


def accepted(webhook: Webhook, *secrets: str) -> bool:
    """Whether the webhook verifies with one of these secrets."""
    return samples.accepts(SCHEME, webhook, *secrets)


def test_a_signature_is_enough() -> None:
    """With or without an Authorization value beside it, which is not looked at."""
    signed = SAMPLE.signed(secret=SECRET)
    assert accepted(signed, SECRET)
    assert accepted(with_token(signed, "another"), SECRET)


def test_the_authorization_value_is_enough_when_it_is_the_secret() -> None:
    """Verbatim: what a merchant typed in front of it is part of it."""
    webhook = with_token(SAMPLE.webhook())
    assert accepted(webhook, TOKEN)
    assert not accepted(webhook, TOKEN.removeprefix("Bearer "))
    assert not accepted(webhook, SECRET)


@pytest.mark.parametrize("signature", ["", "t=1,v1=0", f"t={int(NOW)},v1={'0' * 64}"])
def test_a_good_token_does_not_excuse_a_bad_signature(signature: str) -> None:
    """Who claims a signature is judged by it."""
    webhook = with_token(SAMPLE.webhook())
    forged = replace(webhook, headers={**webhook.headers, SIGNATURE: signature})
    assert not accepted(forged, TOKEN)
    assert not accepted(forged, SECRET, TOKEN)


def test_a_token_is_not_asked_for_what_was_changed() -> None:
    """A signed webhook with another body is refused, whatever stands in Authorization."""
    signed = with_token(SAMPLE.signed(secret=SECRET))
    assert not accepted(replace(signed, body=signed.body + b" "), SECRET, TOKEN)


def test_a_request_that_claims_nothing_is_refused() -> None:
    """A request with neither a signature nor a token proves nothing."""
    assert not accepted(SAMPLE.webhook(), SECRET, TOKEN)


def test_a_rotation_sends_several_signatures() -> None:
    """One for each live secret: any match passes, in any order."""
    old = SAMPLE.signed(secret="signing_secret_0000").headers[SIGNATURE].partition(",")[2]
    new = SAMPLE.signed(secret=SECRET).headers[SIGNATURE].partition(",")[2]
    for first, second in ((old, new), (new, old)):
        header = f"t={int(NOW)},{first},{second}"
        webhook = replace(SAMPLE.webhook(), headers={SIGNATURE: header})
        assert accepted(webhook, SECRET)
        assert not accepted(webhook, "another")
