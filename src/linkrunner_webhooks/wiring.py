"""The composition root: the real clients and settings of the functions, built once per cold start.

The environment comes in as a mapping, so that the local stack and tests pass their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linkrunner_webhooks import config
from linkrunner_webhooks.aws import Environment, Patience, region
from linkrunner_webhooks.errors import ConfigError


def setting(environment: Environment, name: str) -> str:
    """One environment variable. Raises ConfigError naming it when it is missing."""
    value = environment.get(name, "").strip()
    if not value:
        raise ConfigError(f"environment variable {name} is not set")
    return value


def positive(environment: Environment, name: str) -> float:
    """One positive number from the environment. Raises ConfigError naming it."""
    text = setting(environment, name)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigError(f"environment variable {name} must be a positive number, not {text!r}")
    return number


def webhooks(environment: Environment) -> config.Config:
    """The packaged webhooks.toml, or the file that WEBHOOKS_TOML names."""
    path = environment.get("WEBHOOKS_TOML")
    return config.load(Path(path)) if path else config.load()


def client(service: str, environment: Environment, patience: Patience) -> Any:
    """An SDK client with timeouts and a bounded number of attempts."""
    # Only deliver needs it, and it takes half of a cold start. receive uses aws.py in its place.
    from botocore.config import Config as BotoConfig  # noqa: PLC0415
    from botocore.session import Session  # noqa: PLC0415

    # botocore takes 50 ms less than boto3.
    return Session().create_client(
        service,
        region_name=region(environment) or None,
        endpoint_url=environment.get("AWS_ENDPOINT_URL"),
        aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=environment.get("AWS_SESSION_TOKEN"),
        config=BotoConfig(
            connect_timeout=patience.connect,
            read_timeout=patience.read,
            retries={"mode": "standard", "total_max_attempts": patience.attempts},
        ),
    )
