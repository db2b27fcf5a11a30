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
    Reason.LOOKUP_REFUSED: "the provider does not tell what it hints at: look at the key and its rights "
    "(`secrets provider-key`), redrive; if there is no such object, discard",
    Reason.CRASHED: "the function died on it: see its log, fix, deploy, redrive",
}

# For a message whose fact another report has counted meanwhile, whatever it was parked for.
COUNTED: Final = "counted already: redrive or discard"


# What becomes of a webhook that waits or was turned away, where nothing says what to do about it.
PATIENCE: Final[Mapping[str, str]] = {
    Reason.PAYER_UNKNOWN: "nothing yet: for about 45 minutes it waits for a webhook that says who paid; then "
    "it is parked as missing_user",
    Reason.LINK_UNKNOWN: "nothing: for two minutes it waits for the news that it is one with another payment",
    **dict.fromkeys(
        (Reason.RATE_LIMITED, Reason.NETWORK, Reason.SILENT, Reason.UNAVAILABLE),
        "nothing here: it is tried again, for 60 hours if need be, and then parked",
    ),
    **dict.fromkeys(
        (Reason.UNANSWERED, Reason.BAD_GATEWAY),
        "nothing: Linkrunner may have taken it, so the next try is 15 minutes away; after three it is parked",
    ),
    Reason.BUSY: "nothing: another report of the same is being delivered",
    **dict.fromkeys(
        (Reason.LEDGER, Reason.QUEUE, Reason.SECRET, Reason.OUT_OF_TIME, Reason.DEPLOYING),
        "nothing: it is tried again in a moment",
    ),
    Reason.MALFORMED: "its signature is right and its body names no event: compare it with the provider's "
    "documentation; nothing is kept of it",
    Reason.TOO_LARGE: "it does not fit into the queue: report its sale by hand",
}


def on_a_page(advice: str) -> str:
    """The same where the commands are pages."""
    shown = advice.replace("`dlq show <id>` says", "its page says").replace(
        "`dlq show`", "look at it"
    )
    return shown.replace("redrive --force", "redrive what would park again, too").replace(
        "discard --captured", "discard as captured"
    )


def advice_for(reason: str, now: Outcome) -> str:
    """The next step for a message that was parked for this reason and would end so now."""
    # What only the letter itself knows as captured is not counted: a redrive notes it.
    counted = now is Outcome.DUPLICATE and reason != Reason.UNRECORDED
    return COUNTED if counted else ADVICE.get(reason, "")
