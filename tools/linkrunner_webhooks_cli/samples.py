"""Sample webhooks: read, made one's own (fresh ids, another user, another amount), and signed.

Nothing here knows a provider. The provider's own mapper is asked for the values to replace.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography.exceptions import UnsupportedAlgorithm

from linkrunner_webhooks.config import Source, suggest
from linkrunner_webhooks.errors import Untranslatable, WebhookError
from linkrunner_webhooks.model import CommerceEvent, Webhook
from linkrunner_webhooks.money import Money
from linkrunner_webhooks.signatures.scheme import complaint
from linkrunner_webhooks.users import find_user
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_local.project import ROOT

EVENTS = ROOT / "events"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,6})?", re.ASCII)
# The scales of integer amounts: hundredths, thousandths, or whole units; the likeliest first.
_SCALES = (2, 3, 0)
# Shorter parts (an amount, a time) are no ids.
_SHORTEST_PART = 8
_FEWEST_DIGITS = 9

Leaf = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Sample:
    """A webhook without a signature: headers, and the body as JSON values."""

    headers: Mapping[str, str]
    body: Any

    def webhook(self, source: Source) -> Webhook:
        return Webhook(source.name, self.headers, self.bytes())

    def bytes(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()

    def signed(self, source: Source, secret: str, now: float) -> Webhook:
        """As the provider would send it. Raises Failure when nothing can be signed with this secret."""
        return sign(source, self.webhook(source), secret, now)


def sign(source: Source, webhook: Webhook, secret: str, now: float) -> Webhook:
    """A webhook as the provider would send it. Raises Failure when nothing can be signed with this secret."""
    webhook, _ = parted(source, webhook)
    try:
        # As receive reads it.
        return source.signature.sign(webhook, secret.strip(), now)
    except (UnsupportedAlgorithm, TypeError, ValueError):
        wrong = complaint(source.signature, secret)
        title = source.provider.title
        why = wrong or f"only {title} has the key that signs; this is what verifies"
        raise Failure(
            f"cannot sign as {title} with this secret: {why}. "
            "Without --secret and WEBHOOK_SECRETS the local stack's own is taken"
        ) from None


def parted(source: Source, webhook: Webhook) -> tuple[Webhook, dict[str, Any]]:
    """A webhook as it is sent, and what the provider's own API answers about it, by path."""
    lookup = source.provider.lookup
    return lookup.parted(webhook) if lookup else (webhook, {})


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of the body, at a dotted path like `data.object.livemode` or `lines.0.id`."""

    path: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The differences of a webhook from its sample; None leaves a part as it is.

    `amount` is in major units. Without `same_ids` the webhook is another sale, with ids of its own.
    """

    user_id: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    settings: tuple[Setting, ...] = ()
    same_ids: bool = False

    def apply(self, sample: Sample, source: Source) -> Sample:
        """The changed sample. Raises Failure when it has no place for a change."""
        if not self.same_ids:
            sample = with_fresh_ids(sample, source)
        if self.user_id is not None:
            sample = with_user(sample, source, self.user_id)
        if self.amount is not None or self.currency is not None:
            sample = with_money(sample, source, self.amount, self.currency)
        for setting in self.settings:
            sample = with_value(sample, setting)
        return sample


def load(source: Source, event_type: str) -> Sample:
    """The sample of one type. Raises Failure naming the nearest type there is one of."""
    if (
        event_type not in source.provider.types
        or not _path(source.provider.name, event_type).is_file()
    ):
        hint = suggest(event_type, source.provider.types)
        raise Failure(f'there is no sample of {source.provider.title} "{event_type}"{hint}')
    return read(source.provider.name, event_type)


def read(provider: str, event_type: str) -> Sample:
    """The sample of one type that there is one of."""
    written = json.loads(_path(provider, event_type).read_text("utf-8"))
    return Sample(written["headers"], written["body"])


def with_fresh_ids(sample: Sample, source: Source) -> Sample:
    """Another sale of the same shape. Without new ids a second webhook would be a duplicate of the first."""
    (fresh,) = all_with_fresh_ids([sample], source)
    return fresh


