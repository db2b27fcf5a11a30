"""The package as Lambda gets it: built by the same recipe, run under the real runtime loop, on this machine.

What this cannot show is how AWS behaves: permissions, throttling and time limits are not enforced here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import boto3
import pytest
from tests import samples

from linkrunner_webhooks_cli.package import digest, pinned
from linkrunner_webhooks_local import runtime

ROOT = Path(__file__).parent.parent
MINISTACK = ROOT / ".venvs" / "ministack" / "bin" / "ministack"
TIME_LIMIT = 120.0

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not runtime.MACHINE, reason="the runtime emulator is a Linux program"
)

SIGNING_SECRET = "whsec_test_package"
SERVER_KEY = "key_test_package"
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


# ------------------------------------------------------------------------------- building


@dataclass(frozen=True)
class Built:
    """A package for this machine, the interpreter that runs it, and the runtime client beside it."""

    package: Path
    client: Path
    python: str
    minor: str
    compiled: bool
    digest: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The package, for Lambda's Python where this machine has it and for the running one where not."""
    return _built(tmp_path_factory.mktemp("built"), ROOT / "src")


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The package of somebody who has switched Apple on."""
    folder = tmp_path_factory.mktemp("certified")
    sources = folder / "src"
    shutil.copytree(ROOT / "src", sources, ignore=shutil.ignore_patterns("__pycache__"))
    with (sources / "webhooks.toml").open("a", encoding="utf-8") as out:
        out.write("\n[app]\nprovider = 'apple'\n")
    return _built(folder, sources)


def _built(folder: Path, sources: Path) -> Built:
    package, client = folder / "package", folder / "client"
    package.mkdir()
    python, minor = runtime.interpreter(), runtime.MINOR
    compiled = python is not None
    if python is None:
        python, minor = sys.executable, ".".join(map(str, sys.version_info[:2]))
    runtime.build(sources, package, minor)
    requirements = str(ROOT / "requirements" / "runtime.txt")
    options = ("--quiet", "--require-hashes", "--no-deps", "--target", str(client))
    _run(str(runtime.UV), "pip", "install", *options, "--python", python, "-r", requirements)
    return Built(package, client, python, minor, compiled, digest(package))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------------------- what runs beside it


@contextmanager
def running(
    *command: str, env: Mapping[str, str], cwd: Path, port: int, log: Path
) -> Iterator[None]:
    """A program that listens on `port`; ended with everything it started, or by itself when we die."""
    limited = ["timeout", str(TIME_LIMIT), *command]
    with (
        log.open("wb") as out,
        subprocess.Popen(
            limited, env=env, cwd=cwd, stdout=out, stderr=out, start_new_session=True
        ) as process,
    ):
        try:
            if not runtime.listens(port, alive=lambda: process.poll() is None):
                pytest.fail(f"nothing listens on port {port}:\n{log.read_text('utf-8', 'replace')}")
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)


@dataclass(frozen=True)
class Request:
    """One request Linkrunner got."""

    path: str
    headers: Mapping[str, str]
    body: Any


class LinkrunnerServer:
    """Answers every POST with success, and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                requests.put(Request(self.path, headers, json.loads(body)))
                answer = b'{"status": 200, "msg": "Event captured"}'
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def taken(self) -> list[Request]:
        """What arrived since it was last asked for."""
        arrived = []
        while not self.requests.empty():
            arrived.append(self.requests.get())
        return arrived


