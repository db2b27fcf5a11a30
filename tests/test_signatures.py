"""The schemes against vectors that the providers' own SDKs accepted, and against forgeries."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.samples import accepts, scheme_of

from linkrunner_webhooks import providers
from linkrunner_webhooks.errors import BadSignature
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.hmacs import HmacBody, HmacWithHeaders, TimestampedHmac
from linkrunner_webhooks.signatures.scheme import Scheme, complaint, verify
from linkrunner_webhooks.signatures.tokens import BasicAuth, HashedCredentials

VECTORS = Path(__file__).parent / "providers"
STRIPE = scheme_of(providers.load("stripe"))
SHOPIFY = scheme_of(providers.load("shopify"))

# Accepted by stripe-python 16.1.0 and stripe-node 23.1.0.
STRIPE_SECRET = "whsec_linkrunner_test_secret_0001"
STRIPE_TIME = 1750000000
STRIPE_V1 = "f88fcc229aa5429798a0524bbaab06e6d71a61bc62de0420ce559ccb343315af"
STRIPE_BODY = (
    b'{"id":"evt_test_lr_0001","object":"event","api_version":"2025-04-30.basil",'
    b'"created":1750000000,"type":"checkout.session.completed","livemode":false,'
    b'"data":{"object":{"id":"cs_test_lr_0001","object":"checkout.session","mode":"payment",'
    b'"payment_status":"paid","amount_total":2599,"currency":"usd",'
    b'"client_reference_id":"user_42","metadata":{}}}}'
)

# Accepted by @shopify/shopify-api 15.0.0.
SHOPIFY_SECRET = "test_shopify_client_secret_0001"
SHOPIFY_HMAC = "g+TVk9hqoKBI9zxsoqm78Zd0X65lhAPGj4YehGUV1eo="
SHOPIFY_BODY = (
    '{"id":820982911946154508,"admin_graphql_api_id":"gid://shopify/Order/820982911946154508",'
    '"name":"#1001","currency":"INR","total_price":"1499.00","financial_status":"paid",'
    '"test":false,"note":"Crème brûlée \\u2014 ₹","customer":null,"line_items":'
    '[{"product_id":632910392,"variant_id":808950810,"quantity":1,"price":"1499.00"}]}'
).encode()


def accepted(
    scheme: Scheme,
    headers: Mapping[str, str],
    body: bytes,
    *secrets: str,
    now: float = STRIPE_TIME,
) -> bool:
    """Whether `verify` lets the request pass."""
    return accepts(scheme, Webhook("source", headers, body), *secrets, now=now)


def signed(scheme: Scheme, body: bytes, secret: str, now: float) -> dict[str, str]:
    """The headers that signing adds."""
    return dict(scheme.sign(Webhook("source", {}, body), secret, now).headers)


def stripe(
    header: str, body: bytes = STRIPE_BODY, *, now: float = STRIPE_TIME, secret: str = STRIPE_SECRET
) -> bool:
    """Whether Stripe's scheme accepts this header."""
    return accepted(STRIPE, {"stripe-signature": header}, body, secret, now=now)


def shopify(headers: Mapping[str, str], body: bytes = SHOPIFY_BODY) -> bool:
    """Whether Shopify's scheme accepts these headers."""
    return accepted(SHOPIFY, headers, body, SHOPIFY_SECRET)


GOOD = f"t={STRIPE_TIME},v1={STRIPE_V1}"


# ------------------------------------------------------------------------------- Stripe


def test_stripes_own_vector_is_accepted() -> None:
    """The vector that Stripe's own SDKs accept is accepted."""
    assert len(STRIPE_BODY) == 344
    assert stripe(GOOD)


def test_stripe_vector_is_what_we_sign() -> None:
    """Our own signature of the vector's body is the vector's."""
    assert signed(STRIPE, STRIPE_BODY, STRIPE_SECRET, STRIPE_TIME) == {"stripe-signature": GOOD}


def test_stripe_refuses_one_space_more() -> None:
    """One space appended is another body."""
    assert not stripe(GOOD, STRIPE_BODY + b" ")


@pytest.mark.parametrize(
    "header",
    [
        f"t={STRIPE_TIME},v1={'0' * 64},v1={STRIPE_V1},v0={'1' * 64}",
        f"t={STRIPE_TIME},v1={STRIPE_V1},v1={'0' * 64}",
        f"v0={'1' * 64},v1={STRIPE_V1},t={STRIPE_TIME}",
    ],
)
def test_stripe_accepts_any_v1(header: str) -> None:
    """While a secret is rolled there are several v1; one good one is enough, in any order."""
    assert stripe(header)


