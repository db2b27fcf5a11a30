"""`connect`: endpoints set up at imitated vendors, and their secrets stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests import imitations
from tests.embedded import published, put
from tests.imitations.vendor import Hook, Vendor
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

# As Square's example option says it.
URL = "https://hooks.example.com/webhooks/{}"


@dataclass
class Desk:
    """An imitated vendor, and the stack that its webhooks should reach."""

    vendor: Vendor
    config_path: Path
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
    def stack(self) -> Stack:
        outputs = {"WebhookUrl": URL.format(""), "WebhookSecretsArn": "arn:secret"}
        return Stack("shop", outputs, {}, "https://linkrunner.example", lambda _: self.secrets)

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
        kind = clients.client_of(name)
        assert kind is not None
        hidden = [f"{name.upper()}_{each.name}" for each in kind.credentials if each.hidden]
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
def test_a_secret_that_nobody_knows_is_replaced_or_read(name: str, tmp_path: Path) -> None:
    """Somebody emptied WebhookSecrets: afterwards what the vendor signs verifies again."""
    with _desk(name, tmp_path) as it:
        assert it.run("--yes").exit_code == 0
        it.secrets.value = "{}"
        result = it.run("--yes")
        assert result.exit_code == 0, result.output
        it.assert_connected()
        kind = clients.client_of(name)
        assert kind is not None
        assert issubclass(kind, Connects)
        assert len(it.hooks) == (len(types_of(it.source)) if kind.one_each else 1)


@every_connection
def test_a_new_secret_leaves_the_former_valid(name: str, tmp_path: Path) -> None:
    """What is on its way was signed with the former one."""
    with _desk(name, tmp_path) as it:
        kind = clients.client_of(name)
        assert kind is not None
        assert issubclass(kind, Connects)
        assert it.run("--yes").exit_code == 0
        (former,) = it.live
        result = it.run("--yes", "--renew")
        if kind.origin in (Origin.ONCE, Origin.OURS):
            assert result.exit_code == 0, result.output
            assert it.live[1:] == (former,)
        else:
            assert result.exit_code == 1
            assert "a new secret only there" in result.output
        it.assert_connected()


@every_connection
def test_another_endpoint_is_left_alone(name: str, tmp_path: Path) -> None:
    """What others have set up stays as it is, whatever is changed beside it."""
    with _desk(name, tmp_path) as it:
        kind = clients.client_of(name)
        assert kind is not None
        client = opened(kind, it.source, config.load(it.config_path))
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


def test_a_provider_reaches_no_local_stack(
    stack: EmbeddedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL of `make run` is of no use to it; with that of a tunnel its real secrets are stored."""
    with _desk("stripe", tmp_path) as it:
        put(stack, "WebhookSecretsArn", "{}")
        monkeypatch.setattr(state, "read", lambda: published(stack))
        monkeypatch.setattr(connect, "find", find)
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
