"""Why a signature is right or wrong: which secret made it, or what has to be different for one to match.

It asks the scheme itself, with other times, bodies and secrets: what `verify` would take is the explanation.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Source
from linkrunner_webhooks.errors import BadSignature, Reason, Unavailable
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import Scheme, complaint, verify
from linkrunner_webhooks_cli.output import ago

_STAMP: Final = re.compile(r"(?<!\d)\d{10}(?:\d{3})?(?!\d)", re.ASCII)
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
# Headers that many senders have.
_ANYBODYS: Final = frozenset({"authorization", "webhook-signature", "webhook-id"})
_MOST_TIMES: Final = 50
_MILLISECONDS: Final = 10**11
_SEPARATORS: Final = ((",", ":"), (", ", ": "), (",", ": "))


class Check(NamedTuple):
    """What was found: whether the webhook is verified, in words, and what to do where it is not."""

    verified: bool
    found: str
    advice: str = ""


def check(
    source: Source, webhook: Webhook, secrets: Mapping[str, Sequence[str]], now: float
) -> Check:
    """Of a request that came at `now` (unix seconds), with the live `secrets` of all sources.

    Raises nothing, and quotes neither secrets nor signatures.
    """
    scheme, live = source.signature, tuple(secrets.get(source.name, ()))
    if not live:
        return Check(
            False,
            f"[{source.name}] has no signing secret",
            f"store it: `linkrunner-webhooks secrets set {source.name}`",
        )
    try:
        return _checked(source, scheme, webhook, secrets, now)
    except Unavailable as error:
        return Check(False, f"not known: {error}", "the sender tries again by itself")


def _checked(
    source: Source,
    scheme: Scheme,
    webhook: Webhook,
    secrets: Mapping[str, Sequence[str]],
    now: float,
) -> Check:
    live = secrets[source.name]
    for number, secret in enumerate(live, 1):
        if _verifies(scheme, webhook, secret, now):
            which = f"secret {number} of {len(live)}" if len(live) > 1 else "the secret"
            age = _age(scheme, webhook, secret, now)
            told = "" if age is None else f", {_seconds(age)} before it came"
            return Check(True, f"{which} of [{source.name}] signed it{told}")
    try:
        verify(scheme, webhook, live, now)
    except BadSignature as error:
        if error.reason is Reason.UNSIGNED:
            return _unsigned(source, webhook, error)
    for secret in live:
        for cause in _CAUSES:
            if found := cause(scheme, webhook, secret, now):
                return found
    for name, others in secrets.items():
        if name != source.name and any(_verifies(scheme, webhook, each, now) for each in others):
            advice = f"send it to /webhooks/{name}, or store that secret for {source.name}, too"
            return Check(False, f"the secret of [{name}] signed it", advice)
    return Check(
        False,
        f"{_count(live)} of [{source.name}] did not sign these bytes",
        f"store what {source.provider.title} shows for this very endpoint: `linkrunner-webhooks secrets set "
        f"{source.name}`; if it is the same, something between changes the body",
    )


def _unsigned(source: Source, webhook: Webhook, error: BadSignature) -> Check:
    if other := _whose(webhook, source):
        title, name = other
        return Check(False, f"{error}; its headers are {title}'s", f"send it to /webhooks/{name}")
    advice = f"give {source.provider.title} the signing secret, or look who else sends here"
    return Check(False, str(error), advice)


def _whose(webhook: Webhook, source: Source) -> tuple[str, str] | None:
    """The provider whose signature it has, and its usual name in an address."""
    for name in providers.names():
        provider = providers.load(name)
        headers = {*getattr(provider.example_scheme, "headers", ())} - _ANYBODYS
        if provider is not source.provider and headers & {*webhook.headers}:
            return provider.title, name
    return None


def _count(live: Sequence[str]) -> str:
    return "the secret" if len(live) == 1 else f"all {len(live)} secrets"


def _verifies(scheme: Scheme, webhook: Webhook, secret: str, now: float) -> bool:
    try:
        verify(scheme, webhook, (secret,), now)
    except BadSignature:
        return False
    return True


# ------------------------------------------------------------------------- times


def _age(scheme: Scheme, webhook: Webhook, secret: str, now: float) -> float | None:
    """Seconds from the signature's own time to `now`; None where it has no time that shows."""
    if scheme.tolerance is None:
        return None
    edge = scheme.tolerance
    for moment in _times(webhook):
        # Only its own time ends exactly there.
        inside = _verifies(scheme, webhook, secret, moment + edge - 2)
        outside = _verifies(scheme, webhook, secret, moment + edge + 2)
        if inside and not outside:
            return now - moment
    return None


