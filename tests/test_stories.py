"""One purchase, however its provider reports it: each fact is captured once, in every order, sent twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, permutations
from math import factorial
from random import Random

import pytest
from tests import samples
from tests.samples import Sample, every_provider
from tests.stories import Pipeline, sample_of, stories, told, users

from linkrunner_webhooks import providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.model import Flow, Kind
from linkrunner_webhooks_cli.samples import all_with_fresh_ids
from linkrunner_webhooks_cli.stories import read
from linkrunner_webhooks_cli.stories import told as told_to_send

USER = "user_42"
# All of three reports; of four there are 24.
MOST_ORDERS = 6


def orders(reports: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Each report twice: an order of the first time (some, where there are many), and the opposite one."""
    some: Iterable[Sequence[Sample]] = permutations(reports)
    if factorial(len(reports)) > MOST_ORDERS:
        dice = Random(1)
        some = (dice.sample(reports, len(reports)) for _ in range(MOST_ORDERS))
    for order in some:
        yield [*order, *reversed(order)]


@pytest.mark.parametrize("everything", [True, False], ids=["everything-on", "defaults"])
@pytest.mark.parametrize(("name", "title"), list(stories()))
def test_a_fact_is_captured_once(name: str, title: str, *, everything: bool) -> None:
    """In every order (of the defaults: in some), each report twice: the money that moved, of one user."""
    (story,) = (each for each in read(name) if each["story"] == title)
    provider = providers.load(name)
    reports = [told(name, entry) for entry in story["cases"]]
    listed = users(provider, story)
    default = {name: provider.options.example() | listed}
    table = samples.tables(provider, **listed) if everything else default
    for order in islice(orders(reports), None if everything else 2):
        pipeline = Pipeline(provider, Config(table))
        pipeline.deliver(order, known=reports)
        assert pipeline.parked == []
        assert pipeline.money() == {flow: sorted(each) for flow, each in story["money"].items()}
        assert {event.user_id for event in pipeline.captured} <= {USER}
        if everything:
            assert pipeline.besides() == sorted(story["besides"])


HINTED = [
    (name, story["story"])
    for name in providers.names()
    if providers.load(name).lookup
    for story in read(name)
]


@pytest.mark.parametrize(("name", "title"), HINTED)
def test_a_fact_is_captured_once_while_answers_change(name: str, title: str) -> None:
    """Each report is delivered in its time, when its provider knows nothing of the next; and then again."""
    (story,) = (each for each in read(name) if each["story"] == title)
    provider = providers.load(name)
    pipeline = Pipeline(provider, Config(samples.tables(provider, **users(provider, story))))
    reports = [told(name, entry) for entry in story["cases"]]
    for report in reports:
        pipeline.deliver([report])
    pipeline.deliver(reports)
    assert pipeline.parked == []
    assert pipeline.money() == {flow: sorted(each) for flow, each in story["money"].items()}
    assert pipeline.besides() == sorted(story["besides"])


NAMED = [
    (name, title)
    for name, title in stories()
    if any(story["story"] == title and "names" in story for story in read(name))
]


@pytest.mark.parametrize(("name", "title"), NAMED)
def test_a_subscription_begins_with_one_event_of_a_name(name: str, title: str) -> None:
    """Told in order with the defaults, its start, its trial and its payments have these names, each once."""
    (story,) = (each for each in read(name) if each["story"] == title)
    provider = providers.load(name)
    table = provider.options.example() | users(provider, story)
    pipeline = Pipeline(provider, Config({name: table}))
    pipeline.deliver([told(name, entry) for entry in story["cases"]])
    assert sorted(each.event_name for each in pipeline.captured) == sorted(story["names"])


@every_provider
def test_every_provider_tells_how_a_subscription_begins(name: str) -> None:
    """Where one can begin, a story says that the start is one event, whatever else is sent with it."""
    provider = providers.load(name)
    on = {kind for each in provider.types.values() for kind, on in each.switches.items() if on}
    told_in = [story["names"] for story in read(name) if "names" in story]
    if Kind.SUBSCRIPTION_STARTED in on:
        assert any(names.count(Kind.SUBSCRIPTION_STARTED) == 1 for names in told_in)


@pytest.mark.parametrize(("name", "title"), list(stories()))
def test_a_story_with_fresh_ids_is_the_same_story(name: str, title: str) -> None:
    """`send --story` tells another purchase each time: other ids on which all reports still agree."""
    (story,) = (each for each in read(name) if each["story"] == title)
    provider = providers.load(name)
    first = [told_to_send(name, entry) for entry in story["cases"]]
    fresh = all_with_fresh_ids(first, samples.source_of(name))
    pipeline = Pipeline(provider, Config(samples.tables(provider, **users(provider, story))))
    pipeline.deliver([sample_of(name, each) for each in [*first, *fresh]])
    assert pipeline.parked == []
    money = {flow: sorted([*each, *each]) for flow, each in story["money"].items()}
    assert pipeline.money() == money


@every_provider
def test_every_provider_has_its_stories(name: str) -> None:
    """At least one payment is told, by at least two reports of it or of what became of it."""
    flows = {flow for story in read(name) for flow in story["money"]}
    assert Flow.PAYMENT.value in flows
    assert max(len(story["cases"]) for story in read(name)) > 1
