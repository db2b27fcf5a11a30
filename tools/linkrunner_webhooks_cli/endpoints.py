"""Endpoints as they are at a provider against what webhooks.toml wants: what is wrong, and what to change.

Pure: nothing is asked and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from linkrunner_webhooks.config import Source
from linkrunner_webhooks_cli.clients.api import Request
from linkrunner_webhooks_cli.clients.client import Connects, Endpoint, Origin, Wanted
from linkrunner_webhooks_cli.findings import Finding
from linkrunner_webhooks_cli.output import counted

EVERY: Final = "*"


class Step(NamedTuple):
    """One change at the provider. `types` are those that it is about, `why` is for people."""

    what: Literal["create", "change", "remove"]
    why: str
    request: Request
    wanted: Wanted
    endpoint: Endpoint | None = None


def types_of(source: Source) -> tuple[str, ...]:
    """The types that webhooks.toml forwards, and those that only teach."""
    return tuple(each for each in source.provider.types if source.wants(each))


def steps(
    client: Connects, found: Sequence[Endpoint], wanted: Wanted, *, renew: bool
) -> Iterator[Step]:
    """The changes that make of what is `found` what is `wanted`, the removals last.

    `renew` says that a new secret is needed, because nobody here knows the one in use.
    """
    ours = [each for each in found if each.usable and is_same(each.url, wanted.url)]
    if not client.one_each:
        yield from _of_all(client, ours[:1], wanted, renew=renew)
        return
    for event_type in wanted.types:
        alike = [each for each in ours if event_type in each.types][:1]
        yield from _of_all(client, alike, wanted._replace(types=(event_type,)), renew=renew)
    for each in ours:
        if each.types.isdisjoint(wanted.types):
            yield Step("remove", "not forwarded", client.removal(each), wanted, each)


def _of_all(
    client: Connects, known: Sequence[Endpoint], wanted: Wanted, *, renew: bool
) -> Iterator[Step]:
    """At most one endpoint is known, and one is wanted."""
    if not known:
        yield Step("create", "none sends there", client.creation(wanted), wanted)
        return
    (endpoint,) = known
    if renew and client.origin is Origin.ONCE:
        why = "its secret is not known here, and is told only once"
        yield Step("create", why, client.creation(wanted), wanted)
        yield Step(
            "remove", "the new one takes its place", client.removal(endpoint), wanted, endpoint
        )
    elif reasons := [
        *_differences(endpoint, wanted),
        *(["a new secret"] if _is_new(client, renew) else []),
    ]:
        request = client.change(endpoint, wanted)
        yield Step("change", "; ".join(reasons), request, wanted, endpoint)


def _is_new(client: Connects, renew: bool) -> bool:
    return renew and client.origin is Origin.OURS


def _differences(endpoint: Endpoint, wanted: Wanted) -> Iterator[str]:
    if not endpoint.enabled:
        yield "it is switched off"
    if missing := _missing(endpoint, wanted):
        yield f"more types: {', '.join(missing)}"
    if more := _superfluous(endpoint, wanted):
        yield f"fewer types: {', '.join(more)}"


def _missing(endpoint: Endpoint, wanted: Wanted) -> list[str]:
    if EVERY in endpoint.types:
        return []
    return [each for each in wanted.types if each not in endpoint.types]


def _superfluous(endpoint: Endpoint, wanted: Wanted) -> list[str]:
    return sorted(endpoint.types - set(wanted.types))


def is_same(one: str, other: str) -> bool:
    """Whether two URLs are one."""
    ours, theirs = urlsplit(one), urlsplit(other)
    return (ours.scheme, ours.netloc.lower(), ours.path.rstrip("/")) == (
        theirs.scheme,
        theirs.netloc.lower(),
        theirs.path.rstrip("/"),
    )


# ------------------------------------------------------------------------- what is wrong


def findings(client: Connects, found: Sequence[Endpoint], wanted: Wanted) -> list[Finding]:
    """What an operator has to know of the endpoints that send to a URL, or do not."""
    source = client.source
    what = name_of(source)
    there = [each for each in found if is_same(each.url, wanted.url)]
    usable = [each for each in there if each.usable]
    told = [*_of_each(client, usable, wanted, what)]
    told += [_trouble(each, what) for each in there if each.troubles]
    if not usable:
        told.insert(0, _none(source, found, wanted, what))
    if any(not each.right or each.advice for each in told):
        return told
    return [
        Finding(
            what, right=True, found=f"sends {counted(len(wanted.types), 'type')} to {wanted.url}"
        )
    ]


def name_of(source: Source) -> str:
    """What a finding about the endpoint of a source is called."""
    return f"{source.provider.title}'s endpoint of {source.name}"


def _connect(source: Source) -> str:
    return f"`linkrunner-webhooks connect {source.name}`"


def _none(source: Source, found: Sequence[Endpoint], wanted: Wanted, what: str) -> Finding:
    near = [each.url for each in found if _is_near(each.url, wanted.url)]
    elsewhere = f", but one to {near[0]}" if near else ""
    return Finding(
        what,
        right=False,
        found=f"none sends to {wanted.url}{elsewhere}",
        advice=f"{_connect(source)} makes it",
    )


def _is_near(url: str, wanted: str) -> bool:
    """Whether a URL looks like ours, with another host or another source."""
    ours, theirs = urlsplit(wanted), urlsplit(url)
    return ours.netloc.lower() == theirs.netloc.lower() or ours.path.rstrip(
        "/"
    ) == theirs.path.rstrip("/")


def _of_each(
    client: Connects, usable: Sequence[Endpoint], wanted: Wanted, what: str
) -> Iterator[Finding]:
    if not usable:
        return
    mend = f"{_connect(client.source)} mends it"
    off = [each for each in usable if not each.enabled]
    if off:
        lost = "what was not sent meanwhile is found by `reconcile`"
        yield Finding(what, right=False, found="is switched off", advice=f"{mend}; {lost}")
    live = [each for each in usable if each.enabled]
    sent = frozenset().union(*(each.types for each in live))
    if live and EVERY not in sent and (missing := [t for t in wanted.types if t not in sent]):
        yield Finding(what, right=False, found=f"does not send {', '.join(missing)}", advice=mend)
    if more := sorted(sent - set(wanted.types)):
        found = f"sends {', '.join(more)}, which nobody forwards"
        yield Finding(what, right=True, found=found, advice=f"no harm; {mend}")
    if len(usable) > 1 and not client.one_each:
        found = f"{len(usable)} endpoints send to {wanted.url}"
        yield Finding(
            what, right=True, found=found, advice="remove all but one there: each event comes often"
        )
    yield from _versions(client, usable, what)


def _versions(client: Connects, usable: Sequence[Endpoint], what: str) -> Iterator[Finding]:
    other = {each.version for each in usable if each.version and each.version != client.version}
    if client.version and other:
        found = f"sends bodies of API version {', '.join(sorted(other))}"
        advice = f"the mappers are tested with {client.version}; `send --body` tries one of yours"
        yield Finding(what, right=True, found=found, advice=advice)


def _trouble(endpoint: Endpoint, what: str) -> Finding:
    return Finding(what, right=False, found="; ".join(endpoint.troubles), advice="look there")
