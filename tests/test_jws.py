"""Signed payloads with a chain of certificates, against forgeries. The keys are made in the test run."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import Certificate
from tests import samples
from tests.samples import NOW, scheme_of

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.jws import SignedPayload

Json = Any
DAY: Final = 24 * 3600
BUNDLE: Final = "com.example.app"
APP: Final = "1234567890"
MOMENT: Final = datetime.fromtimestamp(NOW, UTC)

APPLE: Final = cast("SignedPayload", scheme_of(providers.load("apple")))
LEAF_OID, INTERMEDIATE_OID = APPLE.leaf_extension, APPLE.intermediate_extension


def new_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A key on P-256, or on another curve."""
    return ec.generate_private_key(curve or ec.SECP256R1())


ROOT_KEY, OTHER_ROOT_KEY = new_key(ec.SECP384R1()), new_key(ec.SECP384R1())
INTERMEDIATE_KEY, LEAF_KEY, ATTACKER_KEY = new_key(), new_key(), new_key()


def certificate(
    subject: str,
    key: Any,
    issuer: str,
    issuer_key: Any,
    oid: str | None = None,
    *,
    ca: bool = True,
    may_sign: bool = True,
    begin: timedelta = timedelta(days=-365),
    end: timedelta = timedelta(days=365),
) -> Certificate:
    """As Apple's are: complete, so that its own library accepts the chain with this root."""
    usage = dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
            "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    usage |= {"key_cert_sign": ca and may_sign, "digital_signature": not ca}
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(MOMENT + begin)
        .not_valid_after(MOMENT + end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(above, critical=False)
    )
    if oid:
        value = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x05\x00")
        builder = builder.add_extension(value, critical=False)
    return builder.sign(issuer_key, SHA256())


def intermediate(
    key: Any = ROOT_KEY, oid: str | None = INTERMEDIATE_OID, **how: Any
) -> Certificate:
    """The certificate between root and leaf, issued with this key."""
    return certificate("Test Intermediate", INTERMEDIATE_KEY, "Test Root", key, oid, **how)


def leaf(
    key: Any = LEAF_KEY, issuer_key: Any = INTERMEDIATE_KEY, oid: str | None = LEAF_OID, **how: Any
) -> Certificate:
    """The certificate that signs payloads."""
    issuer = how.pop("issuer", "Test Intermediate")
    return certificate("Test Leaf", key, issuer, issuer_key, oid, ca=False, **how)


ROOT = certificate("Test Root", ROOT_KEY, "Test Root", ROOT_KEY)
OTHER_ROOT = certificate("Test Root", OTHER_ROOT_KEY, "Test Root", OTHER_ROOT_KEY)
CHAIN: Final = (leaf(), intermediate(), ROOT)
PINNED = replace(APPLE, root=ROOT.fingerprint(SHA256()).hex())


# ------------------------------------------------------------------------------- tokens


