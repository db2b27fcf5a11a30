"""Run in processes of their own."""
