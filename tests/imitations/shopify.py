"""Shopify's Admin API: tokens, orders as they are today (REST), and webhook subscriptions (GraphQL).

https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/client-credentials-grant,
https://shopify.dev/docs/api/admin-rest/latest/resources/order, https://shopify.dev/docs/api/usage/pagination-rest,
https://shopify.dev/docs/api/admin-graphql/latest/mutations/webhookSubscriptionCreate
"""

from __future__ import annotations

import json
import operator
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, ClassVar, TypeAlias
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from tests.imitations.vendor import Call, Hook, Refusal, Vendor
from tests.samples import load

from linkrunner_webhooks import providers
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks_local.loopback import Response

Json: TypeAlias = dict[str, Any]
# What the list is filtered by, a place in it, and whether to read before that place.
Cursor: TypeAlias = tuple[dict[str, str], tuple[datetime, int], bool]

SHOP = "imitated-shop.myshopify.com"
CLIENT_ID = "imitatedclientid"
CLIENT_SECRET = "shpss_imitated"
_KEPT = timedelta(days=60)
_TOKENS_LAST = timedelta(seconds=86399)
_SHOP_TIME = ZoneInfo("America/New_York")
_ROUTE = re.compile(
    r"/admin/api/(20\d\d-(?:01|04|07|10))/(?:(orders)|orders/(\d+)/(transactions)|(graphql))\.json"
)
_PAID = ("paid", "partially_refunded", "refunded")
# What an order takes over from the webhook of a topic that tells of a known one.
_TOLD: Mapping[str, tuple[str, ...]] = {
    "orders/create": (),
    "orders/paid": ("financial_status", "total_outstanding", "payment_gateway_names"),
    "orders/cancelled": ("financial_status", "cancelled_at", "cancel_reason", "closed_at"),
}
_BOUNDS: Mapping[str, tuple[str, Callable[[datetime, datetime], bool]]] = {
    "created_at_min": ("created_at", operator.ge),
    "created_at_max": ("created_at", operator.le),
    "updated_at_min": ("updated_at", operator.ge),
    "updated_at_max": ("updated_at", operator.le),
}
_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"
_SIZED = {"limit": r"[1-9]\d?|1\d\d|2[0-4]\d|250", "fields": r"\w+(?:,\w+)*"}
_FILTERS = {"status": "open|closed|cancelled|any", **dict.fromkeys(_BOUNDS, _DATE)}

