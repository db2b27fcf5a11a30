"""Endpoints as they are at a provider against what webhooks.toml wants: what is wrong, and what to change.

Pure: nothing is asked and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from linkrunner_webhooks.config import Source
from linkrunner_webhooks_cli.clients.api import Request
from linkrunner_webhooks_cli.clients.client import Connects, Endpoint, Origin, Wanted
from linkrunner_webhooks_cli.findings import Finding
from linkrunner_webhooks_cli.output import counted
from linkrunner_webhooks_cli.secret_table import has_another, signers

EVERY: Final = "*"
_HTTPS: Final = 443


class Step(NamedTuple):
    """One change at the provider. `why` is for people. A renewal has no request that could be shown."""

    what: Literal["create", "change", "renew", "remove"]
    why: str
    wanted: Wanted
    request: Request | None = None
    endpoint: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the secrets of a source: those that are live, and which endpoint has which.

    `told` are those that the vendor tells of its endpoints, by their ids, where it does.
    """

    source: str
    live: tuple[str, ...]
    table: Mapping[str, Any]
    told: Mapping[str, str]

    def has(self, endpoint: Endpoint) -> bool | None:
        """Whether what this endpoint signs is verified; None where nobody noted which secret it has."""
        if endpoint.id in self.told:
            return self.told[endpoint.id] in self.live
        if self.was_given(endpoint):
            return True
        if has_another(self.table, self.source, self.live, endpoint.id):
            return False
        return None if None in self._given else False

    def was_given(self, endpoint: Endpoint) -> bool:
        """Whether somebody here gave this endpoint one of the secrets."""
        return any(endpoint.id in (ids or ()) for ids in self._given)

    def has_newest(self, endpoint: Endpoint) -> bool:
        """Whether this endpoint was given the first of the secrets."""
        newest = next(iter(self._given), None)
        return endpoint.id in (newest or ())

    @property
    def _given(self) -> list[tuple[str, ...] | None]:
        """Which endpoints were given each of the secrets, where that is noted."""
        return [signers(self.table, self.source, each) for each in self.live]


def types_of(source: Source) -> tuple[str, ...]:
    """The types that webhooks.toml forwards, and those that only teach."""
    return tuple(each for each in source.provider.types if source.wants(each))


def ours(found: Sequence[Endpoint], wanted: Wanted, known: Known) -> list[Endpoint]:
    """The usable endpoints at our URL, that which is to stay first."""
    there = [each for each in found if each.usable and is_same(each.url, wanted.url)]

    def rank(endpoint: Endpoint) -> tuple[bool, int, bool, bool]:
        secret = {True: 0, None: 1, False: 2}[known.has(endpoint)]
        newest = known.has_newest(endpoint)
        return (not endpoint.enabled, secret, not newest, endpoint.url != wanted.url)

    return sorted(there, key=rank)


def steps(
    client: Connects, found: Sequence[Endpoint], wanted: Wanted, known: Known, *, renew: bool
) -> list[Step]:
    """The changes that make of what is `found` what is `wanted`, the removals last.

    `renew` asks for a new secret. Other endpoints that send to the same URL are left as they are, but those
    that a former run made.
    """
    there = ours(found, wanted, known)
    if not client.one_each:
        former = [each for each in there[1:] if known.was_given(each)]
        return [
            *_of_one(client, there[:1], wanted, known, renew=renew),
            *(_removal(client, each, wanted, "another has taken its place") for each in former),
        ]
    todo: list[Step] = []
    for event_type in wanted.types:
        alike = [each for each in there if event_type in each.types][:1]
        todo += _of_one(client, alike, wanted._replace(types=(event_type,)), known, renew=renew)
    for each in there:
        if each.types.isdisjoint(wanted.types):
            todo.append(_removal(client, each, wanted, "not forwarded"))
    return todo


def _removal(client: Connects, endpoint: Endpoint, wanted: Wanted, why: str) -> Step:
    return Step("remove", why, wanted, client.removal(endpoint), endpoint)


def _of_one(
    client: Connects, there: Sequence[Endpoint], wanted: Wanted, known: Known, *, renew: bool
) -> list[Step]:
    if not there:
        return [Step("create", "none sends there", wanted, client.creation(wanted))]
    (endpoint,) = there
    todo = []
    if renew and client.origin is Origin.ONCE:
        if not client.renews:
            return _replacing(client, endpoint, wanted)
        todo.append(Step("renew", "a new secret was asked for", wanted, endpoint=endpoint))
    reasons = [*_differences(endpoint, wanted)]
    if client.origin is Origin.OURS and (renew or not known.has_newest(endpoint)):
        reasons.append("a new secret" if renew else "to be sure of its secret")
    if reasons:
        request = client.change(endpoint, wanted)
        todo.append(Step("change", "; ".join(reasons), wanted, request, endpoint))
    return todo


def _replacing(client: Connects, endpoint: Endpoint, wanted: Wanted) -> list[Step]:
    gone = "the new one takes its place; what it still had to send again is gone with it"
    return [
        Step("create", "a new secret was asked for", wanted, client.creation(wanted)),
        _removal(client, endpoint, wanted, gone),
    ]


def _differences(endpoint: Endpoint, wanted: Wanted) -> Iterator[str]:
    if endpoint.url != wanted.url:
        yield f"its URL is {endpoint.url}"
    if not endpoint.enabled:
        yield "it is switched off"
    if missing := _missing(endpoint, wanted):
        yield f"more types: {', '.join(missing)}"
    if more := sorted(endpoint.types - set(wanted.types)):
        yield f"fewer types: {', '.join(more)}"
    yield from endpoint.faults


