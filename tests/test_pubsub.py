"""Pub/Sub's pushes: who may send them, what that costs while nobody knows yet, and what is in them."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.samples import NOW, accepts

from linkrunner_webhooks.errors import Malformed, Reason, Unavailable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.compact import issued
from linkrunner_webhooks.signatures.key_sets import KeySet
from linkrunner_webhooks.signatures.pubsub import PubSubPush
from linkrunner_webhooks.signatures.scheme import complaint

AUDIENCE: Final = "https://hooks.example.com/webhooks/googleplay"
EMAIL: Final = "push@example-project.iam.gserviceaccount.com"
SUBSCRIPTION: Final = "projects/example-project/subscriptions/play"
SECRET: Final = f"{AUDIENCE} {EMAIL} {SUBSCRIPTION}"
AWAY: Final = Unavailable("the certificate cannot be fetched", reason=Reason.CERTIFICATE)
HOUR: Final = 3600.0


@cache
def key_of(owner: str) -> rsa.RSAPrivateKey:
    """A key for everybody."""
    return rsa.generate_private_key(65537, 2048)


def number(value: int) -> str:
    """A number as it stands in a set of keys."""
    return urlsafe_b64encode(value.to_bytes(256)).rstrip(b"=").decode()


def listed(*ids: str) -> bytes:
    """A set of keys, beside one of another kind."""
    found: list[dict[str, str]] = [{"kid": "other", "kty": "EC"}]
    for id in ids:
        numbers = key_of(id).public_key().public_numbers()
        written = {"n": number(numbers.n), "e": "AQAB"}
        found.append({"kid": id, "kty": "RSA", "alg": "RS256", "use": "sig", **written})
    return json.dumps({"keys": found}).encode()


@dataclass
class Google:
    """What is published where Google's keys are, and how often it was looked at."""

    page: bytes | Exception = field(default_factory=lambda: listed("a", "b"))
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheme = PubSubPush(KeySet("https://keys.example.com/certs", self.fetch))

    def fetch(self, url: str, seconds: float) -> bytes:
        assert seconds > 0
        self.asked.append(url)
        if isinstance(self.page, Exception):
            raise self.page
        return self.page

    def accepts(self, webhook: Webhook, secret: str = SECRET, now: float = NOW) -> bool:
        return accepts(self.scheme, webhook, secret, now=now)


def token(id: str = "a", now: float = NOW, signer: str = "", **changes: Any) -> str:
    """As Google makes them; None leaves a claim out."""
    claims = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "azp": "113774264463038321964",
        "sub": "113774264463038321964",
        "email": EMAIL,
        "email_verified": True,
        "iat": int(now) - 60,
        "exp": int(now) - 60 + 3600,
        **changes,
    }
    known = {name: value for name, value in claims.items() if value is not None}
    return issued({"kid": id, "typ": "JWT"}, known, key_of(signer or id))


def push(written: str = "", data: object = None, **changes: Any) -> Webhook:
    """A request of Pub/Sub's."""
    text = json.dumps({"n": 1} if data is None else data)
    message = {"data": b64encode(text.encode()).decode(), "messageId": "17", **changes}
    body = {"message": message, "subscription": SUBSCRIPTION}
    headers = {"authorization": f"Bearer {written or token()}"}
    return Webhook("googleplay", headers, json.dumps(body).encode())


# ------------------------------------------------------------------------- who sends


def test_googles_token_is_accepted() -> None:
    """The keys are fetched once, and kept for hours."""
    google = Google()
    for id, later in (("a", 0.0), ("b", 0.0), ("a", 5 * HOUR)):
        assert google.accepts(push(token(id, NOW + later)), now=NOW + later)
    assert len(google.asked) == 1
    assert google.accepts(push(token("a", NOW + 7 * HOUR)), now=NOW + 7 * HOUR)
    assert len(google.asked) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://accounts.example.com"},
        {"iss": None},
        {"aud": "https://hooks.example.com/webhooks/other"},
        {"aud": [AUDIENCE]},
        {"aud": None},
        {"email": "push@other-project.iam.gserviceaccount.com"},
        {"email": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"exp": int(NOW)},
        {"exp": str(int(NOW) + 60)},
        {"exp": True},
        {"exp": None},
        {"iat": int(NOW) - 3601},
        {"iat": int(NOW) + 3601},
        {"iat": None},
    ],
    ids=str,
)
def test_a_token_says_who_sends_and_to_whom(changes: dict[str, Any]) -> None:
    """Every customer of Google's can have a token with another name in it; no key is fetched for it."""
    google = Google()
    assert not google.accepts(push(token(**changes)))
    assert google.asked == []


