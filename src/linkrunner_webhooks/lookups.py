"""What completes a webhook that only hints at what happened: requests to the provider's API, as values.

A hint is signed and stored like any webhook. When it is delivered, what it hints at is asked for, and the
answers join its body under `lookup`. They are kept nowhere: the next try asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from pydantic_core import to_json

from linkrunner_webhooks.errors import Malformed
from linkrunner_webhooks.model import Webhook

# Where the answers stand in a completed body, in the order in which they were asked for.
MEMBER: Final = "lookup"
# A webhook that needs more answers than that never ends.
MOST: Final = 4

Answers = tuple[Any, ...]
# Makes a request of another kind, for an access token: URL, form; returns the JSON of the answer.
Exchange = Callable[[str, Mapping[str, str]], Any]


class Access(Protocol):
    """How a provider knows who asks. Credentials are the text that an operator puts into ProviderKeys."""

    def headers(self, credentials: str, exchange: Exchange, now: float) -> Mapping[str, str]:
        """The headers of a request. Raises ValueError for no credentials, and what `exchange` raises."""

    def complaint(self, credentials: str) -> str | None:
        """Why a text cannot be such credentials, without quoting it; None when it may be them."""

    def example(self, seed: str) -> str:
        """Credentials of the right form, for tests and the local stack."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is sent as it is in a header, with `others` that every request has."""

    header: str = "authorization"
    prefix: str = "Bearer "
    others: Mapping[str, str] = field(default_factory=dict)

    def headers(self, credentials: str, exchange: Exchange, now: float) -> Mapping[str, str]:
        del exchange, now
        if self.complaint(credentials):
            raise ValueError("not a token")
        return {self.header: f"{self.prefix}{credentials.strip()}", **self.others}

    def complaint(self, credentials: str) -> str | None:
        text = credentials.strip()
        is_one_word = text.isascii() and text.isprintable() and not any(map(str.isspace, text))
        return None if text and is_one_word else "it is not one word of letters, digits and signs"

    def example(self, seed: str) -> str:
        return seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What a provider's hints lack.

    `next` returns, for a body and the answers so far, the path (with its query) of the next request, and None
    when nothing is missing. `base` is the URL before it, of the provider's options: a sandbox is another
    host. `per_second` is below the vendor's limit. `needs` names the right that the credentials must have.
    """

    next: Callable[[Any, Answers], str | None] = field(repr=False)
    base: Callable[[Any], str] = field(repr=False)
    access: Access
    per_second: float
    needs: str

    def wanted(self, webhook: Webhook) -> str | None:
        """The path of the next request for a webhook; None where it is complete. Raises Malformed."""
        payload = webhook.payload
        answers = payload.get(MEMBER, ()) if isinstance(payload, dict) else ()
        if len(answers) >= MOST:
            return None
        return self.next(payload, tuple(answers))

    def joined(self, webhook: Webhook, answer: object) -> Webhook:
        """The webhook with one answer more."""
        answers = [*webhook.payload.get(MEMBER, ()), answer]
        return replace(webhook, body=to_json({**webhook.payload, MEMBER: answers}))

    def completed(self, webhook: Webhook, ask: Callable[[str], Any]) -> Webhook:
        """The webhook with all that it lacks: `ask` answers each path. Raises Malformed and what it does."""
        # Nobody but us says what the vendor answered.
        whole, _ = self.parted(webhook)
        while (path := self.wanted(whole)) is not None:
            whole = self.joined(whole, ask(path))
        return whole

    def parted(self, webhook: Webhook) -> tuple[Webhook, dict[str, Any]]:
        """The hint as its provider sends it, and what was answered, by path."""
        try:
            payload = webhook.payload
        except Malformed:
            return webhook, {}
        if not isinstance(payload, dict) or MEMBER not in payload:
            return webhook, {}
        rest = {name: value for name, value in payload.items() if name != MEMBER}
        hint, answers = replace(webhook, body=to_json(rest)), {}
        whole = hint
        for answer in payload[MEMBER]:
            path = self.wanted(whole)
            if path is None:
                break
            answers[path] = answer
            whole = self.joined(whole, answer)
        return hint, answers
