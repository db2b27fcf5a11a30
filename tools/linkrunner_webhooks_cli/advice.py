"""The next step of a person, for each reason why a message is parked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.model import Outcome

ADVICE: Final[Mapping[str, str]] = {
    Reason.MISSING_USER: "`dlq show <id>` says what each path found: hand the id over at the checkout "
    '(docs/providers), or add its path to user_id, or missing_user = "drop"; deploy, redrive',
    Reason.NO_RATE: 'give the rate in [linkrunner.rates], or set no_rate = "without_amount"; deploy, redrive',
    Reason.UNTRANSLATABLE: "no mapper understands it: `dlq show`, fix or report it, deploy, redrive",
    Reason.UNROUTABLE: "put the source's table back into webhooks.toml, deploy, redrive",
    Reason.UNREADABLE: "not put there by this system: `dlq show`, discard",
    Reason.REFUSED: "Linkrunner refuses the event itself: fix the mapping (or set `event_id = false` in "
    "[linkrunner], if that is what it refuses), deploy, redrive; if Linkrunner has changed, redrive --force",
    Reason.EXHAUSTED: "Linkrunner was out of reach for days: check it and the key, redrive",
    Reason.UNRECORDED: "captured in part while the ledger was away: redrive, which captures the rest",
    Reason.UNCERTAIN: "Linkrunner was asked and did not answer: look for the order in its event log; "
    "discard --captured what it has, redrive what it has not",
    Reason.CONTRADICTED: "another body came under the same signature: `dlq show`, compare it with the "
    "provider's record; discard, or redrive --force",
    Reason.TOO_OLD: "it may have been captured before facts were forgotten (LedgerDays): look for it at "
    "Linkrunner, then discard or redrive --force",
    Reason.CRASHED: "the function died on it: see its log, fix, deploy, redrive",
}

# For a message whose fact another report has counted meanwhile, whatever it was parked for.
COUNTED: Final = "counted already: redrive or discard"


def advice_for(reason: str, now: Outcome) -> str:
    """The next step for a message that was parked for this reason and would end so now."""
    # What only the letter itself knows as captured is not counted: a redrive notes it.
    counted = now is Outcome.DUPLICATE and reason != Reason.UNRECORDED
    return COUNTED if counted else ADVICE.get(reason, "")