def base64url(content: bytes) -> str:
    """The bytes in base64url without padding, as in a token."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def encoded(value: Json) -> str:
    """The value as one part of a token."""
    return base64url(json.dumps(value).encode())


def es256(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """A signature in the form of tokens: r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def der(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """A signature in the form of certificates."""
    return key.sign(message, ec.ECDSA(SHA256()))


def token(
    claims: Json,
    key: Any = LEAF_KEY,
    chain: Sequence[Certificate] = CHAIN,
    signer: Callable[[Any, bytes], bytes] = es256,
    **header: Json,
) -> str:
    """A signed payload with its chain of certificates in the header."""
    x5c = [b64encode(each.public_bytes(Encoding.DER)).decode() for each in chain]
    signed = f"{encoded({'alg': 'ES256', 'x5c': x5c} | header)}.{encoded(claims)}"
    return f"{signed}.{base64url(signer(key, signed.encode()))}"


def claims(**data: Json) -> dict[str, Json]:
    """A notification; fields of its data that are None are left out."""
    known = {"bundleId": BUNDLE, "environment": "Production", "appAppleId": int(APP)} | data
    return {
        "notificationType": "TEST",
        "notificationUUID": "002e14d5-0000-4000-8000-000000000001",
        "signedDate": int(NOW * 1000),
        "data": {key: value for key, value in known.items() if value is not None},
    }


def nested(**changed: Json) -> dict[str, Json]:
    """A transaction or renewal within a notification."""
    known = {"bundleId": BUNDLE, "environment": "Production", "signedDate": int(NOW * 1000)}
    return {"transactionId": "430001", **known, **changed}


def accepted(
    text: Json, secret: str = BUNDLE, *, now: float = NOW, scheme: SignedPayload = PINNED
) -> bool:
    """Whether a body with this token passes; anything but BadSignature is an error of ours."""
    body = text if isinstance(text, bytes) else json.dumps({"signedPayload": text}).encode()
    return samples.accepts(scheme, Webhook("apple", {}, body), secret, now=now)


# ------------------------------------------------------------------------------- accepted


def test_a_chain_to_the_pinned_root() -> None:
    """The fingerprint of the root is all that is configured."""
    assert accepted(token(claims()))


def test_nested_payloads_are_accepted_with_their_own_signatures() -> None:
    """A notification holds a signed transaction and a signed renewal, which does not name the app."""
    renewal = {key: value for key, value in nested().items() if key != "bundleId"}
    payload = claims(signedTransactionInfo=token(nested()), signedRenewalInfo=token(renewal))
    assert accepted(token(payload))


@pytest.mark.parametrize("part", ["data", "appData", "summary", "externalPurchaseToken"])
def test_each_part_names_the_app(part: str) -> None:
    """Exactly one of them is there, and the app is checked in each."""
    payload = claims()
    payload[part] = payload.pop("data")
    assert accepted(token(payload))
    assert not accepted(token(payload), "com.example.other")


def test_chains_are_not_pinned() -> None:
    """Leaves and intermediates are renewed; only the root stays."""
    other = new_key()
    assert accepted(token(claims(), other, (leaf(other), intermediate(), ROOT)))


@pytest.mark.parametrize(
    "key",
    [
        ROOT_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        ROOT_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["public", "private"],
)
def test_a_root_key_of_ones_own(key: bytes) -> None:
    """A key behind the bundle id is trusted instead of Apple's, and nothing else is."""
    secret = f"{BUNDLE} {b64encode(key).decode()}"
    assert accepted(token(claims()), secret, scheme=APPLE)
    forged = (leaf(), intermediate(OTHER_ROOT_KEY), OTHER_ROOT)
    assert not accepted(token(claims(), chain=forged), secret, scheme=APPLE)
    assert not accepted(token(claims()), secret.replace(BUNDLE, "com.example.other"), scheme=APPLE)


# ------------------------------------------------------------------------------- forged


def spoilt(text: str, part: int) -> str:
    """One character of one part is another one."""
    parts = text.split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + other + parts[part][middle + 1 :]
    return ".".join(parts)


def with_claims(text: str, other: Json) -> str:
    """The token with another payload under the old signature."""
    head, _, signature = text.split(".")
    return f"{head}.{encoded(other)}.{signature}"


def rsa_signed(key: rsa.RSAPrivateKey, message: bytes) -> bytes:
    """A signature with an RSA key."""
    return key.sign(message, PKCS1v15(), SHA256())


def expired(seconds: int = 10) -> dict[str, Any]:
    """The dates of a certificate that ended so many seconds ago."""
    return {"begin": timedelta(days=-30), "end": timedelta(seconds=-seconds)}


def attackers_chain() -> tuple[Certificate, ...]:
    """The attacker's leaf, claiming to be issued by the genuine intermediate."""
    return (leaf(ATTACKER_KEY, ATTACKER_KEY), intermediate(), ROOT)


def issued_by_a_leaf() -> tuple[Certificate, ...]:
    """Who has a genuine leaf is not allowed to issue with it."""
    own = certificate("Test Leaf", LEAF_KEY, "Test Root", ROOT_KEY, INTERMEDIATE_OID, ca=False)
    return (leaf(ATTACKER_KEY, LEAF_KEY, issuer="Test Leaf"), own, ROOT)


P384_KEY, RSA_KEY = new_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)

FORGED: Final[Mapping[str, Callable[[], str]]] = {
    "another root of the same name": lambda: token(
        claims(), chain=(leaf(), intermediate(OTHER_ROOT_KEY), OTHER_ROOT)
    ),
    "the genuine root under another intermediate": lambda: token(
        claims(), chain=(leaf(), intermediate(OTHER_ROOT_KEY), ROOT)
    ),
    "changed header": lambda: spoilt(token(claims()), 0),
    "changed payload": lambda: spoilt(token(claims()), 1),
    "another payload": lambda: with_claims(token(claims()), claims(status=1)),
    "changed signature": lambda: spoilt(token(claims()), 2),
    "no signature": lambda: token(claims()).rpartition(".")[0] + ".",
    "zeros for a signature": lambda: token(claims(), signer=lambda *_: bytes(64)),
    "signature in DER": lambda: token(claims(), signer=der),
    "signature of the payload alone": lambda: token(
        claims(), signer=lambda key, signed: es256(key, signed.split(b".")[1])
    ),
    "one certificate": lambda: token(claims(), chain=CHAIN[:1]),
    "two certificates": lambda: token(claims(), chain=CHAIN[:2]),
    "two certificates, with the root": lambda: token(claims(), chain=(CHAIN[0], ROOT)),
    "four certificates": lambda: token(claims(), chain=(*CHAIN, ROOT)),
    "four certificates, two leaves": lambda: token(claims(), chain=(CHAIN[0], *CHAIN)),
    "no certificates": lambda: token(claims(), chain=()),
    "chain in another order": lambda: token(claims(), chain=CHAIN[::-1]),
    "attacker's leaf under the genuine intermediate": lambda: token(
        claims(), ATTACKER_KEY, attackers_chain()
    ),
    "attacker's key and the genuine chain": lambda: token(claims(), ATTACKER_KEY),
    "issued by a leaf": lambda: token(claims(), ATTACKER_KEY, issued_by_a_leaf()),
    "intermediate that is no authority": lambda: token(
        claims(), chain=(leaf(), intermediate(ca=False), ROOT)
    ),
    "intermediate that may not issue": lambda: token(
        claims(), chain=(leaf(), intermediate(may_sign=False), ROOT)
    ),
    "issuer of another name": lambda: token(
        claims(), chain=(leaf(issuer="Somebody"), intermediate(), ROOT)
    ),
    "leaf for another purpose": lambda: token(
        claims(), chain=(leaf(oid=None), intermediate(), ROOT)
    ),
    "leaf with the intermediate's purpose": lambda: token(
        claims(), chain=(leaf(oid=INTERMEDIATE_OID), intermediate(), ROOT)
    ),
    "intermediate for another purpose": lambda: token(
        claims(), chain=(leaf(), intermediate(oid=None), ROOT)
    ),
    "leaf no longer valid": lambda: token(
        claims(), chain=(leaf(**expired()), intermediate(), ROOT)
    ),
    "leaf not yet valid": lambda: token(
        claims(), chain=(leaf(begin=timedelta(seconds=10)), intermediate(), ROOT)
    ),
    "intermediate no longer valid": lambda: token(
        claims(), chain=(leaf(), intermediate(**expired()), ROOT)
    ),
    "leaf on another curve": lambda: token(
        claims(), P384_KEY, (leaf(P384_KEY), intermediate(), ROOT), lambda *_: bytes(64)
    ),
    "leaf of RSA": lambda: token(
        claims(), RSA_KEY, (leaf(RSA_KEY), intermediate(), ROOT), rsa_signed
    ),
    "HS256": lambda: token(claims(), alg="HS256"),
    "ES384": lambda: token(claims(), alg="ES384"),
    "es256": lambda: token(claims(), alg="es256"),
    "no algorithm": lambda: token(claims(), alg="none"),
    "null algorithm": lambda: token(claims(), alg=None),
    "no date": lambda: token(claims() | {"signedDate": None}),
    "date as a text": lambda: token(claims() | {"signedDate": str(int(NOW * 1000))}),
    "date that is none": lambda: token(claims() | {"signedDate": float("nan")}),
    "date that is true": lambda: token(claims() | {"signedDate": True}),
    "date out of this world": lambda: token(claims() | {"signedDate": 10**30}),
}  # fmt: skip


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_forgeries_are_refused(forge: Callable[[], str]) -> None:
    """Alone, and as a transaction within a genuine notification."""
    assert not accepted(forge())


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("name", APPLE.nested)
def test_forgeries_are_refused_inside(forge: Callable[[], str], name: str) -> None:
    """A genuine notification around it helps nobody."""
    assert not accepted(token(claims(**{name: forge()})))


def test_without_a_key_of_ones_own_only_apple_is_trusted() -> None:
    """Our own good chain means nothing when the scheme pins Apple's root."""
    assert not accepted(token(claims()), scheme=APPLE)


def test_expired_after_it_was_signed() -> None:
    """What was signed in time stays good, for as long as Apple tries again."""
    chain = (leaf(**expired(DAY)), intermediate(), ROOT)
    in_time = claims() | {"signedDate": int((NOW - 2 * DAY) * 1000)}
    assert accepted(token(in_time, chain=chain))
    assert not accepted(token(claims(), chain=chain))


# ------------------------------------------------------------------------------- for whom, and when


@pytest.mark.parametrize(
    ("data", "secret", "wanted"),
    [
        ({}, BUNDLE, True),
        ({}, f"{BUNDLE}/{APP}", True),
        ({}, f"  {BUNDLE}/{APP}\n", True),
        ({}, "com.example.other", False),
        ({}, f"com.example.other/{APP}", False),
        ({}, "com.example.ap", False),
        ({}, f"/{APP}", False),
        ({"bundleId": ""}, f"/{APP}", False),
        ({"bundleId": None}, BUNDLE, False),
        ({}, f"{BUNDLE}/9999999999", False),
        ({"appAppleId": None}, BUNDLE, True),
        ({"appAppleId": None}, f"{BUNDLE}/{APP}", False),
        ({"environment": "Sandbox", "appAppleId": None}, f"{BUNDLE}/{APP}", True),
        ({"environment": "Sandbox"}, "com.example.other", False),
        ({"environment": None}, f"{BUNDLE}/9999999999", False),
        ({"environment": None, "appAppleId": None}, f"{BUNDLE}/{APP}", False),
        (
            {"environment": None, "appAppleId": None, "externalPurchaseId": "SANDBOX_1"},
            f"{BUNDLE}/{APP}",
            True,
        ),
        ({"environment": "Xcode"}, BUNDLE, False),
        ({"environment": "LocalTesting"}, BUNDLE, False),
    ],
)
def test_a_payload_is_of_the_configured_app(
    data: Mapping[str, Json], secret: str, wanted: bool
) -> None:
    """The bundle id must be the configured one; in production the app id, too, where one is configured."""
    assert accepted(token(claims(**data)), secret) is wanted


@pytest.mark.parametrize(
    "changed", [{"bundleId": "com.example.other"}, {"environment": "Sandbox"}, {"bundleId": 7}]
)
def test_what_is_nested_is_of_the_same_app(changed: Mapping[str, Json]) -> None:
    """A genuine transaction of another app or environment does not pass in a notification."""
    assert not accepted(token(claims(signedTransactionInfo=token(nested(**changed)))))


@pytest.mark.parametrize(
    ("age", "wanted"),
    [(-11, False), (-9, True), (0, True), (8, True), (9.9, True), (10.1, False), (400, False)],
)
def test_the_age_is_bounded(age: float, wanted: bool) -> None:
    """Six deliveries within a week pass; a notification from the archive does not."""
    signed_at = int((NOW - age * DAY) * 1000)
    assert accepted(token(claims() | {"signedDate": signed_at})) is wanted


# ------------------------------------------------------------------------------- hostile shapes

GOOD: Final = token(claims())
HOSTILE: Final[Mapping[str, Json]] = {
    "nothing": None,
    "number": 7,
    "list": [GOOD],
    "object": {"token": GOOD},
    "empty": "",
    "dots": "..",
    "many dots": "." * 100_000,
    "four parts": f"{GOOD}.{GOOD.split('.')[2]}",
    "four parts, payload twice": GOOD.replace(".", f".{GOOD.split('.')[1]}.", 1),
    "two parts": GOOD.rpartition(".")[0],
    "padded": f"{GOOD}==",
    "other alphabet": f"{GOOD}+/",
    "spaces": f" {GOOD}",
    "line break": f"{GOOD}\n",
    "not base64": "!.!.!",
    "not ASCII": f"{GOOD}ü",
    "surrogate": f"{GOOD}\ud800",
    "1 MB": "A" * 1_000_000,
    "header no object": f"{encoded([])}.{GOOD.partition('.')[2]}",
    "header null": f"{encoded(None)}.{GOOD.partition('.')[2]}",
    "header deep": f"{base64url(b'[' * 100_000)}.{GOOD.partition('.')[2]}",
    "payload no object": token([]),
    "payload pairs": token([["signedDate", int(NOW * 1000)]]),
    "payload null": token(None),
    "payload empty": token({}),
    "about nothing": token(claims() | {"data": None}),
    "about a text": token(claims() | {"data": BUNDLE}),
    "chain a text": token(claims(), x5c="abc"),
    "chain of numbers": token(claims(), x5c=[1, 2, 3]),
    "chain null": token(claims(), x5c=None),
    "chain of nothing": token(claims(), x5c=["", "", ""]),
    "chain of a million": token(claims(), x5c=["AA=="] * 100_000),
    "chain not DER": token(claims(), x5c=[b64encode(b"certificate").decode()] * 3),
    "nested a number": token(claims(signedTransactionInfo=7)),
    "nested decoded": token(claims(signedTransactionInfo=nested())),
    "nested empty": token(claims(signedTransactionInfo="")),
    "nested list": token(claims(signedRenewalInfo=[])),
    "bundle no text": token(claims(bundleId=[BUNDLE])),
    "environment no text": token(claims(environment=["Production"])),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_tokens_are_refused(value: Json) -> None:
    """Whatever stands there, the verdict is BadSignature."""
    assert not accepted(value, f"{BUNDLE}/{APP}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"signedPayload"',
        b'{"notification_type":"INITIAL_BUY"}',
        GOOD.encode(),
        json.dumps(claims()).encode(),
        json.dumps([{"signedPayload": GOOD}]).encode(),
        json.dumps({"signedpayload": GOOD}).encode(),
        b"[" * 100_000,
        b'{"signedPayload":' + b"9" * 5000 + b"}",
    ],
    ids=range(13),
)
def test_hostile_bodies_are_refused(body: bytes) -> None:
    """Version 1 and whatever else is not a signed payload is nobody's."""
    assert not accepted(body)


# ------------------------------------------------------------------------------- what is stored


def test_what_was_signed_is_unpacked() -> None:
    """The decoded notification with what is nested in it, and nothing that was not signed."""
    signed = token(claims(signedTransactionInfo=token(nested()), signedRenewalInfo=None))
    body = json.dumps({"signedPayload": signed, "data": {"bundleId": "forged"}}).encode()
    assert accepted(body)
    assert json.loads(PINNED.unpack(body)) == claims(signedTransactionInfo=nested())


def test_what_is_not_signed_stays_as_it_is() -> None:
    """A stored body is unpacked already."""
    body = json.dumps(claims(), indent=2).encode()
    assert PINNED.unpack(body) is body


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_unpacking_fails_in_one_way(value: Json) -> None:
    """What can never have been verified is Malformed at worst."""
    body = json.dumps({"signedPayload": value}).encode()
    try:
        (webhook,) = providers.load("apple").unpack(Webhook("apple", {}, body))
    except Malformed:
        return
    json.loads(webhook.body)


def test_a_notification_is_stored_decoded() -> None:
    """Through receive: what lies in the queue needs no certificates any more."""
    sample = samples.load("apple", "DID_RENEW")
    desk = samples.desk(sample.provider)
    status, answer = desk.receive(sample.signed())
    assert (status, answer["status"]) == (200, "queued")
    ((text, _),) = desk.stored
    assert "signedPayload" not in text


def test_nothing_of_a_forgery_is_stored() -> None:
    """A notification of another key is turned away."""
    sample = samples.load("apple", "DID_RENEW")
    desk = samples.desk(sample.provider)
    other = scheme_of(sample.provider).example_secret("somebody else's")
    status, _ = desk.receive(sample.signed(secret=other))
    assert status == 401
    assert desk.stored == []


def test_only_payloads_are_signed() -> None:
    """Samples that are none stay unsigned, and so are refused."""
    for body in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000):
        webhook = Webhook("apple", {}, body)
        assert APPLE.sign(webhook, APPLE.example_secret("seed"), NOW) == webhook
