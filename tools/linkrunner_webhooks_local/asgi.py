"""The local stack's port: pages as an ASGI application, and webhooks as one plain function beside them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Asked
from starlette.responses import Response as Answer
from starlette.routing import BaseRoute, Mount
from starlette.types import Receive, Scope, Send

from linkrunner_webhooks_local.loopback import MAX_BODY, MAX_DISCARD, Answerer, Request, Response

# Seconds that running exchanges get at the end.
_PATIENCE: Final = 2


def app(answer: Answerer, pages: Sequence[BaseRoute]) -> Starlette:
    """`answer` gets what is for none of the pages: webhooks, and what people take for their path."""
    webhooks = _Endpoint(answer)
    return Starlette(routes=[Mount("/webhooks", webhooks), *pages, Mount("/", webhooks)])


class _Endpoint:
    """An answerer as an ASGI application. It runs in a thread, because it waits for AWS."""

    def __init__(self, answer: Answerer) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Asked(scope, receive)
        try:
            body = await _body(asked)
        except ClientDisconnect:
            return
        if body is None:
            answered: Response | None = Response.of(413, {"message": "Request Too Long"})
        else:
            answered = await run_in_threadpool(self._answer, _request(scope, body))
        assert answered is not None
        answer = Answer(answered.body, answered.status, dict(answered.headers))
        await answer(scope, receive, send)


async def _body(asked: Asked) -> bytes | None:
    """None of one that is longer than API Gateway takes."""
    parts, length = [], 0
    async for part in asked.stream():
        length += len(part)
        if length <= MAX_BODY:
            parts.append(part)
        elif length > MAX_DISCARD:
            break
    return b"".join(parts) if length <= MAX_BODY else None


def _request(scope: Scope, body: bytes) -> Request:
    headers = tuple(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    )
    query = scope["query_string"].decode("latin-1")
    path = scope["raw_path"].decode("latin-1")
    return Request(
        method=scope["method"],
        target=f"{path}?{query}" if query else path,
        headers=headers,
        body=body,
        peer=scope["client"][0],
        protocol=f"HTTP/{scope['http_version']}",
    )


def is_stopping(asked: Asked) -> bool:
    """Whether the server that a request came to is about to end."""
    stopping: threading.Event = asked.app.state.stopping
    return stopping.is_set()


@contextmanager
def serving(listener: socket.socket, application: Starlette) -> Iterator[None]:
    """Serve `listener` while the block runs; then let running exchanges finish, and close it.

    An answer that never ends by itself ends when `is_stopping` says so.
    """
    application.state.stopping = threading.Event()
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_PATIENCE,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="asgi")
    thread.start()
    try:
        yield
    finally:
        application.state.stopping.set()
        server.should_exit = True
        thread.join()
        listener.close()
