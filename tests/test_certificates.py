"""Signatures with certificates: whose they must be, where they are fetched, and what if they cannot be."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
)
from tests import samples
from tests.clock import Clock
from tests.samples import NOW

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.errors import Reason, Unavailable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.certificates import CertificateSignature, public_roots
from linkrunner_webhooks.signatures.fetched import FetchedCertificates, fetch, pieces
from linkrunner_webhooks.signatures.scheme import verify
from linkrunner_webhooks.signatures.trust import (
    Trust,
    derived_key,
    example_key,
    signature,
    signed_by,
)
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of

WEBHOOK_ID: Final = "1CU48215WH606924A"
CERTS: Final = "https://api.paypal.com/v1/notifications/certs/"
URL: Final = f"{CERTS}CERT-12ab34cd-56ef7890-1234abcd"
ISSUER: Final = "http://cacerts.digicert.com/ExampleExtendedValidationCA.crt"
NAME: Final = "messageverificationcerts.paypal.com"
DAY: Final = 24 * 3600.0


# ------------------------------------------------------------------------------- certificates


@cache
def key_of(owner: str) -> Any:
    """A key for everybody: RSA for who signs webhooks, an elliptic curve for authorities."""
    if owner.startswith("leaf"):
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Made:
    """A certificate made here, and the key it is for."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def moment(days: float) -> datetime:
    """So many days from now."""
    return datetime.fromtimestamp(NOW, UTC) + timedelta(days=days)


def distinguished(name: str) -> x509.Name:
    """A name that is only a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def builder(
    subject: str, key: Any, issuer: Made | None, days: tuple[float, float]
) -> x509.CertificateBuilder:
    """What every certificate has."""
    issuing = issuer.key if issuer else key
    return (
        x509.CertificateBuilder()
        .subject_name(distinguished(subject))
        .issuer_name(issuer.certificate.subject if issuer else distinguished(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(days[0]))
        .not_valid_after(moment(days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()),
            critical=False,
        )
    )


def usage(*, authority: bool) -> x509.KeyUsage:
    """An authority's key signs certificates, any other key signs data."""
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def authority(
    subject: str,
    issuer: Made | None = None,
    owner: str = "",
    *,
    ca: bool = True,
    days: tuple[float, float] = (-300, 300),
) -> Made:
    """A root, or with an issuer an intermediate."""
    key = key_of(owner or subject)
    made = (
        builder(subject, key, issuer, days)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage(authority=ca), critical=True)
    )
    return Made(made.sign(issuer.key if issuer else key, SHA256()), key)


