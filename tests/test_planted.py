"""The faults of the past can still be planted, and the tests that see them are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.planted.faults import Fault, faults

from linkrunner_webhooks_local.project import ROOT

FAULTS = list(faults())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_its_place(fault: Fault) -> None:
    """Its change is possible in today's code, and makes another program that is one."""
    sound = (ROOT / "src" / "linkrunner_webhooks" / fault.file).read_text("utf-8")
    compile(fault.planted(sound), fault.file, "exec")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_its_tests_are_there(fault: Fault) -> None:
    """Each names a file of tests, or a test in one."""
    for test in fault.seen_by:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / path).read_text("utf-8") or not name


def test_the_guide_tells_of_all() -> None:
    """docs/guarantees.md has the table that `python -m tests.planted --write` makes."""
    guide = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    assert [fault.name for fault in FAULTS if f"| {fault.kind} |" not in guide] == []
