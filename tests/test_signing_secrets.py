from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tests.embedded import published, put

from linkrunner_webhooks.secrets import Secret, SigningSecrets
from linkrunner_webhooks_cli.main import main
from linkrunner_webhooks_cli.secret_table import SINCE, rotated, since, table_with
from linkrunner_webhooks_local import state
from linkrunner_webhooks_local.cloudformation import EmbeddedStack
from linkrunner_webhooks_local.development import LINKRUNNER_KEY
from linkrunner_webhooks_local.embedded_linkrunner import EmbeddedLinkrunner

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
NEW, OLD, OLDEST = "whsec_new_0123", "whsec_old_0123", "whsec_oldest_0123"


@pytest.fixture
def here(stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """The local stack, found by the command, with no secrets and a Linkrunner that knows its key."""
    for name in ("PORT", "WEBHOOKS_TOML", "WEBHOOK_SECRETS"):
        monkeypatch.delenv(name, raising=False)
    put(stack, "WebhookSecretsArn", "{}")
    with EmbeddedLinkrunner(key=LINKRUNNER_KEY) as linkrunner:
        local = published(stack, linkrunner_url=linkrunner.url)
        monkeypatch.setattr(state, "read", lambda: local)
        yield stack


def run(*arguments: str, input: str = "") -> Result:
    """The result of `secrets` with these arguments. It never shows a secret."""
    result = CliRunner().invoke(main, ["secrets", *arguments], input=input)
    assert "0123" not in result.output
    return result


def text(stack: EmbeddedStack, output: str = "WebhookSecretsArn") -> str:
    """The value of a secret."""
    client = stack.aws.client("secretsmanager")
    return str(client.get_secret_value(SecretId=stack.outputs[output])["SecretString"])


def live(stack: EmbeddedStack, source: str) -> tuple[str, ...]:
    """The secrets of a source, as the receiving function reads them."""
    client = stack.aws.client("secretsmanager")
    return SigningSecrets(Secret(client, stack.outputs["WebhookSecretsArn"])).of(source)


def test_a_rotation_keeps_the_former_secret_and_drops_the_one_before(here: EmbeddedStack) -> None:
    """The provider signs with the former one for a while; two are enough."""
    for secret in (OLDEST, OLD):
        assert run("set", "stripe", input=f"{secret}\n").exit_code == 0
    result = run("set", "stripe", input=f" {NEW}\n")
    assert result.exit_code == 0, result.output
    assert live(here, "stripe") == (NEW, OLD)
    assert "Dropped: 1 older secret" in result.stderr
    assert "secrets drop stripe" in result.stderr
    assert run("drop", "stripe", "--yes").exit_code == 0
    assert live(here, "stripe") == (NEW,)


def test_only_replaces_all(here: EmbeddedStack) -> None:
    """A secret that leaked must not stay valid."""
    put(here, "WebhookSecretsArn", json.dumps({"stripe": [OLD, OLDEST]}))
    assert run("set", "stripe", "--only", input=NEW).exit_code == 0
    assert live(here, "stripe") == (NEW,)


def test_the_same_secret_again_changes_nothing(here: EmbeddedStack) -> None:
    """A second run of a script must not push the former secret out; and a rotation can be taken back."""
    put(here, "WebhookSecretsArn", json.dumps({"stripe": [NEW, OLD]}))
    run("set", "stripe", input=NEW)
    assert live(here, "stripe") == (NEW, OLD)
    run("set", "stripe", input=OLD)
    assert live(here, "stripe") == (OLD, NEW)


@pytest.mark.parametrize(
    ("source", "secret", "said"),
    [
        ("stripe", "sk_live_0123", "begins with whsec_"),
        ("stripe", "rk_live_0123", "it is an API key or its id, and no signing secret"),
        ("stripe", "", "it is empty"),
        ("shopify", "shpat_0123", "it is an API key"),
        ("strip", NEW, 'did you mean "stripe"?'),
        ("@since", NEW, "no table [@since]"),
    ],
)
def test_what_cannot_be_right_is_not_stored(
    here: EmbeddedStack, source: str, secret: str, said: str
) -> None:
    """The mistake is named, not the secret, and what was there stays."""
    before = text(here)
    result = run("set", source, input=secret)
    assert result.exit_code == 1
    assert said in result.stderr
    assert text(here) == before


def test_what_is_no_json_is_not_written_over(here: EmbeddedStack) -> None:
    """Somebody stored something by hand, which may be the only copy of their secrets."""
    put(here, "WebhookSecretsArn", "whsec_by_hand")
    result = run("set", "stripe", input=NEW)
    assert result.exit_code == 1
    assert "not JSON" in result.stderr
    assert text(here) == "whsec_by_hand"


def test_the_list_has_counts_ages_and_shapes(here: EmbeddedStack) -> None:
    """What was stored by hand has no age; what has the wrong shape or no table says what to do."""
    put(here, "WebhookSecretsArn", json.dumps({"stripe": "sk_live_0123", "strip": ["x"]}))
    run("set", "stripe", input=NEW)
    rows = {each["source"]: each for each in json.loads(run("list", "--json").stdout)}
    assert [each["since"] is None for each in rows["stripe"]["secrets"]] == [False, True]
    assert "number 2: a signing secret of this provider begins with" in rows["stripe"]["advice"]
    assert "is it meant for stripe?" in rows["strip"]["advice"]
    assert rows["shopify"]["secrets"] == []
    assert SINCE not in rows
    shown = run("list").stdout
    assert " s ago, unknown" in " ".join(shown.split())


def test_one_secret_of_two_sources_is_warned_of(here: EmbeddedStack) -> None:
    """Who sees a delivery to one could send it to the other."""
    put(here, "WebhookSecretsArn", json.dumps({"shopify": NEW}))
    result = run("set", "stripe", input=NEW)
    assert result.exit_code == 0
    assert "secrets of stripe and shopify: they have one secret" in result.stderr


def test_drop_asks_and_can_only_look(here: EmbeddedStack) -> None:
    """Nothing goes without a yes; the last secret goes only when it is meant."""
    put(here, "WebhookSecretsArn", json.dumps({"stripe": [NEW, OLD], "shopify": "kept"}))
    assert run("drop", "stripe", input="n\n").exit_code == 1
    looked = run("drop", "stripe", "--all", "--dry-run", "--json")
    assert json.loads(looked.stdout)["dropped"] == 2
    assert live(here, "stripe") == (NEW, OLD)
    assert run("drop", "stripe", "--all", input="y\n").exit_code == 0
    assert json.loads(text(here)) == {"shopify": "kept"}
    result = run("drop", "stripe")
    assert (result.exit_code, "stripe has no secret" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("key", "said"), [("wrong_0123", "refused by Linkrunner (401)"), ("", "holds no key")]
)
def test_a_wrong_server_key_is_not_stored(here: EmbeddedStack, key: str, said: str) -> None:
    """Linkrunner is asked first: with a wrong key everything would wait."""
    put(here, "LinkrunnerKeySecretArn", "before")
    result = run("server-key", input=key)
    assert result.exit_code == 1
    assert said in result.stderr
    assert text(here, "LinkrunnerKeySecretArn") == "before"


def test_a_server_key_that_linkrunner_knows_is_stored(here: EmbeddedStack) -> None:
    """Without the line break of `echo`, and without a capture."""
    assert run("server-key", input=f"{LINKRUNNER_KEY}\n").exit_code == 0
    assert text(here, "LinkrunnerKeySecretArn") == LINKRUNNER_KEY


# ------------------------------------------------------------------------------- the table

some_secrets = st.lists(st.sampled_from([NEW, OLD, OLDEST]), unique=True).map(tuple)
anything = st.none() | st.booleans() | st.text(max_size=3) | st.lists(st.text(max_size=3))
noted: st.SearchStrategy[Any] = anything | st.dictionaries(
    st.sampled_from(["stripe", "shopify"]), anything | st.dictionaries(st.text(), anything)
)


@given(some_secrets, some_secrets, noted)
def test_other_sources_stay_as_they_are(
    before: tuple[str, ...], after: tuple[str, ...], note: Any
) -> None:
    """Whatever a person made of the notes, a write changes one source and gives each new secret a date."""
    table = {"stripe": list(before), "shopify": "other", SINCE: note}
    written = table_with(table, "stripe", before, after, NOW)
    assert written.get("stripe", []) == list(after)
    assert written["shopify"] == "other"
    dates = dict(zip(after, since(written, "stripe", after), strict=True))
    assert all(dates[each] == NOW for each in after if each not in before)


def test_a_date_lasts_as_long_as_its_secret() -> None:
    """Putting another one beside it makes it no younger."""
    first = table_with({}, "stripe", (), (OLD,), NOW)
    later = NOW + timedelta(days=90)
    second = table_with(first, "stripe", (OLD,), rotated((OLD,), NEW, only=False), later)
    assert since(second, "stripe", (NEW, OLD)) == [later, NOW]
    assert "whsec" not in json.dumps(second[SINCE])
    assert table_with(second, "stripe", (NEW, OLD), (), later) == {}


@pytest.mark.parametrize("broken", ["whsec_0123 pasted here", "[]", '{"stripe": 7}'])
def test_what_is_broken_is_begun_anew_when_asked(here: EmbeddedStack, broken: str) -> None:
    """The command that meets a secret nobody can read says how to mend it, and --only does."""
    put(here, "WebhookSecretsArn", broken)
    refused = run("set", "stripe", input=NEW)
    assert refused.exit_code == 1
    assert "secrets set stripe --only" in refused.stderr
    assert text(here) == broken
    assert run("set", "stripe", "--only", input=NEW).exit_code == 0
    assert live(here, "stripe") == (NEW,)