def leaf_of(
    issuer: Made,
    *names: str,
    access: str | None = ISSUER,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    days: tuple[float, float] = (-30, 30),
) -> Made:
    """Who signs webhooks, under these names."""
    key = key_of("leaf")
    made = (
        builder("PayPal, Inc.", key, issuer, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        made = made.add_extension(alternatives, critical=False)
    if access:
        at = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(access)
        )
        made = made.add_extension(x509.AuthorityInformationAccess([at]), critical=False)
    return Made(made.sign(issuer.key, SHA256()), key)


ROOT: Final = authority("Example Root")
INTERMEDIATE: Final = authority("Example Extended Validation CA", ROOT)
LEAF: Final = leaf_of(INTERMEDIATE, NAME)


# ------------------------------------------------------------------------------- requests


AWAY: Final = Unavailable("the certificate cannot be fetched", reason=Reason.CERTIFICATE)


@dataclass(eq=False)
class Site:
    """What lies where, and what was asked for, by a container that has just started.

    An exception is raised instead of answering. Each answer takes `slow` seconds, or all that one may wait.
    """

    pages: dict[str, bytes | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    slow: float = 0.0
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.container = FetchedCertificates(self.fetch, self.clock)

    def fetch(self, url: str, seconds: float) -> bytes:
        assert seconds > 0
        self.asked.append(url)
        self.clock.now += min(self.slow, seconds)
        if self.slow > seconds:
            raise AWAY
        found = self.pages.get(url, LookupError("there is no such certificate"))
        if isinstance(found, Exception):
            raise found
        return found


def scheme(site: Site) -> CertificateSignature:
    """PayPal's own scheme, with another internet and another root."""
    declared = providers.load("paypal").signature
    assert isinstance(declared, CertificateSignature)
    return replace(declared, fetched=site.container, roots=lambda: (ROOT.certificate,))


def written(key: Any) -> str:
    """A key of one's own as it is configured: behind the webhook id."""
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return f"{WEBHOOK_ID} {b64encode(der).decode()}"


def signed(now: float = NOW, url: str = URL) -> Webhook:
    """A webhook as PayPal would send it, with the key of the leaf."""
    webhook = Webhook("paypal", {"paypal-cert-url": url}, b'{"id":"WH-1","amount":"25.99"}')
    return scheme(Site()).sign(webhook, written(key_of("leaf")), now)


def accepted(
    site: Site, webhook: Webhook | None = None, secret: str = WEBHOOK_ID, now: float = NOW
) -> bool:
    """Whether a webhook of now verifies, with what is served at the site."""
    return samples.accepts(scheme(site), webhook or signed(now), secret, now=now)


def serving_chain(leaf: Made, *issuers: Made) -> Site:
    """A site where the leaf lies together with its issuers."""
    return Site({URL: b"".join(each.pem for each in (leaf, *issuers))})


def test_a_chain_that_leads_to_a_root_is_accepted() -> None:
    """Leaf and intermediate come together, and are fetched once."""
    site = serving_chain(LEAF, INTERMEDIATE)
    assert accepted(site)
    assert accepted(site, signed(NOW + 60), now=NOW + 60)
    assert site.asked == [URL]


def test_an_issuer_is_fetched_from_where_the_leaf_says() -> None:
    """Where the leaf comes alone its issuer is fetched too, once."""
    site = Site({URL: LEAF.pem, ISSUER: INTERMEDIATE.der})
    assert accepted(site)
    assert accepted(site)
    assert site.asked == [URL, ISSUER]


def test_a_leaf_of_a_root_needs_no_issuer() -> None:
    """Nothing is fetched for it."""
    site = serving_chain(leaf_of(ROOT, NAME))
    assert accepted(site)
    assert site.asked == [URL]


@pytest.mark.parametrize(
    "names", [("messageverificationcerts.sandbox.paypal.com",), ("example.com", NAME)]
)
def test_names_of_the_domain(names: tuple[str, ...]) -> None:
    """Any name under the domain will do, among others as well."""
    assert accepted(serving_chain(leaf_of(INTERMEDIATE, *names), INTERMEDIATE))


@pytest.mark.parametrize(
    "names",
    [
        ("evil.com",),
        ("paypal.com.evil.com",),
        ("notpaypal.com",),
        ("paypal.com",),
        ("api.paypal.com.",),
        (),
    ],
    ids=str,
)
def test_names_of_other_domains_are_refused(names: tuple[str, ...]) -> None:
    """A certificate for somebody else is good for nothing here, whoever issued it."""
    assert not accepted(serving_chain(leaf_of(INTERMEDIATE, *names), INTERMEDIATE))


def another_root() -> tuple[Made, ...]:
    """A leaf and an intermediate below a root of the trusted one's name and another key."""
    root = authority("Example Root", owner="another root")
    intermediate = authority("Example Extended Validation CA", root)
    return leaf_of(intermediate, NAME), intermediate


def issued_by_no_authority() -> tuple[Made, ...]:
    """A leaf that was issued with a certificate that must not issue any."""
    other = authority("Somebody", INTERMEDIATE, ca=False)
    return leaf_of(other, NAME), other, INTERMEDIATE


CHAINS: Final[Mapping[str, Callable[[], tuple[Made, ...]]]] = {
    "another root of the same name": another_root,
    "another root along with it": lambda: (
        *another_root(),
        authority("Example Root", owner="another root"),
    ),
    "without its intermediate": lambda: (leaf_of(INTERMEDIATE, NAME, access=None),),
    "expired": lambda: (leaf_of(INTERMEDIATE, NAME, days=(-30, -1)), INTERMEDIATE),
    "not valid yet": lambda: (leaf_of(INTERMEDIATE, NAME, days=(1, 30)), INTERMEDIATE),
    "for clients": lambda: (
        leaf_of(INTERMEDIATE, NAME, purpose=ExtendedKeyUsageOID.CLIENT_AUTH),
        INTERMEDIATE,
    ),
    "issued by no authority": issued_by_no_authority,
    "self-signed": lambda: (leaf_of(Made(LEAF.certificate, LEAF.key), NAME),),
    "the intermediate first": lambda: (INTERMEDIATE, LEAF),
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_chains_that_lead_nowhere_are_refused(chain: Callable[[], tuple[Made, ...]]) -> None:
    """The key fits, but nobody vouches for it."""
    assert not accepted(serving_chain(*chain()))


def test_an_expired_intermediate_is_refused() -> None:
    """Every certificate of the chain has to be valid."""
    expired = authority("Example Extended Validation CA", ROOT, days=(-300, -1))
    assert not accepted(serving_chain(LEAF, expired))


def test_a_certificate_expires_while_it_is_kept() -> None:
    """What is kept is judged anew each time."""
    site = serving_chain(LEAF, INTERMEDIATE)
    assert accepted(site, now=NOW + 29 * DAY)
    assert not accepted(site, now=NOW + 31 * DAY)


STRANGE_URLS: Final = (
    "https://evil.com/v1/notifications/certs/CERT-1",
    "https://api.paypal.com.evil.com/v1/notifications/certs/CERT-1",
    "https://notapi.paypal.com/v1/notifications/certs/CERT-1",
    "https://apiXpaypal.com/v1/notifications/certs/CERT-1",
    "https://www.paypal.com/v1/notifications/certs/CERT-1",
    "http://api.paypal.com/v1/notifications/certs/CERT-1",
    "HTTPS://api.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
    "https://api.paypal.com@evil.com/v1/notifications/certs/CERT-1",
    "https://user:pass@api.paypal.com/v1/notifications/certs/CERT-1",
    "https://evil.com\\@api.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.paypal.com/v1/notifications/certs/../../redirect",
    "https://api.paypal.com/v1/notifications/certs/%2e%2e/redirect",
    "https://api.paypal.com/v1/notifications/certs/a/b",
    "https://api.paypal.com/v1/notifications/certs/",
    "https://api.paypal.com/v1/notifications/certs/CERT-1?to=https://evil.com",
    "https://api.paypal.com/v1/notifications/certs/CERT-1#fragment",
    "https://api.paypal.com/v1/notifications/certs/CERT-1\n",
    "https://api.paypal.com/v1/notifications/webhooks",
    " https://api.paypal.com/v1/notifications/certs/CERT-1",
    "",
)


@pytest.mark.parametrize("url", STRANGE_URLS)
def test_certificates_are_fetched_from_one_place_only(url: str) -> None:
    """The request names the URL, so anything but the pinned ones is not even asked."""
    site = Site({url: LEAF.pem + INTERMEDIATE.pem})
    assert not accepted(site, signed(url=url))
    assert site.asked == []


@pytest.mark.parametrize("host", ["api", "api.sandbox", "api-m", "api-m.sandbox"])
def test_all_hosts_of_paypal(host: str) -> None:
    """Live and sandbox, under both names."""
    url = f"https://{host}.paypal.com/v1/notifications/certs/CERT-1"
    assert accepted(Site({url: LEAF.pem + INTERMEDIATE.pem}), signed(url=url))


@pytest.mark.parametrize(
    "access",
    [
        "http://evil.com/ExampleExtendedValidationCA.crt",
        "http://cacerts.digicert.com.evil.com/CA.crt",
        "http://cacerts.digicert.com@evil.com/CA.crt",
        "http://cacerts.digicert.com/CA.crt?to=http://evil.com",
        "http://cacerts.digicert.com/a/CA.crt",
        "ldap://cacerts.digicert.com/CA.crt",
    ],
)
def test_issuers_are_fetched_from_one_place_only(access: str) -> None:
    """A certificate names its issuer's URL, and is not trusted yet."""
    leaf = leaf_of(INTERMEDIATE, NAME, access=access)
    site = Site({URL: leaf.pem, access: INTERMEDIATE.der})
    assert not accepted(site)
    assert site.asked == [URL]


# ------------------------------------------------------------------------------- what is signed


def test_another_body_is_refused() -> None:
    """The checksum of the body is signed: a changed or an empty body is not what PayPal sent."""
    webhook = signed()
    site = serving_chain(LEAF, INTERMEDIATE)
    assert not accepted(site, replace(webhook, body=webhook.body.replace(b"25.99", b"99.99")))
    assert not accepted(site, replace(webhook, body=b""))


def test_another_webhook_id_is_refused() -> None:
    """What PayPal signed for one merchant is worth nothing at another."""
    assert not accepted(serving_chain(LEAF, INTERMEDIATE), secret="2DV59326XI717035B")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("paypal-transmission-id", "another"),
        ("paypal-transmission-time", "2026-11-18T11:06:51Z"),
        ("paypal-transmission-sig", b64encode(b"\0" * 256).decode()),
    ],
)
def test_another_header_is_refused(header: str, value: str) -> None:
    """The id and the time of the transmission are signed, and the signature is no other's."""
    webhook = signed()
    assert webhook.headers[header] != value
    changed = replace(webhook, headers={**webhook.headers, header: value})
    assert not accepted(serving_chain(LEAF, INTERMEDIATE), changed)


@pytest.mark.parametrize(("days", "expected"), [(3.0, True), (3.1, False), (-3.1, False)])
def test_the_age_of_a_transmission(days: float, expected: bool) -> None:
    """Repeated for three days, and not accepted for long after."""
    site = serving_chain(LEAF, INTERMEDIATE)
    assert accepted(site, signed(NOW), now=NOW + days * DAY) is expected


def test_a_time_that_is_none_is_refused() -> None:
    """A transmission time that cannot be read is a BadSignature and no crash."""
    webhook = signed()
    headers = {**webhook.headers, "paypal-transmission-time": "not a time"}
    assert not accepted(serving_chain(LEAF, INTERMEDIATE), replace(webhook, headers=headers))


def test_another_key_than_the_certificates_is_refused() -> None:
    """A signature by any key but the certificate's proves nothing."""
    webhook = Webhook("paypal", {"paypal-cert-url": URL}, b"{}")
    forged = scheme(Site()).sign(webhook, written(key_of("leaf of a stranger")), NOW)
    assert not accepted(serving_chain(LEAF, INTERMEDIATE), forged)


# ------------------------------------------------------------------------------- what cannot be fetched


@pytest.mark.parametrize("away", [URL, ISSUER])
def test_what_cannot_be_told_now_is_not_refused(away: str) -> None:
    """While certificates are out of reach nobody is a forger; a minute later they are asked for again."""
    site = Site({URL: LEAF.pem, ISSUER: INTERMEDIATE.der, away: AWAY})
    for seconds in (0, 59):
        with pytest.raises(Unavailable):
            verify(scheme(site), signed(), [WEBHOOK_ID], NOW + seconds)
    assert site.asked.count(away) == 1
    site.pages |= {URL: LEAF.pem, ISSUER: INTERMEDIATE.der}
    assert accepted(site, now=NOW + 60)


@pytest.mark.parametrize("missing", [URL, ISSUER])
def test_what_is_not_there_is_refused(missing: str) -> None:
    """A URL that leads nowhere is a forger's; a minute later it is asked for again."""
    pages: dict[str, bytes | Exception] = {URL: LEAF.pem, ISSUER: INTERMEDIATE.der}
    site = Site({url: page for url, page in pages.items() if url != missing})
    assert not accepted(site)
    site.pages |= pages
    assert not accepted(site, now=NOW + 59)
    assert site.asked.count(missing) == 1
    assert accepted(site, now=NOW + 60)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>maintenance</html>",
        LEAF.der,
        LEAF.pem[:400],
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        LEAF.pem + INTERMEDIATE.pem[:300],
    ],
    ids=["nothing", "html", "der", "half", "garbage in pem", "half a chain"],
)
def test_what_is_no_certificate_is_refused(page: bytes) -> None:
    """Whatever is served instead of certificates makes a BadSignature and no crash."""
    assert not accepted(Site({URL: page}))


