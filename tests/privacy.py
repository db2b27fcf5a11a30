"""Where people, secrets and bearer links stand in a provider's bodies, and what may leave of the rest.

tests/providers/<provider>/privacy.json holds
    {"personal": ["email", "receipt_url"], "passed_on": ["payment_method"]}
where `personal` are keys: nothing under one of them may leave. They are those of the provider's samples, and
those it documents besides. `passed_on` are the last keys of texts that may leave, besides ids, codes,
currencies and types. To extend `passed_on`, decide that what stands under the key is no person.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.samples import Place

ROOT: Final = Path(__file__).parent / "providers"
_PASSED_ON_BY_ALL: Final = re.compile(r"(.*_)?(id|ids|code|codes|currency|type|types)")


@dataclass(frozen=True)
class Privacy:
    """What one provider's file declares."""

    personal: frozenset[str]
    passed_on: frozenset[str]

    def is_personal(self, place: Place) -> bool:
        """Whether a person, a secret or a bearer link may stand there."""
        return bool(self.personal.intersection(map(str, place)))

    def may_leave(self, place: Place) -> bool:
        """Whether the text there may be sent to Linkrunner or written to a log."""
        key = next(part for part in reversed(place) if isinstance(part, str))
        passed_on = key in self.passed_on or _PASSED_ON_BY_ALL.fullmatch(key) is not None
        return passed_on and not self.is_personal(place)


def path(provider: str) -> Path:
    """The provider's file."""
    return ROOT / provider / "privacy.json"


@cache
def of(provider: str) -> Privacy:
    """What the provider's file declares. Raises FileNotFoundError naming it."""
    written = json.loads(path(provider).read_text("utf-8"))
    return Privacy(frozenset(written["personal"]), frozenset(written["passed_on"]))
