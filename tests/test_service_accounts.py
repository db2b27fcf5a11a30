"""Service accounts: what their key signs, how long a token is kept, and what is no such account."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.simulation.clock import NOW

from linkrunner_webhooks.service_accounts import ServiceAccount
from linkrunner_webhooks.signatures.compact import RS256, header_of, verified

SCOPE: Final = "https://www.googleapis.com/auth/androidpublisher"
KEY: Final = rsa.generate_private_key(65537, 2048)
FILE: Final = {
    "type": "service_account",
    "project_id": "example-project",
    "private_key_id": "0123456789abcdef",
    "private_key": KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    "client_email": "reader@example-project.iam.gserviceaccount.com",
    # Nobody sends there what the key has signed.
    "token_uri": "https://evil.example.com/token",
}
CREDENTIALS: Final = json.dumps(FILE)


@dataclass
class Google:
    """Gives a new token each time."""

    life: object = 3599
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def __call__(self, url: str, form: Mapping[str, str]) -> Any:
        self.asked.append((url, form))
        return {"access_token": f"ya29.{len(self.asked)}", "expires_in": self.life}


def bearer(number: int) -> dict[str, str]:
    """The headers with this token."""
    return {"authorization": f"Bearer ya29.{number}"}


def test_a_claim_is_exchanged_for_a_token() -> None:
    """Signed by the account's key, for one hour, at Google's own address."""
    google = Google()
    assert ServiceAccount(SCOPE).headers(CREDENTIALS, google, NOW) == bearer(1)
    ((url, form),) = google.asked
    assert url == "https://oauth2.googleapis.com/token"
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert header_of(form["assertion"]) == {"alg": RS256, "typ": "JWT", "kid": "0123456789abcdef"}
    assert verified(form["assertion"], KEY.public_key(), RS256) == {
        "iss": FILE["client_email"],
        "scope": SCOPE,
        "aud": url,
        "iat": int(NOW),
        "exp": int(NOW) + 3600,
    }


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    """One request an hour, whatever is asked with it; a clock that was set back asks anew."""
    google, access = Google(), ServiceAccount(SCOPE)
    for seconds in (0, 60, 3400):
        assert access.headers(CREDENTIALS, google, NOW + seconds) == bearer(1)
    assert access.headers(CREDENTIALS, google, NOW + 3500) == bearer(2)
    assert access.headers(CREDENTIALS, google, NOW - 7200) == bearer(3)


def test_a_refused_token_is_forgotten() -> None:
    """And so is that of a former key."""
    google, access = Google(), ServiceAccount(SCOPE)
    access.headers(CREDENTIALS, google, NOW)
    access.forget(CREDENTIALS)
    assert access.headers(CREDENTIALS, google, NOW) == bearer(2)
    assert access.headers(access.example("another"), google, NOW) == bearer(3)
    assert access.headers(CREDENTIALS, google, NOW) == bearer(4)


@pytest.mark.parametrize("life", [None, "3599", 60, 0])
def test_a_token_of_unknown_life_is_used_once(life: object) -> None:
    """It may have ended when it is needed again."""
    google, access = Google(life), ServiceAccount(SCOPE)
    for number in (1, 2):
        assert access.headers(CREDENTIALS, google, NOW) == bearer(number)


@pytest.mark.parametrize("answer", [None, [], {}, {"access_token": 5}, {"access_token": ""}])
def test_what_is_no_token_is_no_access(answer: object) -> None:
    """As if the key were refused."""
    with pytest.raises(ValueError, match="no token"):
        ServiceAccount(SCOPE).headers(CREDENTIALS, lambda *_: answer, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key_0001",
        "[]",
        "{}",
        json.dumps(FILE | {"type": "authorized_user"}),
        json.dumps(FILE | {"private_key": "-----BEGIN PRIVATE KEY-----"}),
        json.dumps(FILE | {"private_key": None}),
        json.dumps(FILE | {"client_email": ""}),
    ],
)
def test_what_is_no_service_account(text: str) -> None:
    """It is told so when it is stored, and refused where it is used."""
    access = ServiceAccount(SCOPE)
    assert "service account" in str(access.complaint(text))
    with pytest.raises(ValueError, match=r".*"):
        access.headers(text, Google(), NOW)


def test_the_file_and_the_example_are_service_accounts() -> None:
    """The example is the same for the same seed."""
    access = ServiceAccount(SCOPE)
    for text in (CREDENTIALS, f" {CREDENTIALS}\n", access.example("seed")):
        assert access.complaint(text) is None
    assert access.example("seed") == access.example("seed") != access.example("other")