@pytest.mark.parametrize("broken", [URL, ISSUER])
def test_what_is_no_certificate_is_not_kept(broken: str) -> None:
    """A page that is broken for a moment must not shut a warm function's door for more than a minute."""
    pages: dict[str, bytes | Exception] = {URL: LEAF.pem, ISSUER: INTERMEDIATE.der}
    site = Site(pages | {broken: b"<html>maintenance</html>"})
    assert not accepted(site)
    site.pages |= pages
    assert not accepted(site, now=NOW + 59)
    assert site.asked.count(broken) == 1
    assert accepted(site, now=NOW + 60)


def test_an_outage_is_answered_503() -> None:
    """At the door: PayPal sends it again, and nothing is stored until the certificate is there."""
    site = Site({URL: AWAY})
    desk = samples.Desk(
        Config({"paypal": {}}), samples.Secrets({"paypal": (WEBHOOK_ID,)}, {"paypal": ()})
    )
    source = desk.config.source("paypal")
    assert source is not None
    desk.config._sources["paypal"] = replace(source, signature=scheme(site))
    body = samples.load("paypal", "PAYMENT.CAPTURE.COMPLETED").raw()
    webhook = Webhook("paypal", {"paypal-cert-url": URL}, body)
    sent = scheme(site).sign(webhook, written(key_of("leaf")), NOW)
    assert desk.receive(sent)[0] == 503
    assert desk.stored == []
    site.pages |= {URL: LEAF.pem + INTERMEDIATE.pem}
    desk.now += 60
    assert desk.receive(sent)[0] == 200
    assert len(desk.stored) == 1


