"""The command: python -m tests.chaos."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tests.chaos.report import as_json, show
from tests.chaos.run import Options, Show, chaos

from linkrunner_webhooks_local.project import LocalError

_EXAMPLES = """
examples:
  python -m tests.chaos                                  400 facts, a minute of faults, any seed
  python -m tests.chaos --events 60 --seconds 8          a short one
  python -m tests.chaos --seed 7 --workers 5             the plan and the dice of seed 7 once more
  python -m tests.chaos --revenue payment                lost answers count nothing twice then
  python -m tests.chaos --json | jq .passed              for scripts

The seed fixes what happens and the order of every dice; which call meets which throw also depends on how
fast the machine is. The exit code is 1 when anything was lost, counted twice without an excuse, told wrongly
or parked in error; 2 when the run itself could not be made.
"""


def main() -> int:
    """Run it, show it, and say by the exit code whether it passed."""
    arguments = _arguments()
    options = Options(
        events=arguments.events,
        seconds=arguments.seconds,
        seed=random.randrange(10**6) if arguments.seed is None else arguments.seed,
        workers=arguments.workers,
        revenue=arguments.revenue,
        # What waits is delivered at Linkrunner's pace.
        patience=60 + arguments.events / 10,
    )
    # As Ctrl-C does, so that everything is taken down in order.
    signal.signal(signal.SIGTERM, _stop)
    # A shell starts what it puts into the background with this one ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _progress() as progress:
            result = chaos(options, progress)
    except KeyboardInterrupt:
        return 130
    except (LocalError, BotoCoreError) as error:
        print(f"The run could not be finished: {error}", file=sys.stderr)  # noqa: T201
        return 2
    if arguments.json:
        print(json.dumps(as_json(result), indent=2))  # noqa: T201
    else:
        show(result, Console())
    return 0 if result.passed else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="The real parts on an embedded AWS and Linkrunner, all of which fail at random.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    number = parser.add_argument
    number("--events", type=_positive, default=400, help="facts that happen, at least (400)")
    number("--seconds", type=_positive, default=60, help="seconds of faults (60)")
    number("--seed", type=int, help="which run (a random one, named in the report)")
    number("--workers", type=_positive, default=3, help="worker processes (3)")
    told = "how money received is told to Linkrunner (event)"
    parser.add_argument("--revenue", choices=("event", "payment"), default="event", help=told)
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _stop(number: int, _: object) -> None:
    sys.exit(128 + number)


@contextmanager
def _progress() -> Iterator[Show]:
    """A bar on standard error, when a person is there to see it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} captured"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=0)

        def shown(phase: str, done: int, total: int) -> None:
            progress.update(task, description=phase, completed=min(done, total), total=total)

        yield shown


if __name__ == "__main__":
    sys.exit(main())
