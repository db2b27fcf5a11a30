"""The packages that are compared, built side by side from the same pinned requirements."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from linkrunner_webhooks_cli.package import files, size
from linkrunner_webhooks_local import runtime
from linkrunner_webhooks_local.project import ROOT

WORK = ROOT / ".local" / "bench"
ALTERNATIVES = Path(__file__).parent / "alternatives"
# What a receiver needs that knows no provider and validates nothing.
_SDK = frozenset(
    {"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"}
)


@dataclass(frozen=True, slots=True)
class Package:
    """A folder as Lambda gets it."""

    title: str
    folder: Path

    @property
    def unzipped(self) -> int:
        """Bytes."""
        return size(self.folder)

    @property
    def zipped(self) -> int:
        """Bytes, at the level that `sam deploy` uses."""
        archive = self.folder.with_suffix(".zip")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for name, path in files(self.folder).items():
                out.write(path, name)
        return archive.stat().st_size


def python() -> str:
    """Lambda's Python on this machine."""
    found = runtime.interpreter()
    if found is None:
        sys.exit(
            f"Python {runtime.MINOR} is what Lambda runs: put it on PATH, or install it with pyenv."
        )
    return found


def ours() -> Package:
    """As `make build` builds it."""
    package = _empty("ours")
    runtime.build(ROOT / "src", package)
    return Package("ours", package)


def ours_with_certificates() -> Package:
    """The same for a merchant who uses PayPal or Apple."""
    copy = _empty("source")
    shutil.copytree(ROOT / "src", copy / "src", ignore=_COMPILED)
    with (copy / "src" / "webhooks.toml").open("a", encoding="utf-8") as out:
        out.write("\n[paypal]\n")
    package = _empty("ours-with-certificates")
    runtime.build(copy / "src", package)
    return Package("ours, with PayPal or Apple", package)


def naive() -> Package:
    """The dependencies and sources, installed and nothing more: what a plain `sam build` makes."""
    sources = ROOT / "src"
    package = _installed("naive", _SDK | _names(*sources.glob("requirements*.txt")))
    shutil.copytree(
        sources / "linkrunner_webhooks", package / "linkrunner_webhooks", ignore=_COMPILED
    )
    shutil.copy(sources / "webhooks.toml", package)
    shutil.copy(ALTERNATIVES / "naive.py", package)
    return Package("naive", package)


def minimal() -> Package:
    """The hand-written receiver with the SDK, as a plain `sam build` makes it."""
    package = _installed("minimal", _SDK)
    shutil.copy(ALTERNATIVES / "minimal_receiver.py", package)
    shutil.copy(ALTERNATIVES / "empty.py", package)
    return Package("minimal", package)


def compiled(package: Package) -> Package:
    """The same, with compiled files, so that only the code makes the difference."""
    folder = WORK / f"{package.folder.name}-compiled"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(package.folder, folder)
    _run(python(), "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder)
    return Package(f"{package.title}, compiled", folder)


def runtime_client() -> Path:
    """The client that Lambda's Python runtime brings along."""
    folder = _empty("client")
    _install(folder, ROOT / "requirements" / "runtime.txt")
    return folder


def vendor_sdk() -> Path:
    """Stripe's own library, beside everything else."""
    folder = _empty("sdk")
    _install(folder, ROOT / "requirements" / "bench.txt")
    return folder


_COMPILED = shutil.ignore_patterns("__pycache__")


def _installed(name: str, wanted: frozenset[str]) -> Path:
    package = _empty(name)
    pinned = (
        (ROOT / "requirements" / "dev.txt").read_text("utf-8").replace("\\\n", " ").splitlines()
    )
    requirements = WORK / f"{name}.txt"
    lines = [line for line in pinned if line.partition("==")[0] in wanted]
    requirements.write_text("\n".join(lines) + "\n", "utf-8")
    _install(package, requirements)
    return package


def _names(*pinned: Path) -> frozenset[str]:
    lines = [line for path in pinned for line in path.read_text("utf-8").splitlines()]
    return frozenset(line.partition("==")[0] for line in lines if "==" in line)


def _install(folder: Path, requirements: Path) -> None:
    _run(
        *(runtime.UV, "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--no-build"),
        *("--link-mode", "copy", "--target", folder, "--requirements", requirements),
        *("--python-platform", runtime.PLATFORM, "--python-version", runtime.MINOR),
    )


def _empty(name: str) -> Path:
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
