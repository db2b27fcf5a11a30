"""AWS and Linkrunner in memory, on a simulated clock: the real delivery code runs on them for days.

Only one task runs at a time, until it waits for something. So a run is the same every time, and a test can
choose every point at which two workers meet.
"""
