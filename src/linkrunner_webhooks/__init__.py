"""Third-party commerce webhooks, delivered to Linkrunner."""

__version__ = "0.1.0"
