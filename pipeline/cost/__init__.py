"""What asking costs: estimates, budgets, the quota of enqueued tokens, past usage, prices."""
