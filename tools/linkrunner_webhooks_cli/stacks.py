"""Where the queues of a stack are: the local one that is running, or a deployed one by its name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

import boto3
import click

from linkrunner_webhooks import history
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import DeadLetters, depth
from linkrunner_webhooks.errors import Parked
from linkrunner_webhooks.held import plan_in
from linkrunner_webhooks.ledger import Ledger
from linkrunner_webhooks.letters import Letter, foresee
from linkrunner_webhooks.once import KEPT
from linkrunner_webhooks.past import Past, marked
from linkrunner_webhooks.queues import WebhookQueue
from linkrunner_webhooks.rows import DAY
from linkrunner_webhooks.secrets import ProviderKeys, Secret, ServerKey, SigningSecrets
from linkrunner_webhooks.translation import Decision, decide, parked
from linkrunner_webhooks.watch import History
from linkrunner_webhooks_cli import formation
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.records import Records, Snapshot
from linkrunner_webhooks_cli.running import running
from linkrunner_webhooks_local.embedded_aws import Service
from linkrunner_webhooks_local.state import LocalStack

stack_option = click.option(
    "--stack",
    metavar="NAME",
    help="A deployed stack (default: the local one that `make run` started).",
)


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack's outputs, and a way to talk to its AWS services."""

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    linkrunner_url: str
    client: Callable[[Service], Any]

    def output(self, name: str) -> str:
        """Raises Failure when the stack is not one of ours, or an older one."""
        try:
            return self.outputs[name]
        except KeyError:
            raise Failure(
                f"stack {self.name} has no output {name}; deploy this version first"
            ) from None

    def dead_letters(self) -> DeadLetters:
        return DeadLetters(
            self.client("sqs"), self.output("DeadLetterQueueUrl"), self.output("WebhookQueueUrl")
        )

    def parked(self) -> int:
        """About how many webhooks are in the dead-letter queue."""
        return depth(self.client("sqs"), self.output("DeadLetterQueueUrl")).total

    def hidden(self) -> int:
        """About how many webhooks of both queues nobody can look at now: in delivery, or backing off."""
        sqs = self.client("sqs")
        depths = [
            depth(sqs, self.output(each)) for each in ("WebhookQueueUrl", "DeadLetterQueueUrl")
        ]
        return sum(each.hidden + each.delayed for each in depths)

    def backlog(self) -> int:
        """About how many webhooks are not delivered yet: waiting, in delivery or backing off."""
        return depth(self.client("sqs"), self.output("WebhookQueueUrl")).total

    def ledger(self) -> Ledger:
        """What this stack reported."""
        days = int(self.parameters.get("LedgerDays", KEPT // DAY))
        return Ledger(self.client("dynamodb"), self.output("LedgerTableName"), kept=days * DAY)

    def records(self) -> Records:
        """The same, to be read by id, user and day."""
        return Records(self.client("dynamodb"), self.output("LedgerTableName"))

    def snapshot(self) -> Snapshot:
        """The same, to be asked of thousands of facts."""
        return Snapshot(self.client("dynamodb"), self.output("LedgerTableName"))

    def webhook_queue(self) -> WebhookQueue:
        """Where the receiving function puts what it has verified."""
        return WebhookQueue(self.client("sqs"), self.output("WebhookQueueUrl"))

    def signing_secrets(self) -> SigningSecrets:
        """What the providers sign with, as the receiving function reads it."""
        return SigningSecrets(self._secret("WebhookSecretsArn"))

    def server_key(self) -> ServerKey:
        """What Linkrunner knows this stack by."""
        return ServerKey(self._secret("LinkrunnerKeySecretArn"))

    @property
    def asks_providers(self) -> bool:
        """Whether it may ask providers for what their webhooks lack."""
        return "ProviderKeysArn" in self.outputs

    def provider_keys(self) -> ProviderKeys:
        """What the providers' own APIs know this stack by. Raises Failure where it asks none."""
        if not self.asks_providers:
            raise Failure(
                f"stack {self.name} asks no provider: deploy it with ProviderKeys=on first"
            )
        return ProviderKeys(self._secret("ProviderKeysArn"))

    def _secret(self, output: str) -> Secret:
        return Secret(self.client("secretsmanager"), self.output(output))

    def put_secret(self, output: str, value: str) -> None:
        """Replace the secret that this output names."""
        client = self.client("secretsmanager")
        client.put_secret_value(SecretId=self.output(output), SecretString=value)

    def log_groups(self) -> list[str]:
        """The log groups of both functions."""
        return self._resources("AWS::Logs::LogGroup")

    def history(self, sources: Iterable[str]) -> History:
        """The hours behind of these sources and the dead-letter queue. Raises Unseen."""
        queue_name = self.output("DeadLetterQueueUrl").rpartition("/")[2]
        namespace = f"LinkrunnerWebhooks/{self.name}"
        return history.read(self.client("cloudwatch"), namespace, queue_name, sources, time.time())

    def is_somebody_subscribed(self) -> bool:
        """Whether somebody has confirmed to get the alarm mails. Raises what the SDK raises."""
        return any(
            # Else it is a word: PendingConfirmation, Deleted.
            each["SubscriptionArn"].startswith("arn:")
            for topic in self._resources("AWS::SNS::Topic")
            for each in self.client("sns").list_subscriptions_by_topic(TopicArn=topic)[
                "Subscriptions"
            ]
        )

    def _resources(self, type: str) -> list[str]:
        described = self.client("cloudformation").describe_stack_resources(StackName=self.name)
        return [
            each["PhysicalResourceId"]
            for each in described["StackResources"]
            if each["ResourceType"] == type
        ]

    def foresee(self, letter: Letter, config: Config) -> Decision:
        """What deliver would do with a letter now."""
        return foresee(letter, config, self.ledger(), now=time.time())

    def note_captured(self, letter: Letter, config: Config, *, dry_run: bool) -> Decision:
        """Note the events of a letter as captured: a person found them at Linkrunner.

        Their other reports are duplicates from now on, and their refunds find who paid. Nothing is noted of
        what becomes no event, or nobody's; the decision says why.
        """
        facts = self.ledger().facts
        try:
            plan = plan_in(letter.text, config)
            decision = decide(plan, facts.user_of, facts.rate_of)
        except Parked as error:
            return parked(error)
        unnoted = Past.of(letter.attributes).captured
        for each, event in zip(decision.planned, decision.events, strict=True):
            known = unnoted.get(marked(each.keys))
            owner = known.owner if known else uuid4().hex
            if not dry_run and (known or not facts.is_done(each.keys, each.shared)):
                told = each.told_by(event)
                facts.complete(each.keys, event.user_id, owner, each.marks, told, each.shared)
        return decision


def find(name: str | None) -> Stack:
    """The named stack in the account of the current AWS credentials, or the local one."""
    if name is None:
        return _local()
    # Functions are given AWS_REGION and so are many shells; the SDK reads another name.
    session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
    if not session.region_name:
        raise Failure("no AWS region; set AWS_REGION or a profile with one")
    found = _state(name, session.client)
    base_url = found.parameters.get("LinkrunnerBaseUrl", "")
    # To make one takes longer than most requests.
    return Stack(name, found.outputs, found.parameters, base_url, cache(session.client))


def _local() -> Stack:
    local = running()
    if local is None:
        raise Failure(
            "the local stack is not running; start it with `make run`, or give --stack NAME"
        )
    return of_local(local)


def of_local(local: LocalStack) -> Stack:
    """The stack that runs on this machine."""
    name = local.stack_name
    found = _state(name, local.aws.client)
    client = cache(local.aws.client)
    return Stack(name, found.outputs, found.parameters, local.linkrunner_url, client)


def _state(name: str, client: Callable[[Service], Any]) -> formation.State:
    cloudformation = client("cloudformation")
    found = formation.state(cloudformation, name)
    if not found.status:
        region = cloudformation.meta.region_name
        raise Failure(f"there is no stack {name} in {region}; check --stack and AWS_REGION")
    return found
