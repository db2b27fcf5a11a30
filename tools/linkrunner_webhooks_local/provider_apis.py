"""Imitations of the providers' own APIs, for webhooks that only hint at what happened.

Whoever sends a sample tells what its provider answers about it: `PUT /<provider><path>`. Deliver is told it
where it asks with the right key; all else is not there.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from contextlib import ExitStack
from typing import Any, Final, Self

import urllib3

from linkrunner_webhooks import providers
from linkrunner_webhooks.lookups import Lookup
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of

_SEED: Final = "development_provider_key"
_GRANTED: Final = {"access_token": "development_access_token", "expires_in": 3599}
# Answers that are remembered.
_MOST: Final = 10_000


def key_of(provider: str) -> str:
    """The key that the imitation of a provider knows."""
    lookup = providers.load(provider).lookup
    return lookup.access.example(f"{_SEED}_{provider}") if lookup else ""


class ProviderApis:
    """All of them, at `url` with the provider's name behind it. `statuses` are answered first, one by one."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.asked: list[str] = []
        self._answers: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._running = ExitStack()
        self.url = ""

    def __enter__(self) -> Self:
        listener = listen()
        self.url = url_of(listener)
        self._running.enter_context(serving(listener, self._answer))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def tell(self, provider: str, answers: dict[str, Any]) -> None:
        """What a provider answers from now on, by path."""
        with self._lock:
            for path, answer in answers.items():
                self._answers[f"/{provider}{path}"] = answer
            while len(self._answers) > _MOST:
                self._answers.popitem(last=False)

    def _answer(self, request: Request) -> Response:
        provider = request.target.split("/")[1] if request.target.count("/") > 1 else ""
        if request.method == "PUT":
            self.tell(
                provider, {request.target.removeprefix(f"/{provider}"): json.loads(request.body)}
            )
            return Response.of(204, {})
        if request.method == "POST":
            return Response.of(200, _GRANTED)
        self.asked.append(request.target)
        if self.statuses:
            status = self.statuses.pop(0)
            return Response.of(status, {"message": f"scripted {status}"})
        lookup = providers.load(provider).lookup if provider in providers.names() else None
        if lookup is None:
            return Response.of(404, {"message": "no such API"})
        if not _is_known(request, lookup, provider):
            return Response.of(401, {"message": "the key is not known"})
        with self._lock:
            answer = self._answers.get(request.target)
        return (
            Response.of(404, {"message": "not found"})
            if answer is None
            else Response.of(200, answer)
        )


def _is_known(request: Request, lookup: Lookup, provider: str) -> bool:
    def exchange(*_: object) -> Any:
        return _GRANTED

    wanted = lookup.access.headers(key_of(provider), exchange, 0.0)
    return all(request.header(name) == value for name, value in wanted.items())


def tell(url: str, provider: str, answers: dict[str, Any]) -> None:
    """Let the imitation at a URL know what a provider answers."""
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        for path, answer in answers.items():
            pool.request("PUT", f"{url}/{provider}{path}", body=json.dumps(answer).encode())
