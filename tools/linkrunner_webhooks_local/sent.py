"""For which webhook a request to Linkrunner was made, as far as its fields say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The fields of an event by which its webhook is known.
_KNOWN = ("source", "provider_event_type", "provider_event_id")


def value(request: object, field: str, targets: Mapping[str, str | None]) -> Any:
    """A field of an event or a payment, read under the name that webhooks.toml gives it."""
    data: Mapping[str, Any] = getattr(request, "event_data", {})
    return data.get(targets.get(field, field) or "")


def is_sent_for(
    request: object, key: tuple[str, str, str], targets: Mapping[str, str | None]
) -> bool | None:
    """Whether it was made for the webhook with this source, type and id; None where no field says.

    An event id alone can be shared: Shopify gives one to everything that one action caused.
    """
    found = [value(request, field, targets) for field in _KNOWN]
    if all(each is None for each in found):
        return None
    return all(each in (None, known) for each, known in zip(found, key, strict=True))
