"""What every provider must do, found by discovery: a new one is held to this without a line here.

Each registered event type has a sample in events/; everything below is done to those samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import permutations
from typing import Final

import pytest
from tests import privacy, samples
from tests.amounts import moved
from tests.samples import (
    NOW,
    Json,
    Place,
    Sample,
    bodies,
    every_lesson,
    every_provider,
    every_reporting_type,
    every_type,
    live_secret,
    old_secret,
    planned,
    refused,
    scheme_of,
)

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import Envelope, unseal
from linkrunner_webhooks.errors import BadSignature, Malformed, Untranslatable
from linkrunner_webhooks.event_body import AMOUNTS, FIELDS
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.provider import Provider
from linkrunner_webhooks.reading import SHOPS
from linkrunner_webhooks.signatures.scheme import verify
from linkrunner_webhooks.translation import Planned
from linkrunner_webhooks_cli.pages.masking import shown_body

# ------------------------------------------------------------------------------- samples


@every_type
def test_every_type_has_a_sample(name: str, event_type: str) -> None:
    """The sample is unsigned, of that type, and no test traffic, so that it is forwarded."""
    sample = samples.load(name, event_type)
    identity = sample.provider.identify(sample.webhook())
    assert identity.event_type == event_type
    assert not identity.test
    assert all(header == header.lower() for header in sample.headers)


@every_reporting_type
def test_every_sample_becomes_something(name: str, event_type: str) -> None:
    """With everything switched on a sample is at least one event, of a kind its type declares."""
    sample = samples.load(name, event_type)
    events = planned(sample.webhook())
    kinds = {kind.value for kind in sample.provider.types[event_type].switches}
    assert events
    assert {each.event_name for each in events} <= kinds


@every_reporting_type
def test_a_sample_with_a_user_is_that_users(name: str, event_type: str) -> None:
    """Where a sample names user_42, the default ladder of user ids finds exactly that."""
    sample = samples.load(name, event_type)
    if "user_42" in json.dumps(sample.body):
        assert {each.user_id for each in planned(sample.webhook())} == {"user_42"}


@every_provider
def test_a_shop_says_where_it_names_its_gateways_payment(name: str) -> None:
    """Those whose orders share a payment with the gateway's report, and no others."""
    assert bool(providers.load(name).names_gateway) is (name in SHOPS)


@every_lesson
def test_a_lesson_teaches_and_reports_nothing(name: str, event_type: str) -> None:
    """Its sample says which ids are one payment's or one person's, or whose an id is, and nothing else."""
    told = samples.read(samples.load(name, event_type).webhook())
    assert told.planned == ()
    lessons = [len(told.same) > 1, len(told.merged) > 1, bool(told.lessons and told.user_id)]
    assert sum(lessons) == 1
    assert samples.read(samples.load(name, event_type).webhook()).teaches


