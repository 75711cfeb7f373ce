"""What batches and live calls share: how a row becomes a request, and how an answer is recorded."""
