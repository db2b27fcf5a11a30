"""What every provider must do, found by discovery: a new one is held to this without a line here.

Each registered event type has a sample in events/; everything below is done to those samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations
from typing import Any, Final

import pytest
from tests import samples
from tests.samples import NOW, Place, Sample, live_secret, old_secret, scheme_of

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.envelope import Opened, open_message
from linkrunner_webhooks.errors import BadSignature, Malformed, Parked, Untranslatable
from linkrunner_webhooks.event_body import FIELDS
from linkrunner_webhooks.model import Identity, Webhook
from linkrunner_webhooks.provider import Provider
from linkrunner_webhooks.signatures.scheme import verify
from linkrunner_webhooks.translation import Planned, plan

# Sent along with a signature and not looked at: what they say is fixed.
UNSIGNED: Final = frozenset({"paypal-auth-algo"})

every_provider = pytest.mark.parametrize("name", providers.names())
every_type = pytest.mark.parametrize(("name", "event_type"), samples.registered())


@cache
def source_of(name: str) -> Source:
    """A source that forwards everything the provider can report."""
    return samples.everything_on(providers.load(name))


def planned(webhook: Webhook) -> tuple[Planned, ...]:
    """What a verified webhook becomes when everything is switched on."""
    source = source_of(webhook.source)
    return plan(Opened(webhook, source, source.provider.identify(webhook)))


def bodies(events: Sequence[Planned]) -> str:
    """What would be sent, as text. Raises ValueError when it is not JSON."""
    sent = [[each.event_name, dict(each.event_data), each.user_id] for each in events]
    return json.dumps(sent, allow_nan=False, ensure_ascii=False)


# ------------------------------------------------------------------------------- samples


@every_type
def test_every_type_has_a_sample(name: str, event_type: str) -> None:
    """The sample is unsigned, of that type, and no test traffic, so that it is forwarded."""
    sample = samples.load(name, event_type)
    identity = sample.provider.identify(sample.webhook())
    assert identity.event_type == event_type
    assert not identity.test
    assert all(header == header.lower() for header in sample.headers)


@every_type
def test_every_sample_becomes_something(name: str, event_type: str) -> None:
    """With everything switched on a sample is at least one event, of a kind its type declares."""
    sample = samples.load(name, event_type)
    events = planned(sample.webhook())
    kinds = {kind.value for kind in sample.provider.types[event_type].switches}
    assert events
    assert {each.event_name for each in events} <= kinds


@every_type
def test_a_sample_with_a_user_is_that_users(name: str, event_type: str) -> None:
    """Where a sample names user_42, the default ladder of user ids finds exactly that."""
    sample = samples.load(name, event_type)
    if "user_42" in json.dumps(sample.body):
        assert {each.user_id for each in planned(sample.webhook())} == {"user_42"}


@every_type
def test_switches(name: str, event_type: str) -> None:
    """A type is stored when it is on, ignored when it is off, and follows its default when absent."""
    provider = providers.load(name)
    webhook = samples.load(name, event_type).signed()
    default = any(provider.types[event_type].switches.values())
    for events, wanted in (
        ({}, default),
        ({event_type: True}, True),
        ({event_type: False}, False),
        ({event_type: "an_event"}, True),
    ):
        secrets = samples.Secrets({name: (live_secret(provider),)})
        table = provider.options.example() | {"events": events}
        desk = samples.Desk(Config({name: table}), secrets)
        status, _answer = desk.receive(webhook)
        assert status == 200
        assert {report.outcome.value for report in desk.reports} == {
            "queued" if wanted else "ignored"
        }
        assert len(desk.stored) == wanted


# ------------------------------------------------------------------------------- signatures


@every_type
@pytest.mark.parametrize("secret_of", [live_secret, old_secret])
def test_either_live_secret_verifies(
    name: str, event_type: str, secret_of: Callable[[Provider], str]
) -> None:
    """A webhook signed with any of the live secrets is accepted, in any order of them."""
    sample = samples.load(name, event_type)
    provider = sample.provider
    webhook = sample.signed(secret=secret_of(provider))
    third = scheme_of(provider).example_secret("a third one")
    for secrets in permutations((live_secret(provider), old_secret(provider), third)):
        verify(scheme_of(provider), webhook, secrets, NOW)


def tampered(sample: Sample) -> Iterator[bytes]:
    """Bodies that say something else than what was signed."""
    signed = sample.signed().body
    covers = scheme_of(sample.provider).covers
    if covers == "body":
        yield signed + b" "
        yield signed + b"\n"
        yield signed[:-1]
        yield bytes([signed[0] ^ 1]) + signed[1:]
        yield signed[:-1] + bytes([signed[-1] ^ 0x80])
        yield json.dumps(sample.body).encode()
        yield json.dumps(sample.body, indent=2, ensure_ascii=False).encode()
        yield b"\xef\xbb\xbf" + signed
    if covers != "sender":
        yield b""
        yield b"{}"
        yield re.sub(rb"[0-9]", lambda digit: b"%d" % ((int(digit[0]) + 1) % 10), signed)


@every_type
def test_altered_bodies_are_refused(name: str, event_type: str) -> None:
    """One byte more, one bit flipped or the same JSON written anew is not what was signed."""
    sample = samples.load(name, event_type)
    provider = sample.provider
    headers = sample.signed().headers
    for body in tampered(sample):
        with pytest.raises(BadSignature):
            verify(scheme_of(provider), Webhook(name, headers, body), (live_secret(provider),), NOW)


@every_provider
def test_a_scheme_that_signs_nothing_says_so(name: str) -> None:
    """Who relies on a token is told in the documentation that it is the weaker way."""
    scheme = scheme_of(providers.load(name))
    assert scheme.covers != "sender" or "weaker" in scheme.title


@every_provider
def test_other_secrets_are_refused(name: str) -> None:
    """Without the very secret nothing verifies; an empty one is no secret at all."""
    sample = samples.any_sample(name)
    scheme, live = scheme_of(sample.provider), live_secret(sample.provider)
    other = scheme.example_secret("another")
    written = [
        (),
        ("",),
        (" ",),
        ("\t\n",),
        ("", " "),
        (other,),
        ("another",),
        (live[:-1],),
        (live[1:],),
    ]
    for secrets in written:
        with pytest.raises(BadSignature):
            verify(scheme, sample.signed(), secrets, NOW)


@every_provider
@pytest.mark.parametrize("secret", ["", " "])
def test_an_empty_secret_verifies_nothing(name: str, secret: str) -> None:
    """Even a signature made with the empty key is refused: anybody can make it."""
    sample = samples.any_sample(name)
    scheme = scheme_of(sample.provider)
    try:
        signed = sample.signed(secret=secret)
    except ValueError:
        # A scheme whose keys have a form cannot even be used with an empty one.
        signed = sample.signed()
    with pytest.raises(BadSignature):
        verify(scheme, signed, (secret,), NOW)


@every_provider
def test_missing_signature_headers_are_refused(name: str) -> None:
    """Each header of the scheme is needed."""
    sample = samples.any_sample(name)
    webhook = sample.signed()
    for missing in sample.signature_headers - UNSIGNED:
        headers = {key: value for key, value in webhook.headers.items() if key != missing}
        refuse(sample, Webhook(name, headers, webhook.body))


def refuse(sample: Sample, webhook: Webhook) -> None:
    """The webhook is not accepted with the live secrets."""
    secrets = (live_secret(sample.provider), old_secret(sample.provider))
    with pytest.raises(BadSignature):
        verify(scheme_of(sample.provider), webhook, secrets, NOW)


@every_provider
@pytest.mark.parametrize("times", [-1, 1])
def test_the_age_of_a_signature_is_bounded(name: str, times: int) -> None:
    """Where the time is signed, a signature of long ago or of the far future is refused."""
    sample = samples.any_sample(name)
    scheme, secrets = scheme_of(sample.provider), (live_secret(sample.provider),)
    tolerance = scheme.tolerance or 0.0
    verify(scheme, sample.signed(now=NOW - 0.9 * tolerance * times), secrets, NOW)
    late = sample.signed(now=NOW - times * (tolerance + 10))
    if scheme.tolerance is None:
        verify(scheme, late, secrets, NOW)
    else:
        with pytest.raises(BadSignature):
            verify(scheme, late, secrets, NOW)


HOSTILE: Final[Mapping[str, str]] = {
    "empty": "",
    "space": " ",
    "spaces": " " * 300,
    "non-ascii": "ünïcödé",
    "full-width digits": "t=\uff11\uff12\uff13,v1=\uff10",
    "emoji": "\U0001f4b8" * 40,
    "lone surrogate": "\ud800",
    "wrong base64": "not*base64=",
    "unpadded base64": "g+TVk9hqoKBI9zxsoqm78Zd0X65lhAPGj4YehGUV1eo",
    "odd hex": "abc",
    "zeros": "0" * 64,
    "repeated fields": f"t=1,t=2,t={int(NOW)},v1=a,v1=b,v1={'0' * 64}",
    "no signature field": f"t={int(NOW)}",
    "no timestamp field": f"v1={'0' * 64}",
    "5,000 digits": "9" * 5000,
    "5,000 digit timestamp": f"t={'9' * 5000},v1={'0' * 64}",
    "negative": f"t=-{int(NOW)},v1={'0' * 64}",
    "fraction": f"t={NOW},v1={'0' * 64}",
    "not a number": f"t=nan,v1={'0' * 64}",
    "NUL": f"t={int(NOW)}\x00,v1={'0' * 64}\x00",
    "1 MB": "a" * 1_000_000,
    "commas": "," * 1000,
    "equal signs": "=" * 1000,
    "commas and equal signs": ",=" * 1000,
    "line breaks": "\r\nx-injected: 1\r\n",
    "first moment": "0001-01-01T00:00:00+14:00",
    "last moment": "9999-12-31T23:59:59-14:00",
    "no moment": "2026-02-30T00:00:00Z",
}
hostile = pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())


@every_provider
@hostile
def test_hostile_signatures_are_refused(name: str, value: str) -> None:
    """Whatever stands in a header of the scheme, the verdict is BadSignature and nothing else."""
    sample = samples.any_sample(name)
    webhook = sample.signed()
    for header in sample.signature_headers - UNSIGNED:
        refuse(sample, Webhook(name, {**webhook.headers, header: value}, webhook.body))


@every_provider
@hostile
def test_hostile_headers_are_judged_first(name: str, value: str) -> None:
    """Other headers cannot make an unsigned request anything but a BadSignature."""
    sample = samples.any_sample(name)
    for header in (*sample.provider.headers, "content-type", "x-forwarded-for"):
        refuse(sample, Webhook(name, {**sample.headers, header: value}, sample.raw()))


@every_type
def test_hostile_identity_headers(name: str, event_type: str) -> None:
    """Headers are not signed everywhere: at worst they are malformed, or park the webhook."""
    sample = samples.load(name, event_type)
    for header in sample.provider.headers:
        for value in HOSTILE.values():
            judge(Webhook(name, {**sample.headers, header: value}, sample.raw()))


@every_provider
@hostile
def test_hostile_identity_headers_end_to_end(name: str, value: str) -> None:
    """The same with a good signature, through receive, the queue and back."""
    webhook = samples.any_sample(name).signed()
    for header in webhook.headers:
        judge_end_to_end(Webhook(name, {**webhook.headers, header: value}, webhook.body))


# ------------------------------------------------------------------------------- hostile bodies

DIGITS = b"9" * 5000
BODIES: Final[Mapping[str, bytes]] = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "object": b"{}",
    "text": b'"x"',
    "number": b"1",
    "not a number": b"NaN",
    "invalid UTF-8": b'{"id":"\xff\xfe"}',
    "NUL": b"\x00",
    "escaped NUL": b'{"id":"\\u0000","type":"\\u0000"}',
    "lone surrogate": b'{"id":"\\ud800","type":"\\ud800"}',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"data":' * 100_000 + b"1" + b"}" * 100_000,
    "huge integers": b'{"id":'
    + DIGITS
    + b',"created":'
    + DIGITS
    + b',"total_price":'
    + DIGITS
    + b"}",
    "huge text": b'{"id":"' + DIGITS + b'","type":"' + DIGITS + b'"}',
    "wrong types": b'{"id":[],"type":{},"data":0,"created":"x","livemode":"?"}',
    "6 MB": b'{"id":"' + b"a" * 6_000_000 + b'"}',
    "6 MB of nothing": b" " * 6_000_000,
}


def judge(webhook: Webhook) -> None:
    """A verified webhook is Malformed, or parked, or becomes JSON bodies; nothing else can happen."""
    source = source_of(webhook.source)
    try:
        identity = source.provider.identify(webhook)
    except Malformed:
        return
    assert isinstance(identity, Identity)
    try:
        source.provider.translate(webhook, identity, source.options)
        events = plan(Opened(webhook, source, identity))
    except Untranslatable:
        return
    assert all(each.keys for each in events)
    bodies(events)


def judge_end_to_end(webhook: Webhook) -> None:
    """The same through receive, the queue and back: never a 500, never more than Parked."""
    desk = samples.desk(providers.load(webhook.source))
    status, _ = desk.receive(webhook)
    assert status in (200, 400, 401, 413)
    assert len(desk.reports) == 1
    for text, _attributes in desk.stored:
        try:
            opened = open_message(text, desk.config)
            bodies(plan(opened))
        except Parked:
            continue


@every_provider
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_hostile_bodies(name: str, body: bytes) -> None:
    """No body, however signed, is worth an exception of its own."""
    sample = samples.any_sample(name)
    judge(sample.webhook(body))
    judge_end_to_end(sample.signed(body))


def spoilt(body: bytes) -> Iterator[bytes]:
    """The body truncated, with doubled keys, deep, and large."""
    yield body[: len(body) // 2]
    yield body[:-1]
    yield body[:-1] + b"," + body[1:]
    yield body[:-1] + b',"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield body[:-1] + b',"z":"' + b"a" * 6_000_000 + b'"}'
    yield b"\xef\xbb\xbf" + body
    yield body.decode().encode("utf-16")


@every_provider
def test_spoilt_bodies(name: str) -> None:
    """A real body made unreadable, ambiguous or enormous is refused, parked or understood."""
    sample = samples.any_sample(name)
    for body in spoilt(sample.raw()):
        judge(sample.webhook(body))
        judge_end_to_end(sample.signed(body))


_LEAF = re.compile(rb'(?<=":)("(?:[^"\\]|\\.)*"|-?[0-9.eE+-]+|null|true|false|\[\])')
LEAVES: Final[Mapping[str, bytes]] = {
    "5,000 digits": DIGITS,
    "5,000 digits as text": b'"' + DIGITS + b'"',
    "huge exponent": b'"1E+999999"',
    "tiny exponent": b'"1E-999999"',
    "NaN": b"NaN",
    "NaN as text": b'"NaN"',
    "infinity": b"-Infinity",
    "null": b"null",
    "negative": b"-1",
    "largest float": b"1e308",
    "list": b"[[]]",
    "object": b"{}",
    "surrogate": b'"\\ud800"',
    "first moment": b'"0001-01-01T00:00:00+14:00"',
    "last second": b"253402300799",
}


@every_type
def test_hostile_fields(name: str, event_type: str) -> None:
    """Any single field of a sample can hold anything: the worst is that the webhook is parked."""
    sample = samples.load(name, event_type)
    raw = sample.raw()
    for leaf in _LEAF.finditer(raw):
        for value in LEAVES.values():
            judge(sample.webhook(raw[: leaf.start()] + value + raw[leaf.end() :]))


# ------------------------------------------------------------------------------- translation


@every_type
def test_translation_is_deterministic(name: str, event_type: str) -> None:
    """The same webhook becomes the same events, whenever and however often it is translated."""
    sample = samples.load(name, event_type)
    assert planned(sample.webhook()) == planned(samples.load(name, event_type).webhook())


@every_type
def test_every_event_has_keys(name: str, event_type: str) -> None:
    """Every event can be recognised when it comes again, also under another webhook's headers."""
    for each in planned(samples.load(name, event_type).webhook()):
        assert each.keys
        assert all(key.strip() and "None" not in key for key in (*each.keys, *each.follows))
        assert len(set(each.keys)) == len(each.keys)


