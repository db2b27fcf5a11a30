from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from tests import privacy
from tests import samples as contract_samples
from tests.embedded import empty, published, put

from linkrunner_webhooks import config, dead_letters, providers
from linkrunner_webhooks.config import Source
from linkrunner_webhooks.envelope import Envelope
from linkrunner_webhooks.model import Webhook
from linkrunner_webhooks.queues import typed
from linkrunner_webhooks.signatures.scheme import verify
from linkrunner_webhooks_cli import paths, samples, targets
from linkrunner_webhooks_cli.advice import ADVICE
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.samples import Setting
from linkrunner_webhooks_cli.sources import pick_source
from linkrunner_webhooks_cli.stacks import Stack
from linkrunner_webhooks_local import project, state
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.development import LINKRUNNER_KEY, development_secret
from linkrunner_webhooks_local.embedded_linkrunner import Answer, EmbeddedLinkrunner
from linkrunner_webhooks_local.loopback import Request, Response, listen, serving, url_of
from linkrunner_webhooks_local.state import LocalStack

OPERATIONS = Path(__file__).parent.parent / "docs" / "operations.md"
every_sample = contract_samples.over_types(
    (name, each) for name in providers.names() for each in providers.load(name).types
)


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No local stack and no settings of the shell, unless a test says so."""
    monkeypatch.setattr(state, "read", lambda: None)
    for name in ("PORT", "WEBHOOKS_TOML", "WEBHOOK_SECRETS"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str, **options: Any) -> Result:
    """The result of a command line."""
    return CliRunner().invoke(main, arguments, **options)


def source(provider: str) -> Source:
    """The source of a provider that the commands pick by themselves."""
    return pick_source(config.load(), providers.load(provider), None)


# ------------------------------------------------------------------------------- help and usage


def commands(group: Any = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command below the group, with its path."""
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", tuple(commands()), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    """Each command has a help text, and those that do something show an example."""
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output or path == ("dlq",)


@pytest.mark.parametrize(
    "arguments",
    [
        ("translate", "strip", "-"),
        ("nonsense",),
        ("send", "stripe"),
        ("dlq", "list", "--since", "x"),
    ],
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    """A wrong command line is told from a failure by its exit code."""
    assert run(*arguments).exit_code == 2


def test_a_provider_that_does_not_exist_is_suggested() -> None:
    """The nearest valid name is in the message."""
    assert 'did you mean "stripe"?' in run("translate", "strip", "-", input="{}").output


def test_the_command_needs_only_what_its_wheel_brings() -> None:
    """An operator without a clone has no extras: every command is there without a developer's packages."""
    packages = tomllib.loads((project.ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for group in packages["optional-dependencies"].values() for each in group]
    modules = {"yaml", *(re.split(r"[<>=]", each)[0].replace("-", "_") for each in extras)}
    code = "import sys, linkrunner_webhooks_cli.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "click" in loaded.stdout.split()
    assert modules & set(loaded.stdout.split()) == set()


# ------------------------------------------------------------------------------- machines and shells

# A way to run each command that does something, so that all of them are tried.
RUNS = {
    "providers": (),
    "init": ("{folder}/shop",),
    "add": ("polar", "--config", "{folder}/new.toml", "--yes"),
    "connect": ("stripe", "--url", "https://hooks.example.com/webhooks/stripe"),
    "reconcile": ("stripe",),
    "secrets set": ("stripe",),
    "secrets list": (),
    "secrets drop": ("stripe", "--yes"),
    "secrets server-key": (),
    "secrets provider-key": ("gocardless",),
    "check": (),
    "translate": ("stripe", "-"),
    "send": ("stripe", "invoice.paid", "--to", "{url}"),
    "doctor": (),
    "tail": ("--limit", "1"),
    "trace": ("evt_1",),
    "report": (),
    "forget": ("user_42", "--yes"),
    "dlq list": (),
    "dlq show": ("evt_1",),
    "dlq preview": (),
    "dlq redrive": (),
    "dlq discard": ("--to", "{folder}/copies.jsonl", "--yes"),
    "console": (),
}


@pytest.mark.parametrize(
    "path", [each for each in commands() if each not in (("dlq",), ("secrets",))], ids=" ".join
)
def test_every_command_speaks_json(
    path: tuple[str, ...],
    parked: EmbeddedStack,
    endpoint: tuple[Endpoint, str],
    tmp_path: Path,
) -> None:
    """With --json there is one JSON document on standard output and nothing else."""
    park(parked, "evt_1")
    places = {"folder": tmp_path, "url": endpoint[1]}
    arguments = [each.format(**places) for each in RUNS[" ".join(path)]]
    result = run(*path, *arguments, "--json", input=body_of("stripe", "invoice.paid").decode())
    assert isinstance(json.loads(result.stdout), dict | list), result.output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("check", "--config", "nope.toml"), "--config nope.toml: there is no such file"),
        (("translate", "stripe", "-"), "the body is not JSON"),
        (("translate", "strip", "-"), 'did you mean "stripe"?'),
        (("dlq", "list"), "the local stack is not running"),
        (("dlq", "list", "--reason", "missing"), 'did you mean "missing_user"?'),
        (("send", "stripe", "invoice.paid", "--to", "http://127.0.0.1:9"), "nothing answers at"),
    ],
)
def test_a_failure_is_json_too(arguments: tuple[str, ...], error: str) -> None:
    """With --json standard output has the error as one object; the sentence and the exit code stay."""
    plain, result = run(*arguments, input=""), run(*arguments, "--json", input="")
    assert list(json.loads(result.stdout)) == ["error"]
    assert error in json.loads(result.stdout)["error"]
    assert error in result.stderr
    assert result.exit_code == plain.exit_code != 0
    assert "{" not in plain.stdout
    assert "WEBHOOKS_TOML" not in result.output


def test_a_failure_after_its_document_adds_none(parked: EmbeddedStack) -> None:
    """What a command found is its one document, though it ends in a failure."""
    put(parked, "LinkrunnerKeySecretArn", "wrong")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    assert isinstance(json.loads(result.stdout), list)


def completed(line: str, begun: str = "") -> list[str]:
    """What the shell offers at the end of a command line."""
    completion = ShellComplete(main, {}, "linkrunner-webhooks", "_COMPLETE")
    return [each.value for each in completion.get_completions(line.split(), begun)]


@pytest.mark.parametrize(
    ("line", "begun", "offered"),
    [
        ("add", "pa", ["paddle", "paypal", "paystack", "paytm", "payu"]),
        ("providers", "str", ["stripe"]),
        ("send", "sho", ["shopify"]),
        ("send stripe", "invoice.pay", ["invoice.payment_failed", "invoice.payment_succeeded"]),
        ("send stripe invoice.paid --source", "", ["shopify", "stripe"]),
        ("translate", "apple", ["apple"]),
        (
            "dlq list --reason",
            "un",
            ["uncertain", "unreadable", "unrecorded", "unroutable", "untranslatable"],
        ),
        ("dlq list --source", "s", ["shopify", "stripe"]),
        (
            "dlq redrive --source shopify --type",
            "orders/pa",
            ["orders/paid", "orders/partially_fulfilled"],
        ),
        ("send nobody", "", []),
        ("dlq preview --config nowhere.toml --source", "", []),
    ],
)
def test_the_shell_completes(line: str, begun: str, offered: list[str]) -> None:
    """Providers, sources, types and reasons are offered; a mistake in the line offers nothing."""
    assert completed(line, begun) == offered


def test_completion_is_documented() -> None:
    """The page says how to switch it on."""
    assert "_LINKRUNNER_WEBHOOKS_COMPLETE=bash_source" in OPERATIONS.read_text("utf-8")


# ------------------------------------------------------------------------------- providers, check


def test_providers_lists_what_is_registered() -> None:
    """The machine-readable list is the registry."""
    listed = json.loads(run("providers", "--json").stdout)
    assert [each["name"] for each in listed] == list(providers.names())
    for each in listed:
        assert list(each["events"]) == list(providers.load(each["name"]).types)


