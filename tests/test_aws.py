"""The two calls that receive makes without the SDK: signed as documented, patient, with the SDK's errors."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from linkrunner_webhooks.aws import Patience, SecretsManagerClient, SqsClient, failure

SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_SESSION_TOKEN": "a-token",
}
PATIENCE = Patience(connect=0.5, read=0.5, attempts=2)


@dataclass
class Service:
    """An AWS that answers with the script's status and body, then with 200; `None` does not answer."""

    script: list[tuple[int, bytes] | None] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.requests.append((headers, body))
        answer = self.script.pop(0) if self.script else (200, b'{"SecretString": "s3cret"}')
        if answer is None:
            self.released.wait(20)
            return 500, b""
        return answer


@contextmanager
def running(service: Service) -> Iterator[None]:
    """The service listens while the block runs; its URL is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = service.answer(headers, body)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.send_header("retry-after", "20")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        service.released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that answers as its script says."""
    made = Service()
    with running(made):
        yield made


def secrets(service: Service) -> SecretsManagerClient:
    """A client of Secrets Manager that leads to the service."""
    return SecretsManagerClient(ENVIRONMENT | {"AWS_ENDPOINT_URL": service.url}, PATIENCE)


def signature(headers: dict[str, str], body: bytes, service: str) -> str:
    """Signature Version 4, written down from its documentation.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    authorization = headers["authorization"]
    found = re.search(r"SignedHeaders=([^,]+)", authorization)
    assert found
    names = found[1].split(";")
    moment = headers["x-amz-date"]
    scope = f"{moment[:8]}/eu-central-1/{service}/aws4_request"
    canonical = "\n".join(
        [
            "POST",
            "/",
            "",
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    key = f"AWS4{SECRET_KEY}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def test_a_secret_is_read(service: Service) -> None:
    """The operation, its parameters and the answer, as the service's reference has them."""
    assert secrets(service).get_secret_value(SecretId="arn")["SecretString"] == "s3cret"
    ((headers, body),) = service.requests
    assert headers["x-amz-target"] == "secretsmanager.GetSecretValue"
    assert json.loads(body) == {"SecretId": "arn"}


@pytest.mark.parametrize("name", ["secretsmanager", "sqs"])
def test_requests_are_signed(service: Service, name: str) -> None:
    """The signature is the one AWS computes; the session's token is signed along."""
    if name == "sqs":
        environment = ENVIRONMENT | {"AWS_ENDPOINT_URL": service.url}
        queue = SqsClient("https://sqs.example.com/1/q", environment, PATIENCE)
        queue.send_message(QueueUrl="https://sqs.example.com/1/q", MessageBody="ünï €")
    else:
        secrets(service).get_secret_value(SecretId="arn")
    ((headers, body),) = service.requests
    authorization = headers["authorization"]
    assert f"/eu-central-1/{name}/aws4_request" in authorization
    assert "x-amz-security-token" in authorization
    assert headers["x-amz-security-token"] == "a-token"
    assert authorization.rpartition("Signature=")[2] == signature(headers, body, name)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_passing_fault_is_tried_again(service: Service, status: int) -> None:
    """Once more, no more often than it was told, and at once: a provider waits, whatever AWS asks for."""
    begun = time.monotonic()
    service.script = [(status, b"")]
    assert secrets(service).get_secret_value(SecretId="arn")["SecretString"] == "s3cret"
    assert len(service.requests) == 2
    service.script = [(status, b"")] * 2
    with pytest.raises(ClientError) as caught:
        secrets(service).get_secret_value(SecretId="arn")
    assert failure(caught.value) == f"HTTP{status}"
    assert len(service.requests) == 4
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            b'{"__type": "ResourceNotFoundException", "Message": "s3cret"}',
            "ResourceNotFoundException",
        ),
        (b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist"}', "QueueDoesNotExist"),
        (b"<html>", "HTTP400"),
        (b"[]", "HTTP400"),
        (b"", "HTTP400"),
    ],
)
def test_a_refusal_has_its_code(service: Service, body: bytes, code: str) -> None:
    """What AWS refuses is not tried again, and is known by its short name."""
    service.script = [(400, body)]
    with pytest.raises(ClientError) as caught:
        secrets(service).get_secret_value(SecretId="arn")
    assert failure(caught.value) == code
    assert "s3cret" not in str(caught.value)
    assert len(service.requests) == 1


def test_a_service_that_does_not_answer_costs_its_time_limits(service: Service) -> None:
    """A service that does not answer costs its time limits, and is the SDK's kind of error."""
    service.script = [None, None]
    with pytest.raises(EndpointConnectionError):
        secrets(service).get_secret_value(SecretId="arn")
    assert len(service.requests) == 2


def test_a_refused_connection_is_the_sdks_error() -> None:
    """Where nobody listens, the error is the SDK's kind, too."""
    service = Service(url="http://127.0.0.1:9")
    with pytest.raises(BotoCoreError):
        secrets(service).get_secret_value(SecretId="arn")


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "secretsmanager.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "secretsmanager.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "secretsmanager.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_secrets_are_at_the_regions_endpoint(region: str, host: str) -> None:
    """Secrets are read at the endpoint that the SDK has for the region."""
    client = SecretsManagerClient(ENVIRONMENT | {"AWS_REGION": region}, PATIENCE)
    assert client.endpoint == f"https://{host}"


def test_a_queue_is_where_its_url_says() -> None:
    """Requests about a queue go to the host of its URL."""
    url = "https://sqs.eu-central-1.amazonaws.com/123456789012/webhooks"
    assert (
        SqsClient(url, ENVIRONMENT, PATIENCE).endpoint == "https://sqs.eu-central-1.amazonaws.com"
    )