@every_type
def test_event_data_is_the_allow_list(name: str, event_type: str) -> None:
    """Nothing but the declared fields is sent, each present or absent, never null or empty."""
    for each in planned(samples.load(name, event_type).webhook()):
        assert set(each.event_data) <= set(FIELDS)
        assert all(value not in (None, "", [], ()) for value in each.event_data.values())


@every_type
def test_amounts_have_a_currency(name: str, event_type: str) -> None:
    """An amount or a worth never stands without its currency, and money is reported as it is keyed."""
    for each in planned(samples.load(name, event_type).webhook()):
        if {"amount", "value"} & set(each.event_data):
            assert "currency" in each.event_data
        assert ("amount" in each.event_data) == (each.money is not None)


# ------------------------------------------------------------------------------- nothing personal

# Keys under which the sheets' sections "Never forward" say that people, secrets and bearer links are.
_KEYS = """
    abandoned_checkout_url address address1 address2 addresses authorization bin
    billing_address billing_details browser_ip business_name cancel_url cancellation_details
    card cart_token checkout_token client_details client_secret collected_information
    comment company confirmation_number confirmation_secret contact_email custom_fields
    customer_address customer_details customer_email customer_name customer_phone
    customer_purchase_ip customer_shipping customer_tax_ids default_address description
    email evidence fingerprint first_name hosted_invoice_url individual_name
    instructions_email invoice_pdf ip landing_site last4 last_name last_payment_error
    message nickname note order_status_url payment_details phone receipt receipt_email
    receipt_url recovery referring_site reservation_token shipping shipping_address
    shipping_details sms_marketing_phone staff_note statement_descriptor
    statement_descriptor_suffix success_url tags token tracking_url url
    avatar_url billing_name card_last_four cardholder_name custom_field_data
    customer_billing_address customer_billing_name customer_ip_address customer_portal
    customer_tax_id invoice_url management_urls payment_method_id stored_payment_method_id
    tax_id update_payment_method urls user_email user_name
    account_name email_token ip_address history messages log merchant_note customer_note
    subscriber_attributes
    appTransactionId deviceVerification deviceVerificationNonce signedPayload storefrontId
    webOrderLineItemId
    payer payee payer_id email_address given_name surname full_name processor_response buyer
    buyer_email_address card_details version_token device_details team_member_id
    note_to_payer family_name public_url company_name
    vat_number iin masked_number masked_card_number error_text
    account_number auth_id bank_reference card_number cf_dispute_remarks link_url notify_url
    payment_message payment_remarks reason_description refund_note upi_id
    upi_instrument_number
    device_fingerprint narration first_6digits last_4digits originatorname originatoraccountnumber
    phone_number
    acquirerReference authCode avsResult cardBin cardHolderName cardSummary expiryDate
    hmacSignature iban issuerCountry ownerName recurring.recurringDetailReference
    shopperEmail shopperIP shopperName telephoneNumber tokenization.storedPaymentMethodId
    totalFraudScore
"""
PERSONAL: Final = frozenset(_KEYS.split())
# The last key of texts a mapper may pass on. To extend it, decide that what stands there is no person.
PASSED_ON: Final = re.compile(
    r"(.*_)?(id|ids|code|codes|gateway|method|names|type|types|value|currency|currency_code"
    r"|payment_intent|invoice|charge|subscription|price|product|plan|customer|multipass_identifier"
    r"|channel|payment_group|reference|store|sku|custom|parent_payment|invoice_number|tx_ref|card_brand)"
    r"|appAccountToken|notificationUUID|offerIdentifier|(autoRenewP|p)roductId|(originalT|t)ransactionId"
    r"|(merchant|original|psp|shopper)Reference|eventCode|paymentMethod"
)
# However it is found: addresses, links, credentials.
NEVER: Final = re.compile(
    r"@|https?:|\+1555|_secret_|\bpm_|Jane|Appleseed|Evergreen", re.IGNORECASE
)


