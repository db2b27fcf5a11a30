"""The hot path in process, no network: what a webhook costs to verify, identify, translate and render.

Against the vendor's own SDK doing verification and parsing only, and against the floor: the HMAC of the bytes
and parsing them, which nobody can do without.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks import packages, webhooks
from benchmarks.stub import SECRET
from benchmarks.tables import Progress, Row, Section, ratio, us
from linkrunner_webhooks_cli.samples import Sample

NOW = 1_795_000_000
SECONDS = 3.0
_WORKER = Path(__file__).parent / "workers" / "hot.py"


def measure(_: int, progress: Progress) -> Section:
    """Three bodies, each in a process of its own."""
    ours, sdk = packages.ours(), packages.vendor_sdk()
    cases = {
        "3 KB Stripe event": stripe_event(3_000),
        "10 KB Shopify order": shopify_order(10_000),
        "300 KB Shopify order": shopify_order(300_000),
    }
    rows: list[Row] = []
    for title in progress.over(list(cases), "hot path"):
        rows += _rows(title, _timed(cases[title], ours.folder, sdk))
    return Section("Hot path, one webhook", ("", "best", "ours / it"), tuple(rows))


def _rows(title: str, seconds: dict[str, float]) -> list[Row]:
    whole, early = seconds["whole"], seconds["identify"]
    small = "3 KB" in title
    rows = [
        Row(f"{title}: verify + identify", us(early)),
        Row(f"{title}: verify + identify + translate + render", us(whole)),
        Row(
            f"{title}: floor (HMAC + json.loads)",
            us(seconds["floor"]),
            ratio(whole / seconds["floor"]),
            None if small else 2.0,
        ),
    ]
    if "sdk" in seconds:
        name = f"{title}: SDK (construct_event: verify + parse)"
        rows.append(Row(name, us(seconds["sdk"]), ratio(whole / seconds["sdk"]), 1.0))
    return rows


def _timed(case: dict[str, Any], package: Path, sdk: Path) -> dict[str, float]:
    written = packages.WORK / "case.json"
    written.write_text(json.dumps(case), "utf-8")
    done = subprocess.run(
        [packages.python(), "-S", _WORKER, written, str(SECONDS), "sdk"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{package}:{sdk}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def stripe_event(size: int) -> dict[str, Any]:
    """A paid checkout of about that many bytes, signed."""
    sale = webhooks.sample("stripe", "checkout.session.completed")
    body = sale.body
    session = body["data"]["object"]
    if size < len(json.dumps(body)):
        kept = ("id", "object", "client_reference_id", "amount_total", "currency", "payment_status")
        body["data"]["object"] = session = {key: session[key] for key in kept} | {"metadata": {}}
    metadata = session["metadata"]
    # Stripe takes 50 keys of up to 500 characters.
    missing = size - len(json.dumps(body))
    metadata |= {f"key_{number}": "x" * 100 for number in range(missing // 115)}
    return _case("stripe", sale)


def shopify_order(size: int) -> dict[str, Any]:
    """A paid order with as many lines as make it about that many bytes, signed."""
    order = webhooks.sample("shopify", "orders/paid")
    body = order.body
    line = body["line_items"][0]
    more = (size - len(json.dumps(body))) // len(json.dumps(line))
    body["line_items"] += [line | {"id": 10**12 + number} for number in range(more)]
    return _case("shopify", order)


def _case(provider: str, written: Sample) -> dict[str, Any]:
    webhook = webhooks.signed(provider, written, NOW)
    return {
        "provider": provider,
        "headers": dict(webhook.headers),
        "body": webhook.body.decode(),
        "secret": SECRET,
        "now": NOW,
    }
