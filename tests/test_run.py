"""What `make run` finds at its start."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkrunner_webhooks_cli.run import findings
from linkrunner_webhooks_local.settings import Settings


def found(folder: Path, toml: str, secrets: str = "") -> str:
    """The findings of a start with this file and these secrets, as they are shown."""
    path = folder / "webhooks.toml"
    path.write_text(toml)
    settings = Settings.read({"WEBHOOKS_TOML": str(path), "WEBHOOK_SECRETS": secrets})
    return "\n".join(findings(settings, settings.config(print)))


@pytest.mark.parametrize(
    ("toml", "secrets", "expected"),
    [
        ("", "", "has no tables, so nothing is received; `linkrunner-webhooks add stripe`"),
        (
            "[stripe]",
            '{"stripe": "sk_live_0123456789"}',
            "secret of stripe: 1 live; number 1: a signing secret",
        ),
        ("[stripe]", '{"shopify": "x"}', "put the signing secret into WEBHOOK_SECRETS"),
        (
            "[stripe]",
            '{"strip": "x"}',
            "is it meant for stripe? Else add the table and start again",
        ),
        (
            "[stripe]\nuser_id = []",
            "",
            "webhooks.toml: 1 warning; `linkrunner-webhooks check` says",
        ),
        ("[stripe]\n[shopify]", "", "webhooks.toml: 1 warning; `linkrunner-webhooks check` says"),
        (
            "[chargebee]\n[revenuecat]",
            '{"chargebee": "linkrunner:0123", "revenuecat": ["x", " linkrunner:0123\\n"]}',
            "secrets of chargebee and revenuecat: they have one secret; who sees a delivery",
        ),
        (
            '[woocommerce]\n[eu]\nprovider = "woocommerce"\n[us]\nprovider = "woocommerce"',
            '{"woocommerce": "a", "eu": ["c", "b"], "us": ["b", "c"]}',
            "secrets of eu and us: they have one secret",
        ),
        ("[stripe]", "", ""),
    ],
)
def test_the_start_says_what_is_wrong(
    tmp_path: Path, toml: str, secrets: str, expected: str
) -> None:
    """Secrets in a wrong shape or of nobody, sources without one, no sources, doubts; no secret is shown."""
    text = found(tmp_path, toml, secrets)
    assert expected in text if expected else text == ""
    assert "0123" not in text


@pytest.mark.parametrize(
    ("toml", "secrets"),
    [
        # The facts of both are keyed by the provider, so what is sent to both counts once.
        ('[shopify]\n[eu]\nprovider = "shopify"', '{"shopify": "app", "eu": "app"}'),
        ("[chargebee]\n[revenuecat]", '{"chargebee": "a:b", "revenuecat": ["c", "d"]}'),
        ("[chargebee]", '{"chargebee": ["a:b", "a:b"]}'),
        ("[chargebee]\n[revenuecat]", ""),
    ],
)
def test_secrets_that_let_nothing_count_again(tmp_path: Path, toml: str, secrets: str) -> None:
    """Two shops of one app have its secret, and a source may have a secret twice."""
    assert "one secret" not in found(tmp_path, toml, secrets)


def test_the_start_tells_sources_that_share_secrets_once(tmp_path: Path) -> None:
    """However many secrets they share."""
    toml = '[woocommerce]\n[eu]\nprovider = "woocommerce"'
    text = found(tmp_path, toml, '{"woocommerce": ["a", "b"], "eu": ["b", "a"]}')
    assert text.count("one secret") == 1
