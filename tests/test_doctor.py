"""`doctor --stack`: the way in, what is deployed, what is looked for every half hour, and who hears of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.secrets_manager import SecretsManager

from linkrunner_webhooks import __version__, providers
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.history import Unseen
from linkrunner_webhooks.model import Outcome
from linkrunner_webhooks.receive import Receiver
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks.secrets import Secret, SigningSecrets
from linkrunner_webhooks.watch import HOUR, Heard, History
from linkrunner_webhooks_cli import deployed, doctor
from linkrunner_webhooks_cli.findings import Finding
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_cli.targets import Target
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.development import development_secret
from linkrunner_webhooks_local.gateway import gateway
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of

CONFIG = Config({"stripe": {}, "shopify": {}, "paypal": {}})
SECRETS = {
    name: [development_secret(source)]
    for name in CONFIG.names
    if (source := CONFIG.source(name)) is not None
}


class Receiving:
    """A deployed receiver: the real one, behind the API, with what it reported and stored."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.reports: list[Report] = []
        self.secrets = SecretsManager(json.dumps(SECRETS))
        receiver = Receiver(
            config=CONFIG,
            secrets=SigningSecrets(Secret(self.secrets, "arn", clock=lambda: float("inf"))),
            store=lambda text, _: self.stored.append(text),
            now=time.time,
            observe=self.reports.append,
        )
        self.answer = gateway(receiver.respond, lambda _: None)


@pytest.fixture
def receiving() -> Iterator[tuple[Receiving, str]]:
    """The receiver, and the URL it is found at."""
    found, listener = Receiving(), listen(0)
    with serving(listener, found.answer):
        yield found, f"{url_of(listener)}/webhooks/"


def stack(url: str, *, live: Any = SECRETS, **more: Any) -> Stack:
    """A deployed stack with this URL and these secrets."""
    outputs = {
        "WebhookUrl": url,
        "WebhookSecretsArn": "arn",
        "DeadLetterQueueUrl": "http://127.0.0.1:9/shop-dead-letters",
        "Version": __version__,
        "ConfigurationDigest": CONFIG.digest,
    }
    clients = {"secretsmanager": SecretsManager(json.dumps(live)), **more.pop("clients", {})}
    parameters = more.pop("parameters", {})
    return Stack("shop", outputs | more, parameters, "http://127.0.0.1:9", clients.__getitem__)


def by_name(found: Iterator[Finding]) -> dict[str, Finding]:
    """What was found, by what it is about."""
    return {each.what: each for each in found}


# ------------------------------------------------------------------------------- the way in


def test_each_url_takes_a_signed_webhook_that_counts_nothing(
    receiving: tuple[Receiving, str],
) -> None:
    """The real receiver verifies and drops it; nobody else can sign as PayPal, so its URL is only asked."""
    receiver, url = receiving
    found = by_name(deployed.ways_in(stack(url), CONFIG))
    assert all(each.right for each in found.values())
    assert found["URL of stripe"].found == f"{url}stripe takes signed webhooks"
    assert receiver.stored == []
    assert {each.outcome for each in receiver.reports} == {Outcome.IGNORED}
    assert {each.source for each in receiver.reports} >= {"stripe", "shopify"}


def test_what_is_sent_is_of_a_type_that_no_version_knows(
    receiving: tuple[Receiving, str],
) -> None:
    """Another version may forward today what is off here, and would count it."""
    receiver, url = receiving
    list(deployed.ways_in(stack(url), CONFIG))
    sent = {each.source: each.event_type for each in receiver.reports}
    assert sent == dict.fromkeys(CONFIG.names, "linkrunner.probe")


@pytest.mark.parametrize("name", providers.names())
def test_no_provider_is_asked_with_its_secret_itself(name: str) -> None:
    """A token goes to whoever answers; a signature tells nobody the secret. Nothing sent is forwarded."""
    source = Config({name: providers.load(name).options.example()}).source(name)
    assert source is not None
    target = Target(name, "http://127.0.0.1:9", development_secret(source), "")
    signed = deployed._unknown_type(source, target)
    if signed is None:
        return
    assert source.signature.covers != "sender"
    assert target.secret not in f"{signed.headers} {signed.body!r}"
    (event,) = source.provider.unpack(signed)
    assert not source.wants(source.provider.identify(event).event_type)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>"), (404, b"no such page"), (404, b'{"message": "no"}'), (301, b"")],
)
def test_whoever_else_answers_gets_nothing_that_is_signed(status: int, body: bytes) -> None:
    """Before DNS is moved the name may be somebody else's."""
    requests: list[str] = []

    def answer(request: Request) -> Response:
        requests.append(request.method)
        return Response(status, body)

    listener = listen(0)
    with serving(listener, answer):
        found = by_name(deployed.ways_in(stack(f"{url_of(listener)}/webhooks/"), CONFIG))
    assert not any(each.right for each in found.values())
    assert set(requests) == {"GET"}