def is_personal(place: Place) -> bool:
    return bool(PERSONAL.intersection(map(str, place)))


def everything_said(sample: Sample) -> str:
    """All that leaves for Linkrunner, logs, metrics, answers and message attributes."""
    desk = samples.desk(sample.provider)
    _status, answer = desk.receive(sample.signed())
    attributes = [each for _text, each in desk.stored]
    said = bodies(planned(sample.webhook()))
    return f"{said}\n{attributes}\n{desk.reports}\n{answer}"


@every_type
def test_nothing_personal_leaves(name: str, event_type: str) -> None:
    """No name, address, credential or link of a sample is in anything we say about it."""
    sample = samples.load(name, event_type)
    said = everything_said(sample)
    assert not NEVER.search(said)
    planted = {
        text
        for place, text in sample.leaves()
        if is_personal(place) and len(text) > 5 and place[-1] not in ("object", "type", "code")
    }
    known = {text for place, text in sample.leaves() if not is_personal(place)}
    assert not [text for text in planted - known if text in said]


@every_type
def test_personal_fields_are_not_read(name: str, event_type: str) -> None:
    """Whatever is written into every personal field, what we say stays the same."""
    sample = samples.load(name, event_type)
    places = [place for place, _ in sample.leaves() if is_personal(place)]
    marked = {place: f"marker-{number}" for number, place in enumerate(places)}
    changed = Sample(sample.provider, sample.headers, samples.replaced(sample.body, marked))
    assert bodies(planned(changed.webhook())) == bodies(planned(sample.webhook()))
    assert "marker-" not in everything_said(changed)


