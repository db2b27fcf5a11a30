"""The routes of the console."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final
from urllib.parse import parse_qsl

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.pages.guard import Guard
from linkrunner_webhooks_cli.pages.listing import PAGE, Filter, page, row
from linkrunner_webhooks_cli.pages.parked import Name, parked, redrive
from linkrunner_webhooks_cli.pages.sending import MOODS, Form, script
from linkrunner_webhooks_cli.pages.story import Known, story
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.recorder import Arrival, Recorder

_HERE: Final = Path(__file__).parent
# Seconds between two looks for news, and between two signs of life where there are none.
_LOOK, _ALIVE = 0.25, 15.0
_LONGEST_FORM: Final = 16_384
_OLD: Final = "this page is older than the stack that runs now; it is a new one, fill it in again"
# Rows in one message.
_AT_ONCE: Final = 100


@dataclass(slots=True)
class ConsolePages:
    """The pages over what was recorded, and over the stack at `url`, which may take a moment to answer.

    `linkrunner` is the embedded one, if that is in use.
    """

    recorder: Recorder
    config: Config
    stack: Callable[[], Stack]
    url: str
    linkrunner: EmbeddedLinkrunner | None = None
    mood: str = "well"
    # A page of somebody else cannot read it, so it cannot send a form that has it.
    token: str = field(default_factory=token_urlsafe)

    def routes(self) -> list[BaseRoute]:
        """Every page, guarded."""
        guard = [Middleware(Guard)]
        static = StaticFiles(directory=_HERE / "static")
        return [
            Route("/", self._list, methods=["GET"], middleware=guard),
            Route("/live", self._live, methods=["GET"], middleware=guard),
            Route("/requests/{number}", self._story, methods=["GET"], middleware=guard),
            Route("/send", self._form, methods=["GET"], middleware=guard),
            Route("/send", self._send, methods=["POST"], middleware=guard),
            Route("/dead-letters", self._parked, methods=["GET"], middleware=guard),
            Route("/dead-letters", self._redrive, methods=["POST"], middleware=guard),
            Route("/linkrunner", self._change, methods=["POST"], middleware=guard),
            Mount("/static", static, middleware=guard),
        ]

    async def _list(self, request: Request) -> Response:
        wanted = Filter.of(request.query_params)
        changed = f"{self.recorder.run}-{self.recorder.changed}"
        arrivals, more = await run_in_threadpool(page, self.recorder.newest(), wanted)
        return _rendered(
            "list.html",
            rows=[row(each, self.config) for each in arrivals],
            more=more,
            wanted=wanted,
            changed=changed,
            sources=self.config.names,
            outcomes=[each.value for each in Outcome],
            most=PAGE,
        )

    async def _live(self, request: Request) -> Response:
        wanted = Filter.of(request.query_params)
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        run, _, changed = after.partition("-")
        # Another run began its numbers anew.
        is_ours = run == self.recorder.run
        news = self._news(wanted, (_number(changed) or 0) if is_ours else None)
        return StreamingResponse(news, media_type="text/event-stream")

    async def _news(self, wanted: Filter, changed: int | None) -> AsyncIterator[str]:
        """Rows that are new or changed, as they are now, the oldest change first."""
        silent = 0.0
        yield "retry: 1000\n\n"
        if changed is None:
            yield "event: anew\ndata: another run\n\n"
            return
        while True:
            arrivals, changed = self.recorder.since(changed, _AT_ONCE)
            # What is no longer wanted leaves the list.
            told = [
                {"number": each.number, "row": self._row(each) if wanted.wants(each) else ""}
                for each in arrivals
            ]
            if told:
                yield f"id: {self.recorder.run}-{changed}\ndata: {json.dumps(told)}\n\n"
                silent = 0.0
            elif silent >= _ALIVE:
                yield ": still here\n\n"
                silent = 0.0
            silent += _LOOK
            await asyncio.sleep(_LOOK)

    async def _form(self, request: Request) -> Response:
        del request
        return self._sending(Form())

    def _sending(self, form: Form, trouble: str = "") -> Response:
        return _rendered(
            "send.html",
            400 if trouble else 200,
            form=form,
            trouble=trouble,
            sources=self.config.sources(),
            moods=MOODS if self.linkrunner else {},
            mood=self.mood,
            token=self.token,
        )

    def _known(self) -> Known:
        stack = self.stack()
        secrets, facts = stack.signing_secrets(), stack.ledger().facts
        live = {name: secrets.of(name) for name in self.config.names}
        return Known(live, facts.user_of, facts.rate_of)

    def _is_ours(self, given: Mapping[str, str]) -> bool:
        return compare_digest(given.get("token", "").encode(), self.token.encode())

    async def _send(self, request: Request) -> Response:
        given = await _filled_in(request)
        source, _, event_type = given.get("what", "").partition(" ")
        form = Form.of({**given, "source": source, "type": event_type})
        if not self._is_ours(given):
            return self._sending(form, _OLD)
        newest = next((each.number for each in self.recorder.newest()), 0)

        def sent() -> None:
            form.send(self.config, self._known().secrets, self.url)

        try:
            await run_in_threadpool(sent)
        except Failure as error:
            return self._sending(form, str(error))
        # What else came meanwhile is in the list, too.
        came = [each.number for each in self.recorder.newest() if each.number > newest]
        address = f"/requests/{came[0]}" if len(came) == 1 else "/"
        return RedirectResponse(address, 303)

    async def _parked(self, request: Request) -> Response:
        del request
        return await self._letters()

    async def _letters(self, said: str = "", status: int = 200) -> Response:
        found = await run_in_threadpool(lambda: parked(self.stack(), self.config))
        requests = {
            group.name: sorted(
                {each.number for key in group.events for each in self.recorder.again(key)}
            )
            for group in found.groups
        }
        return _rendered(
            "parked.html", status, parked=found, requests=requests, said=said, token=self.token
        )

    async def _redrive(self, request: Request) -> Response:
        given = await _filled_in(request)
        if not self._is_ours(given):
            return await self._letters(_OLD, 400)
        name = Name(*(given.get(each, "") for each in Name._fields))
        done = await run_in_threadpool(lambda: redrive(self.stack(), self.config, name))
        left = f", {done.left.total()} would park again and stay" if done.left else ""
        return await self._letters(f"{done.moved} put back into the queue{left}.")

    async def _change(self, request: Request) -> Response:
        given = await _filled_in(request)
        if not self._is_ours(given):
            return self._sending(Form(), _OLD)
        if self.linkrunner is not None:
            try:
                self.linkrunner.play(script(given.get("mood", "")))
            except Failure as error:
                return self._sending(Form(), str(error))
            self.mood = given["mood"]
        return RedirectResponse("/send", 303)

    def _row(self, arrival: Arrival) -> str:
        return _TEMPLATES.get_template("row.html").render(row=row(arrival, self.config))

    async def _story(self, request: Request) -> Response:
        written = request.path_params["number"]
        number = _number(written)
        arrival = None if number is None else self.recorder.at(number)
        if arrival is None:
            return _rendered("gone.html", 404, number=written[:20])
        whole = request.query_params.get("values") == "shown"

        def told() -> Any:
            return story(arrival, self.recorder, self.config, self._known(), whole=whole)

        return _rendered(
            "story.html",
            story=await run_in_threadpool(told),
            row=row(arrival, self.config),
            whole=whole,
        )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


async def _filled_in(request: Request) -> dict[str, str]:
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


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_TEMPLATES: Final = _environment()


def _rendered(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(name).render(**values), status)
