"""`connect`: endpoints set up at imitated vendors, and their secrets stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests import imitations
from tests.embedded import published, put
from tests.imitations.vendor import Call, Hook, Vendor
from tests.samples import accepts
from tests.secrets_manager import SecretsManager
from tests.test_clients import every_connection
from tests.test_reconcile import at_once

from linkrunner_webhooks import config, providers
from linkrunner_webhooks.config import Source
from linkrunner_webhooks.pacing import Pace
from linkrunner_webhooks.secrets import Secret, SigningSecrets
from linkrunner_webhooks_cli import clients, connect, samples, signing_secrets
from linkrunner_webhooks_cli.clients import api
from linkrunner_webhooks_cli.clients.client import Connects, Origin, Wanted
from linkrunner_webhooks_cli.clients.credentials import opened
from linkrunner_webhooks_cli.endpoints import types_of
from linkrunner_webhooks_cli.failures import Failure
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.other_side import other_side
from linkrunner_webhooks_cli.stacks import Stack, find
from linkrunner_webhooks_local import state
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.loopback import Response

# As Square's example option says it.
URL = "https://hooks.example.com/webhooks/{}"


@dataclass
class Desk:
    """An imitated vendor, and the stack that its webhooks should reach."""

    vendor: Vendor
    config_path: Path
    outputs: dict[str, str] = field(
        default_factory=lambda: {"WebhookUrl": URL.format(""), "WebhookSecretsArn": "arn:secret"}
    )
    secrets: SecretsManager = field(default_factory=lambda: SecretsManager("{}"))

    @property
    def name(self) -> str:
        return self.vendor.name

    def configure(self, **events: bool) -> None:
        """webhooks.toml says so now."""
        options = providers.load(self.name).options.example()
        lines = [
            f"[{self.name}]",
            *(f"{key} = {json.dumps(each)}" for key, each in options.items()),
        ]
        lines += [
            f"[{self.name}.events]",
            *(f'"{key}" = {str(on).lower()}' for key, on in events.items()),
        ]
        self.config_path.write_text("\n".join(lines), "utf-8")

    @property
    def source(self) -> Source:
        return config.load(self.config_path).sources()[0]

    @property
    def kind(self) -> type[Connects]:
        found = clients.client_of(self.name)
        assert found is not None
        assert issubclass(found, Connects)
        return found

    @property
    def stack(self) -> Stack:
        return Stack("shop", self.outputs, {}, "https://linkrunner.example", lambda _: self.secrets)

    def run(self, *arguments: str, source: str = "") -> Result:
        given = ("--config", str(self.config_path), *arguments)
        return CliRunner().invoke(main, ["connect", source or self.name, *given])

    @property
    def hooks(self) -> list[Hook]:
        return [hook for hook in self.vendor.hooks if hook.url == URL.format(self.name)]

    @property
    def live(self) -> tuple[str, ...]:
        return self.stack.signing_secrets().of(self.name)

    def assert_connected(self) -> None:
        """Exactly the types that are forwarded, and what the vendor signs verifies."""
        assert set().union(*(hook.types for hook in self.hooks)) == set(types_of(self.source))
        assert all(hook.enabled for hook in self.hooks)
        source = self.source
        sample = samples.load(source, types_of(source)[0])
        for hook in self.hooks:
            if _only_the_vendor_signs(self.name):
                assert hook.secret in self.live
            else:
                webhook = sample.signed(source, hook.secret, 1.0)
                assert accepts(source.signature, webhook, *self.live, now=1.0)


def _only_the_vendor_signs(name: str) -> bool:
    """PayPal signs with a certificate; what is stored is the endpoint's id."""
    return name == "paypal"


@contextmanager
def _desk(name: str, folder: Path) -> Iterator[Desk]:
    vendor = imitations.imitation_of(name)()
    with pytest.MonkeyPatch.context() as patch, vendor.serving() as environment:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        patch.setattr(api, "Pace", partial(at_once, Pace))
        it = Desk(vendor, folder / "webhooks.toml")
        patch.setattr(connect, "find", lambda _: it.stack)
        it.configure()
        yield it