@dataclass(frozen=True)
class EmbeddedAws:
    """The resources of the stack that the functions use, in the emulator at `url`."""

    url: str
    sqs: Any
    webhook_queue: str
    dead_letter_queue: str
    claims_table: str
    webhook_secrets: str
    linkrunner_key: str

    @classmethod
    def at(cls, url: str) -> Self:
        """Create the resources in an empty emulator."""
        credentials = {
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "region_name": "us-east-1",
            "endpoint_url": url,
        }
        sqs = boto3.client("sqs", **credentials)
        secrets = boto3.client("secretsmanager", **credentials)
        table = boto3.client("dynamodb", **credentials).create_table(
            TableName="claims",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        )
        signing = json.dumps({"stripe": [SIGNING_SECRET]})
        return cls(
            url=url,
            sqs=sqs,
            webhook_queue=sqs.create_queue(QueueName="webhooks")["QueueUrl"],
            dead_letter_queue=sqs.create_queue(QueueName="dead-letters")["QueueUrl"],
            claims_table=table["TableDescription"]["TableName"],
            webhook_secrets=secrets.create_secret(Name="signing", SecretString=signing)["ARN"],
            linkrunner_key=secrets.create_secret(Name="key", SecretString=SERVER_KEY)["ARN"],
        )


@contextmanager
def embedded_aws(folder: Path) -> Iterator[EmbeddedAws]:
    """An AWS of this test's own, on loopback only."""
    (port,) = runtime.free_ports(1)
    env = {
        "PATH": os.environ["PATH"],
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "TMPDIR": str(folder),
    }
    with running(str(MINISTACK), env=env, cwd=folder, port=port, log=folder / "aws.txt"):
        yield EmbeddedAws.at(f"http://127.0.0.1:{port}")


# ------------------------------------------------------------------------------- the functions


@dataclass(frozen=True)
class Function:
    """One function of the package under the emulator of Lambda's runtime interface."""

    port: int

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The function's answer to an event."""
        request = urllib.request.Request(
            runtime.invocations(self.port),
            data=json.dumps(event).encode(),
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            result: dict[str, Any] = json.load(answer)
            return result


Running = AbstractContextManager[Function]


@contextmanager
def function(
    built: Built, name: str, variables: Mapping[str, str], aws: EmbeddedAws, folder: Path
) -> Iterator[Function]:
    """Start one of the two functions with these variables, the package, and nothing else installed."""
    port, api_port = runtime.free_ports(2)
    command = runtime.emulated(built.python, f"linkrunner_webhooks.{name}.handler", port, api_port)
    env = {
        **AWS,
        **variables,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(built.client),
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_LAMBDA_FUNCTION_NAME": name,
        # What the template's LoggingConfig makes Lambda set.
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "POWERTOOLS_SERVICE_NAME": "linkrunner-webhooks",
        "POWERTOOLS_METRICS_NAMESPACE": "LinkrunnerWebhooks",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }
    log = folder / f"{name}.log"
    with running(*command, env=env, cwd=built.package, port=port, log=log):
        yield Function(port)


def receive_function(built: Built, aws: EmbeddedAws, folder: Path) -> Running:
    """The receiving function, with the variables the template gives it."""
    variables = {
        "WEBHOOK_QUEUE_URL": aws.webhook_queue,
        "WEBHOOK_SECRETS_ARN": aws.webhook_secrets,
    }
    return function(built, "receive_function", variables, aws, folder)


def deliver_function(built: Built, aws: EmbeddedAws, linkrunner: str, folder: Path) -> Running:
    """The delivering function, with the variables the template gives it."""
    variables = {
        "WEBHOOK_QUEUE_URL": aws.webhook_queue,
        "DEAD_LETTER_QUEUE_URL": aws.dead_letter_queue,
        "LEDGER_TABLE": aws.claims_table,
        "LINKRUNNER_KEY_SECRET_ARN": aws.linkrunner_key,
        "LINKRUNNER_BASE_URL": linkrunner,
        "LEDGER_DAYS": "400",
        "REQUESTS_PER_SECOND": "30",
        "DELIVER_CONCURRENCY": "2",
    }
    return function(built, "deliver_function", variables, aws, folder)


# ------------------------------------------------------------------------------- events


def stripe_purchase() -> bytes:
    """A paid Checkout session of 19.99 USD by user-42; every value is invented."""
    session = {
        "id": "cs_live_package_1",
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "payment_intent": "pi_package_1",
        "client_reference_id": "user-42",
        "amount_total": 1999,
        "currency": "usd",
        "livemode": True,
        "metadata": {},
        "customer_details": {"email": "buyer@example.com"},
    }
    event = {
        "id": "evt_package_1",
        "object": "event",
        "type": "checkout.session.completed",
        "created": int(time.time()),
        "livemode": True,
        "data": {"object": session},
    }
    return json.dumps(event).encode()


def stripe_signature(body: bytes) -> str:
    """As in https://docs.stripe.com/webhooks#verify-manually."""
    now = str(int(time.time()))
    signed = hmac.new(SIGNING_SECRET.encode(), now.encode() + b"." + body, hashlib.sha256)
    return f"t={now},v1={signed.hexdigest()}"


def api_event(source: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """What an HTTP API sends in payload format 2.0."""
    path = f"/webhooks/{source}"
    return {
        "version": "2.0",
        "routeKey": "POST /webhooks/{source}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json; charset=utf-8", **headers},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "test",
            "domainName": "test.execute-api.us-east-1.amazonaws.com",
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "Stripe/1.0",
            },
            "requestId": "test-request",
            "routeKey": "POST /webhooks/{source}",
            "stage": "$default",
            "time": "24/Nov/2026:12:00:00 +0000",
            "timeEpoch": int(time.time() * 1000),
        },
        "pathParameters": {"source": source},
        "body": body.decode(),
        "isBase64Encoded": False,
    }


