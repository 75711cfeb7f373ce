"""Runs: the decision on the next unit of work, live calls, estimates and reports of a run."""
