"""Reasons: what follows from each, and that the template's alarms and the command know them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from linkrunner_webhooks import errors, once, reading
from linkrunner_webhooks.errors import Reason
from linkrunner_webhooks.history import OUTSIDE
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.reports import Report, fault
from linkrunner_webhooks_cli.advice import ADVICE
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.project import TEMPLATE


def below(root: type[errors.WebhookError]) -> set[type[errors.WebhookError]]:
    """All errors under one."""
    own = set(root.__subclasses__())
    return own | {each for child in own for each in below(child)}


def alarmed() -> set[str]:
    """Every value that an alarm of the template gives the metric dimension `reason`."""
    return {each["Value"] for each in dimensions(alarms()) if each["Name"] == "reason"}


def alarms() -> list[Any]:
    """The alarms of the template."""
    resources = template.load(TEMPLATE)["Resources"].values()
    return [each for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]


def dimensions(node: Any) -> list[dict[str, Any]]:
    """Every dimension anywhere under a node of the template."""
    if isinstance(node, dict):
        inner = [each for value in node.values() for each in dimensions(value)]
        return [*node.get("Dimensions", ()), *inner]
    return [each for value in node for each in dimensions(value)] if isinstance(node, list) else []


def test_alarms_name_reasons_that_exist() -> None:
    """A misspelt reason in the template would watch a metric that nobody writes."""
    assert alarmed() <= {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", Reason)
def test_trouble_has_an_alarm(reason: Reason) -> None:
    """An alarm watches every reason that holds up or hides payments, is shared, or is our own fault."""
    nature = reason.nature
    if nature.outage or nature.shared or nature.ours or nature.setup:
        counted = fault(Report(stage="deliver", outcome=Outcome.RETRYING, reason=reason))
        assert counted or reason in OUTSIDE or reason.value in alarmed()


def test_every_fault_has_an_alarm() -> None:
    """The words that the functions count faults under are those of the alarms, and no others."""
    both = [
        (
            Report(stage="receive", outcome=Outcome.REJECTED, reason=reason),
            Report(stage="deliver", outcome=Outcome.RETRYING, reason=reason),
        )
        for reason in Reason
    ]
    watched = {each["Value"] for each in dimensions(alarms()) if each["Name"] == "fault"}
    assert watched == {fault(each) for pair in both for each in pair} - {""}


def test_every_parked_reason_has_advice() -> None:
    """The command tells an operator what to do about each reason a message is parked for."""
    parked = {each.reason for each in below(errors.Parked)}
    assert parked | {Reason.CRASHED} == set(ADVICE)


@pytest.mark.parametrize("error", sorted(below(errors.WebhookError), key=str))
def test_an_error_has_a_reason_of_its_own(error: type[errors.WebhookError]) -> None:
    """Two errors never share a reason; groups, finer ones and Unavailable have none."""
    if "reason" in vars(error):
        twins = [
            each for each in below(errors.WebhookError) if vars(each).get("reason") == error.reason
        ]
        assert twins == [error]
    else:
        finer = issubclass(error, errors.Untranslatable)
        assert error.__subclasses__() or error is errors.Unavailable or finer


def test_a_busy_fact_is_tried_again_when_its_lease_is_over() -> None:
    """The longest wait for another worker's fact is the time that worker's lease lasts."""
    assert Reason.BUSY.nature.longest_wait <= once.LEASE


def test_old_happenings_are_left_out_before_they_are_forgotten() -> None:
    """A happening that counts as fresh is still remembered by its claim."""
    assert timedelta(seconds=once.KEPT) > reading.FRESH
