"""What the next life of a message has to know of those before it: one attribute that parking writes.

It stays when the message is redriven, by the command or by the console. SQS takes ten attributes in all, so
everything shares this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ATTRIBUTE = "past"


class Capture(BaseModel):
    """A capture that could not be noted: all that a note of it needs, whatever webhooks.toml says by then."""

    model_config = ConfigDict(frozen=True)

    owner: str
    user_id: str
    keys: tuple[str, ...] = Field(min_length=1)
    marks: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    sent: Mapping[str, str] = Field(default_factory=dict)


class Past(BaseModel):
    """`captured` holds, by their marks, the events that were captured and could not be noted.

    `doubts` is how doubtful it was of each event that nothing was captured, when a person decided to send it
    again. `forced` says that an operator moved the message although it would park again.
    """

    model_config = ConfigDict(frozen=True)

    captured: Mapping[str, Capture] = Field(default_factory=dict)
    doubts: Mapping[str, int] = Field(default_factory=dict)
    forced: bool = False

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Self:
        """Read it back. What nobody wrote here says nothing."""
        try:
            return cls.model_validate_json(attributes.get(ATTRIBUTE, "{}"))
        except ValidationError:
            return cls()

    def among(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """The attributes with this past."""
        rest = {name: text for name, text in attributes.items() if name != ATTRIBUTE}
        told = self.model_dump_json(exclude_defaults=True)
        return rest if told == "{}" else {**rest, ATTRIBUTE: told}


def marked(keys: tuple[str, ...]) -> str:
    """A short name of an event, from the keys of its fact."""
    return sha256("\n".join(keys).encode()).hexdigest()[:16]
