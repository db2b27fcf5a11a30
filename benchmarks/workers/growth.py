"""Times `receive` on one body in one process and prints seconds; run by benchmarks.growth.

Arguments: a file like that of workers/hot.py, the secret, and the time it was signed at.
"""

from __future__ import annotations

import json
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

from linkrunner_webhooks.config import Config
from linkrunner_webhooks.receive import Receiver

BURST = 0.05
BURSTS = 20


class Secrets:
    def of(self, source: str, max_age: float = 300.0) -> tuple[str, ...]:
        return (sys.argv[2],)


def main() -> None:
    case = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    secrets: Any = Secrets()
    receiver = Receiver(
        config=Config({case["provider"]: {}}),
        secrets=secrets,
        store=lambda text, attributes: None,
        now=lambda: float(sys.argv[3]),
        observe=lambda report: None,
    )
    event = {
        "pathParameters": {"source": case["provider"]},
        "headers": case["headers"],
        "body": b64encode(case["body"].encode()).decode("ascii"),
        "isBase64Encoded": True,
    }
    assert receiver.respond(event)["statusCode"] == 200
    best = float("inf")
    for _ in range(BURSTS):
        count, began = 0, time.perf_counter()
        while (taken := time.perf_counter() - began) < BURST:
            receiver.respond(event)
            count += 1
        best = min(best, taken / max(count, 1))
    sys.stdout.write(str(best))


if __name__ == "__main__":
    main()