def leaks(sample: Sample, places: Sequence[Place], events: int) -> Iterator[Place]:
    """The places whose text gets out, found by halving: one place alone can spoil the whole body."""
    marked = {place: f"marker-{number}-" for number, place in enumerate(places)}
    changed = Sample(sample.provider, sample.headers, samples.replaced(sample.body, marked))
    try:
        found = planned(changed.webhook())
    except (Malformed, Untranslatable):
        found = ()
    if len(found) == events:
        said = everything_said(changed)
        yield from (place for place, marker in marked.items() if marker in said)
    elif len(places) > 1:
        half = len(places) // 2
        yield from leaks(sample, places[:half], events)
        yield from leaks(sample, places[half:], events)


@every_type
def test_only_identifiers_are_passed_on(name: str, event_type: str) -> None:
    """Every text that a mapper passes on stands under a key that names an id, a code or a currency."""
    sample = samples.load(name, event_type)
    places = [place for place, _ in sample.leaves()]
    for place in leaks(sample, places, len(planned(sample.webhook()))):
        key = next(str(part) for part in reversed(place) if isinstance(part, str))
        assert not is_personal(place), place
        assert PASSED_ON.fullmatch(key), place


# ------------------------------------------------------------------------------- of single providers


def change(sample: Sample, path: str, value: Any) -> Webhook:
    place = tuple(int(part) if part.isdigit() else part for part in path.split("."))
    body = samples.replaced(sample.body, {place: value})
    return Sample(sample.provider, sample.headers, body).webhook()