def test_a_secret_that_the_function_does_not_know_yet(receiving: tuple[Receiving, str]) -> None:
    """It is answered 401, and why is said."""
    _, url = receiving
    known = SECRETS | {"stripe": ["whsec_other_0123456789"]}
    found = by_name(deployed.ways_in(stack(url, live=known), CONFIG))["URL of stripe"]
    assert not found.right
    assert found.found.endswith("answers 401")
    assert "another secret" in found.advice


@pytest.mark.parametrize(
    ("domain", "advice"), [("hooks.example.com", "DomainName"), ("", "can this machine reach AWS?")]
)
def test_a_url_that_nobody_answers(domain: str, advice: str) -> None:
    """A name whose record is missing, say."""
    closed = stack("http://127.0.0.1:9/webhooks/", parameters={"DomainName": domain})
    found = by_name(deployed.ways_in(closed, CONFIG))["URL of stripe"]
    assert not found.right
    assert advice in found.advice


def test_secrets_that_cannot_be_read_end_nothing(receiving: tuple[Receiving, str]) -> None:
    """What is wrong with them was told; the rest is looked at."""
    assert list(deployed.ways_in(stack(receiving[1], live=["no", "table"]), CONFIG)) == []


def test_a_source_without_a_secret_is_told_elsewhere(receiving: tuple[Receiving, str]) -> None:
    """Its URL answers 404, as the finding about its secret says."""
    _, url = receiving
    assert by_name(deployed.ways_in(stack(url, live={}), CONFIG)) == {}


@pytest.mark.parametrize(
    ("outputs", "keys", "right", "words"),
    [
        ({}, {}, False, "ProviderKeys=on"),
        ({"ProviderKeysArn": "arn"}, {}, False, "secrets provider-key gocardless"),
        ({"ProviderKeysArn": "arn"}, {"gocardless": "two words"}, False, "not one word"),
        ({"ProviderKeysArn": "arn"}, {"gocardless": "live_token"}, True, "there"),
        ({"ProviderKeysArn": "arn"}, ["no", "table"], False, "ProviderKeys is not JSON"),
    ],
)
def test_a_source_whose_webhooks_only_hint_needs_a_provider_key(
    outputs: dict[str, str], keys: Any, right: bool, words: str
) -> None:
    """Without it nothing of that source can be delivered; what to do is said, and the key never."""
    config = Config({"stripe": {}, "gocardless": {}})
    found = by_name(doctor._provider_keys(stack("", live=keys, **outputs), config))
    assert list(found) == ["provider key of gocardless"]
    finding = found["provider key of gocardless"]
    assert finding.right is right
    assert words in f"{finding.found} {finding.advice}"
    assert "live_token" not in f"{finding}"
    assert "two words" not in f"{finding}"


# ------------------------------------------------------------------------------- what is deployed


@pytest.mark.parametrize(
    ("version", "digest", "right"),
    [
        (__version__, CONFIG.digest, [True, True]),
        ("0.0.9", CONFIG.digest, [False, True]),
        (__version__, "0123456789ab", [True, False]),
        # Built by hand.
        ("unknown", "unknown", [True, True]),
    ],
)
def test_what_is_deployed_is_compared_with_what_is_here(
    version: str, digest: str, right: list[bool]
) -> None:
    """Another version decides differently, and another file forwards something else."""
    shop = stack("", Version=version, ConfigurationDigest=digest)
    found = list(deployed.versions(shop, CONFIG))
    assert [each.right for each in found] == right
    assert all(each.right or each.advice for each in found)
    assert version in found[0].found
    assert digest in found[1].found


# ------------------------------------------------------------------------------- habits and alarms


