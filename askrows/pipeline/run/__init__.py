"""Runs: the rows that are asked next and their mode, live calls, and the account of the state.

- `drive` is the loop of a run that waits for its batches.
- `units` lists the units of a task, now or later, and does them: sync, submit, poll, ingest and ask
  by calls. `run_state` has what changes meanwhile; `batch.run_result` is the result.
- `work` does all due units once, or for ever.
- `pilot_run` asks a sample first.
- `preflight` estimates cost and time of each mode, and `mode_choice` recommends a mode.
- `live` sends live calls: `live_calls` handles replies and failures, `live_batches` opens and
  seals their batches, and `live_throttle` starts and stops calls, and describes them for a person.
- `snapshot` is the only account of a workspace's state and of the progress of runs. `status`, the
  next step, the page and Python read it.
"""