@pytest.mark.parametrize(
    ("name", "event_type", "path", "value"),
    [
        ("stripe", "checkout.session.completed", "data.object.currency", None),
        ("stripe", "checkout.session.completed", "data.object.amount_total", None),
        ("stripe", "checkout.session.completed", "data.object.amount_total", "25.99"),
        ("stripe", "checkout.session.completed", "data.object.amount_total", 12345678901234567),
        ("stripe", "checkout.session.completed", "data.object.currency", "us dollars"),
        ("stripe", "checkout.session.completed", "data.object", None),
        ("stripe", "charge.refunded", "data.object.currency", None),
        ("stripe", "invoice.paid", "data.object.amount_paid", None),
        ("stripe", "charge.dispute.created", "data.object.amount", None),
        ("shopify", "orders/paid", "total_price", "a lot"),
        ("shopify", "orders/paid", "total_price", "NaN"),
        ("shopify", "orders/paid", "currency", None),
        ("shopify", "orders/paid", "id", None),
        ("shopify", "refunds/create", "order_id", None),
        ("shopify", "refunds/create", "transactions.0.currency", "dollars"),
        ("shopify", "refunds/create", "transactions.0.amount", None),
    ],
)
def test_a_shape_without_its_money_is_parked(
    name: str, event_type: str, path: str, value: Any
) -> None:
    """What the sheet says is there and is not parks the webhook instead of inventing an amount."""
    with pytest.raises(Untranslatable):
        planned(change(samples.load(name, event_type), path, value))