@pytest.mark.parametrize(
    "header",
    [
        f"t={STRIPE_TIME},v0={STRIPE_V1}",
        f"t={STRIPE_TIME},v2={STRIPE_V1}",
        f"t={STRIPE_TIME},V1={STRIPE_V1}",
        f"t={STRIPE_TIME},v1={STRIPE_V1[:-1]}",
        f"t={STRIPE_TIME},v1={STRIPE_V1.upper()}",
        f"t={STRIPE_TIME},v1=",
        f"t={STRIPE_TIME}",
        f"t={STRIPE_TIME};v1={STRIPE_V1}",
        f"t={STRIPE_TIME + 1},v1={STRIPE_V1}",
        f"t={STRIPE_TIME},t={STRIPE_TIME + 1},v1={STRIPE_V1}",
        f"t=+{STRIPE_TIME},v1={STRIPE_V1}",
        f"t={STRIPE_TIME}.0,v1={STRIPE_V1}",
        f"t=0x684EE180,v1={STRIPE_V1}",
        f"t=,v1={STRIPE_V1}",
        f"v1={STRIPE_V1}",
        STRIPE_V1,
    ],
)
def test_stripe_refuses_other_headers(header: str) -> None:
    """Another scheme, another or no time, a shortened or re-written signature are refused."""
    assert not stripe(header)


@pytest.mark.parametrize(
    ("age", "accepted"),
    [(-301, False), (-300, True), (0, True), (300, True), (301, False), (86_400, False)],
)
def test_stripe_bounds_the_age(age: int, accepted: bool) -> None:
    """A signature older than 300 seconds is refused, and one from as far in the future as well."""
    assert stripe(GOOD, now=STRIPE_TIME + age) is accepted


def test_stripe_secret_is_used_with_its_prefix() -> None:
    """The key is the whole secret as text: neither without `whsec_` nor decoded."""
    assert not stripe(GOOD, secret=STRIPE_SECRET.removeprefix("whsec_"))


# ------------------------------------------------------------------------------- Shopify


def test_shopifys_own_vector_is_accepted() -> None:
    """The vector that Shopify's own SDK accepts is accepted."""
    assert len(SHOPIFY_BODY) == 330
    assert shopify({"x-shopify-hmac-sha256": SHOPIFY_HMAC})


def test_shopify_events_family() -> None:
    """The newer headers without `x-` carry the same signature."""
    assert shopify({"shopify-hmac-sha256": SHOPIFY_HMAC})


def test_shopify_vector_is_what_we_sign() -> None:
    """Our own signature of the vector's body is the vector's."""
    headers = signed(SHOPIFY, SHOPIFY_BODY, SHOPIFY_SECRET, 0.0)
    assert headers == {"x-shopify-hmac-sha256": SHOPIFY_HMAC}


@pytest.mark.parametrize(
    "body",
    [
        SHOPIFY_BODY + b" ",
        SHOPIFY_BODY.replace(b"\\u2014", "\u2014".encode()),
        SHOPIFY_BODY.decode().encode("latin-1", "replace"),
        b64encode(SHOPIFY_BODY),
        SHOPIFY_BODY.replace(b":", b": "),
    ],
    ids=["one space", "unescaped", "another charset", "still base64", "written anew"],
)
def test_shopify_refuses_other_bytes(body: bytes) -> None:
    """The same JSON in other bytes is not what was signed."""
    assert not shopify({"x-shopify-hmac-sha256": SHOPIFY_HMAC}, body)


@pytest.mark.parametrize(
    "signature",
    [
        b64decode(SHOPIFY_HMAC).hex(),
        SHOPIFY_HMAC.rstrip("="),
        SHOPIFY_HMAC.replace("+", "-"),
        SHOPIFY_HMAC.lower(),
        f"{SHOPIFY_HMAC},{SHOPIFY_HMAC}",
        f"sha256={SHOPIFY_HMAC}",
    ],
    ids=["hex", "unpadded", "url-safe", "lower case", "twice", "prefixed"],
)
def test_shopify_refuses_other_encodings(signature: str) -> None:
    """Webhook signatures are standard padded base64; other products' forms are refused."""
    assert not shopify({"x-shopify-hmac-sha256": signature})


def test_shopify_has_no_age() -> None:
    """There is no time in the signature; deduplication is the replay defence."""
    headers = {"x-shopify-hmac-sha256": SHOPIFY_HMAC}
    assert accepted(SHOPIFY, headers, SHOPIFY_BODY, SHOPIFY_SECRET, now=4e9)