def _missing(endpoint: Endpoint, wanted: Wanted) -> list[str]:
    if EVERY in endpoint.types:
        return []
    return [each for each in wanted.types if each not in endpoint.types]


def is_same(one: str, other: str) -> bool:
    """Whether two URLs probably mean one place."""
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str, int, str] | str:
    try:
        parts = urlsplit(url)
        port = parts.port or _HTTPS
    except ValueError:
        return url
    return parts.scheme.lower(), parts.hostname or "", port, parts.path.rstrip("/")


# ------------------------------------------------------------------------- what is wrong


def name_of(source: Source) -> str:
    """What a finding about the endpoint of a source is called."""
    return f"{source.provider.title}'s endpoint of {source.name}"


def findings(
    client: Connects, found: Sequence[Endpoint], wanted: Wanted, known: Known, command: str
) -> list[Finding]:
    """What an operator has to know of the endpoints that send to a URL, or do not.

    `command` is the one that mends it.
    """
    what = name_of(client.source)
    there = ours(found, wanted, known)
    kept = _kept(client, there, wanted)
    told = [*_of_kept(client, kept, wanted, known, what, command)]
    told += _superfluous(there if client.one_each else kept, wanted, what, command)
    if not there:
        told.append(_none(found, wanted, what, command))
    more = [each.id for each in there if each not in kept and each.enabled]
    if more and not client.one_each:
        advice = f"remove {', '.join(more)} there: each event comes often"
        told.append(Finding(what, right=True, found=f"{len(more) + 1} send there", advice=advice))
    odd = [each for each in found if not each.usable and is_same(each.url, wanted.url)]
    # Beside one that works it does no harm.
    told += [_trouble(each, what, right=bool(there)) for each in odd if each.troubles]
    if objection := client.objection(wanted):
        told.append(Finding(what, right=False, found="cannot be verified", advice=objection))
    if told:
        return told
    types = counted(len(wanted.types), "type")
    secret = "" if known.has(kept[0]) else "; whether its secret is the one here is not noted"
    return [Finding(what, right=True, found=f"sends {types} to {wanted.url}{secret}")]


def _kept(client: Connects, there: Sequence[Endpoint], wanted: Wanted) -> list[Endpoint]:
    """The endpoints that are to stay."""
    if not client.one_each:
        return [*there[:1]]
    firsts = (
        next((each for each in there if event_type in each.types), None)
        for event_type in wanted.types
    )
    return [each for each in firsts if each]


def _none(found: Sequence[Endpoint], wanted: Wanted, what: str, command: str) -> Finding:
    near = [each.url for each in found if _is_near(each.url, wanted.url)]
    elsewhere = f", but one to {near[0]}" if near else ""
    return Finding(
        what,
        right=False,
        found=f"none sends to {wanted.url}{elsewhere}",
        advice=f"{command} makes it",
    )


def _is_near(url: str, wanted: str) -> bool:
    """Whether a URL looks like ours, with another host or another source."""
    theirs, place = _place(url), _place(wanted)
    return theirs[1] == place[1] or theirs[-1] == place[-1]


def _of_kept(
    client: Connects,
    kept: Sequence[Endpoint],
    wanted: Wanted,
    known: Known,
    what: str,
    command: str,
) -> Iterator[Finding]:
    if not kept:
        return
    mends = f"{command} mends it"
    for found in dict.fromkeys(_wrong(kept, wanted)):
        yield Finding(what, right=False, found=found, advice=mends)
    if any(known.has(each) is False for each in kept):
        by_hand = "put it there: `secrets set`, or make a new one: `connect --renew`"
        advice = by_hand if client.origin is Origin.ONCE else mends
        yield Finding(what, right=False, found="signs with a secret not known here", advice=advice)
    yield from _versions(client, kept, what)
    for each in kept:
        if each.troubles:
            yield _trouble(each, what, right=False)


def _superfluous(
    there: Sequence[Endpoint], wanted: Wanted, what: str, command: str
) -> Iterator[Finding]:
    sent = frozenset().union(*(each.types for each in there))
    if more := sorted(sent - set(wanted.types)):
        found = f"sends {', '.join(more)}, which nobody forwards"
        yield Finding(what, right=True, found=found, advice=f"no harm; {command} mends it")


def _wrong(kept: Sequence[Endpoint], wanted: Wanted) -> Iterator[str]:
    """What a change mends."""
    sent = frozenset().union(*(each.types for each in kept))
    if EVERY not in sent and (missing := [each for each in wanted.types if each not in sent]):
        yield f"does not send {', '.join(missing)}"
    for each in kept:
        if not each.enabled:
            yield "is switched off; what was not sent meanwhile is found by `reconcile`"
        if each.url != wanted.url:
            yield f"sends to {each.url}, which is not letter by letter {wanted.url}"
        yield from each.faults


def _versions(client: Connects, kept: Sequence[Endpoint], what: str) -> Iterator[Finding]:
    other = {each.version for each in kept if each.version and each.version != client.version}
    if client.version and other:
        found = f"sends bodies of API version {', '.join(sorted(other))}"
        advice = f"the mappers are tested with {client.version}; `send --body` tries one of yours"
        yield Finding(what, right=True, found=found, advice=advice)


def _trouble(endpoint: Endpoint, what: str, *, right: bool) -> Finding:
    return Finding(what, right=right, found="; ".join(endpoint.troubles), advice="look there")
