"""The command `linkrunner-webhooks`."""

from __future__ import annotations

import click

from linkrunner_webhooks import __version__
from linkrunner_webhooks_cli.add import add
from linkrunner_webhooks_cli.catalogue import check, providers
from linkrunner_webhooks_cli.connect import connect
from linkrunner_webhooks_cli.console import console
from linkrunner_webhooks_cli.dlq import dlq
from linkrunner_webhooks_cli.doctor import doctor
from linkrunner_webhooks_cli.failures import Commands
from linkrunner_webhooks_cli.forget import forget
from linkrunner_webhooks_cli.init import init
from linkrunner_webhooks_cli.reconcile import reconcile
from linkrunner_webhooks_cli.report import report
from linkrunner_webhooks_cli.send import send
from linkrunner_webhooks_cli.signing_secrets import secrets
from linkrunner_webhooks_cli.tail import tail
from linkrunner_webhooks_cli.trace import trace
from linkrunner_webhooks_cli.translate import translate


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Commerce webhooks, delivered to Linkrunner.

    \b
    Try it, with `make run` in another terminal:
      linkrunner-webhooks send stripe checkout.session.completed --user-id user_42
    """


for _command in (
    providers,
    init,
    add,
    connect,
    secrets,
    check,
    translate,
    send,
    tail,
    trace,
    report,
    reconcile,
    dlq,
    console,
    doctor,
    forget,
):
    main.add_command(_command)
