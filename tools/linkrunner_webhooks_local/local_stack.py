"""The parts put together: gateway -> receive -> queue -> poller -> deliver -> Linkrunner."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from starlette.routing import BaseRoute

from linkrunner_webhooks import deliver_function, receive_function
from linkrunner_webhooks.capture import Capture
from linkrunner_webhooks.config import Config
from linkrunner_webhooks.dead_letters import depth
from linkrunner_webhooks.reports import Report
from linkrunner_webhooks_local import asgi
from linkrunner_webhooks_local import cloudformation as stacks
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.console import Console
from linkrunner_webhooks_local.embedded_aws import embedded_aws
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner
from linkrunner_webhooks_local.gateway import Receive, event, gateway
from linkrunner_webhooks_local.journal import Journal
from linkrunner_webhooks_local.loopback import Request, listen, url_of
from linkrunner_webhooks_local.poller import Deliver, Poller
from linkrunner_webhooks_local.project import STATE_FILE, LocalError
from linkrunner_webhooks_local.provider_apis import ProviderApis, key_of
from linkrunner_webhooks_local.recorder import Recorder
from linkrunner_webhooks_local.sandboxes import Sandboxes
from linkrunner_webhooks_local.settings import Settings
from linkrunner_webhooks_local.state import LocalStack, published
from linkrunner_webhooks_local.switches import no_path

Observe = Callable[[Report], None]
# The pages that show what a recorder remembers of a stack.
Pages = Callable[[LocalStack, Recorder, EmbeddedLinkrunner | None], Sequence[BaseRoute]]

_RECEIVE: Final = "ReceiveFunction"
_DELIVER: Final = "DeliverFunction"


@contextmanager
def local_stack(settings: Settings, console: Console, pages: Pages) -> Iterator[LocalStack]:
    """Everything, ready for webhooks while the block runs. Raises LocalError."""
    with ExitStack() as running:
        # First, because a busy port is the likeliest mistake; served last, because until then
        # nothing is ready.
        listener = running.enter_context(_listen(settings.port))
        linkrunner = _linkrunner(settings, running)
        linkrunner_url = linkrunner.url if linkrunner else str(settings.linkrunner_base_url)
        aws = running.enter_context(embedded_aws())
        stack = stacks.create(aws, {"LinkrunnerBaseUrl": linkrunner_url, "ProviderKeys": "on"})
        # With keys of one's own the real ones are asked.
        apis = None if settings.provider_keys else _provider_apis(console.config, running)
        _store_secrets(stack, settings, console.config)
        # What waits and what is parked dies with the embedded AWS: counted when deliver has ended.
        running.callback(_say_what_is_lost, stack, console)
        journal = Journal(STATE_FILE.with_name(f"outcomes-{os.getpid()}.jsonl"))
        running.callback(journal.path.unlink, missing_ok=True)

        recorder = Recorder()

        def observe(report: Report) -> None:
            journal.observe(report)
            recorder.observe(report)
            console.observe(report)

        receive = recorder.receiving(_receive(stack, console, observe))
        running.enter_context(_poller(stack, console, recorder, observe, apis).running())
        local = LocalStack(
            endpoint_url=aws.endpoint_url,
            region=aws.region,
            stack_name=stack.name,
            url=url_of(listener),
            linkrunner_url=linkrunner_url,
            provider_apis_url=apis.url if apis else "",
            pid=os.getpid(),
            webhooks_toml=str(settings.webhooks_toml),
            test_events=settings.test_events,
            outcomes=str(journal.path),
            secrets={source: list(values) for source, values in settings.secrets.items()},
        )

        def strayed(request: Request) -> None:
            console.unknown_path(request)
            # A browser asks for that by itself.
            if not request.path.endswith((".ico", ".png")):
                why = no_path(request.path, console.config.names)
                recorder.strayed(event(request, request.path), why)

        answer = gateway(receive, console.failed, strayed)
        app = asgi.app(answer, pages(local, recorder, linkrunner))
        running.enter_context(asgi.serving(listener, app))
        running.enter_context(published(local))
        yield local


def _listen(port: int) -> socket.socket:
    try:
        return listen(port)
    except OSError as error:
        reason = "in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise LocalError(f"Port {port} is {reason}; set PORT to a free one.") from None


def _linkrunner(settings: Settings, running: ExitStack) -> EmbeddedLinkrunner | None:
    """The embedded one; None where another is in use."""
    if settings.linkrunner_base_url is not None:
        return None
    # Where events wait for signups, it knows nobody before.
    users = () if settings.holds else None
    return running.enter_context(EmbeddedLinkrunner(key=settings.linkrunner_key, users=users))


def _provider_apis(config: Config, running: ExitStack) -> ProviderApis | None:
    """Imitations of the APIs that deliver asks; None where it asks none."""
    asks = any(source.provider.lookup for source in config.sources())
    return running.enter_context(ProviderApis()) if asks else None


def _store_secrets(stack: EmbeddedStack, settings: Settings, config: Config) -> None:
    secrets = json.dumps(settings.secrets)
    put = stack.aws.client("secretsmanager").put_secret_value
    put(
        SecretId=stack.environment(_DELIVER)["LINKRUNNER_KEY_SECRET_ARN"],
        SecretString=settings.linkrunner_key,
    )
    put(SecretId=stack.environment(_RECEIVE)["WEBHOOK_SECRETS_ARN"], SecretString=secrets)
    keys = {
        each.name: key_of(each.provider.name) for each in config.sources() if each.provider.lookup
    }
    put(
        SecretId=stack.environment(_DELIVER)["PROVIDER_KEYS_ARN"],
        SecretString=json.dumps(settings.provider_keys or keys),
    )


def _say_what_is_lost(stack: EmbeddedStack, console: Console) -> None:
    sqs = stack.aws.client("sqs")
    # When the embedded AWS has died before, nobody can count.
    with suppress(BotoCoreError, ClientError):
        lost = {
            what: depth(sqs, stack.outputs[output]).total
            for what, output in (("parked", "DeadLetterQueueUrl"), ("waiting", "WebhookQueueUrl"))
        }
        counted = " and ".join(f"{count} {what}" for what, count in lost.items() if count)
        one = sum(lost.values()) == 1
        if counted:
            console.say(
                f"{counted} {'is' if one else 'are'} gone with it; "
                f"send {'it' if one else 'them'} again after the next start."
            )


def _environment(stack: EmbeddedStack, function: str) -> Mapping[str, str]:
    # The handlers get it as an argument; this process's own environment may be somebody's AWS.
    return stack.environment(function) | stack.aws.environment


def _receive(stack: EmbeddedStack, console: Console, observe: Observe) -> Receive:
    build = partial(
        receive_function.build,
        _environment(stack, _RECEIVE),
        observe=observe,
        config=console.config,
    )
    sandboxes: Sandboxes[Receive] = Sandboxes(build)

    def receive(event: dict[str, Any]) -> Mapping[str, Any]:
        if (name := event["pathParameters"]["source"]) not in console.config.names:
            console.unknown_source(name)
        with sandboxes.lent() as handler:
            return handler(event)

    return receive


def _poller(
    stack: EmbeddedStack,
    console: Console,
    recorder: Recorder,
    observe: Observe,
    apis: ProviderApis | None,
) -> Poller:
    def watched(capture: Capture) -> Capture:
        return console.watched(recorder.watched(capture))

    build: Callable[[], Deliver] = partial(
        deliver_function.build,
        {**_environment(stack, _DELIVER), "PROVIDER_APIS_URL": apis.url if apis else ""},
        observe=observe,
        config=console.config,
        watched=watched,
    )
    return Poller(
        sqs=stack.aws.client("sqs"),
        source=stack.queue_source(_DELIVER),
        region=stack.aws.region,
        timeout=stack.timeout(_DELIVER),
        lent=Sandboxes(build).lent,
        failed=console.failed,
    )