def test_providers_names_the_page_of_one() -> None:
    """Set-up and checkout code are on the provider's page, and both forms of the answer say where it is."""
    page = "docs/providers/apple.md"
    assert page in run("providers", "apple").stdout
    assert json.loads(run("providers", "apple", "--json").stdout)["page"] == page


def test_check_accepts_the_packaged_file() -> None:
    """What we ship is valid; the one doubt is whether its shop charges in its other source's account."""
    result = run("check", "--json")
    assert result.exit_code == 0
    (warning,) = json.loads(result.stdout)["warnings"]
    assert warning.startswith("[shopify] and [stripe] report a payment twice if")


@pytest.mark.parametrize("toml", ["", "# nothing here\n"])
@pytest.mark.parametrize("command", ["check", "doctor"])
def test_a_file_without_tables_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, toml: str
) -> None:
    """It is valid TOML and receives nothing, which nobody wants; the next step is said."""
    (tmp_path / "webhooks.toml").write_text(toml)
    monkeypatch.setenv("WEBHOOKS_TOML", str(tmp_path / "webhooks.toml"))
    result = run(command)
    assert result.exit_code == 1
    assert "linkrunner-webhooks add stripe" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("toml", "warning"),
    [
        ('[shopify]\nuser_id = ["custmer.id"]', "`custmer.id`; did you mean `customer.id`?"),
        ('[shopify]\nuser_id = ["customer"]', "has a text or a number at `customer`"),
        (
            '[shopify]\nuser_id = ["line_item[0].id"]',
            "`line_item[0].id`; did you mean `line_items.id`?",
        ),
        ('[shopify]\nuser_id = ["customer.email"]', "`customer.email` is an address"),
        ('[stripe]\nuser_id = ["data.object.customer_email"]', "is an address"),
        ('[stripe.extra]\nplan = "data.objct.plan"', "[stripe] extra.plan: no sample"),
        (
            '[stripe.events]\n"checkout.session.expired" = "purchase_complete"',
            "did you mean purchase_completed? As written it is a name of your own and counts no revenue",
        ),
        (
            '[stripe.events]\n"invoice.paid" = "Purchase Completed"',
            "did you mean purchase_completed? As written it is a name of your own",
        ),
        ("[woocommerce]\n[razorpay]", "where the order's transaction_id names it"),
        ("[woocommerce]\n[paystack]", "[woocommerce] and [paystack] report a payment twice if"),
        ("[revenuecat]\n[apple]", "[revenuecat] and [apple] report a payment twice if"),
    ],
)
def test_check_doubts_what_finds_nobody_or_counts_wrongly(
    tmp_path: Path, toml: str, warning: str
) -> None:
    """Typos in paths and names, addresses as ids, and two companies that report one payment."""
    path = tmp_path / "webhooks.toml"
    path.write_text(toml)
    result = run("check", "--config", str(path))
    assert result.exit_code == 0
    assert warning in result.stderr
    machine = json.loads(run("check", "--json", "--config", str(path)).stdout)
    assert any(warning in each for each in machine["warnings"])


@pytest.mark.parametrize(
    "toml",
    [
        '[stripe]\nuser_id = ["data.object.metadata.customer_ref", "data.object.customer"]',
        '[stripe]\nuser_id = ["data.object.lines.data[].metadata.mine | [0]"]',
        "[shopify]\nuser_id = [\"note_attributes[?name=='mine'].value | [0]\"]",
        '[shopify]\nuser_id = ["customer.id || customer_id"]',
        '[chargebee]\nuser_id = ["content.customer.cf_member"]',
        '[stripe.events]\n"invoice.paid" = "revenue"',
        "[woocommerce]\n[razorpay.events]\n"
        + "\n".join(
            f'"{each.name}" = false'
            for each in providers.load("razorpay").types.values()
            if each.forwarded
        ),
        "[stripe]\n[razorpay]",
    ],
)
def test_check_believes_what_it_cannot_judge(tmp_path: Path, toml: str) -> None:
    """Keys that the merchant chooses, paths that exist, expressions that compute and names of one's own."""
    path = tmp_path / "webhooks.toml"
    path.write_text(toml)
    result = run("check", "--config", str(path), "--json")
    cautions = {
        each.caution for name in providers.names() if (each := providers.load(name)).caution
    }
    doubted = [
        each
        for each in json.loads(result.stdout)["warnings"]
        if each.partition("] ")[2] not in cautions
    ]
    assert doubted == []


PAIRS = [
    *(("shopify", gateway) for gateway in ("stripe", "razorpay", "mollie", "payu", "xendit")),
    *(("juspay", gateway) for gateway in ("payu", "razorpay", "phonepe", "easebuzz", "cashfree")),
    *(
        (repeater, store)
        for repeater in ("revenuecat", "adapty", "qonversion", "purchasely", "superwall")
        for store in ("apple", "googleplay")
    ),
    ("chargebee", "stripe"), ("adapty", "revenuecat"), ("superwall", "qonversion"), ("revenuecat", "stripe"),
    ("woocommerce", "paypal"), ("bigcommerce", "stripe"), ("bigcommerce", "braintree"), ("juspay", "paytm"),
    ("chargebee", "gocardless"), ("chargebee", "braintree"), ("braintree", "paypal"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_every_pair_that_reports_the_same_money_is_named_once(
    tmp_path: Path, one: str, other: str
) -> None:
    """Whichever of them says so."""
    path = tmp_path / "webhooks.toml"
    tables = (
        f"[{name}]\n"
        + "".join(
            f"{key} = {json.dumps(value)}\n"
            for key, value in providers.load(name).options.example().items()
        )
        for name in (one, other)
    )
    path.write_text("".join(tables))
    warnings = json.loads(run("check", "--config", str(path), "--json").stdout)["warnings"]
    assert sum(f"[{one}]" in each and f"[{other}]" in each for each in warnings) == 1, warnings


@pytest.mark.parametrize("name", ["paddle", "polar", "creem"])
def test_who_sells_in_its_own_name_reports_nobody_elses_money(tmp_path: Path, name: str) -> None:
    """Beside a gateway of the merchant's own."""
    path = tmp_path / "webhooks.toml"
    path.write_text(f"[{name}]\n[stripe]\n")
    warnings = json.loads(run("check", "--config", str(path), "--json").stdout)["warnings"]
    assert not [each for each in warnings if "report a payment twice" in each]


@pytest.mark.parametrize("name", providers.names())
def test_overlaps_name_other_providers(name: str) -> None:
    """A misspelt neighbour would never be warned about."""
    overlaps = providers.load(name).overlaps
    assert set(overlaps) <= set(providers.names()) - {name}
    assert all(overlaps.values())


@pytest.mark.parametrize("name", providers.names())
def test_the_default_paths_lead_somewhere(name: str) -> None:
    """The map of a provider's samples has at least one place that its own paths look at."""
    of = source(name)
    known = paths.map_of(of)
    shapes = [shape for each in of.user_id if (shape := paths.shape_of(each))]
    assert any(shape in known.leaves for shape in shapes)


def test_check_names_file_table_and_key(tmp_path: Path) -> None:
    """A mistake is one sentence on stderr and exit code 1."""
    path = tmp_path / "my.toml"
    path.write_text('[stripe.events]\n"invoice.payd" = true\n')
    result = run("check", "--config", str(path))
    assert result.exit_code == 1
    assert 'my.toml [stripe.events]: Stripe has no event type "invoice.payd"' in result.stderr
    assert 'did you mean "invoice.paid"?' in result.stderr


@pytest.mark.parametrize(
    ("toml", "warning"),
    [
        ("[stripe]\nuser_id = []", "user_id is empty"),
        ('[stripe.events]\n"invoice.paid" = "Invoice Paid"', "not snake_case"),
        ('[stripe.events]\n"payment_intent.succeeded" = true', "both become purchase_completed"),
    ],
)
def test_check_warns_of_what_is_probably_not_meant(tmp_path: Path, toml: str, warning: str) -> None:
    """Valid and doubtful settings are pointed out without failing."""
    (tmp_path / "webhooks.toml").write_text(toml)
    result = run("check", "--config", str(tmp_path / "webhooks.toml"))
    assert result.exit_code == 0
    assert warning in result.stderr


# ------------------------------------------------------------------------------- translate


def body_of(provider: str, event_type: str) -> bytes:
    """The body of a sample as `send` sends it."""
    return samples.load(source(provider), event_type).bytes()


def test_translate_reads_a_raw_body() -> None:
    """A body as the provider sends it, from standard input."""
    result = run("translate", "stripe", "-", input=body_of("stripe", "checkout.session.completed"))
    (event,) = json.loads(result.stdout)
    assert event["event_name"] == "purchase_completed"
    assert event["user_id"] == "user_42"


def test_translate_reads_a_stored_request() -> None:
    """Headers and body in one file, as in events/."""
    result = run("translate", "shopify", str(samples.EVENTS / "shopify" / "orders" / "paid.json"))
    (event,) = json.loads(result.stdout)
    assert event["event_data"]["provider_event_type"] == "orders/paid"


def test_translate_takes_the_type_from_a_header_option() -> None:
    """A Shopify body alone does not say its topic; the other headers may be missing."""
    result = run(
        "translate", "shopify", "-", "--header", "X-Shopify-Topic: orders/paid",
        input=body_of("shopify", "orders/paid"),
    )  # fmt: skip
    (event,) = json.loads(result.stdout)
    assert event["event_name"] == "purchase_completed"


def test_translate_uses_another_configuration(tmp_path: Path) -> None:
    """--config and --source choose the table; its names and extras apply."""
    path = tmp_path / "webhooks.toml"
    path.write_text(
        '[shop_eu]\nprovider = "stripe"\n[shop_eu.events]\n"invoice.paid" = "revenue"\n'
        '[shop_eu.fields]\namount = "total"\n'
    )
    arguments = ("translate", "stripe", "-", "--config", str(path), "--source", "shop_eu")
    (event,) = json.loads(run(*arguments, input=body_of("stripe", "invoice.paid")).stdout)
    assert event["event_name"] == "revenue"
    assert event["event_data"]["source"] == "shop_eu"
    assert "total" in event["event_data"]
    assert "amount" not in event["event_data"]


def test_translate_says_that_no_user_was_found() -> None:
    """An event without a user is not in the output, and the exit code says so."""
    body = body_of("stripe", "checkout.session.completed").replace(b"user_42", b"")
    result = run("translate", "stripe", "-", input=body)
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])
    assert "no user id for purchase_completed" in result.stderr
    given = run("translate", "stripe", "-", "--user-id", "u7", input=body)
    assert json.loads(given.stdout)[0]["user_id"] == "u7"