def test_shopify_official_constant() -> None:
    """The constant of the SDK's own tests."""
    headers = {"x-shopify-hmac-sha256": "B23tXN681gZ0qIWNRrgtzBE9XSDo5yaUu6wfmhu3a7g="}
    assert accepted(SHOPIFY, headers, b'{"foo": "bar"}', "test_secret_key")


# ------------------------------------------------------------------------------- labelled signatures

LABELLED = HmacBody(headers=("x-signature",), encoding="hex", label="sha256=")
LABELLED_HEX = hmac.new(b"k", b"{}", hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "header",
    [
        f"sha256={LABELLED_HEX}",
        LABELLED_HEX,
        f"sha256={'0' * 64},sha256={LABELLED_HEX}",
        f"sha256={LABELLED_HEX}, sha256={'0' * 64}",
    ],
    ids=["labelled", "bare", "the second", "the first"],
)
def test_one_of_several_signatures_is_enough(header: str) -> None:
    """While a secret is changed there is one of each secret, and a gateway joins equal headers."""
    assert accepted(LABELLED, {"x-signature": header}, b"{}", "k")
    assert not accepted(LABELLED, {"x-signature": header}, b"{}", "another")


@pytest.mark.parametrize(
    "header",
    ["", ",", "sha256=", f"sha512={LABELLED_HEX}", f"sha256=sha256={LABELLED_HEX}"],
)
def test_another_label_is_no_signature(header: str) -> None:
    """Only this label is taken off, and once."""
    assert not accepted(LABELLED, {"x-signature": header}, b"{}", "k")


def test_without_a_label_there_is_one_signature() -> None:
    """A list is none where the provider sends one."""
    plain = HmacBody(headers=("x-signature",), encoding="hex")
    assert accepted(plain, {"x-signature": LABELLED_HEX}, b"{}", "k")
    assert not accepted(plain, {"x-signature": f"{LABELLED_HEX},{LABELLED_HEX}"}, b"{}", "k")


# ------------------------------------------------------------------------------- every scheme

SCHEMES: tuple[Scheme, ...] = (
    HmacBody(headers=("x-signature",), encoding="hex"),
    HmacBody(headers=("x-signature", "signature"), encoding="base64"),
    TimestampedHmac(header="x-signature"),
    TimestampedHmac(header="s", timestamp="ts", signature="h1", separator=";", joiner=":"),
    HmacBody(headers=("x-signature",), encoding="hex", algorithm="sha512"),
    HmacBody(headers=("x-signature",), encoding="base64", prefix="https://hooks.example.com/"),
    HmacBody(headers=("x-signature",), encoding="hex", label="sha256="),
    HmacWithHeaders(header="x-signature", signed=("x-time",), per_second=1000),
    HmacWithHeaders(header="s", signed=("x-id", "x-time"), joiner=".", version="v1"),
    HmacWithHeaders(header="x-signature", signed=("x-time",), encoding="hex"),
)
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
secrets = st.text(min_size=1).filter(lambda text: text.strip() and text.isprintable())


@every_scheme
@given(body=st.binary(min_size=1), secret=secrets, other=secrets)
def test_what_is_signed_verifies(scheme: Scheme, body: bytes, secret: str, other: str) -> None:
    """Signing and verifying agree on any bytes and secret, and on nothing else."""
    headers = signed(scheme, body, secret, 1000.0)
    assert accepted(scheme, headers, body, other, secret, now=1000.0)
    assert not accepted(scheme, headers, body + b"\x00", secret, now=1000.0)
    assert accepted(scheme, headers, body, other, now=1000.0) is (other == secret)


@every_scheme
@given(header=st.text(), body=st.binary())
def test_any_header_is_judged(scheme: Scheme, header: str, body: bytes) -> None:
    """No header text whatever gets through or raises anything but BadSignature."""
    headers = dict.fromkeys(signed(scheme, b"", "k", 1000.0), header)
    assert not accepted(scheme, headers, body, "a secret", now=1000.0)


@every_scheme
@pytest.mark.parametrize("secret", ["\ud800", "\x00", "é"])
def test_odd_secrets_raise_nothing(scheme: Scheme, secret: str) -> None:
    """A secret that cannot be encoded matches nothing; the next one still does."""
    headers = signed(scheme, b"{}", "good", 1000.0)
    assert not accepted(scheme, headers, b"{}", secret, now=1000.0)
    assert accepted(scheme, headers, b"{}", secret, "good", now=1000.0)


def test_an_empty_body_is_refused() -> None:
    """Shopify's SDK refuses an empty body, whatever its signature says."""
    digest = hmac.digest(b"key", b"", hashlib.sha256)
    headers = {"x-shopify-hmac-sha256": b64encode(digest).decode()}
    assert not accepted(SHOPIFY, headers, b"", "key")


