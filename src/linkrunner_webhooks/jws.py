"""Webhooks whose body is a JSON Web Signature that brings its chain of certificates along."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures import Covers
from linkrunner_webhooks.trust import Trust, derived_key, example_key, signature, signed_by

_DAY = 24 * 3600


@dataclass(frozen=True, slots=True)
class SignedPayload:
    """A JSON Web Signature (ES256) as the body's only value, with its chain of certificates in `x5c`.

    https://developer.apple.com/documentation/appstoreservernotifications/responsebodyv2

    The chain is leaf, intermediate and root: the root is pinned by its SHA-256 fingerprint, the other two are
    recognised by an extension each. Signatures in the payload, under `nested`, are held to the same. Validity
    is judged at the time of signing. A configured `<bundle id>/<app id>` pins the app id in production, too.
    """

    member: str
    root: str
    leaf_extension: str
    intermediate_extension: str
    nested: tuple[str, ...]
    tolerance: int = 10 * _DAY

    title: ClassVar[str] = "signed payload (JWS, ES256) with a certificate chain to a pinned root"
    covers: ClassVar[Covers] = "values"

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        trust = Trust.read(secret)
        bundle, _, app = trust.id.partition("/")
        payload = self._verified(json.loads(webhook.body)[self.member], trust)
        if abs(now - payload["signedDate"] / 1000) > self.tolerance:
            return False
        data = _data(payload)
        for name in self.nested:
            if name in data and self._verified(data[name], trust).get("bundleId", bundle) != bundle:
                return False
        wrong_app = (
            app and data.get("environment") == "Production" and str(data["appAppleId"]) != app
        )
        return bool(data["bundleId"] == bundle and not wrong_app)

    def unpack(self, body: bytes) -> bytes:
        """The payload of a verified body as JSON, with what is nested in it decoded as well.

        A body that is not signed is taken as a payload. Raises ValueError.
        """
        written = json.loads(body)
        if not isinstance(written, dict) or self.member not in written:
            return body
        payload = _claims(written[self.member])
        data = _data(payload)
        data.update({name: _claims(data[name]) for name in self.nested if name in data})
        return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        trust = Trust.read(secret)
        issue = self._issuer(trust, now)
        payload = json.loads(webhook.body)
        payload["signedDate"] = int(now * 1000)
        data = _data(payload)
        signed_at = {"signedDate": payload["signedDate"]}
        nested = {name: issue(data[name] | signed_at) for name in self.nested if name in data}
        data.update(nested)
        return replace(webhook, body=json.dumps({self.member: issue(payload)}).encode())

    def example_secret(self, seed: str) -> str:
        return f"com.example.app {example_key(seed)}"

    def _verified(self, token: str, trust: Trust) -> dict[str, Any]:
        """The claims of a token that this scheme trusts. Raises when it does not."""
        signed, _, signature = token.rpartition(".")
        header = json.loads(_unbase64url(signed.partition(".")[0]))
        if header["alg"] != "ES256":
            raise ValueError("another algorithm")
        claims = _claims(token)
        key = self._leaf(header["x5c"], trust, claims["signedDate"] / 1000).public_key()
        raw = _unbase64url(signature)
        if len(raw) != 64:
            raise ValueError("not two numbers of 256 bits")
        der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        if not signed_by(key, der, signed.encode("ascii")):
            raise ValueError("not the signature of this leaf")
        return claims

    def _leaf(self, x5c: Sequence[str], trust: Trust, at: float) -> Certificate:
        leaf, intermediate, root = (
            x509.load_der_x509_certificate(b64decode(each, validate=True)) for each in x5c
        )
        self._check_root(root, trust)
        _check_issued(intermediate, root, at)
        _check_issued(leaf, intermediate, at)
        for certificate, oid in (
            (intermediate, self.intermediate_extension),
            (leaf, self.leaf_extension),
        ):
            certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid))
        return leaf

    def _check_root(self, root: Certificate, trust: Trust) -> None:
        pinned = (
            root.public_key() == trust.public_key
            if trust.key
            else root.fingerprint(SHA256()).hex() == self.root
        )
        if not pinned:
            raise ValueError("another root")

    def _issuer(self, trust: Trust, now: float) -> Callable[[Mapping[str, Any]], str]:
        """Signs claims with a chain made for the occasion, from the trusted key down."""
        root = trust.private_key
        intermediate, leaf = (
            derived_key(f"{trust.key} intermediate"),
            derived_key(f"{trust.key} leaf"),
        )
        chain = (
            _certificate("leaf", leaf, "intermediate", intermediate, now, self.leaf_extension),
            _certificate(
                "intermediate", intermediate, "root", root, now, self.intermediate_extension
            ),
            _certificate("root", root, "root", root, now),
        )
        header = {"alg": "ES256", "x5c": [_base64_der(each) for each in chain]}

        def issue(claims: Mapping[str, Any]) -> str:
            signed = f"{_base64url(json.dumps(header))}.{_base64url(json.dumps(claims))}"
            return f"{signed}.{_base64url(_raw_signature(leaf, signed.encode('ascii')))}"

        return issue


def _data(payload: dict[str, Any]) -> dict[str, Any]:
    """The one part that says what it is about. Raises ValueError when there is none."""
    for name in ("data", "appData", "summary", "externalPurchaseToken"):
        if isinstance(data := payload.get(name), dict):
            return data
    raise ValueError("a notification about nothing")


def _claims(token: str) -> dict[str, Any]:
    return dict(json.loads(_unbase64url(token.split(".")[1])))


def _check_issued(certificate: Certificate, issuer: Certificate, at: float) -> None:
    """Raises when the one did not issue the other, may not issue any, or when either was not valid then."""
    moment = datetime.fromtimestamp(at, UTC)
    for each in (certificate, issuer):
        if not each.not_valid_before_utc <= moment <= each.not_valid_after_utc:
            raise ValueError("a certificate was not valid when this was signed")
    if not issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise ValueError("an issuer is no authority")
    certificate.verify_directly_issued_by(issuer)


def _unbase64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _base64url(value: str | bytes) -> str:
    content = value.encode() if isinstance(value, str) else value
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _base64_der(certificate: Certificate) -> str:
    return b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")


def _raw_signature(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(signature(key, message))
    return r.to_bytes(32) + s.to_bytes(32)


def _certificate(
    subject: str,
    key: EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: EllipticCurvePrivateKey,
    now: float,
    extension: str | None = None,
) -> Certificate:
    moment = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=subject != "leaf", path_length=None), critical=True)
    )
    if extension:
        value = x509.UnrecognizedExtension(x509.ObjectIdentifier(extension), b"\x05\x00")
        builder = builder.add_extension(value, critical=False)
    return builder.sign(issuer_key, SHA256())
