"""The receiver and the trusted key, for providers that sign with a certificate and not with a secret.

The configured text is the id of the receiver: a webhook's id or an app's bundle id. Trust comes from pinned
hosts and roots. The text may also hold a key, as `<id> <base64 of a DER key>`: that key is then trusted
instead of the provider's. Tests and samples use a private key there, which can also sign.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_der_public_key,
)


@dataclass(frozen=True, slots=True)
class Trust:
    """One configured text: the id of the receiver, and the operator's own key if the text has one."""

    id: str
    key: str | None

    @classmethod
    def read(cls, secret: str) -> Trust:
        id, _, key = secret.strip().partition(" ")
        return cls(id, key.strip() or None)

    @property
    def public_key(self) -> Any:
        """The trusted key, also when the text holds its private key. Raises ValueError without a key."""
        der = b64decode(self.key or "", validate=True)
        try:
            return load_der_private_key(der, password=None).public_key()
        except ValueError:
            return load_der_public_key(der)

    def complaint(self) -> str | None:
        """What is wrong with the operator's own key, if there is one."""
        try:
            if self.key:
                _ = self.public_key
        except (UnsupportedAlgorithm, ValueError):
            return "what follows the id is no key (base64 of DER)"
        return None

    @property
    def private_key(self) -> Any:
        """The key that signs samples. Raises ValueError when the text holds no private key."""
        return load_der_private_key(b64decode(self.key or "", validate=True), password=None)


def example_key(seed: str) -> str:
    """A private key as the text holds it (base64 of DER), the same for the same seed."""
    key = derived_key(seed)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return b64encode(der).decode("ascii")


def derived_key(seed: str) -> EllipticCurvePrivateKey:
    """A private key (elliptic curve P-256), the same for the same seed."""
    # Any number of 248 bits is below the order of the curve.
    return derive_private_key(int.from_bytes(sha256(seed.encode()).digest()[1:]) + 1, SECP256R1())


def signed_by(key: Any, signature: bytes, message: bytes) -> bool:
    """Whether the key made this RSA (PKCS #1 v1.5) or ECDSA (DER) signature with SHA-256."""
    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, message, ECDSA(SHA256()))
        else:
            key.verify(signature, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def signature(key: Any, message: bytes) -> bytes:
    """The signature of a message: RSA (PKCS #1 v1.5) or ECDSA (DER), with SHA-256."""
    if isinstance(key, EllipticCurvePrivateKey):
        return key.sign(message, ECDSA(SHA256()))
    return bytes(key.sign(message, PKCS1v15(), SHA256()))