# ------------------------------------------------------------------------------- what nobody signed


def unsigned(number: int, now: float = NOW) -> Webhook:
    """A request of which all but the signature is right, with a URL that may be PayPal's."""
    headers = {
        "paypal-transmission-id": "1",
        "paypal-transmission-time": datetime.fromtimestamp(now, UTC).isoformat(),
        "paypal-transmission-sig": b64encode(b"\0" * 256).decode(),
        "paypal-auth-algo": "SHA256withRSA",
        "paypal-cert-url": f"{CERTS}CERT-{number}",
    }
    return Webhook("paypal", headers, b"{}")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("paypal-transmission-id", None),
        ("paypal-transmission-sig", None),
        ("paypal-transmission-sig", "not*base64"),
        ("paypal-transmission-time", None),
        ("paypal-transmission-time", "not a time"),
        ("paypal-transmission-time", "2026-11-01T11:06:50Z"),
        ("paypal-auth-algo", None),
        ("paypal-auth-algo", "SHA1withRSA"),
        ("paypal-cert-url", None),
    ],
)
def test_nothing_is_fetched_for_what_is_wrong_anyway(header: str, value: str | None) -> None:
    """What can be seen without asking anybody is looked at first."""
    webhook, site = signed(), serving_chain(LEAF, INTERMEDIATE)
    headers = dict(webhook.headers)
    del headers[header]
    assert not accepted(
        site, replace(webhook, headers=headers if value is None else headers | {header: value})
    )
    assert site.asked == []


