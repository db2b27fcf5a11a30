"""The console's pages: what the commands answer, for a browser on this machine."""