def test_either_name_of_google() -> None:
    """With and without https."""
    assert Google().accepts(push(token(iss="accounts.google.com")))


def test_another_subscription_is_refused() -> None:
    """Of the same project, pushed by the same account."""
    google = Google()
    other = json.loads(push().body) | {"subscription": f"{SUBSCRIPTION}-2"}
    assert not google.accepts(replace(push(), body=json.dumps(other).encode()))
    assert google.asked == []


@pytest.mark.parametrize(
    "written", ["", "Bearer", "Basic x", "Bearer a.b", "Bearer a.b.c", "a.b.c"]
)
def test_what_is_no_token_is_refused(written: str) -> None:
    """And costs nothing."""
    google = Google()
    assert not google.accepts(replace(push(), headers={"authorization": written}))
    assert google.asked == []


def test_a_forgers_signature_is_refused() -> None:
    """Another key, no signature, and a token that was changed after it was signed."""
    google = Google()
    head, claims, _ = token().split(".")
    others = token(email_verified=True, azp="2").split(".")[2]
    for forged in (token(signer="stranger"), f"{head}.{claims}.", f"{head}.{claims}.{others}"):
        assert not google.accepts(push(forged))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES256", "RS512"])
def test_only_googles_algorithm_counts(algorithm: str) -> None:
    """The token does not choose how it is verified."""
    google = Google()
    _, claims, signature = token().split(".")
    written = urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "a"}).encode()).decode()
    assert not google.accepts(push(f"{written.rstrip('=')}.{claims}.{signature}"))
    assert google.asked == []


# ------------------------------------------------------------------------- what it costs


def test_an_unknown_key_is_looked_for_once_a_minute() -> None:
    """Also a new one of Google's, which is published long before it is used."""
    google = Google()
    assert google.accepts(push())
    google.page = listed("a", "b", "c")
    for seconds in range(0, 60, 5):
        later = NOW + seconds
        assert not google.accepts(push(token("c", later)), now=later)
    assert len(google.asked) == 1
    assert google.accepts(push(token("c", NOW + 60)), now=NOW + 60)
    assert len(google.asked) == 2


def test_nobody_is_a_forger_while_no_key_can_be_had() -> None:
    """It is answered 503; a failure is remembered for a minute."""
    google = Google(AWAY)
    for seconds in (0, 30, 59):
        with pytest.raises(Unavailable):
            google.accepts(push(token(now=NOW + seconds)), now=NOW + seconds)
    assert len(google.asked) == 1
    google.page = listed("a")
    assert google.accepts(push(token(now=NOW + 60)), now=NOW + 60)


@pytest.mark.parametrize(
    "page",
    [
        AWAY,
        LookupError("no content"),
        b"",
        b"<html>",
        b"[]",
        b'{"keys": []}',
        b'{"keys": [{"kty": "RSA"}]}',
    ],
    ids=str,
)
def test_former_keys_outlive_an_outage_of_a_day(page: bytes | Exception) -> None:
    """Known keys go on; an unknown one is refused, and decides nothing."""
    google = Google()
    assert google.accepts(push())
    google.page = page
    for hours in (7.0, 23.0):
        later = NOW + hours * HOUR
        assert google.accepts(push(token(now=later)), now=later)
        assert not google.accepts(push(token("c", later)), now=later)
    later = NOW + 25 * HOUR
    with pytest.raises(Unavailable):
        google.accepts(push(token(now=later)), now=later)


def test_a_clock_that_was_set_back_asks_anew() -> None:
    """What was read in the future is no newer than what was read long ago."""
    google = Google()
    assert google.accepts(push(token(now=NOW + 30 * HOUR)), now=NOW + 30 * HOUR)
    assert google.accepts(push())
    assert len(google.asked) == 2


