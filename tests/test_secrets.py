"""Secrets: read when needed, kept a while, and never lost to an outage of Secrets Manager."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from tests.clock import Clock
from tests.secrets_manager import SecretsManager

from linkrunner_webhooks.errors import Unavailable
from linkrunner_webhooks.secrets import MAX_AGE, MIN_AGE, Secret, ServerKey, SigningSecrets

ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:key"


def refused(code: str) -> ClientError:
    """What AWS raises when it refuses."""
    return ClientError({"Error": {"Code": code, "Message": "s3cret"}}, "GetSecretValue")


@pytest.fixture
def manager() -> SecretsManager:
    """A Secrets Manager in memory."""
    return SecretsManager()


@pytest.fixture
def clock() -> Clock:
    """A clock that is set by hand."""
    return Clock(0.0)


@pytest.fixture
def secret(manager: SecretsManager, clock: Clock) -> Secret:
    """One secret over both."""
    return Secret(manager, ARN, clock=clock)


# ------------------------------------------------------------------------- reading and keeping


def test_is_read_when_first_needed(secret: Secret, manager: SecretsManager) -> None:
    """A cold start that needs no secret reads none."""
    assert manager.reads == []
    assert secret.text() == "one"
    assert manager.reads == [ARN]


def test_a_value_is_kept_until_it_is_too_old(
    secret: Secret, manager: SecretsManager, clock: Clock
) -> None:
    """A value is used until it is older than it may be, to the second."""
    secret.text()
    manager.value = "two"
    clock.now = MAX_AGE
    assert secret.text() == "one"
    assert len(manager.reads) == 1
    clock.now += 0.001
    assert secret.text() == "two"
    assert len(manager.reads) == 2


def test_a_fresher_value_can_be_asked_for(
    secret: Secret, manager: SecretsManager, clock: Clock
) -> None:
    """Who has reason to doubt the value gets a new one, but not more than every few seconds."""
    secret.text()
    manager.value = "two"
    clock.now = MIN_AGE
    assert secret.text(MIN_AGE) == "one"
    clock.now += 0.001
    assert secret.text(MIN_AGE) == "two"
    assert secret.text(MIN_AGE) == "two"
    assert len(manager.reads) == 2


ERRORS: list[Exception] = [
    refused("ResourceNotFoundException"),
    refused("AccessDeniedException"),
    refused("DecryptionFailure"),
    refused("ThrottlingException"),
    ClientError({}, "GetSecretValue"),
    EndpointConnectionError(endpoint_url="https://s3cret"),
    ConnectTimeoutError(endpoint_url="https://s3cret"),
    ReadTimeoutError(endpoint_url="https://s3cret"),
    NoCredentialsError(),
    BotoCoreError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_without_any_value_it_is_unavailable(
    secret: Secret, manager: SecretsManager, error: Exception
) -> None:
    """A secret that was never read says which one it is and why, and is asked for again."""
    manager.error = error
    with pytest.raises(Unavailable, match=ARN) as raised:
        secret.text()
    assert raised.value.reason == "secret"
    assert "s3cret" not in str(raised.value)
    manager.error = None
    assert secret.text() == "one"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_older_value_outlives_an_outage(
    secret: Secret, manager: SecretsManager, clock: Clock, error: Exception
) -> None:
    """What was right a moment ago is used on, however long the outage, and not asked for all the time."""
    secret.text()
    manager.error = error
    for hours in range(1, 49):
        clock.now = hours * 3600
        assert secret.text() == secret.text() == "one"
    assert len(manager.reads) == 49
    manager.error, manager.value = None, "two"
    clock.now += MAX_AGE + 1
    assert secret.text() == "two"


def test_an_emptied_secret_is_empty(secret: Secret, manager: SecretsManager, clock: Clock) -> None:
    """A value that was taken away is not remembered."""
    secret.text()
    manager.value = ""
    clock.now = MAX_AGE + 1
    assert secret.text() == ""
    assert secret.text() == ""
    assert len(manager.reads) == 2


def test_a_binary_secret_is_empty(secret: Secret, manager: SecretsManager) -> None:
    """Bytes are not a value that anybody put there for us."""
    manager.value = None
    assert secret.text() == ""


# ------------------------------------------------------------------------- signing secrets


def signing(value: object) -> SigningSecrets:
    """Signing secrets from a value, or from the text it is written as."""
    text = value if isinstance(value, str) else json.dumps(value)
    return SigningSecrets(Secret(SecretsManager(text), ARN))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"stripe": ["new", "old"]}, ("new", "old")),
        ({"stripe": "only"}, ("only",)),
        ({"stripe": "only\n"}, ("only",)),
        ({"stripe": [" new", "old\r\n", "a b\t"]}, ("new", "old", "a b")),
        ({"stripe": ["new", "", " ", "\n", "old"]}, ("new", "old")),
        ({"stripe": ["new", None, 5, True, ["old"], {"a": "b"}]}, ("new",)),
        ({"stripe": []}, ()),
        ({"stripe": ""}, ()),
        ({"stripe": " "}, ()),
        ({"shopify": ["x"]}, ()),
        ({"Stripe": ["x"]}, ()),
        ({}, ()),
        ("", ()),
    ],
)
def test_live_secrets_are_a_list_or_a_text(value: object, expected: tuple[str, ...]) -> None:
    """A list in its order or a single text, without white space around them.

    An empty one is none, because anybody can sign with it.
    """
    assert signing(value).of("stripe") == expected


@pytest.mark.parametrize(
    "text", ["whsec_1", "[]", '["stripe"]', '"stripe"', "null", "5", "{", "[" * 100_000, "\ufeff{}"]
)
def test_what_is_not_json_is_unavailable(text: str) -> None:
    """A secret that cannot be read as documented says how it should look, and not what it holds."""
    with pytest.raises(Unavailable, match=r'\{"stripe": \["whsec_..."\]\}') as raised:
        signing(text).of("stripe")
    assert raised.value.reason == "secret"
    assert "whsec_1" not in str(raised.value)


@pytest.mark.parametrize("value", [None, 5, 1.5, True])
def test_what_is_no_list_is_unavailable(value: object) -> None:
    """A source whose entry is neither a list nor a text is a mistake to be told, not a crash."""
    with pytest.raises(Unavailable):
        signing({"stripe": value}).of("stripe")


def test_names_are_no_secrets() -> None:
    """The keys of an object are words that anybody can guess; nothing may be signed with them."""
    with pytest.raises(Unavailable):
        signing({"stripe": {"current": "whsec_1", "previous": "whsec_0"}}).of("stripe")


def test_one_sources_mistake_is_its_own() -> None:
    """An unusable entry of one source does not take the others along."""
    secrets = signing({"stripe": [5], "shopify": ["x"]})
    assert secrets.of("stripe") == ()
    assert secrets.of("shopify") == ("x",)


def test_rotation_needs_no_deploy(secret: Secret, manager: SecretsManager, clock: Clock) -> None:
    """A new secret beside the old one works as soon as the value is read again."""
    secrets = SigningSecrets(secret)
    manager.value = '{"stripe": ["old"]}'
    assert secrets.of("stripe") == ("old",)
    manager.value = '{"stripe": ["new", "old"]}'
    assert secrets.of("stripe", MIN_AGE) == ("old",)
    clock.now = MIN_AGE + 1
    assert secrets.of("stripe") == ("old",)
    assert secrets.of("stripe", MIN_AGE) == ("new", "old")


# ------------------------------------------------------------------------- the server key


@pytest.mark.parametrize("written", ["key", " key ", "key\n", "\tkey\r\n"])
def test_the_key_is_plain_text(secret: Secret, manager: SecretsManager, written: str) -> None:
    """White space around a pasted key does not count."""
    manager.value = written
    assert ServerKey(secret).current() == "key"


@pytest.mark.parametrize("written", ["", " ", "\n", None])
def test_an_empty_secret_says_what_to_put_where(
    secret: Secret, manager: SecretsManager, clock: Clock, written: str | None
) -> None:
    """An empty secret says what to put where, and is used once that happened."""
    manager.value = written
    with pytest.raises(Unavailable, match="LinkrunnerKeySecret") as raised:
        ServerKey(secret).current()
    assert raised.value.reason == "no_key"
    manager.value = "key"
    clock.now = MAX_AGE + 1
    assert ServerKey(secret).current() == "key"


def test_a_secret_without_a_value_is_no_key(secret: Secret, manager: SecretsManager) -> None:
    """The template creates the secret without a value; that is no key, like an empty one."""
    manager.error = refused("ResourceNotFoundException")
    with pytest.raises(Unavailable, match="ResourceNotFoundException") as raised:
        ServerKey(secret).current()
    assert raised.value.reason == "no_key"


def test_a_refused_key_is_renewed(secret: Secret, manager: SecretsManager, clock: Clock) -> None:
    """After a refusal the key is read again, unless that was only just done."""
    key = ServerKey(secret)
    assert key.current() == "one"
    manager.value = "two"
    assert key.renewed() == "one"
    clock.now = MIN_AGE + 1
    assert key.current() == "one"
    assert key.renewed() == "two"
    assert key.current() == "two"


def test_a_key_outlives_an_outage(secret: Secret, manager: SecretsManager, clock: Clock) -> None:
    """While Secrets Manager is away the key that worked goes on working."""
    key = ServerKey(secret)
    key.current()
    manager.error = refused("InternalServiceError")
    clock.now = MAX_AGE * 10
    assert key.current() == key.renewed() == "one"
