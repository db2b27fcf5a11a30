"""`reconcile`: what a provider has that never arrived here, and with --fill the same into the queue."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

import click

from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.errors import BadSignature, Reason
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.receive import attributes
from linkrunner_webhooks.signatures.scheme import verify
from linkrunner_webhooks_cli.advice import ADVICE
from linkrunner_webhooks_cli.clients import client_of, names
from linkrunner_webhooks_cli.clients.client import Client, Happened, Lists, Window
from linkrunner_webhooks_cli.clients.credentials import opened, require_live
from linkrunner_webhooks_cli.completions import source_names
from linkrunner_webhooks_cli.deployed import require_deployed
from linkrunner_webhooks_cli.endpoints import types_of
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.gaps import Gaps
from linkrunner_webhooks_cli.missing import EARLIER, Comparison, Found, Letters, Standing
from linkrunner_webhooks_cli.output import (
    confirm,
    counted,
    progress,
    say,
    write_json,
)
from linkrunner_webhooks_cli.periods import since_option, until_option
from linkrunner_webhooks_cli.sources import (
    config_of,
    config_option,
    json_option,
    source_named,
)
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option

# Of a list, what is held at once: a request to the ledger reads a hundred records.
_AT_ONCE: Final = 500
# Lists are read by the day: each is short, and does not grow while it is read.
_SLICE: Final = timedelta(days=1)
_MARGIN: Final = timedelta(minutes=5)


@click.command()
@click.argument("source", shell_complete=source_names)
@since_option("7d", "What happened since then.")
@until_option("And before then.")
@click.option("--fill", is_flag=True, help="Put what is missing into the queue, after asking.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1),
    default=20.0,
    show_default=True,
    help="Webhooks a second that --fill puts there.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--strict", is_flag=True, help="Fail where something stays missing: for a schedule.")
@config_option
@stack_option
@json_option
def reconcile(
    *,
    source: str,
    since: datetime,
    until: datetime | None,
    fill: bool,
    rate: float,
    yes: bool,
    strict: bool,
    config_path: Path | None,
    stack: str | None,
    as_json: bool,
) -> None:
    """Ask a provider what happened, and find what never arrived here.

    Changes nothing without --fill. With it, what is missing is delivered like a webhook: under the same keys,
    so that nothing counts twice, whatever arrives in the meantime. It is also the first import. Linkrunner
    counts everything on the day it is sent.

    Credentials come from the environment (STRIPE_API_KEY and the like; docs/provider-apis.md lists them) or a
    prompt. They are used for reading and kept nowhere. Interrupt it whenever you like, and run it again.

    \b
    Examples:
      linkrunner-webhooks reconcile stripe
      linkrunner-webhooks reconcile shopify --since 30d --until 2d --json --stack linkrunner-webhooks
      linkrunner-webhooks reconcile stripe --since 2026-11-20 --fill --stack linkrunner-webhooks
    """
    if as_json and fill and not yes:
        raise click.UsageError("--json asks nothing: give --yes, too")
    config = config_of(stack, config_path)
    meant = source_named(config, source)
    kind = _kind(meant)
    found = find(stack)
    require_deployed(meant, config, found)
    window = _window(meant, kind, found, Window(since, until or datetime.now(UTC)))
    client = opened(kind, meant, config)
    assert isinstance(client, Lists)
    require_live(client)
    gaps = Gaps(meant, window)
    for each in _compared(client, found, config, window):
        gaps.add(each)
    if not as_json:
        gaps.write()
    filled = 0
    if fill and gaps.missing:
        _ask(gaps, found, yes=yes)
        filled = _fill(gaps, found, config, rate)
    if as_json:
        write_json(gaps.told() | {"filled": filled, "dry_run": not fill})
    for line in _remarks(gaps, client, found, filled=filled, fill=fill):
        say(line)
    if strict and (gaps.left or len(gaps.missing) > filled):
        raise Failure("something is missing")


def _kind(source: Source) -> type[Lists]:
    kind = client_of(source.provider.name)
    if kind is None or not issubclass(kind, Lists):
        able = ", ".join(name for name in names() if issubclass(client_of(name) or Client, Lists))
        raise Failure(
            f"{source.provider.title} has no list of what happened that could be compared; those that have "
            f"one are: {able}"
        )
    return kind


def _window(source: Source, kind: type[Lists], stack: Stack, asked: Window) -> Window:
    """What can be asked for: as far back as the provider lists, and the ledger remembers."""
    now, title = datetime.now(UTC), source.provider.title
    until = min(asked.until, now)
    if asked.since >= until:
        raise click.UsageError("--since has to be before --until, and not in the future")
    remembers = _remembers(stack)
    # While it is read its beginning moves on.
    edge = max(remembers, now - kind.kept + _MARGIN) if kind.kept else remembers
    if asked.since < edge - 2 * _MARGIN:
        days, of = (round((now - each) / _SLICE) for each in (edge, asked.since))
        whose = f"{title} lists {days} days"
        if edge == remembers:
            whose = f"this stack remembers {days} days (LedgerDays)"
        say(f"{whose}, and you asked for {of}: it begins {edge:%Y-%m-%d %H:%M} UTC.")
    if until <= edge:
        raise Failure(
            f"nothing of that time can be told apart any more; the earliest is {edge:%Y-%m-%d}"
        )
    # Most vendors know whole seconds.
    return Window(*(each.replace(microsecond=0) for each in (max(asked.since, edge), until)))


def _remembers(stack: Stack) -> datetime:
    """What was captured before that may be forgotten, and would count once more."""
    return datetime.now(UTC) - timedelta(seconds=stack.ledger().facts.kept)


# ------------------------------------------------------------------------- reading


def _compared(client: Lists, stack: Stack, config: Config, window: Window) -> Iterator[Found]:
    """What became of everything that the provider lists of a window."""
    source = client.source
    secrets = stack.signing_secrets().of(source.name) if client.signed else ()

    def parked() -> Letters:
        if not stack.parked():
            return Letters({}, {})
        with stack.dead_letters().reading() as reading:
            return Letters.of(reading, source, config)

    now = time.time()
    comparison = Comparison(
        source, stack.snapshot(), parked, window, remembers=_remembers(stack), now=now
    )
    for slice in _slices(client, window):
        happened = _in_order(client, slice)
        while some := list(islice(happened, _AT_ONCE)):
            if client.signed:
                _require_signed(some, source, secrets, now)
            yield from comparison.of(some)
    yield from comparison.rest()


def _slices(client: Lists, window: Window) -> Iterable[Window]:
    if client.by_change:
        return progress("Reading", [window], None)
    starts = [window.since]
    while (following := starts[-1] + _SLICE) < window.until:
        starts.append(following)
    ends = [*starts[1:], window.until]
    slices = [Window(since, until) for since, until in zip(starts, ends, strict=True)]
    return progress("Reading days", slices, len(slices))


def _in_order(client: Lists, slice: Window) -> Iterator[Happened]:
    """The oldest first, where a list has an end: who paid comes before what goes back."""
    happened = client.happened(slice, types_of(client.source))
    return happened if client.by_change else iter(sorted(happened, key=lambda each: each.at))


def _require_signed(
    happened: Iterable[Happened], source: Source, secrets: Sequence[str], now: float
) -> None:
    """What the provider signs is verified as at the edge. Raises Failure."""
    title = source.provider.title
    if not secrets:
        raise Failure(
            f"{source.name} has no secret: `linkrunner-webhooks secrets set {source.name}`"
        )
    for webhook in (each for one in happened for each in one.webhooks):
        try:
            verify(source.signature, webhook, secrets, now)
        except BadSignature:
            raise Failure(
                f"{title} listed something that it has not signed for us: is the secret of {source.name} "
                "right (`linkrunner-webhooks secrets list`)?"
            ) from None


# ------------------------------------------------------------------------- filling in


def _ask(gaps: Gaps, stack: Stack, *, yes: bool) -> None:
    for line in _ages(gaps):
        say(line)
    if not yes:
        count = counted(len(gaps.missing), "webhook")
        where = f"the queue of {stack.name}, whose events reach {stack.linkrunner_url}"
        confirm(f"Put {count} into {where}?")


def _fill(gaps: Gaps, stack: Stack, config: Config, rate: float) -> int:
    """Put what is missing into the queue, the oldest first. Returns how many."""
    queue, pace, done = stack.webhook_queue(), Pace(rate), 0
    in_order = gaps.in_order
    try:
        for each in progress("Filling in", in_order, len(in_order)):
            pace.wait()
            known = attributes(gaps.source.name, each.identity, config.code_version)
            queue.store(each.message, known)
            done += 1
    except BaseException:
        say(
            f"{done} of {len(in_order)} are in the queue. Run it again: what arrived is not sent again."
        )
        raise
    return done


def _remarks(gaps: Gaps, client: Lists, stack: Stack, *, filled: int, fill: bool) -> Iterator[str]:
    """What to know about the answer, and what next."""
    yield from _of_list(gaps, client)
    if filled:
        yield f"{counted(filled, 'webhook')} put into the queue: `linkrunner-webhooks tail`."
    elif fill:
        yield "There is nothing to put into the queue."
    elif gaps.missing:
        yield from _ages(gaps)
        yield "Nothing was sent; --fill puts what is missing into the queue."
        if waiting := stack.backlog():
            yield f"{counted(waiting, 'webhook')} in the queue: what those bring may look missing."
    if gaps.rest[Standing.PARKED]:
        yield "What is parked has arrived: `linkrunner-webhooks dlq list`."
    for reason, count in Counter(each.reason for each in gaps.left).items():
        advice = _LEFT.get(reason) or ADVICE.get(reason, "")
        yield f"{count} left ({reason}): {advice}"


def _of_list(gaps: Gaps, client: Lists) -> Iterator[str]:
    """What the provider's list cannot tell."""
    title = client.source.provider.title
    if not gaps.listed:
        yield f"{title} listed nothing of that time: that is no proof that nothing happened."
    if client.hint:
        yield client.hint
    if unseen := _unseen(client):
        yield f"{title} lists nothing of {', '.join(unseen)}: that was not looked up."


def _ages(gaps: Gaps) -> Iterator[str]:
    return gaps.ages.lines("A later --since leaves what is older.")


def _unseen(client: Lists) -> list[str]:
    """The types that are forwarded, and that the provider's list cannot tell of."""
    tells = client.tells
    return [] if tells is None else [each for each in types_of(client.source) if each not in tells]


_LEFT: Final[Mapping[str, str]] = {
    EARLIER: "they, or the sales that they follow, happened before --since; an earlier one brings both",
    Reason.MISSING_USER: "they name nobody, and what they follow is not known here; an earlier --since may "
    "find it, or a path in user_id",
    Reason.UNTRANSLATABLE: "no mapper understands them; report it",
    Reason.TOO_LARGE: "they do not fit into the queue",
    Reason.TOO_OLD: "they may have been captured before facts were forgotten (LedgerDays); look for them at "
    "Linkrunner",
}
