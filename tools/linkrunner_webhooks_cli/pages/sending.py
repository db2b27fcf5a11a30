"""What the console sends: signed samples, as `send` does, to the stack that it belongs to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple, Self

from linkrunner_webhooks.config import Config
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.samples import Changes
from linkrunner_webhooks_cli.sources import source_named
from linkrunner_webhooks_cli.targets import Target, post
from linkrunner_webhooks_local import embedded_linkrunner
from linkrunner_webhooks_local.embedded_linkrunner import Answer as Scripted


class Mood(NamedTuple):
    """What the embedded Linkrunner does until further notice."""

    title: str
    answers: Sequence[Scripted]


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


@dataclass(frozen=True, slots=True)
class Form:
    """What somebody filled in; an empty field leaves the sample as it is."""

    source: str = ""
    type: str = ""
    user_id: str = ""
    amount: str = ""
    currency: str = ""
    again: str = ""
    unsigned: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Whatever was sent."""
        return cls(**{name: given.get(name, "").strip() for name in cls.__dataclass_fields__})

    def send(self, config: Config, secrets: Mapping[str, Sequence[str]], url: str) -> None:
        """Twice where it is to come again. Raises Failure that names the field."""
        source = source_named(config, self.source)
        live = secrets.get(source.name, ())
        if not live:
            raise Failure(
                f"[{source.name}] has no signing secret: `linkrunner-webhooks secrets set {source.name}`"
            )
        secret = source.signature.example_secret("of somebody else") if self.unsigned else live[0]
        changes = Changes(
            user_id=self.user_id or None,
            amount=self._amount(),
            currency=self.currency.upper() or None,
        )
        sample = changes.apply(samples.load(source, self.type), source)
        target = Target(source.name, f"{url}/webhooks/{source.name}", secret, "the stack's secret")
        webhook = samples.sign(source, sample.webhook(source), secret, time.time())
        for _ in range(2 if self.again else 1):
            post(target, webhook)

    def _amount(self) -> Decimal | None:
        try:
            amount = Decimal(self.amount) if self.amount else None
        except InvalidOperation:
            raise Failure(f"the amount is a number like 25.99, not {self.amount[:40]}") from None
        if amount is not None and not (amount.is_finite() and amount >= 0):
            raise Failure("the amount is a number like 25.99")
        return amount
