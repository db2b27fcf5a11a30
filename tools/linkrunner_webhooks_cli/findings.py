"""What `doctor` and the start of `make run` find wrong: secrets, and what `check` doubts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from linkrunner_webhooks import signups
from linkrunner_webhooks.config import Linkrunner, Source
from linkrunner_webhooks.signatures.scheme import complaint
from linkrunner_webhooks_cli.catalogue import every_warning
from linkrunner_webhooks_cli.currencies import in_one_currency
from linkrunner_webhooks_cli.output import write_table
from linkrunner_webhooks_cli.provider_page import page_of

MORE = "`linkrunner-webhooks check` says more"


class Verdict(NamedTuple):
    """What was found; with advice it is not right."""

    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `advice` is what to do when it is not right."""

    what: str
    right: bool
    found: str
    advice: str = ""


def show(findings: Sequence[Finding]) -> None:
    """As a table for people."""
    write_table(
        ("", "what", "found", "what to do"),
        [("ok" if each.right else "!!", each.what, each.found, each.advice) for each in findings],
    )


class Place(NamedTuple):
    """Where a stack keeps its signing secrets, how a change reaches it, and how one goes."""

    put: str
    deploy: str
    drop: str


LOCAL = Place(
    "put the signing secret into WEBHOOK_SECRETS, under {}", "start again", "take it out of there"
)


def deployed(stack: str) -> Place:
    """The place of a deployed stack."""
    of = f"--stack {stack}"
    return Place(
        f"put the signing secret there: `linkrunner-webhooks secrets set {{}} {of}`",
        "deploy",
        f"`linkrunner-webhooks secrets drop {{}} --all {of}`",
    )


def signing(source: Source, live: Sequence[str], place: Place) -> Verdict:
    """Whether a source has secrets, all in the shape that its provider gives them."""
    if not live:
        return Verdict(
            "0 live",
            f"{place.put.format(source.name)}; until then its URL answers 404",
        )
    found = [
        f"number {number}: {wrong}"
        for number, secret in enumerate(live, start=1)
        if (wrong := complaint(source.signature, secret))
    ]
    page = page_of(source.provider.name)
    advice = (
        f"put it again, exactly as {source.provider.title} shows it ({page}); as it is it gives 401"
    )
    return Verdict("; ".join((f"{len(live)} live", *found)), advice if found else "")


def homeless(names: Iterable[str], tables: Sequence[str], place: Place) -> Iterator[Finding]:
    """Secrets of sources that have no table."""
    for name in sorted(set(names) - set(tables)):
        if name == signups.NAME:
            advice = f"set signups = true there and {place.deploy}, or {place.drop.format(name)}"
            found = "no signups in [linkrunner] of webhooks.toml"
            yield Finding(f"secret of {name}", right=False, found=found, advice=advice)
            continue
        near = get_close_matches(name, tables, n=1)
        meant = f"is it meant for {near[0]}? Else " if near else ""
        yield Finding(
            f"secret of {name}",
            right=False,
            found=f"no table [{name}] in webhooks.toml",
            advice=f"its URL answers 404: {meant}add the table and {place.deploy}, "
            f"or {place.drop.format(name)}",
        )


def shared(sources: Sequence[Source], live: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Sources that have one secret, so that a delivery to one passes at the other and counts again.

    `live` are the secrets by the name of the source. Sources of the same facts count none of them twice.
    """
    holders: dict[str, list[Source]] = {}
    for source in sources:
        for secret in dict.fromkeys(each.strip() for each in live.get(source.name, ())):
            holders.setdefault(secret, []).append(source)
    told = {
        " and ".join(each.name for each in group): None
        for group in holders.values()
        if len({(each.provider.name, each.scope) for each in group}) > 1
    }
    for names in told:
        yield Finding(
            f"secrets of {names}",
            right=False,
            found="they have one secret",
            advice="who sees a delivery to one can send it to the other, and it counts again: "
            "give each source a secret of its own",
        )


def doubts(sources: Sequence[Source]) -> str:
    """One line about what `check` warns of; empty when it does not."""
    settings = sources[0].linkrunner if sources else Linkrunner()
    count = len([*every_warning(sources), *in_one_currency(settings)])
    return f"{count} warning{'s' if count > 1 else ''}; {MORE}" if count else ""
