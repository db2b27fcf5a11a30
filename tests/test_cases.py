"""The form of golden cases: differences from a sample or another case, each of which counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from tests import samples

from linkrunner_webhooks_cli import cases
from linkrunner_webhooks_cli.cases import BadCase
from linkrunner_webhooks_cli.samples import Sample

ORDER = samples.load("polar", "order.paid")


def polar(entry: Mapping[str, Any]) -> Sample:
    """A webhook that is like Polar's paid order."""
    return cases.expanded("polar", {"like": "order.paid"} | dict(entry))


def test_a_case_is_its_sample_with_differences() -> None:
    """Values are set, paths removed and headers changed; all else is the sample's."""
    found = polar(
        {
            "set": {"data.currency": "jpy", "data.customer.metadata.'a.b'": 1},
            "remove": ["data.billing_reason"],
            "headers": {"webhook-id": "another", "user-agent": None},
        }
    )
    assert found.body["data"]["currency"] == "jpy"
    assert found.body["data"]["customer"]["metadata"]["a.b"] == 1
    assert "billing_reason" not in found.body["data"]
    assert found.headers["webhook-id"] == "another"
    assert "user-agent" not in found.headers
    assert ORDER.body["data"]["currency"] != "jpy"


def test_a_case_can_be_like_a_case() -> None:
    """The differences of both apply."""
    found = cases.expanded("polar", {"like": "refund_updated_in_yen", "set": {"data.amount": 1}})
    assert (found.body["data"]["amount"], found.body["data"]["currency"]) == (1, "jpy")


def test_lists_are_counted_and_appended_to() -> None:
    """A number names an element; the number after the last one appends."""
    body = {"lines": [{"id": 1}]}
    changed = cases.with_values(body, {"lines.0.id": 2, "lines.1": {"id": 3}})
    assert changed == {"lines": [{"id": 2}, {"id": 3}]}
    assert cases.without(changed, ["lines.0"]) == {"lines": [{"id": 3}]}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"set": {"data.currency": "usd"}}, 'it is "usd" already'),
        ({"set": {"data.curency.code": 1}}, "there is no 'curency'; near it: currency"),
        ({"remove": ["data.curency"]}, "it is not there; near it: currency"),
        ({"headers": {"user-agent": "polar.sh webhooks"}}, "already"),
        ({"headers": {"x-nobody": None}}, "not there"),
        ({"sets": {}}, "unknown key 'sets'"),
        ({"like": "order.payd"}, "no sample or case 'order.payd'; near it: order.paid"),
        ({"set": {"data..x": 1}}, "not a path"),
    ],
)
def test_a_difference_that_makes_none_is_an_error(entry: dict[str, Any], problem: str) -> None:
    """A change that changes nothing, a place that is not there and an unknown base are named."""
    with pytest.raises(BadCase, match=re.escape(problem)):
        polar(entry)


def test_a_whole_webhook_needs_both_parts() -> None:
    """Without a base, headers and body must be there."""
    with pytest.raises(BadCase, match="'body' is missing"):
        cases.expanded("polar", {"headers": {}})
