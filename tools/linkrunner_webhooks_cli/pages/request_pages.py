"""The pages of what came: the live list, and the story of each request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks_cli.pages.listing import DISCARDED, PAGE, Filter, Row, page, row
from linkrunner_webhooks_cli.pages.site import Site, number_in, rendered, waited
from linkrunner_webhooks_cli.pages.story import story
from linkrunner_webhooks_local.asgi import is_stopping
from linkrunner_webhooks_local.recorder import Arrival, Recorder

# Seconds between two looks for news, and between two signs of life where there are none.
_LOOK, _ALIVE = 0.25, 15.0
# Rows in one message.
_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class RequestPages:
    """Over what was recorded."""

    site: Site
    recorder: Recorder

    def routes(self) -> list[BaseRoute]:
        return [
            self.site.route("/", self._list),
            self.site.route("/live", self._live),
            self.site.route("/requests/{number}", self._story),
        ]

    async def _list(self, request: Request) -> Response:
        wanted = Filter.of(request.query_params)
        changed = f"{self.recorder.run}-{self.recorder.changed}"
        arrivals, more = await run_in_threadpool(page, self.recorder.newest(), wanted)
        return self.site.page(
            "list.html",
            rows=[self._row(each) for each in arrivals],
            more=more,
            wanted=wanted,
            changed=changed,
            sources=sorted({*self.site.config.names, *filter(None, (wanted.source,))}),
            outcomes=[*(each.value for each in Outcome), DISCARDED],
            most=PAGE,
        )

    def _row(self, arrival: Arrival) -> Row:
        return row(arrival, self.site.config, self.site.setup)

    async def _live(self, request: Request) -> Response:
        wanted = Filter.of(request.query_params)
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        run, _, changed = after.partition("-")
        # Another run began its numbers anew.
        is_ours = run == self.recorder.run
        news = self._news(request, wanted, (number_in(changed) or 0) if is_ours else None)
        return StreamingResponse(news, media_type="text/event-stream")

    async def _news(
        self, request: Request, wanted: Filter, changed: int | None
    ) -> AsyncIterator[str]:
        """Rows that are new or changed, as they are now, the oldest change first."""
        silent = 0.0
        yield "retry: 1000\n\n"
        if changed is None:
            yield "event: anew\ndata: another run\n\n"
            return
        while not is_stopping(request):
            arrivals, changed = self.recorder.since(changed, _AT_ONCE)
            # A filter may look through bodies.
            told = await run_in_threadpool(self._changes, arrivals, wanted) if arrivals else []
            if told:
                yield f"id: {self.recorder.run}-{changed}\ndata: {json.dumps(told)}\n\n"
                silent = 0.0
            elif silent >= _ALIVE:
                yield ": still here\n\n"
                silent = 0.0
            silent += _LOOK
            await asyncio.sleep(_LOOK)

    def _changes(self, arrivals: list[Arrival], wanted: Filter) -> list[dict[str, object]]:
        """What is no longer wanted leaves the list."""
        return [
            {"number": each.number, "row": self._shown(each) if wanted.wants(each) else ""}
            for each in arrivals
        ]

    def _shown(self, arrival: Arrival) -> str:
        return rendered("row.html", row=self._row(arrival))

    async def _story(self, request: Request) -> Response:
        written = request.path_params["number"]
        number = number_in(written)
        arrival = None if number is None else self.recorder.at(number)
        if arrival is None:
            return self.site.page("gone.html", 404, number=written[:20])
        whole = request.query_params.get("values") == "shown"
        told = await waited(
            lambda: story(arrival, self.recorder, self.site.config, self.site.known(), whole=whole)
        )
        return self.site.page("story.html", story=told, row=self._row(arrival), whole=whole)