def all_with_fresh_ids(samples: Sequence[Sample], source: Source) -> list[Sample]:
    """Another sale, told by as many webhooks, which still agree on its ids."""
    found = {id for sample in samples for id in _ids(sample, source)}
    # What begins with another id, as a renewal's may with its subscription's, changes with that.
    longer = {id for id in found for other in found if id != other and _begins(id, other)}
    # The longest first, so that an id inside another does not break it.
    fresh = {old: _fresh(old) for old in sorted(found - longer, key=len, reverse=True)}
    return [_renewed(sample, fresh) for sample in samples]


def _renewed(sample: Sample, fresh: Mapping[str, str]) -> Sample:
    def renew(leaf: Leaf) -> Leaf:
        text = str(leaf)
        for old, new in fresh.items():
            # A short id stands by itself; inside other text it would be anything.
            text = text.replace(old, new) if len(old) >= _SHORTEST_PART or text == old else text
        return type(leaf)(text) if isinstance(leaf, str | int) and text != str(leaf) else leaf

    headers = {key: str(renew(value)) for key, value in sample.headers.items()}
    return Sample(headers, _mapped(sample.body, renew))


def with_user(sample: Sample, source: Source, user_id: str) -> Sample:
    """The sample with another user id wherever its own stands. Raises Failure when it has none."""
    old = find_user(source.user_id, sample.body)
    if old is None:
        raise Failure(
            f"this sample has no user id to replace; put one where a path of [{source.name}] user_id "
            "finds it, with --set path=value"
        )
    return replace(
        sample,
        body=_mapped(sample.body, lambda leaf: user_id if _is(leaf, old) else leaf),
    )


def with_money(
    sample: Sample, source: Source, amount: Decimal | None, currency: str | None
) -> Sample:
    """The sample with another amount (major units) or currency. Raises Failure when it cannot be set."""
    old = _money(sample, source)
    wanted = Money(old.amount if amount is None else amount, currency or old.currency)
    # Only the mapper knows how many decimals the provider gives a currency, so it is asked.
    for scales in product(_SCALES, _SCALES):
        changed = _repriced(sample, old, wanted, *scales)
        with suppress(WebhookError):
            if _money(changed, source) == wanted:
                return changed
    raise Failure("the amount of this sample cannot be set; use --set path=value")


def with_value(sample: Sample, setting: Setting) -> Sample:
    """The sample with one value set. Raises Failure when it has no such place."""
    body = json.loads(json.dumps(sample.body))
    *parents, last = setting.path.split(".")
    place = body
    try:
        for parent in parents:
            place = place[int(parent)] if isinstance(place, list) else place[parent]
        place[int(last) if isinstance(place, list) else last] = setting.value
    except (KeyError, IndexError, TypeError, ValueError):
        raise Failure(f"--set {setting.path}: the sample has no such place") from None
    return replace(sample, body=body)


def version(sample: Sample) -> str:
    """The version of the provider's API that a webhook says it is of; empty where it says none."""
    body = sample.body if isinstance(sample.body, dict) else {}
    headers = (text for name, text in sample.headers.items() if name.endswith("api-version"))
    return str(next(headers, body.get("api_version") or ""))


def _path(provider: str, event_type: str) -> Path:
    return EVENTS / provider / f"{event_type}.json"


def _events(sample: Sample, source: Source) -> tuple[CommerceEvent, ...]:
    webhook = sample.webhook(source)
    identity = source.provider.identify(webhook)
    return source.provider.translate(webhook, identity, source.options)


def _ids(sample: Sample, source: Source) -> Iterable[str]:
    found = []
    for webhook in source.provider.unpack(sample.webhook(source)):
        identity = source.provider.identify(webhook)
        found += [identity.event_id, identity.resource_id or ""]
        # Of a type without a mapper only the webhook itself is known.
        with suppress(Untranslatable):
            for event in source.provider.translate(webhook, identity, source.options):
                ids = (*event.transactions, *event.follows, event.order_id, event.subscription_id)
                found += [part for id in ids if id for part in _parts(id)]
            told = source.provider.read(webhook, identity, source.options)
            found += told.payment.ids if told.payment else ()
            found += told.people
        found += _asked_for(webhook, source)
        # Another sale is another customer's.
        found.append(find_user(source.provider.customer_ids, webhook.payload) or "")
    # A GraphQL id ends in the number; what is before it is no id.
    found = [part.rpartition("/")[2] for part in found]
    return {id for id in found if id}


def _begins(id: str, other: str) -> bool:
    return len(other) >= _SHORTEST_PART and id.startswith(other)


