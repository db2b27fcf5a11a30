"""`connect`: a source's endpoint at its provider, set up by the provider's own API."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import click

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.signatures.scheme import complaint
from linkrunner_webhooks_cli.clients import client_of
from linkrunner_webhooks_cli.clients.api import ApiError, Away
from linkrunner_webhooks_cli.clients.client import Connects, Endpoint, Lists, Origin, Wanted
from linkrunner_webhooks_cli.clients.credentials import opened, require_live
from linkrunner_webhooks_cli.completions import source_names
from linkrunner_webhooks_cli.deployed import require_deployed
from linkrunner_webhooks_cli.endpoints import Known, Step, ours, steps
from linkrunner_webhooks_cli.failures import Failure, in_sentences
from linkrunner_webhooks_cli.findings import Finding, show
from linkrunner_webhooks_cli.other_side import command_of, known_of, looked_at, wanted_of
from linkrunner_webhooks_cli.output import confirm, say, write_json, write_table, write_text
from linkrunner_webhooks_cli.provider_page import page_of
from linkrunner_webhooks_cli.secret_table import signers
from linkrunner_webhooks_cli.signing_secrets import note_signers, store
from linkrunner_webhooks_cli.sources import (
    config_of,
    config_option,
    json_option,
    source_named,
)
from linkrunner_webhooks_cli.stacks import Stack, find, stack_option
from linkrunner_webhooks_local.development import development_secret

_UNKNOWN: Final = (
    "an endpoint sends to {url}, and its secret is not known here: put it there as {title} shows it "
    "(`linkrunner-webhooks secrets set {source}`), or make a new one with --renew"
)


@click.command()
@click.argument("source", shell_complete=source_names)
@click.option("--check", is_flag=True, help="Only look whether it is set up right.")
@click.option("--dry-run", is_flag=True, help="Print the requests that would be sent; send none.")
@click.option("--renew", is_flag=True, help="With a new signing secret; the former stays valid.")
@click.option("--url", metavar="URL", help="Another URL than the stack's: that of a tunnel, say.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@stack_option
@json_option
def connect(
    *,
    source: str,
    check: bool,
    dry_run: bool,
    renew: bool,
    url: str | None,
    yes: bool,
    config_path: Path | None,
    stack: str | None,
    as_json: bool,
) -> None:
    """Set up the endpoint of a source at its provider, with exactly the types that webhooks.toml forwards.

    An endpoint that is there is changed, and never made twice; run it again after a change of webhooks.toml.
    The signing secret goes straight into WebhookSecrets, and is shown nowhere. Credentials come from the
    environment (STRIPE_API_KEY and the like; docs/provider-apis.md lists them) or a prompt, and are not kept.

    \b
    Examples:
      linkrunner-webhooks connect stripe --stack linkrunner-webhooks --dry-run
      linkrunner-webhooks connect shopify --stack linkrunner-webhooks
      linkrunner-webhooks connect stripe --stack linkrunner-webhooks --check
      linkrunner-webhooks connect stripe --url https://my.tunnel.example/webhooks/stripe
    """
    if as_json and not (yes or check or dry_run):
        raise click.UsageError("--json asks nothing: give --yes, --dry-run or --check")
    config = config_of(stack, config_path)
    meant = source_named(config, source)
    found = find(stack)
    require_deployed(meant, config, found, strictly=True)
    wanted = wanted_of(meant, found, url)
    kind = client_of(meant.provider.name)
    if kind is None or not issubclass(kind, Connects):
        _by_hand(meant, wanted, as_json=as_json)
        if check:
            raise Failure(f"{meant.provider.title} has no API that could be looked at")
        return
    client = opened(kind, meant, config)
    assert isinstance(client, Connects)
    require_live(client)
    command = command_of(meant, stack, url)
    if check:
        _tell(looked_at(client, wanted, found, command), as_json=as_json)
        return
    if objection := client.objection(wanted) or _unrenewable(client, renew=renew):
        raise Failure(objection)
    job = Job.of(client, found, wanted, renew=renew)
    if not as_json:
        job.write()
    if dry_run:
        job.show(as_json=as_json)
        return
    _do(job, command, yes=yes, as_json=as_json)


def _do(job: Job, command: str, *, yes: bool, as_json: bool) -> None:
    title = job.client.source.provider.title
    if job.changes and not yes:
        confirm(f"Change this at {title}, and in the secrets of {job.stack.name}?")
    job.do()
    told = looked_at(job.client, job.wanted, job.stack, command)
    if as_json:
        write_json(job.told() | {"findings": [asdict(each) for each in told]})
    _require_right(told, job, as_json=as_json)
    for line in job.remarks():
        say(line)


def _unrenewable(client: Connects, *, renew: bool) -> str:
    """Why there can be no new secret; empty where there can."""
    if not renew or client.origin in (Origin.ONCE, Origin.OURS):
        return ""
    title = client.source.provider.title
    if client.origin is Origin.GIVEN:
        return f"{title} signs with nothing that could be renewed here"
    return f"{title} makes a new secret only there; afterwards `connect` without --renew stores it"


def _by_hand(source: Source, wanted: Wanted, *, as_json: bool) -> None:
    """What to click, where no API does it."""
    provider = source.provider
    if as_json:
        write_json(
            {"source": source.name, "url": wanted.url, "types": wanted.types, "by_hand": True}
        )
        return
    write_text(f"{provider.title} has no API for that. Set up there ({page_of(provider.name)}):")
    write_text(f"  URL    {wanted.url}")
    write_text(f"  types  {', '.join(wanted.types)}")
    write_text(
        f"then store what it signs with (the page says what that is): "
        f"linkrunner-webhooks secrets set {source.name}"
    )


def _tell(found: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        write_json([asdict(each) for each in found])
    else:
        show(found)
    if not all(each.right for each in found):
        raise Failure("something is missing")


def _require_right(told: Sequence[Finding], job: Job, *, as_json: bool) -> None:
    wrong = [each for each in told if not each.right]
    if wrong and not as_json:
        show(wrong)
    if job.refused:
        name = job.client.source.name
        raise Failure(
            f"{'; '.join(job.refused)}. Give the credentials that right, or switch the type off in "
            f"[{name}.events] of webhooks.toml; the others are set up"
        )
    if wrong:
        raise Failure("the endpoint is not as it should be")


# ------------------------------------------------------------------------- changing


@dataclass(slots=True)
class Job:
    """All that is to be done at a provider and in a stack's secrets, and how far it came.

    `found` are all endpoints. `secret` is what has to be stored before anything is changed, if
    anything has, and `signer` the endpoint that has it. `applied` are endpoints that were given the secret of
    `wanted`, and `refused` says which types the provider does not take.
    """

    client: Connects
    stack: Stack
    wanted: Wanted
    known: Known
    todo: list[Step]
    found: Sequence[Endpoint]
    secret: str = ""
    signer: str = ""
    applied: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, client: Connects, stack: Stack, wanted: Wanted, *, renew: bool) -> Job:
        """Look what is there. Raises ApiError, or Failure where only a person can know the secret."""
        there = client.endpoints()
        known = known_of(client, there, wanted, stack)
        secret = signer = ""
        if client.origin is Origin.OURS:
            chosen = _ours(client, known, renew=renew)
            wanted, secret = wanted._replace(secret=chosen), chosen
            client.api.hide(chosen)
        for endpoint in ours(there, wanted, known)[:1]:
            if client.origin in (Origin.AGAIN, Origin.GIVEN):
                secret, signer = known.told[endpoint.id], endpoint.id
            if client.origin is Origin.ONCE and known.has(endpoint) is False and not renew:
                source = client.source
                title = source.provider.title
                raise Failure(_UNKNOWN.format(url=wanted.url, title=title, source=source.name))
        todo = steps(client, there, wanted, known, renew=renew)
        secret = "" if secret in known.live else secret
        return cls(client, stack, wanted, known, todo, there, secret, signer)

    @property
    def changes(self) -> bool:
        """Whether anything is to be done at all."""
        return bool(self.todo or self.secret)

    def write(self) -> None:
        """What would be done, for people."""
        rows = [(str(each.what), ", ".join(_types(each)), each.why) for each in self.todo]
        if self.secret:
            rows.append(("store", "the signing secret", "it is not known here"))
        if rows:
            write_table(("", "what", "because"), rows)
            write_text(f"URL: {self.wanted.url}")

    def show(self, *, as_json: bool) -> None:
        """The requests that would be sent."""
        requests = [*self.client.switches(), *(each.request for each in self.todo if each.request)]
        shown = [each.shown(self.wanted.secret) for each in requests]
        if as_json:
            write_json(self.told() | {"requests": shown, "dry_run": True})
            return
        for text in shown:
            write_text(f"\n{text}")
        say("Nothing was sent.")

    def told(self) -> dict[str, object]:
        """For programs."""
        return {
            "source": self.client.source.name,
            "url": self.wanted.url,
            "types": self.wanted.types,
            "steps": [
                {"what": each.what, "types": _types(each), "why": each.why} for each in self.todo
            ],
            "refused": self.refused,
        }

    def remarks(self) -> Iterator[str]:
        """What to know at the end."""
        source = self.client.source
        if self.changes:
            yield "Connected. `linkrunner-webhooks tail` shows the first webhook."
        else:
            yield f"Everything is as it should be at {source.provider.title}."
        if self.unsure:
            yield (
                "Whether the secret that was put here by hand is that of the endpoint cannot be seen; if "
                "its webhooks are answered 401, --renew mends it."
            )
        if isinstance(self.client, Lists) and any(each.what == "remove" for each in self.todo):
            yield f"What was not sent meanwhile: `linkrunner-webhooks reconcile {source.name} --since 3d`."

    @property
    def unsure(self) -> bool:
        """Whether an endpoint stays of which nobody noted which secret it has."""
        kept = ours(self.found, self.wanted, self.known)[:1]
        changed = any(each.what in ("create", "renew") for each in self.todo)
        once = self.client.origin is Origin.ONCE
        return once and not changed and any(self.known.has(each) is None for each in kept)

    def do(self) -> None:
        """Do it. The secret first, so that the first webhook is verified. Raises Failure."""
        if self.secret:
            self._keep(self.secret, self.signer)
        for request in self.client.switches():
            self.client.apply(request)
        try:
            for step in self.todo:
                self._take(step)
        finally:
            # However it ends: the next run has to know who has which.
            if self.applied:
                source, secret = self.client.source.name, self.wanted.secret
                note_signers(self.stack, source, secret, self.applied)

    def _take(self, step: Step) -> None:
        try:
            self._try(step)
        except Away:
            raise
        except ApiError as error:
            if not self.client.one_each:
                raise
            self.refused.append(f"{step.what} {', '.join(_types(step))}: {error.format_message()}")

    def _try(self, step: Step) -> None:
        endpoint = step.endpoint
        if step.what == "create":
            endpoint = self._create(step)
        elif step.what == "renew" and endpoint:
            self._keep(self.client.renewed(endpoint), endpoint.id)
        elif step.request:
            self.client.apply(step.request)
        if self.client.origin is Origin.OURS and endpoint and step.what != "remove":
            self.applied.append(endpoint.id)

    def _create(self, step: Step) -> Endpoint:
        made = self.client.create(step.wanted)
        endpoint = Endpoint(made.id, step.wanted.url, frozenset(step.wanted.types))
        try:
            if made.secret:
                with in_sentences():
                    self._keep(made.secret, made.id)
        except BaseException as error:  # noqa: BLE001 - also where somebody interrupts
            # Nobody would know its secret.
            raise self._undone(endpoint, error) from None
        return endpoint

    def _undone(self, endpoint: Endpoint, error: BaseException) -> Failure:
        title = self.client.source.provider.title
        why = f"{error}" if isinstance(error, Failure) else "interrupted"
        with suppress(ApiError):
            self.client.apply(self.client.removal(endpoint))
            return Failure(f"{why}; so the new endpoint at {title} was taken away again")
        return Failure(
            f"{why}; and the new endpoint {endpoint.id} is still at {title}: remove it there"
        )

    def _keep(self, secret: str, signer: str) -> None:
        """Store a secret, with who was given it; those of endpoints elsewhere stay valid."""
        source = self.client.source
        if secret in self.stack.signing_secrets().of(source.name):
            return
        if wrong := complaint(source.signature, secret):
            raise Failure(f"{source.provider.title}'s secret was not stored: {wrong}")
        store(self.stack, source.name, secret, signer=signer, keep=self._in_use())

    def _in_use(self) -> Collection[str]:
        """Those of endpoints that are there, and those of which nobody noted whose they are."""
        table, name = self.stack.signing_secrets().table(), self.client.source.name
        there = {each.id for each in self.found}
        given = {each: signers(table, name, each) for each in self.known.live}
        return [each for each, ids in given.items() if ids is None or there & set(ids)]


def _ours(client: Connects, known: Known, *, renew: bool) -> str:
    """The secret to give to endpoints: a new one only where the last new one reached some."""
    public = development_secret(client.source)
    live = [each for each in known.live if each != public]
    if not live:
        return client.choose()
    unapplied = signers(known.table, known.source, live[0]) == ()
    return client.choose() if renew and not unapplied else live[0]


def _types(step: Step) -> list[str]:
    return (
        sorted(step.endpoint.types)
        if step.what == "remove" and step.endpoint
        else [*step.wanted.types]
    )
