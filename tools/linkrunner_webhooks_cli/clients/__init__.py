"""Clients of the providers' own APIs: what happened there, and which endpoints are set up.

One module a provider, found by its name. The modules that all share are listed here.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from linkrunner_webhooks_cli.clients.client import Client

_SHARED = frozenset({"api", "client", "credentials", "links"})


def names() -> tuple[str, ...]:
    """Every provider whose API there is a client of."""
    return tuple(sorted({each.name for each in iter_modules(__path__)} - _SHARED))


def client_of(name: str) -> type[Client] | None:
    """The client of a provider's API, or None."""
    if name not in names():
        return None
    module = import_module(f"{__name__}.{name}")
    (found,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Client) and each.provider == name
    )
    return found
