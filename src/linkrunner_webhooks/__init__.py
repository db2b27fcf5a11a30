"""Third-party commerce webhooks, delivered to Linkrunner."""

import gc

# Imports make many objects and hardly any garbage: looking for it at the default pace costs a cold start 7 %.
gc.set_threshold(20_000, 10, 10)

__version__ = "0.1.0"