def test_translate_explains_an_empty_answer() -> None:
    """A type that is off and test traffic are named on stderr."""
    off = run("translate", "stripe", "-", input=body_of("stripe", "charge.succeeded"))
    assert (off.exit_code, json.loads(off.stdout)) == (0, [])
    assert '"charge.succeeded" is off' in off.stderr
    body = body_of("stripe", "invoice.paid").replace(b'"livemode":true', b'"livemode":false')
    assert "test traffic" in run("translate", "stripe", "-", input=body).stderr


def test_translate_says_why_there_is_nothing_to_report() -> None:
    """An amount of nothing and a kind that is off are told apart, and --explain is pointed to."""
    paid = json.loads(body_of("paypal", "PAYMENT.CAPTURE.COMPLETED"))
    paid["resource"]["amount"]["value"] = "0.00"
    free = run("translate", "paypal", "-", input=json.dumps(paid))
    assert json.loads(free.stdout) == []
    assert "Nothing to report: its amount is 0 or less" in free.stderr
    assert "--explain says more" in free.stderr
    began = json.loads(body_of("stripe", "checkout.session.completed"))
    began["data"]["object"] |= {"mode": "subscription", "subscription": "sub_1"}
    off = run("translate", "stripe", "-", input=json.dumps(began))
    assert json.loads(off.stdout) == []
    assert "its kind subscription_created is off by default: set " in off.stderr


def test_translate_says_that_a_thin_body_tells_nothing() -> None:
    """The words are those of `make run`, with and without --explain."""
    body = json.dumps(
        {"object": "v2.core.event", "id": "evt_1", "type": "v1.billing.meter.no_meter_found",
         "created": "2026-11-24T10:31:07Z", "livemode": True}
    )  # fmt: skip
    for options in ((), ("--explain",)):
        result = run("translate", "stripe", "-", *options, input=body)
        assert result.exit_code == 0, result.output
        assert "choose the snapshot payload at Stripe" in result.output


def test_translate_suggests_types_and_the_header_that_names_them() -> None:
    """A type a letter away is suggested; a body that does not say its type gets the option that does."""
    body = body_of("stripe", "invoice.paid").replace(b"invoice.paid", b"invoice.payd")
    typo = run("translate", "stripe", "-", input=body)
    assert typo.exit_code == 1
    assert 'did you mean "invoice.paid"?' in typo.stderr
    for provider, event_type in (("shopify", "orders/paid"), ("woocommerce", "order.updated")):
        result = run("translate", provider, "-", input=body_of(provider, event_type))
        assert "-topic:TYPE; types are: " in result.stderr


def test_translate_explains_that_test_traffic_is_dropped() -> None:
    """It is not called captured where receive would drop it."""
    body = body_of("stripe", "invoice.paid").replace(b'"livemode":true', b'"livemode":false')
    result = run("translate", "stripe", "-", "--explain", input=body)
    assert "Outcome: ignored: test\n  test traffic: set test_events = true" in result.stdout


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{", b'{"id": 1}'])
def test_translate_fails_in_a_sentence(body: bytes) -> None:
    """What is not a webhook is an error message, not a stack trace."""
    result = run("translate", "stripe", "-", input=body)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert isinstance(result.exception, SystemExit)


# ------------------------------------------------------------------------------- samples


@every_sample
def test_a_fresh_sample_is_another_fact(name: str, event_type: str) -> None:
    """New ids, the same meaning: no transaction of the sample is left, the money is."""
    of = source(name)
    sample = samples.load(of, event_type)
    fresh = samples.with_fresh_ids(sample, of)
    old, new = events(sample, of), events(fresh, of)
    assert [event.money for event in old] == [event.money for event in new]
    assert [event.kind for event in old] == [event.kind for event in new]
    used = {id for event in old for id in event.transactions}
    assert not used & {id for event in new for id in event.transactions}
    signed = fresh.signed(of, of.signature.example_secret("secret"), 1.0)
    assert signed != fresh.webhook(of)


def events(sample: samples.Sample, of: Source) -> Any:
    """What the sample becomes."""
    webhook = sample.webhook(of)
    return of.provider.translate(webhook, of.provider.identify(webhook), of.options)


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [("49.90", None, "49.90 USD"), ("5000", "JPY", "5000 JPY"), ("1.234", "KWD", "1.234 KWD")],
)
@pytest.mark.parametrize(
    ("provider", "event_type"),
    [("stripe", "checkout.session.completed"), ("shopify", "orders/paid")],
)
def test_a_sample_takes_any_amount(
    provider: str, event_type: str, amount: str, currency: str | None, expected: str
) -> None:
    """Minor units, decimals and currencies without hundredths all come out as asked."""
    of = source(provider)
    changed = samples.with_money(samples.load(of, event_type), of, Decimal(amount), currency)
    money = events(changed, of)[0].money
    assert f"{money.amount} {money.currency}" == expected


# What is refunded and its tax stand apart, and only their sum is reported.
SUMS = {("polar", "refund.created"), ("polar", "refund.updated")}


