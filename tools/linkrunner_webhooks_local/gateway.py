"""The HTTP API in front of `receive`: API Gateway's payload format 2.0, both ways.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from linkrunner_webhooks_local.loopback import Answerer, Request, Response

Receive = Callable[[dict[str, Any]], Mapping[str, Any]]

HEALTH: Final = "/healthz"
_ROUTE: Final = "POST /webhooks/{source}"
_API_ID: Final = "local"
# Form posts are not among them: API Gateway hands those on in base64.
_TEXT: Final = re.compile(r"text/|application/([\w.-]+\+)?(json|javascript|xml)\b")


def gateway(
    receive: Receive,
    failed: Callable[[Exception], None],
    unknown: Callable[[Request], None] = lambda _: None,
) -> Answerer:
    """The API as a function. `failed` is told what an invocation raised; the client is not.

    `unknown` is told of a request that has no route.
    """

    def answer(request: Request) -> Response:
        if (request.method, request.path) == ("GET", HEALTH):
            return Response.of(200, {"status": "ok"})
        source = _source(request)
        if source is None:
            unknown(request)
            return Response.of(404, {"message": "Not Found"})
        try:
            return response(receive(event(request, source)))
        except Exception as error:  # noqa: BLE001 - whatever a function raises is a 500 to the client
            failed(error)
            return Response.of(500, {"message": "Internal Server Error"})

    return answer


def event(request: Request, source: str, now: float | None = None) -> dict[str, Any]:
    """The event that API Gateway invokes the function with."""
    body, is_base64 = _body(request)
    # Cookies, query and body are left out when there are none.
    optional = {
        "cookies": _cookies(request.headers),
        "queryStringParameters": _joined(parse_qsl(request.query, keep_blank_values=True)),
        "body": body,
    }
    return {
        "version": "2.0",
        "routeKey": _ROUTE,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": _headers(request),
        "requestContext": _context(request, time.time() if now is None else now),
        "pathParameters": {"source": source},
        "isBase64Encoded": is_base64,
        **{name: value for name, value in optional.items() if value},
    }


def response(result: Mapping[str, Any]) -> Response:
    """The HTTP response that API Gateway makes of the function's result."""
    status = result["statusCode"]
    if not (isinstance(status, int) and 200 <= status <= 599):
        raise ValueError("the function's statusCode is not an HTTP status")
    headers = {str(name): str(value) for name, value in result.get("headers", {}).items()}
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "text/plain;charset=UTF-8"
    text = result.get("body") or ""
    body = base64.b64decode(text) if result.get("isBase64Encoded") else text.encode()
    return Response(status, body, headers)


def _source(request: Request) -> str | None:
    if request.method != "POST":
        return None
    match request.path.split("/"):
        case ["", "webhooks", source] if source:
            return unquote(source)
    return None


def _body(request: Request) -> tuple[str, bool]:
    content_type = request.header("content-type") or ""
    if _TEXT.match(content_type.strip().lower()):
        try:
            return request.body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(request.body).decode(), bool(request.body)


def _headers(request: Request) -> dict[str, str]:
    sent = [(name.lower(), value) for name, value in request.headers if name.lower() != "cookie"]
    added = {"x-forwarded-for": request.peer, "x-forwarded-proto": "http"}
    return _joined(sent) | added


def _cookies(headers: Iterable[tuple[str, str]]) -> list[str]:
    sent = [value for name, value in headers if name.lower() == "cookie"]
    return [cookie.strip() for value in sent for cookie in value.split(";") if cookie.strip()]


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _context(request: Request, now: float) -> dict[str, Any]:
    host = request.header("host") or ""
    return {
        "accountId": "000000000000",
        "apiId": _API_ID,
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "http": {
            "method": request.method,
            "path": request.path,
            "protocol": request.protocol,
            "sourceIp": request.peer,
            "userAgent": request.header("user-agent") or "",
        },
        "requestId": str(uuid.uuid4()),
        "routeKey": _ROUTE,
        "stage": "$default",
        "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
        "timeEpoch": int(now * 1000),
    }
