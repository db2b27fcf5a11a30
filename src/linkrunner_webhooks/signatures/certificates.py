"""The scheme that signs with a certificate, which is fetched from a URL."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, uuid5
from warnings import catch_warnings
from zlib import crc32

import urllib3
from cryptography import x509
from cryptography.x509 import Certificate
from cryptography.x509.oid import AuthorityInformationAccessOID
from cryptography.x509.verification import PolicyBuilder, Store

from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import Covers, with_headers
from linkrunner_webhooks.signatures.trust import Trust, example_key, signed_by
from linkrunner_webhooks.signatures.trust import signature as signature_of

Fetch = Callable[[str], bytes]

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
# A certificate has a few kilobytes, and a chain has a few certificates.
_MAX_FETCHED = 64 * 1024
# Between a server's certificate and a root there are usually one or two issuers.
_MOST_ISSUERS = 4
# The id that the provider gives to the receiver when it is registered.
_ID = re.compile(r"[0-9A-Z]{10,40}", re.ASCII)
_DAY = 24 * 3600


def fetch(url: str) -> bytes:
    """The content at a URL. Raises Unavailable when nothing answers, LookupError when there is no content."""
    timeout = urllib3.Timeout(connect=1.0, read=1.5)
    try:
        with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
            answer = pool.request("GET", url, preload_content=False, redirect=False)
            content = answer.read(_MAX_FETCHED)
    except urllib3.exceptions.HTTPError:
        raise Unavailable("the certificate cannot be fetched", reason=Reason.CERTIFICATE) from None
    if answer.status in (408, 429) or answer.status >= 500:
        raise Unavailable("the certificate cannot be fetched", reason=Reason.CERTIFICATE)
    if answer.status != 200:
        raise LookupError("there is no such certificate")
    return bytes(content)


# The parsed certificates are cached: a page that is no certificate is fetched again the next time.
@lru_cache(maxsize=16)
def _chain_at(fetch: Fetch, url: str) -> tuple[Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(fetch(url)))


@lru_cache(maxsize=16)
def _issuer_at(fetch: Fetch, url: str) -> Certificate:
    return x509.load_der_x509_certificate(fetch(url))


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
    from the URL in the certificate, which must match `issuers`. Everything is fetched once and then cached.
    """

    prefix: str
    url: re.Pattern[str] = field(repr=False)
    domain: str
    issuers: re.Pattern[str] = field(repr=False)
    tolerance: int = 4 * _DAY
    fetch: Fetch = field(default=fetch, repr=False)
    roots: Callable[[], Sequence[Certificate]] = field(default=public_roots, repr=False)

    title: ClassVar[str] = "RSA-SHA256 with a certificate, over a checksum of the body"
    covers: ClassVar[Covers] = "body"

    def matches(self, webhook: Webhook, secret: str, now: float) -> bool:
        trust = Trust.read(secret)
        sent = datetime.fromisoformat(webhook.headers[f"{self.prefix}-transmission-time"])
        if abs(now - sent.timestamp()) > self.tolerance:
            return False
        signature = b64decode(webhook.headers[f"{self.prefix}-transmission-sig"], validate=True)
        key = trust.public_key if trust.key else self._certified_key(webhook, now)
        return signed_by(key, signature, self._message(webhook, trust.id))

    def sign(self, webhook: Webhook, secret: str, now: float) -> Webhook:
        trust = Trust.read(secret)
        known = {
            f"{self.prefix}-auth-algo": "SHA256withRSA",
            f"{self.prefix}-transmission-id": str(uuid5(NAMESPACE_URL, f"{now}")),
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

    def _certified_key(self, webhook: Webhook, now: float) -> Any:
        """The key of the certificate that the request names. Raises when the certificate is not trusted."""
        url = webhook.headers[f"{self.prefix}-cert-url"]
        if not self.url.fullmatch(url):
            raise LookupError("the certificate is to be fetched from a strange place")
        leaf, *chain = _chain_at(self.fetch, url)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        name = next(
            each
            for each in names.get_values_for_type(x509.DNSName)
            if each.lower().endswith(self.domain)
        )
        policy = PolicyBuilder().store(Store(list(self.roots())))
        policy = policy.time(datetime.fromtimestamp(now, UTC).replace(tzinfo=None))
        issuers = chain or list(self._issuers(leaf))
        policy.build_server_verifier(x509.DNSName(name)).verify(leaf, issuers)
        return leaf.public_key()

    def _issuers(self, leaf: Certificate) -> Iterator[Certificate]:
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
            below = _issuer_at(self.fetch, url)
            yield below


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
