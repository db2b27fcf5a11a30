"""The pages of the dead letters: all, those of one reason, and each; to be redriven or discarded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from linkrunner_webhooks_cli.discarding import copies_path
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.pages.jobs import Job
from linkrunner_webhooks_cli.pages.parked import (
    MOST,
    Letters,
    Name,
    discard,
    letterhead,
    parked,
    redrive,
)
from linkrunner_webhooks_cli.pages.site import OLD, Site, filled_in, number_in, waited
from linkrunner_webhooks_local.recorder import Recorder

_AT: Final = "/dead-letters"


@dataclass(frozen=True, slots=True)
class LetterPages:
    """Over the dead-letter queue; `recorder` knows which requests the letters came with."""

    site: Site
    recorder: Recorder

    def routes(self) -> list[BaseRoute]:
        site = self.site
        return [
            site.route(_AT, self._all),
            site.route(f"{_AT}/group", self._group),
            site.route(f"{_AT}/job", self._job),
            site.route(f"{_AT}/redrive", self._redrive, "POST"),
            site.route(f"{_AT}/discard", self._discard, "POST"),
            site.route(f"{_AT}/stop", self._stop, "POST"),
            site.route(f"{_AT}/{{id}}", self._letter),
        ]

    async def _all(self, request: Request) -> Response:
        del request
        # Both would hide letters from each other.
        return _to_job() if self.site.jobs.is_running else await self._shown(Name(), "parked.html")

    async def _group(self, request: Request) -> Response:
        if self.site.jobs.is_running:
            return _to_job()
        return await self._shown(_name(request.query_params), "group.html")

    async def _shown(
        self, name: Name, template: str, trouble: str = "", said: str = ""
    ) -> Response:
        site = self.site
        found = await waited(lambda: parked(site.stack(), site.config, name))
        return site.page(
            template,
            400 if trouble else 200,
            name=name,
            parked=found,
            requests=self._requests(found),
            trouble=trouble,
            said=said,
            most=MOST,
        )

    def _requests(self, found: Letters) -> Mapping[Name, list[int]]:
        """The numbers of the requests that letters came with."""
        return {
            group.name: sorted(
                {each.number for key in group.events for each in self.recorder.again(key)}
            )
            for group in found.groups
        }

    async def _letter(self, request: Request) -> Response:
        if self.site.jobs.is_running:
            return _to_job()
        id, site = request.path_params["id"], self.site
        whole = request.query_params.get("values") == "shown"
        found = await waited(
            lambda: letterhead(site.stack(), site.config, site.known(), id, whole=whole)
        )
        if found is None:
            return site.page("no_letter.html", 404, id=id[:80])
        return site.page("letter.html", head=found, name=Name.of(found.letter), whole=whole)

    # What changes something.

    async def _redrive(self, request: Request) -> Response:
        given = await filled_in(request)
        days = number_in(given.get("max_age", ""))
        max_age = timedelta(days=min(days, 999)) if days else None
        force = bool(given.get("force"))

        def work(job: Job) -> str:
            site = self.site
            return redrive(site.stack(), site.config, name, job, force=force, max_age=max_age)

        name = _name(given)
        return await self._begin(given, f"Redriving {name.title}", work)

    async def _discard(self, request: Request) -> Response:
        given = await filled_in(request)
        name, path = _name(given), copies_path()
        if self.site.is_ours(given) and not given.get("sure"):
            trouble = "nothing is discarded: tick the box that says that you want it"
            return await self._shown(name, "group.html", trouble)

        def work(job: Job) -> str:
            site = self.site
            captured = site.config if given.get("captured") else None
            return discard(site.stack(), name, job, path, captured=captured)

        return await self._begin(given, f"Discarding {name.title}", work)

    async def _begin(
        self, given: Mapping[str, str], what: str, work: Callable[[Job], str]
    ) -> Response:
        if not self.site.is_ours(given):
            return await self._shown(Name(), "parked.html", OLD)
        if not self.site.may_change:
            raise Failure(
                "this console only looks: start it again with --allow-redrive to move or delete letters"
            )
        total = await waited(self.site.stack().parked)
        self.site.jobs.start(Job(what, total), work)
        return _to_job()

    async def _job(self, request: Request) -> Response:
        del request
        job = self.site.jobs.last
        return RedirectResponse(_AT, 303) if job is None else self.site.page("job.html", job=job)

    async def _stop(self, request: Request) -> Response:
        if self.site.is_ours(await filled_in(request)):
            self.site.jobs.stop()
        return _to_job()


def _name(given: Mapping[str, str]) -> Name:
    return Name(*(given.get(each, "") for each in Name._fields))


def _to_job() -> Response:
    return RedirectResponse(f"{_AT}/job", 303)
