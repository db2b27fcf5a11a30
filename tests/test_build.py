"""`make build`: the file that is checked is the file that is packaged, and what is packaged is told."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from linkrunner_webhooks import __version__, config
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.package import (
    BILL,
    DIGEST,
    bill,
    digest,
    main,
    pinned,
    stamp,
    the_package,
    version_of,
)
from linkrunner_webhooks_local.project import ROOT

# Like SAM, it builds in a copy of src/ elsewhere and passes its environment on.
SAM = """#!/bin/sh
set -e
cp -R "{root}/src" "{folder}/copy"
for name in Receive Deliver; do
    make -s -C "{folder}/copy" build-${{name}}Function ARTIFACTS_DIR="{folder}/build/${{name}}Function" \\
        UV="{folder}/uv" LAMBDA_PYTHON=9.9
done
cp "{root}/template.yaml" "{folder}/build/template.yaml"
"""
# Installs nothing, and writes down which requirements it was given, in a file that the real one leaves, too.
UV = """#!/bin/sh
command=$2
while [ $# -gt 0 ]; do
    case $1 in
        --requirements) files="$files $2" ;;
        --target) target=$2 ;;
    esac
    shift
done
case $command in
    install)
        mkdir -p "$target/aws_lambda_powertools/utilities"
        grep -ohE '^[a-z0-9-]+==[^ ]+' $files > "$target/.lock"
        ;;
    freeze) cat "$target/.lock" ;;
esac
"""
PACKAGE = "build/ReceiveFunction"
TABLE = '[shop_eu]\nprovider = "stripe"\n'


def build(folder: Path, webhooks_toml: str) -> subprocess.CompletedProcess[str]:
    """The result of `make build` with a stand-in for SAM and its installer, for this file."""
    for name, text in {"sam": SAM.format(root=ROOT, folder=folder), "uv": UV}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "WEBHOOKS_TOML": webhooks_toml}
    variables = (f"SAM={folder / 'sam'}", f"BUILD={folder / 'build'}")
    return subprocess.run(
        ["make", "-s", "-o", "setup", "build", *variables],  # noqa: S607
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("is_relative", [False, True])
def test_what_is_checked_is_packaged(tmp_path: Path, *, is_relative: bool) -> None:
    """The file of WEBHOOKS_TOML is checked and packaged, also by a path that is relative to the project."""
    path = tmp_path / "my shop.toml"
    path.write_text(TABLE)
    done = build(tmp_path, os.path.relpath(path, ROOT) if is_relative else str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shop_eu" in done.stdout
    assert (tmp_path / PACKAGE / "webhooks.toml").read_text() == TABLE
    assert "cryptography==" not in (tmp_path / PACKAGE / "requirements.txt").read_text()


def test_the_template_says_what_is_packaged(tmp_path: Path) -> None:
    """Its outputs name the version and the configuration, so that a stack can be asked what it runs."""
    path = tmp_path / "webhooks.toml"
    path.write_text(TABLE)
    done = build(tmp_path, str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    stamped = (tmp_path / "build" / "template.yaml").read_text()
    version, digest_ = version_of(digest(tmp_path / PACKAGE)), config.load(path).digest
    told = f'Version: "{version}", ConfigurationDigest: "{digest_}", Sources: "shop_eu"'
    assert told in stamped
    assert version.startswith(f"{__version__}+")
    with pytest.raises(Failure, match="no place for Version"):
        stamp(tmp_path / "build" / "template.yaml", config.load(path), version)


def test_packages_the_projects_own_file_by_default(tmp_path: Path) -> None:
    """Without WEBHOOKS_TOML it is src/webhooks.toml."""
    done = build(tmp_path, "")
    assert done.returncode == 0, done.stdout + done.stderr
    packaged = (tmp_path / PACKAGE / "webhooks.toml").read_text()
    assert packaged == (ROOT / "src" / "webhooks.toml").read_text()


def test_what_the_checked_file_needs_is_installed(tmp_path: Path) -> None:
    """The packaged file decides on the requirements, too."""
    path = tmp_path / "webhooks.toml"
    path.write_text("[apple]\n")
    done = build(tmp_path, str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cryptography==" in (tmp_path / PACKAGE / "requirements.txt").read_text()


@pytest.mark.parametrize("text", ["[strip]", None])
def test_a_file_that_is_not_valid_is_not_packaged(tmp_path: Path, text: str | None) -> None:
    """A mistake, or no file at all, ends the build before anything is packaged."""
    path = tmp_path / "webhooks.toml"
    if text is not None:
        path.write_text(text)
    done = build(tmp_path, str(path))
    assert done.returncode != 0
    assert "webhooks.toml" in done.stderr
    assert not (tmp_path / "build").exists()


# ------------------------------------------------------------------------------- what is told of it


def pins(name: str) -> set[str]:
    """What a requirement file of the package pins."""
    return set(pinned((ROOT / "src" / name).read_text("utf-8")))


def read(path: Path) -> dict[str, Any]:
    """A bill of materials."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def libraries(found: dict[str, Any]) -> set[str]:
    """The requirements that a bill lists."""
    parts = (each for each in found["components"] if each["type"] == "library")
    return {f"{each['name']}=={each['version']}" for each in parts}


