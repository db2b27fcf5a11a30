"""Times the hot path in one process and prints JSON; run by benchmarks.hot with the package on PYTHONPATH.

Arguments: a file with {"provider", "headers", "body", "secret", "now"}, and seconds to spend. Each contestant
runs a short burst in turn, again and again, so that a disturbance meets all of them; the best burst counts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linkrunner_webhooks import lean_start  # noqa: F401 - as in Lambda
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.envelope import Opened
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import verify
from linkrunner_webhooks.translation import decide, plan_of

BURST = 0.02


def contestants(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """What is timed, by name: each does the whole of its work for one webhook."""
    name, secret, now = case["provider"], case["secret"], case["now"]
    body = case["body"].encode()
    source = Config({name: {}}).source(name)
    assert source is not None

    def floor() -> object:
        hmac.digest(secret.encode(), body, hashlib.sha256)
        return json.loads(body)

    def identified() -> object:
        webhook = Webhook(name, case["headers"], body)
        verify(source.signature, webhook, (secret,), now)
        return source.provider.identify(webhook)

    def delivered() -> object:
        webhook = Webhook(name, case["headers"], body)
        verify(source.signature, webhook, (secret,), now)
        opened = Opened(webhook, source, source.provider.identify(webhook))
        decision = decide(plan_of(opened), lambda _: "user_42", lambda _: None)
        assert decision.events
        return [json.dumps(event.body()) for event in decision.events]

    found: dict[str, Callable[[], object]] = {
        "floor": floor,
        "identify": identified,
        "whole": delivered,
    }
    if name == "stripe" and "sdk" in sys.argv:
        import stripe  # noqa: PLC0415

        header = case["headers"]["stripe-signature"]

        def constructed() -> object:
            # A tolerance of years: the sample was signed once.
            return stripe.Webhook.construct_event(body, header, secret, tolerance=10**9)

        found["sdk"] = constructed
    return found


def burst(call: Callable[[], object]) -> float:
    """Seconds for one call, from as many as fit into a burst."""
    count, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < BURST:
        call()
        count += 1
    return taken / count


def main() -> None:
    case = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    calls = contestants(case)
    best = dict.fromkeys(calls, float("inf"))
    deadline = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < deadline:
        for name, call in calls.items():
            best[name] = min(best[name], burst(call))
    sys.stdout.write(json.dumps(best))


if __name__ == "__main__":
    main()
