"""Every way a provider proves that a webhook is its own."""