# Of the GraphQL API.
_TOPICS = {
    each.replace("/", "_").upper(): each
    # No mapper of ours reads the last two.
    for each in (*providers.load("shopify").types, "orders/updated", "app/uninstalled")
}
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "webhookSubscriptions": {
        "first": "Int!",
        "after": "String",
        "topics": "[WebhookSubscriptionTopic!]",
        "uri": "String",
    },
    "webhookSubscriptionCreate": {
        "topic": "WebhookSubscriptionTopic!",
        "webhookSubscription": "WebhookSubscriptionInput!",
    },
    "webhookSubscriptionUpdate": {
        "id": "ID!",
        "webhookSubscription": "WebhookSubscriptionInput!",
    },
    "webhookSubscriptionDelete": {"id": "ID!"},
}
_INPUT = {
    "uri": "String",
    "format": "WebhookSubscriptionFormat",
    "filter": "String",
    "includeFields": "[String!]",
    "metafieldNamespaces": "[String!]",
    "name": "String",
}
_SELECTED = re.compile(
    r"nodes|edges|node|cursor|pageInfo|has(?:Next|Previous)Page|(?:start|end)Cursor|id|topic|uri|format"
    r"|filter|includeFields|metafieldNamespaces|name|createdAt|updatedAt|apiVersion|handle|endpoint|on"
    r"|WebhookHttpEndpoint|__typename|callbackUrl|webhookSubscription|deletedWebhookSubscriptionId"
    r"|userErrors|field|message"
)
_OPERATION = re.compile(
    r"\s*(?:(query|mutation)\s*\w*\s*(?:\(([^)]*)\))?)?\s*\{\s*(\w+)\s*(?:\(([^)]*)\))?(.*)\}\s*",
    re.DOTALL,
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\$?[A-Za-z_]\w*|-?\d+|[{}\[\]:]')


def _whole(topic: str, told: Json) -> Json:
    """With every field that an order has. One that says too little was sold when it changed."""
    sample = load("shopify", "orders/paid").body
    empty: Json = {name: [] if isinstance(value, list) else None for name, value in sample.items()}
    at = told.get("updated_at") or told.get("created_at") or sample["updated_at"]
    times = dict.fromkeys(("created_at", "processed_at", "updated_at"), at)
    paid = {"financial_status": "paid"} if topic == "orders/paid" else {}
    return empty | times | paid | {name: value for name, value in told.items() if value is not None}


@dataclass
class Shopify(Vendor):
    """Orders by their ids. `tokens` are valid until a time."""

    name: ClassVar[str] = "shopify"
    exact: ClassVar[bool] = False
    pauses: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = {
        "SHOPIFY_API_BASE": "{url}",
        "SHOPIFY_SHOP": SHOP,
        "SHOPIFY_CLIENT_ID": CLIENT_ID,
        "SHOPIFY_CLIENT_SECRET": CLIENT_SECRET,
    }
    types: ClassVar[tuple[str, ...]] = (
        "orders/paid",
        "refunds/create",
        "orders/cancelled",
        "orders/create",
    )
    page: ClassVar[int] = 250

    orders: dict[int, Json] = field(default_factory=dict)
    sales: dict[int, list[Json]] = field(default_factory=dict)
    tokens: dict[str, datetime] = field(default_factory=dict)
    cursors: dict[str, Cursor] = field(default_factory=dict)
    _number: Any = field(default_factory=lambda: count(1))

    def happen(self, webhook: Webhook, at: datetime) -> Webhook:
        topic, told = webhook.headers["x-shopify-topic"], json.loads(webhook.body)
        refunded = topic == "refunds/create"
        body = self._refunded(told, at) if refunded else self._changed(topic, told, at)
        triggered = at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        headers = {
            **webhook.headers,
            "x-shopify-shop-domain": SHOP,
            "x-shopify-triggered-at": f"{triggered}789Z",
        }
        return replace(webhook, headers=headers, body=json.dumps(body, ensure_ascii=False).encode())

    def unauthorized(self) -> Response:
        message = "[API] Invalid API key or access token (unrecognized login or wrong password)"
        return Response.of(401, {"errors": message})

    def too_many(self, seconds: int) -> Response:
        message = "Exceeded 2 calls per second for api client. Reduce request rates to resume."
        headers = {
            "Retry-After": f"{seconds:.1f}",
            "X-Shopify-Shop-Api-Call-Limit": "40/40",
        }
        return Response.of(429, {"errors": message}, headers)

    def respond(self, call: Call) -> Response:
        if (call.method, call.path) == ("POST", "/admin/oauth/access_token"):
            return self._token(call)
        token = call.header("x-shopify-access-token") or ""
        if self.tokens.get(token, self.now()) <= self.now():
            return self.unauthorized()
        match (call.method, *_routed(call.path)):
            case "POST", _, None, None, None, "graphql":
                return self._graphql(call)
            case "GET", _, "orders", None, None, None:
                answer = self._orders(call)
            case "GET", _, None, str(id), "transactions", None if int(id) in self.orders:
                answer = _transactions(call, self.orders[int(id)], self.sales.get(int(id), []))
            case _:
                raise Refusal(Response.of(404, {"errors": "Not Found"}))
        self.meanwhile()
        return answer

    def _token(self, call: Call) -> Response:
        given = call.json if isinstance(call.json, dict) else dict(call.form)
        if given.keys() != {"client_id", "client_secret", "grant_type"}:
            raise Refusal(Response.of(400, {"error": "invalid_request"}))
        if given["grant_type"] != "client_credentials":
            raise Refusal(Response.of(400, {"error": "unsupported_grant_type"}))
        if (given["client_id"], given["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return self.unauthorized()
        token = f"shpat_{next(self._number):032d}"
        self.tokens[token] = self.now() + _TOKENS_LAST
        seconds = int(_TOKENS_LAST.total_seconds())
        return Response.of(
            200, {"access_token": token, "scope": "read_orders", "expires_in": seconds}
        )

    def _changed(self, topic: str, told: Json, at: datetime) -> Json:
        told = _whole(topic, told)
        order: Json = _moved(told, at - datetime.fromisoformat(told["updated_at"]))
        before = self.orders.get(order["id"])
        if before:
            changes = {name: order[name] for name in (*_TOLD[topic], "updated_at")}
            if before["financial_status"] in _PAID:
                changes.pop("financial_status", None)
            order = before | changes
        self.orders[order["id"]] = order
        if topic == "orders/paid" or order["financial_status"] in _PAID:
            # What was owed at that moment, whatever becomes of the order.
            paid_at = order["processed_at"] if before is None else _date(at)
            self.sales.setdefault(order["id"], [_sale(order, paid_at)])
        return order

    def _refunded(self, told: Json, at: datetime) -> Json:
        refund: Json = _moved(told, at - datetime.fromisoformat(told["created_at"]))
        if refund["order_id"] not in self.orders:
            # Nobody told us of the sale, which was the day before.
            order = load("shopify", "orders/paid").body | {"id": refund["order_id"]}
            order["admin_graphql_api_id"] = f"gid://shopify/Order/{refund['order_id']}"
            self._changed("orders/paid", order, at - timedelta(days=1))
        order = self.orders[refund["order_id"]]
        order["refunds"] = [*order["refunds"], refund]
        order["updated_at"] = _date(at)
        _settle(order, refund)
        return refund

    def _orders(self, call: Call) -> Response:
        token = call.one("page_info")
        _only(call, _SIZED | ({"page_info": ".+"} if "page_info" in dict(call.query) else _FILTERS))
        if token and token not in self.cursors:
            raise _wrong("page_info", "Invalid value.")
        filters = {name: value for name, value in call.query if name in _FILTERS}
        filters, place, back = self.cursors.get(token, (filters, None, False))
        rows, limit = self._found(filters), int(call.one("limit", "50"))
        ahead = [each for each in rows if place and _place(each) > place]
        after = [each for each in rows if not place or _place(each) < place]
        page = ahead[-limit:] if back else after[:limit]
        shown = [_fields(call, each) for each in page]
        return Response.of(200, {"orders": shown}, self._links(call, filters, rows, page))

    def _found(self, filters: Mapping[str, str]) -> list[Json]:
        """The newest first."""
        oldest = self.now() - _KEPT
        found = [each for each in self.orders.values() if _place(each)[0] >= oldest]
        found = [each for each in found if filters.get("status", "open") in ("any", _status(each))]
        for name, (column, holds) in _BOUNDS.items():
            if name in filters:
                bound = _moment(filters[name])
                found = [each for each in found if holds(_moment(each[column]), bound)]
        return sorted(found, key=_place, reverse=True)

    def _links(
        self, call: Call, filters: dict[str, str], rows: Sequence[Json], page: Sequence[Json]
    ) -> dict[str, str]:
        if not page:
            return {}
        links = []
        if page[0] is not rows[0]:
            links.append(self._link(call, (filters, _place(page[0]), True)))
        if page[-1] is not rows[-1]:
            links.append(self._link(call, (filters, _place(page[-1]), False)))
        return {"Link": ", ".join(links)} if links else {}

    def _link(self, call: Call, cursor: Cursor) -> str:
        token = urlsafe_b64encode(f"cursor {next(self._number)}".encode()).decode()
        self.cursors[token] = cursor
        kept = {name: value for name, value in call.query if name in _SIZED}
        query = urlencode(kept | {"page_info": token})
        rel = "previous" if cursor[2] else "next"
        return f'<http://{call.header("host")}{call.path}?{query}>; rel="{rel}"'

    def _graphql(self, call: Call) -> Response:
        field, arguments, selection = _operation(call)
        acts = {
            "webhookSubscriptions": self._subscriptions,
            "webhookSubscriptionCreate": self._create,
            "webhookSubscriptionUpdate": self._update,
            "webhookSubscriptionDelete": self._delete,
        }
        data = {field: _picked(acts[field](arguments), selection)}
        cost = {"requestedQueryCost": 10, "actualQueryCost": 10}
        return Response.of(200, {"data": data, "extensions": {"cost": cost}})

    def _subscriptions(self, arguments: Json) -> Json:
        first, after = arguments["first"], arguments.get("after")
        if not 1 <= first <= self.page:
            raise _fault(f"first must be between 1 and {self.page}")
        ids = [each.id for each in self.hooks]
        if after and after not in ids:
            raise _fault("Invalid cursor for current pagination sort.")
        hooks = self.hooks[ids.index(after) + 1 :] if after else self.hooks
        topics = arguments.get("topics") or _TOPICS
        nodes = [_node(each) for each in hooks]
        nodes = [each for each in nodes if each["topic"] in topics]
        nodes = [each for each in nodes if arguments.get("uri", each["uri"]) == each["uri"]]
        page = nodes[:first]
        return {
            "nodes": page,
            "edges": [{"node": each, "cursor": each["id"]} for each in page],
            "pageInfo": {
                "hasNextPage": len(nodes) > first,
                "hasPreviousPage": bool(after),
                "startCursor": page[0]["id"] if page else None,
                "endCursor": page[-1]["id"] if page else None,
            },
        }

    def _create(self, arguments: Json) -> Json:
        topic, given = _TOPICS[arguments["topic"]], dict(arguments["webhookSubscription"])
        url = given.pop("uri", "")
        if wrong := self._complaint(url, {topic}):
            return _user_error(wrong)
        hook = Hook(
            id=f"gid://shopify/WebhookSubscription/{1019000000000 + next(self._number)}",
            url=url,
            types={topic},
            secret=CLIENT_SECRET,
            more=given,
        )
        self.hooks.append(hook)
        return {"webhookSubscription": _node(hook), "userErrors": []}

    def _update(self, arguments: Json) -> Json:
        hook = self.found(arguments["id"])
        if hook is None:
            return _user_error("Webhook subscription does not exist", ["id"])
        given = dict(arguments["webhookSubscription"])
        url = given.pop("uri", hook.url)
        if wrong := self._complaint(url, hook.types, hook):
            return _user_error(wrong)
        hook.url = url
        hook.more |= given
        return {"webhookSubscription": _node(hook), "userErrors": []}

    def _delete(self, arguments: Json) -> Json:
        hook = self.found(arguments["id"])
        if hook is None:
            told = _user_error("Webhook subscription does not exist", ["id"])
            return {"deletedWebhookSubscriptionId": None, "userErrors": told["userErrors"]}
        self.hooks.remove(hook)
        return {"deletedWebhookSubscriptionId": hook.id, "userErrors": []}

    def _complaint(self, url: str, types: set[str], hook: Hook | None = None) -> str | None:
        scheme, _, rest = url.partition("://")
        if not rest:
            return "Address is invalid" if url else "Address can't be blank"
        if scheme != "https":
            return f"Address protocol {scheme}:// is not supported"
        same = [each for each in self.hooks if (each.url, each.types) == (url, types)]
        taken = any(each is not hook for each in same)
        return "Address for this topic has already been taken" if taken else None


def _routed(path: str) -> tuple[str | None, ...]:
    route = _ROUTE.fullmatch(path)
    return route.groups() if route else ()


# Orders


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=_SHOP_TIME)


def _date(moment: datetime) -> str:
    return moment.astimezone(_SHOP_TIME).isoformat(timespec="seconds")


def _moved(value: Any, later: timedelta) -> Any:
    """The same with all its times so much later."""
    if isinstance(value, list):
        return [_moved(each, later) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _date(_moment(each) + later)
        if name.endswith("_at") and isinstance(each, str)
        else _moved(each, later)
        for name, each in value.items()
    }


def _settle(order: Json, refund: Json) -> None:
    """What is left of the order after its refunds, the last of which is this one."""
    back = sum(Decimal(each["amount"]) for part in order["refunds"] for each in _paid_back(part))
    left = Decimal(order["total_price"]) - back
    if back:
        order["financial_status"] = "partially_refunded" if left > 0 else "refunded"
    money = {"amount": f"{left:.2f}", "currency_code": order["currency"]}
    order["current_total_price"] = money["amount"]
    order["current_total_price_set"] = {"shop_money": money, "presentment_money": money}
    returned = {each["line_item_id"]: each["quantity"] for each in refund["refund_line_items"]}
    for line in order["line_items"]:
        line["current_quantity"] = max(0, line["current_quantity"] - returned.get(line["id"], 0))


def _paid_back(refund: Json) -> list[Json]:
    return [
        each
        for each in refund["transactions"]
        if each["kind"] == "refund" and each["status"] in ("success", "pending")
    ]


def _status(order: Json) -> str:
    if order["cancelled_at"]:
        return "cancelled"
    return "closed" if order["closed_at"] else "open"


def _place(order: Json) -> tuple[datetime, int]:
    return _moment(order["created_at"]), order["id"]


def _fields(call: Call, item: Json) -> Json:
    wanted = call.one("fields").split(",")
    return {name: each for name, each in item.items() if wanted == [""] or name in wanted}


def _transactions(call: Call, order: Json, sales: Sequence[Json]) -> Response:
    _only(call, {"fields": _SIZED["fields"]})
    refunds = [each for refund in order["refunds"] for each in refund["transactions"]]
    every = [_fields(call, each) for each in (*sales, *refunds)]
    return Response.of(200, {"transactions": every})


def _sale(order: Json, at: str) -> Json:
    """The transaction that paid for the order, which the order itself does not show."""
    id = order["id"] + 1
    return {
        "id": id,
        "admin_graphql_api_id": f"gid://shopify/OrderTransaction/{id}",
        "order_id": order["id"],
        "kind": "sale",
        "status": "success",
        "amount": order["current_total_price"] or order["total_price"],
        "currency": order["currency"],
        "gateway": order["payment_gateway_names"][0],
        "created_at": at,
        "processed_at": at,
        "parent_id": None,
        "test": order["test"],
    }


def _only(call: Call, allowed: Mapping[str, str]) -> None:
    for name, value in call.query:
        if name not in allowed and "page_info" in allowed:
            raise _wrong(name, f"{name} cannot be passed when page_info is present.")
        if name not in allowed or not re.fullmatch(allowed[name], value):
            raise _wrong(name, "Invalid value.")


def _wrong(name: str, message: str) -> Refusal:
    return Refusal(Response.of(400, {"errors": {name: message}}))


# GraphQL


def _operation(call: Call) -> tuple[str, Json, str]:
    """The one field that is asked for, its arguments, and what is selected of it. Raises Refusal."""
    given = call.json
    if not isinstance(given, dict) or given.keys() - {"query", "variables", "operationName"}:
        raise Refusal(Response.of(400, {"errors": {"query": "Required parameter missing"}}))
    read = _OPERATION.fullmatch(given.get("query") or "")
    if not read:
        raise _fault("syntax error, unexpected end of file")
    kind, declared, field, written, selection = read.groups("")
    if field not in _FIELDS or (kind == "mutation") != (field != "webhookSubscriptions"):
        raise _fault(f"Field '{field}' doesn't exist on type '{kind or 'query'}'")
    for name in re.findall(r"\w+", selection):
        if not _SELECTED.fullmatch(name):
            raise _fault(f"Field '{name}' doesn't exist")
    variables = given.get("variables") or {}
    _check_variables(field, declared, written, variables)
    return field, _fitting(field, _arguments(written, variables)), selection


def _check_variables(field: str, declared: str, written: str, given: Json) -> None:
    """Each is declared with the type of what it stands for."""
    types = dict(re.findall(r"\$(\w+)\s*:\s*([\w!\[\]]+)", declared))
    if unknown := given.keys() - types:
        raise _fault(f"Variables {sorted(unknown)} are not declared")
    for argument, name in re.findall(r"(\w+)\s*:\s*\$(\w+)", written):
        expected = {**_INPUT, **_FIELDS[field]}.get(argument, "")
        if types.get(name, "").replace("!", "") != expected.replace("!", ""):
            raise _fault(f"Type mismatch on variable ${name} and argument {argument}")
    for name, type_name in types.items():
        if type_name.endswith("!") and given.get(name) is None:
            raise _fault(f"Variable ${name} of type {type_name} was provided invalid value")


def _arguments(written: str, variables: Json) -> Json:
    """Arguments as JSON: in GraphQL commas mean nothing, and names stand without quotes."""
    text, last = "", "{"
    for token in _TOKEN.findall(written):
        comma = "" if last in "{[:" or token in "}]:" else ","
        text += comma + _literal(token, variables)
        last = token
    try:
        return dict(json.loads(f"{{{text}}}"))
    except ValueError:
        raise _fault("syntax error in the arguments") from None


def _literal(token: str, variables: Json) -> str:
    if token.startswith("$"):
        return json.dumps(variables.get(token[1:]))
    bare = token.isidentifier() and token not in ("true", "false", "null")
    return json.dumps(token) if bare else token


def _fitting(field: str, arguments: Json) -> Json:
    given = {name: value for name, value in arguments.items() if value is not None}
    for name, value in given.items():
        if name not in _FIELDS[field] or not _fits(value, _FIELDS[field][name]):
            raise _fault(f"Variable ${name} was provided invalid value")
    for name, type_name in _FIELDS[field].items():
        if type_name.endswith("!") and name not in given:
            raise _fault(f"Field '{field}' is missing required arguments: {name}")
    return given


def _fits(value: Any, type_name: str) -> bool:
    type_name = type_name.removesuffix("!")
    if type_name.startswith("["):
        return isinstance(value, list) and all(_fits(each, type_name[1:-1]) for each in value)
    if type_name == "WebhookSubscriptionInput":
        return isinstance(value, dict) and all(
            name in _INPUT and _fits(each, _INPUT[name]) for name, each in value.items()
        )
    if type_name == "Int":
        return isinstance(value, int)
    enums = {
        "WebhookSubscriptionTopic": _TOPICS,
        "WebhookSubscriptionFormat": {"JSON": "", "XML": ""},
    }
    return isinstance(value, str) and value in enums.get(type_name, {value: ""})


def _picked(value: Any, selection: str) -> Any:
    """What was selected, and nothing else."""
    if isinstance(value, list):
        return [_picked(each, selection) for each in value]
    if not isinstance(value, dict):
        return value
    names = re.findall(r"\w+", selection)
    return {name: _picked(each, selection) for name, each in value.items() if name in names}


def _node(hook: Hook) -> Json:
    (topic,) = hook.types
    return {
        "format": "JSON",
        "filter": "",
        "includeFields": [],
        "metafieldNamespaces": [],
        "name": None,
        **hook.more,
        "id": hook.id,
        "topic": topic.replace("/", "_").upper(),
        "uri": hook.url,
        "endpoint": {"__typename": "WebhookHttpEndpoint", "callbackUrl": hook.url},
        "createdAt": "2026-11-18T12:26:40Z",
        "updatedAt": "2026-11-18T12:26:40Z",
        "apiVersion": {"handle": "2026-07"},
    }


def _user_error(message: str, field: Sequence[str] = ("webhookSubscription", "uri")) -> Json:
    errors = [{"field": list(field), "message": message}]
    return {"webhookSubscription": None, "userErrors": errors}


def _fault(message: str) -> Refusal:
    told = {"message": message, "locations": [{"line": 1, "column": 1}]}
    return Refusal(Response.of(200, {"errors": [told]}))
