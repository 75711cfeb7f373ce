"""Commands that take several steps."""
