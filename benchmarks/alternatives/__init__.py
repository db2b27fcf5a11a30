"""What a user would otherwise write."""
