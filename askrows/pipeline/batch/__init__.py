"""The steps of a batch, one module for each step.

- `run` has the frozen `Run`: the work of a command, its workspace, and its limits.
  `run_result` has its `RunResult`, which the units fill, and all reasons to stop.
- `budget` is the only module that knows what budgets, and the quota of queued tokens, have left.
- `batch_plan` selects requests within the budget, and estimates batches before they are written.
- `prepare` writes and seals a request file, and claims its rows.
- `submit` plans and sends everything that is prepared or open.
- `send` creates exactly one remote batch for a batch, although the reply of a create may be lost.
  `reconcile` resolves such a create by the remote list.
- `poll` watches batches at the API until they are over; `result_download` seals their results.
- `ingest` gives every request an outcome and stores the answers; `ingest_report` summarizes it.
  `held_batches` holds a batch whose replies are mixed up.
- `cancel` ends a batch, or moves its rows to another mode.
- `batch_files` has the paths and locks of batches, and seals live replies.
- `report` lists batches and their costs, and describes one run.

Live calls (package `run`) replace `submit`, `send` and `poll`, and share all other steps.
"""