@every_sample
def test_every_sample_takes_an_amount(name: str, event_type: str) -> None:
    """Hundredths, thousandths, texts and negative amounts: the mapper reads what was asked for."""
    of = source(name)
    sample = samples.load(of, event_type)
    if (name, event_type) in SUMS or not any(event.money for event in events(sample, of)):
        return
    changed = samples.with_money(sample, of, Decimal("12.34"), None)
    money = next(event.money for event in events(changed, of) if event.money)
    assert money.amount == Decimal("12.34")


def test_a_sample_takes_any_value() -> None:
    """--set reaches into objects and lists, and a place that is not there is an error."""
    of = source("stripe")
    sample = samples.load(of, "invoice.paid")
    changed = samples.with_value(sample, Setting("data.object.lines.data.0.quantity", 7))
    assert changed.body["data"]["object"]["lines"]["data"][0]["quantity"] == 7
    assert sample.body["data"]["object"]["lines"]["data"][0]["quantity"] != 7
    result = run(
        "send", "stripe", "invoice.paid", "--set", "data.nowhere.x=1", "--to", "http://127.0.0.1:9"
    )
    assert "no such place" in result.stderr


# ------------------------------------------------------------------------------- send


class Endpoint:
    """Takes webhooks and remembers them."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 200
        self.body = b'{"status": "queued"}'

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(self.status, self.body)


@pytest.fixture
def endpoint() -> Iterator[tuple[Endpoint, str]]:
    """A listening endpoint and its URL."""
    taker = Endpoint()
    listener = listen(0)
    with serving(listener, taker.answer):
        yield taker, url_of(listener)


def test_send_signs_with_the_development_secret(endpoint: tuple[Endpoint, str]) -> None:
    """What arrives verifies, under the source's URL, for the user asked for."""
    taker, url = endpoint
    result = run("send", "stripe", "checkout.session.completed", "--to", url, "--user-id", "u1")
    assert result.exit_code == 0, result.output
    (request,) = taker.requests
    assert request.path == "/webhooks/stripe"
    of = source("stripe")
    verifies(request, development_secret(of), of)
    assert json.loads(request.body)["data"]["object"]["client_reference_id"] == "u1"


def _signed_at(webhook: Webhook) -> float:
    return float(webhook.headers["stripe-signature"].split(",")[0].removeprefix("t="))


def test_send_knows_this_machine_without_a_scheme(endpoint: tuple[Endpoint, str]) -> None:
    """A host and port are enough for the local stack; elsewhere the scheme has to be said."""
    taker, url = endpoint
    bare = url.removeprefix("http://")
    assert run("send", "stripe", "invoice.paid", "--to", bare).exit_code == 0
    assert len(taker.requests) == 1
    for wrong in ("hooks.example.com", "ftp://example.com", "127.0.0.1.example.com"):
        result = run("send", "stripe", "invoice.paid", "--to", wrong)
        assert result.exit_code == 2
        assert "with its scheme, like https://" in result.stderr


@pytest.mark.parametrize(
    ("provider", "event_type", "secret"),
    [
        ("apple", "SUBSCRIBED", "com.example.app/1234567890"),
        ("paypal", "PAYMENT.CAPTURE.COMPLETED", "1JE4291016473214C"),
        ("adyen", "AUTHORISATION", "S2-not-hexadecimal"),
    ],
)
def test_send_says_why_it_cannot_sign(
    endpoint: tuple[Endpoint, str], provider: str, event_type: str, secret: str
) -> None:
    """A secret that only verifies, or is none, is one sentence that does not quote it."""
    result = run("send", provider, event_type, "--to", endpoint[1], "--secret", secret)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "cannot sign as" in result.stderr
    assert secret not in result.stderr


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, b'{"error": "bad_signature"}', "it was made with --secret"),
        (
            404,
            b'{"error": "unknown_source"}',
            "no table [stripe] in its webhooks.toml, or no secret",
        ),
        (404, b"<html>", "--to takes what stands before /webhooks/"),
        (400, b"{}", "the body is not a webhook of this provider"),
        (503, b"{}", "see the receiver's log"),
    ],
)
def test_send_says_what_to_do_about_a_refusal(
    endpoint: tuple[Endpoint, str], status: int, body: bytes, expected: str
) -> None:
    """A refusal is exit code 1, with the status and one line of what to do next; the secret is not shown."""
    taker, url = endpoint
    taker.status, taker.body = status, body
    result = run("send", "stripe", "invoice.paid", "--to", url, "--secret", "whsec_mine")
    assert result.exit_code == 1
    assert f"invoice.paid -> {status}" in result.stderr
    assert expected in result.stderr
    assert "whsec_mine" not in result.output


def test_send_says_that_nobody_answers() -> None:
    """Nobody listening is exit code 1, with how to start a receiver or name another."""
    result = run("send", "stripe", "invoice.paid", "--to", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "is `make run` running?" in result.stderr
    assert "--stack NAME" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--body", "-", "--amount", "0"),
        ("--story", "1", "--set", "a=1"),
        ("--story", "1", "--body", "-"),
        ("invoice.paid", "--story", "1"),
        ("invoice.paid", "--to", "http://x", "--stack", "y"),
    ],
)
def test_send_refuses_what_it_cannot_do_together(arguments: tuple[str, ...]) -> None:
    """Options that contradict each other are wrong usage, and nothing is sent."""
    assert run("send", "stripe", *arguments, input="{}").exit_code == 2


def verifies(request: Request, secret: str, source: Source) -> None:
    """Raises BadSignature unless the request was signed with this secret just now."""
    webhook = Webhook(source.name, dict(request.headers), request.body)
    verify(source.signature, webhook, [secret], _signed_at(webhook))


def test_send_takes_a_raw_body(endpoint: tuple[Endpoint, str]) -> None:
    """A body of one's own arrives byte for byte, signed."""
    taker, url = endpoint
    body = '{"id": "evt_1",  "type": "invoice.paid", "data": {}}'
    result = run("send", "stripe", "--body", "-", "--to", url, "--secret", "whsec_1", input=body)
    assert result.exit_code == 0, result.output
    (request,) = taker.requests
    assert request.body == body.encode()
    verifies(request, "whsec_1", source("stripe"))


def test_send_gives_a_body_the_headers_it_needs(endpoint: tuple[Endpoint, str]) -> None:
    """Headers come from the sample of TYPE, the file and --header, the last one first."""
    taker, url = endpoint
    stored = json.dumps({"headers": {"X-Shopify-Test": "file", "Host": "old"}, "body": {"id": 7}})
    options = ("--header", "X-Shopify-Shop-Domain:mine", "--to", url)
    result = run("send", "shopify", "orders/paid", "--body", "-", *options, input=stored)
    assert result.exit_code == 0, result.output
    (request,) = taker.requests
    assert json.loads(request.body) == {"id": 7}
    found = [request.header(f"x-shopify-{name}") for name in ("topic", "test", "shop-domain")]
    assert found == ["orders/paid", "file", "mine"]
    assert request.header("host") == url.removeprefix("http://")


def sent_types(taker: Endpoint) -> list[str]:
    """The types of what arrived, in order."""
    return [json.loads(request.body)["type"] for request in taker.requests]


def test_send_tells_a_story(endpoint: tuple[Endpoint, str]) -> None:
    """All its webhooks, in order, about one new purchase, and with --json each with its answer."""
    taker, url = endpoint
    results = [
        run("send", "stripe", "--story", "disputed", "--user-id", "u1", "--to", url, "--json")
        for _ in range(2)
    ]
    answers = json.loads(results[0].stdout)
    types = [
        "checkout.session.completed",
        "charge.succeeded",
        "charge.dispute.created",
        "charge.dispute.closed",
    ]
    assert [each["type"] for each in answers] == types
    assert {each["status"] for each in answers} == {200}
    assert sent_types(taker) == types * 2
    objects = [json.loads(request.body)["data"]["object"] for request in taker.requests]
    intents = [each["payment_intent"] for each in objects]
    assert len(set(intents[:4])) == len(set(intents[4:])) == 1
    assert intents[0] != intents[4]
    assert objects[0]["client_reference_id"] == "u1"


