"""What completes a webhook that only hints at what happened: requests to the provider's API, as values.

A hint is signed and stored like any webhook. When it is delivered, what it hints at is asked for, and the
answers join its body under `lookup`. They are kept nowhere: the next try asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, Protocol
from urllib.parse import quote

from pydantic import ValidationError
from pydantic_core import to_json

from linkrunner_webhooks.errors import Malformed, Untranslatable, WebhookError
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.reading import describe

# Where the answers stand in a completed body, in the order in which they were asked for.
MEMBER: Final = "lookup"
# A webhook that needs more answers than that never ends.
MOST: Final = 4

Answers = tuple[Any, ...]
# Says for a body and the answers so far what is asked for next.
Next = Callable[[Any, Answers], str | None]
# Makes a request of another kind, for an access token: URL, form; returns the JSON of the answer.
Exchange = Callable[[str, Mapping[str, str]], Any]


def path(template: str, *ids: str | None) -> str:
    """A path with ids in it: `path("/payments/{}", id)`.

    Raises Untranslatable for an id that is missing, or that is none.
    """
    # Dots alone are steps of a path.
    if not all(id and id.strip(".") for id in ids):
        raise Untranslatable("the event does not contain a usable id of what it is about")
    return template.format(*(quote(id or "", safe="") for id in ids))


def in_turn(paths: Callable[[Any], Iterator[str]]) -> Next:
    """The `next` of a generator over all paths, which reads the earlier answers in the body it is given."""
    return lambda payload, answers: next(islice(paths(payload), len(answers), None), None)


class Perhaps(str):
    """A path whose object may be gone, or may never have been: then its answer is null."""

    __slots__ = ()


class Access(Protocol):
    """How a provider knows who asks. Credentials are the text that an operator puts into ProviderKeys."""

    def headers(self, credentials: str, exchange: Exchange, now: float) -> Mapping[str, str]:
        """The headers of a request. Raises ValueError for no credentials, and what `exchange` raises."""

    def forget(self, credentials: str) -> None:
        """Drop what was exchanged for credentials: it was refused."""

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

    def forget(self, credentials: str) -> None:
        """Nothing is exchanged."""

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
    when nothing is missing. It may read them with models, whose complaints become Malformed. `base` is the
    URL before the path, of the provider's options: a sandbox is another host. `per_second` is below the
    vendor's limit. `needs` names the right that the credentials must have. `meant` says whether a body is
    about what the options name: about anything else nobody is asked, and nothing is reported.
    """

    next: Next = field(repr=False)
    base: Callable[[Any], str] = field(repr=False)
    access: Access
    per_second: float
    needs: str
    meant: Callable[[Any, Any], bool] = field(default=lambda *_: True, repr=False)

    def wanted(self, webhook: Webhook) -> str | None:
        """The path of the next request for a webhook; None where it is complete.

        Raises Malformed, or Untranslatable where a body or an answer has another shape.
        """
        payload, answers = webhook.payload, _answers_in(webhook.payload)
        if len(answers) >= MOST:
            return None
        try:
            return self.next(payload, answers)
        except WebhookError:
            raise
        except ValidationError as error:
            raise Untranslatable(describe(error)) from None
        except Exception as error:
            # A bug of a provider parks the webhook: it would fail the same way for ever.
            raise Untranslatable(f"the lookup failed with {type(error).__name__}") from error

    def joined(self, webhook: Webhook, answer: object) -> Webhook:
        """The webhook with one answer more."""
        answers = [*_answers_in(webhook.payload), answer]
        return replace(webhook, body=to_json({**webhook.payload, MEMBER: answers}))

    def completed(
        self,
        webhook: Webhook,
        ask: Callable[[str], Any],
        enough: Callable[[Webhook], bool] = lambda _: False,
    ) -> Webhook:
        """The webhook with all that it lacks: `ask` answers each path, until what is known is `enough`.

        Raises what it does, and `wanted`.
        """
        # Nobody but us says what the vendor answered.
        whole = _hint(webhook)
        while not enough(whole) and (path := self.wanted(whole)) is not None:
            whole = self.joined(whole, ask(path))
        return whole

    def parted(self, webhook: Webhook) -> tuple[Webhook, dict[str, Any]]:
        """The hint as its provider sends it, and what was answered, by path; for samples."""
        hint, answers = _hint(webhook), {}
        whole = hint
        with suppress(WebhookError):
            for answer in _answers_in(webhook.payload):
                wanted = self.wanted(whole)
                if wanted is None:
                    break
                answers[wanted] = answer
                whole = self.joined(whole, answer)
        return hint, answers


def _hint(webhook: Webhook) -> Webhook:
    """The webhook without answers, whoever gave them. What is no JSON object stays as it is."""
    try:
        payload = webhook.payload
    except Malformed:
        return webhook
    if not isinstance(payload, dict) or MEMBER not in payload:
        return webhook
    rest = {name: value for name, value in payload.items() if name != MEMBER}
    return replace(webhook, body=to_json(rest))


def _answers_in(payload: Any) -> Answers:
    """What was answered so far; nothing in a body that cannot have answers."""
    answers = payload.get(MEMBER) if isinstance(payload, dict) else None
    return tuple(answers) if isinstance(answers, list) else ()
