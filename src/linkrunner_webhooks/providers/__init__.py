"""The providers, found by their file names and imported on demand."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from linkrunner_webhooks.provider import Provider


@cache
def names() -> tuple[str, ...]:
    """Every supported provider, sorted."""
    return tuple(sorted(module.name for module in iter_modules(__path__)))


@cache
def load(name: str) -> Provider:
    """The provider of that name. Raises KeyError for anything that is not a file of this package."""
    if name not in names():
        raise KeyError(name)
    provider: Provider = import_module(f"{__name__}.{name}").provider
    return provider
