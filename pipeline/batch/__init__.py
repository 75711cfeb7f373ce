"""The way of a batch, one module a step, in this order.

- `prepare`: which items go into which request file, written, sealed and claimed, within what `budget` leaves.
- `submit`: everything that waits and everything new, shown as a plan, then sent.
- `send`: one remote batch per batch, although a create may be lost; a lost one is found again in the remote list.
- `poll`: batches at the API are looked at until they are over, and their results are sealed on disk.
- `ingest`: every request gets its outcome, and answers are stored.

Our own calls go by `ask` in the place of `submit` to `poll`, and `folder` keeps and seals what comes. Beside it:
`cancel` gives a batch up, `report` tells of batches and what they cost.
"""
