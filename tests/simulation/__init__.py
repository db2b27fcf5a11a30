"""AWS and Linkrunner in memory, on a simulated clock."""