def queue_event(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What Lambda's poller makes of received messages."""
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {
                    name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                    for name, value in message.get("MessageAttributes", {}).items()
                },
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:webhooks",
                "awsRegion": "us-east-1",
            }
            for message in messages
        ]
    }


def waiting(aws: EmbeddedAws) -> list[dict[str, Any]]:
    """The messages waiting in the webhook queue."""
    answer = aws.sqs.receive_message(
        QueueUrl=aws.webhook_queue,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=2,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    messages: list[dict[str, Any]] = answer.get("Messages", [])
    return messages


# ------------------------------------------------------------------------------- tests


def test_the_package_is_compiled_and_carries_only_what_runs(built: Built) -> None:
    """Every module has its compiled twin, and other services' models are not paid for."""
    models = {
        path.name for path in (built.package / "botocore" / "data").iterdir() if path.is_dir()
    }
    assert models == {"cloudwatch", "dynamodb", "secretsmanager", "sqs"}
    assert (built.package / "webhooks.toml").is_file()
    assert not list(built.package.glob("*.dist-info"))
    if built.compiled:
        tag = f"cpython-{built.minor.replace('.', '')}"
        modules = set(built.package.rglob("*.py"))
        twins = {path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in modules}
        assert {twin for twin in twins if not twin.is_file()} == set()


def test_the_package_says_what_is_installed(built: Built, certified: Built) -> None:
    """Its requirements.txt has exactly the pins, with those for certificates where they are needed."""
    plain, more = (
        set(pinned((ROOT / "src" / name).read_text("utf-8")))
        for name in ("requirements.txt", "requirements-certificates.txt")
    )
    for each, pins in ((built, plain), (certified, plain | more)):
        assert set((each.package / "requirements.txt").read_text("utf-8").split()) == pins


def test_the_same_sources_give_the_same_package(built: Built, tmp_path: Path) -> None:
    """A copy of them somewhere else is built to the same digest."""
    sources, package = tmp_path / "elsewhere" / "src", tmp_path / "package"
    shutil.copytree(ROOT / "src", sources, ignore=shutil.ignore_patterns("__pycache__"))
    package.mkdir()
    runtime.build(sources, package, built.minor)
    assert digest(package) == built.digest


_VERIFY = """
import json, sys
from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.signatures.scheme import verify
body, secret = sys.stdin.read().splitlines()
provider = providers.load("apple")
verify(provider.scheme(provider.options()), Webhook("app", {}, body.encode()), [secret], float(sys.argv[1]))
(webhook,) = provider.unpack(Webhook("app", {}, body.encode()))
print(provider.identify(webhook).event_type)
"""


def test_certificates_are_there_for_who_needs_them(built: Built, certified: Built) -> None:
    """The build reads webhooks.toml; what it adds works on Lambda's Python and platform."""
    assert not (built.package / "cryptography").exists()
    sample = samples.any_sample("apple")
    event_type = next(iter(sample.provider.types))
    secret = samples.live_secret(sample.provider)
    sent = f"{sample.signed().body.decode()}\n{secret}\n"
    done = subprocess.run(
        [certified.python, "-S", "-c", _VERIFY, str(samples.NOW)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(certified.package)},
        input=sent,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (event_type, "")


@dataclass(frozen=True)
class Journey:
    """What one signed webhook, and a forged one before it, met on their way through the built functions."""

    forged: dict[str, Any]
    received: dict[str, Any]
    queued: list[dict[str, Any]]
    delivered: dict[str, Any]
    captured: list[Request]
    repeated: dict[str, Any]
    captured_again: list[Request]
    logs: str


@pytest.fixture(scope="module")
def journey(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Starts the embedded AWS, a Linkrunner and both functions, and sends a purchase through them."""
    folder = tmp_path_factory.mktemp("journey")
    body = stripe_purchase()
    with ExitStack() as stack:
        aws = stack.enter_context(embedded_aws(folder))
        linkrunner = stack.enter_context(LinkrunnerServer())
        receive = stack.enter_context(receive_function(built, aws, folder))
        deliver = stack.enter_context(deliver_function(built, aws, linkrunner.url, folder))
        forged = receive.invoke(api_event("stripe", body, {"stripe-signature": "t=1,v1=00"}))
        signature = {"stripe-signature": stripe_signature(body)}
        answer = receive.invoke(api_event("stripe", body, signature))
        queued = waiting(aws)
        delivered = deliver.invoke(queue_event(queued))
        captured = linkrunner.taken()
        repeated = deliver.invoke(queue_event(queued))
        captured_again = linkrunner.taken()
    logs = "\n".join(path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.log")))
    return Journey(forged, answer, queued, delivered, captured, repeated, captured_again, logs)


def test_a_forged_webhook_is_turned_away(journey: Journey) -> None:
    """The built receiver checks signatures."""
    assert journey.forged["statusCode"] == HTTPStatus.UNAUTHORIZED, journey.logs


def test_a_signed_webhook_is_queued(journey: Journey) -> None:
    """The built receiver answers 200, and the message is in the queue."""
    assert journey.received["statusCode"] == HTTPStatus.OK, journey.logs
    body = json.loads(journey.received["body"])
    assert body == {"status": "queued", "event_id": "evt_package_1"}
    assert len(journey.queued) == 1


def test_a_queued_webhook_reaches_linkrunner_once(journey: Journey) -> None:
    """The built deliverer posts the sale with the stored key, and not again when the message repeats."""
    done: dict[str, Any] = {"batchItemFailures": []}
    assert (journey.delivered, journey.repeated) == (done, done), journey.logs
    (request,) = journey.captured
    assert request.path.endswith("/capture-event")
    assert SERVER_KEY in request.headers.values()
    assert request.body["user_id"] == "user-42"
    data = request.body["event_data"]
    assert (data["amount"], data["currency"]) == (19.99, "USD")
    assert "buyer@example.com" not in json.dumps(request.body)
    assert journey.captured_again == []


def test_metrics_have_the_dimensions_the_alarms_name(journey: Journey) -> None:
    """One dimension more would be another metric, and every alarm would wait for one nobody writes."""
    written = [json.loads(line) for line in journey.logs.splitlines() if line.startswith('{"_aws"')]
    directives = [each for line in written for each in line["_aws"]["CloudWatchMetrics"]]
    assert {each["Namespace"] for each in directives} == {"LinkrunnerWebhooks"}
    sets = {tuple(sorted(names)) for each in directives for names in each["Dimensions"]}
    assert sets == {("outcome", "reason"), ("outcome", "source"), ("reason", "source")}


def test_nothing_personal_is_logged(journey: Journey) -> None:
    """Neither the buyer nor a secret is in what the functions print."""
    for secret in ("buyer@example.com", "user-42", SIGNING_SECRET, SERVER_KEY):
        assert secret not in journey.logs
