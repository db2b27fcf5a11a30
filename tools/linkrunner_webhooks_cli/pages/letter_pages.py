"""The pages of the dead letters: all, those of one reason, and each; to be redriven or discarded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from linkrunner_webhooks.letters import Letter
from linkrunner_webhooks_cli.discarding import copies_path
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.pages.jobs import Job
from linkrunner_webhooks_cli.pages.parked import (
    Letters,
    Meant,
    Name,
    discard,
    key_of,
    letterhead,
    parked,
    redrive,
)
from linkrunner_webhooks_cli.pages.site import JOB, OLD, Site, filled_in, number_in
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
        return await self._shown(Name(), "parked.html")

    async def _group(self, request: Request) -> Response:
        name = _name(request.query_params)
        if name.is_everything:
            return RedirectResponse(_AT, 303)
        return await self._shown(name, "group.html")

    async def _shown(self, name: Name, template: str, trouble: str = "") -> Response:
        site = self.site
        found = await site.looked(lambda: parked(site.stack(), site.config, name))
        return site.page(
            template,
            400 if trouble else 200,
            name=name,
            parked=found,
            requests=self._requests(found),
            trouble=trouble,
        )

    def _requests(self, found: Letters) -> Mapping[Name, list[int]]:
        """The numbers of the requests that letters came with."""
        return {
            group.name: sorted(
                {each.number for key in group.events for each in self.recorder.again(key)}
            )
            for group in found.groups
        }

    def _came_as(self, letter: Letter) -> list[int]:
        return [each.number for each in self.recorder.again(key_of(letter))]

    async def _letter(self, request: Request) -> Response:
        id, site = request.path_params["id"], self.site
        whole = request.query_params.get("values") == "shown"
        found = await site.looked(
            lambda: letterhead(site.stack(), site.config, site.known(), id, whole=whole)
        )
        if found is None:
            return site.page("no_letter.html", 404, id=id[:80])
        return site.page(
            "letter.html",
            head=found,
            name=Name.of(found.letter),
            whole=whole,
            requests=self._came_as(found.letter),
            now=datetime.now(UTC),
        )

    # What changes something.

    def _require_leave(self) -> None:
        if not self.site.may_change:
            raise Failure(
                "this console only looks: start it again with --allow-redrive to move or delete letters"
            )

    async def _redrive(self, request: Request) -> Response:
        self._require_leave()
        given = await filled_in(request)
        name, age = _name(given), given.get("max_age", "")
        days = number_in(age)
        if age and not days:
            raise Failure("the age is a number of days")
        max_age = timedelta(days=min(days, 999)) if days else None
        force = bool(given.get("force"))

        def work(job: Job) -> str:
            return redrive(
                self.site.stack(),
                self.site.config,
                name,
                job,
                force=force,
                max_age=max_age,
                done_with=partial(self._note, "redriven"),
            )

        return await self._begin(given, Job(f"Redriving {name.title}", _count(given)), work)

    async def _discard(self, request: Request) -> Response:
        self._require_leave()
        given = await filled_in(request)
        name, path, meant = _name(given), copies_path(), _meant(given)
        if self.site.is_ours(given) and not given.get("sure"):
            trouble = "nothing is discarded: tick the box that says that you want it"
            return await self._shown(
                name, "parked.html" if name.is_everything else "group.html", trouble
            )
        if name.is_everything or meant is None:
            raise Failure("choose what is discarded: a group of letters, or one of them")

        def work(job: Job) -> str:
            return discard(
                self.site.stack(),
                name,
                job,
                path,
                meant=meant,
                captured=self.site.config if given.get("captured") else None,
                done_with=partial(self._note, "discarded"),
            )

        return await self._begin(given, Job(f"Discarding {name.title}", meant.most), work)

    def _note(self, what: str, letter: Letter) -> None:
        """Tell the requests that it came with."""
        self.recorder.operated(key_of(letter), what)

    async def _begin(
        self, given: Mapping[str, str], job: Job, work: Callable[[Job], str]
    ) -> Response:
        if not self.site.is_ours(given):
            return await self._shown(Name(), "parked.html", OLD)
        self.site.jobs.start(job, work)
        return RedirectResponse(JOB, 303)

    async def _job(self, request: Request) -> Response:
        del request
        job = self.site.jobs.last
        return RedirectResponse(_AT, 303) if job is None else self.site.page("job.html", job=job)

    async def _stop(self, request: Request) -> Response:
        if self.site.is_ours(await filled_in(request)):
            self.site.jobs.stop()
        return RedirectResponse(JOB, 303)


def _name(given: Mapping[str, str]) -> Name:
    return Name(*(given.get(each, "") for each in Name._fields))


def _count(given: Mapping[str, str]) -> int:
    """How many somebody has seen, as far as the form says."""
    return number_in(given.get("count", "")) or 0


def _meant(given: Mapping[str, str]) -> Meant | None:
    """What somebody has seen; None where the form does not say."""
    try:
        return Meant(_count(given), datetime.fromisoformat(given["until"]).astimezone(UTC))
    except (KeyError, OverflowError, ValueError):
        return None
