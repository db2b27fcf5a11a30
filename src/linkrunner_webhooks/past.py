"""What the next life of a message has to know of those before it: one attribute that parking writes.

It stays when the message is redriven, by the command or by the console. SQS takes ten attributes in all, so
everything shares this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self
from urllib.parse import parse_qs, urlencode

ATTRIBUTE = "past"
_LONGEST_NUMBER = 9


@dataclass(frozen=True, slots=True)
class Past:
    """`captured` names the events that were captured and could not be noted, with the owners of their claims.

    `doubts` is how doubtful it was of each event that nothing was captured, when a person decided to send it
    again. `forced` says that an operator moved the message although it would park again.
    """

    captured: Mapping[str, str] = field(default_factory=dict)
    doubts: Mapping[str, int] = field(default_factory=dict)
    forced: bool = False

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Self:
        """Read it back. What nobody wrote here says nothing."""
        known = parse_qs(attributes.get(ATTRIBUTE, ""))
        doubts = _pairs(known, "doubts")
        return cls(
            captured=_pairs(known, "captured"),
            doubts={mark: int(each) for mark, each in doubts.items() if _is_number(each)},
            forced="forced" in known,
        )

    def among(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """The attributes with this past."""
        return {**attributes, ATTRIBUTE: self._text()}

    def _text(self) -> str:
        pairs = [("captured", f"{mark}:{owner}") for mark, owner in sorted(self.captured.items())]
        pairs += [("doubts", f"{mark}:{each}") for mark, each in sorted(self.doubts.items())]
        return urlencode(pairs + ([("forced", "1")] if self.forced else []))


def _pairs(known: Mapping[str, list[str]], name: str) -> dict[str, str]:
    told = (each.partition(":") for each in known.get(name, ()))
    return {mark: value for mark, _, value in told if mark}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER


def marked(keys: tuple[str, ...]) -> str:
    """A short name of an event, from the keys of its fact."""
    return sha256("\n".join(keys).encode()).hexdigest()[:16]
