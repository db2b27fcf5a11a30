"""Faults of the past, planted again in a copy: `python -m tests.planted` shows which tests see them."""
