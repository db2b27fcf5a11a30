"""A webhook in a file: a body as the provider sends it, or {"headers": ..., "body": ...}."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from linkrunner_webhooks.config import Source
from linkrunner_webhooks.model import Webhook

# They are about one connection, and it was another one.
_OF_THE_CONNECTION = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "host"}
    | {"expect", "keep-alive", "transfer-encoding"}
)


def _headers(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    return dict(_header(value) for value in values)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.UsageError(f'--header takes Name:Value, not "{text}"')
    return name.strip().lower(), value.strip()


header_option = click.option(
    "--header",
    "headers",
    multiple=True,
    callback=_headers,
    metavar="K:V",
    help="A request header; repeatable.",
)


def webhook_of(source: Source, written: bytes, headers: Mapping[str, str]) -> Webhook:
    """The webhook that was written down, with these headers above its own."""
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        value = None
    if not (
        isinstance(value, dict)
        and {"headers", "body"} <= value.keys()
        and isinstance(value["headers"], dict)
    ):
        return Webhook(source.name, dict(headers), written)
    stored = {str(key).lower(): str(each) for key, each in value["headers"].items()}
    kept = {key: each for key, each in stored.items() if key not in _OF_THE_CONNECTION}
    body = value["body"]
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return Webhook(source.name, kept | dict(headers), text.encode())