@every_connection
def test_a_dry_run_shows_and_changes_nothing(name: str, tmp_path: Path) -> None:
    """The requests that would be sent, without a secret in them."""
    with _desk(name, tmp_path) as it:
        result = it.run("--dry-run")
        assert result.exit_code == 0, result.output
        assert "POST " in result.stdout
        assert "Nothing was sent." in result.stderr
        assert (it.hooks, it.live) == ([], ())
        shown = json.loads(it.run("--dry-run", "--json").stdout)
        assert len(shown["requests"]) >= 1
        hidden = [f"{name.upper()}_{each.name}" for each in it.kind.credentials if each.hidden]
        for variable in hidden:
            assert it.vendor.environment[variable] not in result.output or not variable


@every_connection
def test_a_source_is_connected_once(name: str, tmp_path: Path) -> None:
    """With its secret, which nobody is shown; a second run finds that nothing is to be done."""
    with _desk(name, tmp_path) as it:
        result = it.run("--yes")
        assert result.exit_code == 0, result.output
        assert "Connected." in result.stderr
        it.assert_connected()
        assert len(it.live) == 1
        if name != "paypal":
            assert it.live[0] not in result.output
        before = [(hook.id, set(hook.types), hook.secret) for hook in it.vendor.hooks]
        again = it.run("--yes")
        assert "Everything is as it should be" in again.stderr
        assert before == [(hook.id, set(hook.types), hook.secret) for hook in it.vendor.hooks]
        assert it.run("--check").exit_code == 0


