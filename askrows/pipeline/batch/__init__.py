"""The steps of a batch, one module for each step.

- `batch_plan` selects requests within the `budget`, and estimates batches before they are written.
- `prepare` writes and seals a request file, and claims its rows.
- `submit` plans and sends everything that is prepared or open.
- `send` creates exactly one remote batch for a batch, although the reply of a create may be lost.
  `reconcile` resolves such a create by the remote list.
- `poll` watches batches at the API until they are over; `result_download` seals their results.
- `ingest` gives every request an outcome and stores the answers; `ingest_report` summarizes it.

Live calls use `live` instead of `submit`, `send` and `poll`. `live_calls` handles replies and
failures, `live_batches` opens and closes the batches, and `live_throttle` limits the calls.
`retry_due` asks about single rows.
`batch_files` has the paths of the files and seals live replies. `cancel` ends a batch, and `report`
lists batches and their costs.
"""
