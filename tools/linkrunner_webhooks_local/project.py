"""Where things are in this checkout, and the error every part of the local stack reports with."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
WEBHOOKS_TOML = ROOT / "src" / "webhooks.toml"
# Set LINKRUNNER_WEBHOOKS_STATE to run a second stack beside the one that commands find by default.
STATE_FILE = Path(os.environ.get("LINKRUNNER_WEBHOOKS_STATE") or ROOT / ".local" / "stack.json")
MINISTACK_PYTHON = ROOT / ".venvs" / "ministack" / "bin" / "python"


class LocalError(Exception):
    """The local stack cannot start; the message is one sentence that names what to change."""
