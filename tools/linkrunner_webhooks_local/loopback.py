"""An HTTP/1.1 server on loopback around one plain function from request to response.

Both fronts of the local stack (the gateway and the embedded Linkrunner) are such functions, so
neither needs a socket to be tested.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final

HOST: Final = "127.0.0.1"
NAMES: Final = frozenset({HOST, "localhost", "::1"})
# API Gateway's own limit for a request body.
MAX_BODY: Final = 10 * 1024 * 1024
# A client that is still sending would not see an answer; one that never ends gets none.
MAX_DISCARD: Final = 8 * MAX_BODY
_IDLE_SECONDS: Final = 75.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request as sent: header names and the target are not normalised."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    peer: str = HOST
    protocol: str = "HTTP/1.1"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: object, headers: Mapping[str, str] | None = None) -> Response:
        """A JSON response."""
        return cls(
            status,
            json.dumps(value).encode(),
            {"Content-Type": "application/json", **(headers or {})},
        )


# None resets the connection instead of answering.
Answerer = Callable[[Request], Response | None]


def listen(port: int = 0) -> socket.socket:
    """A listening socket on loopback. Connections wait in it until somebody serves it."""
    return socket.create_server((HOST, port), backlog=128)


def url_of(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


@contextmanager
def serving(listener: socket.socket, answer: Answerer) -> Iterator[None]:
    """Serve `listener` while the block runs; then let running exchanges finish, and close it."""
    server = _Server(listener, answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="loopback")
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join()


class _Server(ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, answer: Answerer) -> None:
        super().__init__(listener.getsockname(), _Exchange, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.answer = answer
        self.stopping = False
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        # Not preceded by a FIN as the inherited one is: a reset has to be the first thing the
        # client sees, and an answered request has been read to its end.
        self.close_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is no news; anything else is a mistake in this module.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self, patience: float = 5.0) -> None:
        self.stopping = True
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._connections:
                # Wakes those that wait for a next request; the others still send their answer.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
            self._changed.wait_for(lambda: not self._connections, patience)


class _UnreadableError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = Response.of(status, {"message": message})


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without this every answer waits 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    # An answer leaves in one piece.
    wbufsize = -1
    timeout = _IDLE_SECONDS
    server: _Server

    def _exchange(self) -> None:
        try:
            response = self._answer()
        except _UnreadableError as error:
            self.close_connection = True
            response = error.response
        if response is None:
            self._reset()
        else:
            self._send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _exchange  # noqa: N815

    def _answer(self) -> Response | None:
        request = self._request()
        try:
            return self.server.answer(request)
        except Exception:  # noqa: BLE001 - one bad request must not cost the connection its answer
            return Response.of(500, {"message": "Internal Server Error"})

    def _request(self) -> Request:
        return Request(
            method=self.command,
            target=self.path,
            headers=tuple(self.headers.items()),
            body=self._body(),
            peer=self.client_address[0],
            protocol=self.request_version,
        )

    def _body(self) -> bytes:
        length = self._length()
        if length > MAX_BODY:
            # A client that is still sending would not see an answer given before it is done.
            self._discard(min(length, MAX_DISCARD))
            raise _UnreadableError(413, "Request Too Long")
        body = self.rfile.read(length)
        if len(body) < length:
            raise _UnreadableError(400, "Bad Request")
        return body

    def _length(self) -> int:
        text = self.headers.get("Content-Length")
        if "Transfer-Encoding" in self.headers or (text is None and self.command == "POST"):
            raise _UnreadableError(411, "Length Required")
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit()):
            raise _UnreadableError(400, "Bad Request")
        return int(text)

    def _discard(self, length: int) -> None:
        while length > 0 and (chunk := self.rfile.read(min(length, 65_536))):
            length -= len(chunk)

    def _send(self, response: Response) -> None:
        self.close_connection = self.close_connection or self.server.stopping
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def handle_expect_100(self) -> bool:
        """The client sends its body only after this, so it must not stay in the buffer."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Malformed requests are answered in JSON like everything else."""
        del message, explain
        self.close_connection = True
        # The request line may not have been understood at all.
        self.command = self.command or "GET"
        self.request_version = "HTTP/1.1"
        self._send(Response.of(code, {"message": "Bad Request"}))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what people want to see is the console's business."""