@every_connection
def test_a_change_of_webhooks_toml_changes_the_endpoint(name: str, tmp_path: Path) -> None:
    """Fewer types or more: the endpoint stays, and so does its secret."""
    with _desk(name, tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        live = it.live
        first, *others = [each for each in types_of(it.source) if it.source.names.get(each)]
        it.configure(**{first: False})
        check = it.run("--check")
        assert first in check.output
        changed = it.run("--yes")
        assert changed.exit_code == 0, changed.output
        it.assert_connected()
        assert first not in set().union(*(hook.types for hook in it.hooks))
        it.configure()
        assert it.run("--check").exit_code == 1
        assert it.run("--yes").exit_code == 0
        it.assert_connected()
        assert it.live == live
        assert others


@every_connection
def test_an_endpoint_that_is_off_is_seen_and_mended(name: str, tmp_path: Path) -> None:
    """`--check` and `doctor` name it; a vendor that cannot switch off has deleted it."""
    with _desk(name, tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        if it.vendor.pauses:
            for hook in it.hooks:
                hook.enabled = False
        else:
            it.vendor.hooks.clear()
        check = it.run("--check")
        assert check.exit_code == 1
        assert f"connect {name}" in " ".join(check.stdout.split())
        mended = it.run("--yes")
        assert mended.exit_code == 0, mended.output
        it.assert_connected()


@every_connection
def test_a_secret_that_nobody_knows_is_never_taken_for_right(name: str, tmp_path: Path) -> None:
    """Somebody emptied WebhookSecrets: it is read, given anew, or a person is asked for it."""
    with _desk(name, tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        it.secrets.value = "{}"
        assert it.run("--check").exit_code == 1
        result = it.run("--yes")
        if it.kind.origin is Origin.ONCE:
            assert result.exit_code == 1
            assert f"secrets set {name}" in result.output
            result = it.run("--yes", "--renew")
        assert result.exit_code == 0, result.output
        it.assert_connected()
        assert len(it.hooks) == (len(types_of(it.source)) if it.kind.one_each else 1)
        assert it.run("--check").exit_code == 0


@every_connection
def test_a_new_secret_leaves_the_former_valid(name: str, tmp_path: Path) -> None:
    """What is on its way was signed with the former one."""
    with _desk(name, tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        (former,) = it.live
        result = it.run("--yes", "--renew")
        if it.kind.origin in (Origin.ONCE, Origin.OURS):
            assert result.exit_code == 0, result.output
            assert it.live[1:] == (former,)
        else:
            assert result.exit_code == 1
            assert ("only there" in result.output) is (it.kind.origin is Origin.AGAIN)
        it.assert_connected()


@every_connection
def test_another_endpoint_is_left_alone(name: str, tmp_path: Path) -> None:
    """What others have set up stays as it is, whatever is changed beside it."""
    with _desk(name, tmp_path) as it:
        client = opened(it.kind, it.source, config.load(it.config_path))
        assert isinstance(client, Connects)
        theirs = Wanted(
            f"https://other.example/{name}", types_of(it.source)[:1], "theirs", _chosen(client)
        )
        id = client.create(theirs).id
        assert it.run("--yes").exit_code == 0
        it.configure(**{types_of(it.source)[-1]: False})
        assert it.run("--yes").exit_code == 0
        (hook,) = [each for each in it.vendor.hooks if each.id == id]
        assert (hook.url, tuple(hook.types)) == (theirs.url, theirs.types)


def _chosen(client: Connects) -> str:
    return client.choose() if client.origin is Origin.OURS else ""


# ------------------------------------------------------------------------- what goes wrong half-way


@pytest.mark.parametrize("name", ["woocommerce", "chargebee"])
def test_a_run_that_failed_is_finished_by_the_next(name: str, tmp_path: Path) -> None:
    """The secret is stored, and one of the endpoints has another: that is not taken for right."""
    with _desk(name, tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        it.secrets.value = "{}"
        it.vendor.on = _refusing(changes=2 if it.kind.one_each else 1)
        assert it.run("--yes").exit_code == 1
        it.vendor.on = None
        assert it.run("--check").exit_code == 1
        assert it.run("--yes").exit_code == 0
        it.assert_connected()


def test_tries_to_renew_do_not_push_out_the_secret_in_use(tmp_path: Path) -> None:
    """A key that may only read: each try would leave one more secret that nobody was given."""
    with _desk("woocommerce", tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        (used,) = it.live
        it.vendor.on = _refusing(changes=1)
        for _ in range(3):
            assert it.run("--yes", "--renew").exit_code == 1
        assert it.live[1:] == (used,)
        it.vendor.on = None
        assert it.run("--yes").exit_code == 0
        it.assert_connected()


def test_a_tunnel_does_not_push_out_the_secret_of_the_stack(tmp_path: Path) -> None:
    """Each endpoint has a secret of its own, and all of them that are there stay valid."""
    with _desk("stripe", tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        for tunnel in range(3):
            assert (
                it.run("--yes", "--url", f"https://t{tunnel}.example/webhooks/stripe").exit_code
                == 0
            )
        assert {hook.secret for hook in it.vendor.hooks} == set(it.live)
        it.assert_connected()


def test_a_type_that_is_refused_does_not_stop_the_others(tmp_path: Path) -> None:
    """A shop without an extension, an app without a scope: what was refused is named, the rest is set up."""
    with _desk("woocommerce", tmp_path) as it:
        it.vendor.on = _refusing(changes=1, times=1)
        result = it.run("--yes")
        assert result.exit_code == 1
        first, *others = types_of(it.source)
        assert f"create {first}" in result.output
        assert "[woocommerce.events]" in result.output
        assert {each for hook in it.hooks for each in hook.types} == set(others)


def test_nothing_is_made_twice_for_want_of_an_answer(tmp_path: Path) -> None:
    """A proxy's 503 may have done it: it is looked at, and not sent again."""
    with _desk("woocommerce", tmp_path) as it:
        it.vendor.on = _refusing(changes=1, times=1, status=503)
        result = it.run("--yes")
        assert result.exit_code == 1
        assert "may have done it" in result.output
        assert it.run("--yes").exit_code == 0
        it.assert_connected()
        assert len(it.hooks) == len(types_of(it.source))


def test_no_secret_is_quoted_from_an_answer(tmp_path: Path) -> None:
    """A vendor that repeats what it was sent repeats the secret, too."""
    with _desk("lemonsqueezy", tmp_path) as it:

        def echo(call: Call) -> Response | None:
            if call.method == "GET":
                return None
            told = json.loads(call.request.body)["data"]["attributes"]["secret"]
            return Response.of(422, {"errors": [{"detail": f"secret {told} is too good"}]})

        it.vendor.on = echo
        result = it.run("--yes")
        assert "is too good" in result.output
        assert it.live[0] not in result.output


def _refusing(
    *, changes: int, times: int = 100, status: int = 400
) -> Callable[[Call], Response | None]:
    """Answers that refuse so many changes, from this one on."""
    seen = [0]

    def refuse(call: Call) -> Response | None:
        if call.method == "GET":
            return None
        seen[0] += 1
        return Response.of(status, {}) if changes <= seen[0] < changes + times else None

    return refuse


def test_the_best_of_several_endpoints_is_kept(tmp_path: Path) -> None:
    """That which is on and whose secret is known; the others are named, and left alone."""
    with _desk("stripe", tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        (good,) = it.hooks
        bad = Hook("we_0", good.url + "/", {"*"}, "whsec_other", False, dict(good.more))
        twin = Hook("we_1", good.url, set(good.types), "whsec_twin", True, dict(good.more))
        it.vendor.hooks[:] = [twin, good, bad]
        assert "Everything is as it should be" in it.run("--yes").stderr
        assert (bad.enabled, bad.types) == (False, {"*"})
        assert "remove we_1 there" in " ".join(it.run("--check").stdout.split())


def test_an_endpoint_of_a_former_run_is_removed(tmp_path: Path) -> None:
    """That which has the newest secret stays."""
    with _desk("stripe", tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        (former,) = it.hooks
        it.vendor.hooks.remove(former)
        assert it.run("--yes").exit_code == 0
        (newest,) = it.hooks
        it.vendor.hooks.insert(0, former)
        assert former.id in it.run("--check").stdout
        assert it.run("--yes").exit_code == 0
        assert it.hooks == [newest]
        it.assert_connected()


def test_a_secret_that_was_dropped_signs_nothing(tmp_path: Path) -> None:
    """An endpoint that still has it is seen, whatever others are live."""
    with _desk("stripe", tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        assert it.run("--check").exit_code == 0
        table = it.stack.signing_secrets().table()
        it.secrets.put_secret_value(
            SecretId="arn:secret", SecretString=json.dumps({**table, "stripe": "whsec_of_another"})
        )
        assert it.run("--check").exit_code == 1
        assert "--renew" in it.run("--yes").stderr
        assert it.run("--renew", "--yes").exit_code == 0
        it.assert_connected()


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/webhooks/stripe",
        "https://localhost/webhooks/stripe",
        "https://127.0.0.1/webhooks/stripe",
        "https://hooks.example.com/webhooks/paddle",
        "https://hooks.example.com/stripe",
        "https://hooks.example.com/webhooks/stripe?source=stripe",
        "https://user@hooks.example.com/webhooks/stripe",
        "https://[hooks/webhooks/stripe",
    ],
)
def test_a_url_that_no_webhook_reaches_is_refused(url: str, tmp_path: Path) -> None:
    """Or at which another source, or nobody, listens."""
    with _desk("stripe", tmp_path) as it:
        refused = it.run("--url", url, "--yes")
        assert refused.exit_code == 1
        assert "/webhooks/stripe" in refused.stderr
        assert it.vendor.hooks == []


def test_a_url_that_differs_in_a_letter_is_mended(tmp_path: Path) -> None:
    """Some vendors sign it, and not every server takes it for the same."""
    with _desk("stripe", tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        it.hooks[0].url += "/"
        assert it.run("--check").exit_code == 1
        assert it.run("--yes").exit_code == 0
        it.assert_connected()


def test_what_is_removed_is_named(tmp_path: Path) -> None:
    """A topic that nobody forwards, and not those that somebody does."""
    with _desk("woocommerce", tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        it.hooks[0].types = {"order.deleted"}
        shown = json.loads(it.run("--dry-run", "--json").stdout)
        removed = [each["types"] for each in shown["steps"] if each["what"] == "remove"]
        assert removed == [["order.deleted"]]


def test_a_setting_that_loses_webhooks_is_mended(tmp_path: Path) -> None:
    """A destination that is sent simulations alone looks connected, and is not."""
    with _desk("paddle", tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        it.hooks[0].more["traffic_source"] = "simulation"
        assert it.run("--check").exit_code == 1
        assert it.run("--yes").exit_code == 0
        assert it.hooks[0].more["traffic_source"] == "platform"


def test_what_would_go_wrong_is_refused_before(tmp_path: Path) -> None:
    """Another file than the deployed one, no type at all, and a question that no script answers."""
    with _desk("stripe", tmp_path) as it:
        assert it.run("--json").exit_code == 2
        it.outputs["ConfigurationDigest"] = "c0"
        assert "deploy this one first" in it.run("--yes").output
        del it.outputs["ConfigurationDigest"]
        it.configure(**dict.fromkeys(types_of(it.source), False))
        assert "forwards nothing" in it.run("--yes").output
        assert it.vendor.hooks == []


def test_a_secret_that_cannot_be_stored_takes_the_endpoint_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told only once: nobody could ever verify what that endpoint signs."""
    with _desk("stripe", tmp_path) as it:

        def refuse(*_: Any, **__: Any) -> None:
            raise Failure("AWS answered: AccessDenied")

        monkeypatch.setattr(signing_secrets, "_write", refuse)
        result = it.run("--yes")
        assert result.exit_code == 1
        assert "taken away again" in result.output
        assert it.vendor.hooks == []


def test_what_has_no_api_is_told(tmp_path: Path) -> None:
    """The URL, the types and the page that says where to click."""
    with _desk("stripe", tmp_path) as it:
        it.config_path.write_text("[paystack]\n")
        result = it.run(source="paystack")
        assert result.exit_code == 0
        assert URL.format("paystack") in result.stdout
        assert "charge.success" in result.stdout
        assert "docs/providers/paystack.md" in result.stdout
        assert "secrets set paystack" in result.stdout


def test_a_provider_reaches_no_local_stack(stack: EmbeddedStack, tmp_path: Path) -> None:
    """The URL of `make run` is of no use to it; with that of a tunnel its real secrets are stored."""
    put(stack, "WebhookSecretsArn", "{}")
    with _desk("stripe", tmp_path) as it, pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "read", lambda: published(stack))
        patch.setattr(connect, "find", find)
        result = it.run("--yes")
        assert result.exit_code == 1
        assert "--url" in result.output
        assert it.vendor.calls == []
        assert it.run("--yes", "--url", URL.format("stripe")).exit_code == 0
        client = stack.aws.client("secretsmanager")
        stored = SigningSecrets(Secret(client, stack.outputs["WebhookSecretsArn"]))
        assert stored.of("stripe") == (it.hooks[0].secret,)


def test_square_signs_the_url_that_is_configured(tmp_path: Path) -> None:
    """Another one would never verify: the setting to change is named."""
    with _desk("square", tmp_path) as it:
        it.config_path.write_text('[square]\nnotification_url = "https://other.example/square"\n')
        result = it.run("--yes")
        assert result.exit_code == 1
        assert f'notification_url = "{URL.format("square")}"' in result.output
        assert it.vendor.hooks == []


def test_doctor_looks_at_the_other_side(tmp_path: Path) -> None:
    """Where credentials are given, and nowhere else; a key without the right is no fault."""
    with _desk("stripe", tmp_path) as it:
        it.config_path.write_text("[stripe]\n[shopify]\n")
        configured, known = config.load(it.config_path), it.stack
        (missing,) = other_side(configured, known)
        assert (missing.right, "none sends to" in missing.found) == (False, True)
        assert "connect stripe" in missing.advice
        it.vendor.locked = True
        (unseen,) = other_side(configured, known)
        assert (unseen.right, unseen.found) == (True, "not seen")
        assert "STRIPE_API_KEY" in unseen.advice
