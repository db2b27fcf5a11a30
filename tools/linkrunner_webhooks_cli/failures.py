"""Every expected failure as one sentence on stderr and exit code 1; usage errors are click's, exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from linkrunner_webhooks.errors import ConfigError, WebhookError
from linkrunner_webhooks_cli.output import write_failure
from linkrunner_webhooks_local.project import LocalError


class Failure(click.ClickException):
    """An expected failure. The message says what to do next."""

    exit_code = 1


class Commands(click.Group):
    """A group whose commands end in a sentence where something expected goes wrong; --json has it, too."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return self._invoke(ctx)
        except click.ClickException as error:
            write_failure(ctx, error.format_message())
            raise
        except click.Abort:
            write_failure(ctx, "aborted")
            raise
        except KeyboardInterrupt:
            write_failure(ctx, "interrupted")
            raise

    def _invoke(self, ctx: click.Context) -> object:
        with in_sentences():
            return super().invoke(ctx)


@contextmanager
def in_sentences() -> Iterator[None]:
    """Whatever is expected to go wrong is a Failure."""
    try:
        yield
    except (ConfigError, WebhookError, LocalError) as error:
        raise Failure(str(error)) from None
    except ClientError as error:
        raise Failure(f"AWS answered: {error}") from None
    except NoCredentialsError:
        raise Failure(
            "no AWS credentials; set AWS_PROFILE, or log in with the AWS command line"
        ) from None
    except BotoCoreError as error:
        raise Failure(f"AWS did not answer: {error}") from None