@every_type
def test_a_type_follows_its_switch(name: str, event_type: str) -> None:
    """A type is stored when it is on, ignored when it is off, and follows its default when absent."""
    provider = providers.load(name)
    webhook = samples.load(name, event_type).signed()
    kinds, lesson = provider.types[event_type].switches, provider.types[event_type].teaches
    named: list[tuple[dict[str, Json], bool]] = [({event_type: "an_event"}, True)] if kinds else []
    for events, wanted in (
        ({}, lesson or any(kinds.values())),
        ({event_type: True}, True),
        ({event_type: False}, False),
        *named,
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
    if covers in ("body", "checksum"):
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
def test_a_stranger_gets_no_failure_of_ours(name: str) -> None:
    """Whatever codes a sender needs: what it did wrong stays 4xx, what we did 5xx."""
    for ours, needed in providers.load(name).statuses.items():
        assert ours // 100 == needed // 100 in (4, 5)


@every_provider
def test_a_weak_scheme_says_so(name: str) -> None:
    """Who relies on a token or a checksum is told in the documentation that it is the weaker way."""
    scheme = scheme_of(providers.load(name))
    assert scheme.covers not in ("sender", "checksum") or "weaker" in scheme.title


@every_type
def test_what_is_signed_in_part_has_a_proof(name: str, event_type: str) -> None:
    """Deliver knows by it a body that was made of another: it is signed, and it travels with the body."""
    sample = samples.load(name, event_type)
    scheme = scheme_of(sample.provider)
    (webhook,) = sample.provider.unpack(sample.signed())
    proof = scheme.proof(webhook)
    assert bool(proof) == (scheme.covers in ("checksum", "values"))
    sealed = Envelope(webhook, NOW).seal(sample.provider)
    assert scheme.proof(unseal(sealed).webhook) == proof


SIGNED_IN_PART = [
    (name, event_type)
    for name in providers.names()
    if scheme_of(providers.load(name)).covers == "values"
    for event_type in providers.load(name).types
]


@samples.over_types(SIGNED_IN_PART)
def test_only_signed_values_count(name: str, event_type: str) -> None:
    """Money, order, keys and, unless the provider's caution says so, the user are in signed values."""
    sample = samples.load(name, event_type)
    signed = tuple(getattr(scheme_of(sample.provider), "values", ()))
    told = planned(sample.webhook())
    written = {
        place: (".".join(each for each in place if isinstance(each, str)), value)
        for place, value in scalars(sample.body, ())
    }
    proven = {str(value) for path, value in written.values() if path.endswith(signed)}
    for place, (path, value) in written.items():
        if path.endswith(signed):
            continue
        with suppress(Malformed, Untranslatable):
            now = planned(sample.changed({place: another(value)}).webhook())
            assert _ids(now) <= _ids(told) | proven, path
            assert {each.money for each in now} <= {None, *(each.money for each in told)}, path
            assert {each.sent.get("order_id") for each in now} <= {
                None, *(each.sent.get("order_id") for each in told)
            }, path  # fmt: skip
            if "not the user id" not in sample.provider.caution:
                assert {each.user_id for each in now} <= {each.user_id for each in told}, path


def _ids(events: Sequence[Planned]) -> set[str]:
    """What is counted once, whatever kind of thing it is."""
    return {key.rpartition("|")[2] for each in events for key in each.keys}


def scalars(value: Json, place: Place) -> Iterator[tuple[Place, Json]]:
    """Every text and number of a body, with where it is."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from scalars(inner, (*place, key))
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield place, value


def another(value: Json) -> Json:
    """Another value of the same look."""
    if not isinstance(value, str):
        return value + 1
    return re.sub(r"[0-9]", lambda digit: str((int(digit[0]) + 1) % 10), value) + "x"


@every_provider
def test_an_odd_body_has_no_proof_or_the_same(name: str) -> None:
    """Nothing that could be in the queue makes it raise."""
    sample = samples.any_sample(name)
    scheme, webhook = scheme_of(sample.provider), sample.signed()
    expected = scheme.proof(webhook) if scheme.covers == "checksum" else None
    for body in (b"", b"{}", b"[]", b"null", b"5", b'"x"', b"{", b"\xff", b"[" * 100_000, b"[[]]"):
        assert scheme.proof(Webhook(name, webhook.headers, body)) == expected
        assert scheme.proof(Webhook(name, {}, body)) is None


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
    for missing in sample.signature_headers:
        headers = {key: value for key, value in webhook.headers.items() if key != missing}
        assert refused(Webhook(name, headers, webhook.body))


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
        told = {"value", *AMOUNTS} & set(each.event_data)
        assert not told or "currency" in each.event_data
        if each.money is not None:
            assert moved(each.event_data) == float(each.money.amount)
        else:
            # What became of a dispute names its amount, and moves nothing.
            assert not {"amount", "refund_amount"} & told


@every_type
def test_every_event_has_an_id_of_its_own(name: str, event_type: str) -> None:
    """Also the several events of one webhook; and a body without one where it is switched off."""
    found = [
        each.event(lambda _: "user_42", lambda _: None)
        for each in planned(samples.load(name, event_type).webhook())
    ]
    ids = [each.body()["event_id"] for each in found]
    assert len(set(ids)) == len(ids)


# ------------------------------------------------------------------------------- nothing personal

# However it is found: addresses, links, credentials.
PEOPLE: Final = re.compile(r"@|https?:|\+1555|_secret_|Jane|Appleseed", re.IGNORECASE)
NEVER: Final = re.compile(rf"{PEOPLE.pattern}|Evergreen|\bpm_", re.IGNORECASE)


@every_provider
def test_every_provider_says_what_is_personal(name: str) -> None:
    """Its folder has a privacy.json, which names personal keys and lets none of them be passed on."""
    path = privacy.path(name)
    assert path.is_file(), f"{path} is missing: tests/privacy.py says what it holds"
    declared = privacy.of(name)
    assert declared.personal, f"{path} names no personal keys"
    assert declared.personal.isdisjoint(declared.passed_on)


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
    assert not [text for text in personal(sample) if text in said]


@every_type
def test_nothing_personal_is_shown_unasked(name: str, event_type: str) -> None:
    """The console masks people in the bodies that it shows; ids that only the provider can read are ids."""
    sample = samples.load(name, event_type)
    # A letter's source may be gone by now.
    for source in (samples.source_of(name), None):
        shown = shown_body(sample.webhook(), source, whole=False)
        assert not PEOPLE.search(shown)
        assert "user_42" not in shown


def personal(sample: Sample) -> set[str]:
    """The texts of a sample that stand where a person does, and nowhere else."""
    is_personal = privacy.of(sample.provider.name).is_personal
    planted = {
        text
        for place, text in sample.leaves()
        if is_personal(place) and len(text) > 5 and place[-1] not in ("object", "type", "code")
    }
    return planted - {text for place, text in sample.leaves() if not is_personal(place)}


@every_type
def test_personal_fields_are_not_read(name: str, event_type: str) -> None:
    """Whatever is written into every personal field, what we say stays the same."""
    sample = samples.load(name, event_type)
    places = [place for place, _ in sample.leaves() if privacy.of(name).is_personal(place)]
    marked = {place: f"marker-{number}" for number, place in enumerate(places)}
    changed = sample.changed(marked)
    assert bodies(planned(changed.webhook())) == bodies(planned(sample.webhook()))
    assert "marker-" not in everything_said(changed)


def leaks(sample: Sample, places: Sequence[Place], events: int) -> Iterator[Place]:
    """The places whose text gets out, found by halving: one place alone can spoil the whole body."""
    marked = {place: f"marker-{number}-" for number, place in enumerate(places)}
    changed = sample.changed(marked)
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


@every_reporting_type
def test_only_identifiers_are_passed_on(name: str, event_type: str) -> None:
    """Every text that a mapper passes on is an id, a code or a currency, or its privacy.json allows it."""
    sample = samples.load(name, event_type)
    places = [place for place, _ in sample.leaves()]
    for place in leaks(sample, places, len(planned(sample.webhook()))):
        assert privacy.of(name).may_leave(place), place
