"""The embedded AWS: ministack in a process of its own, reachable from this machine only."""

from __future__ import annotations

import http.client
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config

from linkrunner_webhooks_local.loopback import HOST, listen, url_of
from linkrunner_webhooks_local.project import MINISTACK_PYTHON, LocalError

Service = Literal[
    "cloudformation", "cloudwatch", "dynamodb", "logs", "s3", "secretsmanager", "sns", "sqs", "sts"
]

_KEY: Final = "local"
_SERVER: Final = Path(__file__).with_name("ministack_server.py")
_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Aws:
    """An AWS that is not Amazon's. Whatever is made from it can reach nothing else."""

    endpoint_url: str
    region: str = "us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables through which the handlers find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _KEY,
        }

    def client(self, service: Service) -> Any:
        """A client that ignores the developer's own profiles, credentials and proxies."""
        return _session().create_client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_KEY,
            config=Config(
                proxies={},
                connect_timeout=2,
                read_timeout=30,
                retries={"total_max_attempts": 3, "mode": "standard"},
            ),
        )


@contextmanager
def embedded_aws() -> Iterator[Aws]:
    """An empty AWS for as long as the block runs. It dies with this process, however that ends."""
    with tempfile.TemporaryFile() as log:
        process, aws = _start(_interpreter(), log)
        try:
            _require_answer(aws, log)
            yield aws
        finally:
            _stop(process)


def _session() -> botocore.session.Session:
    session = botocore.session.Session(
        # A profile named in the shell may not exist here, and must not matter.
        session_vars={"profile": (None, [], None, None)}
    )
    session.set_config_variable("config_file", os.devnull)
    session.set_config_variable("credentials_file", os.devnull)
    return session


def _interpreter() -> Path:
    python = Path(os.environ.get("MINISTACK_PYTHON") or MINISTACK_PYTHON)
    if not python.is_file():
        raise LocalError(
            f"The embedded AWS is not installed ({python} is missing): run `make setup`, "
            "or set MINISTACK_PYTHON to an interpreter that has ministack."
        )
    return python


def _start(python: Path, log: IO[bytes]) -> tuple[subprocess.Popen[bytes], Aws]:
    with listen() as listener:
        process = subprocess.Popen(  # noqa: S603 - our own program in our own environment
            [python, "-I", _SERVER, str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            env=_process_environment(listener.getsockname()[1]),
            # A Ctrl-C is ours to handle: requests in flight still need their AWS.
            start_new_session=True,
        )
        return process, Aws(url_of(listener))


def _process_environment(port: int) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "GATEWAY_PORT": str(port),
        # The host in queue addresses; "localhost" may resolve to ::1, where nobody listens.
        "MINISTACK_HOST": HOST,
        "LOG_LEVEL": "WARNING",
        # These would open further ports, and tidy up containers that belong to somebody else.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",
    }


def _require_answer(aws: Aws, log: IO[bytes]) -> None:
    """The socket listens from the start, so one request waits exactly as long as the start takes.

    When the process ends instead, the socket goes with it and the request fails at once.
    """
    connection = http.client.HTTPConnection(urlsplit(aws.endpoint_url).netloc, timeout=_PATIENCE)
    try:
        connection.request("GET", "/_ministack/health")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise LocalError(f"The embedded AWS did not start: {_last_line(log) or error}") from None
    finally:
        connection.close()


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
