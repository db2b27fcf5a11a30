"""Copies of a function, as Lambda keeps them: each runs one invocation at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue
from typing import Generic, TypeVar

Handler = TypeVar("Handler", bound=Callable[..., object])


class Sandboxes(Generic[Handler]):
    """Lends the handlers that `build` makes, a new one only when all others are in use."""

    def __init__(self, build: Callable[[], Handler]) -> None:
        self._build = build
        self._building = threading.Lock()
        self._idle: LifoQueue[Handler] = LifoQueue()
        # At once, so that a mistake in the configuration ends the start and not the first webhook.
        self._idle.put(build())

    @contextmanager
    def lent(self) -> Iterator[Handler]:
        handler = self._take()
        try:
            yield handler
        finally:
            self._idle.put(handler)

    def _take(self) -> Handler:
        try:
            return self._idle.get_nowait()
        except Empty:
            # In Lambda copies start in processes of their own, so building one need not be
            # thread-safe, and in boto3 it is not.
            with self._building:
                return self._build()
