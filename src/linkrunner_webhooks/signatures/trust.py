"""Who is meant and whose key is trusted, where a provider signs with a certificate and not with a secret.

Configured is who is meant (a webhook's id, an app's bundle id); trust comes from pinned hosts and roots.
A configured text may name a key of one's own besides, `<id> <base64 of a DER key>`: then that key is trusted
instead of the provider's. Tests and samples do so, with a private key, which signs as well.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
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
    """One configured text: who is meant, and a key of one's own if there is one."""

    id: str
    key: str | None

    @classmethod
    def read(cls, secret: str) -> Trust:
        id, _, key = secret.strip().partition(" ")
        return cls(id, key.strip() or None)

    @property
    def public_key(self) -> Any:
        """Raises ValueError when the text holds no key."""
        der = b64decode(self.key or "", validate=True)
        try:
            return load_der_private_key(der, password=None).public_key()
        except ValueError:
            return load_der_public_key(der)

    @property
    def private_key(self) -> Any:
        """Raises ValueError when the text holds none."""
        return load_der_private_key(b64decode(self.key or "", validate=True), password=None)


def example_key(seed: str) -> str:
    """A private key that is always the same for a seed, as it is written behind an id."""
    key = derived_key(seed)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return b64encode(der).decode("ascii")


def derived_key(seed: str) -> EllipticCurvePrivateKey:
    """The elliptic-curve key (P-256) that belongs to a seed."""
    # 248 bits are below the order of the curve, whatever the digest.
    return derive_private_key(int.from_bytes(sha256(seed.encode()).digest()[1:]) + 1, SECP256R1())


def signed_by(key: Any, signature: bytes, message: bytes) -> bool:
    """Whether an RSA (PKCS #1 v1.5) or ECDSA (DER) signature with SHA-256 is the key's."""
    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, message, ECDSA(SHA256()))
        else:
            key.verify(signature, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def signature(key: Any, message: bytes) -> bytes:
    """The RSA (PKCS #1 v1.5) or ECDSA (DER) signature with SHA-256 of a private key."""
    if isinstance(key, EllipticCurvePrivateKey):
        return key.sign(message, ECDSA(SHA256()))
    return bytes(key.sign(message, PKCS1v15(), SHA256()))