def test_a_failure_is_asked_for_once() -> None:
    """Whatever number of requests names a URL, and with whatever number of secrets."""
    site = Site({URL: AWAY})
    for _ in range(20):
        with pytest.raises(Unavailable):
            samples.accepts(scheme(site), signed(), WEBHOOK_ID, "2DV59326XI717035B")
    assert site.asked == [URL]


def test_few_unknown_certificates_are_asked_for() -> None:
    """Five a minute. Further ones are refused, and what is known goes on working."""
    site = serving_chain(LEAF, INTERMEDIATE)
    assert accepted(site)
    for number in range(100):
        assert not accepted(site, unsigned(number))
    assert len(site.asked) == 5
    assert accepted(site)
    later = NOW + 60
    for number in range(100):
        assert not accepted(site, unsigned(number, later), now=later)
    assert len(site.asked) == 10


def test_a_flood_shuts_a_new_container_for_a_minute_at_most() -> None:
    """Strangers can use up the budget, and a genuine webhook is then refused: PayPal sends it again."""
    site = serving_chain(LEAF, INTERMEDIATE)
    for number in range(5):
        assert not accepted(site, unsigned(number))
    assert not accepted(site)
    assert accepted(site, now=NOW + 60)


def test_a_flood_leaves_no_memory() -> None:
    """Days of strange URLs are forgotten, and what was proven stays."""
    site = serving_chain(LEAF, INTERMEDIATE)
    assert accepted(site)
    for number in range(300):
        site.pages[f"{CERTS}CERT-{number}"] = LEAF.pem + INTERMEDIATE.pem if number % 2 else AWAY
        moment = NOW + number * 20.0
        assert not accepted(site, unsigned(number, moment), now=moment)
    assert len(site.container._failed) < 10
    assert len(site.container._kept) <= 32
    asked = len(site.asked)
    assert accepted(site)
    assert len(site.asked) == asked > 200


