"""The way of a batch: prepare, submit, create, reconcile, poll, download, ingest."""