def test_the_message_names_no_secret() -> None:
    """What is said about a refusal holds neither the secret nor the header."""
    webhook = Webhook("source", {"stripe-signature": GOOD}, b"{}")
    with pytest.raises(BadSignature) as caught:
        verify(STRIPE, webhook, ("whsec_very_secret",), STRIPE_TIME)
    assert "whsec" not in str(caught.value)
    assert STRIPE_V1 not in str(caught.value)


@pytest.mark.parametrize("secret", [":", " : ", "user"])
def test_half_a_basic_secret_is_none(secret: str) -> None:
    """A user and a password that were left empty let nobody in, and neither does a lone user."""
    headers = {"authorization": f"Basic {b64encode(secret.encode()).decode()}"}
    assert not accepted(BasicAuth(), headers, b"{}", secret)
    headers = {"authorization": hashlib.sha256(secret.encode()).hexdigest()}
    assert not accepted(HashedCredentials(), headers, b"{}", secret)


@pytest.mark.parametrize(("before", "right"), [("", True), ("SHA256 ", True), ("Basic ", False)])
def test_the_name_of_the_hash_may_stand_before_it(before: str, right: bool) -> None:
    """PhonePe's SDK compares the bare hash, and its documentation can be read as if it had a prefix."""
    hashed = hashlib.sha256(b"linkrunner:s3cretpass1").hexdigest()
    headers = {"authorization": f"{before}{hashed}"}
    assert accepted(HashedCredentials(), headers, b"{}", "linkrunner:s3cretpass1") is right


# ------------------------------------------------------------------------- the shape of secrets


@pytest.mark.parametrize("name", providers.names())
def test_a_right_secret_is_not_complained_about(name: str) -> None:
    """Neither the secret of the provider's vector nor the one that samples are signed with."""
    scheme = scheme_of(providers.load(name))
    vector = json.loads((VECTORS / name / "signature.json").read_text("utf-8"))
    assert complaint(scheme, vector["secret"]) is None
    assert complaint(scheme, scheme.example_secret("development_secret")) is None


@pytest.mark.parametrize(
    ("name", "secret", "words"),
    [
        ("shopify", "", "it is empty"),
        ("shopify", " \n", "it is empty"),
        ("stripe", "sk_live_51Hx0000", "begins with whsec_"),
        ("stripe", "pk_live_51Hx0000", "it is an API key"),
        ("stripe", "rk_live_51Hx0000", "it is an API key"),
        ("stripe", "we_1Mr5jULkdIwHu7ix", "begins with whsec_"),
        ("paddle", "pdl_live_apikey_01gtgztp8f4kek3yd4g1wrksa3", "begins with pdl_ntfset_"),
        ("razorpay", "rzp_live_Il8Dq1tCzRd9xQ", "it is an API key"),
        ("shopify", "shpat_0123456789abcdef", "it is an API key"),
        ("adyen", "S2-whatever_0000", "hexadecimal"),
        ("adyen", "0123456789", "too short"),
        ("paypal", "WH-2WR32451HC0233532-67976317FL4543714", "it is no webhook id"),
        ("paypal", "5GP028458E2496506 nokey", "is no key"),
        ("apple", "9876", "it is not like com.example.app/1234567890"),
        ("apple", "com.example.app MFkw", "is no key"),
        ("chargebee", "password_only", "user:password"),
        ("chargebee", ":s3cret-0000", "user:password"),
    ],
)
def test_a_wrong_secret_is_told_without_quoting_it(name: str, secret: str, words: str) -> None:
    """An API key or an id would have every webhook answered 401."""
    found = complaint(scheme_of(providers.load(name)), secret)
    assert found is not None
    assert words in found
    assert not secret.strip() or secret.strip() not in found


@pytest.mark.parametrize("written", [" hush_hush_1234", "hush_hush_1234\n", "\thush_hush_1234\r\n"])
def test_white_space_around_a_secret_is_no_mistake(written: str) -> None:
    """It is taken off where secrets are read."""
    assert complaint(SHOPIFY, written) is None
    assert complaint(STRIPE, f" whsec_{written}") is None


def test_a_prefix_is_no_secret() -> None:
    """What everybody knows cannot sign."""
    assert complaint(STRIPE, "whsec_") is not None


def test_a_paystack_key_signs() -> None:
    """Paystack has no other secret than the account's key, so it is the right one there."""
    assert complaint(scheme_of(providers.load("paystack")), "sk_live_0123456789") is None
