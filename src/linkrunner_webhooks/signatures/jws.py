"""The scheme of bodies that are a JSON Web Signature with its chain of certificates."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.compact import (
    ES256,
    Claims,
    claims_of,
    header_of,
    issued,
    parts,
    verified,
)
from linkrunner_webhooks.signatures.scheme import Covers
from linkrunner_webhooks.signatures.trust import Trust, derived_key, example_key

_DAY = 24 * 3600
# A bundle id, which has a dot, and perhaps the number of the app.
_APP = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?:/[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SignedPayload:
    """A JSON Web Signature (ES256) as the only value of the body, with its chain of certificates in `x5c`.

    https://developer.apple.com/documentation/appstoreservernotifications/responsebodyv2

    The chain is leaf, intermediate and root. The root is pinned by its SHA-256 fingerprint; each of the other
    two must have an extension. The certificates must be valid at the time of signing. `part` returns the part
    of the payload that has the event, or raises. The members `nested` of that part are signed in the same way
    and are verified in the same way. If they have one of the claims `agreeing`, it must be equal to that of
    the part. `meant` says whether the part is about the configured receiver.
    """

    member: str
    root: str
    leaf_extension: str
    intermediate_extension: str
    part: Callable[[Claims], Claims]
    nested: tuple[str, ...]
    agreeing: tuple[str, ...]
    meant: Callable[[Claims, str], bool]
    tolerance: int = 10 * _DAY

    title: ClassVar[str] = "signed payload (JWS, ES256) with a certificate chain to a pinned root"
    covers: ClassVar[Covers] = "payload"

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        trust = Trust.read(secret)
        payload = self._verified(json.loads(webhook.body)[self.member], trust)
        # This covers the nested tokens, too: they are inside the payload that was signed at this time.
        if abs(now - _signed_at(payload)) > self.tolerance:
            return False
        part = self.part(payload)
        nested = [self._verified(part[name], trust) for name in self._nested_in(part)]
        return self.meant(part, trust.id) and all(self._agree(part, each) for each in nested)

    def proof(self, webhook: Webhook) -> str | None:
        """None: all that is read is signed."""
        del webhook
        return None

    def is_signed(self, webhook: Webhook) -> bool:
        with suppress(AttributeError, LookupError, RecursionError, TypeError, ValueError):
            return bool(parts(json.loads(webhook.body)[self.member]))
        return False

    def unpack(self, body: bytes) -> bytes:
        """The payload of a verified body as JSON, with its nested tokens decoded.

        A body that is not signed is returned as it is. Raises ValueError.
        """
        try:
            written = json.loads(body)
            if not isinstance(written, dict) or self.member not in written:
                return body
            payload = claims_of(written[self.member])
            part = self.part(payload)
            part.update({name: claims_of(part[name]) for name in self._nested_in(part)})
            return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        except (AttributeError, RecursionError, TypeError):
            raise ValueError("not a payload") from None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        issue = self._issuer(Trust.read(secret), now)
        signed_at = {"signedDate": int(now * 1000)}
        try:
            payload = json.loads(webhook.body) | signed_at
            part = self.part(payload)
            part.update({name: issue(part[name] | signed_at) for name in self._nested_in(part)})
            body = json.dumps({self.member: issue(payload)}).encode()
        except (RecursionError, TypeError, ValueError):
            # The body is no payload, so there is nothing to sign.
            return webhook
        return replace(webhook, body=body)

    def example_secret(self, seed: str) -> str:
        return f"com.example.app {example_key(seed)}"

    def complaint(self, secret: str) -> str | None:
        trust = Trust.read(secret)
        if not _APP.fullmatch(trust.id):
            return "it is not like com.example.app/1234567890: the bundle id and the app's id"
        return trust.complaint()

    def _nested_in(self, part: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(name for name in self.nested if part.get(name) is not None)

    def _agree(self, part: Mapping[str, Any], nested: Mapping[str, Any]) -> bool:
        return all(nested.get(name) in (None, part.get(name)) for name in self.agreeing)

    def _verified(self, token: str, trust: Trust) -> Claims:
        """The claims of a token. Raises when the token is not signed by a trusted chain."""
        at = _signed_at(claims_of(token))
        header = header_of(token)
        return verified(token, self._leaf(header["x5c"], trust, at).public_key(), ES256)

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
        """A function that signs claims with a new chain, whose root has the trusted key."""
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
        header = {"x5c": [_base64_der(each) for each in chain]}

        def issue(claims: Mapping[str, Any]) -> str:
            return issued(header, claims, leaf)

        return issue


def _signed_at(claims: Mapping[str, Any]) -> float:
    """The time of signing in unix seconds. Raises when the claims have none."""
    signed_at = claims["signedDate"]
    if not isinstance(signed_at, int) or isinstance(signed_at, bool):
        raise TypeError("the time of signing is no integer")
    return signed_at / 1000


def _check_issued(certificate: Certificate, issuer: Certificate, at: float) -> None:
    """Raises when the issuer did not or may not issue the certificate, or one of them was not valid `at`."""
    moment = datetime.fromtimestamp(at, UTC)
    for each in (certificate, issuer):
        if not each.not_valid_before_utc <= moment <= each.not_valid_after_utc:
            raise ValueError("a certificate was not valid when this was signed")
    usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    authority = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not (authority.ca and usage.key_cert_sign):
        raise ValueError("an issuer is no authority")
    certificate.verify_directly_issued_by(issuer)


def _base64_der(certificate: Certificate) -> str:
    return b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")


def _certificate(
    subject: str,
    key: EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: EllipticCurvePrivateKey,
    now: float,
    extension: str | None = None,
) -> Certificate:
    """A certificate with all extensions that Apple's own library requires."""
    moment = datetime.fromtimestamp(now, UTC)
    authority = subject != "leaf"
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(above, critical=False)
    )
    if extension:
        value = x509.UnrecognizedExtension(x509.ObjectIdentifier(extension), b"\x05\x00")
        builder = builder.add_extension(value, critical=False)
    return builder.sign(issuer_key, SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
