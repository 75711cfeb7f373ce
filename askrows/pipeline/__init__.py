"""The pipeline: what happens to rows, requests, batches and answers, without a terminal."""