@pytest.mark.parametrize(
    ("hours", "what", "advice"),
    [
        ({"bad_signature": 0}, "webhooks of stripe", "secrets set stripe --stack shop"),
        ({"silent": 90}, "webhooks of stripe", "look whether Stripe still sends"),
    ],
)
def test_what_is_looked_for_every_half_hour_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, hours: dict[str, int], what: str, advice: str
) -> None:
    """With the source and what to do."""
    now = int(time.time() // HOUR)
    if "silent" in hours:
        heard = Heard(queued=dict.fromkeys(range(now - 600, now - 90), 1.0))
    else:
        heard = Heard(bad_signature={now: 3.0})
    monkeypatch.setattr(Stack, "history", lambda *_: History({"stripe": heard}))
    (found,) = deployed.habits(stack(""), CONFIG)
    assert (found.what, found.right) == (what, False)
    assert advice in found.advice


@pytest.mark.parametrize(
    ("history", "what", "advice"),
    [
        (
            History(dead_letters=dict.fromkeys(range(600), 1.0)),
            "parked webhooks",
            "dlq list --stack shop",
        ),
        (History(failing=dict.fromkeys(range(600), 9.0)), "deliveries", "is Linkrunner up"),
        (History(held=dict.fromkeys(range(600), 1.0)), "signups", 'unknown_users = "send"'),
    ],
)
def test_each_concern_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, history: History, what: str, advice: str
) -> None:
    """None is left without a next step."""
    monkeypatch.setattr(time, "time", lambda: 599 * HOUR)
    monkeypatch.setattr(Stack, "history", lambda *_: history)
    (found,) = deployed.habits(stack(""), CONFIG)
    assert (found.what, found.right) == (what, False)
    assert advice in found.advice


def test_who_may_not_read_metrics_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the permission that is missing; the rest is looked at all the same."""

    def denied(*_: Any) -> History:
        raise Unseen("AccessDenied")

    monkeypatch.setattr(Stack, "history", denied)
    (found,) = deployed.habits(stack(""), CONFIG)
    assert (found.found, found.right) == ("cannot be read: AccessDenied", False)
    assert "cloudwatch:GetMetricData" in found.advice


@pytest.mark.parametrize(
    ("parameters", "pending", "right", "words"),
    [
        ({}, False, False, "nobody is told"),
        ({"AlarmEmail": "ops@example.com"}, False, True, "to ops@example.com"),
        ({"AlarmEmail": "ops@example.com"}, True, False, "who is not subscribed"),
        ({"AlarmTopicArn": "arn:aws:sns:r:1:ops"}, False, True, "to arn:aws:sns:r:1:ops"),
    ],
)
def test_whether_somebody_hears_of_alarms(
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, str],
    pending: bool,
    right: bool,
    words: str,
) -> None:
    """An address that was never confirmed gets nothing, and nobody else would say so."""
    monkeypatch.setattr(Stack, "is_somebody_subscribed", lambda _: not pending)
    (found,) = deployed.alarms(stack("", parameters=parameters))
    assert (found.right, words in found.found) == (right, True)


@pytest.mark.parametrize(
    ("arns", "right"),
    [
        (["PendingConfirmation"], False),
        (["Deleted"], False),
        # SNS forgets who never confirms.
        ([], False),
        (["PendingConfirmation", "arn:aws:sns:r:1:topic:0b1c"], True),
    ],
)
def test_the_subscription_is_looked_up_by_the_stacks_topic(arns: list[str], right: bool) -> None:
    """AWS says a word in place of an ARN where nobody gets the mails."""

    class Cloud:
        def describe_stack_resources(self, **_: Any) -> dict[str, Any]:
            topic = {"ResourceType": "AWS::SNS::Topic", "PhysicalResourceId": "arn:topic"}
            return {"StackResources": [topic, {"ResourceType": "other", "PhysicalResourceId": "x"}]}

        def list_subscriptions_by_topic(self, *, TopicArn: str) -> dict[str, Any]:  # noqa: N803
            assert TopicArn == "arn:topic"
            return {"Subscriptions": [{"SubscriptionArn": each} for each in arns]}

    found = stack("", clients={"cloudformation": Cloud(), "sns": Cloud()})
    assert found.is_somebody_subscribed() is right


# ------------------------------------------------------------------------------- the whole command


def run(*arguments: str) -> Result:
    """One run of doctor for the deployed stack."""
    return CliRunner().invoke(main, ["doctor", "--stack", "shop", "--json", *arguments])


def test_a_deployed_stack_is_looked_at_as_a_whole(
    stack: EmbeddedStack,
    receiving: tuple[Receiving, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    """All parts are in one table, with the configuration that --config names."""
    path = tmp_path / "webhooks.toml"
    path.write_text("[stripe]\n[shopify]\n[paypal]\n")
    outputs = {**stack.outputs, "WebhookUrl": receiving[1]}
    outputs |= {"Version": __version__, "ConfigurationDigest": CONFIG.digest}
    shop = Stack("shop", outputs, {}, "http://127.0.0.1:9", stack.aws.client)
    monkeypatch.setattr(doctor, "find", lambda _: shop)
    stack.aws.client("secretsmanager").put_secret_value(
        SecretId=stack.outputs["WebhookSecretsArn"], SecretString=json.dumps(SECRETS)
    )
    found = {each["what"]: each for each in json.loads(run("--config", str(path)).stdout)}
    assert found["URL of stripe"]["right"]
    assert found["deployed webhooks.toml"]["found"] == CONFIG.digest
    assert found["alarms"]["found"] == "nobody is told"
