"""Connections to Linkrunner: an answer has its time, and what was idle is not used again."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from threading import Timer
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, ProtocolError

from linkrunner_webhooks.words import READ

# Seconds. A slow Linkrunner captures what we stopped waiting for, and a retry captures it again.
CONNECT, ANSWER = 3.0, 30.0
# Seconds for the rest of an answer whose status is known.
MOMENT = 2.0
# Seconds. Servers keep a connection for at least five.
IDLE = 3.0


def pool(size: int, headers: dict[str, str]) -> urllib3.PoolManager:
    """Connections to one host that are kept, so many at once. Nothing is tried again by itself."""
    kept = urllib3.PoolManager(
        num_pools=1,
        maxsize=size,
        timeout=urllib3.Timeout(connect=CONNECT, read=ANSWER),
        retries=False,
        headers=headers,
    )
    kept.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return kept


class _Prompt(HTTPConnection):
    """A connection on which an answer has begun, to the end of its headers, within the time for it.

    The timeout of a socket starts anew with every byte. A connection that was idle is not used again: the
    other side ends it when it likes, and a request on it that meets the end counts as one without an answer.
    """

    _used_at = 0.0

    @property
    def is_connected(self) -> bool:
        # By the clock of the world: others stand still while a function is frozen.
        return 0 <= time.time() - self._used_at <= IDLE and super().is_connected

    def getresponse(self) -> Any:
        with _prompt(self.sock):
            response = super().getresponse()
        self._used_at = time.time()
        return response


class _SecurePrompt(_Prompt, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Prompt


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecurePrompt


@contextmanager
def _prompt(connected: Any) -> Iterator[None]:
    """End the connection unless the block is over in time. Raises ProtocolError when an answer breaks off.

    TLS breaks off with an error of its own, which elsewhere means that nothing was sent yet.
    """

    def cut() -> None:
        with suppress(OSError):
            # Not TLS's own, which leaves the reader without its session.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = Timer(ANSWER, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except ssl.SSLError as error:
        raise ProtocolError("the answer broke off", error) from None
    finally:
        timer.cancel()


def finished(response: Any) -> bytes:
    """The beginning of the body. It is read to its end, so that the connection can be used again.

    A body that takes longer than a moment costs the connection, and no more time: a byte now and then would
    outlast the function.
    """
    ends_at, body = time.monotonic() + MOMENT, b""
    with suppress(HTTPError, HTTPException, OSError):
        _hurry(response)
        while len(body) < READ and time.monotonic() < ends_at:
            part: bytes = response.read1(READ)
            if not part:
                return body
            body += part
    response.close()
    return body[:READ]


def _hurry(response: Any) -> None:
    """The timeout of a request is for its answer; what follows the status line is given less."""
    connected = getattr(response.connection, "sock", None)
    if connected is not None:
        connected.settimeout(MOMENT)
