"""The way of a batch, one module a step, in this order.

- `prepare`: which items go into which request file (`draft`), written, sealed and claimed.
- `submit`: everything that waits and everything new, shown as a plan, then sent.
- `create`: one remote batch per batch, although a create may be lost; `refused` is what a clear refusal means.
- `reconcile`: a lost create is found again in the remote list, and duplicates are cancelled.
- `poll`: batches at the API are looked at until they are over.
- `download`: a result is sealed on disk, or the batch fails and its items are free again.
- `ingest`: every request gets its outcome, and answers are stored.

From `prepare` to `ingest` our own calls go by `ask`, `service` says how many at once, and `replies` keeps what comes;
`due` asks again about single items. Beside it: `cancel` gives a batch up, `uploads` finds files left at the API.
"""