def test_an_unsigned_request_decides_nothing() -> None:
    """Where a certificate worked before, another one that cannot be had now is a refusal and no 503."""
    site = serving_chain(LEAF, INTERMEDIATE)
    site.pages[f"{CERTS}CERT-1"] = AWAY
    with pytest.raises(Unavailable):
        accepted(site, unsigned(1))
    assert accepted(site)
    assert not accepted(site, unsigned(1))
    assert not accepted(site, unsigned(1), now=NOW + 60)
    assert site.asked == [f"{CERTS}CERT-1", URL, f"{CERTS}CERT-1"]


def test_what_a_certificate_did_not_sign_does_not_prove_it() -> None:
    """Anybody can name PayPal's certificate: that it can be had makes the container no wiser."""
    site = serving_chain(LEAF, INTERMEDIATE)
    site.pages[f"{CERTS}CERT-2"] = AWAY
    forged = replace(unsigned(1), headers={**unsigned(1).headers, "paypal-cert-url": URL})
    assert not accepted(site, forged)
    with pytest.raises(Unavailable):
        accepted(site, unsigned(2))


def test_a_proven_certificate_is_waited_for() -> None:
    """Where it has to be fetched again and cannot be, that is an outage; the budget does not count it."""
    site = serving_chain(LEAF, INTERMEDIATE)
    assert accepted(site)
    for number in range(5):
        assert not accepted(site, unsigned(number))
    site.container._kept.clear()
    site.pages[URL] = AWAY
    with pytest.raises(Unavailable):
        accepted(site)


def test_the_fetches_of_a_request_take_seconds() -> None:
    """Leaf and issuer come slowly, with two secrets: four seconds in all, and not some for each."""
    site = Site({URL: LEAF.pem, ISSUER: INTERMEDIATE.der}, slow=2.5)
    started = site.clock()
    for _ in range(2):
        with pytest.raises(Unavailable):
            samples.accepts(scheme(site), signed(), WEBHOOK_ID, "2DV59326XI717035B")
    assert site.clock() - started == 4.0


def test_a_slow_request_goes_on_where_it_stopped() -> None:
    """What came in time is kept, so that the next try gets further."""
    site = Site({URL: LEAF.pem, ISSUER: INTERMEDIATE.der}, slow=2.1)
    with pytest.raises(Unavailable):
        accepted(site)
    site.slow = 2.0
    assert accepted(site, now=NOW + 60)
    assert site.asked == [URL, ISSUER, ISSUER]


# ------------------------------------------------------------------------------- what a checksum proves


def same_checksum(body: bytes, wanted: bytes) -> bytes:
    """The wanted body, with blanks and line breaks at its end that give it the checksum of the other.

    A checksum is linear, so each of 256 places changes it by what it changes alone.
    """
    padded = wanted + b" " * 256
    missing = crc32(body) ^ crc32(padded)
    rows: dict[int, tuple[int, int]] = {}
    for place in range(len(wanted), len(padded)):
        change, chosen = _effect(padded, place), 1 << (place - len(wanted))
        while change and (known := rows.get(change.bit_length())):
            change, chosen = change ^ known[0], chosen ^ known[1]
        if change:
            rows[change.bit_length()] = (change, chosen)
    chosen = 0
    while missing:
        change, places = rows[missing.bit_length()]
        missing, chosen = missing ^ change, chosen ^ places
    ends = bytes(ord("\t") if chosen >> place & 1 else ord(" ") for place in range(256))
    return wanted + ends


def _effect(padded: bytes, place: int) -> int:
    changed = padded[:place] + b"\t" + padded[place + 1 :]
    return crc32(padded) ^ crc32(changed)


def test_a_checksum_is_no_digest() -> None:
    """From one delivery any other body can be made. It is authentic for all we know, with the same proof."""
    webhook, site = signed(), serving_chain(LEAF, INTERMEDIATE)
    forged = replace(webhook, body=same_checksum(webhook.body, b'{"id":"WH-1","amount":"9999.00"}'))
    assert forged.body != webhook.body
    assert accepted(site, webhook)
    assert accepted(site, forged)
    assert scheme(site).proof(forged) == scheme(site).proof(webhook) is not None
    assert scheme(site).covers == "checksum"


def test_another_transmission_has_another_proof() -> None:
    """Each transmission has an id of its own, and a request without one has no proof."""
    one, other, site = signed(), signed(NOW + 60), Site()
    assert scheme(site).proof(one) != scheme(site).proof(other)
    assert scheme(site).proof(Webhook("paypal", {}, b"{}")) is None
    assert scheme(site).proof(Webhook("paypal", {"paypal-transmission-id": ""}, b"")) is None


