"""The operator's command. Lambda does not get this package."""