def _times(webhook: Webhook) -> Iterator[float]:
    """Everything in the headers that may be a time, then in the body."""
    body = webhook.body[:100_000].decode("utf-8", "replace")
    found = dict.fromkeys(
        each for text in (*webhook.headers.values(), body) for each in _times_in(text)
    )
    yield from list(found)[:_MOST_TIMES]


def _times_in(text: str) -> Iterator[float]:
    for stamp in _STAMP.findall(text):
        number = int(stamp)
        yield number / 1000 if number > _MILLISECONDS else number
    for written in _MOMENT.findall(text):
        with suppress(ValueError):
            yield datetime.fromisoformat(written).timestamp()


def _stale(scheme: Scheme, webhook: Webhook, secret: str, now: float) -> Check | None:
    if scheme.tolerance is None:
        return None
    age = _age(scheme, webhook, secret, now)
    if age is None:
        return None
    when = "before" if age > 0 else "after"
    return Check(
        False,
        f"the signature is right, and its time is {_seconds(abs(age))} {when} it came: "
        f"{_seconds(scheme.tolerance)} are allowed",
        "it was held up or replayed, or a clock is wrong: let the sender send it again",
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if abs(seconds) < 120 else ago(timedelta(seconds=seconds))


# ------------------------------------------------------------------------- bodies


def _rewritten(scheme: Scheme, webhook: Webhook, secret: str, now: float) -> Check | None:
    for how, body in _bodies(webhook.body):
        changed = replace(webhook, body=body)
        if body != webhook.body and _verifies(scheme, changed, secret, now):
            return Check(
                False,
                f"the secret signed the same content {how}: the body was written anew on the way",
                "forward the raw bytes, not what a framework has parsed",
            )
    return None


def _bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    yield "without the white space around it", body.strip()
    yield "with a line's end after it", body + b"\n"
    yield "with other ends of lines", body.replace(b"\r\n", b"\n")
    yield "with escaped slashes", body.replace(b"\\/", b"/").replace(b"/", b"\\/")
    yield "without escaped slashes", body.replace(b"\\/", b"/")
    with suppress(ValueError, RecursionError):
        yield from _written(json.loads(body))


def _written(value: Any) -> Iterator[tuple[str, bytes]]:
    for separators in _SEPARATORS:
        for ascii_only in (False, True):
            write = partial(json.dumps, value, separators=separators, ensure_ascii=ascii_only)
            text = write()
            yield "written with other spaces or escapes", text.encode("utf-8", "replace")
            yield (
                "written with other spaces and escaped slashes",
                text.replace("/", "\\/").encode("utf-8", "replace"),
            )
    for indent in (2, 4, "\t"):
        text = json.dumps(value, indent=indent, ensure_ascii=False)
        yield "written over several lines", text.encode("utf-8", "replace")


# ------------------------------------------------------------------------- secrets


def _misread(scheme: Scheme, webhook: Webhook, secret: str, now: float) -> Check | None:
    for how, other in _secrets(secret):
        if other != secret and _verifies(scheme, webhook, other, now):
            return Check(
                False,
                f"the secret signed it {how}",
                "store it as the provider shows it, and no other",
            )
    if wrong := complaint(scheme, secret):
        return Check(False, f"the stored secret signs nothing: {wrong}", "store the signing secret")
    return None


def _secrets(secret: str) -> Iterator[tuple[str, str]]:
    bare = secret.rpartition("_")[2]
    yield "without the white space around it", secret.strip()
    yield "without the quotes around it", secret.strip().strip("\"'")
    yield "without its prefix", bare
    yield "with the prefix whsec_", f"whsec_{secret}"
    yield "in lower case", secret.lower()
    yield "as base64", b64encode(secret.encode()).decode()
    with suppress(ValueError, UnicodeDecodeError):
        yield "decoded from base64", b64decode(secret, validate=True).decode()
    with suppress(ValueError, UnicodeDecodeError):
        yield "decoded from hexadecimal", bytes.fromhex(secret).decode()


_Cause = Callable[[Scheme, Webhook, str, float], Check | None]
_CAUSES: Final[tuple[_Cause, ...]] = (_stale, _rewritten, _misread)
