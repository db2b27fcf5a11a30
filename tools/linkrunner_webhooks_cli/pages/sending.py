"""What the console sends: signed samples, as `send` does, to the stack that it belongs to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple, Self

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.errors import WebhookError
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_cli import cases, samples, stories
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.samples import Changes, Sample
from linkrunner_webhooks_cli.sources import source_named
from linkrunner_webhooks_cli.targets import Target, send_signed
from linkrunner_webhooks_local import embedded_linkrunner
from linkrunner_webhooks_local.embedded_linkrunner import Answer as Scripted


class Mood(NamedTuple):
    """What the embedded Linkrunner does until further notice."""

    title: str
    answers: Sequence[Scripted]


# How the value of a Choice begins.
_TYPE, _CASE, _STORY = "type:", "case:", "story:"
_SLOW: Final = 3.0
MOODS: Final[Mapping[str, Mood]] = {
    "well": Mood("well", ()),
    "slow": Mood(f"slow: answers after {_SLOW:.0f} s", (embedded_linkrunner.slow(_SLOW),)),
    "busy": Mood("busy: 429, come back in 5 s", (embedded_linkrunner.busy(5),)),
    "failing": Mood("failing: 500", (embedded_linkrunner.failing(),)),
    "refusing": Mood("refusing the event: 400", (embedded_linkrunner.failing(400),)),
    "locked": Mood("knows another key: 401", (embedded_linkrunner.failing(401),)),
    "losing": Mood(
        "takes, and every other answer is lost",
        (Scripted(records=True), embedded_linkrunner.answer_lost()),
    ),
}


def script(mood: str) -> Iterator[Scripted]:
    """The answers of a mood, for ever. Raises Failure for none of ours."""
    if mood not in MOODS:
        raise Failure(f"Linkrunner can be {', '.join(MOODS)}")
    return itertools.cycle(MOODS[mood].answers)


class Choice(NamedTuple):
    """Something to send: `value` in a form, `label` to people."""

    value: str
    label: str


def choices(source: Source) -> dict[str, list[Choice]]:
    """What can be sent of a source, by kind: types, what else is known of them, whole purchases."""
    provider = source.provider
    types = [
        Choice(f"{_TYPE}{each}", each if source.wants(each) else f"{each} (switched off)")
        for each in provider.types
    ]
    told = enumerate(stories.read(provider.name), 1)
    return {
        "Types": types,
        **_cases(source),
        "Stories, all their webhooks": [
            Choice(f"{_STORY}{number}", each["story"]) for number, each in told
        ],
    }


def _cases(source: Source) -> dict[str, list[Choice]]:
    """The golden cases, those of other API versions first."""
    name = source.provider.name
    found: dict[str, list[Choice]] = {"Other API versions": [], "Other cases": []}
    for case in cases.names(name):
        sample = cases.load(name, case)
        type, version = _type(source, sample), samples.version(sample)
        if not type:
            continue
        value, title = f"{_CASE}{case}", case.replace("_", " ")
        if version and version != samples.version(samples.read(name, type)):
            found["Other API versions"].append(Choice(value, f"{type}, {version}: {title}"))
        else:
            found["Other cases"].append(Choice(value, f"{type}: {title}"))
    return {group: sorted(each, key=lambda choice: choice.label) for group, each in found.items()}


def _type(source: Source, sample: Sample) -> str:
    """The type that a case is of; empty where it is of none that there is a sample of."""
    provider = source.provider
    try:
        first, *_ = provider.unpack(sample.webhook(source))
        type = provider.identify(first).event_type
    except (WebhookError, ValueError):
        return ""
    return type if type in provider.types else ""


@dataclass(frozen=True, slots=True)
class Form:
    """What somebody filled in; an empty field leaves the sample as it is. `what` is the value of a Choice."""

    source: str = ""
    what: str = ""
    user_id: str = ""
    amount: str = ""
    currency: str = ""
    again: str = ""
    shuffled: str = ""
    unsigned: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Whatever was sent."""
        return cls(**{name: given.get(name, "").strip() for name in cls.__dataclass_fields__})

    def send(
        self, config: Config, secrets: Mapping[str, Sequence[str]], url: str, apis: str = ""
    ) -> None:
        """All of it, in the order that is wanted. Raises Failure that names the field."""
        source = source_named(config, self.source)
        live = secrets.get(source.name, ())
        if not live:
            raise Failure(
                f"[{source.name}] has no signing secret: `linkrunner-webhooks secrets set {source.name}`"
            )
        secret = source.signature.example_secret("of somebody else") if self.unsigned else live[0]
        target = Target(
            source.name, f"{url}/webhooks/{source.name}", secret, "the stack's secret", apis
        )
        unsigned = self._webhooks(source)
        twice, shuffled = bool(self.again), bool(self.shuffled)
        for each in stories.arranged(unsigned, shuffled=shuffled, twice=twice):
            send_signed(source, target, each)

    def _webhooks(self, source: Source) -> list[Webhook]:
        user, amount, currency = self.user_id or None, self._amount(), self.currency.upper() or None
        kind, _, name = self.what.partition(":")
        if f"{kind}:" == _STORY:
            if amount is not None or currency:
                raise Failure("a story has its own amounts: leave amount and currency empty")
            return stories.webhooks(source, name, user)
        if f"{kind}:" == _CASE:
            if name not in cases.names(source.provider.name):
                raise Failure(f"there is no case {name[:80]}")
            sample = cases.load(source.provider.name, name)
        else:
            sample = samples.load(source, name)
        changes = Changes(user_id=user, amount=amount, currency=currency)
        return [changes.apply(sample, source).webhook(source)]

    def _amount(self) -> Decimal | None:
        try:
            amount = Decimal(self.amount) if self.amount else None
        except InvalidOperation:
            raise Failure(f"the amount is a number like 25.99, not {self.amount[:40]}") from None
        if amount is not None and not (amount.is_finite() and amount >= 0):
            raise Failure("the amount is a number like 25.99")
        return amount
