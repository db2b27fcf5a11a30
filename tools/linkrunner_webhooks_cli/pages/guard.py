"""Who may see the pages: a browser on this machine, and nothing that another page makes it do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hmac import compare_digest
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linkrunner_webhooks_local.loopback import NAMES

# What a proxy or a tunnel adds: it shows this machine to others.
_FORWARDED: Final = (
    "forwarded",
    "via",
    "x-real-ip",
    "cf-connecting-ip",
    *(f"x-forwarded-{each}" for each in ("for", "host", "proto", "port")),
)
# A user and a path are parts of an address, and of no Host.
_HOST: Final = re.compile(
    r"(?:\[(?P<six>[0-9a-f:]+)\]|(?P<name>[\w.-]+))(?::(?P<port>\d{1,5}))?",
    re.ASCII | re.IGNORECASE,
)
_LAST_PORT: Final = 65_535
_SAFE: Final = frozenset({"GET", "HEAD"})
_SENT: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would send our own forms with the origin of nobody.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """The application, for requests that a person at this machine makes.

    With a `key`, for the person who was told it: other people may work on this machine, too.
    """

    def __init__(self, app: ASGIApp, key: str = "") -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if why := refusal(scope["method"], headers):
            await PlainTextResponse(f"{why}\n", 403, dict(_SENT))(scope, receive, send)
            return
        asked = Request(scope)
        # An address with the key is left in any case: it is remembered, and shown around.
        if self._key and ("key" in asked.query_params or not self._knows(asked)):
            await self._welcome(asked)(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SENT)
            await send(message)

        await self._app(scope, receive, guarded)

    def _knows(self, request: Request) -> bool:
        return self._is_key(request.cookies.get(_cookie(request), ""))

    def _is_key(self, told: str) -> bool:
        return compare_digest(told.encode(), self._key.encode())

    def _welcome(self, request: Request) -> Response:
        """The page again, for who came with the key, which then stands in no address any more."""
        if not (self._is_key(request.query_params.get("key", "")) or self._knows(request)):
            why = "open the address that `linkrunner-webhooks console` printed: it has the key\n"
            return PlainTextResponse(why, 403, dict(_SENT))
        answer = RedirectResponse(_without_key(request), 303, dict(_SENT))
        answer.set_cookie(_cookie(request), self._key, httponly=True, samesite="strict")
        return answer


def _without_key(request: Request) -> str:
    """The same page, here: a path of two slashes would be another host."""
    rest = [each for each in request.query_params.multi_items() if each[0] != "key"]
    path = f"/{request.url.path.lstrip('/')}"
    return f"{path}?{urlencode(rest)}" if rest else path


def _cookie(request: Request) -> str:
    """Cookies are one for all ports of a host."""
    return f"console-{request.url.port}"


def refusal(method: str, headers: Mapping[str, str]) -> str:
    """Why a request is not answered; empty where it is.

    A page of somebody else can make a browser send requests here, and by DNS rebinding it can read the
    answers: then the Host is its own name, the Origin another, or Sec-Fetch-Site says so.
    """
    host = headers.get("host", "")
    if _name(host) not in NAMES:
        return "the console answers at 127.0.0.1 and localhost only"
    if any(each in headers for each in _FORWARDED):
        return "the console answers on this machine only, and not through a proxy or a tunnel"
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return "the console answers its own pages only"
    site = headers.get("sec-fetch-site", "same-origin")
    # A link from elsewhere may lead here; a picture, a frame and a script may not.
    is_followed = method in _SAFE and headers.get("sec-fetch-dest") == "document"
    if site != "same-origin" and not (is_followed or (method in _SAFE and site == "none")):
        return "the console answers its own pages only"
    if method not in _SAFE and origin is None and "sec-fetch-site" not in headers:
        return "a form is sent by the console's own page"
    return ""


def _name(host: str) -> str:
    """The host without its port; empty where it is more or less than that."""
    found = _HOST.fullmatch(host)
    if found is None or int(found["port"] or 0) > _LAST_PORT:
        return ""
    return (found["six"] or found["name"]).lower()
