"""A provider's own API on the clock: what it answers by path, and how it fares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.clock import SimClock
from tests.simulation.linkrunner import UP, Mood, refused, timed_out

# Seconds after which the client stops listening.
PATIENCE = 10.0


@dataclass(frozen=True)
class Answer:
    """As urllib3 returns it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def read(self, length: int, *, decode_content: bool) -> bytes:
        del decode_content
        return self.body[:length]

    def release_conn(self) -> None:
        pass


class SimVendor:
    """The urllib3 pool that leads to it. `moods` holds from when on it is how."""

    def __init__(self, clock: SimClock) -> None:
        self.answers: dict[str, Any] = {}
        self.moods: list[tuple[float, Mood]] = []
        self.headers: dict[str, str] = {}
        self.requests: list[float] = []
        self._clock = clock

    def request(self, method: str, url: str, **_: Any) -> Answer:
        assert method == "GET"
        self.requests.append(self._clock.now)
        since = [mood for at, mood in self.moods if at <= self._clock.now]
        mood = since[-1] if since else UP
        if mood.refuses:
            raise refused()
        if mood.hangs:
            self._clock.sleep(PATIENCE)
            raise timed_out("")
        path = "/" + url.split("/", 3)[3]
        if mood.status >= 300:
            headers = {"retry-after": mood.retry_after} if mood.retry_after else {}
            return Answer(mood.status, b"{}", headers)
        if path not in self.answers:
            return Answer(404, b'{"error": {"message": "Resource not found"}}')
        return Answer(200, json.dumps(self.answers[path]).encode())
