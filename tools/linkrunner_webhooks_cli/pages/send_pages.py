"""The pages that send signed samples to the local stack, and make its Linkrunner misbehave."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.pages.sending import MOODS, Form, choices, script
from linkrunner_webhooks_cli.pages.site import OLD, Site, filled_in, waited
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.recorder import Recorder


@dataclass(slots=True)
class SendPages:
    """To the gateway at `url`. `linkrunner` is the embedded one, if in use; at `apis` are imitations."""

    site: Site
    recorder: Recorder
    url: str
    linkrunner: EmbeddedLinkrunner | None = None
    apis: str = ""
    mood: str = "well"

    def routes(self) -> list[BaseRoute]:
        return [
            self.site.route("/send", self._form),
            self.site.route("/send", self._send, "POST"),
            self.site.route("/linkrunner", self._change, "POST"),
        ]

    async def _form(self, request: Request) -> Response:
        return await self._shown(Form.of(request.query_params))

    async def _shown(self, form: Form, trouble: str = "") -> Response:
        config = self.site.config
        source = config.source(form.source) or next(iter(config.sources()), None)
        groups = await run_in_threadpool(choices, source) if source else {}
        first = (
            next((each for each in source.provider.types if source.wants(each)), "")
            if source
            else ""
        )
        form = replace(form, what=form.what or f"type:{first}")
        return self.site.page(
            "send.html",
            400 if trouble else 200,
            form=form,
            trouble=trouble,
            source=source,
            groups=groups,
            sources=config.sources(),
            moods=MOODS if self.linkrunner else {},
            mood=self.mood,
        )

    async def _send(self, request: Request) -> Response:
        given = await filled_in(request)
        form = Form.of(given)
        if not self.site.is_ours(given):
            return await self._shown(form, OLD)
        newest = next((each.number for each in self.recorder.newest()), 0)
        try:
            await waited(
                lambda: form.send(self.site.config, self.site.known().secrets, self.url, self.apis)
            )
        except Failure as error:
            # There is no such option here.
            return await self._shown(form, error.message.partition("; use --set")[0])
        # What else came meanwhile is in the list, too.
        came = [each.number for each in self.recorder.newest() if each.number > newest]
        address = f"/requests/{came[0]}" if len(came) == 1 else "/"
        return RedirectResponse(address, 303)

    async def _change(self, request: Request) -> Response:
        given = await filled_in(request)
        if not self.site.is_ours(given):
            return await self._shown(Form(), OLD)
        if self.linkrunner is not None:
            try:
                self.linkrunner.play(script(given.get("mood", "")))
            except Failure as error:
                return await self._shown(Form(), error.message)
            self.mood = given["mood"]
            title = MOODS[self.mood].title
            well = self.mood == "well"
            self.site.notice = "" if well else f"The embedded Linkrunner is made to be {title}"
        return RedirectResponse("/send", 303)
