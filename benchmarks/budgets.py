"""What may not get worse unawares, in ratios and absences; part of `make check`. No times: they differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import packages
from benchmarks.tables import Row, Section, ratio
from linkrunner_webhooks_local.project import ROOT

# Nothing of these is needed to accept a webhook.
_ABSENT = frozenset({"boto3", "botocore.session", "botocore.client", "cryptography"})
_IMPORTS = """
import json, sys
{work}
json.dump(sorted(sys.modules), sys.stdout)
"""
_OURS = """
import os
from linkrunner_webhooks import receive_function
respond = receive_function.build(os.environ, observe=receive_function.observe_in_lambda)
respond({"pathParameters": {"source": "stripe"}, "headers": {}, "body": "{}"})
"""
_ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    # Nobody is there: a request is answered 503, after everything it needs was imported.
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "WEBHOOK_QUEUE_URL": "http://127.0.0.1:9/queue",
    "WEBHOOK_SECRETS_ARN": "arn",
    "POWERTOOLS_METRICS_NAMESPACE": "Budgets",
    "POWERTOOLS_SERVICE_NAME": "budgets",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
}


def main() -> int:
    """Print the budgets; 1 when one is overdrawn."""
    rows = [*_imports(), *_sizes()]
    Section("Budgets", ("", "", "of it"), tuple(rows)).show(Console())
    return int(any(row.verdict.startswith("NO") for row in rows))


def _imports() -> list[Row]:
    ours, naive, minimal = (
        _modules(_OURS),
        _modules("import naive"),
        _modules("import minimal_receiver"),
    )
    strangers = sorted(
        {name for name in ours if name in _ABSENT}
        | {name for name in ours if name.startswith("linkrunner_webhooks.providers.")}
        - {"linkrunner_webhooks.providers.stripe"}
    )
    return [
        _row("modules to accept a webhook, of the naive build's", len(ours), len(naive), 0.60),
        _row("... of the minimal receiver's", len(ours), len(minimal), 1.10),
        Row(f"needless on that path: {', '.join(strangers) or 'none'}", "", f"{len(strangers)}", 0),
    ]


def _sizes() -> list[Row]:
    ours, naive = packages.ours(), packages.naive()
    return [
        _row("package, unzipped, of the naive build's", ours.unzipped, naive.unzipped, 0.30),
        _row("package, zipped, of the naive build's", ours.zipped, naive.zipped, 0.25),
    ]


def _row(title: str, own: int, other: int, limit: float) -> Row:
    return Row(title, f"{own:,} of {other:,}", ratio(own / other), limit)


def _modules(work: str) -> list[str]:
    """The names of all modules that this work has loaded, in a process of its own."""
    paths = (ROOT / "src", packages.ALTERNATIVES)
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS.format(work=work)],
        env=_ENVIRONMENT | {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(map(str, paths))},
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


if __name__ == "__main__":
    sys.exit(main())
