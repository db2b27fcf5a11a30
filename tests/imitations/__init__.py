"""Imitations of the vendors' own APIs, each written from the vendor's documentation.

They are strict: what the documentation does not list is refused as the vendor would refuse it.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tests.imitations.vendor import Vendor


def names() -> tuple[str, ...]:
    """Every vendor there is an imitation of."""
    found = (each.name for each in iter_modules(__path__))
    return tuple(name for name in sorted(found) if name not in ("vendor", "__main__"))


def imitation_of(name: str) -> type[Vendor]:
    """The imitation of one vendor: the class of its module that has its name."""
    module = import_module(f"{__name__}.{name}")
    (found,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Vendor) and each.name == name
    )
    return found
