"""The pages that ask: numbers as pictures, and what became of one id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from linkrunner_webhooks_cli.pages.listing import Filter
from linkrunner_webhooks_cli.pages.numbers import (
    HEIGHT,
    SERIES,
    WIDTH,
    answered,
    delivered,
    money,
    timeline,
)
from linkrunner_webhooks_cli.pages.parked import MOST
from linkrunner_webhooks_cli.pages.site import Site, number_in
from linkrunner_webhooks_cli.trace import Step, traced, unknown
from linkrunner_webhooks_cli.user_paths import masked
from linkrunner_webhooks_local.recorder import Recorder

_MOST_HERE: Final = 20
_PERIODS: Final = (1, 7, 30)
_AGES: Final = (7, 30, 400)


@dataclass(frozen=True, slots=True)
class NumberPages:
    """Over what was recorded, and what the ledger knows."""

    site: Site
    recorder: Recorder

    def routes(self) -> list[BaseRoute]:
        return [
            self.site.route("/numbers", self._numbers),
            self.site.route("/numbers/traffic", self._traffic),
            self.site.route("/trace", self._trace),
        ]

    async def _numbers(self, request: Request) -> Response:
        days = _one_of(_PERIODS, request.query_params.get("days", ""))
        found = await self.site.looked(
            lambda: money(self.site.stack(), self.site.config, days, MOST)
        )
        return self.site.page(
            "numbers.html", money=found, periods=_PERIODS, **await self._pictures()
        )

    async def _traffic(self, request: Request) -> Response:
        """The part that changes by itself."""
        del request
        return self.site.page("traffic.html", **await self._pictures())

    async def _pictures(self) -> dict[str, Any]:
        arrivals, now = list(self.recorder.newest()), datetime.now(UTC).timestamp()

        def drawn() -> dict[str, Any]:
            return {
                "timeline": timeline(arrivals, now),
                "answered": answered(arrivals),
                "delivered": delivered(arrivals),
                "series": SERIES,
                "width": WIDTH,
                "height": HEIGHT,
            }

        return await run_in_threadpool(drawn)

    async def _trace(self, request: Request) -> Response:
        id = request.query_params.get("id", "").strip()
        age = _one_of(_AGES, request.query_params.get("days", ""), 30)
        whole = request.query_params.get("values") == "shown"
        since = datetime.now(UTC) - timedelta(days=age)
        steps: list[Step] = []

        def shown(user: str) -> str:
            # Who asks for a user by name knows the name.
            return user if whole or user == id else masked(user)

        def found() -> list[Step]:
            return traced(id, self.site.stack(), self.site.config, since, shown=shown)

        if id:
            steps = await self.site.looked(found)
        return self.site.page(
            "trace.html",
            id=id,
            age=age,
            ages=_AGES,
            steps=steps,
            whole=whole,
            nothing=unknown(id, since),
            here=await run_in_threadpool(self._here, id) if id else [],
        )

    def _here(self, id: str) -> list[int]:
        """The newest requests in which an id stands."""
        wanted = Filter(text=id)
        found = (each.number for each in self.recorder.newest() if wanted.wants(each))
        return list(islice(found, _MOST_HERE))


def _one_of(numbers: tuple[int, ...], written: str, otherwise: int | None = None) -> int:
    found = number_in(written)
    return found if found in numbers and found is not None else otherwise or numbers[0]