@pytest.mark.parametrize(
    ("table", "files"),
    [
        (TABLE, ["requirements.txt"]),
        ("[apple]\n", ["requirements.txt", "requirements-certificates.txt"]),
        ("[paytm]\n", ["requirements.txt", "requirements-certificates.txt"]),
    ],
)
def test_the_bill_lists_what_is_packaged(tmp_path: Path, table: str, files: list[str]) -> None:
    """The project with version and licence, what is installed with its hashes, and webhooks.toml."""
    path = tmp_path / "webhooks.toml"
    path.write_text(table)
    done = build(tmp_path, str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = read(tmp_path / BILL)
    project = found["metadata"]["component"]
    assert (project["name"], project["version"]) == ("linkrunner-webhooks", __version__)
    assert project["licenses"] == [{"license": {"id": "MIT"}}]
    assert libraries(found) == set.union(*map(pins, files))
    parts = {each["name"]: each for each in found["components"]}
    pinned_six = (ROOT / "src" / "requirements.txt").read_text().partition("\nsix==")[2]
    (archives,) = parts["six"]["externalReferences"]
    assert archives["hashes"]
    assert all(each["content"] in pinned_six for each in archives["hashes"])
    (config,) = parts["webhooks.toml"]["hashes"]
    assert config["content"] == hashlib.sha256(table.encode()).hexdigest()


def test_the_same_sources_give_the_same_digest_and_bill(tmp_path: Path) -> None:
    """Wherever and whenever it is built, the package has one name, and its bill is the same text."""
    told = []
    for name in ("one", "another"):
        folder = tmp_path / name
        folder.mkdir()
        done = build(folder, "")
        assert done.returncode == 0, done.stdout + done.stderr
        line = done.stdout.splitlines()[-1]
        told.append((line.partition("bill of")[0], (folder / BILL).read_text()))
    assert told[0] == told[1]
    line, text = told[0]
    package = tmp_path / "one" / PACKAGE
    assert line.startswith(f"package  {digest(package)}  ")
    assert {"name": DIGEST, "value": digest(package)} in json.loads(text)["metadata"]["properties"]
    assert "timestamp" not in text


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package of two functions; the folder of one of them."""
    for name in ("ReceiveFunction", "DeliverFunction"):
        folder = tmp_path / "build" / name
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "a.py").write_text("a")
        (folder / "webhooks.toml").write_text(TABLE)
        (folder / "requirements.txt").write_text(next(iter(pins("requirements.txt"))))
    return tmp_path / "build" / "DeliverFunction"


def test_the_digest_is_of_paths_bytes_and_what_may_run(package: Path) -> None:
    """Another byte, name or executable bit is another package; place, times and other permissions are not."""
    before, file = digest(package), package / "code" / "a.py"
    os.utime(file, (1, 1))
    file.chmod(0o600)
    assert digest(package) == before
    assert digest(Path(shutil.copytree(package, package.parent / "copy"))) == before
    seen = {before}
    file.chmod(0o744)
    seen.add(digest(package))
    file.write_text("b")
    seen.add(digest(package))
    file.rename(package / "a.py")
    seen.add(digest(package))
    assert len(seen) == 4


def test_the_functions_have_one_package(package: Path) -> None:
    """Two packages have no one digest, and no package has none."""
    assert digest(the_package(package.parent)) == digest(package)
    (package / "code" / "a.py").write_text("b")
    with pytest.raises(
        Failure, match=r"differ: DeliverFunction sha256:\w+, ReceiveFunction sha256"
    ):
        the_package(package.parent)
    with pytest.raises(Failure, match="no package"):
        the_package(package / "code")


def test_a_file_that_changes_during_the_build_is_noticed(package: Path, tmp_path: Path) -> None:
    """What is packaged is what was checked, or the build fails."""
    path = tmp_path / "webhooks.toml"
    path.write_text(TABLE + "# more")
    done = CliRunner().invoke(main, [str(package.parent), str(path)])
    assert (done.exit_code, "changed during the build" in done.stderr) == (1, True)
    assert not (tmp_path / BILL).exists()


def test_nothing_is_packaged_that_is_not_pinned(package: Path) -> None:
    """A requirement of another version than the pinned one gets no bill."""
    (package / "requirements.txt").write_text("six==0.1")
    with pytest.raises(Failure, match=r"six==0\.1"):
        bill(package, digest(package), {"six==1.17.0": []})
