"""`console`: the pages of `make run` for a deployed stack, on the operator's machine."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from secrets import token_urlsafe

import click

from linkrunner_webhooks_cli.failures import Failure, in_sentences
from linkrunner_webhooks_cli.logs import Line, Logs, report_of
from linkrunner_webhooks_cli.output import counted, say, write_json, write_text
from linkrunner_webhooks_cli.pages import app
from linkrunner_webhooks_cli.pages.site import Site
from linkrunner_webhooks_cli.periods import since_option
from linkrunner_webhooks_cli.running import running
from linkrunner_webhooks_cli.sources import config_of, config_option, json_option
from linkrunner_webhooks_cli.stacks import find
from linkrunner_webhooks_local import asgi
from linkrunner_webhooks_local.loopback import listen, url_of
from linkrunner_webhooks_local.recorder import Recorder

# Seconds between two looks into the logs, and after one that failed.
_PAUSE, _AFTER_FAILURE = 2.0, 10.0
_NO_LOGS = (
    "this stack has no logs, so the list stays empty; dead letters, numbers and traces are here"
)


@click.command()
@click.option(
    "--stack", metavar="NAME", help="A deployed stack (default: where the local one's is)."
)
@since_option("1h", "How far back the list begins.")
@click.option(
    "--allow-redrive", is_flag=True, help="Redrive and discard dead letters, too, when asked."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Of 127.0.0.1 (default: a free one)."
)
@json_option
@config_option
def console(
    *,
    stack: str | None,
    since: datetime,
    allow_redrive: bool,
    port: int,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Look at a deployed stack in the browser: what came, dead letters, numbers, the way of one order.

    It runs on this machine, answers nobody else, and only looks unless --allow-redrive is given. The list
    is what both functions log from --since on; bodies are those of the dead letters, masked until you ask.

    \b
    Examples:
      linkrunner-webhooks console --stack linkrunner-webhooks
      linkrunner-webhooks console --stack linkrunner-webhooks --since 6h --allow-redrive
    """
    if stack is None:
        _tell_local(as_json=as_json)
        return
    found, config = find(stack), config_of(stack, config_path)
    region = found.client("sqs").meta.region_name
    site = Site(
        config,
        lambda: found,
        where=f"{stack} in {region}",
        is_local=False,
        may_change=allow_redrive,
        key=token_urlsafe(),
    )
    recorder = Recorder()
    try:
        listener = listen(port)
    except OSError as error:
        raise Failure(
            f"port {port} cannot be had ({error.strerror}); give another --port"
        ) from None
    logs, pages = Logs(found, since), app.of_deployed(site, recorder)
    with following(logs, recorder, site), asgi.serving(listener, pages):
        url = f"{url_of(listener)}/?key={site.key}"
        if as_json:
            write_json({"url": url, "stack": stack, "read_only": not allow_redrive})
        else:
            say(f"The console of {site.where}{'' if allow_redrive else ', read-only'}:")
            write_text(url)
            say("The address is yours alone. Ctrl-C ends it.")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
        finally:
            # Nothing is moved that nobody sees.
            site.jobs.stop()
            site.jobs.wait()


def _tell_local(*, as_json: bool) -> None:
    local = running()
    if local is None:
        raise Failure(
            "the local stack is not running; start it with `make run`, or give --stack NAME"
        )
    if as_json:
        write_json({"url": local.url, "stack": None, "read_only": False})
    else:
        write_text(local.url)


@contextmanager
def following(logs: Logs, recorder: Recorder, site: Site) -> Iterator[None]:
    """While the block runs, what is logged is in the recorder; why it is not, stands on every page."""
    if not logs.groups:
        site.trouble = _NO_LOGS
        yield
        return
    stopping = threading.Event()
    thread = threading.Thread(
        target=partial(_follow, logs, recorder, site, stopping), name="logs", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()


def _follow(logs: Logs, recorder: Recorder, site: Site, stopping: threading.Event) -> None:
    """Until it is stopped: nothing that is logged, and nothing that AWS answers, ends it."""
    pause, missed = 0.0, 0
    while not stopping.wait(pause):
        try:
            with in_sentences():
                news = logs.news()
        except Exception as error:  # noqa: BLE001 - the next look may work
            why = error.message if isinstance(error, Failure) else type(error).__name__
            site.trouble, pause = f"the logs cannot be read: {why}", _AFTER_FAILURE
            continue
        missed += sum(not _is_heard(line, recorder) for line in news)
        site.trouble = f"{counted(missed, 'line')} of the logs could not be read" if missed else ""
        pause = _PAUSE


def _is_heard(line: Line, recorder: Recorder) -> bool:
    """Whether the line is told to the recorder, or is none that it needs."""
    try:
        if report := report_of(line):
            recorder.heard(datetime.fromisoformat(line["at"]).timestamp(), report)
    except Exception:  # noqa: BLE001 - one line must not keep the others from being heard
        return False
    return True