def test_send_shuffles_and_repeats(endpoint: tuple[Endpoint, str]) -> None:
    """--twice sends the same bytes again, and --shuffled changes nothing but the order."""
    taker, url = endpoint
    run("send", "stripe", "--story", "2", "--twice", "--shuffled", "--to", url)
    bodies = [request.body for request in taker.requests]
    assert len(bodies) == 10
    assert {bodies.count(each) for each in bodies} == {2}


def test_send_lists_stories() -> None:
    """--story without a name lists them, and so does a name that fits none or several."""
    listed = run("send", "stripe", "--story")
    assert listed.exit_code == 0
    assert "6  a trial that is converted" in listed.stdout
    told = json.loads(run("send", "stripe", "--story", "--json").stdout)
    assert {"number": 6, "story": "a trial that is converted"} in told
    for name in ("nonsense", "payment", "99"):
        result = run("send", "stripe", "--story", name)
        assert result.exit_code == 1
        assert "6  a trial that is converted" in result.stderr


def test_send_reaches_a_deployed_stack(
    endpoint: tuple[Endpoint, str], stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--stack takes the URL and the secret from the stack, and nothing from a local one that runs."""
    taker, url = endpoint
    monkeypatch.setattr(state, "read", lambda: local_stack("http://127.0.0.1:9"))
    outputs = {**stack.outputs, "WebhookUrl": f"{url}/webhooks/"}
    found = Stack("shop", outputs, {}, "https://api.linkrunner.io", stack.aws.client)
    monkeypatch.setattr(targets, "find", lambda _: found)
    put(stack, "WebhookSecretsArn", '{"stripe": ["whsec_new", "whsec_old"]}')
    result = run("send", "stripe", "invoice.paid", "--stack", "shop")
    assert result.exit_code == 0, result.output
    assert "running stack" not in result.stderr
    assert f"sending to {url}/webhooks/stripe, whose events reach https://api" in result.stderr
    (request,) = taker.requests
    verifies(request, "whsec_new", source("stripe"))
    put(stack, "WebhookSecretsArn", "{}")
    assert "put one there" in run("send", "stripe", "invoice.paid", "--stack", "shop").stderr


# ------------------------------------------------------------------------------- the running stack


def local_stack(url: str, **changes: Any) -> LocalStack:
    """A local stack that runs, as it is published."""
    settings = {"endpoint_url": "u", "region": "r", "stack_name": "s", "linkrunner_url": "l"}
    return LocalStack(url=url, pid=0, **{**settings, **changes})


@pytest.fixture
def told(
    endpoint: tuple[Endpoint, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Endpoint, LocalStack]:
    """A running stack that was given a file with another source, and a secret for it."""
    path = tmp_path / "webhooks.toml"
    path.write_text('[shop_eu]\nprovider = "stripe"\n')
    taker, url = endpoint
    local = local_stack(url, webhooks_toml=str(path), secrets={"shop_eu": ["whsec_eu"]})
    monkeypatch.setattr(state, "read", lambda: local)
    return taker, local


def test_send_knows_what_the_running_stack_was_told(told: tuple[Endpoint, LocalStack]) -> None:
    """Its URL, its webhooks.toml and its secrets are used, and stderr says so once."""
    taker, local = told
    result = run("send", "stripe", "invoice.paid")
    assert result.exit_code == 0, result.output
    said = f"using the running stack at {local.url}, {local.webhooks_toml}\n"
    assert result.stderr.count(said) == 1
    (request,) = taker.requests
    assert request.path == "/webhooks/shop_eu"
    verifies(request, "whsec_eu", source("stripe"))
    assert "whsec_eu" not in result.output


def test_options_and_environment_win_over_the_running_stack(
    told: tuple[Endpoint, LocalStack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """WEBHOOKS_TOML, WEBHOOK_SECRETS and PORT say what they said without a stack; so do the options."""
    taker, local = told
    monkeypatch.setenv("WEBHOOKS_TOML", str(config.DEFAULT_PATH))
    monkeypatch.setenv("WEBHOOK_SECRETS", '{"stripe": "whsec_env"}')
    result = run(
        "send", "stripe", "invoice.paid", "--to", local.url.replace("127.0.0.1", "localhost")
    )
    assert f"using the running stack at {local.url}\n" in result.stderr
    verifies(taker.requests[0], "whsec_env", source("stripe"))
    assert taker.requests[0].path == "/webhooks/stripe"
    run("send", "stripe", "invoice.paid", "--secret", "whsec_option")
    verifies(taker.requests[1], "whsec_option", source("stripe"))
    monkeypatch.setenv("PORT", "9")
    result = run("send", "stripe", "invoice.paid")
    assert "nothing answers at http://127.0.0.1:9/webhooks/stripe" in result.stderr
    assert "running stack" not in result.stderr


def test_send_to_another_receiver_uses_nothing_of_the_running_stack(
    told: tuple[Endpoint, LocalStack],
) -> None:
    """--to elsewhere means the packaged webhooks.toml and the development secret."""
    result = run("send", "stripe", "invoice.paid", "--to", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9/webhooks/stripe" in result.stderr
    assert "running stack" not in result.stderr


def test_send_says_that_the_running_stack_has_no_secret(
    told: tuple[Endpoint, LocalStack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it would answer 404 is not tried, and the message says how to put one there; then it is used."""
    _, local = told
    live: list[str] = []
    stored = SimpleNamespace(signing_secrets=lambda: SimpleNamespace(of=lambda _: tuple(live)))
    monkeypatch.setattr(state, "read", lambda: replace(local, secrets={}))
    monkeypatch.setattr(targets, "find", lambda _: stored)
    assert "linkrunner-webhooks secrets set shop_eu" in run("send", "stripe", "invoice.paid").stderr
    live.append("whsec_put_there")
    assert run("send", "stripe", "invoice.paid").exit_code == 0


def test_translate_uses_the_running_stacks_configuration(told: tuple[Endpoint, LocalStack]) -> None:
    """A body is translated as the stack would, which is said on stderr."""
    result = run("translate", "stripe", "-", input=body_of("stripe", "invoice.paid"))
    assert json.loads(result.stdout)[0]["event_data"]["source"] == "shop_eu"
    assert "using the running stack at" in result.stderr


def test_check_does_not_use_the_running_stack(told: tuple[Endpoint, LocalStack]) -> None:
    """`make build` checks what it packages, whatever runs."""
    assert "shop_eu" not in run("check").stdout


# ------------------------------------------------------------------------------- dlq


@pytest.fixture
def parked(stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """The local stack with an empty dead-letter queue, found by the command."""
    empty(stack)
    with EmbeddedLinkrunner(key=LINKRUNNER_KEY) as linkrunner:
        local = published(stack, linkrunner_url=linkrunner.url)
        monkeypatch.setattr(state, "read", lambda: local)
        # The embedded queue has one server.
        monkeypatch.setattr(dead_letters, "PATIENCE", 0)
        yield stack


def park(
    stack: EmbeddedStack,
    event_id: str,
    reason: str = "missing_user",
    user: str = "",
    payment: str = "",
    age: timedelta | None = None,
    **story: str,
) -> None:
    """One parked Stripe purchase of 25.99 USD, with or without a user."""
    body = {
        "id": event_id, "type": "checkout.session.completed", "livemode": True,
        "data": {"object": {
            "id": f"cs_{event_id}", "mode": "payment", "payment_status": "paid", "amount_total": 2599,
            "currency": "usd", "payment_intent": payment or f"pi_{event_id}", "client_reference_id": user,
            "customer_details": {"email": "jane@example.com"},
        }},
    }  # fmt: skip
    if age is not None:
        body["created"] = int((datetime.now(UTC) - age).timestamp())
    webhook = Webhook("stripe", {}, json.dumps(body).encode())
    attributes = {
        "source": "stripe", "event_type": "checkout.session.completed", "event_id": event_id,
        "reason": reason, "error": "because", "attempts": "3", "code_version": "0.0.1",
    } | story  # fmt: skip
    stack.aws.client("sqs").send_message(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"],
        MessageBody=Envelope(webhook, 0.0).seal(source("stripe").provider),
        MessageAttributes=typed(attributes),
    )


def depth(stack: EmbeddedStack, output: str) -> int:
    """How many messages are visible in a queue."""
    name = "ApproximateNumberOfMessages"
    answer = stack.aws.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs[output], AttributeNames=[name]
    )
    return int(answer["Attributes"][name])


def test_dlq_list_counts_by_reason_and_says_what_to_do(parked: EmbeddedStack) -> None:
    """Groups with one suggestion each; looking hides nothing from the next look."""
    for number in range(3):
        park(parked, f"evt_{number}")
    park(parked, "evt_refused", reason="refused")
    for _ in range(2):
        result = run("dlq", "list")
        rows = [line.split()[:2] for line in result.stdout.splitlines() if line[:1].isdigit()]
        assert rows == [
            ["3", "missing_user"],
            ["1", "refused"],
        ]
        assert ADVICE["missing_user"] in " ".join(result.stdout.split())


def test_dlq_list_filters(parked: EmbeddedStack) -> None:
    """Every filter narrows the JSON list."""
    park(parked, "evt_a")
    park(parked, "evt_b", reason="refused")
    park(parked, "evt_c", source="shop_eu")

    def ids(*filters: str) -> set[str]:
        return {
            each["event_id"] for each in json.loads(run("dlq", "list", "--json", *filters).stdout)
        }

    assert ids() == {"evt_a", "evt_b", "evt_c"}
    assert ids("--reason", "refused") == {"evt_b"}
    assert ids("--source", "shop_eu") == {"evt_c"}
    assert ids("--type", "invoice.paid") == set()
    assert ids("--since", "1h") == {"evt_a", "evt_b", "evt_c"}
    assert ids("--until", "1h") == set()
    assert len(ids("--limit", "2")) == 2


def test_dlq_reads_many_and_hides_none(parked: EmbeddedStack) -> None:
    """Every message is seen once, and a look that ends early leaves all of them visible."""
    for number in range(53):
        park(parked, f"evt_{number}")
    listed = json.loads(run("dlq", "list", "--json").stdout)
    assert len({each["event_id"] for each in listed}) == len(listed) == 53
    assert len(json.loads(run("dlq", "list", "--json", "--limit", "3").stdout)) == 3
    assert depth(parked, "DeadLetterQueueUrl") == 53


@pytest.mark.parametrize("size", [5, 40])
def test_a_closed_pipe_hides_nothing(parked: EmbeddedStack, size: int) -> None:
    """`dlq list --json | head -1` ends quietly, and the next look sees every message."""
    for number in range(size):
        park(parked, f"evt_{number}")
    command = [sys.executable, "-m", "linkrunner_webhooks_cli", "dlq", "list", "--json"]
    aws = parked.aws
    environment = os.environ | {
        "AWS_ENDPOINT_URL": aws.endpoint_url, "AWS_DEFAULT_REGION": aws.region,
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip
    with subprocess.Popen(
        [*command, "--stack", "linkrunner-webhooks-local"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    ) as listing:  # fmt: skip
        assert listing.stdout is not None
        assert listing.stderr is not None
        if size > 50:
            assert listing.stdout.read(1) == b"["
        listing.stdout.close()
        assert b"Traceback" not in listing.stderr.read()
    assert listing.returncode == 1
    assert depth(parked, "DeadLetterQueueUrl") == size


def test_dlq_says_what_it_cannot_see(parked: EmbeddedStack) -> None:
    """Messages in somebody else's hands are not nothing, whichever command looks for them."""
    assert "Nothing is parked." in run("dlq", "list").stderr
    for number in range(3):
        park(parked, f"evt_{number}")
    client, url = parked.aws.client("sqs"), parked.outputs["DeadLetterQueueUrl"]
    taken = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    for command in (("list",), ("preview",), ("redrive",), ("discard", "--to", "copies")):
        told = run("dlq", *command).stderr
        assert "Nothing is parked" not in told
        assert f"About {len(taken)} more cannot be seen now" in told
        assert "for up to 30 minutes" in told
    assert "cannot be seen now" in run("dlq", "show", "evt_0").stderr


@pytest.mark.parametrize(
    ("option", "name", "nearest"),
    [
        ("--source", "strip", 'did you mean "stripe"?'),
        ("--type", "checkout.session.complete", 'did you mean "checkout.session.completed"?'),
        ("--reason", "refused", "valid are: missing_user"),
    ],
)
def test_dlq_tells_a_typo_from_an_empty_queue(
    parked: EmbeddedStack, option: str, name: str, nearest: str
) -> None:
    """Where no parked message matches, the option and the nearest value are named."""
    park(parked, "evt_1")
    park(parked, "evt_2")
    for command in ("list", "preview", "redrive"):
        told = run("dlq", command, option, name).stderr
        assert f'None of the 2 parked match {option} "{name}"' in told
        assert nearest in told


def test_dlq_does_not_know_every_reason() -> None:
    """A reason that does not exist is wrong usage, with the nearest one, before AWS is asked."""
    result = run("dlq", "list", "--reason", "missing_users")
    assert result.exit_code == 2
    assert 'did you mean "missing_user"?' in result.stderr


def test_dlq_show_tells_the_story_without_the_body(parked: EmbeddedStack) -> None:
    """What arrived, why it parked, what it would become; customer data only when asked for."""
    park(parked, "evt_story", user="user_42")
    story = run("dlq", "show", "evt_story")
    assert story.exit_code == 0
    for text in ("missing_user", "because", "0.0.1", "now           captured", '"amount": 25.99'):
        assert text in story.stdout
    assert "jane@example.com" not in story.stdout
    assert "jane@example.com" in run("dlq", "show", "evt_story", "--body").stdout
    assert run("dlq", "show", "evt_nowhere").exit_code == 1


def test_dlq_show_lists_messages_of_one_event(parked: EmbeddedStack) -> None:
    """An event that is parked several times is listed with the ids that tell its messages apart."""
    park(parked, "evt_twin")
    park(parked, "evt_twin", reason="refused")
    listed = json.loads(run("dlq", "show", "evt_twin", "--json").stdout)
    assert {each["reason"] for each in listed} == {"missing_user", "refused"}
    shown = run("dlq", "show", "evt_twin")
    assert "2 have this event id" in shown.stderr
    for each in listed:
        assert each["id"] in shown.stdout
        assert each["reason"] in run("dlq", "show", each["id"]).stdout


def test_dlq_advises_on_what_was_counted_already(parked: EmbeddedStack) -> None:
    """A message whose payment another report has counted needs no fix, whatever it was parked for."""
    park(parked, "evt_1", user="user_1")
    done = {"key": {"S": "stripe|payment|pi_evt_1"}, "state": {"S": "done"}, "user_id": {"S": "u"}}
    table = parked.environment("DeliverFunction")["LEDGER_TABLE"]
    parked.aws.client("dynamodb").put_item(TableName=table, Item=done)
    advice = "counted already: redrive or discard"
    assert advice in run("dlq", "preview").stdout
    assert json.loads(run("dlq", "show", "evt_1", "--json").stdout)["advice"] == advice


def test_dlq_list_tells_an_outage_from_nothing(parked: EmbeddedStack) -> None:
    """Nothing is parked while Linkrunner is away, and yet not all is delivered."""
    client, url = parked.aws.client("sqs"), parked.outputs["WebhookQueueUrl"]
    assert "wait for Linkrunner" not in run("dlq", "list").stderr
    for _ in range(2):
        client.send_message(QueueUrl=url, MessageBody="a")
    client.receive_message(QueueUrl=url, VisibilityTimeout=600)
    told = run("dlq", "list").stderr
    assert "Nothing is parked." in told
    assert "2 wait for Linkrunner or are in delivery: `linkrunner-webhooks doctor`" in told


def test_dlq_show_says_what_each_user_path_found(parked: EmbeddedStack) -> None:
    """A message without a user shows every path, masked; another one shows none."""
    park(parked, "evt_missing", user="jane@example.com")
    park(parked, "evt_refused", reason="refused", user="user_42")
    shown = run("dlq", "show", "evt_missing")
    (line,) = [each for each in shown.stdout.splitlines() if "client_reference_id" in each]
    assert line.split() == ["…", "an", "e-mail", "address", "data.object.client_reference_id"]
    assert "jane@" not in shown.output
    told = json.loads(run("dlq", "show", "evt_missing", "--json").stdout)["user"]
    assert told["user_paths"][0]["why"] == "an e-mail address"
    assert len(told["user_paths"]) == len(source("stripe").user_id)
    assert "user" not in json.loads(run("dlq", "show", "evt_refused", "--json").stdout)


def test_dlq_preview_counts_outcomes_and_money(parked: EmbeddedStack) -> None:
    """Old reason, new outcome, and the money per currency that would be sent, each payment once."""
    park(parked, "evt_1", user="user_1")
    park(parked, "evt_2", user="user_2")
    park(parked, "evt_3")
    park(parked, "evt_1_again", user="user_1", payment="pi_evt_1")
    summed = json.loads(run("dlq", "preview", "--json").stdout)
    assert summed["money"] == {"USD as purchase_completed": "51.98"}
    outcomes = {each["would_be"]: each["messages"] for each in summed["changes"]}
    assert outcomes == {"captured": 3, "parked": 1}
    assert depth(parked, "DeadLetterQueueUrl") == 4


def test_dlq_promises_nothing_of_what_was_refused(parked: EmbeddedStack) -> None:
    """List, preview, show and redrive have Linkrunner's words; money is not promised; --force still moves."""
    words = 'Linkrunner answered 400: "no such app"'
    for number in range(2):
        park(parked, f"evt_{number}", reason="refused", user="user_1", error=words)
    assert words in run("dlq", "list").stdout
    preview = run("dlq", "preview").stdout
    assert f"2 was refused ({words}); will be refused again" in preview
    assert "would be sent" not in preview
    assert json.loads(run("dlq", "preview", "--json").stdout)["money"] == {}
    assert f"parked: refused, was refused ({words})" in run("dlq", "show", "evt_0").stdout
    assert "2 left, which would park again as refused" in run("dlq", "redrive").stderr
    assert "2 moved" in run("dlq", "redrive", "--force").stderr


def test_dlq_redrive_moves_what_would_not_park_again(parked: EmbeddedStack) -> None:
    """A dry run moves nothing; a real one leaves what is not fixed; --force takes that, too."""
    park(parked, "evt_fixed", user="user_1")
    park(parked, "evt_broken")
    dry = run("dlq", "redrive", "--dry-run")
    assert "1 would be moved" in dry.stderr
    assert depth(parked, "DeadLetterQueueUrl") == 2
    real = run("dlq", "redrive")
    assert "1 moved" in real.stderr
    assert "1 left, which would park again as missing_user" in real.stderr
    assert (depth(parked, "WebhookQueueUrl"), depth(parked, "DeadLetterQueueUrl")) == (1, 1)
    run("dlq", "redrive", "--force")
    assert (depth(parked, "WebhookQueueUrl"), depth(parked, "DeadLetterQueueUrl")) == (2, 0)


def test_what_waited_counts_on_the_day_it_is_sent(parked: EmbeddedStack) -> None:
    """So the ages are told before anything moves, and what is older than wanted stays."""
    for days in (0, 3, 20):
        park(parked, f"evt_{days}", user="user_1", age=timedelta(days=days, minutes=1))
    told = "2 happened over a day ago, 1 over a week (the oldest 20 d)"
    assert told in run("dlq", "preview").stdout
    assert told in run("dlq", "redrive", "--dry-run").stderr
    found = json.loads(run("dlq", "redrive", "--dry-run", "--max-age", "7d", "--json").stdout)
    assert (found["moved"], found["older"], found["ages"]["over_a_day"]) == (2, 1, 1)
    real = run("dlq", "redrive", "--max-age", "1d").stderr
    assert "1 moved." in real
    assert "2 left, which happened before that" in real
    assert "over a day ago" not in real
    assert depth(parked, "DeadLetterQueueUrl") == 2


def test_a_redriven_message_tells_no_old_story(parked: EmbeddedStack) -> None:
    """It is as it was when it came in: the same body, source, type and id, and nothing else."""
    park(parked, "evt_fixed", user="user_1")
    run("dlq", "redrive")
    (message,) = parked.aws.client("sqs").receive_message(
        QueueUrl=parked.outputs["WebhookQueueUrl"], MessageAttributeNames=["All"]
    )["Messages"]
    assert set(message["MessageAttributes"]) == {"source", "event_type", "event_id"}


def test_dlq_redrive_ends_though_messages_park_again(parked: EmbeddedStack) -> None:
    """What arrives while it moves is left for the next run."""
    park(parked, "evt_0")
    stopping = threading.Event()

    def park_again() -> None:
        for number in range(40):
            if stopping.is_set():
                return
            park(parked, f"evt_again_{number}")

    again = threading.Thread(target=park_again)
    again.start()
    result = run("dlq", "redrive", "--force", "--rate", "1000")
    stopping.set()
    again.join()
    assert "moved" in result.stderr
    assert depth(parked, "WebhookQueueUrl") < 40


def test_dlq_discard_asks_and_keeps_a_copy(parked: EmbeddedStack, tmp_path: Path) -> None:
    """No is no; the question names the count; yes writes every message to a file before it is deleted."""
    park(parked, "evt_gone")
    park(parked, "evt_too")
    copies = tmp_path / "copies.jsonl"
    asked = run("dlq", "discard", "--to", str(copies), input="n\n")
    assert asked.exit_code == 1
    assert "Discard 2 messages?" in asked.stderr
    assert depth(parked, "DeadLetterQueueUrl") == 2
    assert not copies.exists()
    assert "2 would be discarded" in run("dlq", "discard", "--dry-run").stderr
    copies.touch(0o644)
    assert run("dlq", "discard", "--to", str(copies), "--limit", "1", "--yes").exit_code == 0
    assert run("dlq", "discard", "--to", str(copies), input="y\n").exit_code == 0
    kept = [json.loads(line) for line in copies.read_text().splitlines()]
    assert {copy["event_id"] for copy in kept} == {"evt_gone", "evt_too"}
    assert all("jane@example.com" in copy["message"] for copy in kept)
    assert copies.stat().st_mode & 0o077 == 0
    assert depth(parked, "DeadLetterQueueUrl") == 0


def test_a_deployed_stack_is_found_in_the_shells_region(
    parked: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_REGION is enough, and a local stack that runs is not asked for anything."""
    park(parked, "evt_a")
    for name, value in (parked.aws.environment | {"AWS_DEFAULT_REGION": ""}).items():
        monkeypatch.setenv(name, value)
    result = run("dlq", "list", "--stack", "linkrunner-webhooks-local", "--json")
    assert [each["event_id"] for each in json.loads(result.stdout)] == ["evt_a"]
    assert result.stderr == ""
    monkeypatch.setenv("AWS_REGION", "")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert "set AWS_REGION" in run("dlq", "list", "--stack", "x").stderr


def test_dlq_discard_writes_before_it_deletes(parked: EmbeddedStack, tmp_path: Path) -> None:
    """Nothing is deleted that could not be written."""
    park(parked, "evt_1")
    nowhere = run("dlq", "discard", "--yes", "--to", str(tmp_path / "no" / "folder"))
    assert nowhere.exit_code == 1
    assert "cannot be written" in nowhere.stderr
    assert depth(parked, "DeadLetterQueueUrl") == 1


def test_dlq_discard_notes_what_linkrunner_has(parked: EmbeddedStack, tmp_path: Path) -> None:
    """A sale that was found in Linkrunner's log has a payer here; of what names nobody nothing is noted."""
    park(parked, "evt_found", reason="uncertain", user="user_1")
    park(parked, "evt_nobody")
    arguments = ("--captured", "--yes", "--to", str(tmp_path / "copies.jsonl"))
    result = run("dlq", "discard", *arguments)
    assert "1 discarded" in result.stderr
    assert "1 left, of which nothing can be noted as captured: missing_user" in result.stderr
    park(parked, "evt_found", reason="uncertain", user="user_1")
    story = json.loads(run("dlq", "show", "evt_found", "--json").stdout)
    assert story["now"]["outcome"] == "duplicate"


def test_dlq_discard_keeps_copies_for_its_owner_only(
    parked: EmbeddedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --to the copies are beside the operator, readable for nobody else, under a name git ignores."""
    monkeypatch.chdir(tmp_path)
    park(parked, "evt_1")
    empty = json.loads(run("dlq", "discard", "--yes", "--source", "shopify", "--json").stdout)
    assert empty == {"discarded": 0, "dry_run": False, "left": {}, "copies": None}
    assert run("dlq", "discard", "--yes").exit_code == 0
    (copies,) = tmp_path.glob("discarded-*.jsonl")
    assert copies.stat().st_mode & 0o777 == 0o600
    assert "evt_1" in copies.read_text()
    assert "discarded*.jsonl" in (project.ROOT / ".gitignore").read_text().splitlines()


def test_dlq_without_a_stack_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a local stack nor --stack is one helpful sentence."""
    monkeypatch.setattr(state, "read", lambda: None)
    result = run("dlq", "list")
    assert result.exit_code == 1
    assert "start it with `make run`, or give --stack NAME" in result.stderr


# ------------------------------------------------------------------------------- doctor


def findings(result: Result) -> dict[str, dict[str, Any]]:
    """What doctor found, by what it looked at."""
    return {each["what"]: each for each in json.loads(result.stdout)}


def all_is_well(stack: EmbeddedStack) -> None:
    """Put every secret and the right key in place."""
    live = {each.name: [development_secret(each)] for each in config.load().sources()}
    put(stack, "WebhookSecretsArn", json.dumps(live))
    put(stack, "LinkrunnerKeySecretArn", LINKRUNNER_KEY)


def test_doctor_finds_what_is_missing(parked: EmbeddedStack) -> None:
    """Missing secrets, a wrong key and parked messages are told apart, each with advice."""
    put(parked, "WebhookSecretsArn", '{"stripe": ["whsec_x"]}')
    put(parked, "LinkrunnerKeySecretArn", "wrong")
    park(parked, "evt_1")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    wrong = {what for what, each in findings(result).items() if not each["right"]}
    assert wrong == {"secret of shopify", "server key", "DeadLetterQueue"}


def test_doctor_is_content_when_everything_is_there(parked: EmbeddedStack) -> None:
    """All secrets, a key that Linkrunner knows, nothing parked; and nothing was captured by asking."""
    all_is_well(parked)
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "accepted by Linkrunner" in result.stdout


def test_doctor_shows_what_check_doubts(parked: EmbeddedStack) -> None:
    """One line, which is no failure: `check` has the details."""
    all_is_well(parked)
    found = findings(run("doctor", "--json"))["webhooks.toml"]
    assert found["right"]
    assert found["advice"] == "1 warning; `linkrunner-webhooks check` says more"


@pytest.mark.parametrize(
    ("status", "setting"),
    [
        (200, "LinkrunnerBaseUrl"),
        (302, "LinkrunnerBaseUrl"),
        (401, "LinkrunnerKeySecret"),
        (403, "LinkrunnerKeySecret"),
        (404, "LinkrunnerBaseUrl"),
        (429, "ask again in a minute"),
        (500, "LinkrunnerBaseUrl"),
        (None, "LinkrunnerBaseUrl"),
    ],
)
def test_doctor_is_content_with_no_other_answer(
    parked: EmbeddedStack, monkeypatch: pytest.MonkeyPatch, status: int | None, setting: str
) -> None:
    """Only the documented refusal of an empty event shows that URL and key are right."""
    all_is_well(parked)
    with EmbeddedLinkrunner() as linkrunner:
        linkrunner.play([Answer(status=status)])
        url = "http://127.0.0.1:9" if status is None else linkrunner.url
        local = state.read()
        assert local is not None
        monkeypatch.setattr(state, "read", lambda: replace(local, linkrunner_url=url))
        result = run("doctor", "--json")
    key = findings(result)["server key"]
    assert (result.exit_code, key["right"]) == (1, False)
    assert setting in key["advice"]


def test_doctor_knows_the_shape_of_secrets(parked: EmbeddedStack) -> None:
    """An API key and a secret of nobody are named, a line break does no harm; no secret is shown."""
    secrets = {
        "stripe": ["whsec_fine", "sk_live_0123456789"],
        "shopify": "hush_0123\n",
        "strip": "x",
    }
    put(parked, "WebhookSecretsArn", json.dumps(secrets))
    result = run("doctor", "--json")
    found = findings(result)
    assert found["secret of stripe"]["found"].startswith("2 live; number 2: a signing secret")
    assert found["secret of shopify"]["right"]
    assert "no table [strip]" in found["secret of strip"]["found"]
    assert "is it meant for stripe?" in found["secret of strip"]["advice"]
    assert not any(found[f"secret of {name}"]["right"] for name in ("stripe", "strip"))
    assert "0123" not in result.output


def test_doctor_finds_a_secret_of_two_sources(parked: EmbeddedStack) -> None:
    """Both are named, the secret is not shown, and it is a failure: a delivery could count twice."""
    all_is_well(parked)
    put(parked, "WebhookSecretsArn", '{"stripe": "whsec_0123", "shopify": ["hush", "whsec_0123"]}')
    result = run("doctor", "--json")
    assert result.exit_code == 1
    found = findings(result)["secrets of stripe and shopify"]
    assert not found["right"]
    assert "a secret of its own" in found["advice"]
    assert "0123" not in result.output


def test_doctor_counts_what_backs_off(parked: EmbeddedStack) -> None:
    """A message that nobody can receive just now is still in its queue."""
    all_is_well(parked)
    client = parked.aws.client("sqs")
    for output in ("WebhookQueueUrl", "DeadLetterQueueUrl"):
        url = parked.outputs[output]
        client.send_message(QueueUrl=url, MessageBody="a")
        client.receive_message(QueueUrl=url, VisibilityTimeout=600)
    found = findings(run("doctor", "--json"))
    assert found["WebhookQueue"]["found"].startswith("0 waiting, 1 in delivery or backing off")
    assert found["DeadLetterQueue"]["found"] == "1 messages, 1 being looked at"
    assert not found["DeadLetterQueue"]["right"]


# ------------------------------------------------------------------------- nothing personal on the screen


@every_sample
def test_translate_shows_nobody(name: str, event_type: str) -> None:
    """Whatever stands in the personal fields of a webhook, `translate` prints none of it, nor any address."""
    sample = contract_samples.load(name, event_type)
    places = [place for place, _ in sample.leaves() if privacy.of(name).is_personal(place)]
    marked = {place: f"marker-{number}@example.com" for number, place in enumerate(places)}
    written = json.dumps({"headers": dict(sample.headers), "body": sample.changed(marked).body})
    result = run("translate", name, "-", "--user-id", "user_42", input=written)
    assert result.exit_code == 0, result.output
    assert "marker-" not in result.output
    assert "@" not in result.output
