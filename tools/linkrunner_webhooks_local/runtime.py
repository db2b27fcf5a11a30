"""The package as Lambda runs it, on this machine: its build, and AWS's emulator of the runtime interface."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from linkrunner_webhooks_local.project import ROOT, LocalError

UV: Final = ROOT / ".venv" / "bin" / "uv"
MINOR: Final = "3.13"
# As wheels call this machine; empty where the emulator cannot run.
MACHINE: Final = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
}.get(platform.machine().lower(), "")
PLATFORM: Final = f"{MACHINE}-manylinux_2_28"
_PATIENCE: Final = 30.0
_LONGEST_BUILD: Final = 120.0


def interpreter(minor: str = MINOR) -> str | None:
    """A Python of that minor version that really starts, found where src/build.sh looks."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{minor}")
    installed = sorted(map(str, pyenv.glob(f"versions/{minor}.*/bin/python")))
    probe = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != '{minor}')"
    for candidate in [*([on_path] if on_path else []), *installed]:
        started = subprocess.run([candidate, "-Ic", probe], capture_output=True, check=False)  # noqa: S603
        if started.returncode == 0:
            return candidate
    return None


def build(sources: Path, package: Path, minor: str = MINOR) -> None:
    """Build what Lambda gets, for this machine. Raises LocalError with what the recipe said."""
    variables = {
        "ARTIFACTS_DIR": package,
        "UV": UV,
        "LAMBDA_PLATFORM": PLATFORM,
        "LAMBDA_PYTHON": minor,
        # The packaged one of the sources, whatever the shell says.
        "WEBHOOKS_TOML": "",
    }
    assignments = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "-s", "-C", str(sources), "build-ReceiveFunction", *assignments]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=_LONGEST_BUILD, check=False
    )
    if done.returncode:
        raise LocalError(f"The package cannot be built:\n{done.stdout}{done.stderr}")


def emulated(python: str, handler: str, port: int, api_port: int) -> list[str]:
    """The command that runs a handler in the package it is started in, and takes its events at `port`.

    -S keeps the host's installed packages out, as they would hide what the package lacks.
    """
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[MACHINE]
    rapid = "lib/python3*/site-packages/samcli/local/rapid"
    (emulator,) = ROOT.glob(f".venvs/sam/{rapid}/aws-lambda-rie-{machine}")
    return [
        *(str(emulator), "--log-level", "error"),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api_port}"),
        *(python, "-S", "-m", "awslambdaric", handler),
    ]


def invocations(port: int) -> str:
    """Where the emulator takes events."""
    return f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on. Held together while choosing, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def listens(port: int, alive: Callable[[], bool]) -> bool:
    """Whether something listens there before long; not when what should is not alive any more."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and alive():
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.005)
    return False
