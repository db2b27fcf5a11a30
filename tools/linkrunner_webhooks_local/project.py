"""Where things are in this checkout, and the error every part of the local stack reports with."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
WEBHOOKS_TOML = ROOT / "src" / "webhooks.toml"
STATE_FILE = ROOT / ".local" / "stack.json"
MINISTACK_PYTHON = ROOT / ".venvs" / "ministack" / "bin" / "python"


class LocalError(Exception):
    """The local stack cannot start; the message is one sentence that names what to change."""
