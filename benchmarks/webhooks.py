"""Signed webhooks for the measurements, made of the samples in events/."""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks.stub import SECRET
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_cli import samples
from linkrunner_webhooks_cli.samples import Sample


@cache
def _source(provider: str) -> Source:
    source = Config({provider: {}}).source(provider)
    assert source is not None
    return source


def sample(provider: str, event_type: str) -> Sample:
    """A sample of one's own, to change."""
    return samples.load(_source(provider), event_type)


def signed(provider: str, written: Sample, now: float) -> Webhook:
    """As the provider would send it, for whoever knows the stub's secret."""
    return written.signed(_source(provider), SECRET, now)


def api_event(webhook: Webhook) -> dict[str, Any]:
    """The webhook as the HTTP API hands it over, payload format 2.0."""
    return {
        "version": "2.0",
        "pathParameters": {"source": webhook.source},
        "headers": dict(webhook.headers),
        "body": webhook.body.decode(),
        "isBase64Encoded": False,
    }
