"""JSON Web Signatures in their compact form: three parts in base64url, with dots between.

https://datatracker.ietf.org/doc/html/rfc7515
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from linkrunner_webhooks.signatures.trust import signature, signed_by

ES256: Final = "ES256"
RS256: Final = "RS256"
Claims = dict[str, Any]


def parts(token: str) -> tuple[str, str, str]:
    """The header, claims and signature of a token, still encoded. Raises ValueError."""
    header, claims, signature = token.split(".")
    return header, claims, signature


def header_of(token: str) -> dict[str, Any]:
    """The header of a token. Raises ValueError or TypeError."""
    return _object(parts(token)[0])


def claims_of(token: str) -> Claims:
    """The claims of a token, not verified. Raises ValueError or TypeError."""
    return _object(parts(token)[1])


def verified(token: str, key: Any, *algorithms: str) -> Claims:
    """The claims of a token that the key has signed. Raises for other keys and other algorithms."""
    algorithm = header_of(token)["alg"]
    if algorithm not in algorithms or algorithm != _algorithm_of(key):
        raise ValueError("another algorithm")
    signed, _, encoded = token.rpartition(".")
    raw = _unbase64url(encoded)
    if not signed_by(key, _der(raw) if algorithm == ES256 else raw, signed.encode("ascii")):
        raise ValueError("not the signature of this key")
    return claims_of(token)


def issued(header: Mapping[str, Any], claims: Mapping[str, Any], key: Any) -> str:
    """A token that the key signs: ES256, or RS256 where it is an RSA key."""
    elliptic = isinstance(key, EllipticCurvePrivateKey)
    head = {"alg": ES256 if elliptic else RS256, **header}
    signed = f"{_base64url(json.dumps(head))}.{_base64url(json.dumps(claims))}"
    made = signature(key, signed.encode("ascii"))
    return f"{signed}.{_base64url(_raw(made) if elliptic else made)}"


def _algorithm_of(key: Any) -> str:
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return ES256
    if isinstance(key, RSAPublicKey):
        return RS256
    raise TypeError("a key of another kind")


def _object(encoded: str) -> dict[str, Any]:
    value = json.loads(_unbase64url(encoded))
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _unbase64url(text: str) -> bytes:
    """The bytes of a text in base64url. Raises ValueError for padding and for foreign characters."""
    if "=" in text:
        raise ValueError("a token is not padded")
    return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _base64url(value: str | bytes) -> str:
    content = value.encode() if isinstance(value, str) else value
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _der(raw: bytes) -> bytes:
    if len(raw) != 64:
        raise ValueError("not two numbers of 256 bits")
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


def _raw(der: bytes) -> bytes:
    r, s = decode_dss_signature(der)
    return r.to_bytes(32) + s.to_bytes(32)