# ------------------------------------------------------------------------------- the fetch itself

PATIENT: Final = 2.5


@dataclass
class Answers:
    """A server that gives one answer, and what it was asked."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[Answers]:
    """A server that answers with this status, or breaks the connection if it is 0."""
    listener = listen()
    answers = Answers(url_of(listener))

    def answer(request: Request) -> Response | None:
        answers.asked.append(request.target)
        return Response(status, body, headers) if status else None

    with serving(listener, answer):
        yield answers


def test_fetch_returns_what_is_there() -> None:
    """The body of a 200 is returned, after one request."""
    with answering(200, LEAF.pem) as server:
        assert fetch(f"{server.url}/certs/CERT-1", PATIENT) == LEAF.pem
        assert server.asked == ["/certs/CERT-1"]


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 410])
def test_fetch_knows_what_is_not_there(status: int) -> None:
    """A status that says there is no certificate raises LookupError, and so refuses the webhook."""
    with answering(status) as server, pytest.raises(LookupError):
        fetch(server.url, PATIENT)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_fetch_knows_trouble(status: int) -> None:
    """Asked once: whoever waits for the answer is out of patience before a second time."""
    with answering(status, b"busy") as server:
        with pytest.raises(Unavailable):
            fetch(server.url, PATIENT)
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fetch_follows_nobody_elsewhere(status: int) -> None:
    """A pinned URL is one, and not wherever it leads."""
    with answering(200, LEAF.pem) as elsewhere:
        with answering(status, location=f"{elsewhere.url}/x") as server:
            with pytest.raises(LookupError):
                fetch(server.url, PATIENT)
            assert len(server.asked) == 1
        assert elsewhere.asked == []


def test_fetch_reads_no_more_than_a_chain() -> None:
    """At most 64 KB are read, however much the server sends."""
    with answering(200, b"a" * 1_000_000) as server:
        assert len(fetch(server.url, PATIENT)) <= 64 * 1024


def test_fetch_waits_for_nobody() -> None:
    """Nobody listens, the connection breaks, or no answer comes."""
    listener = listen()
    url = url_of(listener)
    with pytest.raises(Unavailable):
        fetch(url, PATIENT)
    listener.close()
    with pytest.raises(Unavailable):
        fetch(url, PATIENT)
    with answering(0) as server, pytest.raises(Unavailable):
        fetch(server.url, PATIENT)


def test_fetch_does_not_wait_for_every_byte() -> None:
    """A timeout is for each read, so a server that sends a byte at a time would never end."""
    clock = Clock(0.0)

    def slowly(_size: int) -> bytes:
        clock.now += 0.5
        return b"a"

    with pytest.raises(Unavailable):
        list(pieces(slowly, lambda: clock() < 2.0))
    assert clock.now == 2.0


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_the_public_roots_are_there() -> None:
    """DigiCert's, which have issued PayPal's certificates so far, are among them."""
    names = [root.subject.rfc4514_string() for root in public_roots()]
    assert any("DigiCert" in name for name in names)
    assert public_roots() is public_roots()


# ------------------------------------------------------------------------------- keys of one's own

# The key of the certificate that PayPal's sandbox signed with in 2017, and a webhook of then.
PAYPALS_KEY: Final = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0wLC0HBxRhtJryzQJbtxSf+kFK9RG1EgWJ6hf6EW4q8yUVm0"
    "9yVqRa9qWpWhTZ36QsCwfymPlF98QyweSHN/KYhuhc0XtU4mXMYXSGzmNtTr1VRWrV3zOtpc8F90QEqW1QNXGwqAwUm4"
    "MqZUjyDVXfBsn/qrScW1uzOnFbmWntTcdJgOt0nzZ0aQcDr2AFJAq7ggoyFS6kblm0c59ML2slTFmrMNOO6x4bRZmmAc"
    "CdS+LJ+TS/hw0OcEjG9RBOOr/2hhnb+23B4XOEXtAtaRVtN9jFW/OXkQ+zrbw9oWTNjuScIsBzAV88RI6yGxggOm3t2n"
    "Js2CsWC2R2LeipUAwQIDAQAB"
)
CAPTURED: Final = (
    Path(__file__).parents[2] / "shared" / "payloads" / "paypal" / "BILLING.PLAN.CREATED.json"
)
PAYPALS_HEADERS: Final = {
    "paypal-transmission-id": "071f7d20-1584-11e7-abf0-6b62a8a99ac4",
    "paypal-transmission-time": "2017-03-30T20:04:05Z",
    "paypal-auth-algo": "SHA256withRSA",
    "paypal-transmission-sig": (
        "aBjgm5/xljRYu3G64Q0axISrP2xcy7WbW1u4UTCKnQvyprOZ1a1BBmqn2Jdr6ce8E76I3Ti/AL9y4VYSHyGSEaoE"
        "6dVQcCDebLbOXLH0fjTAbTc1/rmfdWmsk0DPltW84Y8W8jOHe3CLWDOwg5zmozyt+AceG2x5eOiw7mLSycaEoj/5"
        "RG+dOIWXnmWcLEArbG3VFshy0wuhZrKuGa9C/bD4Ku+Y9gK7Bv5I5IuGRVnTGpcFnVG0KxOyJxccLGyBVCIUMY5I"
        "ZS7LkmJszQ3HZZFDTNihvgJHECSLwLhzUaysIye5G6CbbLdtAmeeb6wiDciEAvr2dFf+SplOR4Lrng=="
    ),
}


@pytest.mark.skipif(
    not CAPTURED.is_file(), reason="the captured webhook is not part of the project"
)
def test_a_webhook_that_paypal_signed() -> None:
    """Our reading of the scheme is PayPal's."""
    webhook = Webhook("paypal", PAYPALS_HEADERS, CAPTURED.read_bytes())
    sent_at = datetime(2017, 3, 30, 20, 4, 5, tzinfo=UTC).timestamp()
    secret = f"96605875FF6516633 {PAYPALS_KEY}"
    assert accepted(Site(), webhook, secret, sent_at)
    euros = replace(webhook, body=webhook.body.replace(b"USD", b"EUR"))
    assert not accepted(Site(), euros, secret, sent_at)
    assert not accepted(Site(), webhook, f"96605875FF6516634 {PAYPALS_KEY}", sent_at)
    assert not accepted(Site(), webhook, secret, sent_at + 5 * DAY)


