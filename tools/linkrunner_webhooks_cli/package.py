"""`make build`, after SAM: the digest of the package, the bill of materials, what the template says of it.

Both depend on the package's content alone: no time, no random number, no path of this machine.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

import click
from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from linkrunner_webhooks import __version__, config
from linkrunner_webhooks.config import Config
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.output import write_text
from linkrunner_webhooks_local.project import ROOT

BILL: Final = "bill-of-materials.json"
# Where the bill says the package's digest.
DIGEST: Final = "linkrunner-webhooks:package:digest"
# What src/build.sh writes into the package.
_INSTALLED: Final = "requirements.txt"
_CONFIG: Final = "webhooks.toml"

# SHA-256 of the archives of each requirement, as in "six==1.17.0".
Pins = Mapping[str, Sequence[str]]


@click.command()
@click.argument("build", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("webhooks_toml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(build: Path, webhooks_toml: Path) -> None:
    """Look at the package that SAM left in the folder BUILD; WEBHOOKS_TOML is the file that was checked."""
    package = the_package(build)
    if (package / _CONFIG).read_bytes() != webhooks_toml.read_bytes():
        raise Failure(f"{webhooks_toml} changed during the build: build again")
    name = digest(package)
    packaged = config.load(package / _CONFIG)
    # The file may have been changed and changed back after it was checked.
    packaged.sources()
    stamp(build / "template.yaml", packaged, version_of(name))
    out = build.parent / BILL
    pins = pinned("".join(path.read_text("utf-8") for path in ROOT.glob("src/requirements*.txt")))
    out.write_text(bill(package, name, pins), "utf-8")
    told = out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out
    write_text(f"package  {name}  {size(package) / 1e6:.1f} MB  bill of materials in {told}")


def version_of(name: str) -> str:
    """The version with the digest of a package: between two releases there are many packages."""
    return f"{__version__}+{name.partition(':')[2][:12]}"


def stamp(template: Path, packaged: Config, version: str) -> None:
    """Write what is packaged into the mapping of which the stack's outputs come. Raises Failure."""
    text = template.read_text("utf-8")
    told = {
        "Version": version,
        "ConfigurationDigest": packaged.digest,
        "Sources": " ".join(packaged.names),
    }
    for name, value in told.items():
        text, places = re.subn(rf"\b{name}: unknown\b", f'{name}: "{value}"', text)
        if places != 1:
            raise Failure(f"{template} has no place for {name}: build again")
    template.write_text(text, "utf-8")


def the_package(build: Path) -> Path:
    """The folder of one function. All functions have the same package. Raises Failure."""
    by_folder = {each: digest(each) for each in sorted(build.iterdir()) if each.is_dir()}
    if not by_folder:
        raise Failure(f"{build} has no package: build again")
    if len({*by_folder.values()}) > 1:
        told = ", ".join(f"{folder.name} {name}" for folder, name in by_folder.items())
        raise Failure(f"the packages of the functions differ: {told}")
    return next(iter(by_folder))


def digest(folder: Path) -> str:
    """The digest of all files: their paths, whether they are executable, and their bytes."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {_mode(path)} {name}\n"
        for name, path in files(folder).items()
    ]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in files(folder).values())


def files(folder: Path) -> dict[str, Path]:
    """The files in a folder by their paths in it, sorted."""
    found = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    return dict(sorted(found.items()))


def _mode(path: Path) -> str:
    """Other permissions depend on the umask of who builds."""
    return "x" if path.stat().st_mode & 0o100 else "-"


def pinned(requirements: str) -> dict[str, list[str]]:
    """What the text of requirement files pins, with the SHA-256 of its archives."""
    lines = [line for line in requirements.replace("\\\n", " ").splitlines() if "==" in line]
    return {line.split()[0]: re.findall(r"--hash=sha256:(\w+)", line) for line in lines}


def bill(package: Path, name: str, pins: Pins) -> str:
    """CycloneDX of what is in the package, which has that digest. Raises Failure."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    root = Component(
        type=ComponentType.APPLICATION,
        name=project["name"],
        version=__version__,
        description=project["description"],
        licenses=[DisjunctiveLicense(id=project["license"])],
        bom_ref=project["name"],
    )
    settings = Component(
        type=ComponentType.FILE,
        name=_CONFIG,
        bom_ref=_CONFIG,
        hashes=[_hash(hashlib.sha256((package / _CONFIG).read_bytes()).hexdigest())],
    )
    installed = (package / _INSTALLED).read_text("utf-8").split()
    parts = [settings, *(_library(each, pins) for each in installed)]
    bom = Bom(
        components=parts,
        metadata=BomMetaData(component=root, properties=[Property(name=DIGEST, value=name)]),
        # A bill of the same package is the same bill.
        serial_number=uuid5(NAMESPACE_URL, name),
    )
    bom.metadata.timestamp = None  # type: ignore[assignment] # optional in CycloneDX, not in its library
    bom.register_dependency(root, parts)
    written = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    return f"{written}\n"


def _library(requirement: str, pins: Pins) -> Component:
    if requirement not in pins:
        raise Failure(f"{requirement} is in the package, and src/requirements*.txt do not pin it")
    name, _, version = requirement.partition("==")
    address = PackageURL(type="pypi", name=name, version=version)
    # Not `hashes` of the component: one of these archives was installed.
    archives = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(address)),
        hashes=map(_hash, pins[requirement]),
        comment="archives that may be installed",
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        purl=address,
        bom_ref=str(address),
        external_references=[archives],
    )


def _hash(sha256: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=sha256)


if __name__ == "__main__":
    main()
