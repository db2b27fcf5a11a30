"""What all pages have in common: templates, what they are about, and how a form is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from linkrunner_webhooks.config import Config
from linkrunner_webhooks_cli.failures import Failure, in_sentences
from linkrunner_webhooks_cli.pages.guard import Guard
from linkrunner_webhooks_cli.pages.jobs import Busy, Jobs
from linkrunner_webhooks_cli.pages.story import Known
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_local.switches import HERE, Setup, deployed

Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")

FOLDER: Final = Path(__file__).parent
OLD: Final = "this page is older than the stack that runs now; it is a new one, fill it in again"
JOB: Final = "/dead-letters/job"
_LONGEST_FORM: Final = 16_384


@dataclass(slots=True)
class Site:
    """The console of one stack. `where` names it to people, `stack` may take a moment to answer.

    `notice` is what everybody has to know now.

    `is_local` is whether it is the one of `make run`, whose requests are recorded with their bodies. What is
    parked may be moved and deleted where `may_change` says so. `trouble` is why what is shown is not up to
    date, if anything keeps it from being so.
    """

    config: Config
    stack: Callable[[], Stack]
    where: str = "local stack"
    is_local: bool = True
    may_change: bool = True
    trouble: str = ""
    notice: str = ""
    # What the address of the first page has; empty where everybody on this machine may look.
    key: str = ""
    jobs: Jobs = field(default_factory=Jobs)
    # A page of somebody else cannot read it, so it cannot send a form that has it.
    token: str = field(default_factory=token_urlsafe)

    @property
    def setup(self) -> Setup:
        """How its settings are changed."""
        return HERE if self.is_local else deployed(self.stack().name)

    def known(self) -> Known:
        """What the stack knows now. Raises what the SDK raises."""
        stack = self.stack()
        facts, live = stack.ledger().facts, dict[str, Sequence[str]]()
        # Where no request is here, there is no signature to look at.
        if self.is_local:
            secrets = stack.signing_secrets()
            live = {name: secrets.of(name) for name in self.config.names}
        return Known(
            live,
            facts.user_of,
            facts.rate_of,
            lambda letter: stack.foresee(letter, self.config),
            self.setup,
        )

    @property
    def guard(self) -> list[Middleware]:
        """What stands before every page."""
        return [Middleware(Guard, key=self.key)]

    def route(self, path: str, handler: Handler, method: str = "GET") -> Route:
        """A guarded page; where it cannot be made, another says why."""

        async def told(request: Request) -> Response:
            try:
                return await handler(request)
            except Busy:
                # The page of the job says how far it is.
                return RedirectResponse(JOB, 303)
            except Failure as error:
                return self.page("failed.html", 502, why=error.message)

        return Route(path, told, methods=[method], middleware=self.guard)

    def page(self, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        """A template with these values; every page knows the site."""
        return HTMLResponse(rendered(template, site=self, **values), status)

    async def looked(self, work: Callable[[], T]) -> T:
        """The result of what reads dead letters. Raises Failure, and Busy while a job does."""

        def alone() -> T:
            with self.jobs.looking():
                return work()

        return await waited(alone)

    def is_ours(self, given: Mapping[str, str]) -> bool:
        """Whether a form is one of a page of this run."""
        return compare_digest(given.get("token", "").encode(), self.token.encode())


async def filled_in(request: Request) -> dict[str, str]:
    """A form, as far as it is one: what is longer than a form of ours is none."""
    text = b""
    try:
        async for part in request.stream():
            text += part
            if len(text) > _LONGEST_FORM:
                return {}
    except ClientDisconnect:
        return {}
    return dict(parse_qsl(text.decode("utf-8", "replace")))


def number_in(text: str) -> int | None:
    """A number as our addresses have it; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def rendered(template: str, /, **values: Any) -> str:
    """A template as text."""
    return _TEMPLATES.get_template(template).render(**values)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_TEMPLATES: Final = _environment()


async def waited(work: Callable[[], T]) -> T:
    """The result of what waits for AWS. Raises Failure."""

    def worked() -> T:
        with in_sentences():
            return work()

    return await run_in_threadpool(worked)
