"""Secrets Manager in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class SecretsManager:
    """One secret: its value, or the error that reading it gives, and which ids were asked for."""

    value: Any = "one"
    error: Exception | None = None
    reads: list[str] = field(default_factory=list)

    def get_secret_value(self, **arguments: str) -> Mapping[str, Any]:
        self.reads.append(arguments["SecretId"])
        if self.error is not None:
            raise self.error
        return {"SecretString": self.value} if self.value is not None else {"SecretBinary": b"x"}

    def put_secret_value(self, **arguments: str) -> None:
        if self.error is not None:
            raise self.error
        self.value = arguments["SecretString"]
