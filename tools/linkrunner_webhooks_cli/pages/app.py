"""All pages of the console together."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from linkrunner_webhooks_cli.pages.letter_pages import LetterPages
from linkrunner_webhooks_cli.pages.number_pages import NumberPages
from linkrunner_webhooks_cli.pages.request_pages import RequestPages
from linkrunner_webhooks_cli.pages.send_pages import SendPages
from linkrunner_webhooks_cli.pages.site import FOLDER, Site
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.recorder import Recorder


def of_local(
    site: Site,
    recorder: Recorder,
    url: str,
    linkrunner: EmbeddedLinkrunner | None,
    apis: str = "",
) -> list[BaseRoute]:
    """For the stack of `make run`, whose gateway is at `url`, and imitations of providers' APIs at `apis`."""
    return [*SendPages(site, recorder, url, linkrunner, apis).routes(), *of_any(site, recorder)]


def of_deployed(site: Site, recorder: Recorder) -> Starlette:
    """For a deployed stack, by itself: the guard stands before what is no page, too."""
    application = Starlette(routes=of_any(site, recorder), middleware=site.guard)
    # It would lead to the Host that somebody names.
    application.router.redirect_slashes = False
    return application


def of_any(site: Site, recorder: Recorder) -> list[BaseRoute]:
    """For any stack: what is only looked at, and the dead letters."""
    return [
        *RequestPages(site, recorder).routes(),
        *LetterPages(site, recorder).routes(),
        *NumberPages(site, recorder).routes(),
        Mount("/static", StaticFiles(directory=FOLDER / "static"), middleware=site.guard),
    ]
