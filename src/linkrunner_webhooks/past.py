"""What the next life of a message has to know of those before it: one attribute that parking writes.

It stays when the message is redriven, by the command or by the console. SQS takes ten attributes in all, so
everything shares this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Self
from urllib.parse import parse_qs, urlencode

ATTRIBUTE = "past"


@dataclass(frozen=True, slots=True)
class Past:
    """`captured` names the events that were captured and could not be noted.

    `doubts` is how many tries of an event went unanswered when a person decided to send it again. `forced`
    says that an operator moved the message although it would park again.
    """

    captured: frozenset[str] = frozenset()
    doubts: int = 0
    forced: bool = False

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Self:
        """Read it back. What nobody wrote here says nothing."""
        known = parse_qs(attributes.get(ATTRIBUTE, ""))
        doubts = known.get("doubts", ["0"])[-1]
        return cls(
            captured=frozenset(known.get("captured", ())),
            doubts=int(doubts) if doubts.isascii() and doubts.isdigit() else 0,
            forced="forced" in known,
        )

    def among(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """The attributes with this past."""
        return {**attributes, ATTRIBUTE: self._text()}

    def _text(self) -> str:
        pairs = [("captured", mark) for mark in sorted(self.captured)]
        pairs += [("doubts", str(self.doubts))] if self.doubts else []
        return urlencode(pairs + ([("forced", "1")] if self.forced else []))


def marked(keys: tuple[str, ...]) -> str:
    """A short name of an event, from the keys of its fact."""
    return sha256("\n".join(keys).encode()).hexdigest()[:16]
