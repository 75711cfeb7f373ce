"""Several things in one command."""