def test_shopify_refunds_have_one_currency() -> None:
    """One refund in two currencies has no sum."""
    sample = samples.load("shopify", "refunds/create")
    (transaction,) = sample.body["transactions"]
    transactions = [transaction, {**transaction, "id": 7, "currency": "EUR"}]
    with pytest.raises(Untranslatable):
        planned(change(sample, "transactions", transactions))


def test_shopify_presentment_needs_a_presentment_amount() -> None:
    """Without the shopper's amount there is nothing to report in the shopper's currency."""
    sample = samples.load("shopify", "orders/paid")
    source = samples.everything_on(sample.provider, money="presentment")
    body = sample.body | {"presentment_currency": "EUR", "total_price_set": None}
    webhook = Sample(sample.provider, sample.headers, body).webhook()
    with pytest.raises(Untranslatable):
        plan(Opened(webhook, source, source.provider.identify(webhook)))


ORDER_TOPICS = (
    "orders/paid",
    "orders/create",
    "orders/cancelled",
    "orders/fulfilled",
    "orders/partially_fulfilled",
)
OTHER_TOPICS = tuple(
    topic for topic in providers.load("shopify").types if topic not in ORDER_TOPICS
)


def under(body_of: str, topic: str) -> Webhook:
    """A body as it was signed for one topic, replayed under another: topics are not signed."""
    sample = samples.load("shopify", body_of)
    headers = {**sample.headers, "x-shopify-topic": topic}
    return Webhook("shopify", headers, sample.raw())


@pytest.mark.parametrize("body_of", OTHER_TOPICS)
@pytest.mark.parametrize("topic", ORDER_TOPICS)
def test_shopify_orders_are_orders(body_of: str, topic: str) -> None:
    """A body of another topic does not pass for an order."""
    with pytest.raises(Untranslatable):
        planned(under(body_of, topic))


@pytest.mark.parametrize("topic", OTHER_TOPICS)
def test_shopify_orders_are_nothing_else(topic: str) -> None:
    """An order's body does not pass for something else."""
    with pytest.raises(Untranslatable):
        planned(under("orders/paid", topic))
