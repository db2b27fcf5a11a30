"""The scheme that signs with a certificate, which is fetched from a URL."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, uuid5
from warnings import catch_warnings
from zlib import crc32

from cryptography import x509
from cryptography.x509 import Certificate
from cryptography.x509.oid import AuthorityInformationAccessOID
from cryptography.x509.verification import PolicyBuilder, Store

from linkrunner_webhooks.errors import Unavailable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.fetched import FetchedCertificates
from linkrunner_webhooks.signatures.scheme import Covers, with_headers
from linkrunner_webhooks.signatures.trust import Trust, example_key, signed_by
from linkrunner_webhooks.signatures.trust import signature as signature_of

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
# Between a server's certificate and a root there are usually one or two issuers.
_MOST_ISSUERS = 4
# The id that the provider gives to the receiver when it is registered.
_ID = re.compile(r"[0-9A-Z]{10,40}", re.ASCII)
_ALGORITHM = "SHA256withRSA"
_HOUR = 3600


@cache
def public_roots() -> tuple[Certificate, ...]:
    """The public roots, as the AWS SDK ships them."""
    bundle = (files("botocore") / "cacert.pem").read_bytes()
    return tuple(root for text in _PEM.findall(bundle) for root in _readable(text))


def _readable(text: bytes) -> Iterator[Certificate]:
    """The root, or nothing: some old roots break newer rules of X.509."""
    with suppress(ValueError), catch_warnings(action="ignore"):
        yield x509.load_pem_x509_certificate(text)


@dataclass(frozen=True, slots=True)
class CertificateSignature:
    """RSA with SHA-256 over `<id>|<time>|<id of the receiver>|<CRC-32 of the body>`, as PayPal signs.

    The request names the URL of the certificate. The URL must match `url`, the certificate must be for a name
    under `domain`, and its chain must lead to a public root. If the chain lacks its issuers, they are fetched
    from the URL in the certificate, which must match `issuers`. `fetched` keeps them all.

    Weaker than an HMAC: who saw one delivery can make other bodies with the checksum of its body.
    """

    prefix: str
    url: re.Pattern[str] = field(repr=False)
    domain: str
    issuers: re.Pattern[str] = field(repr=False)
    # PayPal tries for three days, and whether each try has a new time is unconfirmed.
    tolerance: int = 73 * _HOUR
    fetched: FetchedCertificates = field(default_factory=FetchedCertificates, repr=False)
    roots: Callable[[], Sequence[Certificate]] = field(default=public_roots, repr=False)

    title: ClassVar[str] = (
        "RSA-SHA256 with a certificate, over a checksum of the body "
        "(weaker: other bodies can have the same)"
    )
    covers: ClassVar[Covers] = "checksum"

    @property
    def headers(self) -> tuple[str, ...]:
        return (f"{self.prefix}-transmission-sig",)

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        # Nobody has signed yet, so whatever costs nothing is looked at before anything is fetched.
        trust, headers = Trust.read(secret), webhook.headers
        sent = datetime.fromisoformat(headers[f"{self.prefix}-transmission-time"])
        if abs(now - sent.timestamp()) > self.tolerance:
            return False
        if headers[f"{self.prefix}-auth-algo"].lower() != _ALGORITHM.lower():
            return False
        signature = b64decode(headers[f"{self.prefix}-transmission-sig"], validate=True)
        message = self._message(webhook, trust.id)
        if trust.key:
            return signed_by(trust.public_key, signature, message)
        return self._is_certified(headers[f"{self.prefix}-cert-url"], signature, message, now)

    def proof(self, webhook: Webhook) -> str | None:
        """The id of the transmission, which is signed and is of one body."""
        return webhook.headers.get(f"{self.prefix}-transmission-id") or None

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        trust = Trust.read(secret)
        known = {
            f"{self.prefix}-auth-algo": _ALGORITHM,
            f"{self.prefix}-transmission-id": str(uuid5(NAMESPACE_URL, f"{now} {webhook.digest}")),
            f"{self.prefix}-transmission-time": _written(datetime.fromtimestamp(int(now), UTC)),
        }
        stamped = with_headers(webhook, known)
        signature = signature_of(trust.private_key, self._message(stamped, trust.id))
        name = f"{self.prefix}-transmission-sig"
        return with_headers(stamped, {name: b64encode(signature).decode("ascii")})

    def example_secret(self, seed: str) -> str:
        return f"5GP028458E2496506 {example_key(seed)}"

    def complaint(self, secret: str) -> str | None:
        trust = Trust.read(secret)
        if not _ID.fullmatch(trust.id):
            return "it is no webhook id: those are 10 to 40 capital letters and digits"
        return trust.complaint()

    def _message(self, webhook: Webhook, id: str) -> bytes:
        headers = webhook.headers
        parts = (
            headers[f"{self.prefix}-transmission-id"],
            headers[f"{self.prefix}-transmission-time"],
            id,
            str(crc32(webhook.body)),
        )
        return "|".join(parts).encode()

    def _is_certified(self, url: str, signature: bytes, message: bytes, now: float) -> bool:
        """Whether the certificate at the URL is trusted, and its key made the signature.

        Raises Unavailable when that cannot be told and the request may well be genuine. Otherwise an unsigned
        request would decide that we answer 503 and raise an alarm. Refusing loses nothing: PayPal tries again
        for three days after any answer but a 2xx.
        """
        if not self.url.fullmatch(url):
            return False
        try:
            key = self._certified_key(url, now)
        except Unavailable:
            if self.fetched.is_worth_another_try(url):
                raise
            return False
        if not signed_by(key, signature, message):
            return False
        self.fetched.prove(url)
        return True

    def _certified_key(self, url: str, now: float) -> Any:
        """The key of the certificate at the URL. Raises when the certificate is not trusted."""
        deadline = self.fetched.deadline()
        leaf, *chain = self.fetched.chain(url, now, deadline)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        name = next(
            each
            for each in names.get_values_for_type(x509.DNSName)
            if each.lower().endswith(self.domain)
        )
        policy = PolicyBuilder().store(Store(list(self.roots())))
        policy = policy.time(datetime.fromtimestamp(now, UTC).replace(tzinfo=None))
        issuers = chain or list(self._issuers(leaf, now, deadline))
        policy.build_server_verifier(x509.DNSName(name)).verify(leaf, issuers)
        return leaf.public_key()

    def _issuers(self, leaf: Certificate, now: float, deadline: float) -> Iterator[Certificate]:
        known = {root.subject for root in self.roots()}
        below = leaf
        for _ in range(_MOST_ISSUERS):
            if below.issuer in known:
                return
            access = below.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
            (url,) = (
                each.access_location.value
                for each in access.value
                if each.access_method == AuthorityInformationAccessOID.CA_ISSUERS
            )
            if not self.issuers.fullmatch(url):
                raise LookupError("the issuer is to be fetched from a strange place")
            below = self.fetched.issuer(url, now, deadline)
            yield below


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