def _asked_for(webhook: Webhook, source: Source) -> set[str]:
    """What the provider's own API is asked for by its id; the account that the options name stays."""
    texts: set[str] = set()

    def note(leaf: Leaf) -> Leaf:
        texts.add(str(leaf))
        return leaf

    _mapped(webhook.payload, note)
    paths = parted(source, webhook)[1]
    asked = {unquote(part) for path in paths for part in re.split("[/?&=]", path)}
    known = {str(value) for value in source.options.model_dump().values()}
    return {
        each
        for each in asked & texts - known
        if len(each) >= _SHORTEST_PART and re.search(r"\d", each)
    }


def _parts(id: str) -> list[str]:
    """The ids inside a transaction like `ch_1:2599`, which says when as well."""
    parts = id.split(":")
    if len(parts) == 1:
        return parts
    return [part for part in parts if len(part) >= _SHORTEST_PART and not _DAY.match(part)]


def _fresh(old: str) -> str:
    """Of the same look: digits stay digits, and a prefix like `evt_` stays."""
    if old.isdigit():
        # Of a short number there are too few: the next send could be told as a duplicate.
        more = max(len(old), _FEWEST_DIGITS) - 1
        return old[0] + "".join(secrets.choice("0123456789") for _ in range(more))
    if old.count("-") == 4:
        return "-".join(secrets.token_hex(len(part))[: len(part)] for part in old.split("-"))
    tail = secrets.token_hex(6)
    return old[: -len(tail)] + tail if len(old) > len(tail) + 4 else old[:4] + tail


def _money(sample: Sample, source: Source) -> Money:
    money = next((event.money for event in _events(sample, source) if event.money), None)
    if money is None:
        raise Failure("this sample reports no amount")
    return money


def _repriced(sample: Sample, old: Money, new: Money, old_scale: int, new_scale: int) -> Sample:
    """Every leaf that spells the old amount, in major units or scaled to an integer, spells the new one."""
    scaled = new.amount.scaleb(new_scale)

    def change(leaf: Leaf) -> Leaf:
        if isinstance(leaf, str) and leaf.upper() == old.currency:
            return new.currency.lower() if leaf.islower() else new.currency
        number = _number(leaf)
        if number is None:
            return leaf
        # Some write what goes back as a negative amount.
        sign = -1 if number < 0 else 1
        if abs(number) == old.amount and not isinstance(leaf, int):
            return _like(leaf, sign * new.amount)
        if abs(number) == old.amount.scaleb(old_scale) and not isinstance(leaf, float):
            return _like(leaf, sign * scaled)
        return leaf

    def respell(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Google writes whole units and billionths apart."""
        if "currencyCode" not in value or not {"units", "nanos"} & set(value):
            return None
        spelt = Decimal(value.get("units") or 0) + Decimal(value.get("nanos") or 0).scaleb(-9)
        if abs(spelt) != old.amount:
            return None
        whole = int(new.amount)
        nanos = int((new.amount - whole).scaleb(9))
        return {"currencyCode": new.currency, "units": str(whole), "nanos": nanos}

    return replace(sample, body=_mapped(sample.body, change, respell))


def _number(leaf: Leaf) -> Decimal | None:
    """The number a leaf is, or spells."""
    if isinstance(leaf, bool) or leaf is None or not _NUMBER.fullmatch(str(leaf)):
        return None
    return Decimal(str(leaf))


def _like(leaf: Leaf, number: Decimal) -> Leaf:
    """The number in the type of the leaf; a text without an exponent."""
    if isinstance(leaf, str):
        return f"{number:f}"
    return int(number) if number == number.to_integral_value() else float(number)


def _is(leaf: Leaf, text: str) -> bool:
    return isinstance(leaf, str | int) and not isinstance(leaf, bool) and str(leaf) == text


def _mapped(
    value: Any,
    change: Callable[[Leaf], Leaf],
    whole: Callable[[Mapping[str, Any]], Any] = lambda _: None,
) -> Any:
    """A copy with other leaves. `whole` gives the objects that change as one, and None for the rest."""
    if isinstance(value, dict):
        if (changed := whole(value)) is not None:
            return changed
        return {key: _mapped(each, change, whole) for key, each in value.items()}
    if isinstance(value, list):
        return [_mapped(each, change, whole) for each in value]
    return change(value)
