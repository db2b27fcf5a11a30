"""The two AWS calls that a webhook waits for, without the SDK's clients.

A cold start would spend most of its time on building those (docs/decisions.md has the figures). botocore
signs, urllib3 connects and retries, and the errors are the SDK's, so that callers see no difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

Environment = Mapping[str, str]


class Credentials(NamedTuple):
    """Lambda's credentials in the environment of a function, valid as long as the function runs."""

    access_key: str
    secret_key: str
    token: str | None

    @classmethod
    def of(cls, environment: Environment) -> Credentials:
        return cls(
            environment.get("AWS_ACCESS_KEY_ID", ""),
            environment.get("AWS_SECRET_ACCESS_KEY", ""),
            environment.get("AWS_SESSION_TOKEN"),
        )


class Patience(NamedTuple):
    """The limits of a call: timeouts in seconds, and the number of attempts in all."""

    connect: float
    read: float
    attempts: int


class JsonClient:
    """One service that speaks AWS's JSON protocol, at one endpoint."""

    def __init__(
        self, service: str, endpoint: str, environment: Environment, patience: Patience
    ) -> None:
        self.endpoint = environment.get("AWS_ENDPOINT_URL") or endpoint
        self._signer = SigV4Auth(Credentials.of(environment), service, region(environment))
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=patience.connect, read=patience.read),
            # A repeated request is harmless here: deliver recognises a webhook that is stored twice.
            retries=urllib3.Retry(
                patience.attempts - 1,
                status_forcelist=(429, 500, 502, 503, 504),
                allowed_methods=None,
                raise_on_status=False,
                # The provider waits for our answer, so a Retry-After of AWS is ignored.
                respect_retry_after_header=False,
            ),
        )

    def call(self, target: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one operation. Raises ClientError or EndpointConnectionError, as the SDK does."""
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
        request = AWSRequest("POST", f"{self.endpoint}/", headers, json.dumps(parameters))
        self._signer.add_auth(request)
        try:
            answer = self._pool.request(
                "POST", request.url, body=request.data, headers=dict(request.headers)
            )
        except urllib3.exceptions.HTTPError:
            raise EndpointConnectionError(endpoint_url=self.endpoint) from None
        if answer.status != 200:
            raise ClientError(_error(answer.status, answer.data), target.rpartition(".")[2])
        return dict(json.loads(answer.data))


class SecretsManagerClient(JsonClient):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html"""

    def __init__(self, environment: Environment, patience: Patience) -> None:
        where = region(environment)
        # The only partition with another domain that has what this stack needs.
        domain = "amazonaws.com.cn" if where.startswith("cn-") else "amazonaws.com"
        endpoint = f"https://secretsmanager.{where}.{domain}"
        super().__init__("secretsmanager", endpoint, environment, patience)

    def get_secret_value(self, **parameters: Any) -> dict[str, Any]:
        return self.call("secretsmanager.GetSecretValue", parameters)


class SqsClient(JsonClient):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""

    def __init__(self, url: str, environment: Environment, patience: Patience) -> None:
        parts = urlsplit(url)
        super().__init__("sqs", f"{parts.scheme}://{parts.netloc}", environment, patience)

    def send_message(self, **parameters: Any) -> dict[str, Any]:
        return self.call("AmazonSQS.SendMessage", parameters)


def failure(error: BotoCoreError | ClientError) -> str:
    """The short name of an error of AWS, or of the way to it."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "ClientError"))
    return type(error).__name__


def region(environment: Environment) -> str:
    """The region of a function, as Lambda or a developer's machine names it."""
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", "")


def _error(status: int, body: bytes) -> dict[str, Any]:
    """The error in the SDK's shape: `{"Error": {"Code": ...}}`."""
    try:
        # Some services write `namespace#Code`.
        code = str(json.loads(body)["__type"]).rpartition("#")[2]
    except (ValueError, KeyError, TypeError):
        code = f"HTTP{status}"
    return {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
