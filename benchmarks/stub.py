"""An AWS and a Linkrunner that answer at once with what the functions need, so that only we are measured."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "whsec_benchmark"
_ANSWERS: dict[str, Any] = {
    "GetSecretValue": {"SecretString": json.dumps({"stripe": [SECRET], "shopify": [SECRET]})},
    "SendMessage": {"MessageId": "1", "MD5OfMessageBody": ""},
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise the two ends wait for each other, 40 ms an answer.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        operation = (self.headers["x-amz-target"] or "").rpartition(".")[2]
        answer = dict(_ANSWERS.get(operation, {}))
        if operation == "SendMessage":
            answer["MD5OfMessageBody"] = _md5(json.loads(body)["MessageBody"])
        content = json.dumps(answer).encode()
        self.send_response(200 if operation else 201)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Silence."""


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@contextmanager
def running() -> Iterator[str]:
    """The address of the stub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