# ------------------------------------------------------------------------- a key of one's own


@pytest.mark.parametrize("kind", ["elliptic", "rsa"])
def test_a_key_of_ones_own_is_trusted_in_place_of_googles(kind: str) -> None:
    """Nothing is fetched, and Google's own tokens are then refused."""
    google = Google()
    key: Any = ec.generate_private_key(ec.SECP256R1()) if kind == "elliptic" else key_of("own")
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    secret = f"{SECRET} {b64encode(der).decode()}"
    claims = {"iss": "accounts.google.com", "aud": AUDIENCE, "email": EMAIL, "email_verified": True}
    times = {"iat": int(NOW), "exp": int(NOW) + 60}
    assert google.accepts(push(issued({}, claims | times, key)), secret)
    assert not google.accepts(push(), secret)
    assert google.asked == []


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (SECRET, None),
        (f"  {AUDIENCE}\n{EMAIL}\t{SUBSCRIPTION} ", None),
        (AUDIENCE, "three words"),
        (f"{AUDIENCE} {SUBSCRIPTION}", "three words"),
        (f"{SECRET} key more", "three words"),
        (f"{EMAIL} {AUDIENCE} {SUBSCRIPTION}", "no e-mail address"),
        (f"{AUDIENCE} {EMAIL} play", "third word"),
        (f"{SECRET} bm90IGEga2V5", "no key"),
    ],
)
def test_the_form_of_a_secret(secret: str, words: str | None) -> None:
    """Who may send: audience, account and subscription."""
    found = complaint(PubSubPush(), secret)
    assert found is None if words is None else words in str(found)


# ------------------------------------------------------------------------- what is in it


def unpacked(webhook: Webhook) -> Any:
    """The JSON that is stored."""
    return PubSubPush().unpack(webhook).payload


def alphabets() -> Iterator[str]:
    """Base64 in all its forms."""
    content = json.dumps({"n": "??>>~~"}).encode()
    for written in (b64encode(content), urlsafe_b64encode(content)):
        yield written.decode()
        yield written.decode().rstrip("=")


def test_the_data_of_a_message_is_decoded() -> None:
    """With the id of the message in it, whatever the data says of one."""
    assert unpacked(push(data={"n": 1, "messageId": "99"})) == {"n": 1, "messageId": "17"}
    assert unpacked(push(messageId=None, message_id="18")) == {"n": 1, "messageId": "18"}
    for data in alphabets():
        message = {"message": {"data": data, "messageId": "17"}}
        body = replace(push(), body=json.dumps(message).encode())
        assert unpacked(body) == {"n": "??>>~~", "messageId": "17"}


def test_data_may_come_alone() -> None:
    """With payload unwrapping the rest is in headers."""
    headers = {
        "authorization": f"Bearer {token()}",
        "x-goog-pubsub-message-id": "17",
        "x-goog-pubsub-subscription-name": SUBSCRIPTION,
    }
    alone = Webhook("googleplay", headers, b'{"n": 1}')
    assert Google().accepts(alone)
    assert unpacked(alone) == {"n": 1, "messageId": "17"}
    other = headers | {"x-goog-pubsub-subscription-name": "projects/p/subscriptions/s"}
    assert not Google().accepts(replace(alone, headers=other))
    # Without metadata nothing says which subscription it is.
    bare = replace(alone, headers={"authorization": headers["authorization"]})
    assert not Google().accepts(bare)


def test_a_message_without_an_id_is_known_by_what_it_says() -> None:
    """The same, whenever it comes."""
    (first, again) = (unpacked(push(messageId=None)) for _ in range(2))
    assert first == again
    assert len(first["messageId"]) == 64


@pytest.mark.parametrize("data", [None, 5, "a", "W10=", "bm8="])
def test_what_holds_no_object_is_malformed(data: object) -> None:
    """At the edge, where the sender is told."""
    message = {"message": {"data": data, "messageId": "17"}, "subscription": SUBSCRIPTION}
    webhook = replace(push(), body=json.dumps(message).encode())
    with pytest.raises(Malformed):
        unpacked(webhook)
