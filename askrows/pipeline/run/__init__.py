"""Runs: what is asked next and in which mode, live calls, and the account of the state.

- `snapshot` is the one account of a workspace's state and of the progress of runs. `status`, the
  next step, the page and Python read it.
- `preflight` estimates cost and time of each mode, and `mode_choice` recommends one.
- `rounds` polls, ingests and submits until no row is open or a reason to stop is found.
  `tag_report` reports on it. `pilot_run` asks a sample first.
- `due_units` lists what is due; `work` does all of it once, and `work_passes` repeats that.
- `live` sends live calls: `live_calls` handles replies and failures, `live_batches` opens and
  seals their batches, `live_throttle` starts and stops calls, and `live_report` counts.
- `retry_due` asks about single rows. `modes` makes the run that asks in a mode.
"""
