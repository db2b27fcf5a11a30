"""`python -m linkrunner_webhooks_cli`."""

from linkrunner_webhooks_cli.main import main

main()