def test_a_key_of_ones_own_replaces_the_certificate() -> None:
    """Nothing is fetched, and PayPal's own key no longer counts."""
    site = serving_chain(LEAF, INTERMEDIATE)
    own = written(key_of("own"))
    webhook = scheme(site).sign(Webhook("paypal", {"paypal-cert-url": URL}, b"{}"), own, NOW)
    assert accepted(site, webhook, own)
    assert not accepted(site, signed(), own)
    assert site.asked == []


def test_what_a_configured_text_says() -> None:
    """An id, and perhaps a key, whatever blanks are around them."""
    assert Trust.read(" 1CU48215WH606924A\n") == Trust("1CU48215WH606924A", None)
    assert Trust.read("1CU48215WH606924A  AAAA ") == Trust("1CU48215WH606924A", "AAAA")


@pytest.mark.parametrize("text", ["id", "id AAAA", "id not*base64", "id ünïcödé"])
def test_a_text_without_a_key_has_none(text: str) -> None:
    """Asking for either half of a key that is missing or broken raises ValueError."""
    with pytest.raises(ValueError, match=r".*"):
        _ = Trust.read(text).public_key
    with pytest.raises(ValueError, match=r".*"):
        _ = Trust.read(text).private_key


@pytest.mark.parametrize("owner", ["leaf", "own"])
def test_either_half_of_a_key_verifies(owner: str) -> None:
    """RSA and elliptic curves; the public half cannot sign."""
    key = key_of(owner)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public, private = Trust("id", b64encode(der).decode()), Trust.read(written(key))
    made = signature(private.private_key, b"message")
    for trust in (public, private):
        assert signed_by(trust.public_key, made, b"message")
        assert not signed_by(trust.public_key, made, b"another")
        assert not signed_by(trust.public_key, made[:-1], b"message")
    with pytest.raises(ValueError, match=r".*"):
        _ = public.private_key


def test_example_keys_are_always_the_same() -> None:
    """For a seed; another seed has another one."""
    assert example_key("a") == example_key("a") != example_key("b")
    assert derived_key("a").private_numbers() == derived_key("a").private_numbers()
    assert b64decode(example_key("a"), validate=True)
