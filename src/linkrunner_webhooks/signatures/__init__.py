"""The signature schemes: how a provider proves that it sent a webhook."""
