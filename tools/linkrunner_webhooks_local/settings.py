"""The settings of `make run`, from the environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from linkrunner_webhooks import config
from linkrunner_webhooks.config import Config, Source
from linkrunner_webhooks_local.development import LINKRUNNER_KEY, development_secret
from linkrunner_webhooks_local.live_config import LiveConfig
from linkrunner_webhooks_local.project import WEBHOOKS_TOML, LocalError

_DEFAULT_PORT: Final = 8000

Secrets = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A start of the local stack. No `linkrunner_base_url`: the embedded Linkrunner.

    With `provider_keys` the real APIs of providers are asked for what their webhooks hint at. `holds` says
    that events wait for users who have not signed up.
    """

    port: int
    linkrunner_base_url: str | None
    linkrunner_key: str
    webhooks_toml: Path
    sources: tuple[str, ...]
    secrets: Secrets
    for_development: bool
    provider_keys: Mapping[str, Any] | None = None
    holds: bool = False

    @property
    def test_events(self) -> bool:
        """Whether test traffic is delivered where a table does not say: never to a real Linkrunner."""
        return self.linkrunner_base_url is None

    def config(self, tell: Callable[[str], None]) -> Config:
        """webhooks.toml, as it is whenever it is used; `tell` gets a sentence when it has changed."""
        return LiveConfig(self.webhooks_toml, test_events=self.test_events, tell=tell)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """From environment variables; an empty one counts as unset.

        Raises LocalError, or ConfigError when webhooks.toml is wrong.
        """
        given = {name: value.strip() for name, value in environment.items() if value.strip()}
        webhooks_toml = Path(given.get("WEBHOOKS_TOML", WEBHOOKS_TOML)).expanduser()
        # Every table is validated here, so that a mistake shows now and not at its first webhook.
        read = config.load(webhooks_toml)
        sources = read.sources()
        return cls(
            port=_port(given.get("PORT")),
            linkrunner_base_url=_base_url(given.get("LINKRUNNER_BASE_URL")),
            linkrunner_key=given.get("LINKRUNNER_SERVER_KEY", LINKRUNNER_KEY),
            webhooks_toml=webhooks_toml.resolve(),
            sources=tuple(source.name for source in sources),
            secrets=_secrets(given.get("WEBHOOK_SECRETS"), sources),
            for_development="WEBHOOK_SECRETS" not in given,
            provider_keys=_provider_keys(given.get("PROVIDER_KEYS")),
            holds=read.linkrunner.unknown_users == "hold",
        )


def _port(text: str | None) -> int:
    if text is None:
        return _DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and 0 <= int(text) <= 65_535):
        raise LocalError(f"PORT must be a number from 0 to 65535, not {text!r}.")
    return int(text)


def _base_url(text: str | None) -> str | None:
    if text is not None and not text.startswith(("http://", "https://")):
        raise LocalError("LINKRUNNER_BASE_URL must start with http:// or https://.")
    return text


def _secrets(text: str | None, sources: Sequence[Source]) -> Secrets:
    if text is None:
        return {source.name: (development_secret(source),) for source in sources}
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise LocalError('WEBHOOK_SECRETS must be JSON like {"stripe": ["whsec_..."]}.')
    return {source: _secret_list(source, value) for source, value in given.items()}


def _provider_keys(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise LocalError('PROVIDER_KEYS must be JSON like {"gocardless": "live_..."}.')
    return given


def _secret_list(source: str, value: object) -> tuple[str, ...]:
    secrets = [value] if isinstance(value, str) else value
    if not isinstance(secrets, list) or not secrets:
        raise LocalError(f"WEBHOOK_SECRETS: {source} needs a secret or a list of secrets.")
    if not all(isinstance(secret, str) and secret.strip() for secret in secrets):
        raise LocalError(f"WEBHOOK_SECRETS: each secret of {source} must be text and not empty.")
    return tuple(secrets)
